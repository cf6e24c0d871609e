//! The wire format of IKEv2 (RFC 7296 section 3, RFC 7383): bytes to values and back.
//!
//! Invariants: decoding never panics and never allocates more than a small multiple of its input;
//! encoding what was decoded gives an equal value again. What is *not* here: whether a message is
//! expected, acceptable or true. Only [`sk`] knows keys.

pub mod fragment;
mod header;
mod id;
mod notify;
mod payload;
mod proposal;
mod reader;
pub mod sk;
mod ts;
mod writer;

pub use header::{Exchange, Flags, HEADER_LEN, Header, IkeSpi};
pub use id::Identity;
pub use notify::{Notify, NotifyType};
pub use payload::{Delete, KeyExchange, Payload, PayloadType};
pub use proposal::{Proposal, Protocol, Transform, TransformType};
pub use ts::TrafficSelector;

pub(crate) use payload::{decode_chain, encode_chain};
pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

use thiserror::Error;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("message ends within {what}")]
    Truncated {
        /// The field that is cut.
        what: &'static str,
    },
    /// A length field contradicts its surroundings.
    #[error("wrong length of {what}")]
    Length {
        /// The structure whose length is wrong.
        what: &'static str,
    },
    /// A field has a value that the RFC forbids.
    #[error("invalid {what}")]
    Syntax {
        /// The field.
        what: &'static str,
    },
    /// The peer speaks a major version that we do not (RFC 7296 section 2.5).
    #[error("IKE major version {major}")]
    Version {
        /// The version in the header.
        major: u8,
    },
    /// A payload that we do not know has its critical bit set (RFC 7296 section 2.5).
    #[error("unknown payload type {payload_type} is marked critical")]
    UnsupportedCritical {
        /// The payload's type.
        payload_type: u8,
    },
}

/// A message without encryption: header and payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The header. Its `next_payload` and `length` are computed when encoding.
    pub header: Header,
    /// The payloads in the order of the wire.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Reads a message that is not protected by an SK payload.
    ///
    /// # Errors
    /// [`WireError`] where the bytes break the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (header, body) = Header::decode(bytes)?;
        let payloads = decode_chain(header.next_payload, body)?;
        Ok(Self { header, payloads })
    }

    /// The bytes of this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Writer::new();
        let next_payload = encode_chain(&self.payloads, &mut body);
        let body = body.into_bytes();
        let mut out = Writer::new();
        Header {
            next_payload,
            ..self.header
        }
        .encode(body.len(), &mut out);
        out.bytes(&body);
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests;
