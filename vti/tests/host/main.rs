//! The reconciler against this machine's kernel, seen through `ip`. Needs root and iproute2.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what the tests share is test code too"
)]

mod flapping;
mod model;
mod namespaces;
mod policies;
mod sandbox;
mod watching;

use std::time::Instant;

use sandbox::{
    State, both, hop, ip, ip_json, name, net, route, sandbox, shown, sysctl, tunnels, two_tunnels,
};
use vti::{
    diff::Concern,
    host::Reconciler,
    kernel::KernelHost,
    observed::RouteStyle,
    op::Op,
    plan::{Desired, LinkDesired, NextHop, NextHopSet, RouteDesired, RouteKey},
};

#[test]
fn a_tunnel_gets_its_mark_its_mtu_and_the_even_address_of_a_31() {
    sandbox(async || {
        let _plane = tunnels(2);
        let state = State::new("even-address");
        let report = state.start().await.reconcile(&two_tunnels()).await.unwrap();
        assert!(
            report.is_settled() && report.concerns.is_empty(),
            "{report:?}"
        );

        let link = &ip_json("-d addr show dev tun1")[0];
        assert_eq!(link["ifalias"], "causeway:oci-1");
        assert_eq!(link["mtu"], 1400);
        assert!(
            link["flags"]
                .as_array()
                .unwrap()
                .iter()
                .any(|flag| flag == "UP")
        );
        assert_eq!(link["addr_info"][0]["local"], "10.1.0.0");
        assert_eq!(link["addr_info"][0]["prefixlen"], 31);
        assert_eq!(sysctl("net/ipv4/conf/tun1/rp_filter"), "2");

        let again = state.start().await.reconcile(&two_tunnels()).await.unwrap();
        assert_eq!(again.applied, []);
    });
}

#[test]
fn an_interface_that_is_not_there_yet_is_set_up_when_it_comes() {
    sandbox(async || {
        let state = State::new("not-there");
        let mut host = state.start().await;
        let desired = route(two_tunnels(), "10.20.0.0/16", &both());
        let report = host.reconcile(&desired).await.unwrap();
        assert!(report.is_settled());
        assert!(
            report
                .concerns
                .contains(&Concern::LinkMissing { dev: name("tun1") })
        );

        let _plane = tunnels(2);
        host.invalidate();
        let report = host.reconcile(&desired).await.unwrap();
        assert!(
            report.is_settled() && report.concerns.is_empty(),
            "{report:?}"
        );
        assert_eq!(shown("10.20.0.0/16"), ["10.1.0.1 tun1", "10.2.0.1 tun2"]);
    });
}

#[test]
fn a_route_with_one_next_hop_points_at_its_object() {
    sandbox(async || {
        let _plane = tunnels(2);
        let state = State::new("single");
        let desired = route(two_tunnels(), "10.20.0.0/16", &[hop("tun1", "10.1.0.1")]);
        assert!(
            state
                .start()
                .await
                .reconcile(&desired)
                .await
                .unwrap()
                .is_settled()
        );

        let shown = &ip_json("route show 10.20.0.0/16")[0];
        assert_eq!(shown["protocol"], "210");
        assert_eq!(shown["metric"], 20);
        assert_eq!(shown["gateway"], "10.1.0.1");
        assert_eq!(ip_json("nexthop show").len(), 1);
        assert_eq!(ip_json("nexthop show")[0]["id"], shown["nhid"]);
    });
}

#[test]
fn a_node_that_leaves_turns_three_next_hops_into_two_and_touches_no_route() {
    sandbox(async || {
        let state = State::new("nodes");
        let mut host = state.start().await;
        let nodes = ["192.168.1.11", "192.168.1.12", "192.168.1.13"].map(|n| hop("lan0", n));
        let three = route(Desired::default(), "10.99.0.1/32", &nodes);
        assert!(host.reconcile(&three).await.unwrap().is_settled());
        assert_eq!(shown("10.99.0.1").len(), 3);
        let id = ip_json("route show 10.99.0.1")[0]["nhid"].clone();

        let two = route(Desired::default(), "10.99.0.1/32", &nodes[..2]);
        let report = host.reconcile(&two).await.unwrap();

        assert!(
            matches!(
                report.applied[..],
                [Op::ReplaceGroup { .. }, Op::DelNexthop { .. }]
            ),
            "{report:?}"
        );
        assert_eq!(
            shown("10.99.0.1"),
            ["192.168.1.11 lan0", "192.168.1.12 lan0"]
        );
        assert_eq!(ip_json("route show 10.99.0.1")[0]["nhid"], id);
        host.invalidate();
        assert_eq!(host.reconcile(&two).await.unwrap().applied, []);
    });
}

#[test]
fn a_tunnel_that_dies_and_returns_costs_one_edit_each_for_a_thousand_routes() {
    sandbox(async || {
        let _plane = tunnels(2);
        let state = State::new("thousand");
        let mut host = state.start().await;
        assert!(
            host.reconcile(&many(1000, &both()))
                .await
                .unwrap()
                .is_settled()
        );
        assert_eq!(ip_json("route show proto 210").len(), 1000);

        let report = host.reconcile(&many(1000, &both()[1..])).await.unwrap();
        assert_eq!(report.applied.len(), 2, "{:?}", report.applied);
        assert_eq!(shown("10.64.3.7"), ["10.2.0.1 tun2"]);

        let report = host.reconcile(&many(1000, &both())).await.unwrap();
        assert_eq!(report.applied.len(), 2, "{:?}", report.applied);
        assert_eq!(shown("10.64.3.7").len(), 2);
        host.invalidate();
        assert_eq!(
            host.reconcile(&many(1000, &both())).await.unwrap().applied,
            []
        );
    });
}

#[test]
fn what_the_kernel_flushes_with_an_interface_comes_back_with_it() {
    sandbox(async || {
        let _plane = tunnels(2);
        let state = State::new("flap");
        let mut host = state.start().await;
        let desired = route(two_tunnels(), "10.20.0.0/16", &both());
        let desired = route(desired, "10.21.0.0/16", &both()[..1]);
        assert!(host.reconcile(&desired).await.unwrap().is_settled());
        for _ in 0..100 {
            ip("link set tun1 down");
            assert_eq!(shown("10.20.0.0/16"), ["10.2.0.1 tun2"]);
            host.invalidate();
            let report = host.reconcile(&desired).await.unwrap();
            assert!(report.is_settled(), "{report:?}");
            assert_eq!(shown("10.20.0.0/16").len(), 2);
            assert_eq!(shown("10.21.0.0/16"), ["10.1.0.1 tun1"]);
        }
        host.invalidate();
        assert_eq!(host.reconcile(&desired).await.unwrap().applied, []);
        assert!(ip_json("nexthop show").len() <= 4);
    });
}

#[test]
fn an_interface_that_loses_its_carrier_is_left_out_until_it_has_one() {
    sandbox(async || {
        let state = State::new("carrier");
        let mut host = state.start().await;
        let desired = route(
            Desired::default(),
            "10.99.0.1/32",
            &[hop("lan0", "192.168.1.11")],
        );
        ip("link set lan0p down");
        let report = host.reconcile(&desired).await.unwrap();
        assert!(report.is_settled() && report.applied.is_empty());
        assert_eq!(report.concerns.len(), 2);

        ip("link set lan0p up");
        host.invalidate();
        assert!(host.reconcile(&desired).await.unwrap().concerns.is_empty());
        assert_eq!(shown("10.99.0.1"), ["192.168.1.11 lan0"]);
    });
}

#[test]
fn routes_of_others_stay_and_one_with_our_key_is_reported() {
    sandbox(async || {
        ip("route add 10.20.0.0/16 via 192.168.1.99 metric 20 proto 186");
        ip("route add 10.21.0.0/16 via 192.168.1.99 metric 5");
        ip("nexthop add id 210000000 via 192.168.1.99 dev lan0 proto 186");
        let before = ip("route show proto 186") + &ip("nexthop show proto 186");
        let state = State::new("foreign");
        let mut host = state.start().await;
        let node = [hop("lan0", "192.168.1.11")];
        let desired = route(
            route(Desired::default(), "10.20.0.0/16", &node),
            "10.21.0.0/16",
            &node,
        );

        let report = host.reconcile(&desired).await.unwrap();
        let key = RouteKey::main(net("10.20.0.0/16"));
        assert_eq!(
            report.concerns,
            [Concern::RouteForeign { key, protocol: 186 }]
        );
        assert_eq!(shown("10.21.0.0/16"), ["192.168.1.11 lan0"]);
        host.reconcile(&Desired::default()).await.unwrap();

        assert_eq!(
            ip("route show proto 186") + &ip("nexthop show proto 186"),
            before
        );
        assert_eq!(ip_json("route show 10.21.0.0/16").len(), 1);
    });
}

#[test]
fn a_foreign_route_that_appears_in_between_is_not_overwritten() {
    sandbox(async || {
        let state = State::new("race");
        let mut host = state.start().await;
        host.reconcile(&Desired::default()).await.unwrap();
        ip("route add 10.20.0.0/16 via 192.168.1.99 metric 20 proto 186");

        let desired = route(
            Desired::default(),
            "10.20.0.0/16",
            &[hop("lan0", "192.168.1.11")],
        );
        let report = host.reconcile(&desired).await.unwrap();

        assert_eq!(report.failed.len(), 1);
        let text = report.failed[0].1.to_string();
        assert!(
            text.starts_with(
                "`ip route add 10.20.0.0/16 metric 20 proto 210 nhid 210000000`: EEXIST"
            ),
            "{text}"
        );
        assert!(
            text.contains("remove it, or give ours another metric"),
            "{text}"
        );
        let report = host.reconcile(&desired).await.unwrap();
        assert!(
            report.is_settled() && report.concerns.len() == 1,
            "{report:?}"
        );
        assert_eq!(ip_json("nexthop show").len(), 0);
    });
}

#[test]
fn after_a_crash_the_next_run_adopts_what_is_right_and_sweeps_the_rest() {
    sandbox(async || {
        let _plane = tunnels(2);
        let state = State::new("crash");
        let first = route(two_tunnels(), "10.20.0.0/16", &both());
        let first = route(first, "10.21.0.0/16", &both()).with_gateway_sysctls(false);
        assert!(
            state
                .start()
                .await
                .reconcile(&first)
                .await
                .unwrap()
                .is_settled()
        );

        let second = route(two_tunnels(), "10.20.0.0/16", &both()).with_gateway_sysctls(false);
        let report = state.start().await.reconcile(&second).await.unwrap();
        assert_eq!(
            report.applied,
            [Op::DelRoute {
                key: RouteKey::main(net("10.21.0.0/16"))
            }]
        );

        state
            .start()
            .await
            .reconcile(&Desired::default())
            .await
            .unwrap();
        assert!(ip_json("route show proto 210").is_empty());
        assert!(ip_json("nexthop show").is_empty());
        assert!(!ip("link show").contains("tun1"));
    });
}

#[test]
fn settings_are_given_back_even_by_a_later_run() {
    sandbox(async || {
        let state = State::new("settings");
        assert_eq!(sysctl("net/ipv4/ip_forward"), "0");
        let hash = sysctl("net/ipv4/fib_multipath_hash_policy");
        let desired = Desired::default().with_gateway_sysctls(true);
        state.start().await.reconcile(&desired).await.unwrap();
        assert_eq!(sysctl("net/ipv4/ip_forward"), "1");
        assert_eq!(sysctl("net/ipv4/fib_multipath_hash_policy"), "1");
        assert_eq!(sysctl("net/ipv6/conf/all/forwarding"), "1");
        assert!(state.exists());
        // A second run that finds them set must not take its own values for originals.
        state.start().await.reconcile(&desired).await.unwrap();

        state
            .start()
            .await
            .reconcile(&Desired::default())
            .await
            .unwrap();
        assert_eq!(sysctl("net/ipv4/ip_forward"), "0");
        assert_eq!(sysctl("net/ipv4/fib_multipath_hash_policy"), hash);
        assert_eq!(sysctl("net/ipv6/conf/all/forwarding"), "0");
        assert!(!state.exists());
    });
}

#[test]
fn an_address_can_be_moved_within_its_network() {
    sandbox(async || {
        let _plane = tunnels(1);
        let state = State::new("address");
        let mut host = state.start().await;
        let with = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|a| net(a));
            Desired::default().with_tunnel(name("tun1"), LinkDesired::new("one", 1400, addresses))
        };
        for addresses in [
            &["10.1.0.0/31"][..],
            &["10.1.0.1/31"],
            &["10.1.0.1/31", "10.1.0.0/31", "2001:db8::1/64"],
            &["10.1.0.0/31", "192.0.2.1/32"],
            &["10.1.0.0/30"],
        ] {
            assert!(host.reconcile(&with(addresses)).await.unwrap().is_settled());
            host.invalidate();
            let again = host.reconcile(&with(addresses)).await.unwrap();
            assert_eq!(again.applied, [], "{addresses:?}");
        }
    });
}

#[test]
fn weights_blackholes_tables_sources_and_ipv6_arrive_in_the_kernel() {
    sandbox(async || {
        let _plane = tunnels(2);
        ip("addr add 2001:db8:1::1/64 dev lan0 nodad");
        let state = State::new("kinds");
        let [one, two] = both();
        let weighted =
            NextHopSet::from([NextHop { weight: 200, ..one }, NextHop { weight: 3, ..two }]);
        let v6 = NextHop::via("2001:db8:1::2".parse().unwrap(), name("lan0"));
        let source = RouteDesired {
            prefsrc: Some("192.168.1.1".parse().unwrap()),
            ..RouteDesired::via([NextHop::dev(name("tun1"))])
        };
        let desired = two_tunnels()
            .with_route(
                RouteKey::main(net("10.20.0.0/16")),
                RouteDesired::via(weighted),
            )
            .with_route(
                RouteKey::main(net("10.21.0.0/16")),
                RouteDesired::blackhole(),
            )
            .with_route(
                RouteKey {
                    table: 1000,
                    ..RouteKey::main(net("0.0.0.0/0"))
                },
                source,
            )
            .with_route(
                RouteKey::main(net("2001:db8:2::/48")),
                RouteDesired::via([v6]),
            )
            .with_route(
                RouteKey::main(net("2001:db8:3::/48")),
                RouteDesired::blackhole(),
            );
        for style in [RouteStyle::NexthopObjects, RouteStyle::Multipath] {
            let mut host = styled(&state, style).await;
            let report = host.reconcile(&desired).await.unwrap();
            assert!(
                report.is_settled() && report.concerns.is_empty(),
                "{report:?}"
            );
            host.invalidate();
            let again = host.reconcile(&desired).await.unwrap();
            assert_eq!(again.applied, [], "{style:?}");

            let hops = &ip_json("route show 10.20.0.0/16")[0]["nexthops"];
            assert_eq!(
                (&hops[0]["weight"], &hops[1]["weight"]),
                (&200.into(), &3.into())
            );
            assert_eq!(ip_json("route show 10.21.0.0/16")[0]["type"], "blackhole");
            let table = ip("route show table 1000");
            assert!(
                table.contains("dev tun1") && table.contains("src 192.168.1.1"),
                "{table}"
            );
            let v6 = ip("-6 route show 2001:db8:2::/48");
            assert!(
                v6.contains("via 2001:db8:1::2 dev lan0") && v6.contains("metric 20"),
                "{v6}"
            );
        }
        assert!(ip_json("nexthop show").is_empty());
    });
}

#[test]
fn ten_thousand_routes_go_in_and_out_in_bulk() {
    sandbox(async || {
        let _plane = tunnels(2);
        let state = State::new("bulk");
        let mut host = state.start().await;
        host.reconcile(&two_tunnels()).await.unwrap();
        let desired = many(10_000, &both());

        let mut lap = Instant::now();
        let mut took = |what: &str| {
            println!("{what}: {:?}", lap.elapsed());
            lap = Instant::now();
        };
        assert!(host.plan(&desired).await.unwrap().ops.len() > 10_000);
        took("planned");
        assert!(host.reconcile(&desired).await.unwrap().is_settled());
        took("planned and 10000 routes added");
        assert_eq!(host.reconcile(&desired).await.unwrap().applied, []);
        took("found in order, from memory");
        host.invalidate();
        assert_eq!(host.reconcile(&desired).await.unwrap().applied, []);
        took("found in order, from the kernel");
        assert_eq!(
            host.reconcile(&many(10_000, &both()[1..]))
                .await
                .unwrap()
                .applied
                .len(),
            2
        );
        took("a tunnel's death");
        assert_eq!(
            host.reconcile(&two_tunnels()).await.unwrap().applied.len(),
            10_002
        );
        took("planned and 10000 routes deleted");
        assert!(ip_json("route show proto 210").is_empty());
    });
}

/// The host, also as it is on a kernel without nexthop objects.
async fn styled(state: &State, style: RouteStyle) -> Reconciler<KernelHost> {
    Reconciler::new(
        KernelHost::open(state.sysctls())
            .await
            .unwrap()
            .with_style(style),
    )
}

/// Two tunnels and that many routes by way of these next hops.
fn many(count: u32, hops: &[NextHop]) -> Desired {
    let set: NextHopSet = hops.iter().copied().collect();
    (0..count).fold(two_tunnels(), |desired, n| {
        let prefix = std::net::Ipv4Addr::from(0x0A40_0000 + n);
        let key = RouteKey::main(ipnet::IpNet::from(std::net::IpAddr::from(prefix)));
        desired.with_route(key, RouteDesired::via(set.clone()))
    })
}
