//! `tunnel NAME verify`: rekeys both SAs of a tunnel now, and says what was agreed or refused.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Failure, Output, TunnelAction, client, print_json};

/// Longer than the daemon lets it take, and shorter than it lets a conversation take.
const PATIENCE: Duration = Duration::from_secs(28);

pub(super) fn execute(socket: &Path, name: &str, output: Output) -> Result<(), Failure> {
    let path = format!("/v1/tunnels/{name}/{}", TunnelAction::Verify.path());
    let report = client::post_and_wait(socket, &path, PATIENCE)?;
    if output.json {
        print_json(&report)?;
    } else {
        write!(io::stdout(), "{}", text(&report))?;
    }
    if report["verified"] == true {
        return Ok(());
    }
    let message = report["message"].as_str().unwrap_or("not verified");
    Err(Failure::Failed(message.to_owned()))
}

/// The report for people.
fn text(report: &Value) -> String {
    let mut out = String::new();
    for (key, what) in [("child", "CHILD_SA"), ("ike", "IKE_SA")] {
        rekeying(&mut out, what, &report[key]);
    }
    let traffic = &report["traffic"];
    if let (Some(packets_in), Some(packets_out)) = (
        traffic["packets_in"].as_u64(),
        traffic["packets_out"].as_u64(),
    ) {
        let judged = match (packets_in, packets_out) {
            (0, 0) => "none to judge by".to_owned(),
            (0, out) => format!("{out} out, none in"),
            (into, out) => format!("{into} in, {out} out"),
        };
        let _ = writeln!(
            out,
            "packets   {judged}, in {} ms since then",
            traffic["milliseconds"]
        );
    }
    // What failed goes to standard error, as with every command.
    if report["verified"] == true {
        let _ = writeln!(out, "{}", report["message"].as_str().unwrap_or_default());
    }
    out
}

fn rekeying(out: &mut String, what: &str, report: &Value) {
    let before = negotiated(&report["before"]);
    let took = report["milliseconds"].as_u64();
    let _ = match (report["after"].is_object(), took) {
        (true, Some(took)) => writeln!(
            out,
            "{what:<9} {before}; now {}, in {took} ms",
            negotiated(&report["after"])
        ),
        (_, Some(took)) => writeln!(out, "{what:<9} {before}; not rekeyed, after {took} ms"),
        (_, None) => writeln!(out, "{what:<9} {before}; not tried"),
    };
    for refused in report["refusals"].as_array().into_iter().flatten() {
        let offered = refused["offered"].as_str().unwrap_or("no group");
        let answer = refused["answer"].as_str().unwrap_or_default();
        let wanted = refused["wanted"]
            .as_str()
            .map_or_else(String::new, |group| format!(" and wants {group}"));
        let _ = writeln!(
            out,
            "          the peer refused {offered} with {answer}{wanted}"
        );
    }
}

/// `aes256gcm16 with ecp384`; an IKE suite names its group itself.
fn negotiated(report: &Value) -> String {
    let suite = report["suite"].as_str().unwrap_or("nothing");
    match report["group"].as_str() {
        Some(group) if suite.ends_with(&format!("-{group}")) => suite.to_owned(),
        Some(group) => format!("{suite} with {group}"),
        None => format!("{suite} without a group of its own"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_agreed_is_told_with_what_was_refused_before() {
        let report = json!({
            "verified": true,
            "message": "oci-1 is verified: both its SAs can be rekeyed",
            "child": {
                "before": { "suite": "aes256gcm16", "group": null },
                "after": { "suite": "aes256gcm16", "group": "modp2048" },
                "milliseconds": 12,
                "refusals": [{ "offered": "ecp384", "answer": "INVALID_KE_PAYLOAD", "wanted": "modp2048" }],
            },
            "ike": {
                "before": { "suite": "aes256-sha1-modp2048", "group": "modp2048" },
                "after": { "suite": "aes256-sha1-modp2048", "group": "modp2048" },
                "milliseconds": 30,
                "refusals": [],
            },
            "traffic": { "packets_in": 1, "packets_out": 2, "milliseconds": 900 },
        });
        let expected = "\
CHILD_SA  aes256gcm16 without a group of its own; now aes256gcm16 with modp2048, in 12 ms
          the peer refused ecp384 with INVALID_KE_PAYLOAD and wants modp2048
IKE_SA    aes256-sha1-modp2048; now aes256-sha1-modp2048, in 30 ms
packets   1 in, 2 out, in 900 ms since then
oci-1 is verified: both its SAs can be rekeyed
";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn what_was_refused_or_not_tried_is_told_as_that() {
        let report = json!({
            "verified": false,
            "message": "oci-1 is not verified: …",
            "child": { "before": { "suite": "aes256gcm16", "group": null }, "after": null, "milliseconds": 7 },
            "ike": { "before": { "suite": "aes256-sha1-modp2048", "group": "modp2048" }, "after": null, "milliseconds": null },
            "traffic": null,
        });
        let expected = "\
CHILD_SA  aes256gcm16 without a group of its own; not rekeyed, after 7 ms
IKE_SA    aes256-sha1-modp2048; not tried
";
        assert_eq!(text(&report), expected);
    }
}
