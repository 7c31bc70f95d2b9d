//! Field and scalars: products, squares, sums, reductions, comparisons and inverses against big integers.

use num_bigint::BigUint;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::vec::Vec;

use super::oracle::CURVE;
use super::{limbs_of, number, numbers, on_both, to_limbs, with};
use crate::field::{Element, P};
use crate::lanes::portable::Portable;
use crate::lanes::{LANES, Lanes, Task};
use crate::limbs::{LOW_52, Limbs, carry, equal, less_than, product, square, subtract_once};
use crate::scalar::{N, Scalar, negated};

type Eight = [Limbs; LANES];

/// Tight numbers, each limb of them at an end or at random; the last limb is under 2.5·2^48.
fn tight() -> impl Strategy<Value = Eight> {
    let limb = || prop_oneof![Just(0), Just(1), Just(LOW_52), Just(LOW_52 - 1), 0..=LOW_52];
    let top = prop_oneof![
        Just(0),
        Just(1),
        Just((5 << 47) - 1),
        Just((1 << 48) - 1),
        0..5_u64 << 47
    ];
    let one = (limb(), limb(), limb(), limb(), top).prop_map(|(a, b, c, d, e)| [a, b, c, d, e]);
    proptest::array::uniform8(one)
}

/// Runs a property of two times eight numbers; the same ones in every run.
fn property(test: impl Fn(Eight, Eight)) {
    let config = Config {
        cases: 300,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&(tight(), tight()), |(a, b)| {
        test(a, b);
        Ok(())
    });
    run.unwrap();
}

/// 1/2^260.
fn inverse_of_radix(modulus: &BigUint) -> BigUint {
    (BigUint::from(1_u8) << 260_u32).modinv(modulus).unwrap()
}

#[derive(Clone)]
struct FieldSteps(Eight, Eight);

/// Every step of the field: a·b/R, a²/R, a − b, 12a, −8b, (a·b − 8b²)/R, (a·b − b²)/R.
impl Task for FieldSteps {
    type Output = (Vec<Eight>, Eight, u8);

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Self::Output {
        let (a, b) = (Element(with(zero, &self.0)), Element(with(zero, &self.1)));
        let elements = [
            a.times(b),
            a.squared(),
            a.minus(b).fold(),
            a.loose().tripled().shifted::<2>().fold(),
            Element([zero; 5])
                .loose()
                .minus(b.loose().doubled().shifted::<2>())
                .fold(),
            a.product(b).minus_eight(b.square()).reduce().fold(),
            a.product(b).minus(b.square()).reduce().fold(),
        ];
        let elements = elements.iter().map(|element| limbs_of(element.0)).collect();
        (
            elements,
            limbs_of(a.canonical()),
            a.minus(b).fold().is_zero(),
        )
    }
}

#[test]
fn field_steps() {
    property(|a, b| {
        let (elements, canonical, zero) = on_both(FieldSteps(a, b));
        let (p, radix) = (&CURVE.p, inverse_of_radix(&CURVE.p));
        for lane in 0..LANES {
            let (a, b) = (number(&a[lane]), number(&b[lane]));
            // Negative terms are brought above zero by a multiple of p.
            let multiple = p << 10;
            let square = (&b * &b) % p;
            let right = [
                &a * &b * &radix,
                &a * &a * &radix,
                &a + &multiple - &b,
                &a * 12_u8,
                &multiple - &b * 8_u8,
                (&a * &b + &multiple - &square * 8_u8) * &radix,
                (&a * &b + &multiple - &square) * &radix,
            ];
            for (i, (found, right)) in elements.iter().zip(right).enumerate() {
                let found = &found[lane];
                assert!(found.iter().all(|limb| *limb <= LOW_52));
                assert_eq!(number(found) % p, right % p, "step {i}");
            }
            assert_eq!(number(&canonical[lane]), &a % p);
            assert_eq!(zero >> lane & 1 == 1, a % p == b % p);
        }
    });
}

/// Multiples of p, and what is beside them, are told apart whatever number stands for them.
#[test]
fn zero_is_found_in_each_form() {
    let p = &CURVE.p;
    let values = [
        BigUint::ZERO,
        p.clone(),
        p * 2_u8,
        p - 1_u8,
        p + 1_u8,
        p * 2_u8 - 1_u8,
        p * 2_u8 + 1_u8,
        1_u8.into(),
    ];
    let eight: Eight = std::array::from_fn(|i| to_limbs(&values[i]));
    let element = Element(with(Portable::ZERO, &eight));
    assert_eq!(element.is_zero(), 0b111);
    let canonical = numbers(element.canonical());
    assert_eq!(canonical, values.map(|value| value % p));
}

#[derive(Clone)]
struct Inverses(Eight);

impl Task for Inverses {
    type Output = (Eight, Eight);

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Self::Output {
        let numbers = with(zero, &self.0);
        let element = Element(numbers).inverted().canonical();
        let scalar = Scalar(numbers).to_montgomery().inverted().canonical();
        (limbs_of(element), limbs_of(scalar))
    }
}

/// In Montgomery form the inverse of a·R is R/a: the number a stands for a/R, and its inverse's number is R²/a.
#[test]
fn inverses() {
    let (p, n) = (&CURVE.p, &CURVE.n);
    let big = [n - 1_u8, n - 2_u8, n >> 1, (n >> 1) + 1_u8];
    let small = [0_u64, 1, 2, u64::MAX].map(BigUint::from);
    let values: Vec<_> = small.into_iter().chain(big).collect();
    let eight: Eight = std::array::from_fn(|i| to_limbs(&values[i]));
    let (elements, scalars) = on_both(Inverses(eight));
    let radix = BigUint::from(1_u8) << 260_u32;
    for (lane, value) in values.iter().enumerate() {
        let inverse = |modulus| value.modinv(modulus).unwrap_or_default();
        assert_eq!(number(&elements[lane]), &radix * &radix * inverse(p) % p);
        assert_eq!(number(&scalars[lane]), &radix * inverse(n) % n);
    }
}

#[derive(Clone)]
struct LimbSteps(Eight, Eight);

impl Task for LimbSteps {
    type Output = (Vec<Vec<[u64; LANES]>>, u8, u8);

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Self::Output {
        let (a, b) = (with(zero, &self.0), with(zero, &self.1));
        let loose = std::array::from_fn(|i| a[i].add(b[i]));
        let words = |vectors: &[V]| vectors.iter().map(|vector| vector.to_array()).collect();
        let steps = [
            words(&product(a, b)),
            words(&square(a)),
            words(&carry(loose)),
            words(&subtract_once(a, b)),
            words(&Scalar(a).times(Scalar(b)).0),
            words(&Scalar(a).canonical()),
            words(&negated(Scalar(a).times(Scalar(b)).canonical())),
        ];
        (steps.into_iter().collect(), less_than(a, b), equal(a, b))
    }
}

/// The number of lane `lane` of any count of limbs.
fn lane_number(words: &[[u64; LANES]], lane: usize) -> BigUint {
    let limbs = words.iter().rev();
    limbs.fold(BigUint::ZERO, |sum, limb| (sum << 52_u32) + limb[lane])
}

#[test]
fn limb_and_scalar_steps() {
    property(|a, mut b| {
        // Equal numbers, and numbers that differ in one limb, are too rare to come by themselves.
        b[0] = a[0];
        b[1] = a[1];
        b[1][0] ^= 1;
        let (steps, less, equal) = on_both(LimbSteps(a, b));
        let (n, radix) = (&CURVE.n, inverse_of_radix(&CURVE.n));
        for lane in 0..LANES {
            let (a, b) = (number(&a[lane]), number(&b[lane]));
            let found: Vec<_> = steps.iter().map(|step| lane_number(step, lane)).collect();
            assert_eq!(found[0], &a * &b);
            assert_eq!(found[1], &a * &a);
            assert_eq!(found[2], &a + &b);
            assert_eq!(found[3], if a < b { a.clone() } else { &a - &b });
            // Factors under 2.5·2^256 have a product under 2^514.65: within 2n plus a bit more than what 2^514 would give.
            let product = &a * &b * &radix % n;
            assert_eq!(&found[4] % n, product);
            if (&a * &b).bits() <= 514 {
                assert!(found[4] < n * 2_u8);
                assert_eq!(found[6], n - product);
            }
            assert_eq!(found[5], if &a < n { a.clone() } else { &a - n });
            assert_eq!(less >> lane & 1 == 1, a < b);
            assert_eq!(equal >> lane & 1 == 1, a == b);
        }
    });
}

#[test]
fn constants() {
    let radix = BigUint::from(1_u8) << 260_u32;
    assert_eq!(number(&P), CURVE.p);
    assert_eq!(number(&N), CURVE.n);
    assert_eq!(number(&crate::field::ONE), &radix % &CURVE.p);
    assert_eq!(number(&crate::point::B), &CURVE.b * &radix % &CURVE.p);
    let g = CURVE.g.as_ref().unwrap();
    assert_eq!((number(&crate::batch::G_X), number(&crate::batch::G_Y)), *g);
    let one = Scalar::one(Portable::ZERO);
    assert_eq!(numbers(one.0)[0], &radix % &CURVE.n);
    let five = with(Portable::ZERO, &[[5, 0, 0, 0, 0]; LANES]);
    assert_eq!(
        numbers(Scalar(five).to_montgomery().canonical())[0],
        &radix * 5_u8 % &CURVE.n
    );
    assert_eq!(
        numbers(Element::from_number(five).canonical())[0],
        &radix * 5_u8 % &CURVE.p
    );
}
