//! The model and its text, without a kernel.

use ipnet::IpNet;

use super::ruleset::{
    Action, Alias, BgpPeer, CloudRule, PortRange, Ports, Protocol, Ruleset, RulesetError, Scope,
    WanRules,
};
use super::text::render;

fn networks(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

fn rule(name: &str) -> CloudRule {
    CloudRule {
        name: name.to_owned(),
        action: Action::Accept,
        source: Scope::Any,
        destination: Scope::Any,
        protocol: Protocol::Any,
        ports: Ports::Any,
        log: false,
    }
}

/// Two tunnels to a cloud that may do anything, and three Kubernetes nodes.
fn reference_site() -> Ruleset {
    let tunnel = |number: u8| BgpPeer {
        interface: format!("vti{number}"),
        address: [10, number, 0, 1].into(),
    };
    let node = |last: u8| BgpPeer {
        interface: "vlan200".to_owned(),
        address: [192, 168, 200, last].into(),
    };
    Ruleset {
        aliases: [(
            "peers".to_owned(),
            Alias::Networks(networks(&["192.0.2.1/32", "192.0.2.129/32"])),
        )]
        .into(),
        wan: Some(WanRules {
            interface: Some("wan0".to_owned()),
            addresses: vec![[203, 0, 113, 7].into()],
            ..WanRules::from_peers("peers")
        }),
        tunnel_interfaces: vec!["vti1".to_owned(), "vti2".to_owned()],
        clamp_mss: vec!["vti1".to_owned(), "vti2".to_owned()],
        bgp: vec![tunnel(1), tunnel(2)],
        lan_bgp: vec![node(31), node(32), node(33)],
        ..Ruleset::default()
    }
}

#[test]
fn the_reference_site_reads_like_something_that_a_person_would_write() {
    insta::assert_snapshot!(render(&reference_site()).unwrap());
}

#[test]
fn a_restricted_cloud_reads_like_something_that_a_person_would_write() {
    let mut site = reference_site();
    site.aliases.insert(
        "home".to_owned(),
        Alias::Networks(networks(&[
            "192.168.2.0/24",
            "172.24.0.0/24",
            "2001:db8:2::/48",
        ])),
    );
    let ports = [PortRange::single(443), PortRange::new(8000, 8100).unwrap()];
    site.aliases
        .insert("web".to_owned(), Alias::Ports(ports.to_vec()));
    site.cloud = vec![
        CloudRule {
            source: Scope::Networks(networks(&["10.0.0.0/16"])),
            destination: Scope::Alias("home".to_owned()),
            protocol: Protocol::Tcp,
            ports: Ports::Alias("web".to_owned()),
            ..rule("web")
        },
        CloudRule {
            protocol: Protocol::Icmp,
            ..rule("ping")
        },
        CloudRule {
            action: Action::Drop,
            destination: Scope::Networks(networks(&["192.168.2.128/25"])),
            log: true,
            ..rule("keep out")
        },
    ];
    site.cloud_default = Action::Drop;
    insta::assert_snapshot!(render(&site).unwrap());
}

#[test]
fn a_rule_for_addresses_of_a_family_that_the_other_side_lacks_is_left_out() {
    let mut site = reference_site();
    site.cloud = vec![CloudRule {
        source: Scope::Networks(networks(&["10.0.0.0/16"])),
        destination: Scope::Networks(networks(&["2001:db8::/32"])),
        ..rule("never")
    }];
    assert!(!render(&site).unwrap().contains("never"));
}

#[test]
fn peers_that_are_not_known_yet_still_keep_strangers_out() {
    let mut site = reference_site();
    site.aliases
        .insert("peers".to_owned(), Alias::Networks(Vec::new()));
    let text = render(&site).unwrap();
    assert!(!text.contains("wan-ike"));
    assert!(text.contains(r#"udp dport 500 counter drop comment "stranger-ike""#));
}

#[test]
fn references_are_checked_before_anything_is_made() {
    let with_cloud = |rule: CloudRule| Ruleset {
        cloud: vec![rule],
        ..reference_site()
    };
    let alias = |name: &str| Scope::Alias(name.to_owned());
    let unknown = with_cloud(CloudRule {
        source: alias("nobody"),
        ..rule("r")
    });
    assert_eq!(
        unknown.validate(),
        Err(RulesetError::UnknownAlias {
            rule: "r".to_owned(),
            alias: "nobody".to_owned()
        })
    );
    let ports = Ports::Alias("peers".to_owned());
    let wrong_kind = with_cloud(CloudRule {
        protocol: Protocol::Tcp,
        ports,
        ..rule("r")
    });
    assert_eq!(
        wrong_kind.validate().unwrap_err().to_string(),
        "r: the alias `peers` does not hold ports"
    );
    let ports = Ports::Ranges(vec![PortRange::single(80)]);
    let portless = with_cloud(CloudRule {
        protocol: Protocol::Icmp,
        ports,
        ..rule("r")
    });
    assert_eq!(
        portless.validate(),
        Err(RulesetError::PortsWithoutProtocol {
            rule: "r".to_owned()
        })
    );
}

#[test]
fn names_that_would_break_out_of_the_text_are_refused() {
    for name in ["", "a b", "1st", "x;flush ruleset", "é", &"n".repeat(65)] {
        let mut site = reference_site();
        site.aliases
            .insert(name.to_owned(), Alias::Networks(Vec::new()));
        assert!(
            matches!(site.validate(), Err(RulesetError::Name { .. })),
            "{name}"
        );
    }
    for name in ["", "say \"accept\"", "two\nlines"] {
        let site = Ruleset {
            cloud: vec![rule(name)],
            ..reference_site()
        };
        assert!(
            matches!(site.validate(), Err(RulesetError::Name { .. })),
            "{name}"
        );
    }
    for name in ["", "sixteen-letters-", "a/b", "w*", "\"", "a b"] {
        let site = Ruleset {
            tunnel_interfaces: vec![name.to_owned()],
            ..reference_site()
        };
        assert!(
            matches!(site.validate(), Err(RulesetError::Name { .. })),
            "{name}"
        );
    }
}
