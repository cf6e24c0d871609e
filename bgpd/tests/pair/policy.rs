//! Route maps between speakers: what they change, who gets to see it, and what an edit costs.

use bgpd::policy::{
    Actions, AsPathNode, AsPathRegex, CommunityEdit, Conditions, Decision, ExtendedPattern,
    NumberRange, Policies, RouteMap, RouteRule, RuleName, StandardPattern, Verdict,
};
use bgpd::view::{ExportVerdict, PathView, RouteFilter};
use bgpd::wire::{Community, ExtendedCommunity, LargeCommunity};
use bgpd::{Command, DefaultOriginate, LostBy, MultipathVerdict, PeerConfig, Policy};

use super::site::*;
use super::world::{Node, World};

fn rule(seq: u32, conditions: Conditions, actions: Actions) -> RouteRule {
    RouteRule {
        seq,
        decision: Decision::Permit,
        conditions,
        actions,
    }
}

fn maps(maps: Vec<RouteMap>) -> Command {
    Command::SetPolicy(Policies {
        prefix_lists: vec![permit("one", &["10.0.1.0/24"])],
        route_maps: maps,
    })
}

fn map(name: &str) -> Option<Policy> {
    Some(Policy::RouteMap(name.to_owned()))
}

fn local_pref(value: u32) -> Actions {
    Actions {
        local_pref: Some(value),
        ..Actions::default()
    }
}

/// A gateway with two clouds' ends that teach the same prefixes.
fn site(configure: impl Fn(&mut PeerConfig)) -> (World, Node, [Node; 2]) {
    let mut world = World::new(3);
    let gateway = world.add(speaker(65000, [1, 1, 1, 1]), &["10.8.0.0", "10.9.0.0"]);
    let ends = [("10.8.0", [2, 2, 2, 2], "x"), ("10.9.0", [3, 3, 3, 3], "y")];
    let clouds = ends.map(|(net, id, name)| {
        let (ours, theirs) = (format!("{net}.0"), format!("{net}.1"));
        let node = world.add(speaker(31898, id), &[&theirs]);
        let mut config = peer(name, &ours, &theirs, 31898);
        configure(&mut config);
        world.command(gateway, add(config));
        world.command(node, add(peer("gw", &theirs, &ours, 65000)));
        world.command(node, announce(&["10.0.1.0/24", "10.0.2.0/24"]));
        node
    });
    world.run_until(9 * SECOND, |world| {
        ["x", "y"].iter().all(|it| world.is_up(gateway, it))
    });
    world.run(SECOND);
    (world, gateway, clouds)
}

fn paths(world: &World, node: Node, prefix: &str) -> Vec<PathView> {
    let filter = RouteFilter {
        within: Some(net(prefix)),
        ..RouteFilter::default()
    };
    let mut routes = world.speaker(node).routes(&filter);
    routes.pop().unwrap().paths
}

#[test]
fn an_edit_of_an_import_map_moves_traffic_at_once_and_asks_the_peer_nothing() {
    let (mut world, gateway, _) = site(|config| {
        config.export = Some(Policy::DenyAll);
        if config.name.as_str() == "y" {
            config.import = map("in");
        }
    });
    // There is no such map: nothing of y is believed.
    assert_eq!(world.carriers(gateway, "10.0.1.0/24"), ["x"]);
    let sent = world.octets_sent;
    let only_one = Conditions {
        prefix_lists: vec!["one".into()],
        ..Conditions::default()
    };
    let rest = rule(20, Conditions::default(), Actions::default());
    let better = rule(10, only_one.clone(), local_pref(200));
    world.command(
        gateway,
        maps(vec![RouteMap::new("in", vec![better, rest.clone()])]),
    );
    assert_eq!(world.carriers(gateway, "10.0.1.0/24"), ["y"]);
    assert_eq!(world.carriers(gateway, "10.0.2.0/24"), ["x", "y"]);
    let path = &paths(&world, gateway, "10.0.1.0/24")[0];
    assert_eq!(
        (path.local_pref, path.attributes.local_pref),
        (200, Some(200))
    );
    assert_eq!(path.received.as_ref().unwrap().local_pref, None);
    assert_eq!(path.rule, Some(RuleName::route_map("in", Some(10))));
    let received = world.speaker(gateway).received("y").unwrap();
    assert_eq!(received[0].attributes.local_pref, None, "kept as it came");
    let by_rule = Verdict::Accepted(Some(RuleName::route_map("in", Some(20))));
    assert_eq!(received[1].verdict, by_rule);

    let lighter = Actions {
        weight: Some(7),
        ..local_pref(50)
    };
    world.command(
        gateway,
        maps(vec![RouteMap::new(
            "in",
            vec![rule(10, only_one.clone(), lighter), rest.clone()],
        )]),
    );
    assert_eq!(
        world.carriers(gateway, "10.0.1.0/24"),
        ["y"],
        "weight comes first"
    );
    let lost = paths(&world, gateway, "10.0.1.0/24")[1].lost_by;
    assert_eq!(lost, Some(LostBy::Weight));

    let denied = RouteRule {
        decision: Decision::Deny,
        ..rule(10, only_one, Actions::default())
    };
    world.command(gateway, maps(vec![RouteMap::new("in", vec![denied, rest])]));
    assert_eq!(world.carriers(gateway, "10.0.1.0/24"), ["x"]);
    assert_eq!(world.carriers(gateway, "10.0.2.0/24"), ["x", "y"]);
    assert_eq!((world.octets_sent, world.downs()), (sent, 0));
}

#[test]
fn an_export_map_marks_and_prepends_and_its_edit_tells_anew_without_a_reset() {
    let (mut world, a, b) = pair(1);
    world.command(a, announce(&["10.0.1.0/24", "10.0.2.0/24"]));
    let marked = Actions {
        prepend: 2,
        med: Some(30),
        communities: CommunityEdit {
            add: vec![Community(65000 << 16 | 1), Community::NO_EXPORT],
            ..CommunityEdit::default()
        },
        extended_communities: CommunityEdit {
            add: vec![ExtendedCommunity::of_as(2, 65000, 9)],
            ..CommunityEdit::default()
        },
        large_communities: CommunityEdit {
            add: vec![LargeCommunity([65000, 1, 2])],
            ..CommunityEdit::default()
        },
        ..Actions::default()
    };
    let one = Conditions {
        prefix_lists: vec!["one".into()],
        ..Conditions::default()
    };
    world.command(
        a,
        maps(vec![RouteMap::new(
            "out",
            vec![rule(10, one.clone(), marked)],
        )]),
    );
    let mut config = peer_b();
    config.export = map("out");
    world.command(a, add(config));
    world.command(b, add(peer_a()));
    world.run(3 * SECOND);
    assert_eq!(world.received(b, "a"), ["10.0.1.0/24"]);
    let set = &world.speaker(b).received("a").unwrap()[0].attributes;
    assert_eq!(set.as_path.to_string(), "65000 65000 65000");
    assert_eq!(set.med, Some(30));
    assert_eq!(
        set.communities,
        [Community(65000 << 16 | 1), Community::NO_EXPORT]
    );
    assert_eq!(set.extended_communities[0].to_string(), "rt:65000:9");
    assert_eq!(set.large_communities[0].to_string(), "65000:1:2");
    let why = |world: &World, prefix| world.speaker(a).why_export(&name("b"), &net(prefix));
    assert_eq!(
        why(&world, "10.0.1.0/24"),
        Some(ExportVerdict::Advertised {
            rule: Some(RuleName::route_map("out", Some(10)))
        })
    );
    assert!(matches!(
        why(&world, "10.0.2.0/24"),
        Some(ExportVerdict::Withheld(_))
    ));

    world.command(
        a,
        maps(vec![RouteMap::new(
            "out",
            vec![rule(10, one, Actions::default())],
        )]),
    );
    world.run(SECOND);
    let set = &world.speaker(b).received("a").unwrap()[0].attributes;
    assert_eq!((set.as_path.to_string().as_str(), set.med), ("65000", None));
    assert_eq!(set.communities, []);
    assert_eq!(world.downs(), 0);
}

/// Three speakers in three ASes in a row.
fn row() -> (World, [Node; 3]) {
    let mut world = World::new(5);
    let a = world.add(speaker(65001, [1, 1, 1, 1]), &["10.8.0.0"]);
    let b = world.add(speaker(65002, [2, 2, 2, 2]), &["10.8.0.1", "10.9.0.0"]);
    let c = world.add(speaker(65003, [3, 3, 3, 3]), &["10.9.0.1"]);
    world.command(b, add(peer("a", "10.8.0.1", "10.8.0.0", 65001)));
    world.command(b, add(peer("c", "10.9.0.0", "10.9.0.1", 65003)));
    world.command(c, add(peer("b", "10.9.0.1", "10.9.0.0", 65002)));
    (world, [a, b, c])
}

#[test]
fn communities_go_as_far_as_they_say() {
    let (mut world, [a, b, c]) = row();
    world.command(a, announce(&["10.0.1.0/24", "10.0.2.0/24"]));
    let stays = ExtendedCommunity([0x40, 4, 0, 1, 0, 0, 0, 9]);
    let goes = ExtendedCommunity::of_as(3, 65001, 1);
    let one = Conditions {
        prefix_lists: vec!["one".into()],
        ..Conditions::default()
    };
    let no_export = Actions {
        communities: CommunityEdit {
            add: vec![Community::NO_EXPORT],
            ..CommunityEdit::default()
        },
        ..Actions::default()
    };
    let two = Actions {
        communities: CommunityEdit {
            add: vec![Community(7)],
            ..CommunityEdit::default()
        },
        extended_communities: CommunityEdit {
            add: vec![goes],
            ..CommunityEdit::default()
        },
        ..Actions::default()
    };
    let rules = vec![
        rule(10, one, no_export),
        rule(20, Conditions::default(), two),
    ];
    world.command(a, maps(vec![RouteMap::new("out", rules)]));
    // What may not leave b's AS is put on there.
    let local = Actions {
        extended_communities: CommunityEdit {
            add: vec![stays],
            ..CommunityEdit::default()
        },
        ..Actions::default()
    };
    world.command(
        b,
        maps(vec![RouteMap::new(
            "in",
            vec![rule(10, Conditions::default(), local)],
        )]),
    );
    let mut from_a = peer("a", "10.8.0.1", "10.8.0.0", 65001);
    from_a.import = map("in");
    world.command(b, Command::ReplacePeer(Box::new(from_a)));
    let mut to_b = peer("b", "10.8.0.0", "10.8.0.1", 65002);
    to_b.export = map("out");
    world.command(a, add(to_b));
    world.run(9 * SECOND);
    assert_eq!(world.received(b, "a"), ["10.0.1.0/24", "10.0.2.0/24"]);
    assert_eq!(world.received(c, "b"), ["10.0.2.0/24"]);
    assert!(
        paths(&world, b, "10.0.2.0/24")[0]
            .attributes
            .extended_communities
            .contains(&stays)
    );
    let set = &world.speaker(c).received("b").unwrap()[0].attributes;
    assert_eq!(set.communities, [Community(7)]);
    assert_eq!(set.extended_communities, [goes]);
}

#[test]
fn a_map_asks_for_paths_and_communities_and_replaces_a_next_hop() {
    let (mut world, [a, b, _]) = row();
    world.command(a, announce(&["10.0.1.0/24"]));
    world.command(a, add(peer("b", "10.8.0.0", "10.8.0.1", 65002)));
    let origin = AsPathNode::Sequence(vec![
        AsPathNode::OneOf(vec![NumberRange::new(65000, 65100)]),
        AsPathNode::End,
    ]);
    let from_there = Conditions {
        as_paths: vec![AsPathRegex::new(&origin).unwrap()],
        ..Conditions::default()
    };
    let elsewhere = Actions {
        next_hop: Some([10, 9, 0, 1].into()),
        ..Actions::default()
    };
    let marked = Conditions {
        communities: vec![StandardPattern {
            upper: NumberRange::ANY,
            lower: NumberRange::ANY,
        }],
        extended_communities: vec![ExtendedPattern::Exactly(ExtendedCommunity([0; 8]))],
        ..Conditions::default()
    };
    let rules = vec![
        rule(5, marked, Actions::default()),
        rule(10, from_there, elsewhere),
    ];
    world.command(b, maps(vec![RouteMap::new("in", rules)]));
    let mut from_a = peer("a", "10.8.0.1", "10.8.0.0", 65001);
    from_a.import = map("in");
    world.command(b, Command::ReplacePeer(Box::new(from_a)));
    world.run(9 * SECOND);
    let path = &paths(&world, b, "10.0.1.0/24")[0];
    assert_eq!(path.rule, Some(RuleName::route_map("in", Some(10))));
    assert!(
        world.carriers(b, "10.0.1.0/24").is_empty(),
        "nobody knows 10.9.0.1"
    );
    let found = Command::SetNextHop {
        address: ip("10.9.0.1"),
        interface: Some("east".into()),
    };
    world.command(b, found);
    let hops = &world.fib[&(b, net("10.0.1.0/24"))];
    assert_eq!(
        (hops[0].via, hops[0].interface.as_deref()),
        (ip("10.9.0.1"), Some("east"))
    );
}

#[test]
fn peers_in_our_as_are_told_the_preference_that_the_map_gave() {
    let mut world = World::new(7);
    let a = world.add(speaker(65001, [1, 1, 1, 1]), &["10.8.0.0"]);
    let b = world.add(speaker(65002, [2, 2, 2, 2]), &["10.8.0.1", "10.9.0.0"]);
    let c = world.add(speaker(65002, [3, 3, 3, 3]), &["10.9.0.1"]);
    world.command(a, add(peer("b", "10.8.0.0", "10.8.0.1", 65002)));
    world.command(a, announce(&["10.0.1.0/24"]));
    world.command(
        b,
        maps(vec![RouteMap::new(
            "in",
            vec![rule(10, Conditions::default(), local_pref(321))],
        )]),
    );
    let mut from_a = peer("a", "10.8.0.1", "10.8.0.0", 65001);
    from_a.import = map("in");
    world.command(b, add(from_a));
    world.command(b, add(peer("c", "10.9.0.0", "10.9.0.1", 65002)));
    world.command(c, add(peer("b", "10.9.0.1", "10.9.0.0", 65002)));
    world.run(9 * SECOND);
    let path = &paths(&world, c, "10.0.1.0/24")[0];
    assert_eq!(
        (path.local_pref, path.attributes.local_pref),
        (321, Some(321))
    );
}

#[test]
fn sets_that_a_map_made_are_forgotten_with_their_routes() {
    let (mut world, gateway, [x, y]) = site(|config| config.import = map("in"));
    let better = rule(10, Conditions::default(), local_pref(200));
    world.command(gateway, maps(vec![RouteMap::new("in", vec![better])]));
    assert_eq!(world.carriers(gateway, "10.0.1.0/24"), ["x", "y"]);
    let shared = &paths(&world, gateway, "10.0.1.0/24")[1];
    assert_eq!(shared.multipath, MultipathVerdict::InSet);
    let sets = |world: &World| world.speaker(gateway).summary(world.now).attribute_sets;
    assert_eq!(
        sets(&world),
        5,
        "received and made of two peers, and the best told to the other"
    );
    world.command(x, announce(&[]));
    world.command(y, announce(&[]));
    world.run(SECOND);
    assert_eq!(sets(&world), 0);
}

#[test]
fn paths_are_told_as_the_peer_wants_them() {
    let (mut world, [a, b, c]) = row();
    world.command(a, announce(&["10.0.1.0/24"]));
    world.command(a, add(peer("b", "10.8.0.0", "10.8.0.1", 65002)));
    let path = |world: &World| {
        let received = world.speaker(c).received("b").unwrap();
        received[0].attributes.as_path.to_string()
    };
    world.run(9 * SECOND);
    assert_eq!(path(&world), "65002 65001");
    let mut to_c = peer("c", "10.9.0.0", "10.9.0.1", 65003);
    to_c.remove_private_as = true;
    world.command(b, replace(to_c.clone()));
    world.run(SECOND);
    assert_eq!(path(&world), "65002", "its own stays");
    to_c.remove_private_as = false;
    to_c.prepend = 1;
    world.command(b, replace(to_c));
    world.run(SECOND);
    assert_eq!(path(&world), "65002 65002 65001");
    assert_eq!(world.downs(), 0);
}

#[test]
fn sites_of_one_as_hear_of_each_other_by_its_being_overridden_or_allowed() {
    let mut world = World::new(11);
    let a = world.add(speaker(65001, [1, 1, 1, 1]), &["10.8.0.0"]);
    let b = world.add(speaker(65002, [2, 2, 2, 2]), &["10.8.0.1", "10.9.0.0"]);
    let c = world.add(speaker(65001, [3, 3, 3, 3]), &["10.9.0.1"]);
    world.command(a, announce(&["10.0.1.0/24"]));
    world.command(a, add(peer("b", "10.8.0.0", "10.8.0.1", 65002)));
    world.command(b, add(peer("a", "10.8.0.1", "10.8.0.0", 65001)));
    let mut to_c = peer("c", "10.9.0.0", "10.9.0.1", 65001);
    world.command(b, add(to_c.clone()));
    let mut from_b = peer("b", "10.9.0.1", "10.9.0.0", 65002);
    world.command(c, add(from_b.clone()));
    world.run(9 * SECOND);
    assert!(
        world.carriers(c, "10.0.1.0/24").is_empty(),
        "its own AS is in the path"
    );
    let refused = world.speaker(c).neighbor(world.now, "b").unwrap().refused;
    assert_eq!(refused["as-loop"], 1);

    from_b.allow_own_as = 1;
    world.command(c, replace(from_b.clone()));
    assert_eq!(world.carriers(c, "10.0.1.0/24"), ["b"]);
    from_b.allow_own_as = 0;
    world.command(c, replace(from_b));
    assert!(world.carriers(c, "10.0.1.0/24").is_empty());

    to_c.as_override = true;
    world.command(b, replace(to_c));
    world.run(SECOND);
    assert_eq!(world.carriers(c, "10.0.1.0/24"), ["b"]);
    let set = &world.speaker(c).received("b").unwrap()[0].attributes;
    assert_eq!(set.as_path.to_string(), "65002 65002");
    assert_eq!(world.downs(), 0);
}

#[test]
fn a_default_route_of_ours_is_told_while_what_it_needs_is_there() {
    let (mut world, [a, b, c]) = row();
    world.command(a, add(peer("b", "10.8.0.0", "10.8.0.1", 65002)));
    let mut to_c = peer("c", "10.9.0.0", "10.9.0.1", 65003);
    to_c.export = Some(Policy::DenyAll);
    to_c.default_originate = Some(DefaultOriginate::While(net("10.0.1.0/24")));
    world.command(b, replace(to_c.clone()));
    world.run(9 * SECOND);
    let has = |world: &World| world.received(c, "b");
    assert!(has(&world).is_empty());
    let prefixes = |world: &World| world.speaker(b).summary(world.now).prefixes;
    assert_eq!(prefixes(&world), 0);

    world.command(a, announce(&["10.0.1.0/24"]));
    world.run(SECOND);
    assert_eq!(has(&world), ["0.0.0.0/0"]);
    let set = &world.speaker(c).received("b").unwrap()[0].attributes;
    assert_eq!(set.as_path.to_string(), "65002");
    assert_eq!(set.next_hop, Some([10, 9, 0, 0].into()));
    let why = world.speaker(b).why_export(&name("c"), &net("0.0.0.0/0"));
    assert_eq!(why, Some(ExportVerdict::Originated));
    assert!(
        world.carriers(b, "0.0.0.0/0").is_empty(),
        "it is no route of ours"
    );
    assert_eq!(prefixes(&world), 1);

    world.command(a, announce(&[]));
    world.run(SECOND);
    assert!(has(&world).is_empty());
    to_c.default_originate = Some(DefaultOriginate::Always);
    world.command(b, replace(to_c.clone()));
    world.run(SECOND);
    assert_eq!(has(&world), ["0.0.0.0/0"]);

    // One that we have does not disturb it, and takes its place where the policy lets it.
    world.command(a, announce(&["0.0.0.0/0"]));
    world.run(SECOND);
    assert_eq!(has(&world), ["0.0.0.0/0"]);
    assert!(!world.carriers(b, "0.0.0.0/0").is_empty());
    to_c.default_originate = None;
    world.command(b, replace(to_c.clone()));
    world.run(SECOND);
    assert!(has(&world).is_empty());
    to_c.export = Some(Policy::PermitAll);
    world.command(b, replace(to_c));
    world.run(SECOND);
    let set = &world.speaker(c).received("b").unwrap()[0].attributes;
    assert_eq!(set.as_path.to_string(), "65002 65001");
    assert_eq!(world.downs(), 0);
}
