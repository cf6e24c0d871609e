//! Golden texts of operations, and the laws that hold for any host and any wish.

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::{
    fake::FakeHost,
    host::{Host as _, Reconciler},
    observed::{Nexthop, RouteStyle, RouteTarget},
    plan::{Forward, NextHop, NextHopSet, RouteDesired},
    sysctl::Saved,
};

#[test]
fn a_fresh_gateway_is_built_from_settings_to_routes() {
    let plan = diff(&gateway(), &reference_site());
    assert_snapshot!(text(&plan), @r"
        sysctl -w net.ipv4.ip_forward=1
        sysctl -w net.ipv4.fib_multipath_hash_policy=1
        sysctl -w net.ipv4.conf.tun1.rp_filter=2
        sysctl -w net.ipv4.conf.tun2.rp_filter=2
        ip link set dev tun1 alias causeway:oci-1
        ip link set dev tun1 mtu 1400
        ip address replace 10.1.0.0/31 dev tun1
        ip link set dev tun1 up
        ip link set dev tun2 alias causeway:oci-2
        ip link set dev tun2 mtu 1400
        ip address replace 10.2.0.0/31 dev tun2
        ip link set dev tun2 up
        ip nexthop add id 210000000 via 10.1.0.1 dev tun1 proto 210
        ip nexthop add id 210000001 via 10.2.0.1 dev tun2 proto 210
        ip nexthop add id 210000002 via 192.168.1.11 dev eth0 proto 210
        ip nexthop add id 210000003 via 192.168.1.12 dev eth0 proto 210
        ip nexthop add id 210000004 via 192.168.1.13 dev eth0 proto 210
        ip nexthop add id 210000005 group 210000000/210000001 proto 210
        ip nexthop add id 210000006 group 210000002/210000003/210000004 proto 210
        ip route add 10.99.0.1/32 metric 20 proto 210 nhid 210000006
        ip route add 10.20.0.0/16 metric 20 proto 210 nhid 210000005
        ip route add 10.21.0.0/16 metric 20 proto 210 nhid 210000005
    ");
}

#[test]
fn a_tunnels_death_edits_one_group_and_no_route() {
    let mut host = settled(reference_site());
    host.state.delete_link(&name("tun1")).unwrap();
    host.state.links.insert(
        name("tun1"),
        LinkObserved {
            carrier: false,
            ..tun(7, true)
        },
    );
    // The kernel took the nexthop object away; the routes' group lives on with the other member.
    let plan = diff(&host.state, &reference_site());
    assert_snapshot!(text(&plan), @r"
        ip link set dev tun1 alias causeway:oci-1
        ip link set dev tun1 mtu 1400
        ip address replace 10.1.0.0/31 dev tun1
        ! next hop via 10.1.0.1 dev tun1 left out of 2 route(s): its interface has no carrier
    ");

    // The same without the kernel's help: BGP withdraws what came through the tunnel.
    let mut host = settled(reference_site());
    let only_tun2 = with_routes(reference_site(), &[hop("tun2", "10.2.0.1")]);
    let plan = diff(&host.state, &only_tun2);
    assert_snapshot!(text(&plan), @r"
        ip nexthop replace id 210000005 group 210000001 proto 210
        ip nexthop del id 210000000
    ");
    apply(&mut host, &plan);

    let plan = diff(&host.state, &reference_site());
    assert_snapshot!(text(&plan), @r"
        ip nexthop add id 210000000 via 10.1.0.1 dev tun1 proto 210
        ip nexthop replace id 210000005 group 210000000/210000001 proto 210
    ");
}

#[test]
fn one_route_that_leaves_a_group_does_not_drag_the_others_along() {
    let host = settled(reference_site());
    let mut desired = reference_site();
    let key = RouteKey::main(net("10.20.0.0/16"));
    desired
        .routes
        .insert(key, RouteDesired::via([hop("tun1", "10.1.0.1")]));
    assert_snapshot!(text(&diff(&host.state, &desired)), @r"
        ip route replace 10.20.0.0/16 metric 20 proto 210 nhid 210000000
    ");
}

#[test]
fn asking_for_nothing_removes_all_that_is_ours_and_gives_settings_back() {
    let mut host = settled(reference_site());
    let plan = diff(&host.state, &Desired::default());
    assert_snapshot!(text(&plan), @r"
        ip route del 10.20.0.0/16 metric 20 proto 210
        ip route del 10.21.0.0/16 metric 20 proto 210
        ip route del 10.99.0.1/32 metric 20 proto 210
        ip nexthop del id 210000005
        ip nexthop del id 210000006
        ip nexthop del id 210000000
        ip nexthop del id 210000001
        ip nexthop del id 210000002
        ip nexthop del id 210000003
        ip nexthop del id 210000004
        ip link del dev tun1
        ip link del dev tun2
        sysctl -w net.ipv4.ip_forward=0
        sysctl -w net.ipv4.fib_multipath_hash_policy=0
        # net.ipv4.conf.tun1.rp_filter: no longer ours to give back
        # net.ipv4.conf.tun2.rp_filter: no longer ours to give back
    ");
    apply(&mut host, &plan);
    assert_snapshot!(host.render(), @r"
        sysctl net.ipv4.ip_forward = 0
        sysctl net.ipv6.conf.all.forwarding = 0
        sysctl net.ipv4.fib_multipath_hash_policy = 0
        sysctl net.ipv6.fib_multipath_hash_policy = 0
        link eth0  up mtu 1500 192.168.1.1/24
    ");
}

#[test]
fn a_foreign_route_with_the_same_key_is_reported_and_left_alone() {
    let mut state = gateway();
    state
        .foreign_routes
        .insert(RouteKey::main(net("10.20.0.0/16")), 186);
    let plan = diff(&state, &reference_site());
    assert_eq!(
        plan.concerns,
        [Concern::RouteForeign {
            key: RouteKey::main(net("10.20.0.0/16")),
            protocol: 186
        }]
    );
    assert!(
        !plan
            .ops
            .iter()
            .any(|op| op.to_string().contains("10.20.0.0/16"))
    );
}

#[test]
fn an_interface_that_is_not_there_or_not_ours_is_a_concern_and_nothing_more() {
    let mut state = gateway();
    state.links.remove(&name("tun1"));
    state.links.insert(
        name("tun2"),
        LinkObserved {
            kind: "vlan".into(),
            ..tun(9, true)
        },
    );
    let plan = diff(&state, &reference_site());
    assert_snapshot!(text(&plan), @r"
        sysctl -w net.ipv4.ip_forward=1
        sysctl -w net.ipv4.fib_multipath_hash_policy=1
        sysctl -w net.ipv4.conf.tun1.rp_filter=2
        ip nexthop add id 210000000 via 192.168.1.11 dev eth0 proto 210
        ip nexthop add id 210000001 via 192.168.1.12 dev eth0 proto 210
        ip nexthop add id 210000002 via 192.168.1.13 dev eth0 proto 210
        ip nexthop add id 210000003 group 210000000/210000001/210000002 proto 210
        ip route add 10.99.0.1/32 metric 20 proto 210 nhid 210000003
        ! interface tun1 does not exist yet
        ! interface tun2 (vlan, alias ``) is not ours: left alone; give the tunnel another interface name
        ! route 10.20.0.0/16 metric 20 not installed: none of its next hops can be used
        ! route 10.21.0.0/16 metric 20 not installed: none of its next hops can be used
        ! next hop via 10.1.0.1 dev tun1 left out of 2 route(s): its interface does not exist
        ! next hop via 10.2.0.1 dev tun2 left out of 2 route(s): its gateway is on no network of its interface
    ");
}

#[test]
fn an_address_that_shares_its_network_with_the_new_one_goes_first() {
    let mut host = settled(reference_site());
    let mut desired = reference_site();
    let link = desired.links.get_mut(&name("tun1")).unwrap();
    link.addresses = [net("10.1.0.1/31"), net("192.0.2.1/32")].into();
    desired.routes.clear();
    host.state.routes.clear();
    host.state.nexthops.clear();
    assert_snapshot!(text(&diff(&host.state, &desired)), @r"
        ip address del 10.1.0.0/31 dev tun1
        ip address replace 10.1.0.1/31 dev tun1
        ip address replace 192.0.2.1/32 dev tun1
    ");
}

#[test]
fn a_kernel_without_nexthop_objects_gets_multipath_routes() {
    let state = Observed {
        style: RouteStyle::Multipath,
        ..gateway()
    };
    let plan = diff(&state, &reference_site());
    let routes = plan
        .ops
        .iter()
        .map(ToString::to_string)
        .filter(|op| op.starts_with("ip route"));
    assert_snapshot!(routes.collect::<Vec<_>>().join("\n"), @r"
        ip route add 10.99.0.1/32 metric 20 proto 210 nexthop via 192.168.1.11 dev eth0 weight 1 nexthop via 192.168.1.12 dev eth0 weight 1 nexthop via 192.168.1.13 dev eth0 weight 1
        ip route add 10.20.0.0/16 metric 20 proto 210 nexthop via 10.1.0.1 dev tun1 weight 1 nexthop via 10.2.0.1 dev tun2 weight 1
        ip route add 10.21.0.0/16 metric 20 proto 210 nexthop via 10.1.0.1 dev tun1 weight 1 nexthop via 10.2.0.1 dev tun2 weight 1
    ");
}

#[test]
fn a_source_address_that_is_not_this_hosts_is_left_out_and_reported() {
    let mut desired = reference_site();
    let source = Some("203.0.113.1".parse().unwrap());
    desired
        .routes
        .values_mut()
        .for_each(|route| route.prefsrc = source);
    let plan = diff(&gateway(), &desired);
    let concern = "source address 203.0.113.1 is not one of this host's: left out of 3 route(s)";
    assert_eq!(
        plan.concerns
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [concern]
    );
    assert_eq!(diff(&gateway(), &reference_site()).ops, plan.ops);
}

#[test]
fn a_setting_that_somebody_changed_after_us_is_left_as_it_is() {
    let mut host = settled(reference_site());
    host.state.sysctls.insert(Sysctl::Ipv4Forward, "0".into());
    host.state.saved.insert(
        Sysctl::Ipv4Forward,
        Saved {
            original: "0".into(),
            ours: "1".into(),
        },
    );
    let plan = diff(&host.state, &Desired::default());
    assert!(plan.ops.contains(&Op::ForgetSysctl {
        key: Sysctl::Ipv4Forward
    }));
}

#[tokio::test]
async fn after_a_failure_nothing_is_cleared_away_and_the_next_run_finishes() {
    let before = settled(reference_site());
    let mut desired = reference_site();
    desired.routes.clear();
    let key = RouteKey::main(net("10.20.0.0/16"));
    desired
        .routes
        .insert(key, RouteDesired::via([hop("tun1", "10.1.0.1")]));
    desired.routes.insert(
        RouteKey::main(net("10.30.0.0/16")),
        RouteDesired::blackhole(),
    );

    let mut host = Reconciler::new(FakeHost {
        budget: Some(0),
        ..before.clone()
    });
    let report = host.reconcile(&desired).await.unwrap();
    assert!(report.applied.is_empty() && !report.is_settled());
    assert!(
        report
            .deferred
            .iter()
            .all(|op| matches!(op, Op::DelNexthop { .. }))
    );
    assert!(!report.deferred.is_empty());
    assert_eq!(host.host().state, before.state);

    host.host().budget = None;
    assert!(host.reconcile(&desired).await.unwrap().is_settled());
    assert_eq!(host.reconcile(&desired).await.unwrap().applied, []);
}

#[tokio::test]
async fn the_reconciler_believes_what_the_host_then_shows() {
    let mut host = Reconciler::new(FakeHost::new(gateway()));
    host.reconcile(&reference_site()).await.unwrap();
    host.reconcile(&with_routes(reference_site(), &[hop("tun2", "10.2.0.1")]))
        .await
        .unwrap();
    let believed = host.believed().cloned().unwrap();
    assert_eq!(host.host().observe().await.unwrap(), believed);
}

proptest! {
    #[test]
    fn from_any_state_the_host_arrives_and_stays(start in states(), desired in wishes()) {
        let mut host = FakeHost::new(start);
        let plan = diff(&host.state, &desired);
        apply(&mut host, &plan);
        assert_is(&host.state, &desired, &plan);
        prop_assert_eq!(diff(&host.state, &desired).ops, []);
    }

    #[test]
    fn any_prefix_of_the_operations_leads_to_the_same_end(
        start in states(), desired in wishes(), cut in any::<prop::sample::Index>(),
    ) {
        let mut host = FakeHost::new(start);
        let mut plan = diff(&host.state, &desired);
        plan.ops.truncate(cut.index(plan.ops.len() + 1));
        apply(&mut host, &plan);
        let rest = diff(&host.state, &desired);
        apply(&mut host, &rest);
        assert_is(&host.state, &desired, &rest);
        prop_assert_eq!(diff(&host.state, &desired).ops, []);
    }

    #[test]
    fn a_route_that_stays_is_never_absent_and_never_half_changed(
        start in states(), desired in wishes(),
    ) {
        let mut state = start.clone();
        let plan = diff(&state, &desired);
        let end = { let mut end = FakeHost::new(start.clone()); apply(&mut end, &plan); end.state };
        for op in &plan.ops {
            state.apply(op).unwrap();
            for key in start.routes.keys().filter(|key| end.routes.contains_key(key)) {
                let now = state.routes.get(key).map(|route| expand(&state, &route.target));
                let allowed = [&start, &end].map(|s| Some(expand(s, &s.routes[key].target)));
                prop_assert!(allowed.contains(&now), "{op}: {key} is {now:?}, not of {allowed:?}");
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_not_touched(start in states(), desired in wishes()) {
        let mut host = FakeHost::new(start.clone());
        let plan = diff(&host.state, &desired);
        apply(&mut host, &plan);
        prop_assert_eq!(&host.state.foreign_routes, &start.foreign_routes);
        for (dev, link) in start.links.iter().filter(|(_, link)| !link.is_adoptable()) {
            prop_assert_eq!(host.state.links.get(dev), Some(link));
        }
    }

    #[test]
    fn asking_for_nothing_leaves_nothing(start in states()) {
        let mut host = FakeHost::new(start.clone());
        let plan = diff(&host.state, &Desired::default());
        apply(&mut host, &plan);
        let state = &host.state;
        prop_assert!(state.routes.is_empty() && state.nexthops.is_empty() && state.saved.is_empty());
        prop_assert!(!state.links.values().any(LinkObserved::is_ours));
        for (key, saved) in &start.saved {
            if start.sysctls.get(key) == Some(&saved.ours) && state.sysctls.contains_key(key) {
                prop_assert_eq!(&state.sysctls[key], &saved.original);
            }
        }
    }
}

/// Applies all operations; none may be refused.
fn apply(host: &mut FakeHost, plan: &Plan) {
    for op in &plan.ops {
        if let Err(errno) = host.state.apply(op) {
            panic!("{op}: {errno}\n{}", host.render());
        }
    }
}

/// The host is as desired, apart from what the plan was concerned about.
fn assert_is(state: &Observed, desired: &Desired, plan: &Plan) {
    let withheld = |key: &RouteKey| {
        plan.concerns.iter().any(|concern| match concern {
            Concern::RouteWithheld { key: k } | Concern::RouteForeign { key: k, .. } => k == key,
            _ => false,
        })
    };
    let unusable = |hop: &Hop| {
        plan.concerns
            .iter()
            .any(|c| matches!(c, Concern::HopUnusable { hop: h, .. } if h == hop))
    };
    let expected: BTreeMap<RouteKey, BTreeSet<NextHop>> = desired
        .routes
        .iter()
        .filter(|(key, _)| !withheld(key))
        .map(|(key, route)| match &route.forward {
            Forward::Blackhole => (*key, BTreeSet::new()),
            Forward::Unicast(set) => (
                *key,
                lone(set.iter().filter(|h| !unusable(&h.hop)).copied().collect()),
            ),
        })
        .collect();
    let actual: BTreeMap<RouteKey, BTreeSet<NextHop>> = state
        .routes
        .iter()
        .map(|(key, route)| (*key, expand(state, &route.target)))
        .collect();
    assert_eq!(actual, expected);
    let referred: BTreeSet<NexthopId> = state
        .routes
        .values()
        .filter_map(|route| match route.target {
            RouteTarget::Nexthop(id) => Some(id),
            _ => None,
        })
        .flat_map(|id| match &state.nexthops[&id] {
            Nexthop::Group(members) => members.iter().map(|m| m.id).chain([id]).collect(),
            _ => vec![id],
        })
        .collect();
    assert_eq!(
        state.nexthops.keys().copied().collect::<BTreeSet<_>>(),
        referred
    );
    for (dev, link) in state.links.iter().filter(|(_, link)| link.is_ours()) {
        let want = &desired.links[dev];
        assert_eq!(
            (&link.addresses, link.mtu, link.up),
            (&want.addresses, want.mtu, true)
        );
    }
    let is_foreign = |dev| {
        state
            .links
            .get(&dev)
            .is_some_and(|link| !link.is_adoptable())
    };
    for (key, value) in &desired.sysctls {
        if key.interface().is_some_and(is_foreign) {
            continue;
        }
        assert!(
            state.sysctls.get(key).is_none_or(|now| now == value),
            "{key}"
        );
    }
}

/// The next hops that packets really take.
fn expand(state: &Observed, target: &RouteTarget) -> BTreeSet<NextHop> {
    let single = |id: &NexthopId, weight| match &state.nexthops[id] {
        Nexthop::Single(hop) => NextHop { hop: *hop, weight },
        other => panic!("{id} is {other:?}"),
    };
    lone(match target {
        RouteTarget::Blackhole | RouteTarget::Unknown => BTreeSet::new(),
        RouteTarget::Inline(hops) => hops.iter().copied().collect(),
        RouteTarget::Nexthop(id) => match &state.nexthops[id] {
            Nexthop::Group(members) => members.iter().map(|m| single(&m.id, m.weight)).collect(),
            _ => [single(id, 1)].into(),
        },
    })
}

/// The weight of one alone does not matter.
fn lone(mut hops: BTreeSet<NextHop>) -> BTreeSet<NextHop> {
    if hops.len() == 1 {
        hops = hops
            .into_iter()
            .map(|h| NextHop { weight: 1, ..h })
            .collect();
    }
    hops
}

fn text(plan: &Plan) -> String {
    let ops = plan.ops.iter().map(ToString::to_string);
    let concerns = plan.concerns.iter().map(|concern| format!("! {concern}"));
    ops.chain(concerns).collect::<Vec<_>>().join("\n")
}

fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

fn hop(dev: &str, via: &str) -> NextHop {
    NextHop::via(via.parse().unwrap(), name(dev))
}

fn tun(index: u32, up: bool) -> LinkObserved {
    LinkObserved {
        index,
        kind: "tun".into(),
        mtu: 1500,
        up,
        carrier: up,
        ..LinkObserved::default()
    }
}

/// A host with a LAN, two tunnel interfaces as the data plane leaves them, and strict filtering.
fn gateway() -> Observed {
    let lan = LinkObserved {
        index: 2,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: [net("192.168.1.1/24")].into(),
        on_link: [net("192.168.1.0/24")].into(),
        ..LinkObserved::default()
    };
    let mut sysctls = BTreeMap::new();
    for key in Sysctl::GLOBAL {
        sysctls.insert(key, "0".to_owned());
    }
    for dev in ["tun1", "tun2"] {
        sysctls.insert(Sysctl::RpFilter(name(dev)), "1".to_owned());
    }
    Observed {
        links: [
            (name("eth0"), lan),
            (name("tun1"), tun(7, false)),
            (name("tun2"), tun(8, false)),
        ]
        .into(),
        sysctls,
        ..Observed::default()
    }
}

/// Two tunnels, two networks behind both of them, one route over three Kubernetes nodes.
fn reference_site() -> Desired {
    let site = Desired::default()
        .with_gateway_sysctls(false)
        .with_tunnel(
            name("tun1"),
            LinkDesired::new("oci-1", 1400, [net("10.1.0.0/31")]),
        )
        .with_tunnel(
            name("tun2"),
            LinkDesired::new("oci-2", 1400, [net("10.2.0.0/31")]),
        );
    let nodes = ["192.168.1.11", "192.168.1.12", "192.168.1.13"].map(|node| hop("eth0", node));
    with_routes(site, &[hop("tun1", "10.1.0.1"), hop("tun2", "10.2.0.1")]).with_route(
        RouteKey::main(net("10.99.0.1/32")),
        RouteDesired::via(nodes),
    )
}

fn with_routes(site: Desired, hops: &[NextHop]) -> Desired {
    let set: NextHopSet = hops.iter().copied().collect();
    site.with_route(
        RouteKey::main(net("10.20.0.0/16")),
        RouteDesired::via(set.clone()),
    )
    .with_route(RouteKey::main(net("10.21.0.0/16")), RouteDesired::via(set))
}

fn settled(desired: Desired) -> FakeHost {
    let mut host = FakeHost::new(gateway());
    let plan = diff(&host.state, &desired);
    apply(&mut host, &plan);
    host
}

/// Any next hop that a site could name, also ones that can't be used.
fn next_hops() -> impl Strategy<Value = NextHopSet> {
    let hops = vec![
        hop("tun1", "10.1.0.1"),
        hop("tun2", "10.2.0.1"),
        hop("eth0", "192.168.1.11"),
        hop("eth0", "192.168.1.12"),
        hop("eth0", "203.0.113.9"),
        hop("gone0", "192.0.2.1"),
        NextHop::dev(name("tun2")),
        NextHop {
            weight: 3,
            ..hop("tun1", "10.1.0.1")
        },
    ];
    prop::sample::subsequence(hops, 1..=4).prop_map(|hops| hops.into_iter().collect())
}

fn wishes() -> impl Strategy<Value = Desired> {
    let addresses = ["10.1.0.0/31", "10.1.0.0/30", "10.2.0.0/31", "192.0.2.1/32"].map(net);
    let link = (
        prop::sample::subsequence(addresses.to_vec(), 0..=4),
        1280..1283_u32,
    )
        .prop_map(|(addresses, mtu)| LinkDesired::new("any", mtu, addresses));
    let links = prop::collection::btree_map(
        prop::sample::select(vec!["tun1", "tun2", "tun3"]),
        link,
        0..4,
    );
    let prefixes = [
        "10.20.0.0/16",
        "10.21.0.0/16",
        "10.22.0.0/16",
        "10.99.0.1/32",
        "0.0.0.0/0",
    ];
    let route = prop_oneof![
        8 => next_hops().prop_map(RouteDesired::via),
        1 => Just(RouteDesired::blackhole()),
    ];
    let sources = ["192.168.1.1", "10.1.0.0", "192.0.2.1"].map(|s| s.parse().ok());
    let route = (
        route,
        prop::sample::select([sources.to_vec(), vec![None; 6]].concat()),
    )
        .prop_map(|(route, prefsrc)| RouteDesired { prefsrc, ..route });
    let routes = prop::collection::btree_map(prop::sample::select(prefixes.to_vec()), route, 0..6);
    (links, routes, any::<bool>()).prop_map(|(links, routes, gateway)| {
        let mut desired = Desired::default();
        if gateway {
            desired = desired.with_gateway_sysctls(true);
        }
        for (dev, link) in links {
            desired = desired.with_tunnel(name(dev), link);
        }
        for (prefix, route) in routes {
            desired = desired.with_route(RouteKey::main(net(prefix)), route);
        }
        desired
    })
}

/// Hosts in the middle of something: a run got part of the way, then the world changed.
fn states() -> impl Strategy<Value = Observed> {
    let chaos = prop::collection::vec((0..6_u8, any::<prop::sample::Index>()), 0..4);
    let style =
        prop_oneof![4 => Just(RouteStyle::NexthopObjects), 1 => Just(RouteStyle::Multipath)];
    (
        wishes(),
        wishes(),
        any::<prop::sample::Index>(),
        chaos,
        style,
    )
        .prop_map(|(first, second, cut, chaos, style)| {
            let mut host = FakeHost::new(Observed { style, ..gateway() });
            let plan = diff(&host.state, &first);
            apply(&mut host, &plan);
            let mut plan = diff(&host.state, &second);
            plan.ops.truncate(cut.index(plan.ops.len() + 1));
            apply(&mut host, &plan);
            for (kind, which) in chaos {
                disturb(&mut host.state, kind, which);
            }
            host.state
        })
}

fn disturb(state: &mut Observed, kind: u8, which: prop::sample::Index) {
    let dev = name(["tun1", "tun2", "eth0"][which.index(3)]);
    let prefixes = ["10.20.0.0/16", "10.99.0.1/32"].map(net);
    match kind {
        0 => state.flush_device(&dev),
        1 => drop(state.delete_link(&dev)),
        2 => {
            state.routes.pop_first();
        }
        3 => {
            let key = RouteKey::main(prefixes[which.index(2)]);
            if !state.routes.contains_key(&key) {
                state.foreign_routes.insert(key, 186);
            }
        }
        4 => {
            if let Some(link) = state.links.get_mut(&name("tun1")) {
                link.alias = "somebody else's".into();
            }
        }
        _ => {
            state.sysctls.insert(Sysctl::Ipv4Forward, "1".into());
        }
    }
}
