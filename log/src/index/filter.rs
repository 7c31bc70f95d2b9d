//! Filters: which hashes a run cannot have, in 11 or 16 bits for each and one cache miss to ask.
//!
//! A Bloom filter (Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970)
//! whose bits for one hash are in one cache line, one in each of its eight words (Putze, Sanders
//! and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007). It is built by going through its
//! memory once, because its lines are in the order of the hashes. Of the hashes that are not there, one in 140
//! passes with 11 bits and one in 900 with 16.
//!
//! A binary fuse filter needs 9.6 bits, but three cache misses for each look and ten times the work to build;
//! at 100 million records that was most of what the index cost.

use super::asked::{Asked, Places};
use super::entry::{mix, part_of};
use super::large_memory::LargeMemory;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Bytes of a word.
const WORD_BYTES: usize = 8;

/// Hashes whose lines are loaded at once.
const GROUP: usize = 32;

/// Bits for each hash of a run that is soon merged away: small ones are many, so few may pass.
pub(crate) const SMALL_BITS: u32 = 16;

/// Bits for each hash of the others, which are nearly all of the memory.
pub(crate) const LARGE_BITS: u32 = 11;

/// The filter of one run and key space.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: LargeMemory,
}

impl Filter {
    /// An empty one with room for this many hashes.
    pub(crate) fn with_capacity(hashes: u64, bits: u32) -> Filter {
        Filter {
            lines: LargeMemory::zeroed(bytes(hashes, bits) as usize),
        }
    }

    /// Adds a hash. To be called in the order of the hashes, which goes through the memory once.
    pub(crate) fn add(&mut self, hash: u64) {
        let lines = self.lines.chunks_mut::<LINE_BYTES>();
        let x = mix(hash);
        if let Some(line) = lines.get_mut(part_of(hash, lines.len() as u32) as usize) {
            let (words, _) = line.as_chunks_mut::<WORD_BYTES>();
            for (i, word) in words.iter_mut().enumerate() {
                *word = (u64::from_le_bytes(*word) | 1 << (x >> (6 * i) & 63)).to_le_bytes();
            }
        }
    }

    /// `false` when no entry has this hash.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.may_contain_mixed(hash, mix(hash))
    }

    fn may_contain_mixed(&self, hash: u64, x: u64) -> bool {
        let lines = self.lines();
        let Some(line) = lines.get(part_of(hash, lines.len() as u32) as usize) else {
            return false;
        };
        let (words, _) = line.as_chunks::<WORD_BYTES>();
        let bit = |(i, word): (usize, &[u8; WORD_BYTES])| {
            u64::from_le_bytes(*word) >> (x >> (6 * i) & 63)
        };
        // A branch for each word could not be predicted; one after three words goes the same way in seven
        // cases of eight.
        let mut bits = words.iter().enumerate().map(bit);
        let all = |bits: &mut dyn Iterator<Item = u64>| bits.fold(1, |all, bit| all & bit) == 1;
        all(&mut bits.by_ref().take(3)) && all(&mut bits)
    }

    /// Notes `place`, which is this filter's, for each hash that may be there.
    ///
    /// Nearly every look is a cache miss, and they overlap only within a few hundred instructions: six
    /// whole looks, but dozens of single loads. So the lines of a group of hashes are loaded first, those of
    /// the `next` filter that will be asked, while the lines here have been loaded by the call before.
    pub(crate) fn ask(&self, asked: &mut Asked, place: Places, next: Option<&Filter>) {
        let hashes = asked.hashes.chunks(GROUP);
        let mixed = asked.mixed.chunks(GROUP);
        let places = asked.places.chunks_mut(GROUP);
        for ((hashes, mixed), places) in hashes.zip(mixed).zip(places) {
            if let Some(next) = next {
                next.touch(hashes);
            }
            for ((hash, x), places) in hashes.iter().zip(mixed).zip(places) {
                places.add_if(self.may_contain_mixed(*hash, *x), place);
            }
        }
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.lines.bytes().len() as u64
    }

    /// As it stands in a file.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.lines.bytes()
    }

    /// The same, to read a file into it.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.lines.bytes_mut()
    }

    fn lines(&self) -> &[[u8; LINE_BYTES]] {
        self.lines.chunks()
    }

    /// Brings the lines of these hashes into the cache, all at once.
    pub(crate) fn touch(&self, hashes: &[u64]) {
        let lines = self.lines();
        let count = lines.len() as u32;
        let byte = |hash: &u64| Some(lines.get(part_of(*hash, count) as usize)?[0]);
        let sum = hashes.iter().filter_map(byte).fold(0, u8::wrapping_add);
        // Otherwise the compiler sees that nobody wants the sum and leaves the loop out.
        std::hint::black_box(sum);
    }
}

/// Length of a filter for this many hashes: whole lines, one at least.
pub(crate) fn bytes(hashes: u64, bits: u32) -> u64 {
    let lines = (hashes.saturating_mul(u64::from(bits))).div_ceil(LINE_BYTES as u64 * 8);
    lines.max(1) * LINE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_passes_and_hardly_any_other() {
        for (bits, passed_max) in [(SMALL_BITS, 200), (LARGE_BITS, 1000)] {
            for count in [0, 1, 10, 1000, 100_000, 2_000_000] {
                let mut filter = Filter::with_capacity(count, bits);
                for i in 0..count {
                    filter.add(mix(2 * i + 1));
                }
                let mut read = Filter::with_capacity(count, bits);
                read.bytes_mut().copy_from_slice(filter.bytes());
                assert!(
                    (0..count).all(|i| read.may_contain(mix(2 * i + 1))),
                    "{count}"
                );
                let hashes: Vec<u64> = (1..=100_000).map(|i| mix(2 * i)).collect();
                let mut asked = Asked::new(hashes);
                read.ask(&mut asked, Places::nth(7), Some(&filter));
                let passed = asked.places.iter().filter(|places| places.has(7)).count();
                assert!(
                    passed < passed_max,
                    "{passed} of 100,000 pass a filter of {count} in {bits} bits"
                );
            }
        }
    }

    #[test]
    fn a_length_for_every_number_of_hashes() {
        assert_eq!(bytes(0, 12), 64);
        assert_eq!(bytes(42, 12), 64);
        assert_eq!(bytes(43, 12), 128);
        assert!(bytes(u64::MAX, 16) > 0);
    }
}
