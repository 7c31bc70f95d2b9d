//! Eight 64-bit lanes and what the arithmetic asks of them.
//!
//! A value of a type that implements [`Lanes`] is also the proof that the processor can work on it: the first one
//! comes from [`ifma::Ifma`], which detection hands out, and every other one is made from a value at hand.

#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
pub(crate) mod portable;

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// One 64-bit value for each of eight lanes. All sums wrap.
pub(crate) trait Lanes: Copy {
    /// The same value in every lane.
    fn fill(self, value: u64) -> Self;
    /// A value for each lane.
    fn with(self, values: [u64; LANES]) -> Self;
    fn to_array(self) -> [u64; LANES];
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// Shift to the left.
    fn shl<const N: u32>(self) -> Self;
    /// Shift to the right, zeros come in.
    fn shr<const N: u32>(self) -> Self;
    /// Shift to the right, the sign comes in.
    fn sar<const N: u32>(self) -> Self;
    /// `self + low 52 bits of a·b`, of the low 52 bits of `a` and `b` (VPMADD52LUQ).
    fn madd_low(self, a: Self, b: Self) -> Self;
    /// `self + bits 52 to 103 of a·b`, of the low 52 bits of `a` and `b` (VPMADD52HUQ).
    fn madd_high(self, a: Self, b: Self) -> Self;
    /// The lanes that are equal, lane 0 in bit 0.
    fn equal(self, other: Self) -> u8;
    /// In each lane `yes` where the mask's bit is set, else `self`.
    fn select(self, mask: u8, yes: Self) -> Self;
    /// Runs work as a function of its own: what is large and seldom is then not compiled in wherever it is used.
    fn call<W: Work>(self, work: W) -> W::Output;
    /// Word `w` of row `l` becomes lane `l` of vector `w`.
    fn transpose(self, rows: [&[u64; 8]; LANES]) -> [Self; 8];
}

/// Work over lanes of either kind.
pub(crate) trait Task {
    type Output;
    /// `zero` has zero in every lane: the value that every other one is made from.
    fn run<V: Lanes>(self, zero: V) -> Self::Output;
}

/// Work over lanes that it has already.
pub(crate) trait Work {
    type Output;
    fn run(self) -> Self::Output;
}
