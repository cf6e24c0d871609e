//! Policies of others in the kernel's security database: they see every packet that leaves, arrives or is forwarded, ours too.

use std::net::IpAddr;

use ipnet::IpNet;
use vti::plane::BINDINGS;
use vti::xfrm::policy::DefaultActions;
use vti::xfrm::{Action, Hook, PolicySeen, Selector, Socket};

use super::{Host, Outline};

const UDP: u8 = 17;
const ESP: u8 = 50;

/// What is known of the database.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) policies: Vec<PolicySeen>,
    /// What becomes of packets that no policy selects.
    pub(super) default: Option<DefaultActions>,
}

impl Database {
    /// A kernel without XFRM has no policies, and neither does one that does not let us look: both planes say so where they need it.
    pub(super) fn read() -> Self {
        let Ok(mut socket) = Socket::open() else {
            return Self::default();
        };
        Self {
            policies: socket.policies().unwrap_or_default(),
            default: socket.default_actions().ok().flatten(),
        }
    }
}

/// A packet as policies see it.
#[derive(Debug, Clone, Copy)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Source and destination port.
    ports: (u16, u16),
}

pub(super) fn judge(site: &Outline, host: Host<'_>, database: &Database) -> Vec<String> {
    let mut found = blocked_by_default(site, database.default);
    for policy in database.policies.iter().filter(|it| is_foreign(it)) {
        let caught = outer(site, host, policy).or_else(|| inner(site, host, policy));
        if let Some(what) = caught {
            found.push(format!(
                "an IPsec policy that is not ours catches {what}: {}; stop or narrow the program that made it, and if it is a leftover: ip xfrm policy delete {}",
                shown(policy),
                named(policy)
            ));
        }
    }
    found
}

/// Not ours, and one that does something: an SA that has to be used, or a drop.
fn is_foreign(policy: &PolicySeen) -> bool {
    let number = match (policy.mark, policy.if_id) {
        (_, Some(id)) => id,
        (Some(mark), None) => mark.value,
        (None, None) => 0,
    };
    let acts = policy.action == Action::Block || !policy.templates.is_empty();
    acts && !BINDINGS.contains(&number)
}

/// Whether a policy is asked about packets that carry no mark and came by no `xfrm` interface.
fn sees_unmarked(policy: &PolicySeen) -> bool {
    policy.if_id.is_none_or(|id| id == 0)
        && policy.mark.is_none_or(|mark| mark.value & mark.mask == 0)
}

/// The tunnels' own packets.
fn outer(site: &Outline, host: Host<'_>, policy: &PolicySeen) -> Option<String> {
    if !sees_unmarked(policy) {
        return None;
    }
    let (ike, nat) = site.ports;
    let kinds = [
        ("ESP", ESP, 0),
        ("IKE", UDP, ike),
        ("IKE and ESP in UDP", UDP, nat),
    ];
    host.paths.iter().find_map(|(remote, path)| {
        let ours = path.as_ref().ok()?.source;
        let (source, destination, direction) = match policy.hook {
            Hook::Out => (ours, *remote, "to"),
            Hook::In => (*remote, ours, "from"),
            Hook::Forward => return None,
        };
        kinds.iter().find_map(|(name, protocol, port)| {
            let packet = Packet {
                source,
                destination,
                protocol: *protocol,
                ports: (*port, *port),
            };
            selects(&policy.selector, packet).then(|| format!("our {name} {direction} {remote}"))
        })
    })
}

/// What goes through the tunnels.
fn inner(site: &Outline, host: Host<'_>, policy: &PolicySeen) -> Option<String> {
    if !sees_unmarked(policy) {
        return None;
    }
    let Selector {
        source,
        destination,
        ..
    } = &policy.selector;
    let ours = |net: &IpNet| site.networks.iter().find(|it| overlap(it, net));
    let theirs = |net: &IpNet| host.routed.iter().find(|it| overlap(it, net));
    match policy.hook {
        Hook::Out | Hook::Forward => {
            let out = ours(source).zip(theirs(destination));
            out.map(|(from, to)| {
                format!("packets from {from} to {to}, before they reach the tunnel")
            })
            .or_else(|| {
                let back = theirs(source).zip(ours(destination));
                back.filter(|_| policy.hook == Hook::Forward)
                    .map(|(from, to)| format!("packets from {from} to {to}, behind the tunnel"))
            })
        }
        Hook::In => None,
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn selects(selector: &Selector, packet: Packet) -> bool {
    let port = |(value, mask): (u16, u16), port: u16| port & mask == value & mask;
    let has_ports = packet.protocol == UDP;
    selector.interface == 0
        && selector.source.contains(&packet.source)
        && selector.destination.contains(&packet.destination)
        && (selector.protocol == 0 || selector.protocol == packet.protocol)
        && (!has_ports
            || (port(selector.source_port, packet.ports.0)
                && port(selector.destination_port, packet.ports.1)))
}

fn blocked_by_default(site: &Outline, default: Option<DefaultActions>) -> Vec<String> {
    let Some(default) = default.filter(|_| !site.remotes.is_empty()) else {
        return Vec::new();
    };
    let blocked: Vec<&str> = [
        ("in", default.inbound),
        ("fwd", default.forwarded),
        ("out", default.outbound),
    ]
    .into_iter()
    .filter_map(|(name, action)| (action == Action::Block).then_some(name))
    .collect();
    if blocked.is_empty() {
        return Vec::new();
    }
    let accept: Vec<String> = blocked
        .iter()
        .map(|name| format!("{name} accept"))
        .collect();
    vec![format!(
        "this host drops what no IPsec policy selects (ip xfrm policy getdefault: {}), our peers' packets too: ip xfrm policy setdefault {}",
        blocked.join(", "),
        accept.join(" ")
    )]
}

/// The policy as `ip xfrm policy` finds it.
fn named(policy: &PolicySeen) -> String {
    let Selector {
        source,
        destination,
        protocol,
        ..
    } = &policy.selector;
    let direction = match policy.hook {
        Hook::In => "in",
        Hook::Out => "out",
        Hook::Forward => "fwd",
    };
    let protocol = match protocol {
        0 => String::new(),
        number => format!(" proto {number}"),
    };
    format!("src {source} dst {destination}{protocol} dir {direction}")
}

fn shown(policy: &PolicySeen) -> String {
    let what = match policy.action {
        Action::Block => "block".to_owned(),
        Action::Allow => {
            let peers: Vec<String> = policy
                .templates
                .iter()
                .map(|it| match policy.hook {
                    Hook::Out => it.id.destination.to_string(),
                    Hook::In | Hook::Forward => it.source.to_string(),
                })
                .collect();
            format!("by IPsec with {}", peers.join(", "))
        }
    };
    format!("{} ({what}, priority {})", named(policy), policy.priority)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gateway::LocalPath;
    use vti::xfrm::Mark;

    fn policy(hook: Hook, source: &str, destination: &str) -> PolicySeen {
        PolicySeen {
            hook,
            selector: Selector {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                ..Selector::any_ipv4()
            },
            priority: 0,
            index: 1,
            action: Action::Block,
            templates: Vec::new(),
            mark: None,
            if_id: None,
        }
    }

    fn said(policies: Vec<PolicySeen>, default: Option<DefaultActions>) -> Vec<String> {
        let site = Outline {
            remotes: vec!["198.51.100.1".parse().unwrap()],
            networks: vec!["192.168.2.0/24".parse().unwrap()],
            tunnels: BTreeSet::new(),
            ports: (500, 4500),
            ..Outline::default()
        };
        let path = Ok(LocalPath {
            source: "203.0.113.10".parse().unwrap(),
            interface: "wan0".into(),
            mtu: 1500,
        });
        let paths = [("198.51.100.1".parse().unwrap(), path)].into();
        let routed = ["10.0.0.0/16".parse().unwrap()];
        let host = Host {
            paths: &paths,
            connected: &[],
            addresses: &[],
            routed: &routed,
        };
        judge(&site, host, &Database { policies, default })
    }

    #[test]
    fn what_catches_our_packets_is_named_and_nothing_else() {
        let (us, peer, any) = ("203.0.113.10/32", "198.51.100.1/32", "0.0.0.0/0");
        let (home, cloud, other) = ("192.168.2.0/25", "10.0.9.0/24", "10.99.0.0/16");
        for (hook, source, destination, word) in [
            (Hook::Out, us, peer, Some("our ESP to 198.51.100.1")),
            (Hook::Out, us, any, Some("our ESP to 198.51.100.1")),
            (Hook::In, peer, us, Some("our ESP from 198.51.100.1")),
            (Hook::In, us, peer, None),
            (Hook::Forward, us, peer, None),
            (
                Hook::Out,
                home,
                cloud,
                Some("from 192.168.2.0/24 to 10.0.0.0/16"),
            ),
            (
                Hook::Forward,
                home,
                cloud,
                Some("before they reach the tunnel"),
            ),
            (Hook::Forward, cloud, home, Some("behind the tunnel")),
            (Hook::Forward, home, other, None),
            (Hook::Out, "172.16.0.0/12", other, None),
        ] {
            let found = said(vec![policy(hook, source, destination)], None);
            assert_eq!(
                found.len(),
                usize::from(word.is_some()),
                "{hook:?} {source} {destination}: {found:?}"
            );
            let remedy = format!("ip xfrm policy delete src {source} dst {destination} dir");
            for text in &found {
                assert!(text.contains(word.unwrap_or_default()), "{text}");
                assert!(text.contains(&remedy), "{text}");
            }
        }
    }

    #[test]
    fn protocol_and_ports_count() {
        let mut only_dns = policy(Hook::Out, "0.0.0.0/0", "198.51.100.1/32");
        only_dns.selector.protocol = UDP;
        only_dns.selector.destination_port = (53, u16::MAX);
        assert_eq!(said(vec![only_dns.clone()], None), Vec::<String>::new());
        only_dns.selector.destination_port = (4500, u16::MAX);
        let found = said(vec![only_dns], None);
        assert!(found[0].contains("our IKE and ESP in UDP to"), "{found:?}");
    }

    #[test]
    fn policies_that_let_pass_are_ours_or_see_only_marked_packets_are_no_hindrance() {
        let base = policy(Hook::Out, "0.0.0.0/0", "0.0.0.0/0");
        let passes = PolicySeen {
            action: Action::Allow,
            ..base.clone()
        };
        let ours = PolicySeen {
            if_id: Some(*BINDINGS.start()),
            ..base.clone()
        };
        let marked = PolicySeen {
            mark: Some(Mark {
                value: 42,
                mask: u32::MAX,
            }),
            ..base.clone()
        };
        let other_interface = PolicySeen {
            if_id: Some(7),
            ..base.clone()
        };
        let none = [passes, ours, marked, other_interface];
        assert_eq!(said(none.into(), None), Vec::<String>::new());
        assert_eq!(said(vec![base], None).len(), 1);
    }

    #[test]
    fn a_host_that_drops_what_no_policy_selects_is_named_with_the_command() {
        let default = |inbound, outbound| DefaultActions {
            inbound,
            forwarded: Action::Allow,
            outbound,
        };
        let open = default(Action::Allow, Action::Allow);
        assert_eq!(said(Vec::new(), Some(open)), Vec::<String>::new());
        let shut = said(Vec::new(), Some(default(Action::Block, Action::Block)));
        assert!(
            shut[0].ends_with("ip xfrm policy setdefault in accept out accept"),
            "{shut:?}"
        );
    }
}
