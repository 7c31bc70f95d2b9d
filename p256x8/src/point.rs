//! Points of P-256 (y² = x³ − 3x + b), eight side by side, in Jacobian coordinates: (X : Y : Z) is the affine
//! (X/Z², Y/Z³), and Z = 0 is the point at infinity.
//!
//! The formulas are the fast ones, which are wrong for P + P, P + (−P) and P + infinity. Each of these leaves Z = 0, in
//! [`Point::plus_affine`] as H = 0 there, and each formula carries Z = 0 on. So a lane that met one ends with Z = 0, and is computed again
//! by complete formulas ([`crate::exact`]). A lane whose Z is not zero met none.
//!
//! Sources: Cohen, Miyaji and Ono, *Efficient elliptic curve exponentiation using mixed coordinates* (1998) for the mixed
//! addition; the Explicit-Formulas Database's dbl-2001-b (Bernstein) for the doubling; Meloni, *New point addition
//! formulae for ECC applications* (2007) for additions of points with the same Z.

use crate::field::Element;
use crate::lanes::Lanes;
use crate::limbs::{Limbs, fill};

/// b of the curve's equation, in Montgomery form.
pub(crate) const B: Limbs = [
    0x000d_f622_9c4b_ddfd,
    0x000c_a884_3090_d89c,
    0x0002_12ed_6acf_005c,
    0x0008_3415_a220_abf7,
    0xc300_61dd_4874,
];

/// Points that are not at infinity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine<V> {
    pub(crate) x: Element<V>,
    pub(crate) y: Element<V>,
}

/// Points in Jacobian coordinates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point<V> {
    pub(crate) x: Element<V>,
    pub(crate) y: Element<V>,
    pub(crate) z: Element<V>,
}

impl<V: Lanes> Affine<V> {
    /// The lanes whose point is on the curve.
    #[inline(always)]
    pub(crate) fn on_curve(self) -> u8 {
        let b = Element(fill(self.x.0[0], B));
        let cube = self.x.squared().times(self.x).loose();
        let right = cube.minus(self.x.loose().tripled()).plus(b.loose());
        self.y.square().reduce().minus(right).fold().is_zero()
    }

    #[inline(always)]
    pub(crate) fn select(self, mask: u8, yes: Self) -> Self {
        Self {
            x: self.x.select(mask, yes.x),
            y: self.y.select(mask, yes.y),
        }
    }

    /// The negative in the lanes of the mask.
    #[inline(always)]
    pub(crate) fn negate(self, mask: u8) -> Self {
        let zero = Element([self.y.0[0].fill(0); 5]);
        Self {
            x: self.x,
            y: self.y.select(mask, zero.minus(self.y).fold()),
        }
    }

    #[inline(always)]
    pub(crate) fn jacobian(self) -> Point<V> {
        Point {
            x: self.x,
            y: self.y,
            z: Element::one(self.x.0[0]),
        }
    }
}

impl<V: Lanes> Point<V> {
    /// 2·self: 3 multiplications, 5 squarings, 7 reductions.
    #[inline(always)]
    pub(crate) fn doubled(self) -> Self {
        let delta = self.z.square().reduce();
        let gamma = self.y.squared();
        let beta = self.x.product(gamma).reduce();
        // 3(X − δ)(X + δ) = 3X² − 3δ²: the slope's numerator, as a = −3.
        let difference = self.x.loose().minus(delta).fold();
        let sum = self.x.loose().plus(delta).tripled().fold();
        let alpha = difference.times(sum);
        let x = alpha.square().reduce().minus(beta.shifted::<3>()).fold();
        let z = self.y.product(self.z).reduce().doubled().carry();
        let rest = beta.shifted::<2>().minus(x.loose()).fold();
        let y = alpha.product(rest).minus_eight(gamma.square());
        Self {
            x,
            y: y.reduce().fold(),
            z,
        }
    }

    /// self + other: 8 multiplications, 3 squarings, 10 reductions.
    #[inline(always)]
    pub(crate) fn plus_affine(self, other: Affine<V>) -> Self {
        let zz = self.z.squared();
        let zzz = zz.times(self.z);
        let h = other.x.product(zz).reduce().minus(self.x.loose()).fold();
        let r = other.y.product(zzz).reduce().minus(self.y.loose()).fold();
        let hh = h.squared();
        let hhh = h.times(hh);
        let v = self.x.product(hh).reduce();
        let x = r
            .square()
            .reduce()
            .minus(hhh.loose())
            .minus(v.doubled())
            .fold();
        let y = r
            .product(v.minus(x.loose()).fold())
            .minus(self.y.product(hhh));
        Self {
            x,
            y: y.reduce().fold(),
            z: self.z.times(h),
        }
    }

    #[inline(always)]
    pub(crate) fn select(self, mask: u8, yes: Self) -> Self {
        Self {
            x: self.x.select(mask, yes.x),
            y: self.y.select(mask, yes.y),
            z: self.z.select(mask, yes.z),
        }
    }

    /// The affine point, given 1/Z.
    #[inline(always)]
    pub(crate) fn affine(self, z_inverse: Element<V>) -> Affine<V> {
        let zz = z_inverse.squared();
        Affine {
            x: self.x.times(zz),
            y: self.y.times(zz.times(z_inverse)),
        }
    }
}

/// P + Q of two points with the same Z, and P again, with the Z of the sum: 5 multiplications and 2 squarings, with the
/// one for Z itself. The third value is the factor from the old Z to the new.
#[inline(always)]
pub(crate) fn plus_same_z<V: Lanes>(
    p: Affine<V>,
    q: Affine<V>,
) -> (Affine<V>, Affine<V>, Element<V>) {
    let dx = p.x.minus(q.x).fold();
    let dy = p.y.minus(q.y).fold();
    let c = dx.squared();
    let w1 = p.x.times(c);
    let w2 = q.x.times(c);
    let x = dy
        .square()
        .reduce()
        .minus(w1.loose())
        .minus(w2.loose())
        .fold();
    let a = p.y.times(w1.minus(w2).fold());
    let y = dy
        .product(w1.minus(x).fold())
        .reduce()
        .minus(a.loose())
        .fold();
    (Affine { x, y }, Affine { x: w1, y: a }, dx)
}

/// 2·P of an affine point with Z = 1, and P again, with the Z of the double, which is 2y.
#[inline(always)]
pub(crate) fn double_same_z<V: Lanes>(p: Affine<V>) -> (Affine<V>, Affine<V>, Element<V>) {
    // With Z = 2y: P = (x·4y², y·8y³) = (4xy², 8y⁴).
    let z = p.y.loose().doubled().fold();
    let yy = p.y.squared();
    let s = p.x.product(yy).reduce().shifted::<2>().fold();
    let one = Element::one(p.x.0[0]);
    let m = p.x.square().reduce().minus(one.loose()).tripled().fold();
    let x = m.square().reduce().minus(s.loose().doubled()).fold();
    let fourth = yy.square().reduce().shifted::<3>().fold();
    let y = m
        .product(s.minus(x).fold())
        .reduce()
        .minus(fourth.loose())
        .fold();
    (Affine { x, y }, Affine { x: s, y: fourth }, z)
}
