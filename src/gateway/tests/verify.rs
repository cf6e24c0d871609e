//! `tunnel NAME verify`, to its report.

use crypto::Group;
use ike::Connection;
use serde_json::Value;

use super::*;

/// A tunnel that is up with these groups for the CHILD_SA here and there, and whose name is given a moment later to be verified.
fn verified(ours: &[Group], theirs: &[Group], silent: bool) -> (Bed, Value) {
    let strict = |connection: &mut Connection, groups: &[Group]| {
        connection.esp[0].groups = groups.to_vec();
        connection.pfs.ike_group = false;
    };
    let mut bed = Bed::with("", &[], |here, there| {
        strict(here, ours);
        strict(there, theirs);
    });
    assert!(bed.is_up(), "{}", bed.why());
    bed.pass(secs(1));
    bed.is_deaf = silent;
    let report = verify(&mut bed);
    (bed, report)
}

fn verify(bed: &mut Bed) -> Value {
    assert_eq!(bed.gateway.verify(bed.now, "cloud"), Ok(TUNNEL));
    bed.carry();
    bed.pass(secs(30));
    let report = bed.reports.pop().expect("it reports within its bound");
    assert!(bed.reports.is_empty());
    report
}

#[test]
fn both_sas_are_rekeyed_and_what_was_agreed_is_reported() {
    let (mut bed, report) = verified(&[Group::Curve25519], &[Group::Curve25519], false);
    assert_eq!(report["verified"], true, "{report}");
    assert_eq!(report["child"]["before"]["group"], Value::Null);
    assert_eq!(report["child"]["after"]["group"], "curve25519");
    assert_eq!(report["child"]["after"]["suite"], "aes256gcm16");
    assert_eq!(report["ike"]["after"]["suite"], "aes256-sha256-curve25519");
    assert_eq!(report["traffic"]["packets_in"], 1, "{report}");
    assert!(bed.is_up());
    // Once more, from the keys that the first one made.
    let report = verify(&mut bed);
    assert_eq!(report["child"]["before"]["group"], "curve25519");
    assert_eq!(report["verified"], true, "{report}");
}

#[test]
fn a_group_that_the_peer_refuses_is_named_with_the_one_that_it_wants_and_the_next_is_tried() {
    let ours = [Group::Curve25519, Group::Ecp256];
    let (_, report) = verified(&ours, &[Group::Ecp256], false);
    assert_eq!(report["verified"], true, "{report}");
    let refused = &report["child"]["refusals"][0];
    assert_eq!(refused["offered"], "curve25519");
    assert_eq!(refused["answer"], "INVALID_KE_PAYLOAD");
    assert_eq!(refused["wanted"], "ecp256");
    assert_eq!(report["child"]["after"]["group"], "ecp256");
}

#[test]
fn where_no_group_is_common_the_field_is_named_and_the_tunnel_lives_on() {
    let (mut bed, report) = verified(&[Group::Curve25519], &[Group::Ecp384], false);
    let judge = |report: &Value| {
        assert_eq!(report["verified"], false, "{report}");
        let failure = &report["child"]["failure"];
        assert_eq!(failure["fields"][0]["key"], "esp", "{report}");
        assert_eq!(failure["fields"][0]["line"], 11, "{report}");
        let text = failure["text"].as_str().unwrap_or_default();
        assert!(text.contains("group (PFS); tried: curve25519"), "{text}");
        assert_eq!(report["ike"]["failure"], Value::Null);
        assert_eq!(report["ike"]["after"]["suite"], "aes256-sha256-curve25519");
    };
    judge(&report);
    assert!(bed.is_up());
    assert_eq!(bed.gateway.tunnels[&TUNNEL.0].downs, 0);
    let will_fail = |bed: &Bed| bed.gateway.tunnels[&TUNNEL.0].will_fail().count();
    assert_eq!(will_fail(&bed), 1, "it is up, and somebody has to act");
    // The same failure again is no news to the log, and news to who asked.
    let report = verify(&mut bed);
    judge(&report);
    // The cloud's side is mended.
    let mut theirs = bed.theirs.clone();
    theirs.esp[0].groups = vec![Group::Curve25519];
    bed.cloud
        .command(bed.now, ike::Command::Replace(Box::new(theirs)));
    bed.carry();
    bed.pass(secs(60));
    assert_eq!(will_fail(&bed), 1, "not known before it is tried");
    let report = verify(&mut bed);
    assert_eq!(report["verified"], true, "{report}");
    assert_eq!(will_fail(&bed), 0);
}

#[test]
fn a_peer_that_went_silent_ends_it_with_the_reason() {
    let (bed, report) = verified(&[Group::Curve25519], &[Group::Curve25519], true);
    assert_eq!(report["verified"], false);
    let text = report["child"]["failure"]["text"]
        .as_str()
        .unwrap_or_default();
    assert!(text.contains("no answer"), "{report}");
    assert_eq!(
        report["ike"]["milliseconds"],
        Value::Null,
        "it was not tried"
    );
    assert!(!bed.is_up());
    assert!(bed.gateway.verifications.is_empty());
}

#[test]
fn packets_that_go_out_unanswered_fail_it() {
    let mut bed = Bed::new("", &[]);
    bed.swallows = true;
    let report = verify(&mut bed);
    assert_eq!(report["verified"], false, "{report}");
    assert_eq!(report["traffic"]["packets_in"], 0);
    let message = report["message"].as_str().unwrap_or_default();
    assert!(message.contains("none come back"), "{message}");
}

#[test]
fn what_is_not_there_or_not_up_is_refused() {
    let mut bed = Bed::new("", &[Refused::Sa]);
    let refused = bed.gateway.verify(bed.now, "cloud");
    assert!(matches!(refused, Err(crate::control::Refusal::Failed(_))));
    let refused = bed.gateway.verify(bed.now, "clown");
    assert!(
        matches!(refused, Err(crate::control::Refusal::NotFound(text)) if text.contains("cloud"))
    );
}

#[test]
fn a_second_one_at_the_same_time_is_refused() {
    let mut bed = Bed::new("", &[]);
    assert_eq!(bed.gateway.verify(bed.now, "cloud"), Ok(TUNNEL));
    let refused = bed.gateway.verify(bed.now, "cloud");
    assert!(matches!(refused, Err(crate::control::Refusal::Failed(_))));
}

#[test]
fn a_tunnel_whose_rekeys_are_refused_lives_on_for_hours() {
    let mut bed = Bed::with("", &[], |here, there| {
        for (connection, group) in [(here, Group::Curve25519), (there, Group::Ecp384)] {
            connection.esp[0].groups = vec![group];
            connection.pfs.ike_group = false;
        }
    });
    let hours: u64 = 3;
    let mut away = 0;
    for _ in 0..hours * 3600 {
        bed.pass(secs(1));
        away += u64::from(!bed.is_up());
    }
    // A CHILD_SA that comes with an IKE_SA needs no group, and lasts an hour.
    let downs = bed.gateway.tunnels[&TUNNEL.0].downs;
    assert!(
        downs <= hours && away <= hours,
        "{downs} times down, for {away} s"
    );
}
