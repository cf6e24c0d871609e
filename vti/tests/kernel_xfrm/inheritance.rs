//! What a process that was killed left in the kernel goes on carrying packets, until its successor has new SAs.

use vti::plane::{DataPlane as _, Direction, SaSpec};
use vti::xfrm::state::UdpPorts;
use vti::xfrm::{
    Action, Hook, Lifetime, NewState, Policy, PolicyId, Replay, SaId, Selector, Socket, Template,
};

use crate::bed::{
    End, INNER, Kind, Namespace, OUTER, TUNNEL, Wish, ends, interface, plane, spec, wire,
};

/// Leaves in the kernel what a plane has there for a tunnel with one SA each way, with no process behind it.
fn leave(namespace: &Namespace, kind: Kind, number: u32, inbound: &SaSpec, outbound: &SaSpec) {
    let binding = match kind {
        Kind::Vti => vti::plane::Binding::Mark(number),
        Kind::Xfrm => vti::plane::Binding::IfId(number),
    };
    let reqid = number & 0xffff;
    namespace.enter(|| {
        let mut socket = Socket::open().unwrap();
        for (direction, sa) in [
            (Direction::Inbound, inbound),
            (Direction::Outbound, outbound),
        ] {
            let (source, destination) = match direction {
                Direction::Inbound => (sa.remote, sa.local),
                Direction::Outbound => (sa.local, sa.remote),
            };
            let state = NewState {
                id: SaId {
                    destination,
                    spi: sa.spi,
                },
                source,
                reqid,
                binding,
                direction,
                name_direction: false,
                suite: sa.suite,
                keymat: &sa.keymat,
                integrity: &sa.integrity,
                esn: sa.esn,
                window: 1024,
                replay: Replay::default(),
                encap: None::<UdpPorts>,
                lifetime: Lifetime::default(),
                copy_dscp: false,
                output_mark: None,
                mapping_interval: None,
                offload: None,
            };
            socket.add_state(&state).unwrap();
        }
        let any = "0.0.0.0".parse().unwrap();
        for hook in Hook::ALL {
            let (id, source) = match hook {
                Hook::Out => (
                    SaId {
                        destination: outbound.remote,
                        spi: outbound.spi,
                    },
                    outbound.local,
                ),
                _ => (
                    SaId {
                        destination: any,
                        spi: 0,
                    },
                    any,
                ),
            };
            let policy = Policy {
                id: PolicyId {
                    hook,
                    selector: Selector::any_ipv4(),
                    binding,
                },
                priority: 1,
                action: Action::Allow,
                template: Some(Template {
                    id,
                    source,
                    reqid,
                    tunnel: true,
                }),
                offload: None,
            };
            socket.put_policy(&policy).unwrap();
        }
    });
}

#[test]
fn a_successor_adopts_what_carries_packets_and_sweeps_the_rest() {
    for kind in [Kind::Vti, Kind::Xfrm] {
        let wish = Wish::gcm();
        let namespaces = wire();
        for (index, namespace) in namespaces.iter().enumerate() {
            interface(namespace, kind, index);
        }
        let [first, second] = namespaces;
        leave(
            &first,
            kind,
            0xca05_0007,
            &wish.sa(0, 0x1000),
            &wish.sa(0, 0x1001),
        );
        // A tunnel that is not wanted any more.
        leave(
            &first,
            kind,
            0xca05_0008,
            &wish.sa(0, 0x5000),
            &wish.sa(0, 0x5001),
        );
        let (mut other, other_events) = plane(&second);
        other.add_tunnel(&spec(kind)).unwrap();
        other.add_inbound(TUNNEL, wish.sa(1, 0x1001)).unwrap();
        other.set_outbound(TUNNEL, wish.sa(1, 0x1000)).unwrap();
        let answers = |count: u32| {
            let said = first.run(&format!("ping -c {count} -i 0.05 -W 2 {}", INNER[1]));
            assert!(said.contains(" 0% packet loss"), "{kind:?}: {said}");
        };
        answers(3);

        let (mut successor, events) = plane(&first);
        answers(3);
        successor.add_tunnel(&spec(kind)).unwrap();
        answers(3);
        assert_eq!(successor.sweep(), 5, "two SAs and three policies");
        let states = first.ip("xfrm state");
        assert!(
            !states.contains("0x00005000") && states.contains("0x00001001"),
            "{states}"
        );
        answers(3);
        // What went by before the successor came is not its own.
        let counters = successor.counters(TUNNEL).unwrap();
        assert!((6..=9).contains(&counters.packets_out), "{counters:?}");

        let mut both = [
            End {
                plane: successor,
                events,
                namespace: first,
                kind,
            },
            End {
                plane: other,
                events: other_events,
                namespace: second,
                kind,
            },
        ];
        wish.install(&mut both, 0x6000);
        assert_eq!(both[0].ping(INNER[1], "-c 3 -i 0.05"), 3);
        let states = both[0].states();
        assert!(
            !states.contains("0x00001001"),
            "the old outbound SA is still there\n{states}"
        );
        assert!(
            states.contains("0x00001000"),
            "what the peer may still send on is gone\n{states}"
        );
        let [
            End {
                plane, namespace, ..
            },
            _,
        ] = both;
        drop(plane);
        assert_eq!(namespace.ip("xfrm state"), "");
        assert_eq!(namespace.ip("xfrm policy"), "");
    }
}

#[test]
fn a_stop_leaves_nothing() {
    let mut ends = ends([Kind::Vti, Kind::Xfrm]);
    Wish::cbc().in_udp().install(&mut ends, 0x1000);
    for (
        End {
            plane, namespace, ..
        },
        _,
    ) in ends.into_iter().zip(OUTER)
    {
        drop(plane);
        assert_eq!(namespace.ip("xfrm state"), "");
        assert_eq!(namespace.ip("xfrm policy"), "");
    }
}
