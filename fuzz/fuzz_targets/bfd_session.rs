//! Any octets as datagrams for a session: no panic, and what is read and written again is the same.
//!
//! The first octet of each piece is its length, the second how long to wait before it, in units of 10 ms. What is too short to be a packet is
//! heard as it is; a longer one gets the session's own discriminator where it says 0xffffffff, so that it reaches the state machine.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bfd::{Arrival, ControlPacket, Hops, SessionConfig, SessionName, Sessions, Terms};
use libfuzzer_sys::fuzz_target;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fuzz_target!(|bytes: &[u8]| {
    let mut now = Instant::now();
    let name = SessionName::from("peer");
    let mut sessions = Sessions::new([7; 32]);
    let config = SessionConfig {
        peer: PEER,
        local: Some(LOCAL),
        interface: None,
        hops: Hops::Single,
        passive: false,
        terms: Terms {
            desired_min_tx: Duration::from_millis(300),
            required_min_rx: Duration::from_millis(300),
            detect_mult: 3,
        },
    };
    assert!(sessions.set(now, &name, config).is_ok());
    let mut rest = bytes;
    while let [length, pause, after @ ..] = rest {
        let (piece, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        now += Duration::from_millis(10 * u64::from(*pause));
        sessions.handle_timeout(now);
        let mut datagram = piece.to_vec();
        if let Some(place) = datagram.get_mut(8..12)
            && place == [0xff; 4]
            && let Some(view) = sessions.view(now, &name)
        {
            place.copy_from_slice(&view.discriminator.0.get().to_be_bytes());
        }
        if let Ok(packet) = ControlPacket::parse(&datagram)
            && packet.authentication.is_none()
        {
            assert_eq!(ControlPacket::parse(&packet.emit()), Ok(packet));
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
            assert!(ControlPacket::parse(&transmit.payload).is_ok());
        }
        while sessions.poll_event().is_some() {}
        assert!(sessions.poll_timeout().is_none_or(|at| at >= now));
    }
});
