//! What the known-answer tests share: hexadecimal, and a generator that says what it was told.

#![allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]

use crypto::{Group, KeyPair};
use rand_core::{CryptoRng, Infallible, TryCryptoRng, TryRng};

/// Octets from hexadecimal digits; white space may separate them.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).expect("hexadecimal")).unwrap())
        .collect();
    let (pairs, odd) = digits.as_chunks::<2>();
    assert!(odd.is_empty(), "an odd number of digits in {text:?}");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// The key pair of a known private value: a key pair's private value is what its generator gave, in
/// order.
pub(crate) fn key_pair(group: Group, private: &[u8]) -> KeyPair {
    group.generate(&mut Script(private))
}

/// A generator that gives these octets in one call.
pub(crate) const fn script(octets: &[u8]) -> impl CryptoRng + '_ {
    Script(octets)
}

/// Gives the octets of a script, and panics when it is over or was not used up in one call.
struct Script<'a>(&'a [u8]);

impl TryRng for Script<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("key generation draws octets")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("key generation draws octets")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(self.0);
        self.0 = &[];
        Ok(())
    }
}

impl TryCryptoRng for Script<'_> {}
