//! What an earlier process left in the kernel: it was killed while its SAs carried packets, and they still do.

use std::collections::BTreeMap;

use super::core::Core;
use super::kernel::{Kernel, gone};
use super::sa::Carrier;
use super::tunnel::Adopted;
use crate::plane::{Binding, Direction, TunnelId};
use crate::xfrm::{Hook, PolicySeen, Refusal, StateSeen};

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
        let Leftovers { states, policies } = std::mem::take(&mut self.leftovers);
        let mut swept = 0;
        for (binding, states) in states {
            for state in states {
                let deleted = gone(self.kernel.delete_state(state.id, binding));
                swept += usize::from(deleted.is_ok());
            }
        }
        for policies in policies.into_values() {
            for id in policies.iter().filter_map(PolicySeen::id) {
                let deleted = gone(self.kernel.delete_policy(&id));
                swept += usize::from(deleted.is_ok());
            }
        }
        if swept > 0 {
            tracing::info!(
                objects = swept,
                "removed SAs and policies that an earlier run left"
            );
        }
        swept
    }
}
