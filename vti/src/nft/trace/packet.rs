//! A packet of which some bits are known.

use std::net::IpAddr;

use super::super::set::padded_name;
use super::super::wire::expression::{Comparison, base, ct, meta};
use super::{Flow, Path};

/// A byte and which of its bits are known. Unknown bits are zero in `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Byte {
    value: u8,
    known: u8,
}

impl Byte {
    pub(super) const UNKNOWN: Self = Self { value: 0, known: 0 };

    pub(super) fn new(value: u8) -> Self {
        Self { value, known: 0xff }
    }

    fn masked(value: u8, known: u8) -> Self {
        Self {
            value: value & known,
            known,
        }
    }

    /// The value, if all of it is known.
    pub(super) fn whole(self) -> Option<u8> {
        (self.known == 0xff).then_some(self.value)
    }

    /// What is masked away is known to be zero, whatever it was.
    pub(super) fn mask_xor(self, mask: u8, xor: u8) -> Self {
        let known = self.known | !mask;
        Self::masked((self.value & mask) ^ xor, known)
    }

    fn can_be(self, other: u8) -> bool {
        (self.value ^ other) & self.known == 0
    }
}

pub(super) fn known(bytes: &[u8]) -> Vec<Byte> {
    bytes.iter().map(|&byte| Byte::new(byte)).collect()
}

pub(super) fn unknown(len: usize) -> Vec<Byte> {
    vec![Byte::UNKNOWN; len]
}

/// The bytes, if all of them are known.
pub(super) fn whole(bytes: &[Byte]) -> Option<Vec<u8>> {
    bytes.iter().map(|byte| byte.whole()).collect()
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Maybe,
}

impl Truth {
    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    pub(super) fn from_bool(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

/// Compares as the kernel does, byte by byte.
pub(super) fn compare(bytes: &[Byte], op: Comparison, value: &[u8]) -> Truth {
    let equal = equal(bytes, value);
    match op {
        Comparison::Equal => return equal,
        Comparison::NotEqual => return equal.not(),
        _ => {}
    }
    let Some(bytes) = whole(bytes) else {
        return Truth::Maybe;
    };
    Truth::from_bool(match op {
        Comparison::Less => bytes.as_slice() < value,
        Comparison::LessOrEqual => bytes.as_slice() <= value,
        Comparison::Greater => bytes.as_slice() > value,
        _ => bytes.as_slice() >= value,
    })
}

pub(super) fn equal(bytes: &[Byte], value: &[u8]) -> Truth {
    if bytes.len() != value.len() {
        return Truth::Maybe;
    }
    if !bytes
        .iter()
        .zip(value)
        .all(|(byte, &value)| byte.can_be(value))
    {
        Truth::No
    } else if bytes.iter().all(|byte| byte.whole().is_some()) {
        Truth::Yes
    } else {
        Truth::Maybe
    }
}

/// What an expression loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loaded {
    Bytes(Vec<Byte>),
    /// There is no such thing in this packet or at this hook: the rule does not match.
    Break,
}

/// One packet of a flow.
pub(super) struct Packet<'a> {
    flow: &'a Flow,
    /// Kernel's numbers of the incoming and the outgoing interface.
    indexes: (Option<u32>, Option<u32>),
    established: bool,
}

impl<'a> Packet<'a> {
    pub(super) fn new(
        flow: &'a Flow,
        indexes: (Option<u32>, Option<u32>),
        established: bool,
    ) -> Self {
        Self {
            flow,
            indexes,
            established,
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.flow.ipv6
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    pub(super) fn protocol(&self) -> Option<u8> {
        self.flow.protocol
    }

    /// Source and destination port.
    pub(super) fn ports(&self) -> (Option<u16>, Option<u16>) {
        (self.flow.source_port, self.flow.destination_port)
    }

    /// Bits as in `ct state`.
    pub(super) fn ct_state(&self) -> u32 {
        if self.established {
            ct::ESTABLISHED
        } else {
            ct::NEW
        }
    }

    pub(super) fn meta(&self, key: u32) -> Loaded {
        let incoming = (
            &self.flow.incoming,
            self.indexes.0,
            self.flow.path == Path::Out,
        );
        let outgoing = (
            &self.flow.outgoing,
            self.indexes.1,
            self.flow.path == Path::In,
        );
        let bytes = match key {
            meta::IIF | meta::IIFNAME if incoming.2 => return Loaded::Break,
            meta::OIF | meta::OIFNAME if outgoing.2 => return Loaded::Break,
            meta::IIF => number(incoming.1),
            meta::OIF => number(outgoing.1),
            meta::IIFNAME => name(incoming.0.as_deref()),
            meta::OIFNAME => name(outgoing.0.as_deref()),
            meta::NFPROTO => known(&[if self.flow.ipv6 { 10 } else { 2 }]),
            meta::PROTOCOL => known(if self.flow.ipv6 {
                &[0x86, 0xdd]
            } else {
                &[0x08, 0x00]
            }),
            meta::L4PROTO => vec![self.flow.protocol.map_or(Byte::UNKNOWN, Byte::new)],
            // PACKET_HOST: neither broadcast nor multicast.
            meta::PKTTYPE => known(&[0]),
            _ => unknown(16),
        };
        Loaded::Bytes(bytes)
    }

    /// Whether an interface that is not known surely is not this one. Nothing that we follow comes from the
    /// loopback, and nothing leaves by the interface that it came in on.
    pub(super) fn excludes(&self, key: u32, value: &[u8]) -> bool {
        const LOOPBACK_INDEX: u32 = 1;
        let is_name = |name: Option<&str>| name.is_some_and(|name| padded_name(name) == value);
        let is_index = |index: Option<u32>| index.is_some_and(|it| it.to_ne_bytes() == value);
        let (incoming, outgoing) = (self.flow.incoming.as_deref(), self.flow.outgoing.as_deref());
        match key {
            meta::IIFNAME if incoming.is_none() => is_name(Some("lo")) || is_name(outgoing),
            meta::OIFNAME if outgoing.is_none() => is_name(Some("lo")) || is_name(incoming),
            meta::IIF if incoming.is_none() => {
                is_index(Some(LOOPBACK_INDEX)) || is_index(self.indexes.1)
            }
            meta::OIF if outgoing.is_none() => {
                is_index(Some(LOOPBACK_INDEX)) || is_index(self.indexes.0)
            }
            _ => false,
        }
    }

    pub(super) fn conntrack(&self, key: u32) -> Vec<Byte> {
        const DIRECTION: u32 = 1;
        const STATUS: u32 = 2;
        const NAT: u32 = 1 << 4 | 1 << 5;
        match key {
            ct::STATE => known(&self.ct_state().to_ne_bytes()),
            DIRECTION if !self.established => known(&[0]),
            // Neither source nor destination was rewritten; the other bits may be anything.
            STATUS => NAT
                .to_ne_bytes()
                .iter()
                .map(|&bits| Byte::masked(0, bits))
                .collect(),
            _ => unknown(16),
        }
    }

    /// What kind of address the destination or the source is.
    pub(super) fn address_type(&self, flags: u32) -> Vec<Byte> {
        const DESTINATION: u32 = 2;
        const UNICAST: u32 = 1;
        const LOCAL: u32 = 2;
        match (self.flow.path, flags & DESTINATION != 0) {
            (Path::In, true) | (Path::Out, false) => number(Some(LOCAL)),
            (Path::Through | Path::Out, true) | (Path::Through | Path::In, false) => {
                number(Some(UNICAST))
            }
        }
    }

    pub(super) fn payload(&self, from: u32, offset: u32, len: u32) -> Loaded {
        let header = match from {
            base::NETWORK if self.flow.ipv6 => self.ipv6_header(),
            base::NETWORK => self.ipv4_header(),
            base::TRANSPORT => self.transport_header(),
            _ => Vec::new(),
        };
        let (start, len) = (offset as usize, len as usize);
        let at = |index: usize| header.get(start + index).copied().unwrap_or(Byte::UNKNOWN);
        Loaded::Bytes((0..len).map(at).collect())
    }

    fn ipv4_header(&self) -> Vec<Byte> {
        let mut header = unknown(20);
        put(&mut header, 0, &[Byte::masked(0x40, 0xf0)]);
        // No fragment: neither "more fragments" nor an offset.
        put(&mut header, 6, &[Byte::masked(0, 0x3f), Byte::new(0)]);
        put(
            &mut header,
            9,
            &[self.flow.protocol.map_or(Byte::UNKNOWN, Byte::new)],
        );
        put(&mut header, 12, &address(self.flow.source));
        put(&mut header, 16, &address(self.flow.destination));
        header
    }

    fn ipv6_header(&self) -> Vec<Byte> {
        let mut header = unknown(40);
        put(&mut header, 0, &[Byte::masked(0x60, 0xf0)]);
        put(
            &mut header,
            6,
            &[self.flow.protocol.map_or(Byte::UNKNOWN, Byte::new)],
        );
        put(&mut header, 8, &address(self.flow.source));
        put(&mut header, 24, &address(self.flow.destination));
        header
    }

    fn transport_header(&self) -> Vec<Byte> {
        let mut header = Vec::new();
        for port in [self.flow.source_port, self.flow.destination_port] {
            header.extend(port.map_or_else(|| unknown(2), |port| known(&port.to_be_bytes())));
        }
        header
    }
}

fn put(header: &mut [Byte], offset: usize, bytes: &[Byte]) {
    header
        .iter_mut()
        .skip(offset)
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
}

fn address(address: Option<IpAddr>) -> Vec<Byte> {
    match address {
        Some(IpAddr::V4(address)) => known(&address.octets()),
        Some(IpAddr::V6(address)) => known(&address.octets()),
        None => Vec::new(),
    }
}

fn number(value: Option<u32>) -> Vec<Byte> {
    value.map_or_else(|| unknown(4), |value| known(&value.to_ne_bytes()))
}

fn name(value: Option<&str>) -> Vec<Byte> {
    value.map_or_else(|| unknown(16), |value| known(&padded_name(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_comparison_needs_only_the_bits_that_it_looks_at() {
        let byte = Byte::masked(0x40, 0xf0);
        assert_eq!(compare(&[byte], Comparison::Equal, &[0x45]), Truth::Maybe);
        assert_eq!(compare(&[byte], Comparison::Equal, &[0x65]), Truth::No);
        let masked = byte.mask_xor(0xf0, 0);
        assert_eq!(compare(&[masked], Comparison::Equal, &[0x40]), Truth::Yes);
        assert_eq!(compare(&[masked], Comparison::NotEqual, &[0x40]), Truth::No);
    }

    #[test]
    fn an_order_is_only_told_of_what_is_known() {
        let port = known(&[1, 0xf4]);
        assert_eq!(compare(&port, Comparison::Less, &[2, 0]), Truth::Yes);
        assert_eq!(
            compare(&port, Comparison::GreaterOrEqual, &[2, 0]),
            Truth::No
        );
        assert_eq!(
            compare(&unknown(2), Comparison::Less, &[2, 0]),
            Truth::Maybe
        );
    }

    #[test]
    fn a_flow_without_addresses_still_says_that_it_is_no_fragment() {
        let flow = Flow::from_cloud("vti1", None, None);
        let packet = Packet::new(&flow, (None, None), false);
        let Loaded::Bytes(mut fragment) = packet.payload(base::NETWORK, 6, 2) else {
            panic!()
        };
        fragment[0] = fragment[0].mask_xor(0x1f, 0);
        assert_eq!(compare(&fragment, Comparison::Equal, &[0, 0]), Truth::Yes);
        assert_eq!(packet.meta(meta::OIFNAME), Loaded::Bytes(unknown(16)));
    }
}
