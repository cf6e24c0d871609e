//! The IKE SAs of an endpoint, and what finds them quickly: whose they are, which are half open, and when each has something to
//! do. With thousands of them one input must cost what one SA costs.
//!
//! Whoever takes one to change it has touched it. [`Sas::refresh`] brings the indices up to what has become of those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::connection::ConnectionId;
use crate::sa::{Sa, State};
use crate::wire::IkeSpi;

/// IKE SAs by our SPI.
#[derive(Default)]
#[cfg_attr(feature = "explore", derive(Clone))]
pub(super) struct Sas {
    all: BTreeMap<IkeSpi, Sa>,
    of: BTreeMap<ConnectionId, BTreeSet<IkeSpi>>,
    half_open: BTreeSet<IkeSpi>,
    due: BTreeSet<(Instant, IkeSpi)>,
    /// Under what the indices have each.
    entries: BTreeMap<IkeSpi, Entry>,
    touched: BTreeSet<IkeSpi>,
}

/// Where the indices have an SA.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    connection: Option<ConnectionId>,
    half_open: bool,
    due: Option<Instant>,
}

impl Entry {
    fn of(sa: &Sa) -> Self {
        Self {
            connection: sa.connection,
            half_open: matches!(sa.state, State::HalfOpen(_)),
            due: sa.timeout(),
        }
    }
}

impl Sas {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn insert(&mut self, sa: Sa) {
        let spi = sa.link.spi;
        self.all.insert(spi, sa);
        self.touched.insert(spi);
        self.index(spi);
    }

    pub(super) fn get(&self, spi: IkeSpi) -> Option<&Sa> {
        self.all.get(&spi)
    }

    pub(super) fn get_mut(&mut self, spi: IkeSpi) -> Option<&mut Sa> {
        let sa = self.all.get_mut(&spi)?;
        self.touched.insert(spi);
        Some(sa)
    }

    /// All of them, by their SPIs.
    pub(super) fn values(&self) -> impl Iterator<Item = &Sa> {
        self.all.values()
    }

    /// Those of a connection, by their SPIs.
    pub(super) fn of(&self, id: ConnectionId) -> impl Iterator<Item = &Sa> {
        let spis = self.of.get(&id).into_iter().flatten();
        spis.filter_map(|spi| self.all.get(spi))
    }

    /// Does something to each one of a connection.
    pub(super) fn each_of(&mut self, id: ConnectionId, mut act: impl FnMut(&mut Sa)) {
        for spi in self.of.get(&id).into_iter().flatten() {
            if let Some(sa) = self.all.get_mut(spi) {
                self.touched.insert(*spi);
                act(sa);
            }
        }
    }

    /// The one that has the child with this inbound SPI.
    pub(super) fn with_child(&mut self, spi: u32) -> Option<&mut Sa> {
        let has = |sa: &Sa| (sa.established()).is_some_and(|e| e.children.contains_key(&spi));
        let (_, sa) = self.all.iter_mut().find(|(_, sa)| has(sa))?;
        self.touched.insert(sa.link.spi);
        Some(sa)
    }

    /// Handshakes that we have answered and the peer has not finished.
    pub(super) fn half_open(&self) -> impl Iterator<Item = &Sa> {
        self.half_open.iter().filter_map(|spi| self.all.get(spi))
    }

    pub(super) fn count_half_open(&self) -> usize {
        self.half_open.len()
    }

    /// Those that have something to do at `now`, by their SPIs.
    pub(super) fn due(&self, now: Instant) -> BTreeSet<IkeSpi> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, spi)| *spi).collect()
    }

    /// When the first one has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Lets go of those that are dead, and brings the indices up to date with all that was touched since the last time. Gives the
    /// connections that this concerns, as they were before and as they are.
    pub(super) fn refresh(&mut self) -> BTreeSet<ConnectionId> {
        let mut concerned = BTreeSet::new();
        for spi in std::mem::take(&mut self.touched) {
            concerned.extend(self.entries.get(&spi).and_then(|entry| entry.connection));
            if self.all.get(&spi).is_some_and(Sa::is_dead) {
                self.all.remove(&spi);
            }
            self.index(spi);
            concerned.extend(self.all.get(&spi).and_then(|sa| sa.connection));
        }
        concerned
    }

    fn index(&mut self, spi: IkeSpi) {
        let now = self.all.get(&spi).map(Entry::of);
        let before = self.entries.get(&spi).copied();
        if now == before {
            return;
        }
        if let Some(entry) = before {
            self.entries.remove(&spi);
            self.half_open.remove(&spi);
            entry.due.map(|at| self.due.remove(&(at, spi)));
            if let Some(id) = entry.connection
                && let Some(spis) = self.of.get_mut(&id)
            {
                spis.remove(&spi);
                if spis.is_empty() {
                    self.of.remove(&id);
                }
            }
        }
        if let Some(entry) = now {
            self.entries.insert(spi, entry);
            if entry.half_open {
                self.half_open.insert(spi);
            }
            entry.due.map(|at| self.due.insert((at, spi)));
            if let Some(id) = entry.connection {
                self.of.entry(id).or_default().insert(spi);
            }
        }
    }
}
