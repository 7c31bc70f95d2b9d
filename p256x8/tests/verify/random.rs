//! Random numbers from a seed (SplitMix64), so that every run of a test is the same.

use num_bigint::BigUint;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Under `end`, which is small.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn octets(&mut self) -> [u8; 32] {
        let mut octets = [0; 32];
        for word in octets.chunks_exact_mut(8) {
            word.copy_from_slice(&self.next().to_be_bytes());
        }
        octets
    }

    /// In [1, end).
    pub(crate) fn number(&mut self, end: &BigUint) -> BigUint {
        BigUint::from_bytes_be(&self.octets()) % (end - 1_u8) + 1_u8
    }
}
