//! What people are told when the two ends do not fit: the cause, both sides' values, and what to
//! change. Where the peer refuses it does not say its values, and we say that it does not.

mod common;

use common::{A, B, ID, Pair, connection, secs};
use ike::{
    Auth, Connection, DownReason, Encryption, EspProposal, Event, Group, Identity, IkeProposal,
    Integrity, Narrowing, Phase, Prf, Secret, TrafficSelector,
};

/// Runs two ends of which B is changed; gives back the first failure of each.
fn first_failures(change: impl FnOnce(&mut Connection)) -> [String; 2] {
    let (pair, failures) = run(change);
    assert!(!pair.is_up());
    failures
}

fn run(change: impl FnOnce(&mut Connection)) -> (Pair, [String; 2]) {
    let mut pair = Pair::new();
    let mut b = connection(B);
    b.initiate = false;
    change(&mut b);
    pair.add(B, b);
    pair.add(A, connection(A));
    pair.run_for(secs(5));
    let first = |side| pair.failures(side).first().cloned().unwrap_or_default();
    let failures = [first(A), first(B)];
    (pair, failures)
}

#[test]
fn a_wrong_psk_is_named_on_both_sides() {
    let [a, b] = first_failures(|b| b.auth = Auth::PreShared(Secret::from_slice(b"another")));
    assert_eq!(
        a,
        "oci-1 with 198.51.100.1:500: IKE_AUTH: the peer refuses us with AUTHENTICATION_FAILED: we \
         say ID_IPV4_ADDR '192.0.2.1' and expect ID_IPV4_ADDR '198.51.100.1'; the pre-shared keys \
         differ, or the peer expects another ID of us"
    );
    assert_eq!(
        b,
        "oci-1 with 192.0.2.1:500: IKE_AUTH: the peer's proof as ID_IPV4_ADDR '192.0.2.1' does not \
         verify (we are ID_IPV4_ADDR '198.51.100.1'): the pre-shared keys differ"
    );
}

#[test]
fn a_wrong_identity_is_named_with_its_type() {
    let [a, b] = first_failures(|b| b.remote_id = Identity::Fqdn("192.0.2.1".into()));
    assert!(a.contains("AUTHENTICATION_FAILED"), "{a}");
    assert!(
        b.ends_with(
            "the peer says it is ID_IPV4_ADDR '192.0.2.1', we expect ID_FQDN '192.0.2.1': set our \
             remote ID to the former, or the peer's own ID to the latter"
        ),
        "{b}"
    );
}

#[test]
fn an_answer_from_somebody_else_is_refused_and_the_peer_hears_of_it() {
    let (pair, [a, _]) = run(|b| b.local_id = Identity::Fqdn("drg.example".into()));
    assert!(
        a.ends_with(
            "the peer says it is ID_FQDN 'drg.example', we expect ID_IPV4_ADDR '198.51.100.1': set \
             our remote ID to the former, or the peer's own ID to the latter"
        ),
        "{a}"
    );
    let refused = |e: &Event| {
        matches!(e, Event::IkeDown { reason: DownReason::Refused(n), .. }
            if *n == ike::wire::NotifyType::AUTHENTICATION_FAILED)
    };
    assert!(pair.count(B, refused) >= 1);
    assert!(pair.sides[B].plane.outbound.is_none());
}

#[test]
fn no_common_ike_proposal_shows_both_offers_and_the_nearest_difference() {
    let [a, b] = first_failures(|b| {
        b.ike = vec![IkeProposal {
            encryption: Encryption::AesCbc256,
            integrity: Some(Integrity::HmacSha1_96),
            prf: Prf::HmacSha1,
            groups: vec![Group::Modp2048],
            kems: Vec::new(),
        }];
    });
    assert!(
        a.ends_with(
            "IKE_SA_INIT: the peer refuses our IKE (phase 1) proposal aes256-sha256-curve25519 with \
             NO_PROPOSAL_CHOSEN and does not say what it wants; compare with the peer's IKE (phase \
             1) settings"
        ),
        "{a}"
    );
    assert!(
        b.ends_with(
            "IKE_SA_INIT: no common IKE (phase 1) proposal: we accept aes256-sha1-modp2048, the \
             peer offers aes256-sha256-curve25519; nearest: prf prfsha1 here against prfsha256 \
             there, integrity sha1 here against sha256 there, group modp2048 here against \
             curve25519 there"
        ),
        "{b}"
    );
}

#[test]
fn no_common_esp_proposal_leaves_the_ike_sa_up_and_says_so() {
    let (pair, [a, b]) = run(|b| {
        b.esp = vec![EspProposal {
            encryption: Encryption::AesCbc128,
            integrity: Some(Integrity::HmacSha256_128),
            groups: Vec::new(),
            esn: ike::EsnPolicy::Never,
        }];
    });
    assert!(
        a.contains("refuses our ESP (phase 2) proposal aes256gcm16-curve25519 with"),
        "{a}"
    );
    assert!(
        b.contains(
            "no common ESP (phase 2) proposal: we accept aes128-sha256-noesn, the peer offers \
             aes256gcm16-esn/noesn"
        ),
        "{b}"
    );
    assert_eq!(pair.phase(A), Phase::NoChild);
}

#[test]
fn selectors_that_do_not_meet_are_shown() {
    let net: ipnet::IpNet = "10.0.0.0/16".parse().expect("a network");
    let (_, [a, b]) = run(|b| {
        b.local_ts = vec![net.into()];
        b.remote_ts = vec![TrafficSelector::any_v6()];
        b.name = "drg".into();
    });
    assert!(
        a.contains("the peer refuses our traffic selectors 0.0.0.0/0 (here) = 0.0.0.0/0"),
        "{a}"
    );
    assert!(
        b.contains(
            "traffic selectors do not meet: we have 10.0.0.0/16 (here) = ::/0 (there), the peer has \
             0.0.0.0/0 (here) = 0.0.0.0/0 (there)"
        ),
        "{b}"
    );
}

#[test]
fn selectors_are_narrowed_where_less_will_do() {
    let net: ipnet::IpNet = "10.0.0.0/16".parse().expect("a network");
    let mut pair = Pair::new();
    let (mut a, mut b) = (connection(A), connection(B));
    a.narrowing = Narrowing::Accept;
    b.initiate = false;
    b.local_ts = vec![net.into()];
    pair.add(B, b);
    pair.add(A, a);
    pair.run_for(secs(5));
    pair.assert_one_working_child();
    let sa = pair.sides[A].plane.outbound.as_ref().expect("outbound");
    assert_eq!(sa.remote_ts, [TrafficSelector::from(net)]);
}

#[test]
fn selectors_that_are_less_than_the_tunnel_needs_are_refused_with_both_sides_values() {
    let net: ipnet::IpNet = "10.0.0.0/16".parse().expect("a network");
    let [a, _] = first_failures(|b| b.local_ts = vec![net.into()]);
    assert!(a.contains("10.0.0.0/16") && a.contains("0.0.0.0/0"), "{a}");
    let (pair, _) = run(|b| b.local_ts = vec![net.into()]);
    assert!(
        pair.sides[A].plane.outbound.is_none(),
        "nothing may be sent into it"
    );
}

#[test]
fn silence_is_reported_with_the_attempt_and_ever_more_rarely() {
    let mut pair = Pair::new();
    pair.filter = Some(Box::new(|_, _| common::Fate::Drop));
    pair.add(A, connection(A));
    pair.run_for(secs(200));
    let failures = pair.failures(A);
    assert!(failures[0].ends_with(
        "IKE_SA_INIT: no answer after 10.0 s (attempt 1): is the address right, and are UDP 500 and \
         4500 open on the way?"
    ));
    assert_eq!(
        failures.len(),
        5,
        "attempts 1, 2, 4, 8 and 16: {failures:#?}"
    );
}

#[test]
fn a_wrong_psk_is_retried_with_growing_pauses_and_works_once_it_is_right() {
    let (mut pair, _) = run(|b| b.auth = Auth::PreShared(Secret::from_slice(b"another")));
    pair.run_for(secs(300));
    let attempts = pair.status()[A].connections[0].attempts;
    assert!((5..20).contains(&attempts), "{attempts}");
    let mut b = connection(B);
    b.initiate = false;
    pair.command(B, ike::Command::Replace(Box::new(b)));
    let took = pair.run_until(secs(40), Pair::is_up);
    assert!(took <= secs(38), "{took:?}");
    assert_eq!(pair.phase(A), Phase::Up);
}

#[test]
fn a_stranger_gets_no_answer() {
    let mut pair = Pair::new();
    let mut b = connection(B);
    b.remote = "203.0.113.99".parse().expect("an address");
    b.initiate = false;
    pair.add(B, b);
    pair.add(A, connection(A));
    pair.run_for(secs(5));
    assert!(pair.sides[B].sent.is_empty());
    assert!(pair.status()[B].counters.stranger > 1);
    assert_eq!(
        pair.count(B, |e| matches!(e, Event::Note(ike::Note::Stranger { .. }))),
        1
    );
}

#[test]
fn no_secret_shows_in_events_or_status() {
    let (mut pair, _) = run(|_| {});
    pair.command(A, ike::Command::RekeyChild(ID));
    pair.run_for(secs(1));
    let text = format!("{:?}{:?}", pair.sides[A].events, pair.status());
    assert!(!text.contains("a shared secret"));
    let keys = pair.sides[A]
        .plane
        .outbound
        .as_ref()
        .expect("outbound")
        .keys_out
        .keymat
        .clone();
    let listed = format!("{:?}", keys.expose());
    assert!(!text.contains(listed.trim_matches(['[', ']'])));
}

#[test]
fn a_peer_that_stays_away_is_asked_less_often_but_for_ever() {
    let mut pair = Pair::new();
    pair.filter = Some(Box::new(|_, _| common::Fate::Drop));
    pair.add(A, connection(A));
    pair.run_for(secs(60));
    let first_minute = pair.sides[A].sent.len();
    pair.run_for(secs(1740));
    let half_an_hour = pair.sides[A].sent.len();
    pair.run_for(secs(60));
    let last_minute = pair.sides[A].sent.len() - half_an_hour;
    assert!(first_minute > 120, "{first_minute}");
    assert!((15..60).contains(&last_minute), "{last_minute}");
}
