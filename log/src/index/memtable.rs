//! The tail of the index: the newest entries, in memory until they are written as a run.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::asked::{Asked, Places};
use super::entry::{Entry, masked};
use super::table::Table;
use crate::record::{
    IndexKey, KEY_SPACES, RELEASE_SPACES, RecordIndex, RecordKeys, SECOND_SLOT, keys_in,
};

/// The entries of one stretch of the log.
pub(crate) struct Memtable {
    /// First record of the stretch.
    pub(crate) first: u64,
    /// Most entries of each space.
    entries_max: usize,
    /// Part of the hash that is used: all of it outside tests.
    hash_mask: u64,
    tables: RwLock<Tables>,
    /// Spaces off the release path, which nobody on it waits for: in the order of the records, and sorted
    /// before they are written.
    others: RwLock<[Vec<Unordered>; KEY_SPACES - RELEASE_SPACES]>,
}

struct Tables {
    /// What positions are counted from: the first record that was inserted.
    base: u64,
    /// One past the last record.
    end: u64,
    release: [Table; RELEASE_SPACES],
}

/// An entry in 12 bytes. Ordered like [`Entry`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Unordered {
    hash_high: u32,
    hash_low: u32,
    /// Counted from the base.
    position: u32,
}

impl Memtable {
    /// An empty one for the records from `first` on that takes little memory and grows. An insert waits
    /// while it does, for about 30 ns an entry.
    pub(crate) fn growing(first: u64, entries_max: usize, hash_mask: u64) -> Memtable {
        Memtable::with_room(first, entries_max, 0, hash_mask)
    }

    /// An empty one that never grows, and whose memory the system has handed out: that would take
    /// milliseconds too.
    pub(crate) fn full_size(first: u64, entries_max: usize, hash_mask: u64) -> Memtable {
        let mut table = Memtable::with_room(first, entries_max, entries_max, hash_mask);
        let others = table.others.get_mut();
        for entries in others.unwrap_or_else(PoisonError::into_inner) {
            entries.resize(entries_max, Unordered::new(0, 0));
        }
        table.recycle();
        table
    }

    fn with_room(first: u64, entries_max: usize, entries: usize, hash_mask: u64) -> Memtable {
        let tables = Tables {
            base: first,
            end: first,
            release: std::array::from_fn(|_| Table::with_capacity(entries)),
        };
        Memtable {
            first,
            entries_max,
            hash_mask,
            tables: RwLock::new(tables),
            others: RwLock::new(std::array::from_fn(|_| Vec::with_capacity(entries))),
        }
    }

    /// Enters keys of records that follow the last one.
    pub(crate) fn insert(&self, batch: &[(RecordIndex, RecordKeys)]) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.base = tables.base_for(self.first, batch);
        let base = tables.base;
        let position = |record: &RecordIndex| (record.0 - base) as u32;
        for (space, table) in tables.release.iter_mut().enumerate() {
            let mut entries: Vec<(u64, u32)> = Vec::with_capacity(batch.len());
            for (record, keys) in batch {
                let position = position(record);
                entries.extend(keys_in(keys, space).map(|key| (self.hash(key), position)));
            }
            table.insert_all(&entries);
        }
        let mut others = self.others.write().unwrap_or_else(PoisonError::into_inner);
        for (space, entries) in (RELEASE_SPACES..).zip(others.iter_mut()) {
            for (record, keys) in batch {
                for key in keys_in(keys, space) {
                    entries.push(Unordered::new(self.hash(key), position(record)));
                }
            }
        }
        if let Some((last, _)) = batch.last() {
            tables.end = last.0 + 1;
        }
    }

    /// Most entries of each space.
    pub(crate) fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Whether these records still belong into it.
    pub(crate) fn has_room(&self, batch: &[(RecordIndex, RecordKeys)]) -> bool {
        let entries = self.entries().into_iter().max().unwrap_or(0);
        let tables = self.read();
        let base = tables.base_for(self.first, batch);
        let near = |(last, _): &(RecordIndex, RecordKeys)| last.0 - base < u64::from(u32::MAX);
        let second = |(_, keys): &&(RecordIndex, RecordKeys)| keys[SECOND_SLOT].is_some();
        let more = batch.len() + batch.iter().filter(second).count();
        let few = entries + more <= self.entries_max || tables.end == self.first;
        few && batch.last().is_none_or(near)
    }

    /// Entries of each space.
    pub(crate) fn entries(&self) -> [usize; KEY_SPACES] {
        let (tables, others) = (self.read(), self.read_others());
        std::array::from_fn(|space| match space.checked_sub(RELEASE_SPACES) {
            None => tables.release[space].len(),
            Some(other) => others[other].len(),
        })
    }

    /// One past the last record that was inserted.
    pub(crate) fn end(&self) -> u64 {
        self.read().end
    }

    /// Records that may have the key with this hash, newest first.
    pub(crate) fn candidates(&self, space: usize, hash: u64) -> Vec<RecordIndex> {
        let tables = self.read();
        let mut found: Vec<RecordIndex> = match space.checked_sub(RELEASE_SPACES) {
            None => tables.release[space]
                .with_hash(hash)
                .map(|position| RecordIndex(tables.base + u64::from(position)))
                .collect(),
            Some(other) => self.read_others()[other]
                .iter()
                .map(|entry| entry.entry(tables.base))
                .filter(|entry| entry.hash == hash)
                .map(|entry| RecordIndex(entry.position))
                .collect(),
        };
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// Notes `place`, which is this table's, for each hash that is here.
    pub(crate) fn ask(&self, space: usize, asked: &mut Asked, place: Places) {
        let tables = self.read();
        if space >= RELEASE_SPACES {
            return asked.add_to_all(place);
        }
        let table = &tables.release[space];
        table.touch(&asked.hashes);
        for (hash, places) in asked.hashes.iter().zip(&mut asked.places) {
            places.add_if(table.with_hash(*hash).next().is_some(), place);
        }
    }

    /// Empties it, for another stretch. Its memory stays: allocators keep what is freed in such
    /// pieces, and the system would hand it out again page by page, on the release path.
    pub(crate) fn recycle(&mut self) {
        let tables = self
            .tables
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for table in &mut tables.release {
            table.clear();
        }
        let others = self
            .others
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        others.iter_mut().for_each(Vec::clear);
    }

    /// Begins the stretch of an empty one.
    pub(crate) fn begin(&mut self, first: u64) {
        self.first = first;
        let tables = self
            .tables
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        (tables.base, tables.end) = (first, first);
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let (tables, others) = (self.read(), self.read_others());
        let release = tables.release.iter().map(Table::memory_bytes);
        let others = others
            .iter()
            .map(|entries| entries.capacity() * size_of::<Unordered>());
        release.chain(others).sum::<usize>() as u64
    }

    /// The hash that an entry of this key has.
    pub(crate) fn hash(&self, key: &IndexKey) -> u64 {
        masked(key, self.hash_mask)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_others(&self) -> RwLockReadGuard<'_, [Vec<Unordered>; KEY_SPACES - RELEASE_SPACES]> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the entries of one space of a full table in order.
pub(crate) struct MemtableReader {
    table: Arc<Memtable>,
    space: usize,
    /// The next slot or, off the release path, the next entry.
    next: usize,
}

impl MemtableReader {
    pub(crate) fn new(table: Arc<Memtable>, space: usize) -> MemtableReader {
        if let Some(other) = space.checked_sub(RELEASE_SPACES) {
            let mut others = table.others.write().unwrap_or_else(PoisonError::into_inner);
            others[other].sort_unstable();
        }
        MemtableReader {
            table,
            space,
            next: 0,
        }
    }

    /// Moves the entries with hashes below `end` to `out`; all that are left for `None`.
    pub(crate) fn take(&mut self, end: Option<u64>, out: &mut Vec<Entry>) {
        let tables = self.table.read();
        let Some(other) = self.space.checked_sub(RELEASE_SPACES) else {
            let table = &tables.release[self.space];
            self.next = table.take(self.next, tables.base, end, out);
            return;
        };
        let others = self.table.read_others();
        let rest = others[other][self.next..].iter();
        let before = out.len();
        let entries = rest.map(|entry| entry.entry(tables.base));
        out.extend(entries.take_while(|entry| end.is_none_or(|end| entry.hash < end)));
        self.next += out.len() - before;
    }
}

impl Unordered {
    fn new(hash: u64, position: u32) -> Unordered {
        Unordered {
            hash_high: (hash >> 32) as u32,
            hash_low: hash as u32,
            position,
        }
    }

    fn entry(self, base: u64) -> Entry {
        Entry {
            hash: u64::from(self.hash_high) << 32 | u64::from(self.hash_low),
            position: base + u64::from(self.position),
        }
    }
}

impl Tables {
    /// What positions are counted from once this batch is there.
    fn base_for(&self, first: u64, batch: &[(RecordIndex, RecordKeys)]) -> u64 {
        match batch.first() {
            Some((record, _)) if self.end == first => record.0,
            _ => self.base,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::part_end;
    use super::*;
    use crate::record::{KEY_SLOTS, slot_space};

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn behaves_like_an_ordered_set(
            mask_bits in 0..64u32,
            top in any::<bool>(),
            parts in 1..20u32,
            keys in prop::collection::vec(any::<[Option<u64>; KEY_SLOTS]>(), 0..3000),
        ) {
            let mask = if top { !0 << mask_bits } else { (1 << mask_bits) - 1 };
            let mut table = Memtable::growing(1, usize::MAX, mask);
            table.insert(&[(RecordIndex(5), [Some(IndexKey([7; 32])); KEY_SLOTS])]);
            table.recycle();
            table.begin(1000);
            let mut model: [Vec<Entry>; KEY_SPACES] = Default::default();
            for (position, keys) in (1000..).zip(&keys) {
                let keys = keys.map(|key| {
                    let mut bytes = [0; 32];
                    bytes[..8].copy_from_slice(&key?.to_le_bytes());
                    Some(IndexKey(bytes))
                });
                table.insert(&[(RecordIndex(position), keys)]);
                for (slot, key) in keys.iter().enumerate() {
                    if let Some(key) = key {
                        model[slot_space(slot)].push(Entry { hash: table.hash(key), position });
                    }
                }
            }
            let table = Arc::new(table);
            for (space, model) in model.iter().enumerate() {
                let mut expected = model.clone();
                expected.sort_unstable();
                let mut reader = MemtableReader::new(Arc::clone(&table), space);
                let mut sorted = Vec::new();
                for part in 0..parts {
                    let end = part_end(part, parts);
                    reader.take(end, &mut sorted);
                    prop_assert!(sorted.iter().all(|entry| end.is_none_or(|end| entry.hash < end)));
                }
                prop_assert_eq!(&sorted, &expected);
                for entry in expected.iter().step_by(100) {
                    let mut positions: Vec<RecordIndex> = expected
                        .iter()
                        .filter(|other| other.hash == entry.hash)
                        .map(|entry| RecordIndex(entry.position))
                        .collect();
                    positions.reverse();
                    prop_assert_eq!(table.candidates(space, entry.hash), positions);
                    let mut asked = Asked::new(vec![entry.hash]);
                    table.ask(space, &mut asked, Places::nth(1));
                    prop_assert_eq!(asked.places[0], Places::nth(1));
                }
                prop_assert_eq!(table.entries()[space], expected.len());
            }
        }
    }
}
