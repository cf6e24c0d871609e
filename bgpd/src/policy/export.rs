//! Judging what a peer is told, and how the telling changes a route.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::Serialize;

use super::{PolicyTable, Refusal};
use crate::wire::{Community, PathAttributes};
use crate::{Asn, PeerConfig, PeerName, Role};

/// Where the best path of a prefix comes from, as far as exporting it depends on that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportSource {
    /// A route of our own.
    Local,
    /// Learned from a peer.
    Learned {
        /// Which peer.
        peer: PeerName,
        /// What it stands for.
        role: Role,
        /// Whether it is in our AS.
        internal: bool,
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
    /// Our address of the session.
    pub(crate) local_address: Ipv4Addr,
}

impl ExportContext<'_> {
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
        } = source
        {
            if *peer == self.peer.name {
                return Err(Withheld::ItsOwn);
            }
            if *internal && self.is_internal() {
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

    /// Whether the policy lets a prefix out.
    pub(crate) fn judge_prefix(&self, prefix: &IpNet) -> Result<(), Withheld> {
        match self.policy.decide(self.peer.export.as_ref(), prefix) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Withheld::Refused(refusal)),
        }
    }

    /// The attributes as the peer gets to see them (RFC 4271, section 5.1).
    pub(crate) fn rewrite(&self, mut attributes: PathAttributes) -> PathAttributes {
        if self.is_internal() {
            attributes.local_pref = Some(attributes.local_pref.unwrap_or(100));
            if self.peer.next_hop_self || attributes.next_hop.is_none() {
                attributes.next_hop = Some(self.local_address);
            }
        } else {
            let times = 1 + usize::from(self.peer.prepend);
            attributes.as_path.prepend(self.local_asn, times);
            attributes.next_hop = Some(self.local_address);
            // 5.1.4: what one neighboring AS said is not for another one.
            attributes.med = None;
            attributes.local_pref = None;
            attributes.originator_id = None;
            attributes.cluster_list.clear();
        }
        attributes.med = self.peer.med.or(attributes.med);
        attributes
    }
}

/// The address of a session that routes can name as their next hop.
pub(crate) fn next_hop_address(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}
