//! Choosing among proposals (RFC 7296 section 2.7), and saying why nothing could be chosen.
//!
//! The same functions serve both roles: the responder chooses from an offer, and the initiator
//! checks that an answer is something which it offered.

use crypto::{Encryption, Group, Integrity, Kem, Prf, Suite};

use crate::connection::{EsnPolicy, EspProposal, IkeProposal};
use crate::describe::{self, Offer};
use crate::wire::{IkeSpi, Proposal, Protocol, Transform, TransformType};

/// The algorithms of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IkeSuite {
    pub(crate) suite: Suite,
    pub(crate) prf: Prf,
    pub(crate) group: Group,
    /// An additional key exchange (RFC 9370).
    pub(crate) kem: Option<Kem>,
}

impl std::fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let proposal = IkeProposal {
            encryption: self.suite.encryption,
            integrity: self.suite.integrity,
            prf: self.prf,
            groups: vec![self.group],
            kems: self.kem.into_iter().collect(),
        };
        proposal.fmt(f)
    }
}

/// The algorithms of a CHILD_SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EspSuite {
    pub(crate) suite: Suite,
    pub(crate) group: Option<Group>,
    pub(crate) esn: bool,
}

/// What was chosen, and the proposal that says so to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice<T> {
    pub(crate) chosen: T,
    /// The peer's SPI in the proposal.
    pub(crate) spi: Vec<u8>,
    /// Our answer, with an empty SPI.
    pub(crate) answer: Proposal,
}

/// Nothing fits; with both sides' offers, and how the nearest pair differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) ours: Offer,
    pub(crate) theirs: Offer,
    pub(crate) nearest: Vec<Difference>,
}

/// One kind of algorithm on which a pair of proposals does not meet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// `encryption`, `integrity`, `prf`, `group`, `additional key exchange` or `esn`.
    pub what: &'static str,
    /// What we accept.
    pub ours: String,
    /// What the peer offers.
    pub theirs: String,
}

/// Which groups a CHILD_SA may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildGroups {
    /// IKE_AUTH: there is no exchange of its own, and transforms for one are ignored.
    FirstChild,
    /// CREATE_CHILD_SA: the configured ones, and these.
    Create { ike: Option<Group>, none: bool },
}

/// Chooses for an IKE SA. `ke` is the group of the KE payload, preferred since it saves a round.
pub(crate) fn choose_ike(
    ours: &[IkeProposal],
    theirs: &[Proposal],
    ke: Option<u16>,
) -> Result<Choice<IkeSuite>, Mismatch> {
    let mut nearest: Option<Vec<Difference>> = None;
    for our in ours {
        for their in theirs.iter().filter(|p| p.protocol == Protocol::Ike) {
            match meet_ike(our, their, ke) {
                Ok(choice) => return Ok(choice),
                Err(differences) => keep_nearest(&mut nearest, differences),
            }
        }
    }
    Err(Mismatch {
        ours: Offer::from_ours(ours),
        theirs: Offer::from_wire(theirs),
        nearest: nearest.unwrap_or_default(),
    })
}

/// Chooses for a CHILD_SA.
pub(crate) fn choose_esp(
    ours: &[EspProposal],
    theirs: &[Proposal],
    groups: ChildGroups,
    ke: Option<u16>,
) -> Result<Choice<EspSuite>, Mismatch> {
    let mut nearest: Option<Vec<Difference>> = None;
    for our in ours {
        for their in theirs
            .iter()
            .filter(|p| p.protocol == Protocol::Esp && p.spi.len() == 4)
        {
            match meet_esp(our, their, groups, ke) {
                Ok(choice) => return Ok(choice),
                Err(differences) => keep_nearest(&mut nearest, differences),
            }
        }
    }
    Err(Mismatch {
        ours: Offer::from_ours(ours),
        theirs: Offer::from_wire(theirs),
        nearest: nearest.unwrap_or_default(),
    })
}

fn keep_nearest(nearest: &mut Option<Vec<Difference>>, differences: Vec<Difference>) {
    if nearest
        .as_ref()
        .is_none_or(|best| differences.len() < best.len())
    {
        *nearest = Some(differences);
    }
}

/// An answer must be one proposal with one transform of each kind, among those we offered.
pub(crate) fn is_single_choice(answer: &[Proposal]) -> bool {
    let [proposal] = answer else { return false };
    let mut kinds: Vec<TransformType> = proposal.transforms.iter().map(|t| t.kind).collect();
    kinds.sort_unstable();
    kinds.windows(2).all(|pair| pair.first() != pair.get(1))
}

/// Collects the differences between two proposals while it looks for what they share.
struct Meeting<'a> {
    their: &'a Proposal,
    differences: Vec<Difference>,
    transforms: Vec<Transform>,
}

impl<'a> Meeting<'a> {
    fn new(their: &'a Proposal) -> Self {
        let mut meeting = Self {
            their,
            differences: Vec::new(),
            transforms: Vec::new(),
        };
        // A transform type that we do not know spoils its proposal (RFC 7296 section 3.3.6).
        for t in &their.transforms {
            if let TransformType::Other(_) = t.kind {
                meeting.differ("transform type", "none".to_owned(), describe::transform(t));
            }
        }
        // A second additional key exchange and more, which we have none for.
        for number in 2..=7 {
            meeting.additional(number, &[]);
        }
        meeting
    }

    fn offers(&self, kind: TransformType) -> impl Iterator<Item = &'a Transform> + use<'a> {
        self.their
            .transforms
            .iter()
            .filter(move |t| t.kind == kind && !t.foreign)
    }

    fn differ(&mut self, what: &'static str, ours: String, theirs: String) {
        let theirs = if theirs.is_empty() {
            "none".to_owned()
        } else {
            theirs
        };
        self.differences.push(Difference { what, ours, theirs });
    }

    fn theirs(&self, kind: TransformType) -> String {
        describe::alternatives(&self.their.transforms, kind)
    }

    fn encryption(&mut self, ours: Encryption) {
        let (id, bits) = ours.transform();
        if self
            .offers(TransformType::Encryption)
            .any(|t| t.id == id && t.key_bits == bits)
        {
            self.transforms
                .push(Transform::with_key(TransformType::Encryption, id, bits));
        } else {
            self.differ(
                "encryption",
                ours.to_string(),
                self.theirs(TransformType::Encryption),
            );
        }
    }

    fn integrity(&mut self, ours: Option<Integrity>) {
        let mut offers = self.offers(TransformType::Integrity).peekable();
        match ours {
            Some(ours) => {
                if offers.any(|t| t.id == ours.id()) {
                    self.transforms
                        .push(Transform::new(TransformType::Integrity, ours.id()));
                } else {
                    let theirs = self.theirs(TransformType::Integrity);
                    self.differ("integrity", ours.to_string(), theirs);
                }
            }
            // AEAD: no integrity transform at all, or NONE (RFC 5282 section 8).
            None => {
                if offers.peek().is_some() && !offers.any(|t| t.id == 0) {
                    let theirs = self.theirs(TransformType::Integrity);
                    self.differ("integrity", "none".to_owned(), theirs);
                }
            }
        }
    }

    fn prf(&mut self, ours: Prf) {
        if self.offers(TransformType::Prf).any(|t| t.id == ours.id()) {
            self.transforms
                .push(Transform::new(TransformType::Prf, ours.id()));
        } else {
            self.differ("prf", ours.to_string(), self.theirs(TransformType::Prf));
        }
    }

    /// The first of `acceptable` that is on offer; the one of the KE payload before all others.
    fn group(&mut self, acceptable: &[Group], ke: Option<u16>) -> Option<Group> {
        let offered = |g: &Group| self.offers(TransformType::Group).any(|t| t.id == g.id());
        let chosen = acceptable
            .iter()
            .find(|g| Some(g.id()) == ke && offered(g))
            .or_else(|| acceptable.iter().find(|g| offered(g)))
            .copied();
        match chosen {
            Some(group) => {
                self.transforms
                    .push(Transform::new(TransformType::Group, group.id()));
            }
            None => {
                let ours: Vec<String> = acceptable.iter().map(ToString::to_string).collect();
                let ours = if ours.is_empty() {
                    "none".to_owned()
                } else {
                    ours.join("/")
                };
                self.differ("group", ours, self.theirs(TransformType::Group));
            }
        }
        chosen
    }

    /// The first of `acceptable` that is on offer for an additional key exchange, or none where that is what both want (RFC 9370 section
    /// 2.2.1).
    fn additional(&mut self, number: u8, acceptable: &[Kem]) -> Option<Kem> {
        let kind = TransformType::Additional(number);
        let offered = |id: u16| self.offers(kind).any(|t| t.id == id);
        let chosen = acceptable.iter().find(|kem| offered(kem.id())).copied();
        let none = acceptable.is_empty() && offered(0);
        if let Some(id) = chosen.map(Kem::id).or(none.then_some(0)) {
            self.transforms.push(Transform::new(kind, id));
        } else if !acceptable.is_empty() || self.offers(kind).next().is_some() {
            let ours: Vec<String> = acceptable
                .iter()
                .map(|kem| format!("ke{number}_{kem}"))
                .collect();
            let ours = if ours.is_empty() {
                "none".to_owned()
            } else {
                ours.join("/")
            };
            self.differ("additional key exchange", ours, self.theirs(kind));
        }
        chosen
    }

    fn child_group(
        &mut self,
        ours: &EspProposal,
        groups: ChildGroups,
        ke: Option<u16>,
    ) -> Option<Group> {
        let ChildGroups::Create { ike, none } = groups else {
            return None;
        };
        let mut acceptable = ours.groups.clone();
        if let Some(ike) = ike
            && !acceptable.contains(&ike)
        {
            acceptable.push(ike);
        }
        let without = self.offers(TransformType::Group).all(|t| t.id == 0);
        let none_offered = without || self.offers(TransformType::Group).any(|t| t.id == 0);
        let none_accepted = none || ours.groups.is_empty();
        if without && none_accepted {
            return None;
        }
        // Without PFS in our parameters we still give it to a peer that sent a usable value.
        if none_offered && none_accepted && ke.is_none() {
            self.transforms
                .push(Transform::new(TransformType::Group, 0));
            return None;
        }
        self.group(&acceptable, ke)
    }

    fn esn(&mut self, policy: EsnPolicy) -> bool {
        let mut with = false;
        let mut without = self.offers(TransformType::Esn).next().is_none();
        for t in self.offers(TransformType::Esn) {
            with |= t.id == 1;
            without |= t.id == 0;
        }
        let chosen = match policy {
            EsnPolicy::Either if with => Some(true),
            EsnPolicy::Require => with.then_some(true),
            EsnPolicy::Either | EsnPolicy::Never => without.then_some(false),
        };
        match chosen {
            Some(esn) => {
                self.transforms
                    .push(Transform::new(TransformType::Esn, u16::from(esn)));
            }
            None => {
                let ours = if policy == EsnPolicy::Never {
                    "noesn"
                } else {
                    "esn"
                };
                self.differ("esn", ours.to_owned(), self.theirs(TransformType::Esn));
            }
        }
        chosen.unwrap_or(false)
    }

    fn finish<T>(self, chosen: Option<T>) -> Result<Choice<T>, Vec<Difference>> {
        match chosen {
            Some(chosen) if self.differences.is_empty() => Ok(Choice {
                chosen,
                spi: self.their.spi.clone(),
                answer: Proposal {
                    number: self.their.number,
                    protocol: self.their.protocol,
                    spi: Vec::new(),
                    transforms: self.transforms,
                },
            }),
            _ => Err(self.differences),
        }
    }
}

fn meet_ike(
    our: &IkeProposal,
    their: &Proposal,
    ke: Option<u16>,
) -> Result<Choice<IkeSuite>, Vec<Difference>> {
    let mut meeting = Meeting::new(their);
    meeting.encryption(our.encryption);
    meeting.prf(our.prf);
    meeting.integrity(our.integrity);
    let group = meeting.group(&our.groups, ke);
    let kem = meeting.additional(1, &our.kems);
    let suite = Suite::new(our.encryption, our.integrity).ok();
    let chosen = suite.zip(group).map(|(suite, group)| IkeSuite {
        suite,
        prf: our.prf,
        group,
        kem,
    });
    meeting.finish(chosen)
}

fn meet_esp(
    our: &EspProposal,
    their: &Proposal,
    groups: ChildGroups,
    ke: Option<u16>,
) -> Result<Choice<EspSuite>, Vec<Difference>> {
    let mut meeting = Meeting::new(their);
    meeting.encryption(our.encryption);
    meeting.integrity(our.integrity);
    let group = meeting.child_group(our, groups, ke);
    meeting.additional(1, &[]);
    let esn = meeting.esn(our.esn);
    let suite = Suite::new(our.encryption, our.integrity).ok();
    meeting.finish(suite.map(|suite| EspSuite { suite, group, esn }))
}

/// Our offer for an IKE SA; `spi` is given when rekeying.
pub(crate) fn offer_ike(ours: &[IkeProposal], spi: Option<IkeSpi>) -> Vec<Proposal> {
    let spi = spi.map(|spi| spi.0.to_vec()).unwrap_or_default();
    (1..=u8::MAX)
        .zip(ours)
        .map(|(number, our)| {
            let (id, bits) = our.encryption.transform();
            let mut transforms = vec![
                Transform::with_key(TransformType::Encryption, id, bits),
                Transform::new(TransformType::Prf, our.prf.id()),
            ];
            if let Some(integrity) = our.integrity {
                transforms.push(Transform::new(TransformType::Integrity, integrity.id()));
            }
            let groups = our.groups.iter();
            transforms.extend(groups.map(|g| Transform::new(TransformType::Group, g.id())));
            let kems = our.kems.iter();
            let additional = TransformType::Additional(1);
            transforms.extend(kems.map(|kem| Transform::new(additional, kem.id())));
            Proposal {
                number,
                protocol: Protocol::Ike,
                spi: spi.clone(),
                transforms,
            }
        })
        .collect()
}

/// Our offer for a CHILD_SA. `groups` overrides the groups of every proposal.
pub(crate) fn offer_esp(ours: &[EspProposal], spi: u32, groups: &GroupOffer) -> Vec<Proposal> {
    (1..=u8::MAX)
        .zip(ours)
        .map(|(number, our)| {
            let (id, bits) = our.encryption.transform();
            let mut transforms = vec![Transform::with_key(TransformType::Encryption, id, bits)];
            if let Some(integrity) = our.integrity {
                transforms.push(Transform::new(TransformType::Integrity, integrity.id()));
            }
            let groups: &[Group] = match groups {
                GroupOffer::Configured => &our.groups,
                GroupOffer::Only(group) => std::slice::from_ref(group),
                GroupOffer::None => &[],
            };
            transforms.extend(
                groups
                    .iter()
                    .map(|g| Transform::new(TransformType::Group, g.id())),
            );
            let esn: &[u16] = match our.esn {
                EsnPolicy::Either => &[1, 0],
                EsnPolicy::Require => &[1],
                EsnPolicy::Never => &[0],
            };
            transforms.extend(esn.iter().map(|id| Transform::new(TransformType::Esn, *id)));
            let spi = spi.to_be_bytes().to_vec();
            Proposal {
                number,
                protocol: Protocol::Esp,
                spi,
                transforms,
            }
        })
        .collect()
}

/// Which groups an offer for a CHILD_SA names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupOffer {
    /// Those of the parameters.
    Configured,
    /// This one.
    Only(Group),
    /// None: no exchange of its own.
    None,
}

#[cfg(test)]
mod tests;
