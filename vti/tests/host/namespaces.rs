//! Named network namespaces.

use std::{net::UdpSocket, process::Command, time::Duration};

use vti::netns::NetNs;

use crate::sandbox::net;

/// A name that no other test run has.
fn unique(what: &str) -> String {
    format!("cwtest-{what}-{}", std::process::id())
}

#[test]
fn two_hosts_talk_through_a_gateway_and_nothing_is_left_behind() {
    let names = ["left", "gw", "right"].map(unique);
    {
        let [left, gw, right] = names.each_ref().map(|name| NetNs::create(name).unwrap());
        left.veth("eth0", (&gw, "port0")).unwrap();
        gw.veth("eth1", (&right, "eth0")).unwrap();
        gw.bridge("br0", &["port0"]).unwrap();
        left.address("eth0", net("10.0.1.2/24")).unwrap();
        gw.address("br0", net("10.0.1.1/24")).unwrap();
        gw.address("eth1", net("10.0.2.1/24")).unwrap();
        right.address("eth0", net("10.0.2.2/24")).unwrap();
        gw.sysctl("net/ipv4/ip_forward", "1").unwrap();
        left.route(net("0.0.0.0/0"), "10.0.1.1".parse().unwrap())
            .unwrap();
        right
            .route(net("10.0.1.0/24"), "10.0.2.1".parse().unwrap())
            .unwrap();
        right.mtu("eth0", 1400).unwrap();

        // A socket stays in the namespace where it was opened.
        let server = right
            .run(|| UdpSocket::bind("10.0.2.2:7000").unwrap())
            .unwrap();
        let client = left.run(|| UdpSocket::bind("10.0.1.2:0").unwrap()).unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        client.send_to(b"hello", "10.0.2.2:7000").unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello");
        assert_eq!(from, client.local_addr().unwrap());

        let mut command = Command::new("ip");
        command
            .args(["-br", "link", "show", "br0"])
            .stdout(std::process::Stdio::piped());
        let output = gw.spawn(&mut command).unwrap().wait_with_output().unwrap();
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("br0"),
            "{output:?}"
        );
        let listed = String::from_utf8(Command::new("ip").arg("netns").output().unwrap().stdout);
        assert!(
            listed.unwrap().contains(&names[1]),
            "`ip netns` sees it too"
        );
        assert_eq!(
            gw.block_on(async || tokio::net::UdpSocket::bind("10.0.1.1:0").await.is_ok()),
            Ok(true)
        );
    }
    for name in &names {
        assert_eq!(NetNs::names(name), Vec::<String>::new());
    }
}

#[test]
fn a_namespace_outlives_its_value_if_told_so_and_can_be_deleted_by_name() {
    let name = unique("kept");
    NetNs::create(&name).unwrap().keep();
    assert_eq!(NetNs::names(&name), std::slice::from_ref(&name));
    assert!(
        NetNs::create(&name)
            .unwrap_err()
            .to_string()
            .contains("EEXIST")
    );
    let again = NetNs::open(&name).unwrap();
    assert!(again.up("lo").is_ok());
    assert!(again.up("eth9").unwrap_err().to_string().contains("ENODEV"));
    drop(again);
    NetNs::delete(&name).unwrap();
    assert!(NetNs::open(&name).is_err());
    assert!(NetNs::create("../oops").is_err());
}
