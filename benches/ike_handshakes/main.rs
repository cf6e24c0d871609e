//! What an IKE handshake costs a responder: Causeway beside strongSwan, on the same network, in the same run.
//!
//! ```text
//! cargo bench --bench ike_handshakes                  # as root: all groups, 200 tunnels each
//! CAUSEWAY_LAB_PATIENCE=10 cargo bench --bench ike_handshakes -- x25519 1000   # one group, 1000 tunnels on one daemon
//! ROUNDS=3 cargo bench --bench ike_handshakes         # the median of three rounds
//! cargo bench --bench ike_handshakes -- storm         # nothing but the storm
//! CAUSEWAY=/tmp/old cargo bench --bench ike_handshakes   # another build of the daemon
//! ```
//!
//! The initiators are `ike` endpoints in this process, in a namespace of their own, each with its own address; eight handshakes
//! are under way at a time. Each is IKE_SA_INIT and IKE_AUTH with a pre-shared key and one CHILD_SA (aes256-sha256, ESP
//! aes256gcm16). Both responders carry ESP in user space. Causeway has a tunnel with an interface of its own for each initiator;
//! strongSwan has one connection for all of them, quiet logging and OpenSSL for its arithmetic.
//!
//! What is counted is the processor's time of the responder's process, all threads and the kernel's part, from the first
//! datagram until it rests again; for Causeway also that of its loop alone, where IKE is. Memory is private pages, before
//! and after. A busy machine disturbs these less than it does handshakes per second.
//!
//! The storm: strangers begin handshakes with MODP-4096 from the addresses of many peers, answer cookies and go no further; meanwhile
//! another tunnel asks for a sign of life (an empty INFORMATIONAL) again and again. What is shown is how long it waits, without
//! the storm and in it.

mod generator;
mod responders;
mod storm;

use std::time::Instant;

use generator::Generator;
use ike::Group;
use responders::{Bed, Kind, RESPONDER};

const GROUPS: [Group; 4] = [
    Group::Curve25519,
    Group::Ecp256,
    Group::Ecp384,
    Group::Modp2048,
];

/// Tunnels of one measurement.
const TUNNELS: usize = 200;

/// The figures of one responder with one group.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Seconds until all tunnels were up.
    wall: f64,
    /// Handshakes for each second of the responder's processor.
    per_second: f64,
    /// The same for each second of its first thread.
    per_second_of_loop: f64,
    /// Octets for each IKE_SA with its CHILD_SA.
    memory: f64,
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let count = words.iter().find_map(|word| word.parse().ok());
    let count: usize = count.unwrap_or(TUNNELS);
    let names: Vec<&String> = words
        .iter()
        .filter(|w| w.parse::<usize>().is_err())
        .collect();
    let is_wanted =
        |group: &Group| names.is_empty() || names.iter().any(|name| **name == name_of(*group));
    if names.is_empty() || names.iter().any(|name| *name == "storm") {
        for kind in [Kind::StrongSwan, Kind::Causeway] {
            weather(kind);
        }
        println!();
    }
    if names.len() == 1 && names.iter().any(|name| *name == "storm") {
        return;
    }
    let rounds: usize = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    println!(
        "{count} tunnels; handshakes for each second of the responder's processor, octets for each IKE_SA with its CHILD_SA"
    );
    println!(
        "{:<12} {:<12} {:>10} {:>14} {:>10} {:>10} {:>8}",
        "group", "responder", "per CPU s", "per loop's s", "octets", "ratio", "wall s"
    );
    for group in GROUPS.into_iter().filter(is_wanted) {
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..rounds.max(1) {
            for (kind, runs) in [Kind::StrongSwan, Kind::Causeway]
                .into_iter()
                .zip(&mut runs)
            {
                runs.push(measure(kind, group, count));
            }
        }
        let [theirs, ours] = runs.map(|mut runs| {
            runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
            runs.swap_remove(runs.len() / 2)
        });
        print(group, Kind::StrongSwan, theirs, 1.0);
        print(
            group,
            Kind::Causeway,
            ours,
            ours.per_second / theirs.per_second,
        );
    }
}

/// How long a tunnel waits for a sign of life, without a storm and in it.
fn weather(kind: Kind) {
    for with_storm in [false, true] {
        let bed = Bed::start(kind, storm::SOURCES + 1, &[Group::Curve25519, storm::SLOW]);
        let seen = bed.initiators.run(move || storm::run(with_storm));
        let at = |share: usize| {
            let index = (seen.answers.len().saturating_sub(1)) * share / 100;
            seen.answers
                .get(index)
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        println!(
            "{:<12} {:<10} a sign of life takes {:>7.2} ms (99 %: {:.2}, most: {:.2}; {} of them); {} handshakes begun, {} answered",
            kind.name(),
            if with_storm { "storm" } else { "calm" },
            at(50),
            at(99),
            at(100),
            seen.answers.len(),
            seen.begun,
            seen.answered
        );
    }
}

fn name_of(group: Group) -> String {
    match group {
        Group::Curve25519 => "x25519".to_owned(),
        other => other.to_string(),
    }
}

fn print(group: Group, kind: Kind, figures: Figures, ratio: f64) {
    println!(
        "{:<12} {:<12} {:>10.0} {:>14} {:>10.0} {:>10.2} {:>8.2}",
        name_of(group),
        kind.name(),
        figures.per_second,
        match kind {
            Kind::Causeway => format!("{:.0}", figures.per_second_of_loop),
            Kind::StrongSwan => "-".to_owned(),
        },
        figures.memory,
        ratio,
        figures.wall
    );
}

fn measure(kind: Kind, group: Group, count: usize) -> Figures {
    let bed = Bed::start(kind, count, &[group]);
    let (memory, cpu, in_loop) = (bed.memory(), bed.cpu(), bed.cpu_of_loop());
    let begun = Instant::now();
    // Kept until the end: a socket that is gone would answer the responder's questions with ICMP.
    let generator = bed.initiators.run(move || {
        let mut generator = Generator::new(count, group, RESPONDER, kind.selectors());
        generator.open();
        generator
    });
    let wall = begun.elapsed();
    bed.rest();
    let seconds = bed.cpu() - cpu;
    let seconds_of_loop = bed.cpu_of_loop() - in_loop;
    let figures = Figures {
        wall: wall.as_secs_f64(),
        per_second: count as f64 / seconds.max(0.01),
        per_second_of_loop: count as f64 / seconds_of_loop.max(0.001),
        memory: (bed.memory() - memory) / count as f64,
    };
    let up = bed.up();
    assert_eq!(up, count, "tunnels that the responder has:\n{}", bed.log());
    drop(generator);
    figures
}
