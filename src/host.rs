//! The thread that keeps the host as the gateway wants it, so that netlink never makes IKE or BGP wait.
//!
//! ```text
//!   loop ──watch: Desired, Ruleset, peers──► host thread ──netlink──► links, addresses, sysctls, routes, nexthops, nf_tables
//!        ──questions (16)──────────────────►             ◄─multicast─ what others change
//!        ◄─notices (64)─────────────────────
//! ```
//!
//! Of several wishes only the newest is carried out, and none is ever lost; what others change is looked at anew and put right.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bgpd::LocalSource;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, warn};
use vti::host::{Reconciler, Report};
use vti::kernel::KernelHost;
use vti::monitor::Monitor;
use vti::nft::{Applied, Firewall, Flow, Outcome, Passage, Ruleset};
use vti::plan::Desired;
use vti::query::{Lookup, Origin};

use crate::gateway::view::RuleCount;
use crate::gateway::{FirewallFacts, HostFacts, Input, LocalPath};

/// How often everything is looked at anew, in case that a change was not told: the kernel drops routes in silence.
const AUDIT: Duration = Duration::from_secs(60);

/// How long after an attempt that did not succeed the next one comes.
const RETRY: Duration = Duration::from_millis(500);

/// How often the firewall's generation number is asked for.
const FIREWALL_LOOK: Duration = Duration::from_secs(2);

/// How many repairs are said in how long a time; somebody who changes things without end must not fill the log.
const MOST_SAID: u32 = 10;
const SAYING: Duration = Duration::from_secs(10);

/// A place for the counters of our rules.
type CountAnswer = oneshot::Sender<Vec<RuleCount>>;

/// The loop's end of the thread.
pub(crate) struct Handle {
    desired: watch::Sender<Arc<Desired>>,
    firewall: watch::Sender<Option<Arc<Ruleset>>>,
    remotes: watch::Sender<Vec<IpAddr>>,
    questions: mpsc::Sender<CountAnswer>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's end of the handle.
struct Wishes {
    desired: watch::Receiver<Arc<Desired>>,
    firewall: watch::Receiver<Option<Arc<Ruleset>>>,
    remotes: watch::Receiver<Vec<IpAddr>>,
    questions: mpsc::Receiver<CountAnswer>,
}

impl Handle {
    /// Starts the thread. It keeps originals of sysctls in `state`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(state: PathBuf, notices: mpsc::Sender<Input>) -> std::io::Result<Self> {
        let (desired, desired_wishes) = watch::channel(Arc::new(Desired::default()));
        let (firewall, firewall_wishes) = watch::channel(None);
        let (remotes, remotes_wishes) = watch::channel(Vec::new());
        let (questions, asked) = mpsc::channel(16);
        let wishes = Wishes {
            desired: desired_wishes,
            firewall: firewall_wishes,
            remotes: remotes_wishes,
            questions: asked,
        };
        let thread = std::thread::Builder::new()
            .name("host".into())
            .stack_size(512 << 10)
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime.block_on(work(state, wishes, notices)),
                    Err(error) => warn!("the host thread has no runtime: {error}"),
                }
            })?;
        Ok(Self {
            desired,
            firewall,
            remotes,
            questions,
            thread: Some(thread),
        })
    }

    /// Replaces what is desired.
    pub(crate) fn desire(&self, desired: Arc<Desired>) {
        // The thread lives as long as this handle; if it died, its last notice said why.
        let _ = self.desired.send(desired);
    }

    /// Replaces the firewall; `None` removes ours.
    pub(crate) fn protect(&self, ruleset: Option<Arc<Ruleset>>) {
        // As above.
        let _ = self.firewall.send(ruleset);
    }

    /// Replaces the outer addresses whose paths are watched.
    pub(crate) fn watch(&self, remotes: Vec<IpAddr>) {
        // As above.
        let _ = self.remotes.send(remotes);
    }

    /// Asks how often our rules matched. A thread that is asked more than it answers drops the question.
    pub(crate) fn count(&self) -> oneshot::Receiver<Vec<RuleCount>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.questions.try_send(answer);
        answered
    }

    /// Lets the thread finish what it was asked last, and waits for it. Nobody may wait to read its notices any more.
    pub(crate) fn finish(mut self) {
        let thread = self.thread.take();
        // The end of this channel is the end of the thread; it sees what the others said last.
        let (closed, _) = watch::channel(Arc::new(Desired::default()));
        drop(std::mem::replace(&mut self.desired, closed));
        if thread.is_some_and(|thread| thread.join().is_err()) {
            warn!("the host thread panicked");
        }
    }
}

async fn work(state: PathBuf, wishes: Wishes, notices: mpsc::Sender<Input>) {
    match Worker::open(state, notices.clone()).await {
        Ok(worker) => worker.run(wishes).await,
        Err(error) => {
            let _ = notices.send(Input::Reconciled(Err(error))).await;
        }
    }
}

struct Worker {
    reconciler: Reconciler<KernelHost>,
    monitor: Monitor,
    lookup: Lookup,
    /// Why there is no firewall, if there is none.
    firewall: Result<Firewall, String>,
    ruleset: Option<Arc<Ruleset>>,
    generation: Option<u32>,
    watched: Vec<IpAddr>,
    /// The last attempt did not succeed in everything.
    unsettled: bool,
    /// What the host was brought to, while nothing else is desired: what differs from it was changed by somebody else.
    settled: Option<Arc<Desired>>,
    /// Since when, and how many, repairs were said.
    said: (Instant, u32),
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
            ruleset: None,
            generation: None,
            watched: Vec::new(),
            unsettled: false,
            settled: None,
            said: (Instant::now(), 0),
            notices,
        })
    }

    async fn run(mut self, mut wishes: Wishes) {
        let mut audit = tokio::time::interval(AUDIT);
        let mut look = tokio::time::interval(FIREWALL_LOOK);
        audit.tick().await;
        self.tell_facts().await;
        loop {
            tokio::select! {
                changed = wishes.desired.changed() => {
                    let desired = wishes.desired.borrow_and_update().clone();
                    if changed.is_err() {
                        if wishes.firewall.has_changed().unwrap_or(true) {
                            self.protect(&mut wishes).await;
                        }
                        // What was wished last may not have been seen.
                        self.reconcile(&desired).await;
                        return;
                    }
                    self.reconcile(&desired).await;
                }
                Ok(()) = wishes.firewall.changed() => self.protect(&mut wishes).await,
                Ok(()) = wishes.remotes.changed() => {
                    self.watched.clone_from(&wishes.remotes.borrow_and_update());
                    self.tell_facts().await;
                }
                Some(answer) = wishes.questions.recv() => {
                    // A question may be withdrawn.
                    let _ = answer.send(self.counts());
                }
                events = self.monitor.events() => match events {
                    Ok(events) => {
                        debug!(?events, "the host changed");
                        self.look_again(&wishes.desired).await;
                    }
                    Err(error) => {
                        let _ = self.notices.send(Input::Reconciled(Err(error.to_string()))).await;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                _ = audit.tick() => self.look_again(&wishes.desired).await,
                () = tokio::time::sleep(RETRY), if self.unsettled => self.look_again(&wishes.desired).await,
                _ = look.tick() => self.look_at_firewall().await,
            }
        }
    }

    async fn look_again(&mut self, wishes: &watch::Receiver<Arc<Desired>>) {
        self.reconciler.invalidate();
        let desired = wishes.borrow().clone();
        self.reconcile(&desired).await;
        self.tell_facts().await;
    }

    async fn reconcile(&mut self, desired: &Arc<Desired>) {
        let outcome = self
            .reconciler
            .reconcile(desired)
            .await
            .map_err(|error| error.to_string());
        self.unsettled = !outcome.as_ref().is_ok_and(Report::is_settled);
        if let Ok(report) = &outcome {
            for op in &report.applied {
                debug!("{op}");
            }
            let is_repair = |settled: &Arc<Desired>| Arc::ptr_eq(settled, desired);
            if let (Some(first), true) = (
                report.applied.first(),
                self.settled.as_ref().is_some_and(is_repair),
            ) {
                let first = match report.applied.len() {
                    1 => first.to_string(),
                    count => format!("{first}, and {} more", count - 1),
                };
                self.say(&first);
            }
        }
        self.settled = (!self.unsettled).then(|| desired.clone());
        let _ = self.notices.send(Input::Reconciled(outcome)).await;
    }

    /// Says what was put right after somebody else's change.
    fn say(&mut self, repair: &str) {
        let now = Instant::now();
        if now.duration_since(self.said.0) > SAYING {
            self.said = (now, 0);
        }
        self.said.1 += 1;
        if self.said.1 <= MOST_SAID {
            warn!("what is ours on this host was changed by somebody; put right: {repair}");
        } else {
            debug!("put right: {repair}");
        }
    }

    async fn protect(&mut self, wishes: &mut Wishes) {
        self.ruleset
            .clone_from(&wishes.firewall.borrow_and_update());
        self.load_firewall(false).await;
    }

    async fn tell_facts(&mut self) {
        match self.facts().await {
            Ok(facts) => {
                let _ = self.notices.send(Input::Host(facts)).await;
            }
            Err(error) => warn!("cannot look at the host: {error}"),
        }
    }

    async fn facts(&mut self) -> Result<HostFacts, vti::host::Error> {
        let snapshot = self.lookup.snapshot().await?;
        let connected = snapshot
            .connected
            .iter()
            .map(|(prefix, dev)| (*prefix, LocalSource::Connected, Some(dev.to_string())));
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
        let local_routes = connected.chain(routes).collect();
        let links = self.lookup.interfaces().await?;
        let links = links
            .iter()
            .map(|(name, link)| (name.to_string(), link.up && link.carrier))
            .collect();
        let mut paths = BTreeMap::new();
        for remote in self.watched.clone() {
            let path = self.path(remote)?;
            paths.insert(remote, path);
        }
        Ok(HostFacts {
            local_routes,
            paths,
            links,
        })
    }

    fn path(&mut self, remote: IpAddr) -> Result<Result<LocalPath, String>, vti::host::Error> {
        let Some(path) = self.lookup.path(remote, None)? else {
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

    async fn load_firewall(&mut self, is_repair: bool) {
        let mut repaired = false;
        let failure = match (&mut self.firewall, &self.ruleset) {
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
            self.say("the firewall's table is loaded again");
        }
        self.generation = self
            .firewall
            .as_mut()
            .ok()
            .and_then(|firewall| firewall.generation().ok());
        let obstacles = self.obstacles();
        let _ = self
            .notices
            .send(Input::Firewall(FirewallFacts { failure, obstacles }))
            .await;
    }

    /// Our own table is looked at, and put right, when anybody has changed anything.
    async fn look_at_firewall(&mut self) {
        if self.ruleset.is_none() {
            return;
        }
        let now = self
            .firewall
            .as_mut()
            .ok()
            .and_then(|firewall| firewall.generation().ok());
        if now != self.generation {
            self.load_firewall(true).await;
        }
    }

    /// What the tables of others would do to our peers' packets.
    fn obstacles(&mut self) -> Vec<String> {
        let (Ok(firewall), Some(ruleset)) = (&mut self.firewall, &self.ruleset) else {
            return Vec::new();
        };
        let flows = flows(ruleset, &self.watched);
        match firewall.trace(&flows) {
            Ok(trace) => {
                let stopped = |passage: &&Passage| passage.outcome != Outcome::Passes;
                let legacy = trace.legacy_tables.iter().map(|table| {
                    format!("iptables-legacy has rules in its table {table}, which cannot be looked at from here: see iptables-legacy-save")
                });
                trace
                    .passages
                    .iter()
                    .filter(stopped)
                    .map(ToString::to_string)
                    .chain(legacy)
                    .collect()
            }
            Err(error) => vec![format!("cannot look at other firewall tables: {error}")],
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

/// What has to get through for the site to work.
fn flows(ruleset: &Ruleset, peers: &[IpAddr]) -> Vec<Flow> {
    let wan = ruleset
        .wan
        .as_ref()
        .and_then(|wan| wan.interface.as_deref());
    let outer = peers.iter().flat_map(|peer| {
        let both = [
            Flow::from_peer(*peer, wan, None),
            Flow::to_peer(*peer, wan, None),
        ];
        both.into_iter().flatten()
    });
    let sessions = ruleset
        .bgp
        .iter()
        .map(|peer| Flow::bgp_from(peer.address, &peer.interface));
    let inner = ruleset.tunnel_interfaces.iter().flat_map(|tunnel| {
        [
            Flow::from_cloud(tunnel, None, None),
            Flow::to_cloud(tunnel, None, None),
        ]
    });
    outer.chain(sessions).chain(inner).collect()
}
