//! The integers modulo the order n of P-256's base point (SP 800-186 §3.2.1.3), eight side by side, in Montgomery
//! form with R = 2^260 where a name says so.

use crate::lanes::{Lanes, Work};
use crate::limbs::{LIMB_BITS, Limbs, Vectors, carry, fill, product, square, subtract_once};

/// n.
pub(crate) const N: Limbs = [
    0x0009_cac2_fc63_2551,
    0x000a_da71_79e8_4f3b,
    0x000f_ffff_ffbc_e6fa,
    0x000f_ffff_ffff,
    0xffff_ffff_0000,
];

/// −1/n mod 2^52.
const N_INVERSE: u64 = 0x0001_c8aa_ee00_bc4f;

/// R mod n: one in Montgomery form.
const ONE: Limbs = [
    0x0003_53d0_39cd_aaf0,
    0x0002_58e8_617b_0c46,
    0x0431_9055,
    0x000f_ff00_0000_0000,
    0x000f_ffff,
];

/// R² mod n.
const R2: Limbs = [
    0x0005_cc0d_ea6d_c3ba,
    0x0001_92a0_67d8_a084,
    0x000b_ec59_6155_71bb,
    0x0001_fc24_5b23_92b6,
    0xe12d_9559_d956,
];

/// n − 2, most significant octet first: the exponent that inverts.
const N_MINUS_2: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];

/// Integers modulo n, under 2n, with tight limbs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar<V>(pub(crate) Vectors<V>);

impl<V: Lanes> Scalar<V> {
    /// One in Montgomery form.
    #[inline(always)]
    pub(crate) fn one(like: V) -> Self {
        Self(fill(like, ONE))
    }

    /// `self·other/R`, under 2n for factors whose product is under 2^514.
    #[inline(always)]
    pub(crate) fn times(self, other: Self) -> Self {
        Self(reduce(product(self.0, other.0)))
    }

    #[inline(always)]
    fn squared(self) -> Self {
        Self(reduce(square(self.0)))
    }

    /// To Montgomery form.
    #[inline(always)]
    pub(crate) fn to_montgomery(self) -> Self {
        self.times(Self(fill(self.0[0], R2)))
    }

    /// The inverse of a number in Montgomery form, in Montgomery form. Zero gives zero.
    #[inline(always)]
    pub(crate) fn inverted(self) -> Self {
        self.0[0].call(Inverse(self))
    }

    /// The number under n.
    #[inline(always)]
    pub(crate) fn canonical(self) -> Vectors<V> {
        subtract_once(self.0, fill(self.0[0], N))
    }
}

/// The inverse as the power n − 2, by windows of four bits.
struct Inverse<V>(Scalar<V>);

impl<V: Lanes> Work for Inverse<V> {
    type Output = Scalar<V>;

    #[inline(always)]
    fn run(self) -> Scalar<V> {
        let mut powers = [Scalar::one(self.0.0[0]); 16];
        for i in 1..16 {
            powers[i] = powers[i - 1].times(self.0);
        }
        let mut result = powers[usize::from(N_MINUS_2[0] >> 4)];
        for nibble in 1..64 {
            for _ in 0..4 {
                result = result.squared();
            }
            let octet = N_MINUS_2[nibble / 2];
            let digit = if nibble % 2 == 0 {
                octet >> 4
            } else {
                octet & 15
            };
            result = result.times(powers[usize::from(digit)]);
        }
        result
    }
}

/// `n − a` for tight `a` under n; n for zero.
#[inline(always)]
pub(crate) fn negated<V: Lanes>(a: Vectors<V>) -> Vectors<V> {
    let n = fill(a[0], N);
    carry(core::array::from_fn(|i| n[i].sub(a[i])))
}

/// Montgomery's reduction, limb by limb.
#[inline(always)]
fn reduce<V: Lanes>(mut t: [V; 10]) -> Vectors<V> {
    let zero = t[0].fill(0);
    let inverse = zero.fill(N_INVERSE);
    let n = fill(zero, N);
    for i in 0..5 {
        let m = zero.madd_low(t[i], inverse);
        for j in 0..5 {
            t[i + j] = t[i + j].madd_low(m, n[j]);
            t[i + j + 1] = t[i + j + 1].madd_high(m, n[j]);
        }
        t[i + 1] = t[i + 1].add(t[i].sar::<LIMB_BITS>());
    }
    carry([t[5], t[6], t[7], t[8], t[9]])
}
