//! The userspace data plane: TUN interfaces and ESP in this process.
//!
//! ```text
//!              home network                                 peers
//!                   │                                         ▲
//!   outbound:   TUN interface ──► segment, clamp, check, seal ──► trains ──► UDP 4500 or raw ESP
//!   inbound:    TUN interface ◄── coalesce ◄── check, open, clamp ◄───────── UDP 4500 or raw ESP
//! ```
//!
//! The kernel hands over up to 64 KiB at once and takes as much, on either side ([`Offloads`]): what costs is not the
//! cipher but each call, each copy and each wake-up.
//!
//! Two threads, one per direction, each asleep in poll or epoll while nothing happens. Both look at
//! one published `State` (tunnels and SAs), which the control side, [`UserPlane`], replaces; they
//! never wait for it. Everything is bounded: buffers are allocated once, the queues are the
//! kernel's, and what does not fit is dropped and counted.
//!
//! What is not here: addresses, MTU and state of the interfaces (the host's part), and any decision
//! about IKE.

mod arrivals;
mod departures;
mod holder;
pub(crate) mod ike;
mod inbound;
mod offloads;
mod outbound;
pub(crate) mod sockets;
mod state;
mod tunnel;
mod vnet;
pub(crate) mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use esp::{InboundSa, OutboundSa, Published, Spi};
use tokio::sync::mpsc;

pub use self::ike::{IkeSender, SendError};
use self::inbound::Inbound;
pub use self::offloads::{Offloads, TunOffload};
use self::outbound::Outbound;
use self::sockets::Sockets;
use self::state::{InboundEntry, OutboundEntry, Path, State, Stray};
use self::tunnel::{Clock, Tunnel};
use self::worker::Workers;
use crate::plane::{
    DataPlane, Direction, Encap, Error, PlaneEvent, PlaneKind, SaCounters, SaSpec, StrayCounters,
    TunnelCounters, TunnelId, TunnelSpec,
};

/// Where the plane's sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPlaneConfig {
    /// Our outer address, or the unspecified one for any. It decides the outer address family.
    pub bind: IpAddr,
    /// The IKE port: 500 unless in a test.
    pub ike_port: u16,
    /// The port that IKE and ESP share with NAT traversal: 4500 unless in a test.
    pub nat_port: u16,
    /// What the kernel may do in bulk.
    pub offloads: Offloads,
}

impl Default for UserPlaneConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([0, 0, 0, 0]),
            ike_port: 500,
            nat_port: 4500,
            offloads: Offloads::ALL,
        }
    }
}

/// The userspace data plane. Dropping it ends its threads and removes its interfaces.
#[derive(Debug)]
pub struct UserPlane {
    sockets: Arc<Sockets>,
    state: Arc<Published<State>>,
    stray: Arc<Stray>,
    workers: Workers,
    clock: Clock,
}

impl UserPlane {
    /// Opens the sockets and starts the threads, in the network namespace of the calling thread.
    /// Nothing is received for any tunnel yet, but IKE messages are: as events.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NotPermitted`], or what else the system says.
    pub fn new(config: &UserPlaneConfig, events: mpsc::Sender<PlaneEvent>) -> Result<Self, Error> {
        let mut sockets = Sockets::open(config)?;
        sockets.offload();
        sockets.separate_ike();
        let sockets = Arc::new(sockets);
        let state = Arc::new(Published::new(State::default()));
        let stray = Arc::new(Stray::default());
        let clock = Clock::starting(Instant::now());
        let mut workers = Workers::default();

        let inbound = Inbound::new(
            &sockets,
            state.reader(),
            events.clone(),
            Arc::clone(&stray),
            clock,
        );
        workers.start("esp-in", events.clone(), move |worker| inbound.run(worker))?;
        let outbound = Outbound::new(&sockets, state.reader(), events.clone(), clock)?;
        workers.start("esp-out", events, move |worker| outbound.run(worker))?;
        Ok(Self {
            sockets,
            state,
            stray,
            workers,
            clock,
        })
    }

    /// Publishes a changed state.
    fn edit<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = State::clone(&self.state.load());
        let result = change(&mut state)?;
        self.state.store(state);
        // Sleeping threads must look too: to poll a new interface, and to let go of keys that are
        // no longer used.
        self.workers.wake();
        Ok(result)
    }

    /// What the kernel does in bulk for a tunnel: what was wanted, as far as the kernel can. `None` if there is no such
    /// tunnel.
    #[must_use]
    pub fn offloads(&self, tunnel: TunnelId) -> Option<Offloads> {
        let tun = self.state.load().tunnels.get(&tunnel)?.offload;
        Some(Offloads {
            tun,
            segment: self.sockets.segments.load(Ordering::Relaxed),
            ..self.sockets.config.offloads
        })
    }
}

impl DataPlane for UserPlane {
    fn kind(&self) -> PlaneKind {
        PlaneKind::Userspace
    }

    fn add_tunnel(&mut self, spec: &TunnelSpec) -> Result<(), Error> {
        let tunnel = spec.id;
        if self.state.load().tunnels.contains_key(&tunnel) {
            return Err(Error::TunnelExists { tunnel });
        }
        let added = Arc::new(Tunnel::create(spec, self.sockets.config.offloads.tun)?);
        self.edit(|state| {
            state.tunnels.insert(tunnel, added);
            Ok(())
        })
    }

    fn remove_tunnel(&mut self, tunnel: TunnelId) -> Result<(), Error> {
        self.edit(|state| {
            state.tunnel(tunnel)?;
            state.tunnels.remove(&tunnel);
            state.sas.remove_tunnel(tunnel);
            Ok(())
        })?;
        // The interface goes with the last reference to it: when this returns, its name is free.
        self.workers.synchronize();
        Ok(())
    }

    fn add_inbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error> {
        self.sockets.check_path(sa.local, sa.remote, sa.encap)?;
        self.edit(|state| {
            let of = Arc::clone(state.tunnel(tunnel)?);
            let spi = Spi(sa.spi);
            let inbound = InboundSa::new(&sa.parameters(), of.spec.replay_window)?;
            let path = Path::of(sa.local, sa.remote, sa.encap);
            let entry = Arc::new(InboundEntry::new(inbound, of, path));
            state
                .sas
                .add_inbound(spi, tunnel, entry)
                .map_err(|holder| Error::SpiInUse { spi, holder })
        })
    }

    fn set_outbound(&mut self, tunnel: TunnelId, sa: SaSpec) -> Result<(), Error> {
        self.sockets.check_path(sa.local, sa.remote, sa.encap)?;
        self.edit(|state| {
            let of = state.tunnel(tunnel)?;
            let outbound = OutboundSa::new(&sa.parameters())?;
            let path = Path::of(sa.local, sa.remote, sa.encap);
            let entry = OutboundEntry::new(outbound, path);
            of.set_inner_mtu(entry.inner_mtu(of.outer_mtu(self.clock.now())));
            state.sas.set_outbound(tunnel, Arc::new(entry));
            Ok(())
        })
    }

    fn remove_inbound(&mut self, tunnel: TunnelId, spi: u32) -> Result<(), Error> {
        let spi = Spi(spi);
        self.edit(|state| {
            state
                .sas
                .remove_inbound(spi, tunnel)
                .map(drop)
                .ok_or(Error::NoSuchSa { tunnel, spi })
        })
    }

    fn clear_outbound(&mut self, tunnel: TunnelId) -> Result<(), Error> {
        self.edit(|state| {
            state.tunnel(tunnel)?;
            state.sas.clear_outbound(tunnel);
            Ok(())
        })
    }

    fn update_path(
        &mut self,
        tunnel: TunnelId,
        local: IpAddr,
        remote: IpAddr,
        encap: Encap,
    ) -> Result<(), Error> {
        self.sockets.check_path(local, remote, encap)?;
        let path = Path::of(local, remote, encap);
        self.edit(|state| {
            let of = Arc::clone(state.tunnel(tunnel)?);
            of.forget_path_mtu();
            for (_, inbound) in state.sas.inbound_of(tunnel) {
                inbound.expect_from(path);
            }
            if let Some(outbound) = state.sas.outbound(tunnel) {
                let moved = outbound.on_path(path);
                of.set_inner_mtu(moved.inner_mtu(of.outer_mtu(self.clock.now())));
                state.sas.set_outbound(tunnel, Arc::new(moved));
            }
            Ok(())
        })
    }

    fn counters(&self, tunnel: TunnelId) -> Option<TunnelCounters> {
        self.state
            .load()
            .tunnels
            .get(&tunnel)
            .map(|tunnel| tunnel.counters(self.clock))
    }

    fn sa_counters(&self, tunnel: TunnelId) -> Vec<SaCounters> {
        let state = self.state.load();
        let inbound = state.sas.inbound_of(tunnel).map(|(spi, entry)| SaCounters {
            spi: spi.0,
            direction: Direction::Inbound,
            packets: entry.sa.usage().packets(),
            bytes: entry.sa.usage().bytes(),
            sequence: entry.sa.highest_sequence(),
        });
        let outbound = state.sas.outbound(tunnel).map(|entry| SaCounters {
            spi: entry.sa.spi().0,
            direction: Direction::Outbound,
            packets: entry.sa.usage().packets(),
            bytes: entry.sa.usage().bytes(),
            sequence: entry.sa.last_sequence(),
        });
        inbound.chain(outbound).collect()
    }

    fn inner_mtu(&self, tunnel: TunnelId) -> Option<u16> {
        let state = self.state.load();
        let outer_mtu = state.tunnels.get(&tunnel)?.outer_mtu(self.clock.now());
        Some(state.sas.outbound(tunnel)?.inner_mtu(outer_mtu))
    }

    fn stray(&self) -> StrayCounters {
        self.stray.snapshot()
    }

    /// An earlier run on the kernel plane may have left SAs, which would take packets from this one.
    fn sweep(&mut self) -> usize {
        match crate::kernel_plane::clear() {
            Ok(cleared) => cleared.len(),
            Err(reason) => {
                tracing::warn!("{reason}");
                0
            }
        }
    }

    fn ike_sender(&self) -> IkeSender {
        IkeSender::new(Arc::clone(&self.sockets.ports))
    }
}
