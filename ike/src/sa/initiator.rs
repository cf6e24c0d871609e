//! Setting up an IKE SA as initiator: IKE_SA_INIT, then IKE_AUTH with the first child
//! (RFC 7296 sections 1.2 and 2.6 to 2.9).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Group, KeyPair, ikev2};

use super::auth::{self, Prover, Signed, Verifier};
use super::certificate;
use super::channel::Channel;
use super::established::{Birth, Established};
use super::intermediate::IntermediateSent;
use super::parts::Parts;
use super::ppk::{self, Mixed};
use super::window::Pace;
use super::{Addresses, Effect, InitialContact, LINGER, Link, Sa, State, Turn};
use crate::child::{Agreement, Child, meet};
use crate::connection::{Auth, Connection, Encapsulation, Retransmission};
use crate::context::Context;
use crate::error::{Cause, Negotiation, PpkFault, RefusedBy};
use crate::event::{Path, Role};
use crate::nat;
use crate::select::{self, ChildGroups, GroupOffer, IkeSuite};
use crate::wire::{
    Delete, Exchange, Identity, KeyExchange, Message, Notify, NotifyType, Payload, Protocol,
    WireError,
};

/// After so long without an answer a fresh attempt begins, with new keys and a new SPI.
const ATTEMPT: Duration = Duration::from_secs(10);

/// A responder that keeps asking for cookies is not worth more answers in one attempt.
const MOST_COOKIES: u8 = 3;

/// Our IKE_SA_INIT request is under way.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct InitSent {
    key: Arc<KeyPair>,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    cookies: u8,
    /// Groups of which we have sent a public value.
    tried: Vec<Group>,
    /// The request as sent; AUTH is computed over it.
    request: Vec<u8>,
    /// How it is repeated.
    retransmission: Retransmission,
}

/// What IKE_SA_INIT has led to.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Handshake {
    pub(crate) channel: Channel,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    /// Our IKE_SA_INIT request; our AUTH is computed over it.
    request: Vec<u8>,
    /// The peer's response; its AUTH is computed over it.
    response: Vec<u8>,
    /// Both sides have said USE_PPK.
    ppk: bool,
    /// The first child is left for later.
    childless: bool,
    /// The proofs of IKE_INTERMEDIATE, or nothing.
    pub(crate) intermediate: Vec<u8>,
    /// What the peer says about signatures.
    wants: Wants,
}

/// What a responder says about signatures and certificates in IKE_SA_INIT.
#[cfg_attr(feature = "explore", derive(Clone))]
struct Wants {
    /// Hash algorithms that it verifies, if it knows RFC 7427.
    hashes: Option<Vec<u16>>,
    /// Authorities of which it wants a certificate.
    requested: Vec<[u8; 20]>,
}

/// Our IKE_AUTH request is under way.
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct AuthSent {
    pub(crate) channel: Channel,
    /// Inbound SPI of the child of this exchange, if it makes one.
    pub(crate) spi_in: Option<u32>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// The peer's IKE_SA_INIT response; its AUTH is computed over it.
    response: Vec<u8>,
    /// Our keys with the PPK, if the peer can do with one.
    mixed: Option<Mixed>,
    /// IntAuth (RFC 9242), or nothing.
    intermediate: Vec<u8>,
    /// What the peer says about signatures.
    wants: Wants,
}

/// Starts an attempt, the how-manieth since the tunnel was last up; none if the parameters name no group.
pub(crate) fn initiate(
    cx: &mut Context,
    now: Instant,
    connection: &Arc<Connection>,
    attempts: u32,
) -> Option<Sa> {
    let group = connection
        .ike
        .iter()
        .flat_map(|p| &p.groups)
        .next()
        .copied()?;
    let path = Path {
        local: (connection.local, cx.ports.ike).into(),
        remote: connection.remote_ike(),
        local_nat: false,
        remote_nat: false,
        encapsulated: false,
    };
    let mut link = Link::new(
        now,
        cx.ike_spi(),
        crate::wire::IkeSpi::ZERO,
        Role::Initiator,
        path,
    );
    let mut state = InitSent {
        key: Arc::new(group.generate(&mut cx.rng)),
        nonce: cx.nonce(),
        cookie: None,
        cookies: 0,
        tried: vec![group],
        request: Vec::new(),
        retransmission: connection.initiation.wearied(attempts),
    };
    state.send(&mut Turn {
        cx,
        now,
        link: &mut link,
        connection,
    });
    Some(Sa {
        link,
        connection: Some(connection.id),
        state: State::InitSent(Box::new(state)),
    })
}

impl InitSent {
    fn send(&mut self, turn: &mut Turn<'_>) {
        let mut payloads = Vec::new();
        if let Some(cookie) = &self.cookie {
            let notify = Notify::with_data(NotifyType::COOKIE, cookie.clone());
            payloads.push(Payload::Notify(notify));
        }
        payloads.push(Payload::Sa(select::offer_ike(&turn.connection.ike, None)));
        payloads.push(Payload::Ke(KeyExchange {
            group: self.key.group().id(),
            data: self.key.public().to_vec(),
        }));
        payloads.push(Payload::Nonce(self.nonce.clone()));
        let path = turn.link.path;
        payloads.extend(nat::announce(
            turn.cx,
            turn.connection.encapsulation,
            turn.link.spis(),
            path.local,
            path.remote,
        ));
        let fragmentation = Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
        payloads.push(Payload::Notify(fragmentation));
        if turn.connection.ppk.is_some() {
            payloads.push(Payload::Notify(Notify::new(NotifyType::USE_PPK)));
        }
        if turn.connection.ike.iter().any(|p| !p.kems.is_empty()) {
            let notify = Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED);
            payloads.push(Payload::Notify(notify));
        }
        if matches!(turn.connection.auth, Auth::Certificate(_)) {
            payloads.push(auth::hash_algorithms());
        }
        let header = turn.link.header(Exchange::IkeSaInit, false, 0);
        self.request = Message { header, payloads }.encode();
        let packets = vec![self.request.clone()];
        turn.link.transmit(turn.cx, turn.now, &packets);
        let pace = Pace {
            retransmission: self.retransmission,
            give_up: ATTEMPT,
        };
        turn.link.window.sent(turn.now, packets, pace);
    }

    /// Takes the response. Nothing protects it, so what makes no sense is dropped and the right
    /// one may still come.
    pub(crate) fn handle(
        self: Box<Self>,
        turn: &mut Turn<'_>,
        from: Addresses,
        message: Message,
        bytes: &[u8],
    ) -> State {
        let header = message.header;
        let expected = header.flags.response
            && header.exchange == Exchange::IkeSaInit
            && header.message_id == 0
            && from.remote == turn.link.path.remote;
        if !expected {
            turn.cx.counters.unexpected += 1;
            return State::InitSent(self);
        }
        let spis = (header.spi_i, header.spi_r);
        let detected = nat::detect(
            nat::notifies(&message.payloads),
            spis,
            from.local,
            from.remote,
        );
        let parts = Parts::new(message.payloads);
        if parts.sa.is_none() {
            return self.handle_notify(turn, &parts);
        }
        let Some(agreed) = self.agree(turn, &parts, header.spi_r) else {
            turn.cx.counters.unexpected += 1;
            return State::InitSent(self);
        };
        turn.link.window.answered(0);
        turn.link.peer_spi = header.spi_r;
        turn.link.path.local = from.local;
        let path = &mut turn.link.path;
        path.local_nat = detected.local_nat;
        path.remote_nat = detected.remote_nat;
        let force = turn.connection.encapsulation == Encapsulation::Force;
        path.encapsulated =
            detected.supported && (detected.local_nat || detected.remote_nat || force);
        if path.encapsulated || detected.supported && turn.connection.offers_mobike() {
            // Float to the NAT ports for all that follows (RFC 7296 section 2.23), and without a NAT for those that may come later
            // (RFC 4555 section 3.3).
            path.local.set_port(turn.cx.ports.nat);
            path.remote.set_port(turn.connection.remote_ports.nat);
        }
        let (channel, nonce_r) = agreed;
        let ppk = turn.connection.ppk.as_ref();
        let usable = ppk.filter(|_| parts.has(NotifyType::USE_PPK));
        if let (Some(ppk), None) = (ppk.filter(|ppk| ppk.required), usable) {
            let cause = Cause::Ppk {
                fault: PpkFault::Missing,
                ours: Some(ppk.id.clone()),
            };
            turn.fail(Exchange::IkeSaInit, Role::Initiator, cause, true);
            return State::Dead;
        }
        let kem = channel.suite.kem;
        let handshake = Handshake {
            channel,
            nonce_i: self.nonce,
            nonce_r,
            request: self.request,
            response: bytes.to_vec(),
            ppk: usable.is_some(),
            childless: turn.connection.childless
                && parts.has(NotifyType::CHILDLESS_IKEV2_SUPPORTED),
            intermediate: Vec::new(),
            wants: Wants {
                hashes: auth::hashes(&parts),
                requested: parts.requested,
            },
        };
        match kem {
            Some(kem) => IntermediateSent::send(turn, handshake, kem),
            None => handshake.authenticate(turn),
        }
    }

    /// Checks the answer and derives the keys; the second value is the responder's nonce.
    fn agree(
        &self,
        turn: &Turn<'_>,
        parts: &Parts,
        spi_r: crate::wire::IkeSpi,
    ) -> Option<(Channel, Vec<u8>)> {
        let (proposals, ke, nonce) = (
            parts.sa.as_ref()?,
            parts.ke.as_ref()?,
            parts.nonce.as_ref()?,
        );
        if spi_r.is_zero() || !select::is_single_choice(proposals) {
            return None;
        }
        let ours = self.key.group().id();
        let choice = select::choose_ike(&turn.connection.ike, proposals, Some(ours)).ok()?;
        if choice.chosen.group.id() != ours || ke.group != ours {
            return None;
        }
        let intermediate = parts.has(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED);
        if choice.chosen.kem.is_some() && !intermediate {
            return None;
        }
        let IkeSuite { suite, prf, .. } = choice.chosen;
        let shared = self.key.agree(&ke.data).ok()?;
        let keys = ikev2::initial_keys(
            prf,
            suite,
            &self.nonce,
            nonce,
            &shared,
            turn.link.spi.0,
            spi_r.0,
        )
        .ok()?;
        let fragmentation = parts.has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
        let channel = Channel::new(choice.chosen, keys, Role::Initiator, fragmentation).ok()?;
        Some((channel, nonce.clone()))
    }

    fn handle_notify(mut self: Box<Self>, turn: &mut Turn<'_>, parts: &Parts) -> State {
        if let Some(cookie) = parts.notify(NotifyType::COOKIE) {
            if self.cookies < MOST_COOKIES && (1..=64).contains(&cookie.data.len()) {
                self.cookies += 1;
                self.cookie = Some(cookie.data.clone());
                self.send(turn);
            }
            return State::InitSent(self);
        }
        if let Some(wanted) = parts.wanted_group() {
            let ours: Vec<Group> = turn
                .connection
                .ike
                .iter()
                .flat_map(|p| p.groups.iter().copied())
                .collect();
            let group = Group::from_id(wanted).filter(|g| ours.contains(g));
            // Never twice for one group, or two sides with odd tables would go round for ever.
            match group.filter(|g| !self.tried.contains(g)) {
                Some(group) => {
                    self.tried.push(group);
                    self.key = Arc::new(group.generate(&mut turn.cx.rng));
                    self.send(turn);
                    return State::InitSent(self);
                }
                None => {
                    let cause = Cause::invalid_ke(Negotiation::Ike, &ours, wanted);
                    turn.fail(Exchange::IkeSaInit, Role::Initiator, cause, true);
                    return State::Dead;
                }
            }
        }
        let Some(error) = parts.error() else {
            turn.cx.counters.unexpected += 1;
            return State::InitSent(self);
        };
        let cause = match error.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => Cause::NoProposal {
                negotiation: Negotiation::Ike,
                ours: crate::describe::Offer::from_ours(&turn.connection.ike),
                theirs: None,
                nearest: Vec::new(),
            },
            notify => Cause::PeerRefused {
                negotiation: Some(Negotiation::Ike),
                notify,
            },
        };
        turn.fail(Exchange::IkeSaInit, Role::Initiator, cause, true);
        State::Dead
    }
}

impl Handshake {
    /// Goes on to IKE_AUTH.
    pub(crate) fn authenticate(self, turn: &mut Turn<'_>) -> State {
        let ppk = turn.connection.ppk.as_ref().filter(|_| self.ppk);
        let mixed = match ppk.map(|ppk| Mixed::new(&self.channel, ppk)).transpose() {
            Ok(mixed) => mixed,
            Err(error) => {
                let what = error.to_string();
                let cause = Cause::Local { what };
                turn.fail(Exchange::IkeAuth, Role::Initiator, cause, true);
                return State::Dead;
            }
        };
        let spi_in = (!self.childless).then(|| turn.cx.child_spi());
        let mut state = AuthSent {
            channel: self.channel,
            spi_in,
            nonce_i: self.nonce_i,
            nonce_r: self.nonce_r,
            response: self.response,
            mixed,
            intermediate: auth::intermediate(&self.intermediate, turn.link.window.next_id()),
            wants: self.wants,
        };
        match state.send(turn, &self.request) {
            Ok(()) => State::AuthSent(Box::new(state)),
            Err(cause) => {
                state.release(turn.cx);
                turn.fail(Exchange::IkeAuth, Role::Initiator, cause, true);
                State::Dead
            }
        }
    }
}

impl AuthSent {
    fn send(&mut self, turn: &mut Turn<'_>, init_request: &[u8]) -> Result<(), Cause> {
        let c = turn.connection;
        let signed = Signed {
            message: init_request,
            nonce: &self.nonce_r,
            identity: &c.local_id,
            intermediate: &self.intermediate,
        };
        let prover = Prover::new(c, self.wants.hashes.as_deref())?;
        let prove = |key| signed.prove(self.channel.suite.prf, &prover, key);
        let plain = &self.channel.auth.0;
        let auth = Payload::Auth {
            method: prover.method(),
            data: prove(self.mixed.as_ref().map_or(plain, |mixed| &mixed.auth.0))?,
        };
        let mut payloads = vec![Payload::IdI(c.local_id.clone())];
        payloads.extend(certificate::ours(c));
        payloads.extend(certificate::request(std::iter::once(&**c)));
        // We initiate only where no SA stands, or the peer has lost the one that does.
        if c.initial_contact {
            payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT)));
        }
        if c.offers_mobike() {
            payloads.push(Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED)));
        }
        // A name that is compared by what it says may be written in other octets there, so the peer is not asked for ours.
        if !matches!(c.remote_id, Identity::Dn(_)) {
            payloads.push(Payload::IdR(c.remote_id.clone()));
        }
        payloads.push(auth);
        if let Some(spi_in) = self.spi_in {
            payloads.extend([
                Payload::Sa(select::offer_esp(&c.esp, spi_in, &GroupOffer::None)),
                Payload::TsI(c.local_ts.clone()),
                Payload::TsR(c.remote_ts.clone()),
            ]);
        }
        if let (Some(_), Some(ppk)) = (&self.mixed, &c.ppk) {
            payloads.push(Payload::Notify(ppk::identity(ppk)));
            if !ppk.required {
                let notify = Notify::with_data(NotifyType::NO_PPK_AUTH, prove(plain)?);
                payloads.push(Payload::Notify(notify));
            }
        }
        turn.request(&mut self.channel, Exchange::IkeAuth, &payloads);
        Ok(())
    }

    /// Takes the response.
    pub(crate) fn handle(mut self: Box<Self>, turn: &mut Turn<'_>, parts: Parts) -> State {
        let (Some(identity), Some((method, data))) = (&parts.id_r, &parts.auth) else {
            return self.refused(turn, &parts);
        };
        let c = turn.connection;
        if !identity.is_same(&c.remote_id) {
            let (expected, got) = (c.remote_id.clone(), identity.clone());
            return self.reject(turn, Cause::IdMismatch { expected, got });
        }
        let time = turn.cx.time_of_day(turn.now);
        let verifier = match Verifier::new(c, (*method, identity), &parts, time) {
            Ok(verifier) => verifier,
            Err(cause) => return self.reject(turn, cause),
        };
        let signed = Signed {
            message: &self.response,
            nonce: &self.nonce_i,
            identity,
            intermediate: &self.intermediate,
        };
        let mixed = self
            .mixed
            .take()
            .filter(|_| parts.has(NotifyType::PPK_IDENTITY));
        let key = mixed
            .as_ref()
            .map_or(&self.channel.auth.1, |mixed| &mixed.auth.1);
        let ppk = c.ppk.as_ref();
        let Some(peer) = signed.verify(self.channel.suite.prf, &verifier, key, data) else {
            let cause =
                auth::signature_fault(&verifier, data).unwrap_or_else(|| Cause::Authentication {
                    by: RefusedBy::Us,
                    ours: c.local_id.clone(),
                    theirs: identity.clone(),
                    ppk: ppk.filter(|_| mixed.is_some()).map(|ppk| ppk.id.clone()),
                });
            return self.reject(turn, cause);
        };
        match (mixed, ppk) {
            (Some(mixed), _) => mixed.adopt(&mut self.channel),
            (None, Some(ppk)) if ppk.required => {
                let cause = Cause::Ppk {
                    fault: PpkFault::Missing,
                    ours: Some(ppk.id.clone()),
                };
                return self.reject(turn, cause);
            }
            (None, Some(ppk)) => ppk::note_absence(turn, ppk),
            (None, None) => {}
        }
        let low_nonce = (&self.nonce_i).min(&self.nonce_r).clone();
        let child = self
            .spi_in
            .map(|spi_in| (spi_in, self.child(turn, &parts, spi_in)));
        let birth = Birth {
            channel: self.channel,
            peer,
            low_nonce,
            mobike: turn.connection.offers_mobike() && parts.has(NotifyType::MOBIKE_SUPPORTED),
            origin: None,
        };
        let mut established = Established::new(turn, birth);
        established.announce(turn);
        match child {
            // The SA makes one by itself.
            None => {}
            Some((_, Ok(mut child))) => {
                child.ready = Some(turn.cx.next_order());
                established.children.insert(child.sa.spi_in, child);
            }
            Some((spi_in, Err(cause))) => {
                turn.cx.release_spi(spi_in);
                turn.fail(Exchange::IkeAuth, Role::Initiator, cause, false);
                established.retry_child(turn);
            }
        }
        let contact = InitialContact {
            sent: turn.connection.initial_contact,
            received: parts.has(NotifyType::INITIAL_CONTACT),
        };
        let spi = turn.link.spi;
        turn.cx
            .effects
            .push_back(Effect::Established { spi, contact });
        State::Established(Box::new(established))
    }

    /// The first child, or why there is none.
    fn child(&self, turn: &mut Turn<'_>, parts: &Parts, spi_in: u32) -> Result<Child, Cause> {
        let c = turn.connection;
        let (Some(proposals), Some(ts_i), Some(ts_r)) = (&parts.sa, &parts.ts_i, &parts.ts_r)
        else {
            return Err(super::task::child::refusal(parts, c));
        };
        let choice = select::choose_esp(&c.esp, proposals, ChildGroups::FirstChild, None)
            .map_err(|mismatch| Cause::no_proposal(Negotiation::Esp, mismatch))?;
        let (local_ts, remote_ts) = meet(c, ts_i, ts_r)?;
        let spi_out = super::task::child::spi_of(&choice.spi).ok_or_else(|| Cause::Malformed {
            what: "SPI of the CHILD_SA".to_owned(),
        })?;
        let agreed = Agreement {
            path: &turn.link.path,
            role: Role::Initiator,
            suite: choice.chosen,
            spi_in,
            spi_out,
            local_ts,
            remote_ts,
            nonces: (&self.nonce_i, &self.nonce_r),
            shared: None,
        };
        let keys = (self.channel.suite.prf, &self.channel.d);
        Child::install(turn.cx, turn.now, c, keys, agreed).map_err(|error| Cause::Local {
            what: error.to_string(),
        })
    }

    /// Gives back what was kept for the child.
    pub(crate) fn release(&self, cx: &mut Context) {
        if let Some(spi_in) = self.spi_in {
            cx.release_spi(spi_in);
        }
    }

    /// The response breaks the format.
    pub(crate) fn malformed(self: Box<Self>, turn: &mut Turn<'_>, error: WireError) -> State {
        turn.cx.counters.bad_inner += 1;
        self.reject(
            turn,
            Cause::Malformed {
                what: error.to_string(),
            },
        )
    }

    /// The peer did not authenticate itself; its notification says why.
    fn refused(self: Box<Self>, turn: &mut Turn<'_>, parts: &Parts) -> State {
        self.release(turn.cx);
        let c = turn.connection;
        let cause = match parts.error().map(|n| n.kind) {
            Some(NotifyType::AUTHENTICATION_FAILED) => match &c.auth {
                Auth::PreShared(_) => Cause::Authentication {
                    by: RefusedBy::Peer,
                    ours: c.local_id.clone(),
                    theirs: c.remote_id.clone(),
                    ppk: (c.ppk.as_ref())
                        .filter(|_| self.mixed.is_some())
                        .map(|ppk| ppk.id.clone()),
                },
                Auth::Certificate(ours) => certificate::refused(c, ours, &self.wants.requested),
            },
            Some(notify) => Cause::PeerRefused {
                negotiation: None,
                notify,
            },
            None => Cause::Malformed {
                what: "IKE_AUTH response without AUTH".to_owned(),
            },
        };
        turn.fail(Exchange::IkeAuth, Role::Initiator, cause, true);
        State::Dead
    }

    /// We do not accept the peer, which takes the SA for established: tell it
    /// (RFC 7296 section 2.21.2).
    fn reject(mut self: Box<Self>, turn: &mut Turn<'_>, cause: Cause) -> State {
        self.release(turn.cx);
        turn.fail(Exchange::IkeAuth, Role::Initiator, cause, true);
        let payloads = [
            Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED)),
            Payload::Delete(Delete {
                protocol: Protocol::Ike,
                spis: Vec::new(),
            }),
        ];
        turn.request(&mut self.channel, Exchange::Informational, &payloads);
        State::Lingering {
            channel: Box::new(self.channel),
            until: turn.now + LINGER,
        }
    }
}
