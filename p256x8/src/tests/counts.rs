//! What a verification costs in multiplications, and that the exact formulas run: counted by lanes that count.

use num_bigint::BigUint;
use std::cell::Cell;
use std::vec::Vec;

use super::oracle::CURVE;
use super::random::Random;
use super::to_limbs;
use crate::batch::{CHUNK, Checked, Exceptional, G_X, G_Y, Keys, VerifyChunk};
use crate::lanes::portable::Portable;
use crate::lanes::{LANES, Lanes, Task, Work};
use crate::table::{Comb, MakeComb};

std::thread_local! {
    /// Instructions VPMADD52LUQ and VPMADD52HUQ.
    static MADDS: Cell<u64> = const { Cell::new(0) };
    /// Runs of the exact formulas.
    static EXACT: Cell<u64> = const { Cell::new(0) };
}

/// The portable lanes, with counters.
#[derive(Clone, Copy)]
struct Counted(Portable);

// Every step is a call: inlined into a verification they would take minutes to compile.
impl Lanes for Counted {
    #[inline(never)]
    fn fill(self, value: u64) -> Self {
        Self(self.0.fill(value))
    }
    #[inline(never)]
    fn with(self, values: [u64; LANES]) -> Self {
        Self(self.0.with(values))
    }
    #[inline(never)]
    fn to_array(self) -> [u64; LANES] {
        self.0.to_array()
    }
    #[inline(never)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0))
    }
    #[inline(never)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.sub(other.0))
    }
    #[inline(never)]
    fn and(self, other: Self) -> Self {
        Self(self.0.and(other.0))
    }
    #[inline(never)]
    fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }
    #[inline(never)]
    fn shl<const N: u32>(self) -> Self {
        Self(self.0.shl::<N>())
    }
    #[inline(never)]
    fn shr<const N: u32>(self) -> Self {
        Self(self.0.shr::<N>())
    }
    #[inline(never)]
    fn sar<const N: u32>(self) -> Self {
        Self(self.0.sar::<N>())
    }
    #[inline(never)]
    fn madd_low(self, a: Self, b: Self) -> Self {
        MADDS.set(MADDS.get() + 1);
        Self(self.0.madd_low(a.0, b.0))
    }
    #[inline(never)]
    fn madd_high(self, a: Self, b: Self) -> Self {
        MADDS.set(MADDS.get() + 1);
        Self(self.0.madd_high(a.0, b.0))
    }
    #[inline(never)]
    fn equal(self, other: Self) -> u8 {
        self.0.equal(other.0)
    }
    #[inline(never)]
    fn select(self, mask: u8, yes: Self) -> Self {
        Self(self.0.select(mask, yes.0))
    }
    #[inline(never)]
    fn call<W: Work>(self, work: W) -> W::Output {
        if std::any::type_name::<W>().contains("DoubleMultiple") {
            EXACT.set(EXACT.get() + 1);
        }
        work.run()
    }
    #[inline(never)]
    fn transpose(self, rows: [&[u64; 8]; LANES]) -> [Self; 8] {
        self.0.transpose(rows).map(Self)
    }
}

/// The verdicts, the multiplications and the runs of the exact formulas.
fn run(items: &[Checked], keys: Keys<'_>, generator: &Comb) -> (u64, u64, u64) {
    MADDS.set(0);
    EXACT.set(0);
    let verdicts = VerifyChunk {
        items,
        keys,
        generator,
        exceptional: Exceptional::Exact,
    }
    .run(Counted(Portable::ZERO));
    (verdicts, MADDS.get(), EXACT.get())
}

fn base_comb() -> Comb {
    MakeComb { x: G_X, y: G_Y }.run(Portable::ZERO)
}

/// The item whose verification computes u1·G + u2·Q for Q = d·G. It is valid, unless that is infinity.
fn item(u1: &BigUint, u2: &BigUint, d: &BigUint) -> Checked {
    let n = &CURVE.n;
    let (x, y) = CURVE.times(d, &CURVE.g).unwrap();
    let sum = (u1 + u2 * d) % n;
    // With infinity no r is right: any will do.
    let r = CURVE
        .times(&sum, &CURVE.g)
        .map_or(12_345_u32.into(), |(x, _)| x % n);
    let s = &r * CURVE.inverse(u2) % n;
    Checked {
        x: to_limbs(&x),
        y: to_limbs(&y),
        e: to_limbs(&(u1 * &s % n)),
        r: to_limbs(&r),
        s: to_limbs(&s),
    }
}

fn ordinary(count: usize, d: Option<&BigUint>) -> Vec<Checked> {
    let mut random = Random::new(11);
    let items = (0..count).map(|_| {
        let [u1, u2, own] = [(); 3].map(|()| random.number(&CURVE.n));
        item(&u1, &u2, d.unwrap_or(&own))
    });
    items.collect()
}

/// README.md states these figures.
#[test]
fn multiplications_of_a_verification() {
    let generator = base_comb();
    let own = run(&ordinary(CHUNK, None), Keys::Own, &generator);
    let one: BigUint = 1_u8.into();
    let prepared = run(
        &ordinary(CHUNK, Some(&one)),
        Keys::Prepared(&generator),
        &generator,
    );
    // Every signature is valid and none met an exceptional case.
    assert_eq!(
        (own.0, own.2, prepared.0, prepared.2),
        (u64::MAX, 0, u64::MAX, 0)
    );
    let groups = (CHUNK / LANES) as u64;
    assert_eq!((own.1 / groups, prepared.1 / groups), (222_135, 54_754));
}

/// The exact formulas run for sums that meet themselves, their negative and infinity, and for these alone.
#[test]
fn exact_formulas_run_where_they_have_to() {
    let generator = base_comb();
    let n = &CURVE.n;
    let [one, two, seven] = [1_u8, 2, 7].map(BigUint::from);
    // Its digit in the first window is 7, and 7·G is what is added first.
    let from_seven = BigUint::from(7 + 256_u32);
    let mut random = Random::new(12);
    let (u, d) = (random.number(n), random.number(n));
    let cases = [
        // Nothing special.
        (item(&u, &seven, &d), true, 0),
        (item(&u, &two, &one), true, 0),
        (item(&BigUint::ZERO, &two, &one), true, 0),
        // u2·Q is what is added first, or its negative.
        (item(&from_seven, &seven, &one), true, 1),
        (item(&from_seven, &(n - &seven), &one), true, 1),
        // The sum is infinity.
        (item(&(n - &one), &one, &one), false, 1),
        (item(&(n - &seven * &d % n), &seven, &d), false, 1),
    ];
    for (i, (item, valid, exact)) in cases.into_iter().enumerate() {
        let found = run(&[item], Keys::Own, &generator);
        assert_eq!((found.0, found.2), (u64::from(valid), exact), "case {i}");
    }
    // In a table the last addition can meet itself, as the sum has gone once around n.
    let last = BigUint::from(255_u8) * (BigUint::from(1_u8) << 249_u32) - n;
    let found = run(
        &[item(&u, &last, &one)],
        Keys::Prepared(&generator),
        &generator,
    );
    assert_eq!((found.0, found.2), (1, 1));
    // One lane is exceptional, the other seven are not: theirs is still right.
    let mut items = ordinary(LANES, None);
    items[3] = item(&from_seven, &seven, &one);
    let found = run(&items, Keys::Own, &generator);
    assert_eq!((found.0, found.2), (0xff, 1));
}
