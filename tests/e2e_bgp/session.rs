//! What a session is guarded by: keys and distances.

use lab::{Bird, Frr, GoBgp, Neighbor, Router, Scene, Speaker, addresses as at, eventually_true};

use crate::lan::{Lan, node, site_file};

const KEY: &str = "a-key-for-sessions";
const SIGNED: &str = "md5 = { file = \"{dir}/node.md5\" }";

/// A node whose session is as `change` makes it.
fn node_with(index: usize, change: impl Fn(Neighbor) -> Neighbor) -> Speaker {
    let mut speaker = node(index);
    speaker.neighbors = speaker.neighbors.into_iter().map(change).collect();
    speaker
}

/// One program on each node.
fn three(lan: &Lan, change: impl Fn(Neighbor) -> Neighbor) -> (Frr, Bird, GoBgp) {
    let [one, two, three] = &lan.site.nodes;
    (
        Frr::start(one, &node_with(0, &change)),
        Bird::start(two, &node_with(1, &change)),
        GoBgp::start(three, &node_with(2, &change)),
    )
}

#[track_caller]
fn all_established(lan: &Lan, nodes: &(Frr, Bird, GoBgp)) {
    lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    for router in [&nodes.0 as &dyn Router, &nodes.1, &nodes.2] {
        eventually_true(Scene::SOON, "the node sees it as we do", || {
            router.established(at::NODES_GATEWAY)
        });
    }
}

/// No session for as long as one that may be comes about many times over.
#[track_caller]
fn stays_down(lan: &Lan, node: usize, router: &dyn Router) {
    let begun = std::time::Instant::now();
    eventually_true(
        Scene::SOON,
        "some seconds have passed without a session",
        || {
            assert_ne!(
                lan.gateway.neighbor(at::NODES[node])["state"],
                "Established"
            );
            assert!(!router.established(at::NODES_GATEWAY));
            begun.elapsed().as_secs() >= 6
        },
    );
}

fn reason(lan: &Lan, node: usize) -> String {
    let view = lan.gateway.neighbor(at::NODES[node]);
    view["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn signed_sessions_come_up_when_we_dial() {
    let lan = Lan::start_with(SIGNED, &[("node.md5", KEY)]);
    let nodes = three(&lan, |neighbor| neighbor.password(KEY).passive());
    all_established(&lan, &nodes);
}

#[test]
fn signed_sessions_come_up_when_the_neighbors_dial() {
    let lan = Lan::start_with(&format!("{SIGNED}\npassive = true"), &[("node.md5", KEY)]);
    let nodes = three(&lan, |neighbor| neighbor.password(KEY));
    all_established(&lan, &nodes);
}

#[test]
fn a_key_that_differs_or_is_missing_keeps_the_session_down_and_a_reload_with_the_right_one_mends_it()
 {
    let lan = Lan::start_with(SIGNED, &[("node.md5", "another key")]);
    let frr = Frr::start(&lan.site.nodes[0], &node_with(0, |it| it.password(KEY)));
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    stays_down(&lan, 0, &frr);
    stays_down(&lan, 1, &bird);
    for node in [0, 1] {
        let said = reason(&lan, node);
        assert!(
            said.contains("TCP MD5 key that differs looks like silence"),
            "{said}"
        );
    }
    let shown = lan.gateway.command(&["status", "--json"]).stdout + &lan.gateway.log();
    assert!(!shown.contains("another key"), "a secret shows");
    std::fs::write(lan.gateway.dir().join("node.md5"), KEY).expect("write the key");
    lan.gateway.reload(&site_file(SIGNED));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    assert!(frr.established(at::NODES_GATEWAY));
    // Without a key of ours the unsigned one is heard, and the signed one no longer.
    lan.gateway.reload(&site_file(""));
    lan.gateway.wait_for_bgp(&at::NODES[1..2], Scene::SOON);
    eventually_true(Scene::SOON, "the signed session is over", || {
        !frr.established(at::NODES_GATEWAY)
    });
}

#[test]
fn neighbors_on_our_network_pass_the_ttl_security_in_both_directions() {
    let lan = Lan::start("ttl-security = true");
    let nodes = three(&lan, Neighbor::ttl_security);
    all_established(&lan, &nodes);
}

#[test]
fn what_a_router_has_touched_does_not_pass_the_ttl_security() {
    let lan = Lan::start("ttl-security = true");
    lan.site.nodes[0].nft(
        "table ip far {\n chain out {\n  type filter hook output priority 0;\n  tcp sport 179 ip ttl set 254\n  \
         tcp dport 179 ip ttl set 254\n }\n}\n",
    );
    let frr = Frr::start(&lan.site.nodes[0], &node_with(0, Neighbor::ttl_security));
    stays_down(&lan, 0, &frr);
    lan.site.nodes[0].exec(&["nft", "delete", "table", "ip", "far"]);
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON * 2);
    assert!(frr.established(at::NODES_GATEWAY));
}
