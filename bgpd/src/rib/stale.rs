//! Paths that are kept while their peer is away for a restart (RFC 4724, section 4.2).
//!
//! A stale path takes part in everything as before, so that traffic does not notice; it only waits to be taught again, or to be swept.

use super::Rib;
use super::paths::{Path, PeerIndex};
use super::prefix_table::PrefixId;

impl Rib {
    /// Marks everything that a peer taught. Returns how many prefixes that is.
    pub(crate) fn mark_stale(&mut self, peer: PeerIndex) -> u32 {
        let received = self.received(peer);
        if received == 0 {
            return 0;
        }
        let ids: Vec<PrefixId> = self.prefixes.iter().map(|(id, _)| id).collect();
        for id in ids {
            let head = self.prefixes.row(id).and_then(|row| row.head);
            let found = self.paths.chain(head).find(|(_, path)| path.peer == peer);
            if let Some(path_id) = found.map(|(id, _)| id)
                && let Some(path) = self.paths.get_mut(path_id)
            {
                path.flags = path.flags.stale();
            }
        }
        if let Some(Some(taught)) = self.taught.get_mut(usize::from(peer.0)) {
            taught.stale = received;
        }
        received
    }

    /// Forgets what a peer has not taught again. Returns how many prefixes that was.
    pub(crate) fn sweep_stale(&mut self, peer: PeerIndex) -> usize {
        if self.stale(peer) == 0 {
            return 0;
        }
        let ids: Vec<PrefixId> = self.prefixes.iter().map(|(id, _)| id).collect();
        let is_it = |path: &Path| path.peer == peer && path.flags.is_stale();
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
