//! Signed windows without zero digits: every digit is odd, so that every addition is a real one and no lane waits.
//!
//! For odd k under 2^(W·M), k = Σ d·2^(W·i) over M digits with odd d in (−2^W, 2^W): the digit of window i is
//! 2·v + 1 − 2^W, where v is the W bits of k + 2^(W·M) from bit W·i + 1 on (Joye and Tunstall, *Exponent recoding and regular
//! exponentiation algorithms*, 2009). An even k is replaced by n − k, which is odd, and every digit changes its sign.

use crate::lanes::{LANES, Lanes};
use crate::limbs::select;
use crate::limbs::{LIMB_BITS, Vectors};
use crate::scalar::negated;

/// One digit of each lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits {
    /// The digit's absolute value is 2·index + 1.
    pub(crate) indices: [usize; LANES],
    /// The lanes with a negative digit.
    pub(crate) negative: u8,
}

/// Scalars as M windows of W bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows<const W: usize, const M: usize> {
    /// k + 2^(W·M), least significant word first.
    words: [[u64; 5]; LANES],
    /// The lanes whose scalar was replaced by its negative.
    negated: u8,
}

impl<const W: usize, const M: usize> Windows<W, M> {
    /// Of tight numbers under n. Zero becomes n, whose multiple of any point is infinity too.
    #[inline(always)]
    pub(crate) fn new<V: Lanes>(k: Vectors<V>) -> Self {
        let one = k[0].fill(1);
        let odd = k[0].and(one).equal(one);
        let limbs = select(odd, k, negated(k)).map(Lanes::to_array);
        let words = core::array::from_fn(|lane| {
            let mut words = from_limbs(limbs.map(|limb| limb[lane]));
            words[W * M / 64] |= 1 << (W * M % 64);
            words
        });
        Self {
            words,
            negated: !odd,
        }
    }

    /// The digit of window `i`, counted from the least significant.
    #[inline(always)]
    pub(crate) fn digits(&self, i: usize) -> Digits {
        let (word, shift) = ((W * i + 1) / 64, (W * i + 1) % 64);
        let half = 1_u64 << (W - 1);
        let mut digits = Digits {
            indices: [0; LANES],
            negative: 0,
        };
        for (lane, words) in self.words.iter().enumerate() {
            let mut bits = words[word] >> shift;
            if shift + W > 64 {
                bits |= words[word + 1] << (64 - shift);
            }
            let negative = bits & half == 0;
            let index = (if negative { !bits } else { bits }) & (half - 1);
            digits.indices[lane] = index as usize;
            digits.negative |= u8::from(negative) << lane;
        }
        digits.negative ^= self.negated;
        digits
    }
}

/// The words of five tight limbs.
fn from_limbs(limbs: [u64; 5]) -> [u64; 5] {
    let mut words = [0; 5];
    for (i, limb) in limbs.into_iter().enumerate() {
        let bit = i * LIMB_BITS as usize;
        let (word, shift) = (bit / 64, bit % 64);
        words[word] |= limb << shift;
        if shift > 12 {
            words[word + 1] |= limb >> (64 - shift);
        }
    }
    words
}
