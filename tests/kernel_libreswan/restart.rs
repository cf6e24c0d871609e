//! Libreswan goes away and comes back, and what it deletes in between.

use lab::{StartAction, eventually_true};

use crate::{Ends, SOON, Tunnel};

/// Waits until the tunnel stands again, on other SAs than before.
#[track_caller]
fn is_served_again(tunnel: &Tunnel, before: &[String]) {
    eventually_true(SOON * 2, "our side has another child", || {
        let now = tunnel.spis();
        !now.is_empty() && now.iter().all(|spi| !before.contains(spi))
    });
    tunnel.settles_on_one_child(SOON);
}

#[test]
fn killed_and_started_again_it_says_initial_contact_and_is_served() {
    let mut ends = Ends::new().theirs(&["initial-contact=yes"]);
    ends.initiate = false;
    ends.theirs.start = StartAction::Start;
    let mut tunnel = ends.up();
    let before = tunnel.spis();
    tunnel.swan.restart();
    is_served_again(&tunnel, &before);
    // INITIAL_CONTACT is what tells us so.
    let log = tunnel.here.log();
    assert!(log.contains("the peer has restarted"), "{log}");
}

#[test]
fn a_child_that_it_deletes_alone_is_made_again_on_the_same_ike_sa() {
    let tunnel = Ends::new().up();
    let before = tunnel.spis();
    let ike = tunnel.here.tunnel("drg")["ike"]["initiator_spi"].clone();
    let number = tunnel.swan.installed()[0].unique_id.to_string();
    let deleted = tunnel.swan.whack(&["--deletestate", &number]);
    assert!(deleted.ok(), "{}", deleted.stdout);
    is_served_again(&tunnel, &before);
    assert_eq!(tunnel.here.tunnel("drg")["ike"]["initiator_spi"], ike);
}

#[test]
fn an_ike_sa_that_it_deletes_is_made_again() {
    let tunnel = Ends::new().up();
    let before = tunnel.spis();
    let number = tunnel.swan.list_sas()[0].unique_id.to_string();
    let deleted = tunnel.swan.whack(&["--deletestate", &number]);
    assert!(deleted.ok(), "{}", deleted.stdout);
    is_served_again(&tunnel, &before);
}
