//! Route maps with FRR and BIRD as neighbors: what they say decides, what they are told is what the map says, and an edit acts at once.

use lab::{
    Bird, Frr, OrFail as _, Router as _, Scene, addresses as at, eventually_true, kernel_route,
};
use serde_json::Value;

use crate::lan::{Lan, node, site_file};

/// The site with maps in place of its lists for the nodes.
fn with_maps(maps: &str) -> String {
    let file = site_file("")
        .replace("import = \"services\"", "import = \"in\"")
        .replace("export = \"home\"", "export = \"out\"");
    format!("{file}\n{maps}")
}

/// What everybody is told by: our AS twice more, and marks of each size.
const OUT: &str = r#"
[[route-map.out]]
match.prefix-list = "home"
match.source = "connected"
set.prepend = 2
set.med = 30
set.add-community = "65000:5"
set.add-large-community = "65551:1:1"
set.add-extended-community = "rt:65000:9"
"#;

/// FRR on the first node, which marks what it sends.
fn marking(lan: &Lan) -> Frr {
    let frr = Frr::start(&lan.site.nodes[0], &node(0));
    let neighbor = format!("neighbor {} route-map marks out", at::NODES_GATEWAY);
    frr.vty(&[
        "configure terminal",
        "route-map marks permit 10",
        "set community 65000:100 no-export",
        "set large-community 65000:1:2",
        "set extcommunity rt 65000:7",
        "exit",
        "router bgp 65000",
        "address-family ipv4 unicast",
        &neighbor,
    ]);
    frr
}

impl Lan {
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let finished = self
            .gateway
            .command(&[&["bgp"], words, &["--json"]].concat());
        assert!(finished.ok(), "{finished:?}");
        serde_json::from_str(&finished.stdout).or_fail("read the answer")
    }

    /// The path to the service by a node.
    fn path(&self, node: usize) -> Value {
        let name = format!("nodes/{}", at::NODES[node]);
        let why = self.json(&["why", at::SERVICE]);
        let mut paths = why["paths"].as_array().into_iter().flatten();
        let path = paths.find(|path| path["from"] == name.as_str());
        path.cloned().unwrap_or_default()
    }
}

#[test]
fn a_community_in_a_neighbors_routes_decides_and_an_edit_acts_without_a_reset() {
    let by_community = format!(
        r#"{OUT}
[[route-map.in]]
match.prefix-list = "services"
match.community = "65000:[100-199]"
match.extended-community = "rt:65000:*"
match.as-path = "^[64512-65534]$"
set.local-pref = 200
set.add-large-community = "65551:7:7"

[[route-map.in]]
match.prefix-list = "services"
"#
    );
    let lan = Lan::start_file(&with_maps(&by_community));
    let frr = marking(&lan);
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    eventually_true(Scene::SOON, "both paths are there and marked", || {
        lan.path(1)["why"] == "lost: lower local preference, 100 against 200"
    });
    lan.wait_for_ways(&[0]);

    let best = lan.path(0);
    assert_eq!(best["rule"], "route map in seq 10");
    let marks = [
        "65000:100",
        "no-export",
        "rt:65000:7",
        "65000:1:2",
        "65551:7:7",
    ];
    assert_eq!(best["communities"], Value::from(marks.to_vec()));
    let said = lan.gateway.command(&["bgp", "why", at::SERVICE]).stdout;
    let line = format!(
        "permitted by route map in seq 10, communities {}",
        marks.join(" ")
    );
    assert!(said.contains(&line), "{said}");
    let received = lan.json(&["neighbor", at::NODES[0]])["received"].clone();
    let service = format!("{}/32", at::SERVICE);
    let mut received = received.as_array().into_iter().flatten();
    let as_sent = received
        .find(|it| it["prefix"] == service.as_str())
        .expect("it was received");
    assert_eq!(
        as_sent["attributes"]["large_communities"],
        Value::from(vec!["65000:1:2"])
    );
    let name = format!("nodes/{}", at::NODES[1]);
    let why_not = lan.json(&["why-not", &name, &service]);
    assert_eq!(why_not["to_it"]["why"], "it has the community no-export");

    // The other way round, by the large community.
    let edited = by_community
        .replace(
            "match.community = \"65000:[100-199]\"",
            "match.large-community = \"65000:*:2\"",
        )
        .replace("local-pref = 200", "local-pref = 50");
    lan.gateway.reload(&with_maps(&edited));
    lan.wait_for_ways(&[1]);
    assert_eq!(
        lan.path(0)["why"],
        "lost: lower local preference, 50 against 100"
    );
    let refused = edited.replace(
        "[[route-map.in]]\n",
        "[[route-map.in]]\naction = \"deny\"\n",
    );
    let refused = refused.replace(
        "set.local-pref = 50\nset.add-large-community = \"65551:7:7\"\n",
        "",
    );
    lan.gateway.reload(&with_maps(&refused));
    lan.wait_for_ways(&[]);
    assert_eq!(
        lan.path(0)["why"],
        "not believed: denied by route map in seq 10"
    );
    assert_eq!(
        lan.path(1)["why"],
        "not believed: denied by route map in seq 20"
    );

    let sessions = frr.json(&format!("show bgp neighbors {} json", at::NODES_GATEWAY));
    let sessions = &sessions[at::NODES_GATEWAY];
    assert_eq!(sessions["connectionsEstablished"], 1, "{sessions}");
    assert!(bird.established(at::NODES_GATEWAY));
}

#[test]
fn what_neighbors_are_told_carries_what_the_map_sets() {
    let permissive = format!("{OUT}\n[[route-map.in]]\nmatch.prefix-list = \"services\"\n");
    let lan = Lan::start_file(&with_maps(&permissive));
    let frr = Frr::start(&lan.site.nodes[0], &node(0));
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    let home = "192.168.2.0/24";
    let told = || frr.json(&format!("show bgp ipv4 unicast {home} json"))["paths"][0].clone();
    let three = Some(vec![at::LAN_ASN; 3]);
    eventually_true(Scene::SOON, "FRR and BIRD see our AS three times", || {
        frr.as_path(home) == three && bird.as_path(home) == three
    });
    let path = told();
    assert_eq!(path["metric"], 30, "{path}");
    assert_eq!(path["community"]["string"], "65000:5");
    assert_eq!(path["largeCommunity"]["string"], "65551:1:1");
    assert_eq!(path["extendedCommunity"]["string"], "RT:65000:9");
    let shown = bird.birdc(&format!("show route for {home} all"));
    for mark in ["(65000,5)", "(65551, 1, 1)", "(rt, 65000, 9)"] {
        assert!(shown.contains(mark), "{mark}: {shown}");
    }
    let name = format!("nodes/{}", at::NODES[0]);
    let why = lan.json(&["why-not", &name, home]);
    assert_eq!(
        why["to_it"]["why"],
        "it has been told, permitted by route map out seq 10"
    );

    let plain = permissive.replace("set.prepend = 2\nset.med = 30\n", "");
    lan.gateway.reload(&with_maps(&plain));
    let once = Some(vec![at::LAN_ASN]);
    eventually_true(Scene::SOON, "both see the edit", || {
        frr.as_path(home) == once && bird.as_path(home) == once
    });
    assert_eq!(told()["metric"], Value::Null);
    let sessions = frr.json(&format!("show bgp neighbors {} json", at::NODES_GATEWAY));
    assert_eq!(sessions[at::NODES_GATEWAY]["connectionsEstablished"], 1);
}

#[test]
fn nodes_of_one_as_hear_of_each_other_where_theirs_is_overridden_or_removed() {
    // Everything that the nodes teach is told to the others.
    let file = |more: &str| site_file(more).replace("export = \"home\"", "export = \"services\"");
    let lan = Lan::start_file(&file(""));
    let extra = "172.16.200.9/32";
    let one = Frr::start(&lan.site.nodes[0], &node(0).network(extra));
    let two = Bird::start(&lan.site.nodes[1], &node(1));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    eventually_true(Scene::SOON, "the gateway has told the second node", || {
        let name = format!("nodes/{}", at::NODES[1]);
        lan.json(&["why-not", &name, extra])["to_it"]["told"] == true
    });
    let received = two.received(at::NODES_GATEWAY);
    assert!(
        !received.contains(extra),
        "BIRD refuses its own AS: {received:?}"
    );

    lan.gateway.reload(&file("as-override = true"));
    let overridden = Some(vec![at::LAN_ASN; 2]);
    eventually_true(Scene::SOON, "our AS is in the place of theirs", || {
        two.received(at::NODES_GATEWAY).contains(extra) && two.as_path(extra) == overridden
    });
    lan.gateway.reload(&file("remove-private-as = true"));
    let alone = Some(vec![at::LAN_ASN]);
    eventually_true(Scene::SOON, "their AS is gone", || {
        two.as_path(extra) == alone
    });
    let sessions = one.json(&format!("show bgp neighbors {} json", at::NODES_GATEWAY));
    assert_eq!(sessions[at::NODES_GATEWAY]["connectionsEstablished"], 1);
}

#[test]
fn our_own_as_in_a_path_is_believed_as_often_as_it_is_allowed() {
    // FRR sends back what we told it, with our AS in the path.
    let file = |more: &str| {
        site_file(more).replace(
            "services = [",
            "services = [{ permit = \"192.168.2.0/24\" }, ",
        )
    };
    let lan = Lan::start_file(&file(""));
    let _frr = Frr::start(&lan.site.nodes[0], &node(0));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    let name = format!("nodes/{}", at::NODES[0]);
    let said = || lan.json(&["why-not", &name, "192.168.2.0/24"])["from_it"]["why"].clone();
    eventually_true(Scene::SOON, "the loop is found", || {
        said() == "our AS 65551 is in its path"
    });
    lan.gateway.reload(&file("allow-own-as = 1"));
    eventually_true(Scene::SOON, "it is believed", || {
        said() == "permitted by prefix list services seq 10"
    });
}

#[test]
fn a_shutdown_says_why_and_the_neighbors_operator_reads_it() {
    let lan = Lan::start("");
    let frr = Frr::start(&lan.site.nodes[0], &node(0));
    let bird = Bird::start(&lan.site.nodes[1], &node(1));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    let words = "new cables, back at six";
    lan.gateway
        .reload(&site_file(&format!("shutdown = \"{words}\"")));
    eventually_true(Scene::SOON, "BIRD shows the words", || {
        bird.describe(at::NODES_GATEWAY).contains(words)
    });
    eventually_true(Scene::SOON, "FRR's session is down too", || {
        !frr.established(at::NODES_GATEWAY)
    });
    lan.gateway.reload(&site_file(""));
    lan.gateway.wait_for_bgp(&at::NODES[..2], Scene::SOON);
    lan.wait_for_ways(&[0, 1]);
}

#[test]
fn a_default_route_is_told_while_a_service_is_there() {
    let service = format!("{}/32", at::SERVICE);
    let lan = Lan::start_file(&site_file(&format!("default-originate = \"{service}\"")));
    let bird = Bird::start(&lan.site.nodes[1], &node(1).network("172.16.200.9/32"));
    lan.gateway.wait_for_bgp(&at::NODES[1..2], Scene::SOON);
    let has = || bird.received(at::NODES_GATEWAY).contains("0.0.0.0/0");
    eventually_true(Scene::SOON, "BIRD has a default route", has);
    let name = format!("nodes/{}", at::NODES[1]);
    assert_eq!(
        lan.json(&["why-not", &name, "0.0.0.0/0"])["to_it"]["why"],
        "it is told a default route of ours (default-originate)"
    );
    lan.gateway
        .reload(&site_file("default-originate = \"172.16.200.77/32\""));
    eventually_true(Scene::SOON, "it is taken back: nobody teaches that", || {
        !has()
    });
    let frr = Frr::start(&lan.site.nodes[0], &node(0).network("172.16.200.77/32"));
    eventually_true(Scene::SOON, "somebody does", has);
    frr.withdraw(at::NODES_ASN, "172.16.200.77/32");
    eventually_true(Scene::SOON, "and no longer", || !has());
    assert!(bird.established(at::NODES_GATEWAY));
}

#[test]
fn routes_of_the_site_file_are_in_the_kernel_and_told_while_they_lead_somewhere() {
    let file = |routes: &str| {
        let lists = "home = [{ permit = \"10.96.0.0/14\", le = 16 }]";
        let text = site_file("")
            .replace("home = [{ permit = \"192.168.2.0/24\" }]", lists)
            .replace("[\"connected\"]", "[\"static\"]");
        format!("{text}{routes}")
    };
    let both = "\n[[route]]\nprefix = \"10.98.0.0/16\"\nvia = \"192.168.2.250\"\ninterface = \"lan0\"\n\n[[route]]\nprefix = \"10.99.0.0/16\"\nblackhole = true\n";
    let lan = Lan::start_file(&file(both));
    let frr = Frr::start(&lan.site.nodes[0], &node(0));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    let told = |prefixes: &[&str]| {
        eventually_true(Scene::SOON, format_args!("FRR has {prefixes:?}"), || {
            frr.received(at::NODES_GATEWAY).iter().eq(prefixes)
        });
    };
    told(&["10.98.0.0/16", "10.99.0.0/16"]);
    let kernel = || {
        lan.site
            .gateway
            .exec(&["ip", "route", "show", "root", "10.96.0.0/14"])
    };
    let shown = kernel();
    assert!(shown.contains("blackhole 10.99.0.0/16"), "{shown}");
    let way = kernel_route(&lan.site.gateway, "10.98.0.0/16").map(|route| route.next_hops);
    assert_eq!(
        way,
        Some(vec![(Some(at::HOME.to_owned()), "lan0".to_owned())])
    );

    lan.site
        .gateway
        .exec(&["ip", "link", "set", "lan0", "down"]);
    told(&["10.99.0.0/16"]);
    lan.site.gateway.exec(&["ip", "link", "set", "lan0", "up"]);
    told(&["10.98.0.0/16", "10.99.0.0/16"]);

    lan.gateway.reload(&file(""));
    told(&[]);
    eventually_true(Scene::SOON, "the kernel has neither", || {
        kernel().trim().is_empty()
    });
    assert!(frr.established(at::NODES_GATEWAY));
}
