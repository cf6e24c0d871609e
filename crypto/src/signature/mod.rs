//! Signatures: RSA (PSS and PKCS #1 v1.5), ECDSA on P-256 and P-384, Ed25519.
//!
//! The keys' formats are those of certificates and of `openssl genpkey`; the schemes are those of RFC 7427 and RFC 8420, and the two of
//! RFC 4754. SHA-1 signs nothing here.
//!
//! ring does the arithmetic. It takes the randomness of a signature (the salt of PSS, the nonce of ECDSA) from the operating system and
//! from nowhere else: this is the one exception to the crate's rule that randomness comes in as an argument.

mod identifier;
mod key;

use std::fmt;

pub use key::{KeyError, SigningKey};
use ring::signature as by;

use crate::der::{Der, tag};

/// What is signed is a digest by one of these (IANA "IKEv2 Hash Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureHash {
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
    /// The message itself: Ed25519 (RFC 8420 section 2).
    Identity,
}

impl SignatureHash {
    /// All that we can verify, the preferred one first.
    pub const ALL: [Self; 4] = [Self::Sha256, Self::Sha384, Self::Sha512, Self::Identity];

    /// The IANA number.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha256 => 2,
            Self::Sha384 => 3,
            Self::Sha512 => 4,
            Self::Identity => 5,
        }
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// RSASSA-PSS with MGF1 of the same hash and a salt as long as the digest (RFC 8017 section 8.1).
    RsaPss(SignatureHash),
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).
    RsaPkcs1(SignatureHash),
    /// ECDSA, on whatever curve the key has, as a DER sequence of r and s.
    Ecdsa(SignatureHash),
    /// ECDSA on P-256 with SHA-256 or P-384 with SHA-384, r and s side by side (RFC 4754 section 7).
    EcdsaFixed(SignatureHash),
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl fmt::Display for SignatureScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, hash) = match self {
            Self::RsaPss(hash) => ("RSA-PSS", hash),
            Self::RsaPkcs1(hash) => ("RSA PKCS #1", hash),
            Self::Ecdsa(hash) | Self::EcdsaFixed(hash) => ("ECDSA", hash),
            Self::Ed25519 => return f.write_str("Ed25519"),
        };
        let hash = match hash {
            SignatureHash::Sha256 => "SHA-256",
            SignatureHash::Sha384 => "SHA-384",
            SignatureHash::Sha512 => "SHA-512",
            SignatureHash::Identity => "no hash",
        };
        write!(f, "{name} with {hash}")
    }
}

/// What a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// The curve P-256.
    P256,
    /// The curve P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "RSA",
            Self::P256 => "ECDSA P-256",
            Self::P384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
        })
    }
}

pub(crate) mod oid {
    pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    pub(crate) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub(crate) const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
    pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// RSAPublicKey (RFC 8017 appendix A.1.1), an uncompressed point, or the 32 octets of Ed25519.
    octets: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind)
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). `None` where it is broken or of a kind that we do not have.
    #[must_use]
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let mut outer = Der::new(spki);
        let mut info = outer.inside(tag::SEQUENCE)?;
        outer.end()?;
        let kind = key_kind(info.inside(tag::SEQUENCE)?)?;
        let octets = info.bits()?.to_vec();
        info.end()?;
        Some(Self { kind, octets })
    }

    /// What it is a key of.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether `signature` over `message` was made with the other half of this key. RSA keys have 2048 to 8192 bits; shorter and longer
    /// ones verify nothing, without any arithmetic.
    #[must_use]
    pub fn verifies(&self, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> bool {
        use SignatureHash::{Sha256, Sha384, Sha512};
        use SignatureScheme as S;
        let algorithm: &'static dyn by::VerificationAlgorithm = match (self.kind, scheme) {
            (KeyKind::Rsa, S::RsaPss(Sha256)) => &by::RSA_PSS_2048_8192_SHA256,
            (KeyKind::Rsa, S::RsaPss(Sha384)) => &by::RSA_PSS_2048_8192_SHA384,
            (KeyKind::Rsa, S::RsaPss(Sha512)) => &by::RSA_PSS_2048_8192_SHA512,
            (KeyKind::Rsa, S::RsaPkcs1(Sha256)) => &by::RSA_PKCS1_2048_8192_SHA256,
            (KeyKind::Rsa, S::RsaPkcs1(Sha384)) => &by::RSA_PKCS1_2048_8192_SHA384,
            (KeyKind::Rsa, S::RsaPkcs1(Sha512)) => &by::RSA_PKCS1_2048_8192_SHA512,
            (KeyKind::P256, S::Ecdsa(Sha256)) => &by::ECDSA_P256_SHA256_ASN1,
            (KeyKind::P256, S::Ecdsa(Sha384)) => &by::ECDSA_P256_SHA384_ASN1,
            (KeyKind::P384, S::Ecdsa(Sha256)) => &by::ECDSA_P384_SHA256_ASN1,
            (KeyKind::P384, S::Ecdsa(Sha384)) => &by::ECDSA_P384_SHA384_ASN1,
            (KeyKind::P256, S::EcdsaFixed(Sha256)) => &by::ECDSA_P256_SHA256_FIXED,
            (KeyKind::P384, S::EcdsaFixed(Sha384)) => &by::ECDSA_P384_SHA384_FIXED,
            (KeyKind::Ed25519, S::Ed25519) => &by::ED25519,
            _ => return false,
        };
        by::UnparsedPublicKey::new(algorithm, &self.octets)
            .verify(message, signature)
            .is_ok()
    }
}

/// The kind of key by its AlgorithmIdentifier's contents.
fn key_kind(mut algorithm: Der<'_>) -> Option<KeyKind> {
    match algorithm.take(tag::OID)? {
        oid::RSA => {
            algorithm.optional(tag::NULL);
            algorithm.end()?;
            Some(KeyKind::Rsa)
        }
        oid::EC => {
            let curve = algorithm.take(tag::OID)?;
            algorithm.end()?;
            match curve {
                oid::P256 => Some(KeyKind::P256),
                oid::P384 => Some(KeyKind::P384),
                _ => None,
            }
        }
        oid::ED25519 => {
            algorithm.end()?;
            Some(KeyKind::Ed25519)
        }
        _ => None,
    }
}
