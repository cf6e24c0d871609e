//! IPv6: over sessions of either family, beside IPv4, and IPv4 over IPv6 (RFC 8950).
//!
//! ```text
//!  home 2001:db8:2::250 ── gateway ──lan200── 2001:db8:c8::31 FRR, ::32 BIRD
//! ```

use lab::{
    Bird, Exchanged, Frr, Neighbor, ReferenceSite, Router, Scene, Speaker, addresses as at,
    eventually_true, kernel_route, ping,
};

use serde_json::Value;

use crate::lan::Lan;

const GATEWAY: &str = "2001:db8:c8::1";
const NODES: [&str; 2] = ["2001:db8:c8::31", "2001:db8:c8::32"];
const HOME: &str = "2001:db8:2::250";
const HOME_NETWORK: &str = "2001:db8:2::/64";
const SERVICE: &str = "2001:db8:5e::1";
/// What the lists refuse.
const OTHER: &str = "2001:db8:bad::/48";

/// A gateway with these lines in the section of its nodes.
fn site_file(nodes: &str) -> String {
    format!(
        r#"
[gateway]
name = "lan"
address = "203.0.113.10"
networks = ["192.168.2.0/24", "{HOME_NETWORK}"]

[bgp]
asn = 65551
router-id = "192.168.200.1"
redistribute = ["connected"]

[bgp.neighbor.nodes]
remote-asn = 65000
hold-time = "9s"
import = "services"
export = "home"
{nodes}

[prefix-list]
services = [
  {{ permit = "2001:db8:5e::/48", ge = 128 }},
  {{ permit = "172.16.200.0/24", ge = 32 }},
]
home = [{{ permit = "{HOME_NETWORK}" }}, {{ permit = "192.168.2.0/24" }}]

[[route]]
prefix = "2001:db8:de::/48"
blackhole = true

[daemon]
data-plane = "userspace"
socket = "{{dir}}/control.sock"
"#
    )
}

/// Over IPv6, with more lines.
fn over_ipv6(more: &str) -> String {
    let [one, two] = NODES;
    site_file(&format!(
        "addresses = [\"{one}\", \"{two}\"]\nsource = \"lan200\"\n{more}"
    ))
}

/// Over IPv4, both families.
fn over_ipv4() -> String {
    let [one, two, _] = at::NODES;
    site_file(&format!(
        "addresses = [\"{one}\", \"{two}\"]\nsource = \"lan200\"\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-address = \"{GATEWAY}\""
    ))
}

/// The network with IPv6 addresses, and the daemon.
fn start(file: &str, secrets: &[(&str, &str)]) -> Lan {
    let site = ReferenceSite::new();
    for (ns, link, address) in [
        (&site.gateway, "lan200", "2001:db8:c8::1/64"),
        (&site.gateway, "lan0", "2001:db8:2::1/64"),
        (&site.home, "eth0", "2001:db8:2::250/64"),
        (&site.nodes[0], "eth0", "2001:db8:c8::31/64"),
        (&site.nodes[1], "eth0", "2001:db8:c8::32/64"),
        (&site.nodes[0], "lo", "2001:db8:5e::1/128"),
        (&site.nodes[1], "lo", "2001:db8:5e::1/128"),
    ] {
        ns.exec(&["ip", "address", "add", address, "dev", link, "nodad"]);
    }
    site.home
        .exec(&["ip", "route", "add", "default", "via", "2001:db8:2::1"]);
    Lan::start_in(site, file, secrets)
}

/// What a neighbor's session agreed on.
fn agreed(lan: &Lan, address: &str) -> Value {
    let name = format!("nodes/{address}");
    let view = lan.gateway.command(&["bgp", "neighbor", &name, "--json"]);
    let view: Value = serde_json::from_str(&view.stdout).expect("read the view of a neighbor");
    view["neighbor"]["agreed"].clone()
}

/// A node that is reached at this address, and offers these families.
fn node(index: usize, over_ipv6: bool, families: Exchanged) -> Speaker {
    let (gateway, local) = match over_ipv6 {
        true => (GATEWAY, NODES[index]),
        false => (at::NODES_GATEWAY, at::NODES[index]),
    };
    let gateway = Neighbor::new(gateway, at::LAN_ASN).hold(9).local(local);
    let mut speaker = Speaker::new(at::NODES_ASN, at::NODES[index]);
    if families.has_ipv6() {
        speaker = speaker.network(&format!("{SERVICE}/128")).network(OTHER);
    }
    if families.has_ipv4() {
        speaker = speaker.network(&format!("{}/32", at::SERVICE));
    }
    speaker.neighbor(gateway.families(families))
}

fn ways(lan: &Lan, destination: &str) -> Vec<String> {
    let route = kernel_route(&lan.site.gateway, destination);
    let hops = route.map_or_else(Vec::new, |route| route.next_hops);
    hops.into_iter().filter_map(|(via, _)| via).collect()
}

#[track_caller]
fn wait_for_ways(lan: &Lan, destination: &str, expected: &[&str]) {
    eventually_true(
        Scene::SOON,
        format_args!("{destination} is at {expected:?}"),
        || ways(lan, destination) == expected,
    );
}

/// Packets go both ways between home and the service.
#[track_caller]
fn assert_reached(lan: &Lan, from: &str, to: &str) {
    let echo = ping(&lan.site.home, to, 3, &["-I", from]);
    assert!(echo.all(), "{}", echo.text);
}

#[test]
fn ipv6_routes_come_over_an_ipv6_session_carry_traffic_and_go() {
    let lan = start(&over_ipv6(""), &[]);
    let frr = Frr::start(&lan.site.nodes[0], &node(0, true, Exchanged::Ipv6));
    let mut bird = Bird::start(&lan.site.nodes[1], &node(1, true, Exchanged::Ipv6));
    lan.gateway.wait_for_bgp(&NODES, Scene::SOON);
    // Two equally good ways, one route.
    wait_for_ways(&lan, SERVICE, &NODES);
    assert_reached(&lan, HOME, SERVICE);
    assert_eq!(kernel_route(&lan.site.gateway, OTHER), None);
    for router in [&frr as &dyn Router, &bird] {
        assert!(router.established(GATEWAY));
        eventually_true(Scene::SOON, "the node has what home's list permits", || {
            let received = router.received(GATEWAY);
            received.iter().eq([HOME_NETWORK])
        });
        assert_eq!(router.as_path(HOME_NETWORK), Some(vec![at::LAN_ASN]));
    }
    let agreed = agreed(&lan, NODES[0]);
    assert_eq!(agreed["families"], serde_json::json!(["ipv6-unicast"]));
    // A withdrawal edits the group, and a death takes the last way.
    frr.withdraw(at::NODES_ASN, &format!("{SERVICE}/128"));
    wait_for_ways(&lan, SERVICE, &NODES[1..]);
    assert_reached(&lan, HOME, SERVICE);
    bird.kill();
    eventually_true(Scene::SOON, "nobody has the service", || {
        kernel_route(&lan.site.gateway, SERVICE).is_none()
    });
    assert!(frr.established(GATEWAY));
}

#[test]
fn both_families_come_over_an_ipv4_session() {
    let lan = start(&over_ipv4(), &[]);
    let frr = Frr::start(&lan.site.nodes[0], &node(0, false, Exchanged::Both));
    let bird = Bird::start(&lan.site.nodes[1], &node(1, false, Exchanged::Both));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    wait_for_ways(&lan, SERVICE, &NODES);
    wait_for_ways(&lan, at::SERVICE, &at::NODES[..2]);
    assert_reached(&lan, HOME, SERVICE);
    for router in [&frr as &dyn Router, &bird] {
        eventually_true(Scene::SOON, "the node has both", || {
            router
                .received(at::NODES_GATEWAY)
                .iter()
                .eq(["192.168.2.0/24", HOME_NETWORK])
        });
    }
    // What is sent has the next hop that the site file names: packets of the node come back by it.
    let echo = ping(&lan.site.nodes[0], HOME, 3, &["-I", NODES[0]]);
    assert!(echo.all(), "{}", echo.text);
}

#[test]
fn ipv4_routes_over_an_ipv6_session_have_an_ipv6_next_hop_in_the_kernel() {
    let lan = start(&over_ipv6("families = [\"ipv4\", \"ipv6\"]"), &[]);
    let frr = Frr::start(&lan.site.nodes[0], &node(0, true, Exchanged::Both));
    lan.gateway.wait_for_bgp(&NODES[..1], Scene::SOON);
    let agreed = agreed(&lan, NODES[0]);
    assert_eq!(agreed["extended_next_hop"], true);
    wait_for_ways(&lan, at::SERVICE, &NODES[..1]);
    wait_for_ways(&lan, SERVICE, &NODES[..1]);
    assert_reached(&lan, HOME, SERVICE);
    assert_reached(&lan, at::HOME, at::SERVICE);
    eventually_true(Scene::SOON, "FRR has both", || {
        frr.received(GATEWAY)
            .iter()
            .eq(["192.168.2.0/24", HOME_NETWORK])
    });
    let bird = Bird::start(&lan.site.nodes[1], &node(1, true, Exchanged::Both));
    wait_for_ways(&lan, at::SERVICE, &NODES);
    eventually_true(Scene::SOON, "BIRD has both", || {
        bird.received(GATEWAY)
            .iter()
            .eq(["192.168.2.0/24", HOME_NETWORK])
    });
    frr.withdraw(at::NODES_ASN, &format!("{}/32", at::SERVICE));
    wait_for_ways(&lan, at::SERVICE, &NODES[1..]);
    wait_for_ways(&lan, SERVICE, &NODES);
}

#[test]
fn ipv6_routes_outlive_a_nodes_restart_and_those_not_taught_again_go_at_its_end_of_rib() {
    let lan = start(&over_ipv6(""), &[]);
    let extra = "2001:db8:5e::2/128";
    let speaker = node(1, true, Exchanged::Ipv6).graceful();
    let mut bird = Bird::start(&lan.site.nodes[1], &speaker.clone().network(extra));
    lan.gateway.wait_for_bgp(&NODES[1..], Scene::SOON);
    wait_for_ways(&lan, SERVICE, &NODES[1..]);
    wait_for_ways(&lan, extra, &NODES[1..]);
    bird.kill();
    let stale = || lan.gateway.neighbor(NODES[1])["stale"].as_u64();
    eventually_true(Scene::SOON, "its routes are kept", || stale() > Some(0));
    assert_eq!(ways(&lan, SERVICE), NODES[1..]);
    assert_reached(&lan, HOME, SERVICE);
    bird.restart_with(&speaker);
    eventually_true(Scene::SOON, "what it does not teach again goes", || {
        ways(&lan, extra).is_empty()
    });
    assert_eq!(ways(&lan, SERVICE), NODES[1..]);
    eventually_true(Scene::SOON, "nothing is kept any more", || {
        stale() == Some(0)
    });
}

#[test]
fn signed_ipv6_sessions_with_ttl_security_come_up_whoever_dials() {
    let guarded = "md5 = { file = \"{dir}/node.md5\" }\nttl-security = true";
    let lan = start(&over_ipv6(guarded), &[("node.md5", "a-key-for-ipv6")]);
    let guard = |speaker: Speaker, passive: bool| {
        let mut speaker = speaker;
        for neighbor in &mut speaker.neighbors {
            neighbor.password = "a-key-for-ipv6".into();
            neighbor.ttl_security = true;
            neighbor.passive = passive;
        }
        speaker
    };
    let frr = Frr::start(
        &lan.site.nodes[0],
        &guard(node(0, true, Exchanged::Ipv6), true),
    );
    let bird = Bird::start(
        &lan.site.nodes[1],
        &guard(node(1, true, Exchanged::Ipv6), false),
    );
    lan.gateway.wait_for_bgp(&NODES, Scene::SOON);
    assert!(frr.established(GATEWAY) && bird.established(GATEWAY));
    wait_for_ways(&lan, SERVICE, &NODES);
}

#[test]
fn a_static_ipv6_route_is_in_the_kernel_and_gone_when_the_daemon_is() {
    let mut lan = start(&over_ipv6(""), &[]);
    eventually_true(Scene::SOON, "the route is there", || {
        kernel_route(&lan.site.gateway, "2001:db8:de::/48").is_some()
    });
    assert_eq!(
        lan.site
            .gateway
            .exec(&["sysctl", "-n", "net.ipv6.conf.all.forwarding"])
            .trim(),
        "1"
    );
    assert!(lan.gateway.stop().success());
    assert_eq!(kernel_route(&lan.site.gateway, "2001:db8:de::/48"), None);
}
