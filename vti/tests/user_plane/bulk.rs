//! What the kernel does in bulk, each step of it and without it: the bytes are the same.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::{CBC, End, GCM, INTERFACE, SIZES, TUNNEL, V4, V6, Wiring, echo, wait_until};
use crypto::Integrity;
use esp::DropReason;
use nix::sys::socket::{setsockopt, sockopt};
use vti::plane::{DataPlane as _, PlaneEvent};
use vti::user::{Offloads, TunOffload};

const MEGABYTES: usize = 1;

/// How many streams may follow each other until one is as it should be.
const STREAMS: usize = 20;

/// Sends a stream of numbered bytes there and back, and compares them.
fn transfer(ends: &[End; 2], address: &str) {
    let listener = ends[1]
        .namespace
        .enter(|| TcpListener::bind((address, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let data: Vec<u8> = (0..MEGABYTES << 20)
        .map(|i: usize| (i ^ i >> 8 ^ i >> 16) as u8)
        .collect();
    let back = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut echoed = stream.try_clone().unwrap();
            std::io::copy(&mut stream, &mut echoed).unwrap();
            echoed.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut stream = ends[0].namespace.enter(|| TcpStream::connect(to).unwrap());
        let mut sending = stream.try_clone().unwrap();
        let data = &data;
        scope.spawn(move || {
            sending.write_all(data).unwrap();
            sending.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut back = Vec::with_capacity(data.len());
        stream.read_to_end(&mut back).unwrap();
        back
    });
    assert!(back == data, "all bytes come back as they were");
}

fn assert_nothing_lost(ends: &[End; 2]) {
    for end in ends {
        let drops = end.plane.counters(TUNNEL).unwrap().drops;
        let before = drops.get(DropReason::NoOutboundSa);
        assert_eq!(drops.total(), before, "{drops:?}");
    }
}

/// How many packets the kernel has made of what it was given, and taken.
fn interface_packets(end: &End) -> (u64, u64) {
    let text = end.namespace.ip(&format!("-s link show dev {INTERFACE}"));
    let lines: Vec<_> = text.lines().collect();
    let number = |line: usize| {
        lines[line]
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    (number(3), number(5))
}

#[test]
fn a_stream_passes_with_every_step_of_offload_on_either_side() {
    let steps = [
        TunOffload::None,
        TunOffload::Header,
        TunOffload::Checksum,
        TunOffload::Tcp,
        TunOffload::TcpAndUdp,
    ];
    for tun in steps {
        let limited = Offloads {
            tun,
            ..Offloads::ALL
        };
        let wiring = Wiring {
            offloads: [limited, Offloads::ALL],
            ..Wiring::new(GCM, None).in_udp()
        };
        let ends = wiring.join();
        let taken = ends[0].plane.offloads(TUNNEL).unwrap();
        assert_eq!(taken, limited, "this kernel can do all of it");
        transfer(&ends, "10.1.0.1");
        echo(&ends, V4, &SIZES);
        assert_nothing_lost(&ends);
    }
}

#[test]
fn a_stream_passes_without_trains_on_either_side() {
    let single = Offloads {
        segment: false,
        merge: false,
        ..Offloads::ALL
    };
    for offloads in [
        [single, Offloads::ALL],
        [Offloads::ALL, single],
        [Offloads::NONE; 2],
    ] {
        let ends = Wiring {
            offloads,
            ..Wiring::new(GCM, None).in_udp()
        }
        .join();
        transfer(&ends, "10.1.0.1");
        assert_nothing_lost(&ends);
    }
}

#[test]
fn a_stream_passes_in_every_encapsulation_and_family() {
    let cbc = Wiring::new(CBC, Some(Integrity::HmacSha1_96));
    let outer = ["2001:db8::1", "2001:db8::2"];
    let wirings = [
        Wiring::new(GCM, None),
        cbc,
        cbc.in_udp(),
        Wiring { outer, ..cbc },
        Wiring {
            outer,
            ..Wiring::new(GCM, None).in_udp()
        },
    ];
    for wiring in wirings {
        let ends = wiring.join();
        transfer(&ends, "10.1.0.1");
        transfer(&ends, "fd00::1");
        assert_nothing_lost(&ends);
    }
}

/// How long a train gets is for the sender's window and the processor's other work to say. So streams follow each other
/// until one was carried in trains; where none are made, none ever is.
#[test]
fn the_kernel_hands_over_and_takes_many_segments_at_once() {
    let ends = Wiring::new(GCM, None).in_udp().join();
    // A stream of 1348 octets a segment there and back; one packet for each would be as many.
    let segments = (MEGABYTES << 20) as u64 / 1348;
    let mut fewest = u64::MAX;
    for _ in 0..STREAMS {
        let before = ends.each_ref().map(interface_packets);
        transfer(&ends, "10.1.0.1");
        let after = ends.each_ref().map(interface_packets);
        let packets = before.iter().zip(after);
        let packets = packets.flat_map(|(before, after)| [after.0 - before.0, after.1 - before.1]);
        fewest = fewest.min(packets.max().unwrap_or_default());
        if fewest < segments / 2 {
            break;
        }
    }
    assert!(
        fewest < segments / 2,
        "{fewest} packets for {segments} segments, in the best of {STREAMS} streams"
    );
    for end in &ends {
        let counters = end.plane.counters(TUNNEL).unwrap();
        assert!(
            counters.packets_in >= segments,
            "segments are counted, not runs of them"
        );
        assert!(
            counters.packets_out >= segments,
            "segments are counted, not runs of them"
        );
        assert!(counters.bytes_in > segments * 1348);
    }
}

/// A datagram that its sender asks the kernel to cut arrives as the datagrams that it stands for.
#[test]
fn datagrams_that_are_cut_by_the_tunnel_arrive_one_by_one() {
    for tun in [TunOffload::Tcp, TunOffload::TcpAndUdp] {
        let limited = Offloads {
            tun,
            ..Offloads::ALL
        };
        let ends = Wiring {
            offloads: [limited, Offloads::ALL],
            ..Wiring::new(GCM, None).in_udp()
        }
        .join();
        for addresses in [V4, V6] {
            let near = ends[0].namespace.udp(addresses[0]);
            let far = ends[1].namespace.udp(addresses[1]);
            setsockopt(&near, sockopt::UdpGsoSegment, &300).unwrap();
            let payload: Vec<u8> = (0..1000).map(|i: usize| (i * 7) as u8).collect();
            near.send_to(&payload, far.local_addr().unwrap()).unwrap();
            for expected in payload.chunks(300) {
                let mut buffer = [0; 2000];
                let len = far.recv(&mut buffer).unwrap();
                assert!(
                    buffer[..len] == *expected,
                    "{} bytes arrive",
                    expected.len()
                );
            }
        }
        assert_nothing_lost(&ends);
    }
}

/// The path becomes narrower in the middle of a stream whose segments are already larger.
#[test]
fn a_stream_goes_on_when_the_path_becomes_narrower() {
    for wiring in [Wiring::new(GCM, None), Wiring::new(GCM, None).in_udp()] {
        let ends = wiring.join();
        transfer(&ends, "10.1.0.1");
        for end in &ends {
            end.namespace.ip("link set outer mtu 1300");
        }
        transfer(&ends, "10.1.0.1");
        let outer_mtu = ends[0].event(|event| match event {
            PlaneEvent::PathMtu { outer_mtu, .. } => Some(*outer_mtu),
            _ => None,
        });
        assert_eq!(outer_mtu, 1300);
        echo(&ends, V4, &[1, 1000, 1370]);
    }
}

#[test]
fn what_does_not_arrive_whole_is_counted_by_reason() {
    let ends = Wiring::new(GCM, None).in_udp().join();
    let near = ends[0].namespace.udp("192.0.2.1:0");
    let far = "192.0.2.2:4500";
    let unknown = [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1];
    let mut forged = [0; 64];
    forged[..4].copy_from_slice(&0x1001_u32.to_be_bytes());
    forged[7] = 1;
    // One train of each: the receiver takes them apart, and counts every one.
    setsockopt(&near, sockopt::UdpGsoSegment, &64).unwrap();
    near.send_to(&forged.repeat(10), far).unwrap();
    setsockopt(&near, sockopt::UdpGsoSegment, &8).unwrap();
    near.send_to(&unknown.repeat(10), far).unwrap();
    wait_until("forged packets are counted", || {
        let drops = ends[1].plane.counters(TUNNEL).unwrap().drops;
        drops.get(DropReason::Authentication) == 10
    });
    wait_until("unknown SPIs are counted", || {
        ends[1].plane.stray().drops.get(DropReason::UnknownSpi) == 10
    });
    echo(&ends, V4, &SIZES);
}

/// Garbage fills the queue of the port many times over; the peer's IKE messages have their own.
#[test]
fn a_flood_of_garbage_displaces_no_ike_message() {
    let ends = Wiring::new(GCM, None).in_udp().join();
    let flood = ends[0].namespace.udp("192.0.2.1:0");
    let peer = ends[0].namespace.udp("192.0.2.1:0");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            setsockopt(&flood, sockopt::UdpGsoSegment, &100).unwrap();
            let garbage = [0xa7; 6000];
            while !done.load(Ordering::Relaxed) {
                // A full queue of the sender's own is no harm.
                let _ = flood.send_to(&garbage, "192.0.2.2:4500");
            }
        });
        for number in 0..100_u8 {
            let message = [&[0, 0, 0, 0][..], &[number; 100]].concat();
            peer.send_to(&message, "192.0.2.2:4500").unwrap();
            let arrived = ends[1].event(|event| match event {
                PlaneEvent::IkeDatagram { payload, .. } => payload.first().copied(),
                _ => None,
            });
            assert_eq!(arrived, number);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(ends[1].plane.stray().drops.get(DropReason::UnknownSpi) > 0);
    echo(&ends, V4, &SIZES);
}

/// The peer's IKE message shares the socket with a train of ESP packets, and even the train.
#[test]
fn ike_messages_between_trains_are_found() {
    let ends = Wiring::new(GCM, None).in_udp().join();
    let near = ends[0].namespace.udp("192.0.2.1:0");
    let ike = [&[0, 0, 0, 0][..], &[0x77; 36]].concat();
    let esp = [0xde; 40];
    setsockopt(&near, sockopt::UdpGsoSegment, &40).unwrap();
    let train = [&esp[..], &ike, &esp, &ike[..30]].concat();
    near.send_to(&train, "192.0.2.2:4500").unwrap();
    for expected in [36, 26] {
        let len = ends[1].event(|event| match event {
            PlaneEvent::IkeDatagram { payload, .. } => Some(payload.len()),
            _ => None,
        });
        assert_eq!(len, expected);
    }
}
