//! Judging what a peer teaches us.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Actions, ExportSource, Permit, PolicyTable, Refusal, RouteFacts, RouteJudge};
use crate::wire::{Community, PathAttributes};
use crate::{Asn, PeerConfig, Policy, Role};

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

/// LOCAL_PREF where nobody says otherwise.
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

/// The degree of preference of what a peer teaches with this LOCAL_PREF, before any route map. What another AS is about to take away is
/// the last that is wanted, whatever the operator prefers otherwise (RFC 8326, section 4).
pub(crate) fn degree_of_preference(
    configured: Option<u32>,
    received: Option<u32>,
    is_leaving: bool,
    internal: bool,
) -> u32 {
    if is_leaving && !internal {
        return 0;
    }
    configured.or(received).unwrap_or(DEFAULT_LOCAL_PREF)
}

impl<'a> ImportContext<'a> {
    fn is_internal(&self) -> bool {
        self.peer.remote_asn == self.local_asn
    }

    fn preference(&self, attributes: &PathAttributes) -> u32 {
        let is_leaving = attributes
            .communities
            .contains(&Community::GRACEFUL_SHUTDOWN);
        let (configured, received) = (self.peer.local_pref, attributes.local_pref);
        degree_of_preference(configured, received, is_leaving, self.is_internal())
    }

    /// The import policy before all sets of attributes, where it asks nothing but prefixes.
    pub(crate) fn judge_without_reading(&self) -> Option<RouteJudge<'a>> {
        let is_map = matches!(self.peer.import, Some(Policy::RouteMap(_)));
        (!is_map).then(|| self.judge_set(|| None))
    }

    /// The import policy before a set of attributes, which is read only where the policy asks for it.
    pub(crate) fn judge_set(
        &self,
        read: impl FnOnce() -> Option<PathAttributes>,
    ) -> RouteJudge<'a> {
        self.policy.judge(self.peer.import.as_ref(), |map| {
            let Some(attributes) = read() else {
                return Vec::new();
            };
            map.rules_for(&RouteFacts {
                attributes: &attributes,
                local_pref: self.preference(&attributes),
                source: &ExportSource::Learned {
                    peer: self.peer.name.clone(),
                    role: self.peer.role,
                    internal: self.is_internal(),
                    client: self.peer.route_reflector_client,
                },
            })
        })
    }

    /// What a route map's rule makes of a set of attributes. LOCAL_PREF is then the degree of preference, whatever it was.
    pub(crate) fn change(
        &self,
        actions: &Actions,
        mut attributes: PathAttributes,
    ) -> PathAttributes {
        attributes.local_pref = Some(self.preference(&attributes));
        let neighboring = attributes.as_path.first();
        actions.apply(&mut attributes, neighboring);
        attributes
    }

    /// What stands against every prefix with these attributes.
    pub(crate) fn judge_attributes(&self, attributes: &PathAttributes) -> Result<(), Refusal> {
        if attributes.as_path.count(self.local_asn) > usize::from(self.peer.allow_own_as) {
            return Err(Refusal::AsLoop {
                asn: self.local_asn,
            });
        }
        let external = !self.is_internal();
        let first = attributes.as_path.first();
        if external && first != Some(self.peer.remote_asn) {
            return Err(Refusal::FirstAs {
                first,
                peer: self.peer.remote_asn,
            });
        }
        if attributes
            .next_hop
            .is_some_and(|it| it == self.local_address || Some(it) == self.peer.next_hop_address)
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

    /// What lets a prefix in whose attributes are before that judge, or what stands against it.
    pub(crate) fn judge_prefix(
        &self,
        judge: &RouteJudge<'a>,
        prefix: &IpNet,
    ) -> Result<Permit<'a>, Refusal> {
        if is_martian(prefix) {
            return Err(Refusal::Martian);
        }
        if self.peer.role == Role::Cloud {
            self.judge_claim(prefix)?;
        }
        judge.decide(prefix)
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
        IpNet::V6(net) => {
            let network = net.network();
            // "::/0" is a default route; what else begins with ::/8 is the unspecified address, loopback, and IPv4 addresses.
            let reserved = network.octets().starts_with(&[0]) && net.prefix_len() >= 8;
            reserved || network.is_multicast() || network.is_unicast_link_local()
        }
    }
}
