//! What IKE costs without sockets, threads and a host: two endpoints in one process, each one's processor time by itself.
//!
//! ```text
//! cargo bench --bench ike_core            # all of it, a minute or two
//! cargo bench --bench ike_core -- 5000    # so many IKE_SAs on one endpoint
//! ```
//!
//! Times are the processor's, so that a busy machine does not count; rekeys', which are single ones, are the clock's.
//!
//! Handshakes: IKE_SA_INIT and IKE_AUTH with a pre-shared key and one CHILD_SA, the time that the responder takes. With many
//! connections on the responder, what each handshake costs beside all that are there already. Memory: what the process has more
//! of after so many IKE_SAs with a child each than before (private pages, so the allocator's own share is in it).

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ike::wire::Message;
use ike::{
    Command, Connection, ConnectionId, Encryption, Endpoint, EndpointConfig, EspProposal, Event,
    Group, IkeProposal, Integrity, Prf, Secret,
};
use lab::OrFail as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

const RESPONDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Handshakes for each group.
const HANDSHAKES: u32 = 200;

/// Rekeys of a child.
const REKEYS: u32 = 200;

/// Decoded messages.
const MESSAGES: u32 = 200_000;

fn main() {
    let many = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1000);
    println!(
        "{:<12} {:>16} {:>16} {:>18}",
        "group", "responder us", "initiator us", "responder per s"
    );
    for group in [
        Group::Curve25519,
        Group::Ecp256,
        Group::Ecp384,
        Group::Modp2048,
        Group::Modp4096,
    ] {
        let mut bed = Bed::new(HANDSHAKES, group);
        (0..HANDSHAKES).for_each(|index| drop(bed.open(index)));
        let per = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(HANDSHAKES);
        println!(
            "{:<12} {:>16.0} {:>16.0} {:>18.0}",
            group.to_string(),
            per(bed.theirs),
            per(bed.ours),
            f64::from(HANDSHAKES) / bed.theirs.as_secs_f64()
        );
    }
    crowd(many);
    rekeys();
    decode();
}

/// One responder with a connection for each of `count` initiators.
struct Bed {
    responder: Endpoint,
    group: Group,
    now: Instant,
    /// What the responder has taken, and what the initiators have.
    theirs: Duration,
    ours: Duration,
    first: Vec<u8>,
}

impl Bed {
    fn new(count: u32, group: Group) -> Self {
        let mut responder = Endpoint::new(EndpointConfig::default(), [7; 32]);
        let now = Instant::now();
        for index in 0..count {
            let mut connection = connection(index, group, RESPONDER, address(index));
            connection.initiate = false;
            responder.command(now, Command::Add(Box::new(connection)));
        }
        Self {
            responder,
            group,
            now,
            theirs: Duration::ZERO,
            ours: Duration::ZERO,
            first: Vec::new(),
        }
    }

    /// Brings a connection up, and gives the endpoint that initiated it.
    fn open(&mut self, index: u32) -> Endpoint {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&index.to_be_bytes());
        let mut initiator = Endpoint::new(EndpointConfig::default(), seed);
        let connection = connection(index, self.group, address(index), RESPONDER);
        let begun = used();
        initiator.command(self.now, Command::Add(Box::new(connection)));
        self.ours += used() - begun;
        let up = self.exchange(&mut initiator);
        assert_eq!(
            up,
            [true, true],
            "handshake {index} did not come to its end"
        );
        initiator
    }

    /// Carries datagrams until both are silent. Says of the initiator and of the responder whether a CHILD_SA came up.
    fn exchange(&mut self, initiator: &mut Endpoint) -> [bool; 2] {
        let mut up = [false, false];
        loop {
            let mut there = VecDeque::new();
            drain(initiator, &mut up[0], &mut there);
            let mut back = VecDeque::new();
            drain(&mut self.responder, &mut up[1], &mut back);
            if there.is_empty() && back.is_empty() {
                return up;
            }
            for (from, to, payload) in there {
                if self.first.is_empty() {
                    self.first.clone_from(&payload);
                }
                let begun = used();
                self.responder.handle_datagram(self.now, to, from, &payload);
                self.theirs += used() - begun;
            }
            for (from, to, payload) in back {
                let begun = used();
                initiator.handle_datagram(self.now, to, from, &payload);
                self.ours += used() - begun;
            }
        }
    }
}

/// What this thread has had of the processor.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).or_fail("ask what this thread has used");
    let microseconds = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
    Duration::from_micros(microseconds.into_iter().sum::<i64>().unsigned_abs())
}

type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

fn drain(endpoint: &mut Endpoint, up: &mut bool, out: &mut VecDeque<Datagram>) {
    while let Some(event) = endpoint.poll_event() {
        match event {
            Event::OutboundUse(_) => *up = true,
            Event::Failure(diagnosis) => panic!("{diagnosis}"),
            _ => {}
        }
    }
    while let Some(sent) = endpoint.poll_transmit() {
        out.push_back((sent.local, sent.remote, sent.payload));
    }
}

fn address(index: u32) -> IpAddr {
    Ipv4Addr::from(0x0A00_0000 + index).into()
}

fn connection(index: u32, group: Group, local: IpAddr, remote: IpAddr) -> Connection {
    let psk = Secret::from_slice(b"a shared secret of some length");
    let name = format!("t{index}");
    let mut connection = Connection::new(ConnectionId(index), name, local, remote, psk);
    connection.ike = vec![IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha256,
        groups: vec![group],
        kems: Vec::new(),
    }];
    connection.esp = vec![EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: vec![group],
        esn: ike::EsnPolicy::Either,
    }];
    connection
}

/// Many IKE SAs on one endpoint: what each costs beside the others, in time and in memory.
fn crowd(count: u32) {
    let mut bed = Bed::new(count, Group::Curve25519);
    let before = private_bytes();
    let tenth = (count / 10).max(1);
    let mut marks = Vec::new();
    for index in 0..count {
        if index % tenth == 0 {
            marks.push(bed.theirs);
        }
        drop(bed.open(index));
    }
    marks.push(bed.theirs);
    let after = private_bytes();
    let first = marks.windows(2).next().map(|pair| pair[1] - pair[0]);
    let last = marks.windows(2).next_back().map(|pair| pair[1] - pair[0]);
    let per =
        |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1e6 / f64::from(tenth);
    println!("\n{count} IKE_SAs with a CHILD_SA each on one endpoint, curve25519:");
    println!(
        "  the first tenth took {:.0} us each, the last {:.0} us",
        per(first),
        per(last)
    );
    println!(
        "  memory: {:.0} octets each",
        after.saturating_sub(before) as f64 / f64::from(count)
    );
    let begun = used();
    for _ in 0..1000 {
        black_box(bed.responder.poll_timeout());
        bed.responder.handle_timeout(bed.now);
    }
    println!(
        "  a turn in which nothing is due: {:.1} us",
        (used() - begun).as_secs_f64() * 1e3
    );
}

/// Private dirty pages of this process.
fn private_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    1024 * kib.unwrap_or_default()
}

/// How long a child's rekeying takes from the command to the new outbound SA: both ends' work, without a network.
fn rekeys() {
    println!();
    for group in [
        Group::Curve25519,
        Group::Ecp256,
        Group::Ecp384,
        Group::Modp2048,
    ] {
        let mut bed = Bed::new(1, group);
        let mut initiator = bed.open(0);
        // An attempt right after the last would find the SA that it replaces still being deleted.
        let mut times: Vec<Duration> = (0..REKEYS)
            .map(|_| {
                bed.now += Duration::from_secs(60);
                bed.responder.handle_timeout(bed.now);
                initiator.handle_timeout(bed.now);
                bed.exchange(&mut initiator);
                let begun = Instant::now();
                initiator.command(bed.now, Command::RekeyChild(ConnectionId(0)));
                let up = bed.exchange(&mut initiator);
                assert!(up[0], "the rekeying came to no new SA");
                begun.elapsed()
            })
            .collect();
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e6;
        println!(
            "rekeying a child, {group}: {:.0} us (99 %: {:.0} us) for both ends together",
            at(50),
            at(99)
        );
    }
}

/// How long it takes to decode an IKE_SA_INIT request.
fn decode() {
    let mut bed = Bed::new(1, Group::Curve25519);
    drop(bed.open(0));
    let begun = used();
    for _ in 0..MESSAGES {
        black_box(Message::decode(black_box(&bed.first)).is_ok());
    }
    println!(
        "\ndecoding an IKE_SA_INIT request of {} octets: {:.0} ns",
        bed.first.len(),
        (used() - begun).as_secs_f64() * 1e9 / f64::from(MESSAGES)
    );
}
