//! The message header and the cutting of a byte stream into messages (RFC 4271, sections 4.1, 6.1).

use serde::Serialize;
use thiserror::Error;

/// Marker, length and type.
pub const HEADER: usize = 19;

/// The longest message (RFC 4271, section 4.1). RFC 8654 is not negotiated.
pub const MAX_MESSAGE: usize = 4096;

/// The type octet of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum MessageKind {
    /// Type 1.
    Open,
    /// Type 2.
    Update,
    /// Type 3.
    Notification,
    /// Type 4.
    Keepalive,
    /// Type 5 (RFC 2918).
    RouteRefresh,
}

impl MessageKind {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }

    /// The lengths that a whole message of this type may have.
    fn lengths(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open => 29..=MAX_MESSAGE,
            Self::Update => 23..=MAX_MESSAGE,
            Self::Notification => 21..=MAX_MESSAGE,
            Self::Keepalive => HEADER..=HEADER,
            // RFC 7313, section 5 answers a wrong length of this one by its own error code; the
            // session does that.
            Self::RouteRefresh => HEADER..=MAX_MESSAGE,
        }
    }
}

/// What is wrong with a header (RFC 4271, section 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
pub enum HeaderError {
    /// The marker is not all ones: the stream is not, or no longer, BGP.
    #[error("the marker is not all ones")]
    NotSynchronized,
    /// A length that no message, or none of this type, can have.
    #[error("a message of {length} octets")]
    BadLength {
        /// The length field.
        length: u16,
    },
    /// A type that nobody has defined, or that was not negotiated.
    #[error("a message of type {kind}")]
    BadType {
        /// The type octet.
        kind: u8,
    },
}

/// One whole message, cut out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Its type.
    pub kind: MessageKind,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// Cuts a stream into messages. Holds no more than what was given to [`Framer::push`] and not yet
/// taken; taking everything after every push leaves less than one message.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
}

impl Framer {
    /// Appends received octets.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `Ok(None)` if more octets are needed.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the header; the stream cannot be followed any further then.
    pub fn message(&mut self) -> Result<Option<RawMessage>, HeaderError> {
        let Some(pending) = self.buffer.get(self.start..) else {
            return Ok(None);
        };
        let Some((header, rest)) = pending.split_first_chunk::<HEADER>() else {
            // What has come of the marker must be ones already: a stranger need not be waited for.
            let wrong = pending.iter().take(16).any(|octet| *octet != 0xff);
            return if wrong {
                Err(HeaderError::NotSynchronized)
            } else {
                Ok(None)
            };
        };
        let (marker, [high, low, kind]) = split_header(header);
        if marker != [0xff; 16] {
            return Err(HeaderError::NotSynchronized);
        }
        let length = u16::from_be_bytes([high, low]);
        let size = usize::from(length);
        if !(HEADER..=MAX_MESSAGE).contains(&size) {
            return Err(HeaderError::BadLength { length });
        }
        let kind = MessageKind::from_code(kind).ok_or(HeaderError::BadType { kind })?;
        if !kind.lengths().contains(&size) {
            return Err(HeaderError::BadLength { length });
        }
        let Some(body) = rest.get(..size - HEADER) else {
            return Ok(None);
        };
        let message = RawMessage {
            kind,
            body: body.to_vec(),
        };
        self.start += size;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        Ok(Some(message))
    }

    /// How many octets wait for the rest of their message.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

/// A whole message around a body, which the caller has kept within [`MAX_MESSAGE`].
#[must_use]
pub fn message(kind: MessageKind, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    debug_assert!(length <= MAX_MESSAGE, "{kind:?} of {length} octets");
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&[0xff; 16]);
    bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    bytes.push(kind.code());
    bytes.extend_from_slice(body);
    bytes
}

fn split_header(header: &[u8; HEADER]) -> ([u8; 16], [u8; 3]) {
    let mut marker = [0; 16];
    let mut tail = [0; 3];
    marker.copy_from_slice(&header[..16]);
    tail.copy_from_slice(&header[16..]);
    (marker, tail)
}
