//! The payloads of one message, sorted by what they are. The first of each kind counts.

use super::certificate::{MOST_CERTIFICATES, X509};
use crate::wire::{
    Delete, Identity, KeyExchange, Notify, NotifyType, Payload, Proposal, TrafficSelector,
};

/// A message's payloads.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) sa: Option<Vec<Proposal>>,
    pub(crate) ke: Option<KeyExchange>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) id_i: Option<Identity>,
    pub(crate) id_r: Option<Identity>,
    /// X.509 certificates, the peer's own first; no more than are looked at.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// The authorities that the peer asks for certificates of, by their keys' SHA-1.
    pub(crate) requested: Vec<[u8; 20]>,
    pub(crate) auth: Option<(u8, Vec<u8>)>,
    pub(crate) ts_i: Option<Vec<TrafficSelector>>,
    pub(crate) ts_r: Option<Vec<TrafficSelector>>,
    pub(crate) notifies: Vec<Notify>,
    pub(crate) deletes: Vec<Delete>,
}

impl Parts {
    pub(crate) fn new(payloads: Vec<Payload>) -> Self {
        let mut parts = Self::default();
        for payload in payloads {
            match payload {
                Payload::Sa(v) => _ = parts.sa.get_or_insert(v),
                Payload::Ke(v) => _ = parts.ke.get_or_insert(v),
                Payload::Nonce(v) => _ = parts.nonce.get_or_insert(v),
                Payload::IdI(v) => _ = parts.id_i.get_or_insert(v),
                Payload::IdR(v) => _ = parts.id_r.get_or_insert(v),
                Payload::Cert { encoding, data } => {
                    if encoding == X509 && parts.certificates.len() < MOST_CERTIFICATES {
                        parts.certificates.push(data);
                    }
                }
                Payload::CertReq { encoding, data } => {
                    if encoding == X509 && parts.requested.is_empty() {
                        parts.requested = data.as_chunks::<20>().0.to_vec();
                    }
                }
                Payload::Auth { method, data } => _ = parts.auth.get_or_insert((method, data)),
                Payload::TsI(v) => _ = parts.ts_i.get_or_insert(v),
                Payload::TsR(v) => _ = parts.ts_r.get_or_insert(v),
                Payload::Notify(v) => parts.notifies.push(v),
                Payload::Delete(v) => parts.deletes.push(v),
                Payload::Vendor(_) | Payload::Other { .. } => {}
            }
        }
        parts
    }

    pub(crate) fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies.iter().find(|n| n.kind == kind)
    }

    pub(crate) fn has(&self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// The first notification that is an error.
    pub(crate) fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|n| n.kind.is_error())
    }

    /// The group in an INVALID_KE_PAYLOAD notification (RFC 7296 section 1.3).
    pub(crate) fn wanted_group(&self) -> Option<u16> {
        let notify = self.notify(NotifyType::INVALID_KE_PAYLOAD)?;
        <[u8; 2]>::try_from(notify.data.as_slice())
            .ok()
            .map(u16::from_be_bytes)
    }
}
