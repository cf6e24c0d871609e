//! Capabilities (RFC 5492): what each side of a session can do.

use std::time::Duration;

use serde::Serialize;

use super::Family;
use super::reader::Reader;
use crate::Asn;

/// The longest restart time that the capability's twelve bits hold (RFC 4724, section 3).
pub const MAX_RESTART_TIME: Duration = Duration::from_secs(0xfff);

/// What the graceful restart capability says (RFC 4724, section 3; RFC 8538, section 2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RestartCapability {
    /// The R bit: the sender has restarted, and is not to be waited for.
    pub restarted: bool,
    /// The N bit: a NOTIFICATION, and a hold time that ran out, end a session gracefully too.
    pub notification: bool,
    /// How long the sender may take until it is back, in whole seconds, [`MAX_RESTART_TIME`] at most.
    pub restart_time: Duration,
    /// The families whose forwarding the sender can keep up while it restarts, each with its F bit: it has been kept up.
    pub families: Vec<(Family, bool)>,
}

impl RestartCapability {
    const RESTARTED: u16 = 0x8000;
    const NOTIFICATION: u16 = 0x4000;
    const FORWARDING: u8 = 0x80;

    /// `None` if the length cannot be one.
    fn parse(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let head = reader.u16()?;
        let mut families = Vec::new();
        while !reader.is_empty() {
            let (afi, safi, flags) = (reader.u16()?, reader.u8()?, reader.u8()?);
            families.push((Family { afi, safi }, flags & Self::FORWARDING != 0));
        }
        Some(Self {
            restarted: head & Self::RESTARTED != 0,
            notification: head & Self::NOTIFICATION != 0,
            restart_time: Duration::from_secs(u64::from(head & 0xfff)),
            families,
        })
    }

    fn emit(&self) -> Vec<u8> {
        let seconds = self.restart_time.min(MAX_RESTART_TIME).as_secs();
        let mut head = u16::try_from(seconds).unwrap_or(0xfff);
        if self.restarted {
            head |= Self::RESTARTED;
        }
        if self.notification {
            head |= Self::NOTIFICATION;
        }
        let mut value = head.to_be_bytes().to_vec();
        for (family, forwarding) in &self.families {
            value.extend(family.afi.to_be_bytes());
            value.extend([family.safi, if *forwarding { Self::FORWARDING } else { 0 }]);
        }
        value
    }

    /// Whether the sender can keep a family's forwarding up, and if so, its F bit.
    #[must_use]
    pub fn family(&self, family: Family) -> Option<bool> {
        let found = self.families.iter().find(|(it, _)| *it == family);
        found.map(|(_, forwarding)| *forwarding)
    }
}

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Code 1, multiprotocol extensions (RFC 4760, section 8).
    Multiprotocol(Family),
    /// Code 2, route refresh (RFC 2918).
    RouteRefresh,
    /// Code 5, extended next hop (RFC 8950): each family's prefixes may have next hops of that AFI.
    ExtendedNextHop(Vec<(Family, u16)>),
    /// Code 64, graceful restart (RFC 4724).
    GracefulRestart(RestartCapability),
    /// Code 65, AS numbers of four octets, with the sender's (RFC 6793).
    FourOctetAs(Asn),
    /// Code 70, enhanced route refresh (RFC 7313).
    EnhancedRouteRefresh,
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
            Self::ExtendedNextHop(_) => 5,
            Self::GracefulRestart(_) => 64,
            Self::FourOctetAs(_) => 65,
            Self::EnhancedRouteRefresh => 70,
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
            (5, value) => match extended_next_hop(value) {
                Some(families) => Self::ExtendedNextHop(families),
                None => Self::other(code, value),
            },
            (70, []) => Self::EnhancedRouteRefresh,
            (65, [a, b, c, d]) => Self::FourOctetAs(Asn(u32::from_be_bytes([*a, *b, *c, *d]))),
            (64, value) => match RestartCapability::parse(value) {
                Some(restart) => Self::GracefulRestart(restart),
                None => Self::other(code, value),
            },
            _ => Self::other(code, value),
        }
    }

    fn other(code: u8, value: &[u8]) -> Self {
        let value = value.to_vec();
        Self::Other { code, value }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let value = match self {
            Self::Multiprotocol(family) => {
                let [high, low] = family.afi.to_be_bytes();
                vec![high, low, 0, family.safi]
            }
            Self::RouteRefresh | Self::EnhancedRouteRefresh => Vec::new(),
            Self::ExtendedNextHop(families) => {
                let octets = |(family, next_hop): &(Family, u16)| {
                    let [high, low] = family.afi.to_be_bytes();
                    let [next_high, next_low] = next_hop.to_be_bytes();
                    [high, low, 0, family.safi, next_high, next_low]
                };
                families.iter().flat_map(octets).collect()
            }
            Self::GracefulRestart(restart) => restart.emit(),
            Self::FourOctetAs(asn) => asn.0.to_be_bytes().to_vec(),
            Self::Other { value, .. } => value.clone(),
        };
        out.push(self.code());
        out.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        out.extend(value.iter().take(usize::from(u8::MAX)));
    }
}

/// RFC 8950, section 4: triples of AFI, SAFI in two octets, and the next hop's AFI; `None` if the length cannot be one.
fn extended_next_hop(value: &[u8]) -> Option<Vec<(Family, u16)>> {
    let (triples, []) = value.as_chunks::<6>() else {
        return None;
    };
    let read = |[high, low, _, safi, next_high, next_low]: &[u8; 6]| {
        let family = Family {
            afi: u16::from_be_bytes([*high, *low]),
            safi: *safi,
        };
        (family, u16::from_be_bytes([*next_high, *next_low]))
    };
    (!triples.is_empty()).then(|| triples.iter().map(read).collect())
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

    /// Whether the beginning and the end of what a ROUTE-REFRESH asks for are marked (RFC 7313). It presupposes the plain one.
    #[must_use]
    pub fn enhanced_route_refresh(&self) -> bool {
        self.route_refresh() && self.0.contains(&Capability::EnhancedRouteRefresh)
    }

    /// Graceful restart, as the sender means it. Where it names it twice, the last one counts (RFC 4724, section 3).
    #[must_use]
    pub fn graceful_restart(&self) -> Option<&RestartCapability> {
        self.0.iter().rev().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        })
    }

    /// Whether IPv4 unicast prefixes with IPv6 next hops are understood (RFC 8950).
    #[must_use]
    pub fn extended_next_hop(&self) -> bool {
        let pair = (Family::IPV4_UNICAST, Family::IPV6_UNICAST.afi);
        self.0.iter().any(|capability| match capability {
            Capability::ExtendedNextHop(families) => families.contains(&pair),
            _ => false,
        })
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
