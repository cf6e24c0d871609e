//! Nodes that nobody names: whoever connects from the range is a neighbor, until its session ends.

use lab::{
    Bird, Frr, GoBgp, Neighbor, Router, Scene, Speaker, addresses as at, eventually_true,
    kernel_route,
};
use serde_json::Value;

use crate::lan::{Lan, node, site_file};

/// The site file with a range in the place of the nodes' addresses, and other lines for its section.
fn ranged(asns: &str, more: &str) -> String {
    let addresses = "addresses = [\"192.168.200.31\", \"192.168.200.32\", \"192.168.200.33\"]\n";
    let file = site_file(more);
    assert!(file.contains(addresses), "{file}");
    file.replace(addresses, "range = \"192.168.200.0/24\"\n")
        .replace("remote-asn = 65000\n", &format!("{asns}\n"))
}

/// A node in another AS, with a prefix of its own.
fn elsewhere(index: usize, asn: u32) -> Speaker {
    let gateway = Neighbor::new(at::NODES_GATEWAY, at::LAN_ASN).hold(9);
    Speaker::new(asn, at::NODES[index])
        .network("172.16.200.7/32")
        .neighbor(gateway.local(at::NODES[index]))
}

fn name(index: usize) -> String {
    format!("nodes/{}", at::NODES[index])
}

/// The members that the daemon shows, with their states.
fn members(lan: &Lan) -> Vec<(String, String)> {
    let status = lan.gateway.status();
    let all = status["bgp"]["neighbors"].as_array().into_iter().flatten();
    let members = all.filter(|it| it["range"] == "nodes");
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    members
        .map(|it| (text(&it["name"]), text(&it["state"])))
        .collect()
}

fn wait_for_members(lan: &Lan, nodes: &[usize]) {
    let expected: Vec<_> = nodes
        .iter()
        .map(|index| (name(*index), "Established".to_owned()))
        .collect();
    // A speaker that was turned away tries again in its own time.
    eventually_true(
        Scene::SOON * 4,
        format_args!("the members are {expected:?}"),
        || members(lan) == expected,
    );
}

fn range(lan: &Lan) -> Value {
    lan.gateway.status()["bgp"]["ranges"][0].clone()
}

#[test]
fn frr_bird_and_gobgp_join_a_range_and_leave_it_and_another_as_may_be_among_them() {
    let lan = Lan::start_file(&ranged("remote-asns = [65000, 65007]", ""));
    assert_eq!(members(&lan), Vec::new());
    let mut frr = Frr::start(&lan.site.nodes[0], &node(0));
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    let gobgp = GoBgp::start(&lan.site.nodes[2], &elsewhere(2, 65007));
    wait_for_members(&lan, &[0, 1, 2]);
    lan.wait_for_ways(&[0, 1]);
    eventually_true(Scene::SOON, "the third one's route is there", || {
        kernel_route(&lan.site.gateway, "172.16.200.7").is_some()
    });
    for router in [&frr as &dyn Router, &bird, &gobgp] {
        eventually_true(Scene::SOON, "each is established and told of home", || {
            router.established(at::NODES_GATEWAY)
                && router
                    .received(at::NODES_GATEWAY)
                    .iter()
                    .any(|it| it == "192.168.2.0/24")
        });
    }
    let third = lan.gateway.neighbor(at::NODES[2]);
    assert_eq!(third["remote_asn"], 65007, "{third}");
    let shown = range(&lan);
    assert_eq!(shown["name"], "nodes");
    assert_eq!(shown["neighbors"], 3, "{shown}");
    assert_eq!(shown["limit"], 32);
    assert_eq!(shown["reason"], Value::Null);
    // A member is asked about like any other neighbor.
    let why = lan
        .gateway
        .command(&["bgp", "why-not", &name(0), "172.16.200.1/32"]);
    assert!(why.ok() && why.stdout.contains("services"), "{why:?}");

    frr.kill();
    wait_for_members(&lan, &[1, 2]);
    lan.wait_for_ways(&[1]);
    let unknown = lan.gateway.command(&["bgp", "neighbor", &name(0)]);
    assert!(!unknown.ok(), "{unknown:?}");
    drop(bird);
    wait_for_members(&lan, &[2]);
    eventually_true(Scene::SOON, "nobody has the service any more", || {
        kernel_route(&lan.site.gateway, at::SERVICE).is_none()
    });
}

#[test]
fn a_full_range_turns_nodes_away_says_so_once_and_takes_them_when_it_is_larger() {
    let lan = Lan::start_file(&ranged("remote-asn = 65000", "range-limit = 1"));
    let _frr = Frr::start(&lan.site.nodes[0], &node(0));
    wait_for_members(&lan, &[0]);
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    let _gobgp = GoBgp::start(&lan.site.nodes[2], &node(2));
    eventually_true(Scene::SOON * 2, "several were turned away", || {
        range(&lan)["turned_away"].as_u64() >= Some(2)
    });
    assert!(!bird.established(at::NODES_GATEWAY));
    let words = "the range has its 1 neighbors";
    assert_eq!(lan.gateway.log().matches(words).count(), 1);
    assert!(lan.gateway.problems().contains("neighbor range nodes"));
    lan.gateway
        .reload(&ranged("remote-asn = 65000", "range-limit = 5"));
    wait_for_members(&lan, &[0, 1, 2]);
    assert!(bird.established(at::NODES_GATEWAY));
    // GoBGP's route has another origin, so it is not as good.
    lan.wait_for_ways(&[0, 1]);
    assert_eq!(range(&lan)["reason"], Value::Null);
    assert!(
        !lan.gateway.log().contains("BGP down"),
        "nobody lost a session"
    );
}

#[test]
fn a_node_of_an_as_that_is_not_allowed_is_told_so() {
    let lan = Lan::start_file(&ranged("remote-asns = [65000, 65001]", ""));
    let frr = Frr::start(&lan.site.nodes[0], &elsewhere(0, 65007));
    eventually_true(Scene::SOON, "FRR knows why", || {
        frr.describe(at::NODES_GATEWAY).contains("Bad Peer AS")
    });
    eventually_true(
        Scene::SOON,
        "the log says what was said and expected",
        || {
            let log = lan.gateway.log();
            log.contains("it says that it is AS 65007, and only AS 65000, AS 65001 may connect")
        },
    );
    assert_eq!(kernel_route(&lan.site.gateway, "172.16.200.7"), None);
}

#[test]
fn an_edit_from_addresses_to_a_range_and_back_finds_the_nodes_again() {
    let lan = Lan::start("");
    let _frr = Frr::start(&lan.site.nodes[0], &node(0));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    lan.gateway.reload(&ranged("remote-asn = 65000", ""));
    wait_for_members(&lan, &[0]);
    lan.wait_for_ways(&[0]);
    lan.gateway.reload(&site_file(""));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON * 4);
    assert_eq!(members(&lan), Vec::new());
    lan.wait_for_ways(&[0]);
}
