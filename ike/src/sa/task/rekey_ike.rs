//! Rekeying the IKE SA (RFC 7296 sections 1.3.2, 2.8.2 and 2.18): a new SA inherits the children,
//! the old one is deleted by whoever initiated the exchange that stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use crypto::{Group, KeyPair, ikev2};

use super::{Active, Task, collision};
use crate::child::REAP_AFTER;
use crate::describe::Offer;
use crate::error::{Cause, Negotiation};
use crate::event::{DownReason, Event, Note, Role};
use crate::sa::channel::Channel;
use crate::sa::established::{Birth, CONFIRMED_AFTER, Established};
use crate::sa::parts::Parts;
use crate::sa::{Effect, Link, Sa, State, Turn};
use crate::select::{self, IkeSuite};
use crate::wire::{Exchange, IkeSpi, KeyExchange, Notify, NotifyType, Payload};

/// Our request to replace the IKE SA.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Request {
    pub(crate) spi: IkeSpi,
    nonce: Vec<u8>,
    key: Arc<KeyPair>,
    tried: Vec<Group>,
    /// The peer has replaced it meanwhile.
    pub(crate) crossed: Option<Crossed>,
}

/// The SA from the peer's crossed exchange.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Crossed {
    /// Our SPI of it.
    pub(crate) spi: IkeSpi,
    low_nonce: Vec<u8>,
}

/// Sends the request.
pub(crate) fn start(sa: &mut Established, turn: &mut Turn<'_>) {
    let group = sa.channel.suite.group;
    let request = Request {
        spi: turn.cx.ike_spi(),
        nonce: turn.cx.nonce(),
        key: Arc::new(group.generate(&mut turn.cx.rng)),
        tried: vec![group],
        crossed: None,
    };
    send(sa, turn, request);
}

fn send(sa: &mut Established, turn: &mut Turn<'_>, request: Request) {
    let (group, data) = (request.key.group().id(), request.key.public().to_vec());
    let payloads = [
        Payload::Sa(select::offer_ike(&turn.connection.ike, Some(request.spi))),
        Payload::Nonce(request.nonce.clone()),
        Payload::Ke(KeyExchange { group, data }),
    ];
    turn.request(&mut sa.channel, Exchange::CreateChildSa, &payloads);
    sa.active = Some(Active::RekeyIke(Box::new(request)));
}

/// The new SA on top of the old one's path and identity.
struct Successor {
    role: Role,
    suite: IkeSuite,
    spi: IkeSpi,
    peer_spi: IkeSpi,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    shared: crypto::Secret,
}

impl Successor {
    fn build(self, sa: &Established, turn: &mut Turn<'_>) -> Result<Box<Sa>, crypto::Error> {
        let (spi_i, spi_r) = match self.role {
            Role::Initiator => (self.spi, self.peer_spi),
            Role::Responder => (self.peer_spi, self.spi),
        };
        let keys = ikev2::rekeyed_keys(
            self.suite.prf,
            self.suite.suite,
            sa.channel.suite.prf,
            &sa.channel.d,
            &self.nonce_i,
            &self.nonce_r,
            &self.shared,
            spi_i.0,
            spi_r.0,
        )?;
        let fragmentation = sa.channel.fragmentation;
        let mut channel = Channel::new(self.suite, keys, self.role, fragmentation)?;
        // It is in the old SK_d, and so in all that comes from it (RFC 8784 section 3).
        channel.ppk = sa.channel.ppk;
        let low_nonce = self.nonce_i.min(self.nonce_r);
        let birth = Birth {
            channel,
            peer: sa.peer.clone(),
            low_nonce,
            mobike: sa.mobike,
            origin: Some(sa.origin.clone()),
        };
        let mut link = Link::new(turn.now, self.spi, self.peer_spi, self.role, turn.link.path);
        let mut turn = Turn {
            cx: turn.cx,
            now: turn.now,
            link: &mut link,
            connection: turn.connection,
        };
        let mut established = Established::new(&mut turn, birth);
        if self.role == Role::Responder {
            established.unconfirmed_until = Some(turn.now + CONFIRMED_AFTER);
        }
        let connection = Some(turn.connection.id);
        Ok(Box::new(Sa {
            link,
            connection,
            state: State::Established(Box::new(established)),
        }))
    }
}

fn ike_spi(spi: &[u8]) -> Option<IkeSpi> {
    <[u8; 8]>::try_from(spi)
        .ok()
        .map(IkeSpi)
        .filter(|spi| !spi.is_zero())
}

/// Answers the peer's request.
pub(crate) fn answer(sa: &mut Established, turn: &mut Turn<'_>, parts: &Parts) -> Vec<Payload> {
    let refuse = |notify| vec![Payload::Notify(notify)];
    let (Some(proposals), Some(nonce_i), Some(ke)) = (&parts.sa, &parts.nonce, &parts.ke) else {
        return refuse(Notify::new(NotifyType::INVALID_SYNTAX));
    };
    let choice = match select::choose_ike(&turn.connection.ike, proposals, Some(ke.group)) {
        Ok(choice) => choice,
        Err(mismatch) => {
            let cause = Cause::no_proposal(Negotiation::Ike, mismatch);
            turn.fail(Exchange::CreateChildSa, Role::Responder, cause, false);
            return refuse(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN));
        }
    };
    let group = choice.chosen.group;
    if group.id() != ke.group {
        let data = group.id().to_be_bytes().to_vec();
        return refuse(Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, data));
    }
    let key = group.generate(&mut turn.cx.rng);
    let (Some(peer_spi), Ok(shared)) = (ike_spi(&choice.spi), key.agree(&ke.data)) else {
        return refuse(Notify::new(NotifyType::INVALID_SYNTAX));
    };
    let nonce_r = turn.cx.nonce();
    let spi = turn.cx.ike_spi();
    let low_nonce = nonce_i.min(&nonce_r).clone();
    let successor = Successor {
        role: Role::Responder,
        suite: choice.chosen,
        spi,
        peer_spi,
        nonce_i: nonce_i.clone(),
        nonce_r: nonce_r.clone(),
        shared,
    };
    let mut new = match successor.build(sa, turn) {
        Ok(new) => new,
        Err(error) => {
            turn.local_failure(Exchange::CreateChildSa, &error);
            return refuse(Notify::new(NotifyType::TEMPORARY_FAILURE));
        }
    };
    let open = matches!(sa.active, Some(Active::RekeyIke(_)));
    if let Some(new) = new.established_mut() {
        new.awaits_children = open;
    }
    turn.cx.effects.push_back(Effect::Insert(new));
    if let Some(Active::RekeyIke(request)) = &mut sa.active {
        request.crossed = Some(Crossed { spi, low_nonce });
    } else {
        hand_over(sa, turn, spi);
        sa.reap_at = Some(turn.now + REAP_AFTER);
    }
    let mut answer = choice.answer;
    answer.spi = spi.0.to_vec();
    vec![
        Payload::Sa(vec![answer]),
        Payload::Nonce(nonce_r),
        Payload::Ke(KeyExchange {
            group: group.id(),
            data: key.public().to_vec(),
        }),
    ]
}

/// The children go to the new SA; the old one only waits for its end.
pub(crate) fn hand_over(sa: &mut Established, turn: &mut Turn<'_>, into: IkeSpi) {
    sa.replaced_by = Some(into);
    sa.rekey_at = None;
    let postponed = std::mem::take(&mut sa.postponed);
    let pending = std::mem::take(&mut sa.queue).into_iter();
    let mut children = std::mem::take(&mut sa.children);
    let mut tasks = BTreeSet::new();
    for task in pending.chain(postponed.into_iter().map(|(_, task)| task)) {
        // What was to be done with a child is to be done on the new SA.
        match task {
            Task::RekeyChild(spi) => {
                let child = children.get_mut(&spi);
                child.map(|child| child.rekey_at.insert(turn.now));
            }
            Task::DeleteChild(spi) => {
                let child = children.get_mut(&spi);
                child.map(|child| child.reap_at.insert(turn.now));
            }
            Task::UpdateAddresses | Task::CheckRoute => _ = tasks.insert(task),
            Task::DeleteIke | Task::CreateChild | Task::RekeyIke | Task::Liveness => {}
        }
    }
    turn.cx.effects.push_back(Effect::Adopt {
        into,
        children,
        tasks,
        update_by: sa.update_by.take(),
        strays_until: sa.strays_until,
    });
}

/// Finishes our request.
pub(crate) fn finish(sa: &mut Established, turn: &mut Turn<'_>, request: Request, parts: &Parts) {
    if parts.sa.is_none() {
        return refused(sa, turn, request, parts);
    }
    match complete(sa, turn, &request, parts) {
        Ok(new) => {
            let crossed = request.crossed;
            let low = new
                .established()
                .map(|e| e.low_nonce.clone())
                .unwrap_or_default();
            settle(sa, turn, new, &low, crossed);
        }
        Err(cause) => {
            turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
            match request.crossed {
                Some(theirs) => hand_over(sa, turn, theirs.spi),
                None => retry(sa, turn),
            }
        }
    }
}

/// Both may exist now: keeps one, as the nonces say.
fn settle(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    mut new: Box<Sa>,
    low_nonce: &[u8],
    crossed: Option<Crossed>,
) {
    let spi = new.link.spi;
    let Some(theirs) = crossed else {
        turn.cx.effects.push_back(Effect::Insert(new));
        hand_over(sa, turn, spi);
        sa.begin_close(DownReason::Replaced);
        return;
    };
    let connection = turn.connection.id;
    let verdict = collision::resolve(low_nonce, &theirs.low_nonce);
    let ours_stays = verdict == collision::Verdict::Ours;
    turn.cx.events.push_back(Event::Note(Note::Collision {
        connection,
        ours_stays,
    }));
    match verdict {
        collision::Verdict::Ours => {
            turn.cx.effects.push_back(Effect::Insert(new));
            turn.cx.effects.push_back(Effect::Doom {
                spi: theirs.spi,
                in_favour_of: spi,
            });
            sa.rival = Some(theirs.spi);
            hand_over(sa, turn, spi);
            sa.begin_close(DownReason::Replaced);
        }
        collision::Verdict::Theirs => {
            if let Some(new) = new.established_mut() {
                // Not an SA that anybody has seen: its end is no event.
                new.replaced_by = Some(theirs.spi);
                new.begin_close(DownReason::Duplicate);
            }
            turn.cx.effects.push_back(Effect::Insert(new));
            hand_over(sa, turn, theirs.spi);
            sa.reap_at = Some(turn.now + REAP_AFTER);
        }
    }
}

fn complete(
    sa: &Established,
    turn: &mut Turn<'_>,
    request: &Request,
    parts: &Parts,
) -> Result<Box<Sa>, Cause> {
    let malformed = |what: &str| Cause::Malformed {
        what: what.to_owned(),
    };
    let (Some(proposals), Some(nonce), Some(ke)) = (&parts.sa, &parts.nonce, &parts.ke) else {
        return Err(malformed("CREATE_CHILD_SA response lacks a payload"));
    };
    let group = request.key.group();
    let choice = select::choose_ike(&turn.connection.ike, proposals, Some(group.id()))
        .map_err(|m| Cause::no_proposal(Negotiation::Ike, m))?;
    if choice.chosen.group != group || ke.group != group.id() {
        return Err(malformed("Diffie-Hellman group of the response"));
    }
    let shared = request
        .key
        .agree(&ke.data)
        .map_err(|e| malformed(&e.to_string()))?;
    let successor = Successor {
        role: Role::Initiator,
        suite: choice.chosen,
        spi: request.spi,
        peer_spi: ike_spi(&choice.spi).ok_or_else(|| malformed("SPI of the IKE SA"))?,
        nonce_i: request.nonce.clone(),
        nonce_r: nonce.clone(),
        shared,
    };
    successor.build(sa, turn).map_err(|e| Cause::Local {
        what: e.to_string(),
    })
}

fn refused(sa: &mut Established, turn: &mut Turn<'_>, mut request: Request, parts: &Parts) {
    if let Some(wanted) = parts.wanted_group() {
        let groups = turn
            .connection
            .ike
            .iter()
            .flat_map(|p| p.groups.iter().copied());
        let ours: Vec<Group> = groups.collect();
        let group =
            Group::from_id(wanted).filter(|g| ours.contains(g) && !request.tried.contains(g));
        if let Some(group) = group {
            turn.refused(Negotiation::Ike, Some(request.key.group()), parts);
            request.tried.push(group);
            request.key = Arc::new(group.generate(&mut turn.cx.rng));
            return send(sa, turn, request);
        }
        let cause = Cause::invalid_ke(Negotiation::Ike, &ours, wanted);
        turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
    }
    if let Some(theirs) = request.crossed {
        // The peer did not see a collision: its SA is the successor, and it deletes this one.
        hand_over(sa, turn, theirs.spi);
        sa.reap_at = Some(turn.now + REAP_AFTER);
        return;
    }
    match parts.error().map(|n| n.kind) {
        Some(NotifyType::TEMPORARY_FAILURE) => sa.postpone(turn, Task::RekeyIke),
        Some(NotifyType::INVALID_KE_PAYLOAD) => retry(sa, turn),
        Some(NotifyType::NO_PROPOSAL_CHOSEN) => {
            let cause = Cause::NoProposal {
                negotiation: Negotiation::Ike,
                ours: Offer::from_ours(&turn.connection.ike),
                theirs: None,
                nearest: Vec::new(),
            };
            turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
            retry(sa, turn);
        }
        Some(notify) => {
            let cause = Cause::PeerRefused {
                negotiation: Some(Negotiation::Ike),
                notify,
            };
            turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
            retry(sa, turn);
        }
        None => retry(sa, turn),
    }
}

/// Tries again while there is time before the SA expires.
fn retry(sa: &mut Established, turn: &mut Turn<'_>) {
    let left = sa.expires_at.saturating_duration_since(turn.now);
    let wait = turn
        .cx
        .share(left, 20, 40)
        .max(std::time::Duration::from_secs(5));
    sa.rekey_at = Some(turn.now + wait);
}
