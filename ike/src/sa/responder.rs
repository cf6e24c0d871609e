//! Setting up an IKE SA as responder: answering IKE_SA_INIT and IKE_AUTH
//! (RFC 7296 sections 1.2 and 2.7 to 2.9).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::ikev2;

use super::auth::{self, Authenticated, Signed};
use super::channel::Channel;
use super::established::{Birth, Established};
use super::parts::Parts;
use super::ppk::{self, Mixed};
use super::task::child::Answer;
use super::{Addresses, Effect, InitialContact, LINGER, Link, Sa, State, Turn, answer_to};
use crate::child::{Agreement, Child, meet};
use crate::connection::{Connection, ConnectionId, Encapsulation};
use crate::context::Context;
use crate::error::{Cause, Diagnosis, Negotiation, PpkFault, RefusedBy};
use crate::event::{Path, Role};
use crate::nat;
use crate::select::{self, ChildGroups};
use crate::wire::{
    Exchange, Header, Identity, KeyExchange, Message, Notify, NotifyType, Payload, WireError,
};

/// How long a peer may take from IKE_SA_INIT to IKE_AUTH.
const HALF_OPEN: Duration = Duration::from_secs(30);

/// We have answered IKE_SA_INIT and wait for IKE_AUTH.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct HalfOpen {
    pub(crate) channel: Channel,
    pub(crate) expires: Instant,
    /// The request as received: the peer's AUTH is computed over it, and its repetitions are
    /// known by it.
    pub(crate) request: Vec<u8>,
    /// Our response: our AUTH is computed over it.
    pub(crate) response: Vec<u8>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// Both sides have said USE_PPK.
    ppk: bool,
    /// Connections with the addresses of this handshake; the identity decides among them.
    candidates: Vec<ConnectionId>,
}

/// How IKE_SA_INIT is answered when no SA comes from it.
pub(crate) struct Refusal {
    pub(crate) notify: Notify,
    /// For people; a request for another group or a cookie is no failure.
    pub(crate) diagnosis: Option<Box<Diagnosis>>,
}

/// Answers an IKE_SA_INIT request. `candidates` is not empty.
pub(crate) fn answer_init(
    cx: &mut Context,
    now: Instant,
    from: Addresses,
    (header, bytes): (Header, &[u8]),
    payloads: Vec<Payload>,
    candidates: &[Arc<Connection>],
) -> Result<Sa, Refusal> {
    let zero = (header.spi_i, header.spi_r);
    let detected = nat::detect(nat::notifies(&payloads), zero, from.local, from.remote);
    let parts = Parts::new(payloads);
    let plain = |kind| Refusal {
        notify: Notify::new(kind),
        diagnosis: None,
    };
    let (Some(proposals), Some(ke), Some(nonce_i)) = (&parts.sa, &parts.ke, &parts.nonce) else {
        return Err(plain(NotifyType::INVALID_SYNTAX));
    };
    let (choice, connection) = choose(candidates, proposals, ke, from)?;
    let group = choice.chosen.group;
    if group.id() != ke.group {
        let data = group.id().to_be_bytes().to_vec();
        let notify = Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, data);
        return Err(Refusal {
            notify,
            diagnosis: None,
        });
    }
    let key = group.generate(&mut cx.rng);
    let shared = key
        .agree(&ke.data)
        .map_err(|_| plain(NotifyType::INVALID_SYNTAX))?;
    let nonce_r = cx.nonce();
    let path = Path {
        local: from.local,
        remote: from.remote,
        local_nat: detected.local_nat,
        remote_nat: detected.remote_nat,
        encapsulated: detected.supported
            && (detected.local_nat
                || detected.remote_nat
                || connection.encapsulation == Encapsulation::Force),
    };
    let mut link = Link::new(now, cx.ike_spi(), header.spi_i, Role::Responder, path);
    let local = |error: crypto::Error| Refusal {
        // A fault of ours is not the peer's business: it may try again (section 2.25).
        notify: Notify::new(NotifyType::TEMPORARY_FAILURE),
        diagnosis: Some(diagnosis(
            connection,
            from,
            Cause::Local {
                what: error.to_string(),
            },
        )),
    };
    let spis = (header.spi_i.0, link.spi.0);
    let suite = choice.chosen;
    let keys = ikev2::initial_keys(
        suite.prf,
        suite.suite,
        nonce_i,
        &nonce_r,
        &shared,
        spis.0,
        spis.1,
    )
    .map_err(local)?;
    let fragmentation = parts.has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
    let channel = Channel::new(suite, keys, Role::Responder, fragmentation).map_err(local)?;

    let public = key.public().to_vec();
    let mut answer = vec![
        Payload::Sa(vec![choice.answer]),
        Payload::Ke(KeyExchange {
            group: group.id(),
            data: public,
        }),
        Payload::Nonce(nonce_r.clone()),
    ];
    let (local, remote) = (from.local, from.remote);
    answer.extend(nat::announce(
        cx,
        connection.encapsulation,
        link.spis(),
        local,
        remote,
    ));
    if fragmentation {
        let notify = Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
        answer.push(Payload::Notify(notify));
    }
    // Whoever wants no child here asks for one later, or we do.
    let childless = Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED);
    answer.push(Payload::Notify(childless));
    // Whose connection it is shows in IKE_AUTH only.
    let ppk = parts.has(NotifyType::USE_PPK) && candidates.iter().any(|c| c.ppk.is_some());
    if ppk {
        answer.push(Payload::Notify(Notify::new(NotifyType::USE_PPK)));
    }
    let header = link.header(Exchange::IkeSaInit, true, 0);
    let response = Message {
        header,
        payloads: answer,
    }
    .encode();
    link.transmit(cx, now, std::slice::from_ref(&response));
    link.window.replied(vec![response.clone()]);
    let state = HalfOpen {
        channel,
        expires: now + HALF_OPEN,
        request: bytes.to_vec(),
        response,
        nonce_i: nonce_i.clone(),
        nonce_r,
        ppk,
        candidates: candidates.iter().map(|c| c.id).collect(),
    };
    Ok(Sa {
        link,
        connection: None,
        state: State::HalfOpen(Box::new(state)),
    })
}

/// The first candidate that shares a proposal with the peer.
fn choose<'a>(
    candidates: &'a [Arc<Connection>],
    proposals: &[crate::wire::Proposal],
    ke: &KeyExchange,
    from: Addresses,
) -> Result<(select::Choice<select::IkeSuite>, &'a Connection), Refusal> {
    let mut refusal = None;
    for connection in candidates {
        match select::choose_ike(&connection.ike, proposals, Some(ke.group)) {
            Ok(choice) => return Ok((choice, connection)),
            Err(mismatch) => {
                let cause = Cause::no_proposal(Negotiation::Ike, mismatch);
                refusal.get_or_insert_with(|| diagnosis(connection, from, cause));
            }
        }
    }
    Err(Refusal {
        notify: Notify::new(NotifyType::NO_PROPOSAL_CHOSEN),
        diagnosis: refusal,
    })
}

fn diagnosis(connection: &Connection, from: Addresses, cause: Cause) -> Box<Diagnosis> {
    Box::new(Diagnosis {
        connection: connection.id,
        name: connection.name.clone(),
        remote: from.remote,
        exchange: Exchange::IkeSaInit,
        role: Role::Responder,
        cause,
    })
}

impl HalfOpen {
    /// Takes the IKE_AUTH request. Also says whose connection it turned out to be.
    pub(crate) fn handle(
        self: Box<Self>,
        cx: &mut Context,
        now: Instant,
        link: &mut Link,
        header: Header,
        payloads: Result<Vec<Payload>, WireError>,
    ) -> (Option<ConnectionId>, State) {
        if header.flags.response || header.exchange != Exchange::IkeAuth {
            cx.counters.unexpected += 1;
            return (None, State::HalfOpen(self));
        }
        let candidates: Vec<Arc<Connection>> = self
            .candidates
            .iter()
            .filter_map(|id| cx.answering(*id))
            .collect();
        let Some(first) = candidates.first() else {
            return (None, State::Dead);
        };
        let parts = payloads.map(Parts::new);
        let connection = parts
            .as_ref()
            .ok()
            .and_then(|parts| identified(&candidates, parts))
            .unwrap_or(first);
        let mut turn = Turn {
            cx,
            now,
            link,
            connection,
        };
        let state = match parts {
            Ok(parts) => self.authenticate(&mut turn, header.message_id, &parts),
            Err(error) => {
                turn.cx.counters.bad_inner += 1;
                let cause = Cause::Malformed {
                    what: error.to_string(),
                };
                self.refuse(&mut turn, header.message_id, answer_to(error), cause)
            }
        };
        (Some(connection.id), state)
    }

    fn authenticate(self: Box<Self>, turn: &mut Turn<'_>, id: u32, parts: &Parts) -> State {
        let failed = || Notify::new(NotifyType::AUTHENTICATION_FAILED);
        let (Some(identity), Some((method, data))) = (&parts.id_i, &parts.auth) else {
            // Without AUTH the peer wants EAP, which we do not do.
            let cause = Cause::AuthMethod { method: 0 };
            return self.refuse(turn, id, failed(), cause);
        };
        let c = turn.connection;
        if *identity != c.remote_id {
            let (expected, got) = (c.remote_id.clone(), identity.clone());
            return self.refuse(turn, id, failed(), Cause::IdMismatch { expected, got });
        }
        if *method != auth::SHARED_KEY_MIC {
            return self.refuse(turn, id, failed(), Cause::AuthMethod { method: *method });
        }
        match self.verify(c, identity, data, parts) {
            Ok((peer, mixed)) => self.establish(turn, id, parts, peer, mixed),
            Err(cause) => self.refuse(turn, id, failed(), cause),
        }
    }

    /// Checks the proof of the initiator, and which keys it is made with (RFC 8784 section 3).
    fn verify(
        &self,
        c: &Connection,
        identity: &Identity,
        data: &[u8],
        parts: &Parts,
    ) -> Result<(Authenticated, Option<Mixed>), Cause> {
        let signed = Signed {
            message: &self.request,
            nonce: &self.nonce_r,
            identity,
        };
        let check = |key, data: &[u8]| signed.verify(self.channel.suite.prf, &c.psk, key, data);
        let plain = |data: &[u8]| check(&self.channel.auth.1, data);
        let unproven = |ppk: Option<&str>| Cause::Authentication {
            by: RefusedBy::Us,
            ours: c.local_id.clone(),
            theirs: identity.clone(),
            ppk: ppk.map(str::to_owned),
        };
        let ours = c.ppk.as_ref();
        let misfit = |fault| Cause::Ppk {
            fault,
            ours: ours.map(|ppk| ppk.id.clone()),
        };
        let required = ours.is_some_and(|ppk| ppk.required);
        let without = parts
            .notify(NotifyType::NO_PPK_AUTH)
            .map(|n| n.data.as_slice());
        match parts.notify(NotifyType::PPK_IDENTITY).filter(|_| self.ppk) {
            None => {
                let peer = plain(data).ok_or_else(|| unproven(None))?;
                let fits = || misfit(PpkFault::Missing);
                (!required).then_some((peer, None)).ok_or_else(fits)
            }
            Some(named) => match ours.filter(|ppk| ppk::names(named, ppk)) {
                Some(ppk) => {
                    let local = |error: crypto::Error| Cause::Local {
                        what: error.to_string(),
                    };
                    let mixed = Mixed::new(&self.channel, ppk).map_err(local)?;
                    match check(&mixed.auth.1, data) {
                        Some(peer) => Ok((peer, Some(mixed))),
                        // There is a key of this name, so this is no peer that has none: falling back would hide the mistake.
                        None if without.is_some_and(|data| plain(data).is_some()) => {
                            Err(misfit(PpkFault::Differ))
                        }
                        None => Err(unproven(Some(&ppk.id))),
                    }
                }
                None => {
                    let theirs = ppk::describe(named);
                    let without = without.filter(|_| !required);
                    let data = without.ok_or_else(|| misfit(PpkFault::Unknown { theirs }))?;
                    plain(data)
                        .map(|peer| (peer, None))
                        .ok_or_else(|| unproven(None))
                }
            },
        }
    }

    fn establish(
        mut self: Box<Self>,
        turn: &mut Turn<'_>,
        id: u32,
        parts: &Parts,
        peer: Authenticated,
        mixed: Option<Mixed>,
    ) -> State {
        let c = turn.connection;
        if let Some(mixed) = mixed {
            mixed.adopt(&mut self.channel);
        }
        let signed = Signed {
            message: &self.response,
            nonce: &self.nonce_i,
            identity: &c.local_id,
        };
        let auth = signed.prove(self.channel.suite.prf, &c.psk, &self.channel.auth.0);
        let mut answer = vec![Payload::IdR(c.local_id.clone()), auth::payload(auth)];
        if self.channel.ppk {
            answer.push(Payload::Notify(Notify::new(NotifyType::PPK_IDENTITY)));
        } else if let Some(ppk) = &c.ppk {
            ppk::note_absence(turn, ppk);
        }
        let child = self.child(turn, parts);
        let child = match child {
            Ok(None) => None,
            Ok(Some(Answer { child, payloads })) => {
                answer.extend(payloads);
                Some(child)
            }
            Err((notify, cause)) => {
                answer.push(Payload::Notify(Notify::new(notify)));
                turn.fail(Exchange::IkeAuth, Role::Responder, cause, false);
                None
            }
        };
        let mobike = c.offers_mobike() && parts.has(NotifyType::MOBIKE_SUPPORTED);
        if mobike {
            answer.push(Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED)));
        }
        turn.reply(&mut self.channel, Exchange::IkeAuth, id, &answer);
        let low_nonce = (&self.nonce_i).min(&self.nonce_r).clone();
        let birth = Birth {
            channel: self.channel,
            peer,
            low_nonce,
            mobike,
            origin: None,
        };
        let mut established = Established::new(turn, birth);
        established.announce(turn);
        established
            .children
            .extend(child.map(|child| (child.sa.spi_in, child)));
        let contact = InitialContact {
            sent: false,
            received: parts.has(NotifyType::INITIAL_CONTACT),
        };
        let spi = turn.link.spi;
        turn.cx
            .effects
            .push_back(Effect::Established { spi, contact });
        State::Established(Box::new(established))
    }

    /// The first child and the payloads that tell about it; none if the peer wants none.
    fn child(
        &self,
        turn: &mut Turn<'_>,
        parts: &Parts,
    ) -> Result<Option<Answer>, (NotifyType, Cause)> {
        let c = turn.connection;
        let (Some(proposals), Some(ts_i), Some(ts_r)) = (&parts.sa, &parts.ts_i, &parts.ts_r)
        else {
            return Ok(None);
        };
        let mut choice = select::choose_esp(&c.esp, proposals, ChildGroups::FirstChild, None)
            .map_err(|m| {
                let cause = Cause::no_proposal(Negotiation::Esp, m);
                (NotifyType::NO_PROPOSAL_CHOSEN, cause)
            })?;
        let (local_ts, remote_ts) =
            meet(c, ts_r, ts_i).map_err(|cause| (NotifyType::TS_UNACCEPTABLE, cause))?;
        let spi_out = super::task::child::spi_of(&choice.spi).ok_or_else(|| {
            let cause = Cause::Malformed {
                what: "SPI of the CHILD_SA".to_owned(),
            };
            (NotifyType::INVALID_SYNTAX, cause)
        })?;
        let spi_in = turn.cx.child_spi();
        let agreed = Agreement {
            path: &turn.link.path,
            role: Role::Responder,
            suite: choice.chosen,
            spi_in,
            spi_out,
            local_ts: local_ts.clone(),
            remote_ts: remote_ts.clone(),
            nonces: (&self.nonce_i, &self.nonce_r),
            shared: None,
        };
        let keys = (self.channel.suite.prf, &self.channel.d);
        let child = Child::install(turn.cx, turn.now, c, keys, agreed).map_err(|error| {
            let cause = Cause::Local {
                what: error.to_string(),
            };
            (NotifyType::NO_ADDITIONAL_SAS, cause)
        })?;
        choice.answer.spi = spi_in.to_be_bytes().to_vec();
        let payloads = vec![
            Payload::Sa(vec![choice.answer]),
            Payload::TsI(remote_ts),
            Payload::TsR(local_ts),
        ];
        Ok(Some(Answer { child, payloads }))
    }

    /// Refuses the peer for good; only the answer is repeated if need be.
    fn refuse(
        mut self: Box<Self>,
        turn: &mut Turn<'_>,
        id: u32,
        notify: Notify,
        cause: Cause,
    ) -> State {
        turn.fail(Exchange::IkeAuth, Role::Responder, cause, false);
        turn.reply(
            &mut self.channel,
            Exchange::IkeAuth,
            id,
            &[Payload::Notify(notify)],
        );
        State::Lingering {
            channel: Box::new(self.channel),
            until: turn.now + LINGER,
        }
    }
}

/// The candidate with the identities that the peer names; IDr only decides between several.
fn identified<'a>(candidates: &'a [Arc<Connection>], parts: &Parts) -> Option<&'a Arc<Connection>> {
    let matches = |ours: &Identity, theirs: &Option<Identity>| theirs.as_ref() == Some(ours);
    let mut known = candidates
        .iter()
        .filter(|c| matches(&c.remote_id, &parts.id_i));
    known
        .clone()
        .find(|c| matches(&c.local_id, &parts.id_r))
        .or_else(|| known.next())
}
