//! Sets of attributes, each kept once.
//!
//! A set is kept as its canonical octets (see [`PathAttributes::emit`]) with what the decision process
//! asks for beside them. Equal sets have equal numbers, so comparing two routes' attributes is
//! comparing two numbers, and an UPDATE whose attributes are known octet for octet is not even read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::id_table::{HashKey, IdTable};
use crate::Asn;
use crate::wire::{AttributeCode, Community, Origin, PathAttributes, UpdateContext};

/// The number of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttrId(pub(crate) u32);

/// What the decision process asks of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecisionKey {
    pub(crate) local_pref: Option<u32>,
    /// It carries [`Community::GRACEFUL_SHUTDOWN`].
    pub(crate) is_leaving: bool,
    pub(crate) hops: u32,
    pub(crate) origin: Origin,
    pub(crate) first_as: Option<Asn>,
    pub(crate) med: u32,
    /// An IPv4 next hop; others are in the set ([`AttributeStore::next_hop`]), so that they cost IPv4 routes nothing.
    ipv4_next_hop: Option<Ipv4Addr>,
    pub(crate) originator_id: Option<Ipv4Addr>,
    pub(crate) cluster_hops: u16,
    /// Equal for equal AS paths.
    pub(crate) as_path: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Box<[u8]>,
    key: DecisionKey,
    references: u32,
    /// By [`class`]: a set that came with exactly these octets was without fault.
    clean: [bool; 2],
    /// Under which circumstances the set was judged last, and whether it was found good.
    judged: Option<(u32, bool)>,
}

/// All sets in use.
#[derive(Debug)]
pub(crate) struct AttributeStore {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: IdTable,
    hash_key: HashKey,
    scratch: Vec<u8>,
}

impl AttributeStore {
    pub(super) fn new(hash_key: HashKey) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            index: IdTable::default(),
            hash_key,
            scratch: Vec::new(),
        }
    }

    /// How many sets are in use.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The number of the set that these received octets are, if they came before in the same form
    /// and were without fault. Adds no reference.
    pub(crate) fn known(&self, received: &[u8], context: UpdateContext) -> Option<AttrId> {
        // Two-octet AS numbers are never canonical.
        if !context.four_octet_as {
            return None;
        }
        let id = self.position(received)?;
        let entry = self.entries.get(id as usize)?.as_ref()?;
        entry
            .clean
            .get(class(context))
            .copied()
            .unwrap_or(false)
            .then_some(AttrId(id))
    }

    /// Says that these received octets, without fault, are that set.
    pub(crate) fn learn(&mut self, received: &[u8], context: UpdateContext, id: AttrId) {
        let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) else {
            return;
        };
        if context.four_octet_as && *entry.bytes == *received {
            entry.clean[class(context)] = true;
        }
    }

    /// The number of a set, with one reference added for the caller.
    pub(crate) fn intern(&mut self, set: &PathAttributes) -> AttrId {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        set.emit_canonical(&mut bytes);
        let id = match self.position(&bytes) {
            Some(id) => AttrId(id),
            None => self.add(set, &bytes),
        };
        self.scratch = bytes;
        self.retain(id);
        id
    }

    /// What import policy found of a set under the circumstances of that stamp.
    pub(crate) fn judged(&self, id: AttrId, stamp: u32) -> Option<bool> {
        let (of, good) = self.entry(id)?.judged?;
        (of == stamp).then_some(good)
    }

    /// Remembers what import policy found.
    pub(crate) fn set_judged(&mut self, id: AttrId, stamp: u32, good: bool) {
        if let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) {
            entry.judged = Some((stamp, good));
        }
    }

    fn add(&mut self, set: &PathAttributes, bytes: &[u8]) -> AttrId {
        let entry = Entry {
            bytes: bytes.into(),
            key: self.decision_key(set),
            references: 0,
            clean: [false; 2],
            judged: None,
        };
        let hash = self.hash_key.hash(bytes);
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = self.entries.get_mut(id as usize) {
            *slot = Some(entry);
        }
        let (entries, hash_key) = (&self.entries, self.hash_key);
        self.index
            .insert(id, hash, |id| hash_of(entries, hash_key, id));
        AttrId(id)
    }

    fn decision_key(&self, set: &PathAttributes) -> DecisionKey {
        let mut path = Vec::new();
        set.as_path
            .asns()
            .for_each(|asn| path.extend(asn.0.to_le_bytes()));
        DecisionKey {
            local_pref: set.local_pref,
            is_leaving: set.communities.contains(&Community::GRACEFUL_SHUTDOWN),
            hops: set.as_path.hops(),
            origin: set.origin,
            first_as: set.as_path.first(),
            med: set.med.unwrap_or(0),
            ipv4_next_hop: match set.next_hop {
                Some(IpAddr::V4(address)) => Some(address),
                _ => None,
            },
            originator_id: set.originator_id,
            cluster_hops: u16::try_from(set.cluster_list.len()).unwrap_or(u16::MAX),
            as_path: self.hash_key.hash(&path),
        }
    }

    /// One more holder of a set.
    pub(crate) fn retain(&mut self, id: AttrId) {
        if let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) {
            entry.references += 1;
        }
    }

    /// One holder less; the last one's going forgets the set.
    pub(crate) fn release(&mut self, id: AttrId) {
        let Some(slot) = self.entries.get_mut(id.0 as usize) else {
            return;
        };
        let Some(entry) = slot else { return };
        entry.references = entry.references.saturating_sub(1);
        if entry.references > 0 {
            return;
        }
        let hash = self.hash_key.hash(&entry.bytes);
        let (entries, hash_key) = (&self.entries, self.hash_key);
        self.index
            .remove(id.0, hash, |id| hash_of(entries, hash_key, id));
        if let Some(slot) = self.entries.get_mut(id.0 as usize) {
            *slot = None;
        }
        self.free.push(id.0);
    }

    /// The canonical octets.
    pub(crate) fn bytes(&self, id: AttrId) -> &[u8] {
        self.entry(id).map_or(&[], |entry| &entry.bytes)
    }

    /// What the decision process asks for.
    pub(crate) fn key(&self, id: AttrId) -> Option<&DecisionKey> {
        self.entry(id).map(|entry| &entry.key)
    }

    /// The next hop; `None` for a route of our own.
    pub(crate) fn next_hop(&self, id: AttrId) -> Option<IpAddr> {
        let entry = self.entry(id)?;
        match entry.key.ipv4_next_hop {
            Some(address) => Some(address.into()),
            None => ipv6_next_hop(&entry.bytes),
        }
    }

    /// The set itself.
    pub(crate) fn set(&self, id: AttrId) -> Option<PathAttributes> {
        PathAttributes::parse_canonical(self.bytes(id))
    }

    fn entry(&self, id: AttrId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    fn position(&self, bytes: &[u8]) -> Option<u32> {
        let is_it = |id: u32| self.entry(AttrId(id)).is_some_and(|it| *it.bytes == *bytes);
        self.index.find(self.hash_key.hash(bytes), is_it)
    }
}

/// The next hop of sixteen octets in a canonical form, which stands behind ORIGIN and AS_PATH.
fn ipv6_next_hop(mut bytes: &[u8]) -> Option<IpAddr> {
    const EXTENDED: u8 = 0x10;
    loop {
        let (code, length, rest) = match *bytes {
            [flags, code, high, low, ref rest @ ..] if flags & EXTENDED != 0 => {
                (code, usize::from(u16::from_be_bytes([high, low])), rest)
            }
            [_, code, length, ref rest @ ..] => (code, usize::from(length), rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if AttributeCode(code) == AttributeCode::NEXT_HOP {
            return Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into());
        }
        bytes = rest;
    }
}

/// The octets mean the same on every session with peers inside our AS, and with those outside.
fn class(context: UpdateContext) -> usize {
    usize::from(context.external)
}

fn hash_of(entries: &[Option<Entry>], key: HashKey, id: u32) -> u64 {
    entries
        .get(id as usize)
        .and_then(Option::as_ref)
        .map_or(0, |entry| key.hash(&entry.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AsPath, Families};

    #[test]
    fn equal_sets_have_one_number_and_the_last_release_forgets_them() {
        let mut store = AttributeStore::new(HashKey(1));
        let mut set = PathAttributes::local(Origin::Igp);
        set.as_path = AsPath::sequence([65000, 4_200_000_000]);
        set.next_hop = Some(Ipv4Addr::new(10, 0, 0, 1).into());
        let first = store.intern(&set);
        let second = store.intern(&set);
        assert_eq!(first, second);
        assert_eq!(store.len(), 1);
        assert_eq!(store.set(first), Some(set));
        store.release(first);
        assert_eq!(store.len(), 1);
        store.release(second);
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn a_next_hop_of_either_family_is_found_again_in_the_set() {
        let mut store = AttributeStore::new(HashKey(1));
        for next_hop in ["10.0.0.1", "2001:db8::1", "fe80::1"] {
            for hops in [0, 1, 70] {
                let mut set = PathAttributes::local(Origin::Igp);
                set.as_path = AsPath::sequence(vec![65_000; hops]);
                let own = store.intern(&set);
                assert_eq!(store.next_hop(own), None);
                set.next_hop = next_hop.parse().ok();
                set.med = Some(7);
                let id = store.intern(&set);
                assert_eq!(store.next_hop(id), set.next_hop);
                assert_eq!(store.set(id), Some(set));
            }
        }
    }

    #[test]
    fn received_octets_are_known_only_in_the_form_that_was_without_fault() {
        let mut store = AttributeStore::new(HashKey(1));
        let mut set = PathAttributes::local(Origin::Igp);
        set.next_hop = Some(Ipv4Addr::new(10, 0, 0, 1).into());
        let id = store.intern(&set);
        let octets = store.bytes(id).to_vec();
        let external = UpdateContext {
            four_octet_as: true,
            external: true,
            families: Families::IPV4,
            extended_next_hop: false,
        };
        assert_eq!(store.known(&octets, external), None);
        store.learn(&octets, external, id);
        assert_eq!(store.known(&octets, external), Some(id));
        assert_eq!(
            store.known(
                &octets,
                UpdateContext {
                    external: false,
                    ..external
                }
            ),
            None
        );
        assert_eq!(
            store.known(
                &octets,
                UpdateContext {
                    four_octet_as: false,
                    ..external
                }
            ),
            None
        );
    }
}
