//! `causeway plan`: what it prints is what a run does, and what a reload would do is what it then does.

use std::path::PathBuf;

use lab::{Finished, Gateway, Ns, OrFail as _, ReferenceSite, Scene, SiteFile, eventually_true};
use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// What a run makes of a host, read by others' tools, without what belongs to one process or one moment: a TUN has a carrier
/// while a process holds it, counters count, interfaces have numbers.
fn host_state(gateway: &Ns) -> Vec<String> {
    let mut state = Vec::new();
    let links: Value = serde_json::from_str(&gateway.exec(&["ip", "-j", "-d", "address", "show"]))
        .or_fail("read what ip says");
    for link in links.as_array().into_iter().flatten() {
        let name = link["ifname"].as_str().unwrap_or_default();
        let flags = link["flags"].as_array().cloned().unwrap_or_default();
        let up = flags.contains(&"UP".into());
        let kind = &link["linkinfo"]["info_kind"];
        let (alias, mtu) = (&link["ifalias"], &link["mtu"]);
        state.push(format!("{name} {kind} {alias} mtu {mtu} up {up}"));
        for address in link["addr_info"].as_array().into_iter().flatten() {
            if address["family"] == "inet" {
                state.push(format!(
                    "{name} {}/{}",
                    address["local"], address["prefixlen"]
                ));
            }
        }
        for leaf in ["rp_filter", "forwarding", "disable_policy", "disable_xfrm"] {
            let value = gateway.read_sysctl(&format!("net/ipv4/conf/{name}/{leaf}"));
            state.push(format!("{name} {leaf} {value}"));
        }
    }
    for key in ["ip_forward", "fib_multipath_hash_policy"] {
        state.push(format!(
            "{key} {}",
            gateway.read_sysctl(&format!("net/ipv4/{key}"))
        ));
    }
    state.push(gateway.exec(&["ip", "nexthop", "show"]));
    state.push(gateway.exec(&["ip", "route", "show", "proto", "210"]));
    state.push(gateway.exec(&["nft", "-s", "list", "ruleset"]));
    state
}

/// A site file in a folder of the namespace's, for a host on which no daemon runs. The secrets are not there.
fn site_file(ns: &Ns, file: &SiteFile) -> PathBuf {
    let dir = ns.dir().join("planned");
    std::fs::create_dir_all(&dir).or_fail("create a folder");
    let path = dir.join("site.toml");
    let text = file.text().replace("{dir}", &dir.display().to_string());
    std::fs::write(&path, text).or_fail("write the site file");
    path
}

fn plan_without_daemon(ns: &Ns, file: &SiteFile, more: &[&str]) -> Finished {
    let path = site_file(ns, file).display().to_string();
    let mut argv = vec![CAUSEWAY, "plan", &path];
    argv.extend(more);
    ns.try_exec(&argv)
}

#[test]
fn the_printed_commands_do_what_a_run_does() {
    let (ran, typed) = (ReferenceSite::new(), ReferenceSite::new());
    let file = SiteFile::reference();
    let before = host_state(&typed.gateway);
    let plan = plan_without_daemon(&typed.gateway, &file, &["--exit-code"]);
    assert_eq!(plan.code, Some(4), "{}{}", plan.stdout, plan.stderr);
    assert_eq!(host_state(&typed.gateway), before, "a plan changes nothing");
    let done = typed.gateway.exec_with_input(&["sh", "-e"], &plan.stdout);
    assert!(done.ok(), "{}\n{}", plan.stdout, done.stderr);
    let again = plan_without_daemon(&typed.gateway, &file, &["--exit-code"]);
    assert!(again.ok(), "{}{}", again.stdout, again.stderr);
    assert!(
        again.stdout.contains("# This host: nothing to do."),
        "{}",
        again.stdout
    );

    let gateway = Gateway::start(&ran.gateway, &file.launch(CAUSEWAY));
    eventually_true(Scene::SOON, "the host is as the daemon wants it", || {
        planned(&gateway, &["--exit-code"]).ok()
    });
    assert_eq!(
        host_state(&typed.gateway),
        host_state(&ran.gateway),
        "{}",
        plan.stdout
    );
}

/// A plan for the file that the daemon runs with.
fn planned(gateway: &Gateway, more: &[&str]) -> Finished {
    let file = gateway.dir().join("site.toml").display().to_string();
    let mut words = vec!["plan", &file];
    words.extend(more);
    gateway.command(&words)
}

fn document(gateway: &Gateway) -> Value {
    let plan = planned(gateway, &["--json"]);
    assert!(plan.ok(), "{}", plan.stderr);
    serde_json::from_str(&plan.stdout).or_fail("read the plan")
}

#[test]
fn after_a_run_there_is_nothing_to_do_and_a_reload_does_what_the_plan_says() {
    let scene = Scene::up(CAUSEWAY);
    let gateway = &scene.gateway;
    let plan = planned(gateway, &["--exit-code"]);
    assert!(plan.ok(), "{}{}", plan.stdout, plan.stderr);
    assert!(
        plan.stdout.contains("# This host: nothing to do."),
        "{}",
        plan.stdout
    );
    assert!(
        plan.stdout.contains("# A reload would change nothing."),
        "{}",
        plan.stdout
    );

    let config = gateway.dir().join("site.toml");
    let text = std::fs::read_to_string(&config).or_fail("read the site file");
    let changed = text
        .replace("10.0.0.0/16", "10.0.0.0/17")
        .replace("[tunnel.oci-2]\n", "[tunnel.oci-2]\nmtu = 1300\n");
    assert_ne!(changed, text);
    std::fs::write(&config, changed).or_fail("write the site file");
    let plan = document(gateway);
    assert_eq!(plan["changes"], true, "{plan}");
    assert_eq!(
        plan["commands"],
        serde_json::json!(["ip link set dev cw-oci-2 mtu 1300"]),
        "{plan}"
    );
    let tunnels = serde_json::json!([
        { "name": "oci-1", "effect": "none" },
        { "name": "oci-2", "effect": "change" },
    ]);
    assert_eq!(plan["reload"]["tunnels"], tunnels, "{plan}");
    let neighbors = plan["reload"]["neighbors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(!neighbors.is_empty(), "{plan}");
    assert!(
        neighbors.iter().all(|one| one["effect"] == "refresh"),
        "{plan}"
    );
    assert_eq!(planned(gateway, &["--exit-code"]).code, Some(4));

    let reload = gateway.command(&["reload", "--json"]);
    assert!(reload.ok(), "{}", reload.stderr);
    let reload: Value = serde_json::from_str(&reload.stdout).or_fail("read the reload");
    assert_eq!(reload["touched"], plan["reload"]["touched"]);
    eventually_true(Scene::SOON, "nothing is left to do", || {
        planned(gateway, &["--exit-code"]).ok()
    });

    // A wrong file is refused by the plan as by a reload.
    std::fs::write(&config, "[gateway]\n").or_fail("write the site file");
    let plan = planned(gateway, &[]);
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
}

#[test]
fn somebody_without_rights_sees_most_of_it_and_is_told_what_is_missing() {
    let site = ReferenceSite::new();
    let path = site_file(&site.gateway, &SiteFile::reference())
        .display()
        .to_string();
    let nobody = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ];
    let plan = [CAUSEWAY, "plan", &path];
    let plan = site.gateway.try_exec(&[nobody.as_slice(), &plan].concat());
    assert!(plan.ok(), "{}{}", plan.stdout, plan.stderr);
    assert!(
        plan.stdout
            .contains("\nip link set dev cw-oci-1 alias causeway:oci-1\n"),
        "{}",
        plan.stdout
    );
    assert!(
        plan.stdout.contains("# not looked at: the firewall: "),
        "{}",
        plan.stdout
    );
}
