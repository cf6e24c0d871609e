//! The peers that use the kernel's ESP prove themselves against each other, inside the virtual machine: what a test of the
//! daemon then fails on is the daemon.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::{
    Capture, Cloud, Connection, DataPlane, HeadEnd, Net, Ns, Peers, UdpFlow, addresses as at,
    eventually_true, ping,
};

const SOON: Duration = Duration::from_secs(15);

/// Two ends of one tunnel: the gateway's is played by `home`, the first head-end's by `cloud`.
fn pair(net: &Net, home: Peers, cloud: Peers) -> ([Ns; 2], [HeadEnd; 2]) {
    let (left, right) = (net.ns("home"), net.ns("cloud"));
    net.veth((&left, "wan0", ""), (&right, "wan0", ""));
    for (ns, address, peer) in [
        (&left, at::GATEWAY, at::HEAD_ENDS[0]),
        (&right, at::HEAD_ENDS[0], at::GATEWAY),
    ] {
        let address = format!("{address}/32");
        ns.exec(&["ip", "addr", "add", &address, "peer", peer, "dev", "wan0"]);
    }
    let mut ours = Connection::new("cpe", at::GATEWAY, at::HEAD_ENDS[0], at::PSKS[0]);
    // Libreswan answers a rekey whose KE payload is not of the IKE_SA's group with INVALID_SYNTAX, which ends the IKE_SA.
    "aes256gcm16-modp2048,aes256gcm16".clone_into(&mut ours.esp);
    let ends = [
        HeadEnd::start(home, &left, "10.1.0.0/31", ours),
        HeadEnd::start(cloud, &right, "10.1.0.1/31", Cloud::connection(0)),
    ];
    ([left, right], ends)
}

#[track_caller]
fn a_tunnel_carries_traffic_through_rekeys(home: Peers, cloud: Peers) {
    lab::require_kernel_esp();
    let net = Net::new();
    let ([left, right], ends) = pair(&net, home, cloud);
    let initiated = ends[0].initiate("cpe");
    assert!(initiated.ok(), "{}{}", initiated.stdout, initiated.stderr);
    let outside = Capture::start(&left, "wan0", "ip");
    let pinged = ping(&left, at::INSIDE_THEIRS[0], 3, &[]);
    assert!(pinged.all(), "{}", pinged.text);
    let packets = outside.packets();
    assert!(
        !packets.is_empty() && packets.iter().all(|line| line.contains(" ESP(spi=")),
        "{packets:?}"
    );
    for end in &ends {
        let sas = end.list_sas();
        assert_eq!(sas.len(), 1, "{sas:?}");
        assert_eq!(
            sas[0].suite,
            "AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048"
        );
        assert_eq!(sas[0].children.len(), 1, "{sas:?}");
        let child = &sas[0].children[0];
        assert_eq!(child.suite, "AES_GCM_16-256");
        assert!(child.packets_in >= 3 && child.packets_out >= 3, "{child:?}");
        assert!(!child.encap);
        assert_eq!(child.local_ts, ["0.0.0.0/0"]);
    }
    let spis = |end: &HeadEnd| {
        let children = end.installed();
        assert_eq!(children.len(), 1, "{children:?}");
        [&children[0].spi_in, &children[0].spi_out]
            .map(|spi| spi.trim_start_matches('0').to_owned())
    };
    let (ours, [theirs_in, theirs_out]) = (spis(&ends[0]), spis(&ends[1]));
    assert_eq!(ours, [theirs_out, theirs_in]);

    let flow = UdpFlow::start(&left, &right, Ipv4Addr::new(10, 1, 0, 1), 100, 64);
    flow.wait_for(20, SOON);
    for end in &ends {
        let before = end.installed()[0].unique_id;
        let rekeyed = end.rekey_child("cpe");
        assert!(rekeyed.ok(), "{}{}", rekeyed.stdout, rekeyed.stderr);
        eventually_true(
            SOON,
            "the child has another number",
            || matches!(end.installed().as_slice(), [child] if child.unique_id != before),
        );
        let before = end.list_sas()[0].unique_id;
        let rekeyed = end.rekey_ike("cpe");
        assert!(rekeyed.ok(), "{}{}", rekeyed.stdout, rekeyed.stderr);
        eventually_true(
            SOON,
            "the IKE_SA has another number",
            || matches!(end.list_sas().as_slice(), [sa] if sa.unique_id != before),
        );
        flow.wait_for(20, SOON);
    }
    let report = flow.stop();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
}

#[test]
fn strongswan_with_a_vti_and_strongswan_with_an_xfrm_interface() {
    a_tunnel_carries_traffic_through_rekeys(
        Peers::StrongSwan(DataPlane::Vti),
        Peers::StrongSwan(DataPlane::Xfrm),
    );
}

#[test]
fn strongswan_with_a_vti_and_libreswan() {
    a_tunnel_carries_traffic_through_rekeys(Peers::StrongSwan(DataPlane::Vti), Peers::Libreswan);
}
