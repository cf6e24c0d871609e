//! Path attributes: what they are, and how they are written.
//!
//! [`PathAttributes`] is one route's whole set, valid by construction of the parser beside it (see
//! `update.rs`). Written with four-octet AS numbers it has one canonical form, by which equal sets
//! are found equal.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Serialize, Serializer};

use super::as_path::{AsPath, SegmentKind};
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use crate::Asn;

/// The type code of an attribute (RFC 4271, section 5, and the IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeCode(pub u8);

#[expect(missing_docs, reason = "the names are those of the registry")]
impl AttributeCode {
    pub const ORIGIN: Self = Self(1);
    pub const AS_PATH: Self = Self(2);
    pub const NEXT_HOP: Self = Self(3);
    pub const MULTI_EXIT_DISC: Self = Self(4);
    pub const LOCAL_PREF: Self = Self(5);
    pub const ATOMIC_AGGREGATE: Self = Self(6);
    pub const AGGREGATOR: Self = Self(7);
    pub const COMMUNITIES: Self = Self(8);
    pub const ORIGINATOR_ID: Self = Self(9);
    pub const CLUSTER_LIST: Self = Self(10);
    pub const MP_REACH_NLRI: Self = Self(14);
    pub const MP_UNREACH_NLRI: Self = Self(15);
    pub const EXTENDED_COMMUNITIES: Self = Self(16);
    pub const AS4_PATH: Self = Self(17);
    pub const AS4_AGGREGATOR: Self = Self(18);
    pub const LARGE_COMMUNITIES: Self = Self(32);

    /// The registry's name, where this crate knows the attribute.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ORIGIN => "ORIGIN",
            Self::AS_PATH => "AS_PATH",
            Self::NEXT_HOP => "NEXT_HOP",
            Self::MULTI_EXIT_DISC => "MULTI_EXIT_DISC",
            Self::LOCAL_PREF => "LOCAL_PREF",
            Self::ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
            Self::AGGREGATOR => "AGGREGATOR",
            Self::COMMUNITIES => "COMMUNITIES",
            Self::ORIGINATOR_ID => "ORIGINATOR_ID",
            Self::CLUSTER_LIST => "CLUSTER_LIST",
            Self::MP_REACH_NLRI => "MP_REACH_NLRI",
            Self::MP_UNREACH_NLRI => "MP_UNREACH_NLRI",
            Self::EXTENDED_COMMUNITIES => "EXTENDED_COMMUNITIES",
            Self::AS4_PATH => "AS4_PATH",
            Self::AS4_AGGREGATOR => "AS4_AGGREGATOR",
            Self::LARGE_COMMUNITIES => "LARGE_COMMUNITIES",
            _ => return None,
        })
    }
}

impl fmt::Display for AttributeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "attribute {}", self.0),
        }
    }
}

impl Serialize for AttributeCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The bits of an attribute's flags octet.
pub(super) mod flag {
    pub(in crate::wire) const OPTIONAL: u8 = 0x80;
    pub(in crate::wire) const TRANSITIVE: u8 = 0x40;
    pub(in crate::wire) const PARTIAL: u8 = 0x20;
    pub(in crate::wire) const EXTENDED: u8 = 0x10;
}

/// How a route entered BGP; the smaller the better (RFC 4271, section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// 0: inside the originating AS.
    Igp,
    /// 1: by EGP.
    Egp,
    /// 2: by other means.
    Incomplete,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        })
    }
}

/// Who aggregated a route (RFC 4271, section 5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP Identifier.
    pub id: Ipv4Addr,
}

/// An optional transitive attribute that we pass on without understanding it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UnknownAttribute {
    /// Its type code.
    pub code: AttributeCode,
    /// Its value.
    pub value: Vec<u8>,
}

/// All attributes of one route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PathAttributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, with an OLD speaker's AS4_PATH worked in.
    pub as_path: AsPath,
    /// NEXT_HOP, or MP_REACH_NLRI's; `None` for a route of our own.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF; only inside one AS.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID (RFC 4456); only inside one AS.
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456); only inside one AS.
    pub cluster_list: Vec<Ipv4Addr>,
    /// EXTENDED_COMMUNITIES (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITIES (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// Others, by code.
    pub unknown: Vec<UnknownAttribute>,
}

impl PathAttributes {
    /// A route of our own: no path, no next hop.
    #[must_use]
    pub fn local(origin: Origin) -> Self {
        Self {
            origin,
            as_path: AsPath::default(),
            next_hop: None,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Writes the Path Attributes field, in order of type codes. To an OLD speaker (`four_octets`
    /// false) numbers that do not fit also go into AS4_PATH and AS4_AGGREGATOR (RFC 6793, 4.2.2). An IPv6 next hop is left out:
    /// its place is MP_REACH_NLRI ([`UpdateBuilder::reach`](super::UpdateBuilder::reach)).
    pub fn emit(&self, four_octets: bool, out: &mut Vec<u8>) {
        let octets = match self.next_hop {
            Some(IpAddr::V4(address)) => Some(address.octets()),
            _ => None,
        };
        self.write(four_octets, octets.as_ref().map(<[u8; 4]>::as_slice), out);
    }

    /// Writes the canonical form, by which equal sets are found equal: as for a peer with AS numbers of four octets, but that
    /// NEXT_HOP has an IPv6 next hop's sixteen octets. Nobody sends that, so no received octets are mistaken for it.
    pub(crate) fn emit_canonical(&self, out: &mut Vec<u8>) {
        match self.next_hop {
            None => self.write(true, None, out),
            Some(IpAddr::V4(address)) => self.write(true, Some(&address.octets()), out),
            Some(IpAddr::V6(address)) => self.write(true, Some(&address.octets()), out),
        }
    }

    fn write(&self, four_octets: bool, next_hop: Option<&[u8]>, out: &mut Vec<u8>) {
        use AttributeCode as Code;
        use flag::{OPTIONAL, TRANSITIVE};
        attribute(out, TRANSITIVE, Code::ORIGIN, |out| {
            out.push(self.origin as u8)
        });
        attribute(out, TRANSITIVE, Code::AS_PATH, |out| {
            self.as_path.emit(four_octets, out)
        });
        if let Some(next_hop) = next_hop {
            attribute(out, TRANSITIVE, Code::NEXT_HOP, |out| {
                out.extend_from_slice(next_hop)
            });
        }
        if let Some(med) = self.med {
            attribute(out, OPTIONAL, Code::MULTI_EXIT_DISC, |out| {
                out.extend(med.to_be_bytes())
            });
        }
        if let Some(local_pref) = self.local_pref {
            attribute(out, TRANSITIVE, Code::LOCAL_PREF, |out| {
                out.extend(local_pref.to_be_bytes())
            });
        }
        if self.atomic_aggregate {
            attribute(out, TRANSITIVE, Code::ATOMIC_AGGREGATE, |_| ());
        }
        if let Some(Aggregator { asn, id }) = self.aggregator {
            attribute(out, OPTIONAL | TRANSITIVE, Code::AGGREGATOR, |out| {
                if four_octets {
                    out.extend(asn.0.to_be_bytes());
                } else {
                    out.extend(asn.as_two_octets().to_be_bytes());
                }
                out.extend(id.octets());
            });
        }
        list(
            out,
            OPTIONAL | TRANSITIVE,
            Code::COMMUNITIES,
            &self.communities,
            |community| community.0.to_be_bytes(),
        );
        if let Some(id) = self.originator_id {
            attribute(out, OPTIONAL, Code::ORIGINATOR_ID, |out| {
                out.extend(id.octets())
            });
        }
        list(
            out,
            OPTIONAL,
            Code::CLUSTER_LIST,
            &self.cluster_list,
            Ipv4Addr::octets,
        );
        let extended = &self.extended_communities;
        list(
            out,
            OPTIONAL | TRANSITIVE,
            Code::EXTENDED_COMMUNITIES,
            extended,
            |it| it.0,
        );
        if !four_octets {
            self.emit_as4(out);
        }
        let (below, above): (Vec<_>, Vec<_>) = self
            .unknown
            .iter()
            .partition(|it| it.code < Code::LARGE_COMMUNITIES);
        below.into_iter().for_each(|it| it.emit(out));
        let large = &self.large_communities;
        list(
            out,
            OPTIONAL | TRANSITIVE,
            Code::LARGE_COMMUNITIES,
            large,
            |LargeCommunity([a, b, c])| {
                let mut octets = [0; 12];
                let numbers = [a, b, c]
                    .into_iter()
                    .flat_map(|number| number.to_be_bytes());
                octets
                    .iter_mut()
                    .zip(numbers)
                    .for_each(|(to, from)| *to = from);
                octets
            },
        );
        above.into_iter().for_each(|it| it.emit(out));
    }

    /// What two octets cannot say: AS4_PATH without confederation segments, and AS4_AGGREGATOR.
    fn emit_as4(&self, out: &mut Vec<u8>) {
        use flag::{OPTIONAL, TRANSITIVE};
        let wide = |asn: Asn| asn.0 > u32::from(u16::MAX);
        if self.as_path.asns().any(wide) {
            let mut path = self.as_path.clone();
            path.0
                .retain(|it| matches!(it.kind, SegmentKind::Sequence | SegmentKind::Set));
            attribute(out, OPTIONAL | TRANSITIVE, AttributeCode::AS4_PATH, |out| {
                path.emit(true, out)
            });
        }
        if let Some(Aggregator { asn, id }) = self.aggregator.filter(|it| wide(it.asn)) {
            attribute(
                out,
                OPTIONAL | TRANSITIVE,
                AttributeCode::AS4_AGGREGATOR,
                |out| {
                    out.extend(asn.0.to_be_bytes());
                    out.extend(id.octets());
                },
            );
        }
    }
}

impl UnknownAttribute {
    fn emit(&self, out: &mut Vec<u8>) {
        // RFC 4271, section 5: who passes on what it does not know sets Partial.
        let flags = flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL;
        attribute(out, flags, self.code, |out| {
            out.extend_from_slice(&self.value)
        });
    }
}

/// One attribute with its header; the length takes a second octet when it must.
fn attribute(out: &mut Vec<u8>, flags: u8, code: AttributeCode, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[flags, code.0, 0]);
    value(out);
    let length = out.len() - start - 3;
    match u8::try_from(length) {
        Ok(length) => out[start + 2] = length,
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out[start] |= flag::EXTENDED;
            out[start + 2] = high;
            out.insert(start + 3, low);
        }
    }
}

/// One attribute that is a list of items of one size; an empty list is no attribute.
fn list<T, const N: usize>(
    out: &mut Vec<u8>,
    flags: u8,
    code: AttributeCode,
    items: &[T],
    octets: impl Fn(&T) -> [u8; N],
) {
    if !items.is_empty() {
        attribute(out, flags, code, |out| {
            items.iter().for_each(|item| out.extend(octets(item)))
        });
    }
}
