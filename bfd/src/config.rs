//! What a session is told to be.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A session's name, which is its identity in orders, events and views: cheap to clone, unique within one system.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(Arc<str>);

impl SessionName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SessionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SessionName {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SessionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// How far away the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hops {
    /// On the same network: UDP port 3784, and only what arrives with a TTL of 255 counts (RFC 5881, section 5).
    Single,
    /// Routers may lie between: UDP port 4784 (RFC 5883, section 5).
    Multi,
}

impl Hops {
    /// The UDP port that control packets are sent to.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Single => 3784,
            Self::Multi => 4784,
        }
    }
}

/// What can change while a session is up; a Poll Sequence tells the peer (RFC 5880, section 6.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// How often we would like to send once the session is up.
    pub desired_min_tx: Duration,
    /// How often we can receive.
    pub required_min_rx: Duration,
    /// So many of our packets missing in a row are a failure to the peer.
    pub detect_mult: u8,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Where the peer is.
    pub peer: IpAddr,
    /// Our address of the session; any if `None`.
    pub local: Option<IpAddr>,
    /// The interface that its packets come and go by; any if `None`.
    pub interface: Option<String>,
    /// How far away the peer is.
    pub hops: Hops,
    /// Wait for the peer's first packet before sending any (RFC 5880, section 6.1).
    pub passive: bool,
    /// Its timers.
    pub terms: Terms,
}

/// Terms that no session can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImpossibleTerms {
    /// An interval of zero, or beyond 2³²-1 microseconds (RFC 5880, section 4.1).
    #[error("an interval of {0:?}: it must be between 1 microsecond and 4294 seconds")]
    Interval(Duration),
    /// A Detect Mult of zero (RFC 5880, section 6.8.1).
    #[error("a multiplier of 0: it must be between 1 and 255")]
    DetectMult,
}

impl Terms {
    /// Whether a packet can carry them.
    pub(crate) fn check(&self) -> Result<(), ImpossibleTerms> {
        for interval in [self.desired_min_tx, self.required_min_rx] {
            if !(1..=u128::from(u32::MAX)).contains(&interval.as_micros()) {
                return Err(ImpossibleTerms::Interval(interval));
            }
        }
        match self.detect_mult {
            0 => Err(ImpossibleTerms::DetectMult),
            _ => Ok(()),
        }
    }
}
