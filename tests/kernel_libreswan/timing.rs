//! When Libreswan rekeys: `rekeymargin` before the lifetime's end, by up to `rekeyfuzz` more; its own SAs earlier than ours.

use lab::{StartAction, eventually_true};

use crate::{Ends, SOON, nothing_was_lost};

#[test]
fn its_own_rekeys_at_its_own_times_lose_nothing() {
    let mut ends = Ends::new().theirs(&["rekeymargin=5s", "rekeyfuzz=100%"]);
    ends.initiate = false;
    ends.theirs.start = StartAction::Start;
    // Its children are replaced after 10 to 15 s, its IKE_SA after 12 to 17 s.
    ends.theirs.child_rekey = 20;
    ends.theirs.ike_rekey = 22;
    let tunnel = ends.start();
    // It asked before we were there, and asks again.
    tunnel.is_up();
    let flows = tunnel.flows();
    for what in ["rekeyed Child SA", "rekeyed IKE SA"] {
        eventually_true(SOON * 3, what, || tunnel.swan.log().contains(what));
    }
    nothing_was_lost(flows);
    tunnel.settles_on_one_child(SOON);
}
