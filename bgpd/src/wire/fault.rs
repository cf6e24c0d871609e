//! What may be wrong with an UPDATE, and what RFC 7606 makes of it.

use std::fmt;

use serde::Serialize;

use super::attribute::AttributeCode;
use super::notification::Notification;

/// What becomes of an UPDATE with a fault (RFC 7606, section 2), the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// The attribute is left out, the rest is believed.
    AttributeDiscard,
    /// The announced prefixes are treated as if they had been withdrawn.
    TreatAsWithdraw,
    /// The session ends.
    SessionReset,
}

/// One fault of one UPDATE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpdateFault {
    /// The attribute concerned; `None` if it is the message itself.
    pub attribute: Option<AttributeCode>,
    /// What is wrong.
    pub problem: Problem,
    /// What becomes of the UPDATE.
    pub treatment: Treatment,
    /// The attribute with its header as it came, for the NOTIFICATION's data.
    #[serde(skip)]
    pub evidence: Vec<u8>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Withdrawn Routes Length or Total Path Attribute Length leads out of the message.
    FieldOverrun,
    /// Fewer octets are left than an attribute's header has, or than its length says.
    AttributeOverrun,
    /// Optional or Transitive bit other than the attribute's definition says.
    Flags {
        /// The flags octet.
        got: u8,
    },
    /// A length that the attribute cannot have.
    Length {
        /// The length.
        got: u16,
    },
    /// The attribute occurs twice.
    Repeated,
    /// A mandatory attribute does not occur (RFC 4271, section 5).
    Missing,
    /// A well-known attribute that nobody has defined.
    UnrecognizedWellKnown,
    /// ORIGIN is none of the three.
    Origin {
        /// The value.
        got: u8,
    },
    /// AS_PATH: a segment of unknown type, of no length, or longer than the attribute.
    Segment,
    /// A confederation segment from outside the confederation (RFC 5065, section 5).
    Confederation,
    /// An AS_SET (RFC 9774).
    AsSet,
    /// AS number 0 (RFC 7607).
    AsZero,
    /// NEXT_HOP is no address of a host.
    NextHop,
    /// A prefix longer than its family allows, or longer than the field.
    Network,
    /// The attribute has no business on this kind of session.
    NotHere,
}

impl UpdateFault {
    /// The NOTIFICATION for a fault that ends the session (RFC 4271, section 6.3).
    #[must_use]
    pub fn notification(&self) -> Notification {
        let subcode = match self.problem {
            Problem::FieldOverrun | Problem::AttributeOverrun | Problem::Repeated => 1,
            Problem::UnrecognizedWellKnown => 2,
            Problem::Missing => 3,
            Problem::Flags { .. } => 4,
            Problem::Length { .. } => 5,
            Problem::Origin { .. } => 6,
            Problem::NextHop => 8,
            Problem::NotHere => 9,
            Problem::Network => 10,
            Problem::Segment | Problem::Confederation | Problem::AsSet | Problem::AsZero => 11,
        };
        let data = match (self.problem, self.attribute) {
            (Problem::Missing, Some(code)) => vec![code.0],
            _ => self.evidence.clone(),
        };
        Notification {
            code: 3,
            subcode,
            data,
        }
    }
}

impl fmt::Display for UpdateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attribute {
            Some(code) => write!(f, "{code} {}", self.problem)?,
            None => write!(f, "the message {}", self.problem)?,
        }
        f.write_str(match self.treatment {
            Treatment::AttributeDiscard => "; the attribute was discarded",
            Treatment::TreatAsWithdraw => "; its prefixes were treated as withdrawn",
            Treatment::SessionReset => "; the session cannot go on",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldOverrun => f.write_str("has a length field that leads out of it"),
            Self::AttributeOverrun => f.write_str("has an attribute that is cut short"),
            Self::Flags { got } => write!(f, "has the flags {got:#04x}"),
            Self::Length { got } => write!(f, "has {got} octets"),
            Self::Repeated => f.write_str("occurs twice"),
            Self::Missing => f.write_str("is missing"),
            Self::UnrecognizedWellKnown => f.write_str("claims to be well-known and is not"),
            Self::Origin { got } => write!(f, "is {got}"),
            Self::Segment => f.write_str("has a malformed segment"),
            Self::Confederation => f.write_str("has a confederation segment"),
            Self::AsSet => f.write_str("has an AS_SET"),
            Self::AsZero => f.write_str("has AS 0"),
            Self::NextHop => f.write_str("is not a host's address"),
            Self::Network => f.write_str("has a malformed prefix"),
            Self::NotHere => f.write_str("does not belong on this session"),
        }
    }
}
