//! The bounds that `field` and `point` claim, by interval arithmetic: the real formulas run on lanes that hold, in place of a
//! number, the least and the greatest that it may be. A step whose word could leave 64 bits panics, and so does
//! (in `carry`) a number that could leave [0, 2^260).

use crate::exact::DoubleMultiple;
use crate::field::Element;
use crate::lanes::{LANES, Lanes, Work};
use crate::limbs::{LOW_52, Vectors};
use crate::point::{Affine, Point, double_same_z, plus_same_z};
use std::cell::Cell;

/// What an interval is known to come from, as far as `Sum::fold` needs it: it takes off a number its own upper bits.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Other,
    /// `of − by`.
    Less {
        of: u64,
        by: i128,
    },
    /// `(of − by) >> bits`.
    Upper {
        of: u64,
        by: i128,
        bits: u32,
    },
    /// That, shifted back.
    Floor {
        of: u64,
        by: i128,
        bits: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    low: i128,
    high: i128,
    id: u64,
    origin: Origin,
}

std::thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(1) };
}

impl Interval {
    fn new(low: i128, high: i128) -> Self {
        assert!(
            low <= high && low >= i128::from(i64::MIN) && high <= i128::from(i64::MAX),
            "a word in [{low}, {high}] overflows"
        );
        let id = NEXT.replace(NEXT.get() + 1);
        Self {
            low,
            high,
            id,
            origin: Origin::Other,
        }
    }

    fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    fn is_constant(self) -> bool {
        self.low == self.high
    }

    /// This limb, which is a tight one.
    fn tight(self) -> Self {
        assert!(self.low >= 0 && self.high <= i128::from(LOW_52), "{self:?}");
        self
    }

    /// What VPMADD52 takes of a factor, its low 52 bits. Only a reduction gives it more than tight limbs, times a constant.
    fn factor(self, other: Self) -> Self {
        if other.is_constant() && (self.low < 0 || self.high > LOW_52.into()) {
            return Self::new(0, LOW_52.into());
        }
        self.tight()
    }
}

// Every step is a call: inlined into the formulas they would take minutes to compile.
impl Lanes for Interval {
    #[inline(never)]
    fn fill(self, value: u64) -> Self {
        Self::new(value.into(), value.into())
    }
    #[inline(never)]
    fn with(self, values: [u64; LANES]) -> Self {
        let least = values.iter().min().copied().unwrap_or(0);
        let greatest = values.iter().max().copied().unwrap_or(0);
        Self::new(least.into(), greatest.into())
    }
    /// Both ends, for the assertion in `carry`.
    #[inline(never)]
    fn to_array(self) -> [u64; LANES] {
        let ends = [self.low, self.high].map(|end| end as u64);
        std::array::from_fn(|lane| ends[lane % 2])
    }
    #[inline(never)]
    fn add(self, other: Self) -> Self {
        Self::new(self.low + other.low, self.high + other.high)
    }
    #[inline(never)]
    fn sub(self, other: Self) -> Self {
        match other.origin {
            // a − floor(a − by) is by and the lower bits of a − by.
            Origin::Floor { of, by, bits } if of == self.id => Self::new(by, by + (1 << bits) - 1),
            _ if other.is_constant() => {
                let (of, by) = (self.id, other.low);
                Self::new(self.low - by, self.high - by).from(Origin::Less { of, by })
            }
            _ => Self::new(self.low - other.high, self.high - other.low),
        }
    }
    #[inline(never)]
    fn and(self, other: Self) -> Self {
        assert!(other.is_constant() && (other.low + 1).count_ones() == 1);
        if self.low >= 0 && self.high <= other.low {
            return self;
        }
        Self::new(0, other.low)
    }
    /// Of words without a common bit.
    #[inline(never)]
    fn or(self, other: Self) -> Self {
        Self::new(self.low.max(other.low), self.high + other.high)
    }
    #[inline(never)]
    fn shl<const N: u32>(self) -> Self {
        let shifted = Self::new(self.low << N, self.high << N);
        match self.origin {
            Origin::Upper { of, by, bits } if bits == N => {
                shifted.from(Origin::Floor { of, by, bits })
            }
            _ => shifted,
        }
    }
    #[inline(never)]
    fn shr<const N: u32>(self) -> Self {
        assert!(self.low >= 0);
        self.sar::<N>()
    }
    #[inline(never)]
    fn sar<const N: u32>(self) -> Self {
        let shifted = Self::new(self.low >> N, self.high >> N);
        match self.origin {
            Origin::Less { of, by } => shifted.from(Origin::Upper { of, by, bits: N }),
            _ => shifted,
        }
    }
    #[inline(never)]
    fn madd_low(self, a: Self, b: Self) -> Self {
        let greatest = (a.factor(b).high * b.tight().high).min(LOW_52.into());
        Self::new(self.low, self.high + greatest)
    }
    #[inline(never)]
    fn madd_high(self, a: Self, b: Self) -> Self {
        let (a, b) = (a.factor(b), b.tight());
        let (least, greatest) = (a.low * b.low, a.high * b.high);
        Self::new(self.low + (least >> 52), self.high + (greatest >> 52))
    }
    /// Nobody knows: some lanes are, some are not.
    #[inline(never)]
    fn equal(self, _: Self) -> u8 {
        0b0101_0101
    }
    #[inline(never)]
    fn select(self, mask: u8, yes: Self) -> Self {
        match mask {
            0 => self,
            0xff => yes,
            _ => Self::new(self.low.min(yes.low), self.high.max(yes.high)),
        }
    }
    #[inline(never)]
    fn call<W: Work>(self, work: W) -> W::Output {
        work.run()
    }
    #[inline(never)]
    fn transpose(self, _: [&[u64; 8]; LANES]) -> [Self; 8] {
        unreachable!("tables are not part of the formulas")
    }
}

/// Bounds in the documentation, in tenths of 2^256.
const FACTOR: i128 = 25;
const PRODUCT: i128 = 14;
/// In hundredths.
const FOLDED: i128 = 101;

/// Any element under so many tenths of 2^256: its top limb tells, as the others are less than one of its units.
fn any(tenths: i128) -> Element<Interval> {
    let limb = || Interval::new(0, LOW_52.into());
    let top = Interval::new(0, (tenths << 48) / 10 - 1);
    Element([limb(), limb(), limb(), limb(), top])
}

/// Asserts tight limbs, and a number under `hundredths` of 2^256.
fn under(vectors: Vectors<Interval>, hundredths: i128) {
    for limb in vectors {
        limb.tight();
    }
    let top = vectors[4].high + 1;
    assert!(
        top * 100 <= hundredths << 48,
        "{top:x} is over {hundredths} hundredths"
    );
}

#[test]
fn products() {
    let factor = any(FACTOR);
    under(factor.times(factor).0, PRODUCT * 10);
    under(factor.squared().0, PRODUCT * 10);
    // A table's number under 2^260 goes into Montgomery form.
    let number = Element([Interval::new(0, LOW_52.into()); 5]);
    under(Element::from_number(number.0).0, PRODUCT * 10);
    // Twice a product needs no folding.
    let product = any(PRODUCT);
    let doubled = product.product(product).reduce().doubled().carry();
    under(doubled.0, FACTOR * 10);
    assert!(factor.is_zero() != 0);
}

/// A sum as great as `fold` takes: within ±2^262, its limbs within ±2^60.
#[test]
fn folded_sums() {
    let zero = Element([Interval::new(0, 0); 5]);
    let factor = any(160);
    // Six bits up are under 16·2^256·64 = 2^266 and over the limit: four are 2^264, two are 2^262.
    let plus = factor.loose().shifted::<2>();
    let minus = zero.loose().minus(factor.loose().shifted::<2>());
    under(plus.fold().0, FOLDED);
    under(minus.fold().0, FOLDED);
    under(plus.plus(minus).fold().0, FOLDED);
}

/// A point within the bounds that all formulas are asked to keep: x and y are folded, a product or a table's, z may be twice a product.
fn any_point() -> Point<Interval> {
    Point {
        x: any(PRODUCT),
        y: any(PRODUCT),
        z: any(FACTOR),
    }
}

fn any_affine() -> Affine<Interval> {
    Affine {
        x: any(PRODUCT),
        y: any(PRODUCT),
    }
}

#[test]
fn formulas() {
    let double = any_point().doubled();
    let sum = any_point().plus_affine(any_affine());
    for point in [double, sum] {
        under(point.x.0, FOLDED);
        under(point.y.0, FOLDED);
        under(point.z.0, FACTOR * 10);
    }
    let (sum, again, factor) = plus_same_z(any_affine(), any_affine());
    let (twice, first, z) = double_same_z(any_affine());
    for point in [sum, again, twice, first] {
        under(point.x.0, PRODUCT * 10);
        under(point.y.0, PRODUCT * 10);
    }
    under(factor.0, FOLDED);
    under(z.0, FOLDED);
    under(any_affine().negate(0b11).y.0, PRODUCT * 10);
    let affine = any_point().affine(any(PRODUCT));
    under(affine.x.0, PRODUCT * 10);
    under(affine.y.0, PRODUCT * 10);
    assert!(any_affine().on_curve() != 0);
    under(any_point().z.inverted().0, PRODUCT * 10);
}

#[test]
fn exact_formulas() {
    let scalar = || [Interval::new(0, LOW_52.into()); 5];
    let multiple = DoubleMultiple {
        u1: scalar(),
        g: any_affine(),
        u2: scalar(),
        q: any_affine(),
    }
    .run();
    under(multiple.x.0, PRODUCT * 10);
    under(multiple.z.0, PRODUCT * 10);
}
