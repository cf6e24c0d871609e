//! The kernel's security databases: states (SAs), policies, and what the kernel says about them, over NETLINK_XFRM.
//!
//! An own small codec, because keys pass through it: they are written from a [`Secret`](crypto::Secret) into a buffer that is
//! overwritten as soon as it is sent, and what is read back never has any. Layouts are those of `linux/xfrm.h`, for ABIs that align
//! 64-bit integers to 8 bytes.
//!
//! - `abi`: numbers. `message`: requests under construction. `field`: the structures that several messages share.
//! - [`state`], [`policy`], [`notice`]: what is sent and read.
//! - [`algorithm`]: what the kernel calls our suites.
//! - [`socket`]: asking, and listening.
//!
//! There is no way to send a policy or a state of ours without a [`Binding`](crate::plane::Binding): nothing that was not routed
//! into a tunnel's interface can match it.

// `struct xfrm_usersa_info` and others have padding that depends on it.
const _: () = assert!(
    align_of::<u64>() == 8,
    "the layouts of NETLINK_XFRM are not known for this ABI"
);

mod abi;
pub mod algorithm;
mod field;
mod message;
pub mod notice;
pub mod policy;
pub mod socket;
pub mod state;
#[cfg(test)]
mod tests;
mod text;

pub use self::field::{Lifetime, Mark, Selector, Usage};
pub use self::policy::{Action, Hook, Policy, PolicyId, PolicySeen, Template};
pub use self::socket::{Listener, Refusal, Socket};
pub use self::state::{NewState, Replay, SaId, StateSeen};
