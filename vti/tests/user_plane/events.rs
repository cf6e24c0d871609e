//! What the plane tells the daemon, and IKE on the shared ports.

use std::net::SocketAddr;

use crate::bed::{End, GCM, INTERFACE, SIZES, TUNNEL, V4, Wiring, echo, wait_until};
use esp::{DropReason, Limits};
use vti::plane::{DataPlane as _, Direction, Encap, PlaneEvent, SaSpec};

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
fn a_datagram_longer_than_any_ike_message_is_counted_and_no_event() {
    let ends = Wiring::new(GCM, None).join_without_sas();
    let sender = ends[0].plane.ike_sender();
    let at = |end: &End| SocketAddr::new(end.outer, 500);
    for len in [60_000, 40] {
        let message = vec![7; len];
        sender.send(at(&ends[0]), at(&ends[1]), &message).unwrap();
    }
    ends[1].event(|event| match event {
        PlaneEvent::IkeDatagram { payload, .. } => {
            assert_eq!(payload.len(), 40);
            Some(())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(ends[1].plane.stray().ike_dropped, 1);
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
fn limits_are_told_and_the_hard_one_ends_the_sa() {
    let wiring = Wiring::new(GCM, None);
    let mut ends = wiring.join();
    let limits = Limits {
        soft_packets: Some(3),
        hard_packets: Some(5),
        ..Limits::default()
    };
    let sa = SaSpec {
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
fn a_deleted_interface_is_told() {
    let ends = Wiring::new(GCM, None).join();
    ends[0].namespace.ip(&format!("link delete {INTERFACE}"));
    ends[0].event(|event| (*event == PlaneEvent::InterfaceLost { tunnel: TUNNEL }).then_some(()));
}
