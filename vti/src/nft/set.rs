//! Sets of keys as sorted, merged intervals of bytes.
//!
//! The kernel compares keys byte by byte, so an address, a port and an interface's name are all arrays in
//! network order. Keeping every set as disjoint inclusive intervals makes two sets with the same meaning
//! equal, however they were written, and whichever order the kernel returns them in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::ruleset::{BgpPeer, PortRange};

/// Bytes of an interface name in a key: padded with NUL.
pub(super) const IFNAME_LEN: usize = 16;

/// What the keys of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyType {
    Ipv4,
    Ipv6,
    Service,
    Protocol,
    Ifname,
    IfnameIpv4,
    IfnameIpv6,
}

impl KeyType {
    pub(super) const ALL: [Self; 7] = [
        Self::Ipv4,
        Self::Ipv6,
        Self::Service,
        Self::Protocol,
        Self::Ifname,
        Self::IfnameIpv4,
        Self::IfnameIpv6,
    ];

    /// Length of a key in bytes.
    pub(super) fn len(self) -> u32 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 | Self::Ifname => 16,
            Self::Service => 2,
            Self::Protocol => 1,
            Self::IfnameIpv4 => 20,
            Self::IfnameIpv6 => 32,
        }
    }

    /// The number by which the `nft` program knows the type. The kernel only stores it; a concatenation
    /// packs six bits for each part.
    pub(super) fn number(self) -> u32 {
        const IFNAME: u32 = 41;
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Service => 13,
            Self::Ifname => IFNAME,
            Self::IfnameIpv4 => IFNAME << 6 | 7,
            Self::IfnameIpv6 => IFNAME << 6 | 8,
        }
    }

    /// The type in the words of the nft language.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Service => "inet_service",
            Self::Protocol => "inet_proto",
            Self::Ifname => "ifname",
            Self::IfnameIpv4 => "ifname . ipv4_addr",
            Self::IfnameIpv6 => "ifname . ipv6_addr",
        }
    }

    /// Whether named sets of this type hold ranges.
    pub(super) fn is_interval(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6 | Self::Service)
    }
}

/// Keys from `low` to `high`, both included and of the same length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub(super) low: Vec<u8>,
    pub(super) high: Vec<u8>,
}

impl Interval {
    pub(super) fn single(key: Vec<u8>) -> Self {
        Self {
            high: key.clone(),
            low: key,
        }
    }

    pub(super) fn is_single(&self) -> bool {
        self.low == self.high
    }
}

/// A set: its type and its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) key: KeyType,
    intervals: Vec<Interval>,
}

impl Set {
    /// Sorts the intervals; joins those that touch or overlap where the type has ranges.
    pub(super) fn new(key: KeyType, intervals: Vec<Interval>) -> Self {
        Self {
            key,
            intervals: normalise(intervals, key.is_interval()),
        }
    }

    pub(super) fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    pub(super) fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The IPv4 and the IPv6 part of a list of networks.
    pub(super) fn from_networks(networks: &[IpNet]) -> [Self; 2] {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push(Interval {
                    low: net.network().octets().to_vec(),
                    high: net.broadcast().octets().to_vec(),
                }),
                IpNet::V6(net) => v6.push(Interval {
                    low: net.network().octets().to_vec(),
                    high: net.broadcast().octets().to_vec(),
                }),
            }
        }
        [Self::new(KeyType::Ipv4, v4), Self::new(KeyType::Ipv6, v6)]
    }

    pub(super) fn from_ports(ranges: &[PortRange]) -> Self {
        let intervals = ranges.iter().map(|range| Interval {
            low: range.first().to_be_bytes().to_vec(),
            high: range.last().to_be_bytes().to_vec(),
        });
        Self::new(KeyType::Service, intervals.collect())
    }

    pub(super) fn from_protocols(protocols: &[u8]) -> Self {
        let intervals = protocols
            .iter()
            .map(|&number| Interval::single(vec![number]));
        Self::new(KeyType::Protocol, intervals.collect())
    }

    pub(super) fn from_interfaces<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let intervals = names
            .into_iter()
            .map(|name| Interval::single(padded_name(name)));
        Self::new(KeyType::Ifname, intervals.collect())
    }

    /// The IPv4 and the IPv6 part of a list of pairs of interface and address.
    pub(super) fn from_peers<'a>(peers: impl IntoIterator<Item = &'a BgpPeer>) -> [Self; 2] {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for peer in peers {
            let mut key = padded_name(&peer.interface);
            match peer.address {
                IpAddr::V4(address) => {
                    key.extend(address.octets());
                    v4.push(Interval::single(key));
                }
                IpAddr::V6(address) => {
                    key.extend(address.octets());
                    v6.push(Interval::single(key));
                }
            }
        }
        [
            Self::new(KeyType::IfnameIpv4, v4),
            Self::new(KeyType::IfnameIpv6, v6),
        ]
    }

    /// The elements as the nft language writes them.
    pub(super) fn elements_text(&self) -> String {
        let elements: Vec<_> = self
            .intervals
            .iter()
            .map(|i| interval_text(self.key, i))
            .collect();
        elements.join(", ")
    }
}

/// An interface's name as the kernel compares it: NUL-padded to 16 bytes.
pub(super) fn padded_name(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(IFNAME_LEN, 0);
    key
}

/// Sorted, without duplicates and, if asked, with neighbours joined.
pub(super) fn normalise(mut intervals: Vec<Interval>, join: bool) -> Vec<Interval> {
    intervals.sort();
    intervals.dedup();
    if !join {
        return intervals;
    }
    let mut joined: Vec<Interval> = Vec::with_capacity(intervals.len());
    for next in intervals {
        match joined.last_mut() {
            Some(last) if touches(last, &next) => {
                if next.high > last.high {
                    last.high = next.high;
                }
            }
            _ => joined.push(next),
        }
    }
    joined
}

/// Whether `next`, which does not begin before `last`, begins inside it or right after it.
fn touches(last: &Interval, next: &Interval) -> bool {
    successor(&last.high).is_none_or(|after| next.low <= after)
}

/// The next key, or `None` after the highest.
pub(super) fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    for byte in next.iter_mut().rev() {
        let (value, overflow) = byte.overflowing_add(1);
        *byte = value;
        if !overflow {
            return Some(next);
        }
    }
    None
}

/// The previous key, or `None` before the lowest.
pub(super) fn predecessor(key: &[u8]) -> Option<Vec<u8>> {
    let mut previous = key.to_vec();
    for byte in previous.iter_mut().rev() {
        let (value, underflow) = byte.overflowing_sub(1);
        *byte = value;
        if !underflow {
            return Some(previous);
        }
    }
    None
}

/// Prefix length of an interval that is a CIDR block.
pub(super) fn prefix_len(interval: &Interval) -> Option<u32> {
    let bits = interval.low.len() as u32 * 8;
    let mut host = 0;
    let mut in_host = true;
    for (low, high) in interval.low.iter().zip(&interval.high).rev() {
        let varying = low ^ high;
        if in_host {
            let ones = varying.trailing_ones();
            if low & varying != 0 || u32::from(varying).count_ones() != ones {
                return None;
            }
            host += ones;
            in_host = ones == 8;
        } else if varying != 0 {
            return None;
        }
    }
    Some(bits - host)
}

/// One element in the nft language.
pub(super) fn interval_text(key: KeyType, interval: &Interval) -> String {
    let low = key_text(key, &interval.low);
    if interval.is_single() {
        return low;
    }
    match prefix_len(interval) {
        Some(length) if matches!(key, KeyType::Ipv4 | KeyType::Ipv6) => format!("{low}/{length}"),
        _ => format!("{low}-{}", key_text(key, &interval.high)),
    }
}

fn key_text(key: KeyType, bytes: &[u8]) -> String {
    match key {
        KeyType::Ipv4 | KeyType::Ipv6 => address_text(bytes),
        KeyType::Service => match bytes {
            [high, low] => u16::from_be_bytes([*high, *low]).to_string(),
            _ => hex(bytes),
        },
        KeyType::Protocol => match bytes {
            [number] => protocol_text(*number),
            _ => hex(bytes),
        },
        KeyType::Ifname => name_text(bytes),
        KeyType::IfnameIpv4 | KeyType::IfnameIpv6 => {
            let (name, address) = bytes.split_at_checked(IFNAME_LEN).unwrap_or((bytes, &[]));
            format!("{} . {}", name_text(name), address_text(address))
        }
    }
}

/// A protocol by the name that `nft` has for it, or by its number.
pub(super) fn protocol_text(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        50 => "esp".to_owned(),
        51 => "ah".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn address_text(bytes: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Ipv4Addr::from(octets).to_string()
    } else if let Ok(octets) = <[u8; 16]>::try_from(bytes) {
        Ipv6Addr::from(octets).to_string()
    } else {
        hex(bytes)
    }
}

pub(super) fn name_text(bytes: &[u8]) -> String {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    format!("\"{}\"", String::from_utf8_lossy(name))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(networks: &[&str]) -> Set {
        let networks: Vec<IpNet> = networks.iter().map(|net| net.parse().unwrap()).collect();
        let [set, _] = Set::from_networks(&networks);
        set
    }

    #[test]
    fn networks_that_touch_or_overlap_become_one_element() {
        let set = v4(&[
            "10.0.0.128/25",
            "10.0.0.0/25",
            "10.0.0.7/32",
            "192.0.2.1/32",
        ]);
        assert_eq!(set.elements_text(), "10.0.0.0/24, 192.0.2.1");
    }

    #[test]
    fn what_is_not_a_block_is_written_as_a_range() {
        let set = v4(&["10.0.0.0/25", "10.0.0.128/26"]);
        assert_eq!(set.elements_text(), "10.0.0.0-10.0.0.191");
    }

    #[test]
    fn the_whole_address_space_and_the_last_address_do_not_overflow() {
        assert_eq!(
            v4(&["0.0.0.0/0", "255.255.255.255/32"]).elements_text(),
            "0.0.0.0/0"
        );
        assert_eq!(
            v4(&["255.255.255.255/32"]).elements_text(),
            "255.255.255.255"
        );
        assert_eq!(successor(&[255, 255]), None);
        assert_eq!(predecessor(&[0, 0]), None);
        assert_eq!(predecessor(&[1, 0]), Some(vec![0, 255]));
    }

    #[test]
    fn pairs_are_kept_apart_even_when_their_addresses_touch() {
        let peer = |last| BgpPeer {
            interface: "vti1".into(),
            address: [10, 1, 0, last].into(),
        };
        let [set, none] = Set::from_peers(&[peer(2), peer(1)]);
        assert_eq!(
            set.elements_text(),
            r#""vti1" . 10.1.0.1, "vti1" . 10.1.0.2"#
        );
        assert!(none.is_empty());
    }
}
