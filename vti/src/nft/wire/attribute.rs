//! Netlink attributes: length, type, value, padded to four bytes, possibly nested.

use super::super::error::Error;

const HEADER: usize = 4;
const NESTED: u16 = 0x8000;
/// Without the flags for "nested" and "network byte order".
const TYPE_MASK: u16 = 0x3fff;

/// A list of attributes being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(in super::super) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(in super::super) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A string with its terminating NUL.
    pub(in super::super) fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(in super::super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.begin(kind);
        self.0.extend_from_slice(value);
        self.end(start);
        self
    }

    pub(in super::super) fn nested(
        &mut self,
        kind: u16,
        fill: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let start = self.begin(kind | NESTED);
        fill(self);
        self.end(start);
        self
    }

    /// A value or key: nested, because it could also be a verdict.
    pub(in super::super) fn data(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nested(kind, |data| {
            data.bytes(DATA_VALUE, value);
        })
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    /// Writes the length. Lists are kept below 64 KiB by those who write them.
    fn end(&mut self, start: usize) {
        let length = self.0.len() - start;
        debug_assert!(
            u16::try_from(length).is_ok(),
            "an attribute holds at most 64 KiB"
        );
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&(length as u16).to_ne_bytes());
        }
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// `NFTA_DATA_VALUE`.
pub(in super::super) const DATA_VALUE: u16 = 1;
/// `NFTA_DATA_VERDICT`.
pub(in super::super) const DATA_VERDICT: u16 = 2;

/// A list of attributes that was read.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Fields<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Fields<'a> {
    pub(in super::super) fn parse(mut bytes: &'a [u8]) -> Result<Self, Error> {
        let mut fields = Vec::new();
        while let [l0, l1, k0, k1, ..] = *bytes {
            let length = usize::from(u16::from_ne_bytes([l0, l1]));
            let kind = u16::from_ne_bytes([k0, k1]) & TYPE_MASK;
            let value = bytes.get(HEADER..length).ok_or(Error::Malformed {
                what: "attribute length",
            })?;
            fields.push((kind, value));
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(Self(fields))
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + '_ {
        self.0.iter().copied()
    }

    pub(in super::super) fn bytes(&self, kind: u16) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == kind)
            .map(|(_, value)| value)
    }

    pub(in super::super) fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    pub(in super::super) fn u64(&self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(kind)?.try_into().ok()?))
    }

    pub(in super::super) fn string(&self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?;
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text).into_owned())
    }

    pub(in super::super) fn nested(&self, kind: u16) -> Option<Self> {
        Self::parse(self.bytes(kind)?).ok()
    }

    /// A value wrapped as `NFTA_DATA_VALUE`.
    pub(in super::super) fn data(&self, kind: u16) -> Option<&'a [u8]> {
        self.nested(kind)?.bytes(DATA_VALUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut attributes = Attributes::default();
        attributes.u32(1, 7).string(2, "abcd").nested(3, |inner| {
            inner.data(4, &[1, 2, 3]);
        });
        let fields = Fields::parse(attributes.as_bytes()).unwrap();
        assert_eq!(fields.u32(1), Some(7));
        assert_eq!(fields.string(2).as_deref(), Some("abcd"));
        assert_eq!(fields.nested(3).unwrap().data(4), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn truncation_at_every_length_never_panics() {
        let mut attributes = Attributes::default();
        attributes.u32(1, 7).string(2, "abcd").data(4, &[1, 2, 3]);
        let bytes = attributes.as_bytes();
        for length in 0..bytes.len() {
            let _ = Fields::parse(&bytes[..length]).map(|fields| fields.data(4).map(<[u8]>::len));
        }
    }

    #[test]
    fn a_length_shorter_than_its_own_header_is_refused() {
        assert!(Fields::parse(&[3, 0, 1, 0, 9, 9, 9, 9]).is_err());
    }
}
