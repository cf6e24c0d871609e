//! Replays the fuzzer's corpus: what it once found stays fixed, without a fuzzer at hand.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use bfd::{Arrival, ControlPacket, Event, Hops, SessionConfig, SessionName, Sessions, Terms};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Plays pieces as `fuzz/fuzz_targets/bfd_session.rs` reads them, and gives what happened.
fn replay(name: &str, bytes: &[u8]) -> Vec<Event> {
    let mut now = Instant::now();
    let session = SessionName::from("peer");
    let mut sessions = Sessions::new([7; 32]);
    let interval = Duration::from_millis(300);
    let config = SessionConfig {
        peer: PEER,
        local: Some(LOCAL),
        interface: None,
        hops: Hops::Single,
        passive: false,
        terms: Terms {
            desired_min_tx: interval,
            required_min_rx: interval,
            detect_mult: 3,
        },
    };
    sessions.set(now, &session, config).expect("possible terms");
    let (mut rest, mut events) = (bytes, Vec::new());
    while let [length, pause, after @ ..] = rest {
        let (piece, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        now += Duration::from_millis(10 * u64::from(*pause));
        sessions.handle_timeout(now);
        let mut datagram = piece.to_vec();
        if datagram.get(8..12) == Some(&[0xff; 4]) {
            let view = sessions.view(now, &session).expect("the session");
            datagram[8..12].copy_from_slice(&view.discriminator.0.get().to_be_bytes());
        }
        let arrival = Arrival {
            from: PEER,
            to: LOCAL,
            interface: Some("eth0"),
            ttl: 255,
            hops: Hops::Single,
        };
        sessions.handle_datagram(now, &arrival, &datagram);
        while let Some(transmit) = sessions.poll_transmit() {
            assert!(ControlPacket::parse(&transmit.payload).is_ok(), "{name}");
        }
        events.extend(std::iter::from_fn(|| sessions.poll_event()));
        assert!(
            sessions.poll_timeout().is_none_or(|at| at >= now),
            "{name}: what is due is done"
        );
    }
    events
}

#[test]
fn every_seed_cut_at_every_length_passes_through_a_session() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/bfd_session");
    let (mut ups, mut downs, mut dropped) = (0, 0, 0);
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("a readable file");
        for length in 0..=bytes.len() {
            for event in replay(&path.display().to_string(), &bytes[..length]) {
                match event {
                    Event::Up { .. } => ups += 1,
                    Event::Down { .. } => downs += 1,
                    Event::Discarded { .. } => dropped += 1,
                    Event::SwitchedOff { .. } | Event::Adapted { .. } => {}
                }
            }
        }
    }
    assert!(
        ups > 10 && downs > 10 && dropped > 10,
        "{ups} {downs} {dropped}"
    );
}
