//! `causeway demo`: a whole hybrid cloud on this machine, and a tour of it.
//!
//! - [`topology`]: the stage, made of network namespaces
//! - [`site`]: the site files of those who play; the gateway's is the reference site
//! - [`daemon`], [`status`]: our own program as gateway, DRGs, VCN router and nodes, and what it says of itself
//! - [`kernel`]: what is in a kernel, whatever a daemon says
//! - [`probe`] sends traffic
//! - [`steps`]: what is shown, and how each of it is verified
//! - [`workspace`]: the demo's folder, and the sweeping of demos that were killed
//! - [`stop`], [`progress`]: Ctrl-C, and what a person sees meanwhile
//!
//! Invariants: nothing outside the demo's own namespaces and folder is touched; whatever way it ends, Ctrl-C included, all of
//! it is gone afterwards; it says "verified" of nothing that was not looked at in the place where it counts. No other program
//! is needed.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::cli::paint::Table;
use crate::cli::{Failure, print_json};

mod daemon;
mod kernel;
mod probe;
mod problem;
mod progress;
mod random;
mod site;
mod status;
mod steps;
mod stop;
#[cfg(test)]
mod tests;
mod topology;
mod workspace;

use progress::Progress;
use steps::{Outcome, Tour};
use stop::Stop;

/// The version of the JSON document's form.
const VERSION: u32 = 1;

/// How much of a result is in the summary, in characters.
const RESULT: usize = 64;

/// What a machine is told at the end.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    ok: bool,
    interrupted: bool,
    seconds: f64,
    steps: &'a [Outcome],
}

/// Gives the tour. With `keep` everything stays until Ctrl-C, to look around; with `json` there is one JSON document at the
/// end and nothing before.
///
/// # Errors
/// [`Failure::Failed`] unless every step was verified.
pub(crate) fn execute(keep: bool, json: bool) -> Result<(), Failure> {
    let start = std::time::Instant::now();
    let stop = Stop::on_signals().map_err(|problem| Failure::Failed(problem.to_string()))?;
    let mut tour = Tour::new(stop, Progress::new(json));
    tour.give(keep);
    let (outcomes, interrupted) = tour.leave();
    let ok = outcomes.len() == steps::count() && outcomes.iter().all(|outcome| outcome.ok);
    let seconds = steps::round(start.elapsed());
    if json {
        let report = Report {
            version: VERSION,
            ok,
            interrupted,
            seconds,
            steps: &outcomes,
        };
        print_json(
            &serde_json::to_value(&report).map_err(|error| Failure::Failed(error.to_string()))?,
        )?;
    } else {
        summarize(&outcomes, seconds)?;
    }
    let verified = outcomes.iter().filter(|outcome| outcome.ok).count();
    match (ok, interrupted) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::Failed(
            "demo: interrupted; what it had built is taken down".into(),
        )),
        (false, false) => Err(Failure::Failed(format!(
            "demo: {verified} of {} steps verified",
            steps::count()
        ))),
    }
}

fn summarize(outcomes: &[Outcome], seconds: f64) -> Result<(), Failure> {
    let paint = crate::cli::paint::Paint::detect();
    let mut table = Table::new(&["", "STEP", "TIME", "RESULT"]);
    for outcome in outcomes {
        table.row(vec![
            if outcome.ok {
                paint.good("✓")
            } else {
                paint.bad("✗")
            },
            outcome.title.to_owned(),
            format!("{:.1} s", outcome.seconds),
            if outcome.ok {
                short(&outcome.figure)
            } else {
                outcome.figure.clone()
            },
        ]);
    }
    let mut out = io::stdout().lock();
    writeln!(out)?;
    for line in table.lines() {
        writeln!(out, "{line}")?;
    }
    let verified = outcomes.iter().filter(|outcome| outcome.ok).count();
    let total = steps::count();
    let verdict = format!("{verified} of {total} steps verified in {seconds:.1} s");
    let verdict = if verified == total {
        paint.good(&verdict)
    } else {
        paint.bad(&verdict)
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}

/// The beginning of what a step has said in full already. What went wrong is never cut: its end says what to do.
fn short(text: &str) -> String {
    match text.char_indices().nth(RESULT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
