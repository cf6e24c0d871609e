//! The payloads and the chain that they form (RFC 7296 section 3.2).

use super::proposal;
use super::{Identity, Notify, Proposal, Protocol, Reader, TrafficSelector, WireError, Writer};

/// Numbers of the payload types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadType;

impl PayloadType {
    /// No next payload.
    pub const NONE: u8 = 0;
    /// Security Association.
    pub const SA: u8 = 33;
    /// Key Exchange.
    pub const KE: u8 = 34;
    /// Identification, initiator.
    pub const ID_I: u8 = 35;
    /// Identification, responder.
    pub const ID_R: u8 = 36;
    /// Certificate.
    pub const CERT: u8 = 37;
    /// Certificate Request.
    pub const CERTREQ: u8 = 38;
    /// Authentication.
    pub const AUTH: u8 = 39;
    /// Nonce.
    pub const NONCE: u8 = 40;
    /// Notify.
    pub const NOTIFY: u8 = 41;
    /// Delete.
    pub const DELETE: u8 = 42;
    /// Vendor ID.
    pub const VENDOR: u8 = 43;
    /// Traffic Selectors, initiator.
    pub const TS_I: u8 = 44;
    /// Traffic Selectors, responder.
    pub const TS_R: u8 = 45;
    /// Encrypted and Authenticated.
    pub const SK: u8 = 46;
    /// Encrypted and Authenticated Fragment (RFC 7383).
    pub const SKF: u8 = 53;
}

/// A Key Exchange payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyExchange {
    /// The group's IANA number.
    pub group: u16,
    /// The public value.
    pub data: Vec<u8>,
}

/// A Delete payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Whose SAs are deleted.
    pub protocol: Protocol,
    /// The SPIs of the sender's inbound SAs; none for the IKE SA itself.
    pub spis: Vec<u32>,
}

/// One payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Security Association: proposals.
    Sa(Vec<Proposal>),
    /// Key Exchange.
    Ke(KeyExchange),
    /// Identification of the initiator.
    IdI(Identity),
    /// Identification of the responder.
    IdR(Identity),
    /// Certificate.
    Cert {
        /// What it is: 4 is an X.509 certificate in DER.
        encoding: u8,
        /// Its octets.
        data: Vec<u8>,
    },
    /// Certificate Request.
    CertReq {
        /// What kind is wanted.
        encoding: u8,
        /// For encoding 4, SHA-1 of the SubjectPublicKeyInfo of each trusted authority, 20 bytes each.
        data: Vec<u8>,
    },
    /// Authentication.
    Auth {
        /// How: 2 is the shared key MIC, 14 a digital signature.
        method: u8,
        /// The proof.
        data: Vec<u8>,
    },
    /// Nonce: 16 to 256 bytes.
    Nonce(Vec<u8>),
    /// Notify.
    Notify(Notify),
    /// Delete.
    Delete(Delete),
    /// Vendor ID.
    Vendor(Vec<u8>),
    /// The initiator's side of the traffic.
    TsI(Vec<TrafficSelector>),
    /// The responder's side of the traffic.
    TsR(Vec<TrafficSelector>),
    /// A payload that we know of but have no use for, or an unknown one that is not critical.
    Other {
        /// Its type.
        payload_type: u8,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Payload {
    const fn payload_type(&self) -> u8 {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::ID_I,
            Self::IdR(_) => PayloadType::ID_R,
            Self::Cert { .. } => PayloadType::CERT,
            Self::CertReq { .. } => PayloadType::CERTREQ,
            Self::Auth { .. } => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::Vendor(_) => PayloadType::VENDOR,
            Self::TsI(_) => PayloadType::TS_I,
            Self::TsR(_) => PayloadType::TS_R,
            Self::Other { payload_type, .. } => *payload_type,
        }
    }

    fn decode(payload_type: u8, critical: bool, body: &[u8]) -> Result<Self, WireError> {
        Ok(match payload_type {
            PayloadType::SA => Self::Sa(proposal::decode_list(body)?),
            PayloadType::KE => {
                let mut r = Reader::new(body);
                let group = r.u16("KE group")?;
                r.u16("KE reserved bytes")?;
                Self::Ke(KeyExchange {
                    group,
                    data: r.rest().to_vec(),
                })
            }
            PayloadType::ID_I => Self::IdI(Identity::decode(body)?),
            PayloadType::ID_R => Self::IdR(Identity::decode(body)?),
            // Without an encoding they say nothing, which is no reason to refuse a message that may need no certificate.
            PayloadType::CERT | PayloadType::CERTREQ => match body.split_first() {
                None => Self::Other {
                    payload_type,
                    body: Vec::new(),
                },
                Some((&encoding, data)) => {
                    let data = data.to_vec();
                    if payload_type == PayloadType::CERT {
                        Self::Cert { encoding, data }
                    } else {
                        Self::CertReq { encoding, data }
                    }
                }
            },
            PayloadType::AUTH => {
                let mut r = Reader::new(body);
                let method = r.u8("auth method")?;
                r.take(3, "AUTH reserved bytes")?;
                Self::Auth {
                    method,
                    data: r.rest().to_vec(),
                }
            }
            PayloadType::NONCE => {
                if !(16..=256).contains(&body.len()) {
                    return Err(WireError::Length { what: "nonce" });
                }
                Self::Nonce(body.to_vec())
            }
            PayloadType::NOTIFY => Self::Notify(Notify::decode(body)?),
            PayloadType::DELETE => Self::Delete(decode_delete(body)?),
            PayloadType::VENDOR => Self::Vendor(body.to_vec()),
            PayloadType::TS_I => Self::TsI(TrafficSelector::decode_list(body)?),
            PayloadType::TS_R => Self::TsR(TrafficSelector::decode_list(body)?),
            // The critical bit of types that RFC 7296 defines must be ignored (section 2.5).
            46..=48 => Self::Other {
                payload_type,
                body: body.to_vec(),
            },
            _ if critical => return Err(WireError::UnsupportedCritical { payload_type }),
            _ => Self::Other {
                payload_type,
                body: body.to_vec(),
            },
        })
    }

    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Sa(proposals) => proposal::encode_list(proposals, out),
            Self::Ke(ke) => {
                out.u16(ke.group);
                out.u16(0);
                out.bytes(&ke.data);
            }
            Self::IdI(id) | Self::IdR(id) => id.encode(out),
            Self::Cert { encoding, data } | Self::CertReq { encoding, data } => {
                out.u8(*encoding);
                out.bytes(data);
            }
            Self::Auth { method, data } => {
                out.u8(*method);
                out.bytes(&[0; 3]);
                out.bytes(data);
            }
            Self::Nonce(data) | Self::Vendor(data) | Self::Other { body: data, .. } => {
                out.bytes(data);
            }
            Self::Notify(notify) => notify.encode(out),
            Self::Delete(delete) => encode_delete(delete, out),
            Self::TsI(list) | Self::TsR(list) => TrafficSelector::encode_list(list, out),
        }
    }
}

fn decode_delete(body: &[u8]) -> Result<Delete, WireError> {
    let mut r = Reader::new(body);
    let protocol = Protocol::from_wire(r.u8("delete protocol")?);
    let size = r.u8("delete SPI size")?;
    let count = r.u16("number of SPIs")?;
    let expected = if protocol == Protocol::Ike { 0 } else { 4 };
    if size != expected || (size == 0 && count != 0) {
        return Err(WireError::Length {
            what: "SPIs to delete",
        });
    }
    let mut spis = Vec::with_capacity(usize::from(count).min(body.len() / 4));
    for _ in 0..count {
        spis.push(r.u32("SPI to delete")?);
    }
    if !r.is_empty() {
        return Err(WireError::Length { what: "delete" });
    }
    Ok(Delete { protocol, spis })
}

fn encode_delete(delete: &Delete, out: &mut Writer) {
    out.u8(delete.protocol.to_wire());
    out.u8(if delete.protocol == Protocol::Ike {
        0
    } else {
        4
    });
    out.u16(u16::try_from(delete.spis.len()).unwrap_or(u16::MAX));
    for spi in &delete.spis {
        out.u32(*spi);
    }
}

/// Reads a chain of payloads that fills `body` exactly, starting with type `first`.
pub(crate) fn decode_chain(first: u8, body: &[u8]) -> Result<Vec<Payload>, WireError> {
    let mut r = Reader::new(body);
    let mut payload_type = first;
    let mut list = Vec::new();
    while payload_type != PayloadType::NONE {
        let next = r.u8("next payload")?;
        let critical = r.u8("critical bit")? & 0x80 != 0;
        let length = usize::from(r.u16("payload length")?);
        let rest = length
            .checked_sub(4)
            .ok_or(WireError::Length { what: "payload" })?;
        list.push(Payload::decode(
            payload_type,
            critical,
            r.take(rest, "payload")?,
        )?);
        payload_type = next;
    }
    if !r.is_empty() {
        return Err(WireError::Length {
            what: "chain of payloads",
        });
    }
    Ok(list)
}

/// Writes a chain of payloads and returns the type of the first one.
pub(crate) fn encode_chain(payloads: &[Payload], out: &mut Writer) -> u8 {
    for (i, payload) in payloads.iter().enumerate() {
        let start = out.len();
        out.u8(payloads
            .get(i + 1)
            .map_or(PayloadType::NONE, Payload::payload_type));
        // The critical bit is zero for every payload that RFC 7296 defines (section 3.2).
        out.u8(0);
        out.u16(0);
        payload.encode(out);
        out.patch_u16(start + 2, out.len() - start);
    }
    payloads
        .first()
        .map_or(PayloadType::NONE, Payload::payload_type)
}
