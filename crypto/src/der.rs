//! DER (X.690), as far as keys, algorithm identifiers and certificates need it.
//!
//! A reader over borrowed octets: every read is checked, nothing is copied, and nesting is as deep as the code that reads it.

/// Tags, with the constructed bit where the type has it.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[number]`, primitive.
    pub(crate) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }

    /// `[number]`, constructed.
    pub(crate) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

/// One element: its tag, its contents, and all of it as it stands.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Reads elements from the front of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Der<'a> {
    rest: &'a [u8],
}

impl<'a> Der<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is. `None` where the encoding is broken, or nothing is left.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let all = self.rest;
        let (&tag, rest) = all.split_first()?;
        // Tags above 30 do not occur in what we read.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // Two octets of length are enough for everything that comes in one payload; more than four never fit.
            0x81..=0x84 => {
                let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                digits
                    .iter()
                    .fold(0usize, |sum, octet| sum << 8 | usize::from(*octet))
            }
            _ => return None,
        };
        let (contents, after) = rest.split_at_checked(length)?;
        let (whole, _) = all.split_at_checked(all.len() - after.len())?;
        self.rest = after;
        Some(Element {
            tag,
            contents,
            whole,
        })
    }

    /// The contents of the next element, which has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let element = self.any()?;
        (element.tag == tag).then_some(element.contents)
    }

    /// The same as a reader of what is inside.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self::new)
    }

    /// The contents of the next element if it has this tag; else it stays.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let contents = ahead.take(tag)?;
        *self = ahead;
        Some(contents)
    }

    /// The contents of a BIT STRING of whole octets.
    pub(crate) fn bits(&mut self) -> Option<&'a [u8]> {
        match self.take(tag::BIT_STRING)?.split_first()? {
            (0, octets) => Some(octets),
            _ => None,
        }
    }

    /// Nothing must be left.
    pub(crate) fn end(self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// An element of these contents.
pub(crate) fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => {
            // Whatever is encoded here is far shorter than 64 KiB.
            out.push(0x82);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.reserve_exact(length);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
