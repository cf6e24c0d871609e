//! CHILD_SAs: their parameters, their times, and which one carries outbound traffic.

use std::time::{Duration, Instant};

use crypto::ikev2;
use crypto::{Group, Secret};

use crate::connection::{Connection, Narrowing};
use crate::context::Context;
use crate::error::{Cause, Selectors};
use crate::event::{ChildKeys, ChildSa, Event, Path, Role};
use crate::sa::established::CONFIRMED_AFTER;
use crate::select::EspSuite;
use crate::status::ChildStatus;
use crate::wire::TrafficSelector;

/// A pair of ESP SAs. The inbound one is installed as long as this value lives, and a grace longer.
#[derive(Debug)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(crate) struct Child {
    pub(crate) sa: ChildSa,
    /// The Diffie-Hellman group of the exchange that made it; none if that had no exchange of its own.
    pub(crate) group: Option<Group>,
    /// Who sent the request of the exchange that made it.
    pub(crate) role: Role,
    /// Until then the peer may not know this child, because our answer is still under way to it.
    pub(crate) unconfirmed_until: Option<Instant>,
    /// The lower one of that exchange's nonces: decides between crossed exchanges.
    pub(crate) low_nonce: Vec<u8>,
    pub(crate) created: Instant,
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) expires_at: Instant,
    /// Set once the peer certainly has the SA installed; the highest one carries our traffic.
    pub(crate) ready: Option<u64>,
    /// When its first packet came from the peer, in the order of [`Context::next_order`].
    pub(crate) heard: Option<u64>,
    /// Our inbound SPI of the child that takes its place.
    pub(crate) replaced_by: Option<u32>,
    /// It lost against a crossed exchange and is about to be deleted by its creator.
    pub(crate) doomed: bool,
    /// If the peer has not deleted it by then, we do.
    pub(crate) reap_at: Option<Instant>,
}

/// What an exchange has agreed upon for a new child.
pub(crate) struct Agreement<'a> {
    pub(crate) path: &'a Path,
    pub(crate) role: Role,
    pub(crate) suite: EspSuite,
    pub(crate) spi_in: u32,
    pub(crate) spi_out: u32,
    pub(crate) local_ts: Vec<TrafficSelector>,
    pub(crate) remote_ts: Vec<TrafficSelector>,
    /// The exchange's nonces and its shared secret, for the keys.
    pub(crate) nonces: (&'a [u8], &'a [u8]),
    pub(crate) shared: Option<&'a Secret>,
}

impl Child {
    /// Derives the keys (RFC 7296 section 2.17) and has the inbound SA installed.
    pub(crate) fn install(
        cx: &mut Context,
        now: Instant,
        connection: &Connection,
        (prf, d): (crypto::Prf, &Secret),
        agreed: Agreement<'_>,
    ) -> Result<Self, crypto::Error> {
        let (ni, nr) = agreed.nonces;
        let keys = ikev2::child_keys(prf, d, agreed.shared, ni, nr, agreed.suite.suite)?;
        let direction = |k: ikev2::DirectionKeys| ChildKeys {
            keymat: k.keymat,
            integrity: k.integrity,
        };
        let (ours, theirs) = match agreed.role {
            Role::Initiator => (keys.initiator, keys.responder),
            Role::Responder => (keys.responder, keys.initiator),
        };
        let sa = ChildSa {
            connection: connection.id,
            spi_in: agreed.spi_in,
            spi_out: agreed.spi_out,
            suite: agreed.suite.suite,
            keys_in: direction(theirs),
            keys_out: direction(ours),
            esn: agreed.suite.esn,
            pfs: agreed.suite.group.map(|g| g.to_string()),
            encapsulated: agreed.path.encapsulated,
            local: agreed.path.local,
            remote: agreed.path.remote,
            local_ts: agreed.local_ts,
            remote_ts: agreed.remote_ts,
            lifetime: connection.child_lifetime,
        };
        cx.events.push_back(Event::InboundAdd(Box::new(sa.clone())));
        let rekey_in = cx.share(connection.child_lifetime, 55, 65);
        Ok(Self {
            sa,
            group: agreed.suite.group,
            role: agreed.role,
            unconfirmed_until: (agreed.role == Role::Responder).then_some(now + CONFIRMED_AFTER),
            low_nonce: ni.min(nr).to_vec(),
            created: now,
            rekey_at: Some(now + rekey_in),
            expires_at: now + connection.child_lifetime,
            ready: None,
            heard: None,
            replaced_by: None,
            doomed: false,
            reap_at: None,
        })
    }

    /// How well it suits for outbound traffic; the highest wins. One that the peer may not have
    /// installed yet is better than none.
    pub(crate) fn preference(&self) -> Option<(bool, u64, Instant)> {
        let known = self.ready.is_some() || self.unconfirmed_until.is_none();
        (!self.doomed).then_some((known, self.ready.unwrap_or(0), self.created))
    }

    /// Whether the peer may not know it yet.
    pub(crate) fn is_unconfirmed(&self, now: Instant) -> bool {
        self.unconfirmed_until.is_some_and(|until| now < until)
    }

    /// The peer has replaced it, and has to delete it. Not every peer does.
    pub(crate) fn replaced_by_peer(&mut self, now: Instant, heir: u32) {
        self.replaced_by = Some(heir);
        self.reap_at.get_or_insert(now + REAP_AFTER);
    }

    /// The peer knows what has become of this one: it soon deletes it, or never.
    pub(crate) fn reap_soon(&mut self, now: Instant) {
        let soon = now + PEER_DELETES;
        self.reap_at = self.reap_at.map(|at| at.min(soon));
    }

    /// Whether it is the one to keep, for all that we know.
    pub(crate) const fn is_current(&self) -> bool {
        !self.doomed && self.replaced_by.is_none()
    }

    pub(crate) fn status(&self, now: Instant, outbound: bool) -> ChildStatus {
        let until = |at: Instant| at.saturating_duration_since(now);
        ChildStatus {
            spi_in: self.sa.spi_in,
            spi_out: self.sa.spi_out,
            suite: self.sa.suite.to_string(),
            pfs: self.sa.pfs.clone(),
            esn: self.sa.esn,
            outbound,
            local_ts: self.sa.local_ts.clone(),
            remote_ts: self.sa.remote_ts.clone(),
            age: now.saturating_duration_since(self.created),
            rekey_in: self.rekey_at.map(until),
            expires_in: until(self.expires_at),
        }
    }
}

/// Children of one IKE SA; a tunnel has one, and a few more while things cross.
pub(crate) const MOST_CHILDREN: usize = 16;

/// How long the peer may take to delete what it has to delete after a crossing or a rekeying, as long as
/// we do not know whether it has our answer. Longer than any peer of ours repeats a request (strongSwan
/// does so for 165 s): until then it may still be asking for that answer, which tells it about the new SA.
pub(crate) const REAP_AFTER: Duration = Duration::from_secs(180);

/// The same once it certainly has our answer: a request of its own for deletion, repeated once or twice,
/// arrives in that time. Libreswan resolves no collision and sends none.
pub(crate) const PEER_DELETES: Duration = Duration::from_secs(10);

/// How long we keep a child of ours that has lost a crossing, to see whether the peer sends on it all the same. It has switched to one by
/// then, and what it sends meanwhile arrives whichever that is.
pub(crate) const PEER_CHOOSES: Duration = Duration::from_secs(5);

/// The traffic that both sides have in mind: our side's, then the peer's. `local` and `remote` are the peer's words for them.
///
/// # Errors
/// [`Cause::TsUnacceptable`] with both sides' selectors, where they have nothing in common or less than we can do with.
pub(crate) fn meet(
    connection: &Connection,
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
) -> Result<(Vec<TrafficSelector>, Vec<TrafficSelector>), Cause> {
    let (ours, theirs) = (&connection.local_ts, &connection.remote_ts);
    let (local_ts, remote_ts) = (narrow(ours, local), narrow(theirs, remote));
    let suffices =
        |wanted: &[TrafficSelector], narrowed: &[TrafficSelector]| match connection.narrowing {
            Narrowing::Accept => !narrowed.is_empty(),
            Narrowing::Refuse => wanted.iter().all(|w| narrowed.iter().any(|n| n.covers(w))),
        };
    if suffices(ours, &local_ts) && suffices(theirs, &remote_ts) {
        return Ok((local_ts, remote_ts));
    }
    Err(Cause::TsUnacceptable {
        ours: Selectors {
            local: ours.clone(),
            remote: theirs.clone(),
        },
        theirs: Some(Selectors {
            local: local.to_vec(),
            remote: remote.to_vec(),
        }),
    })
}

/// What both lists of selectors cover (RFC 7296 section 2.9), without what another one covers.
fn narrow(ours: &[TrafficSelector], theirs: &[TrafficSelector]) -> Vec<TrafficSelector> {
    /// More than that nobody needs, and a peer could ask for tens of thousands.
    const MOST: usize = 64;
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    for both in ours
        .iter()
        .flat_map(|o| theirs.iter().filter_map(|t| o.intersect(t)))
    {
        if narrowed.len() < MOST && !narrowed.iter().any(|n| n.covers(&both)) {
            narrowed.retain(|n| !both.covers(n));
            narrowed.push(both);
        }
    }
    narrowed
}
