//! Waiting for a condition, and giving up with a sentence.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

/// How often a condition is looked at: short beside what the tests measure.
const POLL: Duration = Duration::from_millis(25);

/// A look costs the machine that is looked at: between two looks there is this many times what the last one took.
const REST: u32 = 2;

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

/// Waits until `look` gives something, looking every 25 ms, or less often where a look takes long.
///
/// # Panics
/// When `limit`, times the machine's [`patience`], has passed: the message names `what` was waited for.
#[track_caller]
pub fn eventually<T>(
    limit: Duration,
    what: impl Display,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let limit = limit * patience();
    let started = Instant::now();
    loop {
        let looked = Instant::now();
        if let Some(found) = look() {
            return found;
        }
        let pause = POLL.max(looked.elapsed() * REST);
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
