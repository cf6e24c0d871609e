//! Netlink messages of the nf_tables subsystem, batches, and answers.

use nix::errno::Errno;

use super::super::error::Error;
use super::attribute::Attributes;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const HEADER: usize = 16;
/// `struct nfgenmsg`: family, version, resource.
const GENERIC: usize = 4;

/// `NLM_F_CREATE`.
pub(in super::super) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: behind the rules that are there.
pub(in super::super) const APPEND: u16 = 0x800;

/// `enum nf_tables_msg_types`, as far as we use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    GetRule = 7,
    NewSet = 9,
    GetSet = 10,
    NewElements = 12,
    GetElements = 13,
    DelElements = 14,
    GetGeneration = 16,
}

/// A message to the kernel.
#[derive(Debug, Clone)]
pub(in super::super) struct Message {
    pub(in super::super) kind: Kind,
    pub(in super::super) family: u8,
    pub(in super::super) flags: u16,
    pub(in super::super) body: Attributes,
    /// For the error's text: what this message does, with the object's name.
    pub(in super::super) doing: String,
}

impl Message {
    pub(in super::super) fn new(kind: Kind, family: u8, doing: impl Into<String>) -> Self {
        Self {
            kind,
            family,
            flags: 0,
            body: Attributes::default(),
            doing: doing.into(),
        }
    }

    pub(in super::super) fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    pub(in super::super) fn body(mut self, fill: impl FnOnce(&mut Attributes)) -> Self {
        fill(&mut self.body);
        self
    }

    /// A question with one answer.
    pub(in super::super) fn encode_get(&self, sequence: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out, REQUEST, sequence);
        out
    }

    /// A question for all objects of a kind.
    pub(in super::super) fn encode_dump(&self, sequence: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out, REQUEST | DUMP, sequence);
        out
    }

    fn encode(&self, out: &mut Vec<u8>, flags: u16, sequence: u32) {
        let kind = SUBSYSTEM << 8 | self.kind as u16;
        let body = self.body.as_bytes();
        encode_raw(
            out,
            kind,
            self.flags | flags,
            sequence,
            [self.family, 0, 0, 0],
            body,
        );
    }
}

fn encode_raw(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    generic: [u8; GENERIC],
    body: &[u8],
) {
    let length = (HEADER + GENERIC + body.len()) as u32;
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(&generic);
    out.extend_from_slice(body);
}

/// Messages as one transaction. The begin has the sequence number `first`, and the messages those after it.
/// Only the last message asks for an acknowledgement: errors are reported unasked, in order, and a failed
/// commit is reported under the number of the begin.
pub(in super::super) fn encode_batch(messages: &[Message], first: u32) -> Vec<u8> {
    let resource = (SUBSYSTEM).to_be_bytes();
    let generic = [0, 0, resource[0], resource[1]];
    let mut out = Vec::new();
    encode_raw(&mut out, BATCH_BEGIN, REQUEST, first, generic, &[]);
    let mut sequence = first;
    for (index, message) in messages.iter().enumerate() {
        sequence = sequence.wrapping_add(1);
        let ack = if index + 1 == messages.len() { ACK } else { 0 };
        message.encode(&mut out, REQUEST | ack, sequence);
    }
    encode_raw(
        &mut out,
        BATCH_END,
        REQUEST,
        sequence.wrapping_add(1),
        generic,
        &[],
    );
    out
}

/// One message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Reply<'a> {
    /// An object, with its family and attributes.
    Object {
        family: u8,
        attributes: &'a [u8],
        interrupted: bool,
    },
    /// The end of a dump.
    Done { interrupted: bool },
    /// An acknowledgement.
    Ack,
    /// A refusal.
    Refused(Errno),
}

/// The messages of a datagram, each with its sequence number.
pub(in super::super) fn replies(mut datagram: &[u8]) -> Result<Vec<(u32, Reply<'_>)>, Error> {
    let mut found = Vec::new();
    while !datagram.is_empty() {
        let short = Error::Malformed {
            what: "message header",
        };
        let header: &[u8; HEADER] = datagram.first_chunk().ok_or(short)?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = datagram.get(HEADER..length).ok_or(Error::Malformed {
            what: "message length",
        })?;
        let kind = u16::from_ne_bytes([k0, k1]);
        let flags = u16::from_ne_bytes([f0, f1]);
        let sequence = u32::from_ne_bytes([s0, s1, s2, s3]);
        found.push((sequence, reply(kind, flags, body)?));
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(found)
}

fn reply(kind: u16, flags: u16, body: &[u8]) -> Result<Reply<'_>, Error> {
    let interrupted = flags & DUMP_INTERRUPTED != 0;
    match kind {
        NLMSG_ERROR => {
            let code = body
                .first_chunk()
                .ok_or(Error::Malformed { what: "error code" })?;
            Ok(match i32::from_ne_bytes(*code) {
                0 => Reply::Ack,
                code => Reply::Refused(Errno::from_raw(code.wrapping_neg())),
            })
        }
        NLMSG_DONE => match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(code) if code < 0 => Ok(Reply::Refused(Errno::from_raw(code.wrapping_neg()))),
            _ => Ok(Reply::Done { interrupted }),
        },
        _ => {
            let (generic, attributes) = body.split_at_checked(GENERIC).ok_or(Error::Malformed {
                what: "nf_tables header",
            })?;
            let family = generic.first().copied().unwrap_or_default();
            Ok(Reply::Object {
                family,
                attributes,
                interrupted,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_framed_by_begin_and_end_and_only_its_last_message_asks_for_an_answer() {
        let message = |name: &str| {
            let name = name.to_owned();
            Message::new(Kind::NewTable, 1, "test").body(|body| {
                body.string(1, &name);
            })
        };
        let bytes = encode_batch(&[message("a"), message("b")], 5);
        let mut rest = &bytes[..];
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap());
            let flags = u16::from_ne_bytes(rest[6..8].try_into().unwrap());
            let sequence = u32::from_ne_bytes(rest[8..12].try_into().unwrap());
            seen.push((kind, flags, sequence));
            rest = &rest[length..];
        }
        assert_eq!(seen, [(16, 1, 5), (0xa00, 1, 6), (0xa00, 5, 7), (17, 1, 8)]);
    }

    #[test]
    fn an_error_reply_carries_its_errno_and_truncation_never_panics() {
        let mut bytes = Vec::new();
        encode_raw(
            &mut bytes,
            NLMSG_ERROR,
            0,
            9,
            (-1_i32).to_ne_bytes(),
            &[0; 16],
        );
        assert_eq!(
            replies(&bytes).unwrap(),
            [(9, Reply::Refused(Errno::EPERM))]
        );
        for length in 1..bytes.len() {
            assert!(replies(&bytes[..length]).is_err());
        }
    }
}
