//! What a connection wants over time: to be up, for ever, without being a nuisance.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::{Cause, Diagnosis};

/// A tunnel that was up for so long has proved itself: failures before it no longer count.
const PROVEN: Duration = Duration::from_secs(60);

/// The longest pause after a refusal.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The same failure is not reported again within this time.
const QUIET: Duration = Duration::from_secs(30);

/// The state of a connection beside its SAs.
#[derive(Debug, Default)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(super) struct Tunnel {
    /// We initiate.
    pub(super) wanted: bool,
    /// It goes as soon as its last SA is gone.
    pub(super) removed: bool,
    /// Not before this.
    pub(super) next_attempt: Option<Instant>,
    /// Attempts since it was last up.
    pub(super) attempts: u32,
    /// Refusals since it last proved itself.
    pub(super) failures: u32,
    /// Our inbound SPI of the child that carries our traffic.
    pub(super) outbound: Option<u32>,
    pub(super) up_since: Option<Instant>,
    pub(super) last_error: Option<(Instant, Diagnosis)>,
    /// Somebody waits for the outcome of what was asked by hand, so the next failure is news.
    pub(super) is_watched: bool,
    /// When to look for redundant SAs.
    pub(super) dedupe_at: Option<Instant>,
    /// The peer has lost track of its SAs and made new ones. Until it certainly has the new child, and until then at the latest, our traffic
    /// stays on the old one: a data plane that outlives its daemon still receives on it.
    pub(super) clings_until: Option<Instant>,
    /// What the endpoint has noted of when there is something to do.
    pub(super) marked: Option<Instant>,
}

impl Tunnel {
    /// Waits before the next attempt, longer after each refusal.
    pub(super) fn back_off(&mut self, cx: &mut Context, now: Instant) {
        let pause = Duration::from_secs(1 << self.failures.min(5)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.next_attempt = Some(now + cx.share(pause, 75, 125));
    }

    /// Notes a failure; returns whether it is news.
    pub(super) fn note_failure(&mut self, now: Instant, diagnosis: &mut Diagnosis) -> bool {
        let watched = std::mem::take(&mut self.is_watched);
        let news = match &mut diagnosis.cause {
            Cause::NoAnswer { attempts, .. } => {
                *attempts = self.attempts.max(1);
                attempts.is_power_of_two()
            }
            _ => self
                .last_error
                .as_ref()
                .is_none_or(|(at, last)| last.cause != diagnosis.cause || now >= *at + QUIET),
        };
        if news || watched || matches!(diagnosis.cause, Cause::NoAnswer { .. }) {
            self.last_error = Some((now, diagnosis.clone()));
        }
        news || watched
    }

    /// Traffic can flow.
    pub(super) fn went_up(&mut self, now: Instant) {
        self.up_since = Some(now);
        self.attempts = 0;
        self.next_attempt = None;
    }

    /// Traffic can no longer flow.
    pub(super) fn went_down(&mut self, now: Instant) {
        let proven = |since: Instant| now >= since + PROVEN;
        if self.up_since.take().is_some_and(proven) {
            self.failures = 0;
        }
    }
}
