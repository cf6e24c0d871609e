//! ICMP echo (RFC 792) over a raw socket.

use std::fmt;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use vti::netns::NetNs;

use crate::demo::problem::Problem;
use crate::demo::random;
use crate::demo::stop::Stop;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Octets of data in a request, as `ping` sends them.
const DATA: usize = 56;
/// How long the answer to one request may take.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Somebody who is asked for echoes.
pub(in crate::demo) struct Echo {
    socket: Socket,
    to: Ipv4Addr,
    identifier: u16,
    sequence: u16,
}

/// Round trip times of a series of requests that were all answered.
#[derive(Clone, Copy, Debug)]
pub(in crate::demo) struct RoundTrips {
    count: u32,
    least: Duration,
    sum: Duration,
    most: Duration,
}

impl Echo {
    /// Prepares to ask `to` from inside a namespace.
    ///
    /// # Errors
    /// There can be no raw socket.
    pub(in crate::demo) fn open(namespace: &NetNs, to: Ipv4Addr) -> Result<Self, Problem> {
        let opened = namespace.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        })?;
        let socket = opened.map_err(Problem::system("open a raw socket for ICMP"))?;
        Ok(Self {
            socket,
            to,
            identifier: u16::from_ne_bytes(random::octets()?),
            sequence: 0,
        })
    }

    /// Asks once. `None` if there is no answer in time, or no way.
    ///
    /// # Errors
    /// [`Problem::Interrupted`].
    pub(in crate::demo) fn ask(&mut self, stop: &Stop) -> Result<Option<Duration>, Problem> {
        self.sequence = self.sequence.wrapping_add(1);
        let start = Instant::now();
        let request = request(self.identifier, self.sequence);
        if self
            .socket
            .send_to(&request, &SocketAddr::from((self.to, 0)).into())
            .is_err()
        {
            // There is no route yet, for example.
            stop.pause(Duration::from_millis(50))?;
            return Ok(None);
        }
        let mut packet = [0; 256];
        while start.elapsed() < PATIENCE {
            stop.check()?;
            match (&self.socket).read(&mut packet) {
                Ok(length) if self.is_answer(packet.get(..length).unwrap_or_default()) => {
                    return Ok(Some(start.elapsed()));
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Waits for a first answer, for as long as `limit`, and then asks `count` times more; all of these have to be answered.
    ///
    /// # Errors
    /// [`Problem::Unverified`] if an answer is missing, [`Problem::Interrupted`].
    pub(in crate::demo) fn series(
        &mut self,
        stop: &Stop,
        limit: Duration,
        count: u32,
    ) -> Result<RoundTrips, Problem> {
        let start = Instant::now();
        while self.ask(stop)?.is_none() {
            if start.elapsed() > limit {
                return Err(Problem::Unverified(format!(
                    "{} answered no echo request in {} s",
                    self.to,
                    limit.as_secs()
                )));
            }
        }
        let mut trips = RoundTrips {
            count,
            least: Duration::MAX,
            sum: Duration::ZERO,
            most: Duration::ZERO,
        };
        for number in 1..=count {
            let Some(time) = self.ask(stop)? else {
                return Err(Problem::Unverified(format!(
                    "{} did not answer echo request {number} of {count}",
                    self.to
                )));
            };
            trips.least = trips.least.min(time);
            trips.most = trips.most.max(time);
            trips.sum += time;
        }
        Ok(trips)
    }

    /// Whether an IPv4 packet is the answer to the last request.
    fn is_answer(&self, packet: &[u8]) -> bool {
        let Some(first) = packet.first() else {
            return false;
        };
        // The header's length is in its first octet, in units of four (RFC 791 section 3.1).
        let header = usize::from(first & 0x0f) * 4;
        let (Some(source), Some(message)) = (packet.get(12..16), packet.get(header..)) else {
            return false;
        };
        let [identifier, sequence] = [self.identifier.to_be_bytes(), self.sequence.to_be_bytes()];
        source == self.to.octets()
            && message.first() == Some(&ECHO_REPLY)
            && message.get(4..6) == Some(&identifier[..])
            && message.get(6..8) == Some(&sequence[..])
    }
}

impl fmt::Display for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |span: Duration| span.as_secs_f64() * 1000.0;
        let mean = self.sum / self.count.max(1);
        write!(
            f,
            "{0}/{0} answered, {1:.2}/{2:.2}/{3:.2} ms",
            self.count,
            ms(self.least),
            ms(mean),
            ms(self.most)
        )
    }
}

/// Whether a blocking read has only run out of time.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn request(identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![ECHO_REQUEST, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend((0..DATA).map(|number| number.to_le_bytes()[0]));
    let sum = checksum(&message).to_be_bytes();
    message.splice(2..4, sum);
    message
}

/// The Internet checksum (RFC 1071) of an even number of octets.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets
        .chunks_exact(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing() {
        let request = request(0x1234, 7);
        assert_eq!(request.len(), 8 + DATA);
        assert_eq!(checksum(&request), 0);
    }
}
