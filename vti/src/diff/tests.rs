//! Golden texts of operations.

use std::collections::BTreeMap;

mod laws;

use insta::assert_snapshot;
use ipnet::IpNet;

use super::*;
use crate::{
    fake::FakeHost,
    host::{Host as _, Reconciler},
    linkinfo::Make,
    observed::{LinkObserved, RouteStyle},
    plan::{LinkDesired, LinkKind, NextHop, NextHopSet, RouteDesired},
    sysctl::Saved,
};

#[test]
fn a_fresh_gateway_is_built_from_settings_to_routes() {
    let plan = diff(&gateway(), &reference_site());
    assert_snapshot!(text(&plan), @r"
        sysctl -w net.ipv4.ip_forward=1
        sysctl -w net.ipv4.fib_multipath_hash_policy=1
        ip link set dev tun1 alias causeway:oci-1
        sysctl -w net.ipv4.conf.tun1.rp_filter=2
        ip link set dev tun1 mtu 1400
        ip address replace 10.1.0.0/31 dev tun1
        ip link set dev tun1 up
        ip link set dev tun2 alias causeway:oci-2
        sysctl -w net.ipv4.conf.tun2.rp_filter=2
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
        sysctl net.ipv4.conf.default.rp_filter = 1
        sysctl net.ipv4.conf.default.disable_policy = 0
        sysctl net.ipv4.conf.default.disable_xfrm = 0
        sysctl net.ipv4.conf.default.forwarding = 0
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
            make: None,
            ..tun(9, true)
        },
    );
    let plan = diff(&state, &reference_site());
    assert_snapshot!(text(&plan), @r"
        sysctl -w net.ipv4.ip_forward=1
        sysctl -w net.ipv4.fib_multipath_hash_policy=1
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

/// A tunnel on each kind of interface that the kernel encrypts for, and a route over both.
fn kernel_site() -> Desired {
    let vti = LinkKind::Vti {
        key: 0xca05_0001,
        local: Some("192.0.2.1".parse().unwrap()),
        remote: "198.51.100.1".parse().unwrap(),
    };
    let xfrm = LinkKind::Xfrm { if_id: 0xca05_0002 };
    let link = |tunnel, address| LinkDesired::new(tunnel, 1400, [net(address)]);
    let site = Desired::default()
        .with_gateway_sysctls(false)
        .with_tunnel(name("tun1"), link("oci-1", "10.1.0.0/31").of(vti))
        .with_tunnel(name("tun2"), link("oci-2", "10.2.0.0/31").of(xfrm));
    with_routes(site, &[hop("tun1", "10.1.0.1"), hop("tun2", "10.2.0.1")])
}

/// A host on which nothing was ever made.
fn bare() -> Observed {
    let mut state = gateway();
    for dev in ["tun1", "tun2"] {
        state.delete_link(&name(dev)).unwrap();
    }
    state
}

#[test]
fn interfaces_that_the_kernel_encrypts_for_are_made_with_what_each_kind_needs() {
    let mut state = bare();
    for key in Sysctl::of_new_interfaces() {
        // A host that was hardened: nothing new is encrypted for, nor forwards.
        let hardened = matches!(key, Sysctl::DisableXfrm(_));
        state
            .sysctls
            .insert(key, if hardened { "1" } else { "0" }.into());
    }
    state.sysctls.insert(Sysctl::Ipv4Forward, "1".into());
    let plan = diff(&state, &kernel_site());
    assert_snapshot!(text(&plan), @r"
        sysctl -w net.ipv4.fib_multipath_hash_policy=1
        ip link add dev tun1 type vti local 192.0.2.1 remote 198.51.100.1 key 0xca050001
        ip link set dev tun1 alias causeway:oci-1
        sysctl -w net.ipv4.conf.tun1.rp_filter=2
        sysctl -w net.ipv4.conf.tun1.disable_policy=1
        sysctl -w net.ipv4.conf.tun1.disable_xfrm=0
        sysctl -w net.ipv4.conf.tun1.forwarding=1
        ip link set dev tun1 mtu 1400
        ip address replace 10.1.0.0/31 dev tun1
        ip link set dev tun1 up
        ip link add dev tun2 type xfrm dev lo if_id 0xca050002
        ip link set dev tun2 alias causeway:oci-2
        sysctl -w net.ipv4.conf.tun2.rp_filter=2
        sysctl -w net.ipv4.conf.tun2.disable_xfrm=0
        sysctl -w net.ipv4.conf.tun2.forwarding=1
        ip link set dev tun2 mtu 1400
        ip address replace 10.2.0.0/31 dev tun2
        ip link set dev tun2 up
        ip nexthop add id 210000000 via 10.1.0.1 dev tun1 proto 210
        ip nexthop add id 210000001 via 10.2.0.1 dev tun2 proto 210
        ip nexthop add id 210000002 group 210000000/210000001 proto 210
        ip route add 10.20.0.0/16 metric 20 proto 210 nhid 210000002
        ip route add 10.21.0.0/16 metric 20 proto 210 nhid 210000002
    ");
    let mut host = FakeHost::new(state);
    apply(&mut host, &plan);
    assert_eq!(text(&diff(&host.state, &kernel_site())), "");
}

#[test]
fn an_interface_of_the_kernels_that_somebody_deletes_is_made_again_with_all_that_was_on_it() {
    let mut host = FakeHost::new(bare());
    let plan = diff(&host.state, &kernel_site());
    apply(&mut host, &plan);
    host.state.delete_link(&name("tun2")).unwrap();
    assert_snapshot!(text(&diff(&host.state, &kernel_site())), @r"
        ip link add dev tun2 type xfrm dev lo if_id 0xca050002
        ip link set dev tun2 alias causeway:oci-2
        sysctl -w net.ipv4.conf.tun2.rp_filter=2
        ip link set dev tun2 mtu 1400
        ip address replace 10.2.0.0/31 dev tun2
        ip link set dev tun2 up
        ip nexthop add id 210000001 via 10.2.0.1 dev tun2 proto 210
        ip nexthop replace id 210000002 group 210000000/210000001 proto 210
    ");
}

#[test]
fn a_vti_changes_its_keys_and_addresses_in_place_and_anything_else_is_made_anew() {
    let mut host = FakeHost::new(bare());
    let plan = diff(&host.state, &kernel_site());
    apply(&mut host, &plan);
    let mut moved = kernel_site();
    let vti = LinkKind::Vti {
        key: 0xca05_0001,
        local: Some("203.0.113.7".parse().unwrap()),
        remote: "198.51.100.1".parse().unwrap(),
    };
    moved.links.get_mut(&name("tun1")).unwrap().kind = vti;
    moved.links.get_mut(&name("tun2")).unwrap().kind = LinkKind::Xfrm { if_id: 0xca05_0003 };
    let plan = diff(&host.state, &moved);
    assert_snapshot!(text(&plan), @r"
        ip link del dev tun2
        ip link change dev tun1 type vti local 203.0.113.7 remote 198.51.100.1 key 0xca050001
        ip link add dev tun2 type xfrm dev lo if_id 0xca050003
        ip link set dev tun2 alias causeway:oci-2
        sysctl -w net.ipv4.conf.tun2.rp_filter=2
        ip link set dev tun2 mtu 1400
        ip address replace 10.2.0.0/31 dev tun2
        ip link set dev tun2 up
        ip nexthop add id 210000001 via 10.2.0.1 dev tun2 proto 210
        ip nexthop replace id 210000002 group 210000000/210000001 proto 210
    ");
    apply(&mut host, &plan);
    assert_eq!(text(&diff(&host.state, &moved)), "");

    // While our own address is not known, whatever the interface has is right.
    let unknown = LinkKind::Vti {
        key: 0xca05_0001,
        local: None,
        remote: "198.51.100.1".parse().unwrap(),
    };
    moved.links.get_mut(&name("tun1")).unwrap().kind = unknown;
    assert_eq!(text(&diff(&host.state, &moved)), "");
}

#[test]
fn a_change_of_planes_replaces_what_the_other_plane_left_behind() {
    let host = settled(reference_site());
    let plan = diff(&host.state, &kernel_site());
    let words: Vec<String> = plan.ops.iter().map(ToString::to_string).take(5).collect();
    assert_snapshot!(words.join("\n"), @r"
        ip link del dev tun1
        ip link del dev tun2
        ip link add dev tun1 type vti local 192.0.2.1 remote 198.51.100.1 key 0xca050001
        ip link set dev tun1 alias causeway:oci-1
        sysctl -w net.ipv4.conf.tun1.rp_filter=2
    ");

    let mut host = FakeHost::new(bare());
    let plan = diff(&host.state, &kernel_site());
    apply(&mut host, &plan);
    let mut back = reference_site();
    back.routes.clear();
    // The data plane makes its TUNs; here, the names are set free for them.
    assert_snapshot!(text(&diff(&host.state, &back)), @r"
        ip link del dev tun1
        ip link del dev tun2
        # net.ipv4.conf.tun1.disable_policy: no longer ours to give back
        ! interface tun1 does not exist yet
        ! interface tun2 does not exist yet
    ");
}

#[test]
fn an_unmarked_interface_is_taken_over_only_if_it_is_exactly_what_is_wanted() {
    let with = |change: fn(&mut LinkObserved)| {
        let mut state = bare();
        let made = Op::AddLink {
            dev: name("tun2"),
            kind: LinkKind::Xfrm { if_id: 0xca05_0002 },
        };
        state.apply(&made).unwrap();
        change(state.links.get_mut(&name("tun2")).unwrap());
        let plan = diff(&state, &kernel_site());
        let touches = plan
            .ops
            .iter()
            .any(|op| op.to_string().starts_with("ip link") && op.to_string().contains("tun2"));
        assert_eq!(touches, !plan.adopted.is_empty());
        (
            plan.adopted,
            plan.concerns
                .iter()
                .map(ToString::to_string)
                .find(|text| text.contains("tun2 (")),
        )
    };
    let own = |link: &mut LinkObserved| link.addresses.extend([net("10.2.0.0/31")]);
    assert_eq!(with(|_| {}).0, [name("tun2")]);
    assert_eq!(with(own).0, [name("tun2")]);
    for (change, words) in [
        (
            (|link| link.addresses.extend([net("203.0.113.1/24")])) as fn(&mut LinkObserved),
            "interface tun2 (xfrm if_id 0xca050002, alias ``)",
        ),
        (
            |link| link.make = Some(Make::Xfrm { if_id: 9 }),
            "interface tun2 (xfrm if_id 0x9, alias ``)",
        ),
        (
            |link| link.alias = "uplink".into(),
            "interface tun2 (xfrm if_id 0xca050002, alias `uplink`)",
        ),
    ] {
        let (adopted, concern) = with(change);
        assert_eq!(adopted, []);
        assert!(
            concern
                .as_deref()
                .is_some_and(|text| text.starts_with(words)),
            "{concern:?}"
        );
    }
}

#[tokio::test]
async fn an_interface_stays_ours_whatever_somebody_writes_on_it() {
    let mut host = Reconciler::new(FakeHost::new(gateway()));
    host.reconcile(&reference_site()).await.unwrap();
    host.invalidate();
    host.reconcile(&reference_site()).await.unwrap();
    host.host()
        .state
        .links
        .get_mut(&name("tun1"))
        .unwrap()
        .alias = "mine now".into();
    host.invalidate();
    let report = host.reconcile(&reference_site()).await.unwrap();
    assert_eq!(
        report
            .applied
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["ip link set dev tun1 alias causeway:oci-1"]
    );

    // Another interface in its place is another interface.
    let other = LinkObserved {
        index: 99,
        alias: "mine now".into(),
        ..tun(99, true)
    };
    host.host().state.links.insert(name("tun1"), other);
    host.invalidate();
    let report = host.reconcile(&reference_site()).await.unwrap();
    assert!(
        matches!(report.concerns[0], Concern::LinkForeign { .. }),
        "{report:?}"
    );
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

/// Applies all operations; none may be refused.
fn apply(host: &mut FakeHost, plan: &Plan) {
    for op in &plan.ops {
        if let Err(errno) = host.state.apply(op) {
            panic!("{op}: {errno}\n{}", host.render());
        }
    }
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
        mtu: 1500,
        up,
        carrier: up,
        ..LinkObserved::made(LinkKind::Tun)
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
    for dev in ["default", "tun1", "tun2"] {
        for key in Sysctl::of_interface(name(dev)) {
            let strict = matches!(key, Sysctl::RpFilter(_));
            sysctls.insert(key, if strict { "1" } else { "0" }.to_owned());
        }
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
