//! What BGP says, carried to the sockets, the routes and the journal.

use std::time::Instant;

use bgpd::{Event, LocalRoute, LocalSource};
use tracing::{debug, info, warn};

use super::{Effect, Gateway};

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
            self.journal_bgp(now, &event);
            any = true;
        }
        any
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
