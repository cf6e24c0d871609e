//! Runs scripts at random against two endpoints (`tests/stateful/`), and prints those that break a promise, made as short as they go.
//!
//! ```text
//! cargo run --release -p causeway-ike --example fuzz_stateful -- SCRIPTS SEED [FOLDER]
//! cargo run --release -p causeway-ike --example fuzz_stateful -- replay FILE
//! ```
//! With a folder, scripts in which something happens that was not seen before, and those that break a promise, are written there.

#![expect(unreachable_pub, reason = "the tests use these modules too")]

#[path = "../tests/stateful/bytes.rs"]
mod bytes;
#[path = "../tests/stateful/change.rs"]
mod change;
#[path = "../tests/stateful/dice.rs"]
mod dice;
#[path = "../tests/stateful/pair.rs"]
mod pair;
#[path = "../tests/stateful/script.rs"]
mod script;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["replay", file] => replay(file),
        [scripts, seed, folder @ ..] if folder.len() < 2 => {
            let (Ok(scripts), Ok(seed)) = (scripts.parse(), seed.parse()) else {
                return usage();
            };
            search(scripts, seed, folder.first().copied())
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("expected SCRIPTS SEED [FOLDER], two numbers and a folder, or: replay FILE");
    ExitCode::from(2)
}

fn replay(file: &str) -> ExitCode {
    let script = match std::fs::read(file) {
        Ok(script) => script,
        Err(error) => {
            eprintln!("read {file}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match script::run(&script, true) {
        Ok(seen) => {
            println!("{seen:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn search(scripts: u64, seed: u64, folder: Option<&str>) -> ExitCode {
    let mut dice = dice::Dice::new(seed);
    let mut seen = BTreeSet::new();
    let mut broken = BTreeSet::new();
    for number in 0..scripts {
        let script = dice.script();
        match outcome(&script) {
            Ok(more) => {
                let new: BTreeSet<String> = more.difference(&seen).cloned().collect();
                if !new.is_empty() && folder.is_some() {
                    let has = |one: &[u8]| outcome(one).is_ok_and(|has| new.is_subset(&has));
                    keep(
                        folder,
                        &format!("seed{seed}-{number}"),
                        &shorten(&script, has),
                    );
                }
                seen.extend(new);
            }
            Err(why) => {
                let kind = kind(&why);
                if broken.insert(kind.clone()) {
                    let short = shorten(&script, |one| {
                        outcome(one).is_err_and(|why| self::kind(&why) == kind)
                    });
                    println!("script {number} of seed {seed}: {why}\n    {short:?}");
                    keep(folder, &format!("broken-seed{seed}-{number}"), &short);
                }
            }
        }
        if number % 1000 == 999 {
            eprintln!(
                "{} scripts, {} kinds of events, {} broken promises",
                number + 1,
                seen.len(),
                broken.len()
            );
        }
    }
    println!(
        "{scripts} scripts, {} kinds of events, {} broken promises: {seen:?}",
        seen.len(),
        broken.len()
    );
    if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn outcome(script: &[u8]) -> Result<BTreeSet<String>, String> {
    let run = std::panic::catch_unwind(|| script::run(script, false));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}

/// What is wrong, without the numbers in it.
fn kind(why: &str) -> String {
    why.chars()
        .filter(|c| !c.is_ascii_digit())
        .take(60)
        .collect()
}

/// Leaves out what the script still holds without.
fn shorten(script: &[u8], holds: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut script = script.to_vec();
    let mut piece = script.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at + piece <= script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..at + piece);
            if holds(&shorter) {
                script = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    script
}

fn keep(folder: Option<&str>, name: &str, script: &[u8]) {
    let Some(folder) = folder else { return };
    if let Err(error) = std::fs::write(Path::new(folder).join(name), script) {
        eprintln!("write {name} into {folder}: {error}");
    }
}
