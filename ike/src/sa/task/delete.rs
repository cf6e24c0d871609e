//! INFORMATIONAL: deletes (RFC 7296 section 1.4.1), and liveness, which is nothing at all.

use super::{Active, collision, mobike, rekey_ike};
use crate::event::{DownReason, Event};
use crate::sa::established::Established;
use crate::sa::parts::Parts;
use crate::sa::{Effect, LINGER, State, Turn};
use crate::wire::{Delete, Exchange, NotifyType, Payload, Protocol};

/// Answers an INFORMATIONAL request.
pub(crate) fn answer(
    mut sa: Box<Established>,
    turn: &mut Turn<'_>,
    id: u32,
    parts: &Parts,
) -> State {
    if parts.has(NotifyType::INITIAL_CONTACT) {
        // It belongs into IKE_AUTH; here it says nothing that we could act upon.
        turn.cx.counters.unexpected += 1;
    }
    let ike = parts.deletes.iter().any(|d| d.protocol == Protocol::Ike);
    // An initiator that does not accept us says so here (section 2.21.2).
    let refused = parts.error().map(|n| n.kind);
    if ike || refused == Some(NotifyType::AUTHENTICATION_FAILED) {
        let reason = refused.map_or(DownReason::DeletedByPeer, DownReason::Refused);
        return answer_ike(sa, turn, id, reason);
    }
    let mut gone = Vec::new();
    for spi_out in parts
        .deletes
        .iter()
        .filter(|d| d.protocol == Protocol::Esp)
        .flat_map(|d| &d.spis)
    {
        let found = sa.children.values().find(|c| c.sa.spi_out == *spi_out);
        let Some(spi_in) = found.map(|c| c.sa.spi_in) else {
            continue;
        };
        collision::decided_by_delete(&mut sa, spi_in);
        remove(&mut sa, turn, spi_in, DownReason::DeletedByPeer);
        // Where both delete it, neither names it in the answer.
        if !matches!(sa.active, Some(Active::DeleteChild(s)) if s == spi_in) {
            gone.push(spi_in);
        }
    }
    let mut payloads = mobike::answer(&mut sa, turn, parts);
    if !gone.is_empty() {
        payloads.push(Payload::Delete(Delete {
            protocol: Protocol::Esp,
            spis: gone,
        }));
    }
    turn.reply(&mut sa.channel, Exchange::Informational, id, &payloads);
    State::Established(sa)
}

/// The peer deletes the IKE SA. If it has replaced it while our own rekeying is under way, then it
/// has decided, and its new SA is the successor (section 2.8.2).
fn answer_ike(mut sa: Box<Established>, turn: &mut Turn<'_>, id: u32, reason: DownReason) -> State {
    turn.reply(&mut sa.channel, Exchange::Informational, id, &[]);
    if let Some(Active::RekeyIke(request)) = &sa.active
        && let Some(theirs) = request.crossed.as_ref().map(|c| c.spi)
    {
        rekey_ike::hand_over(&mut sa, turn, theirs);
    }
    if let Some(heir) = sa.replaced_by {
        turn.cx.effects.push_back(Effect::Confirm { spi: heir });
    }
    let reason = sa.closing.clone().unwrap_or(reason);
    let channel = sa.abandon(
        turn.cx,
        turn.now,
        turn.connection.id,
        turn.link.id(),
        reason,
    );
    turn.link.window.abandon();
    State::Lingering {
        channel: Box::new(channel),
        until: turn.now + LINGER,
    }
}

/// The peer has confirmed that a child is gone.
pub(crate) fn finish_child(sa: &mut Established, turn: &mut Turn<'_>, spi_in: u32) {
    remove(sa, turn, spi_in, DownReason::Expired);
}

/// Takes a child out; packets under way still find it for a moment.
fn remove(sa: &mut Established, turn: &mut Turn<'_>, spi_in: u32, reason: DownReason) {
    let Some(child) = sa.children.remove(&spi_in) else {
        return;
    };
    let connection = turn.connection.id;
    turn.cx.bury(turn.now, connection, spi_in);
    if let Some(heir) = child.replaced_by.and_then(|spi| sa.children.get_mut(&spi)) {
        // The old one is deleted when the new one stands on both sides.
        heir.ready.get_or_insert_with(|| turn.cx.next_order());
        heir.unconfirmed_until = None;
    }
    match child.replaced_by {
        Some(new_spi_in) => turn.cx.events.push_back(Event::ChildRekeyed {
            connection,
            old_spi_in: spi_in,
            new_spi_in,
        }),
        None if child.doomed => {}
        None => _ = turn.cx.reasons.insert(connection, reason),
    }
}
