//! The userspace data plane between two network namespaces, over real sockets and TUN interfaces.
//! Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test is told by a panic"
)]

mod bed;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use bed::{End, INTERFACE, Namespace, PATIENCE, TUNNEL, V4, V6, Wiring, echo, received_tos, spec};
use crypto::{Encryption, Integrity};
use esp::{DropReason, Limits};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use tokio::sync::mpsc;
use vti::plane::{DataPlane as _, Direction, Encap, Error, PlaneEvent, TunnelId, TunnelSpec};
use vti::user::{UserPlane, UserPlaneConfig};

const GCM: Encryption = Encryption::AesGcm256;
const CBC: Encryption = Encryption::AesCbc256;
const SIZES: [usize; 7] = [1, 2, 63, 64, 512, 1300, 1370];

#[test]
fn packets_pass_in_raw_esp_with_aes_gcm() {
    let ends = Wiring::new(GCM, None).join();
    echo(&ends, V4, &SIZES);
    echo(&ends, V6, &SIZES[..6]);
    let counters = || ends[0].plane.counters(TUNNEL).unwrap();
    // The last one may have arrived a moment before it is counted.
    wait_until("all are counted", || {
        counters().packets_in >= 13 && counters().packets_out >= 13
    });
    assert!(counters().last_inbound.is_some() && counters().last_outbound.is_some());
    assert_no_drops(&ends);
    assert_eq!(ends[0].plane.stray().drops.total(), 0);
}

/// But for what the kernel itself sends as soon as an interface is up (router solicitations),
/// before there is an SA.
fn assert_no_drops(ends: &[End; 2]) {
    for end in ends {
        let drops = end.plane.counters(TUNNEL).unwrap().drops;
        assert_eq!(
            drops.total(),
            drops.get(DropReason::NoOutboundSa),
            "{drops:?}"
        );
    }
}

#[test]
fn packets_pass_in_raw_esp_with_aes_cbc() {
    let wiring = Wiring::new(CBC, Some(Integrity::HmacSha1_96));
    echo(
        &Wiring {
            esn: false,
            ..wiring
        }
        .join(),
        V4,
        &SIZES,
    );
}

#[test]
fn packets_pass_in_udp_with_aes_gcm() {
    echo(&Wiring::new(GCM, None).in_udp().join(), V4, &SIZES);
}

#[test]
fn packets_pass_in_udp_with_aes_cbc() {
    echo(
        &Wiring::new(CBC, Some(Integrity::HmacSha256_128))
            .in_udp()
            .join(),
        V4,
        &SIZES,
    );
}

#[test]
fn packets_pass_in_udp_with_chacha20() {
    echo(
        &Wiring::new(Encryption::ChaCha20Poly1305, None)
            .in_udp()
            .join(),
        V4,
        &SIZES,
    );
}

#[test]
fn packets_pass_between_ipv6_addresses_raw_and_in_udp() {
    let wiring = Wiring {
        outer: ["2001:db8::1", "2001:db8::2"],
        ..Wiring::new(GCM, None)
    };
    echo(&wiring.join(), V4, &SIZES);
    echo(&wiring.in_udp().join(), V6, &SIZES[..6]);
}

#[test]
fn rekeys_under_a_flow_lose_nothing() {
    for wiring in [Wiring::new(GCM, None), Wiring::new(GCM, None).in_udp()] {
        let mut ends = wiring.join();
        let near = ends[0].namespace.udp("10.1.0.0:0");
        let far = ends[1].namespace.udp("10.1.0.1:0");
        let done = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let flow = scope.spawn(|| numbered_flow(&near, &far, &done));
            for generation in 1..=20 {
                let (old, new) = (0x1000 * generation, 0x1000 * (generation + 1));
                wiring.install(&mut ends, new);
                for (to, end) in ends.iter_mut().enumerate() {
                    let spi = new + to as u32;
                    end.event(|event| {
                        (*event
                            == PlaneEvent::FirstInbound {
                                tunnel: TUNNEL,
                                spi,
                            })
                        .then_some(())
                    });
                    end.plane.remove_inbound(TUNNEL, old + to as u32).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
            flow.join().unwrap()
        });
        assert_no_drops(&ends);
        for end in &ends {
            assert_eq!(end.plane.stray().drops.get(DropReason::UnknownSpi), 0);
            wait_until("all are counted", || {
                end.plane.counters(TUNNEL).unwrap().packets_in >= sent
            });
            assert_eq!(end.plane.sa_counters(TUNNEL).len(), 2, "no old SA is left");
        }
    }
}

/// Sends numbered datagrams there and back, some always under way, until told to end; each must
/// arrive, in order.
fn numbered_flow(near: &UdpSocket, far: &UdpSocket, done: &AtomicBool) -> u64 {
    const UNDER_WAY: u64 = 16;
    let (near_address, far_address) = (near.local_addr().unwrap(), far.local_addr().unwrap());
    let mut number = 0_u64;
    let receive = |socket: &UdpSocket, expected: u64| {
        let mut bytes = [0; 8];
        socket
            .recv(&mut bytes)
            .unwrap_or_else(|e| panic!("packet {expected} is lost: {e}"));
        assert_eq!(u64::from_be_bytes(bytes), expected, "in order and complete");
    };
    while !done.load(Ordering::Relaxed) {
        for n in number..number + UNDER_WAY {
            near.send_to(&n.to_be_bytes(), far_address).unwrap();
            far.send_to(&n.to_be_bytes(), near_address).unwrap();
        }
        for n in number..number + UNDER_WAY {
            receive(far, n);
            receive(near, n);
        }
        number += UNDER_WAY;
    }
    number
}

#[test]
fn ike_messages_pass_on_both_ports_with_their_addresses() {
    let ends = Wiring::new(GCM, None).join_without_sas();
    let sender = ends[0].plane.ike_sender();
    let at = |end: &End, port| SocketAddr::new(end.outer, port);
    // The last one does not fit a packet: IP fragments it.
    for (port, len) in [(500, 300), (4500, 300), (500, 4000), (4500, 4000)] {
        let message: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        sender
            .send(at(&ends[0], port), at(&ends[1], port), &message)
            .unwrap();
        let received = ends[1].event(|event| match event {
            PlaneEvent::IkeDatagram { .. } => Some(event.clone()),
            _ => None,
        });
        let (local, remote) = (at(&ends[1], port), at(&ends[0], port));
        assert_eq!(
            received,
            PlaneEvent::IkeDatagram {
                local,
                remote,
                payload: message
            }
        );
    }
    assert!(
        sender
            .send(at(&ends[0], 501), at(&ends[1], 500), &[1])
            .is_err()
    );
}

#[test]
fn a_keepalive_is_counted_and_no_event() {
    let ends = Wiring::new(GCM, None).join_without_sas();
    let sender = ends[0].plane.ike_sender();
    let (local, remote) = (
        SocketAddr::new(ends[0].outer, 4500),
        SocketAddr::new(ends[1].outer, 4500),
    );
    sender.keepalive(local, remote).unwrap();
    sender.send(local, remote, &[7; 40]).unwrap();
    ends[1].event(|event| match event {
        PlaneEvent::IkeDatagram { payload, .. } => {
            assert_eq!(payload, &[7; 40]);
            Some(())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(ends[1].plane.stray().keepalives, 1);
}

#[test]
fn an_unknown_spi_is_told_with_its_source() {
    let wiring = Wiring::new(GCM, None);
    let mut ends = wiring.join_without_sas();
    ends[0]
        .plane
        .set_outbound(TUNNEL, wiring.sa(0, 0xdead_beef))
        .unwrap();
    ends[0]
        .namespace
        .udp(V4[0])
        .send_to(b"into the void", "10.1.0.1:9")
        .unwrap();
    let from = SocketAddr::new(ends[0].outer, 0);
    ends[1].event(|event| {
        (*event
            == PlaneEvent::UnknownSpi {
                spi: 0xdead_beef,
                from,
            })
        .then_some(())
    });
    assert!(ends[1].plane.stray().drops.get(DropReason::UnknownSpi) >= 1);
}

#[test]
fn a_changed_nat_mapping_is_told_once_and_followed() {
    // End 1 sends from port 4501, as if a NAT had moved it; end 0 still believes in 4500.
    let wiring = Wiring {
        nat_ports: [4500, 4501],
        ..Wiring::new(GCM, None).in_udp()
    };
    let mut ends = wiring.join_without_sas();
    wiring.install(&mut ends, 0x1000);
    let (local, remote) = (ends[0].outer, ends[1].outer);
    let wrong = Encap::Udp {
        local_port: 4500,
        remote_port: 4500,
    };
    ends[0]
        .plane
        .update_path(TUNNEL, local, remote, wrong)
        .unwrap();
    ends[1]
        .namespace
        .udp(V4[1])
        .send_to(b"I have moved", "10.1.0.0:9")
        .unwrap();
    let from = SocketAddr::new(remote, 4501);
    ends[0].event(|event| match event {
        PlaneEvent::NatMapping {
            tunnel: TUNNEL,
            spi: 0x1000,
            from: told,
        } => {
            assert_eq!(*told, from);
            Some(())
        }
        _ => None,
    });
    let right = Encap::Udp {
        local_port: 4500,
        remote_port: from.port(),
    };
    ends[0]
        .plane
        .update_path(TUNNEL, local, remote, right)
        .unwrap();
    echo(&ends, V4, &SIZES);
    ends[0]
        .plane
        .ike_sender()
        .send(
            SocketAddr::new(local, 500),
            SocketAddr::new(local, 500),
            &[1],
        )
        .unwrap();
    ends[0].event(|event| match event {
        PlaneEvent::NatMapping { .. } => panic!("told again"),
        PlaneEvent::IkeDatagram { .. } => Some(()),
        _ => None,
    });
}

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

/// Until something that another thread or the kernel does has happened.
fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}: does not happen");
        std::thread::yield_now();
    }
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
    assert_eq!(
        ends[0].plane.counters(TUNNEL).unwrap().packets_out,
        4,
        "four fragments"
    );
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
fn congestion_that_is_marked_on_the_way_reaches_the_inner_packet() {
    let raw = Wiring::new(GCM, None);
    for (wiring, outer) in [(raw, "ip protocol esp"), (raw.in_udp(), "udp dport 4500")] {
        let ends = wiring.join();
        let nft = |arguments: &str| ends[1].namespace.run("nft", arguments);
        nft("add table ip marks");
        nft("add chain ip marks arrive { type filter hook prerouting priority 0 ; }");
        // It matches only if the inner ECN field was copied to the outer header.
        nft(&format!(
            "add rule ip marks arrive {outer} ip ecn ect0 ip ecn set ce"
        ));

        let near = ends[0].namespace.udp(V4[0]);
        let far = ends[1].namespace.udp(V4[1]);
        setsockopt(&far, sockopt::IpRecvTos, &true).unwrap();
        for (sent, expected) in [(0x02, 0x03), (0x00, 0x00), (0x88, 0x88)] {
            setsockopt(&near, sockopt::Ipv4Tos, &sent).unwrap();
            near.send_to(b"marked", far.local_addr().unwrap()).unwrap();
            assert_eq!(received_tos(&far), expected, "sent with {sent:#04x}");
        }
    }
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

#[test]
fn limits_are_told_and_the_hard_one_ends_the_sa() {
    let wiring = Wiring::new(GCM, None);
    let mut ends = wiring.join();
    let limits = Limits {
        soft_packets: Some(3),
        hard_packets: Some(5),
        ..Limits::default()
    };
    let sa = vti::plane::SaSpec {
        limits,
        ..wiring.sa(0, 0x1001)
    };
    ends[0].plane.set_outbound(TUNNEL, sa).unwrap();
    let socket = ends[0].namespace.udp(V4[0]);
    for _ in 0..8 {
        socket.send_to(b"one more", "10.1.0.1:9").unwrap();
    }
    let direction = Direction::Outbound;
    for expected in [
        PlaneEvent::SoftLimit {
            tunnel: TUNNEL,
            spi: 0x1001,
            direction,
        },
        PlaneEvent::HardLimit {
            tunnel: TUNNEL,
            spi: 0x1001,
            direction,
        },
    ] {
        ends[0].event(|event| (*event == expected).then_some(()));
    }
    wait_until("the last ones are dropped", || {
        let counters = ends[0].plane.counters(TUNNEL).unwrap();
        counters.drops.get(DropReason::LifetimeOver) == 3 && counters.packets_out == 5
    });
}

#[test]
fn without_an_outbound_sa_packets_are_dropped_and_counted() {
    let ends = Wiring::new(GCM, None).join_without_sas();
    ends[0]
        .namespace
        .udp(V4[0])
        .send_to(b"nowhere", "10.1.0.1:9")
        .unwrap();
    wait_until("it is counted", || {
        ends[0]
            .plane
            .counters(TUNNEL)
            .unwrap()
            .drops
            .get(DropReason::NoOutboundSa)
            >= 1
    });
}

#[test]
fn removing_a_tunnel_frees_its_interface_at_once() {
    let mut ends = Wiring::new(GCM, None).join();
    let End {
        namespace, plane, ..
    } = &mut ends[0];
    for _ in 0..20 {
        plane.remove_tunnel(TUNNEL).unwrap();
        namespace.enter(|| plane.add_tunnel(&spec())).unwrap();
    }
    plane.remove_tunnel(TUNNEL).unwrap();
    let links = namespace.ip("-o link");
    assert!(!links.contains(INTERFACE), "{links}");
    assert!(matches!(
        plane.remove_tunnel(TUNNEL),
        Err(Error::NoSuchTunnel { tunnel: TUNNEL })
    ));
}

#[test]
fn dropping_the_plane_removes_its_interfaces_and_frees_its_ports() {
    let [
        End {
            namespace, plane, ..
        },
        _,
    ] = Wiring::new(GCM, None).join();
    drop(plane);
    let links = namespace.ip("-o link");
    assert!(!links.contains(INTERFACE), "{links}");
    let (events, _receiver) = mpsc::channel(1);
    namespace
        .enter(|| UserPlane::new(&UserPlaneConfig::default(), events))
        .unwrap();
}

#[test]
fn a_foreign_interface_of_the_name_is_refused_and_left_alone() {
    let mut ends = Wiring::new(GCM, None).join_without_sas();
    let End {
        namespace, plane, ..
    } = &mut ends[0];
    namespace.ip("tuntap add dev foreign mode tun");
    for name in ["foreign", "outer", "lo"] {
        let other = TunnelSpec {
            id: TunnelId(2),
            interface: name.to_owned(),
            ..spec()
        };
        let error = namespace.enter(|| plane.add_tunnel(&other)).unwrap_err();
        assert!(matches!(error, Error::InterfaceExists { .. }), "{error}");
    }
    assert!(namespace.ip("-o link").contains("foreign"));
    for name in ["", "a/b", "white space", "much-too-long-name"] {
        let other = TunnelSpec {
            id: TunnelId(2),
            interface: name.to_owned(),
            ..spec()
        };
        let error = namespace.enter(|| plane.add_tunnel(&other)).unwrap_err();
        assert!(matches!(error, Error::InterfaceName { .. }), "{error}");
    }
}

#[test]
fn a_deleted_interface_is_told() {
    let ends = Wiring::new(GCM, None).join();
    ends[0].namespace.ip(&format!("link delete {INTERFACE}"));
    ends[0].event(|event| (*event == PlaneEvent::InterfaceLost { tunnel: TUNNEL }).then_some(()));
}

#[test]
fn a_port_in_use_is_told_with_its_holder() {
    let namespace = Namespace::new();
    let _other = namespace.udp("0.0.0.0:4500");
    let (events, _receiver) = mpsc::channel(1);
    let error = namespace
        .enter(|| UserPlane::new(&UserPlaneConfig::default(), events))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("4500") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
}

#[test]
fn misuse_is_refused_and_changes_nothing() {
    let wiring = Wiring::new(GCM, None);
    let mut ends = wiring.join();
    let plane = &mut ends[0].plane;
    let sa = wiring.sa(0, 0x1000);
    assert!(matches!(
        plane.add_inbound(TUNNEL, sa.clone()),
        Err(Error::SpiInUse { .. })
    ));
    assert!(matches!(
        plane.add_inbound(TunnelId(9), sa.clone()),
        Err(Error::NoSuchTunnel { .. })
    ));
    assert!(matches!(
        plane.remove_inbound(TUNNEL, 0x9999),
        Err(Error::NoSuchSa { .. })
    ));
    let reserved = vti::plane::SaSpec {
        spi: 255,
        ..sa.clone()
    };
    assert!(matches!(
        plane.add_inbound(TUNNEL, reserved),
        Err(Error::Sa(_))
    ));
    let family = vti::plane::SaSpec {
        remote: "2001:db8::9".parse().unwrap(),
        ..sa.clone()
    };
    assert!(matches!(
        plane.set_outbound(TUNNEL, family),
        Err(Error::AddressFamily { .. })
    ));
    let encap = Encap::Udp {
        local_port: 9,
        remote_port: 4500,
    };
    let port = vti::plane::SaSpec { encap, ..sa };
    assert!(matches!(
        plane.set_outbound(TUNNEL, port),
        Err(Error::Port { .. })
    ));
    echo(&ends, V4, &SIZES);
}
