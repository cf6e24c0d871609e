//! `bgp summary`, `bgp neighbor` and `bgp routes` for people, and what can be done to a session.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::paint::{Paint, Table, span};
use super::status::{list, number, text};
use super::{BgpCommand, Failure, act, client, print_json};

pub(super) fn execute(socket: &Path, command: &BgpCommand) -> Result<(), Failure> {
    let (path, output, lines): (_, _, fn(&Value, Paint) -> Vec<String>) = match command {
        BgpCommand::Summary(output) => ("/v1/bgp/summary".to_owned(), output, summary_lines),
        BgpCommand::Neighbor { name, output } => {
            let path = format!("/v1/bgp/neighbors/{name}");
            (path, output, neighbor_lines)
        }
        BgpCommand::Why { prefix, output } => {
            let path = format!("/v1/bgp/why?prefix={prefix}");
            (path, output, why_lines)
        }
        BgpCommand::WhyNot {
            neighbor,
            prefix,
            output,
        } => (
            format!("/v1/bgp/why-not?neighbor={neighbor}&prefix={prefix}"),
            output,
            why_not_lines,
        ),
        BgpCommand::Refresh { name, output } => {
            return act(
                socket,
                &format!("/v1/bgp/neighbors/{name}/refresh"),
                *output,
            );
        }
        BgpCommand::Reset { name, output } => {
            return act(socket, &format!("/v1/bgp/neighbors/{name}/reset"), *output);
        }
        BgpCommand::Routes {
            prefix: None,
            output,
        } => ("/v1/bgp/routes".to_owned(), output, routes_lines),
        BgpCommand::Routes {
            prefix: Some(prefix),
            output,
        } => {
            let path = format!("/v1/bgp/routes?prefix={prefix}");
            (path, output, routes_lines)
        }
    };
    let answer = client::get(socket, &path)?;
    if output.json {
        return print_json(&answer);
    }
    let paint = Paint::detect();
    let mut out = io::stdout().lock();
    lines(&answer, paint)
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(())
}

/// The speaker and one line for each neighbor.
pub(super) fn summary_lines(summary: &Value, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!(
        "AS {}, router id {}, {} prefixes by {} paths",
        number(summary, "asn"),
        text(summary, "router_id"),
        number(summary, "prefixes"),
        number(summary, "paths"),
    )];
    let mut table = Table::new(&[
        "NEIGHBOR",
        "ADDRESS",
        "AS",
        "STATE",
        "FOR",
        "RECEIVED",
        "ACCEPTED",
        "ADVERTISED",
    ]);
    let mut problems = Vec::new();
    for peer in list(summary, "neighbors") {
        table.row(vec![
            text(peer, "name").to_owned(),
            text(peer, "address").to_owned(),
            number(peer, "remote_asn").to_string(),
            state(text(peer, "state"), paint),
            span(number(peer, "seconds_in_state")),
            number(peer, "received").to_string(),
            number(peer, "accepted").to_string(),
            number(peer, "advertised").to_string(),
        ]);
        if let Some(problem) = peer["reason"].as_str() {
            problems.push(format!("{}: {}", text(peer, "name"), paint.bad(problem)));
        }
        if let Some(bfd) = peer["bfd"].as_str().filter(|bfd| *bfd != "Up") {
            problems.push(format!(
                "{}: {}",
                text(peer, "name"),
                paint.pending(&format!("BFD is {bfd}"))
            ));
        }
    }
    lines.extend(table.lines());
    for range in list(summary, "ranges") {
        lines.push(format!(
            "{}: {} of {} neighbors from {}",
            text(range, "name"),
            number(range, "neighbors"),
            number(range, "limit"),
            text(range, "network"),
        ));
        if let Some(problem) = range["reason"].as_str() {
            problems.push(format!("{}: {}", text(range, "name"), paint.bad(problem)));
        }
    }
    lines.append(&mut problems);
    lines
}

fn neighbor_lines(answer: &Value, paint: Paint) -> Vec<String> {
    let neighbor = &answer["neighbor"];
    let summary = &neighbor["summary"];
    let mut lines = vec![
        format!(
            "{}  {} AS {} ({}), {} for {}",
            paint.bold(text(summary, "name")),
            text(summary, "address"),
            number(summary, "remote_asn"),
            text(summary, "role"),
            state(text(summary, "state"), paint),
            span(number(summary, "seconds_in_state"))
        ),
        format!(
            "  our AS      {}, hold time offered {} s",
            number(neighbor, "local_asn"),
            number(neighbor, "hold_time_seconds")
        ),
    ];
    if neighbor["agreed"].is_object() {
        let agreed = &neighbor["agreed"];
        lines.push(format!(
            "  agreed      hold time {} s, keepalive {} s, router id {}, our address {}",
            number(agreed, "hold_time_seconds"),
            number(agreed, "keepalive_seconds"),
            text(agreed, "remote_id"),
            text(agreed, "local_address")
        ));
        let restart = &agreed["graceful_restart"];
        if restart["forwards"] == true {
            lines.push(format!(
                "  restarts    its routes are kept for {} s while it is away (graceful restart)",
                number(restart, "restart_time_seconds")
            ));
        }
    }
    if neighbor["bfd"].is_object() {
        lines.push(bfd_line(&neighbor["bfd"]));
    }
    lines.push(format!(
        "  prefixes    {} received, {} accepted, {} advertised",
        number(summary, "received"),
        number(summary, "accepted"),
        number(summary, "advertised")
    ));
    for (refusal, count) in neighbor["refused"].as_object().into_iter().flatten() {
        lines.push(format!("  refused     {count} {refusal}"));
    }
    for remark in list(neighbor, "remarks") {
        lines.push(format!(
            "  {}",
            paint.bad(remark.as_str().unwrap_or_default())
        ));
    }
    lines.push(paint.bold("  received"));
    for route in list(answer, "received") {
        lines.push(format!(
            "    {}  {}",
            text(route, "prefix"),
            if route["accepted"] == true {
                text(route, "why").to_owned()
            } else {
                paint.pending(text(route, "why"))
            }
        ));
    }
    lines.push(paint.bold("  advertised"));
    for route in list(answer, "advertised") {
        lines.push(format!("    {}", text(route, "prefix")));
    }
    lines
}

fn bfd_line(bfd: &Value) -> String {
    let since = span(number(bfd, "seconds_in_state"));
    let state = format!("  BFD         {} for {since}", text(bfd, "state"));
    match (
        bfd["reason"].as_str(),
        bfd["transmit_milliseconds"].as_u64(),
    ) {
        (Some(reason), _) => format!("{state}: {reason}"),
        (None, Some(every)) => format!(
            "{state}, sends every {every} ms, notices silence after {} ms",
            number(bfd, "detection_milliseconds")
        ),
        (None, None) => format!(
            "{state}, sends when asked, notices silence after {} ms",
            number(bfd, "detection_milliseconds")
        ),
    }
}

fn routes_lines(answer: &Value, paint: Paint) -> Vec<String> {
    list(answer, "routes")
        .flat_map(|route| route_lines(route, paint))
        .collect()
}

/// A next hop as `ip route` has it.
fn way(hop: &Value) -> String {
    let via = text(hop, "via");
    match hop["interface"].as_str() {
        Some(interface) => format!("{via} dev {interface}"),
        None => via.to_owned(),
    }
}

fn route_lines(route: &Value, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.bold(text(route, "prefix"))];
    for path in list(route, "paths") {
        let best = if path["best"] == true {
            paint.good("best")
        } else {
            let lost = reason(&path["lost_by"]);
            if lost.is_empty() {
                format!("not taken, {}", reason(&path["eligibility"]))
            } else {
                format!("lost by {lost}")
            }
        };
        lines.push(format!(
            "  {} from {}, local-pref {}, multipath {}",
            best,
            reason(&path["source"]),
            number(path, "local_pref"),
            reason(&path["multipath"]),
        ));
        let attributes = &path["attributes"];
        for (name, key) in [
            ("communities", "communities"),
            ("extended communities", "extended_communities"),
            ("large communities", "large_communities"),
        ] {
            let all: Vec<&str> = list(attributes, key).filter_map(Value::as_str).collect();
            if !all.is_empty() {
                lines.push(format!("    {name} {}", all.join(" ")));
            }
        }
    }
    for hop in list(route, "next_hops") {
        lines.push(format!("  -> {} ({})", way(hop), text(hop, "peer")));
    }
    lines
}

fn why_lines(answer: &Value, paint: Paint) -> Vec<String> {
    let asked = text(answer, "asked");
    let mut lines = match answer["prefix"].as_str() {
        Some(prefix) if prefix == asked => vec![paint.bold(prefix)],
        Some(prefix) => vec![format!("{}, which covers {asked}", paint.bold(prefix))],
        None => vec![format!("BGP knows nothing that covers {asked}")],
    };
    for hop in list(answer, "next_hops") {
        let tunnel = match (hop["tunnel"].as_str(), hop["tunnel_up"].as_bool()) {
            (Some(name), Some(true)) => format!(", tunnel {name} is up"),
            (Some(name), _) => paint.bad(&format!(", tunnel {name} is down")),
            (None, _) => String::new(),
        };
        lines.push(format!(
            "  to       {}, taught by {}{tunnel}",
            way(hop),
            text(hop, "neighbor")
        ));
    }
    let kernel = text(&answer["kernel"], "why");
    lines.push(match answer["kernel"]["agrees"].as_bool() {
        Some(false) => format!("  kernel   {}", paint.bad(kernel)),
        _ => format!("  kernel   {kernel}"),
    });
    for path in list(answer, "paths") {
        let why = text(path, "why");
        let why = if path["used"] == true {
            paint.good(why)
        } else {
            why.to_owned()
        };
        let by = match text(path, "as_path") {
            "" => String::new(),
            asns => format!(" (AS path {asns})"),
        };
        lines.push(format!("  path     {}{by}: {why}", text(path, "from")));
        let mut more: Vec<String> = path["rule"]
            .as_str()
            .map(|rule| format!("permitted by {rule}"))
            .into_iter()
            .collect();
        let communities: Vec<&str> = list(path, "communities")
            .filter_map(Value::as_str)
            .collect();
        if !communities.is_empty() {
            more.push(format!("communities {}", communities.join(" ")));
        }
        if !more.is_empty() {
            lines.push(format!("           {}", more.join(", ")));
        }
    }
    for one in list(answer, "told") {
        let word = if one["told"] == true {
            "told"
        } else {
            "not told"
        };
        lines.push(format!(
            "  {word:8} {}: {}",
            text(one, "neighbor"),
            text(one, "why")
        ));
    }
    lines
}

fn why_not_lines(answer: &Value, paint: Paint) -> Vec<String> {
    let neighbor = text(answer, "neighbor");
    let line = |good: bool, yes: &str, no: &str, why: &str| {
        let word = if good {
            paint.good(yes)
        } else {
            paint.pending(no)
        };
        format!("  {word}: {why}")
    };
    let (to, from) = (&answer["to_it"], &answer["from_it"]);
    vec![
        format!("{} and {neighbor}", paint.bold(text(answer, "prefix"))),
        line(
            to["told"] == true,
            "we tell it",
            "we do not tell it",
            text(to, "why"),
        ),
        line(
            from["believed"] == true,
            "we believe it",
            "we have nothing of it that we believe",
            text(from, "why"),
        ),
    ]
}

/// A tagged value as words: `"accepted"`, or `{"lost": {"step": "origin"}}` as `lost step origin`.
fn reason(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", reason(value)).trim_end().to_owned())
            .collect::<Vec<_>>()
            .join(", "),
        Value::Array(items) => items.iter().map(reason).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn state(state: &str, paint: Paint) -> String {
    if state.eq_ignore_ascii_case("established") {
        paint.good(state)
    } else {
        paint.pending(state)
    }
}
