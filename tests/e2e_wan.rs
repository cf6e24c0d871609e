//! The outer addresses change: ours, or the peers'.

use lab::{
    Capture, Cloud, Connection, Gateway, ReferenceSite, Scene, SiteFile, addresses as at,
    eventually, eventually_true, tcp_transfer,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Who the gateway says that it is, whatever its address.
const NAME: &str = "home.example.net";

/// The address that it gets.
const NEW: &str = "203.0.113.77";

/// A gateway without an address of its own in the site file. What liveness would find takes longer than the whole test.
fn wandering() -> SiteFile {
    let slow = format!("local-id = \"{NAME}\"\nliveness = \"60s\"\nliveness-timeout = \"120s\"");
    SiteFile::reference()
        .replace("address = \"203.0.113.10\"", "address = \"auto\"")
        .add("tunnel.oci-1", &slow)
        .add("tunnel.oci-2", &slow)
}

/// The head-ends' side of it: the gateway is known by its name.
fn from_anywhere(_: usize, connection: &mut Connection) {
    connection.remote = "%any".to_owned();
    connection.remote_id = NAME.to_owned();
}

/// What a DHCP client does with another lease.
fn renumber(site: &ReferenceSite) {
    site.gateway.ip(&format!(
        "addr del {}/24 dev wan0\naddr add {NEW}/24 dev wan0\nroute add default via 203.0.113.1\n",
        at::GATEWAY
    ));
}

#[test]
fn another_address_on_the_wan_moves_both_tunnels_at_once_and_no_session_is_lost() {
    let scene = Scene::start_with(ReferenceSite::new(), CAUSEWAY, &wandering(), from_anywhere);
    scene.wait_until_up();
    renumber(&scene.site);
    for index in [0, 1] {
        eventually_true(
            Scene::SOON,
            "the head-end has the new address, and only it",
            || {
                let sas = scene.cloud.swan[index].list_sas();
                sas.len() == 1
                    && sas[0].state == "ESTABLISHED"
                    && sas[0].remote_host == NEW
                    && scene.cloud.swan[index].installed().len() == 1
            },
        );
        assert!(scene.ping_inside(index).all());
    }
    scene.wait_until_up();
    scene.assert_traffic(3);
    let log = scene.gateway.log();
    for remote in at::HEAD_ENDS {
        let why = format!(
            "our address towards {remote} is {NEW} now, on wan0, and was {}",
            at::GATEWAY
        );
        assert!(log.contains(&why), "{log}");
    }
    assert!(!log.contains("tunnel down"), "{log}");
    assert!(!log.contains("does not answer"), "{log}");
}

/// The first head-end's name.
const DRG1: &str = "drg1.cloud.example";

/// Starts all with the first tunnel's peer by its name, which stands for `addresses` in the gateway's hosts file.
fn by_name(
    site: ReferenceSite,
    addresses: &[&str],
    change: impl FnMut(usize, &mut Connection),
) -> Scene {
    let file = SiteFile::reference()
        .replace("remote = \"198.51.100.1\"", &format!("remote = \"{DRG1}\""))
        .add(
            "tunnel.oci-1",
            &format!(
                "remote-id = \"{}\"\nliveness = \"1s\"\nliveness-timeout = \"2s\"",
                at::HEAD_ENDS[0]
            ),
        );
    let launch = file
        .launch(CAUSEWAY)
        .file("/etc/hosts", &hosts(addresses))
        .file("/etc/nsswitch.conf", "hosts: files\n");
    let cloud = Cloud::start_with(&site, change);
    let gateway = Gateway::start(&site.gateway, &launch);
    Scene {
        gateway,
        cloud,
        site,
    }
}

fn hosts(addresses: &[&str]) -> String {
    addresses
        .iter()
        .map(|address| format!("{address} {DRG1}\n"))
        .collect()
}

/// What the firewall takes for peers.
fn peers(scene: &Scene) -> String {
    scene
        .site
        .gateway
        .exec(&["nft", "list", "set", "inet", "causeway", "peers_v4"])
}

#[test]
fn of_a_names_addresses_one_that_does_not_answer_is_left_for_the_next() {
    let dead = "198.51.100.99";
    let scene = by_name(ReferenceSite::new(), &[dead, at::HEAD_ENDS[0]], |_, _| {});
    scene.gateway.wait_for_tunnels(&["oci-1"], Scene::SOON * 3);
    scene.wait_until_up();
    let tunnel = scene.gateway.tunnel("oci-1");
    assert_eq!(tunnel["remote"], at::HEAD_ENDS[0]);
    assert_eq!(tunnel["remote_name"], DRG1);
    assert!(peers(&scene).contains(at::HEAD_ENDS[0]));
    scene.assert_traffic(3);
    let log = scene.gateway.log();
    assert!(
        log.contains(&format!("{DRG1} is {dead}, one of 2 addresses")),
        "{log}"
    );
}

#[test]
fn a_peer_that_moves_is_found_by_its_name_when_the_tunnel_fails() {
    let moved = "198.51.100.51";
    let scene = by_name(
        ReferenceSite::new(),
        &[at::HEAD_ENDS[0]],
        |index, connection| {
            if index == 0 {
                // It stays itself wherever it is.
                connection.local = "%any".to_owned();
            }
        },
    );
    scene.wait_until_up();
    let hosts_file = scene.gateway.dir().join("hosts");
    std::fs::write(hosts_file, hosts(&[moved])).expect("the hosts file is written");
    let drg = &scene.site.drg[0];
    drg.ip(&format!(
        "addr del {}/24 dev wan0\naddr add {moved}/24 dev wan0\nroute add default via 198.51.100.254\n",
        at::HEAD_ENDS[0]
    ));
    eventually_true(
        Scene::SOON * 2,
        "the tunnel is up at the new address",
        || {
            let tunnel = scene.gateway.tunnel("oci-1");
            tunnel["state"] == "up" && tunnel["remote"] == moved
        },
    );
    scene.wait_until_up();
    eventually_true(Scene::SOON, "packets pass through it", || {
        scene.ping_inside(0).all()
    });
    let peers = peers(&scene);
    assert!(
        peers.contains(moved) && !peers.contains(&format!("{},", at::HEAD_ENDS[0])),
        "{peers}"
    );
}

#[test]
fn a_name_that_does_not_resolve_is_one_clear_line_until_it_does() {
    let scene = by_name(ReferenceSite::new(), &[], |_, _| {});
    let problem = eventually(
        Scene::SOON,
        "the status says that the name is unknown",
        || {
            let problems = scene.gateway.problems();
            problems.contains(DRG1).then_some(problems)
        },
    );
    assert!(
        problem.contains(&format!("cannot look {DRG1} up")),
        "{problem}"
    );
    // The other tunnel does not wait for it.
    scene.gateway.wait_for_tunnels(&["oci-2"], Scene::SOON);
    let hosts_file = scene.gateway.dir().join("hosts");
    std::fs::write(hosts_file, hosts(&[at::HEAD_ENDS[0]])).expect("the hosts file is written");
    scene.wait_until_up();
    let log = scene.gateway.log();
    let said = log.matches("cannot look").count();
    assert_eq!(said, 1, "{log}");
}

/// The SPIs of the first tunnel's IKE_SA.
fn spis(scene: &Scene) -> (String, String) {
    let ike = &scene.gateway.tunnel("oci-1")["ike"];
    (
        ike["initiator_spi"].to_string(),
        ike["responder_spi"].to_string(),
    )
}

#[test]
fn with_mobike_the_sas_follow_to_another_address_of_ours() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &wandering(),
        |index, connection| {
            from_anywhere(index, connection);
            connection.mobike = true;
        },
    );
    scene.wait_until_up();
    // The head-end's own data plane cannot move a CHILD_SA, so it rekeys that.
    let of_peer = |index: usize| -> Vec<u32> {
        let sas = scene.cloud.swan[index].list_sas();
        sas.iter().map(|sa| sa.unique_id).collect()
    };
    let (before, ours) = ([of_peer(0), of_peer(1)], spis(&scene));
    assert_eq!(scene.gateway.tunnel("oci-1")["ike"]["mobike"], true);
    renumber(&scene.site);
    for index in [0, 1] {
        eventually_true(Scene::SOON, "the head-end has the new address", || {
            scene.cloud.swan[index].list_sas()[0].remote_host == NEW
        });
        assert!(scene.ping_inside(index).all());
    }
    scene.wait_until_up();
    scene.assert_traffic(3);
    assert_eq!([of_peer(0), of_peer(1)], before);
    assert_eq!(spis(&scene), ours);
    let log = scene.gateway.log();
    assert!(!log.contains("tunnel down"), "{log}");
    assert_eq!(log.matches("IKE_SA established").count(), 2, "{log}");
}

#[test]
fn with_mobike_the_sas_follow_a_peer_that_has_set_them_up_and_moves() {
    let moved = "198.51.100.51";
    let file = SiteFile::reference().add(
        "tunnel.oci-1",
        "mobike = true\ninitiate = false\nliveness = \"60s\"\nliveness-timeout = \"120s\"",
    );
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &file,
        |index, connection| {
            if index == 0 {
                connection.local = "%any".to_owned();
                connection.mobike = true;
            }
        },
    );
    assert!(scene.cloud.swan[0].initiate("cpe").ok());
    scene.wait_until_up();
    let ours = spis(&scene);
    scene.site.drg[0].ip(&format!(
        "addr del {}/24 dev wan0\naddr add {moved}/24 dev wan0\nroute add default via 198.51.100.254\n",
        at::HEAD_ENDS[0]
    ));
    eventually_true(Scene::SOON, "our SAs run to the new address", || {
        scene.gateway.tunnel("oci-1")["ike"]["remote"] == format!("{moved}:4500")
    });
    eventually_true(Scene::SOON, "packets pass through them", || {
        scene.ping_inside(0).all()
    });
    scene.wait_until_up();
    assert_eq!(spis(&scene), ours);
}

/// The outer addresses of the gateway and of the head-ends over IPv6.
const OURS_V6: &str = "2001:db8:1::10";
const HEAD_ENDS_V6: [&str; 2] = ["2001:db8:2::1", "2001:db8:2::2"];

/// Gives the reference site IPv6 between the gateway and the head-ends.
fn with_ipv6(site: &ReferenceSite) {
    site.internet.sysctl("net/ipv6/conf/all/forwarding", "1");
    site.internet
        .ip("addr add 2001:db8:1::1/64 dev gateway\naddr add 2001:db8:2::ff/64 dev cloud\n");
    site.gateway.ip(&format!(
        "addr add {OURS_V6}/64 dev wan0\nroute add default via 2001:db8:1::1\n"
    ));
    for (drg, address) in site.drg.iter().zip(HEAD_ENDS_V6) {
        drg.ip(&format!(
            "addr add {address}/64 dev wan0\nroute add default via 2001:db8:2::ff\n"
        ));
    }
}

#[test]
fn tunnels_over_ipv6_carry_ipv4_and_its_routes() {
    let site = ReferenceSite::new();
    with_ipv6(&site);
    let outside = Capture::start(
        &site.internet,
        "gateway",
        "ip6 and (udp port 4500 or ip6 proto 50)",
    );
    let file = SiteFile::reference()
        .replace("address = \"203.0.113.10\"", "address = \"auto\"")
        .replace(
            "remote = \"198.51.100.1\"",
            &format!("remote = \"{}\"", HEAD_ENDS_V6[0]),
        )
        .replace(
            "remote = \"198.51.100.2\"",
            &format!("remote = \"{}\"", HEAD_ENDS_V6[1]),
        );
    let scene = Scene::start_with(site, CAUSEWAY, &file, |index, connection| {
        let (head_end, ours) = (HEAD_ENDS_V6[index].to_owned(), OURS_V6.to_owned());
        (connection.local, connection.remote) = (head_end.clone(), ours.clone());
        (connection.local_id, connection.remote_id) = (head_end, ours);
    });
    scene.wait_until_up();
    scene.assert_traffic(3);
    for (index, name) in ["oci-1", "oci-2"].into_iter().enumerate() {
        let tunnel = scene.gateway.tunnel(name);
        assert_eq!(tunnel["local"], OURS_V6);
        assert_eq!(tunnel["remote"], HEAD_ENDS_V6[index]);
        assert!(scene.ping_inside(index).all());
    }
    let address = std::net::Ipv4Addr::new(10, 0, 0, 9);
    tcp_transfer(&scene.site.home, &scene.site.instance, address, 1_000_000)
        .expect("every byte arrives");
    let packets = outside.packets();
    assert!(
        packets.iter().any(|line| line.contains("ESP(spi=")),
        "{packets:?}"
    );
    // The firewall lets the peers in over IPv6, and nobody else.
    let listed = scene
        .site
        .gateway
        .exec(&["nft", "list", "set", "inet", "causeway", "peers_v6"]);
    assert!(
        HEAD_ENDS_V6.iter().all(|address| listed.contains(address)),
        "{listed}"
    );
}
