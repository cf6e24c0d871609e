//! Routes on the wire: `RTM_NEWROUTE` and its like (linux/rtnetlink.h).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use nix::errno::Errno;

use crate::{
    ifname::IfName,
    netlink::{Answer, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE},
    netlink::{attributes, put_attribute, u8_at, u16_at, u32_at},
    observed::{NexthopId, RouteObserved, RouteTarget},
    plan::{Hop, NextHop, NextHopSet, ROUTE_PROTOCOL, RouteKey},
};

pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const RTAX_MTU: u16 = 2;

const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
/// Types above this one are not destinations of packets that somebody else's route could name.
const RTN_PROHIBIT: u8 = 8;

const RT_TABLE_LOCAL: u32 = 255;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_NOWHERE: u8 = 255;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_ONLINK: u8 = 4;

/// The size of `struct rtmsg`.
const RTMSG: usize = 12;
/// The size of `struct rtnexthop`.
const RTNEXTHOP: usize = 8;

/// `AF_INET` and `AF_INET6` as the one byte that they take in these headers.
const INET: u8 = 2;
const INET6: u8 = 10;

/// Whether a route with this key may exist before the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// It must not, whoever made it.
    Add,
    /// It may.
    Replace,
}

/// An address's octets in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An address from 4 or 16 octets.
pub(crate) fn read_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*octets.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

fn rtmsg(key: &RouteKey, kind: u8, scope: u8, flags: u32) -> [u8; RTMSG] {
    // Tables above 255 are only in the attribute.
    let table = u8::try_from(key.table).unwrap_or_default();
    let [a, b, c, d] = flags.to_ne_bytes();
    let family = family(key.prefix.addr());
    [
        family,
        key.prefix.prefix_len(),
        0,
        0,
        table,
        ROUTE_PROTOCOL,
        scope,
        kind,
        a,
        b,
        c,
        d,
    ]
}

fn with_key(message: Message, key: &RouteKey) -> Message {
    message
        .attribute(RTA_DST, &octets(key.prefix.network()))
        .attribute(RTA_TABLE, &key.table.to_ne_bytes())
        .attribute(RTA_PRIORITY, &key.metric.to_ne_bytes())
}

/// Asks for all routes of both families.
pub(crate) fn dump() -> Message {
    Message::new(RTM_GETROUTE, NLM_F_DUMP, &[0; RTMSG])
}

/// Makes or replaces a route.
///
/// # Errors
/// `ENODEV` for a next hop whose interface has no number, `EINVAL` for what can't be written.
pub(crate) fn put(
    verb: Verb,
    key: &RouteKey,
    route: &RouteObserved,
    index_of: impl FnMut(IfName) -> Option<u32>,
) -> Result<Message, Errno> {
    let flags = match verb {
        Verb::Add => NLM_F_CREATE | NLM_F_EXCL,
        Verb::Replace => NLM_F_CREATE | NLM_F_REPLACE,
    };
    let (kind, scope, onlink) = match &route.target {
        RouteTarget::Blackhole => (RTN_BLACKHOLE, RT_SCOPE_UNIVERSE, false),
        RouteTarget::Inline(hops) => match &hops[..] {
            [
                NextHop {
                    hop: Hop { via: None, .. },
                    ..
                },
            ] => (RTN_UNICAST, RT_SCOPE_LINK, false),
            [only] => (RTN_UNICAST, RT_SCOPE_UNIVERSE, only.hop.onlink),
            _ => (RTN_UNICAST, RT_SCOPE_UNIVERSE, false),
        },
        RouteTarget::Nexthop(_) => (RTN_UNICAST, RT_SCOPE_UNIVERSE, false),
        RouteTarget::Unknown => return Err(Errno::EINVAL),
    };
    let fixed = rtmsg(
        key,
        kind,
        scope,
        if onlink { RTNH_F_ONLINK.into() } else { 0 },
    );
    let message = with_key(Message::new(RTM_NEWROUTE, flags | NLM_F_ACK, &fixed), key)
        .maybe(RTA_PREFSRC, route.prefsrc.map(octets));
    match &route.target {
        RouteTarget::Blackhole | RouteTarget::Unknown => Ok(message),
        RouteTarget::Nexthop(id) => Ok(message.attribute(RTA_NH_ID, &id.0.to_ne_bytes())),
        RouteTarget::Inline(hops) => with_hops(message, family(key.prefix.addr()), hops, index_of),
    }
}

/// A gateway of the route's own family, or of the other one (RFC 8950).
fn gateway_kind(family: u8, via: IpAddr) -> u16 {
    if self::family(via) == family {
        RTA_GATEWAY
    } else {
        RTA_VIA
    }
}

/// Its value: `struct rtvia`, which begins with the family, where that is another one.
fn gateway(family: u8, via: IpAddr) -> Vec<u8> {
    let other = self::family(via);
    let head = u16::from(other).to_ne_bytes();
    let head = head.into_iter().filter(|_| other != family);
    head.chain(octets(via)).collect()
}

/// An address of `struct rtvia`.
fn read_via(value: &[u8]) -> Option<IpAddr> {
    read_address(value.get(2..)?)
}

fn with_hops(
    message: Message,
    family: u8,
    hops: &NextHopSet,
    mut index_of: impl FnMut(IfName) -> Option<u32>,
) -> Result<Message, Errno> {
    if let [NextHop { hop, .. }] = &hops[..] {
        let index = index_of(hop.dev).ok_or(Errno::ENODEV)?;
        return Ok(message.attribute(RTA_OIF, &index.to_ne_bytes()).maybe(
            hop.via.map_or(RTA_GATEWAY, |via| gateway_kind(family, via)),
            hop.via.map(|via| gateway(family, via)),
        ));
    }
    let mut entries = Vec::new();
    for NextHop { hop, weight } in hops.iter() {
        let index = index_of(hop.dev).ok_or(Errno::ENODEV)?;
        let mut way = Vec::new();
        if let Some(via) = hop.via {
            put_attribute(&mut way, gateway_kind(family, via), &gateway(family, via));
        }
        // struct rtnexthop: length, flags, weight less one, interface.
        let length = u16::try_from(RTNEXTHOP + way.len()).map_err(|_| Errno::EINVAL)?;
        entries.extend_from_slice(&length.to_ne_bytes());
        let flags = if hop.onlink { RTNH_F_ONLINK } else { 0 };
        entries.extend_from_slice(&[flags, weight.saturating_sub(1)]);
        entries.extend_from_slice(&index.to_ne_bytes());
        entries.extend_from_slice(&way);
    }
    Ok(message.attribute(RTA_MULTIPATH, &entries))
}

/// Deletes a route of ours. The protocol number in the request keeps it off the routes of others.
pub(crate) fn delete(key: &RouteKey) -> Message {
    let fixed = rtmsg(key, 0, RT_SCOPE_NOWHERE, 0);
    with_key(Message::new(RTM_DELROUTE, NLM_F_ACK, &fixed), key)
}

/// Asks which way a packet would go.
pub(crate) fn lookup(to: IpAddr, from: Option<IpAddr>) -> Message {
    let bits = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let source_bits = from.as_ref().map_or(0, bits);
    let fixed = [
        family(to),
        bits(&to),
        source_bits,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    Message::new(RTM_GETROUTE, 0, &fixed)
        .attribute(RTA_DST, &octets(to))
        .maybe(RTA_SRC, from.map(octets))
}

/// A route as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) key: RouteKey,
    pub(crate) protocol: u8,
    pub(crate) kind: u8,
    pub(crate) scope: u8,
    pub(crate) prefsrc: Option<IpAddr>,
    pub(crate) nexthop: Option<NexthopId>,
    /// Interface, gateway, weight, on-link.
    pub(crate) hops: Vec<(u32, Option<IpAddr>, u8, bool)>,
    /// The route's own MTU in bytes.
    pub(crate) mtu: Option<u32>,
    /// An encapsulation, a next hop of another family …: nothing that we make.
    pub(crate) is_special: bool,
}

impl Told {
    /// A route in a table that a person would look at: not cached, not one of the host's own
    /// addresses, without a type of service.
    pub(crate) fn read(answer: &Answer<'_>) -> Option<Self> {
        let body = answer.body;
        let is_cloned = u32_at(body, 8)? & RTM_F_CLONED != 0;
        let told = Self::read_any(answer)?;
        let ordinary = !is_cloned
            && u8_at(body, 3)? == 0
            && (RTN_UNICAST..=RTN_PROHIBIT).contains(&told.kind)
            && !matches!(told.kind, 2..=5)
            && told.key.table != RT_TABLE_LOCAL;
        ordinary.then_some(told)
    }

    /// Any route, also the answer to a lookup.
    pub(crate) fn read_any(answer: &Answer<'_>) -> Option<Self> {
        if answer.kind != RTM_NEWROUTE && answer.kind != RTM_DELROUTE {
            return None;
        }
        let body = answer.body;
        let unspecified: IpAddr = match u8_at(body, 0)? {
            INET => Ipv4Addr::UNSPECIFIED.into(),
            INET6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut destination = unspecified;
        let mut told = Self {
            key: RouteKey {
                table: u8_at(body, 4)?.into(),
                prefix: IpNet::from(unspecified),
                metric: 0,
            },
            protocol: u8_at(body, 5)?,
            kind: u8_at(body, 7)?,
            scope: u8_at(body, 6)?,
            prefsrc: None,
            nexthop: None,
            hops: Vec::new(),
            mtu: None,
            is_special: false,
        };
        let (mut oif, mut gateway) = (None, None);
        for (kind, value) in attributes(body, RTMSG) {
            match kind {
                RTA_DST => destination = read_address(value)?,
                RTA_TABLE => told.key.table = u32_at(value, 0)?,
                RTA_PRIORITY => told.key.metric = u32_at(value, 0)?,
                RTA_PREFSRC => told.prefsrc = read_address(value),
                RTA_NH_ID => told.nexthop = Some(NexthopId(u32_at(value, 0)?)),
                RTA_OIF => oif = u32_at(value, 0),
                RTA_GATEWAY => gateway = read_address(value),
                RTA_MULTIPATH => told.read_hops(value),
                RTA_METRICS => told.mtu = read_mtu(value),
                RTA_VIA => gateway = read_via(value),
                RTA_ENCAP => told.is_special = true,
                _ => {}
            }
        }
        told.key.prefix = IpNet::new(destination, u8_at(body, 1)?).ok()?.trunc();
        if let Some(oif) = oif {
            let onlink = u32_at(body, 8)? & u32::from(RTNH_F_ONLINK) != 0;
            told.hops.push((oif, gateway, 1, onlink));
        }
        Some(told)
    }

    fn read_hops(&mut self, mut entries: &[u8]) {
        while let Some(length) = u16_at(entries, 0).map(usize::from) {
            let (Some(entry), Some(index)) = (entries.get(..length), u32_at(entries, 4)) else {
                break;
            };
            let flags = u8_at(entry, 2).unwrap_or_default();
            let weight = u8_at(entry, 3).unwrap_or_default().saturating_add(1);
            let mut gateway = None;
            for (kind, value) in attributes(entry, RTNEXTHOP) {
                match kind {
                    RTA_GATEWAY => gateway = read_address(value),
                    RTA_VIA => gateway = read_via(value),
                    RTA_ENCAP => self.is_special = true,
                    _ => {}
                }
            }
            self.hops
                .push((index, gateway, weight, flags & RTNH_F_ONLINK != 0));
            match entries.get(length.next_multiple_of(4)..) {
                Some(rest) if length >= RTNEXTHOP => entries = rest,
                _ => break,
            }
        }
    }

    /// Packets go straight to their destination on one interface.
    pub(crate) fn on_link(&self) -> Option<u32> {
        match self.hops[..] {
            [(index, None, ..)] if self.kind == RTN_UNICAST && self.nexthop.is_none() => {
                Some(index)
            }
            _ => None,
        }
    }

    /// The route as one of ours.
    pub(crate) fn observed(&self, names: &BTreeMap<u32, IfName>) -> RouteObserved {
        RouteObserved {
            target: self.target(names),
            prefsrc: self.prefsrc,
        }
    }

    fn target(&self, names: &BTreeMap<u32, IfName>) -> RouteTarget {
        match (self.kind, self.nexthop) {
            _ if self.is_special => RouteTarget::Unknown,
            (RTN_BLACKHOLE, _) => RouteTarget::Blackhole,
            (RTN_UNICAST, Some(id)) => RouteTarget::Nexthop(id),
            (RTN_UNICAST, None) if !self.hops.is_empty() => {
                let hop = |&(index, via, weight, onlink): &(u32, Option<IpAddr>, u8, bool)| {
                    let hop = Hop {
                        dev: *names.get(&index)?,
                        via,
                        onlink,
                    };
                    Some(NextHop { hop, weight })
                };
                let hops: Option<NextHopSet> = self.hops.iter().map(hop).collect();
                hops.map_or(RouteTarget::Unknown, RouteTarget::Inline)
            }
            _ => RouteTarget::Unknown,
        }
    }
}

fn read_mtu(metrics: &[u8]) -> Option<u32> {
    attributes(metrics, 0)
        .find(|(kind, _)| *kind == RTAX_MTU)
        .and_then(|(_, v)| u32_at(v, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::answers;

    #[test]
    fn routes_read_as_they_were_written() {
        let names: BTreeMap<u32, IfName> =
            [(4, "tun1".parse().unwrap()), (5, "tun2".parse().unwrap())].into();
        let index_of = |dev| {
            names
                .iter()
                .find(|(_, name)| **name == dev)
                .map(|(index, _)| *index)
        };
        let hop = |dev: &str, via: &str| NextHop::via(via.parse().unwrap(), dev.parse().unwrap());
        let targets = [
            RouteTarget::Blackhole,
            RouteTarget::Nexthop(NexthopId(77)),
            RouteTarget::Inline([hop("tun1", "10.1.0.1")].into()),
            RouteTarget::Inline([NextHop::dev("tun1".parse().unwrap())].into()),
            RouteTarget::Inline(
                [
                    hop("tun1", "10.1.0.1"),
                    NextHop {
                        weight: 9,
                        ..hop("tun2", "10.2.0.1")
                    },
                ]
                .into(),
            ),
        ];
        for prefix in ["10.0.0.0/16", "0.0.0.0/0", "2001:db8::/32"] {
            for target in &targets {
                let key = RouteKey {
                    table: 1000,
                    ..RouteKey::main(prefix.parse().unwrap())
                };
                let route = RouteObserved {
                    target: target.clone(),
                    prefsrc: Some(key.prefix.network()),
                };
                let bytes = put(Verb::Add, &key, &route, index_of).unwrap().bytes(1);

                let told = Told::read(&answers(&bytes).next().unwrap()).unwrap();

                assert_eq!((told.key, told.protocol), (key, ROUTE_PROTOCOL));
                assert_eq!(told.observed(&names), route);
            }
        }
    }

    #[test]
    fn truncated_routes_do_not_panic() {
        let hops: NextHopSet = ["10.1.0.1", "10.1.0.3"]
            .map(|via| NextHop::via(via.parse().unwrap(), "t".parse().unwrap()))
            .into();
        let route = RouteObserved {
            target: RouteTarget::Inline(hops),
            prefsrc: None,
        };
        let key = RouteKey::main("10.0.0.0/8".parse().unwrap());
        let bytes = put(Verb::Replace, &key, &route, |_| Some(1))
            .unwrap()
            .bytes(1);
        let answer = answers(&bytes).next().unwrap();
        for length in 0..answer.body.len() {
            let _ = Told::read(&Answer {
                body: &answer.body[..length],
                ..answer
            });
        }
    }
}
