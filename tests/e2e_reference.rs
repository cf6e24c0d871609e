//! The reference site against strongSwan, FRR and BIRD as the cloud: it comes up, and exactly what should cross does.

use std::net::Ipv4Addr;

use lab::{
    Capture, ReferenceSite, Scene, SiteFile, StartAction, addresses as at, eventually,
    eventually_true, kernel_route, ping, tcp_transfer,
};

use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

#[test]
fn both_tunnels_and_sessions_come_up_and_both_sides_agree() {
    let scene = Scene::up(CAUSEWAY);
    for index in [0, 1] {
        let sas = scene.cloud.swan[index].list_sas();
        assert_eq!(sas.len(), 1, "{sas:?}");
        assert_eq!(
            sas[0].suite,
            "AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048"
        );
        assert_eq!(sas[0].remote_id, at::GATEWAY);
        assert!(!sas[0].initiator, "we initiated");
        let child = scene.child(index);
        assert_eq!(child.suite, "AES_GCM_16-256");
        assert_eq!(child.local_ts, ["0.0.0.0/0"]);
        assert_eq!(child.remote_ts, ["0.0.0.0/0"]);

        let name = format!("oci-{}", index + 1);
        let tunnel = scene.gateway.tunnel(&name);
        assert_eq!(tunnel["state"], "up");
        assert_eq!(tunnel["remote"], at::HEAD_ENDS[index]);
        assert_eq!(tunnel["interface"], format!("cw-{name}"));
        let neighbor = scene.gateway.neighbor(at::INSIDE_THEIRS[index]);
        assert_eq!(neighbor["state"], "Established");
        // FRR also sends our own routes back, which the loop check refuses.
        assert!(neighbor["received"].as_u64() >= Some(1), "{neighbor}");
        assert_eq!(neighbor["accepted"], 1);
        assert_eq!(neighbor["advertised"], 2);
        assert_eq!(
            scene.cloud.router(index).as_path("192.168.2.0/24"),
            Some(vec![at::SITE_ASN])
        );
        let pinged = scene.ping_inside(index);
        assert!(pinged.all(), "{}", pinged.text);
    }
    let route = scene.route_to_the_vcn().expect("the VCN has a route");
    let hop =
        |index: usize, link: &str| (Some(at::INSIDE_THEIRS[index].to_owned()), link.to_owned());
    assert_eq!(route.next_hops, [hop(0, "cw-oci-1"), hop(1, "cw-oci-2")]);
}

#[test]
fn a_machine_at_home_and_the_instance_reach_each_other() {
    let scene = Scene::up(CAUSEWAY);
    // Interfaces solicit IPv6 routers by themselves; everything of ours is IPv4.
    let outside = Capture::start(&scene.site.internet, "gateway", "ip");
    for (from, to) in [
        (&scene.site.home, at::INSTANCE),
        (&scene.site.lab, at::INSTANCE),
        (&scene.site.instance, at::HOME),
        (&scene.site.instance, at::LAB),
    ] {
        let pinged = ping(from, to, 3, &[]);
        assert!(pinged.all(), "{}", pinged.text);
    }
    let (home, instance) = (Ipv4Addr::new(192, 168, 2, 250), Ipv4Addr::new(10, 0, 0, 9));
    for (from, to, address) in [
        (&scene.site.home, &scene.site.instance, instance),
        (&scene.site.instance, &scene.site.home, home),
    ] {
        tcp_transfer(from, to, address, 2_000_000).expect("every byte arrives");
    }
    let packets = outside.packets();
    let plain =
        |line: &&String| !line.contains(at::HEAD_ENDS[0]) && !line.contains(at::HEAD_ENDS[1]);
    let plain: Vec<_> = packets.iter().filter(plain).collect();
    assert!(
        plain.is_empty(),
        "something went out unencrypted: {plain:?}"
    );
    assert!(!packets.is_empty());
}

#[test]
fn what_is_not_routed_into_a_tunnel_is_not_encrypted() {
    let scene = Scene::up(CAUSEWAY);
    let before: Vec<_> = [0, 1].map(|index| scene.child(index).packets_in).to_vec();
    let outside = Capture::start(&scene.site.internet, "gateway", "icmp");
    let pinged = ping(&scene.site.gateway, at::STRANGER, 3, &[]);
    assert!(pinged.all(), "{}", pinged.text);
    eventually_true(Scene::SOON, "the pings are outside in clear", || {
        outside.packets().len() >= 6
    });
    for (index, before) in before.into_iter().enumerate() {
        let extra = scene.child(index).packets_in - before;
        assert!(
            extra < 10,
            "only BGP's own packets in tunnel {index}, not {extra}"
        );
    }
}

#[test]
fn the_suite_that_oracle_recommends_comes_up() {
    let file = SiteFile::reference().replace("aes256-sha1-modp2048", "aes256-sha384-ecp384");
    let scene = Scene::start_with(ReferenceSite::new(), CAUSEWAY, &file, |_, connection| {
        "aes256-sha384-ecp384".clone_into(&mut connection.ike);
    });
    scene.wait_until_up();
    for index in [0, 1] {
        let sas = scene.cloud.swan[index].list_sas();
        assert_eq!(
            sas[0].suite,
            "AES_CBC-256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/ECP_384"
        );
        assert_eq!(scene.child(index).suite, "AES_GCM_16-256");
        assert!(scene.ping_inside(index).all());
    }
    let transfer = tcp_transfer(
        &scene.site.home,
        &scene.site.instance,
        Ipv4Addr::new(10, 0, 0, 9),
        2_000_000,
    );
    transfer.expect("every byte arrives");
}

#[test]
fn cbc_and_sha1_for_esp_too_come_up() {
    let esp = "esp = [\"aes256-sha1-modp2048\"]";
    let file = SiteFile::reference()
        .add("tunnel.oci-1", esp)
        .add("tunnel.oci-2", esp);
    let scene = Scene::start_with(ReferenceSite::new(), CAUSEWAY, &file, |_, connection| {
        "aes256-sha1,aes256-sha1-modp2048".clone_into(&mut connection.esp);
    });
    scene.wait_until_up();
    for index in [0, 1] {
        assert_eq!(scene.child(index).suite, "AES_CBC-256/HMAC_SHA1_96");
        assert!(scene.ping_inside(index).all());
    }
    let address = Ipv4Addr::new(10, 0, 0, 9);
    let transfer = tcp_transfer(&scene.site.home, &scene.site.instance, address, 2_000_000);
    transfer.expect("every byte arrives");
}

#[test]
fn a_gateway_that_only_answers_is_brought_up_by_the_cloud() {
    let file = SiteFile::reference()
        .add("tunnel.oci-1", "initiate = false")
        .add("tunnel.oci-2", "initiate = false");
    let scene = Scene::start(CAUSEWAY, &file);
    for index in [0, 1] {
        assert_eq!(scene.cloud.swan[index].list_sas(), []);
        let initiated = scene.cloud.swan[index].initiate("cpe");
        assert!(initiated.ok(), "{}", initiated.stdout);
    }
    scene.wait_until_up();
    for index in [0, 1] {
        assert!(scene.cloud.swan[index].list_sas()[0].initiator);
        assert!(scene.ping_inside(index).all());
    }
}

#[test]
fn both_sides_starting_at_once_end_with_one_child() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference(),
        |_, connection| connection.start = StartAction::Start,
    );
    scene.wait_until_up();
    for index in [0, 1] {
        let child = eventually(Scene::SOON, "the head-end has one child", || {
            let sas = scene.cloud.swan[index].list_sas();
            let children: Vec<_> = sas.into_iter().flat_map(|sa| sa.children).collect();
            (children.len() == 1)
                .then(|| children.into_iter().next())
                .flatten()
        });
        let pinged = scene.ping_inside(index);
        assert!(pinged.all(), "{}", pinged.text);
        assert_eq!(
            scene.child(index).unique_id,
            child.unique_id,
            "it is still the same one"
        );
    }
}

#[test]
fn a_default_route_or_our_own_network_from_the_cloud_is_refused() {
    let scene = Scene::up(CAUSEWAY);
    for prefix in [
        "0.0.0.0/0",
        "192.168.2.128/25",
        "198.51.100.0/24",
        "10.0.8.0/24",
    ] {
        scene.cloud.frr.announce(at::CLOUD_ASN, prefix);
    }
    eventually_true(Scene::SOON, "all four prefixes are received", || {
        let view = scene
            .gateway
            .command(&["bgp", "neighbor", "oci-1", "--json"]);
        let view: Value = serde_json::from_str(&view.stdout).unwrap_or_default();
        let received = view["received"].as_array().cloned().unwrap_or_default();
        let has = |prefix: &str| received.iter().any(|route| route["prefix"] == prefix);
        [
            "0.0.0.0/0",
            "192.168.2.128/25",
            "198.51.100.0/24",
            "10.0.8.0/24",
        ]
        .into_iter()
        .all(has)
    });
    let neighbor = scene.gateway.neighbor(at::INSIDE_THEIRS[0]);
    assert_eq!(
        neighbor["accepted"], 2,
        "the VCN and its subnet: {neighbor}"
    );
    eventually_true(Scene::SOON, "the permitted subnet is in the kernel", || {
        kernel_route(&scene.site.gateway, "10.0.8.0/24").is_some()
    });
    let default = kernel_route(&scene.site.gateway, "default").expect("the ISP's default route");
    assert_eq!(
        default.next_hops,
        [(Some("203.0.113.1".to_owned()), "wan0".to_owned())]
    );
    assert_eq!(kernel_route(&scene.site.gateway, "192.168.2.128/25"), None);
    assert_eq!(kernel_route(&scene.site.gateway, "198.51.100.0/24"), None);
    assert!(scene.ping_inside(0).all());
}

#[test]
fn what_one_head_end_teaches_is_not_told_to_the_other() {
    let scene = Scene::up(CAUSEWAY);
    scene.cloud.frr.announce(at::CLOUD_ASN, "10.0.8.0/24");
    eventually_true(Scene::SOON, "the subnet is in the gateway's kernel", || {
        kernel_route(&scene.site.gateway, "10.0.8.0/24").is_some()
    });
    assert_eq!(scene.cloud.received(1), at::SITE_NETWORKS);
}

#[test]
fn a_policy_edit_acts_at_once_and_resets_no_session() {
    let scene = Scene::up(CAUSEWAY);
    let resets = || {
        let command = format!("show bgp neighbors {} json", at::INSIDE_OURS[0]);
        scene.cloud.frr.json(&command)[at::INSIDE_OURS[0]]["connectionsDropped"].clone()
    };
    let before = resets();
    let children = [0, 1].map(|index| scene.child(index).unique_id);
    let file = SiteFile::reference()
        .replace("permit = \"172.24.0.0/24\"", "permit = \"172.24.9.0/24\"")
        .replace("permit = \"10.0.0.0/16\"", "permit = \"10.9.0.0/16\"");
    scene.gateway.reload(file.text());
    for index in [0, 1] {
        eventually_true(Scene::SOON, "one network is left", || {
            scene.cloud.received(index) == ["192.168.2.0/24"]
        });
    }
    eventually_true(Scene::SOON, "the VCN is no longer accepted", || {
        scene.ways_to_the_vcn() == 0
    });
    scene.gateway.reload(SiteFile::reference().text());
    scene.wait_until_up();
    assert_eq!(resets(), before, "the session was reset");
    assert_eq!([0, 1].map(|index| scene.child(index).unique_id), children);
}

/// What one tunnel's head-end received and sent while home pinged the instance thirty times.
fn carried_by(scene: &Scene, index: usize) -> (u64, u64) {
    let count = || {
        let child = scene.child(index);
        (child.packets_in, child.packets_out)
    };
    let before = count();
    let pinged = ping(&scene.site.home, at::INSTANCE, 30, &[]);
    assert!(pinged.all(), "{}", pinged.text);
    let after = count();
    (after.0 - before.0, after.1 - before.1)
}

/// Waits until traffic takes this tunnel alone, both ways.
#[track_caller]
fn wait_for_the_way_over(scene: &Scene, index: usize) {
    let hop = (
        Some(at::INSIDE_THEIRS[index].to_owned()),
        format!("cw-oci-{}", index + 1),
    );
    let back = format!("drg{}", index + 1);
    eventually_true(Scene::SOON * 3, "one way there and the same back", || {
        let there = scene.route_to_the_vcn().map(|route| route.next_hops);
        let home = kernel_route(&scene.site.vcn, "192.168.2.0/24").map(|route| route.next_hops);
        let returns = home.is_some_and(|hops| matches!(&hops[..], [(_, link)] if *link == back));
        there.as_ref() == Some(&vec![hop.clone()]) && returns
    });
}

#[test]
fn traffic_takes_the_primary_both_ways_then_the_backup_and_then_the_primary_again() {
    let file = SiteFile::reference()
        .add("tunnel.oci-1", "role = \"primary\"")
        .add("tunnel.oci-2", "role = \"backup\"");
    let scene = Scene::start(CAUSEWAY, &file);
    scene
        .gateway
        .wait_for_tunnels(&["oci-1", "oci-2"], Scene::SOON);
    scene.gateway.wait_for_bgp(&at::INSIDE_THEIRS, Scene::SOON);
    wait_for_the_way_over(&scene, 0);
    eventually_true(
        Scene::SOON,
        "the cloud sees which is the longer way",
        || {
            let lengths = [0, 1].map(|index| {
                let path = scene.cloud.router(index).as_path("192.168.2.0/24");
                path.map(|path| path.len())
            });
            lengths[0] == Some(1) && lengths[1].is_some_and(|length| length == 3)
        },
    );
    let primary = carried_by(&scene, 0);
    assert!(primary.0 >= 30 && primary.1 >= 30, "{primary:?}");
    let backup = carried_by(&scene, 1);
    assert!(
        backup.0 < 10 && backup.1 < 10,
        "only BGP's own packets: {backup:?}"
    );

    let down = scene.gateway.command(&["tunnel", "oci-1", "down"]);
    assert!(down.ok(), "{down:?}");
    wait_for_the_way_over(&scene, 1);
    let backup = carried_by(&scene, 1);
    assert!(backup.0 >= 30 && backup.1 >= 30, "{backup:?}");

    let up = scene.gateway.command(&["tunnel", "oci-1", "up"]);
    assert!(up.ok(), "{up:?}");
    wait_for_the_way_over(&scene, 0);
    let primary = carried_by(&scene, 0);
    assert!(primary.0 >= 30 && primary.1 >= 30, "{primary:?}");

    // Without the words both share the traffic again, and no session is reset.
    scene.gateway.reload(SiteFile::reference().text());
    scene.wait_until_up();
}
