//! The timers of a session: how both sides agree on intervals, and how they change (RFC 5880, sections 6.5, 6.8.2 to 6.8.4, 6.8.7).

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Poll, Session, Turn};
use crate::event::Event;
use crate::packet::State;

/// The pace of a session that is not up: "not less than one second" (RFC 5880, section 6.8.3).
pub const SLOW: Duration = Duration::from_secs(1);

impl Session {
    /// How often we send: neither faster than we like nor than the peer can take. `None` where it wants no periodic packets.
    pub(super) fn transmit_interval(&self) -> Option<Duration> {
        let theirs = self.remote.required_min_rx;
        (!theirs.is_zero()).then_some(self.paced_min_tx.max(theirs))
    }

    /// How long the peer may be silent: so many of its intervals as it says (section 6.8.4). Zero before it was heard.
    pub(super) fn detection_time(&self) -> Duration {
        let interval = self.detected_min_rx.max(self.remote.desired_min_tx);
        interval * u32::from(self.remote.detect_mult)
    }

    /// When the peer has been silent for too long.
    pub(super) fn detect_at(&self) -> Option<Instant> {
        Some(self.heard_at? + self.detection_time())
    }

    /// Puts the configured terms into what packets say, as fast as section 6.8.3 allows, and into what paces us, as it allows that.
    pub(super) fn apply_terms(&mut self, turn: &mut Turn<'_>) {
        let up = self.state == State::Up;
        let terms = self.config.terms;
        let tx = match up {
            true => terms.desired_min_tx,
            false => terms.desired_min_tx.max(SLOW),
        };
        let rx = terms.required_min_rx;
        let changed = tx != self.desired_min_tx || rx != self.required_min_rx;
        (self.desired_min_tx, self.required_min_rx) = (tx, rx);
        // Slower than announced, or expecting more than announced, would look like a failure: the peer has to know it first.
        if !up || tx < self.paced_min_tx {
            self.paced_min_tx = tx;
        }
        if !up || rx > self.detected_min_rx {
            self.detected_min_rx = rx;
        }
        if changed {
            self.poll = match self.poll {
                Poll::None => Poll::Active,
                Poll::Active | Poll::ActiveAndAgain => Poll::ActiveAndAgain,
            };
        }
        self.keep_pace(turn);
        self.tell_intervals(turn);
    }

    /// A Final has come: the peer knows what we asked for when the Poll Sequence began.
    pub(super) fn finish_poll(&mut self) {
        match self.poll {
            Poll::None => {}
            Poll::ActiveAndAgain => self.poll = Poll::Active,
            Poll::Active => {
                self.poll = Poll::None;
                self.paced_min_tx = self.desired_min_tx;
                self.detected_min_rx = self.required_min_rx;
            }
        }
    }

    /// The next periodic packet comes no later than the interval asks for; a slower pace begins with the packet after it.
    pub(super) fn keep_pace(&mut self, turn: &mut Turn<'_>) {
        if !self.may_transmit() {
            self.transmit_at = None;
            return;
        }
        let latest = self.transmit_interval().map(|it| turn.now + it);
        if self.transmit_at.is_none() || self.transmit_at > latest {
            self.schedule(turn);
        }
    }

    /// The next periodic packet, an interval after this one.
    pub(super) fn schedule(&mut self, turn: &mut Turn<'_>) {
        self.transmit_at = self.jittered(turn);
    }

    /// The next periodic packet is due now.
    pub(super) fn transmit_soon(&mut self, turn: &mut Turn<'_>) {
        self.transmit_at = self.may_transmit().then_some(turn.now);
    }

    /// The state has changed, which the peer should know at once (section 6.8.7, last paragraph). Once between two periodic packets:
    /// two ends that answered each change with a packet would go on for ever over a link that repeats or reorders.
    pub(super) fn prompt(&mut self, turn: &mut Turn<'_>) {
        if !self.prompted && self.may_transmit() {
            self.prompted = true;
            self.transmit(turn, false);
        }
        self.keep_pace(turn);
    }

    /// A quarter less than the interval at most, so that systems do not fall into step; with a multiplier of one a tenth less at least,
    /// as a single late packet is a failure then (section 6.8.7).
    fn jittered(&self, turn: &mut Turn<'_>) -> Option<Instant> {
        let most = match self.config.terms.detect_mult {
            1 => 0.90,
            _ => 1.0,
        };
        let interval = self.transmit_interval()?;
        Some(turn.now + interval.mul_f64(turn.rng.random_range(0.75..=most)))
    }

    /// Tells the intervals of a session that is up, if they are others than were told.
    pub(super) fn tell_intervals(&mut self, turn: &mut Turn<'_>) {
        let now = (self.transmit_interval(), self.detection_time());
        if self.state == State::Up && self.poll == Poll::None && self.told != Some(now) {
            self.told = Some(now);
            let (transmit, detection) = now;
            turn.events.push_back(Event::Adapted {
                session: self.name.clone(),
                transmit,
                detection,
            });
        }
    }
}
