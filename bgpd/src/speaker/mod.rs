//! All peers, the tables, and the calls that drive them.

mod commands;
mod judge;
mod peer;
mod ranges;
mod refresh;
mod restart;
mod routes;
mod views;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::event::{Action, ConnId, Event, FibChange, Refused};
use crate::outbox::Outbox;
use crate::policy::PolicyTable;
use crate::rib::{Multipath, PeerIndex, Rib};
use crate::session::{Change, Received, Session, Turn};
use crate::{PeerName, SpeakerConfig};
use peer::{OwnRestart, Peer};
use ranges::Range;
use restart::Deferral;

/// A BGP speaker. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    /// By [`PeerIndex`]; a removed peer's place is taken by the next one.
    peers: Vec<Option<Peer>>,
    names: BTreeMap<PeerName, PeerIndex>,
    /// Who may become a peer by connecting.
    ranges: Vec<Range>,
    policy: PolicyTable,
    rib: Rib,
    outbox: Outbox,
    /// When the last call was.
    now: Option<Instant>,
    /// Who writes UPDATEs next, so that nobody waits for another one's full table.
    turn_of: usize,
    /// Names the circumstances under which sets of attributes were judged.
    stamp: u32,
    /// Our own restart, until it is over.
    deferral: Option<Deferral>,
    /// A process before this one left routes in the kernel, and they are in use.
    found_forwarding: bool,
}

impl Speaker {
    /// A speaker without peers. The seed is for jitter and for hashes that peers must not guess.
    #[must_use]
    pub fn new(config: SpeakerConfig, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let rib = Rib::new(rng.random(), multipath(&config));
        Self {
            config,
            peers: Vec::new(),
            names: BTreeMap::new(),
            ranges: Vec::new(),
            policy: PolicyTable::default(),
            rib,
            outbox: Outbox::new(rng),
            now: None,
            turn_of: 0,
            stamp: 0,
            deferral: None,
            found_forwarding: false,
        }
    }

    /// A speaker that takes the place of one that died, and finds its routes in the kernel and in use (RFC 4724, section 4.1). Its
    /// peers are told so; End-of-RIB waits until all of them and the first [`Command::SetLocalRoutes`](crate::Command) have been
    /// heard, `deferral` at most, which [`Event::RestartOver`] tells.
    #[must_use]
    pub fn restarted(
        now: Instant,
        config: SpeakerConfig,
        seed: [u8; 32],
        deferral: Duration,
    ) -> Self {
        Self {
            deferral: Some(Deferral::new(now + deferral)),
            found_forwarding: true,
            ..Self::new(config, seed)
        }
    }

    /// A dial asked for by [`Action::Connect`] succeeded. One that was given up meanwhile by
    /// [`Action::Close`] is not heard of.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        local: SocketAddr,
        _remote: SocketAddr,
    ) {
        self.begin(now);
        if let Some(peer) = self.owner(conn) {
            self.session(now, peer, |session, turn| {
                session.handle_connected(turn, conn, canonical(local));
            });
        }
    }

    /// A dial asked for by [`Action::Connect`] failed, in the system's words.
    pub fn handle_connect_failed(&mut self, now: Instant, conn: ConnId, reason: &str) {
        self.begin(now);
        if let Some(peer) = self.owner(conn) {
            self.session(now, peer, |session, turn| {
                session.handle_connect_failed(turn, conn, reason);
            });
        }
    }

    /// Somebody connected to us.
    ///
    /// # Errors
    ///
    /// Why the connection must be closed without a word.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
    ) -> Result<ConnId, Refused> {
        self.begin(now);
        let (remote, local) = (canonical(remote), canonical(local));
        let unknown = Refused::UnknownPeer {
            remote: remote.ip(),
        };
        let index = match self.at_address(remote.ip()) {
            Some((index, _)) => index,
            None => self.join(now, remote.ip(), local.ip())?,
        };
        let Some(peer) = self.peer(index) else {
            return Err(unknown);
        };
        if let Some(expected) = peer.config.update_source.filter(|it| *it != local.ip()) {
            let peer = peer.config.name.clone();
            return Err(Refused::WrongLocalAddress {
                peer,
                local: local.ip(),
                expected,
            });
        }
        let accept =
            |session: &mut Session, turn: &mut Turn<'_>| session.handle_accepted(turn, local);
        self.session(now, index, accept).unwrap_or(Err(unknown))
    }

    /// Octets came in on a connection, any number of them.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.begin(now);
        let Some(peer) = self.owner(conn) else { return };
        if let Some(peer) = self.peer_mut(peer) {
            peer.session.receive(conn, bytes);
        }
        let next = |session: &mut Session, turn: &mut Turn<'_>| session.next(turn, conn);
        while let Some(Some(received)) = self.session(now, peer, next) {
            match received {
                Received::Update(body) => self.update(now, peer, &body),
                Received::Refresh(refresh) => self.refresh(now, peer, refresh),
            }
        }
        self.settle();
    }

    /// The socket took octets that [`Action::Send`] had given to it. Without being told, a session
    /// writes no more UPDATEs once its window is full.
    pub fn handle_sent(&mut self, now: Instant, conn: ConnId, count: usize) {
        self.begin(now);
        if let Some(peer) = self.owner(conn).and_then(|peer| self.peer_mut(peer)) {
            peer.session.handle_sent(now, conn, count);
        }
    }

    /// A connection ended that we have not closed, in the system's words.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, reason: &str) {
        self.begin(now);
        if let Some(peer) = self.owner(conn) {
            self.session(now, peer, |session, turn| {
                session.handle_closed(turn, conn, reason)
            });
            self.settle();
        }
    }

    /// The time of [`Speaker::poll_timeout`] has come, or any other.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(now);
        for peer in self.indices() {
            self.session(now, peer, |session, turn| session.handle_timeout(turn));
        }
        self.sweep_overdue(now);
        self.end_overdue_refreshes(now);
        self.settle();
    }

    /// When [`Speaker::handle_timeout`] is due; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.peers
            .iter()
            .flatten()
            .flat_map(|peer| {
                let kept = peer.kept.as_ref().map(|kept| kept.until);
                let refresh = peer.refreshes.timeout();
                peer.session
                    .poll_timeout()
                    .into_iter()
                    .chain(kept)
                    .chain(refresh)
            })
            .chain(self.restart_timeout())
            .min()
    }

    /// The next thing to do with a socket.
    pub fn poll_action(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.outbox.poll_action() {
                return Some(action);
            }
            if !self.write_updates() {
                return None;
            }
        }
    }

    /// The next change for the kernel's routes.
    pub fn poll_fib(&mut self) -> Option<FibChange> {
        self.rib.poll_fib()
    }

    /// The next line of the journal.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.outbox.poll_event()
    }

    /// Every call begins here: everything was polled since the last one.
    fn begin(&mut self, now: Instant) {
        debug_assert!(
            self.now.is_none_or(|before| before <= now),
            "time went back"
        );
        self.now = Some(now);
        let peers = &self.peers;
        self.rib
            .reclaim(|id| peers.iter().flatten().any(|peer| peer.adj_out.needs(id)));
    }

    /// Runs something on a peer's session, and lets the tables follow.
    fn session<R>(
        &mut self,
        now: Instant,
        index: PeerIndex,
        run: impl FnOnce(&mut Session, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let mut changes = Vec::new();
        let restart = self.own_restart();
        let peer = self.peers.get_mut(usize::from(index.0))?.as_mut()?;
        let terms = peer::terms(
            &peer.config,
            peer.session.established_count(),
            &self.config,
            &self.rib.resolver,
            restart,
        );
        let outbox = &mut self.outbox;
        let mut turn = Turn {
            now,
            terms,
            outbox,
            changes: &mut changes,
        };
        let result = run(&mut peer.session, &mut turn);
        for change in changes {
            match change {
                Change::Up(agreed) => {
                    // Of several ASes that it may be in it has named its own.
                    if let Some(peer) = self.peer_mut(index) {
                        peer.config.remote_asn = agreed.remote_asn;
                    }
                    self.session_up(now, index, &agreed);
                }
                Change::Down { agreed, keep } => self.session_down(now, index, agreed, keep),
            }
        }
        Some(result)
    }

    fn own_restart(&self) -> OwnRestart {
        OwnRestart {
            in_progress: self.deferral.is_some(),
            found_forwarding: self.found_forwarding,
        }
    }

    fn owner(&self, conn: ConnId) -> Option<PeerIndex> {
        let owns = |peer: &Peer| peer.session.owns(conn);
        self.indices()
            .into_iter()
            .find(|index| self.peer(*index).is_some_and(owns))
    }

    fn at_address(&self, address: IpAddr) -> Option<(PeerIndex, &Peer)> {
        let mut peers = self
            .indices()
            .into_iter()
            .filter_map(|it| Some((it, self.peer(it)?)));
        peers.find(|(_, peer)| peer.config.address == address)
    }

    /// All peers, by name, so that effects come in an order that does not depend on history.
    fn indices(&self) -> Vec<PeerIndex> {
        self.names.values().copied().collect()
    }

    fn peer(&self, index: PeerIndex) -> Option<&Peer> {
        self.peers.get(usize::from(index.0))?.as_ref()
    }

    fn peer_mut(&mut self, index: PeerIndex) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(index.0))?.as_mut()
    }

    fn named(&self, name: &str) -> Option<PeerIndex> {
        self.names.get(name).copied()
    }

    fn next_stamp(&mut self) -> u32 {
        self.stamp = self.stamp.wrapping_add(1);
        self.stamp
    }
}

fn multipath(config: &SpeakerConfig) -> Multipath {
    Multipath {
        maximum: config.maximum_paths,
        relax: config.multipath_relax,
    }
}

/// A socket of both families shows IPv4 addresses mapped into IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
