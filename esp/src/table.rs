//! The SA table: which SA an arriving packet belongs to, and which one a tunnel sends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{InboundSa, OutboundSa, Spi};

/// All SAs of a data plane.
///
/// A tunnel can have several inbound SAs at once, so that at a rekey the new one receives before
/// the old one ends (make before break), and one outbound SA, which is replaced at once.
///
/// The table is a value: an edit is made on a clone (which copies pointers, not SAs), then
/// published with [`Published::store`](crate::Published::store). `I` and `O` are what the caller
/// keeps for an SA; `T` names a tunnel.
#[derive(Debug)]
pub struct SaTable<T, I = InboundSa, O = OutboundSa> {
    /// Sorted by SPI.
    inbound: Vec<(Spi, T, Arc<I>)>,
    outbound: BTreeMap<T, Arc<O>>,
}

impl<T: Clone, I, O> Clone for SaTable<T, I, O> {
    fn clone(&self) -> Self {
        Self {
            inbound: self.inbound.clone(),
            outbound: self.outbound.clone(),
        }
    }
}

impl<T, I, O> Default for SaTable<T, I, O> {
    fn default() -> Self {
        Self {
            inbound: Vec::new(),
            outbound: BTreeMap::new(),
        }
    }
}

impl<T: Ord + Copy, I, O> SaTable<T, I, O> {
    /// The SA that packets with this SPI belong to.
    #[must_use]
    pub fn inbound(&self, spi: Spi) -> Option<&Arc<I>> {
        let index = self.find(spi).ok()?;
        self.inbound.get(index).map(|(_, _, sa)| sa)
    }

    /// The tunnel that an inbound SPI belongs to.
    #[must_use]
    pub fn tunnel_of(&self, spi: Spi) -> Option<T> {
        let index = self.find(spi).ok()?;
        self.inbound.get(index).map(|(_, tunnel, _)| *tunnel)
    }

    /// The SA that a tunnel sends on.
    #[must_use]
    pub fn outbound(&self, tunnel: T) -> Option<&Arc<O>> {
        self.outbound.get(&tunnel)
    }

    /// A tunnel's inbound SAs, in the order of their SPIs.
    pub fn inbound_of(&self, tunnel: T) -> impl Iterator<Item = (Spi, &Arc<I>)> {
        self.inbound
            .iter()
            .filter(move |(_, t, _)| *t == tunnel)
            .map(|(spi, _, sa)| (*spi, sa))
    }

    /// Adds an inbound SA. If the SPI is taken nothing changes, and the tunnel that has it is
    /// returned.
    ///
    /// # Errors
    /// The tunnel whose SA has this SPI.
    pub fn add_inbound(&mut self, spi: Spi, tunnel: T, sa: Arc<I>) -> Result<(), T> {
        match self.find(spi) {
            Ok(index) => Err(self
                .inbound
                .get(index)
                .map_or(tunnel, |(_, holder, _)| *holder)),
            Err(index) => {
                self.inbound.insert(index, (spi, tunnel, sa));
                Ok(())
            }
        }
    }

    /// Removes a tunnel's inbound SA; `None` if the tunnel has no such SA.
    pub fn remove_inbound(&mut self, spi: Spi, tunnel: T) -> Option<Arc<I>> {
        let index = self.find(spi).ok()?;
        self.inbound
            .get(index)
            .filter(|(_, holder, _)| *holder == tunnel)?;
        Some(self.inbound.remove(index).2)
    }

    /// Sends on this SA from now on; returns the one before.
    pub fn set_outbound(&mut self, tunnel: T, sa: Arc<O>) -> Option<Arc<O>> {
        self.outbound.insert(tunnel, sa)
    }

    /// Sends no more; returns the SA that was used.
    pub fn clear_outbound(&mut self, tunnel: T) -> Option<Arc<O>> {
        self.outbound.remove(&tunnel)
    }

    /// Removes all that a tunnel has.
    pub fn remove_tunnel(&mut self, tunnel: T) {
        self.inbound.retain(|(_, holder, _)| *holder != tunnel);
        self.outbound.remove(&tunnel);
    }

    fn find(&self, spi: Spi) -> Result<usize, usize> {
        self.inbound.binary_search_by_key(&spi, |(spi, _, _)| *spi)
    }
}
