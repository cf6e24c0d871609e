//! One tunnel for people and programs: where it stands, and why it is not up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ike::{ConnectionStatus, IkeSaStatus, Phase};
use ipnet::IpNet;
use serde::Serialize;
use vti::plane::{Binding, Offload, TunnelCounters};

use super::seconds;
use crate::gateway::Tunnel;
use crate::gateway::said::{self, Field};
use crate::plan::TunnelPlan;

/// One tunnel.
#[derive(Serialize)]
pub(super) struct TunnelView<'a> {
    name: &'a str,
    /// `up`, `connecting`, `waiting` (for the peer to initiate) or `down`.
    state: &'static str,
    /// Why it is not up.
    reason: Option<String>,
    seconds_in_state: u64,
    profile: &'a str,
    interface: &'a str,
    /// `tun`, `xfrm` or `vti`.
    interface_kind: &'static str,
    interface_reason: String,
    /// The interface's if_id or key, which is the mark of its SAs.
    binding: Option<String>,
    offload: OffloadView<'a>,
    reqid: u32,
    inside: IpNet,
    peer_inside: IpAddr,
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    /// The peer's DNS name, where the site file has that.
    remote_name: Option<&'a str>,
    mtu: u16,
    times_down: u64,
    lost_sas: u64,
    restored_policies: u64,
    attempts: u32,
    /// Time until the next attempt, where one is waiting.
    next_attempt_seconds: Option<u64>,
    site_line: usize,
    last_failure: Option<FailureView<'a>>,
    ike: Option<IkeView>,
    children: Vec<ChildView>,
    traffic: Option<TrafficView>,
}

/// What was asked of the network card, and what became of it.
#[derive(Serialize)]
struct OffloadView<'a> {
    /// `none`, `crypto` or `packet`.
    wanted: &'static str,
    device: Option<&'a str>,
    /// Why the card does not do it.
    refused: Option<&'a str>,
}

#[derive(Serialize)]
struct FailureView<'a> {
    text: String,
    seconds_ago: u64,
    /// Where to change what it is about, the likeliest first.
    fields: &'a [Field],
}

#[derive(Serialize)]
struct IkeView {
    initiator_spi: String,
    responder_spi: String,
    /// `initiator` or `responder`.
    role: &'static str,
    suite: String,
    /// Whether a post-quantum pre-shared key is in its keys (RFC 8784).
    ppk: bool,
    peer_identity: String,
    /// What vouches for it; null with a pre-shared key.
    peer_certificate: Option<CertificateView>,
    local: String,
    remote: String,
    local_nat: bool,
    remote_nat: bool,
    encapsulated: bool,
    mobike: bool,
    age_seconds: u64,
    rekey_in_seconds: Option<u64>,
    last_heard_seconds: u64,
    retransmits: u32,
}

#[derive(Serialize)]
struct CertificateView {
    subject: String,
    issuer: String,
    /// Its last day.
    not_after: String,
}

#[derive(Serialize)]
struct ChildView {
    spi_in: String,
    spi_out: String,
    suite: String,
    pfs: Option<String>,
    esn: bool,
    outbound: bool,
    age_seconds: u64,
    rekey_in_seconds: Option<u64>,
    expires_in_seconds: u64,
}

#[derive(Serialize)]
struct TrafficView {
    packets_in: u64,
    octets_in: u64,
    packets_out: u64,
    octets_out: u64,
    drops: BTreeMap<String, u64>,
}

pub(super) fn view<'a>(
    now: Instant,
    id: u32,
    tunnel: &'a Tunnel,
    connection: Option<&ConnectionStatus>,
    traffic: Option<&TunnelCounters>,
    interface_reason: String,
) -> TunnelView<'a> {
    let plan = &tunnel.plan;
    let sas = connection
        .map(|one| one.ike_sas.as_slice())
        .unwrap_or_default();
    // While an IKE SA is being replaced there are two; the newest is the one that matters.
    let newest = sas.iter().min_by_key(|sa| sa.age);
    TunnelView {
        name: &plan.name,
        state: state(tunnel, connection),
        reason: reason(tunnel, connection),
        seconds_in_state: seconds(now.saturating_duration_since(tunnel.since)),
        profile: &plan.profile,
        interface: plan.interface(),
        interface_kind: interface_kind(plan),
        interface_reason,
        binding: plan.spec.binding.map(|binding| match binding {
            Binding::IfId(number) | Binding::Mark(number) => format!("{number:#010x}"),
        }),
        offload: offload(tunnel),
        reqid: id,
        inside: plan.inside,
        peer_inside: plan.peer_inside,
        local: tunnel.source(),
        remote: plan.remote(),
        remote_name: plan.remote_name.as_deref(),
        mtu: tunnel.inner_mtu(),
        times_down: tunnel.downs,
        lost_sas: tunnel.lost_sas,
        restored_policies: tunnel.restored_policies,
        attempts: connection.map_or(0, |one| one.attempts),
        next_attempt_seconds: connection.and_then(|one| one.next_attempt_in).map(seconds),
        site_line: plan.line,
        last_failure: tunnel.failure.as_ref().map(|(when, text)| FailureView {
            text: text.clone(),
            seconds_ago: seconds(now.saturating_duration_since(*when)),
            fields: &tunnel.fields,
        }),
        ike: newest.map(ike_view),
        children: sas.iter().flat_map(children).collect(),
        traffic: traffic.map(traffic_view),
    }
}

pub(super) const fn interface_kind(plan: &TunnelPlan) -> &'static str {
    match plan.spec.binding {
        None => "tun",
        Some(Binding::IfId(_)) => "xfrm",
        Some(Binding::Mark(_)) => "vti",
    }
}

fn offload(tunnel: &Tunnel) -> OffloadView<'_> {
    let (wanted, device) = match &tunnel.plan.spec.offload {
        Offload::Off => ("none", None),
        Offload::Crypto { device } => ("crypto", Some(device.as_str())),
        Offload::Packet { device } => ("packet", Some(device.as_str())),
    };
    OffloadView {
        wanted,
        device,
        refused: tunnel.offload_refused.as_deref(),
    }
}

pub(super) fn state(tunnel: &Tunnel, connection: Option<&ConnectionStatus>) -> &'static str {
    match connection.map(|one| one.phase) {
        _ if tunnel.is_up() => "up",
        _ if tunnel.held_down => "down",
        None | Some(Phase::Down) => "down",
        Some(Phase::Waiting) => "waiting",
        Some(Phase::BackingOff | Phase::Init | Phase::Auth | Phase::NoChild | Phase::Up) => {
            "connecting"
        }
    }
}

/// Why the tunnel is not up: the last failure says most, then where the negotiation stands.
fn reason(tunnel: &Tunnel, connection: Option<&ConnectionStatus>) -> Option<String> {
    if tunnel.is_up() {
        return None;
    }
    if tunnel.held_down {
        return Some("taken down by hand".into());
    }
    if let Some(reason) = tunnel.why_down() {
        return Some(reason.to_owned());
    }
    let remote = tunnel.plan.connection.remote;
    connection.map(|one| match one.phase {
        Phase::Waiting => said::waiting(&tunnel.plan),
        Phase::Init if one.attempts > 1 => format!(
            "{remote} does not answer IKE_SA_INIT; attempt {}",
            one.attempts
        ),
        Phase::Init => format!("IKE_SA_INIT sent to {remote}"),
        Phase::Auth => format!("IKE_AUTH under way with {remote}"),
        Phase::NoChild => "the IKE_SA stands, the CHILD_SA does not".into(),
        Phase::BackingOff => format!(
            "waiting before attempt {} to reach {remote}",
            one.attempts + 1
        ),
        Phase::Down | Phase::Up => "not wanted".into(),
    })
}

fn ike_view(sa: &IkeSaStatus) -> IkeView {
    IkeView {
        initiator_spi: sa.id.initiator.to_string(),
        responder_spi: sa.id.responder.to_string(),
        role: match sa.role {
            ike::Role::Initiator => "initiator",
            ike::Role::Responder => "responder",
        },
        suite: sa.suite.clone(),
        ppk: sa.ppk,
        peer_identity: sa.peer.to_string(),
        peer_certificate: sa.certificate.as_ref().map(|one| CertificateView {
            subject: one.subject.clone(),
            issuer: one.issuer.clone(),
            not_after: crypto::x509::date(one.not_after),
        }),
        local: sa.path.local.to_string(),
        remote: sa.path.remote.to_string(),
        local_nat: sa.path.local_nat,
        remote_nat: sa.path.remote_nat,
        encapsulated: sa.path.encapsulated,
        mobike: sa.mobike,
        age_seconds: seconds(sa.age),
        rekey_in_seconds: sa.rekey_in.map(seconds),
        last_heard_seconds: seconds(sa.last_heard),
        retransmits: sa.retransmits,
    }
}

fn children(sa: &IkeSaStatus) -> Vec<ChildView> {
    sa.children
        .iter()
        .map(|child| ChildView {
            spi_in: format!("{:08x}", child.spi_in),
            spi_out: format!("{:08x}", child.spi_out),
            suite: child.suite.clone(),
            pfs: child.pfs.clone(),
            esn: child.esn,
            outbound: child.outbound,
            age_seconds: seconds(child.age),
            rekey_in_seconds: child.rekey_in.map(seconds),
            expires_in_seconds: seconds(child.expires_in),
        })
        .collect()
}

fn traffic_view(counters: &TunnelCounters) -> TrafficView {
    TrafficView {
        packets_in: counters.packets_in,
        octets_in: counters.bytes_in,
        packets_out: counters.packets_out,
        octets_out: counters.bytes_out,
        drops: counters
            .drops
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.label().to_owned(), count))
            .collect(),
    }
}
