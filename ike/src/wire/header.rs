//! The IKE header (RFC 7296 section 3.1).

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Reader, WireError, Writer};

/// Bytes of the IKE header.
pub const HEADER_LEN: usize = 28;

/// One side's SPI of an IKE SA: eight bytes, chosen by that side, zero while unknown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    /// The SPI of a responder that has not chosen yet.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether no SPI was chosen.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for IkeSpi {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What kind of exchange a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Exchange {
    /// IKE_SA_INIT: algorithms, nonces and the first Diffie-Hellman exchange.
    IkeSaInit,
    /// IKE_AUTH: identities, proof of them, and the first CHILD_SA.
    IkeAuth,
    /// CREATE_CHILD_SA: new CHILD_SAs and all rekeying.
    CreateChildSa,
    /// IKE_INTERMEDIATE: what has to come between IKE_SA_INIT and IKE_AUTH (RFC 9242).
    IkeIntermediate,
    /// IKE_FOLLOWUP_KE: one more key exchange after CREATE_CHILD_SA (RFC 9370).
    IkeFollowupKe,
    /// INFORMATIONAL: deletes, errors, liveness.
    Informational,
    /// Any other value.
    Other(u8),
}

impl Exchange {
    const fn from_wire(value: u8) -> Self {
        match value {
            34 => Self::IkeSaInit,
            35 => Self::IkeAuth,
            36 => Self::CreateChildSa,
            37 => Self::Informational,
            43 => Self::IkeIntermediate,
            44 => Self::IkeFollowupKe,
            other => Self::Other(other),
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::IkeSaInit => 34,
            Self::IkeAuth => 35,
            Self::CreateChildSa => 36,
            Self::Informational => 37,
            Self::IkeIntermediate => 43,
            Self::IkeFollowupKe => 44,
            Self::Other(other) => other,
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IkeSaInit => f.write_str("IKE_SA_INIT"),
            Self::IkeAuth => f.write_str("IKE_AUTH"),
            Self::CreateChildSa => f.write_str("CREATE_CHILD_SA"),
            Self::Informational => f.write_str("INFORMATIONAL"),
            Self::IkeIntermediate => f.write_str("IKE_INTERMEDIATE"),
            Self::IkeFollowupKe => f.write_str("IKE_FOLLOWUP_KE"),
            Self::Other(other) => write!(f, "exchange {other}"),
        }
    }
}

/// The header's flags. The reserved bits and V are ignored on receipt and sent as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// The message comes from the original initiator of the IKE SA.
    pub initiator: bool,
    /// The message answers a request.
    pub response: bool,
}

/// The fixed header of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// SPI of the original initiator.
    pub spi_i: IkeSpi,
    /// SPI of the original responder; zero in the first request.
    pub spi_r: IkeSpi,
    /// Type of the first payload; zero if there is none.
    pub next_payload: u8,
    /// Kind of exchange.
    pub exchange: Exchange,
    /// Direction.
    pub flags: Flags,
    /// Number of the exchange, counted per direction.
    pub message_id: u32,
}

impl Header {
    /// Reads the header and returns what follows it.
    ///
    /// # Errors
    /// [`WireError::Version`] for another major version, and a length error where the header's
    /// length is not that of the datagram.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut r = Reader::new(bytes);
        let spi_i = IkeSpi(r.array("initiator SPI")?);
        let spi_r = IkeSpi(r.array("responder SPI")?);
        let next_payload = r.u8("next payload")?;
        let version = r.u8("version")?;
        let exchange = Exchange::from_wire(r.u8("exchange type")?);
        let flags = r.u8("flags")?;
        let message_id = r.u32("message ID")?;
        let length = r.u32("message length")?;
        // A higher minor version is no reason to refuse (RFC 7296 section 2.5).
        if version >> 4 != 2 {
            return Err(WireError::Version {
                major: version >> 4,
            });
        }
        if usize::try_from(length) != Ok(bytes.len()) {
            return Err(WireError::Length { what: "message" });
        }
        let flags = Flags {
            initiator: flags & 0x08 != 0,
            response: flags & 0x20 != 0,
        };
        Ok((
            Self {
                spi_i,
                spi_r,
                next_payload,
                exchange,
                flags,
                message_id,
            },
            r.rest(),
        ))
    }

    /// Writes the header of a message with `body_len` bytes after it.
    pub(crate) fn encode(&self, body_len: usize, out: &mut Writer) {
        out.bytes(&self.spi_i.0);
        out.bytes(&self.spi_r.0);
        out.u8(self.next_payload);
        out.u8(0x20);
        out.u8(self.exchange.to_wire());
        out.u8((u8::from(self.flags.initiator) << 3) | (u8::from(self.flags.response) << 5));
        out.u32(self.message_id);
        out.u32(u32::try_from(HEADER_LEN + body_len).unwrap_or(u32::MAX));
    }
}
