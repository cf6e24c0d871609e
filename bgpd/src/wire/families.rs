//! The address families that sessions carry, and sets of them.

use std::fmt;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::Family;

/// Some of the families that this crate carries: IPv4 unicast and IPv6 unicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Families {
    ipv4: bool,
    ipv6: bool,
}

impl Families {
    /// Neither.
    pub const NONE: Self = Self::of(false, false);
    /// IPv4 unicast alone.
    pub const IPV4: Self = Self::of(true, false);
    /// IPv6 unicast alone.
    pub const IPV6: Self = Self::of(false, true);
    /// Both.
    pub const BOTH: Self = Self::of(true, true);

    const fn of(ipv4: bool, ipv6: bool) -> Self {
        Self { ipv4, ipv6 }
    }

    /// Whether a family is among them.
    #[must_use]
    pub fn contains(self, family: Family) -> bool {
        self.iter().any(|it| it == family)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Adds a family; one that this crate does not carry is left out.
    pub fn insert(&mut self, family: Family) {
        self.ipv4 |= family == Family::IPV4_UNICAST;
        self.ipv6 |= family == Family::IPV6_UNICAST;
    }

    /// Takes a family away.
    pub fn remove(&mut self, family: Family) {
        self.ipv4 &= family != Family::IPV4_UNICAST;
        self.ipv6 &= family != Family::IPV6_UNICAST;
    }

    /// Those that are among the others as well.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self::of(self.ipv4 && others.ipv4, self.ipv6 && others.ipv6)
    }

    /// Those that are not among the others.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self::of(self.ipv4 && !others.ipv4, self.ipv6 && !others.ipv6)
    }

    /// The families, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        let ipv4 = self.ipv4.then_some(Family::IPV4_UNICAST);
        ipv4.into_iter()
            .chain(self.ipv6.then_some(Family::IPV6_UNICAST))
    }
}

impl FromIterator<Family> for Families {
    fn from_iter<T: IntoIterator<Item = Family>>(families: T) -> Self {
        let mut all = Self::NONE;
        families.into_iter().for_each(|family| all.insert(family));
        all
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ipv4, self.ipv6) {
            (true, true) => "IPv4 and IPv6 unicast",
            (true, false) => "IPv4 unicast",
            (false, true) => "IPv6 unicast",
            (false, false) => "no family",
        })
    }
}

impl Serialize for Families {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = |family| match family {
            Family::IPV6_UNICAST => "ipv6-unicast",
            _ => "ipv4-unicast",
        };
        serializer.collect_seq(self.iter().map(name))
    }
}

impl Family {
    /// The unicast family that a prefix is of.
    #[must_use]
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::IPV4_UNICAST,
            IpNet::V6(_) => Self::IPV6_UNICAST,
        }
    }
}
