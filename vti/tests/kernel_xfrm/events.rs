//! What the daemon is told.

use std::net::SocketAddr;
use std::time::Duration;

use esp::Limits;
use vti::plane::{DataPlane as _, Direction, Encap, PlaneEvent};

use crate::bed::{End, INNER, Kind, TUNNEL, Wish, ends, joined};

#[test]
fn the_first_packet_on_an_inbound_sa_is_told_once_and_soon() {
    let ends = joined([Kind::Xfrm, Kind::Vti], &Wish::gcm());
    assert_eq!(ends[0].ping(INNER[1], "-c 1"), 1);
    for (to, end) in ends.iter().enumerate() {
        let spi = end.events.next(|event| match event {
            PlaneEvent::FirstInbound { spi, .. } => Some(*spi),
            _ => None,
        });
        assert_eq!(spi, 0x1000 + to as u32);
    }
    assert_eq!(ends[0].ping(INNER[1], "-c 5 -i 0.1"), 5);
    assert_eq!(ends[0].events.so_far(), []);
    assert_eq!(ends[1].events.so_far(), []);
}

#[test]
fn an_sa_that_is_used_up_says_so_in_time_and_then_carries_nothing() {
    let mut wish = Wish::gcm();
    wish.limits = Limits {
        soft_packets: Some(5),
        hard_packets: Some(10),
        ..Limits::default()
    };
    let ends = joined([Kind::Xfrm, Kind::Xfrm], &wish);
    let passed = ends[0].ping(INNER[1], "-c 15 -i 0.05");
    assert!((9..=10).contains(&passed), "{passed} packets passed");
    let limit = |end: &End, hard: bool| {
        end.events.next(|event| match event {
            PlaneEvent::SoftLimit { direction, .. } if !hard => Some(*direction),
            PlaneEvent::HardLimit { direction, .. } if hard => Some(*direction),
            _ => None,
        })
    };
    let soft = limit(&ends[0], false);
    limit(&ends[0], true);
    assert_eq!(soft, Direction::Outbound);
    // It is the daemon's turn; meanwhile what is routed into the tunnel is dropped, not negotiated by the kernel.
    assert!(
        !ends[0].states().contains("spi 0x00001001"),
        "{}",
        ends[0].states()
    );
    let policies = ends[0].policies();
    assert!(policies.contains("dir out action block"), "{policies}");
}

#[test]
fn an_sa_that_nobody_replaces_is_ended_by_the_kernel_when_its_time_is_over() {
    let wish = Wish {
        outlived: Some(Duration::from_secs(2)),
        ..Wish::gcm()
    };
    let ends = joined([Kind::Xfrm, Kind::Vti], &wish);
    for end in &ends {
        let mut over = [Direction::Inbound, Direction::Outbound].map(|_| {
            end.events.next(|event| match event {
                PlaneEvent::HardLimit { direction, .. } => Some(*direction),
                _ => None,
            })
        });
        over.sort_by_key(|direction| *direction == Direction::Outbound);
        assert_eq!(over, [Direction::Inbound, Direction::Outbound]);
        assert_eq!(end.states(), "");
        let policies = end.policies();
        assert!(policies.contains("dir out action block"), "{policies}");
    }
}

/// Both ends with one SA each way in UDP, and a NAT in front of end 1.
fn behind_nat(port: u16) -> [End; 2] {
    let ends = joined([Kind::Xfrm, Kind::Xfrm], &Wish::gcm().in_udp());
    let rule = "add table ip n; add chain ip n post { type nat hook postrouting priority 100; }; add rule ip n post udp sport 4500 masquerade to :";
    ends[1].namespace.nft(&format!("{rule}{port}"));
    ends
}

#[test]
fn a_changed_nat_mapping_is_told_once_and_followed() {
    let mut ends = behind_nat(61_234);
    let from: SocketAddr = "192.0.2.2:61234".parse().unwrap();
    // End 1 sends; what end 0 answers goes to the old port, where nobody is.
    ends[1].ping(INNER[0], "-c 3 -i 0.1");
    let told = ends[0].events.next(|event| match event {
        PlaneEvent::NatMapping { from, spi, .. } => Some((*spi, *from)),
        _ => None,
    });
    assert_eq!(told, (0x1000, from));
    let before = ends[0].plane.sa_counters(TUNNEL);
    let encap = Encap::Udp {
        local_port: 4500,
        remote_port: from.port(),
    };
    ends[0]
        .plane
        .update_path(TUNNEL, "192.0.2.1".parse().unwrap(), from.ip(), encap)
        .unwrap();
    assert_eq!(
        ends[1].ping(INNER[0], "-c 5 -i 0.1"),
        5,
        "{}",
        ends[0].states()
    );
    let after = ends[0].plane.sa_counters(TUNNEL);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.spi, after.spi);
        assert_eq!(
            after.sequence,
            before.sequence + 5,
            "sequence numbers go on"
        );
    }
    let again = ends[0].events.so_far();
    assert!(
        !again
            .iter()
            .any(|event| matches!(event, PlaneEvent::NatMapping { .. })),
        "{again:?}"
    );
}

#[test]
fn a_peer_that_moves_is_followed_without_using_a_sequence_number_twice() {
    for (kind, udp) in [(Kind::Xfrm, true), (Kind::Xfrm, false)] {
        let wish = Wish { udp, ..Wish::gcm() };
        let mut ends = joined([kind, kind], &wish);
        assert_eq!(ends[0].ping(INNER[1], "-c 5 -i 0.05"), 5);
        ends[1].namespace.ip("address add 192.0.2.77/24 dev outer");
        let (ours, moved) = ("192.0.2.1".parse().unwrap(), "192.0.2.77".parse().unwrap());
        let encap = wish.sa(0, 1).encap;
        ends[1]
            .plane
            .update_path(TUNNEL, moved, ours, encap)
            .unwrap();
        ends[0]
            .plane
            .update_path(TUNNEL, ours, moved, encap)
            .unwrap();
        assert_eq!(
            ends[0].ping(INNER[1], "-c 5 -i 0.05"),
            5,
            "{}{}",
            ends[0].states(),
            ends[1].states()
        );
        for end in &ends {
            for sa in end.plane.sa_counters(TUNNEL) {
                assert!(sa.sequence > 5 + 60_000, "{sa:?} has gone back");
            }
            end.events.next(|event| match event {
                PlaneEvent::SoftLimit {
                    direction: Direction::Outbound,
                    ..
                } => Some(()),
                _ => None,
            });
            let counters = end.plane.counters(TUNNEL).unwrap();
            assert_eq!((counters.packets_in, counters.packets_out), (10, 10));
        }
        assert!(
            ends[0].states().contains("192.0.2.77"),
            "{}",
            ends[0].states()
        );
    }
}

#[test]
fn ike_messages_come_and_go_on_the_ports_that_the_kernel_takes_esp_from() {
    let ends = ends([Kind::Xfrm, Kind::Xfrm]);
    let sender = ends[0].plane.ike_sender();
    for port in [500, 4500] {
        let from: SocketAddr = format!("192.0.2.1:{port}").parse().unwrap();
        let to: SocketAddr = format!("192.0.2.2:{port}").parse().unwrap();
        sender.send(from, to, b"an IKE message").unwrap();
        let (local, remote, payload) = ends[1].events.next(|event| match event {
            PlaneEvent::IkeDatagram {
                local,
                remote,
                payload,
            } => Some((*local, *remote, payload.clone())),
            _ => None,
        });
        assert_eq!((local, remote), (to, from));
        assert_eq!(payload, b"an IKE message");
    }
}
