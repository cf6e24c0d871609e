//! What we prove ourselves by: a certificate, those between it and its authority, and its key.

use thiserror::Error;

use super::certificate::Certificate;
use super::name::DistinguishedName;
use crate::signature::{KeyKind, SigningKey};

/// Why a certificate and a key do not make a credential.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// There is no certificate.
    #[error("holds no certificate (a PEM block \"CERTIFICATE\", or DER)")]
    NoCertificate,
    /// The certificate's key is of a kind that we do not have.
    #[error(
        "holds the certificate of {subject}, whose key is of a kind that is not supported; expected RSA, ECDSA on P-256 or P-384, or Ed25519"
    )]
    UnsupportedKey {
        /// Whose certificate it is.
        subject: DistinguishedName,
    },
    /// The key is not the certificate's.
    #[error("the {key} key is not the one in the certificate of {subject}")]
    OtherKey {
        /// Whose certificate it is.
        subject: DistinguishedName,
        /// What the key is.
        key: KeyKind,
    },
    /// keyUsage forbids signatures.
    #[error(
        "the certificate of {subject} is not for signatures: its keyUsage has no digitalSignature"
    )]
    KeyUsage {
        /// Whose certificate it is.
        subject: DistinguishedName,
    },
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Our own first, then those of the authorities in between.
    chain: Vec<Certificate>,
    key: SigningKey,
}

impl Credential {
    /// Joins the certificates of a file (PEM or DER; our own first) with the key.
    ///
    /// # Errors
    /// [`CredentialError`] where they do not belong together.
    pub fn new(certificates: &[u8], key: SigningKey) -> Result<Self, CredentialError> {
        let chain = Certificate::all(certificates);
        let own = chain.first().ok_or(CredentialError::NoCertificate)?;
        let subject = || own.subject().clone();
        let public = own
            .public_key()
            .ok_or_else(|| CredentialError::UnsupportedKey { subject: subject() })?;
        if public != *key.public() {
            return Err(CredentialError::OtherKey {
                subject: subject(),
                key: key.kind(),
            });
        }
        if !own.may_sign() {
            return Err(CredentialError::KeyUsage { subject: subject() });
        }
        Ok(Self { chain, key })
    }

    /// Our own certificate; there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// What the peer is sent: our own certificate, then those between it and its authority. The authority's own, which it has already, is
    /// left out.
    pub fn sent(&self) -> impl Iterator<Item = &Certificate> {
        let is_root = |one: &Certificate| one.is_authority() && one.subject() == one.issuer();
        let own = self.chain.iter().take(1);
        own.chain(self.chain.iter().skip(1).filter(move |one| !is_root(one)))
    }

    /// All certificates, our own first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The key that signs.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }
}
