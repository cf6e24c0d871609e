//! A kernel that lacks a suite: that is this host's trouble, said here with what to do, and nothing that the peer could hear of.

use std::path::Path;

use lab::{Capture, Gateway, Ns, OrFail as _, eventually, eventually_true};
use serde_json::Value;

use crate::pair::{HERE, SOON, Side, THERE, network};

const SUITE: &str = "chacha20poly1305-ecp256";
const MODULE: &str = "chacha20poly1305";

/// What keeps the machine's kernel from loading the module. The machine is this test's own.
const DENIAL: &str = "/etc/modprobe.d/a-kernel-that-lacks.conf";

/// Takes the suite away from the kernel.
#[track_caller]
fn take_away(ns: &Ns) {
    lab::require_kernel_esp();
    std::fs::write(DENIAL, format!("install {MODULE} /bin/false\n")).or_fail("deny a module");
    ns.exec(&["modprobe", "-r", MODULE]);
    assert!(!Path::new("/sys/module").join(MODULE).exists());
}

fn here(plane: &'static str) -> Side {
    HERE.on(plane).offering(SUITE)
}

fn there() -> Side {
    THERE.on("data-plane = \"userspace\"").offering(SUITE)
}

/// What has to be said: the suite, and what would mend it.
#[track_caller]
fn assert_helps(text: &str) {
    for wanted in [
        "cannot add",
        MODULE,
        "this kernel has no ESP with",
        "modprobe -a",
        "data-plane = \"userspace\"",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn a_daemon_that_insists_on_such_a_kernel_says_what_is_missing_before_it_says_a_word_to_the_peer() {
    let side = here("data-plane = \"kernel\"");
    let (_net, ns) = network([&side, &there()]);
    let [_, left, right, _] = &ns;
    take_away(left);
    let outside = Capture::start(right, "wan0", "udp");
    let mut gateway = Gateway::launch(left, &side.launch());
    let status = eventually(SOON, "it ends", || gateway.ended());
    assert!(!status.success());
    let log = gateway.log();
    assert!(log.contains("tunnel other (line "), "{log}");
    assert_helps(&log);
    assert_eq!(outside.packets(), Vec::<String>::new());
}

#[test]
fn one_that_may_choose_takes_user_space_and_says_why() {
    let side = here("data-plane = \"auto\"");
    let (_net, ns) = network([&side, &there()]);
    let [_, left, right, _] = &ns;
    take_away(left);
    let _peer = Gateway::start(right, &there().launch());
    let gateway = Gateway::start(left, &side.launch());
    gateway.wait_for_tunnels(&["other"], SOON);
    let plane = &gateway.status()["data_plane"];
    assert_eq!(plane["kind"], "userspace");
    assert_helps(plane["reason"].as_str().unwrap_or_default());
}

#[test]
fn a_suite_that_is_lost_later_is_refused_here_and_comes_back_by_itself() {
    let side = here("data-plane = \"kernel\"");
    let (_net, ns) = network([&side, &there()]);
    let [_, left, right, _] = &ns;
    let gateway = Gateway::start(left, &side.launch());
    assert_eq!(gateway.status()["data_plane"]["kind"], "kernel");
    take_away(left);

    let peer = Gateway::start(right, &there().launch());
    let refused = |tunnel: &Value| {
        let reason = tunnel["reason"].as_str().unwrap_or_default();
        reason
            .contains("the data plane refuses")
            .then(|| reason.to_owned())
    };
    let reason = eventually(SOON, "the status says who refuses", || {
        refused(&gateway.tunnel("other"))
    });
    assert_helps(&reason);
    assert!(
        gateway.problems().contains(&reason),
        "{}",
        gateway.problems()
    );
    assert_helps(&gateway.log());
    // The peer has an SA deleted now and then, and nothing to look for on its side.
    eventually_true(SOON, "the peer has heard of a deletion", || {
        peer.log().contains("the peer deleted it")
    });
    let theirs = peer.tunnel("other");
    assert_eq!(theirs["last_failure"], Value::Null, "{theirs}");
    let log = peer.log();
    for error in ["NO_PROPOSAL_CHOSEN", "refuse", "no common"] {
        assert!(!log.contains(error), "{error:?} is in\n{log}");
    }

    std::fs::remove_file(DENIAL).or_fail("allow a module");
    gateway.wait_for_tunnels(&["other"], SOON * 3);
    assert_eq!(gateway.tunnel("other")["interface_kind"], "xfrm");
}
