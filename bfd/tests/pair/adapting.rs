//! How both ends agree on intervals, and change them while the session is up (RFC 5880, sections 6.8.2, 6.8.3, 6.8.7).

use std::time::Duration;

use bfd::{Event, State, Terms};

use crate::world::{LEFT, RIGHT, World, config, ms, terms};

fn within(gaps: &[Duration], least: u64, most: u64) {
    assert!(gaps.len() > 10, "too few packets to judge: {gaps:?}");
    let fits = |gap: &Duration| (ms(least)..=ms(most)).contains(gap);
    assert!(
        gaps.iter().all(fits),
        "not within {least} to {most} ms: {gaps:?}"
    );
}

#[test]
fn each_sends_as_fast_as_it_likes_and_the_other_can_take() {
    let left = Terms {
        desired_min_tx: ms(100),
        required_min_rx: ms(50),
        detect_mult: 3,
    };
    let right = Terms {
        desired_min_tx: ms(200),
        required_min_rx: ms(400),
        detect_mult: 5,
    };
    let mut world = World::up(20, left, right);
    world.run(ms(20_000));
    within(&world.gaps(LEFT), 300, 400);
    within(&world.gaps(RIGHT), 150, 200);
    assert_eq!(world.view(LEFT).detection_time, ms(5 * 200));
    assert_eq!(world.view(RIGHT).detection_time, ms(3 * 400));
    assert_eq!(world.view(LEFT).transmit_interval, Some(ms(400)));
}

#[test]
fn a_multiplier_of_one_leaves_room_for_a_late_packet() {
    let mut world = World::up(21, terms(200, 1), terms(200, 3));
    world.run(ms(20_000));
    within(&world.gaps(LEFT), 150, 180);
    assert_eq!(world.states(), [State::Up, State::Up]);
}

#[test]
fn slower_and_faster_are_both_told_by_a_poll_and_nobody_goes_down() {
    for (seed, loss) in [(22, 0.0), (23, 0.2)] {
        let mut world = World::up(seed, terms(100, 5), terms(100, 5));
        world.link.loss = [loss, loss];
        for interval in [1_000, 50, 300, 299, 2_000] {
            world.events.clear();
            world.set(LEFT, config(LEFT, terms(interval, 5)));
            world.run(ms(30_000));
            assert!(
                !world.fell(LEFT) && !world.fell(RIGHT),
                "to {interval} ms: {:?}",
                world.events
            );
            world.sent.clear();
            world.run(ms(30_000));
            let agreed = interval.max(100);
            within(&world.gaps(LEFT), agreed * 3 / 4, agreed);
            within(&world.gaps(RIGHT), agreed * 3 / 4, agreed);
            assert!(
                world.sent.iter().all(|(_, _, packet)| !packet.poll),
                "the poll is over"
            );
            let adapted = |event: &Event| matches!(event, Event::Adapted { transmit, .. } if *transmit == Some(ms(agreed)));
            assert!(
                agreed == 100 || world.told(LEFT).into_iter().any(adapted),
                "{:?}",
                world.events
            );
        }
    }
}

#[test]
fn a_slower_pace_waits_for_the_peer_to_know_of_it() {
    let mut world = World::up(24, terms(100, 3), terms(100, 3));
    // Nothing of the right's is heard for a moment, so the poll stays unanswered; the left must go on as fast as before.
    world.link.loss = [0.0, 1.0];
    world.set(LEFT, config(LEFT, terms(1_000, 3)));
    world.run(ms(250));
    let gaps = world.gaps(LEFT);
    assert!(gaps.iter().all(|gap| *gap <= ms(100)), "{gaps:?}");
    assert!(
        world
            .sent
            .iter()
            .any(|(_, end, packet)| *end == LEFT && packet.poll)
    );
    world.link.loss = [0.0, 0.0];
    world.run(ms(2_000));
    assert_eq!(world.view(LEFT).transmit_interval, Some(ms(1_000)));
    assert!(!world.fell(RIGHT), "{:?}", world.events);
}

#[test]
fn terms_that_change_twice_within_one_poll_end_as_the_last_says() {
    let mut world = World::up(25, terms(100, 3), terms(100, 3));
    world.link.delay = ms(150);
    world.set(LEFT, config(LEFT, terms(1_000, 3)));
    world.run(ms(90));
    world.set(LEFT, config(LEFT, terms(500, 3)));
    world.run(ms(20_000));
    assert!(
        !world.fell(LEFT) && !world.fell(RIGHT),
        "{:?}",
        world.events
    );
    assert_eq!(world.view(LEFT).transmit_interval, Some(ms(500)));
    assert_eq!(world.view(RIGHT).transmit_interval, Some(ms(500)));
}
