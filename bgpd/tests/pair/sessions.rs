//! How sessions come about, live and end.

use std::time::Duration;

use bgpd::{
    Asn, Command, DownReason, Effect, EffectKind, Event, OverLimit, PrefixLimit, SessionError,
    State,
};

use super::site::{
    SECOND, add, announce, established, name, pair, peer, peer_a, peer_b, replace, speaker,
};
use super::world::World;

#[test]
fn two_speakers_that_dial_at_once_end_with_one_session_under_every_seed() {
    for seed in 0..200 {
        let (mut world, a, b) = pair(seed);
        world.command(a, add(peer_b()));
        world.command(b, add(peer_a()));
        let both = |world: &World| world.is_up(a, "b") && world.is_up(b, "a");
        let took = world.run_until(10 * SECOND, both);
        assert!(took < 3 * SECOND, "seed {seed}: {took:?}");
        world.run(60 * SECOND);
        assert!(both(&world), "seed {seed}");
        assert_eq!(world.connections(a).len(), 1, "seed {seed}");
        assert_eq!(world.downs(), 0, "seed {seed}: {:#?}", world.events);
    }
}

#[test]
fn a_passive_speaker_waits_and_is_connected_to() {
    let (mut world, a, b) = pair(1);
    let mut passive = peer_b();
    passive.passive = true;
    world.command(a, add(passive));
    world.run(30 * SECOND);
    assert_eq!(world.state(a, "b"), State::Active);
    world.command(b, add(peer_a()));
    world.run_until(SECOND, |world| world.is_up(a, "b"));
}

#[test]
fn a_peer_that_comes_late_is_reached_soon_after() {
    let (mut world, a, b) = pair(1);
    let mut active = peer_b();
    active.connect_retry = 2 * SECOND;
    world.command(a, add(active));
    world.run(60 * SECOND);
    let mut passive = peer_a();
    passive.passive = true;
    world.command(b, add(passive));
    let took = world.run_until(5 * SECOND, |world| world.is_up(a, "b"));
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[test]
fn an_interface_that_comes_up_is_dialled_over_at_once() {
    let (mut world, a, b) = pair(1);
    let tunnel = |up| Command::SetInterface {
        name: "vti1".into(),
        up,
    };
    let mut over_tunnel = peer_b();
    over_tunnel.interface = Some("vti1".into());
    world.command(a, tunnel(false));
    world.command(a, add(over_tunnel));
    let mut passive = peer_a();
    passive.passive = true;
    world.command(b, add(passive));
    world.run(60 * SECOND);
    assert_eq!(world.state(a, "b"), State::Idle);
    let problem = world
        .speaker(a)
        .neighbor(world.now, "b")
        .unwrap()
        .summary
        .problem;
    assert_eq!(problem.as_deref(), Some("vti1 is down"));
    world.command(a, tunnel(true));
    let took = world.run_until(SECOND, |world| world.is_up(a, "b"));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn the_smaller_hold_time_is_agreed_and_kept_alive() {
    let (mut world, a, b) = pair(1);
    let mut slow = peer_b();
    slow.hold_time = Duration::from_secs(90);
    let mut fast = peer_a();
    fast.hold_time = Duration::from_secs(9);
    world.command(a, add(slow));
    world.command(b, add(fast));
    world.run(300 * SECOND);
    let agreed = world
        .speaker(a)
        .neighbor(world.now, "b")
        .unwrap()
        .agreed
        .unwrap();
    assert_eq!(
        (agreed.hold_time, agreed.keepalive),
        (9 * SECOND, 3 * SECOND)
    );
    assert!(agreed.four_octet_as && agreed.route_refresh && agreed.enhanced_route_refresh);
    assert_eq!(world.downs(), 0);
}

#[test]
fn a_hold_time_of_zero_is_a_session_without_keepalives() {
    let (mut world, a, b) = pair(1);
    let mut forever = peer_b();
    forever.hold_time = Duration::ZERO;
    world.command(a, add(forever));
    world.command(b, add(peer_a()));
    world.run(5 * SECOND);
    let sent = world.octets_sent;
    world.run(3600 * SECOND);
    assert_eq!(world.octets_sent, sent);
    assert!(world.is_up(a, "b"));
}

#[test]
fn a_cut_wire_is_noticed_when_the_hold_time_is_over_and_mended_by_itself() {
    let (mut world, a, b) = established(1);
    world.cut(b);
    world.run(17 * SECOND - 7 * SECOND);
    assert!(world.is_up(a, "b"));
    world.run(9 * SECOND);
    let expired = |event: &Event| {
        matches!(
            event,
            Event::PeerDown {
                reason: DownReason::Failed(SessionError::HoldTimerExpired { .. }),
                ..
            }
        )
    };
    assert_eq!(
        world.count(|_, event| expired(event)),
        2,
        "{:#?}",
        world.events
    );
    world.mend(b);
    world.run_until(10 * SECOND, |world| {
        world.is_up(a, "b") && world.is_up(b, "a")
    });
}

#[test]
fn a_lost_connection_is_opened_anew_within_a_second() {
    let (mut world, a, b) = established(1);
    world.reset_connections(a);
    world.run(Duration::from_millis(1));
    assert!(!world.is_up(a, "b"));
    let both = |world: &World| world.is_up(a, "b") && world.is_up(b, "a");
    let took = world.run_until(5 * SECOND, both);
    assert!(took < 2 * SECOND, "{took:?}");
}

#[test]
fn a_wrong_as_names_what_was_said_and_what_was_expected_on_both_sides() {
    let (mut world, a, b) = pair(1);
    let mut wrong = peer_b();
    wrong.remote_asn = Asn(64999);
    world.command(a, add(wrong));
    world.command(b, add(peer_a()));
    world.run(10 * SECOND);
    let expected = SessionError::PeerAs {
        offered: Asn(31898),
        expected: Asn(64999),
    };
    let found = world.count(|node, event| {
        node == a
            && matches!(event, Event::OpenFailed { reason: DownReason::Failed(it), .. } if *it == expected)
    });
    assert!(found > 0, "{:#?}", world.events);
    let ours = world.speaker(a).neighbor(world.now, "b").unwrap();
    let problem = ours.summary.problem.unwrap();
    assert!(
        problem.contains("31898") && problem.contains("64999"),
        "{problem}"
    );
    let theirs = world.speaker(b).neighbor(world.now, "a").unwrap();
    let problem = theirs.summary.problem.unwrap();
    assert!(problem.contains("bad peer AS"), "{problem}");
    // No storm: what ends in an error is tried at growing intervals.
    let attempts =
        world.count(|node, event| node == a && matches!(event, Event::OpenFailed { .. }));
    world.run(600 * SECOND);
    let later = world.count(|node, event| node == a && matches!(event, Event::OpenFailed { .. }));
    assert!(
        later - attempts < 80,
        "{} attempts in ten minutes",
        later - attempts
    );
    world.command(a, replace(peer_b()));
    world.run_until(40 * SECOND, |world| world.is_up(a, "b"));
}

#[test]
fn an_administrative_shutdown_carries_the_operators_words() {
    let (mut world, a, b) = established(1);
    let text = "Wartung bis 14:00 – Grüße".to_owned();
    world.command(
        a,
        Command::DisablePeer {
            peer: name("b"),
            text: text.clone(),
        },
    );
    world.run(SECOND);
    let heard = world
        .speaker(b)
        .neighbor(world.now, "a")
        .unwrap()
        .last_error
        .unwrap();
    assert!(heard.to_string().contains(&text), "{heard}");
    world.run(60 * SECOND);
    assert!(!world.is_up(a, "b"));
    world.command(a, Command::EnablePeer(name("b")));
    world.run_until(10 * SECOND, |world| world.is_up(a, "b"));
}

#[test]
fn four_octet_as_numbers_meet_on_a_session_of_its_own_as() {
    // The reference site's LAN side: we are AS 65551 there, the nodes are AS 65000 as we are elsewhere.
    let mut world = World::new(3);
    let gateway = world.add(speaker(65000, [1, 1, 1, 1]), &["192.168.200.1"]);
    let node = world.add(speaker(65000, [2, 2, 2, 2]), &["192.168.200.31"]);
    let mut lan = peer("node", "192.168.200.1", "192.168.200.31", 65000);
    lan.local_asn = Some(Asn(65551));
    world.command(gateway, add(lan));
    world.command(
        node,
        add(peer("gateway", "192.168.200.31", "192.168.200.1", 65551)),
    );
    world.command(node, announce(&["172.16.200.1/32"]));
    world.run(3 * SECOND);
    assert!(world.is_up(gateway, "node"));
    assert_eq!(world.carriers(gateway, "172.16.200.1/32"), ["node"]);
}

#[test]
fn too_many_prefixes_end_the_session_and_it_is_tried_again_after_the_pause() {
    let (mut world, a, b) = pair(1);
    let mut limited = peer_b();
    let over = OverLimit::Shutdown {
        restart: Some(30 * SECOND),
    };
    limited.max_prefixes_in = PrefixLimit { max: 2, over };
    world.command(a, add(limited));
    world.command(b, add(peer_a()));
    world.command(b, announce(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]));
    world.run(5 * SECOND);
    assert!(!world.is_up(a, "b"));
    let heard = world
        .speaker(b)
        .neighbor(world.now, "a")
        .unwrap()
        .last_error
        .unwrap();
    assert!(
        heard.to_string().contains("maximum number of prefixes"),
        "{heard}"
    );
    world.command(b, announce(&["10.1.0.0/16"]));
    world.run(20 * SECOND);
    assert!(!world.is_up(a, "b"));
    world.run_until(60 * SECOND, |world| world.is_up(a, "b"));
}

#[test]
fn a_peer_down_for_its_prefixes_is_tried_anew_when_its_limit_is_another_one() {
    for restart in [None, Some(600 * SECOND)] {
        let (mut world, a, b) = pair(1);
        let limited = |max| {
            let mut limited = peer_b();
            let over = OverLimit::Shutdown { restart };
            limited.max_prefixes_in = PrefixLimit { max, over };
            limited
        };
        world.command(a, add(limited(1)));
        world.command(b, add(peer_a()));
        world.command(b, announce(&["10.1.0.0/16", "10.2.0.0/16"]));
        world.run(60 * SECOND);
        assert!(!world.is_up(a, "b"));
        world.command(a, replace(limited(2)));
        world.run_until(10 * SECOND, |world| world.is_up(a, "b"));
        world.run(5 * SECOND);
        assert_eq!(world.received(a, "b").len(), 2);
    }
}

#[test]
fn too_many_prefixes_may_be_worth_a_word_and_no_more() {
    let (mut world, a, b) = pair(1);
    let mut limited = peer_b();
    let over = OverLimit::Warn;
    limited.max_prefixes_in = PrefixLimit { max: 1, over };
    world.command(a, add(limited));
    world.command(b, add(peer_a()));
    world.command(b, announce(&["10.1.0.0/16", "10.2.0.0/16"]));
    world.run(60 * SECOND);
    assert!(world.is_up(a, "b"));
    assert_eq!(world.received(a, "b").len(), 2);
    let told = |_, event: &Event| {
        matches!(
            event,
            Event::PrefixLimit {
                received: 2,
                limit: 1,
                ..
            }
        )
    };
    assert_eq!(world.count(told), 1, "{:#?}", world.events);
}

#[test]
fn replacing_a_peer_has_the_smallest_effect() {
    let old = peer_b();
    let effect = |change: fn(&mut bgpd::PeerConfig)| {
        let mut new = old.clone();
        change(&mut new);
        old.effect_of(&new)
    };
    let expected = |kind, field| Effect {
        kind,
        fields: vec![field],
    };
    assert_eq!(effect(|_| ()), Effect::default());
    assert_eq!(
        effect(|it| it.passive = true),
        expected(EffectKind::None, "passive")
    );
    assert_eq!(
        effect(|it| it.import = None),
        expected(EffectKind::Refresh, "import")
    );
    assert_eq!(
        effect(|it| it.remote_asn = Asn(1)),
        expected(EffectKind::Reset, "remote_asn")
    );
}

#[test]
fn a_removed_peer_leaves_nothing_behind() {
    let (mut world, a, b) = established(1);
    world.command(b, announce(&["10.9.0.0/16"]));
    world.run(SECOND);
    assert_eq!(world.carriers(a, "10.9.0.0/16"), ["b"]);
    world.command(a, Command::RemovePeer(name("b")));
    assert!(world.fib.is_empty());
    let summary = world.speaker(a).summary(world.now);
    assert_eq!(
        (summary.prefixes, summary.paths, summary.attribute_sets),
        (0, 0, 0)
    );
    world.run(30 * SECOND);
    assert!(!world.is_up(b, "a"));
}

#[test]
fn a_peer_that_takes_nothing_costs_no_memory_and_is_given_up() {
    let (mut world, a, b) = established(1);
    world.stick(a);
    for round in 0..500u32 {
        let prefixes: Vec<String> = (0..20)
            .map(|it| format!("10.{}.{}.0/24", it, round % 250))
            .collect();
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        world.command(a, announce(&prefixes));
    }
    assert!(world.octets_sent < 200_000, "{}", world.octets_sent);
    // It still hears the other side; what ends the session is that it cannot be heard.
    world.run(30 * SECOND);
    assert!(!world.is_up(b, "a"));
}
