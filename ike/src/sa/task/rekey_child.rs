//! Rekeying a child (RFC 7296 sections 1.3.3 and 2.8): make the new one, switch, delete the old.
//!
//! What happens when both sides do it at once is told in [`super::collision`]; here is what follows
//! from its verdict.

use super::{Active, Task, child, collision};
use std::time::Instant;

use crate::child::{PEER_CHOOSES, REAP_AFTER};
use crate::event::{Event, Note};
use crate::sa::Turn;
use crate::sa::established::Established;
use crate::sa::parts::Parts;
use crate::wire::{Exchange, Payload};

/// Our request to replace a child.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Request {
    /// Our inbound SPI of the child to replace.
    pub(crate) old: u32,
    pub(crate) child: child::Request,
    /// The peer has replaced the same child meanwhile.
    pub(crate) crossed: Option<Crossed>,
}

/// The child from the peer's crossed exchange. Kept here as well as in the SA: the peer may delete
/// it, or the old one, before our response comes.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Crossed {
    pub(crate) spi_in: u32,
    low_nonce: Vec<u8>,
}

/// Sends the request, unless the child is gone or has a successor.
pub(crate) fn start(sa: &mut Established, turn: &mut Turn<'_>, old: u32) {
    if let Some(replaced) = sa.children.get(&old).filter(|child| child.is_current()) {
        let child = child::Request::new(turn, &sa.channel, Some(replaced));
        send(
            sa,
            turn,
            Request {
                old,
                child,
                crossed: None,
            },
        );
    }
}

fn send(sa: &mut Established, turn: &mut Turn<'_>, request: Request) {
    let payloads = request.child.payloads(turn.connection, Some(request.old));
    turn.request(&mut sa.channel, Exchange::CreateChildSa, &payloads);
    sa.active = Some(Active::RekeyChild(request));
}

/// Answers the peer's request to replace `old`.
pub(crate) fn answer(
    sa: &mut Established,
    turn: &mut Turn<'_>,
    parts: &Parts,
    old: u32,
) -> Vec<Payload> {
    let before: Vec<u32> = sa.children.keys().copied().collect();
    let payloads = child::answer(sa, turn, parts, Some(old));
    let made = sa
        .children
        .values()
        .find(|c| !before.contains(&c.sa.spi_in));
    if let Some(made) = made
        && let Some(Active::RekeyChild(request)) = &mut sa.active
        && request.old == old
    {
        let (spi_in, low_nonce) = (made.sa.spi_in, made.low_nonce.clone());
        request.crossed = Some(Crossed { spi_in, low_nonce });
    }
    payloads
}

/// Finishes our request.
pub(crate) fn finish(sa: &mut Established, turn: &mut Turn<'_>, request: Request, parts: &Parts) {
    let Request {
        old,
        child,
        crossed,
    } = request;
    match child.outcome(turn, &sa.channel, parts) {
        child::Outcome::Again(child) => send(
            sa,
            turn,
            Request {
                old,
                child,
                crossed,
            },
        ),
        child::Outcome::Made(made) => {
            let spi = made.sa.spi_in;
            let verdict = crossed.as_ref().map(|c| {
                let verdict = collision::resolve(&made.low_nonce, &c.low_nonce);
                let ours_stays = verdict == collision::Verdict::Ours;
                let connection = turn.connection.id;
                turn.cx.events.push_back(Event::Note(Note::Collision {
                    connection,
                    ours_stays,
                }));
                verdict
            });
            sa.child_made();
            sa.children.insert(spi, *made);
            match (verdict, crossed) {
                (Some(collision::Verdict::Theirs), Some(theirs)) => {
                    follow_peer(sa, turn, old, theirs.spi_in);
                    drop_redundant(sa, turn.now, spi);
                }
                (_, theirs) => {
                    if let Some(theirs) = theirs.and_then(|c| sa.children.get_mut(&c.spi_in)) {
                        // The peer has to delete it, but may not know better.
                        theirs.doomed = true;
                        theirs.reap_at = Some(turn.now + REAP_AFTER);
                    }
                    switch(sa, turn, old, spi);
                }
            }
        }
        child::Outcome::Later | child::Outcome::NotFound if crossed.is_some() => {
            // The peer did not see a collision: what it has made is what follows.
            if let Some(theirs) = crossed {
                follow_peer(sa, turn, old, theirs.spi_in);
            }
        }
        child::Outcome::PfsRefused | child::Outcome::Failed if crossed.is_some() => {
            // The same; but Libreswan has been seen to refuse a child in a crossing and to send on it all the
            // same. One that is newer than both sets that right.
            if let Some(theirs) = crossed {
                follow_peer(sa, turn, old, theirs.spi_in);
                sa.postpone(turn, Task::RekeyChild(theirs.spi_in));
            }
        }
        child::Outcome::Later => sa.postpone(turn, Task::RekeyChild(old)),
        child::Outcome::NotFound => {
            // The peer has lost it: drop it without a word, and make a new one (2.25.1).
            if sa.children.remove(&old).is_some() {
                turn.cx.bury(turn.now, turn.connection.id, old);
            }
        }
        child::Outcome::PfsRefused => {
            sa.pfs_refused = true;
            retry(sa, turn, old);
        }
        child::Outcome::Failed => retry(sa, turn, old),
    }
}

/// Our new child takes over: it carries our traffic from now on, and the old one is deleted.
fn switch(sa: &mut Established, turn: &mut Turn<'_>, old: u32, new: u32) {
    if let Some(new) = sa.children.get_mut(&new) {
        new.ready = Some(turn.cx.next_order());
    }
    if let Some(child) = sa.children.get_mut(&old) {
        child.replaced_by = Some(new);
        sa.queue.insert(Task::DeleteChild(old));
    }
}

/// The peer's new child is the successor, and the peer deletes the old one.
fn follow_peer(sa: &mut Established, turn: &Turn<'_>, old: u32, new: u32) {
    if let Some(old) = sa.children.get_mut(&old) {
        old.replaced_by_peer(turn.now, new);
    }
}

/// Ours lost: it must not carry our traffic, and we delete it, unless the peer knows nothing of collisions and sends on it.
fn drop_redundant(sa: &mut Established, now: Instant, spi: u32) {
    if let Some(child) = sa.children.get_mut(&spi) {
        child.doomed = true;
        child.reap_at = Some(now + PEER_CHOOSES);
    }
}

/// Refused: try again while there is time before the old child expires.
fn retry(sa: &mut Established, turn: &mut Turn<'_>, old: u32) {
    if let Some(child) = sa.children.get_mut(&old) {
        let left = child.expires_at.saturating_duration_since(turn.now);
        child.rekey_at = Some(turn.now + turn.cx.share(left, 20, 40).max(RETRY));
    }
}

/// The shortest pause after a refused rekeying.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);
