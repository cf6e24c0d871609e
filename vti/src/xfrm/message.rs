//! A request under construction, in memory that is overwritten when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

use crate::netlink::NLM_F_REQUEST;

/// More than the longest request needs: an SA with its keys (under 1 KiB) and the largest replay bitmap (512 bytes). The buffer
/// never grows beyond it with a key inside, so that no copy of one is left behind.
const CAPACITY: usize = 4096;

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// A request. `Debug` shows its type and length, never what is in it.
pub(crate) struct Message(Zeroizing<Vec<u8>>);

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:#x}, {} bytes)", self.kind(), self.0.len())
    }
}

impl Message {
    /// A request of that type (`XFRM_MSG_*`), with the flags besides NLM_F_REQUEST.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(CAPACITY));
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    pub(crate) fn kind(&self) -> u16 {
        crate::netlink::u16_at(&self.0, 4).unwrap_or_default()
    }

    /// Appends the type's own structure, or a part of it.
    pub(crate) fn fixed(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        write(&mut self.0);
        self
    }

    /// Appends an attribute whose value `write` makes.
    pub(crate) fn attribute(mut self, kind: u16, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        write(&mut self.0);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        let padded = self.0.len().next_multiple_of(4);
        self.0.resize(padded, 0);
        self
    }

    /// Appends an attribute of one integer.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, |into| into.extend_from_slice(&value.to_ne_bytes()))
    }

    /// Appends an attribute if there is something to say.
    pub(crate) fn maybe<T>(self, value: Option<T>, append: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => append(self, value),
            None => self,
        }
    }

    /// The finished message, for a sender with that port: notifications of what it changes name it.
    pub(crate) fn finish(&mut self, sequence: u32, port: u32) -> &[u8] {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (offset, value) in [(0, length), (8, sequence), (12, port)] {
            if let Some(field) = self.0.get_mut(offset..offset + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        &self.0
    }

    /// What comes after the header.
    #[cfg(test)]
    pub(crate) fn body(&self) -> &[u8] {
        &self.0[HEADER..]
    }
}

const _: () = assert!(HEADER < CAPACITY);
