//! Two systems, a clock that is only a number, and a link that loses, repeats, delays and reorders.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bfd::{
    Arrival, ControlPacket, Event, Hops, SessionConfig, SessionName, Sessions, State, Terms, view,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The left end, and the right one.
pub(crate) const LEFT: usize = 0;
pub(crate) const RIGHT: usize = 1;

/// What the link does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    /// How many of them it loses, by direction: from the left, from the right.
    pub(crate) loss: [f64; 2],
    /// How many it delivers twice.
    pub(crate) duplication: f64,
    /// How long it takes at most; each takes its own time, so that later ones overtake.
    pub(crate) delay: Duration,
}

pub(crate) struct World {
    began: Instant,
    pub(crate) now: Instant,
    pub(crate) ends: [Sessions; 2],
    pub(crate) link: Link,
    /// In flight: when it arrives, a number for the order, where, what.
    flights: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    order: u64,
    rng: StdRng,
    /// What happened, when, at which end.
    pub(crate) events: Vec<(Duration, usize, Event)>,
    /// What was sent, when, by which end.
    pub(crate) sent: Vec<(Duration, usize, ControlPacket)>,
}

pub(crate) fn name() -> SessionName {
    SessionName::from("peer")
}

pub(crate) fn address(end: usize) -> IpAddr {
    let last = if end == LEFT { 1 } else { 2 };
    Ipv4Addr::new(192, 0, 2, last).into()
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The same interval in both directions.
pub(crate) fn terms(interval: u64, detect_mult: u8) -> Terms {
    Terms {
        desired_min_tx: ms(interval),
        required_min_rx: ms(interval),
        detect_mult,
    }
}

pub(crate) fn config(end: usize, terms: Terms) -> SessionConfig {
    SessionConfig {
        peer: address(1 - end),
        local: Some(address(end)),
        interface: None,
        hops: Hops::Single,
        passive: false,
        terms,
    }
}

impl World {
    /// Two systems that know nothing of each other yet.
    pub(crate) fn empty(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut fresh = || Sessions::new(rng.random());
        let ends = [fresh(), fresh()];
        let began = Instant::now();
        Self {
            began,
            now: began,
            ends,
            link: Link::default(),
            flights: BTreeMap::new(),
            order: 0,
            rng,
            events: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Two systems, each with a session for the other.
    pub(crate) fn new(seed: u64, left: Terms, right: Terms) -> Self {
        let mut world = Self::empty(seed);
        world.set(LEFT, config(LEFT, left));
        world.set(RIGHT, config(RIGHT, right));
        world
    }

    /// The same, run until both are up and have agreed on their intervals.
    pub(crate) fn up(seed: u64, left: Terms, right: Terms) -> Self {
        let mut world = Self::new(seed, left, right);
        world.run(ms(5_000));
        assert_eq!(world.states(), [State::Up, State::Up]);
        world.events.clear();
        world.sent.clear();
        world
    }

    pub(crate) fn set(&mut self, end: usize, config: SessionConfig) {
        self.ends[end]
            .set(self.now, &name(), config)
            .expect("the terms are possible");
        self.drain(end);
    }

    pub(crate) fn remove(&mut self, end: usize) {
        self.ends[end].remove(self.now, &name());
        self.drain(end);
    }

    /// One end's process dies, and another takes its place.
    pub(crate) fn restart(&mut self, end: usize, terms: Terms) {
        self.ends[end] = Sessions::new(self.rng.random());
        self.set(end, config(end, terms));
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let before = self.sent.len();
        loop {
            let sent = self.sent.len() - before;
            assert!(sent < 20_000, "{sent} packets in less than {span:?}");
            let flight = self.flights.keys().next().map(|(at, _)| *at);
            let due = self.ends.iter().filter_map(Sessions::poll_timeout).min();
            match [flight, due].into_iter().flatten().min() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            if let Some(entry) = self.flights.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, octets) = entry.remove();
                self.deliver(to, &octets);
            }
            for end in [LEFT, RIGHT] {
                self.ends[end].handle_timeout(self.now);
                self.drain(end);
            }
        }
        self.now = end;
    }

    pub(crate) fn deliver(&mut self, to: usize, octets: &[u8]) {
        self.deliver_with(to, octets, 255);
    }

    pub(crate) fn deliver_with(&mut self, to: usize, octets: &[u8], ttl: u8) {
        let arrival = Arrival {
            from: address(1 - to),
            to: address(to),
            interface: Some("eth0"),
            ttl,
            hops: Hops::Single,
        };
        self.ends[to].handle_datagram(self.now, &arrival, octets);
        self.drain(to);
    }

    pub(crate) fn states(&self) -> [State; 2] {
        [self.view(LEFT).state, self.view(RIGHT).state]
    }

    pub(crate) fn view(&self, end: usize) -> view::Session {
        self.ends[end]
            .view(self.now, &name())
            .expect("the session exists")
    }

    /// The time since the world began.
    pub(crate) fn age(&self) -> Duration {
        self.now - self.began
    }

    /// The pauses between packets of one end.
    pub(crate) fn gaps(&self, end: usize) -> Vec<Duration> {
        let times: Vec<Duration> = self
            .sent
            .iter()
            .filter(|(_, from, packet)| *from == end && !packet.final_)
            .map(|(at, ..)| *at)
            .collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// What happened at one end.
    pub(crate) fn told(&self, end: usize) -> Vec<&Event> {
        let here = self.events.iter().filter(|(_, at, _)| *at == end);
        here.map(|(.., event)| event).collect()
    }

    /// Whether an end has left Up.
    pub(crate) fn fell(&self, end: usize) -> bool {
        let told = self.told(end);
        told.iter().any(|event| matches!(event, Event::Down { .. }))
    }

    fn drain(&mut self, end: usize) {
        while let Some(transmit) = self.ends[end].poll_transmit() {
            assert_eq!(transmit.peer, address(1 - end));
            let packet = ControlPacket::parse(&transmit.payload).expect("what we send is right");
            self.sent.push((self.now - self.began, end, packet));
            if self.rng.random_bool(self.link.loss[end]) {
                continue;
            }
            let copies = 1 + usize::from(self.rng.random_bool(self.link.duplication));
            for _ in 0..copies {
                let delay = self.link.delay.mul_f64(self.rng.random_range(0.0..=1.0));
                self.order += 1;
                self.flights.insert(
                    (self.now + delay, self.order),
                    (1 - end, transmit.payload.to_vec()),
                );
            }
        }
        while let Some(event) = self.ends[end].poll_event() {
            self.events.push((self.now - self.began, end, event));
        }
    }
}
