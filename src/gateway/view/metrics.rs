//! Everything that is counted, as OpenMetrics text; `docs/metrics.md` has the metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bgpd::view::Tally;
use esp::{DropCounts, DropReason};
use ike::Counters;

use super::bgp::session_state;
use super::tunnel::{interface_kind, state};
use super::{RuleCount, Surroundings};
use crate::gateway::{Gateway, Tunnel};
use crate::metrics::catalogue as all;
use crate::metrics::exposition::{Exposition, Family, Number};
use crate::metrics::process::Process;

/// The only family that routes are of.
const ROUTE_FAMILY: &str = "ipv4-unicast";

/// Where a tunnel may stand.
const TUNNEL_STATES: [&str; 4] = ["up", "connecting", "waiting", "down"];

/// Where a BFD session may stand.
const BFD_STATES: [bfd::State; 4] = [
    bfd::State::AdminDown,
    bfd::State::Down,
    bfd::State::Init,
    bfd::State::Up,
];

/// The clock on the wall, for moments that the collector compares with its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    /// What it showed when the daemon started.
    pub(crate) started: SystemTime,
    /// The same moment.
    pub(crate) at: Instant,
}

impl Wall {
    /// Since 1970. The same moment is always the same number, whatever becomes of the clock meanwhile.
    fn moment(&self, moment: Instant) -> Duration {
        let started = self
            .started
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // The rest of a run before this one, which may have begun before ours did.
        let before = self.at.saturating_duration_since(moment);
        (started + moment.saturating_duration_since(self.at)).saturating_sub(before)
    }
}

impl Gateway {
    /// Everything that is counted, as OpenMetrics text. Takes time by the number of tunnels and neighbors, not of routes.
    pub(crate) fn metrics(
        &self,
        now: Instant,
        wall: Wall,
        around: &Surroundings,
        process: Process,
    ) -> String {
        let mut out = Exposition::default();
        self.daemon_metrics(&mut out, now, wall, around, process);
        let ike = self.ike.status(now);
        self.tunnel_metrics(&mut out, wall, around, &ike);
        self.ike_metrics(&mut out, &ike);
        self.bgp_metrics(&mut out, now, wall);
        self.bfd_metrics(&mut out);
        self.firewall_metrics(&mut out, &around.firewall);
        out.finish()
    }

    fn daemon_metrics(
        &self,
        out: &mut Exposition,
        now: Instant,
        wall: Wall,
        around: &Surroundings,
        process: Process,
    ) {
        let version = env!("CARGO_PKG_VERSION");
        out.family(&all::BUILD, [([version.into()], 1_u64)]);
        let labels = [self.plan.name.as_str().into(), around.plane.as_str().into()];
        out.family(&all::GATEWAY, [(labels, 1_u64)]);
        out.single(&all::START_TIME, wall.moment(wall.at));
        let memory = process.resident_octets;
        out.family(&all::RESIDENT_MEMORY, memory.map(|it| ([], it)));
        let time = process.processor_time;
        out.family(&all::PROCESSOR_TIME, time.map(|it| ([], it)));
        out.single(&all::PROBLEMS, self.problems(now).len());
        out.single(&all::HOST_FAILED, self.host_failure.is_some());
    }

    fn tunnel_metrics(
        &self,
        out: &mut Exposition,
        wall: Wall,
        around: &Surroundings,
        ike: &ike::Status,
    ) {
        let infos = self.tunnels.values().map(|tunnel| {
            let plan = &tunnel.plan;
            let remote = plan.remote().map(|it| it.to_string());
            let remote = remote.or_else(|| plan.remote_name.clone());
            let labels = [
                plan.name.as_str().into(),
                plan.profile.as_str().into(),
                plan.interface().into(),
                interface_kind(plan).into(),
                remote.unwrap_or_default().into(),
            ];
            (labels, 1_u64)
        });
        out.family(&all::TUNNEL, infos);
        self.each_tunnel(out, &all::TUNNEL_UP, |_, tunnel| Some(tunnel.is_up()));
        let states = self.tunnels.iter().flat_map(|(id, tunnel)| {
            let connection = ike.connections.iter().find(|one| one.id.0 == *id);
            let now = state(tunnel, connection);
            TUNNEL_STATES.map(|one| {
                let labels = [tunnel.plan.name.as_str().into(), one.into()];
                (labels, one == now)
            })
        });
        out.family(&all::TUNNEL_STATE, states);
        self.each_tunnel(out, &all::TUNNEL_CHANGED, |_, tunnel| {
            Some(wall.moment(tunnel.since))
        });
        self.each_tunnel(out, &all::TUNNEL_DOWNS, |_, tunnel| Some(tunnel.downs));
        self.each_tunnel(out, &all::TUNNEL_MTU, |_, tunnel| {
            Some(u32::from(tunnel.inner_mtu()))
        });
        let carried = &around.tunnels;
        let counted = |id: u32| carried.get(&id);
        self.each_tunnel(out, &all::TUNNEL_PACKETS_IN, |id, _| {
            Some(counted(id)?.packets_in)
        });
        self.each_tunnel(out, &all::TUNNEL_OCTETS_IN, |id, _| {
            Some(counted(id)?.bytes_in)
        });
        self.each_tunnel(out, &all::TUNNEL_PACKETS_OUT, |id, _| {
            Some(counted(id)?.packets_out)
        });
        self.each_tunnel(out, &all::TUNNEL_OCTETS_OUT, |id, _| {
            Some(counted(id)?.bytes_out)
        });
        let drops = self.tunnels.iter().flat_map(|(id, tunnel)| {
            let counters = carried.get(id).into_iter();
            counters.flat_map(|counters| {
                by_reason(&counters.drops).map(|(reason, count)| ([name_of(tunnel), reason], count))
            })
        });
        out.family(&all::TUNNEL_DROPS, drops);
        self.each_tunnel(out, &all::TUNNEL_LOST_SAS, |_, it| Some(it.lost_sas));
        self.each_tunnel(out, &all::TUNNEL_RESTORED_POLICIES, |_, it| {
            Some(it.restored_policies)
        });
        let strays = by_reason(&around.stray.drops);
        let strays = strays.map(|(reason, count)| ([reason], count));
        out.family(&all::STRAY_DROPS, strays);
    }

    /// A family with one sample for each tunnel that has one.
    fn each_tunnel<V: Into<Number>>(
        &self,
        out: &mut Exposition,
        family: &Family<1>,
        value: impl Fn(u32, &Tunnel) -> Option<V>,
    ) {
        let samples = self
            .tunnels
            .iter()
            .filter_map(|(id, tunnel)| Some(([name_of(tunnel)], value(*id, tunnel)?)));
        out.family(family, samples);
    }

    fn ike_metrics(&self, out: &mut Exposition, ike: &ike::Status) {
        let rekeys = self.tunnels.values().flat_map(|tunnel| {
            let (ike, child) = tunnel.rekeys();
            [
                ([name_of(tunnel), "ike".into()], ike),
                ([name_of(tunnel), "child".into()], child),
            ]
        });
        out.family(&all::IKE_REKEYS, rekeys);
        self.each_tunnel(out, &all::IKE_FAILURES, |_, tunnel| Some(tunnel.failures));
        let connection = |id: u32| ike.connections.iter().find(|one| one.id.0 == id);
        self.each_tunnel(out, &all::IKE_ATTEMPTS, |id, _| {
            Some(connection(id).map_or(0, |one| one.attempts))
        });
        self.each_tunnel(out, &all::IKE_HEARD, |id, _| {
            let sas = connection(id)?.ike_sas.iter();
            sas.min_by_key(|sa| sa.age).map(|sa| sa.last_heard)
        });
        self.each_tunnel(out, &all::IKE_EXPIRY, |id, _| {
            let sas = connection(id)?.ike_sas.iter();
            let mut children = sas.flat_map(|sa| &sa.children);
            children.find(|it| it.outbound).map(|it| it.expires_in)
        });
        out.single(&all::IKE_HALF_OPEN, ike.half_open);
        let Counters {
            received,
            sent,
            retransmitted,
            ..
        } = ike.counters;
        out.single(&all::IKE_RECEIVED, received);
        out.single(&all::IKE_SENT, sent);
        out.single(&all::IKE_RETRANSMITTED, retransmitted);
        let dropped = dropped(&ike.counters);
        let dropped = dropped.map(|(reason, count)| ([reason.into()], count));
        out.family(&all::IKE_DROPPED, dropped);
    }

    fn bgp_metrics(&self, out: &mut Exposition, now: Instant, wall: Wall) {
        let summary = self.bgp.summary(now);
        if summary.asn.0 != 0 {
            let labels = [summary.asn.to_string(), summary.router_id.to_string()];
            out.family(&all::BGP_SPEAKER, [(labels.map(Cow::from), 1_u64)]);
        }
        let tallies = self.bgp.tallies(now);
        let states = tallies.iter().map(|tally| {
            let [peer, neighbor] = labels(tally);
            let state = session_state(tally.summary.state).to_uppercase();
            ([peer, neighbor, state.into()], 1_u64)
        });
        out.family(&all::PEER_STATE, states);
        let is_up = |tally: &Tally| tally.summary.state == bgpd::State::Established;
        let mut each = Each {
            out: &mut *out,
            tallies: &tallies,
        };
        each.value(&all::PEER_UP, is_up);
        each.value(&all::PEER_ASN, |it| it.summary.remote_asn.0);
        each.value(&all::PEER_LOCAL_ASN, |it| it.local_asn.0);
        each.value(&all::PEER_TYPE, |it| it.summary.remote_asn != it.local_asn);
        each.value(&all::PEER_PASSWORD, |it| it.is_signed);
        each.maybe(&all::PEER_ESTABLISHED, |it| {
            let since = now.checked_sub(it.summary.since)?;
            is_up(it).then(|| wall.moment(since))
        });
        each.value(&all::PEER_FLOPS, |it| {
            it.established_count.saturating_sub(u32::from(is_up(it)))
        });
        each.maybe(&all::PEER_HOLD_TIME, |it| it.hold_time);
        each.value(&all::PEER_FAULTS, |it| it.update_faults);
        each.routes(&all::ROUTES_RECEIVED, |it| it.summary.received);
        each.routes(&all::ROUTES_ACCEPTED, |it| it.summary.accepted);
        each.routes(&all::ROUTES_ADVERTISED, |it| it.summary.advertised);
        each.value(&all::ROUTES_STALE, |it| it.summary.stale);
        each.value(&all::ROUTES_PENDING, |it| it.pending);
        each.messages();
        let ranges = || {
            summary.ranges.iter().map(|range| {
                let name: Cow<'_, str> = range.name.as_str().into();
                ([name, range.network.to_string().into()], range)
            })
        };
        out.family(
            &all::RANGE_NEIGHBORS,
            ranges().map(|(labels, it)| (labels, it.members)),
        );
        out.family(
            &all::RANGE_LIMIT,
            ranges().map(|(labels, it)| (labels, u32::from(it.limit))),
        );
        out.family(
            &all::RANGE_TURNED_AWAY,
            ranges().map(|(labels, it)| (labels, it.turned_away)),
        );
        out.single(&all::BGP_PREFIXES, summary.prefixes);
        out.single(&all::BGP_PATHS, summary.paths);
        out.single(&all::BGP_SETS, summary.attribute_sets);
        out.single(&all::ROUTES, self.fib.len());
        out.single(&all::ROUTES_WITHHELD, self.withheld.len());
    }

    fn bfd_metrics(&self, out: &mut Exposition) {
        let sessions: Vec<_> = self
            .plan
            .peers
            .iter()
            .filter_map(|peer| Some((peer.name.as_str(), self.bfd_session(&peer.name)?)))
            .collect();
        let named = |name: &'_ str, session: &bfd::view::Session| -> [Cow<'static, str>; 2] {
            [session.peer.to_string().into(), name.to_owned().into()]
        };
        let states = sessions.iter().flat_map(|(name, session)| {
            BFD_STATES.map(|state| {
                let [peer, neighbor] = named(name, session);
                let labels = [peer, neighbor, state.to_string().into()];
                (labels, state == session.state)
            })
        });
        out.family(&all::BFD_STATE, states);
        let mut each = |family: &Family<2>, value: fn(&bfd::view::Session) -> Number| {
            let samples = sessions.iter();
            out.family(
                family,
                samples.map(|(name, session)| (named(name, session), value(session))),
            );
        };
        each(&all::BFD_UPS, |it| it.ups.into());
        each(&all::BFD_DETECTION, |it| it.detection_time.into());
        each(&all::BFD_RECEIVED, |it| it.received.into());
        each(&all::BFD_SENT, |it| it.sent.into());
        let dropped = sessions.iter().flat_map(|(name, session)| {
            session.discarded.iter().map(move |(reason, count)| {
                let [peer, neighbor] = named(name, session);
                ([peer, neighbor, (*reason).into()], *count)
            })
        });
        out.family(&all::BFD_DROPPED, dropped);
    }

    fn firewall_metrics(&self, out: &mut Exposition, rules: &[RuleCount]) {
        // Rules of one comment are one to whoever reads it.
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for rule in rules {
            let count = counts.entry(&rule.rule).or_default();
            count.0 += rule.packets;
            count.1 += rule.octets;
        }
        let packets = counts.iter().map(|(rule, it)| ([(*rule).into()], it.0));
        out.family(&all::FIREWALL_PACKETS, packets);
        let octets = counts.iter().map(|(rule, it)| ([(*rule).into()], it.1));
        out.family(&all::FIREWALL_OCTETS, octets);
        out.single(&all::FIREWALL_FAILED, self.firewall.failure.is_some());
        out.single(&all::FIREWALL_OBSTACLES, self.firewall.obstacles.len());
    }
}

fn name_of(tunnel: &Tunnel) -> Cow<'_, str> {
    tunnel.plan.name.as_str().into()
}

/// Every reason with its count, zero or not: a counter that appears with its first drop hides that drop from a collector's `rate`.
fn by_reason(drops: &DropCounts) -> impl Iterator<Item = (Cow<'static, str>, u64)> {
    let reasons = DropReason::ALL.iter();
    reasons.map(|reason| (reason.label().into(), drops.get(*reason)))
}

/// Messages that were not taken, by reason.
fn dropped(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("malformed", counters.malformed),
        ("bad_version", counters.bad_version),
        ("unknown_spi", counters.unknown_spi),
        ("stranger", counters.stranger),
        ("bad_integrity", counters.bad_integrity),
        ("bad_inner", counters.bad_inner),
        ("bad_message_id", counters.bad_message_id),
        ("bad_fragment", counters.bad_fragment),
        ("unexpected", counters.unexpected),
        ("bad_cookie", counters.bad_cookie),
        ("half_open_limit", counters.half_open_limit),
    ]
    .into_iter()
}

/// `peer` and `neighbor`.
fn labels(tally: &Tally) -> [Cow<'_, str>; 2] {
    [
        tally.summary.address.to_string().into(),
        tally.summary.name.as_str().into(),
    ]
}

/// Families with a sample for each neighbor.
struct Each<'a> {
    out: &'a mut Exposition,
    tallies: &'a [Tally],
}

impl Each<'_> {
    fn value<V: Into<Number>>(&mut self, family: &Family<2>, value: impl Fn(&Tally) -> V) {
        self.maybe(family, |tally| Some(value(tally)));
    }

    fn maybe<V: Into<Number>>(&mut self, family: &Family<2>, value: impl Fn(&Tally) -> Option<V>) {
        let tallies = self.tallies.iter();
        let samples = tallies.filter_map(|tally| Some((labels(tally), value(tally)?)));
        self.out.family(family, samples);
    }

    fn routes(&mut self, family: &Family<3>, value: impl Fn(&Tally) -> u32) {
        let samples = self.tallies.iter().map(|tally| {
            let [peer, neighbor] = labels(tally);
            ([peer, neighbor, ROUTE_FAMILY.into()], value(tally))
        });
        self.out.family(family, samples);
    }

    fn messages(&mut self) {
        self.value(&all::RECEIVED_OPEN, |it| it.messages_received.opens);
        self.value(&all::RECEIVED_UPDATE, |it| it.messages_received.updates);
        self.value(&all::RECEIVED_NOTIFICATION, |it| {
            it.messages_received.notifications
        });
        self.value(&all::RECEIVED_KEEPALIVE, |it| {
            it.messages_received.keepalives
        });
        self.value(&all::RECEIVED_REFRESH, |it| it.messages_received.refreshes);
        self.value(&all::RECEIVED_MESSAGE, |it| it.messages_received.total());
        self.value(&all::SENT_OPEN, |it| it.messages_sent.opens);
        self.value(&all::SENT_UPDATE, |it| it.messages_sent.updates);
        self.value(&all::SENT_NOTIFICATION, |it| it.messages_sent.notifications);
        self.value(&all::SENT_KEEPALIVE, |it| it.messages_sent.keepalives);
        self.value(&all::SENT_REFRESH, |it| it.messages_sent.refreshes);
        self.value(&all::SENT_MESSAGE, |it| it.messages_sent.total());
    }
}
