//! Writes big-endian fields, and fills in lengths once they are known.

/// A growing message.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(512),
        }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Puts `value` over the 16 bits at `at`, which have been written before.
    pub(crate) fn patch_u16(&mut self, at: usize, value: usize) {
        debug_assert!(
            u16::try_from(value).is_ok(),
            "a payload is at most 65535 bytes"
        );
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
