//! Commands of the shell.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::child::Child;
use crate::connection::{Auth, Command, Connection, ConnectionId};
use crate::event::DownReason;
use crate::sa::established::Established;
use crate::sa::task::Task;
use crate::sa::{Addresses, Sa, State};
use crate::wire::IkeSpi;

/// How long the peer may take for our new address before a new IKE SA is tried beside: a few repetitions.
const UPDATE: Duration = Duration::from_secs(4);

impl Endpoint {
    /// Takes a command. One for a connection or SPI that is not there does nothing.
    pub fn command(&mut self, now: Instant, command: Command) {
        self.stirred.extend(named(&command));
        match command {
            Command::Add(connection) | Command::Replace(connection) => {
                self.put(now, Arc::new(*connection));
            }
            Command::Move(connection) => self.relocate(now, Arc::new(*connection)),
            Command::Remove(id) => {
                self.cx.held.remove(&id);
                self.bring_down(now, id);
                if let Some(tunnel) = self.tunnels.get_mut(&id) {
                    tunnel.removed = true;
                }
            }
            Command::Up(id) => {
                self.cx.held.remove(&id);
                if let Some(tunnel) = self.tunnels.get_mut(&id) {
                    tunnel.wanted = true;
                    tunnel.next_attempt = None;
                }
            }
            Command::Down(id) => self.bring_down(now, id),
            Command::Hold(id) => {
                self.cx.held.insert(id);
                self.bring_down(now, id);
            }
            Command::Release(id) => {
                self.cx.held.remove(&id);
                let initiates = self.cx.connection(id).is_some_and(|c| c.initiate);
                if let Some(tunnel) = self.tunnels.get_mut(&id) {
                    tunnel.wanted = initiates;
                    tunnel.next_attempt = None;
                }
            }
            Command::RekeyChild(id) => {
                self.watch(id);
                self.for_usable(id, |e| {
                    let current = e.children.values().filter(|c| c.is_current());
                    e.queue
                        .extend(current.map(|c| Task::RekeyChild(c.sa.spi_in)));
                });
            }
            Command::RekeyIke(id) => {
                self.watch(id);
                self.for_usable(id, |e| _ = e.queue.insert(Task::RekeyIke));
            }
            Command::InboundTraffic { spi } => self.inbound_traffic(now, spi),
            Command::SoftExpired { spi } => {
                if let Some(e) = self.holder(spi)
                    && e.children.get(&spi).is_some_and(Child::is_current)
                {
                    e.queue.insert(Task::RekeyChild(spi));
                }
            }
            Command::HardExpired { spi } => {
                if let Some(e) = self.holder(spi) {
                    e.children
                        .entry(spi)
                        .and_modify(|child| child.doomed = true);
                    e.queue.insert(Task::DeleteChild(spi));
                }
            }
            Command::AnyTraffic(id) => self.for_usable(id, |e| e.last_heard = now),
            Command::PeerMoved { spi, remote } => self.peer_moved(spi, remote),
            Command::UnknownSpi { remote } => self.unknown_spi(now, remote),
            Command::Shutdown => {
                let ids: Vec<ConnectionId> = self.tunnels.keys().copied().collect();
                self.stirred.extend(&ids);
                ids.into_iter().for_each(|id| self.bring_down(now, id));
                self.stopping = true;
                self.computing.forget();
            }
        }
        self.settle(now);
    }

    /// Adds a connection, or gives new parameters to one.
    fn put(&mut self, now: Instant, connection: Arc<Connection>) {
        let id = connection.id;
        let fresh = self
            .cx
            .connection(id)
            .is_some_and(|old| needs_new_sa(&old, &connection));
        if fresh {
            self.bring_down(now, id);
        }
        let tunnel = self.tunnels.entry(id).or_default();
        tunnel.wanted = connection.initiate && !self.cx.held.contains(&id);
        tunnel.removed = false;
        tunnel.next_attempt = None;
        self.cx.connections.insert(id, connection);
    }

    /// Takes a connection to other addresses. Requests that are under way, and ESP that is sent, come from our new address at once: the
    /// peer knows both by their SPIs. What it sends goes where we were, so an IKE SA that stands only bridges the time until the next one.
    fn relocate(&mut self, now: Instant, connection: Arc<Connection>) {
        let id = connection.id;
        let local = connection.local;
        let Some(old) = self.cx.connections.insert(id, Arc::clone(&connection)) else {
            return self.put(now, connection);
        };
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.next_attempt = None;
        self.sas.each_of(id, |sa| {
            let from = SocketAddr::new(local, sa.link.path.local.port());
            match &mut sa.state {
                State::InitSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => {
                    sa.discard(&mut self.cx, now, DownReason::Moved);
                }
                State::Established(e) => {
                    let remote = sa.link.path.remote;
                    let same_family = remote.is_ipv4() == from.is_ipv4();
                    if e.can_move() && same_family && old.remote == connection.remote {
                        e.queue.insert(Task::UpdateAddresses);
                        e.update_by = Some(now + UPDATE);
                    } else if e.is_usable() && connection.initiate {
                        e.stray(now + connection.liveness.give_up);
                    } else if e.is_usable() {
                        // Nobody but the peer may make a new one, which it does when it knows that this one is over.
                        e.begin_close(DownReason::Moved);
                        e.children.values_mut().for_each(|c| c.doomed = true);
                        self.cx.reasons.insert(id, DownReason::Moved);
                    }
                    if old.local != local && same_family {
                        let to = Addresses {
                            local: from,
                            remote,
                        };
                        sa.move_to(&mut self.cx, to);
                    }
                }
                State::HalfOpen(_) | State::Lingering { .. } | State::Dead => {}
            }
        });
    }

    /// Ends all SAs of a connection: those that stand by telling the peer.
    fn bring_down(&mut self, now: Instant, id: ConnectionId) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.wanted = false;
        }
        self.sas.each_of(id, |sa| match &mut sa.state {
            State::Established(e) => {
                e.begin_close(DownReason::Administrative);
                e.children.values_mut().for_each(|c| c.doomed = true);
                self.cx.reasons.insert(id, DownReason::Administrative);
            }
            State::InitSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => {
                sa.discard(&mut self.cx, now, DownReason::Administrative);
            }
            State::HalfOpen(_) | State::Lingering { .. } | State::Dead => {}
        });
    }

    /// What is asked by hand is told how it went, also if it went like that a moment ago.
    fn watch(&mut self, id: ConnectionId) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.is_watched = true;
        }
    }

    fn for_usable(&mut self, id: ConnectionId, mut act: impl FnMut(&mut Established)) {
        self.sas.each_of(id, |sa| {
            if let Some(e) = sa.established_mut().filter(|e| e.is_usable()) {
                act(e);
            }
        });
    }

    /// The SA that has the child with this inbound SPI.
    fn holder(&mut self, spi: u32) -> Option<&mut Established> {
        self.sas.with_child(spi).and_then(Sa::established_mut)
    }

    /// The peer uses a SA, so it has installed it in both directions.
    fn inbound_traffic(&mut self, now: Instant, spi: u32) {
        let order = self.cx.next_order();
        if let Some(e) = self.holder(spi) {
            e.last_heard = now;
            e.children.entry(spi).and_modify(|child| {
                child.ready.get_or_insert(order);
                child.heard.get_or_insert(order);
                child.unconfirmed_until = None;
            });
        }
    }

    fn peer_moved(&mut self, spi: u32, remote: SocketAddr) {
        if let Some(sa) = self.sas.with_child(spi)
            && sa.established().is_some_and(|e| !e.mobike)
            && sa.link.path.remote_nat
            && !sa.link.path.local_nat
            && sa.link.path.remote != remote
        {
            let local = sa.link.path.local;
            sa.move_to(&mut self.cx, Addresses { local, remote });
        }
    }

    fn unknown_spi(&mut self, now: Instant, remote: IpAddr) {
        let of_peer = self
            .sas
            .values()
            .filter(|sa| sa.link.path.remote.ip() == remote);
        let spis: Vec<IkeSpi> = of_peer.map(|sa| sa.link.spi).collect();
        for spi in spis {
            if let Some(e) = self.sas.get_mut(spi).and_then(Sa::established_mut) {
                e.suspect(now);
            }
        }
    }
}

/// The connection that a command names. One that names an SPI touches the SA that has it.
fn named(command: &Command) -> Option<ConnectionId> {
    match command {
        Command::Add(connection) | Command::Replace(connection) | Command::Move(connection) => {
            Some(connection.id)
        }
        Command::Remove(id)
        | Command::Up(id)
        | Command::Down(id)
        | Command::Hold(id)
        | Command::Release(id)
        | Command::RekeyChild(id)
        | Command::RekeyIke(id)
        | Command::AnyTraffic(id) => Some(*id),
        Command::InboundTraffic { .. }
        | Command::SoftExpired { .. }
        | Command::HardExpired { .. }
        | Command::PeerMoved { .. }
        | Command::UnknownSpi { .. }
        | Command::Shutdown => None,
    }
}

/// How an SA that stands would be authenticated by the new parameters, as far as that does not matter to it: another certificate of ours
/// is for the next IKE_AUTH, but whom we trust decides about the peer that is there.
fn renewed(old: &Auth, new: &Auth) -> Auth {
    match (old, new) {
        (Auth::Certificate(before), Auth::Certificate(after)) if before.trust == after.trust => {
            new.clone()
        }
        _ => old.clone(),
    }
}

/// Whether a change of parameters cannot be made in place.
fn needs_new_sa(old: &Connection, new: &Connection) -> bool {
    let in_place = Connection {
        name: new.name.clone(),
        auth: renewed(&old.auth, &new.auth),
        ike_lifetime: new.ike_lifetime,
        child_lifetime: new.child_lifetime,
        liveness: new.liveness,
        retransmission: new.retransmission,
        initiation: new.initiation,
        pfs: new.pfs,
        childless: new.childless,
        initiate: new.initiate,
        fragment_size: new.fragment_size,
        initial_contact: new.initial_contact,
        mobike: new.mobike,
        ..old.clone()
    };
    in_place != *new
}
