//! The gateway as route reflector of nodes in its own AS (RFC 4456).

use lab::{
    Bird, Frr, Neighbor, Router, Scene, Speaker, addresses as at, eventually_true, kernel_route,
    ping,
};

use crate::lan::{Lan, site_file};

/// Each node's own service.
const SERVICES: [&str; 2] = ["172.16.200.31", "172.16.200.32"];

/// A node in the gateway's AS, with a service of its own.
fn node(lan: &Lan, index: usize) -> Speaker {
    let service = format!("{}/32", SERVICES[index]);
    lan.site.nodes[index].exec(&["ip", "address", "add", &service, "dev", "lo"]);
    let gateway = Neighbor::new(at::NODES_GATEWAY, at::NODES_ASN).hold(9);
    Speaker::new(at::NODES_ASN, at::NODES[index])
        .network(&service)
        .neighbor(gateway.local(at::NODES[index]))
}

fn way(lan: &Lan, node: usize, destination: &str) -> Option<String> {
    let route = kernel_route(&lan.site.nodes[node], destination)?;
    let (via, _) = route.next_hops.first()?.clone();
    via
}

#[test]
fn nodes_of_our_as_hear_of_each_other_and_go_to_each_other_directly() {
    let file = site_file("route-reflector-client = true")
        .replace("asn = 65551", "asn = 65000")
        .replace("export = \"home\"", "export = \"services\"")
        .replace("home = [{ permit = \"192.168.2.0/24\" }]\n", "");
    let lan = Lan::start_file(&file);
    let frr = Frr::start(&lan.site.nodes[0], &node(&lan, 0));
    let bird = Bird::start(&lan.site.nodes[1], &node(&lan, 1));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    for (index, router) in [(0, &frr as &dyn Router), (1, &bird)] {
        let other = SERVICES[1 - index];
        eventually_true(
            Scene::SOON,
            "a node hears of the other one's service",
            || {
                router
                    .received(at::NODES_GATEWAY)
                    .contains(&format!("{other}/32"))
                    && way(&lan, index, other).as_deref() == Some(at::NODES[1 - index])
            },
        );
    }
    let told = frr.json(&format!("show bgp ipv4 unicast {}/32 json", SERVICES[1]));
    let path = &told["paths"][0];
    assert_eq!(path["originatorId"], at::NODES[1], "{path}");
    assert_eq!(path["clusterList"]["list"][0], "192.168.200.1", "{path}");
    let seen = bird.birdc(&format!("show route for {}/32 all", SERVICES[0]));
    assert!(
        seen.contains(&format!("BGP.originator_id: {}", at::NODES[0])),
        "{seen}"
    );
    let echo = ping(&lan.site.nodes[0], SERVICES[1], 3, &["-I", SERVICES[0]]);
    assert!(echo.all(), "{}", echo.text);
    frr.withdraw(at::NODES_ASN, &format!("{}/32", SERVICES[0]));
    eventually_true(
        Scene::SOON,
        "what a node withdraws is gone at the other",
        || kernel_route(&lan.site.nodes[1], SERVICES[0]).is_none(),
    );
}
