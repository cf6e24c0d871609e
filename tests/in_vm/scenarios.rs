//! Which of the end-to-end tests run inside, and on what.

/// Tests of one binary `tests/e2e_*.rs`, with what the bench is to use for them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenarios {
    pub(crate) plane: Plane,
    pub(crate) peers: Peers,
    pub(crate) binary: &'static str,
    pub(crate) tests: &'static [&'static str],
}

/// Our side's data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    Userspace,
    KernelVti,
    KernelXfrm,
}

impl Plane {
    /// As [`lab::SiteFile::reference`] reads it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Userspace => "userspace",
            Self::KernelVti => "kernel-vti",
            Self::KernelXfrm => "kernel-xfrm",
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
    /// Libreswan with a VTI, as at Oracle.
    Libreswan,
}

impl Peers {
    /// As [`lab::Peers::asked_for`] reads it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Vti => "vti",
            Self::Xfrm => "xfrm",
            Self::Libreswan => "libreswan",
        }
    }
}

const fn on(
    plane: Plane,
    peers: Peers,
    binary: &'static str,
    tests: &'static [&'static str],
) -> Scenarios {
    Scenarios {
        plane,
        peers,
        binary,
        tests,
    }
}

/// The binaries of which all tests of a module run in one machine, one after the other: each makes two namespaces and leaves
/// nothing else, and its machine's start would take longer than the test.
pub(crate) const TOGETHER: &[&str] = &["kernel_libreswan", "kernel_links", "kernel_xfrm"];

/// Each name is one test. Every behaviour of the gateway is here once on the kernel's plane, spread over both kinds of
/// interface and all peers; what our own ESP has to prove against theirs is here as well.
pub(crate) const SCENARIOS: &[Scenarios] = &[
    on(
        Plane::KernelXfrm,
        Peers::Libreswan,
        "e2e_reference",
        &[
            "both_tunnels_and_sessions_come_up_and_both_sides_agree",
            "the_suite_that_oracle_recommends_comes_up",
            "a_gateway_that_only_answers_is_brought_up_by_the_cloud",
        ],
    ),
    on(
        Plane::KernelVti,
        Peers::Libreswan,
        "e2e_reference",
        &["cbc_and_sha1_for_esp_too_come_up"],
    ),
    on(
        Plane::KernelVti,
        Peers::Xfrm,
        "e2e_reference",
        &[
            "a_machine_at_home_and_the_instance_reach_each_other",
            "both_sides_starting_at_once_end_with_one_child",
        ],
    ),
    on(
        Plane::KernelXfrm,
        Peers::Vti,
        "e2e_reference",
        &["what_is_not_routed_into_a_tunnel_is_not_encrypted"],
    ),
    on(
        Plane::KernelVti,
        Peers::Libreswan,
        "e2e_rekey",
        // Not those that we begin: Libreswan answers, and sends on the new child before its answer can be here.
        &["an_ike_sa_rekeyed_by_the_peer_loses_no_packet_and_keeps_its_child"],
    ),
    on(
        Plane::KernelXfrm,
        Peers::Vti,
        "e2e_rekey",
        &[
            "a_child_rekeyed_by_the_peer_loses_no_packet",
            "a_rekey_by_hand_from_our_side_replaces_both_sas_without_loss",
            "both_sides_rekeying_at_the_same_time_end_with_one_child_and_lose_nothing",
        ],
    ),
    on(
        Plane::KernelVti,
        Peers::Vti,
        "e2e_nat",
        &["behind_a_nat_ike_floats_to_4500_and_traffic_crosses_encapsulated"],
    ),
    on(
        Plane::KernelXfrm,
        Peers::Xfrm,
        "e2e_nat",
        &["a_nat_before_the_peer_that_forgets_its_mapping_costs_no_tunnel"],
    ),
    on(
        Plane::KernelXfrm,
        Peers::Libreswan,
        "e2e_restart",
        &[
            "a_clean_stop_leaves_the_host_as_it_was",
            "one_tunnel_dies_and_traffic_goes_on_over_the_other",
            "a_peer_that_deletes_its_sa_gets_a_new_one_at_once",
        ],
    ),
    on(
        Plane::KernelVti,
        Peers::Xfrm,
        "e2e_restart",
        &[
            "a_killed_daemon_started_again_leaves_nothing_stale_and_serves",
            "a_peer_that_restarts_without_a_word_is_served_again",
        ],
    ),
    on(
        Plane::KernelXfrm,
        Peers::Vti,
        "e2e_kubernetes",
        &["flows_spread_over_the_nodes"],
    ),
    on(
        Plane::KernelVti,
        Peers::Vti,
        "e2e_firewall",
        &["what_comes_from_the_cloud_may_be_restricted_and_the_way_out_is_not"],
    ),
    on(
        Plane::KernelVti,
        Peers::Xfrm,
        "e2e_wan",
        &["another_address_on_the_wan_moves_both_tunnels_at_once_and_no_session_is_lost"],
    ),
    on(
        Plane::KernelXfrm,
        Peers::Xfrm,
        "e2e_wan",
        &[
            "with_mobike_the_sas_follow_to_another_address_of_ours",
            "tunnels_over_ipv6_carry_ipv4_and_its_routes",
        ],
    ),
    on(
        Plane::Userspace,
        Peers::Libreswan,
        "e2e_reference",
        &["both_tunnels_and_sessions_come_up_and_both_sides_agree"],
    ),
    on(
        Plane::Userspace,
        Peers::Vti,
        "e2e_reference",
        &["a_machine_at_home_and_the_instance_reach_each_other"],
    ),
    on(
        Plane::Userspace,
        Peers::Xfrm,
        "e2e_reference",
        &["cbc_and_sha1_for_esp_too_come_up"],
    ),
];
