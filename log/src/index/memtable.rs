//! The tail of the index: the newest entries, in memory until they are written as a run.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::entry::{Entry, masked};
use super::large_memory::LargeMemory;
use crate::record::{IndexKey, KEY_SPACES, RELEASE_SPACES, RecordIndex, RecordKeys};

/// The entries of one stretch of the log.
pub(crate) struct Memtable {
    /// First record of the stretch.
    pub(crate) first: u64,
    /// Part of the hash that is used: all of it outside tests.
    hash_mask: u64,
    tables: RwLock<Tables>,
}

struct Tables {
    /// What positions are counted from: the first record that was inserted.
    base: u64,
    /// One past the last record.
    end: u64,
    release: [Table; RELEASE_SPACES],
    /// Spaces off the release path, in the order of the records.
    others: [Vec<Entry>; KEY_SPACES - RELEASE_SPACES],
}

impl Memtable {
    /// An empty one for the records from `first` on, with room for `entries` in each space.
    pub(crate) fn new(first: u64, entries: usize, hash_mask: u64) -> Memtable {
        let tables = Tables {
            base: first,
            end: first,
            release: std::array::from_fn(|_| Table::with_capacity(entries)),
            others: std::array::from_fn(|_| Vec::with_capacity(entries)),
        };
        Memtable {
            first,
            hash_mask,
            tables: RwLock::new(tables),
        }
    }

    /// Enters keys of records that follow the last one.
    pub(crate) fn insert(&self, batch: &[(RecordIndex, RecordKeys)]) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.base = tables.base_for(self.first, batch);
        let base = tables.base;
        for space in 0..KEY_SPACES {
            for (record, keys) in batch {
                if let Some(key) = &keys[space] {
                    let hash = self.hash(key);
                    match space.checked_sub(RELEASE_SPACES) {
                        None => tables.release[space].insert(hash, (record.0 - base) as u32),
                        Some(other) => tables.others[other].push(Entry {
                            hash,
                            position: record.0,
                        }),
                    }
                }
            }
        }
        if let Some((last, _)) = batch.last() {
            tables.end = last.0 + 1;
        }
    }

    /// Whether these records still belong into it, so that no space has more than `entries_max`.
    pub(crate) fn has_room(&self, batch: &[(RecordIndex, RecordKeys)], entries_max: usize) -> bool {
        let entries = self.entries().into_iter().max().unwrap_or(0);
        let tables = self.read();
        let base = tables.base_for(self.first, batch);
        let near = |(last, _): &(RecordIndex, RecordKeys)| last.0 - base < u64::from(u32::MAX);
        let few = entries + batch.len() <= entries_max || tables.end == self.first;
        few && batch.last().is_none_or(near)
    }

    /// Entries of each space.
    pub(crate) fn entries(&self) -> [usize; KEY_SPACES] {
        let tables = self.read();
        std::array::from_fn(|space| match space.checked_sub(RELEASE_SPACES) {
            None => tables.release[space].len,
            Some(other) => tables.others[other].len(),
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
            Some(other) => tables.others[other]
                .iter()
                .filter(|entry| entry.hash == hash)
                .map(|entry| RecordIndex(entry.position))
                .collect(),
        };
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// Sets the flag of each hash that is here.
    pub(crate) fn flag(&self, space: usize, hashes: &[u64], flags: &mut [bool]) {
        let tables = self.read();
        match space.checked_sub(RELEASE_SPACES) {
            None => {
                let table = &tables.release[space];
                table.touch(hashes);
                for (hash, flag) in hashes.iter().zip(flags) {
                    *flag |= table.with_hash(*hash).next().is_some();
                }
            }
            // No table to ask quickly.
            Some(_) => flags.fill(true),
        }
    }

    /// Puts all entries of a space into `out`, in order.
    pub(crate) fn sorted(&self, space: usize, out: &mut Vec<Entry>) {
        let tables = self.read();
        out.clear();
        match space.checked_sub(RELEASE_SPACES) {
            None => tables.release[space].sorted(tables.base, out),
            Some(other) => {
                out.extend_from_slice(&tables.others[other]);
                out.sort_unstable();
            }
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
        tables.others.iter_mut().for_each(Vec::clear);
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
        let tables = self.read();
        let release = tables.release.iter().map(Table::memory_bytes);
        let others = tables
            .others
            .iter()
            .map(|entries| entries.capacity() * size_of::<Entry>());
        release.chain(others).sum::<usize>() as u64
    }

    /// The hash that an entry of this key has.
    pub(crate) fn hash(&self, key: &IndexKey) -> u64 {
        masked(key, self.hash_mask)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
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

/// Slots of the smallest table.
const SLOTS_MIN: usize = 1 << 10;

/// Slots behind the last home, for the entries that find theirs taken. If they do not do there are twice as
/// many: who chooses keys with hashes at the end may ask for a slot for each of these, and for no more.
const SLOTS_BEHIND: usize = 1 << 10;

const HASH_BYTES: usize = 8;
const POSITION_BYTES: usize = 4;

/// A hash table with linear probing whose slots are in the order of the hashes, nearly: the home
/// of an entry is the top of its hash. So it grows and is sorted in one pass each.
struct Table {
    /// Little-endian; 0 where there is no entry.
    hashes: LargeMemory,
    /// Little-endian positions, counted from the base.
    positions: LargeMemory,
    /// How far a hash is shifted to get its home.
    shift: u32,
    /// Slots behind the last home.
    behind: usize,
    len: usize,
}

impl Table {
    /// Three quarters full with `entries`.
    fn with_capacity(entries: usize) -> Table {
        let homes = (entries * 4).div_ceil(3).next_power_of_two().max(SLOTS_MIN);
        Table::with_slots(homes, SLOTS_BEHIND)
    }

    fn with_slots(homes: usize, behind: usize) -> Table {
        Table {
            hashes: LargeMemory::zeroed((homes + behind) * HASH_BYTES),
            positions: LargeMemory::zeroed((homes + behind) * POSITION_BYTES),
            behind,
            shift: 64 - homes.trailing_zeros(),
            len: 0,
        }
    }

    fn insert(&mut self, hash: u64, position: u32) {
        let homes = 1usize << (64 - self.shift);
        if (self.len + 1) * 4 > homes * 3 {
            self.rebuild(homes * 2, self.behind);
        }
        while !self.place(hash, position) {
            self.rebuild(1 << (64 - self.shift), self.behind * 2);
        }
    }

    /// Moves everything to so many slots, or more behind the homes until everything has one.
    fn rebuild(&mut self, homes: usize, mut behind: usize) {
        let mut rebuilt = Table::with_slots(homes, behind);
        while !self
            .entries()
            .all(|(hash, position)| rebuilt.place(hash, position))
        {
            behind *= 2;
            rebuilt = Table::with_slots(homes, behind);
        }
        *self = rebuilt;
    }

    /// `false` when there is no slot from the home on.
    fn place(&mut self, hash: u64, position: u32) -> bool {
        let home = (hash >> self.shift) as usize;
        let slots = self.hashes.chunks_mut::<HASH_BYTES>();
        for (at, slot) in slots.iter_mut().enumerate().skip(home) {
            if *slot == [0; HASH_BYTES] {
                *slot = hash.to_le_bytes();
                self.positions.chunks_mut()[at] = position.to_le_bytes();
                self.len += 1;
                return true;
            }
        }
        false
    }

    /// Forgets the entries and keeps the memory.
    fn clear(&mut self) {
        self.hashes.bytes_mut().fill(0);
        self.len = 0;
    }

    /// Brings the homes of these hashes into the cache, all at once. Searching for one ends with
    /// a branch that nobody can predict, so otherwise the cache misses come one after the other.
    fn touch(&self, hashes: &[u64]) {
        let slots = self.hashes.chunks::<HASH_BYTES>();
        let home = |hash: &u64| slots.get((hash >> self.shift) as usize);
        let sum = hashes
            .iter()
            .filter_map(home)
            .fold(0, |sum: u8, slot| sum.wrapping_add(slot[0]));
        // Otherwise the compiler sees that nobody wants the sum and leaves the loop out.
        std::hint::black_box(sum);
    }

    fn with_hash(&self, hash: u64) -> impl Iterator<Item = u32> {
        let home = (hash >> self.shift) as usize;
        self.slots(home)
            .take_while(|(slot, _)| *slot != 0)
            .filter(move |(slot, _)| *slot == hash)
            .map(|(_, position)| position)
    }

    /// Hash and position of each slot from one on.
    fn slots(&self, from: usize) -> impl Iterator<Item = (u64, u32)> {
        let hashes = self.hashes.chunks()[from..].iter();
        let slots = hashes.zip(&self.positions.chunks()[from..]);
        slots.map(|(hash, position)| (u64::from_le_bytes(*hash), u32::from_le_bytes(*position)))
    }

    fn entries(&self) -> impl Iterator<Item = (u64, u32)> {
        self.slots(0).filter(|(hash, _)| *hash != 0)
    }

    fn sorted(&self, base: u64, entries: &mut Vec<Entry>) {
        entries.reserve(self.len);
        // Entries leave their homes only within a stretch of taken slots.
        let mut stretch = 0;
        for (hash, position) in self.slots(0) {
            if hash == 0 {
                if entries.len() - stretch > 1 {
                    entries[stretch..].sort_unstable();
                }
                stretch = entries.len();
            } else {
                let position = base + u64::from(position);
                entries.push(Entry { hash, position });
            }
        }
        entries[stretch..].sort_unstable();
    }

    fn memory_bytes(&self) -> usize {
        self.hashes.bytes().len() + self.positions.bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn behaves_like_an_ordered_set(
            mask_bits in 0..64u32,
            top in any::<bool>(),
            keys in prop::collection::vec(any::<[Option<u64>; KEY_SPACES]>(), 0..3000),
        ) {
            let mask = if top { !0 << mask_bits } else { (1 << mask_bits) - 1 };
            let mut table = Memtable::new(1, 0, mask);
            table.insert(&[(RecordIndex(5), [Some(IndexKey([7; 32])); KEY_SPACES])]);
            table.recycle();
            table.begin(1000);
            let mut sorted = Vec::new();
            let mut model: [BTreeSet<Entry>; KEY_SPACES] = Default::default();
            for (position, keys) in (1000..).zip(&keys) {
                let keys = keys.map(|key| {
                    let mut bytes = [0; 32];
                    bytes[..8].copy_from_slice(&key?.to_le_bytes());
                    Some(IndexKey(bytes))
                });
                table.insert(&[(RecordIndex(position), keys)]);
                for (space, key) in keys.iter().enumerate() {
                    if let Some(key) = key {
                        model[space].insert(Entry { hash: table.hash(key), position });
                    }
                }
            }
            for (space, model) in model.iter().enumerate() {
                let expected: Vec<Entry> = model.iter().copied().collect();
                table.sorted(space, &mut sorted);
                prop_assert_eq!(&sorted, &expected);
                for entry in expected.iter().step_by(100) {
                    let mut positions: Vec<RecordIndex> = expected
                        .iter()
                        .filter(|other| other.hash == entry.hash)
                        .map(|entry| RecordIndex(entry.position))
                        .collect();
                    positions.reverse();
                    prop_assert_eq!(table.candidates(space, entry.hash), positions);
                    let mut flag = [false];
                    table.flag(space, &[entry.hash], &mut flag);
                    prop_assert!(flag[0]);
                }
                prop_assert_eq!(table.entries()[space], expected.len());
            }
        }
    }

    #[test]
    fn hashes_at_the_very_end_cost_a_slot_each() {
        let mut table = Table::with_capacity(1 << 12);
        let before = table.memory_bytes();
        for position in 0..5000 {
            table.insert(u64::MAX - u64::from(position % 7), position);
        }
        assert_eq!(table.with_hash(u64::MAX).count(), 5000usize.div_ceil(7));
        assert!(
            table.memory_bytes() < 3 * before,
            "{}",
            table.memory_bytes()
        );
        let mut sorted = Vec::new();
        table.sorted(0, &mut sorted);
        assert!(sorted.len() == 5000 && sorted.is_sorted());
    }
}
