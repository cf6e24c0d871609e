//! Communities: what operators hang on routes, in the three sizes that there are.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};

/// A community (RFC 1997).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Soon to be withdrawn, so that others are to be used where there are any (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// Drop what is sent there (RFC 7999). Only a name to us: a route map may act on it.
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// Not to another AS.
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// Not to anybody.
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not to another AS, member ASes of a confederation included.
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// Not over bilateral peerings (RFC 3765). Only a name to us.
    pub const NO_PEER: Self = Self(0xffff_ff04);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::GRACEFUL_SHUTDOWN => f.write_str("graceful-shutdown"),
            Self::BLACKHOLE => f.write_str("blackhole"),
            Self::NO_EXPORT => f.write_str("no-export"),
            Self::NO_ADVERTISE => f.write_str("no-advertise"),
            Self::NO_EXPORT_SUBCONFED => f.write_str("no-export-subconfed"),
            Self::NO_PEER => f.write_str("no-peer"),
            Self(value) => write!(f, "{}:{}", value >> 16, value & 0xffff),
        }
    }
}

impl Serialize for Community {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A large community (RFC 8092): Global Administrator, and two numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub [u32; 3]);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([administrator, first, second]) = self;
        write!(f, "{administrator}:{first}:{second}")
    }
}

impl Serialize for LargeCommunity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An extended community (RFC 4360): its eight octets, type first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// Sub-type of a route target.
    pub const ROUTE_TARGET: u8 = 2;
    /// Sub-type of a route origin.
    pub const ROUTE_ORIGIN: u8 = 3;

    /// One of an AS: of two octets where its number fits them and the value fits four (RFC 4360, section 3.1), else of four
    /// (RFC 5668), whose value is then cut to two octets.
    #[must_use]
    pub fn of_as(sub_type: u8, administrator: u32, value: u32) -> Self {
        let ([a, b, c, d], [v, w, x, y]) = (administrator.to_be_bytes(), value.to_be_bytes());
        match u16::try_from(administrator) {
            Ok(_) => Self([0, sub_type, c, d, v, w, x, y]),
            Err(_) => Self([2, sub_type, a, b, c, d, x, y]),
        }
    }

    /// Whether it may leave its AS (section 2: the T bit is zero).
    #[must_use]
    pub fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }

    /// Sub-type, administrator and value of one of an AS, or of an address, whose number is then the administrator.
    #[must_use]
    pub fn parts(self) -> Option<(u8, u32, u32)> {
        let Self([kind, sub_type, a, b, c, d, e, f]) = self;
        match kind & 0xbf {
            0 => Some((
                sub_type,
                u32::from_be_bytes([0, 0, a, b]),
                u32::from_be_bytes([c, d, e, f]),
            )),
            1 | 2 => Some((
                sub_type,
                u32::from_be_bytes([a, b, c, d]),
                u32::from_be_bytes([0, 0, e, f]),
            )),
            _ => None,
        }
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.parts() {
            Some((Self::ROUTE_TARGET, ..)) if self.is_transitive() => "rt",
            Some((Self::ROUTE_ORIGIN, ..)) if self.is_transitive() => "ro",
            _ => return write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        };
        match self.parts() {
            Some((_, administrator, value)) if self.0[0] == 1 => {
                write!(f, "{name}:{}:{value}", Ipv4Addr::from(administrator))
            }
            Some((_, administrator, value)) => write!(f, "{name}:{administrator}:{value}"),
            None => Ok(()),
        }
    }
}

impl Serialize for ExtendedCommunity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_communities_are_written_as_operators_write_them() {
        let cases = [
            (
                ExtendedCommunity::of_as(2, 65000, 100_000),
                "rt:65000:100000",
            ),
            (
                ExtendedCommunity::of_as(3, 4_200_000_000, 7),
                "ro:4200000000:7",
            ),
            (
                ExtendedCommunity([1, 2, 192, 0, 2, 1, 0, 9]),
                "rt:192.0.2.1:9",
            ),
            // Link bandwidth: not transitive.
            (
                ExtendedCommunity([0x40, 4, 0, 1, 0, 0, 0, 9]),
                "0x4004000100000009",
            ),
        ];
        for (community, text) in cases {
            assert_eq!(community.to_string(), text);
        }
        assert!(!ExtendedCommunity([0x40, 4, 0, 1, 0, 0, 0, 9]).is_transitive());
        assert_eq!(
            ExtendedCommunity::of_as(3, 4_200_000_000, 7).parts(),
            Some((3, 4_200_000_000, 7))
        );
    }
}
