//! OPEN messages (RFC 4271, sections 4.2 and 6.2).

use std::net::Ipv4Addr;

use serde::Serialize;
use thiserror::Error;

use super::capability::Capabilities;
use super::header::{MessageKind, message};
use super::reader::Reader;

/// The type of the Capabilities optional parameter (RFC 5492).
const CAPABILITIES: u8 = 2;

/// Marks the extended form of optional parameters, as length and as type (RFC 9072, section 2).
const EXTENDED: u8 = 255;

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Open {
    /// "My Autonomous System": two octets, AS_TRANS where the real number needs four.
    pub my_as: u16,
    /// The hold time offered, in seconds.
    pub hold_time: u16,
    /// The BGP Identifier.
    pub identifier: Ipv4Addr,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

/// What is wrong with an OPEN's syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
pub enum OpenError {
    /// Another version of BGP.
    #[error("it speaks BGP version {offered}, we speak 4")]
    Version {
        /// The version.
        offered: u8,
    },
    /// Lengths that contradict each other.
    #[error("its optional parameters are malformed")]
    Malformed,
    /// An optional parameter other than Capabilities.
    #[error("it has an optional parameter of type {kind}, which we do not know")]
    Parameter {
        /// The type.
        kind: u8,
    },
}

impl Open {
    /// Reads a message's body.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it. Values are the session's to judge.
    pub fn parse(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or(OpenError::Malformed)?;
        if version != 4 {
            return Err(OpenError::Version { offered: version });
        }
        let my_as = reader.u16().ok_or(OpenError::Malformed)?;
        let hold_time = reader.u16().ok_or(OpenError::Malformed)?;
        let identifier = reader.array::<4>().ok_or(OpenError::Malformed)?.into();
        let length = reader.u8().ok_or(OpenError::Malformed)?;
        let capabilities = parameters(length, reader)?;
        Ok(Self {
            my_as,
            hold_time,
            identifier,
            capabilities,
        })
    }

    /// The whole message, with one Capabilities parameter.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut capabilities = Vec::new();
        self.capabilities.emit(&mut capabilities);
        let mut body = vec![4];
        body.extend_from_slice(&self.my_as.to_be_bytes());
        body.extend_from_slice(&self.hold_time.to_be_bytes());
        body.extend_from_slice(&self.identifier.octets());
        match u8::try_from(capabilities.len()) {
            Ok(0) => body.push(0),
            Ok(length @ ..=252) => body.extend_from_slice(&[length + 2, CAPABILITIES, length]),
            _ => {
                let length = u16::try_from(capabilities.len()).unwrap_or(u16::MAX - 3);
                body.extend_from_slice(&[EXTENDED, EXTENDED]);
                body.extend_from_slice(&(length + 3).to_be_bytes());
                body.push(CAPABILITIES);
                body.extend_from_slice(&length.to_be_bytes());
            }
        }
        body.extend_from_slice(&capabilities);
        message(MessageKind::Open, &body)
    }
}

/// Reads the optional parameters in either form; they must fill the message exactly.
fn parameters(length: u8, mut reader: Reader<'_>) -> Result<Capabilities, OpenError> {
    // RFC 9072, section 2: a parameter of type 255 in front says that the lengths have two octets,
    // whatever the one-octet length says, unless it is zero.
    let extended = length != 0 && reader.rest().first() == Some(&EXTENDED);
    let total = if extended {
        reader.take(1);
        usize::from(reader.u16().ok_or(OpenError::Malformed)?)
    } else {
        usize::from(length)
    };
    if total != reader.len() {
        return Err(OpenError::Malformed);
    }
    let mut capabilities = Capabilities::default();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or(OpenError::Malformed)?;
        let length = if extended {
            reader.u16()
        } else {
            reader.u8().map(u16::from)
        };
        let value = length.and_then(|length| reader.take(usize::from(length)));
        let value = value.ok_or(OpenError::Malformed)?;
        if kind != CAPABILITIES {
            return Err(OpenError::Parameter { kind });
        }
        capabilities.parse_into(value).ok_or(OpenError::Malformed)?;
    }
    Ok(capabilities)
}
