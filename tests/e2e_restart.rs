//! Deaths and restarts, of us and of the peers: what is left behind, and how long until all is well again.

use std::time::{Duration, Instant};

use lab::{
    Cloud, Gateway, Ns, ReferenceSite, Scene, SiteFile, addresses as at, eventually_true, ping,
};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// What the daemon may have changed in the gateway's namespace, in the tools' own words, without counters.
fn host_state(gateway: &Ns) -> Vec<String> {
    let mut state: Vec<String> = [
        "ip -o -4 addr show",
        "ip -4 route show table all",
        "ip rule show",
        "ip nexthop show",
        "nft -s list ruleset",
    ]
    .iter()
    .map(|words| gateway.exec(&words.split_whitespace().collect::<Vec<_>>()))
    .collect();
    for key in [
        "ip_forward",
        "fib_multipath_hash_policy",
        "conf/all/rp_filter",
        "conf/wan0/rp_filter",
    ] {
        state.push(format!(
            "{key} = {}",
            gateway.read_sysctl(&format!("net/ipv4/{key}"))
        ));
    }
    state
}

#[test]
fn a_clean_stop_leaves_the_host_as_it_was() {
    let site = ReferenceSite::new();
    let before = host_state(&site.gateway);
    let mut scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    assert_ne!(host_state(&scene.site.gateway), before);
    let status = scene.gateway.stop();
    assert!(status.success(), "{status}: {}", scene.gateway.log());
    assert_eq!(host_state(&scene.site.gateway), before);
    // The peers were told: no dead time for them.
    for index in [0, 1] {
        eventually_true(Scene::SOON, "the head-end has no SA left", || {
            scene.cloud.swan[index].list_sas().is_empty()
        });
    }
}

#[test]
fn a_killed_daemon_started_again_leaves_nothing_stale_and_serves() {
    let mut scene = Scene::up(CAUSEWAY);
    let before = host_state(&scene.site.gateway);
    scene.gateway.kill9();
    let started = Instant::now();
    scene.gateway.restart();
    scene.wait_until_up();
    println!("serves again {:?} after the start", started.elapsed());
    for index in [0, 1] {
        eventually_true(
            Scene::SOON,
            "the head-end has one IKE_SA and one child",
            || {
                let sas = scene.cloud.swan[index].list_sas();
                sas.len() == 1 && sas[0].children.len() == 1
            },
        );
        assert!(scene.ping_inside(index).all());
    }
    let after = host_state(&scene.site.gateway);
    let words = |state: &[String]| {
        // Interface indexes and nexthop ids may differ; the rest must not.
        let mut lines: Vec<_> = state
            .iter()
            .flat_map(|text| text.lines())
            .map(unnumbered)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(words(&after), words(&before));
}

/// A line of `ip` without interface indexes and nexthop ids.
fn unnumbered(line: &str) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    for word in line.split_whitespace() {
        if skip {
            skip = false;
        } else if ["nhid", "id", "group"].contains(&word) {
            skip = true;
        } else if !word
            .trim_end_matches(':')
            .chars()
            .all(|c| c.is_ascii_digit())
        {
            words.push(word);
        }
    }
    words.join(" ")
}

#[test]
fn a_daemon_killed_while_starting_leaves_nothing_that_hinders_the_next() {
    let mut scene = Scene::up(CAUSEWAY);
    for wait in [5, 20, 60, 120] {
        scene.gateway.kill9();
        scene.gateway.spawn_again();
        let alive = Instant::now();
        eventually_true(Scene::SOON, "a moment has passed", || {
            alive.elapsed() >= Duration::from_millis(wait)
        });
    }
    scene.gateway.kill9();
    scene.gateway.restart();
    scene.wait_until_up();
    assert!(scene.ping_inside(0).all());
    assert!(scene.ping_inside(1).all());
}

#[test]
fn one_tunnel_dies_and_traffic_goes_on_over_the_other() {
    let mut scene = Scene::up(CAUSEWAY);
    let flow = scene.flow_to_the_cloud();
    flow.wait_for(100, Scene::SOON);
    scene.cloud.swan[0].kill();
    let noticed = eventually_true(Scene::SOON * 4, "one way to the VCN is left", || {
        scene.ways_to_the_vcn() == 1
    });
    let route = scene.route_to_the_vcn().map(|route| route.next_hops);
    assert_eq!(
        route,
        Some(vec![(
            Some(at::INSIDE_THEIRS[1].to_owned()),
            "cw-oci-2".to_owned()
        )])
    );
    flow.wait_for(100, Scene::SOON);
    let report = flow.stop();
    println!("rerouted after {noticed:?}: {report:?}");
    eventually_true(Scene::SOON * 2, "the way back is the other tunnel", || {
        scene.ways_back() == 1
    });
    scene.assert_traffic(5);
    let links = scene
        .site
        .gateway
        .exec(&["ip", "-o", "addr", "show", "dev", "cw-oci-1"]);
    assert!(
        links.contains("10.1.0.0"),
        "a dead tunnel keeps its interface and address: {links}"
    );

    scene.cloud.swan[0].restart();
    let back = Instant::now();
    scene.wait_until_up();
    println!(
        "both ways again {:?} after the peer came back",
        back.elapsed()
    );
}

#[test]
fn a_peer_that_deletes_its_sa_gets_a_new_one_at_once() {
    let scene = Scene::up(CAUSEWAY);
    let before = scene.child(0).unique_id;
    let terminated = scene.cloud.swan[0].terminate("cpe");
    assert!(terminated.ok(), "{}", terminated.stdout);
    let took = eventually_true(Scene::SOON, "the head-end has a new child", || {
        let children = scene.cloud.swan[0].installed();
        children.len() == 1 && children[0].unique_id != before
    });
    println!("a new child after {took:?}");
    scene.wait_until_up();
}

#[test]
fn a_peer_that_restarts_without_a_word_is_served_again() {
    let mut scene = Scene::up(CAUSEWAY);
    scene.cloud.swan[1].restart();
    let initiated = scene.cloud.swan[1].initiate("cpe");
    assert!(initiated.ok(), "{}", initiated.stdout);
    let back = Instant::now();
    scene.wait_until_up();
    println!("served again after {:?}", back.elapsed());
    assert!(scene.ping_inside(1).all());
    assert_eq!(scene.cloud.swan[1].list_sas().len(), 1);
}

#[test]
fn a_tunnel_taken_down_by_hand_withdraws_its_routes_at_once_and_stays_down() {
    let scene = Scene::up(CAUSEWAY);
    let down = scene.gateway.command(&["tunnel", "oci-1", "down"]);
    assert!(down.ok(), "{}", down.stderr);
    let took = eventually_true(Scene::SOON, "one way is left", || {
        scene.ways_to_the_vcn() == 1
    });
    println!("one way left after {took:?}");
    assert!(took < Duration::from_secs(2), "at once, not after {took:?}");
    eventually_true(Scene::SOON, "the head-end has no SA left", || {
        scene.cloud.swan[0].list_sas().is_empty()
    });
    assert!(ping(&scene.site.home, at::INSTANCE, 3, &[]).received > 0);
    let up = scene.gateway.command(&["tunnel", "oci-1", "up"]);
    assert!(up.ok(), "{}", up.stderr);
    scene.wait_until_up();
}

#[test]
fn tunnels_that_appear_late_carry_bgp_soon_after() {
    let site = ReferenceSite::new();
    let file = SiteFile::reference();
    let gateway = Gateway::start(&site.gateway, &file.launch(CAUSEWAY));
    eventually_true(Scene::SOON, "both tunnels are being tried", || {
        let status = gateway.status();
        let tunnels = status["tunnels"].as_array().cloned().unwrap_or_default();
        tunnels.len() == 2 && tunnels.iter().all(|tunnel| tunnel["state"] != "up")
    });
    let cloud = Cloud::start(&site);
    let appeared = Instant::now();
    let scene = Scene {
        gateway,
        cloud,
        site,
    };
    eventually_true(Scene::SOON * 2, "the VCN is in the kernel", || {
        scene.ways_to_the_vcn() > 0
    });
    println!(
        "the first route {:?} after the peers appeared",
        appeared.elapsed()
    );
    scene.wait_until_up();
}
