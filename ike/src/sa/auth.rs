//! Proof of identity by a pre-shared key (RFC 7296 section 2.15).

use crypto::{Prf, Secret, constant_time_eq, ikev2};

use crate::wire::{Identity, Payload};

/// AUTH method: Shared Key Message Integrity Code.
pub(crate) const SHARED_KEY_MIC: u8 = 2;

/// An identity whose owner has proved to know the key. Only [`Signed::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authenticated(Identity);

impl Authenticated {
    pub(crate) const fn identity(&self) -> &Identity {
        &self.0
    }
}

/// What one side signs: its first message, the other side's nonce and its own identity.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) nonce: &'a [u8],
    pub(crate) identity: &'a Identity,
}

impl Signed<'_> {
    /// The AUTH data; `key` is SK_pi or SK_pr, whose side signs.
    pub(crate) fn prove(&self, prf: Prf, psk: &Secret, key: &Secret) -> Vec<u8> {
        self.mic(prf, psk, key).expose().to_vec()
    }

    /// Checks AUTH data.
    pub(crate) fn verify(
        &self,
        prf: Prf,
        psk: &Secret,
        key: &Secret,
        data: &[u8],
    ) -> Option<Authenticated> {
        let expected = self.mic(prf, psk, key);
        constant_time_eq(expected.expose(), data).then(|| Authenticated(self.identity.clone()))
    }

    fn mic(&self, prf: Prf, psk: &Secret, key: &Secret) -> Secret {
        let maced_id = prf.compute(key.expose(), &[&self.identity.to_body()]);
        ikev2::psk_auth(prf, psk, &[self.message, self.nonce, maced_id.expose()])
    }
}

/// An AUTH payload.
pub(crate) const fn payload(data: Vec<u8>) -> Payload {
    Payload::Auth {
        method: SHARED_KEY_MIC,
        data,
    }
}
