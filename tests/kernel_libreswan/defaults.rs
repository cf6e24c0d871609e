//! What a tunnel without `ike` and `esp` proposes has an additional key exchange in it, which Libreswan 4 has never heard of.

use crate::{Ends, SOON, nothing_was_lost_but_at_our_rekey};

#[test]
fn a_transform_type_that_it_does_not_know_costs_the_proposal_and_not_the_tunnel() {
    let mut ends = Ends::new();
    ends.ike.clear();
    ends.esp.clear();
    "aes256gcm16-sha2_384-ecp384".clone_into(&mut ends.theirs.ike);
    "aes256gcm16".clone_into(&mut ends.theirs.esp);
    let tunnel = ends.up();
    let suite = |tunnel: &crate::Tunnel| tunnel.here.tunnel("drg")["ike"]["suite"].clone();
    assert_eq!(suite(&tunnel), "aes256gcm16-prfsha384-ecp384");
    let (flows, before) = (tunnel.flows(), tunnel.spis());
    tunnel.rekey();
    tunnel.wait_for_another_child(&before);
    nothing_was_lost_but_at_our_rekey(flows);
    tunnel.settles_on_one_child(SOON);
    assert_eq!(suite(&tunnel), "aes256gcm16-prfsha384-ecp384");
}
