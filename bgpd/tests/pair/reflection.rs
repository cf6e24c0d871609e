//! Route reflection inside one AS (RFC 4456).

use bgpd::policy::Withheld;
use bgpd::view::ExportVerdict;
use bgpd::{Command, PeerConfig};

use super::site::{SECOND, add, ip, name, net, peer, replace, speaker, static_routes};
use super::world::{Node, World};

const REFLECTOR: &str = "192.168.200.1";

/// A reflector and nodes in its AS, of which the first so many are its clients.
fn mesh(nodes: u8, clients: u8) -> (World, Node, Vec<Node>) {
    let mut world = World::new(11);
    let reflector = world.add(speaker(65000, [192, 168, 200, 1]), &[REFLECTOR]);
    let mut all = Vec::new();
    for index in 0..nodes {
        let last = 31 + index;
        let address = format!("192.168.200.{last}");
        let node = world.add(speaker(65000, [192, 168, 200, last]), &[address.as_str()]);
        world.command(reflector, add(node_of(index, index < clients)));
        world.command(node, add(peer("reflector", &address, REFLECTOR, 65000)));
        world.command(node, routes(&[&format!("172.16.{last}.0/24")]));
        all.push(node);
    }
    world.command(reflector, routes(&[]));
    world.run(3 * SECOND);
    (world, reflector, all)
}

fn node_of(index: u8, client: bool) -> PeerConfig {
    let address = format!("192.168.200.{}", 31 + index);
    let mut config = peer(&format!("node{index}"), REFLECTOR, &address, 65000);
    config.route_reflector_client = client;
    config
}

/// Static routes to tell, on a network that all share.
fn routes(prefixes: &[&str]) -> Command {
    static_routes(prefixes, &["192.168.200.0/24"])
}

#[test]
fn clients_hear_of_each_other_by_way_of_the_reflector_and_go_to_each_other_directly() {
    let (world, _, nodes) = mesh(3, 3);
    assert_eq!(
        world.received(nodes[0], "reflector"),
        ["172.16.32.0/24", "172.16.33.0/24"]
    );
    let route = &world.speaker(nodes[0]).received("reflector").unwrap()[0];
    let set = &route.attributes;
    assert_eq!(set.next_hop, Some(ip("192.168.200.32")), "section 10");
    assert_eq!(set.originator_id, Some([192, 168, 200, 32].into()));
    assert_eq!(
        set.cluster_list,
        [std::net::Ipv4Addr::new(192, 168, 200, 1)]
    );
    assert_eq!((set.as_path.hops(), set.local_pref), (0, Some(100)));
    let hops = &world.fib[&(nodes[0], net("172.16.32.0/24"))];
    assert_eq!(hops[0].via, ip("192.168.200.32"));
}

#[test]
fn what_others_teach_goes_to_clients_and_what_clients_teach_to_all() {
    let (mut world, reflector, nodes) = mesh(4, 2);
    // Two that are no clients hear of the clients, and not of each other.
    for other in [2, 3] {
        assert_eq!(
            world.received(nodes[other], "reflector"),
            ["172.16.31.0/24", "172.16.32.0/24"]
        );
    }
    assert_eq!(world.received(nodes[0], "reflector").len(), 3);
    let why = world
        .speaker(reflector)
        .why_export(&name("node3"), &net("172.16.33.0/24"));
    assert_eq!(why, Some(ExportVerdict::Withheld(Withheld::Internal)));
    // An edit makes one of them a client, and no session is reset.
    world.command(reflector, replace(node_of(3, true)));
    world.run(SECOND);
    assert_eq!(world.received(nodes[3], "reflector").len(), 3);
    assert_eq!(world.received(nodes[2], "reflector").len(), 3);
    world.command(reflector, replace(node_of(3, false)));
    world.run(SECOND);
    assert_eq!(world.received(nodes[3], "reflector").len(), 2);
    assert_eq!(world.downs(), 0);
}

#[test]
fn two_reflectors_of_each_other_keep_no_route_alive_that_its_node_withdrew() {
    let mut world = World::new(12);
    let reflectors = [1_u8, 2].map(|last| {
        let address = format!("192.168.200.{last}");
        world.add(speaker(65000, [192, 168, 200, last]), &[address.as_str()])
    });
    let node = world.add(speaker(65000, [192, 168, 200, 31]), &["192.168.200.31"]);
    let client = |name: &str, ours: u8, theirs: u8| {
        let (ours, theirs) = (
            format!("192.168.200.{ours}"),
            format!("192.168.200.{theirs}"),
        );
        let mut config = peer(name, &ours, &theirs, 65000);
        config.route_reflector_client = true;
        config
    };
    for (index, last) in [(0, 1_u8), (1, 2)] {
        world.command(reflectors[index], routes(&[]));
        world.command(reflectors[index], add(client("node", last, 31)));
        world.command(reflectors[index], add(client("other", last, 3 - last)));
        let ours = format!("192.168.200.{last}");
        world.command(node, add(peer(&ours, "192.168.200.31", &ours, 65000)));
    }
    world.command(node, routes(&["172.16.31.0/24"]));
    world.run(3 * SECOND);
    for reflector in reflectors {
        assert_eq!(world.received(reflector, "node"), ["172.16.31.0/24"]);
        assert_eq!(world.carriers(reflector, "172.16.31.0/24"), ["node"]);
    }
    world.command(node, routes(&[]));
    world.run(3 * SECOND);
    for reflector in reflectors {
        assert!(world.received(reflector, "node").is_empty());
        assert!(world.received(reflector, "other").is_empty());
        assert!(world.carriers(reflector, "172.16.31.0/24").is_empty());
    }
    // What a node taught is not told to itself, by whichever way.
    let received = world.speaker(node).received("192.168.200.1").unwrap();
    assert!(received.is_empty());
}
