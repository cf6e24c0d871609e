//! The bench proves itself with strongSwan and BIRD at the gateway: what a test of the daemon then fails on is the daemon.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::{
    Bird, Capture, Cloud, Connection, Disturbance, Frr, GoBgp, Hook, Neighbor, Net, Nodes,
    OrFail as _, ReferenceSite, Router, Speaker, StrongSwan, UdpFlow, addresses as at,
    eventually_true, kernel_route, kernel_routes, ping, tcp_transfer,
};

const SOON: Duration = Duration::from_secs(15);

/// strongSwan at the gateway has one interface for both tunnels, so their selectors are the inside addresses.
fn gateway_connection(index: usize) -> Connection {
    let name = format!("drg{}", index + 1);
    let mut connection = Connection::new(&name, at::GATEWAY, at::HEAD_ENDS[index], at::PSKS[index]);
    "aes256-sha1".clone_into(&mut connection.esp);
    connection.local_ts = format!("{}/32", at::INSIDE_OURS[index]);
    connection.remote_ts = format!("{}/32", at::INSIDE_THEIRS[index]);
    connection
}

#[test]
fn strongswan_frr_and_bird_play_the_reference_site() {
    let site = ReferenceSite::new();
    site.gateway.forward();
    let started = Instant::now();
    let cloud = Cloud::start_with(&site, |_, connection| {
        "aes256-sha1".clone_into(&mut connection.esp);
    });
    println!("the cloud is up after {:?}", started.elapsed());

    let inside: Vec<_> = at::INSIDE_OURS.iter().map(|a| format!("{a}/31")).collect();
    let inside: Vec<_> = inside.iter().map(String::as_str).collect();
    let gateway = StrongSwan::start(
        &site.gateway,
        &inside,
        vec![gateway_connection(0), gateway_connection(1)],
    );
    for (index, name) in ["drg1", "drg2"].into_iter().enumerate() {
        let initiated = gateway.initiate(name);
        assert!(initiated.ok(), "{}", initiated.stdout);
        let sas = cloud.swan[index].list_sas();
        assert_eq!(sas.len(), 1, "{sas:?}");
        assert_eq!(sas[0].state, "ESTABLISHED");
        assert_eq!(
            sas[0].suite,
            "AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048"
        );
        assert_eq!(sas[0].remote_id, at::GATEWAY);
        assert!(!sas[0].initiator);
        assert_eq!(sas[0].children.len(), 1);
        assert_eq!(sas[0].children[0].suite, "AES_CBC-256/HMAC_SHA1_96");
        assert_eq!(
            sas[0].children[0].remote_ts,
            [format!("{}/32", at::INSIDE_OURS[index])]
        );
        let pinged = ping(&site.gateway, at::INSIDE_THEIRS[index], 3, &[]);
        assert!(pinged.all(), "{}", pinged.text);
    }

    let speaker = Speaker::new(at::SITE_ASN, "203.0.113.10")
        .network(at::SITE_NETWORKS[0])
        .network(at::SITE_NETWORKS[1])
        .neighbor(Neighbor::new(at::INSIDE_THEIRS[0], at::CLOUD_ASN).local(at::INSIDE_OURS[0]))
        .neighbor(Neighbor::new(at::INSIDE_THEIRS[1], at::CLOUD_ASN).local(at::INSIDE_OURS[1]));
    let bird = Bird::start(&site.gateway, &speaker);
    for index in [0, 1] {
        eventually_true(SOON, "the head-end's session is Established", || {
            cloud.established(index)
        });
        eventually_true(SOON, "the head-end has the site's networks", || {
            cloud.received(index) == at::SITE_NETWORKS
        });
        eventually_true(SOON, "the gateway has the VCN", || {
            bird.received(at::INSIDE_THEIRS[index]).contains(at::VCN)
        });
        eventually_true(SOON, "the head-end's kernel has the way back", || {
            kernel_route(&site.drg[index], "192.168.2.0/24").is_some()
        });
    }
    assert_eq!(bird.as_path(at::VCN), Some(vec![at::CLOUD_ASN]));
    assert_eq!(
        cloud.frr.as_path("192.168.2.0/24"),
        Some(vec![at::SITE_ASN])
    );
    eventually_true(SOON, "the VCN's router has both ways back", || {
        kernel_route(&site.vcn, "192.168.2.0/24").is_some_and(|route| route.next_hops.len() == 2)
    });

    let before = gateway.list_sas();
    let rekeyed = gateway.rekey_child("drg1");
    assert!(rekeyed.ok(), "{}", rekeyed.stdout);
    eventually_true(SOON, "the child has another number", || {
        let old = &before[0].children[0];
        let now = gateway.installed();
        now.iter()
            .any(|child| child.name == "drg1" && child.unique_id != old.unique_id)
            && now.len() == 2
    });
    let mut cloud = cloud;
    cloud.swan[1].restart();
    assert_eq!(cloud.swan[1].list_sas(), []);
}

#[test]
fn traffic_crosses_a_tunnel_with_selectors_for_everything_behind_a_nat() {
    let site = ReferenceSite::behind_nat();
    site.gateway.forward();
    let drg = StrongSwan::start(&site.drg[0], &["10.1.0.1/31"], vec![Cloud::connection(0)]);
    let mut connection = Connection::new(
        "drg1",
        at::GATEWAY_BEHIND_NAT,
        at::HEAD_ENDS[0],
        at::PSKS[0],
    );
    connection.local_id = at::GATEWAY.to_owned();
    let gateway = StrongSwan::start(&site.gateway, &["10.1.0.0/31"], vec![connection]);
    let initiated = gateway.initiate("drg1");
    assert!(initiated.ok(), "{}", initiated.stdout);
    let sas = drg.list_sas();
    assert_eq!(sas[0].remote_host, at::GATEWAY);
    assert_ne!(sas[0].remote_port, 4500, "the NAT gives another port");
    assert_eq!(sas[0].children[0].local_ts, ["0.0.0.0/0"]);

    site.gateway.route("10.0.0.0/16 via 10.1.0.1");
    site.drg[0].route("192.168.2.0/24 via 10.1.0.0");
    site.vcn.route("192.168.2.0/24 via 100.64.1.1");
    let outside = Capture::start(&site.internet, "any", "udp port 4500 or proto 1");
    let flow = UdpFlow::start(
        &site.home,
        &site.instance,
        Ipv4Addr::new(10, 0, 0, 9),
        200,
        64,
    );
    let pinged = ping(&site.home, at::INSTANCE, 3, &[]);
    assert!(pinged.all(), "{}", pinged.text);
    let bytes = 1_000_000;
    for (from, to, address) in [
        (&site.home, &site.instance, Ipv4Addr::new(10, 0, 0, 9)),
        (&site.instance, &site.home, Ipv4Addr::new(192, 168, 2, 250)),
    ] {
        let report = tcp_transfer(from, to, address, bytes).expect("the bytes arrive");
        assert_eq!(report.bytes, bytes);
    }
    for rekey in [StrongSwan::rekey_child, StrongSwan::rekey_ike] {
        assert!(rekey(&gateway, "drg1").ok());
        flow.wait_for(100, SOON);
    }
    let report = flow.stop();
    // The programs on trial are elsewhere: strongSwan's own rekeying may cost a packet that it was just decrypting.
    assert!(report.lost <= 5, "{report:?}");
    assert_eq!(report.received + report.lost, report.sent, "{report:?}");
    let packets = outside.packets();
    assert!(
        packets.iter().any(|line| line.contains("UDP-encap: ESP")),
        "{packets:?}"
    );
    assert!(
        !packets.iter().any(|line| line.contains("ICMP echo")),
        "a plain packet is outside"
    );

    let flow = UdpFlow::start(
        &site.home,
        &site.instance,
        Ipv4Addr::new(10, 0, 0, 9),
        200,
        64,
    );
    let loss = Disturbance::lose(&site.internet, Hook::Forward, "udp dport 4500", 30);
    eventually_true(SOON, "some packets are lost", || loss.dropped() > 20);
    drop(loss);
    assert!(flow.stop().lost > 20);
    assert!(ping(&site.home, at::INSTANCE, 3, &[]).all());
    let block = Disturbance::block(&site.internet, Hook::Forward, "udp dport 4500");
    assert_eq!(ping(&site.home, at::INSTANCE, 2, &[]).received, 0);
    assert!(block.dropped() > 0);
}

#[test]
fn three_gobgp_nodes_announce_one_service_and_a_router_spreads_it() {
    let site = ReferenceSite::new();
    let mut nodes = Nodes::start(&site);
    let speaker = at::NODES.iter().fold(
        Speaker::new(at::LAN_ASN, at::NODES_GATEWAY),
        |speaker, node| speaker.neighbor(Neighbor::new(node, at::NODES_ASN).hold(9)),
    );
    let bird = Bird::start(&site.gateway, &speaker);
    eventually_true(SOON, "three sessions are Established", || {
        nodes.established() == 3
    });
    let hops = || kernel_route(&site.gateway, at::SERVICE).map_or(0, |r| r.next_hops.len());
    eventually_true(SOON, "the route has three next hops", || hops() == 3);
    assert_eq!(bird.as_path("172.16.200.1/32"), Some(vec![at::NODES_ASN]));
    nodes.speakers[0].withdraw("172.16.200.1/32");
    eventually_true(SOON, "the route has two next hops", || hops() == 2);
    nodes.speakers[1].stop();
    eventually_true(SOON, "the route has one next hop", || hops() == 1);
    assert!(ping(&site.gateway, at::SERVICE, 2, &[]).all());
}

#[test]
fn a_route_by_nexthop_objects_shows_the_hops_that_it_resolves_to() {
    let net = Net::new();
    let (a, b) = (net.ns("a"), net.ns("b"));
    net.veth((&a, "left", "10.1.0.0/31"), (&b, "left", ""));
    net.veth((&a, "right", "10.2.0.0/31"), (&b, "right", ""));
    for words in [
        "ip nexthop add id 1 via 10.1.0.1 dev left",
        "ip nexthop add id 2 via 10.2.0.1 dev right",
        "ip nexthop add id 10 group 1/2",
        "ip route add 10.0.0.0/16 nhid 10",
        "ip route add 172.16.200.1/32 nhid 2",
    ] {
        a.exec(&words.split_whitespace().collect::<Vec<_>>());
    }
    let hop = |via: &str, link: &str| (Some(via.to_owned()), link.to_owned());
    let hops = |prefix| kernel_route(&a, prefix).map(|route| route.next_hops);
    let (left, right) = (hop("10.1.0.1", "left"), hop("10.2.0.1", "right"));
    assert_eq!(hops("10.0.0.0/16"), Some(vec![left, right.clone()]));
    assert_eq!(hops("172.16.200.1/32"), Some(vec![right]));
    assert_eq!(hops("10.3.0.0/16"), None);
    assert_eq!(kernel_routes(&b), []);
}

#[test]
fn nothing_is_left_behind() {
    let net = Net::new();
    let (a, b) = (net.ns("a"), net.ns("b"));
    net.veth((&a, "x", "192.0.2.1/24"), (&b, "x", "192.0.2.2/24"));
    assert!(ping(&a, "192.0.2.2", 1, &[]).all());
    let swan = StrongSwan::start(&a, &["10.9.0.1/31"], vec![]);
    let bird = Bird::start(&b, &Speaker::new(65001, "192.0.2.2"));
    let pids = [swan.daemon().pid(), bird.daemon().pid()].map(|pid| pid.expect("it runs"));
    assert!(
        pids.iter()
            .all(|pid| Path::new(&format!("/proc/{pid}")).exists())
    );
    let (dir, identity) = (net.dir().to_owned(), a.identity());
    assert!(processes_in(&identity) > 0);

    drop((swan, bird, net, a, b));
    assert!(
        pids.iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    );
    assert_eq!(processes_in(&identity), 0);
    assert!(!dir.exists());
}

/// Plays both the killed test and the one that kills: it starts itself again with `LAB_VICTIM` set.
#[test]
fn a_killed_test_leaves_no_process_behind() {
    if std::env::var_os("LAB_VICTIM").is_some() {
        let net = Net::new();
        println!("folder {}", net.dir().display());
        let speaker = Speaker::new(65001, "192.0.2.2");
        let bird = Bird::start(&net.ns("a"), &speaker);
        let frr = Frr::start(&net.ns("b"), &speaker);
        let swan = StrongSwan::start(&net.ns("c"), &[], vec![]);
        let gobgp = GoBgp::start(&net.ns("d"), &speaker);
        for daemon in [
            bird.daemon(),
            frr.bgpd(),
            frr.zebra(),
            swan.daemon(),
            gobgp.daemon(),
        ] {
            println!("started {}", daemon.pid().expect("it runs"));
        }
        loop {
            std::thread::park();
        }
    }
    let this = std::env::current_exe().expect("the test knows its own program");
    let mut victim = Command::new(this)
        .args([
            "a_killed_test_leaves_no_process_behind",
            "--exact",
            "--nocapture",
        ])
        .env("LAB_VICTIM", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the victim starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("its output")).lines();
    let mut said = |word: &str| {
        lines
            .find_map(|line| Some(line.ok()?.strip_prefix(word)?.trim().to_owned()))
            .expect("a line")
    };
    let folder = said("folder ");
    let processes: Vec<_> = (0..5)
        .map(|_| format!("/proc/{}", said("started ")))
        .collect();
    assert!(processes.iter().all(|process| Path::new(process).exists()));
    victim.kill().expect("the victim is killed");
    victim.wait().expect("the victim ends");
    eventually_true(SOON, "the daemons are gone", || {
        processes.iter().all(|process| is_over(process))
    });
    std::fs::remove_dir_all(folder).expect("a killed test can't remove its folder");
}

/// Whether a process has ended. In a container whose first process adopts the ended and never asks for their status, they stay listed
/// as zombies.
fn is_over(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{process}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'))
    })
}

/// How many processes are in a network namespace.
fn processes_in(identity: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").or_fail("read /proc").flatten();
    entries
        .filter(|entry| {
            std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link == identity)
        })
        .count()
}
