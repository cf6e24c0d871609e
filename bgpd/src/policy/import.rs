//! Judging what a peer teaches us.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{PolicyTable, Refusal, RuleName};
use crate::wire::PathAttributes;
use crate::{Asn, PeerConfig, Role};

/// What the judgement depends on besides the peer's parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImportContext<'a> {
    pub(crate) policy: &'a PolicyTable,
    pub(crate) peer: &'a PeerConfig,
    /// Our AS on this session.
    pub(crate) local_asn: Asn,
    pub(crate) router_id: Ipv4Addr,
    /// Our address of the session.
    pub(crate) local_address: IpAddr,
}

impl ImportContext<'_> {
    /// What stands against every prefix with these attributes.
    pub(crate) fn judge_attributes(&self, attributes: &PathAttributes) -> Result<(), Refusal> {
        if attributes.as_path.contains(self.local_asn) {
            return Err(Refusal::AsLoop {
                asn: self.local_asn,
            });
        }
        let external = self.peer.remote_asn != self.local_asn;
        let first = attributes.as_path.first();
        if external && first != Some(self.peer.remote_asn) {
            return Err(Refusal::FirstAs {
                first,
                peer: self.peer.remote_asn,
            });
        }
        if attributes
            .next_hop
            .is_some_and(|it| IpAddr::V4(it) == self.local_address)
        {
            return Err(Refusal::NextHopIsOurs);
        }
        let reflected = attributes.originator_id == Some(self.router_id)
            || attributes.cluster_list.contains(&self.router_id);
        if reflected {
            Err(Refusal::ReflectionLoop)
        } else {
            Ok(())
        }
    }

    /// What stands against a prefix, whatever its attributes.
    pub(crate) fn judge_prefix(&self, prefix: &IpNet) -> Result<Option<RuleName>, Refusal> {
        if is_martian(prefix) {
            return Err(Refusal::Martian);
        }
        if self.peer.role == Role::Cloud {
            self.judge_claim(prefix)?;
        }
        self.policy.decide(self.peer.import.as_ref(), prefix)
    }

    /// What a cloud must not claim, unless the operator allows it in so many words.
    fn judge_claim(&self, prefix: &IpNet) -> Result<(), Refusal> {
        if prefix.prefix_len() == 0 {
            // A default route covers everything by its nature; who allows it allows that.
            return if self.peer.allow_default {
                Ok(())
            } else {
                Err(Refusal::DefaultRoute)
            };
        }
        if self.peer.allow_overlap {
            return Ok(());
        }
        let covered = self
            .peer
            .outer_addresses
            .iter()
            .find(|address| prefix.contains(*address));
        if let Some(address) = covered {
            return Err(Refusal::CoversTunnelEnd { address: *address });
        }
        let overlaps = |own: &&IpNet| own.contains(prefix) || prefix.contains(*own);
        match self.peer.own_networks.iter().find(overlaps) {
            Some(network) => Err(Refusal::OverlapsOwnNetwork { network: *network }),
            None => Ok(()),
        }
    }
}

/// RFC 6890's blocks that no route can lead to. A default route is none of them.
fn is_martian(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => {
            matches!(
                (net.network().octets(), net.prefix_len()),
                ([127 | 224..=255, ..], 1..)
            ) || (net.network().octets().starts_with(&[0]) && net.prefix_len() >= 8)
        }
        IpNet::V6(net) => net.network().is_multicast() || net.network().is_loopback(),
    }
}
