//! One certificate.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::pem::SectionKind;

use super::name::DistinguishedName;
use crate::der::{Der, tag};
use crate::signature::PublicKey;

/// The longest certificate that is read, in octets.
const LONGEST: usize = 16 << 10;
/// As many names of one certificate are read; none has more but to keep us busy.
const MOST_NAMES: usize = 100;

/// A name beside the subject (RFC 5280 section 4.2.1.6), of the kinds that IKE knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host name.
    Dns(String),
    /// A mail address.
    Email(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Email(name) => write!(f, "{}", name.escape_debug()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// What a certificate says. That it is true is for [`super::Trust::verify`] to find out.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: Vec<u8>,
    serial: Vec<u8>,
    issuer: DistinguishedName,
    subject: DistinguishedName,
    not_before: u64,
    not_after: u64,
    spki: Vec<u8>,
    names: Vec<AlternativeName>,
    key_usage: Option<u8>,
    is_authority: bool,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.0.subject)
    }
}

/// Object identifiers of extensions: 2.5.29.x.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];

impl Certificate {
    /// Reads one certificate. `None` where it is broken, or longer than 16 KiB.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        if der.len() > LONGEST {
            return None;
        }
        let mut outer = Der::new(der);
        let mut certificate = outer.inside(tag::SEQUENCE)?;
        outer.end()?;
        let mut body = certificate.inside(tag::SEQUENCE)?;
        body.optional(tag::explicit(0));
        let serial = body.take(tag::INTEGER)?.to_vec();
        body.take(tag::SEQUENCE)?;
        let issuer = DistinguishedName::from_der(sequence(&mut body)?);
        let mut validity = body.inside(tag::SEQUENCE)?;
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = DistinguishedName::from_der(sequence(&mut body)?);
        let spki = sequence(&mut body)?.to_vec();
        body.optional(tag::implicit(1));
        body.optional(tag::implicit(2));
        let mut inner = Inner {
            der: der.to_vec(),
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            names: Vec::new(),
            key_usage: None,
            is_authority: false,
        };
        if let Some(extensions) = body.optional(tag::explicit(3)) {
            let mut list = Der::new(extensions).inside(tag::SEQUENCE)?;
            while !list.is_empty() {
                let mut extension = list.inside(tag::SEQUENCE)?;
                let oid = extension.take(tag::OID)?;
                extension.optional(tag::BOOLEAN);
                inner.read(oid, Der::new(extension.take(tag::OCTET_STRING)?))?;
            }
        }
        body.end()?;
        Some(Self(Arc::new(inner)))
    }

    /// Every certificate of a PEM text, or the one of a DER file, in order; broken ones are left out.
    #[must_use]
    pub fn all(octets: &[u8]) -> Vec<Self> {
        super::blocks(octets, SectionKind::Certificate)
            .iter()
            .filter_map(|der| Self::from_der(der))
            .collect()
    }

    /// The octets.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> &DistinguishedName {
        &self.0.subject
    }

    /// Who has signed it.
    #[must_use]
    pub fn issuer(&self) -> &DistinguishedName {
        &self.0.issuer
    }

    /// Its number among those of its issuer, in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> String {
        let octets = self.0.serial.iter();
        octets.map(|octet| format!("{octet:02x}")).collect()
    }

    /// When it begins and ends to be valid, in seconds since 1970 began.
    #[must_use]
    pub fn validity(&self) -> (u64, u64) {
        (self.0.not_before, self.0.not_after)
    }

    /// Names beside the subject.
    #[must_use]
    pub fn names(&self) -> &[AlternativeName] {
        &self.0.names
    }

    /// Whether it may sign other certificates (basicConstraints, cA).
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.0.is_authority
    }

    /// SHA-1 of its SubjectPublicKeyInfo: how CERTREQ names an authority (RFC 7296 section 3.7).
    #[must_use]
    pub fn key_id(&self) -> [u8; 20] {
        crate::sha1(&[&self.0.spki])
    }

    /// Its key; none of a kind that we do not have.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        PublicKey::from_spki(&self.0.spki)
    }

    /// Whether keyUsage, where it is there, has it sign for itself: digitalSignature or nonRepudiation (RFC 4945 section 5.1.3.2).
    pub(super) fn may_sign(&self) -> bool {
        self.0.key_usage.is_none_or(|usage| usage & 0xc0 != 0)
    }

    /// Whether keyUsage, where it is there, has it sign certificates.
    pub(super) fn may_certify(&self) -> bool {
        self.0.key_usage.is_none_or(|usage| usage & 0x04 != 0)
    }
}

impl Inner {
    fn read(&mut self, oid: &[u8], mut value: Der<'_>) -> Option<()> {
        match oid {
            KEY_USAGE => {
                let bits = value.take(tag::BIT_STRING)?;
                // The first octet counts unused bits; nothing but the first eight bits matters here.
                self.key_usage = Some(bits.get(1).copied().unwrap_or(0));
            }
            BASIC_CONSTRAINTS => {
                let mut inner = value.inside(tag::SEQUENCE)?;
                self.is_authority = (inner.optional(tag::BOOLEAN)).is_some_and(|is| is == [0xff]);
            }
            ALTERNATIVE_NAMES => {
                let mut list = value.inside(tag::SEQUENCE)?;
                while !list.is_empty() && self.names.len() < MOST_NAMES {
                    let name = list.any()?;
                    self.names.extend(alternative(name.tag, name.contents));
                }
            }
            _ => {}
        }
        Some(())
    }
}

fn alternative(kind: u8, octets: &[u8]) -> Option<AlternativeName> {
    const EMAIL: u8 = tag::implicit(1);
    const DNS: u8 = tag::implicit(2);
    const ADDRESS: u8 = tag::implicit(7);
    let text = || {
        let text = std::str::from_utf8(octets).ok()?;
        text.is_ascii().then(|| text.to_owned())
    };
    match kind {
        EMAIL => text().map(AlternativeName::Email),
        DNS => text().map(AlternativeName::Dns),
        ADDRESS => {
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(AlternativeName::Address)
        }
        _ => None,
    }
}

/// The next element, a SEQUENCE, as it stands.
fn sequence<'a>(reader: &mut Der<'a>) -> Option<&'a [u8]> {
    let element = reader.any()?;
    (element.tag == tag::SEQUENCE).then_some(element.whole)
}

/// A Time (RFC 5280 section 4.1.2.5) in seconds since 1970 began; earlier ones are 0.
fn time(reader: &mut Der<'_>) -> Option<u64> {
    let element = reader.any()?;
    let (year_digits, is_short) = match element.tag {
        tag::UTC_TIME => (2, true),
        tag::GENERALIZED_TIME => (4, false),
        _ => return None,
    };
    let (digits, zone) = element.contents.split_at_checked(year_digits + 10)?;
    if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(year_digits)?;
    let number =
        |digits: &[u8]| (digits.iter()).fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let year = match number(year) {
        year if is_short && year < 50 => 2000 + year,
        year if is_short => 1900 + year,
        year => year,
    };
    let (pairs, _) = rest.as_chunks::<2>();
    let [month, day, hour, minute, second] = pairs else {
        return None;
    };
    let [month, day, hour, minute, second] =
        [month, day, hour, minute, second].map(|pair| number(pair));
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since 1970-01-01 of a date of the Gregorian calendar, counted in years that begin in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(u64::try_from(seconds).unwrap_or(0))
}
