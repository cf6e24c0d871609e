//! The iptables extensions that nearly every host firewall uses, by the layout of their private data.
//!
//! The `iptables-nft` program writes nf_tables rules, but many of its matches and targets are still the old
//! ones behind a compatibility expression. Layouts are those of `include/uapi/linux/netfilter/xt_*.h`, in the
//! host's byte order. What is not listed here stays undecided.

use super::super::wire::expression::Verdict;
use super::packet::{Packet, Truth};
use super::rule::Wish;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a match says of the packet.
pub(super) fn matches(name: &str, revision: u32, data: &[u8], packet: &Packet<'_>) -> Truth {
    let decided = match (name, revision) {
        ("comment", _) => Some(Truth::Yes),
        ("udp", _) => ports(UDP, data, data.get(8).copied(), packet),
        ("tcp", _) => tcp(data, packet),
        ("multiport", 1) => multiport(data, packet),
        ("state", _) => data
            .first_chunk()
            .map(|mask| Truth::from_bool(packet.ct_state() & u32::from_ne_bytes(*mask) != 0)),
        ("conntrack", 3) => conntrack(data, packet),
        _ => None,
    };
    decided.unwrap_or(Truth::Maybe)
}

/// What a target wants; `None` if it only does something by the way.
pub(super) fn target(name: &str) -> Option<Wish> {
    match name {
        "REJECT" => Some(Wish::Verdict(Verdict::Drop)),
        "DNAT" | "REDIRECT" | "TPROXY" => Some(Wish::Redirect),
        "SNAT" | "MASQUERADE" => Some(Wish::Translate),
        "LOG" | "NFLOG" | "CT" | "MARK" | "CONNMARK" | "TCPMSS" | "AUDIT" | "TRACE" => None,
        _ => Some(Wish::Unknown),
    }
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

/// `struct xt_conntrack_mtinfo3`: flags, inverted flags and states are at 146, 148 and 150.
fn conntrack(data: &[u8], packet: &Packet<'_>) -> Option<Truth> {
    const ONLY_STATE: u16 = 1;
    if u16_at(data, 146)? != ONLY_STATE {
        return None;
    }
    let inverted = u16_at(data, 148)? & ONLY_STATE != 0;
    let has_state = packet.ct_state() & u32::from(u16_at(data, 150)?) != 0;
    Some(Truth::from_bool(has_state != inverted))
}

/// `struct xt_tcp`: ports, option, flags that are looked at, flags that must be set, inversion.
fn tcp(data: &[u8], packet: &Packet<'_>) -> Option<Truth> {
    let by_ports = ports(TCP, data, data.get(11).copied(), packet)?;
    let looks_at_more = *data.get(8)? != 0 || *data.get(9)? != 0;
    Some(if by_ports == Truth::Yes && looks_at_more {
        Truth::Maybe
    } else {
        by_ports
    })
}

/// The beginning of `struct xt_udp` and `struct xt_tcp`: a range of source ports, one of destination ports.
fn ports(wanted: u8, data: &[u8], inverted: Option<u8>, packet: &Packet<'_>) -> Option<Truth> {
    let protocol = packet.protocol();
    if protocol.is_some_and(|protocol| protocol != wanted) {
        return Some(Truth::No);
    }
    if inverted? != 0 {
        return None;
    }
    let (source, destination) = packet.ports();
    let sources = (u16_at(data, 0)?, u16_at(data, 2)?);
    let destinations = (u16_at(data, 4)?, u16_at(data, 6)?);
    let truths = [
        in_range(source, sources),
        in_range(destination, destinations),
    ];
    Some(if truths.contains(&Truth::No) {
        Truth::No
    } else if truths.contains(&Truth::Maybe) || protocol.is_none() {
        Truth::Maybe
    } else {
        Truth::Yes
    })
}

fn in_range(port: Option<u16>, (first, last): (u16, u16)) -> Truth {
    match port {
        Some(port) => Truth::from_bool((first..=last).contains(&port)),
        None if (first, last) == (0, u16::MAX) => Truth::Yes,
        None => Truth::Maybe,
    }
}

/// `struct xt_multiport_v1`: which side, how many, fifteen ports at 2, at 32 for each whether it begins a
/// range that the next one ends, and at 47 whether all is inverted.
fn multiport(data: &[u8], packet: &Packet<'_>) -> Option<Truth> {
    const DESTINATION: u8 = 1;
    let count = usize::from(*data.get(1)?);
    if *data.first()? != DESTINATION || count > 15 {
        return None;
    }
    let inverted = *data.get(47)? != 0;
    let (_, destination) = packet.ports();
    let destination = destination?;
    let mut found = false;
    let mut index = 0;
    while index < count {
        let first = u16_at(data, 2 + 2 * index)?;
        let is_range = *data.get(32 + index)? != 0;
        index += usize::from(is_range);
        let last = u16_at(data, 2 + 2 * index)?;
        found |= (first..=last).contains(&destination);
        index += 1;
    }
    Some(Truth::from_bool(found != inverted))
}

#[cfg(test)]
mod tests {
    use super::super::Flow;
    use super::*;

    /// IKE from a peer, as the first packet or a later one.
    fn judge(name: &str, revision: u32, data: &[u8], established: bool) -> Truth {
        let [_, ike, _] = Flow::from_peer([192, 0, 2, 1].into(), None, None);
        matches(
            name,
            revision,
            data,
            &Packet::new(&ike, (None, None), established),
        )
    }

    fn words(values: &[u16]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect()
    }

    #[test]
    fn udp_ports_are_compared() {
        let mut data = words(&[0, 65_535, 500, 500]);
        data.extend([0, 0]);
        assert_eq!(judge("udp", 0, &data, false), Truth::Yes);
        assert_eq!(judge("tcp", 0, &data, false), Truth::No);
        let mut other = words(&[0, 65_535, 501, 600]);
        other.extend([0, 0]);
        assert_eq!(judge("udp", 0, &other, false), Truth::No);
        data[8] = 2;
        assert_eq!(judge("udp", 0, &data, false), Truth::Maybe);
    }

    #[test]
    fn the_state_of_a_connection_is_known_for_both_extensions() {
        let state = 6_u32.to_ne_bytes();
        assert_eq!(judge("state", 0, &state, false), Truth::No);
        assert_eq!(judge("state", 0, &state, true), Truth::Yes);
        let mut data = vec![0; 146];
        data.extend(words(&[1, 0, 6, 0]));
        assert_eq!(judge("conntrack", 3, &data, false), Truth::No);
        assert_eq!(judge("conntrack", 3, &data, true), Truth::Yes);
        assert_eq!(judge("conntrack", 2, &data, true), Truth::Maybe);
    }

    #[test]
    fn a_list_of_ports_may_hold_ranges_and_be_inverted() {
        let mut data = vec![1, 3];
        let mut list = [0_u16; 15];
        list[..3].copy_from_slice(&[53, 400, 600]);
        data.extend(words(&list));
        data.extend([0, 1, 0]);
        data.resize(48, 0);
        assert_eq!(judge("multiport", 1, &data, false), Truth::Yes);
        data[47] = 1;
        assert_eq!(judge("multiport", 1, &data, false), Truth::No);
        for length in 0..data.len() {
            assert_eq!(judge("multiport", 1, &data[..length], false), Truth::Maybe);
        }
    }

    #[test]
    fn an_extension_that_is_not_known_is_not_decided() {
        assert_eq!(judge("geoip", 1, &[], false), Truth::Maybe);
        assert_eq!(target("SYNPROXY"), Some(Wish::Unknown));
    }
}
