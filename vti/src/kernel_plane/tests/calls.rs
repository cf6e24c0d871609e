//! What the daemon's calls ask of the kernel.

use std::time::{Duration, Instant};

use esp::Spi;
use nix::errno::Errno;

use super::super::core::Core;
use super::fake::Fake;
use super::{BINDING, ELSEWHERE, OURS, PEERS, TUNNEL, joined, plane, sa, said, spec, udp};
use crate::plane::{Binding, Direction, Encap, Error, Offload, PlaneEvent, TunnelId, TunnelSpec};
use crate::xfrm::Action;

#[test]
fn a_tunnel_begins_with_policies_that_let_nothing_leave() {
    let mut core = Core::new(Fake::default(), OURS);
    core.add_tunnel(&spec()).unwrap();
    assert_eq!(
        core.kernel.journal,
        [
            "policy In: any of reqid 7",
            "policy Out: block",
            "policy Forward: any of reqid 7"
        ]
    );
    assert!(
        core.kernel
            .policies
            .iter()
            .all(|it| it.id.binding == BINDING)
    );
}

#[test]
fn a_tunnel_without_a_number_of_ours_gets_no_policy_at_all() {
    for binding in [None, Some(Binding::Mark(1)), Some(Binding::IfId(0))] {
        let mut core = Core::new(Fake::default(), OURS);
        let outcome = core.add_tunnel(&TunnelSpec { binding, ..spec() });
        assert!(
            matches!(outcome, Err(Error::NoBinding { .. })),
            "{binding:?}"
        );
        assert!(core.kernel.journal.is_empty());
    }
}

#[test]
fn a_rekey_is_make_before_break() {
    let mut core = joined();
    core.add_inbound(TUNNEL, sa(0x101)).unwrap();
    core.set_outbound(TUNNEL, sa(0x201)).unwrap();
    core.remove_inbound(TUNNEL, 0x100).unwrap();
    assert!(
        core.look(Instant::now()),
        "what is on its way by 200 still leaves"
    );
    assert!(core.kernel.states.keys().any(|id| id.spi == 0x200));
    core.look(Instant::now() + Duration::from_secs(1));
    assert_eq!(
        core.kernel.journal,
        [
            "add in 101 to 192.0.2.1 at 0/0",
            "add out 201 to 198.51.100.9 at 0/0",
            "policy Out: 201 to 198.51.100.9",
            "delete 100",
            "delete 200"
        ]
    );
}

#[test]
fn when_the_sa_goes_the_way_out_is_blocked_first() {
    let mut core = joined();
    core.clear_outbound(TUNNEL).unwrap();
    assert_eq!(core.kernel.journal, ["policy Out: block", "delete 200"]);
    core.clear_outbound(TUNNEL).unwrap();
    core.kernel.journal.clear();
    core.remove_tunnel(TUNNEL).unwrap();
    assert!(core.kernel.states.is_empty() && core.kernel.policies.is_empty());
    assert!(matches!(
        core.remove_tunnel(TUNNEL),
        Err(Error::NoSuchTunnel { .. })
    ));
}

#[test]
fn a_kernel_that_knows_no_directions_is_asked_again_without() {
    let mut core = plane();
    core.kernel.old = true;
    core.set_outbound(TUNNEL, sa(0x200)).unwrap();
    assert_eq!(core.kernel.journal.len(), 3, "{:?}", core.kernel.journal);
    assert_eq!(core.kernel.out().template.unwrap().id.spi, 0x200);
}

#[test]
fn what_the_kernel_refuses_is_said_as_a_matter_of_this_host_and_changes_nothing() {
    let mut core = joined();
    for (errno, wanted) in [
        (Errno::ENOENT, "modprobe -a esp4 gcm seqiv"),
        (Errno::EPERM, "CAP_NET_ADMIN"),
        (Errno::ENOBUFS, "no memory"),
        (Errno::ENOSYS, "data-plane"),
    ] {
        core.kernel.refuse = vec![("add in", errno), ("add out", errno)];
        let inbound = core.add_inbound(TUNNEL, sa(0x101)).unwrap_err();
        assert!(matches!(inbound, Error::Kernel(_)));
        assert!(inbound.to_string().contains(wanted), "{inbound}");
        let outbound = core
            .set_outbound(TUNNEL, sa(0x201))
            .unwrap_err()
            .to_string();
        assert!(outbound.contains("outbound SA 00000201"), "{outbound}");
    }
    assert_eq!(core.kernel.out().template.unwrap().id.spi, 0x200);
    let spis: Vec<_> = core.kernel.states.keys().map(|id| id.spi).collect();
    assert_eq!(spis, [0x100, 0x200]);
}

#[test]
fn a_switch_that_fails_leaves_the_old_sa_and_no_other() {
    let mut core = joined();
    core.kernel.refuse = vec![("policy Out", Errno::ENOMEM)];
    core.set_outbound(TUNNEL, sa(0x201)).unwrap_err();
    let spis: Vec<_> = core.kernel.states.keys().map(|id| id.spi).collect();
    assert_eq!(spis, [0x100, 0x200]);
    assert_eq!(core.sa_counters(TUNNEL, Instant::now()).len(), 2);
}

#[test]
fn an_inbound_spi_is_only_given_once() {
    let mut core = joined();
    let taken = core.add_inbound(TUNNEL, sa(0x100)).unwrap_err();
    assert!(matches!(
        taken,
        Error::SpiInUse {
            spi: Spi(0x100),
            holder: TUNNEL
        }
    ));
    let nobody = core.add_inbound(TunnelId(9), sa(0x101)).unwrap_err();
    assert!(matches!(nobody, Error::NoSuchTunnel { .. }));
    let no_sa = core.remove_inbound(TUNNEL, 0x999).unwrap_err();
    assert!(matches!(no_sa, Error::NoSuchSa { .. }));
}

#[test]
fn a_device_that_refuses_is_told_and_done_without() {
    let offload = Offload::Crypto {
        device: "eth0".into(),
    };
    let mut core = Core::new(Fake::default(), OURS);
    core.add_tunnel(&TunnelSpec { offload, ..spec() }).unwrap();
    core.kernel.journal.clear();
    core.kernel.refuse = vec![("add in", Errno::EOPNOTSUPP)];
    core.add_inbound(TUNNEL, sa(0x100)).unwrap();
    assert_eq!(
        core.kernel.journal,
        [
            "add in 100 to 192.0.2.1 at 0/0 on a device",
            "add in 100 to 192.0.2.1 at 0/0"
        ]
    );
    assert!(matches!(
        said(&mut core)[..],
        [PlaneEvent::OffloadRefused { .. }]
    ));

    let offload = Offload::Packet {
        device: "eth9".into(),
    };
    let mut core = Core::new(Fake::default(), OURS);
    core.add_tunnel(&TunnelSpec { offload, ..spec() }).unwrap();
    core.add_inbound(TUNNEL, sa(0x100)).unwrap();
    let [PlaneEvent::OffloadRefused { reason, .. }] = &said(&mut core)[..] else {
        panic!("the device does not exist");
    };
    assert!(reason.contains("eth9"), "{reason}");
}

#[test]
fn another_port_changes_the_states_where_they_are() {
    let mut core = plane();
    let in_udp = |spi| crate::plane::SaSpec {
        encap: udp(4500),
        ..sa(spi)
    };
    core.add_inbound(TUNNEL, in_udp(0x100)).unwrap();
    core.set_outbound(TUNNEL, in_udp(0x200)).unwrap();
    core.kernel.carried(0x200, 40);
    core.kernel.journal.clear();
    core.update_path(TUNNEL, OURS, PEERS, udp(61_000)).unwrap();
    assert_eq!(core.kernel.journal, ["update 200", "update 100"]);
    let ports: Vec<_> = core
        .kernel
        .states
        .values()
        .map(|it| it.encap.unwrap())
        .collect();
    assert_eq!((ports[0].source, ports[0].destination), (61_000, 4500));
    assert_eq!((ports[1].source, ports[1].destination), (4500, 61_000));
    assert_eq!(said(&mut core), []);
}

#[test]
fn another_peer_address_makes_the_outbound_sa_again_with_higher_numbers() {
    let mut core = joined();
    core.kernel.carried(0x200, 1000);
    core.kernel.carried(0x100, 900);
    core.update_path(TUNNEL, OURS, ELSEWHERE, Encap::None)
        .unwrap();
    assert_eq!(
        core.kernel.journal,
        [
            "policy Out: block",
            "delete 200",
            "add out 200 to 203.0.113.5 at 66536/0",
            "policy Out: 200 to 203.0.113.5"
        ],
        "nothing leaves while it is made, and what we receive on stays"
    );
    let fresh_keys = PlaneEvent::SoftLimit {
        tunnel: TUNNEL,
        spi: 0x200,
        direction: Direction::Outbound,
    };
    assert_eq!(said(&mut core), [fresh_keys]);
    let counters = core.counters(TUNNEL, Instant::now()).unwrap();
    assert_eq!((counters.packets_in, counters.packets_out), (900, 1000));
}

#[test]
fn another_address_of_ours_takes_the_replay_window_along() {
    let mut core = joined();
    core.kernel.carried(0x100, 900);
    core.update_path(TUNNEL, ELSEWHERE, PEERS, Encap::None)
        .unwrap();
    let journal = &core.kernel.journal;
    let there = "add in 100 to 203.0.113.5 at 0/900";
    assert!(journal.iter().any(|line| line == there), "{journal:?}");
    assert_eq!(core.kernel.states.len(), 2);
}

#[test]
fn a_state_that_vanished_is_never_made_again_by_a_move() {
    let mut core = joined();
    core.kernel.take(0x200);
    core.update_path(TUNNEL, OURS, ELSEWHERE, Encap::None)
        .unwrap_err();
    assert!(
        !core
            .kernel
            .journal
            .iter()
            .any(|line| line.starts_with("add out"))
    );
    assert_eq!(core.kernel.out().action, Action::Block);
    assert!(matches!(
        said(&mut core)[..],
        [PlaneEvent::SaLost {
            spi: 0x200,
            direction: Direction::Outbound,
            ..
        }]
    ));
}

#[test]
fn counters_go_on_over_rekeys() {
    let mut core = joined();
    core.kernel.carried(0x200, 10);
    core.kernel.carried(0x100, 20);
    let first = core.counters(TUNNEL, Instant::now()).unwrap();
    assert_eq!((first.packets_in, first.bytes_in), (20, 2000));
    core.set_outbound(TUNNEL, sa(0x201)).unwrap();
    core.add_inbound(TUNNEL, sa(0x101)).unwrap();
    core.remove_inbound(TUNNEL, 0x100).unwrap();
    core.kernel.carried(0x201, 1);
    core.kernel.carried(0x101, 2);
    let second = core.counters(TUNNEL, Instant::now()).unwrap();
    assert_eq!((second.packets_in, second.packets_out), (22, 11));
    assert!(second.last_inbound > first.last_inbound);
    let quiet = core.counters(TUNNEL, Instant::now()).unwrap();
    assert_eq!(quiet.last_inbound, second.last_inbound);
}
