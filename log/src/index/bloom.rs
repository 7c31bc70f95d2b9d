//! Filters of small runs: quick to build and one cache miss to ask, in 16 bits for each hash.
//!
//! A Bloom filter (Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970)
//! whose bits for one hash are in one cache line, one in each of its eight words (Putze, Sanders
//! and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007). About one hash in 900
//! passes that is not there.
//!
//! Small runs are soon merged away, so building matters more than bits, and together they are a
//! constant share of the memory.

use super::entry::{mix, part_of};

/// Words in a cache line.
const WORDS: usize = 8;

/// Bits for each hash.
const HASH_BITS: u64 = 16;

/// One cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([u64; WORDS]);

/// The filter of one small run and key space.
#[derive(Debug, Default)]
pub(crate) struct Bloom {
    lines: Vec<Line>,
}

impl Bloom {
    /// An empty one with room for this many hashes.
    pub(crate) fn with_capacity(hashes: u64) -> Bloom {
        Bloom {
            lines: vec![Line::default(); lines(hashes) as usize],
        }
    }

    /// Adds a hash.
    pub(crate) fn add(&mut self, hash: u64) {
        // The lines are in the order of the hashes: adding them in order goes through the memory
        // once.
        let lines = self.lines.len() as u32;
        if let Some(line) = self.lines.get_mut(part_of(hash, lines) as usize) {
            let x = mix(hash);
            for (i, word) in line.0.iter_mut().enumerate() {
                *word |= 1 << (x >> (6 * i) & 63);
            }
        }
    }

    /// `false` when no entry has this hash.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let Some(line) = self
            .lines
            .get(part_of(hash, self.lines.len() as u32) as usize)
        else {
            return false;
        };
        let x = mix(hash);
        let bit = |(i, word): (usize, &u64)| word >> (x >> (6 * i) & 63);
        // All words, without a branch: it could not be predicted.
        line.0
            .iter()
            .enumerate()
            .map(bit)
            .fold(1, |all, bit| all & bit)
            == 1
    }

    /// Brings the lines of these hashes into the cache, all at once.
    ///
    /// The processor looks a few hundred instructions ahead. Only six looks into the filter fit
    /// there, but dozens of these steps (measured: 46 and 15 ns for each look).
    pub(crate) fn touch(&self, hashes: &[u64]) {
        let lines = self.lines.len() as u32;
        let word = |hash: &u64| Some(self.lines.get(part_of(*hash, lines) as usize)?.0[0]);
        let sum = hashes.iter().filter_map(word).fold(0, u64::wrapping_add);
        // Otherwise the compiler sees that nobody wants the sum and leaves the loop out.
        std::hint::black_box(sum);
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.lines.capacity() * size_of::<Line>()) as u64
    }

    /// As it stands in a file: the words, little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = self.lines.iter().flat_map(|line| line.0);
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// As it was read from a file; `None` when it is not the length for this many hashes.
    pub(crate) fn decode(bytes: &[u8], hashes: u64) -> Option<Bloom> {
        let mut bloom = (bytes.len() as u64 == lines(hashes) * size_of::<Line>() as u64)
            .then(|| Bloom::with_capacity(hashes))?;
        let words = bloom.lines.iter_mut().flat_map(|line| &mut line.0);
        for (word, bytes) in words.zip(bytes.chunks_exact(size_of::<u64>())) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(bloom)
    }
}

/// Lines for this many hashes.
fn lines(hashes: u64) -> u64 {
    (hashes * HASH_BITS).div_ceil(size_of::<Line>() as u64 * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_passes_and_hardly_any_other() {
        for count in [0, 1, 10, 1000, 100_000] {
            let mut bloom = Bloom::with_capacity(count);
            for i in 0..count {
                bloom.add(mix(2 * i + 1));
            }
            let read = Bloom::decode(&bloom.encode(), count).unwrap();
            assert!(
                (0..count).all(|i| read.may_contain(mix(2 * i + 1))),
                "{count}"
            );
            let passed = (1..=100_000)
                .filter(|i| read.may_contain(mix(2 * i)))
                .count();
            assert!(passed < 200, "{passed} of 100,000 pass a filter of {count}");
        }
    }

    #[test]
    fn another_length_is_refused() {
        let bytes = Bloom::with_capacity(100).encode();
        assert!(Bloom::decode(&bytes, 100).is_some());
        assert!(Bloom::decode(&bytes, 200).is_none());
        assert!(Bloom::decode(&bytes[1..], 100).is_none());
    }
}
