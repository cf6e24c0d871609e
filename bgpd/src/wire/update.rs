//! UPDATE messages (RFC 4271, section 4.3), read by the rules of RFC 7606.
//!
//! Reading takes two steps, so that a set of attributes that is known already need not be read again:
//! [`UpdateFrame::parse`] cuts the message into its three fields, [`UpdateFrame::attributes`] reads
//! the middle one.

use ipnet::IpNet;

use super::attribute::PathAttributes;
use super::attributes_parser::{AttributesParser, Parsed};
use super::fault::{Problem, Treatment, UpdateFault};
use super::header::{HEADER, MAX_MESSAGE, MessageKind, message};
use super::nlri;
use super::reader::Reader;

/// What the reader of attributes must know of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateContext {
    /// AS numbers have four octets.
    pub four_octet_as: bool,
    /// The peer is in another AS.
    pub external: bool,
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
    /// The set; `None` if there was no usable one, be it for a fault (the announced prefixes are to
    /// be treated as withdrawn) or because nothing was announced.
    pub set: Option<PathAttributes>,
    /// IPv4 unicast prefixes of MP_REACH_NLRI; the set's next hop is theirs.
    pub announced: Vec<IpNet>,
    /// IPv4 unicast prefixes of MP_UNREACH_NLRI.
    pub withdrawn: Vec<IpNet>,
    /// MP_UNREACH_NLRI names IPv4 unicast and no prefix, and nothing else is in the message.
    pub end_of_rib: bool,
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
            withdrawn: nlri::parse_ipv4(withdrawn).ok_or_else(network)?,
            attributes,
            announced: nlri::parse_ipv4(reader.rest()).ok_or_else(network)?,
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
            unreach_seen,
            other_seen,
            mut faults,
        } = parsed;
        let announces = !self.announced.is_empty() || !announced.is_empty();
        let set = match set {
            Some(set) if announces => finish(set, &mut faults, !self.announced.is_empty()),
            _ => None,
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
        let end_of_rib = unreach_seen
            && !other_seen
            && withdrawn.is_empty()
            && self.withdrawn.is_empty()
            && !announces;
        Ok(UpdateAttributes {
            set,
            announced,
            withdrawn,
            end_of_rib,
            faults,
        })
    }
}

/// A set of attributes that is complete, or a fault that says what is missing.
fn finish(
    set: super::attributes_parser::Collected,
    faults: &mut Vec<UpdateFault>,
    needs_next_hop: bool,
) -> Option<PathAttributes> {
    match set.complete(needs_next_hop) {
        Ok(set) => Some(set),
        Err(code) => {
            // RFC 7606, section 3 (d).
            faults.push(UpdateFault {
                attribute: Some(code),
                problem: Problem::Missing,
                treatment: Treatment::TreatAsWithdraw,
                evidence: Vec::new(),
            });
            None
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

/// The End-of-RIB marker of IPv4 unicast (RFC 4724, section 2).
#[must_use]
pub fn end_of_rib() -> Vec<u8> {
    message(MessageKind::Update, &[0, 0, 0, 0])
}

/// Packs prefixes into as few UPDATEs as they fit in: withdrawals, or announcements of one set of
/// attributes.
#[derive(Debug)]
pub struct UpdateBuilder<'a> {
    attributes: Option<&'a [u8]>,
    prefixes: Vec<u8>,
    messages: u64,
}

impl<'a> UpdateBuilder<'a> {
    /// Withdraws.
    #[must_use]
    pub fn withdraw() -> Self {
        Self {
            attributes: None,
            prefixes: Vec::new(),
            messages: 0,
        }
    }

    /// Announces with these attributes; `None` if they leave no room for a prefix in a message.
    #[must_use]
    pub fn announce(attributes: &'a [u8]) -> Option<Self> {
        let fits = HEADER + 4 + attributes.len() + 5 <= MAX_MESSAGE;
        fits.then_some(Self {
            attributes: Some(attributes),
            prefixes: Vec::new(),
            messages: 0,
        })
    }

    /// Adds a prefix; a message that had no room for it is appended to `out`.
    pub fn push(&mut self, prefix: IpNet, out: &mut Vec<u8>) {
        let used = HEADER + 4 + self.attributes.map_or(0, <[u8]>::len) + self.prefixes.len();
        if used + nlri::size(prefix) > MAX_MESSAGE {
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
        let length = |field: &[u8]| u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut body = Vec::with_capacity(MAX_MESSAGE);
        match self.attributes {
            None => {
                body.extend_from_slice(&length(&self.prefixes));
                body.extend_from_slice(&self.prefixes);
                body.extend_from_slice(&[0, 0]);
            }
            Some(attributes) => {
                body.extend_from_slice(&[0, 0]);
                body.extend_from_slice(&length(attributes));
                body.extend_from_slice(attributes);
                body.extend_from_slice(&self.prefixes);
            }
        }
        out.extend(message(MessageKind::Update, &body));
        self.prefixes.clear();
        self.messages += 1;
    }
}
