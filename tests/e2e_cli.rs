//! What an operator types, against a daemon that runs: answers, exit statuses, JSON.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use lab::{A_RANGE, Finished, Nodes, ReferenceSite, Scene, SiteFile, addresses as at};
use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

#[track_caller]
fn json(finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap_or_default()
}

#[test]
fn every_view_is_there_for_people_and_for_machines() {
    let scene = Scene::up(CAUSEWAY);
    let status = scene.gateway.status();
    assert_eq!(status["version"], 1);
    assert_eq!(status["data_plane"]["kind"], "userspace");
    assert_eq!(status["tunnels"].as_array().map(Vec::len), Some(2));
    let problems = scene.gateway.problems();
    assert!(
        !problems.contains("oci"),
        "all is well with the tunnels: {problems}"
    );

    for (words, expected) in [
        (
            &["status"][..],
            &["oci-1", "oci-2", "cw-oci-1", "Established"][..],
        ),
        (&["tunnels"], &["oci-1", at::HEAD_ENDS[0], "modp2048"]),
        (
            &["bgp", "summary"],
            &["31898", at::INSIDE_THEIRS[0], "Established"],
        ),
        (
            &["bgp", "neighbor", at::INSIDE_THEIRS[0]],
            &[at::VCN, "192.168.2.0/24"],
        ),
        (&["bgp", "routes"], &[at::VCN, at::INSIDE_THEIRS[1]]),
        (&["bgp", "routes", at::VCN], &[at::VCN]),
    ] {
        let finished = scene.gateway.command(words);
        assert_eq!(finished.code, Some(0), "{words:?}: {}", finished.stderr);
        for word in expected {
            assert!(
                finished.stdout.contains(word),
                "{words:?} has no {word}:\n{}",
                finished.stdout
            );
        }
        assert!(
            !finished.stdout.contains('\u{1b}'),
            "no colour where there is no terminal"
        );
        let mut words = words.to_vec();
        words.push("--json");
        assert_ne!(
            json(&scene.gateway.command(&words)),
            Value::Null,
            "{words:?} is JSON"
        );
    }
}

#[test]
fn a_status_for_a_reader_that_went_away_is_a_success() {
    let scene = Scene::start(CAUSEWAY, &SiteFile::reference());
    let socket = scene.gateway.dir().join("control.sock");
    let mut child = Command::new(CAUSEWAY)
        .args(["status", "--json", "--socket"])
        .arg(socket)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn without_a_daemon_the_exit_status_is_3_and_the_socket_is_named() {
    let output = Command::new(CAUSEWAY)
        .args(["status", "--socket", "/nonexistent/control.sock"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/control.sock"));
}

#[test]
fn what_does_not_exist_is_refused_with_the_names_of_what_does() {
    let scene = Scene::start(CAUSEWAY, &SiteFile::reference());
    let finished = scene.gateway.command(&["tunnel", "oci-9", "rekey"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stdout);
    assert!(
        finished.stderr.contains("oci-1") && finished.stderr.contains("oci-2"),
        "{}",
        finished.stderr
    );
    let finished = scene.gateway.command(&["bgp", "neighbor", "192.0.2.99"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stdout);
    assert!(finished.stderr.contains("oci-1"), "{}", finished.stderr);
}

#[test]
fn a_reload_of_a_wrong_file_changes_nothing_and_says_what_is_wrong() {
    let scene = Scene::up(CAUSEWAY);
    let child = scene.child(0).unique_id;
    let file =
        SiteFile::reference().replace("inside = \"10.2.0.0/31\"", "inside = \"10.1.0.0/31\"");
    scene.gateway.reload(file.text());
    let finished = scene.gateway.command(&["reload"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stdout);
    assert!(finished.stderr.contains("10.1.0.0"), "{}", finished.stderr);
    scene.wait_until_up();
    assert_eq!(scene.child(0).unique_id, child);
}

/// What may have any name: counters by reason.
const COUNTED_BY_REASON: [&str; 3] = ["drops", "counters", "refused"];

/// The names of all fields of a JSON value.
fn field_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                if !COUNTED_BY_REASON.contains(&name.as_str()) {
                    field_names(value, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| field_names(item, names)),
        _ => {}
    }
}

/// The fields that a cell of a table names: `` `bgp.asn`, `.router_id` `` are `asn` and `router_id`.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|path| path.trim_end_matches("[]").rsplit('.').next())
}

/// Empties every field of this name.
fn without(value: &mut Value, name: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(field) = fields.get_mut(name) {
                *field = Value::Null;
            }
            fields.values_mut().for_each(|value| without(value, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| without(value, name)),
        _ => {}
    }
}

#[test]
fn each_field_of_the_status_is_documented_and_each_documented_one_is_there() {
    // The first peer wants the last of our groups, the second one none of them.
    let groups = ["aes256gcm16-modp1536", "aes256gcm16-modp3072"];
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference().append(A_RANGE),
        |index, connection| groups[index].clone_into(&mut connection.esp),
    );
    scene.wait_until_up();
    let nodes = Nodes::start(&scene.site);
    scene.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    let mut there = BTreeSet::new();
    for tunnel in ["oci-1", "oci-2"] {
        let verified = scene
            .gateway
            .command(&["tunnel", tunnel, "verify", "--json"]);
        let report: Value = serde_json::from_str(&verified.stdout).unwrap_or_default();
        assert_eq!(report["verified"], tunnel == "oci-1", "{report}");
        field_names(&report, &mut there);
    }
    field_names(&scene.gateway.status(), &mut there);
    let file = scene.gateway.dir().join("site.toml").display().to_string();
    for words in [
        &["bgp", "neighbor", "oci-1", "--json"][..],
        &["bgp", "routes", "--json"],
        &["check", "--json", &file],
        &["plan", "--json", &file],
    ] {
        let answer = scene.gateway.command(words);
        let mut answer: Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
        assert!(answer.is_object(), "{words:?}: {answer}");
        // RFC 4271 has the names of attributes.
        without(&mut answer, "attributes");
        field_names(&answer, &mut there);
    }
    drop(nodes);

    let text = include_str!("../docs/status.md");
    let documented: BTreeSet<_> = named(text).map(str::to_owned).collect();
    let silent: Vec<_> = there.difference(&documented).collect();
    assert!(silent.is_empty(), "not in docs/status.md: {silent:?}");

    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let promised: Vec<_> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(named)
        .filter(|name| !there.contains(*name))
        .collect();
    assert!(promised.is_empty(), "not in the status: {promised:?}");
}
