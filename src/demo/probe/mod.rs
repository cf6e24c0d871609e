//! Traffic of our own: echo requests, transfers, short connections, numbered flows, and what a stranger would send.
//!
//! Sockets are opened inside a namespace and belong to it for good; they are used from anywhere. Every wait is bounded, and
//! ends early when the tour has to end.

mod echo;
mod flow;
mod service;
mod stranger;
mod transfer;

pub(super) use echo::Echo;
pub(super) use flow::{FLOWS, Flow};
pub(super) use service::{Service, spread};
pub(super) use stranger::{ATTEMPTS, Attempt, knock};
pub(super) use transfer::{Transfer, transfer};
