//! What BFD's word does to a session (RFC 5882, RFC 9384).

use std::time::Duration;

use bgpd::{Command, DownReason, Event, StaleEnd, State};

use super::restart::{config_b, graceful, stale, swept, taught, thorough};
use super::site::{SECOND, add, established, name, pair, peer_a, peer_b};

fn bfd_down(control_plane_independent: bool) -> Command {
    Command::BfdDown {
        peer: name("b"),
        control_plane_independent,
    }
}

fn hold() -> Command {
    Command::HoldPeer {
        peer: name("b"),
        text: "BFD is not up".into(),
    }
}

#[test]
fn bfd_down_ends_the_session_at_once_and_both_sides_say_why() {
    let (mut world, a, b) = taught(peer_b(), peer_a());
    world.command(a, bfd_down(false));
    assert!(
        !world.is_up(a, "b") && world.fib.is_empty(),
        "{:?}",
        world.fib
    );
    let ours = world.speaker(a).neighbor(world.now, "b").unwrap();
    let reason = ours.last_error.unwrap();
    assert!(matches!(&reason, DownReason::Ceased(it) if (it.code, it.subcode) == (6, 10)));
    assert!(reason.to_string().contains("BFD down (6/10)"), "{reason}");
    world.run(Duration::from_millis(100));
    let theirs = world.speaker(b).neighbor(world.now, "a").unwrap();
    let heard = theirs.last_error.unwrap();
    assert!(
        matches!(&heard, DownReason::NotificationReceived(it) if (it.code, it.subcode) == (6, 10)),
        "{heard}"
    );
    // Nobody is to blame, so nobody waits long once there is a path again.
    world.run_until(5 * SECOND, |world| world.is_up(a, "b"));
}

#[test]
fn bfd_down_on_an_established_session_keeps_nothing_whatever_was_agreed() {
    for independent in [false, true] {
        let (mut world, a, b) = taught(thorough(peer_b()), thorough(peer_a()));
        world.command(a, bfd_down(independent));
        assert_eq!(stale(&world, a, "b"), 0);
        assert!(world.fib.is_empty());
        world.run(Duration::from_millis(100));
        let theirs = world.speaker(b).neighbor(world.now, "a").unwrap();
        let heard = theirs.last_error.unwrap().to_string();
        assert!(
            heard.contains("hard reset") && heard.contains("BFD down"),
            "{heard}"
        );
        assert_eq!(stale(&world, b, "a"), 0);
    }
}

#[test]
fn a_restarting_peers_routes_outlive_its_bfd_only_where_that_dies_with_its_process() {
    for (independent, kept) in [(false, 2), (true, 0)] {
        let (mut world, a, b) = taught(graceful(peer_b()), graceful(peer_a()));
        world.restart(b, config_b(), true, None);
        world.run(SECOND);
        assert_eq!(stale(&world, a, "b"), 2);
        world.command(a, bfd_down(independent));
        assert_eq!(stale(&world, a, "b"), kept);
        let ends: Vec<_> = swept(&world, a);
        let expected = [(2, StaleEnd::PathDown)];
        assert_eq!(ends, if independent { &expected[..] } else { &[] });
    }
}

#[test]
fn bfd_down_is_nothing_to_a_session_that_is_not_established() {
    let (mut world, a, _) = pair(1);
    world.command(a, add(peer_b()));
    let before = world.state(a, "b");
    world.command(a, bfd_down(true));
    assert_eq!(world.state(a, "b"), before);
    let downs = world.count(|_, event| matches!(event, Event::PeerDown { .. }));
    assert_eq!(downs, 0);
}

#[test]
fn a_held_peer_gets_no_session_until_it_is_enabled_and_says_what_it_waits_for() {
    let (mut world, a, b) = pair(1);
    world.command(a, add(peer_b()));
    world.command(a, hold());
    world.command(b, add(peer_a()));
    world.run(60 * SECOND);
    assert_eq!(world.state(a, "b"), State::Idle);
    let view = world.speaker(a).neighbor(world.now, "b").unwrap();
    let problem = view.summary.problem.unwrap();
    assert!(problem.contains("BFD is not up"), "{problem}");
    world.command(a, Command::EnablePeer(name("b")));
    world.run_until(10 * SECOND, |world| {
        world.is_up(a, "b") && world.is_up(b, "a")
    });
}

#[test]
fn an_established_session_is_not_ended_by_holding_its_peer() {
    let (mut world, a, b) = established(1);
    world.command(a, hold());
    world.run(60 * SECOND);
    assert!(world.is_up(a, "b") && world.is_up(b, "a"));
}
