//! BGP for people and programs: the speaker, its neighbors, and why one of them is not as it should be.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bgpd::policy::Verdict;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::neighbor::in_full;
use super::{VERSION, seconds, to_value};
use crate::control::Refusal;
use crate::gateway::Gateway;

/// BGP at a glance.
#[derive(Serialize)]
pub(super) struct BgpView {
    version: u32,
    asn: u32,
    router_id: Ipv4Addr,
    prefixes: usize,
    paths: usize,
    routes: usize,
    pub(super) neighbors: Vec<NeighborView>,
    pub(super) ranges: Vec<RangeView>,
}

/// Who may become a neighbor by connecting.
#[derive(Serialize)]
pub(super) struct RangeView {
    pub(super) name: String,
    network: IpNet,
    limit: u16,
    neighbors: usize,
    /// Connections refused because it was full.
    turned_away: u64,
    /// Why it is not as it should be.
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct NeighborView {
    pub(super) name: String,
    /// The range that it came from.
    range: Option<String>,
    pub(super) address: IpAddr,
    remote_asn: u32,
    role: bgpd::Role,
    /// As RFC 4271 section 8.2.2 writes it.
    state: &'static str,
    pub(super) reason: Option<String>,
    seconds_in_state: u64,
    received: u32,
    accepted: u32,
    /// Received before the neighbor went away, and kept for its return (RFC 4724).
    stale: u32,
    advertised: u32,
    /// BFD's state, where it watches the path.
    bfd: Option<String>,
}

impl Gateway {
    /// One line for each neighbor.
    pub(crate) fn bgp_summary(&self, now: Instant) -> Result<Value, Refusal> {
        to_value(&self.bgp_view(now))
    }

    pub(super) fn bgp_view(&self, now: Instant) -> BgpView {
        let summary = self.bgp.summary(now);
        BgpView {
            version: VERSION,
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
            ranges: summary.ranges.iter().map(range_view).collect(),
        }
    }

    fn neighbor_view(&self, peer: &bgpd::view::PeerSummary) -> NeighborView {
        NeighborView {
            name: peer.name.to_string(),
            range: peer.range.as_ref().map(ToString::to_string),
            address: peer.address,
            remote_asn: peer.remote_asn.0,
            role: peer.role,
            state: session_state(peer.state),
            reason: self.neighbor_reason(peer),
            seconds_in_state: seconds(peer.since),
            received: peer.received,
            accepted: peer.accepted,
            stale: peer.stale,
            advertised: peer.advertised,
            bfd: self.bfd_state(&peer.name),
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
                let why = tunnel.why_down().unwrap_or("it is being negotiated");
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
        let peer = self.peer(name)?;
        let neighbor = self.bgp.neighbor(now, peer.name.as_str());
        let neighbor = neighbor.as_ref().map(|it| {
            let bfd = self.bfd_view(&peer.name);
            in_full(self.neighbor_view(&it.summary), bfd, it)
        });
        Ok(json!({
            "version": VERSION,
            "neighbor": to_value(&neighbor)?,
            "received": to_value(&self.bgp.received(peer.name.as_str()).into_iter().flatten().map(received).collect::<Vec<_>>())?,
            "advertised": to_value(&self.bgp.advertised(peer.name.as_str()))?,
        }))
    }

    /// A neighbor that there is now, by name or address.
    pub(crate) fn peer(&self, name: &str) -> Result<&bgpd::PeerConfig, Refusal> {
        let address = name.parse::<IpAddr>().ok();
        let mut peers = self.bgp.peer_configs();
        let peer = peers.find(|peer| peer.name.as_str() == name || Some(peer.address) == address);
        peer.ok_or_else(|| {
            let names: Vec<&str> = self.bgp.peer_configs().map(|it| it.name.as_str()).collect();
            Refusal::NotFound(format!(
                "there is no neighbor {name}; there are {}",
                names.join(", ")
            ))
        })
    }

    /// Routes with their paths, or those of one prefix.
    pub(crate) fn bgp_routes(&self, prefix: Option<IpNet>) -> Result<Value, Refusal> {
        let filter = bgpd::view::RouteFilter {
            within: prefix,
            ..Default::default()
        };
        Ok(json!({ "version": VERSION, "routes": to_value(&self.bgp.routes(&filter))? }))
    }
}

fn range_view(range: &bgpd::view::RangeSummary) -> RangeView {
    let reason = range.is_full.then(|| {
        format!(
            "it is full with {} neighbors, and {} connections were turned away; range-limit is {}",
            range.members, range.turned_away, range.limit
        )
    });
    RangeView {
        name: range.name.to_string(),
        network: range.network,
        limit: range.limit,
        neighbors: range.members,
        turned_away: range.turned_away,
        reason,
    }
}

/// A route that a neighbor sent, and what became of it in words.
#[derive(Serialize)]
struct ReceivedView {
    prefix: IpNet,
    accepted: bool,
    why: String,
    attributes: bgpd::wire::PathAttributes,
}

/// Whether what a neighbor sent is believed, and why.
pub(super) fn believed(verdict: &Verdict) -> (bool, String) {
    match verdict {
        Verdict::Accepted(Some(rule)) => (true, format!("permitted by {rule}")),
        Verdict::Accepted(None) => (true, "permitted".to_owned()),
        Verdict::Refused(refusal) => (false, refusal.to_string()),
    }
}

fn received(route: bgpd::view::ReceivedRoute) -> ReceivedView {
    let (accepted, why) = believed(&route.verdict);
    ReceivedView {
        prefix: route.prefix,
        accepted,
        why,
        attributes: route.attributes,
    }
}

pub(super) fn session_state(state: bgpd::State) -> &'static str {
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
