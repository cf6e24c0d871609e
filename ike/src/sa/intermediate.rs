//! IKE_INTERMEDIATE (RFC 9242) with an additional key exchange (RFC 9370): between IKE_SA_INIT and IKE_AUTH, and in what AUTH covers.

use std::sync::Arc;

use crypto::{KemKey, Secret, ikev2};

use super::channel::Channel;
use super::initiator::Handshake;
use super::parts::Parts;
use super::{State, Turn};
use crate::error::Cause;
use crate::event::Role;
use crate::wire::sk::intermediate_octets_of;
use crate::wire::{Exchange, IkeSpi, KeyExchange, Payload};

/// Our IKE_INTERMEDIATE request is under way.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct IntermediateSent {
    pub(crate) handshake: Handshake,
    key: Arc<KemKey>,
    /// What AUTH will cover of our request.
    request: Vec<u8>,
}

/// One additional key exchange, as both sides know it.
pub(crate) struct Exchanged<'a> {
    pub(crate) shared: &'a Secret,
    /// Those of IKE_SA_INIT, the initiator's first.
    pub(crate) nonces: (&'a [u8], &'a [u8]),
    /// What AUTH covers of the two messages.
    pub(crate) request: &'a [u8],
    pub(crate) response: &'a [u8],
}

/// The channel with its new keys, and both sides' parts of IntAuth, which are made with the old ones (RFC 9242 section 3.3.2).
pub(crate) fn update(
    channel: &Channel,
    role: Role,
    (spi_i, spi_r): (IkeSpi, IkeSpi),
    exchanged: &Exchanged<'_>,
) -> Result<(Channel, Vec<u8>), crypto::Error> {
    let (ours, theirs) = (&channel.auth.0, &channel.auth.1);
    let (pi, pr) = match role {
        Role::Initiator => (ours, theirs),
        Role::Responder => (theirs, ours),
    };
    let suite = channel.suite;
    let proofs = [(pi, exchanged.request), (pr, exchanged.response)]
        .map(|(key, message)| ikev2::intermediate_auth(suite.prf, key, &[], message));
    let (ni, nr) = exchanged.nonces;
    let shared = exchanged.shared;
    let keys = ikev2::updated_keys(
        suite.prf,
        suite.suite,
        &channel.d,
        ni,
        nr,
        shared,
        spi_i.0,
        spi_r.0,
    )?;
    let new = Channel::new(suite, keys, role, channel.fragmentation)?;
    let proofs: Vec<u8> = proofs.iter().flat_map(|p| p.expose().to_vec()).collect();
    Ok((new, proofs))
}

/// The KE payload of an additional key exchange, if it is the one that was agreed upon.
pub(crate) fn public_value(parts: &Parts, kem: crypto::Kem) -> Option<&[u8]> {
    let ke = parts.ke.as_ref().filter(|ke| ke.group == kem.id())?;
    Some(&ke.data)
}

impl IntermediateSent {
    /// Sends the request.
    pub(crate) fn send(turn: &mut Turn<'_>, mut handshake: Handshake, kem: crypto::Kem) -> State {
        let key = Arc::new(kem.generate(&mut turn.cx.rng));
        let payloads = [Payload::Ke(KeyExchange {
            group: kem.id(),
            data: key.public().to_vec(),
        })];
        let id = turn.link.window.next_id();
        let header = turn.link.header(Exchange::IkeIntermediate, false, id);
        let request = intermediate_octets_of(header, &payloads);
        turn.request(&mut handshake.channel, Exchange::IkeIntermediate, &payloads);
        State::IntermediateSent(Box::new(Self {
            handshake,
            key,
            request,
        }))
    }

    /// Takes the response; `octets` is what AUTH will cover of it.
    pub(crate) fn handle(
        mut self: Box<Self>,
        turn: &mut Turn<'_>,
        parts: Result<Parts, crate::wire::WireError>,
        octets: &[u8],
    ) -> State {
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) => return fail(turn, Cause::malformed(&error.to_string())),
        };
        let Some(ciphertext) = public_value(&parts, self.key.kem()) else {
            let cause = match parts.error() {
                Some(error) => Cause::PeerRefused {
                    negotiation: Some(crate::error::Negotiation::Ike),
                    notify: error.kind,
                },
                None => Cause::malformed("IKE_INTERMEDIATE response without the key exchange"),
            };
            return fail(turn, cause);
        };
        let shared = match self.key.decapsulate(ciphertext) {
            Ok(shared) => shared,
            Err(error) => return fail(turn, Cause::malformed(&error.to_string())),
        };
        let handshake = &mut self.handshake;
        let exchanged = Exchanged {
            shared: &shared,
            nonces: (&handshake.nonce_i, &handshake.nonce_r),
            request: &self.request,
            response: octets,
        };
        match update(
            &handshake.channel,
            Role::Initiator,
            turn.link.spis(),
            &exchanged,
        ) {
            Ok((channel, proofs)) => {
                handshake.channel = channel;
                handshake.intermediate = proofs;
                self.handshake.authenticate(turn)
            }
            Err(error) => {
                let what = error.to_string();
                fail(turn, Cause::Local { what })
            }
        }
    }
}

fn fail(turn: &mut Turn<'_>, cause: Cause) -> State {
    turn.fail(Exchange::IkeIntermediate, Role::Initiator, cause, true);
    State::Dead
}
