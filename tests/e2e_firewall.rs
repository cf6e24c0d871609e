//! The firewall: peers get in, strangers do not, and what the cloud may reach is what the site file says.

use std::net::Ipv4Addr;

use lab::{
    Capture, Nodes, ReferenceSite, Scene, SiteFile, StrongSwan, addresses as at, eventually,
    eventually_true, ping, tcp_is_dropped, tcp_transfer,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

#[test]
fn a_stranger_with_the_right_secret_gets_no_answer() {
    let scene = Scene::up(CAUSEWAY);
    let mut connection = lab::Connection::new("cpe", at::STRANGER, at::GATEWAY, at::PSKS[0]);
    connection.local_id = at::HEAD_ENDS[0].to_owned();
    let packets = Capture::start(
        &scene.site.stranger,
        "eth0",
        "udp port 500 or udp port 4500",
    );
    let stranger = StrongSwan::start(&scene.site.stranger, &[], vec![connection]);
    let initiated = stranger.swanctl(&["--initiate", "--child", "cpe", "--timeout", "3"]);
    assert!(!initiated.ok(), "{}", initiated.stdout);
    let packets = packets.packets();
    let from_us = |line: &&String| line.contains(&format!("IP {}", at::GATEWAY));
    assert!(packets.len() >= 2, "it tried more than once: {packets:?}");
    assert_eq!(packets.iter().filter(from_us).count(), 0, "{packets:?}");
    for index in [0, 1] {
        assert!(scene.ping_inside(index).all(), "the peers do not notice");
    }
}

#[test]
fn peers_aliases_are_sets_with_exactly_the_peers() {
    let scene = Scene::up(CAUSEWAY);
    let ruleset = scene.site.gateway.exec(&["nft", "list", "ruleset"]);
    for peer in at::HEAD_ENDS {
        assert!(ruleset.contains(peer), "{ruleset}");
    }
    assert!(!ruleset.contains(at::STRANGER));
    for word in ["esp", "500", "4500", "counter"] {
        assert!(ruleset.contains(word), "no {word} in\n{ruleset}");
    }
}

#[test]
fn what_comes_from_the_cloud_may_be_restricted_and_the_way_out_is_not() {
    let file = SiteFile::reference()
        .replace("from-cloud = \"accept\"", "from-cloud = \"drop\"")
        .append(
            "\n[[firewall.rule]]\naction = \"accept\"\nsource = \"10.0.0.0/24\"\n\
             destination = \"192.168.2.0/24\"\nprotocol = \"icmp\"\n",
        );
    let scene = Scene::start(CAUSEWAY, &file);
    scene.wait_until_up();
    assert!(
        ping(&scene.site.instance, at::HOME, 3, &[]).all(),
        "what the rule accepts"
    );
    assert_eq!(
        ping(&scene.site.instance, at::LAB, 2, &[]).received,
        0,
        "what no rule accepts"
    );
    let (home, instance) = (Ipv4Addr::new(192, 168, 2, 250), Ipv4Addr::new(10, 0, 0, 9));
    assert!(
        tcp_is_dropped(&scene.site.instance, &scene.site.home, home),
        "TCP from the cloud is not in the rules"
    );
    let out = tcp_transfer(&scene.site.home, &scene.site.instance, instance, 100_000);
    out.expect("connections from home to the cloud pass, and their answers");

    scene.gateway.reload(SiteFile::reference().text());
    eventually_true(Scene::SOON, "the cloud reaches the lab again", || {
        ping(&scene.site.instance, at::LAB, 1, &[]).all()
    });
}

#[test]
fn another_tables_chain_that_drops_our_peers_is_named() {
    let site = ReferenceSite::new();
    site.gateway.nft(
        "table inet myfirewall {\n chain guard {\n  type filter hook input priority 10; policy drop;\n  \
         iifname \"lo\" accept\n  ct state established,related accept\n  tcp dport 22 accept\n }\n}\n",
    );
    let scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    let problems = eventually(
        Scene::SOON,
        "a problem names the other table's chain",
        || {
            let problems = scene.gateway.problems();
            (problems.contains("myfirewall") && problems.contains("guard")).then_some(problems)
        },
    );
    println!("{problems}");
    let ruleset = scene
        .site
        .gateway
        .exec(&["nft", "list", "table", "inet", "myfirewall"]);
    assert!(
        !ruleset.contains(at::HEAD_ENDS[0]),
        "it was not touched without being asked to"
    );
}

#[test]
fn tables_and_routes_of_others_are_left_alone() {
    let site = ReferenceSite::new();
    site.gateway
        .nft("table inet mine {\n set s {\n  type ipv4_addr\n  elements = { 192.0.2.1 }\n }\n}\n");
    site.gateway
        .route("192.0.2.128/25 via 203.0.113.1 proto 99");
    site.gateway.exec(&[
        "ip",
        "rule",
        "add",
        "from",
        "192.0.2.200",
        "table",
        "77",
        "priority",
        "777",
    ]);
    let mut scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    let theirs = |scene: &Scene| {
        let gateway = &scene.site.gateway;
        assert!(
            gateway
                .exec(&["nft", "list", "table", "inet", "mine"])
                .contains("192.0.2.1")
        );
        assert!(gateway.exec(&["ip", "route"]).contains("192.0.2.128/25"));
        assert!(gateway.exec(&["ip", "rule"]).contains("777"));
    };
    theirs(&scene);
    scene.gateway.stop();
    theirs(&scene);
}

#[test]
fn nodes_on_the_lan_are_let_in_by_a_firewall_of_ours() {
    let scene = Scene::up(CAUSEWAY);
    let nodes = Nodes::start(&scene.site);
    scene.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    eventually_true(Scene::SOON, "three sessions", || nodes.established() == 3);
}
