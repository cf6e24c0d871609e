//! The replay window against a model that remembers everything, and the reconstruction of extended
//! sequence numbers.

use std::collections::BTreeSet;

use esp::{DropReason, ReplayWindow};
use proptest::prelude::*;

/// All numbers ever accepted.
struct Model {
    size: u64,
    seen: BTreeSet<u64>,
}

impl Model {
    fn accept(&mut self, sequence: u64) -> Result<(), DropReason> {
        let top = self.seen.last().copied().unwrap_or(0);
        if sequence == 0 {
            Err(DropReason::Replayed)
        } else if sequence + self.size <= top {
            Err(DropReason::TooOld)
        } else if self.seen.insert(sequence) {
            Ok(())
        } else {
            Err(DropReason::Replayed)
        }
    }
}

/// Steps from one number to the next: mostly near, sometimes far, in both directions.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        8 => -5..20_i64,
        4 => -300..300_i64,
        2 => -10_000..10_000_i64,
        1 => -100_000..1_000_000_i64,
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn the_window_accepts_exactly_what_the_model_accepts(
        size in prop_oneof![Just(64_u32), Just(128), Just(1024), Just(8192), 1..9000_u32],
        start in prop_oneof![Just(1_i64), 0..0x3_0000_0000_i64],
        steps in steps(),
    ) {
        let mut window = ReplayWindow::new(size);
        let mut model = Model { size: window.size(), seen: BTreeSet::new() };
        let mut at = start;
        for step in steps {
            at = (at + step).max(0);
            let sequence = u64::try_from(at).unwrap();
            let expected = model.accept(sequence);
            prop_assert_eq!(window.check(sequence), expected);
            prop_assert_eq!(window.accept(sequence), expected);
        }
        prop_assert_eq!(window.top(), model.seen.last().copied().unwrap_or(0));
    }

    #[test]
    fn the_high_half_of_a_number_near_the_window_is_found(
        size in prop_oneof![Just(64_u32), Just(1024), Just(8192)],
        top in prop_oneof![
            1..0x4_0000_0000_u64,
            0xffff_f000..0x1_0000_1000_u64,
            Just(u64::MAX - 5),
        ],
        offset in -8191..0x7fff_0000_i64,
    ) {
        let mut window = ReplayWindow::new(size);
        window.accept(top).unwrap();
        let offset = offset.max(1 - i64::from(size));
        if let Some(sequence) = top.checked_add_signed(offset) {
            prop_assert_eq!(window.infer(sequence as u32), Ok(sequence));
        }
    }
}

#[test]
fn sizes_are_brought_into_range_and_rounded_up_to_whole_words() {
    for (asked, size) in [
        (0, 64),
        (1, 64),
        (64, 64),
        (65, 128),
        (1000, 1024),
        (9999, 8192),
    ] {
        assert_eq!(ReplayWindow::new(asked).size(), size);
    }
}

#[test]
fn the_windows_left_edge_is_exact() {
    for size in [64, 1024, 8192] {
        let mut window = ReplayWindow::new(size);
        window.accept(100_000).unwrap();
        let edge = 100_000 - u64::from(size) + 1;
        assert_eq!(window.check(edge), Ok(()));
        assert_eq!(window.check(edge - 1), Err(DropReason::TooOld));
    }
}

#[test]
fn a_number_outside_of_the_sequence_space_is_too_old() {
    let mut window = ReplayWindow::new(64);
    assert_eq!(window.infer(u32::MAX), Err(DropReason::TooOld));
    assert_eq!(window.infer(1), Ok(1));
    window.accept(10).unwrap();
    assert_eq!(window.infer(u32::MAX - 10), Err(DropReason::TooOld));
    window.accept(u64::MAX - 10).unwrap();
    assert_eq!(window.infer(5), Err(DropReason::TooOld));
    assert_eq!(window.infer(u32::MAX), Ok(u64::MAX));
}

#[test]
fn both_cases_of_rfc_4303_appendix_a_hold_at_their_edges() {
    // Case A: the window (size 64) lies within subspace 1.
    let mut window = ReplayWindow::new(64);
    window.accept(0x1_0000_0100).unwrap();
    assert_eq!(
        window.infer(0x0000_00c1),
        Ok(0x1_0000_00c1),
        "the left edge"
    );
    assert_eq!(
        window.infer(0x0000_00c0),
        Ok(0x2_0000_00c0),
        "left of it is the next subspace"
    );
    // Case B: it reaches back into subspace 0.
    let mut window = ReplayWindow::new(64);
    window.accept(0x1_0000_0010).unwrap();
    assert_eq!(window.infer(0xffff_ffd1), Ok(0xffff_ffd1), "the left edge");
    assert_eq!(
        window.infer(0xffff_ffd0),
        Ok(0x1_ffff_ffd0),
        "left of it is this subspace"
    );
}
