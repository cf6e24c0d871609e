//! Bidirectional Forwarding Detection as a value (RFC 5880, 5881, 5883): packets, orders and the time go in, packets and events
//! come out. No sockets, no clock, no threads.
//!
//! # The contract
//!
//! After every call that takes `&mut Sessions` and is not a `poll_*`, call `poll_transmit` and `poll_event` until each returns
//! `None`, then wait until `poll_timeout`. Time never goes back.
//!
//! # The map
//!
//! `packet` knows the control packet, `session` the state machine and the timers of one session. [`Sessions`] is all of them: it
//! finds whose a packet is, and counts what is nobody's.
//!
//! # What is spoken
//!
//! Asynchronous mode, single hop and multihop. Demand mode is never asked for, and honoured where the peer asks for it. There is no
//! echo function: Required Min Echo RX Interval is zero, which tells the peer so. Authentication is read and refused, as RFC 5880,
//! section 6.8.6 has it for a session that uses none.

mod config;
mod event;
mod packet;
mod session;
mod sessions;
pub mod view;

pub use config::{Hops, ImpossibleTerms, SessionConfig, SessionName, Terms};
pub use event::{DownReason, Event, Transmit};
pub use packet::{
    Authentication, AuthenticationType, ControlPacket, Diagnostic, Discriminator, Malformed, State,
};
pub use session::SLOW;
pub use sessions::{Arrival, Discard, Sessions};
