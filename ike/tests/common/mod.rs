//! Two endpoints in memory, on a virtual clock, over a network that misbehaves on request, with a
//! data plane that notices every packet it cannot read.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ike::{
    ChildSa, Command, Connection, ConnectionId, Encryption, Endpoint, EndpointConfig, EsnPolicy,
    EspProposal, Event, Group, IkeProposal, Integrity, Phase, Prf, Secret, Transmit, TransmitKind,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub const A: usize = 0;
pub const B: usize = 1;
pub const ID: ConnectionId = ConnectionId(1);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
];

/// The connection as one side has it: quick algorithms, everything else as by default.
pub fn connection(side: usize) -> Connection {
    let psk = Secret::from_slice(b"a shared secret of some length");
    let mut c = Connection::new(ID, "oci-1", ADDRESSES[side], ADDRESSES[1 - side], psk);
    c.ike = vec![IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha256,
        groups: vec![Group::Curve25519],
    }];
    c.esp = vec![EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: vec![Group::Curve25519],
        esn: EsnPolicy::Either,
    }];
    c
}

/// What a data plane has been told.
#[derive(Default)]
pub struct Plane {
    pub inbound: BTreeMap<u32, ChildSa>,
    pub outbound: Option<ChildSa>,
    seen: BTreeSet<u32>,
    pub unreadable: u32,
    pub received: u32,
    pub nothing_to_send_on: u32,
}

pub struct Side {
    pub endpoint: Endpoint,
    pub plane: Plane,
    pub events: Vec<Event>,
    pub sent: Vec<Transmit>,
}

enum Packet {
    Ike {
        local: SocketAddr,
        remote: SocketAddr,
        payload: Vec<u8>,
    },
    Esp {
        spi: u32,
        key: Secret,
    },
}

/// What a filter decides about a datagram.
pub enum Fate {
    Deliver,
    Drop,
    /// Keep it until [`Pair::release`].
    Hold,
    /// Deliver this in its place.
    Replace(Vec<u8>),
}

type Filter = Box<dyn FnMut(usize, &Transmit) -> Fate>;

pub struct Pair {
    pub start: Instant,
    pub now: Instant,
    pub sides: [Side; 2],
    pub latency: Duration,
    jitter: Duration,
    loss: f64,
    duplication: f64,
    rng: StdRng,
    wire: BTreeMap<(Instant, u64), (usize, Packet)>,
    held: Vec<(usize, Transmit)>,
    serial: u64,
    pub filter: Option<Filter>,
    /// A NAT in front of A: A's packets come from this address.
    pub nat: Option<IpAddr>,
    /// Both sides send an ESP packet so often.
    traffic: Option<Duration>,
    next_traffic: Instant,
    /// Most SAs that a side had at once.
    pub most_inbound: usize,
}

impl Pair {
    pub fn new() -> Self {
        Self::seeded(1)
    }

    pub fn seeded(seed: u64) -> Self {
        Self::with_config(seed, EndpointConfig::default())
    }

    pub fn with_config(seed: u64, config: EndpointConfig) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        let mut side = || Side {
            endpoint: Endpoint::new(config, rng.random()),
            plane: Plane::default(),
            events: Vec::new(),
            sent: Vec::new(),
        };
        let sides = [side(), side()];
        Self {
            start: now,
            now,
            sides,
            latency: ms(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            rng,
            wire: BTreeMap::new(),
            held: Vec::new(),
            serial: 0,
            filter: None,
            nat: None,
            traffic: None,
            next_traffic: now,
            most_inbound: 0,
        }
    }

    pub fn lossy(mut self, loss: f64) -> Self {
        self.set_loss(loss);
        self
    }

    pub fn set_loss(&mut self, loss: f64) {
        self.loss = loss;
    }

    pub fn duplicating(mut self, share: f64) -> Self {
        self.duplication = share;
        self
    }

    pub fn reordering(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    pub fn with_traffic(mut self, interval: Duration) -> Self {
        self.traffic = Some(interval);
        self
    }

    /// Both sides know the connection; A initiates.
    pub fn a_initiates(&mut self) {
        let mut b = connection(B);
        b.initiate = false;
        self.add(B, b);
        self.add(A, connection(A));
    }

    pub fn add(&mut self, side: usize, connection: Connection) {
        self.command(side, Command::Add(Box::new(connection)));
    }

    pub fn command(&mut self, side: usize, command: Command) {
        self.sides[side].endpoint.command(self.now, command);
        self.drain(side);
    }

    /// A side's daemon loses everything, and its data plane, which is the kernel's, nothing.
    pub fn restart_daemon(&mut self, side: usize) {
        let seed: [u8; 32] = self.rng.random();
        self.sides[side].endpoint = Endpoint::new(EndpointConfig::default(), seed);
    }

    /// A side loses everything, as after kill -9.
    pub fn restart(&mut self, side: usize) {
        self.restart_daemon(side);
        let unreadable = self.sides[side].plane.unreadable;
        self.sides[side].plane = Plane {
            unreadable,
            ..Plane::default()
        };
        self.sides[side].events.clear();
    }

    /// Hands a side a datagram that the other one has not sent.
    pub fn inject(&mut self, side: usize, payload: &[u8]) {
        let (to, from) = ((ADDRESSES[side], 500), (ADDRESSES[1 - side], 500));
        self.sides[side]
            .endpoint
            .handle_datagram(self.now, to.into(), from.into(), payload);
        self.drain(side);
    }

    fn drain(&mut self, side: usize) {
        loop {
            let mut idle = true;
            while let Some(event) = self.sides[side].endpoint.poll_event() {
                idle = false;
                apply(&mut self.sides[side].plane, &event);
                if std::env::var_os("IKE_TRACE").is_some() {
                    let at = (self.now - self.start).as_millis();
                    eprintln!("{at:>8} {} {}", ["A", "B"][side], brief(&event));
                }
                self.sides[side].events.push(event);
            }
            while let Some(transmit) = self.sides[side].endpoint.poll_transmit() {
                idle = false;
                self.sides[side].sent.push(transmit.clone());
                if transmit.kind == TransmitKind::Ike {
                    self.post(side, transmit);
                }
            }
            if idle {
                break;
            }
        }
        self.most_inbound = self.most_inbound.max(self.sides[side].plane.inbound.len());
    }

    fn post(&mut self, side: usize, mut transmit: Transmit) {
        let fate = self
            .filter
            .as_mut()
            .map_or(Fate::Deliver, |f| f(side, &transmit));
        match fate {
            Fate::Drop => return,
            Fate::Hold => return self.held.push((side, transmit)),
            Fate::Replace(payload) => transmit.payload = payload,
            Fate::Deliver => {}
        }
        if self.loss > 0.0 && self.rng.random_bool(self.loss) {
            return;
        }
        let copies =
            1 + usize::from(self.duplication > 0.0 && self.rng.random_bool(self.duplication));
        for _ in 0..copies {
            self.put_on_wire(side, &transmit);
        }
    }

    fn put_on_wire(&mut self, side: usize, transmit: &Transmit) {
        let mut at = self.now + self.latency;
        if !self.jitter.is_zero() {
            at += self.jitter.mul_f64(self.rng.random());
        }
        let (mut local, mut remote) = (transmit.remote, transmit.local);
        if let Some(nat) = self.nat {
            if side == A {
                remote.set_ip(nat);
                remote.set_port(remote.port() + 20_000);
            } else if local.ip() == nat {
                local.set_ip(ADDRESSES[A]);
                local.set_port(local.port().wrapping_sub(20_000));
            } else {
                return;
            }
        }
        let payload = transmit.payload.clone();
        self.serial += 1;
        let packet = Packet::Ike {
            local,
            remote,
            payload,
        };
        self.wire.insert((at, self.serial), (1 - side, packet));
    }

    /// Sends what a filter has held, in the order in which it was held.
    pub fn release(&mut self) {
        for (side, transmit) in std::mem::take(&mut self.held) {
            self.put_on_wire(side, &transmit);
        }
    }

    /// How many datagrams a filter holds.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Lets one of the held datagrams arrive, without time passing.
    pub fn deliver(&mut self, index: usize) {
        let (side, transmit) = self.held.remove(index);
        let endpoint = &mut self.sides[1 - side].endpoint;
        endpoint.handle_datagram(self.now, transmit.remote, transmit.local, &transmit.payload);
        self.drain(1 - side);
    }

    /// Takes the next thing that happens, if it does so until `limit`.
    fn step(&mut self, limit: Instant) -> bool {
        let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
        let timeouts = self
            .sides
            .iter()
            .filter_map(|s| s.endpoint.poll_timeout())
            .min();
        let traffic = self.traffic.map(|_| self.next_traffic);
        let Some(next) = [arrival, timeouts, traffic].into_iter().flatten().min() else {
            self.now = limit;
            return false;
        };
        if next > limit {
            self.now = limit;
            return false;
        }
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let Some((_, (side, packet))) = self.wire.pop_first() else {
                return false;
            };
            match packet {
                Packet::Ike {
                    local,
                    remote,
                    payload,
                    ..
                } => {
                    self.sides[side]
                        .endpoint
                        .handle_datagram(self.now, local, remote, &payload);
                }
                Packet::Esp { spi, key } => self.receive_esp(side, spi, &key),
            }
            self.drain(side);
        } else if traffic == Some(next) {
            self.next_traffic = self.now + self.traffic.unwrap_or_default();
            self.send_esp(A);
            self.send_esp(B);
        } else {
            for side in [A, B] {
                if self.sides[side]
                    .endpoint
                    .poll_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    self.sides[side].endpoint.handle_timeout(self.now);
                    self.drain(side);
                    let after = self.sides[side].endpoint.poll_timeout();
                    assert!(
                        after.is_none_or(|at| at > self.now),
                        "a timeout does not go away"
                    );
                }
            }
        }
        true
    }

    /// Sends an ESP packet on whatever the side sends on now.
    pub fn send_esp(&mut self, side: usize) {
        let Some(sa) = &self.sides[side].plane.outbound else {
            self.sides[side].plane.nothing_to_send_on += 1;
            return;
        };
        let packet = Packet::Esp {
            spi: sa.spi_out,
            key: sa.keys_out.keymat.clone(),
        };
        self.serial += 1;
        self.wire
            .insert((self.now + self.latency, self.serial), (1 - side, packet));
    }

    fn receive_esp(&mut self, side: usize, spi: u32, key: &Secret) {
        let plane = &mut self.sides[side].plane;
        if plane
            .inbound
            .get(&spi)
            .is_none_or(|sa| sa.keys_in.keymat != *key)
        {
            plane.unreadable += 1;
            if std::env::var_os("IKE_TRACE").is_some() {
                let at = (self.now - self.start).as_millis();
                eprintln!("{at:>8} {} cannot read {spi:08x}", ["A", "B"][side]);
            }
            return;
        }
        plane.received += 1;
        if plane.seen.insert(spi) {
            self.sides[side]
                .endpoint
                .command(self.now, Command::InboundTraffic { spi });
        }
    }

    pub fn run_for(&mut self, duration: Duration) {
        let limit = self.now + duration;
        while self.step(limit) {}
    }

    /// Runs until a condition holds; panics if it does not within `limit`.
    #[track_caller]
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let (start, limit) = (self.now, self.now + limit);
        while !condition(self) {
            assert!(
                self.step(limit),
                "it did not come to this: {:#?}",
                self.status()
            );
        }
        self.now - start
    }

    pub fn is_up(&self) -> bool {
        self.sides.iter().all(|s| s.plane.outbound.is_some())
    }

    pub fn phase(&self, side: usize) -> Phase {
        self.sides[side].endpoint.status(self.now).connections[0].phase
    }

    pub fn status(&self) -> [ike::Status; 2] {
        [
            self.sides[A].endpoint.status(self.now),
            self.sides[B].endpoint.status(self.now),
        ]
    }

    /// Both sides have one IKE SA and one child, and these fit each other.
    #[track_caller]
    pub fn assert_one_working_child(&self) {
        let status = self.status();
        let of = |side: usize| {
            let c = &status[side].connections[0];
            assert_eq!(c.ike_sas.len(), 1, "IKE SAs of side {side}: {c:#?}");
            let children = &c.ike_sas[0].children;
            assert_eq!(children.len(), 1, "children of side {side}: {c:#?}");
            (c.ike_sas[0].id, children[0].spi_in, children[0].spi_out)
        };
        let ((a_ike, a_in, a_out), (b_ike, b_in, b_out)) = (of(A), of(B));
        assert_eq!(a_ike, b_ike);
        assert_eq!((a_in, a_out), (b_out, b_in));
        for (x, y) in [(A, B), (B, A)] {
            let Some(out) = &self.sides[x].plane.outbound else {
                panic!("nothing to send on")
            };
            assert_eq!(
                self.sides[x].plane.inbound.len(),
                1,
                "side {x} has only the living SA"
            );
            let inbound = &self.sides[y].plane.inbound[&out.spi_out];
            assert_eq!(inbound.keys_in, out.keys_out);
            assert_eq!(inbound.suite, out.suite);
            assert_eq!(inbound.esn, out.esn);
        }
    }

    pub fn failures(&self, side: usize) -> Vec<String> {
        self.sides[side]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Failure(diagnosis) => Some(diagnosis.to_string()),
                _ => None,
            })
            .collect()
    }

    pub fn count(&self, side: usize, what: impl Fn(&Event) -> bool) -> usize {
        self.sides[side].events.iter().filter(|e| what(e)).count()
    }

    pub fn forget_events(&mut self) {
        for side in &mut self.sides {
            side.events.clear();
            side.sent.clear();
        }
    }
}

/// An event on one line, for reading a failed run (set IKE_TRACE).
fn brief(event: &Event) -> String {
    match event {
        Event::InboundAdd(sa) => format!("InboundAdd {:08x} (out {:08x})", sa.spi_in, sa.spi_out),
        Event::OutboundUse(sa) => format!("OutboundUse {:08x} of {:08x}", sa.spi_out, sa.spi_in),
        Event::InboundRemove { spi_in, .. } => format!("InboundRemove {spi_in:08x}"),
        Event::ChildRekeyed {
            old_spi_in,
            new_spi_in,
            ..
        } => {
            format!("ChildRekeyed {old_spi_in:08x} -> {new_spi_in:08x}")
        }
        other => format!("{other:?}"),
    }
}

/// What a data plane does on an event.
fn apply(plane: &mut Plane, event: &Event) {
    match event {
        Event::InboundAdd(sa) => {
            let before = plane.inbound.insert(sa.spi_in, (**sa).clone());
            assert!(before.is_none(), "an inbound SPI is used twice");
        }
        Event::OutboundUse(sa) => {
            assert!(
                plane.inbound.contains_key(&sa.spi_in),
                "outbound without its twin"
            );
            plane.outbound = Some((**sa).clone());
        }
        Event::InboundRemove { spi_in, .. } => {
            assert!(
                plane.inbound.remove(spi_in).is_some(),
                "removal of what is not there"
            );
            plane.seen.remove(spi_in);
        }
        Event::OutboundClear { .. } => plane.outbound = None,
        _ => {}
    }
}
