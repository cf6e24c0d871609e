//! A peer that says exactly what a test wants it to say, byte by byte, to a real endpoint. It initiates
//! the IKE SA; after that either side may ask.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crypto::ikev2::{self, SkKeys};
use crypto::{Group, KeyPair, Sealer, Suite};
use ike::wire::sk::{DirectionSecrets, Protection};
use ike::wire::{
    Delete, Exchange, Flags, Header, Identity, IkeSpi, KeyExchange, Message, Notify, NotifyType,
    Payload, Proposal, Protocol, TrafficSelector, Transform, TransformType,
};
use ike::{
    Command, Connection, ConnectionId, Encryption, Endpoint, EndpointConfig, EsnPolicy,
    EspProposal, Event, IkeProposal, Integrity, Prf, Secret,
};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

pub const ID: ConnectionId = ConnectionId(1);
pub const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
pub const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PSK: &[u8] = b"a shared secret of some length";
const PRF: Prf = Prf::HmacSha256;

/// A payload as bytes: type, the byte with the critical bit, body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub kind: u8,
    pub flags: u8,
    pub body: Vec<u8>,
}

impl From<Payload> for Raw {
    fn from(payload: Payload) -> Self {
        let header = header(IkeSpi::ZERO, IkeSpi::ZERO, Exchange::IkeSaInit, false, 0);
        let bytes = Message {
            header,
            payloads: vec![payload],
        }
        .encode();
        Self {
            kind: bytes[16],
            flags: 0,
            body: bytes[32..].to_vec(),
        }
    }
}

fn header(spi_i: IkeSpi, spi_r: IkeSpi, exchange: Exchange, response: bool, id: u32) -> Header {
    Header {
        spi_i,
        spi_r,
        next_payload: 0,
        exchange,
        flags: Flags {
            initiator: true,
            response,
        },
        message_id: id,
    }
}

/// A chain of payloads, and the type of its first one.
fn chain(payloads: &[Raw]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (at, payload) in payloads.iter().enumerate() {
        bytes.push(payloads.get(at + 1).map_or(0, |next| next.kind));
        bytes.push(payload.flags);
        let length = u16::try_from(payload.body.len() + 4).expect("a short payload");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&payload.body);
    }
    (payloads.first().map_or(0, |first| first.kind), bytes)
}

/// A datagram with this body.
fn datagram(header: Header, first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Message {
        header,
        payloads: Vec::new(),
    }
    .encode();
    bytes[16] = first;
    let length = u32::try_from(bytes.len() + body.len()).expect("a short message");
    bytes[24..28].copy_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// What the peer has after IKE_SA_INIT.
struct Keys {
    sk: SkKeys,
    sealer: Sealer,
    opener: Protection,
    nonces: (Vec<u8>, Vec<u8>),
    request: Vec<u8>,
}

/// The scripted peer, and the endpoint before it.
pub struct Peer {
    pub endpoint: Endpoint,
    pub now: Instant,
    pub events: Vec<Event>,
    /// What the endpoint has sent and the test has not taken.
    pub inbox: Vec<Vec<u8>>,
    pub spis: (IkeSpi, IkeSpi),
    /// Header flags and version to send instead of the right ones.
    pub odd_flags: u8,
    pub version: u8,
    /// Where its datagrams come from.
    pub from: SocketAddr,
    /// Of IKE_SA_INIT, and the same when it is sent again with a cookie.
    key: Rc<KeyPair>,
    nonce: Vec<u8>,
    keys: Option<Keys>,
    next: u32,
    rng: StdRng,
    /// The endpoint's inbound SAs, and the SPI on which it sends.
    pub inbound: Vec<u32>,
    pub outbound: Option<u32>,
}

/// The endpoint's side of the connection.
pub fn connection() -> Connection {
    let mut c = Connection::new(ID, "odd", OURS, THEIRS, Secret::from_slice(PSK));
    c.ike = vec![IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: PRF,
        groups: vec![Group::Curve25519, Group::Ecp256],
    }];
    c.esp = vec![EspProposal {
        encryption: Encryption::AesGcm256,
        integrity: None,
        groups: Vec::new(),
        esn: EsnPolicy::Never,
    }];
    c.pfs.ike_group = false;
    c.initiate = false;
    c
}

/// The proposal for an IKE SA.
pub fn ike_proposal(number: u8, spi: Vec<u8>, group: Group) -> Proposal {
    let (id, bits) = Encryption::AesCbc256.transform();
    Proposal {
        number,
        protocol: Protocol::Ike,
        spi,
        transforms: vec![
            Transform::with_key(TransformType::Encryption, id, bits),
            Transform::new(TransformType::Prf, PRF.id()),
            Transform::new(TransformType::Integrity, Integrity::HmacSha256_128.id()),
            Transform::new(TransformType::Group, group.id()),
        ],
    }
}

/// The proposal for a CHILD_SA.
pub fn esp_proposal(number: u8, spi: u32) -> Proposal {
    let (id, bits) = Encryption::AesGcm256.transform();
    Proposal {
        number,
        protocol: Protocol::Esp,
        spi: spi.to_be_bytes().to_vec(),
        transforms: vec![
            Transform::with_key(TransformType::Encryption, id, bits),
            Transform::new(TransformType::Esn, 0),
        ],
    }
}

/// What an answer is about.
pub fn kinds(payloads: &[Payload]) -> Vec<NotifyType> {
    let notifies = payloads.iter().filter_map(|payload| match payload {
        Payload::Notify(notify) => Some(notify.kind),
        _ => None,
    });
    notifies.collect()
}

impl Peer {
    pub fn new() -> Self {
        Self::with(connection())
    }

    pub fn with(connection: Connection) -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let mut peer = Self {
            endpoint: Endpoint::new(EndpointConfig::default(), [3; 32]),
            now: Instant::now(),
            events: Vec::new(),
            inbox: Vec::new(),
            spis: (IkeSpi(rng.random()), IkeSpi::ZERO),
            odd_flags: 0,
            version: 0x20,
            from: (THEIRS, 500).into(),
            key: Rc::new(Group::Curve25519.generate(&mut rng)),
            nonce: rng.random::<[u8; 32]>().to_vec(),
            keys: None,
            next: 0,
            rng,
            inbound: Vec::new(),
            outbound: None,
        };
        peer.command(Command::Add(Box::new(connection)));
        peer
    }

    /// An established IKE SA with a child whose SPI at the peer is `spi`.
    pub fn up(spi: u32) -> Self {
        let mut peer = Self::new();
        peer.init(|_| {});
        let answer = peer.auth(spi, |_| {});
        assert!(
            answer.iter().any(|p| matches!(p, Payload::Sa(_))),
            "{answer:?}"
        );
        peer
    }

    pub fn command(&mut self, command: Command) {
        self.endpoint.command(self.now, command);
        self.drain();
    }

    /// Lets time pass without a word from the peer.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Hands the endpoint a datagram, and takes what it has to say.
    pub fn send(&mut self, bytes: &[u8]) {
        let to = (OURS, 500).into();
        self.endpoint
            .handle_datagram(self.now, to, self.from, bytes);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match &event {
                Event::InboundAdd(sa) => self.inbound.push(sa.spi_in),
                Event::InboundRemove { spi_in, .. } => self.inbound.retain(|spi| spi != spi_in),
                Event::OutboundUse(sa) => self.outbound = Some(sa.spi_out),
                Event::OutboundClear { .. } => self.outbound = None,
                _ => {}
            }
            self.events.push(event);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.inbox.push(transmit.payload);
        }
    }

    pub fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }

    /// IKE_SA_INIT with payloads that the test may change, as a datagram.
    pub fn init_request(&self, change: impl FnOnce(&mut Vec<Raw>)) -> Vec<u8> {
        let mut payloads: Vec<Raw> = vec![
            Payload::Sa(vec![ike_proposal(1, Vec::new(), Group::Curve25519)]).into(),
            Payload::Ke(KeyExchange {
                group: Group::Curve25519.id(),
                data: self.key.public().to_vec(),
            })
            .into(),
            Payload::Nonce(self.nonce.clone()).into(),
        ];
        change(&mut payloads);
        let (first, body) = chain(&payloads);
        let header = header(self.spis.0, IkeSpi::ZERO, Exchange::IkeSaInit, false, 0);
        let mut request = datagram(header, first, &body);
        request[17] = self.version;
        request[19] |= self.odd_flags;
        request
    }

    /// Sends that, and returns the answer's payloads.
    pub fn init(&mut self, change: impl FnOnce(&mut Vec<Raw>)) -> Vec<Payload> {
        let request = self.init_request(change);
        self.send(&request);
        let Some(answer) = self.inbox.pop() else {
            return Vec::new();
        };
        let answer = Message::decode(&answer).expect("an answer that can be read");
        self.derive(&answer, request);
        answer.payloads
    }

    fn derive(&mut self, answer: &Message, request: Vec<u8>) {
        let mut theirs = None;
        let mut public = None;
        for payload in &answer.payloads {
            match payload {
                Payload::Nonce(nonce) => theirs = Some(nonce.clone()),
                Payload::Ke(ke) => public = Some(ke.data.clone()),
                _ => {}
            }
        }
        let (Some(theirs), Some(public)) = (theirs, public) else {
            return;
        };
        self.spis.1 = answer.header.spi_r;
        let nonce = self.nonce.clone();
        let shared = self.key.agree(&public).expect("a public value");
        let (i, r) = (self.spis.0.0, self.spis.1.0);
        let suite = suite();
        let sk = ikev2::initial_keys(PRF, suite, &nonce, &theirs, &shared, i, r).expect("keys");
        let initiator = DirectionSecrets {
            encryption: &sk.ei,
            integrity: &sk.ai,
        };
        let responder = DirectionSecrets {
            encryption: &sk.er,
            integrity: &sk.ar,
        };
        let sealer = Sealer::new(suite, &sk.ei, &sk.ai).expect("keys that fit");
        let opener = Protection::new(suite, initiator, responder).expect("keys that fit");
        self.next = 1;
        self.keys = Some(Keys {
            sk,
            sealer,
            opener,
            nonces: (nonce, theirs),
            request,
        });
    }

    /// IKE_AUTH with payloads that the test may change. Returns the answer's payloads.
    pub fn auth(&mut self, spi: u32, change: impl FnOnce(&mut Vec<Raw>)) -> Vec<Payload> {
        let keys = self.keys.as_ref().expect("keys");
        let identity = Identity::from(THEIRS);
        let body = Raw::from(Payload::IdI(identity.clone())).body;
        let maced = PRF.compute(keys.sk.pi.expose(), &[&body]);
        let signed: [&[u8]; 3] = [&keys.request, &keys.nonces.1, maced.expose()];
        let data = ikev2::psk_auth(PRF, &Secret::from_slice(PSK), &signed);
        let any = || vec![TrafficSelector::any_v4()];
        let mut payloads: Vec<Raw> = [
            Payload::IdI(identity),
            Payload::Auth {
                method: 2,
                data: data.expose().to_vec(),
            },
            Payload::Sa(vec![esp_proposal(1, spi)]),
            Payload::TsI(any()),
            Payload::TsR(any()),
        ]
        .map(Raw::from)
        .to_vec();
        change(&mut payloads);
        self.ask(Exchange::IkeAuth, &payloads)
    }

    /// Sends a request and returns the answer's payloads; none if there is no answer.
    pub fn ask(&mut self, exchange: Exchange, payloads: &[Raw]) -> Vec<Payload> {
        let request = self.request(exchange, payloads);
        self.send(&request);
        let id = self.next - 1;
        let answer = self.inbox.iter().position(|bytes| {
            Header::decode(bytes).is_ok_and(|(h, _)| h.flags.response && h.message_id == id)
        });
        answer.map_or_else(Vec::new, |at| {
            let bytes = self.inbox.remove(at);
            self.open(&bytes).1
        })
    }

    /// The next request as a datagram, not sent.
    pub fn request(&mut self, exchange: Exchange, payloads: &[Raw]) -> Vec<u8> {
        self.next += 1;
        self.seal(exchange, false, self.next - 1, payloads)
    }

    /// Answers a request of the endpoint.
    pub fn answer(&mut self, to: Header, payloads: &[Raw]) {
        let bytes = self.seal(to.exchange, true, to.message_id, payloads);
        self.send(&bytes);
    }

    /// The first request of the endpoint that waits in the inbox.
    pub fn take_request(&mut self) -> Option<(Header, Vec<Payload>)> {
        let at = self.inbox.iter().position(|bytes| {
            Header::decode(bytes).is_ok_and(|(header, _)| !header.flags.response)
        })?;
        let bytes = self.inbox.remove(at);
        Some(self.open(&bytes))
    }

    fn seal(&mut self, exchange: Exchange, response: bool, id: u32, payloads: &[Raw]) -> Vec<u8> {
        let suite = suite();
        let (first, plain) = chain(payloads);
        let padded = (plain.len() + 1).next_multiple_of(suite.block_len());
        let mut body = plain.clone();
        body.resize(padded - 1, 0);
        body.push(u8::try_from(padded - plain.len() - 1).expect("a short padding"));
        let mut iv = vec![0; suite.iv_len()];
        self.rng.fill_bytes(&mut iv);
        let mut icv = vec![0; suite.icv_len()];
        let length = 4 + iv.len() + body.len() + icv.len();
        let mut sk = vec![first, 0];
        sk.extend_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
        let header = header(self.spis.0, self.spis.1, exchange, response, id);
        let mut message = datagram(header, 46, &sk);
        let total = u32::try_from(28 + length).expect("short");
        message[24..28].copy_from_slice(&total.to_be_bytes());
        message[17] = self.version;
        message[19] |= self.odd_flags;
        let keys = self.keys.as_ref().expect("keys");
        let sealed = keys.sealer.seal(&message, &iv, &mut body, &[], &mut icv);
        sealed.expect("a message that can be sealed");
        message.extend([iv, body, icv].concat());
        message
    }

    /// Reads what the endpoint has sent.
    pub fn open(&self, bytes: &[u8]) -> (Header, Vec<Payload>) {
        let keys = self.keys.as_ref().expect("keys");
        let plain = keys.opener.open(bytes).expect("a message for these keys");
        let bytes = datagram(plain.header, plain.first, &plain.body);
        let message = Message::decode(&bytes).expect("payloads that can be read");
        (plain.header, message.payloads)
    }

    /// How many children the endpoint has.
    pub fn children(&self) -> usize {
        let status = self.endpoint.status(self.now);
        let ike_sas = &status.connections[0].ike_sas;
        ike_sas.iter().map(|ike| ike.children.len()).sum()
    }

    pub fn ike_sas(&self) -> usize {
        self.endpoint.status(self.now).connections[0].ike_sas.len()
    }
}

fn suite() -> Suite {
    let integrity = Some(Integrity::HmacSha256_128);
    Suite::new(Encryption::AesCbc256, integrity).expect("a suite")
}

/// A notification without SPI and data.
pub fn notify(kind: NotifyType) -> Raw {
    Payload::Notify(Notify {
        protocol: 0,
        spi: Vec::new(),
        kind,
        data: Vec::new(),
    })
    .into()
}

/// A notification with data.
pub fn notify_with(kind: NotifyType, data: Vec<u8>) -> Raw {
    Payload::Notify(Notify::with_data(kind, data)).into()
}

/// The deletion of a child with this SPI at the peer.
pub fn delete_child(spi: u32) -> Raw {
    Payload::Delete(Delete {
        protocol: Protocol::Esp,
        spis: vec![spi],
    })
    .into()
}

/// The payloads that ask for a child, or grant one; `rekeyed` is the peer's SPI of the old one.
pub fn child_payloads(spi: u32, nonce: Vec<u8>, rekeyed: Option<u32>) -> Vec<Raw> {
    let any = || vec![TrafficSelector::any_v4()];
    let mut payloads = Vec::new();
    payloads.extend(rekeyed.map(|spi| {
        Payload::Notify(Notify {
            protocol: 3,
            spi: spi.to_be_bytes().to_vec(),
            kind: NotifyType::REKEY_SA,
            data: Vec::new(),
        })
    }));
    payloads.extend([
        Payload::Sa(vec![esp_proposal(1, spi)]),
        Payload::Nonce(nonce),
        Payload::TsI(any()),
        Payload::TsR(any()),
    ]);
    payloads.into_iter().map(Raw::from).collect()
}
