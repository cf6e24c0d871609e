//! Speakers in memory: virtual time, connections that take time, lose nothing, and can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bgpd::{Action, Command, ConnId, Event, FibChange, FibNextHop, Speaker, SpeakerConfig};
use ipnet::IpNet;

/// A speaker's number in the world.
pub(crate) type Node = usize;

/// What arrives somewhere.
#[derive(Debug)]
enum Arrival {
    Syn {
        from: Node,
        conn: ConnId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    Connected {
        to: Node,
        conn: ConnId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    Refused {
        to: Node,
        conn: ConnId,
    },
    Bytes {
        to: Node,
        conn: ConnId,
        bytes: Vec<u8>,
    },
    Closed {
        to: Node,
        conn: ConnId,
    },
}

impl Arrival {
    /// Whether it is on its way to a speaker, or begun by it.
    fn is_for(&self, node: Node) -> bool {
        match self {
            Self::Syn { from, .. } => *from == node,
            Self::Connected { to, .. }
            | Self::Refused { to, .. }
            | Self::Bytes { to, .. }
            | Self::Closed { to, .. } => *to == node,
        }
    }
}

/// All speakers and what is under way between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    speakers: Vec<Speaker>,
    addresses: BTreeMap<IpAddr, Node>,
    wire: BTreeMap<(Instant, u64), Arrival>,
    sequence: u64,
    /// Both ends of every connection.
    ends: BTreeMap<(Node, ConnId), (Node, ConnId)>,
    /// When the last octets on a connection arrive, so that nothing overtakes.
    last: BTreeMap<(Node, ConnId), Instant>,
    /// Dials that were given up before they arrived.
    given_up: BTreeSet<(Node, ConnId)>,
    deaf: BTreeSet<Node>,
    stuck: BTreeSet<Node>,
    seed: u64,
    pub(crate) events: Vec<(Node, Event)>,
    pub(crate) changes: Vec<(Node, FibChange)>,
    pub(crate) fib: BTreeMap<(Node, IpNet), Vec<FibNextHop>>,
    pub(crate) octets_sent: usize,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            speakers: Vec::new(),
            addresses: BTreeMap::new(),
            wire: BTreeMap::new(),
            sequence: 0,
            ends: BTreeMap::new(),
            last: BTreeMap::new(),
            given_up: BTreeSet::new(),
            deaf: BTreeSet::new(),
            stuck: BTreeSet::new(),
            seed,
            events: Vec::new(),
            changes: Vec::new(),
            fib: BTreeMap::new(),
            octets_sent: 0,
        }
    }

    /// Adds a speaker that is reached at these addresses.
    pub(crate) fn add(&mut self, config: SpeakerConfig, addresses: &[&str]) -> Node {
        let node = self.speakers.len();
        let mut seed = [node as u8; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        self.speakers.push(Speaker::new(config, seed));
        for address in addresses {
            self.addresses.insert(address.parse().unwrap(), node);
        }
        node
    }

    /// The process of a speaker dies and another one takes its place. With `told` the peers' systems say so at once, as a
    /// process that dies on a machine that lives does; without, nobody hears of it. With `found` the new one finds the routes of
    /// the old one in use, and defers for so long at most.
    pub(crate) fn restart(
        &mut self,
        node: Node,
        config: SpeakerConfig,
        told: bool,
        found: Option<Duration>,
    ) {
        let ends: Vec<_> = self.ends.iter().map(|(a, b)| (*a, *b)).collect();
        for ((from, conn), (to, far)) in ends {
            if from == node {
                self.ends.remove(&(from, conn));
                self.ends.remove(&(to, far));
                if told {
                    self.arrive(Duration::ZERO, Arrival::Closed { to, conn: far });
                }
            }
        }
        self.fib.retain(|(it, _), _| *it != node);
        // Another process has other connections: numbers of the old one must not be met again.
        let seed = [0x80 | node as u8; 32];
        let speaker = match found {
            Some(deferral) => Speaker::restarted(self.now, config, seed, deferral),
            None => Speaker::new(config, seed),
        };
        self.wire.retain(|_, arrival| !arrival.is_for(node));
        self.last.retain(|(it, _), _| *it != node);
        self.given_up.retain(|(it, _)| *it != node);
        self.speakers[node] = speaker;
    }

    pub(crate) fn speaker(&self, node: Node) -> &Speaker {
        &self.speakers[node]
    }

    pub(crate) fn command(&mut self, node: Node, command: Command) {
        self.speakers[node].command(self.now, command).unwrap();
        self.drain(node);
    }

    /// Nothing reaches this speaker, and nothing that it sends arrives: the wire is cut.
    pub(crate) fn cut(&mut self, node: Node) {
        self.deaf.insert(node);
    }

    pub(crate) fn mend(&mut self, node: Node) {
        self.deaf.remove(&node);
    }

    /// The speaker's sockets take nothing any more.
    pub(crate) fn stick(&mut self, node: Node) {
        self.stuck.insert(node);
    }

    /// The process dies: its connections end without a word.
    pub(crate) fn reset_connections(&mut self, node: Node) {
        let ends: Vec<_> = self.ends.iter().map(|(a, b)| (*a, *b)).collect();
        for ((from, conn), (to, far)) in ends {
            if from == node {
                self.ends.remove(&(from, conn));
                self.ends.remove(&(to, far));
                self.arrive(Duration::ZERO, Arrival::Closed { to: from, conn });
                self.arrive(Duration::ZERO, Arrival::Closed { to, conn: far });
            }
        }
    }

    /// The connections that a speaker has.
    pub(crate) fn connections(&self, node: Node) -> Vec<ConnId> {
        self.ends
            .keys()
            .filter(|(it, _)| *it == node)
            .map(|(_, conn)| *conn)
            .collect()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let due = self.speakers.iter().filter_map(Speaker::poll_timeout).min();
            let Some(next) = arrival.into_iter().chain(due).min().filter(|it| *it <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, arrival) = self.wire.pop_first().unwrap();
                self.deliver(arrival);
            } else {
                for node in 0..self.speakers.len() {
                    self.speakers[node].handle_timeout(self.now);
                    self.drain(node);
                }
            }
        }
        self.now = end;
    }

    /// Lets time pass until something holds; returns how long that took.
    pub(crate) fn run_until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !holds(self) {
            assert!(
                self.now < start + limit,
                "not within {limit:?}: {:#?}",
                self.events
            );
            self.run(Duration::from_millis(10));
        }
        self.now - start
    }

    fn deliver(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Syn {
                from,
                conn,
                local,
                remote,
            } => self.syn(from, conn, local, remote),
            Arrival::Connected {
                to,
                conn,
                local,
                remote,
            } => {
                self.speakers[to].handle_connected(self.now, conn, local, remote);
                self.drain(to);
            }
            Arrival::Refused { to, conn } => {
                self.speakers[to].handle_connect_failed(self.now, conn, "connection refused");
                self.drain(to);
            }
            Arrival::Bytes { to, conn, bytes } => {
                self.speakers[to].handle_bytes(self.now, conn, &bytes);
                self.drain(to);
            }
            Arrival::Closed { to, conn } => {
                self.ends.remove(&(to, conn));
                self.speakers[to].handle_closed(self.now, conn, "closed by the peer");
                self.drain(to);
            }
        }
    }

    fn syn(&mut self, from: Node, conn: ConnId, local: SocketAddr, remote: SocketAddr) {
        let Some(to) = self.addresses.get(&remote.ip()).copied() else {
            return;
        };
        let gone = self.given_up.contains(&(from, conn));
        if gone || self.deaf.contains(&to) || self.deaf.contains(&from) {
            return;
        }
        let delay = self.delay();
        match self.speakers[to].handle_accepted(self.now, local, remote) {
            Ok(far) => {
                self.ends.insert((from, conn), (to, far));
                self.ends.insert((to, far), (from, conn));
                let at = self.now + delay;
                self.last.insert((from, conn), at);
                self.arrive(
                    delay,
                    Arrival::Connected {
                        to: from,
                        conn,
                        local,
                        remote,
                    },
                );
            }
            Err(_) => self.arrive(delay, Arrival::Refused { to: from, conn }),
        }
        self.drain(to);
    }

    fn drain(&mut self, node: Node) {
        while let Some(action) = self.speakers[node].poll_action() {
            match action {
                Action::Connect {
                    conn,
                    local,
                    remote,
                    ..
                } => {
                    let local = SocketAddr::new(local.expect("tests say where from"), 40000);
                    let delay = self.delay();
                    self.arrive(
                        delay,
                        Arrival::Syn {
                            from: node,
                            conn,
                            local,
                            remote,
                        },
                    );
                }
                Action::Send { conn, bytes } => self.send(node, conn, bytes),
                Action::Close { conn } => {
                    if let Some((to, far)) = self.ends.remove(&(node, conn)) {
                        self.in_order(node, to, far, Arrival::Closed { to, conn: far });
                    } else {
                        self.given_up.insert((node, conn));
                    }
                }
            }
        }
        while let Some(change) = self.speakers[node].poll_fib() {
            self.changes.push((node, change.clone()));
            match change.next_hops.is_empty() {
                true => self.fib.remove(&(node, change.prefix)),
                false => self.fib.insert((node, change.prefix), change.next_hops),
            };
        }
        while let Some(event) = self.speakers[node].poll_event() {
            self.events.push((node, event));
        }
    }

    fn send(&mut self, node: Node, conn: ConnId, bytes: Vec<u8>) {
        self.octets_sent += bytes.len();
        if self.stuck.contains(&node) {
            return;
        }
        self.speakers[node].handle_sent(self.now, conn, bytes.len());
        if let Some((to, far)) = self.ends.get(&(node, conn)).copied() {
            self.in_order(
                node,
                to,
                far,
                Arrival::Bytes {
                    to,
                    conn: far,
                    bytes,
                },
            );
        }
    }

    fn in_order(&mut self, from: Node, to: Node, far: ConnId, arrival: Arrival) {
        if self.deaf.contains(&from) || self.deaf.contains(&to) {
            return;
        }
        let earliest = self.last.get(&(to, far)).copied().unwrap_or(self.now);
        let at = earliest.max(self.now + self.delay());
        self.last.insert((to, far), at);
        self.arrive(at - self.now, arrival);
    }

    fn arrive(&mut self, delay: Duration, arrival: Arrival) {
        self.sequence += 1;
        self.wire.insert((self.now + delay, self.sequence), arrival);
    }

    /// Between one and fifty milliseconds, from the seed (a linear congruential generator).
    fn delay(&mut self) -> Duration {
        self.seed = self
            .seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        Duration::from_micros(1000 + (self.seed >> 33) % 49_000)
    }
}
