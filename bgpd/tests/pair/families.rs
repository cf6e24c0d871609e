//! IPv6 beside IPv4: over sessions of either, family by family.

use std::time::Duration;

use bgpd::policy::{Decision, PrefixList, Refusal, Rule, Verdict, Withheld};
use bgpd::view::ExportVerdict;
use bgpd::wire::Families;
use bgpd::{Command, Event, OverLimit, PeerConfig, PrefixLimit, SessionError, StaleEnd};

use super::restart::{config_b, graceful, stale, swept};
use super::site::{
    SECOND, add, ip, list, name, net, pair, peer, peer_a, peer_b, speaker, static_routes,
};
use super::world::{Node, World};

const A6: &str = "2001:db8::a";
const B6: &str = "2001:db8::b";

/// Static routes to tell, beside the networks that both are connected to.
fn routes(prefixes: &[&str]) -> Command {
    static_routes(prefixes, &["10.0.0.0/31", "2001:db8::/64"])
}

/// Two speakers that know each other by IPv6 addresses.
fn pair6() -> (World, Node, Node) {
    let mut world = World::new(3);
    let a = world.add(speaker(65000, [1, 1, 1, 1]), &[A6]);
    let b = world.add(speaker(31898, [2, 2, 2, 2]), &[B6]);
    (world, a, b)
}

fn b6() -> PeerConfig {
    peer("b", A6, B6, 31898)
}

fn a6() -> PeerConfig {
    peer("a", B6, A6, 65000)
}

fn both(mut config: PeerConfig) -> PeerConfig {
    config.families = Families::BOTH;
    config
}

fn with_next_hop(mut config: PeerConfig, address: &str) -> PeerConfig {
    config.next_hop_address = Some(ip(address));
    config
}

fn start(world: &mut World, (a, of_a): (Node, PeerConfig), (b, of_b): (Node, PeerConfig)) {
    for node in [a, b] {
        world.command(node, routes(&[]));
    }
    world.command(a, add(of_a));
    world.command(b, add(of_b));
    world.run(3 * SECOND);
    assert!(world.is_up(a, "b") && world.is_up(b, "a"));
}

/// The gateway of a prefix in a speaker's kernel.
fn via(world: &World, node: Node, prefix: &str) -> Option<String> {
    let hops = world.fib.get(&(node, net(prefix)))?;
    assert_eq!(hops.len(), 1);
    hops.first().map(|hop| hop.via.to_string())
}

fn remarks(world: &World, node: Node, peer: &str) -> Vec<String> {
    world
        .speaker(node)
        .neighbor(world.now, peer)
        .unwrap()
        .remarks
}

#[test]
fn ipv6_prefixes_come_and_go_over_an_ipv6_session() {
    let (mut world, a, b) = pair6();
    start(&mut world, (a, b6()), (b, a6()));
    world.command(b, routes(&["2001:db8:1::/48", "10.1.0.0/16"]));
    world.run(SECOND);
    // IPv4 is not this session's business.
    assert_eq!(world.received(a, "b"), ["2001:db8:1::/48"]);
    assert_eq!(via(&world, a, "2001:db8:1::/48").as_deref(), Some(B6));
    assert_eq!(
        world.speaker(b).why_export(&name("a"), &net("10.1.0.0/16")),
        Some(ExportVerdict::Withheld(Withheld::FamilyNotAgreed))
    );
    world.command(b, routes(&["2001:db8:2::/48"]));
    world.run(SECOND);
    assert_eq!(world.received(a, "b"), ["2001:db8:2::/48"]);
    assert_eq!(via(&world, a, "2001:db8:1::/48"), None);
    assert_eq!(world.downs(), 0);
    let heard = |node, event: &Event| node == a && matches!(event, Event::EndOfRib { .. });
    assert_eq!(world.count(heard), 1);
}

#[test]
fn thousands_of_prefixes_of_both_families_fit_their_messages_and_all_arrive() {
    let (mut world, a, b) = pair(7);
    start(
        &mut world,
        (a, with_next_hop(both(peer_b()), A6)),
        (b, with_next_hop(both(peer_a()), B6)),
    );
    let prefixes: Vec<String> = (0..1500_u32)
        .flat_map(|n| {
            [
                format!("2001:db8:{:x}::/48", n + 1),
                format!("10.{}.{}.0/24", 1 + n / 250, n % 250),
            ]
        })
        .collect();
    let told: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    world.command(b, routes(&told));
    world.run(2 * SECOND);
    assert_eq!(world.received(a, "b").len(), 3000);
    world.command(b, routes(&told[..10]));
    world.run(2 * SECOND);
    assert_eq!(world.received(a, "b").len(), 10);
    assert_eq!(world.downs(), 0);
}

#[test]
fn both_families_over_an_ipv4_session_have_a_next_hop_each() {
    let (mut world, a, b) = pair(7);
    start(
        &mut world,
        (a, both(peer_b())),
        (b, with_next_hop(both(peer_a()), B6)),
    );
    world.command(b, routes(&["2001:db8:1::/48", "10.1.0.0/16"]));
    world.command(a, routes(&["2001:db8:2::/48", "10.2.0.0/16"]));
    world.run(SECOND);
    assert_eq!(via(&world, a, "10.1.0.0/16").as_deref(), Some("10.0.0.1"));
    assert_eq!(via(&world, a, "2001:db8:1::/48").as_deref(), Some(B6));
    // We have no IPv6 address to name, and it is said.
    assert_eq!(world.received(b, "a"), ["10.2.0.0/16"]);
    assert_eq!(
        world
            .speaker(a)
            .why_export(&name("b"), &net("2001:db8:2::/48")),
        Some(ExportVerdict::Withheld(Withheld::NoNextHop))
    );
    let said = remarks(&world, a, "b");
    assert!(
        said.iter()
            .any(|it| it.contains("IPv6 unicast") && it.contains("next-hop-address")),
        "{said:?}"
    );
    // An edit gives one, and no session is reset.
    world.command(
        a,
        Command::ReplacePeer(Box::new(with_next_hop(both(peer_b()), A6))),
    );
    world.run(SECOND);
    assert_eq!(via(&world, b, "2001:db8:2::/48").as_deref(), Some(A6));
    assert_eq!(world.downs(), 0);
}

#[test]
fn ipv4_prefixes_over_an_ipv6_session_have_its_address_as_next_hop() {
    let (mut world, a, b) = pair6();
    start(&mut world, (a, both(b6())), (b, both(a6())));
    world.command(b, routes(&["2001:db8:1::/48", "10.1.0.0/16"]));
    world.run(SECOND);
    assert_eq!(via(&world, a, "10.1.0.0/16").as_deref(), Some(B6));
    assert_eq!(via(&world, a, "2001:db8:1::/48").as_deref(), Some(B6));
    world.command(b, routes(&["2001:db8:1::/48"]));
    world.run(SECOND);
    assert_eq!(world.received(a, "b"), ["2001:db8:1::/48"]);
    // With an IPv4 address to name nothing is extended.
    world.command(b, routes(&["10.1.0.0/16"]));
    let of_b = with_next_hop(both(a6()), "10.0.0.1");
    world.command(b, Command::ReplacePeer(Box::new(of_b)));
    world.run(SECOND);
    assert_eq!(via(&world, a, "10.1.0.0/16").as_deref(), Some("10.0.0.1"));
    assert_eq!(world.downs(), 0);
}

#[test]
fn what_one_side_alone_offers_is_not_exchanged_and_said() {
    let (mut world, a, b) = pair(7);
    start(
        &mut world,
        (a, with_next_hop(both(peer_b()), A6)),
        (b, peer_a()),
    );
    world.command(a, routes(&["2001:db8:2::/48", "10.2.0.0/16"]));
    world.run(SECOND);
    assert_eq!(world.received(b, "a"), ["10.2.0.0/16"]);
    let said = remarks(&world, a, "b");
    assert!(
        said.iter()
            .any(|it| it.contains("does not offer IPv6 unicast")),
        "{said:?}"
    );
}

#[test]
fn without_a_common_family_there_is_no_session_and_each_side_says_which_it_misses() {
    let (mut world, a, b) = pair(7);
    let mut ipv6_only = with_next_hop(peer_a(), B6);
    ipv6_only.families = Families::IPV6;
    world.command(a, add(peer_b()));
    world.command(b, add(ipv6_only));
    world.run(3 * SECOND);
    assert!(!world.is_up(a, "b"));
    let missed = |node: Node, ours: Families| {
        world.count(|it, event| {
            it == node
                && matches!(event, Event::OpenFailed {
                    reason: bgpd::DownReason::Failed(SessionError::NoCommonFamily { ours: it }), ..
                } if *it == ours)
        })
    };
    assert!(missed(a, Families::IPV4) + missed(b, Families::IPV6) > 0);
}

#[test]
fn prefix_lists_know_ipv6() {
    let (mut world, a, b) = pair6();
    let mut of_a = b6();
    of_a.import = list("in");
    let rule = |seq, decision, prefix: &str, le| Rule {
        seq,
        decision,
        prefix: net(prefix),
        ge: None,
        le,
    };
    let rules = vec![
        rule(10, Decision::Deny, "2001:db8:1:ff::/64", None),
        rule(20, Decision::Permit, "2001:db8:1::/48", Some(64)),
        rule(30, Decision::Permit, "0.0.0.0/0", Some(32)),
    ];
    world.command(
        a,
        Command::SetPolicy(vec![PrefixList::new("in", rules)].into()),
    );
    start(&mut world, (a, of_a), (b, a6()));
    let told = ["2001:db8:1::/48", "2001:db8:1:ff::/64", "2001:db8:2::/48"];
    world.command(b, routes(&told));
    world.run(SECOND);
    let verdicts: Vec<bool> = (world.speaker(a).received("b").unwrap().iter())
        .map(|route| matches!(route.verdict, Verdict::Accepted(_)))
        .collect();
    assert_eq!(verdicts, [true, false, false]);
    assert!(via(&world, a, "2001:db8:1::/48").is_some());
}

#[test]
fn what_no_ipv6_packet_can_be_for_is_refused() {
    let (mut world, a, b) = pair6();
    start(&mut world, (a, b6()), (b, a6()));
    let martians = ["::1/128", "::ffff:10.0.0.0/104", "fe80::/64", "ff02::/16"];
    world.command(b, routes(&martians));
    world.run(SECOND);
    for route in world.speaker(a).received("b").unwrap() {
        let verdict = route.verdict;
        assert_eq!(
            verdict,
            Verdict::Refused(Refusal::Martian),
            "{}",
            route.prefix
        );
    }
    assert_eq!(world.received(a, "b").len(), martians.len());
    world.command(b, routes(&["::/0"]));
    world.run(SECOND);
    assert!(via(&world, a, "::/0").is_some(), "a default route is none");
}

#[test]
fn a_default_route_of_ours_is_told_for_each_family() {
    let (mut world, a, b) = pair6();
    let mut of_a = both(b6());
    of_a.default_originate = Some(bgpd::DefaultOriginate::Always);
    start(&mut world, (a, of_a), (b, both(a6())));
    assert_eq!(world.received(b, "a"), ["0.0.0.0/0", "::/0"]);
}

#[test]
fn the_limit_of_prefixes_is_each_familys_own() {
    let (mut world, a, b) = pair6();
    let mut of_a = both(b6());
    of_a.max_prefixes_in = PrefixLimit {
        max: 2,
        over: OverLimit::Shutdown { restart: None },
    };
    start(&mut world, (a, of_a), (b, both(a6())));
    let two = [
        "10.1.0.0/16",
        "10.2.0.0/16",
        "2001:db8:1::/48",
        "2001:db8:2::/48",
    ];
    world.command(b, routes(&two));
    world.run(SECOND);
    assert_eq!(world.received(a, "b").len(), 4);
    assert_eq!(world.downs(), 0);
    let three: Vec<&str> = two.into_iter().chain(["2001:db8:3::/48"]).collect();
    world.command(b, routes(&three));
    world.run(SECOND);
    let told = |event: &Event| match event {
        Event::PeerDown { reason, .. } => reason.to_string().contains("3 prefixes of IPv6 unicast"),
        _ => false,
    };
    assert_eq!(world.count(|node, event| node == a && told(event)), 1);
}

#[test]
fn each_family_is_swept_at_its_own_end_of_rib_after_a_restart() {
    let (mut world, a, b) = pair6();
    let (of_a, of_b) = (graceful(both(b6())), graceful(both(a6())));
    start(&mut world, (a, of_a), (b, of_b.clone()));
    let all = [
        "10.1.0.0/16",
        "10.2.0.0/16",
        "2001:db8:1::/48",
        "2001:db8:2::/48",
    ];
    world.command(b, routes(&all));
    world.run(SECOND);
    world.changes.clear();
    world.restart(b, config_b(), true, Some(60 * SECOND));
    world.run(SECOND / 10);
    assert_eq!(stale(&world, a, "b"), 4);
    assert_eq!(world.received(a, "b").len(), 4);
    world.command(b, add(of_b));
    world.command(b, routes(&["10.1.0.0/16", "2001:db8:1::/48"]));
    world.run(20 * SECOND);
    assert_eq!(world.received(a, "b"), ["10.1.0.0/16", "2001:db8:1::/48"]);
    assert_eq!(
        swept(&world, a),
        [(1, StaleEnd::EndOfRib), (1, StaleEnd::EndOfRib)]
    );
    assert_eq!(stale(&world, a, "b"), 0);
    // What was taught again never left the kernel.
    let gone = |prefix: &str| {
        let mut changes = world.changes.iter();
        changes.any(|(node, it)| *node == a && it.prefix == net(prefix) && it.next_hops.is_empty())
    };
    assert!(!gone("2001:db8:1::/48") && gone("2001:db8:2::/48"));
}

#[test]
fn a_family_whose_forwarding_is_not_kept_goes_with_the_session() {
    let (mut world, a, b) = pair6();
    // The peer keeps up what it has agreed on, and has nothing of IPv4 to keep.
    let (of_a, of_b) = (graceful(both(b6())), graceful(a6()));
    start(&mut world, (a, of_a), (b, of_b));
    world.command(b, routes(&["2001:db8:1::/48"]));
    world.run(SECOND);
    world.restart(b, config_b(), true, None);
    world.run(SECOND);
    assert_eq!(stale(&world, a, "b"), 1);
    world.run(Duration::from_secs(61));
    assert_eq!(swept(&world, a), [(1, StaleEnd::NotBack)]);
    assert!(world.received(a, "b").is_empty());
}

#[test]
fn a_refresh_of_one_family_sends_that_one_again() {
    let (mut world, a, b) = pair6();
    start(&mut world, (a, both(b6())), (b, both(a6())));
    world.command(b, routes(&["10.1.0.0/16", "2001:db8:1::/48"]));
    world.run(SECOND);
    let updates = |world: &World| {
        let view = world.speaker(a).neighbor(world.now, "b").unwrap();
        (
            view.messages_received.updates,
            view.messages_received.refreshes,
        )
    };
    let before = updates(&world);
    world.changes.clear();
    world.command(a, Command::RefreshPeer(name("b")));
    world.run(SECOND);
    let after = updates(&world);
    // One UPDATE, one beginning and one end for each family.
    assert_eq!((after.0 - before.0, after.1 - before.1), (2, 4));
    assert!(world.changes.is_empty());
    assert_eq!(world.received(a, "b").len(), 2);
}
