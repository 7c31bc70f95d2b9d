//! The index: from a key to the newest record that has it. In memory, exact.
//!
//! An entry is the record's position and a tag, a part of the key's hash. A tag alone
//! proves nothing, so every match is confirmed by reading the record; at a hundred million records
//! a new key meets a wrong tag once in some hundreds of lookups.
//!
//! A hash table doubles when it is full, which would leave half of a large table empty and needs
//! both copies for a moment. So each key space is split into shards of unequal size: they
//! reach their limits one after the other, and the whole grows smoothly.

use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::ReadError;
use crate::record::{IndexKey, KEY_SPACES, RecordIndex, RecordKeys};
use crate::table::{Entry, POSITION_BITS, TAG_BITS, Table};

/// Records that the index can tell apart.
pub(crate) const POSITIONS_MAX: u64 = (1 << POSITION_BITS) - 1;

/// Shards per key space. One of them growing moves a 64th of the entries.
const SHARDS: usize = 64;

/// Hash prefixes that are dealt out to the shards.
const SHARE_BITS: u32 = 12;

/// The index over all key spaces. Any thread looks up; one thread at a time enters.
pub(crate) struct Index {
    hasher: RandomState,
    spaces: [Vec<RwLock<Table>>; KEY_SPACES],
    /// Shard of each hash prefix.
    shares: Vec<u8>,
    tag_mask: u64,
}

/// Tells whether a record has a key in a key space, by reading it.
pub(crate) type Confirm<'a> = dyn Fn(usize, &IndexKey, RecordIndex) -> Result<bool, ReadError> + 'a;

/// The hash of a key, cut up.
#[derive(Clone, Copy)]
struct Address {
    shard: usize,
    tag: u64,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index::with_tag_bits(TAG_BITS)
    }

    /// An index with shorter tags, so that wrong matches become likely.
    pub(crate) fn with_tag_bits(tag_bits: u32) -> Index {
        Index {
            hasher: RandomState::new(),
            spaces: std::array::from_fn(|_| (0..SHARDS).map(|_| RwLock::default()).collect()),
            shares: shares(),
            tag_mask: (1 << tag_bits.min(TAG_BITS)) - 1,
        }
    }

    /// Enters the keys of durable records. A record takes the place of an older one with the same
    /// key. `confirm` tells whether an older record has the key.
    pub(crate) fn insert(&self, batch: &[(RecordIndex, RecordKeys)], confirm: &Confirm<'_>) {
        for space in 0..KEY_SPACES {
            let keyed = |(index, keys): &(RecordIndex, RecordKeys)| {
                let key = keys[space]?;
                Some((*index, key, self.address(&key)))
            };
            let keyed: Vec<_> = batch.iter().filter_map(keyed).collect();
            self.touch(space, keyed.iter().map(|(.., address)| *address));
            for (index, key, address) in keyed {
                self.insert_one(space, &key, address, index, confirm);
            }
        }
    }

    /// The newest record with this key. `confirm` tells whether a record has it.
    pub(crate) fn find(
        &self,
        space: usize,
        key: &IndexKey,
        confirm: &Confirm<'_>,
    ) -> Result<Option<RecordIndex>, ReadError> {
        for candidate in self.candidates(space, self.address(key)) {
            let candidate = RecordIndex(candidate);
            if confirm(space, key, candidate)? {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Brings the memory of these addresses into the cache, all at once.
    ///
    /// Nearly every one is a cache miss. A lock waits for the misses before it, so a loop that
    /// locks in between meets them one after the other; this one lets them overlap.
    fn touch(&self, space: usize, addresses: impl Iterator<Item = Address>) {
        let shards: [RwLockReadGuard<'_, Table>; SHARDS] =
            std::array::from_fn(|shard| self.read(space, shard));
        let sum = addresses
            .map(|address| shards[address.shard].touch(address.tag))
            .fold(0, u64::wrapping_add);
        // Otherwise the compiler sees that nobody wants the sum and leaves the loop out.
        std::hint::black_box(sum);
    }

    fn insert_one(
        &self,
        space: usize,
        key: &IndexKey,
        address: Address,
        index: RecordIndex,
        confirm: &Confirm<'_>,
    ) {
        let entry = Entry::new(address.tag, index.0);
        let mut table = self.write(space, address.shard);
        if table.with_tag(address.tag).next().is_some() {
            // Only one thread enters, so nothing changes while the lock is given back for the
            // reads.
            drop(table);
            let mut older = self.candidates(space, address).into_iter();
            // A record that cannot be read keeps its entry; the new one is found first.
            let same = |&at: &u64| confirm(space, key, RecordIndex(at)).unwrap_or(false);
            let same = older.find(same).map(|at| Entry::new(address.tag, at));
            table = self.write(space, address.shard);
            if same.is_some_and(|older| table.replace(older, entry)) {
                return;
            }
        }
        table.insert(entry);
    }

    /// Positions of all records whose key has this tag, newest first. Nearly always none or one,
    /// and an empty vector takes no memory.
    fn candidates(&self, space: usize, address: Address) -> Vec<u64> {
        let table = self.read(space, address.shard);
        let mut found: Vec<u64> = table.with_tag(address.tag).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    fn address(&self, key: &IndexKey) -> Address {
        let hash = self.hasher.hash_one(key.0);
        let prefix = (hash >> (64 - SHARE_BITS)) as usize;
        Address {
            shard: usize::from(self.shares[prefix]),
            tag: hash & self.tag_mask,
        }
    }

    fn read(&self, space: usize, shard: usize) -> RwLockReadGuard<'_, Table> {
        self.spaces[space][shard]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, space: usize, shard: usize) -> RwLockWriteGuard<'_, Table> {
        self.spaces[space][shard]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deals the hash prefixes out so that the largest shard gets twice what the smallest gets, with
/// equal ratios between: sizes spread evenly over one doubling.
fn shares() -> Vec<u8> {
    let prefixes = 1usize << SHARE_BITS;
    let weights: Vec<f64> = (0..SHARDS)
        .map(|i| 2f64.powf(i as f64 / SHARDS as f64))
        .collect();
    let total: f64 = weights.iter().sum();
    let mut shares = Vec::with_capacity(prefixes);
    let mut reached = 0.0;
    for (shard, weight) in weights.iter().enumerate() {
        reached += weight / total;
        let end = (reached * prefixes as f64).round() as usize;
        shares.resize(end.clamp(shares.len(), prefixes), shard as u8);
    }
    shares.resize(prefixes, (SHARDS - 1) as u8);
    shares
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn key(seed: u64) -> IndexKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        IndexKey(key)
    }

    /// Record `i` has the key `i % distinct` in space 0 and `i` in space 1.
    fn filled(tag_bits: u32, records: u64, distinct: u64) -> (Index, Cell<u64>) {
        let index = Index::with_tag_bits(tag_bits);
        let confirmations = Cell::new(0);
        for i in 0..records {
            let keys = [Some(key(i % distinct)), Some(key(i)), None];
            index.insert(&[(RecordIndex(i), keys)], &|space, asked, candidate| {
                confirmations.set(confirmations.get() + 1);
                Ok(has(space, asked, candidate, distinct))
            });
        }
        (index, confirmations)
    }

    fn has(space: usize, asked: &IndexKey, candidate: RecordIndex, distinct: u64) -> bool {
        *asked
            == key(if space == 0 {
                candidate.0 % distinct
            } else {
                candidate.0
            })
    }

    #[test]
    fn finds_are_exact_when_most_tags_collide() {
        for tag_bits in [1, 3, 8, TAG_BITS] {
            let (records, distinct) = (2000, 700);
            let (index, _) = filled(tag_bits, records, distinct);
            let confirm = |space: usize, asked: &IndexKey, at| Ok(has(space, asked, at, distinct));
            for i in 0..records {
                let newest = (0..3).rev().map(|n| i % distinct + n * distinct);
                let newest = newest.into_iter().find(|&n| n < records);
                let found = index.find(0, &key(i % distinct), &confirm).unwrap();
                assert_eq!(found, newest.map(RecordIndex), "{tag_bits} bits, key {i}");
                assert_eq!(
                    index.find(1, &key(i), &confirm).unwrap(),
                    Some(RecordIndex(i))
                );
            }
            for i in records..2 * records {
                assert_eq!(index.find(0, &key(i), &confirm).unwrap(), None);
                assert_eq!(index.find(1, &key(i), &confirm).unwrap(), None);
            }
        }
    }

    #[test]
    fn one_entry_per_key_however_often_it_comes() {
        let (index, _) = filled(TAG_BITS, 5000, 1);
        let entries: usize = index.spaces[0]
            .iter()
            .map(|shard| shard.read().unwrap().len())
            .sum();
        assert_eq!(entries, 1);
    }

    #[test]
    fn new_keys_hardly_ever_need_a_read() {
        let (_, confirmations) = filled(TAG_BITS, 100_000, 100_000);
        // Expected: 200,000 insertions × at most 3,000 entries in a shard / 2^30 < 1.
        assert!(
            confirmations.get() < 10,
            "{} confirmations",
            confirmations.get()
        );
    }

    #[test]
    fn an_unreadable_record_is_an_error_and_not_an_absence() {
        let (index, _) = filled(TAG_BITS, 10, 10);
        let fails = |_: usize, _: &IndexKey, record| Err(ReadError::OutOfRange { record, len: 0 });
        assert!(index.find(0, &key(3), &fails).is_err());
        assert!(index.find(0, &key(33), &fails).unwrap().is_none());
    }

    #[test]
    fn shards_share_the_keys_unequally_and_grow_smoothly() {
        let shares = shares();
        assert_eq!(shares.len(), 1 << SHARE_BITS);
        let count = |shard: usize| shares.iter().filter(|&&s| usize::from(s) == shard).count();
        let (first, last) = (count(0), count(SHARDS - 1));
        assert!(
            (1.8..2.2).contains(&(last as f64 / first as f64)),
            "{first} {last}"
        );

        let (index, _) = filled(TAG_BITS, 60_000, 60_000);
        let mut most: f64 = 0.0;
        for i in 60_000..130_000 {
            let keys = [Some(key(i)), None, None];
            index.insert(&[(RecordIndex(i), keys)], &|_, _, _| Ok(false));
            if i % 5000 == 0 {
                let bytes: usize = index.spaces[0]
                    .iter()
                    .map(|s| s.read().unwrap().memory_bytes())
                    .sum();
                most = most.max(bytes as f64 / i as f64);
            }
        }
        // A single table would reach 8 bytes / 0.375 = 21.3 right after growing.
        assert!(most < 16.5, "{most} bytes per entry at the worst moment");
    }
}
