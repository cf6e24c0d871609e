//! Autonomous system numbers.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// An autonomous system number of four octets (RFC 6793), written in asplain (RFC 5396).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS, what stands for a four-octet number where only two octets fit (RFC 6793, section 9).
    pub const TRANS: Self = Self(23456);

    /// Number 0, which must not appear in any AS_PATH, AGGREGATOR or OPEN (RFC 7607).
    pub const ZERO: Self = Self(0);

    /// Whether it is for private use (RFC 6996).
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self.0, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
    }

    /// The number as an OLD speaker sees it: itself, or AS_TRANS where it does not fit.
    #[must_use]
    pub fn as_two_octets(self) -> u16 {
        // AS_TRANS is a constant that fits.
        u16::try_from(self.0).unwrap_or(23456)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<u32> for Asn {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl FromStr for Asn {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
