//! Which of the end-to-end tests run inside, and on what.

/// A test of `tests/e2e_*.rs` with what the bench is to use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) binary: &'static str,
    pub(crate) test: &'static str,
    pub(crate) plane: Plane,
    pub(crate) peers: Peers,
}

/// Our side's data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    Userspace,
}

impl Plane {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Userspace => "userspace",
        }
    }
}

/// The head-ends' programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peers {
    /// strongSwan with ESP in its own process.
    Libipsec,
}

impl Peers {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Libipsec => "libipsec",
        }
    }
}

const fn row(binary: &'static str, test: &'static str, plane: Plane, peers: Peers) -> Scenario {
    Scenario {
        binary,
        test,
        plane,
        peers,
    }
}

/// One row is one test.
pub(crate) const SCENARIOS: &[Scenario] = &[row(
    "e2e_reference",
    "both_tunnels_and_sessions_come_up_and_both_sides_agree",
    Plane::Userspace,
    Peers::Libipsec,
)];
