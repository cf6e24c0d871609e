//! Proposals and transforms of the SA payload (RFC 7296 section 3.3).

use super::{Reader, WireError, Writer};

/// The protocol that a proposal, delete or notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// The IKE SA itself.
    Ike,
    /// AH, which we do not speak.
    Ah,
    /// ESP.
    Esp,
    /// Any other value.
    Other(u8),
}

impl Protocol {
    pub(super) const fn from_wire(value: u8) -> Self {
        match value {
            1 => Self::Ike,
            2 => Self::Ah,
            3 => Self::Esp,
            other => Self::Other(other),
        }
    }

    pub(crate) const fn to_wire(self) -> u8 {
        match self {
            Self::Ike => 1,
            Self::Ah => 2,
            Self::Esp => 3,
            Self::Other(other) => other,
        }
    }
}

/// What a transform chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransformType {
    /// ENCR.
    Encryption,
    /// PRF.
    Prf,
    /// INTEG.
    Integrity,
    /// D-H (key exchange method).
    Group,
    /// ESN.
    Esn,
    /// ADDKE1 to ADDKE7: an additional key exchange, by its number from 1 (RFC 9370).
    Additional(u8),
    /// Any other value.
    Other(u8),
}

impl TransformType {
    const fn from_wire(value: u8) -> Self {
        match value {
            1 => Self::Encryption,
            2 => Self::Prf,
            3 => Self::Integrity,
            4 => Self::Group,
            5 => Self::Esn,
            6..=12 => Self::Additional(value - 5),
            other => Self::Other(other),
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::Encryption => 1,
            Self::Prf => 2,
            Self::Integrity => 3,
            Self::Group => 4,
            Self::Esn => 5,
            Self::Additional(number) => number + 5,
            Self::Other(other) => other,
        }
    }
}

/// One algorithm on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// The IANA number.
    pub id: u16,
    /// The Key Length attribute, in bits.
    pub key_bits: Option<u16>,
    /// The transform had an attribute that we do not know, so it must not be chosen
    /// (RFC 7296 section 3.3.6). Not written when encoding.
    pub foreign: bool,
}

impl Transform {
    /// A transform without attributes.
    #[must_use]
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self {
            kind,
            id,
            key_bits: None,
            foreign: false,
        }
    }

    /// A transform with a key length.
    #[must_use]
    pub const fn with_key(kind: TransformType, id: u16, key_bits: Option<u16>) -> Self {
        Self {
            kind,
            id,
            key_bits,
            foreign: false,
        }
    }
}

/// One proposal: a choice is one transform of each type in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its number: 1, 2, … within an offer; the chosen one's in an answer.
    pub number: u8,
    /// What it is for.
    pub protocol: Protocol,
    /// The sender's SPI: 4 bytes for ESP, 8 for an IKE SA being rekeyed, else nothing.
    pub spi: Vec<u8>,
    /// All transforms, of all types.
    pub transforms: Vec<Transform>,
}

/// Reads all proposals of an SA payload.
pub(super) fn decode_list(body: &[u8]) -> Result<Vec<Proposal>, WireError> {
    let mut r = Reader::new(body);
    let mut list = Vec::new();
    loop {
        let more = r.u8("proposal")?;
        r.u8("proposal")?;
        let length = usize::from(r.u16("proposal length")?);
        let rest = length
            .checked_sub(4)
            .ok_or(WireError::Length { what: "proposal" })?;
        list.push(decode_proposal(r.take(rest, "proposal")?)?);
        match (more, r.is_empty()) {
            (0, true) => return Ok(list),
            (2, false) => {}
            _ => {
                return Err(WireError::Syntax {
                    what: "list of proposals",
                });
            }
        }
    }
}

fn decode_proposal(body: &[u8]) -> Result<Proposal, WireError> {
    let mut r = Reader::new(body);
    let number = r.u8("proposal number")?;
    let protocol = Protocol::from_wire(r.u8("proposal protocol")?);
    let spi_len = r.u8("proposal SPI size")?;
    let count = r.u8("number of transforms")?;
    let spi = r.take(usize::from(spi_len), "proposal SPI")?.to_vec();
    let mut transforms = Vec::with_capacity(usize::from(count).min(body.len() / 8));
    for i in 0..count {
        let more = r.u8("transform")?;
        r.u8("transform")?;
        let length = usize::from(r.u16("transform length")?);
        let rest = length
            .checked_sub(4)
            .ok_or(WireError::Length { what: "transform" })?;
        transforms.push(decode_transform(r.take(rest, "transform")?)?);
        if more != if i + 1 == count { 0 } else { 3 } {
            return Err(WireError::Syntax {
                what: "list of transforms",
            });
        }
    }
    if !r.is_empty() {
        return Err(WireError::Length { what: "proposal" });
    }
    Ok(Proposal {
        number,
        protocol,
        spi,
        transforms,
    })
}

fn decode_transform(body: &[u8]) -> Result<Transform, WireError> {
    let mut r = Reader::new(body);
    let kind = TransformType::from_wire(r.u8("transform type")?);
    r.u8("transform")?;
    let mut transform = Transform::new(kind, r.u16("transform ID")?);
    while !r.is_empty() {
        let attribute = r.u16("attribute type")?;
        let value = r.u16("attribute value")?;
        match attribute {
            // Key Length, always in the short form (section 3.3.5).
            0x800E => transform.key_bits = Some(value),
            short if short & 0x8000 != 0 => transform.foreign = true,
            _ => {
                r.take(usize::from(value), "attribute")?;
                transform.foreign = true;
            }
        }
    }
    Ok(transform)
}

/// Writes all proposals of an SA payload.
pub(super) fn encode_list(list: &[Proposal], out: &mut Writer) {
    for (i, proposal) in list.iter().enumerate() {
        let start = out.len();
        out.u8(if i + 1 == list.len() { 0 } else { 2 });
        out.u8(0);
        out.u16(0);
        out.u8(proposal.number);
        out.u8(proposal.protocol.to_wire());
        out.u8(u8::try_from(proposal.spi.len()).unwrap_or(u8::MAX));
        out.u8(u8::try_from(proposal.transforms.len()).unwrap_or(u8::MAX));
        out.bytes(&proposal.spi);
        for (j, transform) in proposal.transforms.iter().enumerate() {
            out.u8(if j + 1 == proposal.transforms.len() {
                0
            } else {
                3
            });
            out.u8(0);
            out.u16(if transform.key_bits.is_some() { 12 } else { 8 });
            out.u8(transform.kind.to_wire());
            out.u8(0);
            out.u16(transform.id);
            if let Some(bits) = transform.key_bits {
                out.u16(0x800E);
                out.u16(bits);
            }
        }
        out.patch_u16(start + 2, out.len() - start);
    }
}
