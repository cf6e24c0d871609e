//! What BGP says, carried to the sockets, the routes and the journal.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgpd::{Event, LocalRoute, LocalSource, Speaker};
use tracing::{debug, info, warn};
use vti::ifname::IfName;

use super::{Effect, Gateway, Inherited};
use crate::plan::Plan;
use crate::transport::Distance;

/// How long neighbors are waited for after a restart where none has been asked to wait for us.
const DEFERRAL: Duration = Duration::from_secs(60);

/// The speaker, which takes the place of one that died where routes of it were found. Neighbors are waited for as long as they were asked
/// to wait for us.
pub(super) fn speaker(now: Instant, plan: &Plan, seed: [u8; 32], inherited: &Inherited) -> Speaker {
    let config = plan.speaker.clone();
    if inherited.is_empty() {
        return Speaker::new(config, seed);
    }
    info!(
        "{} routes of a run before this one are in the kernel; they stay until the neighbors have sent theirs",
        inherited.len()
    );
    Speaker::restarted(now, config, seed, deferral(plan))
}

/// How long what a process before us left may go on without a word of its neighbors or of its tunnel's peer.
pub(super) fn deferral(plan: &Plan) -> Duration {
    let members = plan.ranges.iter().map(|range| &range.template);
    let asked = (plan.peers.iter().chain(members)).filter_map(|peer| peer.graceful_restart);
    let longest = asked.map(|it| it.restart_time).max();
    longest.unwrap_or(DEFERRAL)
}

impl Gateway {
    /// Takes all that the speaker has to say. Returns whether it had anything.
    pub(super) fn drain_bgp(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(action) = self.bgp.poll_action() {
            self.effects.push_back(Effect::Bgp(action));
            any = true;
        }
        while let Some(change) = self.bgp.poll_fib() {
            if change.next_hops.is_empty() {
                self.fib.remove(&change.prefix);
            } else {
                self.fib.insert(change.prefix, change.next_hops);
            }
            self.desired_is_stale = true;
            any = true;
        }
        while let Some(event) = self.bgp.poll_event() {
            self.follow_restart(&event);
            self.journal_bgp(now, &event);
            if let Event::PeerDown { peer, .. } = &event {
                self.hold_strict(now, peer);
            }
            any = true;
        }
        any
    }

    /// How far away the neighbor at an address may be.
    pub(super) fn distance(&self, address: IpAddr) -> Distance {
        let mut peers = self.bgp.peer_configs();
        let neighbor = peers.find(|it| it.address == address);
        neighbor.map_or_else(Distance::default, |it| Distance {
            ttl: it.ttl,
            min_ttl: it.min_ttl,
        })
    }

    /// What our predecessor's routes are still good for.
    fn follow_restart(&mut self, event: &Event) {
        match event {
            Event::Synchronized { peer } => {
                let known = self.bgp.peer_configs().find(|it| it.name == *peer);
                if let Some(address) = known.map(|it| it.address) {
                    self.inherited.forget_via(address);
                }
            }
            Event::RestartOver { .. } => self.inherited.clear(),
            _ => return,
        }
        self.desired_is_stale = true;
    }

    /// Tunnels into which a process before us has left routes still carry packets by its SAs. Until IKE has made ones of ours BGP may use
    /// them: a neighbor may be back before its tunnel is, and what it says again would be withdrawn until then.
    pub(super) fn inherit(&mut self, now: Instant) {
        let until = now + deferral(&self.plan);
        for tunnel in self.tunnels.values_mut() {
            if self.inherited.leads_into(tunnel.plan.interface()) {
                tunnel.inherit();
                self.inherits_until = Some(until);
            }
        }
    }

    /// Whoever has no SAs of ours by now is not as he was before.
    pub(super) fn end_inheritance(&mut self, now: Instant) {
        if self.inherits_until.is_some_and(|at| at <= now) {
            self.inherits_until = None;
            let ids: Vec<u32> = self.tunnels.keys().copied().collect();
            for id in ids {
                self.disinherit(now, id);
            }
        }
    }

    pub(super) fn disinherit(&mut self, now: Instant, id: u32) {
        let tunnel = self.tunnels.get_mut(&id);
        if tunnel.is_some_and(super::Tunnel::disinherit) {
            self.forget_inherited_over(id);
            self.publish(now, id);
        }
    }

    /// A tunnel is dead, whoever routed into it.
    pub(super) fn forget_inherited_over(&mut self, id: u32) {
        if let Some(tunnel) = self.tunnels.get(&id) {
            self.inherited.forget_interface(tunnel.plan.interface());
            self.desired_is_stale = true;
        }
    }

    /// The site file's routes that lead somewhere now, or nowhere on purpose.
    fn site_routes(&self) -> impl Iterator<Item = LocalRoute> + '_ {
        let carries = |dev: &IfName| self.facts.links.get(dev.as_str()) == Some(&true);
        let routes = self.plan.routes.iter();
        let usable = routes.filter(move |it| it.hop.as_ref().is_none_or(|(_, dev)| carries(dev)));
        usable.map(|route| LocalRoute {
            prefix: route.prefix,
            source: LocalSource::Static,
            interface: route.hop.as_ref().map(|(_, dev)| dev.to_string()),
            redistribute: self.plan.redistribute.fixed,
        })
    }

    /// Tells the speaker which routes are the host's own.
    pub(super) fn announce_local_routes(&mut self, now: Instant) {
        let redistribute = self.plan.redistribute;
        let routes = self
            .facts
            .local_routes
            .iter()
            .map(|(prefix, source, interface)| {
                let wanted = match source {
                    LocalSource::Connected => redistribute.connected,
                    LocalSource::Static => redistribute.fixed,
                    LocalSource::Kernel => redistribute.kernel,
                };
                // A tunnel's own /31 is nobody's business, whatever a list permits.
                let inside = interface
                    .as_deref()
                    .is_some_and(|name| self.is_tunnel_interface(name));
                LocalRoute {
                    prefix: *prefix,
                    source: *source,
                    interface: interface.clone(),
                    redistribute: wanted && !inside,
                }
            })
            .chain(self.site_routes())
            .collect();
        self.bgp_command(now, bgpd::Command::SetLocalRoutes(routes));
    }

    fn journal_bgp(&mut self, now: Instant, event: &Event) {
        match event {
            Event::PeerUp { peer, .. } => {
                self.journal.record(now, format!("{peer}: BGP established"))
            }
            Event::PeerDown { peer, reason, .. } => self
                .journal
                .record(now, format!("{peer}: BGP down: {reason}")),
            Event::OpenFailed { peer, reason } => {
                self.journal
                    .record(now, format!("{peer}: BGP does not come up: {reason}"));
            }
            Event::StaleKept { peer, prefixes, .. } => self.journal.record(
                now,
                format!("{peer}: away; {prefixes} of its routes are kept for its return"),
            ),
            Event::StaleSwept {
                peer,
                prefixes,
                why,
            } if *prefixes > 0 => self.journal.record(
                now,
                format!("{peer}: {prefixes} routes that were kept are gone: {why}"),
            ),
            Event::NotRefreshed { peer, prefixes, .. } => self.journal.record(
                now,
                format!("{peer}: {prefixes} routes are gone that it did not send again"),
            ),
            Event::RangeFull { range, limit, .. } => self.journal.record(
                now,
                format!("{range}: the range is full: {limit} neighbors"),
            ),
            Event::RestartOver { .. } => self.journal.record(
                now,
                "the neighbors have been heard since our restart".into(),
            ),
            _ => {}
        }
        match event {
            Event::PeerUp { peer, agreed } => info!(
                neighbor = %peer,
                "BGP established with AS {}, hold time {} s",
                agreed.remote_asn,
                agreed.hold_time.as_secs()
            ),
            Event::PeerDown { peer, reason, .. } => warn!(neighbor = %peer, "BGP down: {reason}"),
            Event::OpenFailed { peer, reason } => {
                warn!(neighbor = %peer, "BGP does not come up: {reason}")
            }
            Event::ConnectFailed { peer, reason } => debug!(neighbor = %peer, "{reason}"),
            Event::EndOfRib { peer, received } => {
                info!(neighbor = %peer, "the neighbor has sent all its routes: {received}");
            }
            Event::StaleKept {
                peer,
                prefixes,
                at_most,
            } => warn!(
                neighbor = %peer,
                "it is away, and {prefixes} of its routes are kept for its return, {} s at most (graceful restart)",
                at_most.as_secs()
            ),
            Event::StaleSwept {
                peer,
                prefixes,
                why,
            } => {
                info!(neighbor = %peer, "{prefixes} of the routes that were kept for it are gone: {why}")
            }
            Event::NotRefreshed {
                peer,
                prefixes,
                ended: true,
            } => warn!(
                neighbor = %peer,
                "{prefixes} routes are gone that it did not send again and had never withdrawn (route refresh)"
            ),
            Event::NotRefreshed { peer, prefixes, .. } => warn!(
                neighbor = %peer,
                "{prefixes} routes are gone that it has not sent again in time (route refresh)"
            ),
            Event::Synchronized { peer } => {
                debug!(neighbor = %peer, "heard out since our restart");
            }
            Event::RestartOver { unheard } if unheard.is_empty() => {
                info!("all neighbors have been heard since our restart");
            }
            Event::RestartOver { unheard } => {
                let names: Vec<&str> = unheard.iter().map(bgpd::PeerName::as_str).collect();
                warn!(
                    "our restart is over, although not everything was heard of {}; routes that only a run before this one knew are gone",
                    names.join(", ")
                );
            }
            Event::PrefixLimit {
                peer,
                received,
                limit,
            } => {
                warn!(neighbor = %peer, "{received} prefixes received, {limit} allowed (max-prefixes)");
            }
            Event::ExportLimit { peer, limit } => {
                warn!(neighbor = %peer, "more prefixes for the neighbor than the {limit} it takes; the rest is held back");
            }
            Event::RangeFull {
                range,
                limit,
                address,
            } => {
                warn!(neighbor = %range, "{address} is turned away: the range has its {limit} neighbors (range-limit)");
            }
            Event::RouteRefused {
                peer,
                prefix,
                refusal,
            } => {
                info!(neighbor = %peer, %prefix, "not believed: {refusal}");
            }
            Event::UpdateFault {
                peer,
                fault,
                withdrawn,
            } => {
                warn!(neighbor = %peer, "malformed UPDATE, {withdrawn} prefixes withdrawn: {fault}");
            }
            Event::InterfaceChanged {
                interface,
                up,
                prefixes,
            } => {
                let state = if *up { "usable" } else { "unusable" };
                debug!(%interface, "paths are {state}; {prefixes} prefixes selected anew");
            }
            Event::EventsLost { count } => warn!("{count} BGP events were lost"),
            other => debug!("{other:?}"),
        }
    }
}
