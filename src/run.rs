//! The daemon: one loop that builds inputs, lets the gateway decide, and carries its effects out.
//!
//! ```text
//!  plane threads ──events (1024)──►┐
//!  BFD's thread ──events (64)─────►│
//!  arithmetic ────outcomes (64)───►│
//!  TCP tasks ─────events (256)────►│        ┌──────────┐ effects ┌── plane.*() ── IKE datagrams
//!  host thread ───notices (64)────►├─select─►  Gateway ├────────►├── transport: dial, send, close
//!  control socket ─requests (16)──►│        └──────────┘         └── host thread: Desired, firewall
//!  metrics ─────────┘ (the same)   │
//!  signals, timer ────────────────►┘
//! ```
//!
//! Nothing is decided here. A queue that is full slows its producer down, or is counted where the producer may not wait.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};
use vti::plane::{self, DataPlane, PlaneEvent, TunnelCounters, TunnelId};
use vti::user::{IkeSender, UserPlaneConfig};

use crate::arithmetic::Arithmetic;
use crate::cli::{Failure, number, plan};
use crate::control::{self, Query, Refusal, Request};
use crate::gateway::view::metrics::Wall;
use crate::gateway::view::{RuleCount, Surroundings};
use crate::gateway::{Effect, FAREWELL, Gateway, Inherited, Input, PlaneChange, Refused, encap};
use crate::host::{self, Imagined, Question, until};
use crate::liveness::Liveness;
use crate::metrics::listener::Listener;
use crate::metrics::process::Process;
use crate::plan::Plan;
use crate::plane::{self as choice, Choice};
use crate::resolver::Family;
use crate::site::{self, Loaded};
use crate::transport::{self, Arrival, Dial, Distance, Transport};
use crate::{lockout, logging, resolver, systemd};

/// How often signs of life are collected and systemd's watchdog is told that the loop turns.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long the host thread may take to count what our rules matched.
const COUNTING: Duration = Duration::from_millis(500);

/// How long the host thread may take to compare the host with what is asked of it.
const COMPARING: Duration = Duration::from_secs(5);

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// [`Failure::Invalid`] when the site file is wrong; nothing was touched then. [`Failure::Failed`] when the host does not let us work.
pub(crate) fn execute(config: &Path, socket: Option<&Path>) -> Result<(), Failure> {
    let mut loaded = site::load(config)?;
    if let Some(socket) = socket {
        loaded.socket = socket.to_owned();
    }
    logging::start(&loaded.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(config, loaded))
}

async fn run(config: &Path, loaded: Loaded) -> Result<(), Failure> {
    let socket = control::Socket::bind(&loaded.socket).map_err(|error| {
        Failure::Failed(format!(
            "cannot listen on {}: {error}",
            loaded.socket.display()
        ))
    })?;
    let inherited = host::inherited(loaded.runtime_folder())
        .await
        .unwrap_or_else(|error| {
            warn!("cannot look for routes of a run before this one: {error}");
            Inherited::default()
        });
    let (requests, mut asked) = mpsc::channel(16);
    let mut daemon = Daemon::start(config, loaded, inherited, requests.clone())?;
    daemon.set_clock();
    let control = tokio::spawn(socket.serve(requests));
    daemon.serve_metrics();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut hand_over = signal(SignalKind::user_defined2())?;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    systemd::ready();

    let mut all_are_added = false;
    let stopped_by = loop {
        if let Some(reason) = daemon.drain_effects() {
            break Err(reason);
        }
        if !std::mem::replace(&mut all_are_added, true) {
            daemon.sweep();
        }
        let deadline = daemon.gateway.poll_timeout();
        let input = tokio::select! {
            Some(event) = daemon.plane_events.recv() => Some(Input::Plane(event)),
            Some(outcome) = daemon.outcomes.recv() => Some(Input::Computed(outcome)),
            Some(event) = daemon.connections.recv() => daemon.hear(event),
            Some(notice) = daemon.notices.recv() => Some(notice),
            Some(event) = daemon.paths.recv() => Some(Input::Bfd(event)),
            Some(arrival) = daemon.arrivals.recv() => daemon.accept(arrival),
            Some(request) = asked.recv() => daemon.answer(request),
            Some((request, counts)) = daemon.counted.recv() => daemon.show(request, counts),
            () = until(deadline) => Some(Input::Tick),
            _ = heartbeat.tick() => daemon.beat(),
            _ = hangup.recv() => daemon.reload_by_signal(),
            _ = terminate.recv() => break Ok(Signal::SIGTERM),
            _ = interrupt.recv() => break Ok(Signal::SIGINT),
            _ = hand_over.recv() => {
                daemon.hand_over();
                return Ok(());
            }
        };
        if let Some(input) = input {
            daemon.set_clock();
            daemon.gateway.handle(Instant::now(), input);
        }
    };
    systemd::stopping();
    daemon.stop().await;
    control.abort();
    match stopped_by {
        Ok(signal) => {
            info!("stopped by {signal}");
            Ok(())
        }
        Err(reason) => Err(Failure::Failed(reason)),
    }
}

/// What our sockets are bound to: all addresses of the family that the tunnels run over.
fn any_address(plan: &Plan) -> IpAddr {
    if plan.runs_over_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// Randomness for a core, from the kernel.
fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    SysRng
        .try_fill_bytes(&mut seed)
        .map_err(|error| Failure::Failed(format!("the kernel gives no randomness: {error}")))?;
    Ok(seed)
}

/// The gateway with everything that carries its effects out.
struct Daemon {
    config: PathBuf,
    loaded: Loaded,
    gateway: Gateway,
    plane: Box<dyn DataPlane>,
    ike: IkeSender,
    choice: Choice,
    plane_events: mpsc::Receiver<PlaneEvent>,
    arithmetic: Arithmetic,
    outcomes: mpsc::Receiver<ike::Outcome>,
    transport: Transport,
    connections: mpsc::Receiver<transport::Event>,
    arrivals: mpsc::Receiver<Arrival>,
    liveness: Liveness,
    paths: mpsc::Receiver<bfd::Event>,
    host: host::Handle,
    notices: mpsc::Receiver<Input>,
    told: mpsc::Sender<Input>,
    counted: mpsc::Receiver<(Request, Vec<RuleCount>)>,
    counted_by: mpsc::Sender<(Request, Vec<RuleCount>)>,
    /// What the clock on the wall showed at the start.
    wall: Wall,
    requests: mpsc::Sender<Request>,
    /// Where the site file asks for it.
    metrics: Option<Listener>,
    /// Who waits for which tunnel to be verified.
    verifying: BTreeMap<TunnelId, oneshot::Sender<Result<Value, Refusal>>>,
}

impl Daemon {
    fn start(
        config: &Path,
        mut loaded: Loaded,
        inherited: Inherited,
        requests: mpsc::Sender<Request>,
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let choice = choice::choose(loaded.data_plane, &loaded.plan.tunnels, choice::probe)
            .map_err(Failure::Failed)?;
        choice.fit(&mut loaded.plan, choice::device_to);
        info!("{choice}");
        let (events, plane_events) = mpsc::channel(1024);
        let ports = UserPlaneConfig {
            ike_port: loaded.ike_port,
            nat_port: loaded.nat_port,
            bind: any_address(&loaded.plan),
            ..Default::default()
        };
        let kept = systemd::kept(choice.kind, &ports);
        let successor = kept.is_some();
        let plane = choice::open(choice.kind, &ports, kept, events)
            .map_err(|error| Failure::Failed(lockout::explain_port(&error)))?;
        if let (false, Some(port)) = (successor, plane.to_be_kept()) {
            systemd::keep(port);
        }
        let (arithmetic, outcomes) = Arithmetic::new();
        let (counted_by, counted) = mpsc::channel(16);
        let (told, notices) = mpsc::channel(64);
        let host = host::Handle::start(loaded.runtime_folder(), told.clone())
            .map_err(|error| failed(&error))?;
        let (happened, connections) = mpsc::channel(256);
        let (arrived, arrivals) = mpsc::channel(16);
        let mut transport = Transport::new(happened, arrived);
        if let Err(error) = transport.listen(loaded.bgp_port) {
            // Dialling works all the same, so this is no reason to stop.
            warn!(
                "cannot listen on TCP port {}: {error}; is another BGP daemon running? neighbors that only dial us stay down",
                loaded.bgp_port
            );
        }
        let (watched, paths) = mpsc::channel(64);
        let liveness = Liveness::new(seed()?, watched).map_err(|error| failed(&error))?;
        let (ike_seed, bgp_seed) = (seed()?, seed()?);
        let gateway = Gateway::new(
            Instant::now(),
            loaded.plan.clone(),
            ike_seed,
            bgp_seed,
            inherited,
        )
        .map_err(|error| failed(&error))?;
        info!(
            "gateway {} starts with {} and {}",
            loaded.plan.name,
            number(loaded.plan.tunnels.len(), "tunnel"),
            number(loaded.plan.peers.len(), "neighbor")
        );
        Ok(Self {
            config: config.to_owned(),
            gateway,
            ike: plane.ike_sender(),
            plane,
            choice,
            plane_events,
            arithmetic,
            outcomes,
            transport,
            connections,
            arrivals,
            liveness,
            paths,
            host,
            notices,
            told,
            counted,
            counted_by,
            wall: Wall {
                started: SystemTime::now(),
                at: Instant::now(),
            },
            requests,
            metrics: None,
            verifying: BTreeMap::new(),
            loaded,
        })
    }

    /// Carries out all effects. Returns why the process has to end, if it has to.
    fn drain_effects(&mut self) -> Option<String> {
        while let Some(effect) = self.gateway.poll_effect() {
            match effect {
                Effect::Send(transmit) => self.send(&transmit),
                Effect::Compute(job) => self.arithmetic.run(job),
                Effect::Plane(change) => {
                    if let Some(reason) = self.change_plane(change) {
                        return Some(reason);
                    }
                }
                Effect::Bgp(action) => self.change_connection(action),
                Effect::Sign(keys) => self.transport.sign(keys),
                Effect::Host(desired) => self.host.desire(desired),
                Effect::Firewall(ruleset) => self.host.load(ruleset),
                Effect::Watch(outline) => self.host.watch(outline),
                Effect::Resolve(name) => {
                    resolver::look_up(name, self.family(), self.told.clone());
                }
                Effect::Count(tunnel) => self.count(tunnel),
                Effect::Verified(tunnel, report) => {
                    // A client that went away does not want its answer.
                    if let Some(answer) = self.verifying.remove(&tunnel) {
                        let _ = answer.send(Ok(report));
                    }
                }
                Effect::Bfd(wanted) => self.liveness.want(&wanted),
                Effect::Fail(reason) => return Some(reason),
            }
        }
        None
    }

    /// What the tunnels run over.
    fn family(&self) -> Family {
        if self.loaded.plan.runs_over_ipv6() {
            Family::Ipv6
        } else {
            Family::Ipv4
        }
    }

    /// Removes what an earlier process left in the data plane for tunnels that are not wanted any more.
    fn sweep(&mut self) {
        let swept = self.plane.sweep();
        if swept > 0 {
            info!(
                "{} of an earlier run removed from the data plane",
                number(swept, "leftover")
            );
        }
    }

    fn send(&self, transmit: &ike::Transmit) {
        let sent = match transmit.kind {
            ike::TransmitKind::Ike => {
                self.ike
                    .send(transmit.local, transmit.remote, &transmit.payload)
            }
            ike::TransmitKind::NatKeepalive => self.ike.keepalive(transmit.local, transmit.remote),
        };
        if let Err(error) = sent {
            // Lost like any datagram: IKE repeats it.
            tracing::debug!(remote = %transmit.remote, "cannot send: {error}");
        }
    }

    /// Changes the plane. Returns why the process has to end, where the host has no tunnels to give at all.
    fn change_plane(&mut self, change: PlaneChange) -> Option<String> {
        let (tunnel, what, outcome) = match change {
            PlaneChange::AddTunnel(spec) => {
                (spec.id, Refused::Tunnel, self.plane.add_tunnel(&spec))
            }
            PlaneChange::RemoveTunnel(tunnel) => {
                (tunnel, Refused::Removal, self.plane.remove_tunnel(tunnel))
            }
            PlaneChange::AddInbound(tunnel, sa) => {
                (tunnel, Refused::Sa, self.plane.add_inbound(tunnel, sa))
            }
            PlaneChange::SetOutbound(tunnel, sa) => {
                (tunnel, Refused::Sa, self.plane.set_outbound(tunnel, sa))
            }
            PlaneChange::RemoveInbound(tunnel, spi) => (
                tunnel,
                Refused::Removal,
                self.plane.remove_inbound(tunnel, spi),
            ),
            PlaneChange::ClearOutbound(tunnel) => {
                (tunnel, Refused::Removal, self.plane.clear_outbound(tunnel))
            }
            PlaneChange::UpdatePath(tunnel, path) => {
                let encap = encap(path.encapsulated, path.local.port(), path.remote.port());
                let updated =
                    self.plane
                        .update_path(tunnel, path.local.ip(), path.remote.ip(), encap);
                (tunnel, Refused::Path, updated)
            }
        };
        let error = outcome.err()?;
        if what == Refused::Removal
            && matches!(
                error,
                plane::Error::NoSuchSa { .. } | plane::Error::NoSuchTunnel { .. }
            )
        {
            // It went with its tunnel, or with an interface that somebody deleted.
            return None;
        }
        if matches!(
            error,
            plane::Error::NoTun { .. } | plane::Error::NotPermitted { .. }
        ) {
            return Some(error.to_string());
        }
        let refused = Input::PlaneRefused {
            tunnel,
            what,
            reason: error.to_string(),
        };
        self.gateway.handle(Instant::now(), refused);
        None
    }

    fn change_connection(&mut self, action: bgpd::Action) {
        match action {
            bgpd::Action::Connect {
                conn,
                local,
                remote,
                interface,
                ttl,
                min_ttl,
                md5,
                ..
            } => {
                self.transport.dial(Dial {
                    conn,
                    local,
                    interface,
                    remote,
                    distance: Distance { ttl, min_ttl },
                    md5,
                });
            }
            bgpd::Action::Send { conn, bytes } => {
                if let Err(reason) = self.transport.send(conn, bytes) {
                    self.gateway
                        .handle(Instant::now(), Input::Closed { conn, reason });
                }
            }
            bgpd::Action::Close { conn } => self.transport.close(conn),
        }
    }

    fn hear(&mut self, event: transport::Event) -> Option<Input> {
        if let transport::Event::Closed { conn, .. }
        | transport::Event::ConnectFailed { conn, .. } = &event
        {
            self.transport.forget(*conn);
        }
        Some(event.into())
    }

    fn accept(&mut self, arrival: Arrival) -> Option<Input> {
        // Without a number the stream is dropped, which closes it.
        if let Some((conn, distance)) =
            self.gateway
                .accept(Instant::now(), arrival.local, arrival.remote)
        {
            self.transport.adopt(conn, arrival.stream, distance);
        }
        None
    }

    /// Tells the gateway the time of day, which somebody may have set since.
    fn set_clock(&mut self) {
        let unix = crate::certificates::unix_time();
        self.gateway.set_clock(Instant::now(), unix);
    }

    /// Tells the gateway what the tunnels carry, and systemd that the loop turns.
    fn beat(&mut self) -> Option<Input> {
        systemd::watchdog();
        self.liveness.listen();
        let tunnels = self.loaded.plan.tunnels.iter();
        let ids: Vec<TunnelId> = tunnels.map(|tunnel| tunnel.spec.id).collect();
        ids.into_iter().for_each(|id| self.count(id));
        None
    }

    /// Tells the gateway what a tunnel has carried.
    fn count(&mut self, tunnel: TunnelId) {
        if let Some(TunnelCounters {
            packets_in,
            packets_out,
            ..
        }) = self.plane.counters(tunnel)
        {
            let carried = Input::Carried {
                tunnel,
                packets_in,
                packets_out,
            };
            self.gateway.handle(Instant::now(), carried);
        }
    }

    fn answer(&mut self, request: Request) -> Option<Input> {
        let now = Instant::now();
        let answer = match request.query {
            Query::Status | Query::Metrics => {
                self.count_for(request);
                return None;
            }
            Query::Plan => {
                self.plan_for(request);
                return None;
            }
            Query::Verify(name) => match self.gateway.verify(now, &name) {
                Ok(tunnel) => {
                    self.verifying.insert(tunnel, request.answer);
                    return None;
                }
                Err(refusal) => Err(refusal),
            },
            Query::Tunnels => self.gateway.tunnels(now, &self.surroundings(Vec::new())),
            Query::BgpSummary => {
                self.gateway.see_bfd(self.liveness.views());
                self.gateway.bgp_summary(now)
            }
            Query::BgpNeighbor(name) => {
                self.gateway.see_bfd(self.liveness.views());
                self.gateway.bgp_neighbor(now, &name)
            }
            Query::BgpWhy(asked) => self.gateway.bgp_why(&asked, host::way_to),
            Query::BgpWhyNot { neighbor, prefix } => {
                self.gateway.bgp_why_not(now, &neighbor, &prefix)
            }
            Query::BgpRoutes(prefix) => self.gateway.bgp_routes(prefix),
            Query::Reload => self.reload().map(|touched| {
                let message = if touched.is_empty() {
                    "nothing has changed".to_owned()
                } else {
                    touched.join("\n")
                };
                serde_json::json!({ "touched": touched, "message": message })
            }),
            Query::Tunnel(name, command) => self
                .gateway
                .tunnel(now, &name, command)
                .map(|message| serde_json::json!({ "message": message })),
            Query::Neighbor(name, command) => self
                .gateway
                .neighbor(now, &name, command)
                .map(|message| serde_json::json!({ "message": message })),
        };
        // A client that went away does not want its answer.
        let _ = request.answer.send(answer);
        None
    }

    /// Serves the metrics over TCP where the site file asks for it now, and nowhere else.
    fn serve_metrics(&mut self) {
        let wanted = self.loaded.metrics;
        if self.metrics.as_ref().map(Listener::address) != wanted {
            // The one before goes first: the address may be the same and the port another.
            self.metrics = None;
            self.metrics = wanted.map(|address| Listener::start(address, self.requests.clone()));
        }
    }

    /// Has the firewall's counters fetched for a status or the metrics. The loop does not wait for the host thread; what it cannot count in time is left
    /// out of the answer.
    fn count_for(&self, request: Request) {
        let (answer, answered) = oneshot::channel();
        self.host.ask(Question::Counts(answer));
        let counted = self.counted_by.clone();
        tokio::spawn(async move {
            let counts = tokio::time::timeout(COUNTING, answered).await;
            let counts = counts.ok().and_then(Result::ok).unwrap_or_default();
            // A loop that is gone answers nobody.
            let _ = counted.send((request, counts)).await;
        });
    }

    /// Has the host compared with what a reload would ask of it. The loop does not wait for the host thread.
    fn plan_for(&self, request: Request) {
        let (reload, imagined) = match self.preview() {
            Ok(preview) => preview,
            Err(refusal) => {
                let _ = request.answer.send(Err(refusal));
                return;
            }
        };
        let (answer, answered) = oneshot::channel();
        self.host.ask(Question::Plan(Box::new(imagined), answer));
        let (config, plane) = (self.config.clone(), self.choice.to_string());
        let in_the_way = self.gateway.in_the_way();
        tokio::spawn(async move {
            let busy = || "the host thread is busy; try again".to_owned();
            let compared = tokio::time::timeout(COMPARING, answered).await;
            let compared = compared.ok().and_then(Result::ok).ok_or_else(busy);
            let document = compared.flatten().map(|mut host| {
                host.concerns.extend(in_the_way);
                plan::document(&config, &host, &plane, Some(reload))
            });
            // A client that went away does not want its answer.
            let _ = request.answer.send(document.map_err(Refusal::Failed));
        });
    }

    /// The site file as it is now, fitted to the plane that runs, with what of it takes effect at a restart only.
    fn read_again(&self) -> Result<(Loaded, Choice, Vec<String>), Refusal> {
        let mut loaded = site::load_quietly(&self.config).map_err(Refusal::Invalid)?;
        let kept = loaded.keep_from(&self.loaded).map_err(Refusal::Invalid)?;
        let mut choice = self.choice.clone();
        choice
            .admit(&loaded.plan.tunnels, choice::probe)
            .map_err(Refusal::Failed)?;
        choice.fit(&mut loaded.plan, choice::device_to);
        self.gateway.keep_addresses(&mut loaded.plan);
        Ok((loaded, choice, kept))
    }

    /// What a reload would do, and what it would ask of the host.
    fn preview(&self) -> Result<(plan::Reload, Imagined), Refusal> {
        let (loaded, _, kept) = self.read_again()?;
        let moved =
            (loaded.metrics != self.loaded.metrics).then(|| site::metrics_words(loaded.metrics));
        let preview = self
            .gateway
            .preview(Instant::now(), &loaded.plan)
            .map_err(Refusal::Failed)?;
        let reload = plan::Reload {
            touched: preview
                .touched
                .into_iter()
                .chain(kept)
                .chain(moved)
                .collect(),
            tunnels: serde_json::json!(preview.tunnels),
            neighbors: serde_json::json!(preview.neighbors),
        };
        let imagined = Imagined {
            desired: preview.desired,
            tunnels: loaded.plan.specs(),
            ruleset: loaded.plan.ruleset(),
        };
        Ok((reload, imagined))
    }

    fn show(&mut self, request: Request, counts: Vec<RuleCount>) -> Option<Input> {
        self.gateway.see_bfd(self.liveness.views());
        let (now, around) = (Instant::now(), self.surroundings(counts));
        let answer = if request.query == Query::Metrics {
            let process = Process::look();
            let text = self.gateway.metrics(now, self.wall, &around, process);
            Ok(Value::String(text))
        } else {
            self.gateway.status(now, &around)
        };
        // A client that went away does not want its answer.
        let _ = request.answer.send(answer);
        None
    }

    fn surroundings(&self, firewall: Vec<RuleCount>) -> Surroundings {
        let tunnels = &self.loaded.plan.tunnels;
        Surroundings {
            plane: self.plane.kind().to_string(),
            plane_reason: self.choice.reason.clone(),
            interface_reasons: tunnels
                .iter()
                .map(|tunnel| {
                    let reason = self.choice.interface_reason(tunnel.interface_kind);
                    (tunnel.spec.id.0, reason)
                })
                .collect(),
            config: self.config.display().to_string(),
            tunnels: tunnels
                .iter()
                .filter_map(|tunnel| Some((tunnel.spec.id.0, self.plane.counters(tunnel.spec.id)?)))
                .collect(),
            stray: self.plane.stray(),
            firewall,
        }
    }

    fn reload_by_signal(&mut self) -> Option<Input> {
        systemd::reloading();
        match self.reload() {
            Ok(touched) if touched.is_empty() => info!("reloaded: nothing has changed"),
            Ok(touched) => info!("reloaded:\n{}", touched.join("\n")),
            Err(Refusal::Invalid(text) | Refusal::Failed(text) | Refusal::NotFound(text)) => {
                error!("not reloaded, everything stays as it was:\n{text}");
            }
        }
        systemd::ready();
        None
    }

    fn reload(&mut self) -> Result<Vec<String>, Refusal> {
        let (loaded, choice, kept) = self.read_again()?;
        let mut touched = self
            .gateway
            .reload(Instant::now(), loaded.plan.clone())
            .map_err(Refusal::Failed)?;
        touched.extend(kept);
        if loaded.metrics != self.loaded.metrics {
            touched.push(site::metrics_words(loaded.metrics));
        }
        (self.loaded, self.choice) = (loaded, choice);
        self.serve_metrics();
        Ok(touched)
    }

    /// Leaves everything as it is, for the next run to go on with: nobody is told, and nothing is taken off the host.
    fn hand_over(mut self) {
        info!("ends at once and leaves everything as it is, for the next run");
        systemd::stopping();
        // Our silence is not to be taken for a dead path: the neighbors' routes and ours go on (RFC 5882, section 4.3).
        self.liveness.leave();
        // What a destructor would take away or say is what has to stay. The process ends anyway.
        std::mem::forget(self);
    }

    /// Takes leave of the peers and, unless the site file says otherwise, takes everything that is ours off the host. The neighbors' last
    /// words need the tunnels, and the peers' last words need the interfaces, so each goes after what needs it.
    async fn stop(mut self) {
        let clean_up = self.loaded.clean_up;
        self.gateway.leave_neighbors(Instant::now());
        let mut rest = self.take_leave();
        self.liveness.leave();
        self.linger().await;
        self.gateway.stop(Instant::now(), clean_up);
        rest.extend(self.take_leave());
        self.linger().await;
        for effect in rest {
            match effect {
                Effect::Plane(change) => drop(self.change_plane(change)),
                Effect::Host(desired) => self.host.desire(desired),
                Effect::Firewall(ruleset) => self.host.load(ruleset),
                Effect::Send(_)
                | Effect::Bgp(_)
                | Effect::Sign(_)
                | Effect::Watch(_)
                | Effect::Resolve(_)
                | Effect::Count(_)
                | Effect::Verified(..)
                | Effect::Bfd(_)
                | Effect::Compute(_)
                | Effect::Fail(_) => {}
            }
        }
        // The thread must not wait for a loop that waits for it.
        self.notices.close();
        self.host.finish();
    }

    /// Gives the last words time to leave. What is still heard no longer matters, but nobody who says it may be kept waiting: the tasks
    /// that write would wait too.
    async fn linger(&mut self) {
        let over = tokio::time::sleep(FAREWELL);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(_) = self.plane_events.recv() => {}
                Some(_) = self.connections.recv() => {}
                Some(_) = self.notices.recv() => {}
            }
        }
    }

    /// Sends what is to be sent, and gives back the rest.
    fn take_leave(&mut self) -> Vec<Effect> {
        let mut rest = Vec::new();
        while let Some(effect) = self.gateway.poll_effect() {
            match effect {
                Effect::Bgp(action) => self.change_connection(action),
                Effect::Send(transmit) => self.send(&transmit),
                Effect::Compute(job) => self.arithmetic.run(job),
                effect => rest.push(effect),
            }
        }
        rest
    }
}
