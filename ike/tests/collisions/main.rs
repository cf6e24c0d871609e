//! The collisions of RFC 7296 sections 2.8 and 2.25 as a table: who asks for what, in which order the
//! messages arrive, and what has to come of it. `../explore` looks at all other orders; here are those
//! that have a name.
//!
//! Every row is run to its end with the checks of the exploration: no packet unreadable, no tunnel
//! down, one child at last. What the steps mean is told in `../explore/step.rs`; A has sent four
//! requests before, B none.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "the exploration uses the rest of these modules"
)]

mod child;
#[path = "../explore/host.rs"]
mod host;
mod ike_sa;
#[path = "../explore/search.rs"]
mod search;
#[path = "../explore/setup.rs"]
mod setup;
#[path = "../explore/step.rs"]
mod step;
#[path = "../explore/world.rs"]
mod world;

use setup::{Low, Setup};
use step::Side;

/// One row.
struct Row {
    name: String,
    setup: Setup,
    schedule: String,
    expected: Expected,
}

/// What is counted on the sides A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    /// Collisions that were noticed and won.
    won: [u32; 2],
    /// Collisions that were noticed and lost.
    lost: [u32; 2],
    /// Children that were replaced.
    child: [u32; 2],
    /// IKE SAs that were replaced.
    ike: [u32; 2],
    /// Times that the tunnel went down.
    down: [u32; 2],
}

/// Nothing happens.
const NOTHING: Expected = Expected {
    won: [0, 0],
    lost: [0, 0],
    child: [0, 0],
    ike: [0, 0],
    down: [0, 0],
};

impl Expected {
    /// Both sides notice the collision, and this one's exchange stays.
    fn winner(self, side: Side) -> Self {
        let mut both = self;
        both.won[side.index()] = 1;
        both.lost[side.other().index()] = 1;
        both
    }
}

fn row(name: impl Into<String>, setup: Setup, schedule: &str, expected: Expected) -> Row {
    Row {
        name: name.into(),
        setup,
        schedule: schedule.to_owned(),
        expected,
    }
}

/// A row's name with the nonce that decides.
fn with_low(name: &str, low: Low) -> String {
    format!("{name}, {low:?} the lowest")
}

/// Runs all rows and says which ones fail.
#[track_caller]
fn run(rows: Vec<Row>) {
    let count = rows.len();
    let mut broken = Vec::new();
    for Row {
        name,
        setup,
        schedule,
        expected,
    } in rows
    {
        let steps = step::parse(&schedule).unwrap_or_else(|error| panic!("{name}: {error}"));
        match search::run(&setup, &steps, std::env::var_os("IKE_TRACE").is_some()) {
            Ok(world) => {
                let of = |count: fn(&host::Tally) -> u32| {
                    [count(&world.hosts[0].tally), count(&world.hosts[1].tally)]
                };
                let got = Expected {
                    won: of(|t| t.won),
                    lost: of(|t| t.lost),
                    child: of(|t| t.child_rekeyed),
                    ike: of(|t| t.ike_rekeyed),
                    down: of(|t| t.tunnel_down),
                };
                if got != expected {
                    broken.push(format!(
                        "{name}: {schedule}\n    got      {got:?}\n    expected {expected:?}"
                    ));
                }
            }
            Err(trouble) => broken.push(format!("{name}: {schedule}\n    {trouble:?}")),
        }
    }
    eprintln!("{count} rows");
    assert!(
        broken.is_empty(),
        "{} of {count}:\n{}",
        broken.len(),
        broken.join("\n")
    );
}
