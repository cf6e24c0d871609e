//! IKE_SA_INIT requests: who may have an SA, and at what price (RFC 7296 section 2.6).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crypto::Secret;

use super::computing::Awaited;
use super::{Endpoint, EndpointConfig};
use crate::connection::Connection;
use crate::event::{Event, Note};
use crate::job::{Exchanged, Outcome};
use crate::sa::responder::{self, Answered, KeyAgreement, Request};
use crate::sa::{Addresses, Effect, Sa, State};
use crate::wire::{Header, Message, Notify, NotifyType, Payload, WireError};

impl Endpoint {
    pub(super) fn handle_init(
        &mut self,
        now: Instant,
        from: Addresses,
        header: Header,
        bytes: &[u8],
    ) {
        let first = header.flags.initiator
            && header.spi_r.is_zero()
            && !header.spi_i.is_zero()
            && header.message_id == 0;
        if !first || self.stopping {
            self.cx.counters.unexpected += 1;
            return;
        }
        if self.repeat_init(from, header, bytes) {
            return;
        }
        if self.computing.awaits(from, bytes) {
            // It gets its answer when there is one.
            self.cx.counters.repeated_requests += 1;
            return;
        }
        let candidates = self.candidates(from);
        if candidates.is_empty() {
            return self.ignore_stranger(from);
        }
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.cx.counters.malformed += 1;
                if let WireError::UnsupportedCritical { payload_type } = error {
                    let kind = NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD;
                    let notify = Notify::with_data(kind, vec![payload_type]);
                    self.complain(now, from, header, notify);
                }
                return;
            }
        };
        if !self.pays(now, from, &message) {
            return;
        }
        let request = Request {
            from,
            header,
            bytes,
            payloads: message.payloads,
        };
        self.answer_init(now, request, &candidates, None);
    }

    /// Goes on with the request that a job was for. One that nobody waits for any more does nothing.
    pub fn handle_outcome(&mut self, now: Instant, outcome: Outcome) {
        if let Some((from, bytes)) = self.computing.take(outcome.id)
            && let Ok((header, _)) = Header::decode(&bytes)
            && let Ok(message) = Message::decode(&bytes)
        {
            // Meanwhile connections may have come and gone.
            let candidates = self.candidates(from);
            if !candidates.is_empty() {
                let request = Request {
                    from,
                    header,
                    bytes: &bytes,
                    payloads: message.payloads,
                };
                self.answer_init(now, request, &candidates, Some(outcome.exchanged));
            }
        }
        self.settle(now);
    }

    /// Answers a request that is entitled to one, or has its keys computed first.
    fn answer_init(
        &mut self,
        now: Instant,
        request: Request<'_>,
        candidates: &[Arc<Connection>],
        exchanged: Option<Result<Exchanged, crypto::Error>>,
    ) {
        let (from, header, bytes) = (request.from, request.header, request.bytes);
        let exchange = match exchanged {
            Some(exchanged) => KeyAgreement::Done(exchanged),
            None if self.config.job_limit > 0 => KeyAgreement::SlowOutside,
            None => KeyAgreement::Inline,
        };
        match responder::answer_init(&mut self.cx, now, request, candidates, exchange) {
            Ok(Answered::Sa(sa)) => self.sas.insert(*sa),
            Ok(Answered::Compute { group, peer }) => {
                if self.computing.len() >= self.config.job_limit {
                    self.cx.counters.half_open_limit += 1;
                    return;
                }
                let seed = Secret::random(32, &mut self.cx.rng);
                let awaited = Awaited::new(now, from, bytes);
                self.computing.begin(awaited, group, peer, seed);
            }
            Err(refusal) => {
                self.answer_unprotected(from, header, refusal.notify);
                if let Some(diagnosis) = refusal.diagnosis {
                    self.cx.effects.push_back(Effect::Failed {
                        diagnosis,
                        fatal: false,
                    });
                }
            }
        }
    }

    /// The same request again gets the same response (section 2.1).
    fn repeat_init(&mut self, from: Addresses, header: Header, bytes: &[u8]) -> bool {
        let known = self.sas.half_open().find_map(|sa| match &sa.state {
            State::HalfOpen(s) if sa.link.peer_spi == header.spi_i && s.request == bytes => {
                Some((sa.link.path, s.response.clone()))
            }
            _ => None,
        });
        let Some((path, response)) = known.filter(|(path, _)| path.remote == from.remote) else {
            return false;
        };
        self.cx.counters.repeated_requests += 1;
        self.cx.send(&path, response);
        true
    }

    /// The connections between these two addresses.
    fn candidates(&self, from: Addresses) -> Vec<Arc<Connection>> {
        let matches = |c: &&Arc<Connection>| {
            (c.remote == from.remote.ip() || c.remote.is_unspecified())
                && (c.local == from.local.ip() || c.local.is_unspecified())
        };
        let stays = |c: &&Arc<Connection>| self.tunnels.get(&c.id).is_some_and(|t| !t.removed);
        let matching = self.cx.connections.values().filter(matches);
        matching
            .filter(stays)
            .filter_map(|c| self.cx.answering(c.id))
            .collect()
    }

    fn ignore_stranger(&mut self, from: Addresses) {
        self.cx.counters.stranger += 1;
        if self.cx.counters.stranger % 1000 == 1 {
            let remote = from.remote;
            self.cx
                .events
                .push_back(Event::Note(Note::Stranger { remote }));
        }
    }

    /// Whether the initiator gets an SA: always while few are half open, then against a cookie,
    /// and at last not at all.
    fn pays(&mut self, now: Instant, from: Addresses, message: &Message) -> bool {
        let half_open = self.half_open();
        let of_source = self.half_open_of(from.remote.ip());
        let EndpointConfig {
            cookie_threshold,
            cookie_threshold_per_source,
            half_open_limit,
            half_open_limit_per_source,
            ..
        } = self.config;
        if half_open >= half_open_limit || of_source >= half_open_limit_per_source {
            self.cx.counters.half_open_limit += 1;
            return false;
        }
        if half_open < cookie_threshold && of_source < cookie_threshold_per_source {
            return true;
        }
        let mut nonce = None;
        let mut cookie = None;
        for payload in &message.payloads {
            match payload {
                Payload::Nonce(data) => nonce = Some(data.as_slice()),
                Payload::Notify(n) if n.kind == NotifyType::COOKIE => cookie = Some(&n.data),
                _ => {}
            }
        }
        let (nonce, spi) = (nonce.unwrap_or_default(), message.header.spi_i);
        let address = from.remote.ip();
        let rng = &mut self.cx.rng;
        if let Some(cookie) = cookie {
            if self.cookies.check(now, rng, cookie, nonce, address, spi) {
                return true;
            }
            self.cx.counters.bad_cookie += 1;
        }
        if self.cx.counters.cookies_sent == 0 {
            self.cx
                .events
                .push_back(Event::Note(Note::CookiesDemanded { half_open }));
        }
        self.cx.counters.cookies_sent += 1;
        let cookie = self
            .cookies
            .make(now, &mut self.cx.rng, nonce, address, spi);
        let notify = Notify::with_data(NotifyType::COOKIE, cookie);
        self.answer_unprotected(from, message.header, notify);
        false
    }

    fn half_open_of(&self, source: IpAddr) -> usize {
        let of_source = |sa: &&Sa| sa.link.path.remote.ip() == source;
        self.sas.half_open().filter(of_source).count() + self.computing.of(source)
    }

    pub(super) fn half_open(&self) -> usize {
        self.sas.count_half_open() + self.computing.len()
    }
}
