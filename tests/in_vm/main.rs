//! The tests that run inside the virtual machine with Debian's stock kernel: each is one test here, in a machine of its own; but
//! those of [`scenarios::TOGETHER`] share one for each module.
//!
//! Two kinds run:
//! - [`scenarios::SCENARIOS`]: tests of `tests/e2e_*.rs` that pass natively on the userspace plane, here with the kernel's
//!   ESP on one side of the tunnels or on both. To add one, add its name to a row, or a row.
//! - Every test of every binary `tests/kernel_*.rs` and `vti/tests/kernel_*.rs`, which has no meaning outside: the binaries
//!   are asked for their lists, so that none is forgotten, and no row is needed. Natively they are left out by the
//!   `default-filter` in `.config/nextest.toml`, and fail with a word that says where they belong.
//!
//! `cargo nextest run --test in_vm NAME` runs those whose name contains NAME. `CAUSEWAY_VM_CONSOLE=1` shows what they print
//! while they run; `CAUSEWAY_VM_ONLY=NAME` leaves of those that share a machine the ones whose name contains NAME.
//!
//! What a test finds inside, beside its own binary and the daemon at the paths that they have here: the `examples` folder, and
//! - `CAUSEWAY_LAB_VM=1`;
//! - `CAUSEWAY_LAB_PLANE`: the data plane that [`lab::SiteFile`] writes into the site file;
//! - `CAUSEWAY_LAB_PEERS`: what [`lab::Cloud`] has at its head-ends;
//! - `CAUSEWAY_LAB_PATIENCE`: by how much longer everything may take ([`lab::eventually`]).

mod binaries;
mod scenarios;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use vm::{Boot, Payload, Vm};

use crate::binaries::Binary;
use crate::scenarios::{Peers, Plane, SCENARIOS, TOGETHER};

/// How long one test may take inside, or those that share a machine, emulated on a busy machine.
const LIMIT: Duration = Duration::from_secs(420);

/// By how much longer a step may take than on the host's own processor.
const PATIENCE_EMULATED: &str = "6";
const PATIENCE: &str = "2";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let binaries = wanted(binaries::known(arguments.list));
    let mut trials = Vec::new();
    for scenarios in SCENARIOS {
        for test in scenarios.tests {
            let job = Job {
                binary: scenarios.binary.to_owned(),
                tests: vec![(*test).to_owned()],
                environment: Some((scenarios.plane, scenarios.peers)),
            };
            let with = format!("{}_with_{}", scenarios.plane.word(), scenarios.peers.word());
            trials.push(job.trial(format!("{}::{test}::{with}", job.binary), &binaries));
        }
    }
    for binary in &binaries {
        let job = |tests| Job {
            binary: binary.name.clone(),
            tests,
            environment: None,
        };
        if TOGETHER.contains(&binary.name.as_str()) {
            for (module, tests) in by_module(&binary.tests) {
                let name = format!("{}{module}", binary.name);
                trials.push(job(tests).trial(name, &binaries));
            }
            continue;
        }
        for test in &binary.tests {
            let name = format!("{}::{test}", binary.name);
            trials.push(job(vec![test.clone()]).trial(name, &binaries));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The tests of each module of a binary, which is `::NAME`, or empty for those of no module.
fn by_module(tests: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut modules: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for test in tests {
        let module = test
            .split_once("::")
            .map(|(module, _)| format!("::{module}"));
        let tests = modules.entry(module.unwrap_or_default()).or_default();
        tests.push(test.clone());
    }
    modules
}

/// Those of which something runs inside: the drive that carries them has only so much room.
fn wanted(binaries: Vec<Binary>) -> Vec<Binary> {
    let in_scenarios = |name: &str| SCENARIOS.iter().any(|scenarios| scenarios.binary == name);
    binaries
        .into_iter()
        .filter(|binary| !binary.tests.is_empty() || in_scenarios(&binary.name))
        .collect()
}

/// Tests of one binary, one after the other in one machine.
#[derive(Debug, Clone)]
struct Job {
    binary: String,
    tests: Vec<String>,
    /// What the bench is to use, where the tests leave that open.
    environment: Option<(Plane, Peers)>,
}

impl Job {
    fn trial(&self, name: String, binaries: &[Binary]) -> Trial {
        let (job, binaries) = (self.clone(), binaries.to_vec());
        Trial::test(name, move || job.run(&binaries))
    }

    fn run(&self, binaries: &[Binary]) -> Result<(), Failed> {
        let binary = binaries.iter().find(|binary| binary.name == self.binary);
        let binary = binary.ok_or_else(|| format!("there is no test binary {}", self.binary))?;
        let mut vm = Vm::start(Boot::Bench, &payload(binaries));
        let patience = if vm.emulated() {
            PATIENCE_EMULATED
        } else {
            PATIENCE
        };
        let mut environment =
            format!("export CAUSEWAY_LAB_VM=1 CAUSEWAY_LAB_PATIENCE={patience} RUST_BACKTRACE=1\n");
        if let Some((plane, peers)) = self.environment {
            environment += &format!(
                "export CAUSEWAY_LAB_PLANE={} CAUSEWAY_LAB_PEERS={}\n",
                plane.word(),
                peers.word()
            );
        }
        let only = std::env::var("CAUSEWAY_VM_ONLY").unwrap_or_default();
        let wanted = |test: &&String| self.tests.len() == 1 || test.contains(&only);
        let (started, mut failed) = (Instant::now(), Vec::new());
        for test in self.tests.iter().filter(wanted) {
            let script = format!(
                "{environment}exec '{}' --exact '{test}' --nocapture --test-threads 1",
                binary.path.display(),
            );
            let said = vm.run(&script, LIMIT.saturating_sub(started.elapsed()));
            println!("{}", said.text);
            if said.code != 0 || !said.text.contains("test result: ok. 1 passed") {
                failed.push(format!("{test} gave {} in the machine", said.code));
            }
        }
        println!(
            "{} s, of which the machine had a processor for {} s",
            started.elapsed().as_secs(),
            vm.processor()
        );
        if failed.is_empty() {
            return Ok(());
        }
        let console = vm.console();
        if !console.trim().is_empty() {
            println!("--- the machine's console\n{console}");
        }
        Err(failed.join("\n").into())
    }
}

/// One drive for all tests: the daemon, the test binaries, and what they read while they run.
fn payload(binaries: &[Binary]) -> Payload {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let same = |payload: Payload, path: PathBuf| {
        let guest = path.display().to_string();
        payload.file(&path, &guest)
    };
    let payload = same(Payload::new(), env!("CARGO_BIN_EXE_causeway").into());
    let payload = same(payload, root.join("examples"));
    binaries.iter().fold(payload, |payload, binary| {
        same(payload, binary.path.clone())
    })
}
