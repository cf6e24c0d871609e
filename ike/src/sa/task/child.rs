//! CREATE_CHILD_SA for a new child (RFC 7296 section 1.3.1), and what rekeying a child shares
//! with it: groups, proposals, selectors, keys.

use std::sync::Arc;

use crypto::{Group, KeyPair};

use super::{Active, Task};
use crate::child::{Agreement, Child, meet};
use crate::connection::Connection;
use crate::describe::Offer;
use crate::error::{Cause, Negotiation, Selectors};
use crate::event::Role;
use crate::sa::Turn;
use crate::sa::channel::Channel;
use crate::sa::established::Established;
use crate::sa::parts::Parts;
use crate::select::{self, ChildGroups, GroupOffer};
use crate::wire::{Exchange, KeyExchange, Notify, NotifyType, Payload};

/// Our request for a child.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Request {
    pub(crate) spi_in: u32,
    nonce: Vec<u8>,
    key: Option<Arc<KeyPair>>,
    /// What we offer now, and what we try after a refusal.
    offer: GroupOffer,
    fallbacks: Vec<GroupOffer>,
    /// Groups of which we have sent a public value.
    tried: Vec<Group>,
    /// It replaces a child, whose ciphers the peer has accepted before.
    rekeying: bool,
}

/// A child that we have made at the peer's request, and what we answer.
pub(crate) struct Answer {
    pub(crate) child: Child,
    pub(crate) payloads: Vec<Payload>,
}

/// What became of a request.
pub(crate) enum Outcome {
    /// The child stands.
    Made(Box<Child>),
    /// Ask again like this.
    Again(Request),
    /// The peer wants us to try later.
    Later,
    /// The peer does not have the child that was to be replaced.
    NotFound,
    /// The peer refuses to replace a child by what we offer, which can only be the group; reported.
    PfsRefused,
    /// It failed; the cause has been reported.
    Failed,
}

/// The groups to offer, one after the other: the configured ones, the IKE SA's, none.
fn offers(connection: &Connection, ike: Group) -> Vec<GroupOffer> {
    let with = connection.esp.iter().any(|p| !p.groups.is_empty());
    let mut offers = vec![if with {
        GroupOffer::Configured
    } else {
        GroupOffer::None
    }];
    if connection.pfs.ike_group && !connection.esp.iter().any(|p| p.groups.contains(&ike)) {
        offers.push(GroupOffer::Only(ike));
    }
    if connection.pfs.none && with {
        offers.push(GroupOffer::None);
    }
    offers
}

/// The group whose public value goes with an offer: of those that we offer the first of `preferred`, or else the first of ours.
///
/// A responder that wants another one says so by INVALID_KE_PAYLOAD (RFC 7296 section 1.3); but Libreswan takes nothing
/// except the group of the child that is replaced or, where that has none, the IKE SA's, and answers INVALID_SYNTAX to a
/// value of any other.
fn first_group(
    connection: &Connection,
    offer: GroupOffer,
    preferred: [Option<Group>; 2],
) -> Option<Group> {
    match offer {
        GroupOffer::Configured => {
            let configured = || connection.esp.iter().flat_map(|p| &p.groups).copied();
            let mut preferred = preferred.into_iter().flatten();
            preferred
                .find(|wanted| configured().any(|group| group == *wanted))
                .or_else(|| configured().next())
        }
        GroupOffer::Only(group) => Some(group),
        GroupOffer::None => None,
    }
}

/// The groups that we accept in CREATE_CHILD_SA.
fn accepted(connection: &Connection, ike: Group) -> Vec<Group> {
    let mut groups: Vec<Group> = connection
        .esp
        .iter()
        .flat_map(|p| p.groups.iter().copied())
        .collect();
    groups.extend(connection.pfs.ike_group.then_some(ike));
    groups
}

fn child_groups(connection: &Connection, ike: Group) -> ChildGroups {
    let ike = connection.pfs.ike_group.then_some(ike);
    ChildGroups::Create {
        ike,
        none: connection.pfs.none,
    }
}

/// A CHILD_SA's SPI from a proposal.
pub(crate) fn spi_of(spi: &[u8]) -> Option<u32> {
    <[u8; 4]>::try_from(spi)
        .ok()
        .map(u32::from_be_bytes)
        .filter(|spi| *spi > 255)
}

/// Why the peer gave us no child.
pub(crate) fn refusal(parts: &Parts, connection: &Connection) -> Cause {
    match parts.error().map(|n| n.kind) {
        Some(NotifyType::NO_PROPOSAL_CHOSEN) => Cause::NoProposal {
            negotiation: Negotiation::Esp,
            ours: Offer::from_ours(&connection.esp),
            theirs: None,
            nearest: Vec::new(),
        },
        Some(NotifyType::TS_UNACCEPTABLE) => Cause::TsUnacceptable {
            ours: Selectors {
                local: connection.local_ts.clone(),
                remote: connection.remote_ts.clone(),
            },
            theirs: None,
        },
        Some(notify) => Cause::PeerRefused {
            negotiation: Some(Negotiation::Esp),
            notify,
        },
        None => Cause::Malformed {
            what: "response without a CHILD_SA".to_owned(),
        },
    }
}

impl Request {
    /// A request for another child, or for one in the place of `old`.
    pub(crate) fn new(turn: &mut Turn<'_>, channel: &Channel, old: Option<&Child>) -> Self {
        let ike = channel.suite.group;
        let mut offers = offers(turn.connection, ike);
        let offer = offers.remove(0);
        let preferred = [old.and_then(|old| old.group), Some(ike)];
        let group = first_group(turn.connection, offer, preferred);
        Self {
            spi_in: turn.cx.child_spi(),
            nonce: turn.cx.nonce(),
            key: group.map(|g| Arc::new(g.generate(&mut turn.cx.rng))),
            offer,
            fallbacks: offers,
            tried: group.into_iter().collect(),
            rekeying: old.is_some(),
        }
    }

    /// The request's payloads; `rekeyed` is our inbound SPI of the child to replace.
    pub(crate) fn payloads(&self, connection: &Connection, rekeyed: Option<u32>) -> Vec<Payload> {
        let mut payloads = Vec::new();
        if let Some(spi) = rekeyed {
            payloads.push(Payload::Notify(Notify {
                protocol: 3,
                spi: spi.to_be_bytes().to_vec(),
                kind: NotifyType::REKEY_SA,
                data: Vec::new(),
            }));
        }
        let offer = select::offer_esp(&connection.esp, self.spi_in, &self.offer);
        payloads.push(Payload::Sa(offer));
        payloads.push(Payload::Nonce(self.nonce.clone()));
        if let Some(key) = &self.key {
            let (group, data) = (key.group().id(), key.public().to_vec());
            payloads.push(Payload::Ke(KeyExchange { group, data }));
        }
        payloads.push(Payload::TsI(connection.local_ts.clone()));
        payloads.push(Payload::TsR(connection.remote_ts.clone()));
        payloads
    }

    /// Evaluates the response.
    pub(crate) fn outcome(
        mut self,
        turn: &mut Turn<'_>,
        channel: &Channel,
        parts: &Parts,
    ) -> Outcome {
        let c = turn.connection;
        if parts.sa.is_none() {
            let kind = parts.error().map(|n| n.kind);
            let offered = self.key.as_ref().map(|key| key.group());
            if let Some(wanted) = parts.wanted_group() {
                if self.switch_group(turn, channel, wanted) {
                    turn.refused(Negotiation::Esp, offered, parts);
                    return Outcome::Again(self);
                }
            } else if let Some(offer) = kind.and_then(|kind| self.fallback(c, kind)) {
                turn.refused(Negotiation::Esp, offered, parts);
                self.offer = offer;
                let group = first_group(c, offer, [None; 2]);
                self.tried.extend(group);
                self.key = group.map(|g| Arc::new(g.generate(&mut turn.cx.rng)));
                return Outcome::Again(self);
            }
            turn.cx.release_spi(self.spi_in);
            return match kind {
                Some(NotifyType::TEMPORARY_FAILURE) => Outcome::Later,
                Some(NotifyType::CHILD_SA_NOT_FOUND) => Outcome::NotFound,
                _ => {
                    let cause = match parts.wanted_group() {
                        Some(wanted) => {
                            let ours = accepted(c, channel.suite.group);
                            Cause::invalid_ke(Negotiation::Esp, &ours, wanted)
                        }
                        None => self.refusal(parts, c),
                    };
                    let pfs = matches!(cause, Cause::PfsRefused { .. } | Cause::InvalidKe { .. });
                    turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
                    if pfs && self.rekeying {
                        Outcome::PfsRefused
                    } else {
                        Outcome::Failed
                    }
                }
            };
        }
        match self.install(turn, channel, parts) {
            Ok(child) => Outcome::Made(Box::new(child)),
            Err(cause) => {
                turn.cx.release_spi(self.spi_in);
                turn.fail(Exchange::CreateChildSa, Role::Initiator, cause, false);
                Outcome::Failed
            }
        }
    }

    /// What to offer after a refusal that does not name a group.
    fn fallback(&mut self, connection: &Connection, refusal: NotifyType) -> Option<GroupOffer> {
        match refusal {
            NotifyType::NO_PROPOSAL_CHOSEN => {}
            // What Libreswan says to a public value that is not of the group which it has chosen from our offer. By
            // section 2.21.3 the IKE SA is at its end with that; a peer that holds to this does not answer again.
            NotifyType::INVALID_SYNTAX if self.rekeying => {
                let configured = connection.esp.iter().flat_map(|p| &p.groups);
                let untried = configured.copied().find(|g| !self.tried.contains(g));
                if let Some(group) = untried {
                    return Some(GroupOffer::Only(group));
                }
            }
            _ => return None,
        }
        (!self.fallbacks.is_empty()).then(|| self.fallbacks.remove(0))
    }

    /// Why the peer gave us no child. Where it refuses to replace one, it is not about the ciphers.
    fn refusal(&self, parts: &Parts, connection: &Connection) -> Cause {
        match parts.error().map(|n| n.kind) {
            Some(notify @ (NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_SYNTAX))
                if self.rekeying =>
            {
                let tried = self.tried.iter().map(ToString::to_string);
                let none = (self.offer == GroupOffer::None).then(|| "none".to_owned());
                Cause::PfsRefused {
                    notify,
                    tried: tried.chain(none).collect(),
                }
            }
            _ => refusal(parts, connection),
        }
    }

    /// INVALID_KE_PAYLOAD: once per group, and only for one that we accept.
    fn switch_group(&mut self, turn: &mut Turn<'_>, channel: &Channel, wanted: u16) -> bool {
        let ike = channel.suite.group;
        let group = Group::from_id(wanted)
            .filter(|g| accepted(turn.connection, ike).contains(g) && !self.tried.contains(g));
        let Some(group) = group else { return false };
        self.tried.push(group);
        self.key = Some(Arc::new(group.generate(&mut turn.cx.rng)));
        if !turn
            .connection
            .esp
            .iter()
            .any(|p| p.groups.contains(&group))
        {
            self.offer = GroupOffer::Only(group);
        }
        true
    }

    fn install(
        &self,
        turn: &mut Turn<'_>,
        channel: &Channel,
        parts: &Parts,
    ) -> Result<Child, Cause> {
        let c = turn.connection;
        let malformed = |what: &str| Cause::Malformed {
            what: what.to_owned(),
        };
        let (Some(proposals), Some(nonce), Some(ts_i), Some(ts_r)) =
            (&parts.sa, &parts.nonce, &parts.ts_i, &parts.ts_r)
        else {
            return Err(malformed("CREATE_CHILD_SA response lacks a payload"));
        };
        let ke = self.key.as_ref().map(|key| key.group().id());
        let groups = match self.offer {
            GroupOffer::None => ChildGroups::Create {
                ike: None,
                none: true,
            },
            _ => child_groups(c, channel.suite.group),
        };
        let choice = select::choose_esp(&c.esp, proposals, groups, ke)
            .map_err(|m| Cause::no_proposal(Negotiation::Esp, m))?;
        let shared = match (&self.key, choice.chosen.group, &parts.ke) {
            (Some(key), Some(group), Some(ke))
                if key.group() == group && ke.group == group.id() =>
            {
                Some(key.agree(&ke.data).map_err(|e| malformed(&e.to_string()))?)
            }
            (_, None, _) => None,
            _ => return Err(malformed("Diffie-Hellman group of the response")),
        };
        let (local_ts, remote_ts) = meet(c, ts_i, ts_r)?;
        let agreed = Agreement {
            path: &turn.link.path,
            role: Role::Initiator,
            suite: choice.chosen,
            spi_in: self.spi_in,
            spi_out: spi_of(&choice.spi).ok_or_else(|| malformed("SPI of the CHILD_SA"))?,
            local_ts,
            remote_ts,
            nonces: (&self.nonce, nonce),
            shared: shared.as_ref(),
        };
        Child::install(
            turn.cx,
            turn.now,
            c,
            (channel.suite.prf, &channel.d),
            agreed,
        )
        .map_err(|error| Cause::Local {
            what: error.to_string(),
        })
    }
}

/// Finishes our request for a new child.
pub(crate) fn finish(sa: &mut Established, turn: &mut Turn<'_>, request: Request, parts: &Parts) {
    match request.outcome(turn, &sa.channel, parts) {
        Outcome::Made(mut child) => {
            sa.child_made();
            child.ready = Some(turn.cx.next_order());
            sa.children.insert(child.sa.spi_in, *child);
        }
        Outcome::Again(request) => sa.send_create_child(turn, request),
        Outcome::Later => sa.postpone(turn, Task::CreateChild),
        Outcome::NotFound | Outcome::PfsRefused | Outcome::Failed => sa.retry_child(turn),
    }
}

/// Answers the peer's request for a child, and notes it as the successor of `old`.
pub(crate) fn answer(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    parts: &Parts,
    old: Option<u32>,
) -> Vec<Payload> {
    match respond(sa, turn, parts) {
        Ok(Answer { child, payloads }) => {
            let spi = child.sa.spi_in;
            if let Some(old) = old.and_then(|old| sa.children.get_mut(&old)) {
                let crossing = matches!(
                    &sa.active,
                    Some(Active::RekeyChild(request)) if request.old == old.sa.spi_in
                );
                // While our own rekeying of it is under way it is open which one follows.
                if !crossing {
                    old.replaced_by_peer(turn.now, spi);
                }
            }
            sa.child_made();
            sa.children.insert(spi, child);
            payloads
        }
        Err((notify, cause)) => {
            if let Some(cause) = cause {
                turn.fail(Exchange::CreateChildSa, Role::Responder, *cause, false);
            }
            vec![Payload::Notify(notify)]
        }
    }
}

fn respond(
    sa: &Established,
    turn: &mut Turn<'_>,
    parts: &Parts,
) -> Result<Answer, (Notify, Option<Box<Cause>>)> {
    let c = turn.connection;
    let syntax = || (Notify::new(NotifyType::INVALID_SYNTAX), None);
    let (Some(proposals), Some(nonce_i), Some(ts_i), Some(ts_r)) =
        (&parts.sa, &parts.nonce, &parts.ts_i, &parts.ts_r)
    else {
        return Err(syntax());
    };
    let ke = parts.ke.as_ref().map(|ke| ke.group);
    let groups = child_groups(c, sa.channel.suite.group);
    let mut choice = select::choose_esp(&c.esp, proposals, groups, ke).map_err(|m| {
        let cause = Cause::no_proposal(Negotiation::Esp, m);
        (
            Notify::new(NotifyType::NO_PROPOSAL_CHOSEN),
            Some(Box::new(cause)),
        )
    })?;
    let mut shared = None;
    let mut public = None;
    if let Some(group) = choice.chosen.group {
        let Some(ke) = parts.ke.as_ref().filter(|ke| ke.group == group.id()) else {
            let data = group.id().to_be_bytes().to_vec();
            return Err((
                Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, data),
                None,
            ));
        };
        let key = group.generate(&mut turn.cx.rng);
        shared = Some(key.agree(&ke.data).map_err(|_| syntax())?);
        public = Some(KeyExchange {
            group: group.id(),
            data: key.public().to_vec(),
        });
    }
    let (local_ts, remote_ts) = meet(c, ts_r, ts_i).map_err(|cause| {
        (
            Notify::new(NotifyType::TS_UNACCEPTABLE),
            Some(Box::new(cause)),
        )
    })?;
    let spi_out = spi_of(&choice.spi).ok_or_else(syntax)?;
    let nonce_r = turn.cx.nonce();
    let spi_in = turn.cx.child_spi();
    let agreed = Agreement {
        path: &turn.link.path,
        role: Role::Responder,
        suite: choice.chosen,
        spi_in,
        spi_out,
        local_ts: local_ts.clone(),
        remote_ts: remote_ts.clone(),
        nonces: (nonce_i, &nonce_r),
        shared: shared.as_ref(),
    };
    let keys = (sa.channel.suite.prf, &sa.channel.d);
    let child = Child::install(turn.cx, turn.now, c, keys, agreed).map_err(|error| {
        // A fault of ours is not told as one of the negotiation.
        let cause = Cause::Local {
            what: error.to_string(),
        };
        (
            Notify::new(NotifyType::TEMPORARY_FAILURE),
            Some(Box::new(cause)),
        )
    })?;
    choice.answer.spi = spi_in.to_be_bytes().to_vec();
    let mut payloads = vec![Payload::Sa(vec![choice.answer]), Payload::Nonce(nonce_r)];
    payloads.extend(public.map(Payload::Ke));
    payloads.extend([Payload::TsI(remote_ts), Payload::TsR(local_ts)]);
    Ok(Answer { child, payloads })
}
