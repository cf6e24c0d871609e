//! What BFD says of the paths to neighbors, carried to BGP (RFC 5882).
//!
//! A path that was up and is down ends the session at once. Without `strict` nothing else follows: a neighbor that never answered, or
//! whose operator has switched BFD off, is left to BGP's own hold time (RFC 5882, section 3.2). With `strict` a session comes about only
//! while BFD is up or switched off.

use std::collections::BTreeMap;
use std::time::Instant;

use ::bfd::{DownReason, Event, SessionConfig, SessionName};
use bgpd::PeerName;
use tracing::{debug, info, warn};

use super::{Effect, Gateway};
use crate::plan::{Plan, Watch};

/// What is known of the path to a neighbor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Path {
    /// BFD has not been up yet.
    #[default]
    Unknown,
    /// Both sides hear each other.
    Up,
    /// It was up.
    Down(DownReason),
    /// The neighbor's operator has switched BFD off, which says nothing of the path.
    SwitchedOff,
}

impl Gateway {
    /// Hears what became of a path.
    pub(super) fn handle_bfd(&mut self, now: Instant, event: Event) {
        let session = match &event {
            Event::Up { session }
            | Event::Down { session, .. }
            | Event::SwitchedOff { session }
            | Event::Adapted { session, .. }
            | Event::Discarded { session, .. } => session.as_str(),
        };
        let peer = PeerName::from(session);
        if !self.plan.bfd.contains_key(&peer) {
            // It is watched no more.
            return;
        }
        match event {
            Event::Up { .. } => {
                info!(neighbor = %peer, "BFD up");
                self.journal.record(now, format!("{peer}: BFD up"));
                self.paths.insert(peer.clone(), Path::Up);
                self.release_strict(now, &peer);
            }
            Event::Down {
                reason: DownReason::NeighborAdminDown,
                ..
            }
            | Event::SwitchedOff { .. } => {
                let what = "the neighbor has switched BFD off; its hold time decides alone";
                info!(neighbor = %peer, "{what}");
                self.journal.record(now, format!("{peer}: {what}"));
                self.paths.insert(peer.clone(), Path::SwitchedOff);
                self.release_strict(now, &peer);
            }
            Event::Down {
                reason,
                after,
                control_plane_independent,
                ..
            } => {
                warn!(neighbor = %peer, "BFD down after {} s: {reason}", after.as_secs());
                self.journal
                    .record(now, format!("{peer}: BFD down: {reason}"));
                self.paths.insert(peer.clone(), Path::Down(reason));
                self.bgp_command(
                    now,
                    bgpd::Command::BfdDown {
                        peer: peer.clone(),
                        control_plane_independent,
                    },
                );
                self.hold_strict(now, &peer);
            }
            Event::Adapted {
                transmit: Some(every),
                detection,
                ..
            } => debug!(
                neighbor = %peer,
                "BFD sends every {} ms, and notices silence after {} ms",
                every.as_millis(),
                detection.as_millis()
            ),
            Event::Adapted {
                transmit: None,
                detection,
                ..
            } => debug!(
                neighbor = %peer,
                "BFD sends only when asked, and notices silence after {} ms",
                detection.as_millis()
            ),
            Event::Discarded { why, .. } => {
                warn!(neighbor = %peer, "a BFD packet was not heard, and others like it will not be: {why}");
            }
        }
    }

    /// Takes the views of all sessions, for whoever asks next.
    pub(crate) fn see_bfd(&mut self, views: BTreeMap<SessionName, ::bfd::view::Session>) {
        self.bfd_views = views;
    }

    /// Watches what the plan, which is ours already, says instead of what the one before it said.
    pub(super) fn adopt_bfd(&mut self, now: Instant, before: &Plan, touched: &mut Vec<String>) {
        let (old, new) = (&before.bfd, &self.plan.bfd);
        for (name, watch) in new {
            match old.get(name) {
                None if before.peers.iter().any(|peer| peer.name == *name) => {
                    touched.push(format!("{name}: BFD begins"));
                }
                Some(one) if one.session.terms != watch.session.terms && same_way(one, watch) => {
                    touched.push(format!("{name}: BFD's timers change, its session stays"));
                }
                Some(one) if !same_way(one, watch) => {
                    touched.push(format!("{name}: BFD begins anew"));
                    self.paths.remove(name);
                }
                Some(one) if one != watch => {
                    touched.push(format!("{name}: BFD changes, its session stays"));
                }
                None | Some(_) => {}
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.paths.remove(name);
            if self.plan.peers.iter().any(|peer| peer.name == *name) {
                touched.push(format!("{name}: BFD ends"));
            }
        }
        if sessions(old) != sessions(new) {
            self.effects.push_back(Effect::Bfd(sessions(new)));
        }
        let was_strict = |name: &PeerName| old.get(name).is_some_and(|watch| watch.strict);
        let peers = self.plan.peers.iter().map(|peer| peer.name.clone());
        for name in peers.collect::<Vec<_>>() {
            if self.waits_for_bfd(&name) {
                self.hold_strict(now, &name);
            } else if was_strict(&name) {
                self.release(now, &name);
            }
        }
    }

    /// Keeps a neighbor from a session without BFD, where the site file wants none. A session that is established stays.
    pub(super) fn hold_strict(&mut self, now: Instant, peer: &PeerName) {
        if self.waits_for_bfd(peer) {
            let text = "it waits for BFD, which is not up (bfd.strict)".to_owned();
            let peer = peer.clone();
            self.bgp_command(now, bgpd::Command::HoldPeer { peer, text });
        }
    }

    fn release_strict(&mut self, now: Instant, peer: &PeerName) {
        if self.plan.bfd.get(peer).is_some_and(|watch| watch.strict) {
            self.release(now, peer);
        }
    }

    /// Lets a neighbor try that waited for BFD, unless something else keeps it down.
    fn release(&mut self, now: Instant, peer: &PeerName) {
        let config = self.plan.peers.iter().find(|it| it.name == *peer);
        let interface = config.and_then(|it| it.interface.as_deref());
        let mut tunnels = self.tunnels.values();
        let held = tunnels.any(|it| it.held_down && Some(it.plan.interface()) == interface);
        if !held && !self.plan.shut_down.contains_key(peer) {
            self.bgp_command(now, bgpd::Command::EnablePeer(peer.clone()));
        }
    }

    fn waits_for_bfd(&self, peer: &PeerName) -> bool {
        let strict = self.plan.bfd.get(peer).is_some_and(|watch| watch.strict);
        let path = self.paths.get(peer).copied().unwrap_or_default();
        strict && !matches!(path, Path::Up | Path::SwitchedOff)
    }
}

/// The sessions that are wanted, as BFD is told of them.
fn sessions(watches: &BTreeMap<PeerName, Watch>) -> BTreeMap<SessionName, SessionConfig> {
    let wanted = watches.iter().map(|(name, watch)| {
        let name = SessionName::from(name.as_str());
        (name, watch.session.clone())
    });
    wanted.collect()
}

/// Whether both are one session, with other timers at most.
fn same_way(one: &Watch, other: &Watch) -> bool {
    let way = |watch: &Watch| SessionConfig {
        passive: false,
        terms: other.session.terms,
        ..watch.session.clone()
    };
    way(one) == way(other)
}

#[cfg(test)]
mod tests;
