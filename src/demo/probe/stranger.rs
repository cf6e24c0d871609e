//! What somebody who is no peer would send: a true IKE_SA_INIT request to both ports, and ESP.
//!
//! The request is one that a peer would get an answer to, made by our own IKE. If there is none, it was the firewall that
//! said nothing, not the request that was not worth an answer.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crypto::Secret;
use socket2::{Domain, Protocol, Socket, Type};
use vti::netns::NetNs;

use super::echo::is_timeout;
use crate::demo::problem::Problem;
use crate::demo::random;
use crate::demo::stop::Stop;

/// How often each thing is tried.
pub(in crate::demo) const ATTEMPTS: u64 = 5;
/// How long an answer is waited for, each time. A peer's takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);

const ESP: i32 = 50;
const ICMP_UNREACHABLE: u8 = 3;

/// What is tried, and the counter of the firewall's rule against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Attempt {
    /// UDP port 500.
    Ike,
    /// UDP port 4500.
    NatTraversal,
    /// IP protocol 50.
    Esp,
}

impl Attempt {
    pub(in crate::demo) const ALL: [Self; 3] = [Self::Ike, Self::NatTraversal, Self::Esp];

    /// For people.
    pub(in crate::demo) const fn name(self) -> &'static str {
        match self {
            Self::Ike => "IKE_SA_INIT to UDP 500",
            Self::NatTraversal => "IKE_SA_INIT to UDP 4500",
            Self::Esp => "ESP",
        }
    }

    /// The names of the firewall's rules: for peers, and for all others.
    pub(in crate::demo) const fn rules(self) -> (&'static str, &'static str) {
        match self {
            Self::Ike => ("wan-ike", "stranger-ike"),
            Self::NatTraversal => ("wan-nat-t", "stranger-nat-t"),
            Self::Esp => ("wan-esp", "stranger-esp"),
        }
    }
}

/// Tries it [`ATTEMPTS`] times from inside a namespace. Returns how many answers there were, ICMP errors included.
///
/// # Errors
/// There is no socket for it, or it can't be sent.
pub(in crate::demo) fn knock(
    stop: &Stop,
    (from, source): (&NetNs, Ipv4Addr),
    to: Ipv4Addr,
    attempt: Attempt,
) -> Result<usize, Problem> {
    let failed = || Problem::system(format!("send {} to {to}", attempt.name()));
    let errors = from.run(open_errors)?.map_err(failed())?;
    let mut answers = 0;
    match attempt {
        Attempt::Ike | Attempt::NatTraversal => {
            let (port, marker): (u16, &[u8]) = match attempt {
                // The non-ESP marker (RFC 3948 section 2.2).
                Attempt::NatTraversal => (4500, &[0; 4]),
                Attempt::Ike | Attempt::Esp => (500, &[]),
            };
            let socket = from
                .run(|| UdpSocket::bind((source, port)))?
                .map_err(failed())?;
            socket.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
            let request = [marker, &init(source, to)?].concat();
            for _ in 0..ATTEMPTS {
                socket.send_to(&request, (to, port)).map_err(failed())?;
                stop.check()?;
                answers += usize::from(socket.recv_from(&mut [0; 2048]).is_ok());
            }
        }
        Attempt::Esp => {
            let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(ESP)));
            let socket = from.run(open)?.map_err(failed())?;
            for number in 1..=ATTEMPTS {
                let packet = [
                    &[0x0b, 0xad, 0x0b, 0xad],
                    &number.to_be_bytes()[4..],
                    &[0x5a; 64][..],
                ]
                .concat();
                socket
                    .send_to(&packet, &SocketAddr::from((to, 0)).into())
                    .map_err(failed())?;
                stop.pause(Duration::from_millis(10))?;
            }
        }
    }
    answers += count_errors(&errors, to).map_err(failed())?;
    Ok(answers)
}

/// A first message as a peer would send it.
fn init(source: Ipv4Addr, to: Ipv4Addr) -> Result<Vec<u8>, Problem> {
    let guess = Secret::from_slice(b"not the key");
    let (local, remote) = (IpAddr::V4(source), IpAddr::V4(to));
    let mut connection =
        ike::Connection::new(ike::ConnectionId(1), "stranger", local, remote, guess);
    connection.ike = vec![ike::IkeProposal {
        encryption: ike::Encryption::AesCbc256,
        integrity: Some(ike::Integrity::HmacSha1_96),
        prf: ike::Prf::HmacSha1,
        groups: vec![ike::Group::Modp2048],
        kems: Vec::new(),
    }];
    let mut endpoint = ike::Endpoint::new(ike::EndpointConfig::default(), random::octets()?);
    endpoint.command(Instant::now(), ike::Command::Add(Box::new(connection)));
    let transmit = endpoint.poll_transmit();
    let transmit = transmit.ok_or_else(|| Problem::Unverified("no IKE_SA_INIT was made".into()))?;
    Ok(transmit.payload)
}

/// A socket that hears ICMP errors.
fn open_errors() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// How many "destination unreachable" came from there.
fn count_errors(mut socket: &Socket, from: Ipv4Addr) -> io::Result<usize> {
    let mut packet = [0; 1024];
    let mut count = 0;
    loop {
        match socket.read(&mut packet) {
            Ok(_) => {
                let kind = packet.get(usize::from(packet[0] & 0x0f) * 4);
                count +=
                    usize::from(packet[12..16] == from.octets() && kind == Some(&ICMP_UNREACHABLE));
            }
            Err(error) if is_timeout(&error) => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}
