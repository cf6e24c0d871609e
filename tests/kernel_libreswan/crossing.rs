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

/// What a side asks for.
#[derive(Clone, Copy)]
enum Rekey {
    Child,
    Ike,
}

impl Rekey {
    #[track_caller]
    fn ask_ours(self, tunnel: &Tunnel) {
        tunnel.act(match self {
            Self::Child => "rekey-child",
            Self::Ike => "rekey-ike",
        });
    }

    #[track_caller]
    fn ask_theirs(self, tunnel: &Tunnel) {
        let asked = match self {
            Self::Child => tunnel.swan.rekey_child(),
            Self::Ike => tunnel.swan.rekey_ike(),
        };
        assert!(asked.ok(), "{}{}", asked.stdout, asked.stderr);
    }
}

/// Lets both sides ask while no request arrives, and then lets the requests through: each has sent its own before it sees the
/// other's.
#[track_caller]
fn cross(tunnel: &Tunnel, ours: Rekey, theirs: Rekey) {
    let ours_held = Disturbance::block(tunnel.right(), Hook::Input, REQUEST);
    let theirs_held = Disturbance::block(tunnel.left(), Hook::Input, REQUEST);
    ours.ask_ours(tunnel);
    eventually_true(SOON, "our request is held", || ours_held.dropped() > 0);
    theirs.ask_theirs(tunnel);
    eventually_true(SOON, "theirs is held", || theirs_held.dropped() > 0);
}

#[track_caller]
fn one_child_is_left(tunnel: &Tunnel, flows: [UdpFlow; 2], before: &[String]) {
    eventually_true(SOON * 2, "our side has replaced the child", || {
        tunnel.spis().iter().all(|spi| !before.contains(spi))
    });
    tunnel.settles_on_one_child(REAPED);
    nothing_was_lost_but_at_our_rekey(flows);
    // And what is left can be replaced.
    let before = tunnel.spis();
    Rekey::Child.ask_theirs(tunnel);
    tunnel.wait_for_another_child(&before);
    tunnel.settles_on_one_child(REAPED);
}

#[track_caller]
fn crossed(ours: Rekey, theirs: Rekey) {
    let tunnel = Ends::new().up();
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    cross(&tunnel, ours, theirs);
    one_child_is_left(&tunnel, flows, &before);
}

#[test]
fn both_sides_rekey_the_child() {
    crossed(Rekey::Child, Rekey::Child);
}

#[test]
fn we_rekey_the_ike_sa_and_it_the_child() {
    crossed(Rekey::Ike, Rekey::Child);
}

#[test]
fn we_rekey_the_child_and_it_the_ike_sa() {
    crossed(Rekey::Child, Rekey::Ike);
}
