//! A storm of handshakes with a slow group, and how long another tunnel waits for a sign of life meanwhile.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ike::wire::{
    Exchange, Flags, Header, IkeSpi, KeyExchange, Message, Notify, NotifyType, Payload, Proposal,
    Protocol,
};
use ike::{
    Command, ConnectionId, Endpoint, EndpointConfig, Event, Group, Liveness, Narrowing,
    Retransmission, Transmit,
};
use lab::OrFail as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::generator::connection;
use crate::responders::{RESPONDER, address};

/// How long the storm lasts.
const TIME: Duration = Duration::from_secs(8);

/// How often the other tunnel asks.
const PAUSE: Duration = Duration::from_millis(40);

/// The slowest group there is.
pub(crate) const SLOW: Group = Group::Modp4096;

/// Requests for each second of the storm: more than a processor can answer.
const RATE: u32 = 400;

/// Tunnels of the storm, each from an address of its own; the one after them asks.
pub(crate) const SOURCES: usize = 60;

/// What the storm did.
#[derive(Debug)]
pub(crate) struct Observed {
    /// How long each sign of life took, sorted.
    pub(crate) answers: Vec<Duration>,
    /// Handshakes that were begun, and IKE_SA_INIT responses with a key.
    pub(crate) begun: u64,
    pub(crate) answered: u64,
}

/// Lets the storm loose, with or without what it is for. Call it in the initiators' namespace.
pub(crate) fn run(with_storm: bool) -> Observed {
    let (begun, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let mut asker = Asker::start(SOURCES);
    let storm = with_storm.then(|| {
        let (begun, answered, over) = (begun.clone(), answered.clone(), over.clone());
        thread::spawn(move || rage(&begun, &answered, &over))
    });
    // Cookies are demanded, and the queues are full, before it counts.
    let mut answers = asker.ask_for(TIME / 4);
    answers.clear();
    answers.extend(asker.ask_for(TIME));
    over.store(true, Ordering::Relaxed);
    if let Some(storm) = storm {
        storm.join().or_fail("the storm");
    }
    answers.sort();
    Observed {
        answers,
        begun: begun.load(Ordering::Relaxed),
        answered: answered.load(Ordering::Relaxed),
    }
}

/// A tunnel that is up, and asks the responder for a sign of life again and again.
struct Asker {
    endpoint: Endpoint,
    socket: UdpSocket,
}

impl Asker {
    /// Sets the tunnel up.
    fn start(index: usize) -> Self {
        let socket = UdpSocket::bind((address(index), 500)).or_fail("bind a socket");
        let mut endpoint = Endpoint::new(EndpointConfig::default(), [5; 32]);
        let mut ours = connection(address(index), RESPONDER, Group::Curve25519);
        ours.liveness = Liveness {
            interval: PAUSE,
            give_up: Duration::from_secs(60),
        };
        ours.narrowing = Narrowing::Accept;
        // Nothing is repeated while it is measured: what takes long is seen to take long.
        ours.retransmission = Retransmission {
            first: Duration::from_secs(20),
            cap: Duration::from_secs(20),
        };
        endpoint.command(Instant::now(), Command::Add(Box::new(ours)));
        let mut asker = Self { endpoint, socket };
        let begun = Instant::now();
        while !asker.step(&mut None) {
            assert!(
                begun.elapsed() < TIME,
                "the tunnel that asks does not come up"
            );
        }
        asker
    }

    /// Asks again and again for so long; gives how long each answer took.
    fn ask_for(&mut self, time: Duration) -> Vec<Duration> {
        let until = Instant::now() + time;
        let mut answers = Vec::new();
        let mut asked = None;
        while Instant::now() < until {
            let before: Option<Instant> = asked;
            self.step(&mut asked);
            if let (Some(at), None) = (before, asked) {
                answers.push(at.elapsed());
            }
        }
        // A question without an answer took at least so long.
        answers.extend(asked.map(|at| at.elapsed()));
        answers
    }

    /// Does what is due, and takes one datagram; says whether the tunnel came up. `asked` is when a question went out that has no
    /// answer.
    fn step(&mut self, asked: &mut Option<Instant>) -> bool {
        let now = Instant::now();
        self.endpoint.handle_timeout(now);
        self.flush(asked);
        let due = self.endpoint.poll_timeout().unwrap_or(now + PAUSE);
        let wait = due.saturating_duration_since(now).min(PAUSE);
        let wait = wait.max(Duration::from_micros(200));
        self.socket
            .set_read_timeout(Some(wait))
            .or_fail("set a timeout");
        let mut buffer = [0; 4096];
        if let Ok((len, remote)) = self.socket.recv_from(&mut buffer) {
            let local = self.socket.local_addr().or_fail("our address");
            *asked = None;
            let payload = buffer.get(..len).unwrap_or_default();
            self.endpoint
                .handle_datagram(Instant::now(), local, remote, payload);
        }
        self.flush(asked)
    }

    fn flush(&mut self, asked: &mut Option<Instant>) -> bool {
        let mut is_up = false;
        while let Some(event) = self.endpoint.poll_event() {
            is_up |= matches!(
                event,
                Event::TunnelUp {
                    connection: ConnectionId(0)
                }
            );
        }
        while let Some(Transmit {
            remote, payload, ..
        }) = self.endpoint.poll_transmit()
        {
            asked.get_or_insert_with(Instant::now);
            self.socket.send_to(&payload, remote).or_fail("send");
        }
        is_up
    }
}

/// Begins handshakes that nobody means to finish, with cookies where they are asked for. The public value is always the same, so
/// that the storm itself costs next to nothing.
fn rage(begun: &AtomicU64, answered: &AtomicU64, over: &AtomicBool) {
    let mut rng = StdRng::from_seed([6; 32]);
    let public = SLOW.generate(&mut rng).public().to_vec();
    let sockets: Vec<UdpSocket> = (0..SOURCES)
        .map(|index| {
            let socket = UdpSocket::bind((address(index), 500)).or_fail("bind a socket");
            socket.set_nonblocking(true).or_fail("not to wait");
            socket
        })
        .collect();
    let responder = SocketAddr::from((RESPONDER, 500));
    let offer = offer();
    let started = Instant::now();
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let wanted = started.elapsed().as_secs_f64() * f64::from(RATE);
        while f64::from(sent) < wanted {
            let request = request(IkeSpi(rng.random()), None, &offer, &public);
            if let Some(socket) = sockets.get(sent as usize % SOURCES) {
                // Lost where the way is full, as in any storm.
                let _ = socket.send_to(&request, responder);
            }
            begun.fetch_add(1, Ordering::Relaxed);
            sent += 1;
        }
        for socket in &sockets {
            let mut buffer = [0; 4096];
            while let Ok(len) = socket.recv(&mut buffer) {
                let Ok(message) = Message::decode(buffer.get(..len).unwrap_or_default()) else {
                    continue;
                };
                let has_key = message.payloads.iter().any(|p| matches!(p, Payload::Ke(_)));
                answered.fetch_add(u64::from(has_key), Ordering::Relaxed);
                let cookie = message
                    .payloads
                    .into_iter()
                    .find_map(|payload| match payload {
                        Payload::Notify(notify) if notify.kind == NotifyType::COOKIE => {
                            Some(notify)
                        }
                        _ => None,
                    });
                if let Some(cookie) = cookie {
                    let request = request(message.header.spi_i, Some(cookie), &offer, &public);
                    let _ = socket.send_to(&request, responder);
                }
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What an initiator with the slow group offers.
fn offer() -> Vec<Proposal> {
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [7; 32]);
    let ours = connection(Ipv4Addr::LOCALHOST, RESPONDER, SLOW);
    endpoint.command(Instant::now(), Command::Add(Box::new(ours)));
    let first = endpoint.poll_transmit().or_fail("a first message");
    let message = Message::decode(&first.payload).or_fail("read our own message");
    let offer = message
        .payloads
        .into_iter()
        .find_map(|payload| match payload {
            Payload::Sa(proposals) => Some(proposals),
            _ => None,
        });
    let offer = offer.or_fail("an offer in the first message");
    assert!(offer.iter().all(|one| one.protocol == Protocol::Ike));
    offer
}

fn request(spi_i: IkeSpi, cookie: Option<Notify>, offer: &[Proposal], public: &[u8]) -> Vec<u8> {
    let mut payloads: Vec<Payload> = cookie.map(Payload::Notify).into_iter().collect();
    payloads.extend([
        Payload::Sa(offer.to_vec()),
        Payload::Ke(KeyExchange {
            group: SLOW.id(),
            data: public.to_vec(),
        }),
        // The cookie covers it, so it has to be the same again.
        Payload::Nonce(spi_i.0.repeat(4)),
    ]);
    let flags = Flags {
        initiator: true,
        response: false,
    };
    let header = Header {
        spi_i,
        spi_r: IkeSpi::ZERO,
        next_payload: 0,
        exchange: Exchange::IkeSaInit,
        flags,
        message_id: 0,
    };
    Message { header, payloads }.encode()
}
