//! Our table in the kernel: made, compared, updated, removed.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use vti::nft::{Action, Alias, Applied, Difference, Error, Firewall, Ruleset, render};

use crate::sandbox::{feed, full_site, in_namespace, nft, run};

/// `nft -j list`, without what the kernel numbers as it likes, and with sorted elements.
fn listing() -> Value {
    let text = run("nft", &["-j", "list", "table", "inet", "causeway"]);
    let mut value: Value = serde_json::from_str(&text).unwrap();
    neutral(&mut value);
    value
}

fn neutral(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(neutral);
        }
        Value::Array(items) => items.iter_mut().for_each(neutral),
        _ => {}
    }
}

#[test]
fn the_printed_text_and_the_netlink_form_make_the_same_table() {
    let site = full_site();
    let text = render(&site).unwrap();
    let by_text = in_namespace(|| {
        feed("nft", &["-c", "-f", "-"], &text);
        nft(&text);

        // And we recognise what the other program has loaded.
        assert_eq!(
            Firewall::open().unwrap().apply(&site).unwrap(),
            Applied::Unchanged
        );
        listing()
    });
    let by_netlink = in_namespace(|| {
        Firewall::open().unwrap().apply(&site).unwrap();
        listing()
    });
    assert_eq!(by_text, by_netlink);
}

#[test]
fn applying_twice_changes_nothing_the_second_time() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let first = firewall.apply(&full_site()).unwrap();
        assert_eq!(
            first,
            Applied::Replaced {
                because: vec![Difference::TableMissing]
            }
        );
        let generation = firewall.generation().unwrap();
        assert_eq!(firewall.apply(&full_site()).unwrap(), Applied::Unchanged);
        assert_eq!(firewall.generation().unwrap(), generation);
        assert_eq!(
            firewall
                .observe()
                .unwrap()
                .differences(&full_site())
                .unwrap(),
            []
        );
    });
}

fn with_peers(peers: &[&str]) -> Ruleset {
    let mut site = full_site();
    let peers = peers.iter().map(|net| net.parse().unwrap()).collect();
    site.aliases
        .insert("peers".to_owned(), Alias::Networks(peers));
    site
}

#[test]
fn another_peer_address_only_replaces_elements() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&full_site()).unwrap();
        let changed = with_peers(&["192.0.2.2/32", "198.51.100.0/24", "2001:db8:1::1/128"]);
        let applied = firewall.apply(&changed).unwrap();
        assert_eq!(
            applied,
            Applied::Elements {
                sets: vec!["peers_v4".to_owned()]
            }
        );
        assert_eq!(
            firewall.observe().unwrap().differences(&changed).unwrap(),
            []
        );
    });
}

#[test]
fn ten_thousand_networks_fit_one_transaction() {
    in_namespace(|| {
        let networks: Vec<String> = (0..10_000_u32)
            .map(|n| format!("10.{}.{}.0/25", n / 256, n % 256))
            .collect();
        let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
        let site = with_peers(&networks);
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&site).unwrap();
        assert_eq!(firewall.apply(&site).unwrap(), Applied::Unchanged);
    });
}

#[test]
fn the_whole_address_space_is_a_set_like_any_other() {
    in_namespace(|| {
        let site = with_peers(&["0.0.0.0/0", "::/0"]);
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&site).unwrap();
        assert_eq!(firewall.apply(&site).unwrap(), Applied::Unchanged);
        let edge = with_peers(&["255.255.255.0/24", "0.0.0.0/8", "ffff::/16"]);
        firewall.apply(&edge).unwrap();
        assert_eq!(firewall.apply(&edge).unwrap(), Applied::Unchanged);
    });
}

#[test]
fn what_somebody_else_changed_is_seen_and_put_right() {
    let tampering = [
        "flush ruleset",
        "flush chain inet causeway input",
        "insert rule inet causeway input accept",
        "add chain inet causeway mine",
        "chain inet causeway input { policy drop; }",
        "delete element inet causeway peers_v4 { 192.0.2.1 }",
        "add set inet causeway mine { type ipv4_addr; }",
    ];
    for command in tampering {
        in_namespace(|| {
            let mut firewall = Firewall::open().unwrap();
            firewall.apply(&full_site()).unwrap();
            nft(command);
            let differences = firewall
                .observe()
                .unwrap()
                .differences(&full_site())
                .unwrap();
            assert_eq!(differences.len(), 1, "{command}: {differences:?}");
            assert_ne!(
                firewall.apply(&full_site()).unwrap(),
                Applied::Unchanged,
                "{command}"
            );
            assert_eq!(
                firewall.apply(&full_site()).unwrap(),
                Applied::Unchanged,
                "{command}"
            );
        });
    }
}

#[test]
fn removing_leaves_the_tables_of_others_alone() {
    in_namespace(|| {
        nft(
            "add table inet filter\nadd chain inet filter input { type filter hook input priority 0; }",
        );
        let before = run("nft", &["list", "ruleset"]);
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&full_site()).unwrap();
        firewall.remove().unwrap();
        firewall.remove().unwrap();
        assert!(!firewall.observe().unwrap().exists());
        assert_eq!(run("nft", &["list", "ruleset"]), before);
    });
}

#[test]
fn a_site_without_refusals_does_not_track_connections() {
    let mut site = full_site();
    site.cloud.retain(|rule| rule.action == Action::Accept);
    site.cloud_default = Action::Accept;
    assert!(!render(&site).unwrap().contains("ct state"));
    in_namespace(|| {
        Firewall::open().unwrap().apply(&site).unwrap();
    });
}

#[test]
fn an_empty_ruleset_is_a_table_that_decides_nothing() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&Ruleset::default()).unwrap();
        assert_eq!(
            firewall.apply(&Ruleset::default()).unwrap(),
            Applied::Unchanged
        );
    });
}

/// Set for the child of the test below, which has given up its privileges.
const UNPRIVILEGED: &str = "CAUSEWAY_TEST_UNPRIVILEGED";

#[test]
fn without_privileges_the_error_says_so() {
    if std::env::var_os(UNPRIVILEGED).is_some() {
        let error = Firewall::open().err().unwrap();
        assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
        assert!(
            error.to_string().contains("root or CAP_NET_ADMIN"),
            "{error}"
        );
        return;
    }
    const NOBODY: u32 = 65_534;
    let copy = std::env::temp_dir().join(format!("causeway-nft-test-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let child = Command::new(&copy)
        .args(["--exact", "table::without_privileges_the_error_says_so"])
        .env(UNPRIVILEGED, "1")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    std::fs::remove_file(&copy).unwrap();
    let output = child.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}
