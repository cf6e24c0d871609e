//! What is set up wrongly: the status line names the cause and both sides' values, and the other tunnel does not care.

use lab::{
    Gateway, Launch, ReferenceSite, Router as _, Scene, SiteFile, addresses as at, eventually,
    eventually_true,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Waits until what is said of the first tunnel has all of `words` in it, while the tunnel is not up.
#[track_caller]
fn tunnel_says(scene: &Scene, words: &[&str]) {
    let mut last = String::new();
    eventually_true(
        Scene::SOON,
        format_args!("tunnel oci-1 names {words:?}"),
        || {
            let tunnel = scene.gateway.tunnel("oci-1");
            assert_ne!(tunnel["state"], "up");
            // Between two attempts the reason is where the next one stands; the failure stays.
            let said = format!("{} {}", tunnel["reason"], tunnel["last_failure"]["text"]);
            if said != last {
                println!("{said}");
                last = said;
            }
            words.iter().all(|word| last.contains(word))
        },
    );
}

/// The second tunnel works while the first does not.
#[track_caller]
fn the_other_tunnel_works(scene: &Scene) {
    scene.gateway.wait_for_tunnels(&["oci-2"], Scene::SOON);
    scene
        .gateway
        .wait_for_bgp(&[at::INSIDE_THEIRS[1]], Scene::SOON);
    let pinged = scene.ping_inside(1);
    assert!(pinged.all(), "{}", pinged.text);
}

#[test]
fn a_wrong_pre_shared_key_is_named() {
    let file = SiteFile::reference();
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &file,
        |index, connection| {
            if index == 0 {
                "Anothersecret0123456789".clone_into(&mut connection.psk);
            }
        },
    );
    tunnel_says(&scene, &["AUTHENTICATION_FAILED", "psk", at::GATEWAY]);
    the_other_tunnel_works(&scene);
    let text = scene.gateway.log() + &scene.gateway.status().to_string();
    assert!(
        !text.contains(at::PSKS[0]),
        "the secret is in the log or the status"
    );
}

#[test]
fn the_peers_wrong_identity_is_named_with_both_values() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference().add("tunnel.oci-1", "initiate = false"),
        |index, connection| {
            if index == 0 {
                "198.51.100.77".clone_into(&mut connection.local_id);
            }
        },
    );
    scene.cloud.swan[0].initiate("cpe");
    tunnel_says(&scene, &["198.51.100.77", at::HEAD_ENDS[0]]);
    the_other_tunnel_works(&scene);
}

#[test]
fn our_identity_that_the_peer_does_not_expect_is_named() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference(),
        |index, connection| {
            if index == 0 {
                "203.0.113.99".clone_into(&mut connection.remote_id);
            }
        },
    );
    // The peer says only AUTHENTICATION_FAILED; what we sent is what there is to name.
    tunnel_says(&scene, &["AUTHENTICATION_FAILED", at::GATEWAY]);
    the_other_tunnel_works(&scene);
}

#[test]
fn no_common_ike_proposal_is_named_with_both_offers() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference().add("tunnel.oci-1", "initiate = false"),
        |index, connection| {
            if index == 0 {
                "aes256-sha384-ecp384".clone_into(&mut connection.ike);
            }
        },
    );
    scene.cloud.swan[0].initiate("cpe");
    tunnel_says(&scene, &["aes256-sha384-ecp384", "aes256-sha1-modp2048"]);
    the_other_tunnel_works(&scene);
}

#[test]
fn a_peer_that_refuses_our_proposal_is_named_with_what_we_offered() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference(),
        |index, connection| {
            if index == 0 {
                "aes128-sha256-ecp256".clone_into(&mut connection.ike);
            }
        },
    );
    tunnel_says(&scene, &["NO_PROPOSAL_CHOSEN", "aes256-sha1-modp2048"]);
    the_other_tunnel_works(&scene);
}

#[test]
fn no_common_esp_proposal_is_named() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference(),
        |index, connection| {
            if index == 0 {
                "aes128-sha256".clone_into(&mut connection.esp);
            }
        },
    );
    tunnel_says(&scene, &["NO_PROPOSAL_CHOSEN", "ESP", "aes256gcm16"]);
    the_other_tunnel_works(&scene);
}

#[test]
fn selectors_that_are_not_for_everything_are_named() {
    let scene = Scene::start_with(
        ReferenceSite::new(),
        CAUSEWAY,
        &SiteFile::reference().add("tunnel.oci-1", "initiate = false"),
        |index, connection| {
            if index == 0 {
                "10.0.0.0/16".clone_into(&mut connection.local_ts);
                "192.168.2.0/24".clone_into(&mut connection.remote_ts);
            }
        },
    );
    scene.cloud.swan[0].initiate("cpe");
    tunnel_says(&scene, &["10.0.0.0/16", "192.168.2.0/24", "0.0.0.0/0"]);
    the_other_tunnel_works(&scene);
}

#[test]
fn a_wrong_as_number_is_named_with_both_values() {
    let file = SiteFile::reference().add("bgp.neighbor.oci-1", "remote-asn = 64999");
    let scene = Scene::start(CAUSEWAY, &file);
    scene.gateway.wait_for_tunnels(&["oci-1"], Scene::SOON);
    let reason = eventually(Scene::SOON, "the neighbor names both AS numbers", || {
        let neighbor = scene.gateway.neighbor(at::INSIDE_THEIRS[0]);
        let text = neighbor["reason"].as_str()?.to_owned();
        (text.contains("31898") && text.contains("64999")).then_some(text)
    });
    println!("{reason}");
    assert!(!scene.cloud.frr.established(at::INSIDE_OURS[0]));
    the_other_tunnel_works(&scene);
}

#[test]
fn inside_addresses_the_wrong_way_round_are_named() {
    let file = SiteFile::reference().replace("\"10.1.0.0/31\"", "\"10.1.0.1/31\"");
    let scene = Scene::start(CAUSEWAY, &file);
    scene.gateway.wait_for_tunnels(&["oci-1"], Scene::SOON);
    let reason = eventually(
        Scene::SOON * 2,
        "the neighbor says that the /31 is swapped",
        || {
            let neighbor = scene.gateway.neighbor("10.1.0.0");
            let text = neighbor["reason"].as_str()?.to_owned();
            (text.contains("10.1.0.1") && text.contains("10.1.0.0")).then_some(text)
        },
    );
    println!("{reason}");
    the_other_tunnel_works(&scene);
}

#[test]
fn a_peer_that_does_not_answer_is_named_and_found_when_it_comes_back() {
    let mut scene = Scene::start(CAUSEWAY, &SiteFile::reference());
    scene.wait_until_up();
    scene.cloud.swan[0].kill();
    tunnel_goes_down(&scene);
    tunnel_says(&scene, &[at::HEAD_ENDS[0]]);
    scene.cloud.swan[0].restart();
    let back = eventually_true(Scene::SOON * 2, "the tunnel is up again", || {
        scene.gateway.tunnel("oci-1")["state"] == "up"
    });
    println!("up again {back:?} after the peer");
    scene.wait_until_up();
}

#[track_caller]
fn tunnel_goes_down(scene: &Scene) {
    let took = eventually_true(Scene::SOON * 4, "the dead peer is noticed", || {
        scene.gateway.tunnel("oci-1")["state"] != "up"
    });
    println!("noticed after {took:?}");
}

#[test]
fn a_malformed_site_file_is_refused_with_status_2_and_touches_nothing() {
    let site = ReferenceSite::new();
    let state = || {
        [
            "ip addr",
            "ip route show table all",
            "ip rule",
            "ip nexthop",
            "nft list ruleset",
        ]
        .map(|words| {
            let argv: Vec<_> = words.split_whitespace().collect();
            site.gateway.exec(&argv)
        })
    };
    let before = state();
    for (text, word) in [
        ("[gateway\n", "site.toml:1:"),
        ("[gatway]\nname = \"x\"\n", "gateway"),
        (
            "[gateway]\nname = \"x\"\naddress = \"203.0.113.300\"\n",
            "203.0.113.300",
        ),
    ] {
        let launch = Launch::new(CAUSEWAY, text);
        let mut gateway = Gateway::launch(&site.gateway, &launch);
        let status = eventually(Scene::SOON, "the daemon ends", || gateway.ended());
        assert_eq!(status.code(), Some(2), "{}", gateway.log());
        assert!(gateway.log().contains(word), "{}", gateway.log());
    }
    assert_eq!(state(), before);
}
