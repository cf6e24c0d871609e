//! HMAC (RFC 2104) with the key schedule done once: the midstates are kept and copied for each
//! message.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// The hash function under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// A keyed HMAC that is ready for any number of messages.
pub(crate) enum KeyedMac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl KeyedMac {
    pub(crate) fn new(hash: Hash, key: &[u8]) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1(keyed(key)),
            Hash::Sha256 => Self::Sha256(keyed(key)),
            Hash::Sha384 => Self::Sha384(keyed(key)),
            Hash::Sha512 => Self::Sha512(keyed(key)),
        }
    }

    /// Writes the leftmost octets of the MAC over the concatenation of `parts` into `out`. Where
    /// `out` is longer than the MAC the rest is left alone.
    pub(crate) fn compute(&self, parts: &[&[u8]], out: &mut [u8]) {
        match self {
            Self::Sha1(mac) => write_leftmost(over(mac, parts), out),
            Self::Sha256(mac) => write_leftmost(over(mac, parts), out),
            Self::Sha384(mac) => write_leftmost(over(mac, parts), out),
            Self::Sha512(mac) => write_leftmost(over(mac, parts), out),
        }
    }

    /// Whether `tag` is the leftmost part of the MAC over the concatenation of `parts`, in constant
    /// time. An empty `tag` never is.
    pub(crate) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        match self {
            Self::Sha1(mac) => over(mac, parts).verify_truncated_left(tag),
            Self::Sha256(mac) => over(mac, parts).verify_truncated_left(tag),
            Self::Sha384(mac) => over(mac, parts).verify_truncated_left(tag),
            Self::Sha512(mac) => over(mac, parts).verify_truncated_left(tag),
        }
        .is_ok()
    }
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes a key of any length: RFC 2104 §2"
)]
fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("any length is valid")
}

fn over<M: Mac + Clone>(keyed: &M, parts: &[&[u8]]) -> M {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac
}

fn write_leftmost<M: Mac>(mac: M, out: &mut [u8]) {
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
}
