//! The netlink socket: questions, dumps and batches.
//!
//! The kernel handles a netlink request inside `send`, so its answer waits in the receive queue when `send`
//! returns. The socket therefore never blocks: an empty queue where an answer is due is an error.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::error::Error;
use super::wire::message::{Message, Reply, encode_batch, replies};

/// Larger than any datagram of a dump, which the kernel fills with at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// How often a dump that was interrupted by a change is begun again.
const ATTEMPTS: u32 = 8;

pub(super) struct NetfilterSocket {
    socket: Socket,
    sequence: u32,
}

impl NetfilterSocket {
    /// Opens a socket in the network namespace of the calling thread; it stays there.
    pub(super) fn open() -> Result<Self, Error> {
        const OPENING: &str = "opening a netfilter netlink socket";
        let mut socket =
            Socket::new(NETLINK_NETFILTER).map_err(|error| Error::from_io(OPENING, error))?;
        socket
            .bind_auto()
            .map_err(|error| Error::from_io(OPENING, error))?;
        socket
            .set_non_blocking(true)
            .map_err(|error| Error::from_io(OPENING, error))?;
        // An acknowledged error need not repeat our message. Kernels before 4.3 do not know this; fine.
        let _ = socket.set_cap_ack(true);
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends messages as one transaction: all of them take effect or none.
    pub(super) fn commit(&mut self, messages: &[Message]) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let first = self.take_sequence(count.saturating_add(2));
        let last = first.wrapping_add(count);
        self.send(&encode_batch(messages, first))?;
        let mut failure = None;
        loop {
            // Many refusals can overflow the receive queue; the first of them is what matters.
            let datagram = match (
                self.receive("reading the answer to a transaction"),
                failure.take(),
            ) {
                (Err(_), Some(failure)) => return Err(failure),
                (received, earlier) => {
                    failure = earlier;
                    received?
                }
            };
            for (sequence, reply) in replies(&datagram)? {
                if let (Reply::Refused(errno), None) = (&reply, &failure) {
                    failure = Some(refusal(messages, first, sequence, *errno));
                }
                let ends = matches!(reply, Reply::Ack | Reply::Refused(_));
                if ends && (sequence == last || sequence == first) {
                    return failure.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks for one object; returns its attributes.
    pub(super) fn get(&mut self, message: &Message) -> Result<Vec<u8>, Error> {
        let sequence = self.take_sequence(1);
        self.send(&message.encode_get(sequence))?;
        loop {
            let datagram = self.receive("reading an answer")?;
            for (found, reply) in replies(&datagram)? {
                match reply {
                    _ if found != sequence => {}
                    Reply::Object { attributes, .. } => return Ok(attributes.to_vec()),
                    Reply::Refused(errno) => return Err(Error::from_errno(&message.doing, errno)),
                    Reply::Done { .. } | Reply::Ack => {
                        return Err(Error::Malformed {
                            what: "answer without an object",
                        });
                    }
                }
            }
        }
    }

    /// Asks for all objects of a kind; `read` gets the family and the attributes of each.
    pub(super) fn dump<T>(
        &mut self,
        message: &Message,
        mut read: impl FnMut(u8, &[u8]) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.dump_once(message, &mut read)? {
                return Ok(found);
            }
        }
        Err(Error::Unstable { attempts: ATTEMPTS })
    }

    /// `None`: the rules changed meanwhile, so that the parts do not fit together.
    fn dump_once<T>(
        &mut self,
        message: &Message,
        read: &mut impl FnMut(u8, &[u8]) -> Result<T, Error>,
    ) -> Result<Option<Vec<T>>, Error> {
        let sequence = self.take_sequence(1);
        self.send(&message.encode_dump(sequence))?;
        let mut found = Vec::new();
        let mut intact = true;
        loop {
            let datagram = self.receive("reading a list")?;
            for (number, reply) in replies(&datagram)? {
                match reply {
                    _ if number != sequence => {}
                    Reply::Object {
                        family,
                        attributes,
                        interrupted,
                    } => {
                        intact &= !interrupted;
                        found.push(read(family, attributes)?);
                    }
                    Reply::Done { interrupted } => {
                        return Ok((intact && !interrupted).then_some(found));
                    }
                    Reply::Refused(Errno::EINTR) => return Ok(None),
                    Reply::Refused(errno) => return Err(Error::from_errno(&message.doing, errno)),
                    Reply::Ack => {}
                }
            }
        }
    }

    fn take_sequence(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        const SENDING: &str = "sending to nf_tables";
        match self.socket.send(bytes, 0) {
            Ok(_) => Ok(()),
            // A transaction must be one datagram. Large sets do not fit the default send buffer.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                setsockopt(&self.socket, sockopt::SndBufForce, &(bytes.len() * 2))
                    .map_err(|errno| Error::from_errno(SENDING, errno))?;
                self.socket
                    .send(bytes, 0)
                    .map_err(|error| Error::from_io(SENDING, error))?;
                Ok(())
            }
            Err(error) => Err(Error::from_io(SENDING, error)),
        }
    }

    fn receive(&mut self, doing: &'static str) -> Result<Vec<u8>, Error> {
        let mut datagram = Vec::with_capacity(RECEIVE_BUFFER);
        loop {
            match self.socket.recv(&mut datagram, 0) {
                Ok(_) => return Ok(datagram),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io(doing, error)),
            }
        }
    }
}

/// The error of a transaction, with what the refused message was about.
fn refusal(messages: &[Message], first: u32, sequence: u32, errno: Errno) -> Error {
    let index = sequence.wrapping_sub(first).checked_sub(1);
    let message = index.and_then(|index| messages.get(usize::try_from(index).ok()?));
    Error::from_errno(
        message.map_or("committing the transaction", |it| &it.doing),
        errno,
    )
}
