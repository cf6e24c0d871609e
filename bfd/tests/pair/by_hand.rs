//! One system against packets made by hand: the table of states, demand mode, polls, and what is not heard.

use std::num::NonZeroU32;
use std::time::Duration;

use bfd::{
    Arrival, AuthenticationType, ControlPacket, Diagnostic, Discard, Discriminator, DownReason,
    Event, Hops, SessionConfig, SessionName, State,
};

use proptest::prelude::*;

use crate::world::{LEFT, World, address, config, ms, terms};

/// The left end alone.
fn alone(seed: u64) -> World {
    let mut world = World::empty(seed);
    world.link.loss = [1.0, 1.0];
    world.set(LEFT, config(LEFT, terms(300, 3)));
    world
}

/// What the peer would say to the left end.
fn from_peer(world: &World, state: State) -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: Discriminator(NonZeroU32::MIN),
        your_discriminator: Some(world.view(LEFT).discriminator),
        desired_min_tx: ms(300),
        required_min_rx: ms(300),
        required_min_echo_rx: ms(0),
        authentication: None,
    }
}

fn hear(world: &mut World, packet: &ControlPacket) {
    world.deliver(LEFT, &packet.emit());
}

fn say(world: &mut World, state: State) {
    let packet = from_peer(world, state);
    hear(world, &packet);
}

/// A left end in that state.
fn brought_to(state: State) -> World {
    let mut world = alone(40);
    match state {
        State::Init => say(&mut world, State::Down),
        State::Up => say(&mut world, State::Init),
        State::Down | State::AdminDown => {}
    }
    if state == State::Up {
        let packet = ControlPacket {
            final_: true,
            ..from_peer(&world, State::Up)
        };
        hear(&mut world, &packet);
    }
    // A periodic packet lies behind it, so that a change of state may be told at once.
    for _ in 0..11 {
        match state {
            State::Init => say(&mut world, State::Down),
            State::Up => say(&mut world, State::Up),
            State::Down | State::AdminDown => {}
        }
        world.run(ms(100));
    }
    if state != State::Down {
        let last = if state == State::Init {
            State::Down
        } else {
            State::Up
        };
        say(&mut world, last);
    }
    assert_eq!(world.view(LEFT).state, state);
    world.sent.clear();
    world.events.clear();
    world
}

#[test]
fn each_state_goes_where_section_6_8_6_has_it() {
    use State::{AdminDown, Down, Init, Up};
    let table = [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ];
    for (state, heard, expected) in table {
        let mut world = brought_to(state);
        say(&mut world, heard);
        let view = world.view(LEFT);
        assert_eq!(view.state, expected, "{state} hears {heard}");
        if state != Down && expected == Down {
            assert_eq!(view.diagnostic, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
        }
        if state != expected {
            let (_, _, packet) = world.sent.first().expect("it says so at once");
            assert_eq!(packet.state, expected);
        }
        let told = world.told(LEFT);
        let ups = told.iter().filter(|it| matches!(it, Event::Up { .. }));
        assert_eq!(ups.count(), usize::from(state != Up && expected == Up));
        let downs = told.iter().filter(|it| matches!(it, Event::Down { .. }));
        assert_eq!(downs.count(), usize::from(state == Up && expected == Down));
    }
}

#[test]
fn silence_ends_init_as_well_as_up_and_is_told_only_of_up() {
    for (state, falls) in [(State::Init, 0), (State::Up, 1)] {
        let mut world = brought_to(state);
        world.run(ms(899));
        assert_eq!(world.view(LEFT).state, state);
        world.run(ms(1));
        assert_eq!(world.view(LEFT).state, State::Down);
        let downs = world.told(LEFT).into_iter().filter(|it| {
            matches!(
                it,
                Event::Down {
                    reason: DownReason::DetectionTimeExpired { .. },
                    ..
                }
            )
        });
        assert_eq!(downs.count(), falls);
    }
}

#[test]
fn what_has_arrived_by_now_counts_although_we_come_late_to_hear_it() {
    let mut world = brought_to(State::Up);
    let now = world.now + ms(5_000);
    let packet = from_peer(&world, State::Up).emit();
    let arrival = Arrival {
        from: address(1),
        to: address(0),
        interface: Some("eth0"),
        ttl: 255,
        hops: Hops::Single,
    };
    world.ends[LEFT].handle_datagram(now, &arrival, &packet);
    world.ends[LEFT].handle_timeout(now);
    world.now = now;
    assert_eq!(world.view(LEFT).state, State::Up);
}

#[test]
fn a_peer_that_has_switched_bfd_off_is_told_of_once_while_we_are_down() {
    let mut world = brought_to(State::Down);
    say(&mut world, State::AdminDown);
    say(&mut world, State::AdminDown);
    assert!(matches!(
        world.told(LEFT).as_slice(),
        [Event::SwitchedOff { .. }]
    ));
    assert!(world.view(LEFT).is_switched_off());
}

#[test]
fn a_poll_is_answered_at_once_with_final_and_without_poll() {
    let mut world = brought_to(State::Up);
    let at = world.age();
    let poll = ControlPacket {
        poll: true,
        ..from_peer(&world, State::Up)
    };
    hear(&mut world, &poll);
    let [(when, _, answer)] = world.sent.as_slice() else {
        panic!("one answer, not {:?}", world.sent);
    };
    assert!(*when == at && answer.final_ && !answer.poll);
}

#[test]
fn a_peer_in_demand_mode_hears_us_only_when_one_of_us_polls() {
    let mut world = brought_to(State::Up);
    let demand = ControlPacket {
        demand: true,
        desired_min_tx: ms(20_000),
        ..from_peer(&world, State::Up)
    };
    hear(&mut world, &demand);
    world.run(ms(20_000));
    assert!(
        world.sent.is_empty(),
        "section 6.8.7: no periodic packets, not {:?}",
        world.sent
    );
    assert_eq!(world.view(LEFT).transmit_interval, None);
    let poll = ControlPacket {
        poll: true,
        ..demand.clone()
    };
    hear(&mut world, &poll);
    assert!(matches!(world.sent.as_slice(), [(.., packet)] if packet.final_));
    world.sent.clear();
    // Our own poll is sent until it is answered.
    world.set(LEFT, config(LEFT, terms(400, 3)));
    world.run(ms(2_000));
    assert!(world.sent.len() >= 4 && world.sent.iter().all(|(.., packet)| packet.poll));
    let answer = ControlPacket {
        final_: true,
        ..demand.clone()
    };
    hear(&mut world, &answer);
    world.sent.clear();
    world.run(ms(5_000));
    assert!(world.sent.is_empty());
    let back = ControlPacket {
        demand: false,
        ..demand
    };
    hear(&mut world, &back);
    world.run(ms(5_000));
    assert!(world.sent.len() > 10, "and periodic packets again");
}

#[test]
fn a_peer_that_wants_no_packets_gets_none() {
    let mut world = brought_to(State::Up);
    let quiet = ControlPacket {
        required_min_rx: ms(0),
        desired_min_tx: ms(20_000),
        ..from_peer(&world, State::Up)
    };
    hear(&mut world, &quiet);
    world.run(ms(20_000));
    assert!(world.sent.is_empty());
}

#[test]
fn an_echo_function_is_never_offered_and_the_control_plane_is_ours() {
    let mut world = brought_to(State::Up);
    world.run(ms(500));
    let (.., packet) = world.sent.first().expect("it sends");
    assert_eq!(packet.required_min_echo_rx, ms(0));
    assert!(!packet.control_plane_independent && !packet.demand);
}

#[test]
fn the_peers_independence_of_its_control_plane_is_told_with_its_end() {
    for independent in [false, true] {
        let mut world = brought_to(State::Up);
        let packet = ControlPacket {
            control_plane_independent: independent,
            ..from_peer(&world, State::Up)
        };
        hear(&mut world, &packet);
        world.run(ms(1_000));
        let told = world.told(LEFT);
        let said = told.iter().find_map(|event| match event {
            Event::Down {
                control_plane_independent,
                ..
            } => Some(*control_plane_independent),
            _ => None,
        });
        assert_eq!(said, Some(independent));
    }
}

#[test]
fn a_packet_that_crossed_a_router_is_not_heard_and_counted() {
    let mut world = brought_to(State::Up);
    let forged = from_peer(&world, State::Down).emit();
    for ttl in [254, 64, 0] {
        world.deliver_with(LEFT, &forged, ttl);
    }
    assert_eq!(world.view(LEFT).state, State::Up);
    assert_eq!(world.view(LEFT).discarded.get("ttl"), Some(&3));
    let told = world.told(LEFT);
    assert!(
        matches!(
            told.as_slice(),
            [Event::Discarded {
                why: Discard::Ttl(254),
                ..
            }]
        ),
        "told once: {told:?}"
    );
}

#[test]
fn an_authenticated_packet_is_not_heard_by_a_session_without_authentication() {
    let mut world = brought_to(State::Down);
    let mut packet = from_peer(&world, State::Down).emit().to_vec();
    packet[1] |= 0x04;
    packet[3] += 24;
    packet.extend([2, 24, 1, 0, 0, 0, 0, 9]);
    packet.extend([0x5a; 16]);
    world.deliver(LEFT, &packet);
    assert_eq!(world.view(LEFT).state, State::Down);
    let why = Discard::Authenticated(AuthenticationType::KeyedMd5);
    assert!(
        matches!(world.told(LEFT).as_slice(), [Event::Discarded { why: it, .. }] if *it == why)
    );
}

#[test]
fn a_packet_is_somebodys_only_by_the_way_of_its_session() {
    let mut world = brought_to(State::Up);
    let down = from_peer(&world, State::Down);
    let right_way = Arrival {
        from: address(1),
        to: address(0),
        interface: Some("eth0"),
        ttl: 255,
        hops: Hops::Single,
    };
    let stranger = Arrival {
        from: "198.51.100.9".parse().expect("an address"),
        ..right_way
    };
    let elsewhere = Arrival {
        to: "192.0.2.77".parse().expect("an address"),
        ..right_way
    };
    let far = Arrival {
        hops: Hops::Multi,
        ..right_way
    };
    let nobody = ControlPacket {
        your_discriminator: None,
        ..down
    };
    let wrong = ControlPacket {
        your_discriminator: Some(Discriminator(NonZeroU32::MAX)),
        ..down
    };
    let now = world.now;
    for arrival in [stranger, elsewhere, far] {
        world.ends[LEFT].handle_datagram(now, &arrival, &down.emit());
        world.ends[LEFT].handle_datagram(now, &arrival, &nobody.emit());
    }
    world.ends[LEFT].handle_datagram(now, &right_way, &wrong.emit());
    assert_eq!(world.view(LEFT).state, State::Up);
    let strangers = world.ends[LEFT].strangers();
    assert_eq!(strangers.get("wrong-way"), Some(&3));
    assert_eq!(strangers.get("unknown-peer"), Some(&3));
    assert_eq!(
        world.view(LEFT).discarded.get("unknown-discriminator"),
        Some(&1)
    );
}

#[test]
fn two_sessions_with_one_peer_are_told_apart_by_interface_and_distance() {
    let mut world = World::empty(41);
    world.link.loss = [1.0, 1.0];
    let base = config(LEFT, terms(300, 3));
    let table = [
        ("any", base.clone()),
        (
            "eth1",
            SessionConfig {
                interface: Some("eth1".into()),
                ..base.clone()
            },
        ),
        (
            "far",
            SessionConfig {
                hops: Hops::Multi,
                ..base
            },
        ),
    ];
    let now = world.now;
    for (name, config) in &table {
        let name = SessionName::from(*name);
        world.ends[LEFT]
            .set(now, &name, config.clone())
            .expect("possible terms");
    }
    let first = ControlPacket {
        your_discriminator: None,
        my_discriminator: Discriminator(NonZeroU32::MIN),
        ..from_peer(&alone(42), State::Down)
    };
    let cases = [
        ("eth1", Hops::Single, 255, "eth1"),
        ("eth0", Hops::Single, 255, "any"),
        ("eth0", Hops::Multi, 60, "far"),
    ];
    for (interface, hops, ttl, expected) in cases {
        let arrival = Arrival {
            from: address(1),
            to: address(0),
            interface: Some(interface),
            ttl,
            hops,
        };
        world.ends[LEFT].handle_datagram(now, &arrival, &first.emit());
        let view = world.ends[LEFT].view(now, &SessionName::from(expected));
        assert_eq!(view.map(|it| it.state), Some(State::Init), "{expected}");
    }
}

prop_compose! {
    fn any_packet_of_the_peer()(
        state in prop::sample::select(vec![State::AdminDown, State::Down, State::Init, State::Up]),
        flags in any::<[bool; 4]>(),
        detect_mult in 1u8..,
        intervals in prop::array::uniform2(prop_oneof![0..3_000_000u32, any::<u32>()]),
        knows_us in prop::bool::weighted(0.9),
        pause in 0..2_000u64,
    ) -> (ControlPacket, bool, u64) {
        let [poll, final_, demand, control_plane_independent] = flags;
        let [desired_min_tx, required_min_rx] = intervals.map(|it| Duration::from_micros(it.into()));
        let packet = ControlPacket {
            diagnostic: Diagnostic::NONE,
            state,
            poll,
            final_,
            control_plane_independent,
            demand,
            detect_mult,
            my_discriminator: Discriminator(NonZeroU32::MIN),
            your_discriminator: None,
            desired_min_tx,
            required_min_rx,
            required_min_echo_rx: Duration::ZERO,
            authentication: None,
        };
        (packet, knows_us, pause)
    }
}

proptest! {
    #[test]
    fn whatever_the_peer_says_we_send_no_faster_than_agreed_and_ups_and_downs_alternate(
        said in prop::collection::vec(any_packet_of_the_peer(), 1..60),
    ) {
        let mut world = alone(43);
        let began = world.age();
        let mut polls = 0;
        for (mut packet, knows_us, pause) in said {
            if knows_us {
                packet.your_discriminator = Some(world.view(LEFT).discriminator);
            }
            polls += usize::from(packet.poll);
            hear(&mut world, &packet);
            world.run(ms(pause));
        }
        let answers = world.sent.iter().filter(|(.., packet)| packet.final_).count();
        prop_assert!(answers <= polls);
        // Three quarters of 300 ms between two periodic packets, and one more between them where the state has changed.
        let periods = (world.age() - began).as_millis() / 225 + 2;
        let others = u128::try_from(world.sent.len() - answers).expect("a count");
        prop_assert!(others <= 2 * periods, "{others} packets in {periods} periods");
        let mut is_up = false;
        for event in world.told(LEFT) {
            match event {
                Event::Up { .. } => {
                    prop_assert!(!is_up);
                    is_up = true;
                }
                Event::Down { .. } => {
                    prop_assert!(is_up);
                    is_up = false;
                }
                _ => {}
            }
        }
        prop_assert_eq!(is_up, world.view(LEFT).state == State::Up);
    }
}
