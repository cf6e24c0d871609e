//! A post-quantum pre-shared key in an IKE SA (RFC 8784).
//!
//! It changes three keys, and by them AUTH and all keys to come. Which of the two versions of AUTH counts is found out in IKE_AUTH.

use crypto::{Secret, ikev2};

use super::Turn;
use super::channel::Channel;
use crate::connection::Ppk;
use crate::event::{Event, Note};
use crate::wire::{Notify, NotifyType};

/// Type of a PPK_ID whose data names one key for good: PPK_ID_FIXED (RFC 8784 section 5.1).
const FIXED: u8 = 2;

/// SK_d, SK_pi and SK_pr of an IKE SA with a PPK mixed in.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Mixed {
    d: Secret,
    /// SK_pi and SK_pr in the order ours, the peer's.
    pub(crate) auth: (Secret, Secret),
}

impl Mixed {
    pub(crate) fn new(channel: &Channel, ppk: &Ppk) -> Result<Self, crypto::Error> {
        let mix = |key| ikev2::mix_ppk(channel.suite.prf, &ppk.secret, key);
        Ok(Self {
            d: mix(&channel.d)?,
            auth: (mix(&channel.auth.0)?, mix(&channel.auth.1)?),
        })
    }

    /// Both sides have used the PPK: these are the keys of the IKE SA.
    pub(crate) fn adopt(self, channel: &mut Channel) {
        channel.d = self.d;
        channel.auth = self.auth;
        channel.ppk = true;
    }
}

/// Notes that an SA stands without our PPK.
pub(crate) fn note_absence(turn: &mut Turn<'_>, ppk: &Ppk) {
    turn.cx.events.push_back(Event::Note(Note::WithoutPpk {
        connection: turn.connection.id,
        id: ppk.id.clone(),
    }));
}

/// PPK_IDENTITY of an initiator.
pub(crate) fn identity(ppk: &Ppk) -> Notify {
    let data = [&[FIXED], ppk.id.as_bytes()].concat();
    Notify::with_data(NotifyType::PPK_IDENTITY, data)
}

/// Whether an initiator's PPK_IDENTITY names this key.
pub(crate) fn names(identity: &Notify, ppk: &Ppk) -> bool {
    identity.data.split_first() == Some((&FIXED, ppk.id.as_bytes()))
}

/// The key that PPK_IDENTITY names, for people.
pub(crate) fn describe(identity: &Notify) -> String {
    let name = identity.data.get(1..).unwrap_or_default();
    String::from_utf8_lossy(name)
        .chars()
        .filter(|letter| !letter.is_control())
        .take(64)
        .collect()
}
