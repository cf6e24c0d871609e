//! Key material in memory: zeroed on drop, compared in constant time, never printed.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Octets that nobody else may see: keys, shared secrets, pre-shared keys.
///
/// `Debug` shows the length only, `==` takes a time that depends on the lengths only, and dropping
/// one overwrites it. [`Secret::expose`] is the single way to the octets, so that it can be
/// searched for.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes over `octets`. What their `Vec` left behind when it grew is the caller's to avoid.
    #[must_use]
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// Copies `octets`.
    #[must_use]
    pub fn from_slice(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }

    /// So many octets of a generator.
    #[must_use]
    pub fn random(len: usize, rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Self::zeroed(len);
        rng.fill_bytes(secret.expose_mut());
        secret
    }

    /// The octets themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The number of octets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no octets, as for the integrity key of an AEAD suite.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A secret of `len` zero octets, to be filled in place: it is never reallocated.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Whether `a` and `b` are equal, in a time that depends on their lengths only.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
