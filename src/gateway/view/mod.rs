//! What `status` and the control API show. The schema is documented in `docs/status.md`; [`VERSION`] counts its incompatible changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use vti::plane::{StrayCounters, TunnelCounters};

use self::bgp::BgpView;
use self::tunnel::{TunnelView, view};
use super::{Gateway, Tunnel};
use crate::certificates;
use crate::control::Refusal;

mod bfd;
mod bgp;
pub(crate) mod metrics;
mod neighbor;
mod tunnel;
mod why;

/// The version of the schema.
pub(crate) const VERSION: u32 = 1;

/// What the shell knows and the gateway does not.
pub(crate) struct Surroundings {
    pub(crate) plane: String,
    pub(crate) plane_reason: String,
    /// Why each tunnel's interface is of its kind.
    pub(crate) interface_reasons: BTreeMap<u32, String>,
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

    /// What somebody may have to act upon, in words.
    fn problems(&self, now: Instant) -> Vec<String> {
        let mut problems = Vec::new();
        for tunnel in self.tunnels.values().filter(|tunnel| !tunnel.held_down) {
            let reason = if tunnel.is_up() {
                tunnel.silence(now)
            } else {
                tunnel.why_down().map(str::to_owned)
            };
            problems.extend(reason.map(|reason| format!("tunnel {}: {reason}", tunnel.plan.name)));
            problems.extend(tunnel.will_fail().map(str::to_owned));
            problems.extend(self.ends_soon(tunnel));
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
        problems.extend(self.in_the_way());
        problems.extend(self.concerns.iter().cloned());
        let bgp = self.bgp_view(now);
        for range in bgp.ranges {
            let reason = range.reason;
            problems
                .extend(reason.map(|reason| format!("neighbor range {}: {reason}", range.name)));
        }
        for neighbor in bgp.neighbors {
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

    /// That a tunnel's certificate, ours, is to be replaced.
    fn ends_soon(&self, tunnel: &Tunnel) -> Option<String> {
        let ike::Auth::Certificate(certificates) = &tunnel.plan.connection.auth else {
            return None;
        };
        let (own, (_, now)) = (certificates.credential.certificate()?, self.clock?);
        let what = certificates::ending(own, now)?;
        Some(format!("tunnel {}: {what}", tunnel.plan.name))
    }

    /// What on this host keeps tunnels from working, and what is not done because it would, in words.
    pub(crate) fn in_the_way(&self) -> Vec<String> {
        let withheld = self
            .withheld
            .iter()
            .map(|one| format!("route {} is not installed: {}", one.prefix, one.why));
        self.facts
            .hindrances
            .iter()
            .cloned()
            .chain(withheld)
            .collect()
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
                let interface_reason = around.interface_reasons.get(id).cloned();
                view(
                    now,
                    *id,
                    tunnel,
                    connection,
                    around.tunnels.get(id),
                    interface_reason.unwrap_or_default(),
                )
            })
            .collect()
    }
}

fn seconds(span: Duration) -> u64 {
    span.as_secs()
}

pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, Refusal> {
    serde_json::to_value(value)
        .map_err(|error| Refusal::Failed(format!("cannot write the answer: {error}")))
}
