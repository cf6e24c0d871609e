//! A protection suite: what one packet costs in octets and how it is keyed.

use std::fmt;

use crate::{Encryption, Error, Integrity};

/// An encryption algorithm with the integrity algorithm that it needs, if any. All lengths are in
/// octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Suite {
    /// The cipher.
    pub encryption: Encryption,
    /// The integrity algorithm: `None` exactly where `encryption` is an AEAD.
    pub integrity: Option<Integrity>,
}

impl Suite {
    /// Combines the two.
    ///
    /// # Errors
    ///
    /// [`Error::IntegrityUnwanted`] for an AEAD with an integrity algorithm,
    /// [`Error::IntegrityMissing`] for another cipher without one.
    pub const fn new(encryption: Encryption, integrity: Option<Integrity>) -> Result<Self, Error> {
        match integrity {
            Some(integrity) if encryption.is_aead() => Err(Error::IntegrityUnwanted {
                encryption,
                integrity,
            }),
            None if !encryption.is_aead() => Err(Error::IntegrityMissing { encryption }),
            _ => Ok(Self {
                encryption,
                integrity,
            }),
        }
    }

    /// The IV in each packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        self.encryption.iv_len()
    }

    /// The integrity check value in each packet, whichever algorithm makes it.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.icv_len(),
            None => self.encryption.icv_len(),
        }
    }

    /// What the plaintext's length must be a multiple of.
    #[must_use]
    pub const fn block_len(self) -> usize {
        self.encryption.block_len()
    }

    /// What the cipher takes from KEYMAT: key and salt.
    #[must_use]
    pub const fn keymat_len(self) -> usize {
        self.encryption.keymat_len()
    }

    /// The key of the integrity algorithm; 0 for an AEAD.
    #[must_use]
    pub const fn integrity_key_len(self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.key_len(),
            None => 0,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.integrity {
            Some(integrity) => write!(f, "{}-{integrity}", self.encryption),
            None => write!(f, "{}", self.encryption),
        }
    }
}
