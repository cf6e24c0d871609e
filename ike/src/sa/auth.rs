//! Proof of identity by a pre-shared key (RFC 7296 section 2.15).

use crypto::{Secret, constant_time_eq, ikev2};

use super::channel::Channel;
use crate::wire::{Identity, Payload};

/// AUTH method: Shared Key Message Integrity Code.
pub(crate) const SHARED_KEY_MIC: u8 = 2;

/// An identity whose owner has proved to know the key. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authenticated(Identity);

impl Authenticated {
    pub(crate) const fn identity(&self) -> &Identity {
        &self.0
    }
}

/// Our AUTH payload: over our first message, the peer's nonce and our identity.
pub(crate) fn prove(
    channel: &Channel,
    psk: &Secret,
    message: &[u8],
    peer_nonce: &[u8],
    identity: &Identity,
) -> Payload {
    let mic = mic(channel, psk, message, peer_nonce, identity, &channel.auth.0);
    Payload::Auth {
        method: SHARED_KEY_MIC,
        data: mic.expose().to_vec(),
    }
}

/// Checks the peer's AUTH data: over its first message, our nonce and its identity.
pub(crate) fn verify(
    channel: &Channel,
    psk: &Secret,
    message: &[u8],
    our_nonce: &[u8],
    identity: &Identity,
    data: &[u8],
) -> Option<Authenticated> {
    let expected = mic(channel, psk, message, our_nonce, identity, &channel.auth.1);
    constant_time_eq(expected.expose(), data).then(|| Authenticated(identity.clone()))
}

fn mic(
    channel: &Channel,
    psk: &Secret,
    message: &[u8],
    nonce: &[u8],
    identity: &Identity,
    key: &Secret,
) -> Secret {
    let prf = channel.suite.prf;
    let maced_id = prf.compute(key.expose(), &[&identity.to_body()]);
    ikev2::psk_auth(prf, psk, &[message, nonce, maced_id.expose()])
}
