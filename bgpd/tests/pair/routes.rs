//! What becomes of routes between speakers.

use std::time::Duration;

use bgpd::policy::{Refusal, RuleName, Verdict};
use bgpd::view::{ExportVerdict, RouteFilter};
use bgpd::{Command, Event, LocalRoute, LocalSource, LostBy, MultipathVerdict, Role};

use super::site::{
    SECOND, add, announce, established, ip, list, name, net, pair, peer, peer_a, peer_b, permit,
    replace, speaker,
};
use super::world::{Node, World};

/// A gateway with three nodes that announce one address.
fn cluster() -> (World, Node, Vec<Node>) {
    let mut world = World::new(5);
    let gateway = world.add(speaker(65551, [1, 1, 1, 1]), &["192.168.200.1"]);
    let mut nodes = Vec::new();
    for index in 31..=33u8 {
        let address = format!("192.168.200.{index}");
        let node = world.add(speaker(65000, [192, 168, 200, index]), &[address.as_str()]);
        let mut lan = peer(&format!("node-{index}"), "192.168.200.1", &address, 65000);
        lan.interface = Some("vlan200".into());
        lan.passive = true;
        world.command(gateway, add(lan));
        world.command(node, announce(&["172.16.200.1/32"]));
        world.command(node, add(peer("gateway", &address, "192.168.200.1", 65551)));
        nodes.push(node);
    }
    world.run(3 * SECOND);
    (world, gateway, nodes)
}

#[test]
fn three_nodes_with_one_address_share_its_traffic_and_a_leaving_one_leaves_two() {
    let (mut world, gateway, nodes) = cluster();
    let vip = "172.16.200.1/32";
    assert_eq!(
        world.carriers(gateway, vip),
        ["node-31", "node-32", "node-33"]
    );
    let hops = &world.fib[&(gateway, net(vip))];
    assert_eq!(hops[0].via, ip("192.168.200.31"));
    assert_eq!(hops[0].interface.as_deref(), Some("vlan200"));
    world.changes.clear();
    world.command(nodes[1], announce(&[]));
    world.run(SECOND);
    assert_eq!(world.carriers(gateway, vip), ["node-31", "node-33"]);
    let changes = world
        .changes
        .iter()
        .filter(|(node, _)| *node == gateway)
        .count();
    assert_eq!(changes, 1);
    world.reset_connections(nodes[2]);
    world.run(Duration::from_millis(5));
    assert_eq!(world.carriers(gateway, vip), ["node-31"]);
}

#[test]
fn every_path_says_why_it_carries_traffic_or_not() {
    let (mut world, gateway, _) = cluster();
    let view = |world: &World| {
        world
            .speaker(gateway)
            .routes(&RouteFilter::default())
            .into_iter()
            .next()
            .unwrap()
    };
    let route = view(&world);
    assert!(route.paths[0].best && route.paths[0].lost_by.is_none());
    assert_eq!(route.paths[1].lost_by, Some(LostBy::RouterId));
    assert!(
        route
            .paths
            .iter()
            .all(|path| path.multipath == MultipathVerdict::InSet)
    );
    let mut config = speaker(65551, [1, 1, 1, 1]);
    config.maximum_paths = 2;
    world.command(gateway, Command::Configure(config));
    let route = view(&world);
    assert_eq!(route.next_hops.len(), 2);
    assert_eq!(
        route.paths[2].multipath,
        MultipathVerdict::BeyondMaximum { maximum: 2 }
    );
    assert_eq!(world.downs(), 0);
}

#[test]
fn what_a_tunnel_carries_is_gone_the_moment_it_dies_and_back_when_it_lives() {
    let mut world = World::new(2);
    let gateway = world.add(speaker(65000, [1, 1, 1, 1]), &["10.1.0.0", "10.2.0.0"]);
    let cloud = world.add(speaker(31898, [9, 9, 9, 9]), &["10.1.0.1", "10.2.0.1"]);
    for tunnel in 1..=2 {
        let (ours, theirs) = (format!("10.{tunnel}.0.0"), format!("10.{tunnel}.0.1"));
        let mut config = peer(&format!("oci-{tunnel}"), &ours, &theirs, 31898);
        config.role = Role::Cloud;
        config.interface = Some(format!("vti{tunnel}"));
        world.command(gateway, add(config));
        world.command(
            cloud,
            add(peer(&format!("cpe-{tunnel}"), &theirs, &ours, 65000)),
        );
    }
    world.command(cloud, announce(&["10.0.0.0/24"]));
    world.run(3 * SECOND);
    assert_eq!(world.carriers(gateway, "10.0.0.0/24"), ["oci-1", "oci-2"]);
    let tunnel = |up| Command::SetInterface {
        name: "vti1".into(),
        up,
    };
    world.command(gateway, tunnel(false));
    assert_eq!(world.carriers(gateway, "10.0.0.0/24"), ["oci-2"]);
    assert!(
        world.is_up(gateway, "oci-1"),
        "the session waits for its own timers"
    );
    world.command(gateway, tunnel(true));
    assert_eq!(world.carriers(gateway, "10.0.0.0/24"), ["oci-1", "oci-2"]);
    world.command(gateway, tunnel(false));
    world.command(gateway, Command::PathDown(name("oci-1")));
    assert!(!world.is_up(gateway, "oci-1"));
    assert_eq!(world.carriers(gateway, "10.0.0.0/24"), ["oci-2"]);
}

#[test]
fn exactly_the_permitted_prefixes_leave_and_an_edit_acts_without_a_reset() {
    let (mut world, a, b) = pair(1);
    let mut config = peer_b();
    config.export = list("to-cloud");
    world.command(
        a,
        Command::SetPolicy(vec![permit("to-cloud", &["192.168.2.0/24"])].into()),
    );
    let connected = |prefix: &str| LocalRoute {
        prefix: net(prefix),
        source: LocalSource::Connected,
        interface: Some("lan".into()),
        redistribute: true,
    };
    let routes = ["192.168.2.0/24", "172.24.0.0/24", "10.0.0.0/31"].map(connected);
    world.command(a, Command::SetLocalRoutes(routes.to_vec()));
    world.command(a, add(config));
    world.command(b, add(peer_a()));
    world.run(3 * SECOND);
    assert_eq!(world.received(b, "a"), ["192.168.2.0/24"]);
    assert_eq!(world.advertised(a, "b"), ["192.168.2.0/24"]);
    let both = permit("to-cloud", &["192.168.2.0/24", "172.24.0.0/24"]);
    world.command(a, Command::SetPolicy(vec![both].into()));
    world.run(SECOND);
    assert_eq!(world.received(b, "a"), ["172.24.0.0/24", "192.168.2.0/24"]);
    world.command(
        a,
        Command::SetPolicy(vec![permit("to-cloud", &["172.24.0.0/24"])].into()),
    );
    world.run(SECOND);
    assert_eq!(world.received(b, "a"), ["172.24.0.0/24"]);
    let route = &world.speaker(b).received("a").unwrap()[0];
    assert_eq!(route.attributes.as_path.to_string(), "65000");
    assert_eq!(route.attributes.next_hop, Some([10, 0, 0, 0].into()));
    assert_eq!(world.downs(), 0);
}

#[test]
fn an_import_edit_judges_what_was_kept_and_each_verdict_names_its_rule() {
    let (mut world, a, b) = established(1);
    world.command(b, announce(&["10.0.1.0/24", "10.0.2.0/24"]));
    world.run(SECOND);
    assert!(!world.carriers(a, "10.0.1.0/24").is_empty());
    world.command(
        a,
        Command::SetPolicy(vec![permit("from", &["10.0.2.0/24"])].into()),
    );
    let mut config = peer_b();
    config.import = list("from");
    let sent = world.octets_sent;
    world.command(a, replace(config.clone()));
    assert!(world.carriers(a, "10.0.1.0/24").is_empty());
    assert_eq!(world.carriers(a, "10.0.2.0/24"), ["b"]);
    assert_eq!(world.octets_sent, sent, "nothing was asked of the peer");
    let received = world.speaker(a).received("b").unwrap();
    let rule = |seq| RuleName::prefix_list("from", seq);
    assert_eq!(
        received[0].verdict,
        Verdict::Refused(Refusal::PrefixList(rule(None)))
    );
    assert_eq!(received[1].verdict, Verdict::Accepted(Some(rule(Some(10)))));
    let neighbor = world.speaker(a).neighbor(world.now, "b").unwrap();
    assert_eq!(
        (neighbor.summary.received, neighbor.summary.accepted),
        (2, 1)
    );
    assert_eq!(neighbor.refused["prefix-list"], 1);
    config.import = None;
    world.command(a, replace(config));
    let neighbor = world.speaker(a).neighbor(world.now, "b").unwrap();
    assert_eq!(neighbor.summary.accepted, 0);
    assert!(neighbor.summary.problem.unwrap().contains("RFC 8212"));
    assert_eq!(world.downs(), 0);
}

#[test]
fn a_cloud_is_not_believed_a_default_route_nor_what_overlaps_ours() {
    let (mut world, a, b) = pair(1);
    let mut config = peer_b();
    config.role = Role::Cloud;
    config.own_networks = vec![net("192.168.0.0/16")];
    config.outer_addresses = vec![ip("203.0.113.7")];
    world.command(a, add(config.clone()));
    world.command(b, add(peer_a()));
    let claims = [
        "0.0.0.0/0",
        "192.168.2.0/24",
        "203.0.113.0/24",
        "10.0.0.0/16",
        "127.1.0.0/16",
    ];
    world.command(b, announce(&claims));
    world.run(3 * SECOND);
    assert_eq!(
        world.fib.keys().map(|(_, it)| *it).collect::<Vec<_>>(),
        [net("10.0.0.0/16")]
    );
    let told = |event: &Event, wanted: &str| matches!(event, Event::RouteRefused { refusal, .. } if refusal.kind() == wanted);
    for kind in [
        "default-route",
        "overlaps-own-network",
        "covers-tunnel-end",
        "martian",
    ] {
        assert_eq!(world.count(|_, event| told(event, kind)), 1, "{kind}");
    }
    config.allow_default = true;
    config.allow_overlap = true;
    world.command(a, replace(config));
    assert_eq!(world.fib.len(), 4);
}

#[test]
fn one_cloud_is_never_told_what_another_cloud_taught() {
    let mut world = World::new(4);
    let gateway = world.add(
        speaker(65000, [1, 1, 1, 1]),
        &["10.1.0.0", "10.2.0.0", "10.3.0.0"],
    );
    let mut others = Vec::new();
    for (index, asn) in [(1u8, 31898), (2, 64512), (3, 65100)] {
        let (ours, theirs) = (format!("10.{index}.0.0"), format!("10.{index}.0.1"));
        let other = world.add(speaker(asn, [9, 9, 9, index]), &[theirs.as_str()]);
        let mut config = peer(&format!("peer-{index}"), &ours, &theirs, asn);
        config.role = if index == 3 { Role::Lan } else { Role::Cloud };
        world.command(gateway, add(config));
        world.command(other, add(peer("gateway", &theirs, &ours, 65000)));
        world.command(other, announce(&[&format!("172.{}.0.0/16", 16 + index)]));
        others.push(other);
    }
    world.run(3 * SECOND);
    assert_eq!(world.received(others[0], "gateway"), ["172.19.0.0/16"]);
    assert_eq!(world.received(others[1], "gateway"), ["172.19.0.0/16"]);
    assert_eq!(
        world.received(others[2], "gateway"),
        ["172.17.0.0/16", "172.18.0.0/16"]
    );
    let why = world
        .speaker(gateway)
        .why_export(&name("peer-1"), &net("172.18.0.0/16"));
    assert!(matches!(why, Some(ExportVerdict::Withheld(_))), "{why:?}");
}

#[test]
fn a_route_of_our_own_comes_before_what_is_learned_and_is_no_business_of_the_kernels() {
    let (mut world, a, b) = established(1);
    world.command(b, announce(&["10.0.9.0/24"]));
    world.run(SECOND);
    assert_eq!(world.carriers(a, "10.0.9.0/24"), ["b"]);
    world.command(a, announce(&["10.0.9.0/24"]));
    assert!(world.carriers(a, "10.0.9.0/24").is_empty());
    world.command(a, announce(&[]));
    assert_eq!(world.carriers(a, "10.0.9.0/24"), ["b"]);
}

#[test]
fn a_refresh_sends_everything_again_and_changes_nothing() {
    let (mut world, a, b) = established(1);
    world.command(b, announce(&["10.0.9.0/24", "10.0.8.0/24"]));
    world.run(SECOND);
    world.changes.clear();
    let before = world
        .speaker(b)
        .neighbor(world.now, "a")
        .unwrap()
        .messages_sent
        .updates;
    world.command(a, Command::RefreshPeer(name("b")));
    world.run(SECOND);
    let after = world
        .speaker(b)
        .neighbor(world.now, "a")
        .unwrap()
        .messages_sent
        .updates;
    assert!(after > before);
    assert!(world.changes.is_empty());
    assert_eq!(world.received(a, "b").len(), 2);
}

#[test]
fn no_more_is_told_than_the_peer_may_be_told() {
    let (mut world, a, b) = pair(1);
    let mut config = peer_b();
    config.max_prefixes_out = Some(2);
    world.command(a, announce(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]));
    world.command(a, add(config));
    world.command(b, add(peer_a()));
    world.run(3 * SECOND);
    assert_eq!(world.received(b, "a").len(), 2);
    assert_eq!(
        world.count(|_, event| matches!(event, Event::ExportLimit { limit: 2, .. })),
        1
    );
    world.command(a, announce(&["10.2.0.0/16", "10.3.0.0/16"]));
    world.run(SECOND);
    assert_eq!(world.received(b, "a"), ["10.2.0.0/16", "10.3.0.0/16"]);
}

#[test]
fn a_thousand_prefixes_take_few_messages_and_all_arrive() {
    let (mut world, a, b) = established(1);
    let prefixes: Vec<String> = (0..5000)
        .map(|it| format!("10.{}.{}.0/24", it / 250, it % 250))
        .collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    world.command(b, announce(&prefixes));
    world.run(2 * SECOND);
    assert_eq!(world.received(a, "b").len(), 5000);
    let updates = world
        .speaker(b)
        .neighbor(world.now, "a")
        .unwrap()
        .messages_sent
        .updates;
    assert!(updates < 20, "{updates}");
    world.command(b, announce(&[]));
    world.run(2 * SECOND);
    assert!(world.fib.is_empty());
    let summary = world.speaker(a).summary(world.now);
    assert_eq!(
        (summary.paths, summary.attribute_sets, summary.fib_prefixes),
        (0, 0, 0)
    );
}
