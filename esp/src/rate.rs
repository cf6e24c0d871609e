//! A token bucket: how often something may be done that a stranger can cause.

use std::time::{Duration, Instant};

/// Permits `burst` events at once and one more every `interval` (RFC 4443 section 2.4 (f) asks for
/// such a limit on ICMP errors).
#[derive(Clone, Debug)]
pub struct TokenBucket {
    interval: Duration,
    burst: u32,
    tokens: u32,
    /// When the tokens were counted last; `None` before the first event.
    counted: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub const fn new(burst: u32, interval: Duration) -> Self {
        Self {
            interval,
            burst,
            tokens: burst,
            counted: None,
        }
    }

    /// Whether an event may happen now; if so it is counted.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.tokens.checked_sub(1) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let counted = *self.counted.get_or_insert(now);
        let elapsed = now.saturating_duration_since(counted);
        let new = elapsed.as_nanos() / self.interval.as_nanos().max(1);
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        if new >= self.burst - self.tokens {
            self.tokens = self.burst;
            self.counted = Some(now);
        } else {
            self.tokens += new;
            self.counted = Some(counted + self.interval * new);
        }
    }
}
