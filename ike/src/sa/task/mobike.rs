//! MOBIKE (RFC 4555): SAs that follow when an outer address changes.
//!
//! The side that set the IKE SA up first decides about addresses: it tells of its new one in an UPDATE_SA_ADDRESSES request that comes from
//! there, and the other one answers, moves its SAs, and has the new address proved by a cookie. Addresses that a peer has besides are not
//! made use of: a tunnel has one way, which the host's routes choose.

use std::net::{IpAddr, SocketAddr};

use rand::Rng as _;

use super::{Active, Task};
use crate::connection::Encapsulation;
use crate::error::Cause;
use crate::event::{DownReason, Event, Path, Role};
use crate::nat;
use crate::sa::established::Established;
use crate::sa::parts::Parts;
use crate::sa::{Addresses, Turn};
use crate::wire::{Exchange, Notify, NotifyType, Payload};

/// The octets of a COOKIE2: 8 to 64 (RFC 4555 section 4.2.5).
const COOKIE: usize = 16;

/// The notifications by which NATs are found, for a message between these addresses.
fn nat_detection(turn: &mut Turn<'_>, at: Addresses) -> Vec<Payload> {
    let encapsulation = turn.connection.encapsulation;
    let spis = turn.link.spis();
    nat::announce(turn.cx, encapsulation, spis, at.local, at.remote)
}

/// Tells the peer where we are (section 3.5).
pub(super) fn start_update(sa: &mut Established, turn: &mut Turn<'_>) {
    let Path { local, remote, .. } = turn.link.path;
    let update = Notify::new(NotifyType::UPDATE_SA_ADDRESSES);
    let mut payloads = vec![Payload::Notify(update)];
    payloads.extend(nat_detection(turn, Addresses { local, remote }));
    turn.request(&mut sa.channel, Exchange::Informational, &payloads);
    sa.active = Some(Active::UpdateAddresses(local));
}

/// The peer has answered our update.
pub(crate) fn finish_update(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    told: SocketAddr,
    parts: &Parts,
) {
    if turn.link.path.local != told {
        // We have moved on meanwhile.
        sa.queue.insert(Task::UpdateAddresses);
        return;
    }
    sa.update_by = None;
    if let Some(error) = parts.error() {
        let cause = Cause::PeerRefused {
            negotiation: None,
            notify: error.kind,
        };
        turn.fail(Exchange::Informational, Role::Initiator, cause, false);
        return give_way(sa, turn);
    }
    sa.strays_until = None;
    sa.seen_as = seen_as(parts);
    let path = detected(turn, turn.link.path, parts);
    settle(sa, turn, path);
}

/// The peer does not take our new address: what it does not have to know is set up anew, and this SA only bridges the time.
pub(crate) fn give_way(sa: &mut Established, turn: &mut Turn<'_>) {
    if turn.connection.initiate {
        sa.stray(turn.now + turn.connection.liveness.give_up);
    } else {
        sa.begin_close(DownReason::Moved);
    }
}

/// What a question whether the peer lives carries: behind a NAT, what shows that its mapping has changed (section 3.8).
pub(super) fn liveness(sa: &Established, turn: &mut Turn<'_>) -> Vec<Payload> {
    let Path {
        local,
        remote,
        local_nat,
        ..
    } = turn.link.path;
    if sa.can_move() && local_nat {
        nat_detection(turn, Addresses { local, remote })
    } else {
        Vec::new()
    }
}

/// Looks whether the peer sees us elsewhere than before, which is for us to tell it.
pub(crate) fn notice_mapping(sa: &mut Established, parts: &Parts) {
    let Some(now) = seen_as(parts).filter(|_| sa.can_move()) else {
        return;
    };
    let before = sa.seen_as.replace(now);
    if before.is_some() && before != sa.seen_as {
        sa.queue.insert(Task::UpdateAddresses);
    }
}

fn seen_as(parts: &Parts) -> Option<Vec<u8>> {
    let notify = parts.notify(NotifyType::NAT_DETECTION_DESTINATION_IP)?;
    Some(notify.data.clone())
}

/// What the answer to an INFORMATIONAL request carries beside what it is about: a cookie goes back (section 3.7), and who asks about NATs is
/// told.
pub(super) fn answer(sa: &mut Established, turn: &mut Turn<'_>, parts: &Parts) -> Vec<Payload> {
    if !sa.mobike {
        return Vec::new();
    }
    let mut payloads = Vec::new();
    let at = turn.link.heard_from;
    if parts.has(NotifyType::UPDATE_SA_ADDRESSES) && sa.origin.role == Role::Responder {
        if !admits(parts, at) {
            let notify = Notify::new(NotifyType::UNEXPECTED_NAT_DETECTED);
            return vec![Payload::Notify(notify)];
        }
        follow(sa, turn, at, parts);
    }
    if let Some(cookie) = parts.notify(NotifyType::COOKIE2) {
        let notify = Notify::with_data(NotifyType::COOKIE2, cookie.data.clone());
        payloads.push(Payload::Notify(notify));
    }
    if parts.has(NotifyType::NAT_DETECTION_SOURCE_IP) {
        payloads.extend(nat_detection(turn, at));
    }
    payloads
}

/// Whether a message that must not pass a NAT has passed none (section 4.2.6): it carries its addresses and ports.
fn admits(parts: &Parts, at: Addresses) -> bool {
    let Some(notify) = parts.notify(NotifyType::NO_NATS_ALLOWED) else {
        return true;
    };
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let expected = [
        octets(at.remote.ip()),
        octets(at.local.ip()),
        at.remote.port().to_be_bytes().to_vec(),
        at.local.port().to_be_bytes().to_vec(),
    ];
    notify.data == expected.concat()
}

/// Goes along with the peer to where its request came from.
fn follow(sa: &mut Established, turn: &mut Turn<'_>, to: Addresses, parts: &Parts) {
    let path = Path {
        local: to.local,
        remote: to.remote,
        ..turn.link.path
    };
    let path = detected(turn, path, parts);
    if path.remote.ip() != turn.link.path.remote.ip() {
        sa.queue.insert(Task::CheckRoute);
    }
    settle(sa, turn, path);
}

/// The path with what the peer's hashes say of NATs on it.
fn detected(turn: &Turn<'_>, path: Path, parts: &Parts) -> Path {
    let spis = turn.link.spis();
    let found = nat::detect(parts.notifies.iter(), spis, path.local, path.remote);
    if !found.supported {
        return path;
    }
    let force = turn.connection.encapsulation == Encapsulation::Force;
    Path {
        local_nat: found.local_nat,
        remote_nat: found.remote_nat,
        encapsulated: found.local_nat || found.remote_nat || force,
        ..path
    }
}

/// From now on the SAs run there.
fn settle(sa: &mut Established, turn: &mut Turn<'_>, path: Path) {
    turn.link.path = path;
    for child in sa.children.values_mut() {
        child.sa.local = path.local;
        child.sa.remote = path.remote;
        child.sa.encapsulated = path.encapsulated;
    }
    let connection = turn.connection.id;
    turn.cx
        .events
        .push_back(Event::PathChanged { connection, path });
}

/// Sends what only somebody at the peer's new address can return (section 3.7).
pub(super) fn start_check(sa: &mut Established, turn: &mut Turn<'_>) {
    let mut cookie = vec![0; COOKIE];
    turn.cx.rng.fill_bytes(&mut cookie);
    let notify = Notify::with_data(NotifyType::COOKIE2, cookie.clone());
    let payloads = [Payload::Notify(notify)];
    turn.request(&mut sa.channel, Exchange::Informational, &payloads);
    sa.active = Some(Active::CheckRoute(cookie));
}

/// A peer that answers with another cookie has not had our request, so the SA ends (section 3.7).
pub(crate) fn finish_check(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    cookie: &[u8],
    parts: &Parts,
) {
    let returned = parts.notify(NotifyType::COOKIE2);
    if returned.is_none_or(|notify| notify.data != cookie) {
        let cause = Cause::Malformed {
            what: "COOKIE2, which has to come back as it was sent".to_owned(),
        };
        turn.fail(Exchange::Informational, Role::Initiator, cause, false);
        sa.begin_close(DownReason::Local);
    }
}
