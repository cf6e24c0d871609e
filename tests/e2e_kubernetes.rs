//! Kubernetes nodes as neighbors on the LAN: one service address, three ways to it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lab::{
    Gateway, Neighbor, Nodes, OrFail as _, ReferenceSite, Router as _, Scene, SiteFile, Speaker,
    addresses as at, eventually_true, kernel_route, ping,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

const SERVICE_PORT: u16 = 7000;

struct Lan {
    gateway: Gateway,
    nodes: Nodes,
    site: ReferenceSite,
}

impl Lan {
    #[track_caller]
    fn up() -> Self {
        let site = ReferenceSite::new();
        let nodes = Nodes::start(&site);
        let gateway = Gateway::start(&site.gateway, &SiteFile::reference().launch(CAUSEWAY));
        let lan = Self {
            gateway,
            nodes,
            site,
        };
        lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
        eventually_true(Scene::SOON, "three sessions in the nodes' view", || {
            lan.nodes.established() == 3
        });
        lan.wait_for_hops(3);
        lan
    }

    fn hops(&self) -> Vec<(Option<String>, String)> {
        kernel_route(&self.site.gateway, at::SERVICE).map_or_else(Vec::new, |route| route.next_hops)
    }

    #[track_caller]
    fn wait_for_hops(&self, count: usize) -> Duration {
        let what = format!("the service has {count} next hops");
        eventually_true(Scene::SOON, what, || self.hops().len() == count)
    }

    /// Sends a packet from each of `flows` ports at home to the service, and counts which node got it, per port.
    #[track_caller]
    fn spread(&self, flows: u16) -> BTreeMap<u16, usize> {
        let service: SocketAddr = format!("{}:{SERVICE_PORT}", at::SERVICE)
            .parse()
            .or_fail("the service's address");
        let inboxes: Vec<_> = self
            .site
            .nodes
            .iter()
            .map(|node| {
                let socket = node
                    .run(move || UdpSocket::bind(service))
                    .or_fail("bind the service's port");
                socket
                    .set_nonblocking(true)
                    .or_fail("make a socket non-blocking");
                socket
            })
            .collect();
        self.site.home.run(move || {
            for port in 0..flows {
                let socket = UdpSocket::bind(("0.0.0.0", 20_000 + port)).or_fail("bind a port");
                socket
                    .send_to(b"flow", service)
                    .or_fail("send to the service");
            }
        });
        let mut got = BTreeMap::new();
        eventually_true(
            Scene::SOON,
            format_args!("all {flows} flows arrive"),
            || {
                for (node, inbox) in inboxes.iter().enumerate() {
                    while let Ok((_, from)) = inbox.recv_from(&mut [0; 16]) {
                        got.insert(from.port(), node);
                    }
                }
                got.len() == usize::from(flows)
            },
        );
        got
    }
}

#[test]
fn one_service_on_three_nodes_is_one_route_with_three_next_hops() {
    let lan = Lan::up();
    let expected: Vec<_> = at::NODES
        .iter()
        .map(|node| (Some((*node).to_owned()), "lan200".to_owned()))
        .collect();
    assert_eq!(lan.hops(), expected);
    for node in at::NODES {
        let neighbor = lan.gateway.neighbor(node);
        assert_eq!(neighbor["state"], "Established");
        assert_eq!(neighbor["accepted"], 1);
        assert_eq!(neighbor["advertised"], 0, "the policy `none`");
    }
    for node in &lan.nodes.speakers {
        let none: Vec<String> = Vec::new();
        assert_eq!(
            node.received(at::NODES_GATEWAY)
                .into_iter()
                .collect::<Vec<_>>(),
            none
        );
    }
    let policy = lan
        .site
        .gateway
        .read_sysctl("net/ipv4/fib_multipath_hash_policy");
    assert_eq!(policy, "1", "flows are told apart by their ports");
    assert!(ping(&lan.site.home, at::SERVICE, 3, &[]).all());
}

#[test]
fn flows_spread_over_the_nodes() {
    let lan = Lan::up();
    let spread = lan.spread(90);
    for node in 0..3 {
        let count = spread.values().filter(|n| **n == node).count();
        assert!(
            count >= 10,
            "node {node} has only {count} of 90 flows: {spread:?}"
        );
    }
}

#[test]
fn a_node_that_leaves_takes_its_next_hop_with_it_at_once() {
    let mut lan = Lan::up();
    lan.nodes.speakers[0].stop();
    let took = lan.wait_for_hops(2);
    println!("two next hops after {took:?}");
    assert!(
        took < Duration::from_secs(2),
        "a node that says goodbye is gone at once, not after {took:?}"
    );
    assert!(
        lan.hops()
            .iter()
            .all(|(via, _)| via.as_deref() != Some(at::NODES[0]))
    );
    assert!(lan.spread(30).values().all(|node| *node != 0));

    lan.nodes.speakers[1].withdraw("172.16.200.1/32");
    lan.wait_for_hops(1);
    lan.nodes.speakers[1].announce("172.16.200.1/32");
    lan.wait_for_hops(2);
}

#[test]
fn a_node_that_dies_silently_is_gone_after_its_hold_time() {
    let lan = Lan::up();
    lan.site
        .switch
        .exec(&["ip", "link", "set", "node1", "nomaster"]);
    let took = eventually_true(Duration::from_secs(20), "two next hops", || {
        lan.hops().len() == 2
    });
    println!("two next hops after {took:?}, with a hold time of 9 s");
}

#[test]
fn only_listed_prefixes_are_taken_from_a_node() {
    let lan = Lan::up();
    for prefix in [
        "0.0.0.0/0",
        "192.168.2.0/24",
        "172.16.200.0/24",
        "172.16.200.9/32",
    ] {
        lan.nodes.speakers[0].announce(prefix);
    }
    eventually_true(
        Scene::SOON,
        "the permitted service is in the kernel",
        || kernel_route(&lan.site.gateway, "172.16.200.9").is_some(),
    );
    eventually_true(
        Scene::SOON,
        "all five are received and two accepted",
        || {
            let neighbor = lan.gateway.neighbor(at::NODES[0]);
            neighbor["received"] == 5 && neighbor["accepted"] == 2
        },
    );
    assert_eq!(kernel_route(&lan.site.gateway, "172.16.200.0/24"), None);
}

#[test]
fn a_service_may_be_told_to_the_cloud() {
    let file = SiteFile::reference().replace(
        "{ seq = 20, permit = \"172.24.0.0/24\" }",
        "{ seq = 20, permit = \"172.16.200.0/24\", ge = 32 }",
    );
    let site = ReferenceSite::new();
    let nodes = Nodes::start(&site);
    let scene = Scene::start_with(site, CAUSEWAY, &file, |_, _| {});
    eventually_true(Scene::SOON, "three sessions", || nodes.established() == 3);
    for index in [0, 1] {
        eventually_true(Scene::SOON, "the cloud has the service", || {
            scene.cloud.received(index) == ["172.16.200.1/32", "192.168.2.0/24"]
        });
    }
    // FRR chooses its best way after it has listed what it received.
    eventually_true(Scene::SOON, "the cloud reaches it through us", || {
        let path = scene.cloud.frr.as_path("172.16.200.1/32");
        path == Some(vec![at::SITE_ASN, at::NODES_ASN])
    });
    eventually_true(Scene::SOON, "the instance reaches the service", || {
        ping(&scene.site.instance, at::SERVICE, 1, &[]).all()
    });
}

#[test]
fn a_router_of_the_same_lan_may_be_bird() {
    let site = ReferenceSite::new();
    let speaker = Speaker::new(at::NODES_ASN, at::NODES[0])
        .network("172.16.200.1/32")
        .neighbor(Neighbor::new(at::NODES_GATEWAY, at::LAN_ASN).local(at::NODES[0]));
    let bird = lab::Bird::start(&site.nodes[0], &speaker);
    let gateway = Gateway::start(&site.gateway, &SiteFile::reference().launch(CAUSEWAY));
    gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    assert!(
        bird.established(at::NODES_GATEWAY),
        "{}",
        bird.describe(at::NODES_GATEWAY)
    );
    eventually_true(Scene::SOON, "the service has a route", || {
        kernel_route(&site.gateway, at::SERVICE).is_some()
    });
}
