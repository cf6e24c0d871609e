//! BFD with FRR and BIRD, and what it does to BGP.

use std::net::UdpSocket;

use lab::{
    Bird, Cloud, Disturbance, Frr, GoBgp, Hook, OrFail as _, Router, Scene, SiteFile, Speaker,
    addresses as at, eventually_true,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lan::{CAUSEWAY, Lan, node, site_file};

/// A node whose session BFD watches, with three packets at this interval in milliseconds.
fn watched(index: usize, interval: u32) -> Speaker {
    let mut speaker = node(index);
    for neighbor in &mut speaker.neighbors {
        neighbor.bfd = Some(interval);
    }
    speaker
}

/// The section's name of a node.
fn name(index: usize) -> String {
    format!("nodes/{}", at::NODES[index])
}

/// What the daemon says of one node in full.
#[track_caller]
fn in_full(lan: &Lan, index: usize) -> Value {
    let said = lan
        .gateway
        .command(&["bgp", "neighbor", &name(index), "--json"]);
    assert!(said.ok(), "{}", said.stderr);
    let answer: Value = serde_json::from_str(&said.stdout).or_fail("read the neighbor");
    answer["neighbor"].clone()
}

/// Waits until BFD with a node is in a state, and BGP is Established.
#[track_caller]
fn wait_for_up(lan: &Lan, index: usize) {
    eventually_true(
        Scene::SOON,
        format_args!("BGP and BFD with node {index} are up"),
        || {
            let neighbor = lan.gateway.neighbor(at::NODES[index]);
            neighbor["state"] == "Established" && neighbor["bfd"] == "Up"
        },
    );
}

/// Whether the status's events have one that says this of a node.
fn has_event(lan: &Lan, index: usize, said: &str) -> bool {
    let status = lan.gateway.status();
    let mut events = status["events"].as_array().into_iter().flatten();
    let text = format!("{}: {said}", name(index));
    events.any(|event| {
        event["text"]
            .as_str()
            .is_some_and(|it| it.starts_with(&text))
    })
}

#[test]
fn bfd_comes_up_with_frr_and_bird_at_300_ms_and_a_node_without_it_is_left_alone() {
    let lan = Lan::start("bfd = true");
    let frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    let bird = Bird::start(&lan.site.nodes[1], &watched(1, 300));
    let _gobgp = GoBgp::start(&lan.site.nodes[2], &node(2));
    lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    for index in [0, 1] {
        wait_for_up(&lan, index);
        eventually_true(Scene::SOON, "both ends have adapted", || {
            let bfd = &in_full(&lan, index)["bfd"];
            bfd["transmit_milliseconds"] == 300 && bfd["detection_milliseconds"] == 900
        });
    }
    eventually_true(Scene::SOON, "FRR sees it as we do", || {
        let peer = frr.bfd(at::NODES_GATEWAY);
        peer["status"] == "up"
            && peer["remote-transmit-interval"] == 300
            && peer["remote-detect-multiplier"] == 3
    });
    let sessions = bird.birdc("show bfd sessions");
    let ours = sessions
        .lines()
        .find(|line| line.contains(at::NODES_GATEWAY));
    let ours: Vec<&str> = ours.unwrap_or_default().split_whitespace().collect();
    assert!(
        ours.contains(&"Up") && ours.contains(&"0.300") && ours.contains(&"0.900"),
        "{sessions}"
    );
    let without = in_full(&lan, 2);
    assert_eq!(without["bfd"]["state"], "Down");
    let reason = without["bfd"]["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("nothing is heard of it") && reason.contains("UDP 3784"),
        "{reason}"
    );
    let said = lan.gateway.command(&["bgp", "neighbor", &name(0)]).stdout;
    assert!(
        said.contains("sends every 300 ms, notices silence after 900 ms"),
        "{said}"
    );
    lan.wait_for_ways(&[0, 1]);
}

#[test]
fn a_dead_path_ends_the_session_for_bfds_reason_and_its_routes_go() {
    let lan = Lan::start("bfd = true");
    let frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    let _bird = Bird::start(&lan.site.nodes[1], &watched(1, 300));
    wait_for_up(&lan, 0);
    wait_for_up(&lan, 1);
    lan.wait_for_ways(&[0, 1]);
    let cut = Disturbance::block(&lan.site.nodes[0], Hook::Output, "");
    lan.wait_for_ways(&[1]);
    let neighbor = in_full(&lan, 0);
    let ended = neighbor["last_error"].as_str().unwrap_or_default();
    assert!(
        ended.contains("we ended it") && ended.contains("BFD down (6/10)"),
        "{ended}"
    );
    assert!(
        has_event(&lan, 0, "BFD down: nothing was heard for 900 ms"),
        "{}",
        lan.gateway.log()
    );
    // What we send still arrives.
    eventually_true(Scene::SOON, "FRR has heard why", || {
        frr.describe(at::NODES_GATEWAY).contains("Cease/BFD Down")
    });
    drop(cut);
    wait_for_up(&lan, 0);
    lan.wait_for_ways(&[0, 1]);
    assert_eq!(in_full(&lan, 0)["bfd"]["times_up"], 2);
    assert_eq!(
        in_full(&lan, 1)["bfd"]["times_up"],
        1,
        "the other node noticed nothing"
    );
}

#[test]
fn a_path_that_is_dead_only_towards_the_neighbor_is_down_because_it_says_so() {
    let lan = Lan::start("bfd = true");
    let _bird = Bird::start(&lan.site.nodes[1], &watched(1, 300));
    wait_for_up(&lan, 1);
    lan.wait_for_ways(&[1]);
    let cut = Disturbance::block(&lan.site.nodes[1], Hook::Input, "");
    lan.wait_for_ways(&[]);
    assert!(
        has_event(
            &lan,
            1,
            "BFD down: the peer says that it is down: control detection time expired"
        ),
        "{}",
        lan.gateway.log()
    );
    drop(cut);
    wait_for_up(&lan, 1);
}

#[test]
fn a_neighbor_that_restarts_is_up_again_and_its_routes_outlive_its_bfd_where_it_said_so() {
    let lan = Lan::start("bfd = true");
    let mut bird = Bird::start(&lan.site.nodes[1], &watched(1, 300).graceful());
    wait_for_up(&lan, 1);
    lan.wait_for_ways(&[1]);
    bird.kill();
    eventually_true(Scene::SOON, "BFD has noticed", || {
        has_event(&lan, 1, "BFD down")
    });
    let neighbor = lan.gateway.neighbor(at::NODES[1]);
    assert_eq!(
        neighbor["stale"], 1,
        "its BFD died with its process, which says nothing of the path: {neighbor}"
    );
    assert_eq!(lan.ways(), [at::NODES[1]]);
    bird.restart();
    wait_for_up(&lan, 1);
    assert_eq!(in_full(&lan, 1)["bfd"]["times_up"], 2);
}

#[test]
fn frr_changes_its_timers_at_run_time_and_so_do_we_and_nothing_goes_down() {
    let lan = Lan::start("bfd = true");
    let frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    wait_for_up(&lan, 0);
    let agreed = |tx: u64, detection: u64| {
        eventually_true(
            Scene::SOON,
            format_args!("every {tx} ms, {detection} ms"),
            || {
                let bfd = &in_full(&lan, 0)["bfd"];
                bfd["transmit_milliseconds"] == tx && bfd["detection_milliseconds"] == detection
            },
        );
    };
    agreed(300, 900);
    let slower = ["transmit-interval 800", "receive-interval 1000"];
    frr.edit_bfd(300, &slower);
    agreed(1000, 2400);
    let faster = [
        "transmit-interval 400",
        "receive-interval 400",
        "detect-multiplier 5",
    ];
    frr.edit_bfd(300, &faster);
    agreed(400, 2000);
    lan.gateway.reload(&site_file(
        "bfd = { min-tx = \"700ms\", min-rx = \"600ms\" }",
    ));
    agreed(700, 3000);
    eventually_true(Scene::SOON, "FRR has heard of it", || {
        let peer = frr.bfd(at::NODES_GATEWAY);
        peer["remote-transmit-interval"] == 700 && peer["remote-receive-interval"] == 600
    });
    let neighbor = in_full(&lan, 0);
    assert_eq!(neighbor["bfd"]["times_up"], 1);
    assert_eq!(neighbor["established_count"], 1);
    assert_eq!(frr.bfd(at::NODES_GATEWAY)["status"], "up");
}

#[test]
fn a_forged_packet_from_beyond_a_router_is_counted_and_not_heard() {
    let lan = Lan::start("bfd = true");
    let _frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    wait_for_up(&lan, 0);
    let ours = in_full(&lan, 0)["bfd"]["discriminator"]
        .as_u64()
        .and_then(|it| u32::try_from(it).ok())
        .expect("a discriminator");
    // "Down", from the neighbor's own address, to the right session: only the TTL is wrong.
    let mut packet = vec![0x20, 0x40, 3, 24, 0, 0, 0, 1];
    packet.extend(ours.to_be_bytes());
    packet.extend([0, 0x0f, 0x42, 0x40, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0]);
    let forge = move |ttl: u32| {
        let packet = packet.clone();
        lan.site.nodes[0].run(move || {
            let socket = UdpSocket::bind((at::NODES[0], 0)).expect("a socket");
            socket.set_ttl(ttl).expect("a TTL");
            let sent = socket.send_to(&packet, (at::NODES_GATEWAY, 3784));
            sent.expect("it is sent");
        });
        lan
    };
    let lan = forge(254);
    eventually_true(Scene::SOON, "it is counted", || {
        in_full(&lan, 0)["bfd"]["packets_dropped"]["ttl"] == 1
    });
    let neighbor = in_full(&lan, 0);
    assert_eq!(neighbor["bfd"]["state"], "Up");
    assert_eq!(neighbor["bfd"]["times_up"], 1);
    assert_eq!(neighbor["established_count"], 1);
    assert!(
        lan.gateway.log().contains("it came with TTL 254"),
        "{}",
        lan.gateway.log()
    );
}

#[test]
fn a_neighbor_whose_operator_switches_bfd_off_keeps_its_session() {
    let lan = Lan::start("bfd = true");
    let frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    wait_for_up(&lan, 0);
    lan.wait_for_ways(&[0]);
    frr.edit_bfd(300, &["shutdown"]);
    eventually_true(Scene::SOON, "we have heard of it", || {
        has_event(&lan, 0, "the neighbor has switched BFD off")
    });
    let neighbor = in_full(&lan, 0);
    assert_eq!(neighbor["bfd"]["their_state"], "AdminDown");
    assert_eq!(neighbor["summary"]["state"], "Established");
    frr.edit_bfd(300, &["no shutdown"]);
    wait_for_up(&lan, 0);
    assert_eq!(in_full(&lan, 0)["established_count"], 1);
    assert_eq!(lan.ways(), [at::NODES[0]]);
}

#[test]
fn strict_holds_a_session_until_bfd_is_up() {
    let lan = Lan::start("bfd = { strict = true }");
    let mut bird = Bird::start(&lan.site.nodes[1], &node(1));
    let _frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    wait_for_up(&lan, 0);
    let held = lan.gateway.neighbor(at::NODES[1]);
    assert_eq!(held["state"], "Idle");
    let reason = held["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("waits for BFD"), "{reason}");
    assert!(!bird.established(at::NODES_GATEWAY));
    bird.reconfigure(&watched(1, 300));
    wait_for_up(&lan, 1);
    bird.kill();
    eventually_true(Scene::SOON, "it waits again", || {
        lan.gateway.neighbor(at::NODES[1])["state"] == "Idle"
    });
    lan.gateway.reload(&site_file("bfd = true"));
    bird.restart_with(&node(1));
    lan.gateway.wait_for_bgp(&at::NODES[1..2], Scene::SOON);
}

#[test]
fn a_multihop_session_comes_up_on_its_own_port() {
    let lan = Lan::start("bfd = { multihop = true }");
    let mut speaker = watched(0, 300);
    for neighbor in &mut speaker.neighbors {
        neighbor.multihop = true;
    }
    let frr = Frr::start(&lan.site.nodes[0], &speaker);
    wait_for_up(&lan, 0);
    assert_eq!(frr.bfd(at::NODES_GATEWAY)["multihop"], true);
    lan.wait_for_ways(&[0]);
    let cut = Disturbance::block(&lan.site.nodes[0], Hook::Output, "udp dport 4784");
    eventually_true(Scene::SOON, "BFD has noticed", || {
        has_event(&lan, 0, "BFD down: nothing was heard")
    });
    assert!(cut.dropped() > 0);
    let ended = in_full(&lan, 0)["last_error"].clone();
    assert!(
        ended
            .as_str()
            .is_some_and(|it| it.contains("BFD down (6/10)")),
        "{ended}"
    );
}

#[test]
fn neighbors_keep_our_routes_through_a_hand_over_although_our_bfd_goes_with_us() {
    let home = "192.168.2.0/24";
    let mut lan = Lan::start("bfd = true");
    let frr = Frr::start(&lan.site.nodes[0], &watched(0, 300).graceful());
    let bird = Bird::start(&lan.site.nodes[1], &watched(1, 300).graceful());
    wait_for_up(&lan, 0);
    wait_for_up(&lan, 1);
    let routers = [&frr as &dyn Router, &bird];
    for router in routers {
        eventually_true(Scene::SOON, "it has the way home", || {
            router.as_path(home).is_some()
        });
    }
    lan.gateway.daemon().signal(Signal::SIGUSR2);
    eventually_true(Scene::SOON, "we are away", || lan.gateway.ended().is_some());
    eventually_true(Scene::SOON, "BFD is down at both", || {
        let at_bird = bird.birdc("show bfd sessions");
        frr.bfd(at::NODES_GATEWAY)["status"] != "up" && !at_bird.contains(" Up ")
    });
    for router in routers {
        let path = router.as_path(home);
        assert_eq!(
            path,
            Some(vec![at::LAN_ASN]),
            "{}",
            router.describe(at::NODES_GATEWAY)
        );
    }
    lan.gateway.restart();
    wait_for_up(&lan, 0);
    wait_for_up(&lan, 1);
}

#[test]
fn a_dead_path_through_a_tunnel_is_noticed_before_ike_notices() {
    let file = SiteFile::reference().add("bgp.neighbor.oci-2", "bfd = true");
    let mut scene = Scene::start(CAUSEWAY, &file);
    let mut speaker = Cloud::speaker(1);
    for neighbor in &mut speaker.neighbors {
        if neighbor.address == at::INSIDE_OURS[1] {
            neighbor.bfd = Some(300);
        }
    }
    scene.cloud.bird.reconfigure(&speaker);
    scene.wait_until_up();
    let neighbor = || scene.gateway.neighbor(at::INSIDE_THEIRS[1]);
    eventually_true(Scene::SOON, "BFD is up through the tunnel", || {
        neighbor()["bfd"] == "Up"
    });
    let _cut = Disturbance::block(&scene.site.drg[1], Hook::Output, "oifname \"wan0\"");
    eventually_true(Scene::SOON, "only the other way is left", || {
        scene.ways_to_the_vcn() == 1
    });
    assert_eq!(
        scene.gateway.tunnel("oci-2")["state"],
        "up",
        "IKE still waits"
    );
    let log = scene.gateway.log();
    assert!(
        log.contains("BGP down: we ended it: cease: BFD down (6/10) neighbor=oci-2"),
        "{log}"
    );
}

#[test]
fn a_hundred_thousand_prefixes_at_once_cost_no_bfd_session() {
    let lan = Lan::start("max-prefixes = 1000000\nbfd = true");
    let frr = Frr::start(&lan.site.nodes[0], &watched(0, 300));
    wait_for_up(&lan, 0);
    let mut many = node(1);
    for number in 0..100_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | number);
        many = many.network(&format!("{address}/32"));
    }
    let _bird = Bird::start(&lan.site.nodes[1], &many);
    let mut slowest = std::time::Duration::ZERO;
    eventually_true(Scene::SOON * 4, "all prefixes are in", || {
        let asked = std::time::Instant::now();
        let received = lan.gateway.neighbor(at::NODES[1])["received"].as_u64();
        slowest = slowest.max(asked.elapsed());
        received >= Some(100_000)
    });
    println!("the loop's slowest answer took {slowest:?}");
    let neighbor = in_full(&lan, 0);
    assert_eq!(neighbor["bfd"]["times_up"], 1, "{}", lan.gateway.log());
    assert_eq!(frr.bfd(at::NODES_GATEWAY)["status"], "up");
}
