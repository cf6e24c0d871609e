//! BFD's packets: a thread of its own receives, sends and keeps the time, and decides nothing.
//!
//! Three packets at intervals of 100 ms have to be heard in time whatever the loop is busy with, so the sessions do not live in the loop.
//! Both reach them through one lock, which is held for as long as one packet takes. What happens goes to the loop's bounded queue; while
//! that is full, events wait in the sessions, which go on.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bfd::{Arrival, Event, Hops, SessionConfig, SessionName, Sessions, Transmit};
use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::{debug, warn};

/// Where a session's own port is (RFC 5881, section 4).
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// RFC 5881, section 5.
const TTL: u32 = 255;

/// Precedence "internetwork control", so that a full queue drops others first.
const TOS: u32 = 0xc0;

/// How long events wait for a loop whose queue is full before they are offered again.
const PATIENCE: Duration = Duration::from_millis(10);

/// Longer than any packet that is heard.
const BUFFER: usize = 256;

/// How many datagrams are taken from one socket before the clock is looked at again: more than its buffer holds for honest peers.
const AT_ONCE: usize = 1024;

/// All sessions, their sockets and their thread.
pub(crate) struct Liveness {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    is_running: bool,
    has_complained: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Something has changed that the thread waits for.
    wake: EventFd,
}

struct State {
    sessions: Sessions,
    senders: BTreeMap<SessionName, Sender>,
    /// The source port of each session, which stays the same whatever becomes of its socket.
    ports: BTreeMap<SessionName, u16>,
    /// By distance; a session that is wanted and has none is deaf.
    receivers: BTreeMap<Hops, Arc<UdpSocket>>,
}

/// What a session's packets leave by.
struct Sender {
    socket: UdpSocket,
    local: Option<IpAddr>,
    interface: Option<String>,
}

impl Liveness {
    /// No session yet; what happens goes to `events`.
    ///
    /// # Errors
    /// When the kernel has no descriptor to give.
    pub(crate) fn new(seed: [u8; 32], events: mpsc::Sender<Event>) -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    sessions: Sessions::new(seed),
                    senders: BTreeMap::new(),
                    ports: BTreeMap::new(),
                    receivers: BTreeMap::new(),
                }),
                wake: EventFd::from_flags(flags)?,
            }),
            events,
            is_running: false,
            has_complained: false,
        })
    }

    /// These sessions are to be, and no others.
    pub(crate) fn want(&mut self, wanted: &BTreeMap<SessionName, SessionConfig>) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let known: Vec<SessionName> = state.sessions.names().cloned().collect();
        for name in known.iter().filter(|name| !wanted.contains_key(*name)) {
            state.sessions.remove(now, name);
        }
        for (name, config) in wanted {
            if let Err(error) = state.sessions.set(now, name, config.clone()) {
                warn!(neighbor = %name, "BFD does not watch it: {error}");
            }
        }
        state.flush();
        drop(state);
        if !wanted.is_empty() {
            self.listen();
        }
        self.shared.wake();
    }

    /// Opens the sockets that are still missing. Call it again from time to time: who has the port may let go of it.
    pub(crate) fn listen(&mut self) {
        let mut state = self.shared.lock();
        if state.sessions.is_empty() {
            return;
        }
        let mut failure = None;
        for hops in [Hops::Single, Hops::Multi] {
            if state.receivers.contains_key(&hops) {
                continue;
            }
            match receiver(hops) {
                Ok(socket) => {
                    state.receivers.insert(hops, Arc::new(socket));
                    self.shared.wake();
                }
                Err(error) if state.is_used(hops) => failure = Some((hops.port(), error)),
                // Nobody needs it, so nobody need be told.
                Err(_) => {}
            }
        }
        drop(state);
        if let Some((port, error)) = &failure
            && !self.has_complained
        {
            warn!(
                "cannot hear BFD on UDP port {port}: {error}; is another BFD daemon running? BFD stays down until the port is free"
            );
        }
        self.has_complained = failure.is_some();
        if !self.is_running {
            self.is_running = self.start();
        }
    }

    /// What there is to see of each session.
    pub(crate) fn views(&self) -> BTreeMap<SessionName, bfd::view::Session> {
        let now = Instant::now();
        let state = self.shared.lock();
        let names: Vec<SessionName> = state.sessions.names().cloned().collect();
        let views = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), state.sessions.view(now, &name)?)));
        views.collect()
    }

    /// Tells all peers that BFD is switched off, so that they do not take our silence for a failure. The first packets have left when this
    /// returns; others follow for as long as the process lives and a peer would wait for one.
    pub(crate) fn leave(&mut self) {
        self.want(&BTreeMap::new());
    }

    fn start(&self) -> bool {
        let (shared, events) = (self.shared.clone(), self.events.clone());
        let thread = thread::Builder::new().name("bfd".into());
        match thread.spawn(move || shared.run(&events)) {
            Ok(_) => true,
            Err(error) => {
                warn!("BFD has no thread, so nothing is watched: {error}");
                false
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic left behind is still a set of sessions.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // One that is not taken yet wakes as well.
        let _ = self.wake.write(1);
    }

    /// The thread: until the loop is gone.
    fn run(&self, events: &mpsc::Sender<Event>) {
        let mut receivers: Vec<(Hops, Arc<UdpSocket>)> = Vec::new();
        loop {
            // What has arrived by now is heard before anything is taken for silence, however long we were kept from running.
            let now = Instant::now();
            for (hops, socket) in &receivers {
                self.receive(now, *hops, socket);
            }
            let mut state = self.lock();
            state.sessions.handle_timeout(now);
            state.flush();
            let Ok(all_are_told) = state.tell(events) else {
                return;
            };
            let deadline = state.sessions.poll_timeout();
            receivers = state
                .receivers
                .iter()
                .map(|(hops, socket)| (*hops, socket.clone()))
                .collect();
            drop(state);
            let mut pause = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if !all_are_told {
                pause = Some(pause.map_or(PATIENCE, |pause| pause.min(PATIENCE)));
            }
            match self.wait(&receivers, pause) {
                Ok(()) | Err(Errno::EINTR) => {}
                Err(error) => {
                    warn!("BFD cannot wait for packets: {error}");
                    return;
                }
            }
        }
    }

    /// Until a socket has something, or the pause is over, or something has changed.
    fn wait(
        &self,
        receivers: &[(Hops, Arc<UdpSocket>)],
        pause: Option<Duration>,
    ) -> Result<(), Errno> {
        let mut waited: Vec<PollFd<'_>> = receivers
            .iter()
            .map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .chain([PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)])
            .collect();
        ppoll(&mut waited, pause.map(TimeSpec::from_duration), None)?;
        // Empty it, or do nothing if it is.
        let _ = self.wake.read();
        Ok(())
    }

    fn receive(&self, now: Instant, hops: Hops, socket: &UdpSocket) {
        let mut buffer = [0; BUFFER];
        for _ in 0..AT_ONCE {
            match take(socket, &mut buffer) {
                Ok(Some(taken)) => {
                    let arrival = Arrival {
                        from: taken.from,
                        to: taken.to,
                        interface: taken.interface.as_deref(),
                        ttl: taken.ttl,
                        hops,
                    };
                    let datagram = buffer.get(..taken.length).unwrap_or_default();
                    let mut state = self.lock();
                    state.sessions.handle_datagram(now, &arrival, datagram);
                    state.flush();
                }
                // Not what was asked for.
                Ok(None) => {}
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl State {
    /// Whether a session needs this socket.
    fn is_used(&self, hops: Hops) -> bool {
        let now = Instant::now();
        let mut names = self.sessions.names();
        names.any(|name| {
            let view = self.sessions.view(now, name);
            view.is_some_and(|view| view.hops == hops)
        })
    }

    /// Sends what waits.
    fn flush(&mut self) {
        while let Some(transmit) = self.sessions.poll_transmit() {
            if let Err(error) = self.send(&transmit) {
                // Lost like any datagram. The next one gets a socket of its own, should the interface be another one by then.
                debug!(neighbor = %transmit.session, "cannot send BFD: {error}");
                self.senders.remove(&transmit.session);
            }
        }
        if self.sessions.is_empty() {
            self.senders.clear();
            self.ports.clear();
        }
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        let fits = self.senders.get(&transmit.session).is_some_and(|sender| {
            (sender.local, &sender.interface) == (transmit.local, &transmit.interface)
        });
        if !fits {
            self.senders.remove(&transmit.session);
            let sender = self.sender(transmit)?;
            self.senders.insert(transmit.session.clone(), sender);
        }
        let Some(sender) = self.senders.get(&transmit.session) else {
            return Ok(());
        };
        let to = SocketAddr::new(transmit.peer, transmit.hops.port());
        sender.socket.send_to(&transmit.payload, to).map(drop)
    }

    /// A socket for one session's packets: from a port that is no other session's, the one it had before if it had one.
    fn sender(&mut self, transmit: &Transmit) -> io::Result<Sender> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_ttl_v4(TTL)?;
        socket.set_tos_v4(TOS)?;
        // An interface's address may come later than the wish to send from it.
        socket.set_freebind_v4(true)?;
        if let Some(interface) = &transmit.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        let local = transmit.local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let before = self.ports.get(&transmit.session).copied();
        let others: Vec<u16> = self.ports.values().copied().collect();
        let free = SOURCE_PORTS.filter(|port| !others.contains(port));
        let mut taken = None;
        for port in before.into_iter().chain(free) {
            match socket.bind(&SocketAddr::new(local, port).into()) {
                Ok(()) => {
                    self.ports.insert(transmit.session.clone(), port);
                    return Ok(Sender {
                        socket: socket.into(),
                        local: transmit.local,
                        interface: transmit.interface.clone(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// Tells what happened, as far as there is room. Returns whether all of it is told.
    ///
    /// # Errors
    /// When there is nobody left to be told.
    fn tell(&mut self, events: &mpsc::Sender<Event>) -> Result<bool, ()> {
        loop {
            match events.try_reserve() {
                Ok(room) => match self.sessions.poll_event() {
                    Some(event) => room.send(event),
                    None => return Ok(true),
                },
                Err(TrySendError::Full(())) => return Ok(false),
                Err(TrySendError::Closed(())) => return Err(()),
            }
        }
    }
}

/// A socket that hears all packets of one kind, with their TTL and the way they came.
fn receiver(hops: Hops) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, hops.port())).into())?;
    Ok(socket.into())
}

/// How one datagram came.
struct Taken {
    length: usize,
    from: IpAddr,
    to: IpAddr,
    interface: Option<String>,
    ttl: u8,
}

/// Takes one datagram; `None` if the kernel did not say how it came.
fn take(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Option<Taken>, Errno> {
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo, nix::libc::c_int);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let (mut ttl, mut way) = (None, None);
    for one in message.cmsgs()? {
        match one {
            ControlMessageOwned::Ipv4Ttl(value) => ttl = u8::try_from(value).ok(),
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                let index = u32::try_from(info.ipi_ifindex).unwrap_or_default();
                way = Some((to, if_indextoname(index).ok()));
            }
            _ => {}
        }
    }
    let from = message.address.map(SocketAddrV4::from);
    let (Some(ttl), Some((to, interface)), Some(from)) = (ttl, way, from) else {
        return Ok(None);
    };
    Ok(Some(Taken {
        length: message.bytes,
        from: IpAddr::V4(*from.ip()),
        to: IpAddr::V4(to),
        interface: interface.and_then(|name| name.into_string().ok()),
        ttl,
    }))
}
