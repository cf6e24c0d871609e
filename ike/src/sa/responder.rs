//! Setting up an IKE SA as responder: answering IKE_SA_INIT and IKE_AUTH
//! (RFC 7296 sections 1.2 and 2.7 to 2.9).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Group, Kem, ikev2};

use super::auth::{self, Authenticated, Prover, Signed, Verifier};
use super::certificate;
use super::channel::Channel;
use super::established::{Birth, Established};
use super::intermediate;
use super::parts::Parts;
use super::ppk::{self, Mixed};
use super::task::child::Answer;
use super::{Addresses, Effect, InitialContact, LINGER, Link, Sa, State, Turn, answer_to};
use crate::child::{Agreement, Child, meet};
use crate::connection::{Auth, Connection, ConnectionId, Encapsulation, IkeProposal};
use crate::context::Context;
use crate::error::{Cause, Diagnosis, Negotiation, PpkFault, RefusedBy};
use crate::event::{Path, Role};
use crate::job::{self, Exchanged};
use crate::nat;
use crate::select::{self, ChildGroups};
use crate::wire::sk::{Plain, intermediate_octets_of};
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
    /// Hash algorithms that the peer verifies signatures by, if it knows RFC 7427.
    hashes: Option<Vec<u16>>,
    /// The additional key exchange that has to come before IKE_AUTH.
    kem: Option<Kem>,
    /// The proofs of IKE_INTERMEDIATE, or nothing.
    intermediate: Vec<u8>,
    /// The keys before IKE_INTERMEDIATE, for its request if it comes again.
    previous: Option<Box<Channel>>,
    /// Connections with the addresses of this handshake; the identity decides among them.
    candidates: Vec<ConnectionId>,
}

/// How IKE_SA_INIT is answered when no SA comes from it.
pub(crate) struct Refusal {
    pub(crate) notify: Notify,
    /// For people; a request for another group or a cookie is no failure.
    pub(crate) diagnosis: Option<Box<Diagnosis>>,
}

/// An IKE_SA_INIT request.
pub(crate) struct Request<'a> {
    pub(crate) from: Addresses,
    pub(crate) header: Header,
    /// As it was received.
    pub(crate) bytes: &'a [u8],
    pub(crate) payloads: Vec<Payload>,
}

/// Where the Diffie-Hellman exchange of a handshake is computed.
pub(crate) enum KeyAgreement {
    /// Here and now.
    Inline,
    /// Here and now, or outside if the group is slow.
    SlowOutside,
    /// It was computed outside.
    Done(Result<Exchanged, crypto::Error>),
}

/// What a request that is not refused comes to.
pub(crate) enum Answered {
    /// It is answered.
    Sa(Box<Sa>),
    /// This has to be computed first; the request comes again with it.
    Compute { group: Group, peer: Vec<u8> },
}

/// Answers an IKE_SA_INIT request. `candidates` is not empty.
pub(crate) fn answer_init(
    cx: &mut Context,
    now: Instant,
    request: Request<'_>,
    candidates: &[Arc<Connection>],
    agreement: KeyAgreement,
) -> Result<Answered, Refusal> {
    let Request {
        from,
        header,
        bytes,
        payloads,
    } = request;
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
    let intermediate = parts.has(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED);
    let (choice, connection) = choose(candidates, proposals, ke, intermediate, from)?;
    let group = choice.chosen.group;
    if group.id() != ke.group {
        let data = group.id().to_be_bytes().to_vec();
        let notify = Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, data);
        return Err(Refusal {
            notify,
            diagnosis: None,
        });
    }
    let exchanged = match agreement {
        // What a connection offers may have changed meanwhile: the peer's next try meets it.
        KeyAgreement::Done(Ok(exchanged)) if exchanged.group != group => {
            return Err(plain(NotifyType::TEMPORARY_FAILURE));
        }
        KeyAgreement::Done(exchanged) => exchanged,
        KeyAgreement::SlowOutside if job::is_slow(group) => {
            let peer = ke.data.clone();
            return Ok(Answered::Compute { group, peer });
        }
        KeyAgreement::Inline | KeyAgreement::SlowOutside => {
            Exchanged::compute(group, &ke.data, &mut cx.rng)
        }
    };
    let Exchanged { public, shared, .. } =
        exchanged.map_err(|_| plain(NotifyType::INVALID_SYNTAX))?;
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
    let kem = suite.kem;
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
    if kem.is_some() {
        let notify = Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED);
        answer.push(Payload::Notify(notify));
    }
    // Whose connection it is shows in IKE_AUTH only.
    let ppk = parts.has(NotifyType::USE_PPK) && candidates.iter().any(|c| c.ppk.is_some());
    if ppk {
        answer.push(Payload::Notify(Notify::new(NotifyType::USE_PPK)));
    }
    // The same: none of this is said for pre-shared keys alone.
    if (candidates.iter()).any(|c| matches!(c.auth, Auth::Certificate(_))) {
        answer.push(auth::hash_algorithms());
        answer.extend(certificate::request(candidates.iter().map(|c| &**c)));
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
        hashes: auth::hashes(&parts),
        kem,
        intermediate: Vec::new(),
        previous: None,
        candidates: candidates.iter().map(|c| c.id).collect(),
    };
    Ok(Answered::Sa(Box::new(Sa {
        link,
        connection: None,
        state: State::HalfOpen(Box::new(state)),
    })))
}

/// The first candidate that shares a proposal with the peer.
fn choose<'a>(
    candidates: &'a [Arc<Connection>],
    proposals: &[crate::wire::Proposal],
    ke: &KeyExchange,
    intermediate: bool,
    from: Addresses,
) -> Result<(select::Choice<select::IkeSuite>, &'a Connection), Refusal> {
    let mut refusal = None;
    for connection in candidates {
        // An additional key exchange has its place in IKE_INTERMEDIATE (RFC 9370 section 2.2.2).
        let possible = |p: &&IkeProposal| intermediate || p.kems.is_empty();
        let ours: Vec<IkeProposal> = connection.ike.iter().filter(possible).cloned().collect();
        match select::choose_ike(&ours, proposals, Some(ke.group)) {
            Ok(choice) => return Ok((choice, connection)),
            Err(mismatch) => {
                // What we would accept of a peer that can do more belongs to what is said.
                let whole = select::choose_ike(&connection.ike, proposals, Some(ke.group));
                let mismatch = whole.err().unwrap_or(mismatch);
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
        octets: &[u8],
    ) -> (Option<ConnectionId>, State) {
        let wanted = match self.kem {
            Some(_) => Exchange::IkeIntermediate,
            None => Exchange::IkeAuth,
        };
        if header.flags.response || header.exchange != wanted {
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
        if let Some(kem) = self.kem {
            let state = self.exchange(&mut turn, header.message_id, kem, parts, octets);
            return (None, state);
        }
        let state = match parts {
            Ok(parts) => self.authenticate(&mut turn, header.message_id, &parts),
            Err(error) => {
                turn.cx.counters.bad_inner += 1;
                let cause = Cause::Malformed {
                    what: error.to_string(),
                };
                self.refuse(
                    &mut turn,
                    Exchange::IkeAuth,
                    header.message_id,
                    answer_to(error),
                    cause,
                )
            }
        };
        (Some(connection.id), state)
    }

    /// Answers IKE_INTERMEDIATE: what follows is under new keys.
    fn exchange(
        mut self: Box<Self>,
        turn: &mut Turn<'_>,
        id: u32,
        kem: Kem,
        parts: Result<Parts, WireError>,
        octets: &[u8],
    ) -> State {
        let secret = parts.as_ref().ok().and_then(|parts| {
            let public = intermediate::public_value(parts, kem)?;
            kem.encapsulate(public, &mut turn.cx.rng).ok()
        });
        let Some((ciphertext, shared)) = secret else {
            turn.cx.counters.bad_inner += 1;
            let notify = Notify::new(NotifyType::INVALID_SYNTAX);
            let cause = Cause::malformed("IKE_INTERMEDIATE without the key exchange agreed upon");
            return self.refuse(turn, Exchange::IkeIntermediate, id, notify, cause);
        };
        let payloads = [Payload::Ke(KeyExchange {
            group: kem.id(),
            data: ciphertext,
        })];
        let header = turn.link.header(Exchange::IkeIntermediate, true, id);
        let exchanged = intermediate::Exchanged {
            shared: &shared,
            nonces: (&self.nonce_i, &self.nonce_r),
            request: octets,
            response: &intermediate_octets_of(header, &payloads),
        };
        let spis = turn.link.spis();
        match intermediate::update(&self.channel, Role::Responder, spis, &exchanged) {
            Ok((channel, proofs)) => {
                turn.reply(&mut self.channel, Exchange::IkeIntermediate, id, &payloads);
                let previous = std::mem::replace(&mut self.channel, channel);
                self.previous = Some(Box::new(previous));
                self.intermediate = proofs;
                self.kem = None;
                State::HalfOpen(self)
            }
            Err(error) => {
                turn.local_failure(Exchange::IkeIntermediate, &error);
                State::Dead
            }
        }
    }

    /// Opens a request that came before the keys changed: it can only be the last one, again.
    pub(crate) fn open_with_previous(&self, bytes: &[u8]) -> Option<Plain> {
        self.previous.as_ref()?.open(bytes).ok()
    }

    fn authenticate(self: Box<Self>, turn: &mut Turn<'_>, id: u32, parts: &Parts) -> State {
        let failed = || Notify::new(NotifyType::AUTHENTICATION_FAILED);
        let (Some(identity), Some((method, data))) = (&parts.id_i, &parts.auth) else {
            // Without AUTH the peer wants EAP, which we do not do.
            let cause = Cause::AuthMethod { method: 0 };
            return self.refuse(turn, Exchange::IkeAuth, id, failed(), cause);
        };
        let c = turn.connection;
        if !identity.is_same(&c.remote_id) {
            let (expected, got) = (c.remote_id.clone(), identity.clone());
            return self.refuse(
                turn,
                Exchange::IkeAuth,
                id,
                failed(),
                Cause::IdMismatch { expected, got },
            );
        }
        let time = turn.cx.time_of_day(turn.now);
        let proven = Verifier::new(c, (*method, identity), parts, time)
            .and_then(|verifier| self.verify(c, &verifier, id, identity, data, parts))
            .and_then(|proven| Ok((proven, Prover::new(c, self.hashes.as_deref())?)));
        match proven {
            Ok((proven, prover)) => self.establish(turn, id, parts, proven, &prover),
            Err(cause) => self.refuse(turn, Exchange::IkeAuth, id, failed(), cause),
        }
    }

    /// Checks the proof of the initiator, and which keys it is made with (RFC 8784 section 3).
    fn verify(
        &self,
        c: &Connection,
        verifier: &Verifier<'_>,
        id: u32,
        identity: &Identity,
        data: &[u8],
        parts: &Parts,
    ) -> Result<(Authenticated, Option<Mixed>), Cause> {
        let signed = Signed {
            message: &self.request,
            nonce: &self.nonce_r,
            identity,
            intermediate: &auth::intermediate(&self.intermediate, id),
        };
        let check = |key, data: &[u8]| signed.verify(self.channel.suite.prf, verifier, key, data);
        let plain = |data: &[u8]| check(&self.channel.auth.1, data);
        let unproven = |ppk: Option<&str>| {
            auth::signature_fault(verifier, data).unwrap_or_else(|| Cause::Authentication {
                by: RefusedBy::Us,
                ours: c.local_id.clone(),
                theirs: identity.clone(),
                ppk: ppk.map(str::to_owned),
            })
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
        (peer, mixed): (Authenticated, Option<Mixed>),
        prover: &Prover<'_>,
    ) -> State {
        let c = turn.connection;
        if let Some(mixed) = mixed {
            mixed.adopt(&mut self.channel);
        }
        let signed = Signed {
            message: &self.response,
            nonce: &self.nonce_i,
            identity: &c.local_id,
            intermediate: &auth::intermediate(&self.intermediate, id),
        };
        let data = match signed.prove(self.channel.suite.prf, prover, &self.channel.auth.0) {
            Ok(data) => data,
            Err(cause) => {
                let notify = Notify::new(NotifyType::TEMPORARY_FAILURE);
                return self.refuse(turn, Exchange::IkeAuth, id, notify, cause);
            }
        };
        let mut answer = vec![Payload::IdR(c.local_id.clone())];
        answer.extend(certificate::ours(c));
        answer.push(Payload::Auth {
            method: prover.method(),
            data,
        });
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
        exchange: Exchange,
        id: u32,
        notify: Notify,
        cause: Cause,
    ) -> State {
        turn.fail(exchange, Role::Responder, cause, false);
        turn.reply(&mut self.channel, exchange, id, &[Payload::Notify(notify)]);
        State::Lingering {
            channel: Box::new(self.channel),
            until: turn.now + LINGER,
        }
    }
}

/// The candidate with the identities that the peer names; IDr only decides between several.
fn identified<'a>(candidates: &'a [Arc<Connection>], parts: &Parts) -> Option<&'a Arc<Connection>> {
    let matches = |ours: &Identity, theirs: &Option<Identity>| {
        theirs.as_ref().is_some_and(|theirs| theirs.is_same(ours))
    };
    let mut known = candidates
        .iter()
        .filter(|c| matches(&c.remote_id, &parts.id_i));
    known
        .clone()
        .find(|c| matches(&c.local_id, &parts.id_r))
        .or_else(|| known.next())
}
