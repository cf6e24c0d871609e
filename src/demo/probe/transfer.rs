//! A TCP transfer whose content is checked: the receiver answers with a checksum of what it got.
//!
//! The checksum is HMAC-SHA-256 chained over blocks, `sum = HMAC(sum, block)`, which depends on every octet and its place.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crypto::Prf;
use vti::netns::NetNs;

use crate::demo::problem::{Problem, verify};
use crate::demo::random;
use crate::demo::stop::Stop;

const BLOCK: usize = 64 << 10;
/// How long a peer may stay silent within a transfer.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// What a transfer came to.
#[derive(Clone, Copy, Debug)]
pub(in crate::demo) struct Transfer {
    /// Octets that arrived, unharmed.
    pub(in crate::demo) octets: u64,
    /// From the first octet sent to the receiver's checksum.
    pub(in crate::demo) took: Duration,
}

impl Transfer {
    /// In megabits a second.
    pub(in crate::demo) fn megabits(&self) -> f64 {
        self.octets as f64 * 8.0 / 1e6 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Sends from one namespace to an address in another for about `span`.
///
/// # Errors
/// No connection, a connection that stalls, or content that does not arrive as it was sent.
pub(in crate::demo) fn transfer(
    stop: &Stop,
    from: &NetNs,
    (to, address): (&NetNs, Ipv4Addr),
    span: Duration,
) -> Result<Transfer, Problem> {
    let failed = |doing: &str| Problem::system(format!("{doing} {address}"));
    let listener = to
        .run(|| TcpListener::bind((address, 0)))?
        .map_err(failed("listen on"))?;
    let target = listener.local_addr().map_err(failed("listen on"))?;
    let block = random::octets::<BLOCK>()?.to_vec();
    thread::scope(|scope| {
        let receiver = scope.spawn(move || receive(&listener));
        let sent = from.run(|| send(stop, target, block, span))?;
        // The receiver's accept ends at the latest when somebody connects.
        if sent.is_err() {
            let _ = to.run(|| TcpStream::connect_timeout(&target, CONNECT));
        }
        let received = receiver
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the receiver panicked")));
        stop.check()?;
        let sent = sent.map_err(failed("send to"))?;
        received.map_err(failed("receive at"))?;
        verify(sent.matches, || {
            format!("what arrived at {address} is not what was sent")
        })?;
        Ok(sent.transfer)
    })
}

struct Sent {
    transfer: Transfer,
    matches: bool,
}

fn send(stop: &Stop, target: SocketAddr, mut block: Vec<u8>, span: Duration) -> io::Result<Sent> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECT)?;
    limit(&stream)?;
    let mut sum = Sum::default();
    let (start, mut octets) = (Instant::now(), 0_u64);
    while start.elapsed() < span && !stop.is_asked() {
        // Every block is another one.
        for (octet, changed) in block.iter_mut().zip(octets.to_be_bytes()) {
            *octet ^= changed;
        }
        stream.write_all(&block)?;
        sum.add(&block);
        octets += BLOCK as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(Sent {
        transfer: Transfer {
            octets,
            took: start.elapsed(),
        },
        matches: answer == sum.0,
    })
}

fn receive(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    limit(&stream)?;
    let mut block = vec![0; BLOCK];
    let mut sum = Sum::default();
    loop {
        match fill(&mut stream, &mut block)? {
            0 => break,
            length => sum.add(block.get(..length).unwrap_or_default()),
        }
    }
    stream.write_all(&sum.0)
}

/// Reads until the block is full or the stream ends; a stream arrives in pieces of any size.
fn fill(stream: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..)
        && !rest.is_empty()
    {
        match stream.read(rest)? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))
}

/// The chained checksum.
#[derive(Default)]
struct Sum(Vec<u8>);

impl Sum {
    fn add(&mut self, block: &[u8]) {
        self.0 = Prf::HmacSha256.compute(&self.0, &[block]).expose().to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_knows_the_order_of_blocks() {
        let sum = |blocks: [&[u8]; 2]| {
            let mut sum = Sum::default();
            blocks.into_iter().for_each(|block| sum.add(block));
            sum.0
        };
        assert_ne!(sum([b"one", b"two"]), sum([b"two", b"one"]));
        assert_eq!(sum([b"one", b"two"]).len(), 32);
    }

    #[test]
    fn blocks_are_filled_whatever_pieces_a_stream_comes_in() {
        let mut stream = io::Cursor::new([7; 10]).chain(io::Cursor::new([8; 3]));
        let mut block = [0; 8];
        assert_eq!(fill(&mut stream, &mut block).unwrap(), 8);
        assert_eq!(fill(&mut stream, &mut block).unwrap(), 5);
        assert_eq!(fill(&mut stream, &mut block).unwrap(), 0);
    }
}
