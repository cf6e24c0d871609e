//! An endpoint's state as a value to copy and to compare, for those who explore what can become
//! of it. Only with the feature `explore`.

use std::hash::{DefaultHasher, Hash as _};

use crypto::CryptoRng;

use super::Endpoint;
use super::computing::Computing;
use super::tunnel::Tunnel;
use crate::child::Child;
use crate::sa::established::Established;
use crate::sa::task::Active;
use crate::sa::{Sa, State};
use crate::wire::sk::Plain;
use crate::wire::{Header, IkeSpi};
use crypto::Group;

impl Endpoint {
    /// A second endpoint in the same state, to go on from it in another way. Everything that this
    /// one has to say must have been taken. Never for a real peer: two endpoints would encrypt with
    /// the same keys and the same counters.
    #[must_use]
    pub fn fork(&self, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            config: self.config,
            cx: self.cx.fork(rng),
            tunnels: self.tunnels.clone(),
            sas: self.sas.clone(),
            stirred: self.stirred.clone(),
            due: self.due.clone(),
            cookies: self.cookies.clone(),
            // Those who explore have everything computed inline.
            computing: Computing::default(),
            complained: self.complained,
            stopping: self.stopping,
        }
    }

    /// What a protected datagram to this endpoint holds, where it has the keys.
    pub fn reveal(&mut self, bytes: &[u8]) -> Option<Plain> {
        let (header, _) = Header::decode(bytes).ok()?;
        let (spi, _) = spis(header);
        let channel = self.sas.get_mut(spi)?.state.channel_mut()?;
        channel.open(bytes).ok()
    }

    /// A datagram of this endpoint's that holds something else, protected as that would be.
    pub fn conceal(&mut self, plain: &Plain) -> Option<Vec<u8>> {
        let (_, spi) = spis(plain.header);
        let channel = self.sas.get_mut(spi)?.state.channel_mut()?;
        channel.conceal(plain, &mut self.cx.rng)
    }

    /// IKE SAs in whatever state.
    #[must_use]
    pub fn size(&self) -> usize {
        self.sas.len()
    }

    /// Feeds everything that decides what this endpoint will do, except what it will draw from its
    /// generator. Keys are left out: the SPIs and messages that go with them are unique.
    pub fn feed(&self, hasher: &mut DefaultHasher) {
        (self.complained, self.stopping).hash(hasher);
        for (id, tunnel) in &self.tunnels {
            id.hash(hasher);
            tunnel.feed(hasher);
        }
        for sa in self.sas.values() {
            feed_sa(sa, hasher);
        }
        (&self.cx.graves, &self.cx.reasons, &self.cx.held).hash(hasher);
    }
}

/// The SPI that the receiver of a message knows the IKE SA by, and the sender's.
const fn spis(header: Header) -> (IkeSpi, IkeSpi) {
    if header.flags.initiator {
        (header.spi_r, header.spi_i)
    } else {
        (header.spi_i, header.spi_r)
    }
}

impl Tunnel {
    fn feed(&self, hasher: &mut DefaultHasher) {
        (self.wanted, self.removed, self.next_attempt, self.attempts).hash(hasher);
        (self.outbound, self.dedupe_at, self.failures).hash(hasher);
        self.clings_until.hash(hasher);
    }
}

fn feed_sa(sa: &Sa, hasher: &mut DefaultHasher) {
    let link = &sa.link;
    (link.spi, link.peer_spi, link.role, link.path, link.born).hash(hasher);
    (&link.window, sa.connection).hash(hasher);
    std::mem::discriminant(&sa.state).hash(hasher);
    match &sa.state {
        // What these have sent is in the window.
        State::InitSent(_) | State::IntermediateSent(_) | State::Dead => {}
        State::AuthSent(s) => s.spi_in.hash(hasher),
        State::HalfOpen(s) => s.expires.hash(hasher),
        State::Established(s) => feed_established(s, hasher),
        State::Lingering { until, .. } => until.hash(hasher),
    }
}

fn feed_established(e: &Established, hasher: &mut DefaultHasher) {
    (&e.origin, e.unconfirmed_until).hash(hasher);
    e.children
        .values()
        .for_each(|child| feed_child(child, hasher));
    (e.awaits_children, &e.queue, &e.postponed).hash(hasher);
    match &e.active {
        None => 0.hash(hasher),
        Some(Active::CreateChild(request)) => (1, request.spi_in).hash(hasher),
        Some(Active::RekeyChild(request)) => {
            let crossed = request.crossed.as_ref().map(|crossed| crossed.spi_in);
            (2, request.old, request.child.spi_in, crossed).hash(hasher);
        }
        Some(Active::RekeyIke(request)) => {
            let crossed = request.crossed.as_ref().map(|crossed| crossed.spi);
            (3, request.spi, crossed, request.agreed.is_some()).hash(hasher);
        }
        Some(Active::DeleteChild(spi)) => (4, spi).hash(hasher),
        Some(Active::DeleteIke) => 5.hash(hasher),
        Some(Active::Liveness) => 6.hash(hasher),
        Some(Active::UpdateAddresses(local)) => (7, local).hash(hasher),
        Some(Active::CheckRoute(cookie)) => (8, cookie).hash(hasher),
    }
    let pending = e.pending.as_ref().map(|p| (p.successor.spi, p.until));
    pending.hash(hasher);
    (e.replaced_by, &e.closing, e.reap_at, e.rival, e.last_heard).hash(hasher);
    (e.rekey_at, e.expires_at, e.choose_child_at).hash(hasher);
    (e.mobike, e.update_by, &e.seen_as).hash(hasher);
    (e.child_failures, e.pfs_refused, e.suspected, e.strays_until).hash(hasher);
}

fn feed_child(child: &Child, hasher: &mut DefaultHasher) {
    (child.sa.spi_in, child.sa.spi_out, child.role).hash(hasher);
    (child.unconfirmed_until, &child.low_nonce, child.created).hash(hasher);
    (child.rekey_at, child.expires_at, child.ready, child.heard).hash(hasher);
    (
        child.replaced_by,
        child.doomed,
        child.reap_at,
        child.group.map(Group::id),
    )
        .hash(hasher);
}
