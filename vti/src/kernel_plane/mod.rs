//! The kernel data plane: XFRM states and policies, bound to a `vti` or `xfrm` interface.
//!
//! ```text
//!   outbound:  interface ──► policy (out, by mark or if_id) ──► the one SA that it names ──► UDP 4500 or protocol 50
//!   inbound:   interface ◄── policy (in, forward; any SA of the reqid) ◄── SA by SPI ◄── UDP 4500 or protocol 50
//! ```
//!
//! Packets never come to this process. What does: IKE messages, which the kernel leaves on the socket that it takes ESP from, and what
//! it says about its databases. Two threads, each asleep in poll while nothing happens: `ike-in` for the former, `xfrm-watch` for the
//! latter. Calls of the daemon and the watching thread share one [`Core`] under a lock, which is held for a few system calls.
//!
//! What is not here: the interfaces with their addresses and settings (the host's part), and any decision about IKE. Lifetimes in
//! time are IKE's as well.

mod adopt;
mod core;
mod kernel;
mod path;
mod plan;
mod probe;
mod reason;
mod receive;
mod sa;
#[cfg(test)]
mod tests;
mod tunnel;
mod watch;
mod watcher;

use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use esp::{DropCounts, DropReason};
use tokio::sync::mpsc;

pub use self::adopt::clear;
use self::core::Core;
pub use self::plan::{plan, plan_blindly};
pub use self::probe::{Probe, Wanted, probe};
use self::reason::About;
pub use self::reason::Reason;
use crate::kept::KeptPort;
use crate::plane::{
    DataPlane, Encap, Error, PlaneEvent, PlaneKind, SaCounters, SaSpec, StrayCounters,
    TunnelCounters, TunnelId, TunnelSpec,
};
use crate::sys::sockopt;
use crate::user::sockets::IkePorts;
use crate::user::worker::Workers;
use crate::user::{IkeSender, UserPlaneConfig};
use crate::xfrm::{Listener, Refusal, Socket};

/// `UDP_ENCAP` and `UDP_ENCAP_ESPINUDP` of `linux/udp.h`.
const UDP_ENCAP: i32 = 100;
const ESPINUDP: i32 = 2;
/// `UDP_GRO`.
const UDP_GRO: i32 = 104;

/// From this version the kernel merges ESP in UDP of a flow before it decrypts, and leaves IKE messages alone. Those before would
/// merge IKE messages.
const GRO_SINCE: (u32, u32) = (6, 8);

/// The kernel data plane. Dropping it removes all that it has in the kernel.
#[derive(Debug)]
pub struct KernelPlane {
    shared: Arc<Shared>,
    ports: Arc<IkePorts>,
    /// What the kernel had counted before.
    strays_before: u64,
    workers: Workers,
}

/// What the threads share with the daemon's calls.
#[derive(Debug)]
struct Shared {
    core: Mutex<Core<Socket>>,
    events: mpsc::Sender<PlaneEvent>,
    ike_dropped: AtomicU64,
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core<Socket>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the daemon what it has not been told. Returns whether there is something left, because its queue is full.
    fn say(&self, core: &mut Core<Socket>) -> bool {
        while let Some(event) = core.unsaid.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                core.unsaid.push_front(event);
                return true;
            }
        }
        false
    }
}

impl KernelPlane {
    /// Opens the sockets, but for one that was `kept` for this process, finds what an earlier one left in the kernel and starts the
    /// threads, in the network namespace of the calling thread. IKE messages are received from now on: as events.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NotPermitted`], [`Error::Kernel`] where the kernel has no XFRM, or what else the system says.
    pub fn new(
        config: &UserPlaneConfig,
        kept: Option<KeptPort>,
        events: mpsc::Sender<PlaneEvent>,
    ) -> Result<Self, Error> {
        let refused = |what: &'static str| {
            move |refusal: Refusal| Error::from(Reason::of(what, About::Xfrm, &refusal))
        };
        let ports = match kept {
            Some(KeptPort(nat)) => IkePorts::with(config, nat)?,
            None => IkePorts::open(config)?,
        };
        let ports = Arc::new(ports);
        encapsulate(&ports)?;
        let socket = Socket::open().map_err(refused("open an XFRM socket"))?;
        // Before the first look, so that nothing happens between the two unheard.
        let listener = Listener::open().map_err(refused("listen to XFRM"))?;
        let mut core = Core::new(socket, config.bind);
        core.find_leftovers()
            .map_err(refused("list SAs and policies"))?;
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            events: events.clone(),
            ike_dropped: AtomicU64::new(0),
        });

        let mut workers = Workers::default();
        let mut receiver = receive::Receiver::new(&ports, &shared);
        workers.start("ike-in", events.clone(), move |worker| receiver.run(worker))?;
        let mut watcher = watcher::Watcher::new(listener, &shared);
        workers.start("xfrm-watch", events, move |worker| watcher.run(worker))?;
        Ok(Self {
            shared,
            ports,
            strays_before: unknown_spis(),
            workers,
        })
    }

    /// Does something to the core, tells what came of it, and lets the watching thread look.
    fn edit<T>(&self, change: impl FnOnce(&mut Core<Socket>) -> T) -> T {
        let mut core = self.shared.core();
        let outcome = change(&mut core);
        self.shared.say(&mut core);
        drop(core);
        self.workers.wake();
        outcome
    }
}

impl DataPlane for KernelPlane {
    fn kind(&self) -> PlaneKind {
        PlaneKind::Kernel
    }

    fn add_tunnel(&mut self, spec: &TunnelSpec) -> Result<(), Error> {
        self.edit(|core| core.add_tunnel(spec))
    }

    fn remove_tunnel(&mut self, tunnel: TunnelId) -> Result<(), Error> {
        self.edit(|core| core.remove_tunnel(tunnel))
    }

    fn add_inbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error> {
        self.ports.check_path(sa.local, sa.remote, sa.encap)?;
        self.edit(|core| core.add_inbound(tunnel, sa))
    }

    fn set_outbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error> {
        self.ports.check_path(sa.local, sa.remote, sa.encap)?;
        self.edit(|core| core.set_outbound(tunnel, sa))
    }

    fn remove_inbound(&mut self, tunnel: TunnelId, spi: u32) -> Result<(), Error> {
        self.edit(|core| core.remove_inbound(tunnel, spi))
    }

    fn clear_outbound(&mut self, tunnel: TunnelId) -> Result<(), Error> {
        self.edit(|core| core.clear_outbound(tunnel))
    }

    fn update_path(
        &mut self,
        tunnel: TunnelId,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error> {
        self.ports.check_path(local, remote, encap)?;
        self.edit(|core| core.update_path(tunnel, local, remote, encap))
    }

    fn counters(&self, tunnel: TunnelId) -> Option<TunnelCounters> {
        self.shared.core().counters(tunnel, Instant::now())
    }

    fn sa_counters(&self, tunnel: TunnelId) -> Vec<SaCounters> {
        self.shared.core().sa_counters(tunnel, Instant::now())
    }

    fn inner_mtu(&self, tunnel: TunnelId) -> Option<u16> {
        self.shared.core().inner_mtu(tunnel)
    }

    /// The kernel counts packets without an SA, but not whose they were, and takes keepalives without counting them.
    fn stray(&self) -> StrayCounters {
        let mut drops = DropCounts::default();
        let unknown = unknown_spis().saturating_sub(self.strays_before);
        drops.add(DropReason::UnknownSpi, unknown);
        StrayCounters {
            drops,
            ike_dropped: self.shared.ike_dropped.load(Ordering::Relaxed),
            keepalives: 0,
        }
    }

    fn sweep(&mut self) -> usize {
        self.edit(Core::sweep)
    }

    fn to_be_kept(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ports.nat.as_fd())
    }

    fn ike_sender(&self) -> IkeSender {
        IkeSender::new(Arc::clone(&self.ports))
    }
}

impl Drop for KernelPlane {
    fn drop(&mut self) {
        // The threads end first: what goes now is nothing to put back.
        self.workers = Workers::default();
        self.shared.core().clear();
    }
}

/// Lets the kernel take ESP from the NAT traversal port.
fn encapsulate(ports: &IkePorts) -> Result<(), Error> {
    let nat = ports.nat.as_fd();
    sockopt::set(nat, libc::IPPROTO_UDP, UDP_ENCAP, ESPINUDP).map_err(|cause| Error::System {
        action: "let the kernel take ESP from the NAT traversal port",
        cause,
    })?;
    if kernel_version().is_some_and(|version| version >= GRO_SINCE) {
        // Faster where it works, and no harm where it does not.
        if let Err(error) = sockopt::set(nat, libc::IPPROTO_UDP, UDP_GRO, 1) {
            tracing::debug!("no GRO for ESP in UDP: {error}");
        }
    }
    Ok(())
}

fn kernel_version() -> Option<(u32, u32)> {
    version_of(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Packets for which there was no SA, of this network namespace; 0 where the kernel does not count (CONFIG_XFRM_STATISTICS).
fn unknown_spis() -> u64 {
    let counted = std::fs::read_to_string("/proc/thread-self/net/xfrm_stat").unwrap_or_default();
    let line = counted
        .lines()
        .find_map(|l| l.strip_prefix("XfrmInNoStates"));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
