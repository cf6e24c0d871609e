//! The paths that are watched, for BFD.

use std::collections::BTreeMap;

use ::bfd::{Hops, SessionConfig, Terms};
use bgpd::{PeerConfig, PeerName};
use config::model;

use super::Watch;

/// Whose path is watched, and how. A neighbor that the site file keeps down is left alone.
pub(super) fn watches(site: &model::Site, peers: &[PeerConfig]) -> BTreeMap<PeerName, Watch> {
    let neighbors = site.bgp.iter().flat_map(|bgp| &bgp.neighbors);
    let up = neighbors.filter(|neighbor| neighbor.shutdown == model::Shutdown::No);
    up.filter_map(|neighbor| {
        let peer = peers.iter().find(|it| it.name.as_str() == neighbor.name)?;
        Some((peer.name.clone(), watch(neighbor.bfd.as_ref()?, peer)))
    })
    .collect()
}

fn watch(bfd: &model::Bfd, peer: &PeerConfig) -> Watch {
    let hops = match bfd.multihop {
        true => Hops::Multi,
        false => Hops::Single,
    };
    Watch {
        strict: bfd.strict,
        session: SessionConfig {
            peer: peer.address,
            local: peer.update_source,
            // Behind routers a packet may come by any of our interfaces (RFC 5883, section 4).
            interface: peer.interface.clone().filter(|_| hops == Hops::Single),
            hops,
            passive: bfd.passive,
            terms: Terms {
                desired_min_tx: bfd.min_tx,
                required_min_rx: bfd.min_rx,
                detect_mult: bfd.multiplier,
            },
        },
    }
}
