//! What would cut the tunnels off, or the host: it is refused, or named with what to do about it, and the rest goes on working.

use lab::{Gateway, ReferenceSite, Scene, SiteFile, addresses as at, eventually_true, ping};

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");

/// Waits until `status` names a problem with all of `words` in it.
#[track_caller]
fn a_problem_says(scene: &Scene, words: &[&str]) {
    eventually_true(
        Scene::SOON,
        format_args!("a problem with {words:?}"),
        || {
            let problems = scene.gateway.problems();
            problems
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
        },
    );
}

/// Waits until no problem has this word in it.
#[track_caller]
fn no_problem_says(scene: &Scene, word: &str) {
    eventually_true(
        Scene::SOON,
        format_args!("no problem with {word:?}"),
        || !scene.gateway.problems().contains(word),
    );
}

/// How the gateway's kernel reaches an address.
fn way_to(scene: &Scene, address: &str) -> String {
    let found = scene
        .site
        .gateway
        .try_exec(&["ip", "route", "get", address]);
    found.stdout + &found.stderr
}

#[test]
fn a_cloud_that_claims_the_way_to_its_own_head_end_does_not_get_it() {
    let site = ReferenceSite::new();
    // As a DHCP client writes it, so that a default route by BGP wins.
    site.gateway.exec(&["ip", "route", "del", "default"]);
    site.gateway.route("default via 203.0.113.1 metric 100");
    let file = SiteFile::reference()
        .add("bgp.neighbor.oci-1", "allow-default = true\nallow-overlap = true")
        .replace(
            "{ seq = 10, permit = \"10.0.0.0/16\", le = 28 }",
            "{ seq = 5, permit = \"198.51.100.0/24\", le = 32 }, { seq = 6, permit = \"0.0.0.0/0\" }, { seq = 10, permit = \"10.0.0.0/16\", le = 28 }",
        );
    let scene = Scene::start_with(site, CAUSEWAY, &file, |_, _| {});
    scene.wait_until_up();
    let head_end = format!("{}/32", at::HEAD_ENDS[0]);
    for claim in [head_end.as_str(), "198.51.100.0/24", "0.0.0.0/0"] {
        scene.cloud.frr.announce(at::CLOUD_ASN, claim);
    }
    a_problem_says(&scene, &["route 198.51.100.1/32 is not installed", "oci-1"]);
    let gateway = &scene.site.gateway;
    eventually_true(Scene::SOON, "the wide route is installed", || {
        way_to(&scene, "198.51.100.200").contains("dev cw-oci-1")
    });
    for address in at::HEAD_ENDS {
        let way = way_to(&scene, address);
        assert!(way.contains("dev wan0"), "{way}");
    }
    assert!(
        way_to(&scene, "192.0.2.200").contains("dev wan0"),
        "a default route of the host's own stays the better one"
    );
    for index in [0, 1] {
        assert!(scene.ping_inside(index).all(), "both tunnels carry packets");
    }

    // The provider is away, so the cloud's default route counts: what would go into the tunnel now is dropped, not encrypted again and
    // again.
    gateway.exec(&["ip", "link", "set", "wan0", "down"]);
    eventually_true(
        Scene::SOON,
        "the cloud's default route is installed",
        || way_to(&scene, "192.0.2.200").contains("dev cw-oci-1"),
    );
    for address in at::HEAD_ENDS {
        let way = way_to(&scene, address);
        assert!(!way.contains(" dev "), "{way}");
    }
    gateway.exec(&["ip", "link", "set", "wan0", "up"]);
    gateway.route("default via 203.0.113.1 metric 100");
    eventually_true(Scene::SOON, "the way is the provider's again", || {
        at::HEAD_ENDS
            .iter()
            .all(|address| way_to(&scene, address).contains("dev wan0"))
    });

    for claim in [head_end.as_str(), "198.51.100.0/24", "0.0.0.0/0"] {
        scene.cloud.frr.withdraw(at::CLOUD_ASN, claim);
    }
    eventually_true(Scene::SOON, "nothing of it is left", || {
        let routes = gateway.exec(&["ip", "route", "show", "proto", "210"]);
        !routes.contains("198.51.100.") && !routes.contains("default")
    });
    no_problem_says(&scene, "is not installed");
}

#[test]
fn a_static_route_that_leads_a_tunnel_into_itself_is_named() {
    let scene = Scene::up(CAUSEWAY);
    let route = "198.51.100.1/32 dev cw-oci-1";
    scene.site.gateway.route(route);
    a_problem_says(
        &scene,
        &[
            "the route to 198.51.100.1 leads into our own tunnel interface cw-oci-1",
            "ip route add 198.51.100.1/32 via GATEWAY dev wan0",
        ],
    );
    assert!(scene.ping_inside(1).all(), "the other tunnel works");
    let file = scene.gateway.dir().join("site.toml").display().to_string();
    let plan = scene.gateway.command(&["plan", &file]).stdout;
    assert!(
        plan.contains("leads into our own tunnel interface"),
        "{plan}"
    );
    let words: Vec<&str> = "ip route del".split(' ').chain(route.split(' ')).collect();
    scene.site.gateway.exec(&words);
    no_problem_says(&scene, "leads into our own tunnel");
    scene.gateway.wait_for_tunnels(&["oci-1"], Scene::SOON);
}

#[test]
fn a_masquerade_that_would_catch_what_goes_into_a_tunnel_is_named_with_a_remedy_that_works() {
    let site = ReferenceSite::new();
    site.gateway.nft(
        "table ip nat {\n chain postrouting {\n  type nat hook postrouting priority 100;\n  \
         ip saddr 192.168.2.0/24 counter masquerade\n }\n}\n",
    );
    let scene = Scene::start_with(site, CAUSEWAY, &SiteFile::reference(), |_, _| {});
    scene.wait_until_up();
    a_problem_says(
        &scene,
        &[
            "cw-oci-1",
            "table ip nat",
            "handle",
            "masquerade",
            "add: nft insert rule",
        ],
    );
    let problems = scene.gateway.problems();
    let remedies: Vec<&str> = problems
        .lines()
        .filter_map(|line| Some(line.split_once("add: nft ")?.1))
        .collect();
    assert!(!remedies.is_empty(), "{problems}");
    for remedy in remedies {
        scene.site.gateway.nft(remedy);
    }
    no_problem_says(&scene, "masquerade");
    assert!(
        ping(&scene.site.home, at::INSTANCE, 3, &[]).all(),
        "home reaches the cloud"
    );
}

#[test]
fn reverse_path_filtering_and_forwarding_are_named_where_they_bite() {
    let scene = Scene::up(CAUSEWAY);
    let gateway = &scene.site.gateway;
    gateway.sysctl("net/ipv4/conf/wan0/rp_filter", "1");
    gateway.sysctl("net/ipv4/conf/lan0/forwarding", "0");
    // The answer to the first head-end now leaves by another interface than its packets come in on.
    gateway.route("198.51.100.1/32 via 172.24.0.250");
    a_problem_says(
        &scene,
        &[
            "198.51.100.1",
            "reverse path filtering on wan0 is strict",
            "sysctl -w net.ipv4.conf.wan0.rp_filter=2",
        ],
    );
    a_problem_says(&scene, &["sysctl -w net.ipv4.conf.lan0.forwarding=1"]);
    gateway.sysctl("net/ipv4/conf/lan0/forwarding", "1");
    gateway.exec(&["ip", "route", "del", "198.51.100.1/32"]);
    no_problem_says(&scene, "net.ipv4.conf.");
}

#[test]
fn a_policy_of_another_ipsec_that_catches_our_packets_is_named() {
    let scene = Scene::up(CAUSEWAY);
    let gateway = &scene.site.gateway;
    let leftover = "src 192.168.2.0/24 dst 10.0.0.0/16 dir fwd";
    let policy = |verb: &str, rest: &str| {
        let words = format!("ip xfrm policy {verb} {leftover} {rest}");
        let words: Vec<&str> = words.split_whitespace().collect();
        gateway.exec(&words);
        // Policies have no event of their own; any change of the host is a reason to look.
        gateway.route("192.0.2.128/25 via 203.0.113.1");
        gateway.exec(&["ip", "route", "del", "192.0.2.128/25"]);
    };
    policy("add", "action block");
    a_problem_says(
        &scene,
        &[
            "packets from 192.168.2.0/24 to 10.0.0.0/16",
            &format!("ip xfrm policy delete {leftover}"),
        ],
    );
    policy("delete", "");
    no_problem_says(&scene, "IPsec policy");
}

#[test]
fn another_ike_daemon_is_named_and_nothing_is_touched() {
    let site = ReferenceSite::new();
    let other = lab::StrongSwan::start(&site.gateway, &[], vec![]);
    let before = site.gateway.exec(&["ip", "-d", "link"]);
    let mut daemon = Gateway::launch(&site.gateway, &SiteFile::reference().launch(CAUSEWAY));
    eventually_true(Scene::SOON, "the daemon gives up", || {
        daemon.ended().is_some()
    });
    let log = daemon.log();
    assert!(
        log.contains("UDP port 500 on 0.0.0.0 is in use by charon"),
        "{log}"
    );
    assert!(log.contains("there can be one IKE daemon only"), "{log}");
    assert_eq!(before, site.gateway.exec(&["ip", "-d", "link"]));
    drop(other);
}
