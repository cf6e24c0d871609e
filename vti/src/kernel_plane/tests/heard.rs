//! What the plane makes of what the kernel says, and of what it finds.

use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::super::core::Core;
use super::fake::Fake;
use super::{BINDING, ELSEWHERE, OURS, PEERS, TUNNEL, joined, sa, said, spec};
use crate::plane::{Binding, Direction, Encap, PlaneEvent, TunnelId};
use crate::xfrm::notice::Notice;
use crate::xfrm::socket::Heard;
use crate::xfrm::{Action, Hook, Policy, PolicyId, Selector, StateSeen};

fn hear(core: &mut Core<Fake>, port: u32, notice: Notice) {
    let heard = Heard {
        notices: vec![(port, notice)],
        overrun: false,
    };
    core.hear(heard).unwrap();
}

fn lost(spi: u32, direction: Direction) -> PlaneEvent {
    PlaneEvent::SaLost {
        tunnel: TUNNEL,
        spi,
        direction,
    }
}

#[test]
fn an_sa_that_somebody_deletes_is_reported_and_not_put_back() {
    for (spi, direction) in [(0x100, Direction::Inbound), (0x200, Direction::Outbound)] {
        let mut core = joined();
        core.kernel.carried(spi, 3);
        let state = core.kernel.take(spi);
        hear(&mut core, 99, Notice::StateDeleted(Box::new(state)));
        assert_eq!(said(&mut core), [lost(spi, direction)]);
        assert!(
            !core
                .kernel
                .journal
                .iter()
                .any(|line| line.starts_with("add"))
        );
        let blocked = core.kernel.out().action == Action::Block;
        assert_eq!(blocked, direction == Direction::Outbound);
        let counters = core.counters(TUNNEL, Instant::now()).unwrap();
        assert_eq!(counters.packets_in + counters.packets_out, 3);
    }
}

#[test]
fn what_we_do_ourselves_is_no_news() {
    let mut core = joined();
    let state = core.kernel.states.values().next().unwrap().clone();
    hear(&mut core, 4711, Notice::StateDeleted(Box::new(state)));
    assert_eq!(said(&mut core), []);
    assert_eq!(core.sa_counters(TUNNEL, Instant::now()).len(), 2);
}

#[test]
fn an_sa_that_runs_out_is_told_once_for_each_limit() {
    let mut core = joined();
    let state = core.kernel.states.values().find(|it| it.id.spi == 0x200);
    let state = Box::new(state.unwrap().clone());
    for _ in 0..2 {
        let state = state.clone();
        hear(&mut core, 0, Notice::Expired { state, hard: false });
    }
    let (tunnel, spi, direction) = (TUNNEL, 0x200, Direction::Outbound);
    assert_eq!(
        said(&mut core),
        [PlaneEvent::SoftLimit {
            tunnel,
            spi,
            direction
        }]
    );
    core.kernel.take(0x200);
    for _ in 0..2 {
        let state = state.clone();
        hear(&mut core, 0, Notice::Expired { state, hard: true });
    }
    assert_eq!(
        said(&mut core),
        [PlaneEvent::HardLimit {
            tunnel,
            spi,
            direction
        }]
    );
    assert_eq!(core.kernel.out().action, Action::Block);
}

#[test]
fn a_policy_of_ours_is_put_back_and_one_of_others_is_not() {
    let mut core = joined();
    for hook in Hook::ALL {
        let at = core
            .kernel
            .policies
            .iter()
            .position(|it| it.id.hook == hook);
        let gone = core.kernel.policies.remove(at.unwrap());
        hear(
            &mut core,
            99,
            Notice::PolicyDeleted(Box::new(Fake::seen(&gone))),
        );
        assert_eq!(core.kernel.policies.last(), Some(&gone));
        assert_eq!(
            said(&mut core),
            [PlaneEvent::PolicyRestored { tunnel: TUNNEL }]
        );
    }
    core.kernel.journal.clear();
    let foreign = Policy {
        id: PolicyId {
            hook: Hook::Out,
            selector: Selector::any_ipv4(),
            binding: Binding::Mark(5),
        },
        priority: 1,
        action: Action::Block,
        template: None,
        offload: None,
    };
    hear(
        &mut core,
        99,
        Notice::PolicyDeleted(Box::new(Fake::seen(&foreign))),
    );
    hear(
        &mut core,
        99,
        Notice::PolicyPut(Box::new(Fake::seen(&foreign))),
    );
    assert_eq!((core.kernel.journal.len(), said(&mut core).len()), (0, 0));
}

#[test]
fn a_policy_that_somebody_changes_is_put_right() {
    let mut core = joined();
    let right = core.kernel.out().clone();
    let wrong = Policy {
        action: Action::Allow,
        template: None,
        ..right.clone()
    };
    hear(
        &mut core,
        99,
        Notice::PolicyPut(Box::new(Fake::seen(&right))),
    );
    assert_eq!(core.kernel.journal.len(), 0);
    hear(
        &mut core,
        99,
        Notice::PolicyPut(Box::new(Fake::seen(&wrong))),
    );
    assert_eq!(core.kernel.journal, ["policy Out: 200 to 198.51.100.9"]);
}

#[test]
fn after_an_overrun_or_a_flush_everything_is_compared() {
    let flushes = [
        (true, vec![]),
        (false, vec![(99, Notice::StatesFlushed)]),
        (false, vec![(99, Notice::PoliciesFlushed)]),
    ];
    for (overrun, notices) in flushes {
        let mut core = joined();
        core.kernel.states.clear();
        core.kernel.policies.clear();
        core.hear(Heard { notices, overrun }).unwrap();
        let mut events = said(&mut core);
        assert_eq!(
            events.pop(),
            Some(PlaneEvent::PolicyRestored { tunnel: TUNNEL })
        );
        assert_eq!(
            events,
            [
                lost(0x100, Direction::Inbound),
                lost(0x200, Direction::Outbound)
            ]
        );
        assert_eq!(core.kernel.policies.len(), 3);
        assert_eq!(core.kernel.out().action, Action::Block);
        assert!(core.kernel.states.is_empty(), "no SA is put back");
    }
}

#[test]
fn an_audit_that_finds_all_as_it_should_be_changes_nothing() {
    let mut core = joined();
    core.audit().unwrap();
    assert_eq!(core.kernel.journal, ["list states", "list policies"]);
    assert_eq!(said(&mut core), []);
    core.kernel.refuse = vec![("list states", Errno::ENOBUFS)];
    let error = core.audit().unwrap_err().to_string();
    assert!(error.contains("no memory"), "{error}");
}

#[test]
fn a_changed_lifetime_is_put_right_without_new_keys() {
    let mut core = joined();
    let id = *core.kernel.states.keys().next().unwrap();
    let state = core.kernel.states.get_mut(&id).unwrap();
    state.lifetime.limits.hard_packets = Some(1);
    let seen = Box::new(state.clone());
    hear(&mut core, 99, Notice::StatePut(seen));
    assert_eq!(core.kernel.journal, ["update 100"]);
    assert_eq!(core.kernel.states[&id].lifetime.limits.hard_packets, None);
}

#[test]
fn a_new_mapping_is_told_once() {
    let mut core = joined();
    let id = *core.kernel.states.keys().next().unwrap();
    let mapping = |port: u16| Notice::Mapping {
        id,
        reqid: 7,
        old: ([198, 51, 100, 9], 4500).into(),
        new: ([198, 51, 100, 9], port).into(),
    };
    hear(&mut core, 0, mapping(61_000));
    hear(&mut core, 0, mapping(61_000));
    hear(&mut core, 0, mapping(61_001));
    let ports: Vec<_> = said(&mut core)
        .into_iter()
        .map(|event| match event {
            PlaneEvent::NatMapping { from, .. } => from.port(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ports, [61_000, 61_001]);
}

#[test]
fn the_first_packet_is_looked_for_until_it_came() {
    let mut core = joined();
    let now = Instant::now();
    assert!(core.look(now), "there is something to wait for");
    assert_eq!(said(&mut core), []);
    core.kernel.carried(0x100, 1);
    assert!(!core.look(now));
    let first = PlaneEvent::FirstInbound {
        tunnel: TUNNEL,
        spi: 0x100,
    };
    assert_eq!(said(&mut core), [first]);
    core.kernel.carried(0x100, 1);
    assert!(!core.look(now));
    assert_eq!(said(&mut core), []);
}

#[test]
fn a_successor_keeps_what_its_tunnels_have_and_removes_the_rest() {
    let mut before = joined();
    let mut unwanted = spec();
    (unwanted.id, unwanted.binding) = (TunnelId(8), Some(Binding::Mark(0xca05_0008)));
    before.add_tunnel(&unwanted).unwrap();
    before.add_inbound(TunnelId(8), sa(0x800)).unwrap();
    before.kernel.carried(0x200, 500);

    let mut after = Core::new(std::mem::take(&mut before.kernel), OURS);
    after.find_leftovers().unwrap();
    after.add_tunnel(&spec()).unwrap();
    assert_eq!(after.kernel.out().template.unwrap().id.spi, 0x200);
    assert_eq!(after.sweep(), 4, "one SA and three policies");
    assert_eq!(after.kernel.states.len(), 2);
    assert_eq!(after.kernel.policies.len(), 3);
    after.kernel.carried(0x200, 3);
    let counters = after.counters(TUNNEL, Instant::now()).unwrap();
    assert_eq!(
        counters.packets_out, 3,
        "what the other process sent is not ours"
    );
    after.audit().unwrap();
    assert_eq!(said(&mut after), []);

    after.kernel.journal.clear();
    after.add_inbound(TUNNEL, sa(0x101)).unwrap();
    after.set_outbound(TUNNEL, sa(0x201)).unwrap();
    assert_eq!(
        after.kernel.journal,
        [
            "add in 101 to 192.0.2.1 at 0/0",
            "add out 201 to 198.51.100.9 at 0/0",
            "policy Out: 201 to 198.51.100.9"
        ],
        "what the peer may still send on stays for a while, and what we sent on for a moment"
    );
    after.look(Instant::now() + Duration::from_secs(1));
    assert!(after.kernel.states.keys().any(|id| id.spi == 0x100));
    assert!(!after.kernel.states.keys().any(|id| id.spi == 0x200));
    after.look(Instant::now() + Duration::from_secs(31));
    assert!(!after.kernel.states.keys().any(|id| id.spi == 0x100));
}

#[test]
fn an_inherited_sa_that_goes_away_leaves_a_closed_door() {
    let deleted = |state| (99, Notice::StateDeleted(state));
    let timed_out = |state| (0, Notice::Expired { state, hard: true });
    for gone in [deleted, timed_out] as [fn(Box<StateSeen>) -> (u32, Notice); 2] {
        let before = joined();
        let mut after = Core::new(before.kernel, OURS);
        after.find_leftovers().unwrap();
        after.add_tunnel(&spec()).unwrap();
        after.sweep();
        let state = after.kernel.take(0x200);
        let (port, notice) = gone(Box::new(state));
        hear(&mut after, port, notice);
        assert_eq!(after.kernel.out().action, Action::Block);
        assert!(after.kernel.out().id.binding == BINDING);
        assert_eq!(said(&mut after), [], "IKE never knew of it");
    }
}

#[test]
fn the_kernel_ends_every_sa_that_nobody_comes_back_for() {
    let mut core = joined();
    let seconds = |core: &Core<Fake>| -> Vec<_> {
        let states = core.kernel.states.values();
        states.map(|state| state.lifetime.seconds).collect()
    };
    assert_eq!(seconds(&core), [Some(3660), Some(3660)]);
    // Moved or put right it is no different.
    core.update_path(TUNNEL, ELSEWHERE, PEERS, Encap::None)
        .unwrap();
    assert_eq!(seconds(&core), [Some(3660), Some(3660)]);
}

#[test]
fn an_sa_under_our_number_that_nobody_knows_is_removed() {
    let mut core = joined();
    let mut stranger = core.kernel.states.values().next().unwrap().clone();
    stranger.id.spi = 0x666;
    core.kernel.states.insert(stranger.id, stranger);
    core.audit().unwrap();
    assert!(!core.kernel.states.keys().any(|id| id.spi == 0x666));
    assert_eq!(core.kernel.states.len(), 2);
}
