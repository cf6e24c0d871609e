//! Rekeys of both sides at once. Libreswan resolves no collision of CREATE_CHILD_SA: it grants every request, keeps all that
//! comes of it, and sends on the newest.

use std::time::Duration;

use lab::{Disturbance, Hook, Ns, UdpFlow, eventually_true};

use crate::{Ends, IKE, REQUEST, SOON, Tunnel, nothing_was_lost_but_at_our_rekey};

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

/// Lets both sides ask while no request arrives, and then lets the requests through: each has sent its own before it sees the
/// other's.
#[track_caller]
fn cross(tunnel: &Tunnel, ours: &str, theirs: Theirs) {
    let ours_held = Disturbance::block(tunnel.right(), Hook::Input, ours);
    let theirs_held = Disturbance::block(tunnel.left(), Hook::Input, REQUEST);
    tunnel.rekey();
    eventually_true(SOON, "our request is held", || ours_held.dropped() > 0);
    theirs.ask(tunnel);
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
    Theirs::Child.ask(tunnel);
    tunnel.wait_for_another_child(&before);
    tunnel.settles_on_one_child(REAPED);
}

#[track_caller]
fn crossed(ours: &str, theirs: Theirs) {
    let tunnel = Ends::new().up();
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    cross(&tunnel, ours, theirs);
    one_child_is_left(&tunnel, flows, &before);
}

/// All requests but the first one, which replaces the child: the next one replaces the IKE_SA.
fn all_but_the_first() -> String {
    format!("{REQUEST} numgen inc mod 1000000 > 0")
}

#[test]
fn both_sides_rekey_the_child() {
    crossed(REQUEST, Theirs::Child);
}

#[test]
fn we_rekey_the_child_and_it_the_ike_sa() {
    crossed(REQUEST, Theirs::Ike);
}

#[test]
fn we_rekey_the_ike_sa_and_it_the_child() {
    crossed(&all_but_the_first(), Theirs::Child);
}

/// Libreswan repeats its own request no more once it has answered ours. So that both arrive nothing is lost here, but all
/// that we say of IKE is late. And it moves its children along with the exchange that it answered first: if that is the one
/// whose nonces lose, they go with the SA that we delete, and it makes another child when it has something to send.
#[test]
fn both_sides_rekey_the_ike_sa() {
    let tunnel = Ends::new().up();
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    let ours_held = Disturbance::block(tunnel.right(), Hook::Input, &all_but_the_first());
    tunnel.rekey();
    tunnel.wait_for_another_child(&before);
    eventually_true(SOON, "our request is held", || ours_held.dropped() > 0);
    delay_ike(tunnel.left(), "5s");
    drop(ours_held);
    let repeats = || tunnel.here.tunnel("drg")["ike"]["retransmits"].as_u64();
    let held = repeats();
    eventually_true(SOON, "our request is under way", || repeats() > held);
    Theirs::Ike.ask(&tunnel);
    eventually_true(SOON, "we have noticed", || {
        tunnel.here.log().contains("both sides negotiated at once")
    });
    tunnel.settles_on_one_child(REAPED * 2);
    for flow in &flows {
        flow.wait_for(100, SOON);
    }
    let reports = flows.map(UdpFlow::stop);
    assert!(
        reports.iter().all(|report| report.duplicated == 0),
        "{reports:?}"
    );
    println!("{reports:#?}");
    tunnel.settles_on_one_child(REAPED);
}

/// Delays what a namespace sends of IKE, and nothing else.
#[track_caller]
fn delay_ike(ns: &Ns, by: &str) {
    for words in [
        "qdisc add dev wan0 root handle 1: htb default 1",
        "class add dev wan0 parent 1: classid 1:1 htb rate 1gbit",
        "class add dev wan0 parent 1: classid 1:2 htb rate 1gbit",
        &format!("qdisc add dev wan0 parent 1:2 netem delay {by}"),
    ] {
        let argv: Vec<_> = ["tc"].into_iter().chain(words.split(' ')).collect();
        ns.exec(&argv);
    }
    ns.nft(&format!(
        "table inet late {{\n chain c {{\n  type filter hook postrouting priority 0; policy accept;\n  \
         {IKE} meta priority set 1:2\n }}\n}}\n"
    ));
}
