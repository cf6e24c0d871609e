//! Packets through the tunnel: every suite, both encapsulations, rekeys, several tunnels.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::{
    CBC, End, GCM, SIZES, TUNNEL, V4, V6, Wiring, echo, received_tos, spec, wait_until,
};
use crypto::{Encryption, Integrity};
use esp::DropReason;
use nix::sys::socket::{setsockopt, sockopt};
use vti::plane::{DataPlane as _, PlaneEvent, TunnelId, TunnelSpec};

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
fn several_tunnels_share_the_sockets_and_end_on_their_own() {
    let wiring = Wiring::new(GCM, None).in_udp();
    let mut ends = wiring.join();
    let second = TunnelId(2);
    for (index, end) in ends.iter_mut().enumerate() {
        end.add_tunnel(&TunnelSpec {
            id: second,
            interface: "ipsec2".to_owned(),
            ..spec()
        });
        end.namespace.ip("link set ipsec2 mtu 1400 up");
        end.namespace
            .ip(&format!("address add 10.2.0.{index}/31 dev ipsec2"));
        let (inbound, outbound) = (0x2000 + index as u32, 0x2001 - index as u32);
        end.plane
            .add_inbound(second, wiring.sa(index, inbound))
            .unwrap();
        end.plane
            .set_outbound(second, wiring.sa(index, outbound))
            .unwrap();
    }
    let second_addresses = ["10.2.0.0:0", "10.2.0.1:0"];
    echo(&ends, V4, &SIZES);
    echo(&ends, second_addresses, &SIZES);
    // The first one ends; the second one does not notice.
    ends[0].plane.clear_outbound(TUNNEL).unwrap();
    ends[0]
        .namespace
        .udp(V4[0])
        .send_to(b"nowhere", "10.1.0.1:9")
        .unwrap();
    wait_until("the first tunnel drops", || {
        ends[0]
            .plane
            .counters(TUNNEL)
            .unwrap()
            .drops
            .get(DropReason::NoOutboundSa)
            >= 1
    });
    ends[1].plane.remove_tunnel(TUNNEL).unwrap();
    echo(&ends, second_addresses, &SIZES);
    let received = ends[1].plane.counters(second).unwrap();
    assert!(received.bytes_in > 0 && received.drops.get(DropReason::Authentication) == 0);
}
