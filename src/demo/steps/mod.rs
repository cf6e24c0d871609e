//! The tour: its steps in order, what each needs and what it verifies.
//!
//! A step either returns what it verified or says what it saw instead; there is no third way. A step that others build upon
//! ends the tour when it fails. The last step, taking everything down, is always taken.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::daemon::Daemon;
use super::problem::Problem;
use super::progress::Progress;
use super::stop::Stop;
use super::topology::{Place, Topology};
use super::workspace::Workspace;

mod bring_up;
mod failover;
mod firewall;
mod leave;
mod routes;
mod traffic;

/// How many lines of a daemon's log are shown after a failure.
const LAST_WORDS: usize = 8;

/// A step of the tour.
struct Step {
    /// For machines.
    name: &'static str,
    /// For people.
    title: &'static str,
    /// Whether the tour can't go on without it.
    essential: bool,
    /// Whose log is of interest when it fails.
    concerned: &'static [Place],
    run: fn(&mut Tour) -> Result<Verified, Problem>,
}

const STEPS: &[Step] = &[
    Step {
        name: "machine",
        title: "This machine can do it",
        essential: true,
        concerned: &[],
        run: bring_up::machine,
    },
    Step {
        name: "network",
        title: "Build home, internet and cloud",
        essential: true,
        concerned: &[],
        run: bring_up::network,
    },
    Step {
        name: "daemons",
        title: "Start the gateway and those it will meet",
        essential: true,
        concerned: &Place::DAEMONS,
        run: bring_up::daemons,
    },
    Step {
        name: "tunnels",
        title: "Both tunnels are up, at both ends",
        essential: true,
        concerned: &[Place::Gateway, Place::Drg1],
        run: bring_up::tunnels,
    },
    Step {
        name: "bgp",
        title: "BGP with both DRGs and three nodes",
        essential: true,
        concerned: &[Place::Gateway, Place::Drg1, Place::Node1],
        run: bring_up::bgp,
    },
    Step {
        name: "routes",
        title: "Exactly the permitted prefixes, ECMP in the kernel",
        essential: false,
        concerned: &[Place::Gateway],
        run: routes::routes,
    },
    Step {
        name: "ping",
        title: "Ping the cloud's ends, and host to host",
        essential: false,
        concerned: &[Place::Gateway, Place::Drg1],
        run: traffic::ping,
    },
    Step {
        name: "transfer",
        title: "TCP in both directions, checksummed",
        essential: false,
        concerned: &[Place::Gateway],
        run: traffic::transfers,
    },
    Step {
        name: "ecmp",
        title: "One service address on three nodes",
        essential: false,
        concerned: &[Place::Gateway, Place::Node1],
        run: traffic::ecmp,
    },
    Step {
        name: "failover",
        title: "A tunnel dies under traffic, and comes back",
        essential: false,
        concerned: &[Place::Gateway, Place::Drg1],
        run: failover::failover,
    },
    Step {
        name: "firewall",
        title: "A stranger gets no answer",
        essential: false,
        concerned: &[Place::Gateway],
        run: firewall::stranger,
    },
];

/// The step that is taken in any case.
const LEAVE: (&str, &str) = ("leave", "Nothing is left behind");

/// How many steps a whole tour has.
pub(super) fn count() -> usize {
    STEPS.len() + 1
}

/// What a step has verified.
#[derive(Debug, Default)]
struct Verified {
    /// In a few words.
    figure: String,
    /// More about it, a line each.
    lines: Vec<String>,
    /// Numbers for machines.
    figures: BTreeMap<&'static str, f64>,
}

impl Verified {
    fn new(figure: impl Into<String>) -> Self {
        Self {
            figure: figure.into(),
            ..Self::default()
        }
    }

    fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    fn number(mut self, name: &'static str, value: f64) -> Self {
        self.figures.insert(name, value);
        self
    }
}

/// How a step went.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    #[serde(skip)]
    pub(super) title: &'static str,
    pub(super) ok: bool,
    pub(super) seconds: f64,
    #[serde(rename = "detail")]
    pub(super) figure: String,
    lines: Vec<String>,
    figures: BTreeMap<&'static str, f64>,
}

/// A tour under way. What it has built goes when it is dropped: daemons first, then namespaces, then files.
pub(super) struct Tour {
    stop: Stop,
    progress: Progress,
    outcomes: Vec<Outcome>,
    interrupted: bool,
    /// Interfaces of the machine itself, which have to be the same afterwards.
    interfaces: Vec<String>,
    daemons: BTreeMap<Place, Daemon>,
    topology: Option<Topology>,
    workspace: Option<Workspace>,
}

impl Tour {
    /// A tour on which nothing has happened yet.
    pub(super) fn new(stop: Stop, progress: Progress) -> Self {
        Self {
            stop,
            progress,
            outcomes: Vec::new(),
            interrupted: false,
            interfaces: leave::interfaces(),
            daemons: BTreeMap::new(),
            topology: None,
            workspace: None,
        }
    }

    /// Takes the steps, one after the other, and with `keep` waits at the end.
    pub(super) fn give(&mut self, keep: bool) {
        for (number, step) in STEPS.iter().enumerate() {
            self.progress.begin(number + 1, step.title);
            let result = self.stop.check().and_then(|()| (step.run)(self));
            let ok = result.is_ok();
            self.interrupted |= matches!(result, Err(Problem::Interrupted));
            self.conclude(step.name, step.title, result);
            if self.interrupted {
                return;
            }
            if !ok {
                self.explain(step.concerned);
                if step.essential {
                    break;
                }
            }
        }
        if keep && !self.daemons.is_empty() {
            self.invite();
            self.stop.wait();
        }
    }

    /// Takes everything down and says how all steps went, and whether they were interrupted.
    pub(super) fn leave(mut self) -> (Vec<Outcome>, bool) {
        let (name, title) = LEAVE;
        self.progress.begin(count(), title);
        let result = leave::leave(&mut self);
        self.conclude(name, title, result);
        (std::mem::take(&mut self.outcomes), self.interrupted)
    }

    fn conclude(
        &mut self,
        name: &'static str,
        title: &'static str,
        result: Result<Verified, Problem>,
    ) {
        let ok = result.is_ok();
        let verified = result.unwrap_or_else(|problem| Verified::new(problem.to_string()));
        let took = self.progress.end(ok, &verified.figure, &verified.lines);
        let Verified {
            figure,
            lines,
            figures,
        } = verified;
        self.outcomes.push(Outcome {
            name,
            title,
            ok,
            seconds: round(took),
            figure,
            lines,
            figures,
        });
    }

    /// After a failure: what the daemons that have to do with it say.
    fn explain(&mut self, concerned: &[Place]) {
        for place in concerned {
            let Some(daemon) = self.daemons.get_mut(place) else {
                continue;
            };
            let mut lines = Vec::new();
            if let Some(end) = daemon.end() {
                lines.push(format!("{} has ended: {end}", place.name()));
            } else if let Ok(status) = daemon.status() {
                lines.extend(
                    status
                        .problems
                        .iter()
                        .map(|problem| format!("{} says: {problem}", place.name())),
                );
            }
            lines.extend(
                daemon
                    .last_words(LAST_WORDS)
                    .iter()
                    .map(|line| format!("{}: {line}", place.name())),
            );
            for line in &lines {
                self.progress
                    .say(&format!("      {}", self.progress.paint().dim(line)));
            }
            if let Some(outcome) = self.outcomes.last_mut() {
                outcome.lines.extend(lines);
            }
        }
    }

    /// Says how to look around.
    fn invite(&self) {
        let (Some(gateway), Some(topology)) = (self.daemons.get(&Place::Gateway), &self.topology)
        else {
            return;
        };
        let namespaces: Vec<&str> = Place::ALL
            .iter()
            .map(|place| topology.at(*place).name())
            .collect();
        let socket = gateway.socket().display();
        let says = |text: &str| self.progress.say(text);
        says("");
        says(
            &self
                .progress
                .paint()
                .bold("Look around; Ctrl-C takes everything down."),
        );
        says(&format!("  causeway --socket {socket} status"));
        says(&format!("  causeway --socket {socket} bgp routes"));
        says(&format!(
            "  nsenter --net={} bash",
            topology.at(Place::Home).path().display()
        ));
        says(&format!("  namespaces: {}", namespaces.join(" ")));
        for (place, daemon) in &self.daemons {
            says(&format!(
                "  socket of {}: {}",
                place.name(),
                daemon.socket().display()
            ));
        }
    }

    fn topology(&self) -> Result<&Topology, Problem> {
        self.topology
            .as_ref()
            .ok_or_else(|| Problem::Unverified("there is no network".into()))
    }

    fn workspace(&self) -> Result<&Workspace, Problem> {
        self.workspace
            .as_ref()
            .ok_or_else(|| Problem::Unverified("there is no folder".into()))
    }

    fn daemon(&self, place: Place) -> Result<&Daemon, Problem> {
        self.daemons
            .get(&place)
            .ok_or_else(|| Problem::Unverified(format!("no daemon runs at {}", place.name())))
    }

    /// Waits until `look` finds what it looks for; what it misses meanwhile is shown.
    fn until<T>(
        &self,
        what: &'static str,
        limit: Duration,
        look: impl FnMut() -> Result<Result<T, String>, Problem>,
    ) -> Result<T, Problem> {
        self.stop
            .until(what, limit, |missing| self.progress.note(missing), look)
    }
}

/// Seconds, in milliseconds' steps.
pub(super) fn round(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
