//! What the checks may ask about secrets.

use crate::diagnostic::Severity;
use crate::model::{Certificate, Identity, SecretSource};

/// Access to secrets, which the caller has: this crate reads no files and no environment.
///
/// The value is lent for a look and never copied, so that it stays where the caller keeps such things.
pub trait Secrets {
    /// Lends the secret's octets to `look`, or says why they cannot be had (a file that others may read counts as that).
    ///
    /// # Errors
    /// Why the secret cannot be had.
    fn inspect(
        &self,
        source: &SecretSource,
        look: &mut dyn FnMut(&[u8]),
    ) -> Result<(), SecretUnavailable>;

    /// Looks at a tunnel's certificates, and says what is wrong with them, or with the identities that have to be in them.
    fn judge(&self, certificate: &Certificate, ids: Identities<'_>) -> Vec<CertificateProblem>;
}

/// The identities of a tunnel's ends, as far as the site file has them.
#[derive(Clone, Copy, Debug)]
pub struct Identities<'a> {
    /// Ours; none where it is whatever address we send from.
    pub local: Option<&'a Identity>,
    /// The peer's, where it is written.
    pub remote: Option<&'a Identity>,
}

/// What a problem with certificates is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePart {
    /// Our certificate.
    File,
    /// Its private key.
    Key,
    /// The authorities.
    Ca,
    /// The revocation lists.
    Crl,
    /// Our identity.
    LocalId,
    /// The peer's.
    RemoteId,
}

/// Something wrong with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// Where.
    pub part: CertificatePart,
    /// Whether it works all the same, for now.
    pub severity: Severity,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub help: Option<String>,
}

/// Why a secret cannot be had; holds nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SecretUnavailable {
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub help: Option<String>,
}

/// Looks at no secret: for checking a file on a machine that has none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unseen;

impl Secrets for Unseen {
    fn inspect(&self, _: &SecretSource, _: &mut dyn FnMut(&[u8])) -> Result<(), SecretUnavailable> {
        Ok(())
    }

    fn judge(&self, _: &Certificate, _: Identities<'_>) -> Vec<CertificateProblem> {
        Vec::new()
    }
}
