//! Waiting for a condition, and giving up with a sentence.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

/// How often a condition is looked at: short beside what the tests measure.
const POLL: Duration = Duration::from_millis(25);

/// A look costs the machine that is looked at: between two looks there is this many times what the last one took.
const REST: u32 = 2;

/// Where everything takes longer, a look takes most of the machine as well: what has been waited for long is looked at less and
/// less often, at most this share of the time waited later than it could have been seen, and at most a second.
const LATER: u32 = 16;

/// How many times longer than on an idle machine everything may take: `CAUSEWAY_LAB_PATIENCE`, or 1. An emulated machine
/// needs more.
///
/// # Panics
/// When it is not a number.
#[track_caller]
#[must_use]
pub fn patience() -> u32 {
    std::env::var("CAUSEWAY_LAB_PATIENCE").map_or(1, |text| {
        text.parse()
            .or_fail(format_args!("CAUSEWAY_LAB_PATIENCE is {text:?}"))
    })
}

/// Waits until `look` gives something, looking every 25 ms, or less often where a look takes long or the machine is slow.
///
/// # Panics
/// When `limit`, times the machine's [`patience`], has passed: the message names `what` was waited for.
#[track_caller]
pub fn eventually<T>(
    limit: Duration,
    what: impl Display,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let patience = patience();
    let limit = limit * patience;
    let started = Instant::now();
    loop {
        let looked = Instant::now();
        if let Some(found) = look() {
            return found;
        }
        let mut pause = POLL.max(looked.elapsed() * REST);
        if patience > 1 {
            pause = pause.max((started.elapsed() / LATER).min(Duration::from_secs(1)));
        }
        assert!(
            started.elapsed() < limit,
            "after {:.1} s still not: {what}",
            started.elapsed().as_secs_f64()
        );
        std::thread::sleep(pause);
    }
}

/// Waits until `holds` says true, and returns how long that took.
///
/// # Panics
/// When `limit` has passed: the message names `what` was waited for.
#[track_caller]
pub fn eventually_true(
    limit: Duration,
    what: impl Display,
    mut holds: impl FnMut() -> bool,
) -> Duration {
    let started = Instant::now();
    eventually(limit, what, || holds().then_some(()));
    started.elapsed()
}

/// A value, or the end of the test with a sentence that says what was being done.
pub trait OrFail<T> {
    /// The value; panics with `what` and the error when there is none.
    fn or_fail(self, what: impl Display) -> T;
}

impl<T, E: Debug> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
}

impl<T> OrFail<T> for Option<T> {
    #[track_caller]
    fn or_fail(self, what: impl Display) -> T {
        match self {
            Some(value) => value,
            None => panic!("{what}: nothing there"),
        }
    }
}
