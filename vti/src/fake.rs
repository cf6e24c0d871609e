//! A host in memory, for tests and for trying out a plan: the model of [`crate::observed`] with
//! nothing behind it. It prints as text, so that a change of behaviour shows as a change of text.

use std::fmt::Write as _;

use crate::{
    host::{Error, Host},
    observed::{Nexthop, Observed, RouteObserved, RouteTarget},
    op::Op,
};

/// A host in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeHost {
    /// What it looks like. Tests change it at will, as the world does.
    pub state: Observed,
    /// Everything that was applied with success, in order.
    pub log: Vec<Op>,
    /// How many more operations succeed, if not all: after that each one is refused with `EIO`.
    pub budget: Option<usize>,
}

impl FakeHost {
    /// A host that looks like this.
    pub fn new(state: Observed) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// The state as text, one line per object, in a stable order.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.render_to(&mut text);
        text
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), Error> {
        if let Some(budget) = &mut self.budget {
            *budget = budget
                .checked_sub(1)
                .ok_or_else(|| Error::refused(op, nix::errno::Errno::EIO, "out of budget"))?;
        }
        match self.state.apply(op) {
            Ok(()) => self.log.push(op.clone()),
            Err(errno) if op.is_done_already(errno) => {}
            Err(errno) => return Err(Error::refused(op, errno, "")),
        }
        Ok(())
    }

    fn render_to(&self, text: &mut String) -> std::fmt::Result {
        let state = &self.state;
        for (key, value) in &state.sysctls {
            write!(text, "sysctl {key} = {value}")?;
            match state.saved.get(key) {
                Some(saved) => writeln!(text, " (was {})", saved.original)?,
                None => writeln!(text)?,
            }
        }
        for (dev, link) in &state.links {
            let up = if link.up { "up" } else { "down" };
            write!(text, "link {dev} {} {up} mtu {}", link.kind, link.mtu)?;
            if !link.alias.is_empty() {
                write!(text, " alias {}", link.alias)?;
            }
            for address in &link.addresses {
                write!(text, " {address}")?;
            }
            writeln!(text)?;
        }
        for (id, nexthop) in &state.nexthops {
            match nexthop {
                Nexthop::Single(hop) => writeln!(text, "nexthop {id} {hop}")?,
                Nexthop::Unknown => writeln!(text, "nexthop {id} unknown")?,
                Nexthop::Group(members) => {
                    write!(text, "nexthop {id} group")?;
                    for member in members {
                        write!(text, " {}*{}", member.id, member.weight)?;
                    }
                    writeln!(text)?;
                }
            }
        }
        for (key, route) in &state.routes {
            writeln!(text, "route {key} {}", target(route))?;
        }
        for (key, protocol) in &state.foreign_routes {
            writeln!(text, "foreign route {key} proto {protocol}")?;
        }
        Ok(())
    }
}

impl Host for FakeHost {
    async fn observe(&mut self) -> Result<Observed, Error> {
        std::future::ready(Ok(self.state.clone())).await
    }

    async fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), Error>> {
        std::future::ready(ops.iter().map(|op| self.apply_one(op)).collect()).await
    }
}

fn target(route: &RouteObserved) -> String {
    let mut text = match &route.target {
        RouteTarget::Blackhole => "blackhole".to_owned(),
        RouteTarget::Nexthop(id) => format!("nhid {id}"),
        RouteTarget::Inline(hops) => hops
            .iter()
            .map(|h| format!("[{} weight {}]", h.hop, h.weight))
            .collect(),
        RouteTarget::Unknown => "unknown".to_owned(),
    };
    if let Some(source) = route.prefsrc {
        text += &format!(" src {source}");
    }
    text
}
