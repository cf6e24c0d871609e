//! Explores what can become of two IKE endpoints whose exchanges cross: every order of arrival, with
//! losses, repetitions and timers within a budget. Prints what it has seen, and for a broken promise
//! the schedule that shows it.
//!
//! ```text
//! cargo run --release -p causeway-ike --example explore -- [WORD=N…] [NAME…]
//! cargo run --release -p causeway-ike --example explore -- replay 'NAME' 'SCHEDULE'
//! ```
//! The words are `losses`, `duplicates`, `early` (timers while datagrams are under way), `timers` (all
//! of them) and `states` (the most for one set-up). A name chooses the set-ups that contain it.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "the tests use the rest of these modules"
)]

#[path = "../tests/explore/catalogue.rs"]
mod catalogue;
#[path = "../tests/explore/host.rs"]
mod host;
#[path = "../tests/explore/search.rs"]
mod search;
#[path = "../tests/explore/setup.rs"]
mod setup;
#[path = "../tests/explore/step.rs"]
mod step;
#[path = "../tests/explore/world.rs"]
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use setup::Setup;
use world::Budget;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [replay, name, schedule] = words.as_slice()
        && replay == "replay"
    {
        return replay_one(name, schedule);
    }
    let mut budget = Budget {
        losses: 2,
        duplicates: 1,
        early_timers: 1,
        timers: 6,
    };
    let mut most = 2_000_000;
    let mut names = Vec::new();
    for word in &words {
        let number = word
            .split_once('=')
            .map(|(key, n)| (key, n.parse::<usize>()));
        let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        match number {
            Some(("losses", Ok(n))) => budget.losses = small(n),
            Some(("duplicates", Ok(n))) => budget.duplicates = small(n),
            Some(("early", Ok(n))) => budget.early_timers = small(n),
            Some(("timers", Ok(n))) => budget.timers = small(n),
            Some(("states", Ok(n))) => most = n,
            Some(_) => {
                eprintln!(
                    "`{word}`: expected losses=, duplicates=, early=, timers= or states= and a number"
                );
                return ExitCode::FAILURE;
            }
            None => names.push(word.clone()),
        }
    }
    let mut setups = catalogue::all();
    setups.retain(|setup| names.is_empty() || names.iter().any(|name| setup.name.contains(name)));
    println!("{} set-ups, {budget:?}", setups.len());
    explore_all(setups, budget, most)
}

/// Explores several set-ups at once, as many as there are processors.
fn explore_all(setups: Vec<Setup>, budget: Budget, most: usize) -> ExitCode {
    let begin = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let open = Mutex::new(setups.into_iter());
    let totals = Mutex::new((0, 0, 0, 0));
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(setup) = open.lock().ok().and_then(|mut open| open.next()) {
                    let begin = Instant::now();
                    let found = search::explore(&setup, budget, most);
                    let took = begin.elapsed().as_secs_f32();
                    let Ok(mut totals) = totals.lock() else {
                        return;
                    };
                    match found {
                        Ok(report) => {
                            println!("{}: {report} in {took:.1} s", setup.name);
                            totals.0 += report.states;
                            totals.1 += report.ends;
                            totals.2 += usize::from(report.cut);
                        }
                        Err(finding) => {
                            totals.3 += 1;
                            println!(
                                "{}: BROKEN: {}\n    {}",
                                setup.name, finding.what, finding.schedule
                            );
                        }
                    }
                }
            });
        }
    });
    let (states, ends, cut, broken) = totals.into_inner().unwrap_or_default();
    let took = begin.elapsed().as_secs_f32();
    println!(
        "{states} states, {ends} ends, {cut} set-ups cut short, {broken} broken, in {took:.0} s"
    );
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn replay_one(name: &str, schedule: &str) -> ExitCode {
    let Some(setup) = catalogue::all()
        .into_iter()
        .find(|setup| setup.name == *name)
    else {
        eprintln!("no set-up is called `{name}`");
        return ExitCode::FAILURE;
    };
    let steps = match step::parse(schedule) {
        Ok(steps) => steps,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match search::run(&setup, &steps, true) {
        Ok(_) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble:?}");
            ExitCode::FAILURE
        }
    }
}
