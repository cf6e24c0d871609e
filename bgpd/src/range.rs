//! Peers that nobody names one by one.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Asn, PeerConfig, PeerName};

/// Whoever connects from a network is a peer, as many as are allowed at a time. Such a peer is there from its connection to the
/// end of its session, or of the time for which its routes are kept; it is never dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRange {
    /// Its identity. Its members are called by it, with a slash and their address: `nodes/192.168.200.31`.
    pub name: PeerName,
    /// Where its members may be. IPv4 only so far. Of two ranges the narrower one has an address.
    pub network: IpNet,
    /// How many members there may be at a time.
    pub limit: u16,
    /// The ASes that a member's OPEN may name; not empty.
    pub asns: Vec<Asn>,
    /// A member's parameters, but for those that follow from the above.
    pub template: PeerConfig,
}

impl PeerRange {
    /// The parameters of the member at an address.
    #[must_use]
    pub fn member(&self, address: IpAddr) -> PeerConfig {
        PeerConfig {
            name: format!("{}/{address}", self.name).into(),
            address,
            remote_asn: self.asns.first().copied().unwrap_or(Asn::ZERO),
            allowed_asns: self.asns.clone(),
            passive: true,
            ..self.template.clone()
        }
    }
}
