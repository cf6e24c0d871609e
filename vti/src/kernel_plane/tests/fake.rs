//! A kernel that keeps states and policies as the real one does, and a journal of what was asked.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::super::kernel::Kernel;
use crate::plane::{Binding, Direction};
use crate::xfrm::{
    Action, Hook, Mark, NewState, Policy, PolicyId, PolicySeen, Refusal, Replay, SaId, StateSeen,
    Usage,
};

#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) states: BTreeMap<SaId, StateSeen>,
    pub(super) policies: Vec<Policy>,
    /// What was asked, in order.
    pub(super) journal: Vec<String>,
    /// What is refused, by the beginning of its line in the journal; used up by being used.
    pub(super) refuse: Vec<(&'static str, Errno)>,
    /// Whether this is a kernel before Linux 6.10.
    pub(super) old: bool,
}

impl Fake {
    fn ask(&mut self, line: String) -> Result<(), Refusal> {
        let refused = self
            .refuse
            .iter()
            .position(|(what, _)| line.starts_with(what));
        self.journal.push(line);
        match refused {
            Some(at) => Err(self.refuse.remove(at).1.into()),
            None => Ok(()),
        }
    }

    pub(super) fn carried(&mut self, spi: u32, packets: u64) {
        for state in self.states.values_mut().filter(|it| it.id.spi == spi) {
            state.usage = Usage {
                packets: state.usage.packets + packets,
                bytes: state.usage.bytes + packets * 100,
                ..state.usage
            };
            match state.direction {
                Some(Direction::Outbound) => state.replay.sent += packets,
                _ => state.replay.received += packets,
            }
        }
    }

    pub(super) fn take(&mut self, spi: u32) -> StateSeen {
        let id = *self.states.keys().find(|id| id.spi == spi).unwrap();
        self.states.remove(&id).unwrap()
    }

    pub(super) fn out(&self) -> &Policy {
        let ours = |it: &&Policy| it.id.hook == Hook::Out && it.id.binding == super::BINDING;
        let mut out = self.policies.iter().filter(ours);
        out.next().unwrap()
    }

    pub(super) fn seen(policy: &Policy) -> PolicySeen {
        let (mark, if_id) = marks(policy.id.binding);
        PolicySeen {
            hook: policy.id.hook,
            selector: policy.id.selector.clone(),
            priority: policy.priority,
            index: 8,
            action: policy.action,
            templates: Vec::from_iter(policy.template),
            mark,
            if_id,
        }
    }
}

fn marks(binding: Binding) -> (Option<Mark>, Option<u32>) {
    match binding {
        Binding::IfId(id) => (None, Some(id)),
        Binding::Mark(value) => (
            Some(Mark {
                value,
                mask: u32::MAX,
            }),
            None,
        ),
    }
}

pub(super) fn seen(state: &NewState<'_>) -> StateSeen {
    let (mark, if_id) = marks(state.binding);
    StateSeen {
        id: state.id,
        protocol: 50,
        source: state.source,
        reqid: state.reqid,
        tunnel: true,
        mark,
        if_id,
        direction: Some(state.direction),
        esn: state.esn,
        window: state.window,
        replay: state.replay.clone(),
        encap: state.encap,
        lifetime: state.lifetime,
        usage: Usage::default(),
        faults: Default::default(),
        last_used: None,
        algorithms: Vec::new(),
        output_mark: None,
        offload: state.offload.map(|it| it.interface),
    }
}

impl Kernel for Fake {
    fn add_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal> {
        let way = match state.direction {
            Direction::Inbound => "in",
            Direction::Outbound => "out",
        };
        let Replay { sent, received, .. } = state.replay;
        let device = state.offload.map_or("", |_| " on a device");
        let id = state.id;
        self.ask(format!(
            "add {way} {:x} to {} at {sent}/{received}{device}",
            id.spi, id.destination
        ))?;
        if self.old && state.name_direction && state.esn && state.direction == Direction::Outbound {
            return Err(Errno::EINVAL.into());
        }
        if self.states.contains_key(&id) {
            return Err(Errno::EEXIST.into());
        }
        self.states.insert(id, seen(state));
        Ok(())
    }

    fn update_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal> {
        self.ask(format!("update {:x}", state.id.spi))?;
        let there = self.states.get_mut(&state.id).ok_or(Errno::ESRCH)?;
        if there.encap.is_some() != state.encap.is_some() {
            return Err(Errno::EINVAL.into());
        }
        (there.encap, there.lifetime) = (state.encap, state.lifetime);
        Ok(())
    }

    fn delete_state(&mut self, id: SaId, binding: Binding) -> Result<(), Refusal> {
        self.ask(format!("delete {:x}", id.spi))?;
        let matches = |it: &StateSeen| it.binding() == Some(binding);
        if self.states.get(&id).is_some_and(matches) {
            self.states.remove(&id);
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    }

    fn state(&mut self, id: SaId, binding: Binding) -> Result<Option<StateSeen>, Refusal> {
        let found = self.states.get(&id);
        Ok(found.filter(|it| it.binding() == Some(binding)).cloned())
    }

    fn states(&mut self) -> Result<Vec<StateSeen>, Refusal> {
        self.ask("list states".into())?;
        Ok(self.states.values().cloned().collect())
    }

    fn put_policy(&mut self, policy: &Policy) -> Result<(), Refusal> {
        let what = match (policy.action, policy.template) {
            (Action::Block, _) => "block".to_owned(),
            (Action::Allow, None) => "CLEAR TEXT".to_owned(),
            (Action::Allow, Some(template)) if template.id.spi == 0 => {
                format!("any of reqid {}", template.reqid)
            }
            (Action::Allow, Some(template)) => {
                format!("{:x} to {}", template.id.spi, template.id.destination)
            }
        };
        self.ask(format!("policy {:?}: {what}", policy.id.hook))?;
        self.policies.retain(|it| it.id != policy.id);
        self.policies.push(policy.clone());
        Ok(())
    }

    fn delete_policy(&mut self, id: &PolicyId) -> Result<(), Refusal> {
        self.ask(format!("no policy {:?}", id.hook))?;
        let before = self.policies.len();
        self.policies.retain(|it| it.id != *id);
        if self.policies.len() == before {
            return Err(Errno::ENOENT.into());
        }
        Ok(())
    }

    fn policies(&mut self) -> Result<Vec<PolicySeen>, Refusal> {
        self.ask("list policies".into())?;
        Ok(self.policies.iter().map(Self::seen).collect())
    }

    fn device(&mut self, name: &str) -> Result<u32, Refusal> {
        match name {
            "eth0" => Ok(2),
            _ => Err(Errno::ENODEV.into()),
        }
    }

    fn port(&self) -> u32 {
        4711
    }
}
