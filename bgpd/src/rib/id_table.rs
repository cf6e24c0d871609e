//! A hash index that stores nothing but numbers.
//!
//! The values live in their owner's array; the index holds their positions, four octets each, and asks
//! the owner for hashes and equality. Probing is linear, deletion shifts back, so there are no graves.
//! The order of the slots never shows outside.

/// The hash of a value, mixed with a key that peers do not know.
pub(super) type Hash = u64;

/// Marks a slot that is free.
const FREE: u32 = u32::MAX;

/// Positions by the hash of what is there.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    slots: Vec<u32>,
    used: usize,
}

impl IdTable {
    /// The position of a value with this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut slot = self.home(hash)?;
        loop {
            match self.slots.get(slot) {
                None | Some(&FREE) => return None,
                Some(&id) if is_it(id) => return Some(id),
                Some(_) => slot = self.after(slot),
            }
        }
    }

    /// Adds a position that is not in the index. `hash_of` tells the hash of any that is.
    pub(super) fn insert(&mut self, id: u32, hash: Hash, hash_of: impl Fn(u32) -> Hash) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow(hash_of);
        }
        self.place(id, hash);
        self.used += 1;
    }

    /// Takes a position out.
    pub(super) fn remove(&mut self, id: u32, hash: Hash, hash_of: impl Fn(u32) -> Hash) {
        let Some(mut gap) = self.home(hash) else {
            return;
        };
        while self.slots.get(gap).is_some_and(|it| *it != id) {
            if self.slots.get(gap) == Some(&FREE) {
                return;
            }
            gap = self.after(gap);
        }
        self.used -= 1;
        let mask = self.slots.len() - 1;
        let mut next = self.after(gap);
        // Whoever probed past the gap on its way moves into it.
        while let Some(id) = self.slots.get(next).copied().filter(|id| *id != FREE) {
            let home = hash_of(id) as usize & mask;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                self.set(gap, id);
                gap = next;
            }
            next = self.after(next);
        }
        self.set(gap, FREE);
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> Hash) {
        let size = (self.slots.len() * 2).max(16);
        let old = std::mem::replace(&mut self.slots, vec![FREE; size]);
        for id in old.into_iter().filter(|id| *id != FREE) {
            self.place(id, hash_of(id));
        }
    }

    /// There is a free slot: no more than three quarters are ever taken.
    fn place(&mut self, id: u32, hash: Hash) {
        let Some(mut slot) = self.home(hash) else {
            return;
        };
        while self.slots.get(slot).is_some_and(|it| *it != FREE) {
            slot = self.after(slot);
        }
        self.set(slot, id);
    }

    fn set(&mut self, slot: usize, id: u32) {
        if let Some(it) = self.slots.get_mut(slot) {
            *it = id;
        }
    }

    fn home(&self, hash: Hash) -> Option<usize> {
        // The size is a power of two.
        Some(hash as usize & self.slots.len().checked_sub(1)?)
    }

    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }
}

/// A secret that the hashes are mixed with, so that no peer can choose prefixes that collide.
#[derive(Clone, Copy, Debug)]
pub(super) struct HashKey(pub(super) u64);

impl HashKey {
    /// Hashes octets: folded multiplication over pieces of eight.
    pub(super) fn hash(self, bytes: &[u8]) -> Hash {
        let (pieces, tail) = bytes.as_chunks::<8>();
        let mut state = self.0 ^ bytes.len() as u64;
        for piece in pieces {
            state = fold(state ^ u64::from_le_bytes(*piece), 0x9e37_79b9_7f4a_7c15);
        }
        let mut last = [0; 8];
        last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        state = fold(state ^ u64::from_le_bytes(last), 0xd6e8_feb8_6659_fd93);
        fold(state, self.0 | 1)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x2545_f491_4f6c_dd1d) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_exactly_what_was_inserted_and_not_removed(
            operations in prop::collection::vec((any::<bool>(), 0u32..200), 0..600),
        ) {
            let key = HashKey(7);
            // Few distinct hashes, so that runs are long and wrap around.
            let hash_of = |id: u32| key.hash(&(id % 13).to_le_bytes());
            let mut table = IdTable::default();
            let mut model = std::collections::BTreeSet::new();
            for (insert, id) in operations {
                if insert && model.insert(id) {
                    table.insert(id, hash_of(id), hash_of);
                } else if !insert && model.remove(&id) {
                    table.remove(id, hash_of(id), hash_of);
                }
            }
            for id in 0..200 {
                let found = table.find(hash_of(id), |it| it == id);
                prop_assert_eq!(found.is_some(), model.contains(&id));
            }
        }
    }
}
