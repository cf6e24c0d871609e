//! Pseudorandom functions and `prf+` (RFC 7296 §2.13).

use std::fmt;

use crate::mac::{Hash, KeyedMac};
use crate::{Error, Secret};

/// A pseudorandom function (IKEv2 transform type 2). All lengths are in octets.
///
/// All are HMACs: they take a key of any length, and prefer one as long as their output (RFC 7296
/// §2.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prf {
    /// HMAC-SHA-1 (RFC 2104).
    HmacSha1,
    /// HMAC-SHA-256 (RFC 4868).
    HmacSha256,
    /// HMAC-SHA-384 (RFC 4868).
    HmacSha384,
    /// HMAC-SHA-512 (RFC 4868).
    HmacSha512,
}

impl Prf {
    /// Every function, shortest output first.
    pub const ALL: [Self; 4] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The preferred key length, which is the output length.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The output length.
    #[must_use]
    pub const fn output_len(self) -> usize {
        self.key_len()
    }

    /// The IANA transform ID.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::HmacSha1 => 2,
            Self::HmacSha256 => 5,
            Self::HmacSha384 => 6,
            Self::HmacSha512 => 7,
        }
    }

    /// The function with this transform ID, or `None` where we have none.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|prf| prf.id() == id)
    }

    /// `prf(key, parts[0] | parts[1] | …)`.
    #[must_use]
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let mut output = Secret::zeroed(self.output_len());
        KeyedMac::new(self.hash(), key).compute(parts, output.expose_mut());
        output
    }

    /// `len` octets of `prf+(key, seed[0] | seed[1] | …)` (RFC 7296 §2.13).
    ///
    /// # Errors
    ///
    /// [`Error::PrfPlusTooLong`] beyond 255 outputs of the function.
    pub fn plus(self, key: &[u8], seed: &[&[u8]], len: usize) -> Result<Secret, Error> {
        let limit = 255 * self.output_len();
        if len > limit {
            return Err(Error::PrfPlusTooLong {
                requested: len,
                limit,
            });
        }
        let mac = KeyedMac::new(self.hash(), key);
        let mut stream = Secret::zeroed(len);
        // T1 = prf(K, S | 0x01), Tn = prf(K, Tn-1 | S | n); T0 is empty.
        let mut block = Secret::default();
        for (counter, out) in (1_u8..=255).zip(stream.expose_mut().chunks_mut(self.output_len())) {
            let counter = [counter];
            let mut parts = Vec::with_capacity(seed.len() + 2);
            parts.push(block.expose());
            parts.extend_from_slice(seed);
            parts.push(&counter);
            let mut next = Secret::zeroed(self.output_len());
            mac.compute(&parts, next.expose_mut());
            for (to, from) in out.iter_mut().zip(next.expose()) {
                *to = *from;
            }
            block = next;
        }
        Ok(stream)
    }

    const fn hash(self) -> Hash {
        match self {
            Self::HmacSha1 => Hash::Sha1,
            Self::HmacSha256 => Hash::Sha256,
            Self::HmacSha384 => Hash::Sha384,
            Self::HmacSha512 => Hash::Sha512,
        }
    }
}

impl fmt::Display for Prf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HmacSha1 => "prfsha1",
            Self::HmacSha256 => "prfsha256",
            Self::HmacSha384 => "prfsha384",
            Self::HmacSha512 => "prfsha512",
        })
    }
}
