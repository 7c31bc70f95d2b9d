//! Entries: what the index keeps of a key.

use crate::record::{IndexKey, RecordIndex};

/// Bits of a position in a file: a million million records.
pub(crate) const POSITION_BITS: u32 = 40;

/// One record has a key with this hash. Ordered by hash, then by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) hash: u64,
    pub(crate) position: u64,
}

/// The hash of a key, the same for ever: the first 8 bytes of the key, little-endian, mixed; and
/// 1 in place of 0, because an empty slot of a table holds 0.
///
/// Keys are digests, so the bytes alone would do. Mixing costs 1 ns and keeps the tables and the
/// partitions even if somebody uses keys that are not.
pub(crate) fn hash_of(key: &IndexKey) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&key.0[..8]);
    mix(u64::from_le_bytes(first)).max(1)
}

/// [`hash_of`] with the bits of the mask alone: all of them outside tests.
pub(crate) fn masked(key: &IndexKey, hash_mask: u64) -> u64 {
    (hash_of(key) & hash_mask).max(1)
}

/// Stafford's variant 13 of the MurmurHash3 finalizer: a permutation of the 64-bit numbers.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Which of `parts` equal parts of the hashes this one is in. Rises with the hash.
pub(crate) fn part_of(hash: u64, parts: u32) -> u32 {
    ((u128::from(hash) * u128::from(parts)) >> 64) as u32
}

/// The first hash of the part after `part`; `None` behind the last.
pub(crate) fn part_end(part: u32, parts: u32) -> Option<u64> {
    let next = u128::from(part) + 1;
    u64::try_from((next << 64).div_ceil(u128::from(parts.max(1)))).ok()
}

/// Count and sum of the entries of one key space, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EntrySum {
    /// Number of entries.
    pub(crate) count: u64,
    /// Sum of two independent mixes of each entry, modulo 2^128.
    pub(crate) sum: u128,
}

impl EntrySum {
    /// Adds the entry that the index has for this key of this record.
    pub(crate) fn add(&mut self, key: &IndexKey, record: RecordIndex) {
        self.add_masked(key, record, u64::MAX);
    }

    /// [`add`](EntrySum::add) for an index that uses a part of the hashes only.
    pub(crate) fn add_masked(&mut self, key: &IndexKey, record: RecordIndex, hash_mask: u64) {
        self.add_entry(Entry {
            hash: masked(key, hash_mask),
            position: record.0,
        });
    }

    /// Adds all that another sum has.
    pub(crate) fn merge(&mut self, other: &EntrySum) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub(crate) fn add_entry(&mut self, entry: Entry) {
        let high = mix(entry.hash ^ mix(entry.position ^ 0x5851_F42D_4C95_7F2D));
        let low = mix(entry
            .hash
            .wrapping_add(mix(entry.position ^ 0x1405_7B7E_F767_814F)));
        self.count += 1;
        self.sum = self
            .sum
            .wrapping_add(u128::from(high) << 64 | u128::from(low));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_key_never_changes() {
        let mut key = [9; 32];
        key[..8].copy_from_slice(&1u64.to_le_bytes());
        assert_eq!(hash_of(&IndexKey(key)), 0x5692_161D_100B_05E5);
        assert_eq!(hash_of(&IndexKey([0; 32])), 1);
    }

    #[test]
    fn parts_cover_all_hashes_and_end_where_the_next_begins() {
        for parts in [1, 2, 3, 7, 1000, 65_537] {
            for part in [0, parts / 2, parts - 1] {
                match part_end(part, parts) {
                    Some(end) => {
                        assert_eq!(part_of(end - 1, parts), part);
                        assert_eq!(part_of(end, parts), part + 1);
                    }
                    None => {
                        assert_eq!(part, parts - 1);
                        assert_eq!(part_of(u64::MAX, parts), part);
                    }
                }
            }
        }
    }

    #[test]
    fn a_sum_tells_entries_apart_and_not_their_order() {
        let sum = |entries: &[(u64, u64)]| {
            let mut sum = EntrySum::default();
            for &(hash, position) in entries {
                sum.add_entry(Entry { hash, position });
            }
            sum
        };
        assert_eq!(sum(&[(1, 2), (3, 4)]), sum(&[(3, 4), (1, 2)]));
        assert_ne!(sum(&[(1, 2), (3, 4)]), sum(&[(1, 4), (3, 2)]));
        assert_ne!(sum(&[(1, 2)]), sum(&[(2, 1)]));
        assert_ne!(sum(&[(1, 2), (1, 2)]), sum(&[(1, 2)]));
    }
}
