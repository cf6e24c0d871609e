//! One change of the host. An [`Op`] prints as the command that a person would type for it.

use std::fmt;

use ipnet::IpNet;
use nix::errno::Errno;
use serde::{Serialize, Serializer};

use crate::{
    ifname::IfName,
    observed::{Member, NexthopId, RouteObserved, RouteTarget},
    plan::{Hop, LinkKind, MAIN_TABLE, NextHop, ROUTE_PROTOCOL, RouteKey},
    sysctl::Sysctl,
};

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Changes a kernel setting, after `from` went to the state file as its original value (unless
    /// an older original is there already).
    SetSysctl {
        /// The setting.
        key: Sysctl,
        /// Its present value.
        from: String,
        /// Its new value.
        to: String,
    },
    /// Gives a kernel setting its original value back and forgets it.
    RestoreSysctl {
        /// The setting.
        key: Sysctl,
        /// The original value.
        to: String,
    },
    /// Forgets the original of a setting that somebody else has changed since, or that is gone.
    ForgetSysctl {
        /// The setting.
        key: Sysctl,
    },
    /// Makes a tunnel interface, down and without addresses; refused if there is one of that name. A TUN is made by the data
    /// plane that holds it, so for a TUN this is only what a person would type.
    AddLink {
        /// The interface.
        dev: IfName,
        /// What it is made of.
        kind: LinkKind,
    },
    /// Gives a `vti` interface other keys or outer addresses, in place.
    ChangeLink {
        /// The interface.
        dev: IfName,
        /// What it is made of from now on.
        kind: LinkKind,
    },
    /// Marks an interface as ours.
    SetAlias {
        /// The interface.
        dev: IfName,
        /// The mark, `causeway:<tunnel>`.
        alias: String,
    },
    /// Sets an interface's MTU.
    SetMtu {
        /// The interface.
        dev: IfName,
        /// Bytes.
        mtu: u32,
    },
    /// Brings an interface up.
    SetUp {
        /// The interface.
        dev: IfName,
    },
    /// Puts an address on an interface; no harm if it is there.
    AddAddress {
        /// The interface.
        dev: IfName,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Takes an address away.
    DelAddress {
        /// The interface.
        dev: IfName,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Deletes an interface of ours: one that is left over, or that has to be made anew.
    DelLink {
        /// The interface.
        dev: IfName,
    },
    /// Makes a nexthop object.
    AddNexthop {
        /// Its id.
        id: NexthopId,
        /// Where it leads.
        hop: Hop,
    },
    /// Makes a nexthop group.
    AddGroup {
        /// Its id.
        id: NexthopId,
        /// Its members.
        members: Vec<Member>,
    },
    /// Changes the members of a nexthop group, and so all routes that point at it, in one stroke.
    ReplaceGroup {
        /// Its id.
        id: NexthopId,
        /// Its new members.
        members: Vec<Member>,
    },
    /// Deletes a nexthop object or group that no route uses any more.
    DelNexthop {
        /// Its id.
        id: NexthopId,
    },
    /// Makes a route; refused if there is one with the same key, whoever made it.
    AddRoute {
        /// The route's key.
        key: RouteKey,
        /// What it does.
        route: RouteObserved,
    },
    /// Points a route of ours elsewhere, without a moment in which there is none.
    ReplaceRoute {
        /// The route's key.
        key: RouteKey,
        /// What it does from now on.
        route: RouteObserved,
    },
    /// Deletes a route of ours.
    DelRoute {
        /// The route's key.
        key: RouteKey,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSysctl { key, to, .. } | Self::RestoreSysctl { key, to } => {
                write!(f, "sysctl -w {key}={to}")
            }
            Self::ForgetSysctl { key } => write!(f, "# {key}: no longer ours to give back"),
            Self::AddLink {
                dev,
                kind: LinkKind::Tun,
            } => write!(f, "ip tuntap add dev {dev} mode tun"),
            Self::AddLink { dev, kind } => write!(f, "ip link add dev {dev} type {kind}"),
            Self::ChangeLink { dev, kind } => write!(f, "ip link change dev {dev} type {kind}"),
            Self::SetAlias { dev, alias } => write!(f, "ip link set dev {dev} alias {alias}"),
            Self::SetMtu { dev, mtu } => write!(f, "ip link set dev {dev} mtu {mtu}"),
            Self::SetUp { dev } => write!(f, "ip link set dev {dev} up"),
            Self::AddAddress { dev, address } => {
                write!(f, "ip address replace {address} dev {dev}")
            }
            Self::DelAddress { dev, address } => write!(f, "ip address del {address} dev {dev}"),
            Self::DelLink { dev } => write!(f, "ip link del dev {dev}"),
            Self::AddNexthop { id, hop } => {
                write!(f, "ip nexthop add id {id} {hop} proto {ROUTE_PROTOCOL}")
            }
            Self::AddGroup { id, members } => write_group(f, "add", *id, members),
            Self::ReplaceGroup { id, members } => write_group(f, "replace", *id, members),
            Self::DelNexthop { id } => write!(f, "ip nexthop del id {id}"),
            Self::AddRoute { key, route } => write_route(f, "add", key, route),
            Self::ReplaceRoute { key, route } => write_route(f, "replace", key, route),
            Self::DelRoute { key } => {
                write!(f, "{} del ", ip_route(key))?;
                write_key(f, "", key)
            }
        }
    }
}

impl Serialize for Op {
    /// As the command.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn write_group(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    id: NexthopId,
    members: &[Member],
) -> fmt::Result {
    write!(f, "ip nexthop {verb} id {id} group ")?;
    for (n, member) in members.iter().enumerate() {
        let slash = if n == 0 { "" } else { "/" };
        write!(f, "{slash}{}", member.id)?;
        if member.weight != 1 {
            write!(f, ",{}", member.weight)?;
        }
    }
    write!(f, " proto {ROUTE_PROTOCOL}")
}

fn write_route(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    key: &RouteKey,
    route: &RouteObserved,
) -> fmt::Result {
    write!(f, "{} {verb} ", ip_route(key))?;
    let kind = if route.target == RouteTarget::Blackhole {
        "blackhole "
    } else {
        ""
    };
    write_key(f, kind, key)?;
    if let Some(source) = route.prefsrc {
        write!(f, " src {source}")?;
    }
    match &route.target {
        RouteTarget::Blackhole | RouteTarget::Unknown => Ok(()),
        RouteTarget::Nexthop(id) => write!(f, " nhid {id}"),
        RouteTarget::Inline(hops) => match &hops[..] {
            [NextHop { hop, .. }] => write!(f, " {hop}"),
            hops => hops
                .iter()
                .try_for_each(|h| write!(f, " nexthop {} weight {}", h.hop, h.weight.max(1))),
        },
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, kind: &str, key: &RouteKey) -> fmt::Result {
    write!(f, "{kind}{}", key.prefix)?;
    if key.table != MAIN_TABLE {
        write!(f, " table {}", key.table)?;
    }
    write!(f, " metric {} proto {ROUTE_PROTOCOL}", key.metric)
}

fn ip_route(key: &RouteKey) -> &'static str {
    match key.prefix {
        IpNet::V4(_) => "ip route",
        IpNet::V6(_) => "ip -6 route",
    }
}

impl Op {
    /// It deletes a nexthop object, and with it every route that points there.
    pub(crate) fn clears_nexthop(&self) -> bool {
        matches!(self, Self::DelNexthop { .. })
    }

    /// The kernel's refusal means that the operation's aim is reached already.
    pub(crate) fn is_done_already(&self, errno: Errno) -> bool {
        matches!(
            (self, errno),
            (
                Self::DelAddress { .. },
                Errno::EADDRNOTAVAIL | Errno::ENODEV
            ) | (Self::DelLink { .. }, Errno::ENODEV)
                | (
                    Self::DelNexthop { .. } | Self::ForgetSysctl { .. },
                    Errno::ENOENT
                )
                | (Self::DelRoute { .. }, Errno::ESRCH)
        )
    }
}
