//! What the checks may ask about secrets.

use crate::model::SecretSource;

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
}
