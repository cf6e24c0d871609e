//! Paths: sixteen octets each, chained per prefix.

use std::num::NonZeroU32;

use super::attribute_store::AttrId;
use super::hops::HopId;
use crate::LocalSource;

/// A peer's number within the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerIndex(pub(crate) u16);

impl PeerIndex {
    /// Stands for ourselves, as the source of local routes.
    pub(super) const LOCAL: Self = Self(u16::MAX);
}

/// The number of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathId(NonZeroU32);

impl PathId {
    fn slot(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// One way to one prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) peer: PeerIndex,
    pub(super) flags: PathFlags,
    pub(super) attributes: AttrId,
    pub(super) hop: HopId,
    pub(super) next: Option<PathId>,
}

const _: () = assert!(size_of::<Path>() == 16);

/// What is known of a path besides numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathFlags(u16);

impl PathFlags {
    const ACCEPTED: u16 = 1;
    const HIDDEN: u16 = 2;
    const SOURCE: u16 = 4;
    const SOURCES: u16 = 3 * Self::SOURCE;
    const STALE: u16 = 16;

    /// A learned path that import policy accepts, or refuses.
    pub(super) fn learned(accepted: bool) -> Self {
        Self(if accepted { Self::ACCEPTED } else { 0 })
    }

    /// A route of our own.
    pub(super) fn local(source: LocalSource, redistribute: bool) -> Self {
        let hidden = if redistribute { 0 } else { Self::HIDDEN };
        let source = match source {
            LocalSource::Connected => 0,
            LocalSource::Static => Self::SOURCE,
            LocalSource::Kernel => 2 * Self::SOURCE,
        };
        Self(Self::ACCEPTED | hidden | source)
    }

    pub(super) fn is_accepted(self) -> bool {
        self.0 & Self::ACCEPTED != 0
    }

    /// The same with another verdict of import policy.
    pub(super) fn judged(self, accepted: bool) -> Self {
        Self(self.0 & !Self::ACCEPTED | Self::learned(accepted).0)
    }

    /// The same, kept for the return of a peer that is away.
    pub(super) fn stale(self) -> Self {
        Self(self.0 | Self::STALE)
    }

    /// Its peer has not taught it again since it went away.
    pub(super) fn is_stale(self) -> bool {
        self.0 & Self::STALE != 0
    }

    /// Nobody is told.
    pub(super) fn is_hidden(self) -> bool {
        self.0 & Self::HIDDEN != 0
    }

    /// Where a route of our own comes from.
    pub(super) fn source(self) -> LocalSource {
        match (self.0 & Self::SOURCES) / Self::SOURCE {
            0 => LocalSource::Connected,
            1 => LocalSource::Static,
            _ => LocalSource::Kernel,
        }
    }
}

/// What a route map made of a path as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The attributes that it takes part with.
    pub(crate) attributes: AttrId,
    /// Its weight.
    pub(crate) weight: u16,
}

/// What import policy says of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// It takes part.
    pub(crate) accepted: bool,
    /// With other attributes than it was received with.
    pub(crate) rewritten: Option<Rewritten>,
}

/// All paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    slots: Vec<Option<Path>>,
    free: Vec<PathId>,
    /// By path, and only as long as the last one that a route map changed: without route maps there is nothing here.
    rewritten: Vec<Option<Rewritten>>,
}

impl Paths {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&self, id: PathId) -> Option<&Path> {
        self.slots.get(id.slot())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.slots.get_mut(id.slot())?.as_mut()
    }

    /// Adds a path; `None` beyond four thousand million of them.
    pub(super) fn add(&mut self, path: Path) -> Option<PathId> {
        if let Some(id) = self.free.pop() {
            *self.slots.get_mut(id.slot())? = Some(path);
            return Some(id);
        }
        let id = PathId(NonZeroU32::new(u32::try_from(self.slots.len() + 1).ok()?)?);
        self.slots.push(Some(path));
        Some(id)
    }

    /// What a route map made of a path.
    pub(super) fn rewritten(&self, id: PathId) -> Option<Rewritten> {
        self.rewritten.get(id.slot()).copied().flatten()
    }

    /// Keeps what a route map made of a path; returns what it had made before.
    pub(super) fn rewrite(&mut self, id: PathId, new: Option<Rewritten>) -> Option<Rewritten> {
        let slot = id.slot();
        if new.is_some() && self.rewritten.len() <= slot {
            self.rewritten.resize(slot + 1, None);
        }
        std::mem::replace(self.rewritten.get_mut(slot)?, new)
    }

    /// Takes a path out. What a route map made of it must have been taken away before.
    pub(super) fn remove(&mut self, id: PathId) -> Option<Path> {
        let path = self.slots.get_mut(id.slot())?.take()?;
        self.free.push(id);
        Some(path)
    }

    /// The chain that begins at `head`.
    pub(super) fn chain(&self, head: Option<PathId>) -> impl Iterator<Item = (PathId, &Path)> {
        let first = head.and_then(|id| Some((id, self.get(id)?)));
        std::iter::successors(first, |(_, path)| {
            let id = path.next?;
            Some((id, self.get(id)?))
        })
    }
}
