//! How long a table from two peers takes to read, select and tell a third, and what memory it costs.
//!
//! `cargo run --release -p causeway-bgpd --example full_table [prefixes]`, 100000 by default. Six
//! prefixes share a set of attributes, as in a real table; one peer wins half of the prefixes, the
//! other one the rest. Only this crate's work is measured: messages are made before, sockets are not.

#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot go on has no use"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bgpd::wire::{
    AsPath, Capabilities, Capability, Family, Open, Origin, PathAttributes, UpdateBuilder,
    end_of_rib, keepalive,
};
use bgpd::{
    Action, Asn, Command, ConnId, OverLimit, PeerConfig, Policy, PrefixLimit, Role, Speaker,
    SpeakerConfig,
};
use ipnet::Ipv4Net;

/// How many prefixes share a set of attributes.
const PER_SET: u32 = 6;

fn main() {
    let count = std::env::args()
        .nth(1)
        .map_or(100_000, |it| it.parse().expect("a number"));
    let tables = [table(1, count), table(2, count)];
    let octets = tables.iter().map(Vec::len).sum::<usize>();
    let before = resident();
    let mut speaker = Speaker::new(
        SpeakerConfig {
            asn: Asn(65000),
            router_id: Ipv4Addr::new(1, 1, 1, 1),
            maximum_paths: 4,
            multipath_relax: true,
        },
        [1; 32],
    );
    let now = Instant::now();
    let conns: Vec<ConnId> = (1..=3)
        .map(|last| connect(&mut speaker, now, last))
        .collect();
    drain(&mut speaker, now);

    let mut told = 0;
    let mut routes = 0;
    let begin = Instant::now();
    for (conn, table) in conns.iter().zip(&tables) {
        for piece in table.chunks(65536) {
            speaker.handle_bytes(now, *conn, piece);
            let (octets, changes) = drain(&mut speaker, now);
            told += octets;
            routes += changes;
        }
    }
    let loaded = begin.elapsed();
    let summary = speaker.summary(now);
    let after = resident();
    println!("{count} prefixes from each of two peers, {octets} octets, told to a third peer");
    report("load", loaded, told, routes);
    println!(
        "  {} paths, {} sets of attributes, {:.1} MiB more resident, {:.0} octets per prefix",
        summary.paths,
        summary.attribute_sets,
        mebibytes(after - before),
        (after - before) as f64 / f64::from(count),
    );

    let begin = Instant::now();
    speaker.handle_closed(now, conns[0], "reset");
    let (told, routes) = drain(&mut speaker, now);
    report("the first peer leaves", begin.elapsed(), told, routes);

    let begin = Instant::now();
    speaker.handle_closed(now, conns[1], "reset");
    let (told, routes) = drain(&mut speaker, now);
    report("the second peer leaves", begin.elapsed(), told, routes);
}

fn report(what: &str, took: Duration, told: usize, routes: usize) {
    let took = took.as_secs_f64() * 1000.0;
    println!("  {what}: {took:.0} ms, {told} octets written, {routes} changes for the kernel");
}

/// One peer's table as a stream of messages.
fn table(peer: u8, count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let numbers: Vec<u32> = (0..count).collect();
    for (set, prefixes) in (0u32..).zip(numbers.chunks(PER_SET as usize)) {
        let longer = (set + u32::from(peer)).is_multiple_of(2);
        let mut path = vec![
            64512 + u32::from(peer),
            3356,
            10_000 + set % 50_000,
            20_000 + set / 7,
        ];
        path.extend(longer.then_some(174));
        let mut attributes = PathAttributes::local(Origin::Igp);
        attributes.as_path = AsPath::sequence(path);
        attributes.next_hop = Some(Ipv4Addr::new(10, 0, 0, peer).into());
        let mut encoded = Vec::new();
        attributes.emit(true, &mut encoded);
        let mut builder = UpdateBuilder::announce(&encoded).expect("there is room");
        for number in prefixes {
            let address = Ipv4Addr::from(0x1000_0000 + (number << 8));
            builder.push(
                Ipv4Net::new(address, 24).expect("a length").into(),
                &mut bytes,
            );
        }
        builder.finish(&mut bytes);
    }
    bytes.extend(end_of_rib(Family::IPV4_UNICAST));
    bytes
}

/// Adds a peer and brings it up.
fn connect(speaker: &mut Speaker, now: Instant, last: u8) -> ConnId {
    let address = Ipv4Addr::new(10, 0, 0, last);
    let asn = 64512 + u32::from(last);
    let mut peer = PeerConfig::new(format!("peer-{last}"), address.into(), Asn(asn), Role::Lan);
    peer.passive = true;
    peer.import = Some(Policy::PermitAll);
    peer.export = Some(if last == 3 {
        Policy::PermitAll
    } else {
        Policy::DenyAll
    });
    peer.max_prefixes_in = PrefixLimit {
        max: u32::MAX,
        over: OverLimit::Warn,
    };
    speaker
        .command(now, Command::AddPeer(Box::new(peer)))
        .expect("a peer");
    let local = SocketAddr::from(([10, 0, 0, 254], 179));
    let remote = SocketAddr::from((address, 40000));
    let conn = speaker
        .handle_accepted(now, remote, local)
        .expect("a connection");
    let open = Open {
        my_as: Asn(asn).as_two_octets(),
        hold_time: 0,
        identifier: address,
        capabilities: Capabilities(vec![
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::FourOctetAs(Asn(asn)),
        ]),
    };
    speaker.handle_bytes(now, conn, &open.emit());
    speaker.handle_bytes(now, conn, &keepalive());
    conn
}

/// Takes everything that waits; returns how many octets and changes that were.
fn drain(speaker: &mut Speaker, now: Instant) -> (usize, usize) {
    let (mut octets, mut changes) = (0, 0);
    loop {
        let before = octets;
        while let Some(action) = speaker.poll_action() {
            if let Action::Send { conn, bytes } = action {
                octets += bytes.len();
                speaker.handle_sent(now, conn, bytes.len());
            }
        }
        while speaker.poll_fib().is_some() {
            changes += 1;
        }
        while speaker.poll_event().is_some() {}
        if octets == before {
            return (octets, changes);
        }
    }
}

/// Resident octets of this process, from /proc.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: usize = line
        .and_then(|it| it.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    kibibytes * 1024
}

fn mebibytes(octets: usize) -> f64 {
    octets as f64 / 1_048_576.0
}
