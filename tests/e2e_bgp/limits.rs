//! Neighbors that send too much, and such that are about to leave.

use lab::{Frr, Router, Scene, addresses as at, eventually_true, kernel_route};

use crate::lan::{Lan, node, site_file};

/// FRR with three prefixes that are permitted; it may send two.
fn over_limit(lan: &Lan) -> Frr {
    let more = node(0)
        .network("172.16.200.8/32")
        .network("172.16.200.9/32");
    let frr = Frr::start(&lan.site.nodes[0], &more);
    eventually_true(Scene::SOON, "the limit is reached", || {
        lan.gateway
            .log()
            .contains("prefixes received, 2 allowed (max-prefixes)")
    });
    frr
}

#[test]
fn too_many_prefixes_end_a_session_until_the_limit_is_another_one() {
    let lan = Lan::start("max-prefixes = 2\nmax-prefixes-action = \"shutdown\"");
    let frr = over_limit(&lan);
    eventually_true(Scene::SOON, "FRR knows why", || {
        frr.describe(at::NODES_GATEWAY)
            .contains("Maximum Number of Prefixes Reached")
    });
    assert!(!frr.established(at::NODES_GATEWAY));
    assert_eq!(kernel_route(&lan.site.gateway, at::SERVICE), None);
    let view = lan.gateway.neighbor(at::NODES[0]);
    let reason = view["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("max-prefixes"), "{view}");
    // Four, because FRR tells us our own prefix as well.
    lan.gateway.reload(&site_file(
        "max-prefixes = 4\nmax-prefixes-action = \"shutdown\"",
    ));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    lan.wait_for_ways(&[0]);
}

#[test]
fn too_many_prefixes_pause_a_session() {
    let lan = Lan::start("max-prefixes = 2\nmax-prefixes-pause = \"2s\"");
    let frr = over_limit(&lan);
    for prefix in ["172.16.200.8/32", "172.16.200.9/32"] {
        frr.withdraw(at::NODES_ASN, prefix);
    }
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON * 2);
    lan.wait_for_ways(&[0]);
}

#[test]
fn too_many_prefixes_may_be_worth_a_word_only() {
    let lan = Lan::start("max-prefixes = 2\nmax-prefixes-action = \"warn\"");
    let frr = over_limit(&lan);
    lan.wait_for_ways(&[0]);
    assert!(frr.established(at::NODES_GATEWAY));
    let view = lan.gateway.neighbor(at::NODES[0]);
    assert_eq!(view["state"], "Established");
    let reason = view["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("the limit is 2"), "{view}");
}

#[test]
fn a_node_that_announces_its_leave_carries_nothing_before_it_goes() {
    let lan = Lan::start("");
    let staying = Frr::start(&lan.site.nodes[1], &node(1));
    let leaving = Frr::start(&lan.site.nodes[0], &node(0));
    lan.wait_for_ways(&[0, 1]);
    let edit = |line| leaving.vty(&["configure terminal", "router bgp 65000", line]);
    edit("bgp graceful-shutdown");
    lan.wait_for_ways(&[1]);
    let seen = lan
        .gateway
        .command(&["bgp", "routes", "172.16.200.1/32", "--json"]);
    let view: serde_json::Value = serde_json::from_str(&seen.stdout).expect("the routes are JSON");
    let paths = view["routes"][0]["paths"]
        .as_array()
        .expect("there are paths");
    let last = paths.last().expect("there is a path");
    assert_eq!(paths.len(), 2, "{view}");
    assert_eq!(
        (&last["local_pref"], &last["lost_by"]),
        (&0.into(), &"local-pref".into())
    );
    assert!(leaving.established(at::NODES_GATEWAY) && staying.established(at::NODES_GATEWAY));
    // Where there is no other way, one that is about to leave is better than none.
    staying.withdraw(at::NODES_ASN, "172.16.200.1/32");
    lan.wait_for_ways(&[0]);
    staying.announce(at::NODES_ASN, "172.16.200.1/32");
    lan.wait_for_ways(&[1]);
    edit("no bgp graceful-shutdown");
    lan.wait_for_ways(&[0, 1]);
}
