//! Every schedule of two exchanges that cross, within a budget of losses, repetitions and timers.
//! `examples/explore.rs` does the same with larger budgets, and prints what a schedule does.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "the example uses the rest of these modules"
)]

mod catalogue;
mod host;
mod schedules;
mod search;
mod setup;
mod step;
mod world;

use search::{Report, explore};
use setup::Setup;
use world::Budget;

/// Explores set-ups one after the other and says what was seen.
#[track_caller]
fn explore_all(setups: &[Setup], budget: Budget) {
    /// States of one set-up that are looked at here; the example looks at all.
    const MOST: usize = 600;
    let mut total = Report::default();
    let mut broken = Vec::new();
    for setup in setups {
        match explore(setup, budget, MOST) {
            Ok(report) => total.add(&report),
            Err(finding) => broken.push(format!(
                "{}: {}\n    {}",
                setup.name, finding.what, finding.schedule
            )),
        }
    }
    eprintln!("{} set-ups: {total}", setups.len());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(
        total.states > 100 && total.ends > 10,
        "nothing was explored: {total}"
    );
}

const ONE_LOSS: Budget = Budget {
    losses: 1,
    duplicates: 0,
    early_timers: 0,
    timers: 3,
};

const ONE_REPETITION: Budget = Budget {
    losses: 0,
    duplicates: 1,
    early_timers: 0,
    timers: 2,
};

const ONE_EARLY_TIMER: Budget = Budget {
    losses: 0,
    duplicates: 0,
    early_timers: 1,
    timers: 2,
};

#[test]
fn crossed_rekeyings_leave_one_working_child_whatever_is_lost() {
    explore_all(&catalogue::crossed_rekeyings(), ONE_LOSS);
}

#[test]
fn crossed_rekeyings_leave_one_working_child_whatever_comes_twice() {
    explore_all(&catalogue::crossed_rekeyings(), ONE_REPETITION);
}

#[test]
fn crossed_rekeyings_leave_one_working_child_whatever_is_late() {
    explore_all(&catalogue::crossed_rekeyings(), ONE_EARLY_TIMER);
}

#[test]
fn every_pair_of_exchanges_leaves_one_working_child_whatever_is_lost() {
    explore_all(&catalogue::pairs(), ONE_LOSS);
}

#[test]
fn every_pair_of_exchanges_leaves_one_working_child_whatever_is_late() {
    explore_all(&catalogue::pairs(), ONE_EARLY_TIMER);
}

#[test]
fn crossed_rekeyings_with_wrong_groups_leave_one_working_child_whatever_is_lost() {
    explore_all(&catalogue::wrong_groups(), ONE_LOSS);
}

#[test]
fn beginning_at_once_leaves_one_working_child_whatever_is_lost() {
    explore_all(&catalogue::beginnings(), ONE_LOSS);
}

#[test]
fn three_exchanges_leave_one_working_child_whatever_is_late() {
    explore_all(&catalogue::threes(), ONE_EARLY_TIMER);
}

#[test]
fn rekeyings_with_an_additional_key_exchange_leave_one_working_child_whatever_is_lost() {
    explore_all(&catalogue::additional(), ONE_LOSS);
}

#[test]
fn rekeyings_with_an_additional_key_exchange_leave_one_working_child_whatever_comes_twice() {
    explore_all(&catalogue::additional(), ONE_REPETITION);
}

#[test]
fn rekeyings_with_an_additional_key_exchange_leave_one_working_child_whatever_is_late() {
    explore_all(&catalogue::additional(), ONE_EARLY_TIMER);
}
