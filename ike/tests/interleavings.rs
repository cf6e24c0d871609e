//! Two exchanges at once, with their datagrams delivered in every possible order: whatever the order,
//! one working child is left, and the tunnel never was down.

mod common;

use common::{A, B, Fate, ID, Pair, connection, secs};
use ike::{Command, Event};

/// One schedule: which of the held datagrams arrives at each step.
struct Schedules {
    choices: Vec<(usize, usize)>,
    runs: usize,
}

impl Schedules {
    /// Moves on to the next schedule; false after the last one.
    fn advance(&mut self) -> bool {
        self.runs += 1;
        while let Some((choice, of)) = self.choices.pop() {
            if choice + 1 < of {
                self.choices.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}

/// Runs both commands in every order of delivery, and says how many orders there were.
fn explore(seed: u64, commands: &[(usize, Command)]) -> usize {
    const MOST: usize = 1500;
    let mut schedules = Schedules {
        choices: Vec::new(),
        runs: 0,
    };
    loop {
        let mut pair = Pair::seeded(seed);
        for side in [A, B] {
            let mut c = connection(side);
            c.initiate = side == A;
            pair.add(side, c);
        }
        pair.run_until(secs(1), Pair::is_up);
        pair.run_for(secs(15));
        pair.forget_events();
        pair.filter = Some(Box::new(|_, _| Fate::Hold));
        for (side, command) in commands {
            pair.command(*side, command.clone());
        }
        let mut step = 0;
        while pair.held() > 0 {
            let of = pair.held();
            if step == schedules.choices.len() {
                schedules.choices.push((0, of));
            }
            let (choice, _) = schedules.choices[step];
            pair.deliver(choice);
            step += 1;
        }
        pair.filter = None;
        pair.run_for(secs(90));
        pair.assert_one_working_child();
        for side in [A, B] {
            let down = pair.count(side, |e| matches!(e, Event::TunnelDown { .. }));
            assert_eq!(down, 0, "seed {seed}, schedule {:?}", schedules.choices);
        }
        assert!(
            schedules.runs < MOST,
            "more orders than this test has patience for"
        );
        if !schedules.advance() {
            return schedules.runs;
        }
    }
}

#[test]
fn both_sides_rekeying_the_child_in_every_order_of_delivery() {
    for seed in 0..4 {
        let both = [(A, Command::RekeyChild(ID)), (B, Command::RekeyChild(ID))];
        assert!(explore(seed, &both) > 10);
    }
}

#[test]
fn both_sides_rekeying_the_ike_sa_in_every_order_of_delivery() {
    for seed in 0..4 {
        let both = [(A, Command::RekeyIke(ID)), (B, Command::RekeyIke(ID))];
        assert!(explore(seed, &both) > 10);
    }
}

#[test]
fn one_side_rekeying_the_child_and_the_other_the_ike_sa_in_every_order_of_delivery() {
    for (child, ike) in [(A, B), (B, A)] {
        let both = [
            (child, Command::RekeyChild(ID)),
            (ike, Command::RekeyIke(ID)),
        ];
        assert!(explore(5, &both) > 5);
    }
}

#[test]
fn one_side_rekeying_both_while_the_other_rekeys_the_child_in_every_order_of_delivery() {
    let three = [
        (A, Command::RekeyChild(ID)),
        (A, Command::RekeyIke(ID)),
        (B, Command::RekeyChild(ID)),
    ];
    assert!(explore(6, &three) > 10);
}
