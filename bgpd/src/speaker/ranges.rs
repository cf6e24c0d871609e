//! Peers that come and go: members of ranges.

use std::net::IpAddr;
use std::time::Instant;

use super::Speaker;
use super::peer::Peer;
use crate::event::{Event, Refused};
use crate::rib::PeerIndex;
use crate::view::RangeSummary;
use crate::wire::Notification;
use crate::{CommandError, PeerConfig, PeerName, PeerRange};

/// A range and who was turned away from it.
#[derive(Debug)]
pub(super) struct Range {
    config: PeerRange,
    /// It is full, and that has been told.
    full_told: bool,
    turned_away: u64,
}

impl Speaker {
    /// All ranges, in place of all earlier ones. Members whose range is gone, or has no place for them any more, leave with Cease / Peer
    /// De-configured; to the others happens what [`PeerConfig::effect_of`] says.
    pub(super) fn set_ranges(
        &mut self,
        now: Instant,
        ranges: Vec<PeerRange>,
    ) -> Result<(), CommandError> {
        for range in &ranges {
            for asn in &range.asns {
                super::commands::own_asn(*asn)?;
            }
            // The network's own address stands for those of all members.
            super::commands::parameters(&range.member(range.network.addr()))?;
        }
        let old = std::mem::take(&mut self.ranges);
        self.ranges = ranges
            .into_iter()
            .map(|config| {
                let before = old.iter().find(|old| old.config.name == config.name);
                Range {
                    full_told: before
                        .is_some_and(|it| it.full_told && it.config.limit >= config.limit),
                    turned_away: before.map_or(0, |it| it.turned_away),
                    config,
                }
            })
            .collect();
        for index in self.indices() {
            let Some((peer, name)) = self
                .peer(index)
                .and_then(|it| Some((it, it.range.as_ref()?)))
            else {
                continue;
            };
            let address = peer.config.address;
            let range = self.range_at(address).filter(|it| it.config.name == *name);
            match range.map(|it| it.config.member(address)) {
                Some(mut member) => {
                    if member.allowed_asns.contains(&peer.config.remote_asn) {
                        member.remote_asn = peer.config.remote_asn;
                    }
                    if member != peer.config {
                        self.replace_peer(now, member)?;
                    }
                }
                None => self.deconfigure(now, index),
            }
        }
        Ok(())
    }

    /// Makes a peer of whoever connects from a range.
    pub(super) fn join(
        &mut self,
        now: Instant,
        address: IpAddr,
        local: IpAddr,
    ) -> Result<PeerIndex, Refused> {
        let unknown = || Refused::UnknownPeer { remote: address };
        let range = self.range_at(address).ok_or_else(unknown)?;
        let (name, limit) = (range.config.name.clone(), range.config.limit);
        let member = range.config.member(address);
        if let Some(expected) = member.update_source.filter(|it| *it != local) {
            return Err(Refused::WrongLocalAddress {
                peer: member.name,
                local,
                expected,
            });
        }
        if self.members(&name) >= usize::from(limit) {
            self.turn_away(&name, address, limit);
            return Err(Refused::RangeFull { range: name, limit });
        }
        let joined = member.name.clone();
        self.add_peer(now, member).map_err(|_| unknown())?;
        let index = self.named(joined.as_str()).ok_or_else(unknown)?;
        if let Some(peer) = self.peer_mut(index) {
            peer.range = Some(name);
        }
        Ok(index)
    }

    fn turn_away(&mut self, name: &PeerName, address: IpAddr, limit: u16) {
        let Some(range) = self.ranges.iter_mut().find(|it| it.config.name == *name) else {
            return;
        };
        range.turned_away += 1;
        if !std::mem::replace(&mut range.full_told, true) {
            self.outbox.tell(Event::RangeFull {
                range: name.clone(),
                limit,
                address,
            });
        }
    }

    /// Members without a connection, of which nothing is kept, are no peers any more.
    pub(super) fn part_with_absent(&mut self) {
        if self.ranges.is_empty() {
            return;
        }
        let is_absent = |peer: &Peer| {
            peer.range.is_some() && peer.kept.is_none() && peer.session.is_without_connection()
        };
        for index in self.indices() {
            if self.peer(index).is_some_and(is_absent) {
                self.forget_peer(index);
            }
        }
        let counts: Vec<usize> = (self.ranges.iter())
            .map(|range| self.members(&range.config.name))
            .collect();
        for (range, count) in self.ranges.iter_mut().zip(counts) {
            range.full_told &= count >= usize::from(range.config.limit);
        }
    }

    /// A peer of the site's own takes the place of a member with its address.
    pub(super) fn give_way(&mut self, now: Instant, config: &PeerConfig) {
        let there = self.at_address(config.address);
        let member = there.filter(|(_, peer)| peer.range.is_some());
        if let Some((index, _)) = member {
            self.deconfigure(now, index);
        }
    }

    fn deconfigure(&mut self, now: Instant, index: PeerIndex) {
        let cease = Notification::cease(Notification::PEER_DECONFIGURED);
        self.session(now, index, |session, turn| session.cease(turn, cease));
        self.forget_peer(index);
    }

    /// The narrowest range that an address is in.
    fn range_at(&self, address: IpAddr) -> Option<&Range> {
        let there = self.ranges.iter();
        there
            .filter(|range| range.config.network.contains(&address))
            .max_by_key(|range| range.config.network.prefix_len())
    }

    fn members(&self, range: &PeerName) -> usize {
        let peers = self.peers.iter().flatten();
        peers
            .filter(|peer| peer.range.as_ref() == Some(range))
            .count()
    }

    pub(super) fn range_summaries(&self) -> Vec<RangeSummary> {
        let summary = |range: &Range| RangeSummary {
            name: range.config.name.clone(),
            network: range.config.network,
            limit: range.config.limit,
            members: self.members(&range.config.name),
            turned_away: range.turned_away,
            is_full: range.full_told,
        };
        self.ranges.iter().map(summary).collect()
    }
}
