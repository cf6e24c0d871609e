//! Message IDs, retransmission and the reply cache (RFC 7296 sections 2.1 to 2.3), window one.
//!
//! Invariants: at most one request of ours is under way; a request of the peer is processed once,
//! and its repetitions get the same bytes again; nothing is repeated after the answer.

use std::time::{Duration, Instant};

use crate::connection::Retransmission;

/// Requests and responses of one IKE SA, in both directions.
#[derive(Debug, Default)]
#[cfg_attr(feature = "explore", derive(Clone, Hash))]
pub(crate) struct Window {
    next_request: u32,
    outstanding: Option<Outstanding>,
    expected: u32,
    reply: Option<Vec<Vec<u8>>>,
}

#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone, Hash))]
struct Outstanding {
    packets: Vec<Vec<u8>>,
    sent: Instant,
    next: Instant,
    wait: Duration,
    repeats: u32,
    pace: Pace,
}

/// How a request is repeated, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    pub(crate) retransmission: Retransmission,
    pub(crate) give_up: Duration,
}

/// Where a request of the peer stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// The next one: process it.
    New,
    /// The last one again: these bytes are the answer.
    Repeated(&'a [Vec<u8>]),
    /// Neither: drop it.
    Outside,
}

/// What the passing of time asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Send these again.
    Repeat(Vec<Vec<u8>>),
    /// The peer does not answer; this is how long we waited.
    GiveUp(Duration),
}

impl Window {
    /// The message ID of our next request.
    pub(crate) const fn next_id(&self) -> u32 {
        self.next_request
    }

    /// Whether a request of ours waits for its answer.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Repetitions of the request under way.
    pub(crate) fn repeats(&self) -> u32 {
        self.outstanding.as_ref().map_or(0, |o| o.repeats)
    }

    /// Notes the request with [`Self::next_id`]; it replaces one that is still under way, as the
    /// second IKE_SA_INIT with a cookie does.
    pub(crate) fn sent(&mut self, now: Instant, packets: Vec<Vec<u8>>, pace: Pace) {
        let wait = pace.retransmission.first;
        self.outstanding = Some(Outstanding {
            packets,
            sent: now,
            next: now + wait,
            wait,
            repeats: 0,
            pace,
        });
    }

    /// Whether a response with this ID answers our request; it then is under way no longer.
    pub(crate) fn answered(&mut self, id: u32) -> bool {
        let hit = self.outstanding.is_some() && id == self.next_request;
        if hit {
            self.outstanding = None;
            self.next_request += 1;
        }
        hit
    }

    /// Whether a response with this ID would answer our request.
    pub(crate) const fn awaits(&self, id: u32) -> bool {
        self.outstanding.is_some() && id == self.next_request
    }

    /// Stops repeating without an answer.
    pub(crate) fn abandon(&mut self) {
        self.outstanding = None;
    }

    /// Where a request of the peer with this ID stands.
    pub(crate) fn arrival(&self, id: u32) -> Arrival<'_> {
        if id == self.expected {
            return Arrival::New;
        }
        match &self.reply {
            Some(packets) if id.checked_add(1) == Some(self.expected) => Arrival::Repeated(packets),
            _ => Arrival::Outside,
        }
    }

    /// Notes the answer to the request that was new.
    pub(crate) fn replied(&mut self, packets: Vec<Vec<u8>>) {
        self.expected = self.expected.wrapping_add(1);
        self.reply = Some(packets);
    }

    /// What is due at `now`.
    pub(crate) fn poll(&mut self, now: Instant) -> Due {
        let Some(o) = &mut self.outstanding else {
            return Due::Nothing;
        };
        let waited = now.saturating_duration_since(o.sent);
        if waited >= o.pace.give_up {
            self.outstanding = None;
            return Due::GiveUp(waited);
        }
        if now < o.next {
            return Due::Nothing;
        }
        o.wait = (o.wait * 2).min(o.pace.retransmission.cap.max(o.pace.retransmission.first));
        o.next = now + o.wait;
        o.repeats += 1;
        Due::Repeat(o.packets.clone())
    }

    /// When [`Self::poll`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.outstanding
            .as_ref()
            .map(|o| o.next.min(o.sent + o.pace.give_up))
    }
}

#[cfg(test)]
mod tests;
