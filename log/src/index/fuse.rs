//! Filters of large runs: in about 9.6 bits for each hash, so that memory stays small.
//!
//! Binary fuse filters (Graf and Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor
//! Filters", 2022) with three positions and 8-bit fingerprints, one for each part of the hashes.
//! A part is small enough to be built inside the processor's second cache, and building needs
//! memory for one part only. One hash in 256 passes that is not there.

use super::entry::{mix, part_of};

/// Seeds tried for one part. Each fails by chance less than once in a hundred times.
const SEEDS_MAX: u64 = 64;

/// `segments` of a part that lets everything pass: its hashes are too uneven to be worth a filter.
const PASS_ALL: u32 = u32::MAX;

/// The filter of one large run and key space.
#[derive(Debug, Default)]
pub(crate) struct Fuse {
    parts: Vec<Part>,
    fingerprints: Vec<u8>,
}

/// The filter of one part of the hashes.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where its fingerprints begin.
    start: u64,
    seed: u64,
    /// Segments in which the first of three positions can be; 0 when the part has no hashes.
    segments: u32,
    /// Binary logarithm of the fingerprints in a segment.
    segment_bits: u32,
}

impl Part {
    /// Number of fingerprints.
    fn length(&self) -> usize {
        match self.segments {
            0 | PASS_ALL => 0,
            segments => (segments as usize + 2) << self.segment_bits,
        }
    }
}

/// A part as it stands in a file: seed, segments, segment bits, fingerprints.
pub(crate) const PART_HEADER_BYTES: usize = 16;

impl Fuse {
    /// Room for `parts` parts and `entries` hashes. Untouched room costs nothing.
    pub(crate) fn with_capacity(parts: u32, entries: u64) -> Fuse {
        let bytes = usize::try_from(entries + entries / 4).unwrap_or(0);
        Fuse {
            parts: Vec::with_capacity(parts as usize),
            fingerprints: Vec::with_capacity(bytes),
        }
    }

    /// `false` when no entry has this hash.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let Some(part) = self
            .parts
            .get(part_of(hash, self.parts.len() as u32) as usize)
        else {
            return false;
        };
        match part.segments {
            0 => return false,
            PASS_ALL => return true,
            _ => {}
        }
        let x = scatter(hash, part.seed);
        let [a, b, c] = positions(x, part.segments, part.segment_bits);
        let at = |i: u32| self.fingerprints.get(part.start as usize + i as usize);
        match (at(a), at(b), at(c)) {
            (Some(a), Some(b), Some(c)) => a ^ b ^ c == fingerprint(x),
            // `Fuse::push_part` checked the lengths.
            _ => true,
        }
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.fingerprints.capacity() + self.parts.capacity() * size_of::<Part>()) as u64
    }

    /// Gives back the room that was not needed.
    pub(crate) fn shrink(&mut self) {
        self.fingerprints.shrink_to_fit();
    }

    /// Number of parts.
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Writes a part behind `out` as it stands in a file.
    pub(crate) fn put_part(&self, part: usize, out: &mut Vec<u8>) {
        let Some(part) = self.parts.get(part) else {
            return;
        };
        put_header(part.seed, part.segments, part.segment_bits, out);
        let start = part.start as usize;
        out.extend_from_slice(&self.fingerprints[start..start + part.length()]);
    }

    /// Adds the next part as it was read from a file. `None` when the lengths do not fit.
    pub(crate) fn push_part(&mut self, bytes: &[u8]) -> Option<()> {
        let (header, fingerprints) = bytes.split_at_checked(PART_HEADER_BYTES)?;
        let seed = u64::from_le_bytes(header.get(..8)?.try_into().ok()?);
        let segments = u32::from_le_bytes(header.get(8..12)?.try_into().ok()?);
        let segment_bits = u32::from_le_bytes(header.get(12..16)?.try_into().ok()?);
        let part = Part {
            start: self.fingerprints.len() as u64,
            seed,
            segments,
            segment_bits,
        };
        if segment_bits > SEGMENT_BITS_MAX || part.length() != fingerprints.len() {
            return None;
        }
        self.parts.push(part);
        self.fingerprints.extend_from_slice(fingerprints);
        Some(())
    }
}

/// Builds parts. Keeps its memory from part to part.
#[derive(Debug, Default)]
pub(crate) struct PartBuilder {
    /// For each position: the hashes that use it, xored.
    xors: Vec<u64>,
    /// For each position: four times the number of hashes that use it, and in the lowest two bits
    /// which of their three positions it is to them, xored.
    counts: Vec<u8>,
    /// Positions that one hash alone uses.
    alone: Vec<u32>,
    /// Hashes in the order in which they came off.
    order: Vec<u64>,
    /// Which of its positions each of them had for itself. Apart, because pairs would be padded
    /// to 16 bytes and all of this has to stay in the second cache.
    which: Vec<u8>,
}

impl PartBuilder {
    /// Writes the part with these hashes, ascending, behind `out`. More than `hashes_max` get a
    /// part that lets everything pass.
    pub(crate) fn build(&mut self, hashes: &[u64], hashes_max: usize, out: &mut Vec<u8>) {
        if hashes.is_empty() {
            put_header(0, 0, 0, out);
            return;
        }
        let (segments, segment_bits) = shape(hashes.len());
        if hashes.len() <= hashes_max {
            for attempt in 1..=SEEDS_MAX {
                let seed = mix(attempt);
                if self.peel(hashes, seed, segments, segment_bits) {
                    put_header(seed, segments, segment_bits, out);
                    self.assign(segments, segment_bits, out);
                    return;
                }
            }
        }
        put_header(0, PASS_ALL, 0, out);
    }

    /// Finds an order in which each hash has a position that no later one uses.
    fn peel(&mut self, hashes: &[u64], seed: u64, segments: u32, segment_bits: u32) -> bool {
        let length = (segments as usize + 2) << segment_bits;
        self.xors.clear();
        self.xors.resize(length, 0);
        self.counts.clear();
        self.counts.resize(length, 0);
        self.order.clear();
        self.which.clear();
        let mut crowded = false;
        for &hash in hashes {
            let x = scatter(hash, seed);
            for (which, at) in positions(x, segments, segment_bits).into_iter().enumerate() {
                let count = &mut self.counts[at as usize];
                *count = count.wrapping_add(4) ^ which as u8;
                crowded |= *count < 4;
                self.xors[at as usize] ^= x;
            }
        }
        if crowded {
            return false;
        }
        self.alone.clear();
        let alone = |(at, count): (usize, &u8)| (count >> 2 == 1).then_some(at as u32);
        self.alone
            .extend(self.counts.iter().enumerate().filter_map(alone));
        while let Some(at) = self.alone.pop() {
            let count = self.counts[at as usize];
            if count >> 2 != 1 {
                continue;
            }
            let (x, which) = (self.xors[at as usize], count & 3);
            self.order.push(x);
            self.which.push(which);
            let all = positions(x, segments, segment_bits);
            for other in [(which + 1) % 3, (which + 2) % 3] {
                let at = all[usize::from(other)];
                let count = &mut self.counts[at as usize];
                *count = (*count - 4) ^ other;
                self.xors[at as usize] ^= x;
                if *count >> 2 == 1 {
                    self.alone.push(at);
                }
            }
        }
        self.order.len() == hashes.len()
    }

    /// Sets, from the last hash to the first, the fingerprint that each has to itself.
    fn assign(&self, segments: u32, segment_bits: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + ((segments as usize + 2) << segment_bits), 0);
        let fingerprints = &mut out[start..];
        for (&x, &which) in self.order.iter().zip(&self.which).rev() {
            let all = positions(x, segments, segment_bits);
            let at = |which: u8| all[usize::from(which % 3)] as usize;
            let others = fingerprints[at(which + 1)] ^ fingerprints[at(which + 2)];
            fingerprints[at(which)] = fingerprint(x) ^ others;
        }
    }
}

/// Largest segment: far above what [`shape`] gives for a part that fits into a cache.
const SEGMENT_BITS_MAX: u32 = 18;

/// Segments and segment bits for this many hashes, after the paper's formulas for three positions;
/// but the segments are half as long for large parts, which packs tighter (measured: of 32,768
/// hashes, 39 parts in 40 are built with the first seed in 9.6 bits per hash, none with the
/// paper's segments in 9.5).
fn shape(hashes: usize) -> (u32, u32) {
    let n = hashes.max(2) as f64;
    let segment_bits = (n.ln() / 3.33f64.ln() + 2.25).floor() as u32;
    let large = hashes >= 1 << 14;
    let segment_bits = (segment_bits - u32::from(large)).min(SEGMENT_BITS_MAX);
    let factor = (0.875 + 0.25 * 1e6f64.ln() / n.ln()).max(1.125);
    let factor = if large { factor - 0.01 } else { factor };
    let length = (n * factor).round() as u64;
    let segments = length.div_ceil(1 << segment_bits).saturating_sub(2).max(1);
    (segments as u32, segment_bits)
}

/// A permutation for each seed, so that different hashes stay different.
fn scatter(hash: u64, seed: u64) -> u64 {
    let x = (hash ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// Three positions in three successive segments.
fn positions(x: u64, segments: u32, segment_bits: u32) -> [u32; 3] {
    let (segment, span) = (1u32 << segment_bits, u64::from(segments) << segment_bits);
    let mask = segment - 1;
    let first = ((u128::from(x) * u128::from(span)) >> 64) as u32;
    [
        first,
        (first + segment) ^ ((x >> 18) as u32 & mask),
        (first + 2 * segment) ^ (x as u32 & mask),
    ]
}

fn fingerprint(x: u64) -> u8 {
    (x ^ (x >> 32)) as u8
}

fn put_header(seed: u64, segments: u32, segment_bits: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&seed.to_le_bytes());
    out.extend_from_slice(&segments.to_le_bytes());
    out.extend_from_slice(&segment_bits.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(count: u64, of: u64) -> Vec<u64> {
        let mut hashes: Vec<u64> = (0..count).map(|i| mix(i * 2 + of + 1)).collect();
        hashes.sort_unstable();
        hashes
    }

    fn filter(all: &[u64], parts: u32) -> Fuse {
        let mut filter = Fuse::with_capacity(parts, all.len() as u64);
        let mut builder = PartBuilder::default();
        for part in 0..parts {
            let of_part: Vec<u64> = all
                .iter()
                .copied()
                .filter(|&h| part_of(h, parts) == part)
                .collect();
            let mut bytes = Vec::new();
            builder.build(&of_part, usize::MAX, &mut bytes);
            filter.push_part(&bytes).unwrap();
        }
        filter
    }

    #[test]
    fn every_hash_passes_and_one_other_in_256() {
        for count in [1, 2, 3, 10, 100, 1000, 32_768, 65_536] {
            for parts in [1, 3] {
                let filter = filter(&hashes(count, 0), parts);
                assert!(
                    hashes(count, 0)
                        .iter()
                        .all(|&hash| filter.may_contain(hash)),
                    "{count}"
                );
                let passed = hashes(100_000, 1)
                    .iter()
                    .filter(|&&hash| filter.may_contain(hash))
                    .count();
                // Expected 391, standard deviation 20.
                assert!(passed < 500, "{passed} of 100,000 pass a filter of {count}");
            }
        }
    }

    #[test]
    fn bits_for_each_hash() {
        let filter = filter(&hashes(32_768 * 4, 0), 4);
        let bits = filter.fingerprints.len() as f64 * 8.0 / (32_768.0 * 4.0);
        assert!(bits < 9.75, "{bits}");
    }

    #[test]
    fn too_many_hashes_for_a_part_let_everything_pass() {
        let mut bytes = Vec::new();
        PartBuilder::default().build(&hashes(11, 0), 10, &mut bytes);
        let mut filter = Fuse::default();
        filter.push_part(&bytes).unwrap();
        assert!(filter.may_contain(77));
    }

    #[test]
    fn no_hashes_let_nothing_pass() {
        let empty = filter(&[], 2);
        assert!(!empty.may_contain(1) && !empty.may_contain(u64::MAX));
        assert!(!Fuse::default().may_contain(1));
    }

    #[test]
    fn a_part_of_the_wrong_length_is_refused() {
        let mut bytes = Vec::new();
        PartBuilder::default().build(&hashes(100, 0), 1000, &mut bytes);
        for length in 0..bytes.len() {
            assert!(
                Fuse::default().push_part(&bytes[..length]).is_none(),
                "{length}"
            );
        }
        bytes.push(0);
        assert!(Fuse::default().push_part(&bytes).is_none());
    }
}
