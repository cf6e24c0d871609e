//! What somebody must have done to a host that was as desired, told by what it takes to put it right.

use std::fmt;

use crate::{ifname::IfName, op::Op};

/// One thing of ours that was changed, with what put it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What was changed, in words.
    pub what: String,
    /// The first operation that put it right, as a command.
    pub command: String,
    /// How many more operations that took.
    pub more: usize,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; put right: {}", self.what, self.command)?;
        match self.more {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// What operations of one reconciliation belong together.
#[derive(PartialEq, Eq)]
enum Subject {
    Host,
    Link(IfName),
    Nexthops,
    Routes,
}

/// The repairs that these operations amount to, if nothing else was wished for meanwhile: one for each interface, one for all
/// nexthop objects, one for all routes.
pub fn repairs(ops: &[Op]) -> Vec<Repair> {
    let mut repairs: Vec<(Subject, Repair)> = Vec::new();
    for op in ops {
        let subject = subject(op);
        match repairs.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, repair)) => repair.more += 1,
            None => {
                let repair = Repair {
                    what: what(op),
                    command: op.to_string(),
                    more: 0,
                };
                repairs.push((subject, repair));
            }
        }
    }
    repairs.into_iter().map(|(_, repair)| repair).collect()
}

fn subject(op: &Op) -> Subject {
    match op {
        Op::SetSysctl { key, .. } | Op::RestoreSysctl { key, .. } | Op::ForgetSysctl { key } => {
            key.interface().map_or(Subject::Host, Subject::Link)
        }
        Op::AddLink { dev, .. }
        | Op::ChangeLink { dev, .. }
        | Op::SetAlias { dev, .. }
        | Op::SetMtu { dev, .. }
        | Op::SetUp { dev }
        | Op::AddAddress { dev, .. }
        | Op::DelAddress { dev, .. }
        | Op::DelLink { dev } => Subject::Link(*dev),
        Op::AddNexthop { .. }
        | Op::AddGroup { .. }
        | Op::ReplaceGroup { .. }
        | Op::DelNexthop { .. } => Subject::Nexthops,
        Op::AddRoute { .. } | Op::ReplaceRoute { .. } | Op::DelRoute { .. } => Subject::Routes,
    }
}

fn what(op: &Op) -> String {
    match op {
        Op::SetSysctl { key, from, .. } => format!("{key} was set to {from}"),
        Op::RestoreSysctl { key, .. } | Op::ForgetSysctl { key } => {
            format!("{key} is no longer ours")
        }
        Op::AddLink { dev, .. } => format!("interface {dev} was deleted"),
        Op::ChangeLink { dev, .. } => {
            format!("interface {dev} was given other keys or outer addresses")
        }
        Op::SetAlias { dev, .. } => format!("interface {dev} lost its alias, or was made anew"),
        Op::SetMtu { dev, .. } => format!("interface {dev} was given another MTU"),
        Op::SetUp { dev } => format!("interface {dev} was taken down"),
        Op::AddAddress { dev, address } => {
            format!("address {address} was taken off interface {dev}")
        }
        Op::DelAddress { dev, address } => {
            format!("address {address} was put on interface {dev}")
        }
        Op::DelLink { dev } => format!("an interface {dev} with our mark appeared"),
        Op::AddNexthop { hop, .. } => format!("the nexthop object {hop} was deleted"),
        Op::AddGroup { id, .. } => format!("the nexthop group {id} was deleted"),
        Op::ReplaceGroup { id, .. } => format!("the nexthop group {id} was changed"),
        Op::DelNexthop { id } => format!("a nexthop object {id} with our mark appeared"),
        Op::AddRoute { key, .. } => format!("the route {key} was deleted"),
        Op::ReplaceRoute { key, .. } => format!("the route {key} was changed"),
        Op::DelRoute { key } => format!("a route {key} with our mark appeared"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{LinkKind, RouteKey};

    #[test]
    fn what_belongs_together_is_one_line_and_names_what_came_first() {
        let dev: IfName = "cw-oci-1".parse().unwrap();
        let kind = LinkKind::Xfrm { if_id: 7 };
        let route = |prefix: &str| Op::DelRoute {
            key: RouteKey::main(prefix.parse().unwrap()),
        };
        let ops = [
            Op::AddLink { dev, kind },
            Op::SetUp { dev },
            route("10.0.0.0/8"),
            Op::SetMtu { dev, mtu: 1400 },
            route("10.1.0.0/16"),
        ];
        let lines: Vec<String> = repairs(&ops).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "interface cw-oci-1 was deleted; put right: ip link add dev cw-oci-1 type xfrm dev lo if_id 0x7, and 2 more",
                "a route 10.0.0.0/8 metric 20 with our mark appeared; put right: ip route del 10.0.0.0/8 metric 20 proto 210, and 1 more",
            ]
        );
        assert_eq!(repairs(&[]), []);
    }
}
