//! Why a packet goes where it goes, and why a neighbor is told of a prefix, or not.

use lab::{Frr, GoBgp, OrFail as _, Scene, addresses as at, eventually_true};
use serde_json::Value;

use crate::lan::{Lan, node};

impl Lan {
    #[track_caller]
    fn ask(&self, words: &[&str]) -> Value {
        let words = [&["bgp"], words, &["--json"]].concat();
        let finished = self.gateway.command(&words);
        assert!(finished.ok(), "{finished:?}");
        serde_json::from_str(&finished.stdout).or_fail("read the answer")
    }

    #[track_caller]
    fn said(&self, words: &[&str]) -> String {
        let finished = self.gateway.command(&[&["bgp"], words].concat());
        assert!(finished.ok(), "{finished:?}");
        finished.stdout
    }
}

#[test]
fn every_path_says_what_became_of_it_and_the_kernel_what_it_does() {
    let lan = Lan::start("");
    let [one, two, three] = &lan.site.nodes;
    let frr = Frr::start(one, &node(0));
    let _frr = Frr::start(two, &node(1));
    let _gobgp = GoBgp::start(three, &node(2));
    lan.gateway.wait_for_bgp(&at::NODES, Scene::SOON);
    lan.wait_for_ways(&[0, 1]);
    eventually_true(Scene::SOON, "all paths are there", || {
        lan.ask(&["why", at::SERVICE])["paths"]
            .as_array()
            .map(Vec::len)
            == Some(3)
    });

    let why = lan.ask(&["why", at::SERVICE]);
    let prefix = format!("{}/32", at::SERVICE);
    assert_eq!(
        (&why["asked"], &why["prefix"]),
        (&Value::from(prefix.clone()), &Value::from(prefix.clone()))
    );
    assert_eq!(why["next_hops"][0]["via"], at::NODES[0]);
    assert_eq!(
        why["next_hops"][0]["neighbor"],
        format!("nodes/{}", at::NODES[0])
    );
    assert_eq!(why["kernel"]["agrees"], true, "{why}");
    assert_eq!(why["paths"][0]["why"], "best");
    assert_eq!(
        why["paths"][1]["why"],
        "as good as the best one, and carries traffic beside it"
    );
    // GoBGP does not claim that its routes come from an IGP.
    assert_eq!(
        why["paths"][2]["why"],
        "lost: worse origin, incomplete against igp"
    );
    let told = lan.said(&["why", at::SERVICE]);
    let withheld = format!("not told nodes/{}: the peer taught it to us", at::NODES[0]);
    assert!(told.contains(&withheld), "{told}");

    // Somebody's rule sends it elsewhere.
    let to = ["to", prefix.as_str(), "table", "77"];
    lan.site
        .gateway
        .exec(&[&["ip", "rule", "add"], &to[..]].concat());
    let other = [
        "ip",
        "route",
        "add",
        &prefix,
        "via",
        at::NODES[2],
        "table",
        "77",
    ];
    lan.site.gateway.exec(&other);
    let why = lan.ask(&["why", at::SERVICE]);
    assert_eq!(why["kernel"]["agrees"], false, "{why}");
    let told = lan.said(&["why", at::SERVICE]);
    assert!(
        told.contains("a route or a rule of somebody else comes first"),
        "{told}"
    );
    lan.site
        .gateway
        .exec(&[&["ip", "rule", "del"], &to[..]].concat());
    assert_eq!(lan.ask(&["why", at::SERVICE])["kernel"]["agrees"], true);

    // What the prefix list does not have, and what nobody taught.
    frr.announce(at::NODES_ASN, "10.9.0.0/16");
    eventually_true(Scene::SOON, "the refused path is explained", || {
        lan.ask(&["why", "10.9.1.2"])["paths"][0]["why"]
            == "not believed: denied by prefix list services, no rule matches"
    });
    let elsewhere = lan.ask(&["why", "198.18.0.1"]);
    assert_eq!(elsewhere["prefix"], "0.0.0.0/0");
    assert_eq!(elsewhere["paths"][0]["from"], "this gateway");
    assert_eq!(elsewhere["kernel"]["agrees"], Value::Null);
    let refused = lan.gateway.command(&["bgp", "why", "ten"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("neither a prefix nor an address"),
        "{refused:?}"
    );
}

#[test]
fn what_a_neighbor_is_told_and_not_told_has_a_reason() {
    let lan = Lan::start("");
    let frr = Frr::start(&lan.site.nodes[0], &node(0));
    lan.gateway.wait_for_bgp(&at::NODES[..1], Scene::SOON);
    frr.announce(at::NODES_ASN, "10.9.0.0/16");
    let name = format!("nodes/{}", at::NODES[0]);
    let ask = |neighbor: &str, prefix: &str| lan.ask(&["why-not", neighbor, prefix]);

    eventually_true(Scene::SOON, "home is told", || {
        ask(&name, "192.168.2.0/24")["to_it"]["told"] == true
    });
    eventually_true(Scene::SOON, "what is refused has its list", || {
        ask(at::NODES[0], "10.9.0.0/16")["from_it"]["why"]
            == "denied by prefix list services, no rule matches"
    });
    let service = format!("{}/32", at::SERVICE);
    let its_own = ask(&name, &service);
    assert_eq!(its_own["to_it"]["why"], "the peer taught it to us");
    assert_eq!(its_own["from_it"]["believed"], true);
    let lan200 = ask(&name, "192.168.200.0/24");
    assert_eq!(
        lan200["to_it"]["why"],
        "denied by prefix list home, no rule matches"
    );
    assert_eq!(lan200["from_it"]["why"], "it has not sent this prefix");
    let absent = ask(&format!("nodes/{}", at::NODES[1]), "192.168.2.0/24");
    assert_eq!(absent["to_it"]["why"], "there is no session with it");
    let unknown = lan
        .gateway
        .command(&["bgp", "why-not", "nobody", "10.0.0.0/8"]);
    assert!(
        unknown.stderr.contains("there is no neighbor nobody"),
        "{unknown:?}"
    );
}
