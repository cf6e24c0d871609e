//! Peers that nobody names: they join by connecting, and are gone when their session is.

use bgpd::policy::{Conditions, Decision, Policies, RouteMap, RouteRule};
use bgpd::{
    Asn, Command, DownReason, Event, GracefulRestart, PeerConfig, PeerRange, Policy, SessionError,
};

use super::site::{SECOND, add, announce, ip, name, net, peer, speaker};
use super::world::{Node, World};

const OURS: &str = "192.168.200.1";

/// The gateway with a range for the nodes, which it takes from these ASes.
fn range(limit: u16, asns: &[u32]) -> PeerRange {
    PeerRange {
        name: name("nodes"),
        network: net("192.168.200.0/24"),
        limit,
        asns: asns.iter().copied().map(Asn).collect(),
        template: peer("nodes", OURS, "192.168.200.0", 64999),
    }
}

fn gateway(limit: u16, asns: &[u32]) -> (World, Node) {
    let mut world = World::new(7);
    let gateway = world.add(speaker(65551, [1, 1, 1, 1]), &[OURS]);
    world.command(gateway, Command::SetRanges(vec![range(limit, asns)]));
    (world, gateway)
}

/// A node that dials the gateway.
fn node(world: &mut World, last: u8, asn: u32) -> Node {
    node_with(world, last, asn, |_| {})
}

fn node_with(world: &mut World, last: u8, asn: u32, change: impl FnOnce(&mut PeerConfig)) -> Node {
    let address = format!("192.168.200.{last}");
    let node = world.add(speaker(asn, [9, 9, 9, last]), &[&address]);
    let mut gateway = peer("gateway", &address, OURS, 65551);
    change(&mut gateway);
    world.command(node, announce(&[&format!("10.0.{last}.0/24")]));
    world.command(node, add(gateway));
    node
}

/// The members that a speaker has, each with whether its session is established.
fn members(world: &World, node: Node) -> Vec<(String, bool)> {
    let summary = world.speaker(node).summary(world.now);
    let members = summary.peers.iter().filter(|it| it.range.is_some());
    let established = bgpd::State::Established;
    members
        .map(|it| (it.name.to_string(), it.state == established))
        .collect()
}

fn has(world: &World, node: Node, expected: &[&str]) -> bool {
    let there = members(world, node);
    let names: Vec<&str> = there.iter().map(|it| it.0.as_str()).collect();
    names == expected && there.iter().all(|it| it.1)
}

#[test]
fn nodes_join_by_connecting_and_are_gone_with_their_routes_when_they_leave() {
    let (mut world, gateway) = gateway(10, &[65000, 65001]);
    let first = node(&mut world, 31, 65000);
    let second = node(&mut world, 32, 65001);
    let both = ["nodes/192.168.200.31", "nodes/192.168.200.32"];
    world.run_until(5 * SECOND, |world| has(world, gateway, &both));
    world.run(SECOND);
    for (place, (member, asn)) in both.iter().zip([65000, 65001]).enumerate() {
        let view = world.speaker(gateway).neighbor(world.now, member).unwrap();
        assert_eq!(view.summary.remote_asn, Asn(asn));
        assert_eq!(view.summary.accepted, 1);
        let prefix = format!("10.0.{}.0/24", 31 + place);
        assert_eq!(world.carriers(gateway, &prefix), [*member]);
        // The other node's route is told on, with our AS in front of its own.
        let node = [first, second][place];
        assert_eq!(
            world.received(node, "gateway"),
            [format!("10.0.{}.0/24", 32 - place)]
        );
    }
    world.command(first, Command::RemovePeer(name("gateway")));
    world.run_until(SECOND, |world| has(world, gateway, &both[1..]));
    world.run(SECOND);
    assert_eq!(
        world.carriers(gateway, "10.0.31.0/24"),
        Vec::<String>::new()
    );
    assert_eq!(world.received(second, "gateway"), Vec::<String>::new());
    let summary = world.speaker(gateway).summary(world.now);
    assert_eq!(summary.ranges[0].members, 1);
    // It comes back, and takes its old place.
    world.command(first, add(peer("gateway", "192.168.200.31", OURS, 65551)));
    world.run_until(5 * SECOND, |world| has(world, gateway, &both));
}

#[test]
fn a_full_range_turns_the_next_one_away_says_so_once_and_takes_it_when_there_is_room() {
    let (mut world, gateway) = gateway(2, &[65000]);
    let nodes: Vec<Node> = (31..33).map(|last| node(&mut world, last, 65000)).collect();
    let two = ["nodes/192.168.200.31", "nodes/192.168.200.32"];
    world.run_until(5 * SECOND, |world| has(world, gateway, &two));
    node(&mut world, 33, 65000);
    world.run(60 * SECOND);
    assert!(has(&world, gateway, &two));
    let told = |world: &World| {
        world.count(|node, event| node == gateway && matches!(event, Event::RangeFull { .. }))
    };
    assert_eq!(told(&world), 1);
    let summary = world.speaker(gateway).summary(world.now);
    assert!(summary.ranges[0].is_full && summary.ranges[0].turned_away > 3);
    world.command(nodes[0], Command::RemovePeer(name("gateway")));
    let others = ["nodes/192.168.200.32", "nodes/192.168.200.33"];
    world.run_until(10 * SECOND, |world| has(world, gateway, &others));
    assert!(!world.speaker(gateway).summary(world.now).ranges[0].is_full);
    // The next time that it is full is another one.
    world.command(
        nodes[0],
        add(peer("gateway", "192.168.200.31", OURS, 65551)),
    );
    world.run(10 * SECOND);
    assert_eq!(told(&world), 2);
    // A larger limit takes effect at once.
    world.command(gateway, Command::SetRanges(vec![range(3, &[65000])]));
    let three = [two[0], two[1], "nodes/192.168.200.33"];
    world.run_until(10 * SECOND, |world| has(world, gateway, &three));
    assert_eq!(world.downs(), 2, "{:#?}", world.events);
}

#[test]
fn a_node_of_another_as_is_told_so_and_keeps_no_place() {
    let (mut world, gateway) = gateway(1, &[65000, 65001]);
    let stranger = node(&mut world, 31, 64666);
    world.run(3 * SECOND);
    let expected = SessionError::PeerAsNotAllowed {
        offered: Asn(64666),
        allowed: vec![Asn(65000), Asn(65001)],
    };
    let refused = world.count(|node, event| {
        node == gateway
            && matches!(event, Event::OpenFailed { reason: DownReason::Failed(it), .. } if *it == expected)
    });
    assert!(refused > 0, "{:#?}", world.events);
    let theirs = world.speaker(stranger).neighbor(world.now, "gateway");
    let problem = theirs.unwrap().summary.problem.unwrap();
    assert!(problem.contains("bad peer AS"), "{problem}");
    world.command(stranger, Command::RemovePeer(name("gateway")));
    world.run(10 * SECOND);
    assert_eq!(members(&world, gateway), Vec::new());
    node(&mut world, 32, 65001);
    let one = ["nodes/192.168.200.32"];
    world.run_until(5 * SECOND, |world| has(world, gateway, &one));
}

#[test]
fn an_address_outside_of_every_range_and_another_address_of_ours_are_refused() {
    let (mut world, gateway) = gateway(10, &[65000]);
    let outside = world.add(speaker(65000, [8, 8, 8, 8]), &["192.168.7.31"]);
    world.command(outside, add(peer("gateway", "192.168.7.31", OURS, 65551)));
    // The range's members have to connect to the address that they know us by.
    let mut elsewhere = range(10, &[65000]);
    elsewhere.template.update_source = Some(ip("192.168.200.2"));
    world.command(gateway, Command::SetRanges(vec![elsewhere]));
    node(&mut world, 31, 65000);
    world.run(10 * SECOND);
    assert_eq!(members(&world, gateway), Vec::new());
    assert_eq!(world.connections(gateway).len(), 0);
}

#[test]
fn of_two_ranges_the_narrower_one_has_an_address() {
    let (mut world, gateway) = gateway(10, &[65000]);
    let mut narrow = range(10, &[65001]);
    narrow.name = name("edge");
    narrow.network = net("192.168.200.32/27");
    world.command(
        gateway,
        Command::SetRanges(vec![range(10, &[65000]), narrow]),
    );
    node(&mut world, 31, 65000);
    node(&mut world, 33, 65001);
    let both = ["edge/192.168.200.33", "nodes/192.168.200.31"];
    world.run_until(5 * SECOND, |world| has(world, gateway, &both));
}

#[test]
fn a_change_of_the_template_judges_kept_routes_anew_and_the_sessions_stay() {
    let (mut world, gateway) = gateway(10, &[65000, 65001]);
    node(&mut world, 31, 65001);
    let one = ["nodes/192.168.200.31"];
    world.run_until(5 * SECOND, |world| has(world, gateway, &one));
    world.run(SECOND);
    let mut none = range(10, &[65000, 65001]);
    none.template.import = Some(Policy::DenyAll);
    world.command(gateway, Command::SetRanges(vec![none]));
    assert_eq!(
        world.carriers(gateway, "10.0.31.0/24"),
        Vec::<String>::new()
    );
    world.command(
        gateway,
        Command::SetRanges(vec![range(10, &[65000, 65001])]),
    );
    assert_eq!(world.carriers(gateway, "10.0.31.0/24"), one);
    assert_eq!(world.downs(), 0, "{:#?}", world.events);
    // Its AS is no longer one of those that may be.
    world.command(gateway, Command::SetRanges(vec![range(10, &[65000])]));
    world.run(30 * SECOND);
    assert!(!has(&world, gateway, &one));
    assert_eq!(
        world.carriers(gateway, "10.0.31.0/24"),
        Vec::<String>::new()
    );
}

#[test]
fn a_range_that_is_removed_takes_its_members_along() {
    let (mut world, gateway) = gateway(10, &[65000]);
    let node = node(&mut world, 31, 65000);
    world.run_until(5 * SECOND, |world| {
        has(world, gateway, &["nodes/192.168.200.31"])
    });
    world.command(gateway, Command::SetRanges(Vec::new()));
    assert_eq!(members(&world, gateway), Vec::new());
    world.run(SECOND);
    let theirs = world.speaker(node).neighbor(world.now, "gateway").unwrap();
    let error = theirs.last_error.unwrap().to_string();
    assert!(error.contains("de-configured"), "{error}");
}

#[test]
fn a_peer_with_a_name_of_its_own_takes_the_place_of_a_member() {
    let (mut world, gateway) = gateway(10, &[65000]);
    node(&mut world, 31, 65000);
    world.run_until(5 * SECOND, |world| {
        has(world, gateway, &["nodes/192.168.200.31"])
    });
    world.command(gateway, add(peer("router", OURS, "192.168.200.31", 65000)));
    world.run_until(10 * SECOND, |world| world.is_up(gateway, "router"));
    assert_eq!(members(&world, gateway), Vec::new());
}

#[test]
fn a_member_that_restarts_keeps_its_place_for_as_long_as_its_routes_are_kept() {
    let graceful = Some(GracefulRestart {
        restart_time: 20 * SECOND,
        notification: false,
        forwarding: true,
    });
    let (mut world, gateway) = gateway(10, &[65000]);
    let mut keeping = range(10, &[65000]);
    keeping.template.graceful_restart = graceful;
    world.command(gateway, Command::SetRanges(vec![keeping]));
    let away = node_with(&mut world, 31, 65000, |it| it.graceful_restart = graceful);
    let one = ["nodes/192.168.200.31"];
    world.run_until(5 * SECOND, |world| has(world, gateway, &one));
    world.run(SECOND);
    // Its process dies, and another one takes its place that has no neighbors yet.
    world.restart(away, speaker(65000, [9, 9, 9, 31]), true, None);
    world.run(10 * SECOND);
    assert_eq!(members(&world, gateway), [(one[0].to_owned(), false)]);
    assert_eq!(world.carriers(gateway, "10.0.31.0/24"), one);
    world.run(15 * SECOND);
    assert_eq!(members(&world, gateway), Vec::new());
    assert_eq!(
        world.carriers(gateway, "10.0.31.0/24"),
        Vec::<String>::new()
    );
}

#[test]
fn a_route_map_that_names_a_range_is_about_its_members() {
    let (mut world, gateway) = gateway(10, &[65000]);
    let other = world.add(speaker(65003, [3, 3, 3, 3]), &["10.9.0.3"]);
    world.command(other, add(peer("gateway", "10.9.0.3", OURS, 65551)));
    let rule = RouteRule {
        seq: 10,
        decision: Decision::Permit,
        conditions: Conditions {
            neighbors: vec![name("nodes")],
            ..Conditions::default()
        },
        actions: Default::default(),
    };
    let policies = Policies {
        route_maps: vec![RouteMap::new("of-nodes", vec![rule])],
        ..Policies::default()
    };
    world.command(gateway, Command::SetPolicy(policies));
    let mut told = peer("other", OURS, "10.9.0.3", 65003);
    told.export = Some(Policy::RouteMap("of-nodes".to_owned()));
    world.command(gateway, add(told));
    node(&mut world, 31, 65000);
    world.command(gateway, announce(&["10.77.0.0/24"]));
    world.run_until(10 * SECOND, |world| {
        world.is_up(other, "gateway")
            && world.received(other, "gateway") == ["10.0.31.0/24".to_owned()]
    });
}
