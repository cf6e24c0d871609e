//! Between us and the peers: a NAT, and boxes that let IKE through and stop ESP.

use std::net::Ipv4Addr;

use lab::{
    Capture, Disturbance, Hook, Ns, ReferenceSite, Scene, SiteFile, addresses as at, eventually,
    eventually_true, tcp_transfer,
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
    scene.assert_traffic(3);
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

/// Makes the internet's router the NAT of the first head-end, which is reached at 192.0.2.200 then: `ports` are those that its packets
/// from port 4500 get.
fn nat_the_head_end(site: &ReferenceSite, ports: &str) {
    let drg = at::HEAD_ENDS[0];
    site.internet.ip("addr add 192.0.2.200/32 dev lo\n");
    site.internet.nft(&format!(
        "table ip head {{\n chain pre {{\n  type nat hook prerouting priority -100; policy accept;\n  \
         ip daddr 192.0.2.200 udp dport {{ 500, 4500 }} dnat to {drg}\n }}\n chain post {{\n  \
         type nat hook postrouting priority 100; policy accept;\n  ip saddr {drg} udp sport 4500 snat to 192.0.2.200{ports}\n  \
         ip saddr {drg} snat to 192.0.2.200\n }}\n}}\n"
    ));
}

/// Has a NAT forget a mapping after so many seconds of silence.
fn forget_after(nat: &Ns, seconds: &str) {
    for key in [
        "nf_conntrack_udp_timeout",
        "nf_conntrack_udp_timeout_stream",
    ] {
        nat.sysctl(&format!("net/netfilter/{key}"), seconds);
    }
}

/// The reference site with the first head-end at its NAT's address; it is known by its own.
fn head_end_behind_nat() -> SiteFile {
    SiteFile::reference()
        .replace("remote = \"198.51.100.1\"", "remote = \"192.0.2.200\"")
        .add(
            "tunnel.oci-1",
            &format!("remote-id = \"{}\"", at::HEAD_ENDS[0]),
        )
}

#[test]
fn with_a_nat_before_each_side_both_tunnels_come_up_and_traffic_crosses() {
    let site = ReferenceSite::behind_nat();
    nat_the_head_end(&site, "");
    let scene = Scene::start_with(site, CAUSEWAY, &head_end_behind_nat(), |_, _| {});
    scene.wait_until_up();
    let ike = &scene.gateway.tunnel("oci-1")["ike"];
    assert_eq!(ike["local_nat"], true);
    assert_eq!(ike["remote_nat"], true);
    let charon = scene.site.drg[0].dir().join("charon.log");
    let log = std::fs::read_to_string(charon).expect("the head-end's log");
    assert!(log.contains("local host is behind NAT"), "{log}");
    assert!(log.contains("remote host is behind NAT"), "{log}");
    assert!(scene.ping_inside(0).all());
    scene.assert_traffic(3);
}

#[test]
fn a_nat_before_the_peer_that_forgets_its_mapping_costs_no_tunnel() {
    let site = ReferenceSite::new();
    nat_the_head_end(&site, ":20000-60000 random");
    let file = head_end_behind_nat().add("tunnel.oci-1", "initiate = false");
    let scene = Scene::start_with(site, CAUSEWAY, &file, |_, _| {});
    assert!(scene.cloud.swan[0].initiate("cpe").ok());
    scene.wait_until_up();
    let remote = || scene.gateway.tunnel("oci-1")["ike"]["remote"].to_string();
    let before = remote();
    // From now on a mapping lives for a second of silence, and the next one has another port.
    forget_after(&scene.site.internet, "1");
    eventually_true(Scene::SOON * 3, "we send to the new port", || {
        // The mapping ends by silence alone.
        let pause = "sleep 2; ping -c 1 -W 1 ".to_owned() + at::INSIDE_OURS[0];
        let _ = scene.site.drg[0].try_exec(&["sh", "-c", &pause]);
        remote() != before
    });
    // The last mapping as well has ended if that echo's answer went to the one before it: only what the head-end sends makes
    // another.
    forget_after(&scene.site.internet, "120");
    eventually_true(Scene::SOON, "packets pass again", || {
        scene.ping_inside(0).all()
    });
    let log = scene.gateway.log();
    assert!(!log.contains("tunnel down"), "{log}");
    assert_eq!(log.matches("IKE_SA established").count(), 2, "{log}");
}

#[test]
fn our_nat_that_forgets_its_mapping_is_noticed_with_mobike_too() {
    let site = ReferenceSite::behind_nat();
    let file = SiteFile::reference().add("tunnel.oci-1", "mobike = true\nliveness = \"2s\"");
    let scene = Scene::start_with(site, CAUSEWAY, &file, |_, connection| {
        connection.mobike = true;
    });
    scene.wait_until_up();
    let head_end = &scene.cloud.swan[0];
    let port = || head_end.list_sas()[0].remote_port;
    let before = (port(), head_end.list_sas()[0].unique_id);
    assert_eq!(scene.gateway.tunnel("oci-1")["ike"]["mobike"], true);
    let nat = scene.site.nat.as_ref().expect("the site has a NAT");
    forget_after(nat, "1");
    eventually_true(Scene::SOON * 3, "the head-end sends to a new port", || {
        port() != before.0
    });
    forget_after(nat, "120");
    eventually_true(Scene::SOON, "packets pass again", || {
        scene.ping_inside(0).all()
    });
    assert_eq!(head_end.list_sas()[0].unique_id, before.1);
    let log = scene.gateway.log();
    assert!(!log.contains("tunnel down"), "{log}");
}
