//! The lanes in plain Rust: the reference that the vector code is held against, limb by limb.

use super::{LANES, Lanes, Work};

/// Eight words. The operations are calls: inlined, as the vector's are, they would make megabytes of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portable([u64; LANES]);

const LOW_52: u64 = (1 << 52) - 1;

impl Portable {
    /// Any value: the portable lanes need no proof of a processor.
    pub(crate) const ZERO: Self = Self([0; LANES]);

    fn map2(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(core::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }

    fn product(a: u64, b: u64) -> u128 {
        u128::from(a & LOW_52) * u128::from(b & LOW_52)
    }
}

impl Lanes for Portable {
    #[inline(never)]
    fn fill(self, value: u64) -> Self {
        Self([value; LANES])
    }

    #[inline(never)]
    fn with(self, values: [u64; LANES]) -> Self {
        Self(values)
    }

    #[inline(never)]
    fn to_array(self) -> [u64; LANES] {
        self.0
    }

    #[inline(never)]
    fn add(self, other: Self) -> Self {
        self.map2(other, u64::wrapping_add)
    }

    #[inline(never)]
    fn sub(self, other: Self) -> Self {
        self.map2(other, u64::wrapping_sub)
    }

    #[inline(never)]
    fn and(self, other: Self) -> Self {
        self.map2(other, |a, b| a & b)
    }

    #[inline(never)]
    fn or(self, other: Self) -> Self {
        self.map2(other, |a, b| a | b)
    }

    #[inline(never)]
    fn shl<const N: u32>(self) -> Self {
        Self(self.0.map(|word| word << N))
    }

    #[inline(never)]
    fn shr<const N: u32>(self) -> Self {
        Self(self.0.map(|word| word >> N))
    }

    #[inline(never)]
    fn sar<const N: u32>(self) -> Self {
        Self(self.0.map(|word| (word.cast_signed() >> N).cast_unsigned()))
    }

    #[inline(never)]
    fn madd_low(self, a: Self, b: Self) -> Self {
        let low = a.map2(b, |a, b| Self::product(a, b) as u64 & LOW_52);
        self.add(low)
    }

    #[inline(never)]
    fn madd_high(self, a: Self, b: Self) -> Self {
        self.add(a.map2(b, |a, b| (Self::product(a, b) >> 52) as u64))
    }

    #[inline(never)]
    fn equal(self, other: Self) -> u8 {
        (0..LANES).fold(0, |mask, lane| {
            mask | u8::from(self.0[lane] == other.0[lane]) << lane
        })
    }

    #[inline(never)]
    fn select(self, mask: u8, yes: Self) -> Self {
        Self(core::array::from_fn(|lane| {
            if mask >> lane & 1 == 1 {
                yes.0[lane]
            } else {
                self.0[lane]
            }
        }))
    }

    #[inline(never)]
    fn call<W: Work>(self, work: W) -> W::Output {
        work.run()
    }

    #[inline(never)]
    fn transpose(self, rows: [&[u64; 8]; LANES]) -> [Self; 8] {
        core::array::from_fn(|word| Self(rows.map(|row| row[word])))
    }
}
