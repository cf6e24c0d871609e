//! Restarts on either side, with traffic going on.

use std::time::{Duration, Instant};

use lab::{Bird, Frr, GoBgp, Router, Scene, addresses as at, eventually_true, kernel_route};

use crate::lan::{Lan, node};

/// What a node announces beside the service address, until it restarts.
const PASSING: &str = "172.16.200.9/32";

impl Lan {
    fn stale(&self, node: usize) -> u64 {
        self.gateway.neighbor(at::NODES[node])["stale"]
            .as_u64()
            .unwrap_or(u64::MAX)
    }

    /// A node's program dies without a word and comes back without one of its two prefixes.
    #[track_caller]
    fn outlive(&self, node: usize, kill: impl FnOnce(), restart: impl FnOnce()) {
        self.gateway
            .wait_for_bgp(&at::NODES[node..=node], Scene::SOON);
        self.wait_for_ways(&[node]);
        eventually_true(Scene::SOON, "both prefixes are routes", || {
            kernel_route(&self.site.gateway, PASSING).is_some()
        });
        let flow = self.flow_to_the_service(node);
        flow.wait_for(50, Scene::SOON);
        kill();
        eventually_true(Scene::SOON, "the session is seen to be lost", || {
            self.gateway.neighbor(at::NODES[node])["state"] != "Established"
        });
        // FRR tells us our own prefix as well; that is refused, and kept like the rest.
        let view = self.gateway.neighbor(at::NODES[node]);
        assert_eq!(
            (&view["accepted"], &view["stale"]),
            (&2.into(), &view["received"]),
            "{view}"
        );
        flow.wait_for(200, Scene::SOON);
        assert_eq!(self.ways(), [at::NODES[node]]);
        restart();
        self.gateway
            .wait_for_bgp(&at::NODES[node..=node], Scene::SOON);
        eventually_true(
            Scene::SOON * 4,
            "what it does not say again is gone",
            || self.stale(node) == 0 && kernel_route(&self.site.gateway, PASSING).is_none(),
        );
        assert_eq!(self.ways(), [at::NODES[node]]);
        flow.wait_for(50, Scene::SOON);
        let report = flow.stop();
        println!("through the restart of node {}: {report:?}", node + 1);
        assert_eq!(report.lost, 0, "{report:?}\n{}", self.gateway.log());
    }
}

#[test]
fn traffic_to_a_node_does_not_notice_that_its_frr_was_killed() {
    let lan = Lan::start("");
    let speaker = node(0).graceful();
    let mut frr = Frr::start(&lan.site.nodes[0], &speaker.clone().network(PASSING));
    let frr = std::cell::RefCell::new(&mut frr);
    let restart = || frr.borrow_mut().restart_bgpd(&speaker);
    lan.outlive(0, || frr.borrow_mut().kill_bgpd(), restart);
    assert!(frr.borrow().established(at::NODES_GATEWAY));
}

#[test]
fn traffic_to_a_node_does_not_notice_that_its_bird_was_killed() {
    let lan = Lan::start("");
    let speaker = node(1).graceful();
    let mut bird = Bird::start(&lan.site.nodes[1], &speaker.clone().network(PASSING));
    let bird = std::cell::RefCell::new(&mut bird);
    let restart = || bird.borrow_mut().restart_with(&speaker);
    lan.outlive(1, || bird.borrow_mut().kill(), restart);
    assert!(bird.borrow().established(at::NODES_GATEWAY));
}

#[test]
fn traffic_to_a_node_does_not_notice_that_its_gobgp_was_killed() {
    let lan = Lan::start("");
    let speaker = node(2).graceful();
    let mut gobgp = GoBgp::start(&lan.site.nodes[2], &speaker.clone().network(PASSING));
    let gobgp = std::cell::RefCell::new(&mut gobgp);
    // GoBGP is told its networks once it runs, and says before that that it has none: it must not be heard until then.
    let node = &lan.site.nodes[2];
    let restart = || {
        node.nft("table ip hold {\n chain in {\n  type filter hook input priority 0;\n  tcp dport 179 drop\n  tcp sport 179 drop\n }\n}\n");
        gobgp.borrow_mut().restart(&speaker.networks);
        node.exec(&["nft", "delete", "table", "ip", "hold"]);
    };
    lan.outlive(2, || gobgp.borrow_mut().kill(), restart);
    assert!(gobgp.borrow().established(at::NODES_GATEWAY));
}

#[test]
fn a_node_that_is_gone_for_good_is_given_up_after_its_restart_time() {
    let lan = Lan::start("");
    let mut frr = Frr::start(&lan.site.nodes[0], &node(0).graceful());
    lan.wait_for_ways(&[0]);
    frr.vty(&[
        "configure terminal",
        "router bgp 65000",
        "bgp graceful-restart restart-time 3",
        "do clear bgp *",
    ]);
    eventually_true(Scene::SOON, "the session is up on the new terms", || {
        let asked = lan
            .gateway
            .command(&["bgp", "neighbor", at::NODES[0], "--json"]);
        let view: serde_json::Value = serde_json::from_str(&asked.stdout).unwrap_or_default();
        view["neighbor"]["agreed"]["graceful_restart"]["restart_time_seconds"] == 3
    });
    lan.wait_for_ways(&[0]);
    frr.kill_bgpd();
    eventually_true(Scene::SOON, "its routes are kept", || lan.stale(0) > 0);
    let kept = Instant::now();
    eventually_true(Scene::SOON, "the service has no way", || {
        lan.ways().is_empty()
    });
    println!("given up {:?} after the session was lost", kept.elapsed());
    assert!(lan.gateway.log().contains("it has not come back in time"));
}

#[test]
fn without_graceful_restart_a_killed_node_is_gone_at_once() {
    let lan = Lan::start("graceful-restart = false");
    let mut frr = Frr::start(&lan.site.nodes[0], &node(0).graceful());
    lan.wait_for_ways(&[0]);
    frr.kill_bgpd();
    eventually_true(Scene::SOON, "the service has no way", || {
        lan.ways().is_empty()
    });
    assert_eq!(lan.stale(0), 0);
}

#[test]
fn neighbors_and_kernel_keep_their_routes_while_the_daemon_is_dead_and_back() {
    let mut lan = Lan::start("");
    let frr = Frr::start(&lan.site.nodes[0], &node(0).graceful());
    let mut bird = Bird::start(&lan.site.nodes[1], &node(1).graceful());
    let gobgp = GoBgp::start(&lan.site.nodes[2], &node(2).graceful());
    // GoBGP would say "incomplete" where the others say "IGP", and be the worse way.
    gobgp.run("global rib add 172.16.200.1/32 origin igp -a ipv4");
    lan.wait_for_ways(&[0, 1, 2]);
    let home = "192.168.2.0/24";
    let peers: [&dyn Router; 3] = [&frr, &bird, &gobgp];
    for peer in peers {
        eventually_true(Scene::SOON, "each node has the way home", || {
            peer.as_path(home) == Some(vec![at::LAN_ASN])
        });
    }
    // FRR and BIRD forward by what they learned; GoBGP touches no kernel.
    eventually_true(Scene::SOON, "the kernels of two nodes have it", || {
        lan.site.nodes[..2]
            .iter()
            .all(|node| kernel_route(node, home).is_some())
    });
    let flows = [lan.flow_home(0), lan.flow_home(1)];
    for flow in &flows {
        flow.wait_for(50, Scene::SOON);
    }

    lan.gateway.kill9();
    for flow in &flows {
        flow.wait_for(200, Scene::SOON);
    }
    let nodes: Vec<&str> = at::NODES.to_vec();
    assert_eq!(lan.ways(), nodes, "the kernel's routes outlive us");
    for peer in [&frr as &dyn Router, &bird, &gobgp] {
        let kept = peer.as_path(home);
        assert_eq!(
            kept,
            Some(vec![at::LAN_ASN]),
            "{}",
            peer.describe(at::NODES_GATEWAY)
        );
        assert!(!peer.established(at::NODES_GATEWAY));
    }
    // One of them changes its mind meanwhile.
    bird.withdraw("172.16.200.1/32");

    lan.gateway.restart();
    lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    lan.wait_for_ways(&[0, 2]);
    eventually_true(Scene::SOON, "our restart is over", || {
        lan.gateway
            .log()
            .contains("all neighbors have been heard since our restart")
    });
    for peer in [&frr as &dyn Router, &bird, &gobgp] {
        assert!(peer.established(at::NODES_GATEWAY));
        let path = peer.as_path(home);
        assert_eq!(
            path,
            Some(vec![at::LAN_ASN]),
            "{}",
            peer.describe(at::NODES_GATEWAY)
        );
    }
    for flow in flows {
        flow.wait_for(50, Scene::SOON);
        let report = flow.stop();
        println!("home through our own death: {report:?}");
        assert_eq!(report.lost, 0, "{report:?}\n{}", lan.gateway.log());
    }
}

#[test]
fn a_route_that_nobody_announces_any_more_is_gone_soon_after_our_restart() {
    let mut lan = Lan::start("");
    // One that knows nothing of graceful restart, and one that died while we were away.
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    let mut frr = Frr::start(&lan.site.nodes[0], &node(0).graceful().network(PASSING));
    lan.wait_for_ways(&[0, 1]);
    eventually_true(Scene::SOON, "the other prefix has a route", || {
        kernel_route(&lan.site.gateway, PASSING).is_some()
    });
    lan.gateway.kill9();
    frr.restart_bgpd(&node(0).graceful());
    lan.gateway.restart();
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    eventually_true(Scene::SOON, "what it does not say again is gone", || {
        kernel_route(&lan.site.gateway, PASSING).is_none()
    });
    assert_eq!(lan.ways(), at::NODES[..2]);
    assert!(bird.established(at::NODES_GATEWAY));
    let log = lan.gateway.log();
    assert!(
        log.contains("routes of a run before this one are in the kernel"),
        "{log}"
    );
}

#[test]
fn what_a_clean_stop_says_is_final() {
    let mut lan = Lan::start("");
    let frr = Frr::start(&lan.site.nodes[0], &node(0).graceful());
    lan.wait_for_ways(&[0]);
    eventually_true(Scene::SOON, "FRR has the way home", || {
        frr.as_path("192.168.2.0/24").is_some()
    });
    let status = lan.gateway.stop();
    assert!(status.success());
    let took = eventually_true(Duration::from_secs(5), "FRR has no way home", || {
        frr.as_path("192.168.2.0/24").is_none()
    });
    println!("gone {took:?} after the stop");
    assert_eq!(kernel_route(&lan.site.gateway, at::SERVICE), None);
}
