//! Making and removing tunnels and planes, and what is refused.

use crate::bed::{End, GCM, INTERFACE, Namespace, SIZES, TUNNEL, V4, Wiring, echo, spec};
use tokio::sync::mpsc;
use vti::plane::{DataPlane as _, Encap, Error, SaSpec, TunnelId, TunnelSpec};
use vti::user::{UserPlane, UserPlaneConfig};

#[test]
fn removing_a_tunnel_frees_its_interface_at_once() {
    let mut ends = Wiring::new(GCM, None).join();
    let End {
        namespace, plane, ..
    } = &mut ends[0];
    for _ in 0..20 {
        plane.remove_tunnel(TUNNEL).unwrap();
        namespace.enter(|| plane.add_tunnel(&spec())).unwrap();
    }
    plane.remove_tunnel(TUNNEL).unwrap();
    let links = namespace.ip("-o link");
    assert!(!links.contains(INTERFACE), "{links}");
    assert!(matches!(
        plane.remove_tunnel(TUNNEL),
        Err(Error::NoSuchTunnel { tunnel: TUNNEL })
    ));
}

#[test]
fn dropping_the_plane_removes_its_interfaces_and_frees_its_ports() {
    let [
        End {
            namespace, plane, ..
        },
        _,
    ] = Wiring::new(GCM, None).join();
    drop(plane);
    let links = namespace.ip("-o link");
    assert!(!links.contains(INTERFACE), "{links}");
    let (events, _receiver) = mpsc::channel(1);
    namespace
        .enter(|| UserPlane::new(&UserPlaneConfig::default(), events))
        .unwrap();
}

#[test]
fn a_foreign_interface_of_the_name_is_refused_and_left_alone() {
    let mut ends = Wiring::new(GCM, None).join_without_sas();
    let End {
        namespace, plane, ..
    } = &mut ends[0];
    namespace.ip("tuntap add dev foreign mode tun");
    for name in ["foreign", "outer", "lo"] {
        let other = TunnelSpec {
            id: TunnelId(2),
            interface: name.to_owned(),
            ..spec()
        };
        let error = namespace.enter(|| plane.add_tunnel(&other)).unwrap_err();
        assert!(matches!(error, Error::InterfaceExists { .. }), "{error}");
    }
    assert!(namespace.ip("-o link").contains("foreign"));
    for name in ["", "a/b", "white space", "much-too-long-name"] {
        let other = TunnelSpec {
            id: TunnelId(2),
            interface: name.to_owned(),
            ..spec()
        };
        let error = namespace.enter(|| plane.add_tunnel(&other)).unwrap_err();
        assert!(matches!(error, Error::InterfaceName { .. }), "{error}");
    }
}

#[test]
fn a_port_in_use_is_told_with_its_holder() {
    let namespace = Namespace::new();
    let _other = namespace.udp("0.0.0.0:4500");
    let (events, _receiver) = mpsc::channel(1);
    let error = namespace
        .enter(|| UserPlane::new(&UserPlaneConfig::default(), events))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("4500") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
}

#[test]
fn misuse_is_refused_and_changes_nothing() {
    let wiring = Wiring::new(GCM, None);
    let mut ends = wiring.join();
    let plane = &mut ends[0].plane;
    let sa = wiring.sa(0, 0x1000);
    assert!(matches!(
        plane.add_inbound(TUNNEL, sa.clone()),
        Err(Error::SpiInUse { .. })
    ));
    assert!(matches!(
        plane.add_inbound(TunnelId(9), sa.clone()),
        Err(Error::NoSuchTunnel { .. })
    ));
    assert!(matches!(
        plane.remove_inbound(TUNNEL, 0x9999),
        Err(Error::NoSuchSa { .. })
    ));
    let reserved = SaSpec {
        spi: 255,
        ..sa.clone()
    };
    assert!(matches!(
        plane.add_inbound(TUNNEL, reserved),
        Err(Error::Sa(_))
    ));
    let family = SaSpec {
        remote: "2001:db8::9".parse().unwrap(),
        ..sa.clone()
    };
    assert!(matches!(
        plane.set_outbound(TUNNEL, family),
        Err(Error::AddressFamily { .. })
    ));
    let encap = Encap::Udp {
        local_port: 9,
        remote_port: 4500,
    };
    let port = SaSpec { encap, ..sa };
    assert!(matches!(
        plane.set_outbound(TUNNEL, port),
        Err(Error::Port { .. })
    ));
    echo(&ends, V4, &SIZES);
}
