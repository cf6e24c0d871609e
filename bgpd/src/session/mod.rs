//! One peer's session: its connections, the finite state machine over them, and its timers
//! (RFC 4271, section 8).

mod state;

pub use state::State;
