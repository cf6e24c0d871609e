//! Distinguished names (RFC 5280 section 4.1.2.4): as text in the order in which certificates have them, and compared by what they say.

use std::fmt;

use crate::der::{Der, encode, tag};

/// Attribute types that have a short name (RFC 4514 section 3, and emailAddress), by the contents of their object identifiers.
const TYPES: [(&str, &[u8]); 12] = [
    ("CN", &[0x55, 4, 3]),
    ("SN", &[0x55, 4, 4]),
    ("serialNumber", &[0x55, 4, 5]),
    ("C", &[0x55, 4, 6]),
    ("L", &[0x55, 4, 7]),
    ("ST", &[0x55, 4, 8]),
    ("street", &[0x55, 4, 9]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
    ("title", &[0x55, 4, 12]),
    (
        "DC",
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
    ),
    ("E", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]),
];

/// A name in DER.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DistinguishedName(Vec<u8>);

impl DistinguishedName {
    /// A name as a certificate or an ID payload has it; anything else is shown as octets and equals only itself.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Self {
        Self(der.to_vec())
    }

    /// Reads `C=DE, O=Example, CN=gateway`: in the order of the certificate, which is how `openssl x509 -noout -subject` and strongSwan
    /// show it, with `\` in front of a comma that belongs to a value. `None` where an attribute is unknown, or nothing is there.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts: Vec<String> = vec![String::new()];
        let mut is_escaped = false;
        for letter in text.chars() {
            match letter {
                '\\' if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                ',' if !is_escaped => parts.push(String::new()),
                _ => parts.last_mut()?.push(letter),
            }
            is_escaped = false;
        }
        let sequence: Option<Vec<Vec<u8>>> = parts.iter().map(|part| attribute(part)).collect();
        let sequence = sequence?;
        let parts: Vec<&[u8]> = sequence.iter().map(Vec::as_slice).collect();
        Some(Self(encode(tag::SEQUENCE, &parts)))
    }

    /// The octets.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Whether both say the same: types and values in order, letters in either case, whatever kind of string each is
    /// (RFC 5280 section 7.1, of whose rules for blanks only those at the ends are kept).
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self == other
            || match (self.attributes(), other.attributes()) {
                (Some(ours), Some(theirs)) => {
                    ours.len() == theirs.len()
                        && ours.iter().zip(&theirs).all(|(a, b)| {
                            a.0 == b.0 && a.1.trim().to_lowercase() == b.1.trim().to_lowercase()
                        })
                }
                _ => false,
            }
    }

    /// Types and values; none where the name is broken or has a value that is no text.
    fn attributes(&self) -> Option<Vec<(&[u8], String)>> {
        let mut outer = Der::new(&self.0);
        let mut names = outer.inside(tag::SEQUENCE)?;
        outer.end()?;
        let mut list = Vec::new();
        while !names.is_empty() {
            let mut set = names.inside(tag::SET)?;
            while !set.is_empty() {
                let mut pair = set.inside(tag::SEQUENCE)?;
                let kind = pair.take(tag::OID)?;
                let value = pair.any()?;
                pair.end()?;
                list.push((kind, text(value.tag, value.contents)?));
            }
        }
        Some(list)
    }
}

fn attribute(part: &str) -> Option<Vec<u8>> {
    let (name, value) = part.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let known = TYPES.iter().find(|(short, _)| {
        short.eq_ignore_ascii_case(name)
            || (*short == "E" && name.eq_ignore_ascii_case("emailAddress"))
    });
    let (short, oid) = known?;
    if value.is_empty() || value.len() > 255 {
        return None;
    }
    let kind = match *short {
        "C" | "serialNumber" => tag::PRINTABLE_STRING,
        "E" | "DC" => tag::IA5_STRING,
        _ => tag::UTF8_STRING,
    };
    let (oid, value) = (encode(tag::OID, &[oid]), encode(kind, &[value.as_bytes()]));
    let pair = encode(tag::SEQUENCE, &[&oid, &value]);
    Some(encode(tag::SET, &[&pair]))
}

fn text(kind: u8, octets: &[u8]) -> Option<String> {
    match kind {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => {
            String::from_utf8(octets.to_vec()).ok()
        }
        // By its definition T.61, in practice Latin-1.
        tag::TELETEX_STRING => Some(octets.iter().map(|octet| char::from(*octet)).collect()),
        tag::BMP_STRING => {
            let (units, rest) = octets.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(attributes) = self.attributes() else {
            f.write_str("DER:")?;
            return (self.0.iter().take(64)).try_for_each(|octet| write!(f, "{octet:02x}"));
        };
        for (i, (kind, value)) in attributes.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match TYPES.iter().find(|(_, oid)| oid == kind) {
                Some((short, _)) => write!(f, "{short}=")?,
                None => {
                    f.write_str("#")?;
                    kind.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
                    f.write_str("=")?;
                }
            }
            for letter in value.chars().take(256) {
                match letter {
                    ',' | '\\' => write!(f, "\\{letter}")?,
                    // What a stranger put there ends up in logs.
                    _ if letter.is_control() => write!(f, "{}", letter.escape_unicode())?,
                    _ => write!(f, "{letter}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{self}'")
    }
}
