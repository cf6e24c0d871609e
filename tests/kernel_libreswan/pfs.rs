//! The first rekey is the first exchange that has a Diffie-Hellman group of its own.

use lab::eventually_true;

use crate::{Ends, SOON, nothing_was_lost, nothing_was_lost_but_at_our_rekey};

/// Libreswan wants the group of the IKE_SA, and answers INVALID_SYNTAX to a public value of another group, even where that
/// one stands first in our proposals.
#[test]
fn the_first_rekey_is_with_the_ike_sas_group_even_where_we_prefer_another_one() {
    let mut ends = Ends::new();
    ends.esp = "\"aes256gcm16-ecp384-modp2048\"".to_owned();
    let tunnel = ends.up();
    let first = &tunnel.here.tunnel("drg")["children"][0];
    assert!(first["pfs"].is_null(), "{first}");
    let flows = tunnel.flows();
    // Ours is the first, theirs the second, whose group is that of the first.
    for ours in [true, false] {
        let before = tunnel.spis();
        if ours {
            tunnel.rekey();
        } else {
            assert!(tunnel.swan.rekey_child().ok());
        }
        tunnel.wait_for_another_child(&before);
        let child = &tunnel.here.tunnel("drg")["children"][0];
        assert_eq!(child["pfs"], "modp2048", "{child}");
    }
    nothing_was_lost_but_at_our_rekey(flows);
    tunnel.settles_on_one_child(SOON);
    let theirs = tunnel.swan.installed();
    assert_eq!(theirs[0].suite, "AES_GCM_16-256/MODP_2048");
    let log = tunnel.here.log();
    assert!(!log.contains("INVALID_SYNTAX"), "{log}");
}

#[test]
fn its_own_first_rekey_brings_the_ike_sas_group() {
    let mut ends = Ends::new();
    // Not among our proposals' groups: `pfs` permits it.
    ends.esp = "\"aes256gcm16-ecp384\"".to_owned();
    let tunnel = ends.up();
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    assert!(tunnel.swan.rekey_child().ok());
    tunnel.wait_for_another_child(&before);
    let child = &tunnel.here.tunnel("drg")["children"][0];
    assert_eq!(child["pfs"], "modp2048", "{child}");
    nothing_was_lost(flows);
    tunnel.settles_on_one_child(SOON);
}

#[test]
fn a_first_rekey_that_it_refuses_leaves_the_tunnel_up_and_says_what_to_change() {
    let mut ends = Ends::new();
    ends.esp = "\"aes256gcm16-ecp384\"".to_owned();
    ends.ours = "pfs = \"strict\"\n".to_owned();
    let tunnel = ends.up();
    let flows = tunnel.flows();
    tunnel.rekey();
    eventually_true(SOON, "the status says what was refused", || {
        let said = tunnel.here.tunnel("drg").to_string();
        ["NO_PROPOSAL_CHOSEN", "ecp384", "PFS", "esp", "pfs"]
            .iter()
            .all(|word| said.contains(word))
    });
    nothing_was_lost(flows);
    tunnel.settles_on_one_child(SOON);
}
