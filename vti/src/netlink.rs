//! A route-netlink socket for bulk work: requests are sent many to a datagram and their answers
//! matched by sequence number; dumps are read part by part, with a pause for other tasks in between.
//!
//! The kernel works a request off within the system call that sends it, so the answers are there
//! when that returns. The socket never blocks and needs no reactor: an answer that is not there is
//! an error. What the messages mean is said in `link`, `route` and `nexthop`.

use std::fmt;
use std::io;

use netlink_sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use crate::host::{Error, errno_of};

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
const NLM_F_ACK_TLVS: u16 = 0x200;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// Requests in one datagram. A route's is some 70 bytes, and the kernel needs a few microseconds for
/// it, so other tasks wait for less than a millisecond.
const BATCH: usize = 128;

/// Answers to a batch take about a kilobyte each in the kernel's accounting.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How often a dump is tried that the kernel calls inconsistent.
const DUMP_ATTEMPTS: usize = 5;

/// A request under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A request of that type. `fixed` is the type's own header (`struct rtmsg` and the like).
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        Self(bytes)
    }

    /// Appends an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        put_attribute(&mut self.0, kind, value);
        self
    }

    /// Appends an attribute, if there is something to say.
    pub(crate) fn maybe(self, kind: u16, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.attribute(kind, value.as_ref()),
            None => self,
        }
    }

    /// The finished message alone.
    #[cfg(test)]
    pub(crate) fn bytes(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.finish(sequence, &mut bytes);
        bytes
    }

    /// Appends the finished message, with its length and sequence number filled in.
    fn finish(&self, sequence: u32, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.0);
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (offset, value) in [(0, length), (8, sequence)] {
            if let Some(field) = into.get_mut(start + offset..start + offset + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        pad(into);
    }
}

/// Appends an attribute with its padding.
pub(crate) fn put_attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    into.extend_from_slice(&length.to_ne_bytes());
    into.extend_from_slice(&kind.to_ne_bytes());
    into.extend_from_slice(value);
    pad(into);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// An answer or a notification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The socket that asked, also in a notification of what it changed.
    pub(crate) port: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of one datagram. Bytes that make no message end the iteration.
pub(crate) fn answers(mut datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let answer = Answer {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            port: u32_at(datagram, 12)?,
            body: datagram.get(HEADER..length)?,
        };
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some(answer)
    })
}

/// The attributes (type, value) after a header of `fixed` bytes.
pub(crate) fn attributes(body: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    const TYPE_MASK: u16 = 0x3FFF;
    let mut rest = body.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Text without its terminating zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// What the kernel said instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its error number.
    pub errno: Errno,
    /// Its explanation, where it gave one.
    pub said: String,
}

impl Refusal {
    pub(crate) fn of(error: &io::Error) -> Self {
        errno_of(error).into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.errno.desc(), self.errno)?;
        if !self.said.is_empty() {
            write!(f, ": {}", self.said)?;
        }
        Ok(())
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            said: String::new(),
        }
    }
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: RawSocket,
    port: u32,
    sequence: u32,
    received: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, Error> {
        let mut socket = RawSocket::new(NETLINK_ROUTE).map_err(|e| Error::socket("open it", &e))?;
        let port = socket
            .bind_auto()
            .map_err(|e| Error::socket("bind it", &e))?
            .port_number();
        let options = socket
            .set_non_blocking(true)
            .and_then(|()| socket.set_cap_ack(true))
            .and_then(|()| socket.set_ext_ack(true))
            .and_then(|()| socket.set_rx_buf_sz(i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX)));
        options.map_err(|e| Error::socket("set it up", &e))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
            received: Vec::with_capacity(1 << 16),
        })
    }

    /// The number by which notifications name this socket.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Asks for everything of a kind, and hands each object to `each`. The dump is begun again if
    /// the kernel says that its tables changed meanwhile, so `each` first gets `None`.
    pub(crate) async fn dump(
        &mut self,
        what: &'static str,
        request: &Message,
        mut each: impl FnMut(Option<&Answer<'_>>),
    ) -> Result<(), Error> {
        for _ in 0..DUMP_ATTEMPTS {
            each(None);
            if self.dump_once(what, request, &mut each).await? {
                return Ok(());
            }
        }
        Err(Error::Malformed {
            what,
            why: "it changes faster than it can be read".into(),
        })
    }

    /// Whether the dump was consistent.
    async fn dump_once(
        &mut self,
        what: &'static str,
        request: &Message,
        each: &mut impl FnMut(Option<&Answer<'_>>),
    ) -> Result<bool, Error> {
        let sequence = self
            .send(std::slice::from_ref(request))
            .map_err(|r| unanswered(what, r))?;
        let mut consistent = true;
        loop {
            self.receive().map_err(|e| unanswered(what, e.into()))?;
            for answer in answers(&self.received).filter(|a| a.sequence == sequence) {
                consistent &= answer.flags & NLM_F_DUMP_INTR == 0;
                match answer.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match verdict(&answer) {
                            Ok(()) => Ok(consistent),
                            Err(refusal) => Err(unanswered(what, refusal)),
                        };
                    }
                    _ => each(Some(&answer)),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Asks for one object.
    pub(crate) fn ask<T>(
        &mut self,
        request: &Message,
        read: impl FnOnce(&Answer<'_>) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let sequence = self.send(std::slice::from_ref(request))?;
        self.receive()?;
        let answer = answers(&self.received).find(|a| a.sequence == sequence);
        match answer {
            Some(answer) if answer.kind == NLMSG_ERROR => verdict(&answer).map(|()| None),
            Some(answer) => Ok(read(&answer)),
            None => Err(Errno::ENODATA.into()),
        }
    }

    /// Sends all requests and returns the verdict on each. They are worked off in order, whatever
    /// becomes of those before.
    pub(crate) async fn execute(&mut self, requests: &[Message]) -> Vec<Result<(), Refusal>> {
        let mut verdicts = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            match self.execute_batch(batch) {
                Ok(batch) => verdicts.extend(batch),
                Err(refusal) => verdicts.extend(batch.iter().map(|_| Err(refusal.clone()))),
            }
            tokio::task::yield_now().await;
        }
        verdicts
    }

    fn execute_batch(&mut self, batch: &[Message]) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let first = self.send(batch)?;
        let mut verdicts: Vec<Option<Result<(), Refusal>>> = vec![None; batch.len()];
        let mut missing = batch.len();
        while missing > 0 {
            // An answer that got lost says nothing about what was done: the caller looks again.
            let Ok(()) = self.receive() else { break };
            for answer in answers(&self.received).filter(|a| a.kind == NLMSG_ERROR) {
                let index = answer.sequence.wrapping_sub(first) as usize;
                if let Some(slot @ None) = verdicts.get_mut(index) {
                    *slot = Some(verdict(&answer));
                    missing -= 1;
                }
            }
        }
        let lost = || Err(Errno::ENODATA.into());
        Ok(verdicts
            .into_iter()
            .map(|verdict| verdict.unwrap_or_else(lost))
            .collect())
    }

    /// Sends the requests in one datagram; returns the sequence number of the first.
    fn send(&mut self, requests: &[Message]) -> Result<u32, Refusal> {
        // What an earlier request left behind is of no interest.
        while self.receive().is_ok() {}
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(requests.len() * 96);
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.finish(self.sequence, &mut datagram);
        }
        let kernel = SocketAddr::new(0, 0);
        self.socket
            .send_to(&datagram, &kernel, 0)
            .map_err(|e| Refusal::of(&e))?;
        Ok(first)
    }

    fn receive(&mut self) -> Result<(), Errno> {
        self.received.clear();
        let received = loop {
            match self.socket.recv_from(&mut self.received, libc::MSG_TRUNC) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match received {
            Ok((length, _)) if length > self.received.len() => Err(Errno::EMSGSIZE),
            Ok(_) => Ok(()),
            Err(e) => Err(errno_of(&e)),
        }
    }
}

fn unanswered(what: &'static str, Refusal { errno, said }: Refusal) -> Error {
    Error::Unanswered { what, errno, said }
}

/// What an acknowledgement, error or end of dump says.
pub(crate) fn verdict(answer: &Answer<'_>) -> Result<(), Refusal> {
    let code = u32_at(answer.body, 0).map_or(0, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    // After the code: for an error the request's header, then the attributes.
    let fixed = if answer.kind == NLMSG_ERROR {
        4 + HEADER
    } else {
        4
    };
    let said = (answer.flags & NLM_F_ACK_TLVS != 0)
        .then(|| attributes(answer.body, fixed).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG))
        .flatten()
        .map(|(_, value)| text(value))
        .unwrap_or_default();
    Err(Refusal {
        errno: Errno::from_raw(code.saturating_neg()),
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_they_were_written() {
        let mut bytes = Vec::new();
        let message = Message::new(24, NLM_F_ACK, &[2; 12])
            .attribute(1, b"abcde")
            .attribute(2, &[]);
        message.finish(7, &mut bytes);
        message.finish(8, &mut bytes);

        let read: Vec<_> = answers(&bytes).collect();

        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].kind, read[0].sequence, read[1].sequence),
            (24, 7, 8)
        );
        assert_eq!(read[0].flags, NLM_F_ACK | NLM_F_REQUEST);
        let attributes: Vec<_> = attributes(read[1].body, 12).collect();
        assert_eq!(attributes, [(1, &b"abcde"[..]), (2, &[][..])]);
    }

    #[test]
    fn truncation_at_every_length_ends_the_reading_quietly() {
        let mut bytes = Vec::new();
        Message::new(24, 0, &[0; 12])
            .attribute(1, &[1; 16])
            .attribute(5, &[2; 4])
            .finish(1, &mut bytes);
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert_eq!(answers(cut).count(), 0);
            assert!(attributes(cut, HEADER + 12).count() <= 1);
        }
    }

    #[test]
    fn an_error_carries_the_kernels_explanation() {
        let mut body = Vec::from((-17i32).to_ne_bytes());
        body.extend_from_slice(&[0; HEADER]);
        put_attribute(&mut body, NLMSGERR_ATTR_MSG, b"taken\0");
        let answer = Answer {
            kind: NLMSG_ERROR,
            flags: NLM_F_ACK_TLVS,
            sequence: 1,
            port: 0,
            body: &body,
        };

        let refusal = verdict(&answer).unwrap_err();

        assert_eq!(
            refusal,
            Refusal {
                errno: Errno::EEXIST,
                said: "taken".into()
            }
        );
    }
}
