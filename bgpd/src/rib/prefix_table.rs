//! Every prefix that anybody has a path for, by a number that stays while the prefix does.

use std::net::IpAddr;

use ipnet::IpNet;

use super::id_table::{Hash, HashKey, IdTable};
use super::paths::PathId;

/// The number of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PrefixId(pub(crate) u32);

/// What is kept per prefix.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// The first of its paths.
    pub(super) head: Option<PathId>,
    /// The best of them.
    pub(super) best: Option<PathId>,
    /// Its next hops in the kernel.
    pub(super) fib: u32,
    /// It waits to be selected anew.
    pub(super) dirty: bool,
    /// It waits to be told to the kernel.
    pub(super) fib_queued: bool,
    /// The next hops are the same, but what is known of them is not.
    pub(super) fib_stale: bool,
    /// What was the best path is gone or has other attributes.
    pub(super) best_touched: bool,
    /// It stands in the table.
    pub(super) live: bool,
}

/// The prefixes.
#[derive(Debug)]
pub(super) struct PrefixTable {
    keys: Vec<IpNet>,
    rows: Vec<Row>,
    free: Vec<u32>,
    index: IdTable,
    hash_key: HashKey,
}

impl PrefixTable {
    pub(super) fn new(hash_key: HashKey) -> Self {
        Self {
            keys: Vec::new(),
            rows: Vec::new(),
            free: Vec::new(),
            index: IdTable::default(),
            hash_key,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len() - self.free.len()
    }

    /// One more than the largest number in use.
    pub(super) fn bound(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn find(&self, prefix: &IpNet) -> Option<PrefixId> {
        let is_it = |id: u32| self.keys.get(id as usize) == Some(prefix);
        self.index
            .find(hash(self.hash_key, prefix), is_it)
            .map(PrefixId)
    }

    pub(super) fn find_or_insert(&mut self, prefix: IpNet) -> PrefixId {
        if let Some(id) = self.find(&prefix) {
            return id;
        }
        let row = Row {
            live: true,
            ..Row::default()
        };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(key) = self.keys.get_mut(id as usize) {
                    *key = prefix;
                }
                if let Some(slot) = self.rows.get_mut(id as usize) {
                    *slot = row;
                }
                id
            }
            None => {
                self.keys.push(prefix);
                self.rows.push(row);
                u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let (keys, hash_key) = (&self.keys, self.hash_key);
        self.index.insert(id, hash(hash_key, &prefix), |id| {
            hash_at(keys, hash_key, id)
        });
        PrefixId(id)
    }

    /// Takes a prefix out that nothing refers to any more.
    pub(super) fn remove(&mut self, id: PrefixId) {
        let Some(prefix) = self.key(id) else { return };
        let (keys, hash_key) = (&self.keys, self.hash_key);
        self.index.remove(id.0, hash(hash_key, &prefix), |id| {
            hash_at(keys, hash_key, id)
        });
        if let Some(row) = self.rows.get_mut(id.0 as usize) {
            *row = Row::default();
        }
        self.free.push(id.0);
    }

    pub(super) fn key(&self, id: PrefixId) -> Option<IpNet> {
        self.row(id)?;
        self.keys.get(id.0 as usize).copied()
    }

    pub(super) fn row(&self, id: PrefixId) -> Option<&Row> {
        self.rows.get(id.0 as usize).filter(|row| row.live)
    }

    pub(super) fn row_mut(&mut self, id: PrefixId) -> Option<&mut Row> {
        self.rows.get_mut(id.0 as usize).filter(|row| row.live)
    }

    /// All prefixes, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PrefixId, IpNet)> + '_ {
        (0..)
            .zip(&self.rows)
            .zip(&self.keys)
            .filter_map(|((id, row), key)| row.live.then_some((PrefixId(id), *key)))
    }
}

fn hash(key: HashKey, prefix: &IpNet) -> Hash {
    let length = prefix.prefix_len();
    match prefix.addr() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            key.hash(&[a, b, c, d, length])
        }
        IpAddr::V6(address) => {
            let mut octets = [length; 17];
            octets
                .iter_mut()
                .zip(address.octets())
                .for_each(|(to, from)| *to = from);
            key.hash(&octets)
        }
    }
}

fn hash_at(keys: &[IpNet], key: HashKey, id: u32) -> Hash {
    keys.get(id as usize).map_or(0, |prefix| hash(key, prefix))
}
