//! A private key that signs.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    self as by, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use zeroize::Zeroize as _;

use super::{KeyKind, PublicKey, SignatureHash, SignatureScheme, key_kind, oid};
use crate::Secret;
use crate::der::{Der, encode, tag};

/// Why a private key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no key in the text.
    #[error("holds no PEM block \"PRIVATE KEY\", \"RSA PRIVATE KEY\" or \"EC PRIVATE KEY\"")]
    NoKey,
    /// The key is behind a passphrase, which nobody is there to type.
    #[error("holds a key that is encrypted with a passphrase; expected one without")]
    Encrypted,
    /// The algorithm is none that we have.
    #[error(
        "holds a key of a kind that is not supported; expected RSA, ECDSA on P-256 or P-384, or Ed25519"
    )]
    Unsupported,
    /// The key contradicts itself, or has a length that is not accepted.
    #[error("holds a {kind} key that cannot be used ({reason})")]
    Rejected {
        /// What kind of key it is.
        kind: KeyKind,
        /// ring's word for what is wrong.
        reason: String,
    },
}

/// A private key: RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, Ed25519.
///
/// It is kept as DER in a [`Secret`] and made ready for each signature; what ring allocates for that long is not zeroed by it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    kind: KeyKind,
    /// PKCS #8 (RFC 5958).
    pkcs8: Secret,
    /// As in [`PublicKey`].
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kind)
    }
}

enum Ready {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads the first private key of a PEM text: PKCS #8, PKCS #1 (RFC 8017) or SEC 1 (RFC 5915).
    ///
    /// # Errors
    /// [`KeyError`] where there is none that can be used.
    pub fn from_pem(text: &Secret) -> Result<Self, KeyError> {
        let mut key = PrivateKeyDer::from_pem_slice(text.expose()).map_err(|_| {
            let is_encrypted = (text.expose().windows(9)).any(|part| part == b"ENCRYPTED");
            if is_encrypted {
                KeyError::Encrypted
            } else {
                KeyError::NoKey
            }
        })?;
        let pkcs8 = match &key {
            PrivateKeyDer::Pkcs8(der) => Some(Secret::from_slice(der.secret_pkcs8_der())),
            PrivateKeyDer::Pkcs1(der) => {
                let null = encode(tag::NULL, &[]);
                Some(wrap(oid::RSA, &null, der.secret_pkcs1_der()))
            }
            PrivateKeyDer::Sec1(der) => {
                let der = der.secret_sec1_der();
                curve(der).map(|curve| wrap(oid::EC, &encode(tag::OID, &[curve]), der))
            }
            _ => None,
        };
        key.zeroize();
        Self::from_pkcs8(pkcs8.ok_or(KeyError::Unsupported)?)
    }

    fn from_pkcs8(pkcs8: Secret) -> Result<Self, KeyError> {
        let kind = kind_of(pkcs8.expose()).ok_or(KeyError::Unsupported)?;
        let octets = match ready(kind, &pkcs8)? {
            Ready::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Ready::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Ready::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        Ok(Self {
            kind,
            pkcs8,
            public: PublicKey { kind, octets },
        })
    }

    /// What it is a key of.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The half that verifies.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The scheme to sign with for a peer that verifies these hashes (RFC 7427 section 4); none if it cannot verify us.
    ///
    /// RSA signs by PSS, which RFC 8247 section 4.1.2 has everybody verify, and not by PKCS #1.
    #[must_use]
    pub fn scheme(&self, accepted: &[u16]) -> Option<SignatureScheme> {
        let accepts = |hash: &SignatureHash| accepted.contains(&hash.id());
        let only = |hash: SignatureHash| Some(hash).filter(accepts);
        match self.kind {
            KeyKind::Rsa => SignatureHash::ALL
                .into_iter()
                .filter(|hash| *hash != SignatureHash::Identity)
                .find(accepts)
                .map(SignatureScheme::RsaPss),
            KeyKind::P256 => only(SignatureHash::Sha256).map(SignatureScheme::Ecdsa),
            KeyKind::P384 => only(SignatureHash::Sha384).map(SignatureScheme::Ecdsa),
            KeyKind::Ed25519 => only(SignatureHash::Identity).map(|_| SignatureScheme::Ed25519),
        }
    }

    /// The signature of a message. `None` where the scheme is none of this key's, or the operating system gives no randomness.
    #[must_use]
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        use SignatureHash::{Sha256, Sha384, Sha512};
        use SignatureScheme as S;
        let random = SystemRandom::new();
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, self.pkcs8.expose(), &random).ok()?;
            let signature = pair.sign(&random, message).ok()?;
            Some(signature.as_ref().to_vec())
        };
        let encoding: &'static dyn by::RsaEncoding = match (self.kind, scheme) {
            (KeyKind::Rsa, S::RsaPss(Sha256)) => &by::RSA_PSS_SHA256,
            (KeyKind::Rsa, S::RsaPss(Sha384)) => &by::RSA_PSS_SHA384,
            (KeyKind::Rsa, S::RsaPss(Sha512)) => &by::RSA_PSS_SHA512,
            (KeyKind::Rsa, S::RsaPkcs1(Sha256)) => &by::RSA_PKCS1_SHA256,
            (KeyKind::Rsa, S::RsaPkcs1(Sha384)) => &by::RSA_PKCS1_SHA384,
            (KeyKind::Rsa, S::RsaPkcs1(Sha512)) => &by::RSA_PKCS1_SHA512,
            (KeyKind::P256, S::Ecdsa(Sha256)) => return ecdsa(&by::ECDSA_P256_SHA256_ASN1_SIGNING),
            (KeyKind::P384, S::Ecdsa(Sha384)) => return ecdsa(&by::ECDSA_P384_SHA384_ASN1_SIGNING),
            (KeyKind::P256, S::EcdsaFixed(Sha256)) => {
                return ecdsa(&by::ECDSA_P256_SHA256_FIXED_SIGNING);
            }
            (KeyKind::P384, S::EcdsaFixed(Sha384)) => {
                return ecdsa(&by::ECDSA_P384_SHA384_FIXED_SIGNING);
            }
            (KeyKind::Ed25519, S::Ed25519) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.pkcs8.expose()).ok()?;
                return Some(pair.sign(message).as_ref().to_vec());
            }
            _ => return None,
        };
        let pair = RsaKeyPair::from_pkcs8(self.pkcs8.expose()).ok()?;
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(encoding, &random, message, &mut signature).ok()?;
        Some(signature)
    }
}

fn ready(kind: KeyKind, pkcs8: &Secret) -> Result<Ready, KeyError> {
    let octets = pkcs8.expose();
    let ecdsa = |algorithm| {
        EcdsaKeyPair::from_pkcs8(algorithm, octets, &SystemRandom::new()).map(Ready::Ecdsa)
    };
    let pair = match kind {
        KeyKind::Rsa => RsaKeyPair::from_pkcs8(octets).map(Ready::Rsa),
        KeyKind::P256 => ecdsa(&by::ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyKind::P384 => ecdsa(&by::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyKind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(octets).map(Ready::Ed25519),
    };
    pair.map_err(|rejected| KeyError::Rejected {
        kind,
        reason: rejected.to_string(),
    })
}

/// PKCS #8 around a private key of an older format.
fn wrap(algorithm: &[u8], parameters: &[u8], key: &[u8]) -> Secret {
    let version = encode(tag::INTEGER, &[&[0]]);
    let algorithm = encode(
        tag::SEQUENCE,
        &[&encode(tag::OID, &[algorithm]), parameters],
    );
    let mut key = encode(tag::OCTET_STRING, &[key]);
    let pkcs8 = Secret::new(encode(tag::SEQUENCE, &[&version, &algorithm, &key]));
    key.zeroize();
    pkcs8
}

fn kind_of(pkcs8: &[u8]) -> Option<KeyKind> {
    let mut inner = Der::new(pkcs8).inside(tag::SEQUENCE)?;
    inner.take(tag::INTEGER)?;
    key_kind(inner.inside(tag::SEQUENCE)?)
}

/// The curve of an ECPrivateKey (RFC 5915 section 3).
fn curve(sec1: &[u8]) -> Option<&[u8]> {
    let mut inner = Der::new(sec1).inside(tag::SEQUENCE)?;
    inner.take(tag::INTEGER)?;
    inner.take(tag::OCTET_STRING)?;
    inner.inside(tag::explicit(0))?.take(tag::OID)
}
