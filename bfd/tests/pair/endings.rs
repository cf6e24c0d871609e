//! Coming up, and the ways to go down (RFC 5880, sections 6.2, 6.8.4, 6.8.16).

use bfd::{Diagnostic, DownReason, Event, ImpossibleTerms, State};

use crate::world::{LEFT, RIGHT, World, config, ms, name, terms};

#[test]
fn two_systems_come_up_in_the_three_way_handshake_of_section_6_2() {
    let mut world = World::empty(1);
    world.set(LEFT, config(LEFT, terms(300, 3)));
    world.run(ms(10));
    world.set(RIGHT, config(RIGHT, terms(300, 3)));
    world.run(ms(2_000));
    assert_eq!(world.states(), [State::Up, State::Up]);
    // The left began while nobody was there yet to hear it, so its first word is lost and the right's counts.
    let states: Vec<(usize, State)> = world
        .sent
        .iter()
        .map(|(_, end, packet)| (*end, packet.state))
        .take(4)
        .collect();
    assert_eq!(
        states,
        [
            (LEFT, State::Down),
            (RIGHT, State::Down),
            (LEFT, State::Init),
            (RIGHT, State::Up)
        ],
        "{:#?}",
        world.sent
    );
    for end in [LEFT, RIGHT] {
        assert!(matches!(world.told(end).first(), Some(Event::Up { .. })));
        assert_eq!(world.view(end).ups, 1);
        assert_eq!(world.view(end).diagnostic, Diagnostic::NONE);
    }
}

#[test]
fn a_system_that_hears_nobody_sends_once_a_second_at_most() {
    let mut world = World::empty(2);
    world.set(LEFT, config(LEFT, terms(50, 3)));
    world.run(ms(60_000));
    let gaps = world.gaps(LEFT);
    assert!(gaps.len() > 50);
    assert!(
        gaps.iter().all(|gap| (ms(750)..=ms(1_000)).contains(gap)),
        "{gaps:?}"
    );
    let slow = |(_, _, packet): &(_, _, bfd::ControlPacket)| packet.desired_min_tx == bfd::SLOW;
    assert!(world.sent.iter().all(slow));
    assert_eq!(world.view(LEFT).state, State::Down);
}

#[test]
fn a_dead_path_is_noticed_after_the_detection_time_and_not_before() {
    let mut world = World::up(3, terms(300, 3), terms(300, 3));
    let cut = world.age();
    world.link.loss = [1.0, 1.0];
    world.run(ms(2_000));
    for end in [LEFT, RIGHT] {
        let (at, _, event) = world
            .events
            .iter()
            .find(|(_, it, event)| *it == end && matches!(event, Event::Down { .. }))
            .expect("it went down");
        // The last packet was heard an interval before the cut at most.
        assert!(
            (cut + ms(600)..=cut + ms(900)).contains(at),
            "{at:?} after {cut:?}"
        );
        let reason = DownReason::DetectionTimeExpired { after: ms(900) };
        assert!(
            matches!(event, Event::Down { reason: it, .. } if *it == reason),
            "{event:?}"
        );
        let view = world.view(end);
        assert_eq!(view.diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
        assert_eq!(
            view.remote_discriminator, None,
            "section 6.8.1: it is forgotten"
        );
    }
    world.link.loss = [0.0, 0.0];
    world.run(ms(3_000));
    assert_eq!(world.states(), [State::Up, State::Up]);
    assert_eq!(world.view(LEFT).ups, 2);
}

#[test]
fn a_path_that_is_dead_in_one_direction_is_down_at_both_ends() {
    let mut world = World::up(4, terms(100, 3), terms(100, 3));
    world.link.loss = [1.0, 0.0];
    world.run(ms(1_000));
    let reason = |end: usize| {
        let told = world.told(end);
        told.iter().find_map(|event| match event {
            Event::Down { reason, .. } => Some(*reason),
            _ => None,
        })
    };
    assert_eq!(
        reason(RIGHT),
        Some(DownReason::DetectionTimeExpired { after: ms(300) })
    );
    let signaled = DownReason::NeighborSignaledDown(Diagnostic::DETECTION_TIME_EXPIRED);
    assert_eq!(reason(LEFT), Some(signaled));
    world.run(ms(5_000));
    assert!(
        !world.states().contains(&State::Up),
        "nothing comes up in one direction alone"
    );
}

#[test]
fn a_session_that_is_taken_away_is_no_failure_to_the_peer() {
    let mut world = World::up(5, terms(300, 3), terms(300, 3));
    world.remove(RIGHT);
    world.run(ms(100));
    assert!(matches!(
        world.told(LEFT).as_slice(),
        [Event::Down {
            reason: DownReason::NeighborAdminDown,
            ..
        }]
    ));
    assert!(world.view(LEFT).is_switched_off());
    world.run(ms(2_000));
    assert!(world.ends[RIGHT].is_empty(), "its last word is said");
    assert_eq!(
        world.told(LEFT).len(),
        1,
        "silence after AdminDown is nothing new"
    );
    world.set(RIGHT, config(RIGHT, terms(300, 3)));
    world.run(ms(3_000));
    assert_eq!(world.states(), [State::Up, State::Up]);
}

#[test]
fn the_last_word_is_said_more_than_once() {
    let mut world = World::up(6, terms(100, 3), terms(100, 3));
    world.remove(RIGHT);
    world.run(ms(1_000));
    let words = world.sent.iter().filter(|(_, end, packet)| {
        *end == RIGHT
            && packet.state == State::AdminDown
            && packet.diagnostic == Diagnostic::ADMINISTRATIVELY_DOWN
            && packet.desired_min_tx >= bfd::SLOW
    });
    assert!(words.count() >= 3);
}

#[test]
fn a_peer_that_has_restarted_is_noticed_by_its_first_packet() {
    let mut world = World::up(7, terms(300, 3), terms(300, 3));
    world.restart(RIGHT, terms(300, 3));
    world.run(ms(10));
    let reason = DownReason::NeighborSignaledDown(Diagnostic::NONE);
    assert!(
        matches!(world.told(LEFT).first(), Some(Event::Down { reason: it, .. }) if *it == reason),
        "{:?}",
        world.events
    );
    world.run(ms(3_000));
    assert_eq!(world.states(), [State::Up, State::Up]);
}

#[test]
fn a_passive_system_speaks_when_it_is_spoken_to() {
    let mut world = World::empty(8);
    let passive = |end| bfd::SessionConfig {
        passive: true,
        ..config(end, terms(300, 3))
    };
    world.set(LEFT, passive(LEFT));
    world.set(RIGHT, passive(RIGHT));
    world.run(ms(10_000));
    assert!(world.sent.is_empty(), "two passive ends never speak");
    world.set(RIGHT, config(RIGHT, terms(300, 3)));
    world.run(ms(3_000));
    assert_eq!(world.states(), [State::Up, State::Up]);
}

#[test]
fn terms_that_no_packet_can_carry_are_refused_and_change_nothing() {
    let mut world = World::up(9, terms(300, 3), terms(300, 3));
    let table = [
        (terms(0, 3), ImpossibleTerms::Interval(ms(0))),
        (
            terms(5_000_000, 3),
            ImpossibleTerms::Interval(ms(5_000_000)),
        ),
        (terms(300, 0), ImpossibleTerms::DetectMult),
    ];
    for (terms, expected) in table {
        let refused = world.ends[LEFT].set(world.now, &name(), config(LEFT, terms));
        assert_eq!(refused, Err(expected));
    }
    world.run(ms(3_000));
    assert!(world.told(LEFT).is_empty() && world.states() == [State::Up, State::Up]);
}
