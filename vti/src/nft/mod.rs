//! The gateway's firewall: nf_tables, spoken natively over netlink.

mod error;
mod layout;
mod ruleset;
mod set;
mod table;
mod text;

pub use error::Error;
pub use ruleset::{
    Action, Alias, BgpPeer, CloudRule, IKE_PORT, INTERFACE_NAME_MAX, NAME_MAX, NAT_T_PORT,
    PortRange, Ports, Protocol, Ruleset, RulesetError, Scope, WanRules,
};
pub use table::TABLE;
pub use text::render;
