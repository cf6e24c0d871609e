//! Events and questions.

use std::{collections::BTreeSet, net::IpAddr};

use vti::{
    monitor::{HostEvent, Monitor},
    plan::{Desired, RouteDesired, RouteKey},
    query::{Lookup, Origin},
};

use crate::sandbox::{State, hop, ip, name, net, route, sandbox};

#[test]
fn changes_by_others_are_events_and_our_own_routes_are_not() {
    sandbox(async || {
        let state = State::new("events");
        let mut host = state.start().await;
        let mut monitor = Monitor::open(&[host.host().port()]).unwrap();
        let desired = route(
            Desired::default(),
            "10.99.0.1/32",
            &[hop("lan0", "192.168.1.11")],
        );
        assert!(host.reconcile(&desired).await.unwrap().is_settled());
        ip("route add 10.20.0.0/16 via 192.168.1.99");
        assert_eq!(
            monitor.events().await.unwrap(),
            [HostEvent::RouteChanged { ours: false }]
        );

        ip("route del 10.99.0.1/32");
        assert_eq!(
            monitor.events().await.unwrap(),
            [HostEvent::RouteChanged { ours: true }]
        );

        ip("addr add 192.168.7.1/24 dev lan0");
        let events = monitor.events().await.unwrap();
        assert!(
            events.contains(&HostEvent::AddressChanged {
                dev: Some(name("lan0"))
            }),
            "{events:?}"
        );

        std::fs::write("/proc/sys/net/ipv4/conf/lan0/rp_filter", "1").unwrap();
        assert_eq!(monitor.events().await.unwrap(), [HostEvent::SettingChanged]);

        ip("link set lan0 down");
        let events = monitor.events().await.unwrap();
        let is_down = |event: &HostEvent| matches!(event, HostEvent::LinkChanged { dev, state: Some(state) } if *dev == name("lan0") && !state.up);
        assert!(events.iter().any(is_down), "{events:?}");

        ip("link del lan0");
        let events = monitor.events().await.unwrap();
        assert!(
            events.contains(&HostEvent::LinkChanged {
                dev: name("lan0"),
                state: None
            }),
            "{events:?}"
        );
    });
}

#[test]
fn events_that_nobody_fetches_in_time_are_an_overrun_and_then_events_again() {
    sandbox(async || {
        let state = State::new("overrun");
        let mut host = state.start().await;
        // Nothing is ignored, and nothing is fetched.
        let mut monitor = Monitor::open(&[]).unwrap();
        host.reconcile(&blackholes(30_000)).await.unwrap();
        assert_eq!(monitor.events().await.unwrap(), [HostEvent::Overrun]);

        ip("route add 10.20.0.0/16 via 192.168.1.99");
        assert_eq!(
            monitor.events().await.unwrap(),
            [HostEvent::RouteChanged { ours: false }]
        );
    });
}

fn blackholes(count: u32) -> Desired {
    (0..count).fold(Desired::default(), |desired, n| {
        let prefix = IpAddr::from(std::net::Ipv4Addr::from(0x0A40_0000 + n));
        desired.with_route(RouteKey::main(prefix.into()), RouteDesired::blackhole())
    })
}

#[test]
fn the_way_to_an_address_is_the_kernels() {
    sandbox(async || {
        ip("route add 203.0.113.0/24 via 192.168.1.254 mtu 1300");
        ip("route add blackhole 198.51.100.0/24");
        let mut lookup = Lookup::open().unwrap();

        let path = lookup
            .path("203.0.113.7".parse().unwrap(), None)
            .unwrap()
            .unwrap();
        assert_eq!(path.dev, name("lan0"));
        assert_eq!(path.via, Some("192.168.1.254".parse().unwrap()));
        assert_eq!(path.source, Some("192.168.1.1".parse().unwrap()));
        assert_eq!((path.mtu, path.is_local), (1300, false));

        let path = lookup
            .path("192.168.1.77".parse().unwrap(), None)
            .unwrap()
            .unwrap();
        assert_eq!((path.via, path.mtu), (None, 1500));
        assert!(
            lookup
                .path("192.168.1.1".parse().unwrap(), None)
                .unwrap()
                .unwrap()
                .is_local
        );
        assert_eq!(lookup.path("8.8.8.8".parse().unwrap(), None).unwrap(), None);
        assert_eq!(
            lookup.path("198.51.100.1".parse().unwrap(), None).unwrap(),
            None
        );
        assert_eq!(
            lookup.path("2001:db8::1".parse().unwrap(), None).unwrap(),
            None
        );

        assert_eq!(lookup.interface(name("gone0")).unwrap(), None);
        let lan = lookup.interface(name("lan0")).unwrap().unwrap();
        assert_eq!(
            (lan.kind.as_str(), lan.up, lan.carrier),
            ("veth", true, true)
        );
        let all = lookup.interfaces().await.unwrap();
        assert!(
            all[&name("lan0")]
                .addresses
                .contains(&net("192.168.1.1/24"))
        );
    });
}

#[test]
fn there_is_a_list_of_what_could_be_redistributed() {
    sandbox(async || {
        ip("route add 10.30.0.0/16 via 192.168.1.99");
        ip("route add 10.31.0.0/16 via 192.168.1.99 proto static metric 7");
        ip("route add 10.32.0.0/16 via 192.168.1.99 proto dhcp");
        ip("route add 10.33.0.0/16 nexthop via 192.168.1.98 nexthop via 192.168.1.99");
        let state = State::new("snapshot");
        let ours = route(
            Desired::default(),
            "10.99.0.1/32",
            &[hop("lan0", "192.168.1.11")],
        );
        state.start().await.reconcile(&ours).await.unwrap();

        let snapshot = Lookup::open().unwrap().snapshot().await.unwrap();

        let connected: Vec<_> = snapshot.connected.into_iter().collect();
        assert_eq!(connected, [(net("192.168.1.0/24"), name("lan0"))]);
        let v4 = snapshot
            .routes
            .iter()
            .filter(|route| route.prefix.addr().is_ipv4());
        let routes: Vec<_> = v4
            .map(|r| (r.prefix.to_string(), r.origin, r.metric, r.next_hops.len()))
            .collect();
        let expected = [
            ("10.30.0.0/16".to_owned(), Origin::Static, 0, 1),
            ("10.31.0.0/16".to_owned(), Origin::Static, 7, 1),
            ("10.32.0.0/16".to_owned(), Origin::Kernel, 0, 1),
            ("10.33.0.0/16".to_owned(), Origin::Static, 0, 2),
        ];
        assert_eq!(routes, expected);
        assert_eq!(
            snapshot.addresses[&name("lan0")],
            BTreeSet::from([net("192.168.1.1/24")])
        );
    });
}
