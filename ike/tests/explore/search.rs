//! Every schedule within a budget, depth first. A state that was there before, with at least as much
//! budget left, is not entered again.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::setup::Setup;
use super::step::{self, Step};
use super::world::{Budget, Trouble, World};

/// What an exploration has seen.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Steps taken between states, those that led to a known one included.
    pub steps: usize,
    /// Schedules that were run to the end.
    pub ends: usize,
    /// Longest schedule.
    pub depth: usize,
    /// The longest that it took to settle after the last choice.
    pub slowest: Duration,
    /// Most inbound SAs at once on one side.
    pub most_inbound: usize,
    /// The exploration was stopped before it had seen everything.
    pub cut: bool,
}

impl Report {
    /// Counts another exploration in.
    pub fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.steps += other.steps;
        self.ends += other.ends;
        self.depth = self.depth.max(other.depth);
        self.slowest = self.slowest.max(other.slowest);
        self.most_inbound = self.most_inbound.max(other.most_inbound);
        self.cut |= other.cut;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            steps,
            ends,
            depth,
            slowest,
            most_inbound,
            cut,
        } = self;
        let slowest = slowest.as_secs();
        write!(
            f,
            "{states} states, {steps} steps, {ends} ends, depth {depth}, settled within {slowest} s, \
             {most_inbound} inbound SAs at most"
        )?;
        if *cut {
            f.write_str(", CUT SHORT")
        } else {
            Ok(())
        }
    }
}

/// A broken promise and the schedule that shows it.
#[derive(Debug, Clone)]
pub struct Finding {
    pub what: String,
    pub schedule: String,
}

/// Runs one schedule to the end.
///
/// # Errors
/// What went wrong.
pub fn run(setup: &Setup, schedule: &[Step], trace: bool) -> Result<World, Trouble> {
    let budget = Budget {
        losses: u8::MAX,
        duplicates: u8::MAX,
        early_timers: u8::MAX,
        timers: u8::MAX,
    };
    let mut world = World::new(setup, budget)?;
    if trace {
        world = world.traced();
    }
    for step in schedule {
        world.step(*step)?;
    }
    world.finish()?;
    Ok(world)
}

/// A state and the ways on from it that are still to be tried.
struct Place {
    world: World,
    steps: Vec<Step>,
}

/// Explores all schedules; `most` bounds the states.
///
/// # Errors
/// The first broken promise.
pub fn explore(setup: &Setup, budget: Budget, most: usize) -> Result<Report, Finding> {
    let mut path = Vec::new();
    let mut report = Report::default();
    let search = AssertUnwindSafe(|| search(setup, budget, most, &mut path, &mut report));
    let what = match catch_unwind(search) {
        Ok(Ok(())) => return Ok(report),
        Ok(Err(Trouble::Violation(what) | Trouble::Impossible(what))) => what,
        Err(_) => "a panic".to_owned(),
    };
    Err(Finding {
        what,
        schedule: step::print(&path),
    })
}

/// Depth first; `path` is the way to where it is.
fn search(
    setup: &Setup,
    budget: Budget,
    most: usize,
    path: &mut Vec<Step>,
    report: &mut Report,
) -> Result<(), Trouble> {
    let mut seen = Seen::default();
    let mut places = Vec::new();
    enter(World::new(setup, budget)?, &mut seen, &mut places, report)?;
    while let Some(place) = places.last_mut() {
        if report.states >= most {
            report.cut = true;
            break;
        }
        let Some(step) = place.steps.pop() else {
            places.pop();
            path.pop();
            continue;
        };
        let mut world = place.world.fork();
        path.push(step);
        report.steps += 1;
        report.depth = report.depth.max(path.len());
        world.step(step)?;
        let before = places.len();
        enter(world, &mut seen, &mut places, report)?;
        if places.len() == before {
            path.pop();
        }
    }
    Ok(())
}

/// Goes on from a state that is new, or lets it come to its end if nothing is left to choose.
fn enter(
    mut world: World,
    seen: &mut Seen,
    places: &mut Vec<Place>,
    report: &mut Report,
) -> Result<(), Trouble> {
    report.most_inbound = report.most_inbound.max(world.most_inbound);
    if !seen.is_new(world.fingerprint(), world.budget) {
        return Ok(());
    }
    report.states += 1;
    let mut steps = world.steps();
    // The first one is to be taken first.
    steps.reverse();
    if steps.is_empty() {
        report.ends += 1;
        report.slowest = report.slowest.max(world.finish()?);
    } else {
        places.push(Place { world, steps });
    }
    Ok(())
}

/// States that were entered, each with the budgets that were left.
#[derive(Default)]
struct Seen(HashMap<u64, Vec<Budget>>);

impl Seen {
    /// Notes a state; false if it was there with as much budget before.
    fn is_new(&mut self, state: u64, budget: Budget) -> bool {
        let known = self.0.entry(state).or_default();
        if known.iter().any(|before| before.covers(budget)) {
            return false;
        }
        known.retain(|before| !budget.covers(*before));
        known.push(budget);
        true
    }
}
