//! UDP with whatever source address, and a tape of what passed, to be replayed and altered.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use lab::{Daemon, Ns, OrFail, Program, Scene, addresses as at, eventually_true};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use socket2::{Domain, Protocol, Socket, Type};

/// The pace of a flood: so many datagrams, then a breath, so that the other tests on this machine go on.
const BURST: usize = 64;
const BREATH: Duration = Duration::from_millis(3);

/// A UDP datagram, from anybody who claims to be anybody.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) source: SocketAddrV4,
    pub(crate) target: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    pub(crate) fn to_gateway(source: (Ipv4Addr, u16), port: u16, payload: Vec<u8>) -> Self {
        Self {
            source: SocketAddrV4::new(source.0, source.1),
            target: SocketAddrV4::new(ip(at::GATEWAY), port),
            payload,
        }
    }

    /// With its headers, the checksum left out as RFC 768 permits; the kernel fills in the IP header's own.
    fn packet(&self) -> Vec<u8> {
        let length = 8 + self.payload.len();
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(self.source.ip().octets());
        packet.extend(self.target.ip().octets());
        packet.extend(self.source.port().to_be_bytes());
        packet.extend(self.target.port().to_be_bytes());
        packet.extend((length as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(&self.payload);
        packet
    }

    /// Reads an Ethernet frame.
    fn of_frame(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(14..)?;
        if frame.get(12..14)? != [8, 0] || *packet.get(9)? != 17 {
            return None;
        }
        let header = usize::from(packet.first()? & 15) * 4;
        let address = |from: usize| {
            let octets: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let udp = packet.get(header..)?;
        let number = |from: usize| {
            Some(u16::from_be_bytes(
                udp.get(from..from + 2)?.try_into().ok()?,
            ))
        };
        Some(Self {
            source: SocketAddrV4::new(address(12)?, number(0)?),
            target: SocketAddrV4::new(address(16)?, number(2)?),
            payload: udp.get(8..usize::from(number(4)?))?.to_vec(),
        })
    }
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().or_fail("an address")
}

/// Sends the datagrams out of `ns`, whatever their source address is, at a bounded pace.
pub(crate) fn flood(ns: &Ns, datagrams: Vec<Datagram>) {
    ns.run(move || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))
            .or_fail("open a raw socket");
        for burst in datagrams.chunks(BURST) {
            for datagram in burst {
                let target = SocketAddr::from(datagram.target).into();
                // What a full queue refuses is a packet less.
                let _ = socket.send_to(&datagram.packet(), &target);
            }
            std::thread::sleep(BREATH);
        }
    });
}

/// A capture of all UDP on an interface.
pub(crate) struct Tape {
    file: PathBuf,
    _tcpdump: Daemon,
}

impl Tape {
    pub(crate) fn start(ns: &Ns, interface: &str) -> Self {
        let file = ns.dir().join("tape.pcap");
        let path = file.display().to_string();
        let argv = [
            "tcpdump",
            "-Z",
            "root",
            "-U",
            "--immediate-mode",
            "-i",
            interface,
            "-w",
            &path,
            "udp",
        ];
        let tcpdump = Daemon::start(ns, "tape", Program::new(&argv));
        eventually_true(Scene::SOON, "tcpdump listens", || {
            tcpdump.log().contains("listening on")
        });
        Self {
            file,
            _tcpdump: tcpdump,
        }
    }

    /// What it has so far: a 24-octet header, then records of 16 octets and a frame.
    pub(crate) fn datagrams(&self) -> Vec<Datagram> {
        let octets = std::fs::read(&self.file).or_fail("read the capture");
        let mut rest = octets.get(24..).unwrap_or_default();
        let mut datagrams = Vec::new();
        while let Some(length) = rest.get(8..12) {
            let length = u32::from_le_bytes(length.try_into().or_fail("four octets")) as usize;
            let Some(frame) = rest.get(16..16 + length) else {
                break;
            };
            datagrams.extend(Datagram::of_frame(frame));
            rest = &rest[16 + length..];
        }
        datagrams
    }
}

/// Random octets of random length.
pub(crate) fn noise(rng: &mut StdRng, most: usize) -> Vec<u8> {
    let mut octets = vec![0; rng.random_range(0..most)];
    rng.fill_bytes(&mut octets);
    octets
}

/// A copy with a few octets changed, or cut short, or longer than it says.
pub(crate) fn mutated(rng: &mut StdRng, payload: &[u8]) -> Vec<u8> {
    let mut copy = payload.to_vec();
    match rng.random_range(0..4) {
        0 => copy.truncate(rng.random_range(0..=payload.len())),
        1 => copy.extend(noise(rng, 64)),
        _ => {}
    }
    for _ in 0..rng.random_range(0..6) {
        if !copy.is_empty() {
            let place = rng.random_range(0..copy.len());
            copy[place] = rng.random();
        }
    }
    copy
}

/// What an attacker who has read the wire, and can claim any address, throws at UDP 500 and 4500.
pub(crate) fn ammunition(rng: &mut StdRng, tape: &[Datagram]) -> Vec<Datagram> {
    let peer = ip(at::HEAD_ENDS[0]);
    let inbound: Vec<&Datagram> = tape
        .iter()
        .filter(|datagram| *datagram.target.ip() == ip(at::GATEWAY))
        .collect();
    // Our own IKE_SA_INIT, as if the peer had sent it.
    let request = tape
        .iter()
        .find(|datagram| datagram.target == SocketAddrV4::new(peer, 500))
        .or_fail("our first request");
    // ESP in UDP: an SPI in the first four octets that is not IKE's zero.
    let esp = inbound
        .iter()
        .find(|datagram| {
            datagram.source == SocketAddrV4::new(peer, 4500)
                && datagram.payload.len() > 60
                && datagram.payload[..4] != [0; 4]
        })
        .or_fail("an ESP packet from the peer");
    let mut all = Vec::new();
    for round in 0..2000_u32 {
        let stranger = Ipv4Addr::from(rng.random_range(0x0b00_0000..0xdf00_0000_u32));
        let port = if round % 2 == 0 { 500 } else { 4500 };
        let source = (if round % 3 == 0 { stranger } else { peer }, port);
        all.push(Datagram::to_gateway(source, port, noise(rng, 1400)));
        let mut handshake = mutated(rng, &request.payload);
        if let Some(spi) = handshake.get_mut(..8) {
            rng.fill_bytes(spi);
        }
        all.push(Datagram::to_gateway((source.0, 500), 500, handshake));
        let mut whole = request.payload.clone();
        rng.fill_bytes(&mut whole[..8]);
        all.push(Datagram::to_gateway((source.0, 500), 500, whole));
        let mut garbage = esp.payload.clone();
        rng.fill_bytes(&mut garbage[8..]);
        // A sequence number within the window, so that the packet reaches the integrity check.
        garbage[4..8].copy_from_slice(&(round + 1).to_be_bytes());
        all.push(Datagram {
            payload: garbage.clone(),
            ..(*esp).clone()
        });
        garbage[..4].copy_from_slice(&rng.random_range(256..u32::MAX).to_be_bytes());
        all.push(Datagram {
            payload: garbage,
            ..(*esp).clone()
        });
        if let Some(replay) = inbound.get(round as usize % inbound.len()) {
            all.push((*replay).clone());
            all.push(Datagram {
                payload: mutated(rng, &replay.payload),
                ..(*replay).clone()
            });
        }
    }
    all
}
