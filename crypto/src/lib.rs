//! The cryptography of Causeway, and the only crate that names a cryptography library.
//!
//! IKE and ESP see algorithms as values of small enums ([`Encryption`], [`Integrity`], [`Prf`],
//! [`Group`]), each of which knows its sizes and its IANA transform number, and keys as [`Secret`].
//! The work is done by:
//!
//! - [`Sealer`] and [`Opener`]: one direction of an ESP SA or of an IKE SA, in place, without
//!   allocation;
//! - [`Group::generate`] and [`KeyPair::agree`]: Diffie-Hellman;
//! - [`Kem::generate`], [`Kem::encapsulate`] and [`KemKey::decapsulate`]: key encapsulation;
//! - [`ikev2`]: the key schedule of RFC 7296 §2.13–§2.18;
//! - [`signature`]: keys that sign and verify;
//! - [`x509`]: certificates, and the way from one to an authority.
//!
//! # Invariants
//!
//! - Nothing here reads the clock, the operating system's randomness or a file. Randomness comes in
//!   as a [`CryptoRng`], so a seed decides every key of a test. The exception is [`signature`], and says so.
//! - Keys are zeroed when dropped, and no `Debug` shows one.
//! - Comparisons of secrets and of integrity check values, and arithmetic on private values, take a
//!   time that does not depend on their contents.
//! - Lengths that come from the wire are checked and become an [`Error`]; nothing panics on input.
//!
//! # What is not here
//!
//! Packet formats, padding, the choice of IVs and the replay window belong to `esp` and `ike`.
//! Which algorithms are acceptable is the site's policy; this crate says at most that one is legacy
//! ([`Group::is_legacy`]).

mod aead;
mod algorithm;
mod cbc;
mod der;
mod error;
mod group;
pub mod ikev2;
mod kem;
mod mac;
mod prf;
mod seal;
mod secret;
pub mod signature;
mod suite;
pub mod x509;

pub use algorithm::{Encryption, Integrity};
pub use error::Error;
pub use group::{Group, KeyPair};
pub use kem::{Kem, KemKey};
pub use prf::Prf;
pub use rand_core::CryptoRng;
pub use seal::{Opener, Sealer};
pub use secret::{Secret, constant_time_eq};
pub use suite::Suite;

use sha1::Digest as _;

/// SHA-1 over the concatenation of `parts`, as NAT detection uses it (RFC 7296 §2.23).
///
/// It is a checksum there, not a protection. For authentication see [`Integrity::HmacSha1_96`].
#[must_use]
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = sha1::Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
