//! IKEv2 (RFC 7296) without I/O: initiator and responder, as a value.
//!
//! The promise: nothing here opens a socket, reads a clock, asks the OS for randomness or starts a
//! thread. Datagrams, commands and the time go in by method call; datagrams, events and a deadline
//! come out by `poll_*`. The same inputs with the same seed give the same outputs.
//!
//! The contract: after every `handle_*` or [`Endpoint::command`], drain
//! [`Endpoint::poll_transmit`], [`Endpoint::poll_event`] and [`Endpoint::poll_job`] until all are empty, then ask
//! [`Endpoint::poll_timeout`] when to call [`Endpoint::handle_timeout`]. Events come in the order
//! in which they must be acted upon. `now` never goes backwards.
//!
//! The map, from the outside in:
//! - [`Endpoint`]: all connections and IKE SAs; who a datagram is for; when to initiate
//! - `sa`: one IKE SA; its life (`initiator`, `responder`, `established`), its `window` and its
//!   `task`s; everything about exchanges that cross is in `sa/task/collision.rs`
//! - `select`: choosing proposals; `child`: CHILD_SAs; `nat`, `cookie`: what their names say
//! - the module [`wire`]: bytes
//!
//! What is not here: ESP packets, interfaces, configuration files. What a peer that has proved nothing can
//! make us compute leaves as a [`Job`] where the group is slow and the caller wants it so
//! ([`EndpointConfig::job_limit`]); what we do for ourselves or for an authenticated peer is computed inline.

mod child;
mod connection;
mod context;
mod cookie;
mod describe;
mod endpoint;
mod error;
mod event;
mod job;
mod nat;
mod sa;
mod select;
mod status;
pub mod wire;

pub use connection::{
    Auth, Certificates, Command, Connection, ConnectionId, Encapsulation, EsnPolicy, EspProposal,
    IkeProposal, Liveness, Narrowing, PfsPolicy, Ports, Ppk, Retransmission,
};
pub use crypto::{CryptoRng, Encryption, Group, Integrity, Kem, Prf, Secret, Suite};
pub use describe::Offer;
pub use endpoint::{Endpoint, EndpointConfig};
pub use error::{Cause, CertificateFault, Diagnosis, Negotiation, PpkFault, RefusedBy, Selectors};
pub use event::{
    ChildKeys, ChildSa, DownReason, Event, IkeSaId, Note, Path, Role, Transmit, TransmitKind,
};
pub use job::{Job, JobId, Outcome};
pub use select::Difference;
pub use status::{
    CertificateStatus, ChildStatus, ConnectionStatus, Counters, IkeSaStatus, Phase, Status,
};
pub use wire::{Identity, TrafficSelector};
