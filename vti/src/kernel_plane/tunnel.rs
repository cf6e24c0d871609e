//! A tunnel: its policies, its SAs and what it has carried.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use esp::{DropCounts, DropReason};

use super::kernel::Kernel;
use super::sa::{Carried, Carrier, Sa};
use crate::plane::{Binding, Direction, TunnelCounters, TunnelSpec};
use crate::xfrm::{Action, Hook, Policy, PolicyId, SaId, Selector, Template};

/// The precedence of our policies among those that select the same packets. Ours select only what is bound to our interfaces; a
/// lower number than others use keeps those of another program, which may be bound to nothing, from taking it.
const PRIORITY: u32 = 1;

#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) spec: TunnelSpec,
    pub(super) binding: Binding,
    pub(super) inbound: BTreeMap<u32, Sa>,
    pub(super) outbound: Option<Sa>,
    /// What an earlier process left, which carries the tunnel's packets until there are SAs of ours; and the outbound SAs before the
    /// present one, until nothing is on its way by them.
    pub(super) adopted: Vec<Adopted>,
    /// What SAs carried that are gone.
    past: [Carried; 2],
    past_faults: [u64; 3],
    /// When counters last grew.
    last: [Option<Instant>; 2],
    /// Their sum then.
    last_packets: [u64; 2],
    /// The outer MTU that the kernel has learned, if it is less than the tunnel's own.
    pub(super) path_mtu: Option<u16>,
}

/// A state that an earlier process left, or that nothing leaves by any more.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) carrier: Carrier,
    /// What the policy that used it asked for: for an outbound one.
    pub(super) template: Option<Template>,
    /// When it is removed.
    pub(super) until: Option<Instant>,
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

impl Tunnel {
    pub(super) fn new(spec: TunnelSpec, binding: Binding) -> Self {
        Self {
            spec,
            binding,
            inbound: BTreeMap::new(),
            outbound: None,
            adopted: Vec::new(),
            past: Default::default(),
            past_faults: Default::default(),
            last: Default::default(),
            last_packets: Default::default(),
            path_mtu: None,
        }
    }

    pub(super) fn policy_id(&self, hook: Hook) -> PolicyId {
        PolicyId {
            hook,
            selector: Selector::any_ipv4(),
            binding: self.binding,
        }
    }

    /// The policies as they should be now. What arrives or is forwarded must have come by an SA of the tunnel's, from whatever
    /// address, so that its policies outlive every SA and every path. What leaves goes by exactly one SA; as long as there is
    /// none it is dropped, rather than looked for: the kernel would make a larval state for each packet.
    pub(super) fn policies(&self, bind: IpAddr) -> [Policy; 3] {
        Hook::ALL.map(|hook| self.policy(hook, bind))
    }

    pub(super) fn policy(&self, hook: Hook, bind: IpAddr) -> Policy {
        let template = match hook {
            Hook::Out => self.outbound.as_ref().map_or_else(
                || self.adopted.iter().find_map(|adopted| adopted.template),
                |sa| Some(sa.template(&self.spec)),
            ),
            Hook::In | Hook::Forward => Some(self.any_sa(bind)),
        };
        Policy {
            id: self.policy_id(hook),
            priority: PRIORITY,
            action: if template.is_some() {
                Action::Allow
            } else {
                Action::Block
            },
            template,
            offload: match hook {
                Hook::Out => self.outbound.as_ref().and_then(Sa::policy_offload),
                _ => None,
            },
        }
    }

    fn any_sa(&self, bind: IpAddr) -> Template {
        let any = match bind {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Template {
            id: SaId {
                destination: any,
                spi: 0,
            },
            source: any,
            reqid: self.spec.id.0,
            tunnel: true,
        }
    }

    /// All states of the tunnel in the kernel.
    fn carriers_mut(&mut self) -> impl Iterator<Item = &mut Carrier> {
        let ours = self.inbound.values_mut().chain(self.outbound.as_mut());
        ours.map(|sa| &mut sa.carrier)
            .chain(self.adopted.iter_mut().map(|adopted| &mut adopted.carrier))
    }

    pub(super) fn carriers(&self) -> impl Iterator<Item = &Carrier> {
        let ours = self.inbound.values().chain(self.outbound.as_ref());
        ours.map(|sa| &sa.carrier)
            .chain(self.adopted.iter().map(|adopted| &adopted.carrier))
    }

    /// Takes note of what a state carried that goes away.
    pub(super) fn remember(&mut self, carrier: &Carrier) {
        if let Some(past) = self.past.get_mut(index(carrier.direction)) {
            past.add(carrier.carried());
        }
        for (sum, fault) in self.past_faults.iter_mut().zip(carrier.faults()) {
            *sum += fault;
        }
    }

    /// Asks the kernel about all SAs. One that is gone is found by others: here it keeps the counters that it had.
    pub(super) fn look(&mut self, kernel: &mut impl Kernel, now: Instant) {
        for carrier in self.carriers_mut() {
            let _ = carrier.look(kernel);
        }
        self.note_growth(now);
    }

    fn note_growth(&mut self, now: Instant) {
        let sums = self.carried().map(|carried| carried.packets);
        for ((last, before), packets) in self.last.iter_mut().zip(&mut self.last_packets).zip(sums)
        {
            if packets > *before {
                *last = Some(now);
                *before = packets;
            }
        }
    }

    /// Inbound and outbound.
    fn carried(&self) -> [Carried; 2] {
        let mut sums = self.past;
        for carrier in self.carriers() {
            if let Some(sum) = sums.get_mut(index(carrier.direction)) {
                sum.add(carrier.carried());
            }
        }
        sums
    }

    pub(super) fn counters(&self) -> TunnelCounters {
        let [inbound, outbound] = self.carried();
        let [last_inbound, last_outbound] = self.last;
        let mut faults = self.past_faults;
        for carrier in self.carriers() {
            for (sum, fault) in faults.iter_mut().zip(carrier.faults()) {
                *sum += fault;
            }
        }
        let [too_old, replayed, integrity] = faults;
        let mut drops = DropCounts::default();
        drops.add(DropReason::TooOld, too_old);
        drops.add(DropReason::Replayed, replayed);
        drops.add(DropReason::Authentication, integrity);
        TunnelCounters {
            packets_in: inbound.packets,
            bytes_in: inbound.bytes,
            packets_out: outbound.packets,
            bytes_out: outbound.bytes,
            drops,
            last_inbound,
            last_outbound,
        }
    }

    pub(super) fn outer_mtu(&self) -> u16 {
        self.path_mtu
            .map_or(self.spec.outer_mtu, |mtu| mtu.min(self.spec.outer_mtu))
    }
}
