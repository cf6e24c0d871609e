//! The protected channel of an IKE SA: its keys, and messages in and out of them.

use crypto::ikev2::SkKeys;
use crypto::{CryptoRng, Secret};

use crate::event::Role;
use crate::select::IkeSuite;
use crate::wire::fragment::{Reassembled, Reassembly};
use crate::wire::sk::{DirectionSecrets, OpenError, Plain, Protection};
use crate::wire::{Header, Payload};

/// Keys, encryption and fragments.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Channel {
    pub(crate) suite: IkeSuite,
    /// SK_d, from which the keys of children and of the next IKE SA come.
    pub(crate) d: Secret,
    /// SK_pi and SK_pr in the order ours, the peer's.
    pub(crate) auth: (Secret, Secret),
    /// A post-quantum pre-shared key is in `d`, by this SA's own set-up or that of the one before.
    pub(crate) ppk: bool,
    /// Both sides can put fragments together.
    pub(crate) fragmentation: bool,
    protection: Protection,
    requests: Reassembly,
    responses: Reassembly,
}

impl Channel {
    /// `role` is ours in the IKE SA.
    pub(crate) fn new(
        suite: IkeSuite,
        keys: SkKeys,
        role: Role,
        fragmentation: bool,
    ) -> Result<Self, crypto::Error> {
        let initiator = DirectionSecrets {
            encryption: &keys.ei,
            integrity: &keys.ai,
        };
        let responder = DirectionSecrets {
            encryption: &keys.er,
            integrity: &keys.ar,
        };
        let (ours, theirs) = match role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        let protection = Protection::new(suite.suite, ours, theirs)?;
        let auth = match role {
            Role::Initiator => (keys.pi, keys.pr),
            Role::Responder => (keys.pr, keys.pi),
        };
        Ok(Self {
            suite,
            d: keys.d,
            auth,
            ppk: false,
            fragmentation,
            protection,
            requests: Reassembly::default(),
            responses: Reassembly::default(),
        })
    }

    /// Encrypts a message; `max_len` is the longest datagram that needs no fragments.
    pub(crate) fn seal(
        &mut self,
        header: Header,
        payloads: &[Payload],
        max_len: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Vec<u8>>, crypto::Error> {
        self.protection
            .seal(header, payloads, self.fragmentation.then_some(max_len), rng)
    }

    /// Encrypts what somebody else has put together.
    #[cfg(feature = "explore")]
    pub(crate) fn conceal(&mut self, plain: &Plain, rng: &mut dyn CryptoRng) -> Option<Vec<u8>> {
        self.protection.conceal(plain, rng).ok()
    }

    /// Checks and decrypts a datagram.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Plain, OpenError> {
        self.protection.open(bytes)
    }

    /// Collects fragments.
    pub(crate) fn reassemble(&mut self, plain: Plain) -> Reassembled {
        if plain.header.flags.response {
            self.responses.push(plain)
        } else {
            self.requests.push(plain)
        }
    }
}
