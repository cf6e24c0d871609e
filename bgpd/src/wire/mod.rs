//! BGP-4 messages as octets (RFC 4271, section 4), both ways.
//!
//! Decoding never panics, never reads beyond its input and allocates no more than a message's
//! length allows. It knows syntax and RFC 7606; what a message means to a session, a RIB or a
//! policy is decided elsewhere.

pub mod as_path;
pub mod attribute;
mod attributes_parser;
pub mod capability;
pub mod community;
pub mod families;
pub mod fault;
pub mod header;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod reader;
pub mod refresh;
pub mod update;

pub use as_path::{AsPath, Segment, SegmentKind};
pub use attribute::{Aggregator, AttributeCode, Origin, PathAttributes, UnknownAttribute};
pub use capability::{Capabilities, Capability, MAX_RESTART_TIME, RestartCapability};
pub use community::{Community, ExtendedCommunity, LargeCommunity};
pub use families::Families;
pub use fault::{Problem, Treatment, UpdateFault};
pub use header::{Framer, HeaderError, MAX_MESSAGE, MessageKind, RawMessage};
pub use notification::Notification;
pub use open::{Open, OpenError};
pub use refresh::{RefreshKind, RouteRefresh};
pub use update::{UpdateAttributes, UpdateBuilder, UpdateContext, UpdateFrame, end_of_rib};

use serde::Serialize;

/// An address family and subsequent family (RFC 4760), of those that this crate can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Family {
    /// Address Family Identifier: 1 is IPv4, 2 is IPv6.
    pub afi: u16,
    /// Subsequent Address Family Identifier: 1 is unicast.
    pub safi: u8,
}

impl Family {
    /// IPv4 unicast.
    pub const IPV4_UNICAST: Self = Self { afi: 1, safi: 1 };
    /// IPv6 unicast (RFC 2545).
    pub const IPV6_UNICAST: Self = Self { afi: 2, safi: 1 };
}

/// A KEEPALIVE: nothing but a header (RFC 4271, section 4.4).
#[must_use]
pub fn keepalive() -> Vec<u8> {
    header::message(MessageKind::Keepalive, &[])
}
