//! Paths that are kept while their peer is away for a restart (RFC 4724, section 4.2).
//!
//! A stale path takes part in everything as before, so that traffic does not notice; it only waits to be taught again, or to be swept.

use super::Rib;
use super::paths::{Path, PeerIndex};
use crate::wire::Families;

impl Rib {
    /// Marks everything of these families that a peer taught. Returns how many prefixes that is.
    pub(crate) fn mark_stale(&mut self, peer: PeerIndex, families: Families) -> u32 {
        if self.received(peer) == 0 || families.is_empty() {
            return 0;
        }
        let (mut found, mut new) = (0, 0);
        for id in self.ids_of(families) {
            let head = self.prefixes.row(id).and_then(|row| row.head);
            let path = self.paths.chain(head).find(|(_, path)| path.peer == peer);
            if let Some(path_id) = path.map(|(id, _)| id)
                && let Some(path) = self.paths.get_mut(path_id)
            {
                found += 1;
                new += u32::from(!path.flags.is_stale());
                path.flags = path.flags.stale();
            }
        }
        if let Some(Some(taught)) = self.taught.get_mut(usize::from(peer.0)) {
            taught.stale += new;
        }
        found
    }

    /// Forgets what of these families a peer has not taught again. Returns how many prefixes that was.
    pub(crate) fn sweep_stale(&mut self, peer: PeerIndex, families: Families) -> usize {
        if self.stale(peer) == 0 {
            return 0;
        }
        let is_it = |path: &Path| path.peer == peer && path.flags.is_stale();
        let ids = self.ids_of(families);
        ids.into_iter().filter(|id| self.take(*id, is_it)).count()
    }

    /// How many prefixes a peer has yet to teach again.
    pub(crate) fn stale(&self, peer: PeerIndex) -> u32 {
        let taught = self.taught.get(usize::from(peer.0));
        taught.and_then(Option::as_ref).map_or(0, |it| it.stale)
    }

    pub(super) fn uncount_stale(&mut self, path: &Path) {
        if path.flags.is_stale()
            && let Some(Some(taught)) = self.taught.get_mut(usize::from(path.peer.0))
        {
            taught.stale = taught.stale.saturating_sub(1);
        }
    }
}
