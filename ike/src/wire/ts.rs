//! Traffic selectors (RFC 7296 section 3.13): ranges of addresses, ports and protocols.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{Reader, WireError, Writer};

/// A range of addresses, with ports and protocol. All bounds are inclusive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficSelector {
    start: IpAddr,
    end: IpAddr,
    protocol: u8,
    start_port: u16,
    end_port: u16,
}

impl From<IpNet> for TrafficSelector {
    /// Every protocol and port of a network.
    fn from(net: IpNet) -> Self {
        let start = net.network();
        let end = match net {
            // `broadcast()` of ipnet is the last address for every prefix length.
            IpNet::V4(net) => IpAddr::V4(net.broadcast()),
            IpNet::V6(net) => IpAddr::V6(net.broadcast()),
        };
        Self {
            start,
            end,
            protocol: 0,
            start_port: 0,
            end_port: u16::MAX,
        }
    }
}

impl TrafficSelector {
    /// Everything that IPv4 can carry: 0.0.0.0/0, the selector of a route-based tunnel.
    #[must_use]
    pub fn any_v4() -> Self {
        Self::from(IpNet::from(ipnet::Ipv4Net::default()))
    }

    /// Everything that IPv6 can carry: ::/0.
    #[must_use]
    pub fn any_v6() -> Self {
        Self::from(IpNet::from(ipnet::Ipv6Net::default()))
    }

    /// The same addresses, but one protocol and a range of ports only.
    #[must_use]
    pub const fn restricted(self, protocol: u8, start_port: u16, end_port: u16) -> Self {
        Self {
            protocol,
            start_port,
            end_port,
            ..self
        }
    }

    /// The part that both selectors cover, if there is one.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, p) | (p, 0) => p,
            (a, b) if a == b => a,
            _ => return None,
        };
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        let start_port = self.start_port.max(other.start_port);
        let end_port = self.end_port.min(other.end_port);
        (start <= end && start_port <= end_port).then_some(Self {
            start,
            end,
            protocol,
            start_port,
            end_port,
        })
    }

    /// Whether this selector covers all of `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other) == Some(*other)
    }

    pub(super) fn decode_list(body: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut r = Reader::new(body);
        let count = r.u8("number of traffic selectors")?;
        r.take(3, "reserved bytes of traffic selectors")?;
        let mut list = Vec::with_capacity(usize::from(count).min(16));
        for _ in 0..count {
            // Selectors of a type that we do not know match nothing, and are left out.
            if let Some(ts) = Self::decode(&mut r)? {
                list.push(ts);
            }
        }
        if !r.is_empty() {
            return Err(WireError::Length {
                what: "traffic selectors",
            });
        }
        Ok(list)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        let kind = r.u8("traffic selector type")?;
        let protocol = r.u8("traffic selector protocol")?;
        let length = usize::from(r.u16("traffic selector length")?);
        let rest = length.checked_sub(4).ok_or(WireError::Length {
            what: "traffic selector",
        })?;
        let mut r = Reader::new(r.take(rest, "traffic selector")?);
        if kind != 7 && kind != 8 {
            return Ok(None);
        }
        let start_port = r.u16("start port")?;
        let end_port = r.u16("end port")?;
        let (start, end): (IpAddr, IpAddr) = if kind == 7 {
            (
                r.array::<4>("start address")?.into(),
                r.array::<4>("end address")?.into(),
            )
        } else {
            (
                r.array::<16>("start address")?.into(),
                r.array::<16>("end address")?.into(),
            )
        };
        if !r.is_empty() {
            return Err(WireError::Length {
                what: "traffic selector",
            });
        }
        if start > end {
            return Err(WireError::Syntax {
                what: "traffic selector: start address above end",
            });
        }
        // OPAQUE ports are 65535..0 (section 3.13.1); we match no such packets, so the range may
        // stay empty, and intersections with it are.
        Ok(Some(Self {
            start,
            end,
            protocol,
            start_port,
            end_port,
        }))
    }

    pub(super) fn encode_list(list: &[Self], out: &mut Writer) {
        out.u8(u8::try_from(list.len()).unwrap_or(u8::MAX));
        out.bytes(&[0; 3]);
        for ts in list {
            ts.encode(out);
        }
    }

    fn encode(&self, out: &mut Writer) {
        let v4 = self.start.is_ipv4();
        out.u8(if v4 { 7 } else { 8 });
        out.u8(self.protocol);
        out.u16(if v4 { 16 } else { 40 });
        out.u16(self.start_port);
        out.u16(self.end_port);
        for address in [self.start, self.end] {
            match address {
                IpAddr::V4(a) => out.bytes(&a.octets()),
                IpAddr::V6(a) => out.bytes(&a.octets()),
            }
        }
    }
}

/// The network that is exactly this range, if there is one.
fn as_network(start: IpAddr, end: IpAddr) -> Option<IpNet> {
    let (bits, common) = match (start, end) {
        (IpAddr::V4(s), IpAddr::V4(e)) => (32, (s.to_bits() ^ e.to_bits()).leading_zeros()),
        (IpAddr::V6(s), IpAddr::V6(e)) => (128, (s.to_bits() ^ e.to_bits()).leading_zeros()),
        _ => return None,
    };
    let net = IpNet::new(start, u8::try_from(common.min(bits)).ok()?).ok()?;
    (net.network() == start && net.broadcast() == end).then_some(net)
}

impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match as_network(self.start, self.end) {
            Some(net) => write!(f, "{net}")?,
            None => write!(f, "{}-{}", self.start, self.end)?,
        }
        if self.protocol != 0 {
            write!(f, " protocol {}", self.protocol)?;
        }
        if (self.start_port, self.end_port) != (0, u16::MAX) {
            write!(f, " ports {}-{}", self.start_port, self.end_port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TrafficSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
