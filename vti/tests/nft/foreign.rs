//! The tables of others, loaded by the `nft` program, and what they do to our packets.

use std::net::IpAddr;

use vti::nft::{At, Firewall, Flow, Outcome, Passage, Place, When};

use crate::sandbox::{full_site, in_namespace, nft};

const PEER: &str = "192.0.2.1";

fn peer_flows() -> [Flow; 3] {
    Flow::from_peer(
        PEER.parse().unwrap(),
        Some("wan0"),
        Some("203.0.113.7".parse().unwrap()),
    )
}

/// What becomes of the flows under the rules of `text`, with our own table loaded as well.
fn trace(text: &str, flows: &[Flow]) -> Vec<Passage> {
    in_namespace(|| {
        nft(text);
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&full_site()).unwrap();
        firewall.trace(flows).unwrap().passages
    })
}

fn peers(text: &str) -> Vec<Passage> {
    trace(text, &peer_flows())
}

fn outcome(text: &str, flow: Flow) -> Outcome {
    trace(text, &[flow]).remove(0).outcome
}

fn dropped(passage: &Passage) -> (&Place, When, &str) {
    match &passage.outcome {
        Outcome::Dropped { by, when, remedy } => (by, *when, remedy),
        other => panic!("{}: {other:?}", passage.flow.name),
    }
}

fn passes(passages: &[Passage]) -> Vec<bool> {
    passages
        .iter()
        .map(|passage| passage.outcome == Outcome::Passes)
        .collect()
}

#[test]
fn rules_about_the_loopback_do_not_make_an_unknown_interface_unclear() {
    let flows = Flow::from_peer(PEER.parse().unwrap(), None, None);
    let text = "table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            iif lo accept
            iifname lo accept
            iifname != lo udp dport 500 accept
        }
    }";
    assert_eq!(passes(&trace(text, &flows)), [false, true, false]);
    assert!(matches!(
        trace(text, &flows)[0].outcome,
        Outcome::Dropped { .. }
    ));
}

/// Shows why when it fails.
fn assert_all_pass(passages: &[Passage]) {
    for passage in passages {
        assert_eq!(passage.outcome, Outcome::Passes, "{passage}");
    }
}

#[test]
fn without_other_tables_everything_passes() {
    assert_all_pass(&peers(""));
}

#[test]
fn a_policy_of_drop_is_found_and_its_chain_named_with_a_remedy_that_works() {
    let host = "
        table inet filter {
            chain input {
                type filter hook input priority filter; policy drop;
                iif lo accept
                tcp dport 22 accept
            }
        }";
    for passage in peers(host) {
        let (by, when, remedy) = dropped(&passage);
        assert_eq!(
            (by.family, by.table.as_str(), by.chain.as_str()),
            ("inet", "filter", "input")
        );
        assert_eq!(
            (by.hook, &by.at, when),
            ("input", &At::Policy, When::Always)
        );
        let command = remedy.strip_prefix("nft ").unwrap();
        let passages = trace(
            &format!("{host}\n{command}\n"),
            std::slice::from_ref(&passage.flow),
        );
        assert_all_pass(&passages);
    }
    let text = peers(host)[1].to_string();
    assert_eq!(
        text,
        "IKE from 192.0.2.1: dropped by the policy of chain input (hook input) in table inet filter; \
         add: nft insert rule inet filter input iifname \"wan0\" ip saddr 192.0.2.1 \
         ip daddr 203.0.113.7 udp dport 500 accept"
    );
}

#[test]
fn a_firewall_that_accepts_replies_only_is_told_from_one_that_drops_all() {
    let passages = peers(
        "table inet filter {
            chain input {
                type filter hook input priority filter; policy drop;
                ct state vmap { established : accept, related : accept, invalid : drop }
            }
        }",
    );
    for passage in &passages {
        assert_eq!(dropped(passage).1, When::UnlessEstablished);
    }
}

#[test]
fn a_rule_is_named_by_handle_position_and_text() {
    let passages = peers(
        "table ip mine {
            chain guard {
                type filter hook prerouting priority raw; policy accept;
                udp dport 53 accept
                udp dport { 500, 4500 } counter drop
            }
        }",
    );
    assert_eq!(passes(&passages), [true, false, false]);
    let (by, when, _) = dropped(&passages[1]);
    let At::Rule {
        handle,
        position,
        text,
    } = &by.at
    else {
        panic!("{by}")
    };
    assert_eq!((*position, when, by.hook), (2, When::Always, "prerouting"));
    assert!(*handle > 0);
    assert_eq!(text, "udp dport { 500, 4500 } counter drop");
}

#[test]
fn jumps_gotos_returns_and_rejects_are_followed() {
    let passages = peers(
        "table inet filter {
            chain services {
                udp dport 500 accept
                udp dport 4500 return
                goto refuse
            }
            chain refuse { counter reject with icmpx type admin-prohibited; }
            chain input {
                type filter hook input priority filter; policy accept;
                iifname \"wan*\" jump services
                udp dport 4500 drop
            }
        }"
        .replace("; }", "\n}")
        .as_str(),
    );
    assert_eq!(passes(&passages), [false, true, false]);
    let (esp, _, remedy) = dropped(&passages[0]);
    assert_eq!(
        (esp.chain.as_str(), esp.base_chain.as_str()),
        ("refuse", "input")
    );
    assert!(
        remedy.starts_with("nft insert rule inet filter input "),
        "{remedy}"
    );
    assert_eq!(dropped(&passages[2]).0.chain, "input");
}

#[test]
fn sets_intervals_concatenations_and_verdict_maps_are_looked_up() {
    let passages = peers(
        "table inet filter {
            set friends { type ipv4_addr\n flags interval\n elements = { 192.0.2.0/29, 10.0.0.1 } }
            set ports { type ipv4_addr . inet_service\n flags interval
                elements = { 192.0.2.0/24 . 400-600, 10.0.0.0/8 . 4500 } }
            chain input {
                type filter hook input priority filter; policy drop;
                ip saddr @friends meta l4proto vmap { esp : accept, tcp : drop }
                ip saddr . udp dport @ports accept
                ip saddr != @friends udp dport 4500 accept
            }
        }",
    );
    assert_eq!(passes(&passages), [true, true, false]);
}

#[test]
fn prefixes_and_port_ranges_are_compared() {
    let passages = peers(
        "table ip filter {
            chain input {
                type filter hook input priority filter; policy drop;
                ip saddr 192.0.2.0/27 ip protocol esp accept
                ip saddr 192.0.0.0/16 udp dport 400-600 accept
                ip saddr 192.0.2.8/29 udp dport 4500 accept
            }
        }",
    );
    assert_eq!(passes(&passages), [true, true, false]);
}

#[test]
fn a_rule_that_depends_on_what_cannot_be_known_is_said_to_be_unclear() {
    let passages = peers(
        "table inet filter {
            chain input {
                type filter hook input priority filter; policy accept;
                meta mark 7 udp dport 500 drop
                meta l4proto esp limit rate over 10/second drop
                numgen random mod 2 0 udp dport 4500 drop
            }
        }",
    );
    let reasons: Vec<_> = passages
        .iter()
        .map(|passage| match &passage.outcome {
            Outcome::Unclear { doubts, .. } => doubts[0].on.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        reasons,
        ["a rate limit", "`meta mark`", "the expression `numgen`"]
    );
}

#[test]
fn what_cannot_be_known_does_not_matter_where_all_ways_end_alike() {
    let passages = peers(
        "table inet filter {
            chain input {
                type filter hook input priority filter; policy drop;
                meta mark 7 accept
                accept
            }
        }",
    );
    assert_all_pass(&passages);
}

#[test]
fn rules_for_other_interfaces_families_and_hooks_do_not_matter() {
    let passages = peers(
        "table ip6 filter {
            chain input {
                type filter hook input priority 0; policy drop;
            }
        }
        table inet other {
            chain forward {
                type filter hook forward priority 0; policy drop;
            }
            chain output {
                type filter hook output priority 0; policy drop;
            }
            chain input {
                type filter hook input priority 0; policy accept;
                iifname != \"wan0\" drop
                meta nfproto ipv6 drop
                iifname { \"lan0\", \"dmz*\" } drop
            }
        }",
    );
    assert_all_pass(&passages);
}

#[test]
fn a_redirection_of_our_ports_is_found() {
    let passages = peers(
        "table ip nat {
            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
                fib daddr type local udp dport 4500 dnat to 10.0.0.9:4500
            }
        }",
    );
    assert_eq!(passes(&passages), [true, true, false]);
    let Outcome::Rewritten { by, remedy } = &passages[2].outcome else {
        panic!("{}", passages[2])
    };
    assert_eq!(by.chain, "prerouting");
    assert!(
        remedy.contains("insert rule ip nat prerouting "),
        "{remedy}"
    );
}

#[test]
fn forwarding_is_checked_both_ways() {
    let docker = "table ip filter {
        chain FORWARD {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            iifname \"docker0\" accept
            oifname \"vti1\" accept
        }
    }";
    let Outcome::Dropped { by, when, remedy } =
        outcome(docker, Flow::from_cloud("vti1", None, None))
    else {
        panic!()
    };
    assert_eq!((by.at, when), (At::Policy, When::UnlessEstablished));
    assert_eq!(
        remedy,
        "nft insert rule ip filter FORWARD iifname \"vti1\" accept"
    );
    assert_eq!(
        outcome(docker, Flow::to_cloud("vti1", None, None)),
        Outcome::Passes
    );
}

#[test]
fn masquerading_of_what_goes_into_a_tunnel_is_found() {
    let home: IpAddr = "192.168.2.250".parse().unwrap();
    let careless = "table ip nat {
        chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr 192.168.0.0/16 masquerade
        }
    }";
    let into_cloud = Flow::to_cloud("vti1", Some(home), None);
    let Outcome::Rewritten { by, remedy } = outcome(careless, into_cloud.clone()) else {
        panic!()
    };
    assert_eq!(by.hook, "postrouting");
    let command = remedy.strip_prefix("nft ").unwrap();
    assert_eq!(
        outcome(&format!("{careless}\n{command}\n"), into_cloud.clone()),
        Outcome::Passes
    );
    let careful = careless.replace("ip saddr", "oifname \"wan0\" ip saddr");
    assert_eq!(outcome(&careful, into_cloud), Outcome::Passes);
}

#[test]
fn what_we_send_to_a_peer_is_followed_through_the_output_hook() {
    let flows = Flow::to_peer(PEER.parse().unwrap(), Some("wan0"), None);
    let passages = trace(
        "table inet filter {
            chain output {
                type filter hook output priority filter; policy drop;
                oifname \"wan0\" udp dport { 53, 500, 4500 } accept
                iifname \"wan0\" accept
            }
        }",
        &flows,
    );
    assert_eq!(passes(&passages), [false, true, true]);
}

#[test]
fn a_bgp_session_through_a_tunnel_is_followed_over_ipv6_as_well() {
    let text = "table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            ip6 saddr 2001:db8:ff::/48 tcp dport bgp accept
        }
    }";
    let flow = |peer: &str| Flow::bgp_from(peer.parse().unwrap(), "vti1");
    assert_eq!(outcome(text, flow("2001:db8:ff::1")), Outcome::Passes);
    assert!(matches!(
        outcome(text, flow("10.1.0.1")),
        Outcome::Dropped { .. }
    ));
}

#[test]
fn our_own_table_is_not_a_foreign_one() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        firewall.apply(&full_site()).unwrap();
        let stranger = Flow::from_peer("192.0.2.250".parse().unwrap(), Some("wan0"), None);
        assert_all_pass(&firewall.trace(&stranger).unwrap().passages);
    });
}
