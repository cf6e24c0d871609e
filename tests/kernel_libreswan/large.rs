//! Oracle's list of proposals does not fit into one datagram: IKE_SA_INIT comes in IP fragments, IKE_AUTH in IKE's own.

use std::fmt::Write as _;

use lab::{Capture, StartAction};

use crate::{Ends, SOON};

/// Every proposal that a Libreswan knows, with what both have at the end.
fn many(last: &str, groups: &str) -> String {
    let mut all = String::new();
    for cipher in [
        "aes128",
        "aes192",
        "camellia128",
        "camellia192",
        "camellia256",
    ] {
        for integrity in ["sha2_256", "sha2_384", "sha2_512", "sha1"] {
            let _ = write!(all, "{cipher}-{integrity}{groups},");
        }
    }
    all + last
}

#[test]
fn a_large_init_and_auth_of_its_own_arrive_in_fragments_and_are_answered() {
    let mut ends = Ends::new().theirs(&["fragmentation=yes"]);
    ends.initiate = false;
    ends.theirs.start = StartAction::None;
    ends.theirs.ike = many(
        "aes256-sha1-modp2048",
        "-modp2048-modp1536-modp3072-modp4096",
    );
    ends.theirs.esp = many("aes256gcm16", "");
    let tunnel = ends.start();
    let fragments = Capture::start(tunnel.left(), "wan0", "ip[6:2] & 0x1fff != 0");
    let ike = Capture::start(
        tunnel.left(),
        "wan0",
        "udp dst port 500 and src host 198.51.100.1",
    );
    let initiated = tunnel.swan.initiate();
    assert!(initiated.ok(), "{}{}", initiated.stdout, initiated.stderr);
    tunnel.here.wait_for_tunnels(&["drg"], SOON);
    tunnel.settles_on_one_child(SOON);
    let packets = fragments.packets();
    assert!(!packets.is_empty(), "IKE_SA_INIT came in one piece");
    let parts = ike.packets();
    println!("{packets:#?}\n{parts:#?}");
    assert!(
        parts
            .iter()
            .filter(|line| line.contains("ikev2_auth"))
            .count()
            > 1,
        "IKE_AUTH came in one piece: {parts:#?}"
    );
}
