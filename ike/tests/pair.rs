//! Two endpoints, no faults: every exchange does what it is for.

mod common;

use common::{A, B, ID, Pair, connection, ms, secs};
use ike::{Command, DownReason, Encapsulation, Event, Phase};

#[test]
fn a_tunnel_comes_up_in_two_round_trips() {
    let mut pair = Pair::new();
    pair.a_initiates();
    let took = pair.run_until(secs(1), Pair::is_up);
    assert!(took <= ms(40), "{took:?}");
    pair.run_for(secs(1));
    pair.assert_one_working_child();
    assert_eq!(pair.phase(A), Phase::Up);
    assert_eq!(pair.phase(B), Phase::Up);
}

#[test]
fn rekeying_the_child_switches_without_losing_a_packet() {
    let mut pair = Pair::new().with_traffic(ms(3));
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    for side in [A, B, A] {
        pair.forget_events();
        let before = pair.sides[A].plane.outbound.clone();
        pair.command(side, Command::RekeyChild(ID));
        pair.run_for(secs(10));
        pair.assert_one_working_child();
        assert_ne!(pair.sides[A].plane.outbound, before);
        assert_eq!(
            pair.count(A, |e| matches!(e, Event::ChildRekeyed { .. })),
            1
        );
        assert_eq!(
            pair.count(B, |e| matches!(e, Event::ChildRekeyed { .. })),
            1
        );
        assert_eq!(pair.count(A, |e| matches!(e, Event::TunnelDown { .. })), 0);
    }
    assert_eq!(
        pair.sides[A].plane.unreadable + pair.sides[B].plane.unreadable,
        0
    );
}

#[test]
fn rekeying_the_ike_sa_keeps_the_child() {
    let mut pair = Pair::new().with_traffic(ms(3));
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    for side in [A, B, A] {
        pair.forget_events();
        let before = pair.status()[A].connections[0].ike_sas[0].id;
        let child = pair.sides[A].plane.outbound.clone();
        pair.command(side, Command::RekeyIke(ID));
        pair.run_for(secs(10));
        pair.assert_one_working_child();
        assert_ne!(pair.status()[A].connections[0].ike_sas[0].id, before);
        assert_eq!(pair.sides[A].plane.outbound, child);
        assert_eq!(pair.count(A, |e| matches!(e, Event::IkeRekeyed { .. })), 1);
        assert_eq!(pair.count(B, |e| matches!(e, Event::IkeRekeyed { .. })), 1);
        assert_eq!(pair.count(A, |e| matches!(e, Event::IkeDown { .. })), 0);
    }
    pair.command(A, Command::RekeyChild(ID));
    pair.run_for(secs(10));
    pair.assert_one_working_child();
    assert_eq!(
        pair.sides[A].plane.unreadable + pair.sides[B].plane.unreadable,
        0
    );
}

#[test]
fn a_tunnel_that_is_taken_down_stays_down_and_the_peer_knows_at_once() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    pair.command(A, Command::Down(ID));
    assert!(pair.sides[A].plane.outbound.is_none());
    pair.run_for(ms(50));
    assert!(pair.sides[B].plane.outbound.is_none());
    let down = Event::TunnelDown {
        connection: ID,
        reason: DownReason::DeletedByPeer,
    };
    assert!(pair.sides[B].events.contains(&down));
    pair.run_for(secs(100));
    assert_eq!(pair.phase(A), Phase::Waiting);
    pair.command(A, Command::Up(ID));
    pair.run_until(ms(50), Pair::is_up);
}

#[test]
fn a_tunnel_that_is_held_stays_down_whatever_the_peer_tries_and_whatever_parameters_come() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    pair.command(A, Command::Hold(ID));
    pair.run_for(ms(50));
    pair.command(B, Command::Up(ID));
    pair.run_for(secs(20));
    pair.command(A, Command::Replace(Box::new(connection(A))));
    pair.run_for(secs(100));
    assert_eq!(pair.phase(A), Phase::Waiting);
    assert!(pair.sides[A].plane.outbound.is_none());
    assert!(pair.sides[B].plane.outbound.is_none());
    pair.command(A, Command::Up(ID));
    pair.run_until(secs(60), Pair::is_up);
    pair.run_for(secs(30));
    pair.assert_one_working_child();
}

#[test]
fn both_sides_initiating_at_once_end_with_one_child() {
    for seed in 0..20 {
        let mut pair = Pair::seeded(seed).with_traffic(ms(7));
        pair.add(A, connection(A));
        pair.add(B, connection(B));
        pair.run_until(secs(1), Pair::is_up);
        pair.run_for(secs(60));
        pair.assert_one_working_child();
        assert_eq!(
            pair.sides[A].plane.unreadable + pair.sides[B].plane.unreadable,
            0
        );
        assert_eq!(pair.count(A, |e| matches!(e, Event::TunnelDown { .. })), 0);
    }
}

#[test]
fn initiating_at_nearly_the_same_time_ends_with_one_child() {
    for apart in (0..60).step_by(3) {
        let mut pair = Pair::seeded(apart).with_traffic(ms(7));
        pair.add(A, connection(A));
        // The passive side must know the connection to answer.
        let mut passive = connection(B);
        passive.initiate = false;
        pair.add(B, passive);
        pair.run_for(ms(apart));
        pair.command(B, Command::Up(ID));
        pair.run_until(secs(1), Pair::is_up);
        pair.run_for(secs(60));
        pair.assert_one_working_child();
    }
}

#[test]
fn a_restarted_peer_is_back_at_once() {
    for side in [A, B] {
        let mut pair = Pair::new();
        pair.add(A, connection(A));
        pair.add(B, connection(B));
        pair.run_until(secs(1), Pair::is_up);
        pair.run_for(secs(100));
        pair.restart(side);
        pair.add(side, connection(side));
        let took = pair.run_until(secs(1), Pair::is_up);
        assert!(took <= ms(60), "{took:?}");
        pair.run_for(secs(30));
        pair.assert_one_working_child();
    }
}

#[test]
fn a_daemon_that_is_replaced_over_a_living_data_plane_loses_no_packet() {
    // Packets overtake IKE's messages, sometimes by far, as where a machine is too busy to read them.
    for (seed, side, late) in (0..6).flat_map(|seed| {
        [(A, ms(40)), (B, ms(40)), (A, secs(2)), (B, secs(2))]
            .map(|(side, late)| (seed, side, late))
    }) {
        let mut pair = Pair::seeded(seed).reordering(ms(40)).with_traffic(ms(5));
        pair.add(A, connection(A));
        pair.add(B, connection(B));
        pair.run_until(secs(1), Pair::is_up);
        pair.run_for(secs(5));
        let spis = |pair: &Pair| {
            [A, B].map(|it| pair.sides[it].plane.outbound.as_ref().map(|sa| sa.spi_out))
        };
        let unreadable = |pair: &Pair| [A, B].map(|it| pair.sides[it].plane.unreadable);
        let before = (spis(&pair), unreadable(&pair));
        pair = pair.reordering(late);
        pair.restart_daemon(side);
        pair.add(side, connection(side));
        pair.run_for(secs(4) + late * 6);
        let after = (spis(&pair), unreadable(&pair));
        let switched = |(old, new)| old != new;
        assert!(before.0.iter().zip(&after.0).all(switched), "{after:?}");
        assert_eq!(before.1, after.1, "seed {seed}, side {side}, late {late:?}");
    }
}

#[test]
fn a_peer_that_lost_its_state_and_only_answers_is_found_by_its_complaint() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    pair.run_for(secs(5));
    pair.restart(B);
    let mut passive = connection(B);
    passive.initiate = false;
    pair.add(B, passive);
    // Liveness after ten seconds of silence meets INVALID_IKE_SPI: a new SA is tried beside it.
    let took = pair.run_until(secs(15), |p| p.sides[B].plane.outbound.is_some());
    assert!(took <= secs(12), "{took:?}");
    pair.run_for(secs(40));
    pair.assert_one_working_child();
}

#[test]
fn a_dead_peer_is_given_up_and_tried_for_ever() {
    let mut pair = Pair::new();
    pair.a_initiates();
    pair.run_until(secs(1), Pair::is_up);
    pair.filter = Some(Box::new(|_, _| common::Fate::Drop));
    let took = pair.run_until(secs(40), |p| p.sides[A].plane.outbound.is_none());
    assert!(took <= secs(31), "{took:?}");
    pair.run_for(secs(600));
    let attempts = pair.status()[A].connections[0].attempts;
    assert!(attempts > 50, "{attempts}");
    assert!(
        pair.failures(A).len() < 12,
        "reports thin out: {:#?}",
        pair.failures(A)
    );
    pair.filter = None;
    let took = pair.run_until(secs(2), Pair::is_up);
    assert!(took <= ms(500), "{took:?}");
}

#[test]
fn forced_encapsulation_floats_both_sides_to_the_nat_port() {
    for forcing in [A, B] {
        let mut pair = Pair::new();
        let mut sides = [connection(A), connection(B)];
        sides[forcing].encapsulation = Encapsulation::Force;
        sides[B].initiate = false;
        let [a, b] = sides;
        pair.add(B, b);
        pair.add(A, a);
        pair.run_until(secs(1), Pair::is_up);
        for side in &pair.sides {
            let sa = side.plane.outbound.as_ref().expect("outbound");
            assert!(sa.encapsulated);
            assert_eq!((sa.local.port(), sa.remote.port()), (4500, 4500));
        }
        pair.command(A, Command::RekeyIke(ID));
        pair.command(B, Command::RekeyChild(ID));
        pair.run_for(secs(20));
        pair.assert_one_working_child();
    }
}

#[test]
fn a_nat_is_found_and_kept_open() {
    let mut pair = Pair::new();
    let nat = "203.0.113.7".parse().expect("an address");
    pair.nat = Some(nat);
    let mut b = connection(B);
    b.remote = nat;
    b.initiate = false;
    pair.add(B, b);
    pair.add(A, connection(A));
    pair.run_until(secs(1), Pair::is_up);
    let (a, b) = (
        &pair.status()[A].connections[0],
        &pair.status()[B].connections[0],
    );
    assert!(a.ike_sas[0].path.local_nat && !a.ike_sas[0].path.remote_nat);
    assert!(b.ike_sas[0].path.remote_nat && !b.ike_sas[0].path.local_nat);
    assert_eq!(b.ike_sas[0].path.remote.port(), 24_500);
    assert!(a.ike_sas[0].path.encapsulated && b.ike_sas[0].path.encapsulated);
    // ESP keeps the tunnel alive, so IKE is silent, and the keepalives are ours to send.
    pair.forget_events();
    for _ in 0..20 {
        pair.run_for(secs(5));
        pair.command(A, Command::AnyTraffic(ID));
        pair.command(B, Command::AnyTraffic(ID));
    }
    let keepalives = |side: &common::Side| {
        side.sent
            .iter()
            .filter(|t| t.kind == ike::TransmitKind::NatKeepalive)
            .count()
    };
    assert_eq!(keepalives(&pair.sides[A]), 5);
    assert_eq!(keepalives(&pair.sides[B]), 0);
}

/// A wants the first child in an exchange of its own.
fn childless() -> Pair {
    let mut pair = Pair::new().with_traffic(ms(3));
    let [mut a, mut b] = [connection(A), connection(B)];
    a.childless = true;
    b.initiate = false;
    pair.add(B, b);
    pair.add(A, a);
    pair
}

#[test]
fn a_childless_ike_auth_gives_the_first_child_pfs_for_one_more_round_trip() {
    let mut pair = childless();
    let took = pair.run_until(secs(1), Pair::is_up);
    assert!(took <= ms(60), "{took:?}");
    pair.run_for(secs(10));
    pair.assert_one_working_child();
    for side in [A, B] {
        let child = &pair.status()[side].connections[0].ike_sas[0].children[0];
        assert_eq!(child.pfs.as_deref(), Some("curve25519"));
        assert_eq!(pair.count(side, |e| matches!(e, Event::TunnelUp { .. })), 1);
        assert_eq!(
            pair.count(side, |e| matches!(e, Event::TunnelDown { .. })),
            0
        );
        assert_eq!(pair.sides[side].plane.unreadable, 0);
    }
}
