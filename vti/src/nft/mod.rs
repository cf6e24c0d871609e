//! The gateway's firewall: nf_tables, spoken natively over netlink.
//!
//! ```text
//! Ruleset ──layout──► Table ──text───► what `nft -f` would load
//!                       │  └──encode─► one atomic batch ──► kernel
//!                       └────observe◄─ what the kernel holds
//! trace: the tables of others, and whether they let our packets through
//! ```
//!
//! Everything that is ours is in the table `inet causeway`; no other table is ever written. Its base chains
//! have the policy accept and only decide about IKE and ESP on the WAN, BGP, and what comes out of
//! tunnels: it is not the host's firewall. It lowers TCP's MSS where the data plane does not. An accept here does not overrule a drop in another table, which
//! is why [`Firewall::trace`] looks at those as well.
//!
//! Not here: NAT, and the rules of iptables-legacy, which nf_tables cannot see.

mod encode;
mod error;
mod firewall;
mod layout;
mod observe;
mod ruleset;
mod set;
mod socket;
mod table;
mod text;
mod trace;
mod wire;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use firewall::{Applied, Firewall};
pub use observe::{Count, Difference, Observed};
pub use ruleset::{
    Action, Alias, BgpPeer, BgpRange, CloudRule, IKE_PORT, INTERFACE_NAME_MAX, NAME_MAX,
    NAT_T_PORT, PortRange, Ports, Protocol, Ruleset, RulesetError, Scope, WanRules,
};
pub use table::TABLE;
pub use text::render;
pub use trace::{At, Doubt, Flow, Outcome, Passage, Path, Place, Trace, When};
