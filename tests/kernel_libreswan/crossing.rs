//! Rekeys of both sides at once. Libreswan resolves no collision of CREATE_CHILD_SA: it grants every request, keeps all that
//! comes of it, and sends on the newest.
//!
//! Two rekeys of the IKE_SA are not among them: Libreswan 4.10 lets its children go along with the one that it answered, asks for another
//! child on an IKE_SA that it has deleted already, and answers nobody after that. What we do in that case is shown before strongSwan
//! and in `ike/`.

use std::time::Duration;

use lab::{Disturbance, Hook, UdpFlow, eventually_true};

use crate::{Ends, REQUEST, SOON, Tunnel, nothing_was_lost_but_at_our_rekey};

/// How long a redundant SA may stay.
const REAPED: Duration = Duration::from_secs(15);

/// What Libreswan asks for.
#[derive(Clone, Copy)]
enum Theirs {
    Child,
    Ike,
}

impl Theirs {
    #[track_caller]
    fn ask(self, tunnel: &Tunnel) {
        let asked = match self {
            Self::Child => tunnel.swan.rekey_child(),
            Self::Ike => tunnel.swan.rekey_ike(),
        };
        assert!(asked.ok(), "{}{}", asked.stdout, asked.stderr);
    }
}

/// What we are told to do, and which of our requests wait until Libreswan has sent its own.
struct Ours {
    action: &'static str,
    held: String,
}

impl Ours {
    fn new(action: &'static str, held: &str) -> Self {
        let held = held.to_owned();
        Self { action, held }
    }
}

/// Lets both sides ask while no request arrives, and then lets the requests through: each has sent its own before it sees the
/// other's.
#[track_caller]
fn cross(tunnel: &Tunnel, ours: &Ours, theirs: Theirs) {
    let ours_held = Disturbance::block(tunnel.right(), Hook::Input, &ours.held);
    let theirs_held = Disturbance::block(tunnel.left(), Hook::Input, REQUEST);
    tunnel.act(ours.action);
    eventually_true(SOON, "our request is held", || ours_held.dropped() > 0);
    theirs.ask(tunnel);
    eventually_true(SOON, "theirs is held", || theirs_held.dropped() > 0);
    // One after the other: an answer and a request that come while it computes are the end of Libreswan 4.10.
    drop(theirs_held);
    eventually_true(SOON, "theirs is answered", || {
        let log = tunnel.swan.log();
        ["initiator rekeyed", "failed with error notification"]
            .iter()
            .any(|word| log.contains(word))
    });
    drop(ours_held);
}

#[track_caller]
fn one_child_is_left(tunnel: &Tunnel, flows: [UdpFlow; 2], before: &[String]) {
    eventually_true(SOON * 2, "our side has replaced the child", || {
        tunnel.spis().iter().all(|spi| !before.contains(spi))
    });
    tunnel.settles_on_one_child(REAPED);
    nothing_was_lost_but_at_our_rekey(flows);
    // And what is left can be replaced. By us: Libreswan drops its request where our rekey took the child away meanwhile, and then
    // waits for the answer to it with all others.
    let before = tunnel.spis();
    tunnel.rekey();
    tunnel.wait_for_another_child(&before);
    tunnel.settles_on_one_child(REAPED);
}

#[track_caller]
fn crossed(ours: &Ours, theirs: Theirs) {
    let tunnel = Ends::new().up();
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    cross(&tunnel, ours, theirs);
    one_child_is_left(&tunnel, flows, &before);
}

#[test]
fn both_sides_rekey_the_child() {
    // Not both SAs: a Libreswan that is slow takes the two requests for one, and keeps a child that nobody else knows.
    let ours = Ours::new("rekey-child", REQUEST);
    crossed(&ours, Theirs::Child);
}

/// Our child goes before, for Libreswan does not ask again after a TEMPORARY_FAILURE.
#[test]
fn we_rekey_the_ike_sa_and_it_the_child() {
    let all_but_the_first = format!("{REQUEST} numgen inc mod 1000000 > 0");
    crossed(&Ours::new("rekey", &all_but_the_first), Theirs::Child);
}

/// Our IKE_SA comes after, for Libreswan holds one that could not be rekeyed for unfit to rekey a child.
#[test]
fn we_rekey_the_child_and_it_the_ike_sa() {
    crossed(&Ours::new("rekey", REQUEST), Theirs::Ike);
}
