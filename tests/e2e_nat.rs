//! Between us and the peers: a NAT, and boxes that let IKE through and stop ESP.

use std::net::Ipv4Addr;

use lab::{
    Capture, Disturbance, Hook, ReferenceSite, Scene, SiteFile, addresses as at, eventually,
    eventually_true, ping, tcp_transfer,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

#[test]
fn behind_a_nat_ike_floats_to_4500_and_traffic_crosses_encapsulated() {
    let site = ReferenceSite::behind_nat();
    let outside = Capture::start(&site.internet, "gateway", "udp or proto 50");
    let scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    for index in [0, 1] {
        let sas = scene.cloud.swan[index].list_sas();
        assert_eq!(sas[0].remote_host, at::GATEWAY, "the NAT's address");
        assert_ne!(sas[0].remote_port, 4500, "the NAT's choice of port");
        assert_eq!(sas[0].local_port, 4500);
        assert!(scene.child(index).encap);
        assert!(scene.ping_inside(index).all());
    }
    for (from, to) in [
        (&scene.site.home, at::INSTANCE),
        (&scene.site.instance, at::HOME),
    ] {
        let pinged = ping(from, to, 3, &[]);
        assert!(pinged.all(), "{}", pinged.text);
    }
    let address = Ipv4Addr::new(10, 0, 0, 9);
    tcp_transfer(&scene.site.home, &scene.site.instance, address, 1_000_000)
        .expect("every byte arrives");
    let packets = outside.packets();
    assert!(packets.iter().any(|line| line.contains("UDP-encap: ESP")));
    assert!(!packets.iter().any(|line| line.contains("ip-proto-50")
        || line.contains(": ESP(spi") && !line.contains("UDP-encap")));
}

#[test]
fn behind_a_nat_keepalives_hold_the_mapping() {
    let site = ReferenceSite::behind_nat();
    let outside = Capture::start(&site.internet, "gateway", "udp port 4500 and udp[4:2] = 9");
    let scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    // RFC 3948 section 4: one octet 0xFF, every 20 s when nothing else is sent.
    let from_us = || {
        let packets = outside.packets();
        packets
            .iter()
            .any(|line| line.contains(&format!("IP {}", at::GATEWAY)))
    };
    eventually_true(
        Scene::SOON * 3,
        "a keepalive from our side of the NAT",
        from_us,
    );
}

#[test]
fn a_box_that_stops_esp_is_named_as_what_is_wrong() {
    let site = ReferenceSite::new();
    // IKE on port 4500 has four zero octets after the UDP header (RFC 3948 section 2.2); ESP has not.
    let esp = "udp dport 4500 udp length > 16 @th,64,32 != 0";
    let block = Disturbance::block(&site.internet, Hook::Forward, esp);
    let scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    let problems = eventually(
        Scene::SOON * 3,
        "a problem says that ESP is stopped",
        || {
            let problems = scene.gateway.problems();
            (problems.contains("oci-1") && problems.contains("ESP")).then_some(problems)
        },
    );
    println!("{problems}");
    assert_eq!(
        scene.cloud.swan[0].installed().len(),
        1,
        "IKE itself came through"
    );
    assert!(block.dropped() > 0);
    drop(block);
    scene.wait_until_up();
}

#[test]
fn loss_on_the_way_delays_a_tunnel_and_does_not_stop_it() {
    let site = ReferenceSite::new();
    let loss = Disturbance::lose(&site.internet, Hook::Forward, "meta l4proto udp", 30);
    let scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    let took = scene
        .gateway
        .wait_for_tunnels(&["oci-1", "oci-2"], Scene::SOON * 3);
    println!(
        "both tunnels up after {took:?} with 30 % loss, {} packets lost",
        loss.dropped()
    );
    drop(loss);
    scene.wait_until_up();
}
