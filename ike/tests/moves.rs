//! A side gets another outer address while a tunnel stands.

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::{A, ADDRESSES, B, Fate, ID, Pair, connection, ms, secs};
use ike::{Command, Connection, DownReason, Event, Identity};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// The connection of a side that is known by its name.
fn named(side: usize) -> Connection {
    let mut c = connection(side);
    let name = Identity::Fqdn("home.example.net".into());
    if side == A {
        c.local_id = name;
    } else {
        c.remote_id = name;
        c.remote = Ipv4Addr::UNSPECIFIED.into();
        c.initiate = false;
    }
    c
}

/// Up, between A where it was and B, which takes A from anywhere.
fn up() -> Pair {
    let mut pair = Pair::new().with_traffic(ms(7));
    pair.add(B, named(B));
    pair.add(A, named(A));
    pair.run_until(secs(1), Pair::is_up);
    pair.run_for(secs(1));
    pair.forget_events();
    pair
}

/// A loses its address and has another one; what goes to or from the old one is lost.
fn move_a(pair: &mut Pair, change: impl FnOnce(&mut Connection)) {
    pair.filter = Some(Box::new(|_, transmit| {
        let gone = [transmit.local.ip(), transmit.remote.ip()].contains(&ADDRESSES[A]);
        if gone { Fate::Drop } else { Fate::Deliver }
    }));
    let mut c = named(A);
    c.local = ELSEWHERE;
    change(&mut c);
    pair.command(A, Command::Move(Box::new(c)));
}

fn downs(pair: &Pair, side: usize) -> usize {
    pair.count(side, |e| matches!(e, Event::TunnelDown { .. }))
}

#[test]
fn a_new_address_brings_a_new_ike_sa_in_two_round_trips_and_no_moment_without_an_sa() {
    let mut pair = up();
    let before = pair.status()[A].connections[0].ike_sas[0].id;
    let unsent = pair.sides[A].plane.nothing_to_send_on;
    move_a(&mut pair, |_| {});
    let took = pair.run_until(secs(1), |pair| {
        pair.count(A, |e| matches!(e, Event::IkeUp { .. })) == 1
    });
    assert!(took <= ms(40), "{took:?}");
    // The peer has deleted what was there without a word (INITIAL_CONTACT), and does not answer there any more.
    pair.run_for(connection(A).liveness.give_up + secs(6));
    pair.assert_one_working_child();
    let sa = &pair.status()[A].connections[0].ike_sas[0];
    assert_ne!(sa.id, before);
    assert_eq!(sa.path.local.ip(), ELSEWHERE);
    assert_eq!((downs(&pair, A), downs(&pair, B)), (0, 0));
    assert_eq!(pair.sides[A].plane.nothing_to_send_on, unsent);
    let gone =
        |e: &Event| matches!(e, Event::IkeDown { reason, .. } if *reason == DownReason::Moved);
    assert_eq!(pair.count(A, gone), 1);
}

#[test]
fn until_then_what_is_sent_comes_from_the_new_address() {
    let mut pair = up();
    move_a(&mut pair, |_| {});
    let moved = |e: &Event| {
        matches!(e, Event::PathChanged { path, .. }
            if path.local.ip() == ELSEWHERE && path.remote.ip() == ADDRESSES[B])
    };
    assert_eq!(pair.count(A, moved), 1);
    assert!(pair.sides[A].plane.outbound.is_some());
}

#[test]
fn a_peer_that_refuses_the_new_address_leaves_no_tunnel_that_only_seems_up() {
    let mut pair = up();
    let give_up = connection(A).liveness.give_up;
    move_a(&mut pair, |c| {
        c.local_id = Identity::Fqdn("a-stranger.example.net".into());
    });
    pair.run_for(give_up + secs(1));
    let down = Event::TunnelDown {
        connection: ID,
        reason: DownReason::Moved,
    };
    assert!(pair.sides[A].events.contains(&down));
    assert!(!pair.failures(A).is_empty());
    // It goes on trying, and succeeds when it says who it is again.
    let mut c = named(A);
    c.local = ELSEWHERE;
    pair.command(A, Command::Move(Box::new(c)));
    pair.run_until(secs(2), Pair::is_up);
    pair.run_for(secs(15));
    pair.assert_one_working_child();
}

#[test]
fn a_side_that_only_answers_tells_the_peer_that_the_tunnel_is_over() {
    let mut pair = Pair::new();
    pair.add(A, connection(A));
    let mut b = connection(B);
    b.initiate = false;
    pair.add(B, b.clone());
    pair.run_until(secs(1), Pair::is_up);
    pair.forget_events();
    b.local = ELSEWHERE;
    pair.command(B, Command::Move(Box::new(b)));
    pair.run_for(ms(50));
    let down = |reason| Event::TunnelDown {
        connection: ID,
        reason,
    };
    assert!(pair.sides[B].events.contains(&down(DownReason::Moved)));
    assert!(
        pair.sides[A]
            .events
            .contains(&down(DownReason::DeletedByPeer))
    );
    // A request is answered where it came from (RFC 7296 section 2.11).
    let answer = pair.sides[A].sent.last().map(|sent| sent.remote.ip());
    assert_eq!(answer, Some(ELSEWHERE));
}

#[test]
fn an_attempt_from_the_old_address_is_dropped_for_one_from_the_new() {
    let mut pair = Pair::new();
    pair.filter = Some(Box::new(|_, transmit| {
        if transmit.local.ip() == ADDRESSES[A] {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    }));
    pair.add(B, named(B));
    pair.add(A, named(A));
    pair.run_for(secs(1));
    let mut c = named(A);
    c.local = ELSEWHERE;
    pair.command(A, Command::Move(Box::new(c)));
    let took = pair.run_until(secs(1), Pair::is_up);
    assert!(took <= ms(40), "{took:?}");
}

/// Up with MOBIKE on both sides.
fn up_with_mobike(nat: Option<IpAddr>) -> Pair {
    let mut pair = Pair::new().with_traffic(ms(7));
    pair.nat = nat;
    let (mut a, mut b) = (named(A), named(B));
    (a.mobike, b.mobike) = (true, true);
    pair.add(B, b);
    pair.add(A, a);
    pair.run_until(secs(1), Pair::is_up);
    pair.run_for(secs(1));
    pair.forget_events();
    pair
}

/// Where a side sends ESP to.
fn esp_to(pair: &Pair, side: usize) -> Option<IpAddr> {
    let sas = &pair.status()[side].connections[0].ike_sas;
    sas.first().map(|sa| sa.path.remote.ip())
}

fn set_ups(pair: &Pair) -> usize {
    pair.count(A, |e| matches!(e, Event::IkeUp { .. }))
        + pair.count(B, |e| matches!(e, Event::IkeUp { .. }))
}

#[test]
fn with_mobike_the_same_sas_go_on_at_the_new_address_after_one_round_trip() {
    let mut pair = up_with_mobike(None);
    let before = pair.status()[A].connections[0].ike_sas[0].clone();
    assert!(before.mobike);
    assert!(!before.path.encapsulated);
    assert_eq!(before.path.local.port(), 4500, "RFC 4555 section 3.3");
    move_a(&mut pair, |c| c.mobike = true);
    let took = pair.run_until(secs(1), |pair| esp_to(pair, B) == Some(ELSEWHERE));
    assert!(took <= ms(20), "{took:?}");
    pair.run_for(secs(15));
    pair.assert_one_working_child();
    let after = &pair.status()[A].connections[0].ike_sas[0];
    assert_eq!(after.id, before.id);
    assert_eq!(after.path.local.ip(), ELSEWHERE);
    assert_eq!(set_ups(&pair), 0);
    assert_eq!((downs(&pair, A), downs(&pair, B)), (0, 0));
    for side in [A, B] {
        assert_eq!(pair.count(side, |e| matches!(e, Event::Failure(_))), 0);
    }
}

#[test]
fn a_rekeyed_sa_still_has_mobike() {
    let mut pair = up_with_mobike(None);
    for side in [A, B] {
        pair.command(side, Command::RekeyIke(ID));
        pair.run_for(secs(15));
    }
    pair.forget_events();
    move_a(&mut pair, |c| c.mobike = true);
    pair.run_for(secs(15));
    pair.assert_one_working_child();
    assert_eq!(esp_to(&pair, B), Some(ELSEWHERE));
    assert_eq!(set_ups(&pair), 0);
}

#[test]
fn behind_a_nat_that_gives_another_address_the_peer_is_told_of_it_when_silence_is_noticed() {
    let nat = |last| IpAddr::from([192, 0, 2, last]);
    let mut pair = up_with_mobike(Some(nat(99)));
    assert_eq!(esp_to(&pair, B), Some(nat(99)));
    // Nothing but IKE's own question shows it: no traffic.
    let mut silent = up_with_mobike(Some(nat(99)));
    for pair in [&mut pair, &mut silent] {
        // The first answer is what later ones are compared with.
        pair.run_for(connection(A).liveness.interval + secs(1));
        pair.nat = Some(nat(100));
        pair.run_for(connection(A).liveness.interval * 2);
        assert_eq!(esp_to(pair, B), Some(nat(100)));
        assert_eq!(set_ups(pair), 0);
        pair.assert_one_working_child();
    }
}

#[test]
fn a_peer_that_does_not_take_the_update_gets_a_new_ike_sa() {
    let mut pair = up_with_mobike(None);
    pair.restart(B);
    let mut b = named(B);
    b.mobike = true;
    pair.add(B, b);
    move_a(&mut pair, |c| c.mobike = true);
    pair.run_until(secs(6), |pair| {
        pair.count(A, |e| matches!(e, Event::IkeUp { .. })) == 1
    });
    pair.run_for(connection(A).liveness.give_up + secs(6));
    pair.assert_one_working_child();
    assert_eq!(esp_to(&pair, B), Some(ELSEWHERE));
}

#[test]
fn the_side_that_was_called_sets_up_anew_when_it_moves() {
    let mut pair = Pair::new();
    let (mut a, mut b) = (connection(A), connection(B));
    for c in [&mut a, &mut b] {
        c.mobike = true;
    }
    b.initiate = false;
    pair.add(B, b.clone());
    pair.add(A, a.clone());
    pair.run_until(secs(1), Pair::is_up);
    pair.forget_events();
    a.remote = ELSEWHERE;
    a.remote_id = b.local_id.clone();
    pair.command(A, Command::Replace(Box::new(a)));
    (b.local, b.initiate) = (ELSEWHERE, true);
    pair.command(B, Command::Move(Box::new(b)));
    pair.run_for(secs(60));
    pair.assert_one_working_child();
    assert_eq!(esp_to(&pair, A), Some(ELSEWHERE));
}

#[test]
fn without_mobike_on_both_sides_nothing_of_it_is_used() {
    for (ours, theirs) in [(true, false), (false, true)] {
        let mut pair = Pair::new();
        let (mut a, mut b) = (named(A), named(B));
        (a.mobike, b.mobike) = (ours, theirs);
        pair.add(B, b);
        pair.add(A, a);
        pair.run_until(secs(1), Pair::is_up);
        for status in pair.status() {
            assert!(!status.connections[0].ike_sas[0].mobike);
        }
    }
}
