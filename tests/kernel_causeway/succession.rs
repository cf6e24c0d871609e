//! Daemons that end while the kernel goes on, and those that come after them.

use std::time::Duration;

use lab::{Netem, Ns, UdpFlow, esp_spis, eventually_true};

use crate::pair::{HERE, Pair, RATE, SOON, THERE};

const IKE: &str = "udp sport 500";

/// What the kernel has of the tunnel's: the interface's number, and the SPIs of its SAs.
fn in_the_kernel(ns: &Ns) -> (String, Vec<String>) {
    let link = ns.exec(&["ip", "-o", "link", "show", "cw-other"]);
    let number = link.split(':').next().unwrap_or_default().to_owned();
    (number, esp_spis(ns))
}

/// The daemon of one side ends as `end` has it and another one takes over, under flow: nothing is lost and nothing is left.
#[track_caller]
fn another_one_takes_over(end: impl FnOnce(&mut Pair, &[UdpFlow; 2])) {
    const KERNEL: &str = "data-plane = \"kernel\"";
    let mut pair = Pair::up(HERE.on(KERNEL), THERE.on(KERNEL));
    // What each side does with a message is done long before the other one hears of it, as where a machine is busy.
    let _late = [1, 2].map(|side| Netem::on_matching(&pair.ns[side], "wan0", IKE, "delay 1s"));
    let flows = pair.flows();
    let (interface, before) = in_the_kernel(&pair.ns[1]);
    assert_eq!(before.len(), 2, "{before:?}");

    end(&mut pair, &flows);
    assert_eq!(
        in_the_kernel(&pair.ns[1]),
        (interface.clone(), before.clone())
    );
    pair.here.restart();
    pair.wait_until_up();
    for flow in &flows {
        flow.wait_for(u64::from(RATE) * 2, SOON);
    }
    eventually_true(
        Duration::from_secs(40),
        "the kernel has the SAs of the new child and no others",
        || {
            let (number, after) = in_the_kernel(&pair.ns[1]);
            assert_eq!(number, interface, "the interface never vanished");
            after.len() == 2 && after.iter().all(|spi| !before.contains(spi))
        },
    );
    for report in flows.map(UdpFlow::stop) {
        println!("{report:?}");
        assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    }
    let policies = pair.ns[1].exec(&["ip", "xfrm", "policy"]);
    assert_eq!(policies.matches("dir out").count(), 1, "{policies}");

    assert!(pair.here.stop().success(), "{}", pair.here.log());
    for what in ["state", "policy"] {
        assert_eq!(pair.ns[1].exec(&["ip", "xfrm", what]), "", "left {what}");
    }
}

#[test]
fn traffic_goes_on_while_the_daemon_is_dead_and_the_next_one_takes_it_over() {
    another_one_takes_over(|pair, flows| {
        pair.here.kill9();
        for flow in flows {
            flow.wait_for(u64::from(RATE) * 5, SOON);
        }
    });
}

#[test]
fn a_restart_loses_no_packet() {
    another_one_takes_over(|pair, _| {
        // What the unit has systemd send for a restart.
        let status = pair.here.hand_over();
        assert!(status.success(), "{}", pair.here.log());
    });
}

/// Seconds after which the kernel ends an SA, of each that it has: what `ip` says of "expire add".
fn hard_limits(ns: &Ns) -> Vec<String> {
    let states = ns.exec(&["ip", "-s", "xfrm", "state"]);
    let lines = states.lines().map(str::trim);
    let limits = lines.filter_map(|line| line.strip_prefix("expire add: "));
    limits.map(str::to_owned).collect()
}

#[test]
fn the_sas_of_a_daemon_that_never_comes_back_end_in_the_kernel() {
    const KERNEL: &str = "data-plane = \"kernel\"";
    let mut pair = Pair::up(
        HERE.on(KERNEL),
        THERE.on(KERNEL).with("child-lifetime = \"20m\""),
    );
    pair.here.kill9();
    pair.there.kill9();
    let limit = |seconds: u32| format!("soft 0(sec), hard {seconds}(sec)");
    // A minute more than IKE would have kept them.
    let [_, left, right, _] = &pair.ns;
    assert_eq!(hard_limits(left), [limit(3660), limit(3660)]);
    assert_eq!(hard_limits(right), [limit(1260), limit(1260)]);
}
