//! Tables of odd multiples: of a key that comes once, for its windows, and of a key that comes again and again (the base
//! point is one) for every window at once.

use alloc::boxed::Box;
use alloc::vec;

use crate::field::Element;
use crate::lanes::{LANES, Lanes, Task};
use crate::limbs::{LOW_52, Limbs, Vectors, fill};
use crate::point::{Affine, Point, double_same_z, plus_same_z};
use crate::window::Digits;

/// An affine point in Montgomery form, under p: four words of x and four of y, least significant first.
pub(crate) type Row = [u64; 8];

/// The odd multiples Q, 3Q … (2·COUNT − 1)Q of eight points, each with a Z of its own that divides the next one's.
pub(crate) struct OddMultiples<V, const COUNT: usize> {
    points: [Affine<V>; COUNT],
    /// What leads from the Z before to this one.
    factors: [Element<V>; COUNT],
    /// The last one's Z.
    pub(crate) z: Element<V>,
}

impl<V: Lanes, const COUNT: usize> OddMultiples<V, COUNT> {
    /// `q` is on the curve: no multiple up to the last is infinity or equals another, as the curve's order is a prime.
    #[inline(always)]
    pub(crate) fn new(q: Affine<V>) -> Self {
        let (mut twice, mut last, mut z) = double_same_z(q);
        let mut points = [q; COUNT];
        let mut factors = [z; COUNT];
        for i in 1..COUNT {
            let (sum, again, factor) = plus_same_z(twice, last);
            (twice, last) = (again, sum);
            z = z.times(factor);
            points[i] = sum;
            factors[i] = factor;
        }
        Self { points, factors, z }
    }

    /// The rows of each lane's multiples, given 1/Z of the last.
    #[inline(always)]
    pub(crate) fn rows(&self, z_inverse: Element<V>, rows: &mut [[Row; COUNT]; LANES]) {
        let mut inverse = z_inverse;
        for i in (0..COUNT).rev() {
            let mut point = self.points[i];
            if i > 0 {
                let jacobian = Point {
                    x: point.x,
                    y: point.y,
                    z: inverse,
                };
                point = jacobian.affine(inverse);
                inverse = inverse.times(self.factors[i]);
            }
            for (lane, row) in pack(point).into_iter().enumerate() {
                rows[lane][i] = row;
            }
        }
    }
}

/// One row of each lane.
#[inline(always)]
fn pack<V: Lanes>(point: Affine<V>) -> [Row; LANES] {
    let x = words(point.x.canonical()).map(Lanes::to_array);
    let y = words(point.y.canonical()).map(Lanes::to_array);
    let rows = [&x[0], &x[1], &x[2], &x[3], &y[0], &y[1], &y[2], &y[3]];
    point.x.0[0].transpose(rows).map(Lanes::to_array)
}

/// The point of a row for each lane.
#[inline(always)]
pub(crate) fn unpack<V: Lanes>(like: V, rows: [&Row; LANES]) -> Affine<V> {
    let [x0, x1, x2, x3, y0, y1, y2, y3] = like.transpose(rows);
    Affine {
        x: Element(from_words([x0, x1, x2, x3])),
        y: Element(from_words([y0, y1, y2, y3])),
    }
}

/// Four words of a tight number under 2^256.
#[inline(always)]
fn words<V: Lanes>(a: Vectors<V>) -> [V; 4] {
    [
        a[0].or(a[1].shl::<52>()),
        a[1].shr::<12>().or(a[2].shl::<40>()),
        a[2].shr::<24>().or(a[3].shl::<28>()),
        a[3].shr::<36>().or(a[4].shl::<16>()),
    ]
}

/// The tight limbs of four words.
#[inline(always)]
fn from_words<V: Lanes>(w: [V; 4]) -> Vectors<V> {
    let low = w[0].fill(LOW_52);
    [
        w[0].and(low),
        w[0].shr::<52>().or(w[1].shl::<12>()).and(low),
        w[1].shr::<40>().or(w[2].shl::<24>()).and(low),
        w[2].shr::<28>().or(w[3].shl::<36>()).and(low),
        w[3].shr::<16>(),
    ]
}

/// Bits of a comb's window.
pub(crate) const COMB_BITS: usize = 8;
/// Windows of a comb: 256 bits.
pub(crate) const COMB_WINDOWS: usize = 32;
const COMB_ROWS: usize = 1 << (COMB_BITS - 1);

/// For each window i the odd multiples of 2^(8i)·P: a multiple of P is then 32 rows' sum, without a doubling. 256 KiB.
pub(crate) struct Comb(Box<[[Row; COMB_ROWS]]>);

impl Comb {
    /// The table's row for each lane of a window, with its sign.
    #[inline(always)]
    pub(crate) fn look_up<V: Lanes>(&self, like: V, window: usize, digits: &Digits) -> Affine<V> {
        let rows = &self.0[window];
        unpack(like, digits.indices.map(|index| &rows[index])).negate(digits.negative)
    }
}

/// Makes a comb for a point on the curve.
pub(crate) struct MakeComb {
    /// The point's coordinates as numbers.
    pub(crate) x: Limbs,
    pub(crate) y: Limbs,
}

impl Task for MakeComb {
    type Output = Comb;

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Comb {
        let mut table = vec![[[0; 8]; COMB_ROWS]; COMB_WINDOWS].into_boxed_slice();
        let mut rows = Box::new([[[0; 8]; COMB_ROWS]; LANES]);
        let base = Affine {
            x: Element::from_number(fill(zero, self.x)),
            y: Element::from_number(fill(zero, self.y)),
        };
        // Every lane has the same multiple of the base; lane l of group g keeps it at window 8g + l.
        let mut multiple = base.jacobian();
        for group in table.chunks_exact_mut(LANES) {
            let mut starts = multiple;
            for lane in 1..LANES {
                for _ in 0..COMB_BITS {
                    multiple = multiple.doubled();
                }
                starts = starts.select(0xff << lane, multiple);
            }
            for _ in 0..COMB_BITS {
                multiple = multiple.doubled();
            }
            let starts = starts.affine(starts.z.inverted());
            let multiples = Box::new(OddMultiples::<V, COMB_ROWS>::new(starts));
            multiples.rows(multiples.z.inverted(), &mut rows);
            group.copy_from_slice(&rows[..]);
        }
        Comb(table)
    }
}
