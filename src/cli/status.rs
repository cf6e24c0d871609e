//! `status` and `tunnels` for people: what the control API's JSON says, in columns.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::paint::{Paint, Table, octets, span};
use super::{Failure, Output, client, print_json};

/// Prints everything at a glance, once or every second.
pub(super) fn execute(socket: &Path, output: Output, watch: bool) -> Result<(), Failure> {
    loop {
        let status = client::get(socket, "/v1/status")?;
        if watch && !output.json {
            // Home and clear, as `watch` does.
            write!(io::stdout(), "\x1b[H\x1b[2J")?;
        }
        if output.json {
            print_json(&status)?;
        } else {
            print(&status)?;
        }
        if !watch {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Prints every tunnel in full.
pub(super) fn tunnels(socket: &Path, output: Output) -> Result<(), Failure> {
    let answer = client::get(socket, "/v1/tunnels")?;
    if output.json {
        return print_json(&answer);
    }
    let paint = Paint::detect();
    let mut out = io::stdout().lock();
    for tunnel in list(&answer, "tunnels") {
        for line in tunnel_in_full(tunnel, paint) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Prints the metrics as a collector gets them.
pub(super) fn metrics(socket: &Path) -> Result<(), Failure> {
    let text = client::get_text(socket, "/v1/metrics")?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn print(status: &Value) -> Result<(), Failure> {
    let paint = Paint::detect();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}  up {}, {} data plane, {}",
        paint.bold(&format!("gateway {}", text(status, "gateway"))),
        span(number(status, "uptime_seconds")),
        text(&status["data_plane"], "kind"),
        text(status, "config"),
    )?;
    writeln!(out, "{}", paint.dim(text(&status["data_plane"], "reason")))?;
    section(&mut out, paint, "tunnels", &tunnel_table(status, paint))?;
    section(
        &mut out,
        paint,
        "bgp",
        &super::bgp::summary_lines(&status["bgp"], paint),
    )?;
    section(&mut out, paint, "routes", &route_table(status))?;
    section(&mut out, paint, "firewall", &firewall_lines(status, paint))?;
    let problems: Vec<String> = list(status, "problems")
        .map(|p| paint.bad(p.as_str().unwrap_or_default()))
        .collect();
    if problems.is_empty() {
        writeln!(out, "\n{}", paint.good("no problems"))?;
    } else {
        section(&mut out, paint, "problems", &problems)?;
    }
    Ok(())
}

fn section(out: &mut impl Write, paint: Paint, title: &str, lines: &[String]) -> io::Result<()> {
    writeln!(out, "\n{}", paint.bold(title))?;
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

fn tunnel_table(status: &Value, paint: Paint) -> Vec<String> {
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "FOR",
        "REMOTE",
        "INTERFACE",
        "INSIDE",
        "SUITE",
        "IN",
        "OUT",
    ]);
    let mut reasons = Vec::new();
    for tunnel in list(status, "tunnels") {
        let child = tunnel["children"]
            .as_array()
            .and_then(|all| all.iter().find(|c| c["outbound"] == true));
        table.row(vec![
            text(tunnel, "name").to_owned(),
            state(text(tunnel, "state"), paint),
            span(number(tunnel, "seconds_in_state")),
            text(tunnel, "remote").to_owned(),
            text(tunnel, "interface").to_owned(),
            text(tunnel, "inside").to_owned(),
            child.map_or("-", |child| text(child, "suite")).to_owned(),
            octets(number(&tunnel["traffic"], "octets_in")),
            octets(number(&tunnel["traffic"], "octets_out")),
        ]);
        if let Some(reason) = reason(tunnel) {
            reasons.push(format!("{}: {}", text(tunnel, "name"), paint.bad(&reason)));
        }
    }
    let mut lines = table.lines();
    lines.append(&mut reasons);
    lines
}

/// Why a tunnel is not up, and what comes next.
fn reason(tunnel: &Value) -> Option<String> {
    let reason = tunnel["reason"].as_str()?;
    Some(match tunnel["next_attempt_seconds"].as_u64() {
        Some(seconds) => format!(
            "{reason}; {} so far, the next in {seconds} s",
            super::number(
                usize::try_from(number(tunnel, "attempts")).unwrap_or(usize::MAX),
                "attempt"
            )
        ),
        None => reason.to_owned(),
    })
}

fn tunnel_in_full(tunnel: &Value, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {} for {}",
        paint.bold(text(tunnel, "name")),
        state(text(tunnel, "state"), paint),
        span(number(tunnel, "seconds_in_state"))
    )];
    if let Some(reason) = reason(tunnel) {
        lines.push(format!("  reason      {}", paint.bad(&reason)));
    }
    lines.push(format!(
        "  interface   {} ({}) {} to {}, mtu {}, reqid {}",
        text(tunnel, "interface"),
        text(tunnel, "interface_kind"),
        text(tunnel, "inside"),
        text(tunnel, "peer_inside"),
        number(tunnel, "mtu"),
        number(tunnel, "reqid"),
    ));
    let offload = &tunnel["offload"];
    if offload["wanted"] != "none" {
        let refused = offload["refused"].as_str();
        lines.push(format!(
            "  offload     {} on {}{}",
            text(offload, "wanted"),
            text(offload, "device"),
            refused
                .map(|why| paint.bad(&format!(", refused: {why}")))
                .unwrap_or_default()
        ));
    }
    lines.push(format!(
        "  outer       {} to {}, profile {}",
        tunnel["local"].as_str().unwrap_or("no route"),
        text(tunnel, "remote"),
        text(tunnel, "profile")
    ));
    if let Some(ike) = tunnel["ike"].as_object().map(|_| &tunnel["ike"]) {
        lines.push(format!(
            "  IKE_SA      {}{} {}, {} to {}, peer is {}, age {}{}",
            text(ike, "suite"),
            if ike["ppk"] == true { " ppk" } else { "" },
            text(ike, "role").to_lowercase(),
            text(ike, "local"),
            text(ike, "remote"),
            text(ike, "peer_identity"),
            span(number(ike, "age_seconds")),
            due(&ike["rekey_in_seconds"]),
        ));
        if let Some(certificate) = ike["peer_certificate"]
            .as_object()
            .map(|_| &ike["peer_certificate"])
        {
            lines.push(format!(
                "  certificate of {}, issued by {}, until {}",
                text(certificate, "subject"),
                text(certificate, "issuer"),
                text(certificate, "not_after")
            ));
        }
    }
    for child in list(tunnel, "children") {
        lines.push(format!(
            "  CHILD_SA    {}{} in {} out {}{}, age {}{}",
            text(child, "suite"),
            child["pfs"]
                .as_str()
                .map(|group| format!(" pfs {group}"))
                .unwrap_or_default(),
            text(child, "spi_in"),
            text(child, "spi_out"),
            if child["outbound"] == true {
                ""
            } else {
                " (receiving only)"
            },
            span(number(child, "age_seconds")),
            due(&child["rekey_in_seconds"]),
        ));
    }
    let traffic = &tunnel["traffic"];
    lines.push(format!(
        "  traffic     in {} ({} packets), out {} ({} packets)",
        octets(number(traffic, "octets_in")),
        number(traffic, "packets_in"),
        octets(number(traffic, "octets_out")),
        number(traffic, "packets_out"),
    ));
    for (reason, count) in traffic["drops"].as_object().into_iter().flatten() {
        lines.push(format!("  dropped     {count} {reason}"));
    }
    if let Some(failure) = tunnel["last_failure"]["text"].as_str() {
        let ago = span(number(&tunnel["last_failure"], "seconds_ago"));
        lines.push(paint.dim(&format!("  last failure {ago} ago: {failure}")));
    }
    lines
}

fn due(seconds: &Value) -> String {
    seconds
        .as_u64()
        .map(|seconds| format!(", rekey in {}", span(seconds)))
        .unwrap_or_default()
}

fn route_table(status: &Value) -> Vec<String> {
    let mut table = Table::new(&["PREFIX", "NEXT HOPS"]);
    for route in list(status, "routes") {
        let hops: Vec<String> = list(route, "next_hops")
            .map(|hop| {
                let interface = hop["interface"]
                    .as_str()
                    .map(|name| format!(" dev {name}"))
                    .unwrap_or_default();
                format!(
                    "{}{interface} ({})",
                    text(hop, "via"),
                    text(hop, "neighbor")
                )
            })
            .collect();
        table.row(vec![text(route, "prefix").to_owned(), hops.join(", ")]);
    }
    table.lines()
}

fn firewall_lines(status: &Value, paint: Paint) -> Vec<String> {
    let firewall = &status["firewall"];
    if firewall["enabled"] != true {
        return vec![paint.dim("left to others ([firewall] enabled = false)")];
    }
    let mut table = Table::new(&["RULE", "PACKETS", "OCTETS"]);
    for rule in list(firewall, "rules") {
        table.row(vec![
            text(rule, "rule").to_owned(),
            number(rule, "packets").to_string(),
            octets(number(rule, "octets")),
        ]);
    }
    table.lines()
}

fn state(state: &str, paint: Paint) -> String {
    match state {
        "up" => paint.good(state),
        "down" => paint.bad(state),
        _ => paint.pending(state),
    }
}

/// A text field; empty where it is missing, as in an answer of an older daemon.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A number field; zero where it is missing.
pub(super) fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_default()
}

/// A list field; empty where it is missing.
pub(super) fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}
