//! Whether this kernel can be a data plane: asked by trying, because neither a version nor a module's name says what a kernel does.

use crypto::Suite;

use super::reason::Reason;

/// What the kernel can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether policies can be read and written at all.
    pub xfrm: Result<(), Reason>,
    /// Whether it makes `xfrm` interfaces.
    pub xfrm_interface: Result<(), Reason>,
    /// Whether it makes `vti` interfaces.
    pub vti: Result<(), Reason>,
    /// Whether it takes an SA of each suite that was asked for, in that order.
    pub suites: Vec<(Suite, Result<(), Reason>)>,
}

/// What an SA will be like, as far as kernels differ in what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The anti-replay window, in packets.
    pub replay_window: u32,
    /// Whether sequence numbers are extended.
    pub esn: bool,
}

/// Tries. Nothing that it makes can carry a packet of anybody's, and nothing of it is left. Needs CAP_NET_ADMIN in the network
/// namespace of the calling thread; takes a few milliseconds, seconds where the kernel has to load modules.
#[must_use]
pub fn probe(suites: &[Suite], wanted: Wanted) -> Probe {
    let _ = (suites, wanted);
    todo!()
}
