//! The parts of a daemon's status that the tour looks at (`docs/status.md`). Whatever else is in it is left aside.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde::Deserialize;

/// The status at a glance.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) tunnels: Vec<Tunnel>,
    pub(super) bgp: Bgp,
    pub(super) firewall: Firewall,
    pub(super) problems: Vec<String>,
    pub(super) data_plane: DataPlane,
}

#[derive(Debug, Deserialize)]
pub(super) struct DataPlane {
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tunnel {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) interface: String,
    pub(super) mtu: u16,
    pub(super) ike: Option<Ike>,
    pub(super) children: Vec<Child>,
}

impl Tunnel {
    /// The CHILD_SA that it sends on.
    pub(super) fn outbound(&self) -> Option<&Child> {
        self.children.iter().find(|child| child.outbound)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Ike {
    pub(super) initiator_spi: String,
    pub(super) responder_spi: String,
    pub(super) suite: String,
    pub(super) peer_identity: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Child {
    pub(super) spi_in: String,
    pub(super) spi_out: String,
    pub(super) suite: String,
    pub(super) outbound: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Bgp {
    pub(super) neighbors: Vec<Session>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) remote_asn: u32,
    pub(super) state: String,
    pub(super) reason: Option<String>,
}

impl Session {
    /// Whether it is established.
    pub(super) fn is_established(&self) -> bool {
        self.state.eq_ignore_ascii_case("established")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Firewall {
    pub(super) failure: Option<String>,
    pub(super) rules: Vec<Rule>,
}

impl Firewall {
    /// How many packets the rule has matched; `None` if there is no such rule.
    pub(super) fn packets(&self, rule: &str) -> Option<u64> {
        self.rules
            .iter()
            .find(|one| one.rule == rule)
            .map(|one| one.packets)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) packets: u64,
}

/// A neighbor in full.
#[derive(Debug, Deserialize)]
pub(super) struct Neighbor {
    pub(super) received: Vec<Route>,
    pub(super) advertised: Vec<Route>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Route {
    pub(super) prefix: IpNet,
}

impl Status {
    /// The tunnel of that name.
    pub(super) fn tunnel(&self, name: &str) -> Option<&Tunnel> {
        self.tunnels.iter().find(|tunnel| tunnel.name == name)
    }

    /// Why not everything is up: one line for each tunnel and neighbor that is not. Empty when all are.
    pub(super) fn missing(&self) -> Vec<String> {
        let why = |reason: &Option<String>| {
            reason
                .as_deref()
                .map(|text| format!(": {text}"))
                .unwrap_or_default()
        };
        let tunnels = self.tunnels.iter().filter(|tunnel| tunnel.state != "up");
        let tunnels = tunnels
            .map(|tunnel| format!("{} is {}{}", tunnel.name, tunnel.state, why(&tunnel.reason)));
        let sessions = self
            .bgp
            .neighbors
            .iter()
            .filter(|session| !session.is_established());
        let sessions = sessions
            .map(|one| format!("BGP with {} is {}{}", one.name, one.state, why(&one.reason)));
        tunnels.chain(sessions).collect()
    }
}

/// A route of Causeway's in a kernel, for comparing and for showing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KernelHop {
    pub(super) interface: String,
    pub(super) via: Option<Ipv4Addr>,
}

impl std::fmt::Display for KernelHop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(via) = self.via {
            write!(f, "via {via} ")?;
        }
        write!(f, "dev {}", self.interface)
    }
}
