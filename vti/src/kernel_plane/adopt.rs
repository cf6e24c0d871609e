//! What an earlier process left in the kernel: it was killed while its SAs carried packets, and they still do.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::core::Core;
use super::kernel::{Kernel, gone};
use super::reason::{About, Reason};
use super::sa::Carrier;
use super::tunnel::Adopted;
use crate::plane::{Binding, Direction, TunnelId};
use crate::xfrm::{Hook, PolicySeen, Refusal, SaId, Socket, StateSeen};

/// States and policies with a binding of ours that no tunnel has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) states: BTreeMap<Binding, Vec<StateSeen>>,
    pub(super) policies: BTreeMap<Binding, Vec<PolicySeen>>,
}

/// A binding of ours: nobody else uses these numbers.
pub(super) fn ours(binding: Option<Binding>) -> Option<Binding> {
    binding.filter(|binding| binding.is_ours())
}

impl Leftovers {
    pub(super) fn find(kernel: &mut impl Kernel) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for state in kernel.states()? {
            if let Some(binding) = ours(state.binding()) {
                found.states.entry(binding).or_default().push(state);
            }
        }
        for policy in kernel.policies()? {
            if let Some(binding) = ours(policy.binding()) {
                found.policies.entry(binding).or_default().push(policy);
            }
        }
        Ok(found)
    }

    /// Deletes all of them; returns what was deleted, as commands.
    fn delete(self, kernel: &mut impl Kernel) -> Vec<String> {
        let mut deleted = Vec::new();
        for (binding, states) in self.states {
            for state in states {
                if gone(kernel.delete_state(state.id, binding)).is_ok() {
                    deleted.push(state_command(&state, binding));
                }
            }
        }
        for (binding, policies) in self.policies {
            for policy in policies {
                let id = policy.id();
                if id.is_some_and(|id| gone(kernel.delete_policy(&id)).is_ok()) {
                    deleted.push(policy_command(&policy, binding));
                }
            }
        }
        deleted
    }

    /// What can go on carrying a tunnel's packets: SAs of its reqid and binding. The one that the policy for what leaves asks for
    /// is the outbound one; of others there is no telling, and to receive on them harms nobody.
    pub(super) fn take(&mut self, tunnel: TunnelId, binding: Binding) -> Vec<Adopted> {
        let policies = self.policies.remove(&binding).unwrap_or_default();
        let template = policies
            .iter()
            .filter(|policy| policy.hook == Hook::Out)
            .find_map(|policy| policy.templates.first().copied());
        let (fitting, others): (Vec<_>, Vec<_>) = self
            .states
            .remove(&binding)
            .unwrap_or_default()
            .into_iter()
            .partition(|state| state.reqid == tunnel.0 && state.tunnel);
        if !others.is_empty() {
            self.states.insert(binding, others);
        }
        fitting
            .into_iter()
            .map(|state| {
                let template = template.filter(|template| template.id == state.id);
                let direction = match template {
                    Some(_) => Direction::Outbound,
                    None => Direction::Inbound,
                };
                Adopted {
                    carrier: Carrier::found(&state, direction, binding),
                    template,
                    until: None,
                }
            })
            .collect()
    }
}

impl<K: Kernel> Core<K> {
    /// Looks for what an earlier process left.
    pub(super) fn find_leftovers(&mut self) -> Result<(), Refusal> {
        self.leftovers = Leftovers::find(&mut self.kernel)?;
        Ok(())
    }

    /// Removes what no tunnel has claimed; returns how many objects that were.
    pub(super) fn sweep(&mut self) -> usize {
        let swept = std::mem::take(&mut self.leftovers).delete(&mut self.kernel);
        if !swept.is_empty() {
            tracing::info!(
                objects = swept.len(),
                "removed SAs and policies that an earlier run left"
            );
        }
        swept.len()
    }
}

/// Removes all SAs and policies with a binding of ours from the network namespace of the calling thread, whoever left them there:
/// for a host that goes back to the userspace plane, or does without us. Returns the commands that a person would have typed; none
/// where the kernel has no XFRM.
///
/// # Errors
/// What the kernel says.
pub fn clear() -> Result<Vec<String>, Reason> {
    let found = Socket::open().and_then(|mut socket| {
        let leftovers = Leftovers::find(&mut socket)?;
        Ok((socket, leftovers))
    });
    match found {
        Ok((mut socket, leftovers)) => Ok(leftovers.delete(&mut socket)),
        Err(refusal) if refusal.errno == Errno::EPROTONOSUPPORT => Ok(Vec::new()),
        Err(refusal) => Err(Reason::of("list SAs and policies", About::Xfrm, &refusal)),
    }
}

fn state_command(state: &StateSeen, binding: Binding) -> String {
    let mark = match binding {
        Binding::Mark(mark) => format!(" mark {mark:#x} mask 0xffffffff"),
        // The kernel finds a state without its if_id.
        Binding::IfId(_) => String::new(),
    };
    let SaId { destination, spi } = state.id;
    let source = state.source;
    format!("ip xfrm state delete src {source} dst {destination} proto esp spi {spi:#x}{mark}")
}

fn policy_command(policy: &PolicySeen, binding: Binding) -> String {
    let hook = match policy.hook {
        Hook::In => "in",
        Hook::Out => "out",
        Hook::Forward => "fwd",
    };
    let bound = match binding {
        Binding::Mark(mark) => format!("mark {mark:#x} mask 0xffffffff"),
        Binding::IfId(id) => format!("if_id {id:#x}"),
    };
    let (source, destination) = (policy.selector.source, policy.selector.destination);
    format!("ip xfrm policy delete src {source} dst {destination} dir {hook} {bound}")
}
