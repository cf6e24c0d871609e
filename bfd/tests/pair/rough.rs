//! Links that lose, repeat, delay and reorder: whatever happens on them, both ends agree once they are calm.

use bfd::{Event, State};
use proptest::prelude::*;

use crate::world::{LEFT, Link, RIGHT, World, config, ms, terms};

#[test]
fn a_few_lost_packets_are_no_failure() {
    let mut world = World::up(60, terms(100, 10), terms(100, 10));
    world.link = Link {
        loss: [0.1, 0.1],
        duplication: 0.1,
        delay: ms(80),
    };
    world.run(ms(600_000));
    assert!(
        !world.fell(LEFT) && !world.fell(RIGHT),
        "{:?}",
        world.events
    );
}

/// What happens to the world between calm and calm.
#[derive(Clone, Debug)]
enum Trouble {
    Loss(f64, f64),
    Restart(usize),
    Remove(usize),
    Terms(usize, u64, u8),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        (0.0..=1.0, 0.0..=1.0).prop_map(|(left, right)| Trouble::Loss(left, right)),
        (0..2usize).prop_map(Trouble::Restart),
        (0..2usize).prop_map(Trouble::Remove),
        (0..2usize, 50..2_000u64, 1..6u8)
            .prop_map(|(end, interval, mult)| Trouble::Terms(end, interval, mult)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn after_any_trouble_both_ends_are_up_and_agree(
        seed in any::<u64>(),
        troubles in prop::collection::vec((trouble(), 0..5_000u64), 1..8),
        delay in 0..100u64,
    ) {
        let mut world = World::up(seed, terms(100, 3), terms(200, 3));
        let mut agreed = [terms(100, 3), terms(200, 3)];
        world.link.delay = ms(delay);
        world.link.duplication = 0.2;
        for (trouble, pause) in troubles {
            match trouble {
                Trouble::Loss(left, right) => world.link.loss = [left, right],
                Trouble::Restart(end) => world.restart(end, agreed[end]),
                Trouble::Remove(end) => {
                    world.remove(end);
                    world.run(ms(50));
                    world.set(end, config(end, agreed[end]));
                }
                Trouble::Terms(end, interval, mult) => {
                    agreed[end] = terms(interval, mult);
                    world.set(end, config(end, agreed[end]));
                }
            }
            world.run(ms(pause));
        }
        world.link = Link::default();
        // A session that was taken away says so for up to its Detection Time, and keeps the new one down as long.
        world.run(ms(30_000));
        prop_assert_eq!(world.states(), [State::Up, State::Up]);
        let interval = agreed[LEFT].desired_min_tx.max(agreed[RIGHT].desired_min_tx);
        for end in [LEFT, RIGHT] {
            let view = world.view(end);
            prop_assert_eq!(view.transmit_interval, Some(interval));
            prop_assert_eq!(view.detection_time, interval * u32::from(agreed[1 - end].detect_mult));
            prop_assert_eq!(view.remote_discriminator, Some(world.view(1 - end).discriminator));
        }
        world.events.clear();
        world.run(ms(60_000));
        prop_assert!(world.events.is_empty(), "calm is calm: {:?}", world.events);
    }

    #[test]
    fn up_and_down_alternate_at_each_end(
        seed in any::<u64>(),
        losses in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 1..10),
    ) {
        let mut world = World::new(seed, terms(100, 3), terms(100, 3));
        for (left, right) in losses {
            world.link.loss = [left, right];
            world.run(ms(3_000));
        }
        for end in [LEFT, RIGHT] {
            let changes: Vec<bool> = world.told(end).iter().filter_map(|event| match event {
                Event::Up { .. } => Some(true),
                Event::Down { .. } => Some(false),
                _ => None,
            }).collect();
            let alternate = changes.iter().enumerate().all(|(index, up)| *up == (index % 2 == 0));
            prop_assert!(alternate, "{:?}", changes);
        }
    }
}
