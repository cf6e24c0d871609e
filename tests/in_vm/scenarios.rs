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
    /// strongSwan with the kernel's ESP and a VTI.
    Vti,
    /// strongSwan with the kernel's ESP and an xfrm interface.
    Xfrm,
    /// Libreswan with a VTI.
    Libreswan,
}

impl Peers {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Vti => "vti",
            Self::Xfrm => "xfrm",
            Self::Libreswan => "libreswan",
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
pub(crate) const SCENARIOS: &[Scenario] = &[
    row(
        "e2e_reference",
        "both_tunnels_and_sessions_come_up_and_both_sides_agree",
        Plane::Userspace,
        Peers::Libreswan,
    ),
    row(
        "e2e_reference",
        "a_machine_at_home_and_the_instance_reach_each_other",
        Plane::Userspace,
        Peers::Vti,
    ),
    row(
        "e2e_reference",
        "cbc_and_sha1_for_esp_too_come_up",
        Plane::Userspace,
        Peers::Xfrm,
    ),
];
