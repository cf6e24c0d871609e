//! Two endpoints, and scripts of what happens to them: losses, repetitions, timers, orders, and messages that hold what no peer should
//! send, protected with the right keys. After each step what they say is checked, and at the end one child has to be left.
//!
//! `examples/fuzz_stateful.rs` runs as many scripts as one likes; `fuzz/fuzz_targets/ike_stateful.rs` has a fuzzer write them.

#![expect(
    unreachable_pub,
    reason = "the example and the fuzz target use these modules too"
)]

mod bytes;
mod change;
mod dice;
mod pair;
mod script;

use std::collections::BTreeSet;
use std::path::Path;

/// Runs scripts, and says which promises were broken by which.
#[track_caller]
fn run_all(scripts: impl Iterator<Item = (String, Vec<u8>)>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for (name, script) in scripts {
        match std::panic::catch_unwind(|| script::run(&script, false)) {
            Ok(Ok(more)) => seen.extend(more),
            Ok(Err(why)) => broken.push(format!("{name}: {why}")),
            Err(_) => broken.push(format!("{name}: a panic")),
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    seen
}

/// That so much has happened says that the scripts reach what they are for.
#[track_caller]
fn assert_seen(seen: &BTreeSet<String>, what: &[&str]) {
    let missing: Vec<_> = what.iter().filter(|one| !seen.contains(**one)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?} in {seen:?}");
}

#[test]
fn every_script_of_the_corpus_leaves_one_working_child() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/ike_stateful");
    let files = std::fs::read_dir(folder).expect("the corpus");
    let mut files: Vec<_> = files.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let seen = run_all(files.into_iter().map(|path| {
        let script = std::fs::read(&path).expect("a script");
        (path.display().to_string(), script)
    }));
    let what = [
        "ChildRekeyed",
        "IkeRekeyed",
        "Collision true",
        "Collision false",
        "TunnelDown NoAnswer",
        "TunnelDown DeletedByPeer",
        "bad_inner",
        "bad_integrity",
        "bad_message_id",
        "repeated_requests",
    ];
    assert_seen(&seen, &what);
}

#[test]
fn scripts_at_random_leave_one_working_child() {
    const SCRIPTS: u64 = 80;
    let mut dice = dice::Dice::new(1);
    let seen = run_all((0..SCRIPTS).map(|number| (format!("script {number}"), dice.script())));
    assert_seen(
        &seen,
        &["ChildRekeyed", "IkeRekeyed", "bad_inner", "bad_integrity"],
    );
}
