//! What the plane asks of a kernel, so that its logic can be tested against a pretended one.

use nix::errno::Errno;

use crate::plane::Binding;
use crate::xfrm::{NewState, Policy, PolicyId, PolicySeen, Refusal, SaId, Socket, StateSeen};

/// The security databases of one network namespace.
pub(super) trait Kernel: Send {
    fn add_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal>;
    fn update_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal>;
    fn delete_state(&mut self, id: SaId, binding: Binding) -> Result<(), Refusal>;
    fn state(&mut self, id: SaId, binding: Binding) -> Result<Option<StateSeen>, Refusal>;
    fn states(&mut self) -> Result<Vec<StateSeen>, Refusal>;
    fn put_policy(&mut self, policy: &Policy) -> Result<(), Refusal>;
    fn delete_policy(&mut self, id: &PolicyId) -> Result<(), Refusal>;
    fn policies(&mut self) -> Result<Vec<PolicySeen>, Refusal>;
    /// The index of the device of that name.
    fn device(&mut self, name: &str) -> Result<u32, Refusal>;
    /// The number by which notices name who caused them.
    fn port(&self) -> u32;
}

impl Kernel for Socket {
    fn add_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal> {
        Self::add_state(self, state)
    }

    fn update_state(&mut self, state: &NewState<'_>) -> Result<(), Refusal> {
        Self::update_state(self, state)
    }

    fn delete_state(&mut self, id: SaId, binding: Binding) -> Result<(), Refusal> {
        Self::delete_state(self, id, binding)
    }

    fn state(&mut self, id: SaId, binding: Binding) -> Result<Option<StateSeen>, Refusal> {
        Self::state(self, id, binding)
    }

    fn states(&mut self) -> Result<Vec<StateSeen>, Refusal> {
        Self::states(self)
    }

    fn put_policy(&mut self, policy: &Policy) -> Result<(), Refusal> {
        Self::put_policy(self, policy)
    }

    fn delete_policy(&mut self, id: &PolicyId) -> Result<(), Refusal> {
        Self::delete_policy(self, id)
    }

    fn policies(&mut self) -> Result<Vec<PolicySeen>, Refusal> {
        Self::policies(self)
    }

    fn device(&mut self, name: &str) -> Result<u32, Refusal> {
        nix::net::if_::if_nametoindex(name).map_err(Refusal::from)
    }

    fn port(&self) -> u32 {
        Self::port(self)
    }
}

/// Success also where the thing is gone already.
pub(super) fn gone(outcome: Result<(), Refusal>) -> Result<(), Refusal> {
    match outcome {
        Err(refusal) if matches!(refusal.errno, Errno::ESRCH | Errno::ENOENT) => Ok(()),
        outcome => outcome,
    }
}
