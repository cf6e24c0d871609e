//! Any octets from a peer, after the handshake or in the place of it: no panic, and a session that is
//! down has left no route behind.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use bgpd::wire::{Capabilities, Capability, Family, Open, keepalive};
use bgpd::{Asn, Command, PeerConfig, Policy, Role, Speaker, SpeakerConfig, State};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
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
    peer.export = Some(Policy::PermitAll);
    let _ = speaker.command(now, Command::AddPeer(Box::new(peer)));
    let local = SocketAddr::from(([10, 0, 0, 0], 179));
    let Ok(conn) = speaker.handle_accepted(now, (address, 40000).into(), local) else {
        return;
    };
    if first & 1 == 1 {
        let mut capabilities = vec![Capability::Multiprotocol(Family::IPV4_UNICAST)];
        if first & 2 == 2 {
            capabilities.push(Capability::FourOctetAs(Asn(31898)));
        }
        let open = Open {
            my_as: 31898,
            hold_time: 90,
            identifier: address,
            capabilities: Capabilities(capabilities),
        };
        speaker.handle_bytes(now, conn, &open.emit());
        speaker.handle_bytes(now, conn, &keepalive());
    }
    speaker.handle_bytes(now, conn, bytes);
    while speaker.poll_action().is_some() {}
    while speaker.poll_fib().is_some() {}
    while speaker.poll_event().is_some() {}
    let summary = speaker.summary(now);
    if summary
        .peers
        .iter()
        .all(|peer| peer.state != State::Established)
    {
        assert_eq!((summary.paths, summary.fib_prefixes), (0, 0));
    }
});
