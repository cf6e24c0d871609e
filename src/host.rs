//! The thread that keeps the host as the gateway wants it, so that netlink never makes IKE or BGP wait.
//!
//! ```text
//!   loop ──watch: wishes──► host thread ──netlink──► links, addresses, sysctls, routes, nexthops, nf_tables
//!        ──questions (16)─►             ◄─multicast─ what others change
//!        ◄─notices (64)───
//! ```
//!
//! Of several wishes only the newest is carried out; what others change is looked at anew and put right.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bgpd::LocalSource;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};
use vti::host::{Host as _, Reconciler, Report};
use vti::ifname::IfName;
use vti::kernel::KernelHost;
use vti::monitor::Monitor;
use vti::nft::{Applied, Firewall, Ruleset};
use vti::plan::{Desired, Forward, RouteDesired};
use vti::plane::TunnelSpec;
use vti::query::{Lookup, Origin, Path};
use vti::repair::repairs;
use vti::underlay::underlay;

mod plan;
mod repairs;

#[cfg(test)]
pub(crate) use self::plan::FirewallPlan;
pub(crate) use self::plan::HostPlan;
use self::repairs::Repairs;
use crate::gateway::view::RuleCount;
use crate::gateway::{FirewallFacts, HostFacts, Inherited, Input, LocalPath};
use crate::lockout::{self, Outline};

/// The thread's stack.
const STACK: usize = 512 << 10;

/// How often everything is looked at anew, in case that a change was not told: the kernel drops routes in silence.
const AUDIT: Duration = Duration::from_secs(60);

/// How long after an attempt that did not succeed the next one comes.
const RETRY: Duration = Duration::from_millis(500);

/// How often that is looked at which the kernel tells nobody about: the firewall's generation number, some settings.
const PEEK: Duration = Duration::from_millis(500);

/// How long after a look at the host the next one comes at the earliest, so that a storm of changes costs no more than this.
const REST: Duration = Duration::from_millis(100);

/// All that is wished of the host; of several wishes only the newest counts.
#[derive(Clone, Default)]
struct Wishes {
    /// `None` until the loop has said it once: nothing is known then of what is ours, and nothing may be swept.
    desired: Option<Arc<Desired>>,
    /// Our firewall; `None` is none of ours.
    ruleset: Option<Arc<Ruleset>>,
    /// What the host is looked at for.
    watched: Arc<Outline>,
}

/// What the loop wants to know. While the thread is busy there is no answer, which the asker has to live with.
pub(crate) enum Question {
    /// What our rules matched.
    Counts(oneshot::Sender<Vec<RuleCount>>),
    /// What it would take to bring the host to this.
    Plan(Box<Imagined>, oneshot::Sender<Result<HostPlan, String>>),
}

/// A wish that is not carried out.
pub(crate) struct Imagined {
    pub(crate) desired: Desired,
    pub(crate) ruleset: Option<Ruleset>,
    /// The tunnels, as the data plane would be told of them.
    pub(crate) tunnels: Vec<TunnelSpec>,
}

/// What it would take to bring this host to that, where no daemon runs. `state` is where a daemon keeps originals of settings.
///
/// # Errors
/// When the host cannot be looked at.
pub(crate) async fn plan_here(state: PathBuf, imagined: &Imagined) -> Result<HostPlan, String> {
    let host = KernelHost::open_with_state_in(state).await;
    let host = host.map_err(|error| error.to_string())?;
    let mut firewall = Firewall::open().map_err(|error| error.to_string());
    plan::plan(
        &mut Reconciler::new(host),
        firewall.as_mut().map_err(|error| error.as_str()),
        imagined,
    )
    .await
}

/// What the gateway has to know of this host, looked at once.
///
/// # Errors
/// When the host cannot be looked at.
pub(crate) async fn facts_here(outline: &Outline) -> Result<HostFacts, String> {
    let mut lookup = Lookup::open().map_err(|error| error.to_string())?;
    let facts = facts(&mut lookup, outline, &[]).await;
    facts.map_err(|error| error.to_string())
}

/// The routes that a process before this one left in the kernel.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) async fn inherited(state: PathBuf) -> Result<Inherited, vti::host::Error> {
    let mut host = KernelHost::open_with_state_in(state).await?;
    Ok(Inherited::of(&host.observe().await?))
}

/// The loop's end of the thread.
pub(crate) struct Handle {
    wishes: watch::Sender<Wishes>,
    questions: mpsc::Sender<Question>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Starts the thread. It keeps originals of sysctls in `state`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(state: PathBuf, notices: mpsc::Sender<Input>) -> std::io::Result<Self> {
        let (wishes, wished) = watch::channel(Wishes::default());
        let (questions, asked) = mpsc::channel(16);
        let thread = std::thread::Builder::new()
            .name("host".into())
            .stack_size(STACK)
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime.block_on(work(state, wished, asked, notices)),
                    Err(error) => warn!("the host thread has no runtime: {error}"),
                }
            })?;
        Ok(Self {
            wishes,
            questions,
            thread,
        })
    }

    /// Replaces what is desired.
    pub(crate) fn desire(&self, desired: Arc<Desired>) {
        self.wishes
            .send_modify(|wishes| wishes.desired = Some(desired));
    }

    /// Replaces the firewall; `None` removes ours.
    pub(crate) fn load(&self, ruleset: Option<Arc<Ruleset>>) {
        self.wishes.send_modify(|wishes| wishes.ruleset = ruleset);
    }

    /// Replaces what the host is looked at for.
    pub(crate) fn watch(&self, outline: Arc<Outline>) {
        self.wishes.send_modify(|wishes| wishes.watched = outline);
    }

    /// Asks something.
    pub(crate) fn ask(&self, question: Question) {
        let _ = self.questions.try_send(question);
    }

    /// Lets the thread carry the last wishes out, and waits for it.
    pub(crate) fn finish(self) {
        let Self {
            wishes,
            questions,
            thread,
        } = self;
        drop((wishes, questions));
        if thread.join().is_err() {
            warn!("the host thread panicked");
        }
    }
}

async fn work(
    state: PathBuf,
    wishes: watch::Receiver<Wishes>,
    questions: mpsc::Receiver<Question>,
    notices: mpsc::Sender<Input>,
) {
    match Worker::open(state, notices.clone()).await {
        Ok(worker) => worker.run(wishes, questions).await,
        Err(error) => {
            let _ = notices.send(Input::Reconciled(Err(error))).await;
        }
    }
}

/// Sleeps until then; for ever if there is no such time. Cancel-safe, as `select!` needs.
pub(crate) async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

struct Worker {
    reconciler: Reconciler<KernelHost>,
    monitor: Monitor,
    lookup: Lookup,
    /// Why there is no firewall, if there is none.
    firewall: Result<Firewall, String>,
    /// The wishes that were carried out last; `None` before the first.
    known: Option<Wishes>,
    generation: Option<u32>,
    /// When the host is to be looked at anew, if it is.
    due: Option<Instant>,
    /// When it was looked at last.
    looked: Instant,
    /// What the host was brought to last, if it was: while nothing else is desired, what differs was changed by somebody else.
    settled: Option<Arc<Desired>>,
    repairs: Repairs,
    notices: mpsc::Sender<Input>,
}

impl Worker {
    async fn open(state: PathBuf, notices: mpsc::Sender<Input>) -> Result<Self, String> {
        let host = KernelHost::open_with_state_in(state)
            .await
            .map_err(|error| error.to_string())?;
        let monitor = Monitor::open(&[host.port()]).map_err(|error| error.to_string())?;
        Ok(Self {
            reconciler: Reconciler::new(host),
            monitor,
            lookup: Lookup::open().map_err(|error| error.to_string())?,
            firewall: Firewall::open().map_err(|error| error.to_string()),
            known: None,
            generation: None,
            due: None,
            looked: Instant::now(),
            settled: None,
            repairs: Repairs::new(Instant::now()),
            notices,
        })
    }

    async fn run(
        mut self,
        mut wishes: watch::Receiver<Wishes>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let mut audit = tokio::time::interval(AUDIT);
        let mut peek = tokio::time::interval(PEEK);
        audit.tick().await;
        loop {
            tokio::select! {
                changed = wishes.changed() => {
                    let newest = wishes.borrow_and_update().clone();
                    self.follow(newest).await;
                    // The loop is gone, and what it wished last is done.
                    if changed.is_err() {
                        return;
                    }
                }
                Some(question) = questions.recv() => self.answer(question).await,
                events = self.monitor.events() => match events {
                    Ok(events) => {
                        debug!(?events, "the host changed");
                        self.look_by(self.looked + REST);
                    }
                    Err(error) => {
                        self.tell(Input::Reconciled(Err(error.to_string()))).await;
                        tokio::time::sleep(RETRY).await;
                    }
                },
                () = until(self.due) => self.look_again().await,
                _ = audit.tick() => self.look_again().await,
                _ = peek.tick() => self.peek().await,
            }
        }
    }

    /// Carries out what differs from the wishes before.
    async fn follow(&mut self, newest: Wishes) {
        let before = self.known.replace(newest.clone());
        let differs = |same: fn(&Wishes, &Wishes) -> bool| {
            before.as_ref().is_none_or(|old| !same(old, &newest))
        };
        let host = differs(|old, new| match (&old.desired, &new.desired) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        });
        let firewall = differs(|old, new| old.ruleset == new.ruleset);
        let outline = differs(|old, new| old.watched == new.watched);
        if outline {
            self.tell_facts().await;
        }
        if host {
            self.reconcile().await;
        }
        if firewall || outline {
            self.load_firewall(false).await;
        }
    }

    /// Has the host looked at anew at that time, or earlier if that was to be.
    fn look_by(&mut self, when: Instant) {
        self.due = Some(self.due.map_or(when, |due| due.min(when)));
    }

    async fn look_again(&mut self) {
        self.due = None;
        self.looked = Instant::now();
        self.reconciler.invalidate();
        self.reconcile().await;
        self.tell_facts().await;
    }

    /// The newest wishes; none before the loop has any.
    fn wishes(&self) -> Wishes {
        self.known.clone().unwrap_or_default()
    }

    async fn tell(&self, notice: Input) {
        // A loop that is gone hears nothing any more.
        let _ = self.notices.send(notice).await;
    }

    async fn reconcile(&mut self) {
        let Some(desired) = self.wishes().desired else {
            return;
        };
        let outcome = self
            .reconciler
            .reconcile(&desired)
            .await
            .map_err(|error| error.to_string());
        let is_settled = outcome.as_ref().is_ok_and(Report::is_settled);
        if !is_settled {
            self.look_by(Instant::now() + RETRY);
        }
        if let Ok(report) = &outcome {
            for op in &report.applied {
                debug!("{op}");
            }
            for dev in &report.adopted {
                info!(
                    "interface {dev} was there, is what the site file asks for and nobody's: it is ours from now on"
                );
            }
            // While nothing else is wished for, what differs was changed by somebody else.
            let is_same = |settled: &Arc<Desired>| Arc::ptr_eq(settled, &desired);
            if self.settled.as_ref().is_some_and(is_same) {
                for repair in repairs(&report.applied) {
                    self.say(repair.to_string()).await;
                }
            }
        }
        self.settled = is_settled.then_some(desired);
        self.tell(Input::Reconciled(outcome)).await;
    }

    /// Says what was put right after somebody else's change.
    async fn say(&mut self, repair: String) {
        if self.repairs.say(Instant::now(), &repair) {
            self.tell(Input::Repaired(repair)).await;
        }
    }

    /// Looks for changes that nobody was told of.
    async fn peek(&mut self) {
        self.look_at_firewall().await;
        let Some(desired) = self.known.as_ref().and_then(|known| known.desired.clone()) else {
            return;
        };
        match self.reconciler.host().silent_changes(&desired) {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => {
                debug!(?changed, "kernel settings changed");
                self.look_by(self.looked + REST);
            }
            Err(error) => debug!("cannot look at kernel settings: {error}"),
        }
    }

    async fn tell_facts(&mut self) {
        let site = self.wishes().watched;
        let routed = self.routed(&site);
        match facts(&mut self.lookup, &site, &routed).await {
            Ok(facts) => {
                self.tell(Input::Host(facts)).await;
            }
            Err(error) => warn!("cannot look at the host: {error}"),
        }
    }

    /// What is routed into the tunnels.
    fn routed(&self, site: &Outline) -> Vec<IpNet> {
        let desired = self.known.as_ref().and_then(|it| it.desired.as_ref());
        let leads_in = |route: &RouteDesired| match &route.forward {
            Forward::Unicast(hops) => hops
                .iter()
                .any(|hop| site.tunnels.contains(hop.hop.dev.as_str())),
            Forward::Blackhole => false,
        };
        let routes = desired.into_iter().flat_map(|desired| &desired.routes);
        routes
            .filter(|(_, route)| leads_in(route))
            .map(|(key, _)| key.prefix)
            .collect()
    }

    async fn load_firewall(&mut self, is_repair: bool) {
        let ruleset = self.wishes().ruleset;
        let mut repaired = false;
        let failure = match (&mut self.firewall, &ruleset) {
            (Ok(firewall), Some(ruleset)) => match firewall.apply(ruleset) {
                Ok(applied) => {
                    debug!(?applied, "firewall");
                    repaired = is_repair && applied != Applied::Unchanged;
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            (Ok(firewall), None) => firewall.remove().err().map(|error| error.to_string()),
            (Err(error), Some(_)) => Some(error.clone()),
            (Err(_), None) => None,
        };
        if repaired {
            let table = vti::nft::TABLE;
            self.say(format!(
                "the firewall's table was changed; put right: table inet {table} is loaded again"
            ))
            .await;
        }
        self.generation = self.generation_now();
        let obstacles = self.obstacles();
        self.tell(Input::Firewall(FirewallFacts { failure, obstacles }))
            .await;
    }

    /// Our own table is looked at, and put right, when anybody has changed anything; others may stand in the way without it too.
    async fn look_at_firewall(&mut self) {
        if self.wishes().watched.remotes.is_empty() {
            return;
        }
        if self.generation_now() != self.generation {
            self.load_firewall(true).await;
        }
    }

    fn generation_now(&mut self) -> Option<u32> {
        let firewall = self.firewall.as_mut().ok()?;
        firewall.generation().ok()
    }

    /// What the tables of others would do to our peers' packets.
    fn obstacles(&mut self) -> Vec<String> {
        let wishes = self.wishes();
        let Ok(firewall) = &mut self.firewall else {
            return Vec::new();
        };
        let flows = lockout::flows(&wishes.watched, wishes.ruleset.as_deref());
        match firewall.trace(&flows) {
            Ok(trace) => {
                let legacy = trace.legacy_tables.iter().map(|table| {
                    format!("iptables-legacy has rules in its table {table}, which cannot be looked at from here: see iptables-legacy-save")
                });
                trace
                    .passages
                    .iter()
                    .filter(|passage| lockout::is_in_the_way(passage))
                    .map(ToString::to_string)
                    .chain(legacy)
                    .collect()
            }
            Err(error) => vec![format!("cannot look at other firewall tables: {error}")],
        }
    }

    async fn answer(&mut self, question: Question) {
        // Who went away does not want the answer.
        match question {
            Question::Counts(answer) => drop(answer.send(self.counts())),
            Question::Plan(imagined, answer) => {
                let firewall = self.firewall.as_mut().map_err(|error| error.as_str());
                let reconciler = &mut self.reconciler;
                let plan = plan::plan(reconciler, firewall, &imagined).await;
                drop(answer.send(plan));
            }
        }
    }

    fn counts(&mut self) -> Vec<RuleCount> {
        let Ok(firewall) = &mut self.firewall else {
            return Vec::new();
        };
        let Ok(observed) = firewall.observe() else {
            return Vec::new();
        };
        observed
            .counters()
            .iter()
            .map(|(rule, count)| RuleCount {
                rule: rule.clone(),
                packets: count.packets,
                octets: count.bytes,
            })
            .collect()
    }
}

/// What the gateway has to know of the host, into whose tunnels `routed` is routed.
async fn facts(
    lookup: &mut Lookup,
    site: &Outline,
    routed: &[IpNet],
) -> Result<HostFacts, vti::host::Error> {
    let snapshot = lookup.snapshot().await?;
    let connected: Vec<(IpNet, String)> = snapshot
        .connected
        .iter()
        .map(|(prefix, dev)| (*prefix, dev.to_string()))
        .collect();
    let routes = snapshot.routes.iter().map(|route| {
        let source = match route.origin {
            Origin::Static => LocalSource::Static,
            Origin::Kernel => LocalSource::Kernel,
        };
        (
            route.prefix,
            source,
            route.next_hops.first().map(|(dev, _)| dev.to_string()),
        )
    });
    let local_routes = connected
        .iter()
        .map(|(prefix, dev)| (*prefix, LocalSource::Connected, Some(dev.clone())))
        .chain(routes)
        .collect();
    let links = snapshot
        .usable
        .iter()
        .map(|(name, usable)| (name.to_string(), *usable))
        .collect();
    let mut paths = BTreeMap::new();
    for remote in &site.remotes {
        let path = path(lookup, *remote)?;
        paths.insert(*remote, path);
    }
    let ways = site.remotes.iter().filter_map(|remote| {
        let is_tunnel = |dev: IfName| site.tunnels.contains(dev.as_str());
        Some((*remote, underlay(&snapshot, *remote, is_tunnel)?))
    });
    let addresses: Vec<(IpAddr, String)> = snapshot
        .addresses
        .iter()
        .flat_map(|(dev, nets)| nets.iter().map(|net| (net.addr(), dev.to_string())))
        .collect();
    let hindrances = lockout::look(
        site,
        lockout::Host {
            paths: &paths,
            connected: &connected,
            addresses: &addresses,
            routed,
        },
    );
    Ok(HostFacts {
        local_routes,
        underlay: ways.collect(),
        hindrances,
        paths,
        links,
    })
}

/// The way to a peer, or why there is none.
fn path(
    lookup: &mut Lookup,
    remote: IpAddr,
) -> Result<Result<LocalPath, String>, vti::host::Error> {
    let Some(path) = lookup.path(remote, None)? else {
        return Ok(Err(format!(
            "no route to {remote}: is the WAN interface up, and is there a default route?"
        )));
    };
    if path.is_local {
        return Ok(Err(format!(
            "{remote} is an address of this host, so it cannot be the peer's"
        )));
    }
    let Some(source) = path.source else {
        return Ok(Err(format!(
            "{} has no address to reach {remote} from",
            path.dev
        )));
    };
    let mtu = u16::try_from(path.mtu).unwrap_or(u16::MAX);
    Ok(Ok(LocalPath {
        source,
        interface: path.dev.to_string(),
        mtu,
    }))
}

/// Where the kernel would send a packet to an address now; asked by the calling thread.
pub(crate) fn way_to(address: IpAddr) -> Result<Option<Path>, String> {
    let mut lookup = Lookup::open().map_err(|error| error.to_string())?;
    lookup
        .path(address, None)
        .map_err(|error| error.to_string())
}
