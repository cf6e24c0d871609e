//! Packets that do not fit.

use std::net::{TcpListener, TcpStream};

use crate::bed::{GCM, Namespace, TUNNEL, V4, V6, Wiring, wait_until};
use esp::DropReason;
use nix::sys::socket::{getsockopt, sockopt};
use vti::plane::{DataPlane as _, PlaneEvent};

#[test]
fn a_packet_that_must_not_be_fragmented_is_answered_with_the_tunnels_mtu() {
    let wiring = Wiring {
        interface_mtu: 1500,
        ..Wiring::new(GCM, None).in_udp()
    };
    let ends = wiring.join();
    for (from, to) in [(V4, "10.1.0.1"), (V6, "fd00::1")] {
        let socket = ends[0].namespace.udp(from[0]);
        // DF is set as long as the kernel believes that the packet fits.
        socket.send_to(&[0; 1440], (to, 9)).unwrap();
        wait_until("the kernel learns the tunnel's MTU", || {
            has_learned(&ends[0].namespace, to, 1438)
        });
    }
    assert_eq!(ends[0].plane.inner_mtu(TUNNEL), Some(1438));
    let drops = ends[0].plane.counters(TUNNEL).unwrap().drops;
    assert_eq!(drops.get(DropReason::TooBig), 2);
}

/// What the kernel has learned about the way to an address.
fn has_learned(namespace: &Namespace, address: &str, mtu: u16) -> bool {
    namespace
        .ip(&format!("route get {address}"))
        .contains(&format!("mtu {mtu}"))
}

#[test]
fn a_packet_that_may_be_fragmented_arrives_whole() {
    let wiring = Wiring {
        interface_mtu: 9000,
        ..Wiring::new(GCM, None)
    };
    let ends = wiring.join();
    // Sockets that are made from now on do not set DF.
    ends[0].namespace.enter(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_no_pmtu_disc", "1").unwrap();
    });
    let near = ends[0].namespace.udp(V4[0]);
    let far = ends[1].namespace.udp(V4[1]);
    near.send_to(&[42; 5000], far.local_addr().unwrap())
        .unwrap();
    let mut buffer = [0; 6000];
    assert_eq!(far.recv(&mut buffer).unwrap(), 5000);
    wait_until("its four fragments are counted", || {
        ends[0].plane.counters(TUNNEL).unwrap().packets_out >= 4
    });
}

#[test]
fn a_narrower_path_is_learned_from_the_kernel() {
    let ends = Wiring {
        interface_mtu: 1446,
        ..Wiring::new(GCM, None)
    }
    .join();
    ends[0]
        .namespace
        .ip("route add 192.0.2.2/32 dev outer src 192.0.2.1 mtu 1300");
    let socket = ends[0].namespace.udp(V4[0]);
    socket.connect("10.1.0.1:9").unwrap();
    socket.send(&[0; 1400]).unwrap();
    let learned = ends[0].event(|event| match event {
        PlaneEvent::PathMtu {
            tunnel: TUNNEL,
            outer_mtu,
        } => Some(*outer_mtu),
        _ => None,
    });
    assert_eq!(learned, 1300);
    assert_eq!(ends[0].plane.inner_mtu(TUNNEL), Some(1246));
    // The next one is answered before it is encrypted.
    socket.send(&[0; 1400]).unwrap();
    wait_until("the sender learns it", || {
        has_learned(&ends[0].namespace, "10.1.0.1", 1246)
    });
}

#[test]
fn tcp_connections_get_a_segment_size_that_fits() {
    let ends = Wiring {
        interface_mtu: 1500,
        ..Wiring::new(GCM, None).in_udp()
    }
    .join();
    let listener = ends[1]
        .namespace
        .enter(|| TcpListener::bind("10.1.0.1:0").unwrap());
    let target = listener.local_addr().unwrap();
    let near = ends[0]
        .namespace
        .enter(|| TcpStream::connect(target).unwrap());
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        // 12 bytes of every segment are the timestamp option.
        let segment = getsockopt(stream, sockopt::TcpMaxSeg).unwrap();
        assert!((1300..=1438 - 40).contains(&segment), "{segment}");
    }
}
