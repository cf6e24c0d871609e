//! Judging what a peer is told, and how the telling changes a route.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Serialize;

use super::{Actions, Permit, PolicyTable, Refusal, RouteFacts, RouteJudge};
use crate::event::Agreed;
use crate::wire::{Community, Families, Family, PathAttributes};
use crate::{Asn, LocalSource, PeerConfig, PeerName, Policy, Role};

/// Where the best path of a prefix comes from, as far as exporting it depends on that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportSource {
    /// A route of our own.
    Local {
        /// Where we have it from.
        source: LocalSource,
    },
    /// Learned from a peer.
    Learned {
        /// Which peer.
        peer: PeerName,
        /// What it stands for.
        role: Role,
        /// Whether it is in our AS.
        internal: bool,
        /// Whether it is a client of ours (RFC 4456).
        client: bool,
    },
}

/// Why a peer is not told of a prefix that has a best path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Withheld {
    /// It taught us that path itself.
    ItsOwn,
    /// It and the path's teacher are both in our AS, which need no help of ours (RFC 4271, 9.2).
    Internal,
    /// Both it and the path's teacher are clouds: we are nobody's transit.
    BetweenClouds {
        /// The teacher.
        learned_from: PeerName,
    },
    /// A community of the path forbids it (RFC 1997).
    Community(Community),
    /// The policy refuses it.
    Refused(Refusal),
    /// As many prefixes as it may be told have been told.
    Limit {
        /// How many.
        limit: u32,
    },
    /// The attributes leave no room for a prefix in a message.
    TooLong,
    /// The session does not carry the prefix's family.
    FamilyNotAgreed,
    /// The peer takes the family, and we have no address of ours to tell it as the next hop.
    NoNextHop,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ItsOwn => f.write_str("the peer taught it to us"),
            Self::Internal => f.write_str("it was learned inside our AS"),
            Self::BetweenClouds { learned_from } => {
                write!(f, "{learned_from}, which taught it, is a cloud as well")
            }
            Self::Community(community) => write!(f, "it has the community {community}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Limit { limit } => write!(f, "the peer is told {limit} prefixes already"),
            Self::TooLong => f.write_str("its attributes do not fit a message"),
            Self::FamilyNotAgreed => f.write_str("the session does not carry its address family"),
            Self::NoNextHop => f.write_str(
                "we have no address of its family to name as the next hop (next-hop-address)",
            ),
        }
    }
}

/// What telling depends on besides the route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExportContext<'a> {
    pub(crate) policy: &'a PolicyTable,
    pub(crate) peer: &'a PeerConfig,
    /// Our AS on this session.
    pub(crate) local_asn: Asn,
    /// Our BGP Identifier, which is our CLUSTER_ID too (RFC 4456, section 7).
    pub(crate) router_id: Ipv4Addr,
    /// What the session carries.
    pub(crate) families: Families,
    pub(crate) next_hops: OwnNextHops,
}

/// Our own addresses that a peer may be told as next hops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnNextHops {
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    /// The peer takes IPv4 prefixes with an IPv6 next hop (RFC 8950).
    extended: bool,
}

impl OwnNextHops {
    /// The session's own address, and what its parameters add to it.
    pub(crate) fn new(peer: &PeerConfig, agreed: &Agreed) -> Self {
        let mut all = Self {
            ipv4: None,
            ipv6: None,
            extended: agreed.extended_next_hop,
        };
        let session = agreed.local_address.to_canonical();
        for address in peer.next_hop_address.into_iter().chain([session]) {
            match address {
                IpAddr::V4(address) => all.ipv4 = Some(address),
                IpAddr::V6(address) => all.ipv6 = Some(address),
            }
        }
        all
    }

    /// The one for a family's prefixes.
    fn of(&self, family: Family) -> Option<IpAddr> {
        let ipv6 = self.ipv6.map(IpAddr::V6);
        match family {
            Family::IPV6_UNICAST => ipv6,
            _ => self.ipv4.map(IpAddr::V4).or(ipv6.filter(|_| self.extended)),
        }
    }

    /// Whether the peer can be told that next hop of a family's prefixes.
    fn allow(&self, family: Family, next_hop: IpAddr) -> bool {
        match next_hop {
            IpAddr::V4(_) => family == Family::IPV4_UNICAST,
            IpAddr::V6(_) => family == Family::IPV6_UNICAST || self.extended,
        }
    }
}

impl<'a> ExportContext<'a> {
    fn is_internal(&self) -> bool {
        self.peer.remote_asn == self.local_asn
    }

    /// Whether routes of one source and set of attributes may be told at all.
    pub(crate) fn judge_route(
        &self,
        source: &ExportSource,
        attributes: &PathAttributes,
    ) -> Result<(), Withheld> {
        if let ExportSource::Learned {
            peer,
            role,
            internal,
            client,
        } = source
        {
            if *peer == self.peer.name {
                return Err(Withheld::ItsOwn);
            }
            // RFC 4456, section 6: from a client to everybody, from others to clients.
            let reflects = *client || self.peer.route_reflector_client;
            if *internal && self.is_internal() && !reflects {
                return Err(Withheld::Internal);
            }
            if *role == Role::Cloud && self.peer.role == Role::Cloud {
                return Err(Withheld::BetweenClouds {
                    learned_from: peer.clone(),
                });
            }
        }
        let forbids = |community: &&Community| match **community {
            Community::NO_ADVERTISE => true,
            Community::NO_EXPORT | Community::NO_EXPORT_SUBCONFED => !self.is_internal(),
            _ => false,
        };
        match attributes.communities.iter().find(forbids) {
            Some(community) => Err(Withheld::Community(*community)),
            None => Ok(()),
        }
    }

    /// The export policy before all routes, where it asks nothing but their prefixes.
    pub(crate) fn judge_without_reading(&self) -> Option<RouteJudge<'a>> {
        let is_map = matches!(self.peer.export, Some(Policy::RouteMap(_)));
        (!is_map).then(|| self.judge_set(|| None))
    }

    /// The export policy before routes of one source, degree of preference and set of attributes, which are read only where the
    /// policy asks for them.
    pub(crate) fn judge_set(
        &self,
        read: impl FnOnce() -> Option<(ExportSource, u32, PathAttributes)>,
    ) -> RouteJudge<'a> {
        self.policy.judge(self.peer.export.as_ref(), |map| {
            let Some((source, local_pref, attributes)) = read() else {
                return Vec::new();
            };
            map.rules_for(&RouteFacts {
                attributes: &attributes,
                local_pref,
                source: &source,
            })
        })
    }

    /// What lets a prefix out whose route is before that judge, or what stands against it.
    pub(crate) fn judge_prefix(
        &self,
        judge: &RouteJudge<'a>,
        prefix: &IpNet,
    ) -> Result<Permit<'a>, Withheld> {
        self.can_tell(Family::of(prefix))?;
        judge.decide(prefix).map_err(Withheld::Refused)
    }

    /// Whether prefixes of a family can be told at all.
    pub(crate) fn can_tell(&self, family: Family) -> Result<(), Withheld> {
        if !self.families.contains(family) {
            return Err(Withheld::FamilyNotAgreed);
        }
        match self.next_hops.of(family) {
            Some(_) => Ok(()),
            None => Err(Withheld::NoNextHop),
        }
    }

    /// The attributes of a family's prefixes as the peer gets to see them (RFC 4271, section 5.1), after what a route map's rule
    /// makes of them. `taught_by` is the BGP Identifier of the internal peer that taught them, if one did.
    pub(crate) fn rewrite(
        &self,
        mut attributes: PathAttributes,
        family: Family,
        local_pref: u32,
        taught_by: Option<Ipv4Addr>,
        actions: Option<&Actions>,
    ) -> PathAttributes {
        let own = self.next_hops.of(family);
        if self.is_internal() {
            attributes.local_pref = Some(local_pref);
            let learned = attributes.next_hop;
            // RFC 4456, section 10: what is reflected keeps its next hop.
            let stays = !self.peer.next_hop_self || taught_by.is_some();
            attributes.next_hop = learned
                .filter(|it| stays && self.next_hops.allow(family, *it))
                .or(own);
            if let Some(taught_by) = taught_by {
                // Section 8.
                attributes.originator_id.get_or_insert(taught_by);
                attributes.cluster_list.insert(0, self.router_id);
            }
        } else {
            if self.peer.remove_private_as {
                attributes.as_path.remove(Asn::is_private);
            }
            if self.peer.as_override {
                attributes
                    .as_path
                    .replace(self.peer.remote_asn, self.local_asn);
            }
            let times = 1 + usize::from(self.peer.prepend);
            attributes.as_path.prepend(self.local_asn, times);
            attributes.next_hop = own;
            // 5.1.4: what one neighboring AS said is not for another one.
            attributes.med = None;
            attributes.local_pref = None;
            attributes.originator_id = None;
            attributes.cluster_list.clear();
            // RFC 4360, section 6: not beyond our AS.
            attributes
                .extended_communities
                .retain(|it| it.is_transitive());
        }
        attributes.med = self.peer.med.or(attributes.med);
        if let Some(actions) = actions {
            actions.apply(&mut attributes, Some(self.local_asn));
            if !self.is_internal() {
                attributes.local_pref = None;
            }
        }
        attributes
    }
}
