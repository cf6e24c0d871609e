//! What a tunnel carries: Causeway beside strongSwan's userspace plane (kernel-libipsec), wireguard-go, OpenVPN and no
//! tunnel at all, on the same network, in the same run.
//!
//! ```text
//! cargo bench --bench esp_throughput                     # as root; all variants, one round
//! cargo bench --bench esp_throughput -- causeway/udp ss  # the variants whose names contain one of these
//! ROUNDS=3 cargo bench --bench esp_throughput            # the median of three rounds
//! ```
//!
//! Two namespaces, a veth of MTU 1500 between them, tunnels of MTU 1400. Both ends of the tunnel and both ends of the
//! traffic share the machine's processors, so a figure is what one machine carries twice. Each measurement lasts
//! [`traffic::TIME`]. Figures of different runs do not compare: look at the ratios, which are to `ss/gcm` of the same
//! round, and at the processor's seconds per gigabyte, which a busy machine disturbs less.
//!
//! wireguard-go and OpenVPN are left out, and said to be, where they are not installed.

mod traffic;
mod tunnels;

use std::fmt::Write as _;

use tunnels::{Bed, VARIANTS, Variant};

/// What the ratios are to.
const REFERENCE: &str = "ss/gcm";

/// The figures of one variant in one round.
#[derive(Debug, Clone, Default)]
struct Figures {
    one: traffic::Rate,
    reverse: traffic::Rate,
    four: traffic::Rate,
    small: f64,
    idle: traffic::Latency,
    loaded: traffic::Latency,
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let rounds: usize = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let is_wanted = |variant: &&Variant| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|part| variant.name.contains(part.as_str()))
    };
    let chosen: Vec<&Variant> = VARIANTS.iter().filter(is_wanted).collect();
    let mut all: Vec<(&str, Vec<Figures>)> = chosen
        .iter()
        .map(|variant| (variant.name, Vec::new()))
        .collect();
    for round in 1..=rounds {
        for (variant, (_, figures)) in chosen.iter().zip(&mut all) {
            match (variant.start)() {
                Ok(bed) => {
                    eprintln!("round {round}: {}", variant.name);
                    figures.push(measure(&bed));
                }
                Err(missing) => eprintln!("round {round}: {} is left out: {missing}", variant.name),
            }
        }
    }
    print!("{}", report(&all));
}

fn measure(bed: &Bed) -> Figures {
    let idle = traffic::latency(bed, false);
    Figures {
        idle,
        one: traffic::tcp(bed, 1, false),
        reverse: traffic::tcp(bed, 1, true),
        four: traffic::tcp(bed, 4, false),
        small: traffic::small_packets(bed),
        loaded: traffic::latency(bed, true),
    }
}

/// The table, one line for each variant, and the ratios below it.
fn report(all: &[(&str, Vec<Figures>)]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<26} {:>8} {:>8} {:>8} {:>9} {:>9} {:>16} {:>16}",
        "variant",
        "1 stream",
        "reverse",
        "4",
        "CPU s/GB",
        "64B kpps",
        "ping us p50/p99",
        "loaded p50/p99"
    );
    let present = all.iter().filter(|(_, rounds)| !rounds.is_empty());
    for (name, rounds) in present.clone() {
        let of = |value: fn(&Figures) -> f64| median(rounds.iter().map(value));
        let _ = writeln!(
            text,
            "{name:<26} {:>8.2} {:>8.2} {:>8.2} {:>9.2} {:>9.1} {:>8.0}/{:>7.0} {:>8.0}/{:>7.0}",
            of(|f| f.one.gigabits),
            of(|f| f.reverse.gigabits),
            of(|f| f.four.gigabits),
            of(|f| f.one.cpu_per_gigabyte),
            of(|f| f.small) / 1e3,
            of(|f| f.idle.median),
            of(|f| f.idle.p99),
            of(|f| f.loaded.median),
            of(|f| f.loaded.p99),
        );
    }
    let Some((_, reference)) = all
        .iter()
        .find(|(name, rounds)| *name == REFERENCE && !rounds.is_empty())
    else {
        return text;
    };
    let _ = writeln!(
        text,
        "\n{:<26} {:>8} {:>8} {:>8} {:>9} {:>9}",
        format!("ratio to {REFERENCE}"),
        "1 stream",
        "reverse",
        "4",
        "CPU",
        "64B"
    );
    for (name, rounds) in present {
        // Paired: each round's figure with the same round's reference.
        let of = |value: fn(&Figures) -> f64| {
            median(
                rounds
                    .iter()
                    .zip(reference)
                    .map(|(ours, theirs)| value(ours) / value(theirs)),
            )
        };
        let _ = writeln!(
            text,
            "{name:<26} {:>8.2} {:>8.2} {:>8.2} {:>9.2} {:>9.2}",
            of(|f| f.one.gigabits),
            of(|f| f.reverse.gigabits),
            of(|f| f.four.gigabits),
            of(|f| f.one.cpu_per_gigabyte),
            of(|f| f.small),
        );
    }
    text
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
