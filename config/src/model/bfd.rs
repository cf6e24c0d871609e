//! How the path to a neighbor is watched.

use std::time::Duration;

use serde::Serialize;

use super::serialize_duration;

/// Bidirectional Forwarding Detection with a neighbor (RFC 5880, RFC 5882).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bfd {
    /// How often we would like to send.
    #[serde(serialize_with = "serialize_duration")]
    pub min_tx: Duration,
    /// How often the neighbor may send.
    #[serde(serialize_with = "serialize_duration")]
    pub min_rx: Duration,
    /// So many packets missing in a row are a failure.
    pub multiplier: u8,
    /// Routers may lie between (RFC 5883).
    pub multihop: bool,
    /// Wait for the neighbor's first packet.
    pub passive: bool,
    /// No BGP session before BFD is up.
    pub strict: bool,
}
