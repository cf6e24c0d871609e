//! Replays the fuzzers' corpora: what they once found stays fixed, without a fuzzer at hand.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use bgpd::wire::{
    Capabilities, Capability, Families, Family, Framer, MessageKind, Notification, Open,
    PathAttributes, UpdateContext, UpdateFrame, keepalive,
};
use bgpd::{Asn, Command, PeerConfig, Policy, Role, Speaker, SpeakerConfig, State};

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let mut files: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let read = |path: &std::path::PathBuf| {
        (
            path.display().to_string(),
            fs::read(path).expect("a readable file"),
        )
    };
    files.iter().map(read).collect()
}

#[test]
fn every_seed_of_messages_passes_through_the_decoders_at_every_length() {
    let mut updates = 0;
    for (name, bytes) in corpus("bgp_message") {
        for length in 0..=bytes.len() {
            let mut framer = Framer::default();
            framer.push(&bytes[..length]);
            while let Ok(Some(message)) = framer.message() {
                updates += usize::from(message.kind == MessageKind::Update);
                decode(&name, &message.body);
            }
        }
    }
    assert!(updates > 10);
}

fn decode(name: &str, body: &[u8]) {
    if let Ok(open) = Open::parse(body) {
        assert_eq!(Open::parse(&open.emit()[19..]), Ok(open), "{name}");
    }
    let _ = Notification::parse(body).map(|it| it.to_string());
    let Ok(frame) = UpdateFrame::parse(body) else {
        return;
    };
    for (four_octet_as, external) in [(true, true), (true, false), (false, true), (false, false)] {
        let read = frame.attributes(UpdateContext {
            four_octet_as,
            external,
            families: Families::BOTH,
            extended_next_hop: external,
        });
        let sets = read.map(|read| [read.set, read.multiprotocol]);
        // An IPv6 next hop is not among the attributes.
        for set in sets.into_iter().flatten().flatten() {
            let set = PathAttributes {
                next_hop: set.next_hop.filter(IpAddr::is_ipv4),
                ..set
            };
            let mut canonical = Vec::new();
            set.emit(true, &mut canonical);
            assert_eq!(
                PathAttributes::parse_canonical(&canonical),
                Some(set),
                "{name}"
            );
        }
    }
}

#[test]
fn every_seed_of_sessions_leaves_a_sound_speaker_behind() {
    let mut established = 0;
    for (name, input) in corpus("bgp_session") {
        let Some((first, bytes)) = input.split_first() else {
            continue;
        };
        for length in 0..=bytes.len() {
            let (state, paths) = session(*first, &bytes[..length]);
            established += usize::from(state == State::Established && length == bytes.len());
            assert!(
                state == State::Established || paths == 0,
                "{name} cut to {length}"
            );
        }
    }
    assert!(established > 5, "{established}");
}

/// What a peer's octets come to: with bit 0 set after the handshake, with bit 1 a NEW speaker's.
fn session(first: u8, bytes: &[u8]) -> (State, usize) {
    let config = SpeakerConfig {
        asn: Asn(65000),
        router_id: Ipv4Addr::new(1, 1, 1, 1),
        maximum_paths: 4,
        multipath_relax: true,
    };
    let mut speaker = Speaker::new(config, [7; 32]);
    let now = Instant::now();
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let mut peer = PeerConfig::new("peer", address.into(), Asn(31898), Role::Cloud);
    peer.passive = true;
    peer.import = Some(Policy::PermitAll);
    speaker
        .command(now, Command::AddPeer(Box::new(peer)))
        .expect("a peer");
    let (remote, local) = (
        (address, 40000).into(),
        SocketAddr::from(([10, 0, 0, 0], 179)),
    );
    let conn = speaker
        .handle_accepted(now, remote, local)
        .expect("a connection");
    if first & 1 == 1 {
        let mut capabilities = vec![Capability::Multiprotocol(Family::IPV4_UNICAST)];
        capabilities.extend((first & 2 == 2).then_some(Capability::FourOctetAs(Asn(31898))));
        let capabilities = Capabilities(capabilities);
        let open = Open {
            my_as: 31898,
            hold_time: 90,
            identifier: address,
            capabilities,
        };
        speaker.handle_bytes(now, conn, &open.emit());
        speaker.handle_bytes(now, conn, &keepalive());
    }
    speaker.handle_bytes(now, conn, bytes);
    while speaker.poll_action().is_some() {}
    while speaker.poll_fib().is_some() {}
    while speaker.poll_event().is_some() {}
    let summary = speaker.summary(now);
    (summary.peers[0].state, summary.paths)
}
