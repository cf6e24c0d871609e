//! The laws that hold for any host and any wish.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    observed::{Nexthop, RouteTarget},
    plan::{Forward, NextHopSet},
};

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
        // An interface that has to be made anew takes its routes along.
        prop_assume!(!plan.ops.iter().any(|op| matches!(op, Op::DelLink { dev } if desired.links.contains_key(dev))));
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
        prop_assert_eq!(&host.state.foreign_nexthops, &start.foreign_nexthops);
        let is_foreign = |(dev, link): &(&IfName, &LinkObserved)| {
            !link.is_ours() && !desired.links.get(*dev).is_some_and(|want| link.is_adoptable(want))
        };
        for (dev, link) in start.links.iter().filter(is_foreign) {
            prop_assert_eq!(host.state.links.get(dev), Some(link));
            for key in Sysctl::of_interface(*dev) {
                let follows = matches!(key, Sysctl::Forwarding(_)) || start.saved.contains_key(&key);
                prop_assert!(follows || host.state.sysctls.get(&key) == start.sysctls.get(&key), "{}", key);
            }
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
            (&link.addresses, link.mtu, link.up, &link.alias),
            (&want.addresses, want.mtu, true, &want.alias)
        );
        assert_eq!(link.fit(want.kind), crate::linkinfo::Fit::Same, "{dev}");
    }
    let is_foreign = |dev| state.links.get(&dev).is_some_and(|link| !link.is_ours());
    let forwards = desired.sysctls.contains_key(&Sysctl::Ipv4Forward);
    for (key, value) in &desired.sysctls {
        let counts = forwards || !matches!(key, Sysctl::Forwarding(_));
        if key.interface().is_some_and(is_foreign) || !counts {
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

/// TUNs mostly, and what the kernel encrypts.
fn kinds() -> Vec<LinkKind> {
    let remote = "198.51.100.1".parse().unwrap();
    let vti = |key, local: Option<&str>| LinkKind::Vti {
        key,
        local: local.map(|text| text.parse().unwrap()),
        remote,
    };
    let of_the_kernel = [
        vti(1, None),
        vti(1, Some("192.0.2.1")),
        vti(2, Some("192.0.2.1")),
        LinkKind::Xfrm { if_id: 1 },
        LinkKind::Xfrm { if_id: 2 },
    ];
    [vec![LinkKind::Tun; 10], of_the_kernel.to_vec()].concat()
}

fn wishes() -> impl Strategy<Value = Desired> {
    let addresses = ["10.1.0.0/31", "10.1.0.0/30", "10.2.0.0/31", "192.0.2.1/32"].map(net);
    let link = (
        prop::sample::subsequence(addresses.to_vec(), 0..=4),
        1280..1283_u32,
    )
        .prop_map(|(addresses, mtu)| LinkDesired::new("any", mtu, addresses));
    let link = (link, prop::sample::select(kinds())).prop_map(|(link, kind)| link.of(kind));
    let links = prop::collection::btree_map(
        prop::sample::select(vec!["tun1", "tun2", "tun3", "cw0"]),
        link,
        0..5,
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
    let chaos = prop::collection::vec((0..12_u8, any::<prop::sample::Index>()), 0..4);
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
        5 => {
            state.sysctls.insert(Sysctl::Ipv4Forward, "1".into());
        }
        6 => {
            if let Some(link) = state.links.get_mut(&dev) {
                link.make = Some(Make::of(kinds()[which.index(kinds().len())]));
            }
        }
        // What somebody else, or a person who prepares the host, makes.
        7 | 8 => {
            let made_of = kinds()[which.index(kinds().len())];
            let mut link = LinkObserved::made(made_of);
            if kind == 8 {
                link.addresses.insert(net("203.0.113.1/24"));
            }
            state.links.entry(name("cw0")).or_insert(link);
        }
        9 => {
            let made = LinkObserved {
                alias: "uplink".into(),
                ..LinkObserved::made(LinkKind::Xfrm { if_id: 1 })
            };
            state.links.entry(name("cw0")).or_insert(made);
        }
        10 => {
            if let Some(link) = state.links.get_mut(&dev) {
                link.addresses.insert(net("10.1.0.3/30"));
            }
        }
        _ => {
            state
                .foreign_nexthops
                .insert(NexthopId(210_000_000 + which.index(3) as u32 + 40));
        }
    }
}
