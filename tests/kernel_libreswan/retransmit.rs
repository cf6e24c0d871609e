//! Libreswan repeats a request after 0.5, 1, 2 … s, and starts all over when `retransmit-timeout` (60 s) has passed.

use lab::{Disturbance, Hook, eventually_true};

use crate::{Ends, IKE, SOON, nothing_was_lost};

#[test]
fn what_it_repeats_because_our_answer_was_lost_is_answered_again_and_done_once() {
    let tunnel = Ends::new().up();
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    let answers = Disturbance::block(tunnel.right(), Hook::Input, IKE);
    assert!(tunnel.swan.rekey_child().ok());
    eventually_true(SOON, "our answer was lost three times", || {
        answers.dropped() >= 3
    });
    // Ours has the new child meanwhile, and is asked to let go of nothing.
    drop(answers);
    tunnel.wait_for_another_child(&before);
    tunnel.settles_on_one_child(SOON);
    nothing_was_lost(flows);
}

#[test]
fn when_it_gives_up_and_starts_all_over_one_child_is_left() {
    let tunnel = Ends::new().theirs(&["retransmit-timeout=3s"]).up();
    let answers = Disturbance::block(tunnel.right(), Hook::Input, IKE);
    assert!(tunnel.swan.rekey_child().ok());
    eventually_true(SOON, "Libreswan gives up", || {
        tunnel.swan.log().contains("second timeout exceeded")
    });
    drop(answers);
    tunnel.settles_on_one_child(SOON * 3);
}
