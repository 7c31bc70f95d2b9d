//! Up to 64 verifications in one go: eight groups of eight lanes, which share two inversions.

use crate::exact::DoubleMultiple;
use crate::field::Element;
use crate::lanes::{LANES, Lanes, Task, Work};
use crate::limbs::{Limbs, Vectors, fill, less_than};
use crate::point::{Affine, Point};
use crate::scalar::{N, Scalar};
use crate::table::{COMB_BITS, COMB_WINDOWS, Comb, OddMultiples, Row, unpack};
use crate::window::{Digits, Windows};

/// Groups of lanes in a chunk.
const GROUPS: usize = 8;
/// Verifications in a chunk.
pub(crate) const CHUNK: usize = GROUPS * LANES;

/// Bits of a window of a key that comes once.
const KEY_BITS: usize = 5;
/// Windows of such a key: 260 bits.
const KEY_WINDOWS: usize = 52;
const KEY_ROWS: usize = 1 << (KEY_BITS - 1);

/// The base point's coordinates (SP 800-186 §3.2.1.3).
pub(crate) const G_X: Limbs = [
    0x0001_3945_d898_c296,
    0x0008_12de_b33a_0f4a,
    0x0003_a440_f277_037d,
    0x0004_247f_8bce_6e56,
    0x6b17_d1f2_e12c,
];
pub(crate) const G_Y: Limbs = [
    0x0006_4068_37bf_51f5,
    0x0005_76b3_15ec_ecbb,
    0x000c_0f9e_162b_ce33,
    0x0007_f9b8_ee7e_b4a7,
    0x4fe3_42e2_fe1a,
];

/// One verification whose numbers were checked: r and s in [1, n − 1], x and y under p. The key need not be on the curve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked {
    pub(crate) x: Limbs,
    pub(crate) y: Limbs,
    /// The digest as a number, not reduced.
    pub(crate) e: Limbs,
    pub(crate) r: Limbs,
    pub(crate) s: Limbs,
}

impl Checked {
    /// Fills a lane that nobody asked for. Its key is the base point; its verdict goes nowhere.
    pub(crate) const FILLER: Self = Self {
        x: G_X,
        y: G_Y,
        e: [1, 0, 0, 0, 0],
        r: [1, 0, 0, 0, 0],
        s: [1, 0, 0, 0, 0],
    };
}

/// What a chunk's keys are.
#[derive(Clone, Copy)]
pub(crate) enum Keys<'a> {
    /// Each item's own.
    Own,
    /// The same for every item, with its comb; the items have the same point.
    Prepared(&'a Comb),
}

/// Verifies up to [`CHUNK`] items and gives a bit for each, set where the signature is valid.
pub(crate) struct VerifyChunk<'a> {
    pub(crate) items: &'a [Checked],
    pub(crate) keys: Keys<'a>,
    pub(crate) generator: &'a Comb,
    /// What becomes of lanes that met an exceptional case.
    pub(crate) exceptional: Exceptional,
}

/// What becomes of a lane that met an exceptional case of the addition formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceptional {
    /// It is computed again by complete formulas.
    Exact,
    /// It counts as not valid: somebody else is asked for every signature that is not. Signatures that meet such a case can be made
    /// on purpose, for a prepared key by anybody, and the complete formulas cost ten times as much there.
    #[cfg(feature = "std")]
    NotValid,
}

/// What a group of eight lanes brings to its multiplication.
#[derive(Clone, Copy)]
struct Group<V> {
    key: Affine<V>,
    on_curve: u8,
    r: Vectors<V>,
    e: Vectors<V>,
    /// s, then its inverse: both in Montgomery form.
    s: Scalar<V>,
}

impl Task for VerifyChunk<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> u64 {
        let count = self.items.len().min(CHUNK).div_ceil(LANES);
        let empty = Group::new(zero, [&Checked::FILLER; LANES], &self.keys);
        let mut groups = [empty; GROUPS];
        for (group, items) in groups.iter_mut().zip(self.items.chunks(LANES)) {
            let items = core::array::from_fn(|i| items.get(i).unwrap_or(&Checked::FILLER));
            *group = Group::new(zero, items, &self.keys);
        }
        let groups = &mut groups[..count];
        invert_s(groups);
        let mut valid = 0;
        match self.keys {
            Keys::Prepared(comb) => {
                for (i, group) in groups.iter().enumerate() {
                    let mask = group.verify_prepared(&self, comb);
                    valid |= u64::from(mask) << (i * LANES);
                }
            }
            Keys::Own => {
                let mut rows = [[[[0; 8]; KEY_ROWS]; LANES]; GROUPS];
                key_rows(groups, &mut rows);
                for (i, (group, rows)) in groups.iter().zip(&rows).enumerate() {
                    let mask = group.verify_own(&self, rows);
                    valid |= u64::from(mask) << (i * LANES);
                }
            }
        }
        valid
    }
}

/// Replaces each s by its inverse, with one inversion for all groups (Montgomery's trick).
#[inline(always)]
fn invert_s<V: Lanes>(groups: &mut [Group<V>]) {
    let Some(first) = groups.first() else { return };
    let mut before = [first.s; GROUPS];
    let mut all = Scalar::one(first.r[0]);
    for (group, before) in groups.iter().zip(&mut before) {
        *before = all;
        all = all.times(group.s);
    }
    let mut inverse = all.inverted();
    for (group, before) in groups.iter_mut().zip(before).rev() {
        let s = group.s;
        group.s = inverse.times(before);
        inverse = inverse.times(s);
    }
}

/// The odd multiples of each group's keys, with one inversion for all groups.
#[inline(always)]
fn key_rows<V: Lanes>(groups: &[Group<V>], rows: &mut [[[Row; KEY_ROWS]; LANES]; GROUPS]) {
    let Some(first) = groups.first() else { return };
    let one = Element::one(first.r[0]);
    let mut multiples: [Option<OddMultiples<V, KEY_ROWS>>; GROUPS] = [const { None }; GROUPS];
    let mut before = [one; GROUPS];
    let mut all = one;
    for (i, group) in groups.iter().enumerate() {
        let made = OddMultiples::new(group.key);
        before[i] = all;
        all = all.times(made.z);
        multiples[i] = Some(made);
    }
    let mut inverse = all.inverted();
    for i in (0..groups.len()).rev() {
        if let Some(made) = &multiples[i] {
            made.rows(inverse.times(before[i]), &mut rows[i]);
            inverse = inverse.times(made.z);
        }
    }
}

impl<V: Lanes> Group<V> {
    #[inline(always)]
    fn new(like: V, items: [&Checked; LANES], keys: &Keys<'_>) -> Self {
        let gather = |field: fn(&Checked) -> &Limbs| -> Vectors<V> {
            core::array::from_fn(|limb| like.with(items.map(|item| field(item)[limb])))
        };
        let key = Affine {
            x: Element::from_number(gather(|item| &item.x)),
            y: Element::from_number(gather(|item| &item.y)),
        };
        // A prepared key was on the curve when its comb was made.
        let on_curve = match keys {
            Keys::Own => key.on_curve(),
            Keys::Prepared(_) => 0xff,
        };
        Self {
            // A point off the curve would spoil its lane in the other groups, through the shared inversion.
            key: base_point(like).select(on_curve, key),
            on_curve,
            r: gather(|item| &item.r),
            e: gather(|item| &item.e),
            s: Scalar(gather(|item| &item.s)).to_montgomery(),
        }
    }

    /// u1 = e/s and u2 = r/s mod n, tight and under n.
    #[inline(always)]
    fn scalars(&self) -> (Vectors<V>, Vectors<V>) {
        let u1 = Scalar(self.e).times(self.s).canonical();
        let u2 = Scalar(self.r).times(self.s).canonical();
        (u1, u2)
    }

    #[inline(always)]
    fn verify_own(&self, chunk: &VerifyChunk<'_>, rows: &[[Row; KEY_ROWS]; LANES]) -> u8 {
        let like = self.r[0];
        let (u1, u2) = self.scalars();
        let windows = Windows::<KEY_BITS, KEY_WINDOWS>::new(u2);
        let top = look_up(like, rows, &windows.digits(KEY_WINDOWS - 1));
        let mut sum = top.jacobian();
        for window in (0..KEY_WINDOWS - 1).rev() {
            for _ in 0..KEY_BITS {
                sum = sum.doubled();
            }
            sum = sum.plus_affine(look_up(like, rows, &windows.digits(window)));
        }
        sum = like.call(PlusComb {
            sum,
            comb: chunk.generator,
            scalar: u1,
            start: 0,
        });
        self.verdict(chunk, sum, u1, u2)
    }

    #[inline(always)]
    fn verify_prepared(&self, chunk: &VerifyChunk<'_>, comb: &Comb) -> u8 {
        let (u1, u2) = self.scalars();
        let windows = Windows::<COMB_BITS, COMB_WINDOWS>::new(u2);
        let like = u2[0];
        let mut sum = comb.look_up(like, 0, &windows.digits(0)).jacobian();
        for (comb, scalar, start) in [(comb, u2, 1), (chunk.generator, u1, 0)] {
            sum = like.call(PlusComb {
                sum,
                comb,
                scalar,
                start,
            });
        }
        self.verdict(chunk, sum, u1, u2)
    }

    /// The lanes whose point has the x coordinate that r says. `sum` is u1·G + u2·Q.
    #[inline(always)]
    fn verdict(
        &self,
        chunk: &VerifyChunk<'_>,
        sum: Point<V>,
        u1: Vectors<V>,
        u2: Vectors<V>,
    ) -> u8 {
        let exceptional = sum.z.is_zero();
        let mut valid = self.x_is_r(sum.x, sum.z.squared()) & !exceptional;
        if exceptional != 0 && chunk.exceptional == Exceptional::Exact {
            let exact = u1[0].call(DoubleMultiple {
                u1,
                g: base_point(u1[0]),
                u2,
                q: self.key,
            });
            let infinity = exact.z.is_zero();
            valid |= self.x_is_r(exact.x, exact.z) & !infinity & exceptional;
        }
        valid & self.on_curve
    }

    /// The lanes in which x/z mod n = r, for x/z under p: x = r·z, or x = (r + n)·z where r + n < p.
    #[inline(always)]
    fn x_is_r(&self, x: Element<V>, z: Element<V>) -> u8 {
        let like = self.r[0];
        let r = Element::from_number(self.r);
        let first = r.times(z).minus(x).fold().is_zero();
        // p − n: r + n < p as numbers exactly where r < p − n.
        let low = less_than(self.r, fill(like, P_MINUS_N));
        if low == 0 {
            return first;
        }
        let n = Element::from_number(fill(like, N));
        let above = r.loose().plus(n.loose()).fold();
        first | low & above.times(z).minus(x).fold().is_zero()
    }
}

/// Each lane's own multiple.
#[inline(always)]
fn look_up<V: Lanes>(like: V, rows: &[[Row; KEY_ROWS]; LANES], digits: &Digits) -> Affine<V> {
    let rows = core::array::from_fn(|lane| &rows[lane][digits.indices[lane]]);
    unpack(like, rows).negate(digits.negative)
}

/// Adds a multiple of a comb's point, from window `start` on.
struct PlusComb<'a, V> {
    sum: Point<V>,
    comb: &'a Comb,
    scalar: Vectors<V>,
    start: usize,
}

impl<V: Lanes> Work for PlusComb<'_, V> {
    type Output = Point<V>;

    #[inline(always)]
    fn run(self) -> Point<V> {
        let windows = Windows::<COMB_BITS, COMB_WINDOWS>::new(self.scalar);
        let mut sum = self.sum;
        for window in self.start..COMB_WINDOWS {
            let digits = windows.digits(window);
            sum = sum.plus_affine(self.comb.look_up(self.scalar[0], window, &digits));
        }
        sum
    }
}

#[inline(always)]
fn base_point<V: Lanes>(like: V) -> Affine<V> {
    Affine {
        x: Element::from_number(fill(like, G_X)),
        y: Element::from_number(fill(like, G_Y)),
    }
}

/// p − n.
const P_MINUS_N: Limbs = [
    0x0006_353d_039c_daae,
    0x0005_358e_8617_b0c4,
    0x0043_1905,
    0x0000,
    0x0000,
];
