//! Capabilities (RFC 5492): what each side of a session can do.

use serde::Serialize;

use super::Family;
use super::reader::Reader;
use crate::Asn;

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Code 1, multiprotocol extensions (RFC 4760, section 8).
    Multiprotocol(Family),
    /// Code 2, route refresh (RFC 2918).
    RouteRefresh,
    /// Code 65, AS numbers of four octets, with the sender's (RFC 6793).
    FourOctetAs(Asn),
    /// Any other, or one of the above with a length that it cannot have: noted, never used.
    Other {
        /// The code.
        code: u8,
        /// The value.
        value: Vec<u8>,
    },
}

impl Capability {
    /// The registry's number.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => 1,
            Self::RouteRefresh => 2,
            Self::FourOctetAs(_) => 65,
            Self::Other { code, .. } => *code,
        }
    }

    /// The registry's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.code() {
            1 => "multiprotocol",
            2 => "route refresh",
            5 => "extended next hop",
            6 => "extended message",
            9 => "role",
            64 => "graceful restart",
            65 => "four-octet AS",
            69 => "add path",
            70 => "enhanced route refresh",
            71 => "long-lived graceful restart",
            73 => "FQDN",
            75 => "software version",
            128 => "route refresh (Cisco)",
            _ => "unknown",
        }
    }

    fn parse(code: u8, value: &[u8]) -> Self {
        match (code, value) {
            (1, [high, low, _, safi]) => Self::Multiprotocol(Family {
                afi: u16::from_be_bytes([*high, *low]),
                safi: *safi,
            }),
            (2, []) => Self::RouteRefresh,
            (65, [a, b, c, d]) => Self::FourOctetAs(Asn(u32::from_be_bytes([*a, *b, *c, *d]))),
            _ => Self::Other {
                code,
                value: value.to_vec(),
            },
        }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let value = match self {
            Self::Multiprotocol(family) => {
                let [high, low] = family.afi.to_be_bytes();
                vec![high, low, 0, family.safi]
            }
            Self::RouteRefresh => Vec::new(),
            Self::FourOctetAs(asn) => asn.0.to_be_bytes().to_vec(),
            Self::Other { value, .. } => value.clone(),
        };
        out.push(self.code());
        out.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        out.extend(value.iter().take(usize::from(u8::MAX)));
    }
}

/// All capabilities of one OPEN, in its order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Capabilities(pub Vec<Capability>);

impl Capabilities {
    /// Reads the value of one Capabilities optional parameter and adds what it says; the same
    /// capability twice counts once (RFC 5492, section 4). `None` if it is cut short.
    pub(super) fn parse_into(&mut self, value: &[u8]) -> Option<()> {
        let mut reader = Reader::new(value);
        while !reader.is_empty() {
            let code = reader.u8()?;
            let length = reader.u8()?;
            let capability = Capability::parse(code, reader.take(usize::from(length))?);
            if !self.0.contains(&capability) {
                self.0.push(capability);
            }
        }
        Some(())
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|capability| capability.emit(out));
    }

    /// The AS number of four octets, if the sender can have one.
    #[must_use]
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.0.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        })
    }

    /// Whether ROUTE-REFRESH is understood.
    #[must_use]
    pub fn route_refresh(&self) -> bool {
        self.0.contains(&Capability::RouteRefresh)
    }

    /// Whether a family can be exchanged: it is named, or no family is named at all and it is IPv4
    /// unicast, which BGP-4 always had.
    #[must_use]
    pub fn carries(&self, family: Family) -> bool {
        let mut named = false;
        for capability in &self.0 {
            if let Capability::Multiprotocol(it) = capability {
                if *it == family {
                    return true;
                }
                named = true;
            }
        }
        !named && family == Family::IPV4_UNICAST
    }
}
