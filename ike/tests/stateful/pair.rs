//! Two endpoints in memory, what they tell their data planes, and the datagrams between them. What an endpoint says is checked as it
//! says it; what the two have come to is checked at the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ike::{
    ChildSa, Command, Connection, ConnectionId, Encryption, Endpoint, EndpointConfig, EsnPolicy,
    EspProposal, Event, Group, IkeProposal, IkeSaId, Integrity, Note, Prf, Secret, Transmit,
    TransmitKind,
};

use super::change::Lore;

pub const ID: ConnectionId = ConnectionId(1);

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
];

/// Inbound SAs of one side at once.
const MOST_INBOUND: usize = 24;

/// IKE SAs of one side at once, in whatever state.
const MOST_SAS: usize = 48;

/// What one input may make an endpoint say.
const MOST_SAID: usize = 64;

/// Datagrams under way; the oldest is lost then.
const MOST_FLIGHTS: usize = 64;

/// Datagrams that may pass while everything settles.
const MOST_SETTLING: usize = 60_000;

/// When everything has to have settled, at the latest: a few lifetimes of a child.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// How long it goes on even when all is well: what was agreed on wrongly shows at the next rekeying.
const QUIET: Duration = Duration::from_secs(2 * 3600);

/// How the two are set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub both_initiate: bool,
    pub childless: bool,
    pub wrong_guess: bool,
    pub fragments: bool,
}

/// What an endpoint has told its data plane.
#[derive(Default)]
struct Plane {
    inbound: BTreeMap<u32, ChildSa>,
    outbound: Option<ChildSa>,
    heard: BTreeSet<u32>,
    ever: BTreeSet<u32>,
    up: bool,
}

pub struct Side {
    pub endpoint: Endpoint,
    plane: Plane,
}

#[derive(Clone)]
pub struct Flight {
    pub from: usize,
    pub transmit: Transmit,
}

pub struct Pair {
    pub now: Instant,
    pub sides: [Side; 2],
    pub net: VecDeque<Flight>,
    pub lore: Lore,
    /// What has happened, in words that are few: to tell one input from another.
    pub seen: BTreeSet<String>,
    trace: bool,
}

type Checked<T = ()> = Result<T, String>;

impl Pair {
    pub fn new(setup: Setup, trace: bool) -> Checked<Self> {
        let now = Instant::now();
        let side = |seed: u8| Side {
            endpoint: Endpoint::new(EndpointConfig::default(), [seed; 32]),
            plane: Plane::default(),
        };
        let mut pair = Self {
            now,
            sides: [side(1), side(2)],
            net: VecDeque::new(),
            lore: Lore::default(),
            seen: BTreeSet::new(),
            trace,
        };
        for side in [1, 0] {
            let command = Command::Add(Box::new(connection(setup, side)));
            pair.command(side, command)?;
        }
        Ok(pair)
    }

    pub fn say(&self, words: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", words());
        }
    }

    pub fn command(&mut self, side: usize, command: Command) -> Checked {
        let now = self.now;
        self.sides[side].endpoint.command(now, command);
        self.drain(side)
    }

    /// The inbound SPIs that a side has now.
    pub fn inbound(&self, side: usize) -> Vec<u32> {
        self.sides[side].plane.inbound.keys().copied().collect()
    }

    /// Hands a datagram to the side that it is for.
    pub fn deliver(&mut self, flight: &Flight) -> Checked {
        let to = 1 - flight.from;
        let Transmit { local, remote, .. } = flight.transmit;
        let now = self.now;
        let Side { endpoint, .. } = &mut self.sides[to];
        if let Some(plain) = endpoint.reveal(&flight.transmit.payload) {
            self.lore.learn(&plain);
        }
        endpoint.handle_datagram(now, remote, local, &flight.transmit.payload);
        self.drain(to)
    }

    /// Hands over a datagram that somebody without keys has made. No SA may end by it.
    pub fn deliver_forged(&mut self, flight: &Flight) -> Checked {
        let to = 1 - flight.from;
        // What is due anyhow is nobody's doing.
        self.pass(Duration::ZERO)?;
        let before = self.standing(to);
        self.deliver(flight)?;
        let after = self.standing(to);
        if before.is_some() && before != after {
            return Err(format!(
                "what nobody has signed ends an SA: {before:x?} are {after:x?}"
            ));
        }
        Ok(())
    }

    /// The child that a side sends on, by its own SPI, and the IKE SA that it belongs to. One that the side itself has begun to delete may
    /// well end by a word that nobody has signed.
    fn standing(&self, side: usize) -> Option<(IkeSaId, u32)> {
        let status = self.sides[side].endpoint.status(self.now);
        let mut ike_sas = status.connections.iter().flat_map(|c| &c.ike_sas);
        ike_sas.find_map(|ike| {
            let sent_on = ike.children.iter().find(|child| child.outbound)?;
            Some((ike.id, sent_on.spi_in))
        })
    }

    /// Lets time pass until the next timer of a side, and that fire.
    pub fn fire(&mut self, side: usize) -> Checked {
        let Some(at) = self.sides[side].endpoint.poll_timeout() else {
            return Ok(());
        };
        self.now = self.now.max(at);
        let now = self.now;
        self.sides[side].endpoint.handle_timeout(now);
        self.drain(side)?;
        let next = self.sides[side].endpoint.poll_timeout();
        match next.is_some_and(|next| next <= now) {
            true => Err(format!("a timer of side {side} does not go away")),
            false => Ok(()),
        }
    }

    /// The side whose timer is the next.
    pub fn next_timer(&self) -> Option<(Instant, usize)> {
        let of = |side: usize| Some((self.sides[side].endpoint.poll_timeout()?, side));
        [of(0), of(1)].into_iter().flatten().min()
    }

    /// Lets so much time pass, and the timers fire that are due.
    pub fn pass(&mut self, time: Duration) -> Checked {
        let until = self.now + time;
        for _ in 0..MOST_SAID {
            match self.next_timer() {
                Some((at, side)) if at <= until => self.fire(side)?,
                _ => break,
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// An ESP packet from a side, if the other one can read it.
    pub fn traffic(&mut self, from: usize) -> Checked {
        let to = 1 - from;
        let Some(spi) = self.sides[from].plane.outbound.as_ref().and_then(|sent| {
            let taken = self.sides[to].plane.inbound.get(&sent.spi_out)?;
            (taken.keys_in == sent.keys_out).then_some(sent.spi_out)
        }) else {
            return Ok(());
        };
        self.command(to, Command::AnyTraffic(ID))?;
        if self.sides[to].plane.heard.insert(spi) {
            self.command(to, Command::InboundTraffic { spi })?;
        }
        Ok(())
    }

    /// Takes what an endpoint has to say, and checks it.
    fn drain(&mut self, side: usize) -> Checked {
        let mut said = 0;
        loop {
            let Side { endpoint, plane } = &mut self.sides[side];
            if let Some(event) = endpoint.poll_event() {
                if self.trace {
                    eprintln!("    {side} {}", brief(&event));
                }
                self.seen.insert(words(&event));
                plane
                    .take(event, &mut self.lore)
                    .map_err(|why| format!("side {side}: {why}"))?;
            } else if let Some(transmit) = endpoint.poll_transmit() {
                if transmit.kind == TransmitKind::Ike {
                    if self.net.len() == MOST_FLIGHTS {
                        self.net.pop_front();
                    }
                    self.net.push_back(Flight {
                        from: side,
                        transmit,
                    });
                }
            } else {
                break;
            }
            said += 1;
        }
        let Side { endpoint, plane } = &self.sides[side];
        let sizes = [plane.inbound.len(), endpoint.size(), said];
        let most = [MOST_INBOUND, MOST_SAS, MOST_SAID];
        if sizes.iter().zip(most).any(|(size, most)| *size > most) {
            return Err(format!(
                "side {side} grows: inbound SAs, IKE SAs and what it says at once are {sizes:?}, at most {most:?}"
            ));
        }
        Ok(())
    }

    /// No more mischief: every datagram arrives, every timer fires, packets pass. One child has to be left on each side, the same.
    pub fn settle(&mut self) -> Checked {
        self.command(0, Command::Up(ID))?;
        let begun = self.now;
        let mut passed = 0;
        loop {
            while let Some(flight) = self.net.pop_front() {
                self.deliver(&flight)?;
                passed += 1;
                if passed > MOST_SETTLING {
                    return Err("the two do not cease to talk".to_owned());
                }
            }
            for side in [0, 1] {
                self.traffic(side)?;
            }
            if !self.net.is_empty() {
                continue;
            }
            let time = self.now - begun;
            if time > QUIET {
                match self.settled() {
                    Ok(()) => return Ok(()),
                    Err(why) if time > PATIENCE => {
                        return Err(format!("it does not settle: {why}"));
                    }
                    Err(_) => {}
                }
            }
            let Some((_, side)) = self.next_timer() else {
                return self
                    .settled()
                    .map_err(|why| format!("nobody waits for anything: {why}"));
            };
            self.fire(side)?;
        }
    }

    fn settled(&self) -> Checked {
        let status = [0, 1].map(|side| self.sides[side].endpoint.status(self.now));
        let mut children = Vec::new();
        for (side, status) in status.iter().enumerate() {
            let ike_sas: Vec<_> = status.connections.iter().flat_map(|c| &c.ike_sas).collect();
            let [ike] = ike_sas.as_slice() else {
                return Err(format!("side {side} has {} IKE SAs", ike_sas.len()));
            };
            let [child] = ike.children.as_slice() else {
                return Err(format!("side {side} has {} children", ike.children.len()));
            };
            children.push((ike.id, child.spi_in, child.spi_out));
        }
        let [a, b] = [children[0], children[1]];
        if (a.0, a.1, a.2) != (b.0, b.2, b.1) {
            return Err(format!("the sides have different SAs: {a:x?} and {b:x?}"));
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let sent = self.sides[from].plane.outbound.as_ref();
            let taken = sent.and_then(|sa| self.sides[to].plane.inbound.get(&sa.spi_out));
            if sent.map(|sa| &sa.keys_out) != taken.map(|sa| &sa.keys_in) || sent.is_none() {
                return Err(format!("side {to} cannot read what side {from} sends"));
            }
            if self.sides[from].plane.inbound.len() != 1 {
                return Err(format!("side {from} keeps SAs that nothing replaces"));
            }
        }
        Ok(())
    }
}

impl Plane {
    fn take(&mut self, event: Event, lore: &mut Lore) -> Checked {
        match event {
            Event::InboundAdd(sa) => {
                if !self.ever.insert(sa.spi_in) {
                    return Err("an inbound SPI is used for the second time".to_owned());
                }
                lore.spis.extend([sa.spi_in, sa.spi_out]);
                self.inbound.insert(sa.spi_in, *sa);
            }
            Event::OutboundUse(sa) => {
                if !self.inbound.contains_key(&sa.spi_in) {
                    return Err("sends on an SA whose twin is not there".to_owned());
                }
                self.outbound = Some(*sa);
            }
            Event::InboundRemove { spi_in, .. } => {
                if self.inbound.remove(&spi_in).is_none() {
                    return Err("removes an SA that is not there".to_owned());
                }
                let sends = self.outbound.as_ref().map(|sa| sa.spi_in);
                if sends == Some(spi_in) {
                    return Err("removes the SA whose twin it sends on".to_owned());
                }
            }
            Event::OutboundClear { .. } => self.outbound = None,
            Event::TunnelUp { .. } | Event::TunnelDown { .. } => {
                let up = matches!(event, Event::TunnelUp { .. });
                if self.up == up {
                    return Err(format!(
                        "says twice that the tunnel is up or down: {event:?}"
                    ));
                }
                self.up = up;
            }
            _ => {}
        }
        Ok(())
    }
}

/// An event on one line.
fn brief(event: &Event) -> String {
    match event {
        Event::InboundAdd(sa) => format!("InboundAdd {:08x} (out {:08x})", sa.spi_in, sa.spi_out),
        Event::OutboundUse(sa) => format!("OutboundUse {:08x} of {:08x}", sa.spi_out, sa.spi_in),
        other => format!("{other:?}"),
    }
}

/// What kind of event it is.
fn words(event: &Event) -> String {
    match event {
        Event::TunnelDown { reason, .. } | Event::IkeDown { reason, .. } => {
            format!("{} {}", name(event), name(reason))
        }
        Event::Note(Note::Collision { ours_stays, .. }) => format!("Collision {ours_stays}"),
        Event::Note(note) => name(note),
        Event::Failure(failure) => format!("Failure {}", name(&failure.cause)),
        other => name(other),
    }
}

/// The name of a variant.
fn name(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// The connection as one side has it: quick algorithms.
fn connection(setup: Setup, side: usize) -> Connection {
    let psk = Secret::from_slice(b"a shared secret of some length");
    let mut c = Connection::new(ID, "t", ADDRESSES[side], ADDRESSES[1 - side], psk);
    let guesses = match (setup.wrong_guess, side) {
        (true, 0) => vec![Group::Ecp256, Group::Curve25519],
        _ => vec![Group::Curve25519],
    };
    c.ike = vec![IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha256,
        groups: vec![Group::Curve25519],
        kems: Vec::new(),
    }];
    c.esp = vec![EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: guesses,
        esn: EsnPolicy::Either,
    }];
    c.initiate = side == 0 || setup.both_initiate;
    c.childless = setup.childless;
    if setup.fragments {
        c.fragment_size = 200;
    }
    c
}
