//! A BGP-4 speaker as a value (RFC 4271): octets, orders and the time go in, octets, routes for the
//! kernel and a journal come out. No sockets, no clock, no threads.
//!
//! # The contract
//!
//! After every call that takes `&mut Speaker` and is not a `poll_*`, call `poll_action`, `poll_fib`
//! and `poll_event` until each returns `None`, then wait until `poll_timeout`. Time never goes back.
//!
//! # The map
//!
//! `wire` knows messages, `session` the finite state machine of one peer, `rib` the tables and the
//! decision process, `policy` what passes. [`Speaker`] holds one of each and all peers.

mod asn;
mod command;
mod config;
mod error;
mod event;
mod outbox;
mod peer_name;
pub mod policy;
mod range;
mod rib;
mod session;
mod speaker;
pub mod view;
pub mod wire;

pub use asn::Asn;
pub use command::{Command, CommandError};
pub use config::{
    DefaultOriginate, Effect, EffectKind, GracefulRestart, LocalRoute, LocalSource, Md5Key,
    OverLimit, PeerConfig, Policy, PrefixLimit, Role, SpeakerConfig,
};
pub use error::SessionError;
pub use event::{
    Action, Agreed, ConnId, DownReason, Event, FibChange, FibNextHop, PeerRestart, Refused,
    StaleEnd,
};
pub use peer_name::PeerName;
pub use range::PeerRange;
pub use rib::{Eligibility, LostBy, MultipathVerdict};
pub use session::State;
pub use speaker::Speaker;
