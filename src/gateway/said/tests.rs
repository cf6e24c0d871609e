//! Lines that no peer at hand can be brought to, and those of a tunnel whose peer has no console. The others are in `tests/e2e_said.rs`.

use config::{Source, Unseen};
use crypto::Secret;
use ike::ConnectionId;

use super::*;
use crate::plan::{Keys, Plan};

fn tunnel(profile: &str, more: &str) -> TunnelPlan {
    let text = format!(
        "[gateway]\naddress = \"203.0.113.10\"\nnetworks = [\"192.168.2.0/24\"]\n\n[tunnel.cloud]\nprofile = \"{profile}\"\n\
         remote = \"198.51.100.1\"\npsk = {{ env = \"UNUSED\" }}\ninside = \"10.1.0.0/31\"\n{more}"
    );
    let loaded = config::load(&Source::new("site.toml", &text), &Unseen);
    let site = loaded
        .site
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let keys = Keys::from([("cloud".to_owned(), Secret::from_slice(b"some key").into())]);
    let plan = Plan::of(&site, &keys).unwrap_or_else(|error| panic!("{error}"));
    plan.tunnels[0].clone()
}

fn said(plan: &TunnelPlan, exchange: Exchange, cause: Cause) -> String {
    let diagnosis = Diagnosis {
        connection: ConnectionId(1),
        name: plan.name.clone(),
        remote: ([198, 51, 100, 1], 500).into(),
        exchange,
        role: ike::Role::Initiator,
        cause,
    };
    failure(&diagnosis, plan, plan.known_address).text
}

fn wants(negotiation: Negotiation, group: &str) -> Cause {
    Cause::InvalidKe {
        negotiation,
        ours: vec!["ecp384".to_owned()],
        wanted: group.to_owned(),
    }
}

#[test]
fn a_group_for_the_child_that_we_do_not_have() {
    let plan = tunnel("oci", "esp = [\"aes256gcm16-ecp384\"]\n");
    let line = said(
        &plan,
        Exchange::CreateChildSa,
        wants(Negotiation::Esp, "modp1536"),
    );
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: CREATE_CHILD_SA: the peer wants Diffie-Hellman group modp1536, we accept ecp384: add modp1536 here, or choose one of ours there; site file: esp (line 10); Oracle's console: the Perfect forward secrecy Diffie-Hellman group in the tunnel's Phase two (IPSec) configuration (pfs-dh-group)");
}

#[test]
fn a_group_for_the_ike_sa_that_we_do_not_have() {
    let plan = tunnel("oci", "");
    let line = said(
        &plan,
        Exchange::IkeSaInit,
        wants(Negotiation::Ike, "modp2048"),
    );
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_SA_INIT: the peer wants Diffie-Hellman group modp2048, we accept ecp384: add modp2048 here, or choose one of ours there; site file: ike (not written, from profile oci; below line 5); Oracle's console: the tunnel's Phase one (ISAKMP) configuration (phase-one-config)");
}

#[test]
fn a_peer_of_another_version() {
    let cause = || Cause::PeerRefused {
        negotiation: Some(Negotiation::Ike),
        notify: NotifyType::INVALID_MAJOR_VERSION,
    };
    let line = said(&tunnel("oci", ""), Exchange::IkeSaInit, cause());
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_SA_INIT: the peer refuses with INVALID_MAJOR_VERSION; we speak IKEv2 and nothing else: set the peer to it; Oracle's console: the tunnel's IKE version, which has to be IKEv2 (ike-version V2)");
    let line = said(&tunnel("generic", ""), Exchange::IkeSaInit, cause());
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_SA_INIT: the peer refuses with INVALID_MAJOR_VERSION; we speak IKEv2 and nothing else: set the peer to it");
}

#[test]
fn a_peer_with_a_certificate() {
    let cause = Cause::AuthMethod { method: 14 };
    let line = said(&tunnel("oci", ""), Exchange::IkeAuth, cause);
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_AUTH: the peer authenticates by method 14, we by pre-shared key (method 2): set the peer to a shared secret; site file: psk (line 8); Oracle's console: the tunnel's Shared secret (shared-secret)");
}

#[test]
fn a_peer_without_a_console() {
    let cause = Cause::Authentication {
        by: RefusedBy::Peer,
        ours: Identity::Ipv4([203, 0, 113, 10].into()),
        theirs: Identity::Ipv4([198, 51, 100, 1].into()),
        ppk: None,
    };
    let line = said(&tunnel("generic", ""), Exchange::IkeAuth, cause);
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we say ID_IPV4_ADDR '203.0.113.10' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys differ, or the peer expects another ID of us; site file: psk (line 8), address of [gateway] (line 2)");
}

#[test]
fn a_long_message_that_is_not_answered() {
    let cause = Cause::NoAnswer {
        attempts: 1,
        waited: std::time::Duration::from_secs(20),
    };
    let line = said(&tunnel("oci", ""), Exchange::IkeAuth, cause);
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_AUTH: no answer after 20.0 s (attempt 1): is the address right, and are UDP 500 and 4500 open on the way? IKE_SA_INIT was answered, so the address is right and UDP 500 passes: see that nothing on the way drops long or fragmented packets");
}

#[test]
fn what_is_wrong_on_our_side_points_at_nothing_over_there() {
    let cause = Cause::Local {
        what: "no entropy".to_owned(),
    };
    let line = said(&tunnel("oci", ""), Exchange::IkeAuth, cause);
    insta::assert_snapshot!(line, @"cloud with 198.51.100.1:500: IKE_AUTH: failure on our side: no entropy");
}
