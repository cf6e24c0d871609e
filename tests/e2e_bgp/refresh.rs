//! Route refresh, asked for from either side.

use lab::{Bird, Frr, GoBgp, OrFail as _, Scene, addresses as at, eventually_true};

use serde_json::Value;

use crate::lan::{Lan, node};

impl Lan {
    /// A node as `bgp neighbor` shows it.
    #[track_caller]
    fn in_full(&self, node: usize) -> Value {
        let finished = self
            .gateway
            .command(&["bgp", "neighbor", at::NODES[node], "--json"]);
        let answer: Value = serde_json::from_str(&finished.stdout).or_fail("read the neighbor");
        answer["neighbor"].clone()
    }

    fn wait_for_all_routes(&self) {
        for node in [0, 1, 2] {
            eventually_true(Scene::SOON, "its route is there", || {
                self.in_full(node)["summary"]["accepted"] == 1
            });
        }
    }

    /// How many ROUTE-REFRESHes a node was sent and has sent.
    fn refreshes(&self, node: usize) -> (u64, u64) {
        let view = self.in_full(node);
        let count = |way: &str| view[way]["refreshes"].as_u64().unwrap_or_default();
        (count("messages_sent"), count("messages_received"))
    }
}

#[test]
fn routers_send_again_what_they_are_asked_for_and_get_what_they_ask_for() {
    let lan = Lan::start("");
    let [one, two, three] = &lan.site.nodes;
    let frr = Frr::start(one, &node(0));
    let bird = Bird::start(two, &node(1));
    let _gobgp = GoBgp::start(three, &node(2));
    lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    lan.wait_for_all_routes();
    let is_enhanced = |index: usize| {
        let view = lan.in_full(index);
        view["agreed"]["enhanced_route_refresh"] == true
    };
    assert_eq!([0, 1, 2].map(is_enhanced), [true, true, false]);

    // What we ask for: FRR and BIRD mark where it begins and ends.
    for (index, marks) in [(0, 2), (1, 2), (2, 0)] {
        let name = format!("nodes/{}", at::NODES[index]);
        let updates = || {
            let view = lan.in_full(index);
            view["messages_received"]["updates"].as_u64()
        };
        let before = updates();
        let said = lan.gateway.command(&["bgp", "refresh", &name]);
        assert!(
            said.stdout
                .contains("is asked to send all its routes again"),
            "{said:?}"
        );
        eventually_true(
            Scene::SOON,
            "its routes come again, with their marks",
            || updates() > before && lan.refreshes(index) == (1, marks),
        );
    }
    lan.wait_for_all_routes();

    // What they ask for: each of them is told everything again, between marks. FRR asks if it has not kept what it was told.
    let router = format!("router bgp {}", at::NODES_ASN);
    let forget = format!(
        "no neighbor {} soft-reconfiguration inbound",
        at::NODES_GATEWAY
    );
    frr.vty(&[
        "configure terminal",
        &router,
        "address-family ipv4 unicast",
        &forget,
    ]);
    let ask: [(usize, &dyn Fn()); 2] = [
        (0, &|| drop(frr.vty(&["clear bgp ipv4 unicast * soft in"]))),
        (1, &|| drop(bird.birdc("reload in all"))),
    ];
    for (index, ask) in ask {
        let (sent, received) = lan.refreshes(index);
        ask();
        eventually_true(Scene::SOON, "it asks, and gets both marks", || {
            lan.refreshes(index) == (sent + 2, received + 1)
        });
    }

    let said = lan.gateway.command(&["bgp", "reset", at::NODES[0]]);
    assert!(
        said.stdout.contains("is ended, and a new one begins"),
        "{said:?}"
    );
    eventually_true(Scene::SOON, "the session is a new one", || {
        lan.in_full(0)["established_count"] == 2
    });
    lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    lan.wait_for_all_routes();
}
