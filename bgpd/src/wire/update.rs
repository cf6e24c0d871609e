//! UPDATE messages (RFC 4271, section 4.3), read by the rules of RFC 7606.
//!
//! Reading takes two steps, so that a set of attributes that is known already need not be read again:
//! [`UpdateFrame::parse`] cuts the message into its three fields, [`UpdateFrame::attributes`] reads
//! the middle one.

use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::attribute::{AttributeCode, PathAttributes, flag};
use super::attributes_parser::{AttributesParser, Parsed};
use super::fault::{Problem, Treatment, UpdateFault};
use super::header::{HEADER, MAX_MESSAGE, MessageKind, message};
use super::reader::Reader;
use super::{Families, Family, nlri};

/// What the reader of attributes must know of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateContext {
    /// AS numbers have four octets.
    pub four_octet_as: bool,
    /// The peer is in another AS.
    pub external: bool,
    /// The families that were negotiated; what the multiprotocol attributes say of others is ignored.
    pub families: Families,
    /// IPv4 prefixes may come with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
}

/// An UPDATE cut into its fields, the prefixes read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFrame<'a> {
    /// Withdrawn Routes.
    pub withdrawn: Vec<IpNet>,
    /// Path Attributes, unread.
    pub attributes: &'a [u8],
    /// Network Layer Reachability Information.
    pub announced: Vec<IpNet>,
}

/// What an UPDATE's attributes came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateAttributes {
    /// The set of the prefixes in the UPDATE's own field; `None` if there was no usable one, be it for a fault (the announced
    /// prefixes are to be treated as withdrawn) or because there are none.
    pub set: Option<PathAttributes>,
    /// The set of MP_REACH_NLRI's prefixes, with the next hop from there; `None` as above.
    pub multiprotocol: Option<PathAttributes>,
    /// Prefixes of MP_REACH_NLRI, of one family.
    pub announced: Vec<IpNet>,
    /// Prefixes of MP_UNREACH_NLRI, of one family.
    pub withdrawn: Vec<IpNet>,
    /// MP_UNREACH_NLRI names this family and no prefix, and nothing else is in the message.
    pub end_of_rib: Option<Family>,
    /// The faults that the session survives.
    pub faults: Vec<UpdateFault>,
}

impl<'a> UpdateFrame<'a> {
    /// Cuts a message's body.
    ///
    /// # Errors
    ///
    /// A length that leads out of the message, or prefixes that cannot be read: the session ends
    /// (RFC 7606, sections 3 (a), 3 (j) and 5.3).
    pub fn parse(body: &'a [u8]) -> Result<Self, UpdateFault> {
        let mut reader = Reader::new(body);
        let mut field = || {
            reader
                .u16()
                .and_then(|length| reader.take(usize::from(length)))
        };
        let (Some(withdrawn), Some(attributes)) = (field(), field()) else {
            return Err(message_fault(Problem::FieldOverrun));
        };
        let network = || message_fault(Problem::Network);
        Ok(Self {
            withdrawn: nlri::parse(Family::IPV4_UNICAST, withdrawn).ok_or_else(network)?,
            attributes,
            announced: nlri::parse(Family::IPV4_UNICAST, reader.rest()).ok_or_else(network)?,
        })
    }

    /// Whether this is the End-of-RIB marker of IPv4 unicast in its short form: an UPDATE of nothing
    /// (RFC 4724, section 2).
    #[must_use]
    pub fn is_end_of_rib(&self) -> bool {
        self.withdrawn.is_empty() && self.attributes.is_empty() && self.announced.is_empty()
    }

    /// Reads the attributes.
    ///
    /// # Errors
    ///
    /// The first fault that the session does not survive.
    pub fn attributes(&self, context: UpdateContext) -> Result<UpdateAttributes, UpdateFault> {
        let parsed = AttributesParser::new(context).parse(self.attributes)?;
        let Parsed {
            set,
            announced,
            withdrawn,
            unreach,
            other_seen,
            mut faults,
        } = parsed;
        let announces = !self.announced.is_empty() || !announced.is_empty();
        let (set, multiprotocol) = match set {
            Some(set) if announces => finish(
                set,
                &mut faults,
                !self.announced.is_empty(),
                !announced.is_empty(),
            ),
            _ => (None, None),
        };
        // RFC 7606, section 5.2: attributes without any prefix, and a fault among them: perhaps the
        // prefixes are what could not be read.
        if !announces && other_seen {
            let severe = |fault: &UpdateFault| fault.treatment > Treatment::AttributeDiscard;
            if let Some(fault) = faults.iter().find(|fault| severe(fault)) {
                let treatment = Treatment::SessionReset;
                return Err(UpdateFault {
                    treatment,
                    ..fault.clone()
                });
            }
        }
        let bare = !other_seen && withdrawn.is_empty() && self.withdrawn.is_empty() && !announces;
        let end_of_rib = unreach.filter(|_| bare);
        Ok(UpdateAttributes {
            set,
            multiprotocol,
            announced,
            withdrawn,
            end_of_rib,
            faults,
        })
    }
}

/// The sets of both kinds of prefixes, as far as there are any, or a fault that says what is missing.
fn finish(
    set: super::attributes_parser::Collected,
    faults: &mut Vec<UpdateFault>,
    plain: bool,
    multiprotocol: bool,
) -> (Option<PathAttributes>, Option<PathAttributes>) {
    match set.complete(plain, multiprotocol) {
        Ok(sets) => sets,
        Err(code) => {
            // RFC 7606, section 3 (d).
            faults.push(UpdateFault {
                attribute: Some(code),
                problem: Problem::Missing,
                treatment: Treatment::TreatAsWithdraw,
                evidence: Vec::new(),
            });
            (None, None)
        }
    }
}

fn message_fault(problem: Problem) -> UpdateFault {
    let treatment = Treatment::SessionReset;
    UpdateFault {
        attribute: None,
        problem,
        treatment,
        evidence: Vec::new(),
    }
}

/// The End-of-RIB marker of a family (RFC 4724, section 2).
#[must_use]
pub fn end_of_rib(family: Family) -> Vec<u8> {
    if family == Family::IPV4_UNICAST {
        return message(MessageKind::Update, &[0, 0, 0, 0]);
    }
    let mut body = vec![0, 0];
    let mut unreach = Vec::new();
    multiprotocol(&mut unreach, AttributeCode::MP_UNREACH_NLRI, family, &[&[]]);
    body.extend(length(&unreach));
    body.extend(unreach);
    message(MessageKind::Update, &body)
}

/// How a message says what it says.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// IPv4 prefixes in Withdrawn Routes.
    Withdraw,
    /// IPv4 prefixes behind attributes with NEXT_HOP.
    Announce(&'a [u8]),
    /// MP_UNREACH_NLRI.
    Unreach(Family),
    /// MP_REACH_NLRI, in front of the other attributes (RFC 7606, section 5.1).
    Reach {
        family: Family,
        next_hop: Ipv6Addr,
        attributes: &'a [u8],
    },
}

impl Form<'_> {
    /// The octets of a message without prefixes.
    fn overhead(self) -> usize {
        const ATTRIBUTE: usize = 4;
        const FAMILY: usize = 3;
        HEADER
            + 4
            + match self {
                Self::Withdraw => 0,
                Self::Announce(attributes) => attributes.len(),
                Self::Unreach(_) => ATTRIBUTE + FAMILY,
                Self::Reach { attributes, .. } => ATTRIBUTE + FAMILY + 18 + attributes.len(),
            }
    }

    /// The octets of the longest prefix.
    fn longest(self) -> usize {
        match self {
            Self::Unreach(Family::IPV6_UNICAST)
            | Self::Reach {
                family: Family::IPV6_UNICAST,
                ..
            } => 17,
            _ => 5,
        }
    }
}

/// Packs prefixes of one family into as few UPDATEs as they fit in: withdrawals, or announcements of one set of
/// attributes.
#[derive(Debug)]
pub struct UpdateBuilder<'a> {
    form: Form<'a>,
    prefixes: Vec<u8>,
    messages: u64,
}

impl<'a> UpdateBuilder<'a> {
    fn new(form: Form<'a>) -> Self {
        Self {
            form,
            prefixes: Vec::new(),
            messages: 0,
        }
    }

    /// Withdraws a family's prefixes.
    #[must_use]
    pub fn withdraw(family: Family) -> Self {
        if family == Family::IPV4_UNICAST {
            Self::new(Form::Withdraw)
        } else {
            Self::new(Form::Unreach(family))
        }
    }

    /// Announces IPv4 prefixes with these attributes, NEXT_HOP among them; `None` if they leave no room for a prefix in a
    /// message.
    #[must_use]
    pub fn announce(attributes: &'a [u8]) -> Option<Self> {
        Self::if_it_fits(Form::Announce(attributes))
    }

    /// Announces a family's prefixes with an IPv6 next hop (RFC 2545; for IPv4 prefixes RFC 8950) and these attributes,
    /// without NEXT_HOP; `None` if they leave no room for a prefix in a message.
    #[must_use]
    pub fn reach(family: Family, next_hop: Ipv6Addr, attributes: &'a [u8]) -> Option<Self> {
        Self::if_it_fits(Form::Reach {
            family,
            next_hop,
            attributes,
        })
    }

    fn if_it_fits(form: Form<'a>) -> Option<Self> {
        (form.overhead() + form.longest() <= MAX_MESSAGE).then(|| Self::new(form))
    }

    /// Adds a prefix; a message that had no room for it is appended to `out`.
    pub fn push(&mut self, prefix: IpNet, out: &mut Vec<u8>) {
        if self.form.overhead() + self.prefixes.len() + nlri::size(prefix) > MAX_MESSAGE {
            self.flush(out);
        }
        nlri::emit(prefix, &mut self.prefixes);
    }

    /// Appends the last message to `out`; returns how many there were.
    pub fn finish(mut self, out: &mut Vec<u8>) -> u64 {
        if !self.prefixes.is_empty() {
            self.flush(out);
        }
        self.messages
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(MAX_MESSAGE);
        let field = |field: &[u8], body: &mut Vec<u8>| {
            body.extend(length(field));
            body.extend_from_slice(field);
        };
        match self.form {
            Form::Withdraw => {
                field(&self.prefixes, &mut body);
                field(&[], &mut body);
            }
            Form::Announce(attributes) => {
                field(&[], &mut body);
                field(attributes, &mut body);
                body.extend_from_slice(&self.prefixes);
            }
            Form::Unreach(family) => {
                let mut unreach = Vec::new();
                let code = AttributeCode::MP_UNREACH_NLRI;
                multiprotocol(&mut unreach, code, family, &[&self.prefixes]);
                field(&[], &mut body);
                field(&unreach, &mut body);
            }
            Form::Reach {
                family,
                next_hop,
                attributes,
            } => {
                let mut all = Vec::with_capacity(MAX_MESSAGE);
                let code = AttributeCode::MP_REACH_NLRI;
                // The next hop's length, the next hop, and an octet that is reserved.
                let parts: [&[u8]; 4] = [&[16], &next_hop.octets(), &[0], &self.prefixes];
                multiprotocol(&mut all, code, family, &parts);
                all.extend_from_slice(attributes);
                field(&[], &mut body);
                field(&all, &mut body);
            }
        }
        out.extend(message(MessageKind::Update, &body));
        self.prefixes.clear();
        self.messages += 1;
    }
}

fn length(field: &[u8]) -> [u8; 2] {
    u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// Appends MP_REACH_NLRI or MP_UNREACH_NLRI (RFC 4760, sections 3 and 4) of these parts.
fn multiprotocol(out: &mut Vec<u8>, code: AttributeCode, family: Family, parts: &[&[u8]]) {
    let [high, low] = family.afi.to_be_bytes();
    let mut value = vec![high, low, family.safi];
    parts.iter().for_each(|part| value.extend_from_slice(part));
    out.extend([flag::OPTIONAL | flag::EXTENDED, code.0]);
    out.extend(length(&value));
    out.extend(value);
}
