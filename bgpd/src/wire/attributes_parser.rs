//! Reading the Path Attributes field: one attribute after the other, each fault with the treatment
//! that RFC 7606 gives it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::as_path::{AsPath, SegmentKind};
use super::attribute::{
    Aggregator, AttributeCode as Code, Origin, PathAttributes, UnknownAttribute, flag,
};
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::fault::{Problem, Treatment, UpdateFault};
use super::reader::Reader;
use super::update::UpdateContext;
use super::{Families, Family, nlri};
use crate::Asn;

/// What the field came to.
#[derive(Debug)]
pub(super) struct Parsed {
    /// What was collected; `None` if a fault says to treat the announced prefixes as withdrawn.
    pub(super) set: Option<Collected>,
    pub(super) announced: Vec<IpNet>,
    pub(super) withdrawn: Vec<IpNet>,
    /// The family of MP_UNREACH_NLRI, if it was negotiated.
    pub(super) unreach: Option<Family>,
    /// An attribute other than MP_UNREACH_NLRI occurred.
    pub(super) other_seen: bool,
    pub(super) faults: Vec<UpdateFault>,
}

/// A set of attributes that may still lack mandatory ones.
#[derive(Debug)]
pub(super) struct Collected {
    origin: Option<Origin>,
    as_path: Option<AsPath>,
    mp_next_hop: Option<IpAddr>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    rest: PathAttributes,
}

impl Collected {
    /// The whole set with NEXT_HOP for plain prefixes, and with MP_REACH_NLRI's next hop for its own, or the mandatory attribute
    /// that is missing (RFC 4271, section 5).
    pub(super) fn complete(
        self,
        plain: bool,
        multiprotocol: bool,
    ) -> Result<(Option<PathAttributes>, Option<PathAttributes>), Code> {
        let mut set = self.rest;
        set.origin = self.origin.ok_or(Code::ORIGIN)?;
        set.as_path = self.as_path.ok_or(Code::AS_PATH)?;
        if plain && set.next_hop.is_none() || multiprotocol && self.mp_next_hop.is_none() {
            return Err(Code::NEXT_HOP);
        }
        // RFC 6793, section 4.2.3: an aggregator that fits two octets came later than what an OLD
        // speaker passed on, so both AS4 attributes are stale.
        let stale = set.aggregator.is_some_and(|it| it.asn != Asn::TRANS);
        if !stale {
            if let Some(as4_path) = self.as4_path {
                set.as_path = set.as_path.merged_with(as4_path);
            }
            if set.aggregator.is_some() && self.as4_aggregator.is_some() {
                set.aggregator = self.as4_aggregator;
            }
        }
        set.unknown.sort();
        let of_mp = |set: PathAttributes| PathAttributes {
            next_hop: self.mp_next_hop,
            ..set
        };
        Ok(match (plain, multiprotocol) {
            (true, true) => (Some(set.clone()), Some(of_mp(set))),
            (false, true) => (None, Some(of_mp(set))),
            _ => (Some(set), None),
        })
    }
}

impl PathAttributes {
    /// Reads a canonical form back (see [`PathAttributes::emit`] with four octets): nothing that is
    /// missing is missed, as routes of our own have no next hop. `None` if it is not one.
    #[must_use]
    pub fn parse_canonical(bytes: &[u8]) -> Option<Self> {
        let context = UpdateContext {
            four_octet_as: true,
            external: false,
            families: Families::NONE,
            extended_next_hop: false,
        };
        let mut parser = AttributesParser::new(context);
        parser.canonical = true;
        let collected = parser.parse(bytes).ok()?.set?;
        let mut set = collected.rest;
        set.origin = collected.origin?;
        set.as_path = collected.as_path?;
        Some(set)
    }
}

/// One attribute as it stands in the message.
struct Raw<'a> {
    flags: u8,
    code: Code,
    value: &'a [u8],
    whole: &'a [u8],
}

impl Raw<'_> {
    fn fault(&self, problem: Problem, treatment: Treatment) -> UpdateFault {
        let evidence = self.whole.to_vec();
        UpdateFault {
            attribute: Some(self.code),
            problem,
            treatment,
            evidence,
        }
    }

    fn length(&self) -> Problem {
        Problem::Length {
            got: u16::try_from(self.value.len()).unwrap_or(u16::MAX),
        }
    }

    /// The value as an array of exactly that many octets.
    fn array<const N: usize>(&self) -> Result<[u8; N], Problem> {
        self.value.try_into().map_err(|_| self.length())
    }

    /// The value as a list of items of `N` octets, at least one.
    fn items<const N: usize, T>(&self, item: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Problem> {
        let (items, []) = self.value.as_chunks::<N>() else {
            return Err(self.length());
        };
        if items.is_empty() {
            return Err(self.length());
        }
        Ok(items.iter().map(|octets| item(*octets)).collect())
    }
}

/// The reader's state.
pub(super) struct AttributesParser {
    context: UpdateContext,
    /// What is read is our own form, in which NEXT_HOP may have sixteen octets.
    canonical: bool,
    seen: [bool; 256],
    withdraw: bool,
    collected: Collected,
    announced: Vec<IpNet>,
    withdrawn: Vec<IpNet>,
    unreach: Option<Family>,
    other_seen: bool,
    faults: Vec<UpdateFault>,
}

impl AttributesParser {
    pub(super) fn new(context: UpdateContext) -> Self {
        let collected = Collected {
            origin: None,
            as_path: None,
            mp_next_hop: None,
            as4_path: None,
            as4_aggregator: None,
            rest: PathAttributes::local(Origin::Incomplete),
        };
        Self {
            context,
            canonical: false,
            seen: [false; 256],
            withdraw: false,
            collected,
            announced: Vec::new(),
            withdrawn: Vec::new(),
            unreach: None,
            other_seen: false,
            faults: Vec::new(),
        }
    }

    /// Reads the whole field; an error ends the session.
    pub(super) fn parse(mut self, field: &[u8]) -> Result<Parsed, UpdateFault> {
        let mut reader = Reader::new(field);
        while !reader.is_empty() {
            let before = reader.rest();
            let Some(raw) = raw_attribute(&mut reader) else {
                // RFC 7606, section 4: what comes behind is not readable, the prefixes still are.
                self.other_seen = true;
                self.note(UpdateFault {
                    attribute: before.get(1).map(|code| Code(*code)),
                    problem: Problem::AttributeOverrun,
                    treatment: Treatment::TreatAsWithdraw,
                    evidence: before.to_vec(),
                })?;
                break;
            };
            self.attribute(&raw)?;
        }
        Ok(Parsed {
            set: (!self.withdraw).then_some(self.collected),
            announced: self.announced,
            withdrawn: self.withdrawn,
            unreach: self.unreach,
            other_seen: self.other_seen,
            faults: self.faults,
        })
    }

    /// Remembers a fault, or ends the session by it.
    fn note(&mut self, fault: UpdateFault) -> Result<(), UpdateFault> {
        match fault.treatment {
            Treatment::SessionReset => return Err(fault),
            Treatment::TreatAsWithdraw => self.withdraw = true,
            Treatment::AttributeDiscard => {}
        }
        self.faults.push(fault);
        Ok(())
    }

    fn attribute(&mut self, raw: &Raw<'_>) -> Result<(), UpdateFault> {
        self.other_seen |= raw.code != Code::MP_UNREACH_NLRI;
        let seen = self.seen.get_mut(usize::from(raw.code.0));
        if seen.is_some_and(|seen| std::mem::replace(seen, true)) {
            // RFC 7606, section 3 (g).
            let treatment = match raw.code {
                Code::MP_REACH_NLRI | Code::MP_UNREACH_NLRI => Treatment::SessionReset,
                _ => Treatment::AttributeDiscard,
            };
            return self.note(raw.fault(Problem::Repeated, treatment));
        }
        if self.does_not_belong_here(raw.code) {
            return self.note(raw.fault(Problem::NotHere, Treatment::AttributeDiscard));
        }
        if let Some(expected) = expected_flags(raw.code)
            && raw.flags & (flag::OPTIONAL | flag::TRANSITIVE) != expected
        {
            // RFC 7606, section 3 (c). RFC 6793, section 6 has its own rule for AS4_*.
            let treatment = match raw.code {
                Code::AS4_PATH | Code::AS4_AGGREGATOR => Treatment::AttributeDiscard,
                _ => Treatment::TreatAsWithdraw,
            };
            self.note(raw.fault(Problem::Flags { got: raw.flags }, treatment))?;
            // The prefixes inside must still be known, to be withdrawn.
            if !matches!(raw.code, Code::MP_REACH_NLRI | Code::MP_UNREACH_NLRI) {
                return Ok(());
            }
        }
        match self.value(raw) {
            Ok(()) => Ok(()),
            Err(problem) => self.note(raw.fault(problem, treatment_of_malformed(raw.code))),
        }
    }

    /// Attributes that mean nothing on this session and are discarded unread.
    fn does_not_belong_here(&self, code: Code) -> bool {
        match code {
            // RFC 7606, sections 7.5, 7.9, 7.10.
            Code::LOCAL_PREF | Code::ORIGINATOR_ID | Code::CLUSTER_LIST => self.context.external,
            // RFC 6793, section 4.1: never between NEW speakers.
            Code::AS4_PATH | Code::AS4_AGGREGATOR => self.context.four_octet_as,
            _ => false,
        }
    }

    fn value(&mut self, raw: &Raw<'_>) -> Result<(), Problem> {
        let four_octets = self.context.four_octet_as;
        let set = &mut self.collected.rest;
        match raw.code {
            Code::ORIGIN => self.collected.origin = Some(origin(raw)?),
            Code::AS_PATH => self.collected.as_path = Some(as_path(raw, four_octets)?),
            Code::NEXT_HOP if self.canonical && raw.value.len() == 16 => {
                set.next_hop = Some(Ipv6Addr::from(raw.array::<16>()?).into());
            }
            Code::NEXT_HOP => set.next_hop = Some(host(raw.array::<4>()?)?),
            Code::MULTI_EXIT_DISC => set.med = Some(u32::from_be_bytes(raw.array()?)),
            Code::LOCAL_PREF => set.local_pref = Some(u32::from_be_bytes(raw.array()?)),
            Code::ATOMIC_AGGREGATE => {
                raw.array::<0>()?;
                set.atomic_aggregate = true;
            }
            Code::AGGREGATOR => set.aggregator = Some(aggregator(raw, four_octets)?),
            Code::COMMUNITIES => {
                set.communities = raw.items(|octets| Community(u32::from_be_bytes(octets)))?;
            }
            Code::ORIGINATOR_ID => set.originator_id = Some(raw.array::<4>()?.into()),
            Code::CLUSTER_LIST => set.cluster_list = raw.items::<4, _>(Ipv4Addr::from)?,
            Code::MP_REACH_NLRI => self.mp_reach(raw)?,
            Code::MP_UNREACH_NLRI => self.mp_unreach(raw)?,
            Code::EXTENDED_COMMUNITIES => {
                set.extended_communities = raw.items(ExtendedCommunity)?
            }
            Code::AS4_PATH => self.collected.as4_path = Some(as4_path(raw)?),
            Code::AS4_AGGREGATOR => self.collected.as4_aggregator = Some(aggregator(raw, true)?),
            Code::LARGE_COMMUNITIES => {
                // RFC 8092, section 5: a value that is there twice counts once.
                let mut seen = std::collections::BTreeSet::new();
                set.large_communities = raw.items(large_community)?;
                set.large_communities.retain(|it| seen.insert(*it));
            }
            code if raw.flags & flag::OPTIONAL == 0 => {
                debug_assert!(expected_flags(code).is_none());
                return Err(Problem::UnrecognizedWellKnown);
            }
            code if raw.flags & flag::TRANSITIVE != 0 => {
                set.unknown.push(UnknownAttribute {
                    code,
                    value: raw.value.to_vec(),
                });
            }
            // RFC 4271, section 9: unrecognized, optional, non-transitive is quietly ignored.
            _ => {}
        }
        Ok(())
    }

    /// RFC 4760, section 3, for families that were negotiated.
    fn mp_reach(&mut self, raw: &Raw<'_>) -> Result<(), Problem> {
        let mut reader = Reader::new(raw.value);
        let (family, next_hop) = (|| {
            let family = Family {
                afi: reader.u16()?,
                safi: reader.u8()?,
            };
            let length = reader.u8()?;
            let next_hop = reader.take(usize::from(length))?;
            reader.u8()?;
            Some((family, next_hop))
        })()
        .ok_or_else(|| raw.length())?;
        if !self.context.families.contains(family) {
            return Ok(());
        }
        // RFC 7606, section 7.11: a next hop of another length than the family's leaves doubt about everything behind it.
        let is_ipv4 = family == Family::IPV4_UNICAST;
        let next_hop = match next_hop.len() {
            4 if is_ipv4 => host(next_hop.try_into().map_err(|_| raw.length())?),
            16 | 32 if !is_ipv4 || self.context.extended_next_hop => host_ipv6(next_hop),
            _ => return Err(raw.length()),
        };
        self.announced = nlri::parse(family, reader.rest()).ok_or(Problem::Network)?;
        match next_hop {
            Ok(next_hop) => self.collected.mp_next_hop = Some(next_hop),
            Err(problem) => {
                self.withdraw = true;
                self.faults
                    .push(raw.fault(problem, Treatment::TreatAsWithdraw));
            }
        }
        Ok(())
    }

    /// RFC 4760, section 4.
    fn mp_unreach(&mut self, raw: &Raw<'_>) -> Result<(), Problem> {
        let mut reader = Reader::new(raw.value);
        let afi = reader.u16().ok_or_else(|| raw.length())?;
        let safi = reader.u8().ok_or_else(|| raw.length())?;
        let family = Family { afi, safi };
        if self.context.families.contains(family) {
            self.unreach = Some(family);
            self.withdrawn = nlri::parse(family, reader.rest()).ok_or(Problem::Network)?;
        }
        Ok(())
    }
}

/// Cuts the next attribute off; `None` if what is left is not one.
fn raw_attribute<'a>(reader: &mut Reader<'a>) -> Option<Raw<'a>> {
    let start = reader.rest();
    let flags = reader.u8()?;
    let code = Code(reader.u8()?);
    let length = match flags & flag::EXTENDED {
        0 => u16::from(reader.u8()?),
        _ => reader.u16()?,
    };
    let value = reader.take(usize::from(length))?;
    let whole = start.get(..start.len() - reader.len())?;
    Some(Raw {
        flags,
        code,
        value,
        whole,
    })
}

/// Optional and Transitive, as each attribute's definition has them.
fn expected_flags(code: Code) -> Option<u8> {
    Some(match code {
        Code::ORIGIN
        | Code::AS_PATH
        | Code::NEXT_HOP
        | Code::LOCAL_PREF
        | Code::ATOMIC_AGGREGATE => flag::TRANSITIVE,
        Code::MULTI_EXIT_DISC
        | Code::ORIGINATOR_ID
        | Code::CLUSTER_LIST
        | Code::MP_REACH_NLRI
        | Code::MP_UNREACH_NLRI => flag::OPTIONAL,
        Code::AGGREGATOR
        | Code::COMMUNITIES
        | Code::EXTENDED_COMMUNITIES
        | Code::AS4_PATH
        | Code::AS4_AGGREGATOR
        | Code::LARGE_COMMUNITIES => flag::OPTIONAL | flag::TRANSITIVE,
        _ => return None,
    })
}

/// RFC 7606, section 7, attribute by attribute.
fn treatment_of_malformed(code: Code) -> Treatment {
    match code {
        // 7.6, 7.7; RFC 6793, section 6.
        Code::ATOMIC_AGGREGATE | Code::AGGREGATOR | Code::AS4_PATH | Code::AS4_AGGREGATOR => {
            Treatment::AttributeDiscard
        }
        // 7.11, 7.12, and section 5.3: prefixes that cannot be read cannot be withdrawn.
        Code::MP_REACH_NLRI | Code::MP_UNREACH_NLRI => Treatment::SessionReset,
        _ => Treatment::TreatAsWithdraw,
    }
}

fn origin(raw: &Raw<'_>) -> Result<Origin, Problem> {
    match raw.array()? {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        [got] => Err(Problem::Origin { got }),
    }
}

fn as_path(raw: &Raw<'_>, four_octets: bool) -> Result<AsPath, Problem> {
    let path = AsPath::parse(raw.value, four_octets)?;
    if path.contains(Asn::ZERO) {
        return Err(Problem::AsZero);
    }
    for segment in &path.0 {
        match segment.kind {
            SegmentKind::Sequence => {}
            SegmentKind::Set => return Err(Problem::AsSet),
            // We are in no confederation, so neither is any peer of ours.
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => {
                return Err(Problem::Confederation);
            }
        }
    }
    Ok(path)
}

fn as4_path(raw: &Raw<'_>) -> Result<AsPath, Problem> {
    let mut path = AsPath::parse(raw.value, true)?;
    if path.0.is_empty() {
        return Err(raw.length());
    }
    if path.contains(Asn::ZERO) {
        return Err(Problem::AsZero);
    }
    // RFC 6793, section 6: confederation segments are left out, the rest is used.
    path.0
        .retain(|it| matches!(it.kind, SegmentKind::Sequence | SegmentKind::Set));
    Ok(path)
}

fn aggregator(raw: &Raw<'_>, four_octets: bool) -> Result<Aggregator, Problem> {
    let (asn, id) = if four_octets {
        let [a, b, c, d, id @ ..] = raw.array::<8>()?;
        (u32::from_be_bytes([a, b, c, d]), id)
    } else {
        let [a, b, id @ ..] = raw.array::<6>()?;
        (u32::from(u16::from_be_bytes([a, b])), id)
    };
    if asn == 0 {
        return Err(Problem::AsZero);
    }
    Ok(Aggregator {
        asn: Asn(asn),
        id: id.into(),
    })
}

fn large_community(octets: [u8; 12]) -> LargeCommunity {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = octets;
    LargeCommunity([[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_be_bytes))
}

/// An address that a host can have (RFC 4271, section 6.3): not of this network, not a loopback, not
/// multicast, not of class E.
fn host(octets: [u8; 4]) -> Result<IpAddr, Problem> {
    match octets {
        [0 | 127 | 224..=255, ..] => Err(Problem::NextHop),
        _ => Ok(Ipv4Addr::from(octets).into()),
    }
}

/// The next hop in 16 octets, or in 32 with its link-local address behind it (RFC 2545, section 3). The global one serves alone;
/// where there is none the link-local one is the next hop.
fn host_ipv6(octets: &[u8]) -> Result<IpAddr, Problem> {
    let (addresses, _) = octets.as_chunks::<16>();
    let mut addresses = addresses.iter().copied().map(Ipv6Addr::from);
    let address = addresses.find(|it| !it.is_unspecified());
    address
        .filter(|it| !it.is_loopback() && !it.is_multicast())
        .map(IpAddr::V6)
        .ok_or(Problem::NextHop)
}
