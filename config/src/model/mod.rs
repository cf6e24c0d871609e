//! The site: what a file means once every default is filled in and every check has passed.
//!
//! Plain values without spans. Names lead back to the file: each tunnel, neighbor, list and rule carries the line on
//! which it was written, so that a failure at run time can point there, and [`Site::settings`] says for each value
//! whether the file, a profile or the program chose it. Secrets are here as places, never as values.
//!
//! Invariants: names are unique; every name that is referred to exists; lists are in the order in which they apply.

mod bfd;
mod bgp;
mod firewall;
mod policy;
mod route;
mod tunnel;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use bfd::Bfd;
pub use bgp::{
    AddressFamily, Asn, Bgp, DefaultOriginate, Neighbor, NeighborRange, OverLimit, Policy,
    PrefixAction, PrefixList, PrefixRule, Redistribute, Role, Shutdown, UpdateSource,
};
pub use firewall::{
    Action, Alias, Firewall, FirewallRule, Networks, PortRange, Ports, Protocol, builtin,
};
pub use policy::{
    AsPathExpression, AsPathNode, Community, CommunityEdit, CommunityPattern, ExtendedCommunity,
    ExtendedCommunityPattern, LargeCommunity, LargeCommunityPattern, NumberRange, RouteChanges,
    RouteConditions, RouteMap, RouteRule, RouteSource,
};
pub use route::{Route, Way};
pub use tunnel::{
    Auth, Certificate, Encapsulation, Identity, Inside, InterfaceKind, LARGEST_REQID, Mtu, Offload,
    Pfs, Ppk, Remote, SecretSource, Tunnel, TunnelRole,
};

/// A whole site, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Site {
    /// This machine.
    pub gateway: Gateway,
    /// The tunnels, in the order of the file.
    pub tunnels: Vec<Tunnel>,
    /// Routing; `None` where the file has no `[bgp]`.
    pub bgp: Option<Bgp>,
    /// Every prefix list by name.
    pub prefix_lists: BTreeMap<String, PrefixList>,
    /// Every route map by name.
    pub route_maps: BTreeMap<String, RouteMap>,
    /// Routes that the file sets, in its order.
    pub routes: Vec<Route>,
    /// Filtering.
    pub firewall: Firewall,
    /// Who may look at what is counted.
    pub metrics: Metrics,
    /// The program itself.
    pub daemon: Daemon,
    /// Each setting's value and where it came from, in the order of the model.
    pub settings: Vec<Setting>,
}

impl Site {
    /// The tunnel of that name.
    #[must_use]
    pub fn tunnel(&self, name: &str) -> Option<&Tunnel> {
        self.tunnels.iter().find(|tunnel| tunnel.name == name)
    }

    /// The neighbor of that name: `oci-1`, or `k8s/192.168.200.31` for one of several addresses.
    #[must_use]
    pub fn neighbor(&self, name: &str) -> Option<&Neighbor> {
        self.bgp
            .as_ref()?
            .neighbors
            .iter()
            .find(|neighbor| neighbor.name == name)
    }

    /// The setting at a path such as `tunnel.oci-1.ike-lifetime`.
    #[must_use]
    pub fn setting(&self, path: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.path == path)
    }

    /// The effective site for people: one line per setting, each with where it came from.
    #[must_use]
    pub fn explain(&self) -> String {
        let width =
            |text: fn(&Setting) -> usize| self.settings.iter().map(text).max().unwrap_or(0).min(48);
        let paths = width(|setting| setting.path.chars().count());
        let values = width(|setting| setting.value.chars().count());
        self.settings
            .iter()
            .map(
                |Setting {
                     path,
                     value,
                     origin,
                 }| format!("{path:<paths$} = {value:<values$}  # {origin}\n"),
            )
            .collect()
    }
}

/// This machine: who it is and what lies behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gateway {
    /// What people call it.
    pub name: String,
    /// The interface towards the ISP, where it is named.
    pub wan: Option<String>,
    /// Our public address: the IKE identity, and the source of what we send when it is on an interface of ours (behind
    /// a NAT it is not). `None` is "auto": the address that the host would use towards each peer.
    pub address: Option<IpAddr>,
    /// Our own networks, with host bits cleared.
    pub networks: Vec<IpNet>,
}

/// Who may look at what is counted, beside who may open the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Metrics {
    /// The address and TCP port for collectors; `None` is none.
    pub listen: Option<SocketAddr>,
}

/// The program's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Daemon {
    /// What carries packets.
    pub data_plane: DataPlane,
    /// What the tunnels' interfaces are on the kernel's data plane, unless a tunnel says otherwise.
    pub interface_kind: InterfaceKind,
    /// What the network card does of ESP, unless a tunnel says otherwise.
    pub offload: Offload,
    /// The control socket.
    pub socket: PathBuf,
    /// What is logged.
    pub log: LogLevel,
    /// Remove interfaces, routes and rules at a clean stop.
    pub cleanup: bool,
    /// Our UDP port for IKE.
    pub ike_port: u16,
    /// Our UDP port for IKE and ESP behind a NAT (RFC 3948).
    pub nat_port: u16,
}

/// What carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataPlane {
    /// The best that this host can do.
    Auto,
    /// The kernel's XFRM.
    Kernel,
    /// A TUN interface and our own ESP.
    Userspace,
}

/// The least severe thing that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Only what has failed.
    Error,
    /// And what somebody may have to act on.
    Warn,
    /// And each change of state.
    Info,
    /// And each message.
    Debug,
    /// And each packet.
    Trace,
}

/// One value of the effective site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// Where it is, for example `tunnel.oci-1.ike-lifetime`.
    pub path: String,
    /// It, for people.
    pub value: String,
    /// Who chose it.
    pub origin: Origin,
}

/// Who chose a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The file, on this line (from 1).
    File {
        /// The line.
        line: usize,
    },
    /// A profile that the file names.
    Profile {
        /// Its name.
        name: &'static str,
    },
    /// Something else in the file, which this follows from.
    Derived {
        /// What it follows from.
        from: &'static str,
    },
    /// The program.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { line } => write!(f, "line {line}"),
            Self::Profile { name } => write!(f, "profile {name}"),
            Self::Derived { from } => write!(f, "from {from}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A duration as the file writes it: the largest unit that divides it, or several (`1h30m`).
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(millis), "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*duration))
}

/// Serializes as people read it.
fn serialize_text<T: fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
