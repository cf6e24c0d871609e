//! From launch to the first BGP route in the kernel, and the memory that it takes: Causeway beside strongSwan with FRR
//! and strongSwan with BIRD, on the same network, in the same run.
//!
//! ```text
//! cargo bench --bench cold_start            # as root
//! ```
//!
//! Two cases. *Alive*: the cloud is there when the gateway starts. *Late*: the gateway has tried in vain for eight seconds
//! when the way to the cloud opens; the time counts from then. FRR and BIRD run with their shortest timers for connecting
//! again (one second): with FRR's default of 120 s the second case takes two minutes. strongSwan repeats its first message
//! after 1 s (4 s by default), then 1.4 times as long each time (1.8). It has one interface for both
//! tunnels, so its selectors are the inside addresses, where ours are 0.0.0.0/0.
//!
//! A thread in the gateway's namespace looks at `/proc/net/route` every millisecond, so figures are good to some
//! milliseconds. Memory is the sum of the resident sets (`VmRSS`) of the stack's processes when the route is there.

use std::fs;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lab::{
    Bird, Cloud, Connection, Disturbance, Frr, Gateway, Hook, Neighbor, Ns, OrFail as _,
    ReferenceSite, SiteFile, Speaker, StartAction, StrongSwan, addresses as at,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// How often each case runs; the middle one is printed, with the extremes.
const RUNS: usize = 5;

/// How long a route may take; FRR on a busy machine takes some seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the late case has tried in vain when the way opens.
const LATE: Duration = Duration::from_secs(8);

fn main() {
    println!(
        "{:<18} {:<6} {:>8} {:>17} {:>9} {:>10}",
        "stack", "cloud", "route s", "(least-most)", "RSS MiB", "processes"
    );
    for stack in [
        Stack::Causeway,
        Stack::StrongSwanAndFrr,
        Stack::StrongSwanAndBird,
    ] {
        for case in [Case::Alive, Case::Late] {
            let mut runs: Vec<_> = (0..RUNS).map(|_| measure(stack, case)).collect();
            runs.sort_by_key(|run| run.route);
            print(stack, case, &runs);
        }
    }
    let size = fs::metadata(CAUSEWAY).map_or(0, |file| file.len());
    println!("the causeway binary has {size} octets");
}

/// What plays the gateway.
#[derive(Debug, Clone, Copy)]
enum Stack {
    Causeway,
    StrongSwanAndFrr,
    StrongSwanAndBird,
}

/// Whether the cloud is there when the gateway starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Alive,
    Late,
}

/// One run's figures.
#[derive(Debug)]
struct Run {
    /// From the launch, or from when the way opened, to the route in the kernel.
    route: Duration,
    rss_kib: u64,
    processes: usize,
}

/// The programs of a stack. They end when it is dropped.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Running {
    Causeway(Gateway),
    Frr(StrongSwan, Frr),
    Bird(StrongSwan, Bird),
}

impl Running {
    fn launch(stack: Stack, gateway: &Ns) -> Self {
        let router = || {
            at::INSIDE_THEIRS.iter().zip(at::INSIDE_OURS).fold(
                Speaker::new(at::SITE_ASN, at::GATEWAY),
                |speaker, (theirs, ours)| {
                    speaker.neighbor(Neighbor::new(theirs, at::CLOUD_ASN).local(ours))
                },
            )
        };
        let swan = || {
            let inside = at::INSIDE_OURS.map(|address| format!("{address}/31"));
            let inside = inside.each_ref().map(String::as_str);
            StrongSwan::start(gateway, &inside, vec![connection(0), connection(1)])
        };
        match stack {
            Stack::Causeway => {
                let file = SiteFile::reference();
                Self::Causeway(Gateway::launch(gateway, &file.launch(CAUSEWAY)))
            }
            Stack::StrongSwanAndFrr => {
                let (swan, frr) = both(swan, || Frr::start(gateway, &router()));
                Self::Frr(swan, frr)
            }
            Stack::StrongSwanAndBird => {
                let (swan, bird) = both(swan, || Bird::start(gateway, &router()));
                Self::Bird(swan, bird)
            }
        }
    }

    /// Resident sets in KiB, one for each process.
    fn memory(&self) -> Vec<u64> {
        let daemons = match self {
            Self::Causeway(gateway) => vec![gateway.daemon()],
            Self::Frr(swan, frr) => vec![swan.daemon(), frr.zebra(), frr.bgpd()],
            Self::Bird(swan, bird) => vec![swan.daemon(), bird.daemon()],
        };
        daemons
            .into_iter()
            .filter_map(lab::Daemon::rss_kib)
            .collect()
    }
}

/// Runs two things at the same time.
fn both<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        (a.join().or_fail("the other thread"), b)
    })
}

/// strongSwan's side of a tunnel at the gateway, initiated at once and for ever.
fn connection(index: usize) -> Connection {
    let n = index + 1;
    let mut connection = Connection::new(
        &format!("drg{n}"),
        at::GATEWAY,
        at::HEAD_ENDS[index],
        at::PSKS[index],
    );
    connection.local_ts = format!("{}/32", at::INSIDE_OURS[index]);
    connection.remote_ts = format!("{}/32", at::INSIDE_THEIRS[index]);
    connection.start = StartAction::Start;
    connection
}

/// Runs a stack once on a fresh network, until the route to the VCN is in the kernel.
fn measure(stack: Stack, case: Case) -> Run {
    let site = ReferenceSite::new();
    let cloud = Cloud::start(&site);
    let blocked = (case == Case::Late)
        .then(|| Disturbance::block(&site.internet, Hook::Forward, "meta l4proto { udp, esp }"));
    let watcher = watch(&site.gateway);
    let mut from = Instant::now();
    let running = Running::launch(stack, &site.gateway);
    if let Some(blocked) = blocked {
        std::thread::sleep(LATE.saturating_sub(from.elapsed()));
        from = Instant::now();
        drop(blocked);
    }
    let seen = watcher.join().or_fail("the thread that watches routes");
    let memory = running.memory();
    drop((running, cloud));
    Run {
        route: seen
            .or_fail("a route within the limit")
            .saturating_duration_since(from),
        rss_kib: memory.iter().sum(),
        processes: memory.len(),
    }
}

/// Looks for the route to the VCN; gives when it was there.
fn watch(gateway: &Ns) -> JoinHandle<Option<Instant>> {
    gateway.thread(|| {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let table =
                fs::read_to_string("/proc/thread-self/net/route").or_fail("read the routes");
            let now = Instant::now();
            // Addresses are hexadecimal in the host's byte order: 10.0.0.0/16 here.
            let vcn = |line: &str| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.get(1) == Some(&"0000000A") && words.get(7) == Some(&"0000FFFF")
            };
            if table.lines().any(vcn) {
                return Some(now);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    })
}

fn print(stack: Stack, case: Case, runs: &[Run]) {
    let (Some(least), Some(middle), Some(most)) =
        (runs.first(), runs.get(runs.len() / 2), runs.last())
    else {
        return;
    };
    let name = match stack {
        Stack::Causeway => "causeway",
        Stack::StrongSwanAndFrr => "strongSwan + FRR",
        Stack::StrongSwanAndBird => "strongSwan + BIRD",
    };
    let case = match case {
        Case::Alive => "alive",
        Case::Late => "late",
    };
    let range = format!(
        "({:.3}-{:.3})",
        least.route.as_secs_f64(),
        most.route.as_secs_f64()
    );
    println!(
        "{name:<18} {case:<6} {:>8.3} {range:>17} {:>9.1} {:>10}",
        middle.route.as_secs_f64(),
        middle.rss_kib as f64 / 1024.0,
        middle.processes
    );
}
