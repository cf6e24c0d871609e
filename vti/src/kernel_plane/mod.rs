//! The kernel data plane: XFRM states and policies, bound to a `vti` or `xfrm` interface.

mod probe;
mod reason;

pub use self::probe::{Probe, Wanted, probe};
pub use self::reason::Reason;
