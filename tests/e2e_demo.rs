//! `causeway demo`: every step is verified, and nothing is left behind.

use std::process::{Command, Output};

use lab::OrFail as _;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Runs the demo to its end.
fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(CAUSEWAY);
    command.arg("demo").args(arguments);
    command.output().or_fail("run the demo")
}

/// The namespaces, interfaces and processes that a demo could leave behind.
fn traces() -> (String, String, usize) {
    let ip = |words: &[&str]| {
        let output = Command::new("ip").args(words).output().or_fail("run ip");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let demos = std::fs::read_dir("/proc")
        .or_fail("read /proc")
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == *CAUSEWAY)
        });
    (ip(&["netns", "list"]), ip(&["-br", "link"]), demos.count())
}

#[test]
fn the_demo_verifies_every_step_and_leaves_nothing_behind() {
    let before = traces();
    let output = demo(&["--json"]);
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}",
        output.status
    );
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let documents = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
    let documents: Vec<_> = documents
        .map(|document| document.expect("it is JSON"))
        .collect();
    assert!(!documents.is_empty(), "{} lines of output", lines.count());
    assert_eq!(traces(), before);
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    let before = traces();
    let mut child = Command::new(CAUSEWAY)
        .args(["demo", "--json"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the demo starts");
    lab::eventually_true(lab::Scene::SOON, "the demo has made namespaces", || {
        traces().0 != before.0
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("Ctrl-C");
    let status = child.wait().expect("the demo ends");
    assert!(!status.success(), "not every step was verified");
    lab::eventually_true(lab::Scene::SOON, "nothing is left", || traces() == before);
}
