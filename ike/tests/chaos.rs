//! Rekeying of everything from both sides over a network that loses, repeats and reorders. What
//! has to come out: one IKE SA, one child, and no packet that was sent on a valid SA unreadable.

mod common;

use common::{A, B, ID, Pair, connection, ms, secs};
use ike::{Command, Event};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Both sides rekey what they like, when they like.
fn rekey_at_random(pair: &mut Pair, seed: u64, rounds: u32) {
    eprintln!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..rounds {
        let child = [A, B].map(|_| rng.random_bool(0.4));
        let ike = [A, B].map(|_| rng.random_bool(0.25));
        for side in [A, B] {
            if child[side] {
                pair.command(side, Command::RekeyChild(ID));
            }
            if ike[side] {
                pair.command(side, Command::RekeyIke(ID));
            }
            if rng.random_bool(0.5) {
                pair.run_for(ms(rng.random_range(0..40)));
            }
        }
        pair.run_for(ms(rng.random_range(20..3000)));
    }
}

/// The responder of IKE_AUTH may send before its answer has arrived, and has nothing else to send
/// on; what that costs does not count.
fn settle_in(pair: &mut Pair) {
    pair.run_for(secs(60));
    pair.sides.iter_mut().for_each(|s| s.plane.unreadable = 0);
}

/// A connection that never gives its peer up, so that whatever goes wrong is our doing.
fn patient(side: usize) -> ike::Connection {
    let mut c = connection(side);
    c.liveness.give_up = secs(600);
    c
}

#[test]
fn crossed_rekeyings_without_loss_leave_one_child_and_lose_no_packet() {
    for seed in 0..30 {
        let mut pair = Pair::seeded(seed).reordering(ms(30)).with_traffic(ms(11));
        pair.add(A, patient(A));
        pair.add(B, patient(B));
        pair.run_until(secs(5), Pair::is_up);
        settle_in(&mut pair);
        rekey_at_random(&mut pair, seed, 25);
        pair.run_for(secs(90));
        pair.assert_one_working_child();
        let unreadable = [A, B].map(|side| pair.sides[side].plane.unreadable);
        assert_eq!(unreadable, [0, 0], "seed {seed}");
        assert_eq!(
            pair.count(A, |e| matches!(e, Event::TunnelDown { .. })),
            0,
            "seed {seed}"
        );
    }
}

#[test]
fn rekeying_under_thirty_percent_loss_leaves_one_child_and_loses_no_packet() {
    for seed in 0..30 {
        let mut pair = Pair::seeded(seed)
            .lossy(0.3)
            .duplicating(0.2)
            .reordering(ms(30))
            .with_traffic(ms(23));
        pair.add(A, patient(A));
        pair.add(B, patient(B));
        pair.run_until(secs(120), Pair::is_up);
        settle_in(&mut pair);
        rekey_at_random(&mut pair, seed, 25);
        pair.set_loss(0.0);
        pair.run_for(secs(120));
        pair.assert_one_working_child();
        let unreadable = [A, B].map(|side| pair.sides[side].plane.unreadable);
        assert_eq!(unreadable, [0, 0], "seed {seed}");
    }
}

#[test]
fn a_peer_that_is_given_up_under_loss_is_back_soon() {
    for seed in 0..40 {
        let mut pair = Pair::seeded(seed)
            .lossy(0.5)
            .duplicating(0.2)
            .reordering(ms(50));
        pair.add(A, connection(A));
        pair.add(B, connection(B));
        rekey_at_random(&mut pair, seed, 40);
        pair.set_loss(0.0);
        pair.run_for(secs(120));
        pair.assert_one_working_child();
    }
}

#[test]
fn a_thousand_hours_of_rekeying_leave_nothing_behind() {
    let mut pair = Pair::seeded(3);
    pair.add(A, connection(A));
    pair.add(B, connection(B));
    pair.run_until(secs(1), Pair::is_up);
    for hour in 0..1000 {
        pair.run_for(secs(3600));
        pair.forget_events();
        assert!(pair.is_up(), "hour {hour}");
    }
    pair.run_for(secs(60));
    pair.assert_one_working_child();
    assert!(pair.most_inbound <= 4, "{}", pair.most_inbound);
}
