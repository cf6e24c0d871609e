//! Joins the cores: what IKE says about a tunnel becomes what BGP, the data plane and the host are told.
//!
//! A value like the cores themselves: inputs go in by method call, [`Effect`]s come out by [`Gateway::poll_effect`], `now` is an
//! argument. The one truth about a tunnel, whether packets pass, is [`Tunnel::is_up`], and it is said in one place, so BGP's next hops
//! and the host's routes can never disagree about it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bgpd::{FibNextHop, Speaker};
use ike::{ConnectionId, Endpoint};
use ipnet::IpNet;
use serde_json::Value;
use tracing::{error, warn};
use vti::host::Report;
use vti::nft::Ruleset;
use vti::plan::Desired;
use vti::plane::{Direction, PlaneEvent, SaSpec, TunnelId, TunnelSpec};
use vti::underlay::Way;

use crate::lockout::Outline;
use crate::plan::Plan;
use crate::transport;

mod bfd;
mod bgp;
mod commands;
mod desired;
mod ike_events;
mod inherited;
mod journal;
mod losses;
mod naming;
mod outer;
mod preview;
mod reload;
mod said;
#[cfg(test)]
mod tests;
mod tunnel;
mod verify;
pub(crate) mod view;

pub(crate) use commands::FAREWELL;
pub(crate) use ike_events::encap;
pub(crate) use inherited::Inherited;
use journal::Journal;
use losses::Due;
pub(crate) use losses::Refused;
use outer::Withheld;
pub(crate) use tunnel::LocalPath;
use tunnel::Tunnel;
use verify::Verifications;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// The data plane has something to say.
    Plane(PlaneEvent),
    /// A BGP connection changed. An accepted one goes through [`Gateway::accept`], because it is not data.
    Connected {
        conn: bgpd::ConnId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// A dial failed.
    ConnectFailed { conn: bgpd::ConnId, reason: String },
    /// Octets of BGP.
    Bytes { conn: bgpd::ConnId, octets: Vec<u8> },
    /// A BGP connection ended.
    Closed { conn: bgpd::ConnId, reason: String },
    /// The socket took octets that we sent.
    Sent { conn: bgpd::ConnId, octets: usize },
    /// What became of the path to a neighbor.
    Bfd(::bfd::Event),
    /// What the host's own routes and interfaces are now.
    Host(HostFacts),
    /// The host was brought to what is desired, or not.
    Reconciled(Result<Report, String>),
    /// Something of ours on the host was changed by somebody, and put right: both in words.
    Repaired(String),
    /// How many packets a tunnel has carried so far.
    Carried {
        tunnel: TunnelId,
        packets_in: u64,
        packets_out: u64,
    },
    /// The data plane did not do what it was told.
    PlaneRefused {
        tunnel: TunnelId,
        what: Refused,
        reason: String,
    },
    /// The firewall was loaded, or not, and what else would drop our peers.
    Firewall(FirewallFacts),
    /// What a peer's DNS name stands for, or why that is not known.
    Resolved {
        name: String,
        outcome: Result<Vec<IpAddr>, String>,
    },
    /// Arithmetic of IKE is done.
    Computed(ike::Outcome),
    /// A deadline has come.
    Tick,
}

/// What the daemon has to know of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostFacts {
    /// Routes of the host's own: prefix, where it comes from, its interface.
    pub(crate) local_routes: Vec<(IpNet, bgpd::LocalSource, Option<String>)>,
    /// For each peer's outer address, how it is reached.
    pub(crate) paths: BTreeMap<IpAddr, Result<LocalPath, String>>,
    /// For each peer's outer address, how it would be reached without us.
    pub(crate) underlay: BTreeMap<IpAddr, Way>,
    /// What on this host is in the tunnels' way, in words, with what to do about it.
    pub(crate) hindrances: Vec<String>,
    /// Interfaces that exist, and whether they carry packets.
    pub(crate) links: BTreeMap<String, bool>,
}

/// What became of the firewall.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FirewallFacts {
    /// Why our own table is not as it should be.
    pub(crate) failure: Option<String>,
    /// What other tables would do to our peers' packets, in words, with what to do about it.
    pub(crate) obstacles: Vec<String>,
}

/// Something to be done, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send a datagram from the plane's sockets.
    Send(ike::Transmit),
    /// Run this on another thread, and come back with [`Input::Computed`].
    Compute(ike::Job),
    /// Change the data plane.
    Plane(PlaneChange),
    /// Take BGP connections from these addresses only where they are signed with their keys (RFC 2385), from others as they are.
    Sign(BTreeMap<IpAddr, bgpd::Md5Key>),
    /// Change a BGP connection.
    Bgp(bgpd::Action),
    /// Bring the host to this.
    Host(Arc<Desired>),
    /// Load this firewall; `None` removes ours.
    Firewall(Option<Arc<Ruleset>>),
    /// What the host has to be looked at for: the ways to the peers, and what is in the way.
    Watch(Arc<Outline>),
    /// Look a peer's DNS name up, and say what came of it with [`Input::Resolved`].
    Resolve(String),
    /// Say what a tunnel has carried so far, with [`Input::Carried`].
    Count(TunnelId),
    /// What verifying a tunnel has shown: the report of `docs/status.md`.
    Verified(TunnelId, Value),
    /// Watch the paths to these neighbors, and no others.
    Bfd(BTreeMap<::bfd::SessionName, ::bfd::SessionConfig>),
    /// End the process: something cannot go on.
    Fail(String),
}

/// A change of the data plane.
#[derive(Debug)]
pub(crate) enum PlaneChange {
    AddTunnel(TunnelSpec),
    RemoveTunnel(TunnelId),
    AddInbound(TunnelId, SaSpec),
    SetOutbound(TunnelId, SaSpec),
    RemoveInbound(TunnelId, u32),
    ClearOutbound(TunnelId),
    UpdatePath(TunnelId, ike::Path),
}

/// The gateway.
pub(crate) struct Gateway {
    plan: Plan,
    ike: Endpoint,
    /// The time of day at a moment, in seconds since 1970 began.
    clock: Option<(Instant, u64)>,
    bgp: Speaker,
    tunnels: BTreeMap<u32, Tunnel>,
    /// What BFD has said of the path to each neighbor that is watched.
    paths: BTreeMap<bgpd::PeerName, bfd::Path>,
    /// What there was to see of BFD when somebody asked last.
    bfd_views: BTreeMap<::bfd::SessionName, ::bfd::view::Session>,
    fib: BTreeMap<IpNet, Vec<FibNextHop>>,
    inherited: Inherited,
    /// Until then tunnels may live on the SAs of a process before this one.
    inherits_until: Option<Instant>,
    facts: HostFacts,
    /// The host has been looked at.
    facts_are_known: bool,
    firewall: FirewallFacts,
    host_failure: Option<String>,
    concerns: Vec<String>,
    effects: VecDeque<Effect>,
    desired_is_stale: bool,
    /// Routes that BGP wants and the host is better off without.
    withheld: Vec<Withheld>,
    journal: Journal,
    /// What waits for its time.
    due: Vec<(Instant, Due)>,
    verifications: Verifications,
    started: Instant,
    stopping: bool,
}

impl Gateway {
    /// A gateway that has done nothing yet, and finds these routes of a process before it.
    ///
    /// # Errors
    /// When the speaker refuses a peer; the site file's checks should have caught it.
    pub(crate) fn new(
        now: Instant,
        plan: Plan,
        ike_seed: [u8; 32],
        bgp_seed: [u8; 32],
        inherited: Inherited,
    ) -> Result<Self, String> {
        let ike = Endpoint::new(plan.ike, ike_seed);
        let bgp = bgp::speaker(now, &plan, bgp_seed, &inherited);
        let mut gateway = Self {
            plan: Plan::default(),
            ike,
            clock: None,
            bgp,
            tunnels: BTreeMap::new(),
            paths: BTreeMap::new(),
            bfd_views: BTreeMap::new(),
            fib: BTreeMap::new(),
            inherited,
            inherits_until: None,
            facts: HostFacts::default(),
            facts_are_known: false,
            firewall: FirewallFacts::default(),
            host_failure: None,
            concerns: Vec::new(),
            effects: VecDeque::new(),
            desired_is_stale: true,
            withheld: Vec::new(),
            journal: Journal::default(),
            due: Vec::new(),
            verifications: Verifications::new(),
            started: now,
            stopping: false,
        };
        gateway.adopt(now, plan)?;
        gateway.inherit(now);
        Ok(gateway)
    }

    /// Takes in something that happened. Drain [`Self::poll_effect`] afterwards.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Plane(event) => self.handle_plane(now, event),
            Input::Connected {
                conn,
                local,
                remote,
            } => self.bgp.handle_connected(now, conn, local, remote),
            Input::ConnectFailed { conn, reason } => {
                self.bgp.handle_connect_failed(now, conn, &reason)
            }
            Input::Bytes { conn, octets } => self.bgp.handle_bytes(now, conn, &octets),
            Input::Closed { conn, reason } => self.bgp.handle_closed(now, conn, &reason),
            Input::Sent { conn, octets } => self.bgp.handle_sent(now, conn, octets),
            Input::Bfd(event) => self.handle_bfd(now, event),
            Input::Host(facts) => self.handle_facts(now, facts),
            Input::Reconciled(outcome) => self.handle_report(now, outcome),
            Input::Repaired(repair) => self.journal.record(now, format!("host: {repair}")),
            Input::Carried {
                tunnel,
                packets_in,
                packets_out,
            } => self.handle_count(now, tunnel, packets_in, packets_out),
            Input::PlaneRefused {
                tunnel,
                what,
                reason,
            } => self.handle_refusal(now, tunnel, what, &reason),
            Input::Firewall(facts) => self.handle_firewall(facts),
            Input::Resolved { name, outcome } => self.handle_resolved(now, &name, &outcome),
            Input::Computed(outcome) => self.ike.handle_outcome(now, outcome),
            Input::Tick => {}
        }
        self.do_what_is_due(now);
        self.go_on_verifying(now);
        self.ike.handle_timeout(now);
        self.bgp.handle_timeout(now);
        self.settle(now);
    }

    /// Decides about a connection that somebody opened to our BGP port.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<(bgpd::ConnId, transport::Distance)> {
        let accepted = self.bgp.handle_accepted(now, remote, local);
        self.settle(now);
        match accepted {
            Ok(conn) => Some((conn, self.distance(remote.ip()))),
            Err(refused) => {
                tracing::debug!(%remote, "a BGP connection was turned away: {refused}");
                None
            }
        }
    }

    /// Tells the time of day, in seconds since 1970 began, by which certificates are valid or not.
    pub(crate) fn set_clock(&mut self, now: Instant, unix: u64) {
        self.clock = Some((now, unix));
        self.ike.set_clock(now, unix);
    }

    /// What has to be done next.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due.iter().map(|(when, _)| *when).min();
        let cores = [self.ike.poll_timeout(), self.bgp.poll_timeout()];
        cores
            .into_iter()
            .chain([due, self.verification_timeout(), self.inherits_until])
            .flatten()
            .min()
    }

    /// Moves what one core says to the others until all are quiet.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.ike.poll_event() {
                self.handle_ike(now, event);
                quiet = false;
            }
            quiet &= !self.drain_bgp(now);
            if quiet {
                break;
            }
        }
        while let Some(transmit) = self.ike.poll_transmit() {
            self.effects.push_back(Effect::Send(transmit));
        }
        while let Some(job) = self.ike.poll_job() {
            self.effects.push_back(Effect::Compute(job));
        }
        if std::mem::take(&mut self.desired_is_stale) {
            let (desired, withheld) = self.desired();
            self.effects.push_back(Effect::Host(Arc::new(desired)));
            for one in withheld.iter().filter(|one| !self.withheld.contains(one)) {
                warn!("route {} is not installed: {}", one.prefix, one.why);
            }
            self.withheld = withheld;
        }
    }

    fn handle_plane(&mut self, now: Instant, event: PlaneEvent) {
        match event {
            PlaneEvent::IkeDatagram {
                local,
                remote,
                payload,
            } => {
                self.ike.handle_datagram(now, local, remote, &payload);
            }
            PlaneEvent::FirstInbound { tunnel, spi } => {
                self.verify_inbound(tunnel, spi);
                self.ike_command(now, ike::Command::InboundTraffic { spi });
            }
            PlaneEvent::SoftLimit {
                tunnel,
                spi,
                direction,
            } => {
                if let Some(spi) = self.inbound_spi(tunnel, spi, direction) {
                    self.ike_command(now, ike::Command::SoftExpired { spi });
                }
            }
            PlaneEvent::HardLimit {
                tunnel,
                spi,
                direction,
            } => {
                if let Some(spi) = self.inbound_spi(tunnel, spi, direction) {
                    self.ike_command(now, ike::Command::HardExpired { spi });
                }
            }
            PlaneEvent::UnknownSpi { from, .. } => {
                self.ike_command(now, ike::Command::UnknownSpi { remote: from.ip() });
            }
            PlaneEvent::NatMapping { spi, from, .. } => {
                self.ike_command(now, ike::Command::PeerMoved { spi, remote: from });
            }
            PlaneEvent::PathMtu { tunnel, outer_mtu } => {
                if let Some(tunnel) = self.tunnels.get_mut(&tunnel.0) {
                    tunnel.limit_outer_mtu(outer_mtu);
                    self.desired_is_stale = true;
                }
            }
            PlaneEvent::PolicyRestored { tunnel } => self.note_restored_policy(now, tunnel),
            PlaneEvent::OffloadRefused { tunnel, reason } => {
                if let Some(tunnel) = self.tunnels.get_mut(&tunnel.0) {
                    warn!(tunnel = %tunnel.plan.name, "no hardware offload: {reason}");
                    tunnel.offload_refused = Some(reason);
                }
            }
            PlaneEvent::InterfaceLost { tunnel } => self.restore_interface(now, tunnel),
            PlaneEvent::SaLost {
                tunnel,
                spi,
                direction,
            } => self.replace_lost_sa(now, tunnel, spi, direction),
            PlaneEvent::Failed { reason } => self.effects.push_back(Effect::Fail(reason)),
        }
    }

    /// Authentic packets from a peer are a sign of life, so that IKE need not ask (RFC 7296, section 2.4).
    fn handle_count(&mut self, now: Instant, id: TunnelId, packets_in: u64, packets_out: u64) {
        let Some(tunnel) = self.tunnels.get_mut(&id.0) else {
            return;
        };
        let was_silent = tunnel.silence(now).is_some();
        if tunnel.count(now, packets_in, packets_out) {
            self.ike_command(now, ike::Command::AnyTraffic(ConnectionId(id.0)));
        } else if let (false, Some(silence)) = (was_silent, tunnel.silence(now)) {
            warn!(tunnel = %tunnel.plan.name, "{silence}");
        }
        self.verify_count(now, id, (packets_in, packets_out));
    }

    /// IKE names a CHILD_SA by its inbound SPI; the plane names each direction by its own.
    fn inbound_spi(&self, tunnel: TunnelId, spi: u32, direction: Direction) -> Option<u32> {
        match direction {
            Direction::Inbound => Some(spi),
            Direction::Outbound => self.tunnels.get(&tunnel.0)?.inbound_of(spi),
        }
    }

    fn handle_facts(&mut self, now: Instant, facts: HostFacts) {
        if facts == self.facts && self.facts_are_known {
            return;
        }
        self.facts_are_known = true;
        for (name, up) in &facts.links {
            if self.facts.links.get(name) != Some(up) && !self.is_tunnel_interface(name) {
                self.bgp_command(
                    now,
                    bgpd::Command::SetInterface {
                        name: name.clone(),
                        up: *up,
                    },
                );
            }
        }
        // An interface that disappeared carries nothing.
        let gone: Vec<String> = self
            .facts
            .links
            .keys()
            .filter(|name| !facts.links.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if !self.is_tunnel_interface(&name) {
                self.bgp_command(now, bgpd::Command::SetInterface { name, up: false });
            }
        }
        for hindrance in facts
            .hindrances
            .iter()
            .filter(|one| !self.facts.hindrances.contains(one))
        {
            warn!("{hindrance}");
        }
        self.facts = facts;
        self.announce_local_routes(now);
        self.follow_paths(now);
        let ids: Vec<u32> = self.tunnels.keys().copied().collect();
        for id in ids {
            self.publish(now, id);
        }
        self.desired_is_stale = true;
    }

    fn is_tunnel_interface(&self, name: &str) -> bool {
        self.tunnels
            .values()
            .any(|tunnel| tunnel.plan.interface() == name)
    }

    /// Starts or moves each connection whose way to its peer is known now.
    fn follow_paths(&mut self, now: Instant) {
        let (mut commands, mut moved) = (Vec::new(), Vec::new());
        let interfaces: BTreeSet<String> = self
            .tunnels
            .values()
            .map(|tunnel| tunnel.plan.interface().to_owned())
            .collect();
        for tunnel in self.tunnels.values_mut() {
            let remote = tunnel.plan.connection.remote;
            match self.facts.paths.get(&remote) {
                // What carries a tunnel cannot lead through one; the moment passes, or the host's hindrances say what to do.
                Some(Ok(path)) if interfaces.contains(&path.interface) => {
                    let into = &path.interface;
                    tunnel.lose_path(&format!(
                        "the route to {remote} leads into our own tunnel interface {into}"
                    ));
                }
                Some(Ok(path)) => {
                    if let Some((command, said)) = tunnel.take_path(path) {
                        moved.extend(said.map(|said| (tunnel.plan.name.clone(), said)));
                        commands.push(command);
                    }
                }
                Some(Err(reason)) => tunnel.lose_path(reason),
                None => {}
            }
        }
        for (name, said) in moved {
            warn!(tunnel = %name, "{said}");
            self.journal.record(now, format!("{name}: {said}"));
        }
        for command in commands {
            self.ike_command(now, command);
        }
    }

    fn handle_report(&mut self, now: Instant, outcome: Result<Report, String>) {
        if let Ok(report) = &outcome {
            self.take_freed_names(now, report);
        }
        let (failure, concerns) = match outcome {
            Ok(report) => {
                let failure = report.failed.first().map(|(_, error)| error.to_string());
                (
                    failure,
                    report.concerns.iter().map(ToString::to_string).collect(),
                )
            }
            Err(failure) => (Some(failure), Vec::new()),
        };
        if failure != self.host_failure {
            match &failure {
                Some(failure) => error!("the host is not as the site file says: {failure}"),
                None => tracing::info!("the host is as the site file says"),
            }
            self.host_failure = failure;
        }
        for concern in &concerns {
            if !self.concerns.contains(concern) {
                warn!("{concern}");
            }
        }
        self.concerns = concerns;
    }

    fn handle_firewall(&mut self, facts: FirewallFacts) {
        if facts == self.firewall {
            return;
        }
        if let Some(failure) = &facts.failure {
            error!("the firewall is not as the site file says: {failure}");
        }
        for obstacle in facts
            .obstacles
            .iter()
            .filter(|one| !self.firewall.obstacles.contains(one))
        {
            warn!("{obstacle}");
        }
        self.firewall = facts;
    }

    fn ike_command(&mut self, now: Instant, command: ike::Command) {
        self.ike.command(now, command);
    }

    fn bgp_command(&mut self, now: Instant, command: bgpd::Command) {
        if let Err(error) = self.bgp.command(now, command) {
            warn!("BGP did not take a command: {error}");
        }
    }
}

impl From<transport::Event> for Input {
    fn from(event: transport::Event) -> Self {
        match event {
            transport::Event::Connected {
                conn,
                local,
                remote,
            } => Self::Connected {
                conn,
                local,
                remote,
            },
            transport::Event::ConnectFailed { conn, reason } => {
                Self::ConnectFailed { conn, reason }
            }
            transport::Event::Bytes { conn, octets } => Self::Bytes { conn, octets },
            transport::Event::Closed { conn, reason } => Self::Closed { conn, reason },
            transport::Event::Sent { conn, octets } => Self::Sent { conn, octets },
        }
    }
}
