//! The field of P-256 (SP 800-186 §3.2.1.3), eight elements side by side, in Montgomery form with R = 2^260.
//!
//! p = 2^256 − 2^224 + 2^192 + 2^96 − 1. Elements are tight numbers that need not be under p: a product is under
//! 1.4·2^256 (for factors under 2.5·2^256), a folded sum under 1.01·2^256. Only [`Element::is_zero`] and
//! [`Element::canonical`] care which number stands for an element.

use crate::lanes::{Lanes, Work};
use crate::limbs::{LIMB_BITS, Limbs, Vectors, carry, equal, fill, product, square, subtract_once};

/// p.
pub(crate) const P: Limbs = [
    0x000f_ffff_ffff_ffff,
    0x0000_0fff_ffff_ffff,
    0,
    0x0000_0010_0000_0000,
    0x0000_ffff_ffff_0000,
];

/// R mod p: one in Montgomery form.
pub(crate) const ONE: Limbs = [
    0x10,
    0x000f_0000_0000_0000,
    0x000f_ffff_ffff_ffff,
    0x000f_feff_ffff_ffff,
    0x000f_ffff,
];

/// R² mod p: what brings a number into Montgomery form.
const R2: Limbs = [
    0x300,
    0x000f_ffff_fff0_0000,
    0x000f_fffe_ffff_fffb,
    0x000f_dfff_ffff_ffff,
    0x04ff_ffff,
];

/// Field elements with tight limbs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<V>(pub(crate) Vectors<V>);

/// A sum of elements, or the reduced form of a product, with loose limbs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum<V>(Vectors<V>);

/// A sum of products before reduction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<V>([V; 10]);

impl<V: Lanes> Element<V> {
    #[inline(always)]
    pub(crate) fn one(like: V) -> Self {
        Self(fill(like, ONE))
    }

    /// The element of a tight number under 2^260.
    #[inline(always)]
    pub(crate) fn from_number(number: Vectors<V>) -> Self {
        Self(number).times(Self(fill(number[0], R2)))
    }

    #[inline(always)]
    pub(crate) fn product(self, other: Self) -> Product<V> {
        Product(product(self.0, other.0))
    }

    #[inline(always)]
    pub(crate) fn square(self) -> Product<V> {
        Product(square(self.0))
    }

    #[inline(always)]
    pub(crate) fn times(self, other: Self) -> Self {
        self.product(other).reduce().carry()
    }

    #[inline(always)]
    pub(crate) fn squared(self) -> Self {
        self.square().reduce().carry()
    }

    /// `1/self`; zero for zero.
    #[inline(always)]
    pub(crate) fn inverted(self) -> Self {
        self.0[0].call(Inverse(self))
    }

    #[inline(always)]
    pub(crate) fn loose(self) -> Sum<V> {
        Sum(self.0)
    }

    #[inline(always)]
    pub(crate) fn plus(self, other: Self) -> Sum<V> {
        self.loose().plus(other.loose())
    }

    #[inline(always)]
    pub(crate) fn minus(self, other: Self) -> Sum<V> {
        self.loose().minus(other.loose())
    }

    /// In each lane `yes` where the mask's bit is set, else `self`.
    #[inline(always)]
    pub(crate) fn select(self, mask: u8, yes: Self) -> Self {
        Self(crate::limbs::select(mask, yes.0, self.0))
    }

    /// The number under p that stands for this element in Montgomery form.
    #[inline(always)]
    pub(crate) fn canonical(self) -> Vectors<V> {
        let p = fill(self.0[0], P);
        subtract_once(subtract_once(self.0, p), p)
    }

    /// The lanes with zero.
    #[inline(always)]
    pub(crate) fn is_zero(self) -> u8 {
        // A reduction of x < 2^260 gives (x + m·p)/2^260 with m < 2^260, which is at most p: zero or p for zero.
        let zero = self.0[0].fill(0);
        let mut t = [zero; 10];
        t[..5].copy_from_slice(&self.0);
        let reduced = Product(t).reduce().carry().0;
        equal(reduced, [zero; 5]) | equal(reduced, fill(zero, P))
    }
}

impl<V: Lanes> Product<V> {
    /// `self − 8·other`, before reduction.
    #[inline(always)]
    pub(crate) fn minus_eight(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| {
            self.0[i].sub(other.0[i].shl::<3>())
        }))
    }

    #[inline(always)]
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i].sub(other.0[i])))
    }

    /// Montgomery's reduction, limb by limb. As p = −1 mod 2^52, the multiple of p that clears a limb m is m·p
    /// itself, and m + m·p = m·(p + 1) = m·2^52·(2^44 + 2^140 − 2^172 + 2^204).
    #[inline(always)]
    pub(crate) fn reduce(self) -> Sum<V> {
        let mut t = self.0;
        let at_44 = t[0].fill(1 << 44);
        let at_36 = t[0].fill(1 << 36);
        let top = t[0].fill((1 << 48) - (1 << 16));
        for i in 0..5 {
            // Its low 52 bits: a multiplication takes no more.
            let m = t[i];
            t[i + 1] = t[i + 1].add(t[i].sar::<LIMB_BITS>()).madd_low(m, at_44);
            t[i + 2] = t[i + 2].madd_high(m, at_44);
            t[i + 3] = t[i + 3].madd_low(m, at_36);
            t[i + 4] = t[i + 4].madd_high(m, at_36).madd_low(m, top);
            t[i + 5] = t[i + 5].madd_high(m, top);
        }
        Sum([t[5], t[6], t[7], t[8], t[9]])
    }
}

impl<V: Lanes> Sum<V> {
    #[inline(always)]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i].add(other.0[i])))
    }

    #[inline(always)]
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i].sub(other.0[i])))
    }

    #[inline(always)]
    pub(crate) fn doubled(self) -> Self {
        Self(self.0.map(|limb| limb.shl::<1>()))
    }

    #[inline(always)]
    pub(crate) fn tripled(self) -> Self {
        self.plus(self.doubled())
    }

    /// `self·2^N`.
    #[inline(always)]
    pub(crate) fn shifted<const N: u32>(self) -> Self {
        Self(self.0.map(|limb| limb.shl::<N>()))
    }

    /// The element, where the number is in [0, 2.5·2^256]: a product, or twice one.
    #[inline(always)]
    pub(crate) fn carry(self) -> Element<V> {
        Element(carry(self.0))
    }

    /// The element of any sum within ±2^262 with limbs within ±2^60.
    ///
    /// With q near the number divided by 2^256, subtracts q·p = q·(2^256 − 2^224 + 2^192 + 2^96 − 1). What stays in the top
    /// limb before q·2^16 (at least −2^22) is added is at least 2^23, so that with what the other limbs carry into it (at least −2^9) the
    /// number stays positive.
    #[inline(always)]
    pub(crate) fn fold(self) -> Element<V> {
        let mut a = self.0;
        let guard = a[4].fill(1 << 23);
        let above = a[4].sub(guard);
        let q = above.sar::<48>();
        a[0] = a[0].add(q);
        a[1] = a[1].sub(q.shl::<44>());
        a[3] = a[3].sub(q.shl::<36>());
        a[4] = a[4].sub(q.shl::<48>()).add(q.shl::<16>());
        Element(carry(a))
    }
}

/// The chain of [`Inverse`]: squarings of the last power, and the power to multiply by then. With x_k for the power 2^k − 1, powers 0
/// to 7 are x1, x2, x3, x6, x12, x15, x30 and x32; the steps after them append bits: 31 zeros and a one; 96 zeros and 32
/// ones; 32 ones; 30 ones; a zero and a one.
const INVERSE_STEPS: [(u32, usize); 12] = [
    (1, 0),
    (1, 0),
    (3, 2),
    (6, 3),
    (3, 2),
    (15, 5),
    (2, 1),
    (32, 0),
    (128, 7),
    (32, 7),
    (30, 6),
    (2, 0),
];

/// The inverse as the power p − 2, with p − 2 = 2^256 − 2^224 + 2^192 + 2^96 − 3: 255 squarings and 12 multiplications.
struct Inverse<V>(Element<V>);

impl<V: Lanes> Work for Inverse<V> {
    type Output = Element<V>;

    #[inline(always)]
    fn run(self) -> Element<V> {
        let mut powers = [self.0; INVERSE_STEPS.len() + 1];
        for (i, (squarings, factor)) in INVERSE_STEPS.into_iter().enumerate() {
            let mut power = powers[i];
            for _ in 0..squarings {
                power = power.squared();
            }
            powers[i + 1] = power.times(powers[factor]);
        }
        powers[INVERSE_STEPS.len()]
    }
}
