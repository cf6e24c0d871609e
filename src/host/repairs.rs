//! Saying what was put right after somebody else's change, without filling the log.

use std::time::{Duration, Instant};

use tracing::{debug, warn};

/// How many repairs are said in how long a time; somebody who changes things without end must not fill the log.
const MOST_SAID: u32 = 10;
const SAYING: Duration = Duration::from_secs(10);

/// What was said lately.
pub(super) struct Repairs {
    since: Instant,
    count: u32,
}

impl Repairs {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: 0,
        }
    }

    /// Says one, unless there were too many lately: then the last word is that there are more. Returns whether it was said.
    pub(super) fn say(&mut self, now: Instant, repair: &str) -> bool {
        if now.duration_since(self.since) > SAYING {
            let unsaid = self.count.saturating_sub(MOST_SAID);
            if unsaid > 0 {
                warn!("{unsaid} more changes of what is ours were put right");
            }
            *self = Self::new(now);
        }
        self.count += 1;
        let is_said = self.count <= MOST_SAID;
        if is_said {
            warn!("what is ours on this host was changed by somebody: {repair}");
        } else {
            debug!("put right: {repair}");
        }
        is_said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_repairs_is_said_ten_times_in_ten_seconds() {
        let start = Instant::now();
        let mut repairs = Repairs::new(start);
        let mut said = |after: u64| repairs.say(start + Duration::from_secs(after), "it");
        let first = (0..100).filter(|_| said(1)).count();
        assert_eq!(first, 10);
        assert_eq!((0..100).filter(|_| said(12)).count(), 10);
    }
}
