//! What `status` and the control API show. The schema is documented in `docs/status.md`; [`VERSION`] counts its incompatible changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ike::{ConnectionStatus, IkeSaStatus, Phase};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use vti::plane::{StrayCounters, TunnelCounters};

use super::{Gateway, Tunnel};
use crate::control::Refusal;

/// The version of the schema.
pub(crate) const VERSION: u32 = 1;

/// What the shell knows and the gateway does not.
pub(crate) struct Surroundings {
    pub(crate) plane: String,
    pub(crate) plane_reason: String,
    pub(crate) config: String,
    pub(crate) tunnels: BTreeMap<u32, TunnelCounters>,
    pub(crate) stray: StrayCounters,
    pub(crate) firewall: Vec<RuleCount>,
}

/// How often a rule of ours matched.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct RuleCount {
    pub(crate) rule: String,
    pub(crate) packets: u64,
    pub(crate) octets: u64,
}

/// Everything at a glance.
#[derive(Serialize)]
struct Status<'a> {
    version: u32,
    gateway: &'a str,
    pid: u32,
    uptime_seconds: u64,
    config: &'a str,
    data_plane: DataPlane<'a>,
    tunnels: Vec<TunnelView<'a>>,
    bgp: BgpView,
    routes: Vec<RouteView>,
    firewall: FirewallView<'a>,
    problems: Vec<String>,
    events: Vec<EventView<'a>>,
    ike: Value,
}

#[derive(Serialize)]
struct DataPlane<'a> {
    kind: &'a str,
    reason: &'a str,
    unknown_spi: u64,
    ike_dropped: u64,
}

/// One tunnel.
#[derive(Serialize)]
struct TunnelView<'a> {
    name: &'a str,
    /// `up`, `connecting`, `waiting` (for the peer to initiate) or `down`.
    state: &'static str,
    /// Why it is not up.
    reason: Option<String>,
    seconds_in_state: u64,
    profile: &'a str,
    interface: &'a str,
    reqid: u32,
    inside: IpNet,
    peer_inside: IpAddr,
    local: Option<IpAddr>,
    remote: IpAddr,
    mtu: u16,
    times_down: u64,
    attempts: u32,
    site_line: usize,
    last_failure: Option<FailureView>,
    ike: Option<IkeView>,
    children: Vec<ChildView>,
    traffic: Option<TrafficView>,
}

#[derive(Serialize)]
struct FailureView {
    text: String,
    seconds_ago: u64,
}

#[derive(Serialize)]
struct IkeView {
    initiator_spi: String,
    responder_spi: String,
    role: ike::Role,
    suite: String,
    peer_identity: String,
    local: String,
    remote: String,
    local_nat: bool,
    remote_nat: bool,
    encapsulated: bool,
    age_seconds: u64,
    rekey_in_seconds: Option<u64>,
    last_heard_seconds: u64,
    retransmits: u32,
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

/// BGP at a glance.
#[derive(Serialize)]
struct BgpView {
    asn: u32,
    router_id: Ipv4Addr,
    prefixes: usize,
    paths: usize,
    routes: usize,
    neighbors: Vec<NeighborView>,
}

#[derive(Serialize)]
struct NeighborView {
    name: String,
    address: IpAddr,
    remote_asn: u32,
    role: bgpd::Role,
    /// As RFC 4271 section 8.2.2 writes it.
    state: &'static str,
    reason: Option<String>,
    seconds_in_state: u64,
    received: u32,
    accepted: u32,
    advertised: u32,
}

#[derive(Serialize)]
struct RouteView {
    prefix: IpNet,
    next_hops: Vec<HopView>,
}

#[derive(Serialize)]
struct HopView {
    via: IpAddr,
    interface: Option<String>,
    neighbor: String,
}

#[derive(Serialize)]
struct FirewallView<'a> {
    enabled: bool,
    failure: Option<&'a str>,
    obstacles: &'a [String],
    rules: &'a [RuleCount],
}

#[derive(Serialize)]
struct EventView<'a> {
    seconds_ago: u64,
    text: &'a str,
}

impl Gateway {
    /// Everything at a glance.
    pub(crate) fn status(&self, now: Instant, around: &Surroundings) -> Result<Value, Refusal> {
        let ike = self.ike.status(now);
        let status = Status {
            version: VERSION,
            gateway: &self.plan.name,
            pid: std::process::id(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs(),
            config: &around.config,
            data_plane: DataPlane {
                kind: &around.plane,
                reason: &around.plane_reason,
                unknown_spi: around.stray.drops.get(esp::DropReason::UnknownSpi),
                ike_dropped: around.stray.ike_dropped,
            },
            tunnels: self.tunnel_views(now, around, &ike),
            bgp: self.bgp_view(now),
            routes: self.route_views(),
            firewall: FirewallView {
                enabled: self.plan.firewall.is_some(),
                failure: self.firewall.failure.as_deref(),
                obstacles: &self.firewall.obstacles,
                rules: &around.firewall,
            },
            problems: self.problems(now),
            events: self
                .journal
                .newest()
                .map(|(when, text)| EventView {
                    seconds_ago: seconds(now.saturating_duration_since(*when)),
                    text,
                })
                .collect(),
            ike: json!({ "half_open": ike.half_open, "counters": to_value(&ike.counters)? }),
        };
        to_value(&status)
    }

    /// Every tunnel in full.
    pub(crate) fn tunnels(&self, now: Instant, around: &Surroundings) -> Result<Value, Refusal> {
        let ike = self.ike.status(now);
        Ok(
            json!({ "version": VERSION, "tunnels": to_value(&self.tunnel_views(now, around, &ike))? }),
        )
    }

    /// One line for each neighbor.
    pub(crate) fn bgp_summary(&self, now: Instant) -> Result<Value, Refusal> {
        to_value(&self.bgp_view(now))
    }

    fn bgp_view(&self, now: Instant) -> BgpView {
        let summary = self.bgp.summary(now);
        BgpView {
            asn: summary.asn.0,
            router_id: summary.router_id,
            prefixes: summary.prefixes,
            paths: summary.paths,
            routes: summary.fib_prefixes,
            neighbors: summary
                .peers
                .iter()
                .map(|peer| self.neighbor_view(peer))
                .collect(),
        }
    }

    fn neighbor_view(&self, peer: &bgpd::view::PeerSummary) -> NeighborView {
        NeighborView {
            name: peer.name.to_string(),
            address: peer.address,
            remote_asn: peer.remote_asn.0,
            role: peer.role,
            state: session_state(peer.state),
            reason: self.neighbor_reason(peer),
            seconds_in_state: seconds(peer.since),
            received: peer.received,
            accepted: peer.accepted,
            advertised: peer.advertised,
        }
    }

    /// Why the neighbor is not as it should be. What the speaker sees is completed by what only the tunnel can tell.
    fn neighbor_reason(&self, peer: &bgpd::view::PeerSummary) -> Option<String> {
        let tunnel = self
            .tunnels
            .values()
            .find(|tunnel| tunnel.plan.peer_inside == peer.address);
        match (tunnel, &peer.problem) {
            (Some(tunnel), _) if !tunnel.is_up() => {
                let why = tunnel.reason.as_deref().unwrap_or("it is being negotiated");
                Some(format!("tunnel {} is not up: {why}", tunnel.plan.name))
            }
            (Some(tunnel), Some(problem))
                if peer.state != bgpd::State::Established && !answers(problem) =>
            {
                let ours = tunnel.plan.inside.addr();
                Some(format!(
                    "{problem}; the tunnel is up, so see that {} is the peer's inside address and {ours} ours, not the other way round, and that BGP runs there",
                    peer.address
                ))
            }
            (_, problem) => problem.clone(),
        }
    }

    /// One neighbor, by name or address, with what it sent, what we believe of it and what it is told.
    pub(crate) fn bgp_neighbor(&self, now: Instant, name: &str) -> Result<Value, Refusal> {
        let address = name.parse::<IpAddr>().ok();
        let peer = self
            .plan
            .peers
            .iter()
            .find(|peer| peer.name.as_str() == name || Some(peer.address) == address);
        let Some(peer) = peer else {
            let names: Vec<&str> = self
                .plan
                .peers
                .iter()
                .map(|peer| peer.name.as_str())
                .collect();
            return Err(Refusal::NotFound(format!(
                "there is no neighbor {name}; the site file has {}",
                names.join(", ")
            )));
        };
        Ok(json!({
            "version": VERSION,
            "neighbor": to_value(&self.bgp.neighbor(now, peer.name.as_str()))?,
            "received": to_value(&self.bgp.received(peer.name.as_str()))?,
            "advertised": to_value(&self.bgp.advertised(peer.name.as_str()))?,
        }))
    }

    /// Routes with their paths, or those of one prefix.
    pub(crate) fn bgp_routes(&self, prefix: Option<IpNet>) -> Result<Value, Refusal> {
        let filter = bgpd::view::RouteFilter {
            within: prefix,
            ..Default::default()
        };
        Ok(json!({ "version": VERSION, "routes": to_value(&self.bgp.routes(&filter))? }))
    }

    /// What somebody may have to act upon, in words.
    fn problems(&self, now: Instant) -> Vec<String> {
        let mut problems = Vec::new();
        for tunnel in self.tunnels.values().filter(|tunnel| !tunnel.held_down) {
            let reason = if tunnel.is_up() {
                tunnel.silence(now)
            } else {
                tunnel.reason.clone()
            };
            problems.extend(reason.map(|reason| format!("tunnel {}: {reason}", tunnel.plan.name)));
        }
        problems.extend(
            self.host_failure
                .iter()
                .map(|failure| format!("host: {failure}")),
        );
        problems.extend(
            self.firewall
                .failure
                .iter()
                .map(|failure| format!("firewall: {failure}")),
        );
        problems.extend(self.firewall.obstacles.iter().cloned());
        problems.extend(self.concerns.iter().cloned());
        for neighbor in self.bgp_view(now).neighbors {
            let its_tunnel_is_up = self
                .tunnels
                .values()
                .filter(|t| t.plan.peer_inside == neighbor.address)
                .all(Tunnel::is_up);
            // A tunnel that is down has been named already.
            if let Some(reason) = neighbor.reason.filter(|_| its_tunnel_is_up) {
                problems.push(format!("neighbor {}: {reason}", neighbor.name));
            }
        }
        problems
    }

    fn route_views(&self) -> Vec<RouteView> {
        self.fib
            .iter()
            .map(|(prefix, hops)| RouteView {
                prefix: *prefix,
                next_hops: hops
                    .iter()
                    .map(|hop| HopView {
                        via: hop.via,
                        interface: hop.interface.clone(),
                        neighbor: hop.peer.to_string(),
                    })
                    .collect(),
            })
            .collect()
    }

    fn tunnel_views<'a>(
        &'a self,
        now: Instant,
        around: &Surroundings,
        ike: &ike::Status,
    ) -> Vec<TunnelView<'a>> {
        self.tunnels
            .iter()
            .map(|(id, tunnel)| {
                let connection = ike.connections.iter().find(|one| one.id.0 == *id);
                view(now, *id, tunnel, connection, around.tunnels.get(id))
            })
            .collect()
    }
}

fn session_state(state: bgpd::State) -> &'static str {
    match state {
        bgpd::State::Idle => "Idle",
        bgpd::State::Connect => "Connect",
        bgpd::State::Active => "Active",
        bgpd::State::OpenSent => "OpenSent",
        bgpd::State::OpenConfirm => "OpenConfirm",
        bgpd::State::Established => "Established",
    }
}

/// Whether a session's problem shows that somebody answers there.
fn answers(problem: &str) -> bool {
    !problem.contains("cannot be reached")
}

fn view<'a>(
    now: Instant,
    id: u32,
    tunnel: &'a Tunnel,
    connection: Option<&ConnectionStatus>,
    traffic: Option<&TunnelCounters>,
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
        reqid: id,
        inside: plan.inside,
        peer_inside: plan.peer_inside,
        local: tunnel.source(),
        remote: plan.connection.remote,
        mtu: tunnel.inner_mtu(),
        times_down: tunnel.downs,
        attempts: connection.map_or(0, |one| one.attempts),
        site_line: plan.line,
        last_failure: tunnel.failure.as_ref().map(|(when, text)| FailureView {
            text: text.clone(),
            seconds_ago: seconds(now.saturating_duration_since(*when)),
        }),
        ike: newest.map(ike_view),
        children: sas.iter().flat_map(children).collect(),
        traffic: traffic.map(traffic_view),
    }
}

fn state(tunnel: &Tunnel, connection: Option<&ConnectionStatus>) -> &'static str {
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
    if let Err(reason) = &tunnel.path {
        return Some(reason.clone());
    }
    if let Some(reason) = &tunnel.reason {
        return Some(reason.clone());
    }
    let remote = tunnel.plan.connection.remote;
    connection.map(|one| match one.phase {
        Phase::Waiting => {
            format!("waiting for {remote} to initiate, because the site file says initiate = false")
        }
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
        role: sa.role,
        suite: sa.suite.clone(),
        peer_identity: sa.peer.to_string(),
        local: sa.path.local.to_string(),
        remote: sa.path.remote.to_string(),
        local_nat: sa.path.local_nat,
        remote_nat: sa.path.remote_nat,
        encapsulated: sa.path.encapsulated,
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

fn seconds(span: Duration) -> u64 {
    span.as_secs()
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, Refusal> {
    serde_json::to_value(value)
        .map_err(|error| Refusal::Failed(format!("cannot write the answer: {error}")))
}
