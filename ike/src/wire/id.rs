//! Identities (RFC 7296 section 3.5): who a peer says that it is.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crypto::x509::DistinguishedName;
use serde::{Serialize, Serializer};

use super::{Reader, WireError, Writer};

/// The identity in an IDi or IDr payload. Two identities are the same only if their types are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_FQDN: a host name, without a terminator.
    Fqdn(String),
    /// ID_RFC822_ADDR: a mail address.
    Email(String),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_KEY_ID: bytes that both sides agreed on.
    KeyId(Vec<u8>),
    /// ID_DER_ASN1_DN: a distinguished name in DER, as it came.
    Dn(Vec<u8>),
    /// Any other type; also names that are not UTF-8.
    Other {
        /// The ID type.
        kind: u8,
        /// The identification data.
        data: Vec<u8>,
    },
}

impl Identity {
    /// The name of the type as the RFC has it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Ipv4(_) => "ID_IPV4_ADDR",
            Self::Fqdn(_) => "ID_FQDN",
            Self::Email(_) => "ID_RFC822_ADDR",
            Self::Ipv6(_) => "ID_IPV6_ADDR",
            Self::KeyId(_) => "ID_KEY_ID",
            Self::Dn(_) => "ID_DER_ASN1_DN",
            Self::Other { .. } => "ID (other type)",
        }
    }

    /// Whether both name the same: equal, or distinguished names that say the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dn(ours), Self::Dn(theirs)) => {
                DistinguishedName::from_der(ours).is_same(&DistinguishedName::from_der(theirs))
            }
            _ => self == other,
        }
    }

    /// The payload's body without the generic header: this is what SK_pi and SK_pr sign
    /// (RFC 7296 section 2.15, "RestOfInitIDPayload").
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.into_bytes()
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let kind = r.u8("ID type")?;
        r.take(3, "ID reserved bytes")?;
        let data = r.rest();
        let text = || std::str::from_utf8(data).ok().map(str::to_owned);
        Ok(match kind {
            1 => Self::Ipv4(
                <[u8; 4]>::try_from(data)
                    .map_err(|_| WireError::Length {
                        what: "ID_IPV4_ADDR",
                    })?
                    .into(),
            ),
            5 => Self::Ipv6(
                <[u8; 16]>::try_from(data)
                    .map_err(|_| WireError::Length {
                        what: "ID_IPV6_ADDR",
                    })?
                    .into(),
            ),
            2 => text().map_or_else(
                || Self::Other {
                    kind,
                    data: data.to_vec(),
                },
                Self::Fqdn,
            ),
            3 => text().map_or_else(
                || Self::Other {
                    kind,
                    data: data.to_vec(),
                },
                Self::Email,
            ),
            9 => Self::Dn(data.to_vec()),
            11 => Self::KeyId(data.to_vec()),
            _ => Self::Other {
                kind,
                data: data.to_vec(),
            },
        })
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        let (kind, data): (u8, &[u8]) = match self {
            Self::Ipv4(address) => (1, &address.octets()),
            Self::Fqdn(name) => (2, name.as_bytes()),
            Self::Email(name) => (3, name.as_bytes()),
            Self::Ipv6(address) => (5, &address.octets()),
            Self::Dn(der) => (9, der),
            Self::KeyId(id) => (11, id),
            Self::Other { kind, data } => (*kind, data),
        };
        out.u8(kind);
        out.bytes(&[0; 3]);
        out.bytes(data);
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::Fqdn(name) | Self::Email(name) => write!(f, "{}", name.escape_debug()),
            Self::Dn(der) => DistinguishedName::from_der(der).fmt(f),
            Self::KeyId(id) => {
                f.write_str("keyid:")?;
                id.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
            Self::Other { kind, data } => {
                write!(f, "type{kind}:")?;
                data.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{self}'", self.type_name())
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
