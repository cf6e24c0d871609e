//! IKE_FOLLOWUP_KE: the additional key exchange of rekeying the IKE SA (RFC 9370 section 2.2.4).
//!
//! The new SA comes to be with this exchange and not with the CREATE_CHILD_SA before it. Of two of those that crossed, the one that has
//! lost by the nonces ends there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Kem, KemKey};

use super::rekey_ike::{self, Request, Successor};
use super::{Active, Task};
use crate::error::{Cause, Negotiation};
use crate::event::Role;
use crate::sa::Turn;
use crate::sa::established::Established;
use crate::sa::intermediate::public_value;
use crate::sa::parts::Parts;
use crate::wire::{Exchange, KeyExchange, Notify, NotifyType, Payload};

/// So long the peer may take for what follows its CREATE_CHILD_SA; we begin nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// The peer has begun to rekey the IKE SA, and IKE_FOLLOWUP_KE has to come.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Pending {
    kem: Kem,
    pub(crate) successor: Successor,
    /// By which the exchange is known.
    link: Vec<u8>,
    pub(crate) until: Instant,
}

impl Pending {
    /// Also gives the notification that names it.
    pub(crate) fn new(now: Instant, kem: Kem, successor: Successor) -> (Self, Payload) {
        let link = successor.spi.0.to_vec();
        let notify = Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, link.clone());
        let pending = Self {
            kem,
            successor,
            link,
            until: now + PATIENCE,
        };
        (pending, Payload::Notify(notify))
    }
}

/// What our CREATE_CHILD_SA has led to, with our IKE_FOLLOWUP_KE under way.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Agreed {
    key: Arc<KemKey>,
    successor: Successor,
}

/// Sends the request.
pub(crate) fn start(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    mut request: Request,
    successor: Successor,
    (kem, link): (Kem, Vec<u8>),
) {
    let key = Arc::new(kem.generate(&mut turn.cx.rng));
    let payloads = [
        Payload::Ke(KeyExchange {
            group: kem.id(),
            data: key.public().to_vec(),
        }),
        Payload::Notify(Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)),
    ];
    turn.request(&mut sa.channel, Exchange::IkeFollowupKe, &payloads);
    request.agreed = Some(Box::new(Agreed { key, successor }));
    sa.active = Some(Active::RekeyIke(Box::new(request)));
}

/// Answers the peer's request.
pub(crate) fn answer(sa: &mut Established, turn: &mut Turn<'_>, parts: &Parts) -> Vec<Payload> {
    let refuse = |kind| vec![Payload::Notify(Notify::new(kind))];
    let named = parts.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE);
    let known = |link: &[u8]| named.is_some_and(|theirs| theirs.data == link);
    let Some(pending) = sa.pending.take_if(|pending| known(&pending.link)) else {
        return refuse(NotifyType::STATE_NOT_FOUND);
    };
    let kem = pending.kem;
    let secret =
        public_value(parts, kem).and_then(|public| kem.encapsulate(public, &mut turn.cx.rng).ok());
    let Some((ciphertext, shared)) = secret else {
        return refuse(NotifyType::INVALID_SYNTAX);
    };
    match rekey_ike::succeed(sa, turn, pending.successor, Some(&shared)) {
        Ok(()) => vec![Payload::Ke(KeyExchange {
            group: kem.id(),
            data: ciphertext,
        })],
        Err(error) => {
            turn.local_failure(Exchange::IkeFollowupKe, &error);
            refuse(NotifyType::TEMPORARY_FAILURE)
        }
    }
}

/// Finishes our request.
pub(crate) fn finish(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    request: Request,
    agreed: Agreed,
    parts: &Parts,
) {
    let malformed = || Cause::malformed("IKE_FOLLOWUP_KE response without the key exchange");
    let built = match (public_value(parts, agreed.key.kem()), parts.error()) {
        (Some(ciphertext), _) => match agreed.key.decapsulate(ciphertext) {
            Ok(shared) => {
                let low = agreed.successor.low_nonce();
                let local = |error: crypto::Error| Cause::Local {
                    what: error.to_string(),
                };
                let new = agreed.successor.build(sa, turn, Some(&shared));
                new.map(|new| (new, low)).map_err(local)
            }
            Err(_) => Err(malformed()),
        },
        // The peer has given up waiting, or has other things to do.
        (None, Some(error))
            if matches!(
                error.kind,
                NotifyType::STATE_NOT_FOUND | NotifyType::TEMPORARY_FAILURE
            ) && request.crossed.is_none() =>
        {
            return sa.postpone(turn, Task::RekeyIke);
        }
        (None, Some(error)) => Err(Cause::PeerRefused {
            negotiation: Some(Negotiation::Ike),
            notify: error.kind,
        }),
        (None, None) => Err(malformed()),
    };
    match built {
        Ok((new, low)) => rekey_ike::settle(sa, turn, new, &low, request.crossed),
        Err(cause) => {
            turn.fail(Exchange::IkeFollowupKe, Role::Initiator, cause, false);
            rekey_ike::without(sa, turn, request.crossed);
        }
    }
}
