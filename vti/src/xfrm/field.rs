//! The structures that several messages share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esp::Limits;
use ipnet::IpNet;

use super::abi::{AF_INET, AF_INET6, UNLIMITED, attr, size};
use super::message::Message;
use crate::netlink::{u8_at, u16_at, u32_at};
use crate::plane::Binding;

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn be16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn be32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) const fn family_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// `xfrm_address_t`: 16 bytes, whose family stands elsewhere.
pub(super) fn put_address(into: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            into.extend_from_slice(&address.octets());
            into.extend_from_slice(&[0; 12]);
        }
        IpAddr::V6(address) => into.extend_from_slice(&address.octets()),
    }
}

/// The address at `at`; `None` for bytes that are missing or a family that is no IP.
pub(super) fn address_at(bytes: &[u8], at: usize, family: u16) -> Option<IpAddr> {
    let octets: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
    match family {
        AF_INET => Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).into()),
        AF_INET6 => Some(Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

/// `struct xfrm_mark`: what of a packet's mark counts, and what it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The value.
    pub value: u32,
    /// The bits that are compared.
    pub mask: u32,
}

/// Appends what binds a state or a policy to its interface.
pub(super) fn bind(message: Message, binding: Binding) -> Message {
    match binding {
        Binding::IfId(id) => message.number(attr::IF_ID, id),
        Binding::Mark(value) => message.attribute(attr::MARK, |into| {
            into.extend_from_slice(&value.to_ne_bytes());
            into.extend_from_slice(&u32::MAX.to_ne_bytes());
        }),
    }
}

/// What a state or policy is bound to, out of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) mark: Option<Mark>,
    pub(super) if_id: Option<u32>,
}

impl Bound {
    /// Takes note of an attribute; whether it was one of these.
    pub(super) fn note(&mut self, kind: u16, value: &[u8]) -> bool {
        match kind {
            attr::MARK => {
                if let (Some(v), Some(m)) = (u32_at(value, 0), u32_at(value, 4)) {
                    self.mark = Some(Mark { value: v, mask: m });
                }
            }
            attr::IF_ID => self.if_id = u32_at(value, 0),
            _ => return false,
        }
        true
    }

    /// The binding of an object of ours: an if_id, or a mark that is compared as a whole.
    pub(super) fn binding(self) -> Option<Binding> {
        match (self.if_id.filter(|&id| id != 0), self.mark) {
            (Some(id), None) => Some(Binding::IfId(id)),
            (
                None,
                Some(Mark {
                    value,
                    mask: u32::MAX,
                }),
            ) => Some(Binding::Mark(value)),
            _ => None,
        }
    }
}

/// `struct xfrm_selector`: which packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Where from.
    pub source: IpNet,
    /// Where to.
    pub destination: IpNet,
    /// The upper protocol's number, 0 for any.
    pub protocol: u8,
    /// The source port and which of its bits count.
    pub source_port: (u16, u16),
    /// The destination port and which of its bits count.
    pub destination_port: (u16, u16),
    /// The index of the interface, 0 for any.
    pub interface: i32,
}

impl Selector {
    /// All packets of IPv4.
    #[must_use]
    pub fn any_ipv4() -> Self {
        let any = IpNet::from(ipnet::Ipv4Net::default());
        Self {
            source: any,
            destination: any,
            protocol: 0,
            source_port: (0, 0),
            destination_port: (0, 0),
            interface: 0,
        }
    }

    pub(super) fn put(&self, into: &mut Vec<u8>) {
        put_address(into, self.destination.addr());
        put_address(into, self.source.addr());
        for value in [
            self.destination_port.0,
            self.destination_port.1,
            self.source_port.0,
            self.source_port.1,
        ] {
            into.extend_from_slice(&value.to_be_bytes());
        }
        into.extend_from_slice(&family_of(self.destination.addr()).to_ne_bytes());
        into.push(self.destination.prefix_len());
        into.push(self.source.prefix_len());
        into.push(self.protocol);
        into.extend_from_slice(&[0; 3]);
        into.extend_from_slice(&self.interface.to_ne_bytes());
        // The user: any.
        into.extend_from_slice(&[0; 4]);
    }

    /// The selector at the beginning of `bytes`. One without a family, as the kernel has in some per-socket policies, selects
    /// all of IPv4.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..size::SELECTOR)?;
        let family = match u16_at(bytes, 40)? {
            0 => AF_INET,
            family => family,
        };
        let net = |at, length| IpNet::new(address_at(bytes, at, family)?, length).ok();
        Some(Self {
            destination: net(0, u8_at(bytes, 42)?)?,
            source: net(16, u8_at(bytes, 43)?)?,
            destination_port: (be16_at(bytes, 32)?, be16_at(bytes, 34)?),
            source_port: (be16_at(bytes, 36)?, be16_at(bytes, 38)?),
            protocol: u8_at(bytes, 44)?,
            interface: u32_at(bytes, 48)?.cast_signed(),
        })
    }
}

/// `struct xfrm_lifetime_cfg`, as far as we set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// How much an SA may carry.
    pub limits: Limits,
    /// After how many seconds since it was added the kernel ends it.
    pub seconds: Option<u64>,
}

impl Lifetime {
    pub(super) fn put(self, into: &mut Vec<u8>) {
        let Limits {
            soft_packets,
            hard_packets,
            soft_bytes,
            hard_bytes,
        } = self.limits;
        for limit in [soft_bytes, hard_bytes, soft_packets, hard_packets] {
            into.extend_from_slice(&limit.unwrap_or(UNLIMITED).to_ne_bytes());
        }
        // A successor in time is the daemon's part, and the first use means nothing: soft and hard since the addition, then the use.
        for seconds in [0, self.seconds.unwrap_or(0), 0, 0] {
            into.extend_from_slice(&seconds.to_ne_bytes());
        }
    }

    pub(super) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let limit =
            |offset| u64_at(bytes, at + offset).map(|limit| (limit != UNLIMITED).then_some(limit));
        // The last of the fields that are not looked at has to be there as well.
        u64_at(bytes, at + 56)?;
        Some(Self {
            limits: Limits {
                soft_bytes: limit(0)?,
                hard_bytes: limit(8)?,
                soft_packets: limit(16)?,
                hard_packets: limit(24)?,
            },
            seconds: u64_at(bytes, at + 40).filter(|seconds| *seconds != 0),
        })
    }
}

/// `struct xfrm_lifetime_cur`: what an SA has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of inner packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// When it was added, in seconds since 1970.
    pub added: u64,
    /// When it was used first, in seconds since 1970; 0 if it never was.
    pub used: u64,
}

impl Usage {
    pub(super) fn read(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            bytes: u64_at(bytes, at)?,
            packets: u64_at(bytes, at + 8)?,
            added: u64_at(bytes, at + 16)?,
            used: u64_at(bytes, at + 24)?,
        })
    }
}
