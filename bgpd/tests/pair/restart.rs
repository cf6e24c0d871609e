//! Graceful restart (RFC 4724, RFC 8538): of a peer, and of ourselves.

use std::time::{Duration, Instant};

use bgpd::wire::{Capabilities, Family, Open, UpdateBuilder, end_of_rib, keepalive};
use bgpd::{
    Action, Asn, Command, Event, GracefulRestart, PeerConfig, Policy, Speaker, SpeakerConfig,
    StaleEnd,
};

use super::site::{
    SECOND, add, announce, list, name, net, pair, peer, peer_a, peer_b, permit, speaker,
};
use super::world::{Node, World};

const GRACE: GracefulRestart = GracefulRestart {
    restart_time: Duration::from_secs(60),
    notification: false,
    forwarding: true,
};

pub(super) fn graceful(mut peer: PeerConfig) -> PeerConfig {
    peer.graceful_restart = Some(GRACE);
    peer
}

/// The same, with the N bit.
pub(super) fn thorough(peer: PeerConfig) -> PeerConfig {
    let mut peer = graceful(peer);
    peer.graceful_restart.as_mut().unwrap().notification = true;
    peer
}

pub(super) fn config_b() -> SpeakerConfig {
    speaker(31898, [2, 2, 2, 2])
}

/// `a` and `b` with a session on these terms, over which `b` has taught two prefixes.
pub(super) fn taught(of_a: PeerConfig, of_b: PeerConfig) -> (World, Node, Node) {
    let (mut world, a, b) = pair(1);
    world.command(a, add(of_a));
    world.command(b, add(of_b));
    world.command(b, announce(&["10.1.0.0/16", "10.2.0.0/16"]));
    world.run(5 * SECOND);
    assert_eq!(world.received(a, "b"), ["10.1.0.0/16", "10.2.0.0/16"]);
    world.changes.clear();
    (world, a, b)
}

/// The process of `b` dies, and another one has its parameters and these prefixes.
fn replace_b(
    world: &mut World,
    b: Node,
    told: bool,
    found: Option<Duration>,
    of_b: PeerConfig,
    prefixes: &[&str],
) {
    world.restart(b, config_b(), told, found);
    world.command(b, add(of_b));
    world.command(b, announce(prefixes));
}

pub(super) fn swept(world: &World, node: Node) -> Vec<(usize, StaleEnd)> {
    let swept = world.events.iter().filter_map(|(it, event)| match event {
        Event::StaleSwept { prefixes, why, .. } if *it == node => Some((*prefixes, *why)),
        _ => None,
    });
    swept.collect()
}

pub(super) fn stale(world: &World, node: Node, peer: &str) -> u32 {
    let view = world.speaker(node).neighbor(world.now, peer).unwrap();
    view.summary.stale
}

#[test]
fn a_restarted_peers_routes_never_leave_the_kernel_and_those_not_taught_again_leave_at_its_end_of_rib()
 {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    replace_b(
        &mut world,
        b,
        true,
        Some(30 * SECOND),
        graceful(peer_a()),
        &["10.1.0.0/16"],
    );
    world.run(Duration::from_millis(1));
    assert!(!world.is_up(a, "b"));
    assert_eq!(stale(&world, a, "b"), 2);
    assert_eq!(world.carriers(a, "10.2.0.0/16"), ["b"]);
    world.run(5 * SECOND);
    assert_eq!(world.received(a, "b"), ["10.1.0.0/16"]);
    assert_eq!(swept(&world, a), [(1, StaleEnd::EndOfRib)]);
    assert_eq!(stale(&world, a, "b"), 0);
    let touched: Vec<_> = world
        .changes
        .iter()
        .filter(|(node, _)| *node == a)
        .collect();
    assert_eq!(
        touched.len(),
        1,
        "only the prefix that is no more: {touched:?}"
    );
    assert_eq!(world.carriers(a, "10.1.0.0/16"), ["b"]);
}

#[test]
fn a_third_speaker_hears_nothing_of_a_graceful_restart() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    let c = world.add(speaker(64999, [3, 3, 3, 3]), &["10.0.0.3"]);
    world.command(a, add(peer("c", "10.0.0.0", "10.0.0.3", 64999)));
    world.command(c, add(peer("a", "10.0.0.3", "10.0.0.0", 65000)));
    world.run(5 * SECOND);
    let before = world.speaker(c).neighbor(world.now, "a").unwrap();
    let prefixes = ["10.1.0.0/16", "10.2.0.0/16"];
    replace_b(
        &mut world,
        b,
        true,
        Some(30 * SECOND),
        graceful(peer_a()),
        &prefixes,
    );
    world.run(10 * SECOND);
    assert!(world.is_up(a, "b"));
    let after = world.speaker(c).neighbor(world.now, "a").unwrap();
    assert_eq!(
        before.messages_received.updates,
        after.messages_received.updates
    );
    assert_eq!(world.received(c, "a"), prefixes);
}

#[test]
fn a_peer_that_does_not_come_back_is_given_up_after_its_restart_time() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    world.restart(b, config_b(), true, None);
    world.run(59 * SECOND);
    assert_eq!(world.carriers(a, "10.1.0.0/16"), ["b"]);
    let problem = world
        .speaker(a)
        .neighbor(world.now, "b")
        .unwrap()
        .remarks
        .join("; ");
    assert!(
        problem.contains("2 of its routes are kept for its return"),
        "{problem}"
    );
    world.run(2 * SECOND);
    assert!(world.fib.is_empty(), "{:?}", world.fib);
    assert_eq!(swept(&world, a), [(2, StaleEnd::NotBack)]);
}

#[test]
fn a_peer_that_has_lost_its_forwarding_loses_its_routes_the_moment_it_is_back() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    replace_b(
        &mut world,
        b,
        true,
        None,
        graceful(peer_a()),
        &["10.1.0.0/16"],
    );
    world.run(Duration::from_millis(1));
    assert_eq!(stale(&world, a, "b"), 2);
    world.run_until(5 * SECOND, |world| world.is_up(a, "b"));
    assert_eq!(swept(&world, a), [(2, StaleEnd::ForwardingLost)]);
    world.run(5 * SECOND);
    assert_eq!(world.received(a, "b"), ["10.1.0.0/16"]);
}

#[test]
fn without_the_capability_on_both_sides_nothing_is_kept() {
    for (of_a, of_b) in [
        (graceful(peer_b()), peer_a()),
        (peer_b(), graceful(peer_a())),
    ] {
        let (mut world, a, b) = taught(of_a, of_b);
        world.reset_connections(b);
        world.run(Duration::from_millis(1));
        assert!(world.received(a, "b").is_empty() && world.fib.is_empty());
    }
}

#[test]
fn a_peer_that_only_helps_is_not_helped() {
    let mut helper = graceful(peer_a());
    helper.graceful_restart.as_mut().unwrap().forwarding = false;
    let (mut world, a, b) = taught(graceful(peer_b()), helper);
    world.reset_connections(b);
    world.run(Duration::from_millis(1));
    assert!(world.received(a, "b").is_empty());
}

#[test]
fn a_dead_tunnel_takes_a_restarting_peers_routes_with_it() {
    let mut over_tunnel = graceful(peer_b());
    over_tunnel.interface = Some("vti1".into());
    let (mut world, a, b) = taught(over_tunnel, graceful(peer_a()));
    world.restart(b, config_b(), true, None);
    world.run(SECOND);
    assert_eq!(world.carriers(a, "10.1.0.0/16"), ["b"]);
    let tunnel = |up| Command::SetInterface {
        name: "vti1".into(),
        up,
    };
    world.command(a, tunnel(false));
    assert!(world.fib.is_empty(), "{:?}", world.fib);
    assert_eq!(swept(&world, a), [(2, StaleEnd::PathDown)]);
    // What was swept does not come back with the tunnel: the peer has to say it again.
    world.command(a, tunnel(true));
    assert!(world.fib.is_empty(), "{:?}", world.fib);
}

#[test]
fn a_session_that_is_lost_behind_a_dead_tunnel_leaves_nothing() {
    let mut over_tunnel = graceful(peer_b());
    over_tunnel.interface = Some("vti1".into());
    let (mut world, a, b) = taught(over_tunnel, graceful(peer_a()));
    world.command(
        a,
        Command::SetInterface {
            name: "vti1".into(),
            up: false,
        },
    );
    world.reset_connections(b);
    world.run(Duration::from_millis(1));
    assert_eq!(stale(&world, a, "b"), 0);
    assert!(world.received(a, "b").is_empty());
}

#[test]
fn a_hold_time_that_ran_out_is_graceful_with_the_n_bit_on_both_sides_and_only_then() {
    for (of_a, of_b, kept) in [
        (thorough(peer_b()), thorough(peer_a()), 2),
        (thorough(peer_b()), graceful(peer_a()), 0),
        (graceful(peer_b()), thorough(peer_a()), 0),
    ] {
        let (mut world, a, b) = taught(of_a, of_b);
        world.cut(b);
        world.run(20 * SECOND);
        assert!(!world.is_up(a, "b"));
        assert_eq!(stale(&world, a, "b"), kept);
    }
}

#[test]
fn a_goodbye_that_is_meant_is_a_hard_reset_and_keeps_nothing() {
    let (mut world, a, b) = taught(thorough(peer_b()), thorough(peer_a()));
    world.command(
        b,
        Command::DisablePeer {
            peer: name("a"),
            text: "moving house".into(),
        },
    );
    world.run(SECOND);
    assert_eq!(stale(&world, a, "b"), 0);
    assert!(world.received(a, "b").is_empty() && world.fib.is_empty());
    let heard = world.speaker(a).neighbor(world.now, "b").unwrap();
    let heard = heard.last_error.unwrap().to_string();
    assert!(
        heard.contains("hard reset") && heard.contains("moving house"),
        "{heard}"
    );
}

#[test]
fn a_peer_disabled_while_it_is_away_leaves_nothing() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    world.restart(b, config_b(), true, None);
    world.run(SECOND);
    assert_eq!(stale(&world, a, "b"), 2);
    let text = String::new();
    world.command(
        a,
        Command::DisablePeer {
            peer: name("b"),
            text,
        },
    );
    assert!(world.fib.is_empty());
    assert_eq!(swept(&world, a), [(2, StaleEnd::Ended)]);
}

#[test]
fn a_policy_edit_acts_on_routes_whose_peer_is_away() {
    let mut listed = graceful(peer_b());
    listed.import = list("in");
    let (mut world, a, b) = pair(1);
    let both = permit("in", &["10.1.0.0/16", "10.2.0.0/16"]);
    world.command(a, Command::SetPolicy(vec![both].into()));
    world.command(a, add(listed));
    world.command(b, add(graceful(peer_a())));
    world.command(b, announce(&["10.1.0.0/16", "10.2.0.0/16"]));
    world.run(5 * SECOND);
    world.restart(b, config_b(), true, None);
    world.run(SECOND);
    world.command(
        a,
        Command::SetPolicy(vec![permit("in", &["10.1.0.0/16"])].into()),
    );
    assert_eq!(world.carriers(a, "10.1.0.0/16"), ["b"]);
    assert!(world.carriers(a, "10.2.0.0/16").is_empty());
    assert_eq!(stale(&world, a, "b"), 2);
    world.run(62 * SECOND);
    assert!(world.fib.is_empty());
    let summary = world.speaker(a).summary(world.now);
    assert_eq!((summary.paths, summary.attribute_sets), (0, 0));
}

#[test]
fn restarts_that_follow_each_other_keep_nothing_twice() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    // It comes back, tells one prefix of two, and dies again before its End-of-RIB.
    world.restart(b, config_b(), true, Some(30 * SECOND));
    world.command(b, add(graceful(peer_a())));
    world.command(b, add(peer("nobody", "10.0.0.1", "10.0.0.9", 64999)));
    world.command(b, announce(&["10.1.0.0/16"]));
    world.run(5 * SECOND);
    assert!(world.is_up(a, "b"));
    assert_eq!(
        stale(&world, a, "b"),
        1,
        "End-of-RIB waits for the peer that does not come"
    );
    world.reset_connections(b);
    world.run(Duration::from_millis(1));
    assert_eq!(swept(&world, a), [(1, StaleEnd::LostAgain)]);
    assert_eq!(stale(&world, a, "b"), 1);
    assert_eq!(world.carriers(a, "10.1.0.0/16"), ["b"]);
}

#[test]
fn a_peer_back_before_its_death_was_noticed_takes_its_session_over() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    // A machine that is reset does not close its connections.
    let prefixes = ["10.1.0.0/16", "10.2.0.0/16"];
    replace_b(
        &mut world,
        b,
        false,
        Some(30 * SECOND),
        graceful(peer_a()),
        &prefixes,
    );
    let back = |world: &World| world.is_up(a, "b") && world.is_up(b, "a");
    let took = world.run_until(10 * SECOND, back);
    assert!(took < 3 * SECOND, "{took:?}");
    world.run(5 * SECOND);
    assert_eq!(world.received(a, "b"), prefixes);
    let lost = |node, event: &Event| {
        node == a
            && matches!(event, Event::PeerDown { reason, .. } if reason.to_string().contains("connected anew"))
    };
    assert_eq!(world.count(lost), 1, "{:#?}", world.events);
    assert!(
        world.changes.iter().all(|(node, _)| *node != a),
        "{:?}",
        world.changes
    );
}

#[test]
fn two_connections_that_cross_when_a_peer_returns_are_no_second_restart() {
    let mut now = Instant::now();
    let (remote, local) = (([10, 0, 0, 0], 40000).into(), ([10, 0, 0, 1], 179).into());
    // What the peer says on each of its connections.
    let mut peer = Speaker::restarted(now, speaker(65000, [1, 1, 1, 1]), [2; 32], 60 * SECOND);
    let mut passive = graceful(peer_b());
    passive.passive = true;
    peer.command(now, add(passive)).unwrap();
    peer.handle_accepted(now, local, remote).unwrap();
    let mut open = Vec::new();
    while let Some(action) = peer.poll_action() {
        if let Action::Send { bytes, .. } = action {
            open.extend(bytes);
        }
    }

    let mut helper = Speaker::new(config_b(), [1; 32]);
    let mut passive = graceful(peer_a());
    passive.passive = true;
    helper.command(now, add(passive)).unwrap();
    let lost = |speaker: &mut Speaker| {
        std::iter::from_fn(|| speaker.poll_event())
            .any(|event| matches!(event, Event::PeerDown { .. }))
    };
    let conn = helper.handle_accepted(now, remote, local).unwrap();
    helper.handle_bytes(now, conn, &open);
    helper.handle_bytes(now, conn, &keepalive());
    now += SECOND;
    let crossing = helper.handle_accepted(now, remote, local).unwrap();
    helper.handle_bytes(now, crossing, &open);
    assert!(!lost(&mut helper));
    let closed = std::iter::from_fn(|| helper.poll_action()).filter_map(|action| match action {
        Action::Close { conn } => Some(conn),
        _ => None,
    });
    assert_eq!(closed.collect::<Vec<_>>(), [crossing]);
    // Much later it has restarted again.
    now += 20 * SECOND;
    let anew = helper.handle_accepted(now, remote, local).unwrap();
    helper.handle_bytes(now, anew, &open);
    assert!(lost(&mut helper));
}

#[test]
fn after_our_own_restart_end_of_rib_waits_until_everybody_has_been_heard() {
    let mut world = World::new(4);
    let a = world.add(speaker(65000, [1, 1, 1, 1]), &["10.0.0.0"]);
    let b = world.add(config_b(), &["10.0.0.1"]);
    let c = world.add(speaker(64999, [3, 3, 3, 3]), &["10.0.0.3"]);
    let to_b = || graceful(peer_b());
    let to_c = || graceful(peer("c", "10.0.0.0", "10.0.0.3", 64999));
    world.command(a, add(to_b()));
    world.command(a, add(to_c()));
    world.command(a, announce(&["192.168.2.0/24"]));
    world.command(b, add(graceful(peer_a())));
    world.command(c, add(graceful(peer("a", "10.0.0.3", "10.0.0.0", 65000))));
    world.command(c, announce(&["172.16.0.0/16"]));
    world.run(5 * SECOND);
    let told = ["172.16.0.0/16", "192.168.2.0/24"];
    assert_eq!(world.received(b, "a"), told);
    // C cannot be reached for a while; B must not lose what only C can teach us again.
    world.cut(c);
    world.restart(a, speaker(65000, [1, 1, 1, 1]), true, Some(60 * SECOND));
    world.command(a, add(to_b()));
    world.command(a, add(to_c()));
    world.run(5 * SECOND);
    assert!(world.is_up(a, "b"));
    assert_eq!(
        world.received(b, "a"),
        told,
        "our own routes are not known yet"
    );
    world.command(a, announce(&["192.168.2.0/24"]));
    world.run(5 * SECOND);
    assert_eq!(world.received(b, "a"), told);
    assert_eq!(stale(&world, b, "a"), 1);
    world.mend(c);
    world.run(20 * SECOND);
    assert!(world.is_up(a, "c"));
    assert_eq!(world.received(b, "a"), told);
    assert_eq!(stale(&world, b, "a"), 0);
    let is_over = |node, event: &Event| {
        node == a && matches!(event, Event::RestartOver { unheard } if unheard.is_empty())
    };
    assert_eq!(world.count(is_over), 1, "{:#?}", world.events);
    let withdrawn = world
        .changes
        .iter()
        .filter(|(node, change)| *node == b && change.next_hops.is_empty());
    assert_eq!(withdrawn.count(), 0);
}

#[test]
fn after_our_own_restart_a_peer_that_never_comes_is_waited_for_no_longer_than_was_said() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    let nobody = || add(peer("nobody", "10.0.0.1", "10.0.0.9", 64999));
    world.restart(b, config_b(), true, Some(30 * SECOND));
    world.command(b, add(graceful(peer_a())));
    world.command(b, nobody());
    world.command(b, announce(&["10.1.0.0/16"]));
    world.run(29 * SECOND);
    assert_eq!(stale(&world, a, "b"), 1);
    world.run(2 * SECOND);
    assert_eq!(world.received(a, "b"), ["10.1.0.0/16"]);
    let is_over = |node, event: &Event| {
        node == b && matches!(event, Event::RestartOver { unheard } if *unheard == [name("nobody")])
    };
    assert_eq!(world.count(is_over), 1, "{:#?}", world.events);
}

#[test]
fn a_peer_without_the_capability_has_been_heard_when_it_falls_quiet() {
    let mut now = Instant::now();
    let mut restarted = Speaker::restarted(now, config_b(), [1; 32], 60 * SECOND);
    let mut passive = graceful(peer_a());
    passive.passive = true;
    restarted.command(now, add(passive)).unwrap();
    restarted.command(now, announce(&["10.1.0.0/16"])).unwrap();
    let (remote, local) = (([10, 0, 0, 0], 40000).into(), ([10, 0, 0, 1], 179).into());
    let conn = restarted.handle_accepted(now, remote, local).unwrap();
    let open = Open {
        my_as: 65000,
        hold_time: 0,
        identifier: [1, 1, 1, 1].into(),
        capabilities: Capabilities::default(),
    };
    restarted.handle_bytes(now, conn, &open.emit());
    restarted.handle_bytes(now, conn, &keepalive());
    let said = |speaker: &mut Speaker| {
        let mut octets = Vec::new();
        while let Some(action) = speaker.poll_action() {
            if let Action::Send { bytes, .. } = action {
                octets.extend(bytes);
            }
        }
        let end = end_of_rib(Family::IPV4_UNICAST);
        octets.windows(end.len()).any(|it| it == end)
    };
    let over = |speaker: &mut Speaker| {
        std::iter::from_fn(|| speaker.poll_event())
            .any(|event| matches!(event, Event::RestartOver { unheard } if unheard.is_empty()))
    };
    assert!(!said(&mut restarted) && !over(&mut restarted));
    // Whatever it sends makes it be waited for a little longer.
    now += 4 * SECOND;
    restarted.handle_timeout(now);
    restarted.handle_bytes(now, conn, &withdrawal());
    now += 4 * SECOND;
    restarted.handle_timeout(now);
    assert!(!said(&mut restarted) && !over(&mut restarted));
    assert_eq!(restarted.poll_timeout(), Some(now + SECOND));
    now += SECOND;
    restarted.handle_timeout(now);
    assert!(said(&mut restarted) && over(&mut restarted));
}

/// An UPDATE that takes back what was never said.
fn withdrawal() -> Vec<u8> {
    let mut octets = Vec::new();
    let mut builder = UpdateBuilder::withdraw(Family::IPV4_UNICAST);
    builder.push(net("10.9.0.0/16"), &mut octets);
    builder.finish(&mut octets);
    octets
}

#[test]
fn what_a_speaker_says_of_its_restart_is_true() {
    let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
    let said = |world: &World| {
        let view = world.speaker(a).neighbor(world.now, "b").unwrap();
        let said = view.agreed.unwrap().graceful_restart.unwrap();
        (said.restarted, !said.forwarding_preserved.is_empty())
    };
    assert_eq!(said(&world), (false, false), "a first start");
    world.reset_connections(b);
    world.run(5 * SECOND);
    assert_eq!(
        said(&world),
        (false, true),
        "a session lost, not the process"
    );
    replace_b(
        &mut world,
        b,
        true,
        Some(30 * SECOND),
        graceful(peer_a()),
        &["10.1.0.0/16"],
    );
    world.run(5 * SECOND);
    assert_eq!(
        said(&world),
        (true, true),
        "a restart, with the kernel's routes found"
    );
    world.reset_connections(b);
    world.run(5 * SECOND);
    assert_eq!(
        said(&world),
        (false, true),
        "a session lost after the restart was over"
    );
    replace_b(
        &mut world,
        b,
        true,
        None,
        graceful(peer_a()),
        &["10.1.0.0/16"],
    );
    world.run(5 * SECOND);
    assert_eq!(said(&world), (false, false), "a restart with nothing found");
}

#[test]
fn every_seed_of_restarts_ends_with_the_same_tables() {
    for seed in 0..60 {
        let (mut world, a, b) = pair(seed);
        let policies = |mut peer: PeerConfig| {
            peer.import = Some(Policy::PermitAll);
            thorough(peer)
        };
        world.command(a, add(policies(peer_b())));
        world.command(b, add(policies(peer_a())));
        world.command(b, announce(&["10.1.0.0/16", "10.2.0.0/16"]));
        world.run(Duration::from_millis(200 + 37 * seed));
        for round in 0..3u64 {
            let told = (seed + round) % 2 == 0;
            let found = ((seed + round) % 3 > 0).then_some(10 * SECOND);
            let prefixes = ["10.1.0.0/16", "10.3.0.0/16"];
            replace_b(&mut world, b, told, found, policies(peer_a()), &prefixes);
            world.run(Duration::from_millis(100 + 91 * (seed ^ round)));
        }
        world.run(120 * SECOND);
        assert!(world.is_up(a, "b"), "seed {seed}");
        assert_eq!(
            world.received(a, "b"),
            ["10.1.0.0/16", "10.3.0.0/16"],
            "seed {seed}"
        );
        assert_eq!(stale(&world, a, "b"), 0, "seed {seed}");
        assert_eq!(world.carriers(a, "10.3.0.0/16"), ["b"], "seed {seed}");
        let agreed = world
            .speaker(a)
            .neighbor(world.now, "b")
            .unwrap()
            .agreed
            .unwrap();
        assert_eq!(agreed.remote_asn, Asn(31898));
    }
}
