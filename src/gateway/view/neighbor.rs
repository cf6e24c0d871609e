//! One BGP neighbor in full, in words and seconds; `docs/status.md` has the fields.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bgpd::view::{MessageCounts, Neighbor};
use bgpd::wire::{Capabilities, Families, Family};
use bgpd::{Agreed, OverLimit, PeerRestart, Policy};
use serde::Serialize;

use super::bfd::BfdView;
use super::bgp::NeighborView;
use super::seconds;

#[derive(Serialize)]
pub(super) struct NeighborInFull<'a> {
    /// As in the summary.
    summary: NeighborView,
    local_asn: u32,
    interface: Option<&'a str>,
    agreed: Option<AgreedView>,
    hold_time_seconds: u64,
    hold_remaining_seconds: Option<u64>,
    our_capabilities: Vec<String>,
    their_capabilities: Option<Vec<String>>,
    import: Option<String>,
    export: Option<String>,
    max_prefixes: u32,
    /// As the site file writes `max-prefixes-action`.
    over_limit: &'static str,
    refused: &'a BTreeMap<&'static str, u32>,
    end_of_rib_received: bool,
    pending: usize,
    messages_received: MessageCounts,
    messages_sent: MessageCounts,
    update_faults: u64,
    established_count: u32,
    last_error: Option<String>,
    remarks: &'a [String],
    /// Where the path is watched.
    bfd: Option<BfdView>,
}

#[derive(Serialize)]
struct AgreedView {
    remote_asn: u32,
    remote_id: Ipv4Addr,
    local_address: IpAddr,
    hold_time_seconds: u64,
    keepalive_seconds: u64,
    four_octet_as: bool,
    route_refresh: bool,
    enhanced_route_refresh: bool,
    ipv4_unicast: bool,
    families: Families,
    extended_next_hop: bool,
    graceful_restart: Option<RestartView>,
}

#[derive(Serialize)]
struct RestartView {
    restarted: bool,
    restart_time_seconds: u64,
    notification: bool,
    forwards: bool,
    forwarding_preserved: bool,
}

pub(super) fn in_full(
    summary: NeighborView,
    bfd: Option<BfdView>,
    neighbor: &Neighbor,
) -> NeighborInFull<'_> {
    NeighborInFull {
        summary,
        local_asn: neighbor.local_asn.0,
        interface: neighbor.interface.as_deref(),
        agreed: neighbor.agreed.as_ref().map(agreed),
        hold_time_seconds: seconds(neighbor.hold_time),
        hold_remaining_seconds: neighbor.hold_remaining.map(seconds),
        our_capabilities: capabilities(&neighbor.our_capabilities),
        their_capabilities: neighbor.their_capabilities.as_ref().map(capabilities),
        import: neighbor.import.as_ref().map(policy),
        export: neighbor.export.as_ref().map(policy),
        max_prefixes: neighbor.limit.max,
        over_limit: match neighbor.limit.over {
            OverLimit::Warn => "warn",
            OverLimit::Shutdown { restart: Some(_) } => "restart",
            OverLimit::Shutdown { restart: None } => "shutdown",
        },
        refused: &neighbor.refused,
        end_of_rib_received: neighbor.end_of_rib_received,
        pending: neighbor.pending,
        messages_received: neighbor.messages_received,
        messages_sent: neighbor.messages_sent,
        update_faults: neighbor.update_faults,
        established_count: neighbor.established_count,
        last_error: neighbor.last_error.as_ref().map(ToString::to_string),
        remarks: &neighbor.remarks,
        bfd,
    }
}

fn agreed(agreed: &Agreed) -> AgreedView {
    AgreedView {
        remote_asn: agreed.remote_asn.0,
        remote_id: agreed.remote_id,
        local_address: agreed.local_address,
        hold_time_seconds: seconds(agreed.hold_time),
        keepalive_seconds: seconds(agreed.keepalive),
        four_octet_as: agreed.four_octet_as,
        route_refresh: agreed.route_refresh,
        enhanced_route_refresh: agreed.enhanced_route_refresh,
        ipv4_unicast: agreed.families.contains(Family::IPV4_UNICAST),
        families: agreed.families,
        extended_next_hop: agreed.extended_next_hop,
        graceful_restart: agreed.graceful_restart.as_ref().map(restart),
    }
}

fn restart(restart: &PeerRestart) -> RestartView {
    RestartView {
        restarted: restart.restarted,
        restart_time_seconds: seconds(restart.restart_time),
        notification: restart.notification,
        forwards: !restart.forwards.is_empty(),
        forwarding_preserved: !restart.forwarding_preserved.is_empty(),
    }
}

/// The registry's names; a number where there is none.
fn capabilities(capabilities: &Capabilities) -> Vec<String> {
    let names = capabilities.0.iter().map(|one| match one.name() {
        "unknown" => format!("capability {}", one.code()),
        name => name.to_owned(),
    });
    names.collect()
}

/// As the site file writes it.
fn policy(policy: &Policy) -> String {
    match policy {
        Policy::PermitAll => "all".to_owned(),
        Policy::DenyAll => "none".to_owned(),
        Policy::PrefixList(name) | Policy::RouteMap(name) => name.clone(),
    }
}
