//! Packets through the tunnel, and no packets beside it.

use std::thread;
use std::time::{Duration, Instant};

use crypto::{Encryption, Integrity, Suite};
use esp::{DropReason, Limits};
use vti::kernel_plane::{Wanted, probe};
use vti::plane::{DataPlane as _, Direction};

use crate::bed::{INNER, INTERFACE, Kind, Namespace, TUNNEL, Wish, ends, joined};

fn every_suite() -> Vec<Suite> {
    let mut suites = Vec::new();
    for encryption in Encryption::ALL {
        if encryption.is_aead() {
            suites.push(Suite::new(encryption, None).unwrap());
        } else {
            suites.extend(Integrity::ALL.map(|it| Suite::new(encryption, Some(it)).unwrap()));
        }
    }
    suites
}

#[test]
fn the_probe_finds_every_suite_and_both_kinds_of_interface_and_leaves_nothing() {
    let namespace = Namespace::new();
    let suites = every_suite();
    for esn in [false, true] {
        let wanted = Wanted {
            replay_window: 4096,
            esn,
        };
        let found = namespace.enter(|| probe(&suites, wanted));
        assert_eq!(found.xfrm, Ok(()));
        assert_eq!(found.xfrm_interface, Ok(()));
        assert_eq!(found.vti, Ok(()));
        assert_eq!(found.suites.len(), suites.len());
        for (suite, outcome) in found.suites {
            assert_eq!(outcome, Ok(()), "{suite}");
        }
    }
    assert_eq!(namespace.ip("xfrm state"), "");
    assert_eq!(namespace.ip("xfrm policy"), "");
    assert!(!namespace.ip("link").contains("causeway-probe"));
}

#[test]
fn every_suite_carries_packets_between_the_kinds_of_interface() {
    let mut ends = ends([Kind::Vti, Kind::Xfrm]);
    for (index, suite) in every_suite().into_iter().enumerate() {
        let wish = Wish {
            suite,
            esn: index % 2 == 0,
            udp: index % 3 == 0,
            limits: Limits::default(),
            outlived: None,
        };
        let base = 0x2000 + index as u32 * 16;
        wish.install(&mut ends, base);
        let answered = ends[0].ping(INNER[1], "-c 3 -i 0.05 -s 1300");
        assert_eq!(
            answered,
            3,
            "{suite}\n{}{}",
            ends[0].states(),
            ends[1].states()
        );
        for (to, end) in ends.iter_mut().enumerate() {
            let sas = end.plane.sa_counters(TUNNEL);
            let inbound = sas.iter().find(|sa| sa.spi == base + to as u32).unwrap();
            assert_eq!((inbound.packets, inbound.sequence), (3, 3), "{suite}");
            assert_eq!(inbound.bytes, 3 * 1328, "{suite}");
            end.plane.remove_inbound(TUNNEL, base + to as u32).unwrap();
        }
    }
    for end in &ends {
        let counters = end.plane.counters(TUNNEL).unwrap();
        let packets = 3 * every_suite().len() as u64;
        assert_eq!(
            (counters.packets_in, counters.packets_out),
            (packets, packets)
        );
        assert!(counters.last_inbound.is_some() && counters.last_outbound.is_some());
        assert_eq!(counters.drops.total(), 0);
    }
}

#[test]
fn an_xfrm_interface_talks_to_one_in_udp_and_bare() {
    for wish in [
        Wish::gcm(),
        Wish::gcm().in_udp(),
        Wish::cbc(),
        Wish::cbc().in_udp(),
    ] {
        let ends = joined([Kind::Xfrm, Kind::Xfrm], &wish);
        assert_eq!(ends[1].ping(INNER[0], "-c 3 -i 0.05"), 3, "{wish:?}");
    }
}

#[test]
fn without_an_sa_nothing_passes_and_nothing_leaves_in_clear_text() {
    for kind in [Kind::Vti, Kind::Xfrm] {
        let mut ends = ends([kind, kind]);
        ends[0].namespace.nft(
            "add table inet t; add chain inet t out { type filter hook output priority 0; }; \
             add rule inet t out oifname outer ip protocol icmp counter; add rule inet t out oifname outer ip protocol esp counter",
        );
        let counted = |end: &crate::bed::End| {
            let listed = end.namespace.run("nft list chain inet t out");
            let count = |protocol: &str| {
                let line = listed.lines().find(|line| line.contains(protocol)).unwrap();
                let mut words = line
                    .split_whitespace()
                    .skip_while(|word| *word != "packets");
                words.nth(1).unwrap().parse::<u32>().unwrap()
            };
            (count("icmp"), count("esp"))
        };
        assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.1"), 0);
        assert_eq!(counted(&ends[0]), (0, 0), "{kind:?}, before there were SAs");
        Wish::gcm().install(&mut ends, 0x1000);
        assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.1"), 2);
        assert_eq!(counted(&ends[0]), (0, 2), "{kind:?}, with SAs");
        ends[0].plane.clear_outbound(TUNNEL).unwrap();
        assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.1"), 0);
        ends[0].plane.remove_tunnel(TUNNEL).unwrap();
        assert_eq!(ends[0].ping(INNER[1], "-c 2 -i 0.1"), 0);
        assert_eq!(counted(&ends[0]), (0, 2), "{kind:?}, after them");
        let states = ends[0].states();
        assert_eq!(states, "", "no larval state, no leftover");
    }
}

#[test]
fn another_program_reads_in_the_kernel_what_was_meant() {
    for kind in [Kind::Vti, Kind::Xfrm] {
        let mut wish = Wish::gcm().in_udp();
        wish.limits.hard_packets = Some(5000);
        let ends = joined([kind, kind], &wish);
        let (states, policies) = (ends[0].states(), ends[0].policies());
        for wanted in [
            "src 192.0.2.2 dst 192.0.2.1",
            "proto esp spi 0x00001000(4096) reqid 7(0x00000007) mode tunnel",
            "rfc4106(gcm(aes))",
            "encap type espinudp sport 4500 dport 4500",
            "limit: soft (INF)(packets), hard 5000(packets)",
            "replay_window 1024",
        ] {
            assert!(states.contains(wanted), "no {wanted:?} in\n{states}");
        }
        let bound = match kind {
            Kind::Vti => "mark 0xca050007/0xffffffff",
            Kind::Xfrm => "if_id 0xca050007",
        };
        assert_eq!(states.matches(bound).count(), 2, "{states}");
        assert_eq!(policies.matches(bound).count(), 3, "{policies}");
        assert_eq!(policies.matches("src 0.0.0.0/0 dst 0.0.0.0/0").count(), 3);
        for wanted in [
            "dir in",
            "dir fwd",
            "dir out",
            "tmpl src 192.0.2.1 dst 192.0.2.2",
            "proto esp spi 0x00001001 reqid 7 mode tunnel",
        ] {
            assert!(policies.contains(wanted), "no {wanted:?} in\n{policies}");
        }
    }
}

#[test]
fn rekeys_under_a_flow_lose_nothing_between_xfrm_interfaces() {
    rekeys_under_a_flow_lose_nothing([Kind::Xfrm, Kind::Xfrm]);
}

#[test]
fn rekeys_under_a_flow_lose_nothing_between_a_vti_and_an_xfrm_interface() {
    rekeys_under_a_flow_lose_nothing([Kind::Vti, Kind::Xfrm]);
}

/// As many rekeys as fit into a flow of packets.
fn rekeys_under_a_flow_lose_nothing(kinds: [Kind; 2]) {
    const PACKETS: u64 = 600;
    let wish = Wish::gcm();
    let mut ends = joined(kinds, &wish);
    let mut rekeys = 0;
    thread::scope(|scope| {
        let (first, second) = ends.split_at_mut(1);
        let (one, two) = (&mut first[0], &mut second[0]);
        let namespace = &one.namespace;
        let flow = format!("ping -q -i 0.01 -c {PACKETS} {}", INNER[1]);
        let flow = scope.spawn(move || namespace.run(&flow));
        let planes = [&mut one.plane, &mut two.plane];
        while !flow.is_finished() {
            let old = 0x1000 + rekeys * 16;
            let new = old + 16;
            for to in [0, 1] {
                let sa = wish.sa(to, new + to as u32);
                planes[to].add_inbound(TUNNEL, sa).unwrap();
            }
            for from in [0, 1] {
                let sa = wish.sa(from, new + 1 - from as u32);
                planes[from].set_outbound(TUNNEL, sa).unwrap();
            }
            // The grace that a peer's packets on their way need, where a processor may stand still for a tenth of a second.
            thread::sleep(Duration::from_millis(500));
            for to in [0, 1] {
                planes[to].remove_inbound(TUNNEL, old + to as u32).unwrap();
            }
            rekeys += 1;
        }
        let said = flow.join().unwrap();
        assert!(
            said.contains(" 0% packet loss"),
            "after {rekeys} rekeys: {said}{}{}",
            one.namespace.run("cat /proc/net/xfrm_stat"),
            two.namespace.run("cat /proc/net/xfrm_stat")
        );
    });
    assert!(rekeys >= 3, "only {rekeys} rekeys went into the flow");
    for end in &ends {
        assert_eq!(end.plane.sa_counters(TUNNEL).len(), 2);
        // The last outbound SA before the present one stays for a moment.
        let limit = Instant::now() + Duration::from_secs(30);
        while end.states().matches("proto esp").count() != 2 {
            assert!(Instant::now() < limit, "{}", end.states());
            thread::sleep(Duration::from_millis(50));
        }
        let counters = end.plane.counters(TUNNEL).unwrap();
        assert_eq!(
            (counters.packets_in, counters.packets_out),
            (PACKETS, PACKETS)
        );
        assert_eq!(counters.drops.total(), 0);
    }
}

#[test]
fn what_is_forwarded_passes_in_both_directions() {
    for kinds in [[Kind::Vti, Kind::Xfrm], [Kind::Xfrm, Kind::Vti]] {
        let ends = joined(kinds, &Wish::gcm());
        let hosts = [Namespace::new(), Namespace::new()];
        for (index, (end, host)) in ends.iter().zip(&hosts).enumerate() {
            end.namespace.veth("lan", host);
            let (net, other) = (format!("10.9.{index}"), format!("10.9.{}", 1 - index));
            end.namespace.ip(&format!("address add {net}.1/24 dev lan"));
            end.namespace.ip("link set lan up");
            end.namespace
                .ip(&format!("route add {other}.0/24 dev {INTERFACE}"));
            end.namespace.run("sysctl -q -w net.ipv4.ip_forward=1");
            host.ip(&format!("address add {net}.2/24 dev lan"));
            host.ip("link set lan up");
            host.ip(&format!("route add default via {net}.1"));
        }
        for (host, other) in [(&hosts[0], "10.9.1.2"), (&hosts[1], "10.9.0.2")] {
            let said = host.run(&format!("ping -c 3 -i 0.05 -W 2 {other}"));
            assert!(said.contains(" 0% packet loss"), "{kinds:?}: {said}");
        }
    }
}

#[test]
fn packets_under_a_wrong_key_are_counted_and_go_nowhere() {
    let mut ends = ends([Kind::Xfrm, Kind::Xfrm]);
    let wish = Wish::gcm();
    wish.install(&mut ends, 0x1000);
    // End 0 sends on SPI 0x1001 with another key than end 1 has for it.
    let mut wrong = wish.sa(0, 0x1001);
    wrong.keymat = wish.sa(0, 0x1777).keymat;
    ends[0].plane.clear_outbound(TUNNEL).unwrap();
    ends[0].plane.set_outbound(TUNNEL, wrong).unwrap();
    assert_eq!(ends[0].ping(INNER[1], "-c 4 -i 0.05"), 0);
    let counters = ends[1].plane.counters(TUNNEL).unwrap();
    assert_eq!(counters.drops.get(DropReason::Authentication), 4);
    assert_eq!(counters.packets_in, 0);

    ends[1].plane.remove_inbound(TUNNEL, 0x1001).unwrap();
    assert_eq!(ends[0].ping(INNER[1], "-c 3 -i 0.05"), 0);
    // The tunnel remembers; what has no SA belongs to no tunnel.
    let counters = ends[1].plane.counters(TUNNEL).unwrap();
    assert_eq!(counters.drops.get(DropReason::Authentication), 4);
    let (namespace, plane) = (&ends[1].namespace, &ends[1].plane);
    let stray = namespace.enter(|| plane.stray());
    assert_eq!(stray.drops.get(DropReason::UnknownSpi), 3);
}

#[test]
fn what_does_not_fit_the_path_is_said_to_the_sender() {
    let ends = joined([Kind::Xfrm, Kind::Xfrm], &Wish::gcm());
    let fits = ends[0].plane.inner_mtu(TUNNEL).unwrap();
    ends[0]
        .namespace
        .ip(&format!("link set {INTERFACE} mtu {fits}"));
    ends[1]
        .namespace
        .ip(&format!("link set {INTERFACE} mtu {fits}"));
    // ICMP and IP take 28 octets.
    let whole = format!("-c 2 -i 0.1 -M do -s {}", fits - 28);
    assert_eq!(ends[0].ping(INNER[1], &whole), 2);
    let sas = ends[0].plane.sa_counters(TUNNEL);
    let outbound = sas
        .iter()
        .find(|sa| sa.direction == Direction::Outbound)
        .unwrap();
    assert_eq!(outbound.bytes, 2 * u64::from(fits));
    ends[0].namespace.ip("link set outer mtu 1400");
    let (_, said) = ends[0]
        .namespace
        .try_run(&format!("ping {whole} -W 1 {}", INNER[1]));
    assert!(
        said.contains("Frag needed")
            || said.contains("Message too long")
            || said.contains("message too long"),
        "{said}"
    );
    let told = ends[0].events.next(|event| match event {
        vti::plane::PlaneEvent::PathMtu { outer_mtu, .. } => Some(*outer_mtu),
        _ => None,
    });
    assert_eq!(told, 1400);
    assert_eq!(ends[0].plane.inner_mtu(TUNNEL), Some(fits - 100));
}
