//! NOTIFICATION messages and what they say in words (RFC 4271, section 4.5 and its registries).

use std::fmt;

use serde::Serialize;

use super::header::{MessageKind, message};

/// The longest text of an administrative shutdown (RFC 9003, section 2).
const MAX_TEXT: usize = 255;

/// Why one side ended the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the sender added; its meaning depends on the codes.
    pub data: Vec<u8>,
}

impl Notification {
    /// Cease / Maximum Number of Prefixes Reached (RFC 4486).
    pub const MAXIMUM_PREFIXES: u8 = 1;
    /// Cease / Administrative Shutdown.
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    /// Cease / Peer De-configured.
    pub const PEER_DECONFIGURED: u8 = 3;
    /// Cease / Administrative Reset.
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    /// Cease / Connection Rejected.
    pub const CONNECTION_REJECTED: u8 = 5;
    /// Cease / Other Configuration Change.
    pub const CONFIGURATION_CHANGE: u8 = 6;
    /// Cease / Connection Collision Resolution.
    pub const COLLISION: u8 = 7;
    /// Cease / Hard Reset (RFC 8538, section 3).
    pub const HARD_RESET: u8 = 9;
    /// Cease / BFD Down (RFC 9384).
    pub const BFD_DOWN: u8 = 10;

    /// Without data.
    #[must_use]
    pub fn new(code: u8, subcode: u8) -> Self {
        Self {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    /// Cease (code 6) with a subcode of RFC 4486.
    #[must_use]
    pub fn cease(subcode: u8) -> Self {
        Self::new(6, subcode)
    }

    /// Cease with words for the other operator (RFC 9003), cut at a character boundary.
    #[must_use]
    pub fn cease_with_text(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let Some(text) = text.get(..end).filter(|text| !text.is_empty()) else {
            return Self::cease(subcode);
        };
        let mut data = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
        data.extend_from_slice(text.as_bytes());
        Self {
            code: 6,
            subcode,
            data,
        }
    }

    /// The same inside a Cease / Hard Reset: the receiver keeps nothing that we taught it (RFC 8538, section 3).
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let mut data = vec![self.code, self.subcode];
        data.extend(self.data);
        Self {
            code: 6,
            subcode: Self::HARD_RESET,
            data,
        }
    }

    /// Whether it ends the session without any grace.
    #[must_use]
    pub fn is_hard_reset(&self) -> bool {
        (self.code, self.subcode) == (6, Self::HARD_RESET)
    }

    /// What a Hard Reset carries, one level deep.
    fn encapsulated(&self) -> Option<Self> {
        let inner = Self::parse(&self.data).filter(|_| self.is_hard_reset())?;
        (!inner.is_hard_reset()).then_some(inner)
    }

    /// Reads a message's body; `None` if it has not even its codes, which the framing excludes.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        match body {
            [code, subcode, data @ ..] => Some(Self {
                code: *code,
                subcode: *subcode,
                data: data.to_vec(),
            }),
            _ => None,
        }
    }

    /// The whole message. Data beyond what one message holds is left out.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut body = vec![self.code, self.subcode];
        body.extend(
            self.data
                .iter()
                .take(super::MAX_MESSAGE - super::header::HEADER - 2),
        );
        message(MessageKind::Notification, &body)
    }

    /// What the other operator wrote (RFC 9003), with what cannot be printed replaced.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        if self.code != 6 || !matches!(self.subcode, 2 | 4) {
            return None;
        }
        let (length, rest) = self.data.split_first()?;
        let text = String::from_utf8_lossy(rest.get(..usize::from(*length))?);
        let text: String = text
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        (!text.is_empty()).then_some(text)
    }

    /// The names that the registries give to code and subcode.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match (self.code, self.subcode) {
            (1, 1) => "message header error: connection not synchronized",
            (1, 2) => "message header error: bad message length",
            (1, 3) => "message header error: bad message type",
            (1, _) => "message header error",
            (2, 1) => "OPEN error: unsupported version number",
            (2, 2) => "OPEN error: bad peer AS",
            (2, 3) => "OPEN error: bad BGP identifier",
            (2, 4) => "OPEN error: unsupported optional parameter",
            (2, 6) => "OPEN error: unacceptable hold time",
            (2, 7) => "OPEN error: unsupported capability",
            (2, 11) => "OPEN error: role mismatch",
            (2, _) => "OPEN error",
            (3, 1) => "UPDATE error: malformed attribute list",
            (3, 2) => "UPDATE error: unrecognized well-known attribute",
            (3, 3) => "UPDATE error: missing well-known attribute",
            (3, 4) => "UPDATE error: attribute flags error",
            (3, 5) => "UPDATE error: attribute length error",
            (3, 6) => "UPDATE error: invalid ORIGIN attribute",
            (3, 8) => "UPDATE error: invalid NEXT_HOP attribute",
            (3, 9) => "UPDATE error: optional attribute error",
            (3, 10) => "UPDATE error: invalid network field",
            (3, 11) => "UPDATE error: malformed AS_PATH",
            (3, _) => "UPDATE error",
            (4, _) => "hold timer expired",
            (5, 1) => "finite state machine error: unexpected message in OpenSent",
            (5, 2) => "finite state machine error: unexpected message in OpenConfirm",
            (5, 3) => "finite state machine error: unexpected message in Established",
            (5, _) => "finite state machine error",
            (6, 1) => "cease: maximum number of prefixes reached",
            (6, 2) => "cease: administrative shutdown",
            (6, 3) => "cease: peer de-configured",
            (6, 4) => "cease: administrative reset",
            (6, 5) => "cease: connection rejected",
            (6, 6) => "cease: other configuration change",
            (6, 7) => "cease: connection collision resolution",
            (6, 8) => "cease: out of resources",
            (6, 9) => "cease: hard reset",
            (6, 10) => "cease: BFD down",
            (6, _) => "cease",
            (7, 1) => "ROUTE-REFRESH error: invalid message length",
            (7, _) => "ROUTE-REFRESH error",
            (8, _) => "send hold timer expired",
            _ => "an error of unknown code",
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.meaning(), self.code, self.subcode)?;
        if let Some(inner) = self.encapsulated() {
            return write!(f, ": {inner}");
        }
        match (self.text(), self.code, self.subcode, self.data.as_slice()) {
            (Some(text), ..) => write!(f, ": \"{text}\""),
            // RFC 4271, section 6.2: the largest version that the sender speaks.
            (_, 2, 1, [high, low]) => {
                write!(
                    f,
                    ": it speaks version {}",
                    u16::from_be_bytes([*high, *low])
                )
            }
            (_, _, _, []) => Ok(()),
            (_, _, _, data) => {
                f.write_str(", data")?;
                data.iter()
                    .take(16)
                    .try_for_each(|octet| write!(f, " {octet:02x}"))?;
                if data.len() > 16 {
                    f.write_str(" …")
                } else {
                    Ok(())
                }
            }
        }
    }
}
