//! `causeway demo`: every step is verified, and nothing is left behind, whatever way it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use lab::{OrFail as _, Scene};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// The steps of a whole tour, in order.
const STEPS: [&str; 12] = [
    "machine", "network", "daemons", "tunnels", "bgp", "routes", "ping", "transfer", "ecmp",
    "failover", "firewall", "leave",
];

/// A demo under way.
struct Demo {
    child: Child,
    pid: u32,
}

/// How a demo ended.
struct Ended {
    status: ExitStatus,
    report: Value,
    text: String,
}

impl Demo {
    fn start() -> Self {
        let mut command = Command::new(CAUSEWAY);
        command
            .args(["demo", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().or_fail("start the demo");
        let pid = child.id();
        Self { child, pid }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid.cast_signed()), signal).or_fail("send a signal");
    }

    fn end(self) -> Ended {
        let output = self.child.wait_with_output().or_fail("wait for the demo");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ended {
            status: output.status,
            report,
            text: format!("{text}\n{errors}"),
        }
    }
}

/// What there is of a demo on this machine: namespaces, the folder, daemons.
fn traces(pid: u32) -> Vec<String> {
    let prefix = format!("cwdemo-{pid}-");
    let mut traces = names("/run/netns");
    traces.retain(|name| name.starts_with(&prefix));
    let folder = folder(pid);
    traces.extend(folder.exists().then(|| folder.display().to_string()));
    traces.extend(
        daemons(pid)
            .iter()
            .map(|daemon| format!("process {daemon}")),
    );
    traces
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/run").join(format!("causeway-demo-{pid}"))
}

/// The processes whose command line names the demo's folder.
fn daemons(pid: u32) -> Vec<i32> {
    let folder = format!("{}/", folder(pid).display());
    let of_demo = |process: &i32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    };
    names("/proc")
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(of_demo)
        .collect()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Waits until the demo's seven daemons run.
#[track_caller]
fn wait_for_daemons(demo: &Demo) {
    lab::eventually_true(Scene::SOON, "the demo has started its daemons", || {
        daemons(demo.pid).len() == 7
    });
}

#[test]
fn the_demo_verifies_every_step_and_leaves_nothing_behind() {
    let interfaces = names("/sys/class/net");
    let demo = Demo::start();
    let pid = demo.pid;
    let Ended {
        status,
        report,
        text,
    } = demo.end();
    assert!(status.success(), "{status}\n{text}");
    assert_eq!(
        (&report["version"], &report["ok"]),
        (&1.into(), &true.into()),
        "{text}"
    );
    let steps = report["steps"].as_array().or_fail("the report has steps");
    let names_seen: Vec<_> = steps
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert_eq!(names_seen, STEPS, "{text}");
    for step in steps {
        assert_eq!(step["ok"], true, "{step}");
        println!(
            "{:>9} {:>7} s  {}",
            step["name"], step["seconds"], step["detail"]
        );
    }
    println!("the demo took {} s", report["seconds"]);
    assert_eq!(traces(pid), Vec::<String>::new());
    assert_eq!(names("/sys/class/net"), interfaces);
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let demo = Demo::start();
        let pid = demo.pid;
        wait_for_daemons(&demo);
        demo.signal(signal);
        let Ended {
            status,
            report,
            text,
        } = demo.end();
        assert_eq!(
            status.code(),
            Some(1),
            "not every step was verified: {text}"
        );
        assert_eq!(
            (&report["ok"], &report["interrupted"]),
            (&false.into(), &true.into()),
            "{text}"
        );
        assert_eq!(traces(pid), Vec::<String>::new(), "after {signal}");
    }
}

#[test]
fn what_a_killed_demo_leaves_behind_goes_with_the_next_one() {
    let killed = Demo::start();
    let pid = killed.pid;
    wait_for_daemons(&killed);
    killed.signal(Signal::SIGKILL);
    killed.end();
    assert!(!traces(pid).is_empty(), "nobody could take it down");
    let next = Demo::start();
    let next_pid = next.pid;
    wait_for_daemons(&next);
    assert_eq!(
        traces(pid),
        Vec::<String>::new(),
        "swept before anything is built"
    );
    next.signal(Signal::SIGINT);
    next.end();
    assert_eq!(traces(next_pid), Vec::<String>::new());
}

#[test]
fn two_demos_do_not_touch_each_other() {
    let (one, other) = (Demo::start(), Demo::start());
    let pids = [one.pid, other.pid];
    wait_for_daemons(&one);
    wait_for_daemons(&other);
    one.signal(Signal::SIGINT);
    one.end();
    assert_eq!(daemons(pids[1]).len(), 7, "the other one goes on");
    other.signal(Signal::SIGINT);
    other.end();
    assert_eq!(pids.map(traces), [Vec::<String>::new(), Vec::new()]);
}
