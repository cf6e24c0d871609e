//! What the kernel says, and what is looked at now and then: SAs used up, moved, deleted by somebody, policies gone.

use std::time::{Duration, Instant};

use super::core::Core;
use super::kernel::{Kernel, gone};
use super::reason::{About, Reason};
use super::sa::Sa;
use crate::plane::{Binding, Direction, PlaneEvent, TunnelId};
use crate::xfrm::notice::Notice;
use crate::xfrm::socket::Heard;
use crate::xfrm::{Hook, PolicySeen, Refusal, SaId, StateSeen};

use super::adopt::ours;

/// How soon after an inbound SA was added it is looked at for its first packet, and how rarely at last. The kernel has no event for
/// it that comes with the packet itself.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(20);
pub(super) const SLOWEST_LOOK: Duration = Duration::from_secs(1);

/// How often the kernel's databases are compared with ours although nothing was heard.
pub(super) const AUDIT: Duration = Duration::from_secs(60);

impl<K: Kernel> Core<K> {
    /// Takes what was heard.
    pub(super) fn hear(&mut self, heard: Heard) -> Result<(), Reason> {
        let own = self.kernel.port();
        let mut compare = heard.overrun;
        for (port, notice) in heard.notices {
            if port != own {
                compare |= self.notice(notice);
            }
        }
        if compare { self.audit() } else { Ok(()) }
    }

    /// Whether only a comparison can tell what has happened.
    fn notice(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::Expired { state, hard } => self.expired(&state, hard),
            Notice::StateDeleted(state) => self.deleted(&state),
            Notice::StatePut(state) => self.changed(&state),
            Notice::Mapping { id, new, .. } => self.mapping(id, new),
            Notice::PolicyPut(policy) => self.policy_put(&policy),
            Notice::PolicyDeleted(policy) | Notice::PolicyExpired(policy) => {
                self.policy_gone(&policy);
            }
            Notice::StatesFlushed | Notice::PoliciesFlushed | Notice::Migrated { .. } => {
                return true;
            }
            Notice::Acquire { .. } | Notice::Progress { .. } => {}
        }
        false
    }

    /// The tunnel, direction and SPI of a state of ours.
    fn whose(&self, id: SaId, binding: Option<Binding>) -> Option<(TunnelId, Direction)> {
        self.tunnels.iter().find_map(|(&tunnel, of)| {
            let mut sas = of.inbound.values().chain(&of.outbound);
            let sa = sas.find(|sa| {
                sa.carrier.id == id && binding.is_none_or(|binding| sa.carrier.binding == binding)
            })?;
            Some((tunnel, sa.carrier.direction))
        })
    }

    fn sa_mut(&mut self, tunnel: TunnelId, direction: Direction, spi: u32) -> Option<&mut Sa> {
        let of = self.tunnels.get_mut(&tunnel)?;
        match direction {
            Direction::Inbound => of.inbound.get_mut(&spi),
            Direction::Outbound => of.outbound.as_mut(),
        }
    }

    /// Takes an SA out that the kernel does not have any more.
    fn take(&mut self, tunnel: TunnelId, direction: Direction, spi: u32) -> Option<Sa> {
        let of = self.tunnels.get_mut(&tunnel)?;
        let sa = match direction {
            Direction::Inbound => of.inbound.remove(&spi),
            Direction::Outbound => of.outbound.take(),
        }?;
        of.remember(&sa.carrier);
        Some(sa)
    }

    fn expired(&mut self, state: &StateSeen, hard: bool) {
        let Some((tunnel, direction)) = self.whose(state.id, state.binding()) else {
            if hard {
                self.adopted_is_gone(state);
            }
            return;
        };
        let spi = state.id.spi;
        let Some(sa) = self.sa_mut(tunnel, direction, spi) else {
            return;
        };
        sa.carrier.note(state);
        let told = if hard {
            &mut sa.told.hard
        } else {
            &mut sa.told.soft
        };
        let news = !std::mem::replace(told, true);
        if news {
            self.unsaid.push_back(if hard {
                PlaneEvent::HardLimit {
                    tunnel,
                    spi,
                    direction,
                }
            } else {
                PlaneEvent::SoftLimit {
                    tunnel,
                    spi,
                    direction,
                }
            });
        }
        if hard {
            // The kernel has deleted it already.
            self.take(tunnel, direction, spi);
            self.block_if_outbound(tunnel, direction);
        }
    }

    fn deleted(&mut self, state: &StateSeen) {
        match self.whose(state.id, state.binding()) {
            Some((tunnel, direction)) => {
                if let Some(sa) = self.sa_mut(tunnel, direction, state.id.spi) {
                    sa.carrier.note(state);
                }
                self.take(tunnel, direction, state.id.spi);
                self.lose(tunnel, state.id.spi, direction);
            }
            None => self.adopted_is_gone(state),
        }
    }

    /// An SA of ours is gone, and it was not us.
    pub(super) fn lose(&mut self, tunnel: TunnelId, spi: u32, direction: Direction) {
        tracing::warn!(
            %tunnel,
            spi = format_args!("{spi:08x}"),
            "the kernel has lost an SA of ours: somebody deleted it; a new one is negotiated"
        );
        self.unsaid.push_back(PlaneEvent::SaLost {
            tunnel,
            spi,
            direction,
        });
        self.block_if_outbound(tunnel, direction);
    }

    fn block_if_outbound(&mut self, tunnel: TunnelId, direction: Direction) {
        if direction == Direction::Outbound {
            self.put_back(tunnel, &[Hook::Out]);
        }
    }

    fn adopted_is_gone(&mut self, state: &StateSeen) {
        let found = self.tunnels.iter_mut().find_map(|(&tunnel, of)| {
            let at = of.adopted.iter().position(|it| it.carrier.is(state))?;
            let adopted = of.adopted.remove(at);
            of.remember(&adopted.carrier);
            Some((tunnel, adopted.carrier.direction))
        });
        if let Some((tunnel, direction)) = found
            && self
                .tunnels
                .get(&tunnel)
                .is_some_and(|of| of.outbound.is_none())
        {
            self.block_if_outbound(tunnel, direction);
        }
    }

    /// Somebody changed a state: its lifetime and ports are put right; its keys and numbers cannot have been changed.
    fn changed(&mut self, state: &StateSeen) {
        let Some((tunnel, direction)) = self.whose(state.id, state.binding()) else {
            return;
        };
        let Some(of) = self.tunnels.get(&tunnel) else {
            return;
        };
        let sa = match direction {
            Direction::Inbound => of.inbound.get(&state.id.spi),
            Direction::Outbound => of.outbound.as_ref(),
        };
        let Some(sa) = sa.filter(|sa| !sa.is_as_wanted(state)) else {
            return;
        };
        tracing::warn!(
            tunnel = %of.spec.interface,
            spi = format_args!("{:08x}", state.id.spi),
            "somebody changed an SA of ours; it is put right"
        );
        if let Err(refusal) = sa.update(&mut self.kernel, &of.spec) {
            tracing::warn!(tunnel = %of.spec.interface, "cannot put the SA right: {refusal}");
        }
    }

    fn mapping(&mut self, id: SaId, new: std::net::SocketAddr) {
        let Some((tunnel, Direction::Inbound)) = self.whose(id, None) else {
            return;
        };
        let Some(sa) = self.sa_mut(tunnel, Direction::Inbound, id.spi) else {
            return;
        };
        if std::mem::replace(&mut sa.expected, new) != new {
            self.unsaid.push_back(PlaneEvent::NatMapping {
                tunnel,
                spi: id.spi,
                from: new,
            });
        }
    }

    fn tunnel_of(&self, policy: &PolicySeen) -> Option<(TunnelId, Hook)> {
        let id = policy.id()?;
        let mut tunnels = self.tunnels.iter();
        let (&tunnel, _) = tunnels.find(|(_, of)| of.policy_id(id.hook) == id)?;
        Some((tunnel, id.hook))
    }

    fn policy_put(&mut self, policy: &PolicySeen) {
        let Some((tunnel, hook)) = self.tunnel_of(policy) else {
            return;
        };
        let right = self
            .tunnels
            .get(&tunnel)
            .is_some_and(|of| policy.is(&of.policy(hook, self.bind)));
        if !right {
            self.restore_policy(tunnel, hook);
        }
    }

    fn policy_gone(&mut self, policy: &PolicySeen) {
        if let Some((tunnel, hook)) = self.tunnel_of(policy) {
            self.restore_policy(tunnel, hook);
        }
    }

    fn restore_policy(&mut self, tunnel: TunnelId, hook: Hook) {
        tracing::debug!(%tunnel, ?hook, "somebody deleted or changed a policy of ours; it is put back");
        self.put_back(tunnel, &[hook]);
        let event = PlaneEvent::PolicyRestored { tunnel };
        if !self.unsaid.contains(&event) {
            self.unsaid.push_back(event);
        }
    }

    fn put_back(&mut self, tunnel: TunnelId, hooks: &[Hook]) {
        let Some(of) = self.tunnels.get(&tunnel) else {
            return;
        };
        for &hook in hooks {
            if let Err(refusal) = self.kernel.put_policy(&of.policy(hook, self.bind)) {
                tracing::error!(tunnel = %of.spec.interface, "cannot put the policy back: {refusal}");
            }
        }
    }

    /// Compares the kernel's databases with what we believe, and puts right what differs.
    pub(super) fn audit(&mut self) -> Result<(), Reason> {
        let error =
            |refusal: Refusal| Reason::of("compare SAs and policies", About::Xfrm, &refusal);
        let states = self.kernel.states().map_err(error)?;
        let policies = self.kernel.policies().map_err(error)?;
        self.audit_states(&states);
        self.audit_policies(&policies);
        Ok(())
    }

    fn audit_states(&mut self, states: &[StateSeen]) {
        let is_there = |sa: &Sa| states.iter().any(|state| sa.carrier.is(state));
        let lost: Vec<_> = self
            .tunnels
            .iter()
            .flat_map(|(&tunnel, of)| {
                let sas = of.inbound.values().chain(&of.outbound);
                sas.filter(|sa| !is_there(sa))
                    .map(move |sa| (tunnel, sa.carrier.direction, sa.carrier.id.spi))
            })
            .collect();
        for (tunnel, direction, spi) in lost {
            self.take(tunnel, direction, spi);
            self.lose(tunnel, spi, direction);
        }
        let gone_adopted: Vec<_> = self
            .tunnels
            .values()
            .flat_map(|of| &of.adopted)
            .filter(|adopted| !states.iter().any(|state| adopted.carrier.is(state)))
            .map(|adopted| (adopted.carrier.id, adopted.carrier.binding))
            .collect();
        for (id, binding) in gone_adopted {
            self.drop_adopted(id, binding);
        }
        for state in states {
            let Some(binding) = ours(state.binding()) else {
                continue;
            };
            let known = self
                .tunnels
                .values()
                .any(|of| of.carriers().any(|carrier| carrier.is(state)));
            if known {
                self.changed(state);
            } else if !self.leftovers.states.contains_key(&binding) {
                tracing::warn!(
                    spi = format_args!("{:08x}", state.id.spi),
                    "removed an SA that carries our number and is not ours"
                );
                let _ = gone(self.kernel.delete_state(state.id, binding));
            }
        }
    }

    fn drop_adopted(&mut self, id: SaId, binding: Binding) {
        let found = self.tunnels.iter_mut().find_map(|(&tunnel, of)| {
            let is_it =
                |it: &super::tunnel::Adopted| it.carrier.id == id && it.carrier.binding == binding;
            let at = of.adopted.iter().position(is_it)?;
            let adopted = of.adopted.remove(at);
            of.remember(&adopted.carrier);
            Some((tunnel, adopted.carrier.direction))
        });
        if let Some((tunnel, direction)) = found {
            self.block_if_outbound(tunnel, direction);
        }
    }

    fn audit_policies(&mut self, policies: &[PolicySeen]) {
        let wrong: Vec<_> = self
            .tunnels
            .iter()
            .flat_map(|(&tunnel, of)| {
                of.policies(self.bind)
                    .into_iter()
                    .filter(|policy| !policies.iter().any(|seen| seen.is(policy)))
                    .map(move |policy| (tunnel, policy.id.hook))
            })
            .collect();
        for (tunnel, hook) in wrong {
            self.restore_policy(tunnel, hook);
        }
    }

    /// Looks for the first packet on inbound SAs that have had none, and removes those that carry nothing new once their time is up. Returns whether
    /// there is still something to look for.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let mut waiting = false;
        let mut over = Vec::new();
        for (&tunnel, of) in &mut self.tunnels {
            for sa in of.inbound.values_mut().filter(|sa| !sa.told.first) {
                let _ = sa.carrier.look(&mut self.kernel);
                if sa.carrier.last.packets > 0 {
                    sa.told.first = true;
                    let spi = sa.carrier.id.spi;
                    self.unsaid
                        .push_back(PlaneEvent::FirstInbound { tunnel, spi });
                } else {
                    waiting = true;
                }
            }
            let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
            while let Some(at) = of.adopted.iter().position(|it| is_over(it.until)) {
                over.push((tunnel, of.adopted.remove(at).carrier));
            }
            waiting |= of.adopted.iter().any(|it| it.until.is_some());
        }
        for (tunnel, carrier) in over {
            self.forget(tunnel, carrier);
        }
        waiting
    }

    /// The way of each tunnel that sends, for asking what it carries.
    pub(super) fn ways(&self) -> Vec<(TunnelId, std::net::IpAddr, std::net::IpAddr)> {
        let sending = self.tunnels.iter();
        sending
            .filter_map(|(&tunnel, of)| {
                let spec = &of.outbound.as_ref()?.spec;
                Some((tunnel, spec.local, spec.remote))
            })
            .collect()
    }

    /// The kernel says what the way to a tunnel's peer carries.
    pub(super) fn learn_path_mtu(&mut self, tunnel: TunnelId, mtu: u16) {
        let Some(of) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let limit = (mtu < of.spec.outer_mtu).then_some(mtu);
        if of.path_mtu != limit {
            of.path_mtu = limit;
            self.unsaid.push_back(PlaneEvent::PathMtu {
                tunnel,
                outer_mtu: mtu.min(of.spec.outer_mtu),
            });
        }
    }
}
