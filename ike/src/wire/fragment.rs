//! Putting fragments together again (RFC 7383 section 2.6).
//!
//! One message at a time in each direction, since the window is one; fragments get here only after
//! their integrity check, and the memory is bounded even against an authenticated peer.

use std::collections::BTreeMap;

use super::sk::Plain;

/// Most fragments of one message.
const MAX_FRAGMENTS: u16 = 64;

/// Most bytes of one reassembled message.
const MAX_BYTES: usize = 65_536;

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Reassembled {
    /// The message is complete: the first payload's type, and the payloads.
    Complete {
        /// Type of the first payload.
        first: u8,
        /// The payloads' bytes.
        body: Vec<u8>,
    },
    /// More fragments are needed.
    Incomplete,
    /// It does not fit what we have, or is too much.
    Refused,
}

/// A message of which some fragments have arrived.
#[derive(Debug, Default)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub struct Reassembly {
    message_id: u32,
    total: u16,
    first: u8,
    bytes: usize,
    parts: BTreeMap<u16, Vec<u8>>,
}

impl Reassembly {
    /// Takes the content of one datagram; a message that is not fragmented is complete at once.
    pub fn push(&mut self, plain: Plain) -> Reassembled {
        let Some((number, total)) = plain.fragment else {
            return Reassembled::Complete {
                first: plain.first,
                body: plain.body,
            };
        };
        if total > MAX_FRAGMENTS {
            return Reassembled::Refused;
        }
        let id = plain.header.message_id;
        // A larger total means that the sender has cut smaller pieces: start again. A smaller one
        // is a late fragment of the earlier cut.
        if self.parts.is_empty() || id != self.message_id || total > self.total {
            *self = Self {
                message_id: id,
                total,
                ..Self::default()
            };
        } else if total < self.total {
            return Reassembled::Refused;
        }
        if self.parts.contains_key(&number) {
            return Reassembled::Incomplete;
        }
        if self.bytes + plain.body.len() > MAX_BYTES {
            *self = Self::default();
            return Reassembled::Refused;
        }
        if number == 1 {
            self.first = plain.first;
        }
        self.bytes += plain.body.len();
        self.parts.insert(number, plain.body);
        if self.parts.len() < usize::from(self.total) {
            return Reassembled::Incomplete;
        }
        let done = std::mem::take(self);
        let body = done.parts.into_values().flatten().collect();
        Reassembled::Complete {
            first: done.first,
            body,
        }
    }
}
