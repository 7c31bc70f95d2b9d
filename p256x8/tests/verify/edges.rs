//! Signatures made to meet each exceptional case: extreme r and s, x coordinates above n, scalars with extreme windows, and
//! sums that meet themselves, their negative or infinity. Each against aws-lc-rs and the oracle.

use num_bigint::BigUint;

use super::constructed::{collision, odd_digits, recombined, with_point, with_scalars};
use super::oracle::CURVE;
use super::paths::PATHS;
use super::random::Random;
use super::sample::Sample;

fn number(n: u64) -> BigUint {
    BigUint::from(n)
}

fn power(bit: u32) -> BigUint {
    number(1) << bit
}

/// The verdicts of all paths, which are `expected`; the oracle is asked about one sample in `step`.
fn check(samples: &[Sample], expected: impl Fn(usize) -> bool, step: usize) {
    let verdicts = PATHS.verdicts(samples);
    for (i, (sample, verdict)) in samples.iter().zip(verdicts).enumerate() {
        assert_eq!(verdict, expected(i), "{i}: {sample:02x?}");
        if i % step == 0 {
            let oracle = CURVE.verifies(&sample.key, &sample.digest, &sample.signature);
            assert_eq!(oracle, verdict, "{i}: {sample:02x?}");
        }
    }
}

/// The next number upwards (or downwards) that is the x coordinate of a point, or the sum of one with n.
fn x_near(start: &BigUint, down: bool) -> BigUint {
    let step = |x: BigUint| if down { x - 1_u8 } else { x + 1_u8 };
    let mut x = start.clone();
    while CURVE.with_x(&x).is_none() {
        x = step(x);
    }
    x
}

/// Numbers at the ends of the range and at the limbs' and words' borders.
fn extremes() -> Vec<BigUint> {
    let n = &CURVE.n;
    let mut numbers = vec![
        number(1),
        number(2),
        n - 1_u8,
        n - 2_u8,
        n >> 1,
        (n >> 1) + 1_u8,
    ];
    for bit in [51, 52, 63, 64, 104, 128, 156, 192, 208, 224, 255] {
        numbers.extend([power(bit) - 1_u8, power(bit)]);
    }
    numbers
}

#[test]
fn extreme_r_and_s() {
    let n = &CURVE.n;
    let digests = [
        number(0),
        number(1),
        n - 1_u8,
        n.clone(),
        n + 1_u8,
        power(256) - 1_u8,
    ];
    let numbers = extremes();
    let mut samples = Vec::new();
    for (i, r) in numbers.iter().enumerate() {
        let r = x_near(r, r > &power(255));
        let point = CURVE.with_x(&r);
        // Every r meets s at both ends, and each s in turn.
        for (j, s) in [
            number(1),
            n - 1_u8,
            numbers[(i + 7) % numbers.len()].clone(),
        ]
        .iter()
        .enumerate()
        {
            let e = &digests[(i + j) % digests.len()];
            samples.extend(with_point(&point, &r, s, e));
        }
    }
    assert!(samples.len() > 80);
    check(&samples, |_| true, 1);
    // The negative s is as valid; the negative r is not.
    for sample in &mut samples {
        sample.set_s(&(n - sample.s()));
    }
    check(&samples, |_| true, 4);
    for sample in &mut samples {
        sample.set_r(&(n - sample.r()));
    }
    check(&samples, |_| false, 4);
}

/// Points whose x coordinate is in [n, p): r is x − n.
#[test]
fn x_coordinates_above_n() {
    let (n, p) = (&CURVE.n, &CURVE.p);
    let mut above = vec![x_near(&(p - 1_u8), true)];
    let mut x = n.clone();
    for _ in 0..8 {
        x = x_near(&(x + 1_u8), false);
        above.push(x.clone());
    }
    above.push(x_near(&(n + power(52)), false));
    above.push(x_near(&(n + power(104)), true));
    let (s, e) = (number(0x1234_5678), power(200) + 77_u8);
    let made = |x: &BigUint, r: &BigUint| with_point(&CURVE.with_x(x), r, &s, &e).unwrap();
    let valid: Vec<_> = above.iter().map(|x| made(x, &(x - n))).collect();
    check(&valid, |_| true, 1);
    // The same r stands for x = r too, where that is a point.
    let small: Vec<_> = (1..40_u64)
        .map(number)
        .filter(|r| CURVE.with_x(r).is_some())
        .collect();
    let low: Vec<_> = small.iter().map(|r| made(r, r)).collect();
    check(&low, |_| true, 1);
    // r has to be under n, and a neighbor is not x.
    let mut out: Vec<_> = above.iter().map(|x| made(x, &(x % n))).collect();
    for sample in &mut out {
        sample.set_r(&(sample.r() + n));
    }
    check(&out, |_| false, 1);
    let beside: Vec<_> = above.iter().map(|x| made(x, &(x - n + 1_u8))).collect();
    check(&beside, |_| false, 1);
}

/// r = p − n would be the x coordinate 0 modulo p, but r + n = p is none.
#[test]
fn the_point_with_x_zero_verifies_nothing() {
    let point = CURVE.with_x(&BigUint::ZERO);
    assert!(point.is_some());
    let (s, e) = (number(99), number(5));
    let border = &CURVE.p - &CURVE.n;
    let mut samples: Vec<_> = [border.clone(), border - 1_u8, number(1)]
        .iter()
        .map(|r| with_point(&point, r, &s, &e).unwrap())
        .collect();
    let mut zero = samples[0];
    zero.set_r(&BigUint::ZERO);
    samples.push(zero);
    check(&samples, |_| false, 1);
}

/// Odd numbers under n in which one window is as large or as small as can be, the others random.
fn window_extremes(width: u32, count: usize, random: &mut Random) -> Vec<BigUint> {
    let largest = power(width) - 1_u8;
    let mut numbers = Vec::new();
    for window in 0..count {
        for (digit, negative) in [
            (&largest, false),
            (&largest, true),
            (&number(1), false),
            (&number(1), true),
        ] {
            let mut k = random.number(&CURVE.n);
            k.set_bit(0, true);
            let mut digits = odd_digits(&k, width, count);
            digits[window] = (digit.clone(), negative);
            let k = recombined(&digits, width);
            numbers.push(if k.bit(0) { k } else { &CURVE.n - k });
        }
    }
    numbers
}

#[test]
fn scalars_with_extreme_windows() {
    let mut random = Random::new(8);
    let mut samples = Vec::new();
    let mut prepared = Vec::new();
    let fixed = random.number(&CURVE.n);
    for u2 in window_extremes(5, 52, &mut random) {
        let (u1, d) = (random.number(&CURVE.n), random.number(&CURVE.n));
        samples.push(with_scalars(&u1, &u2, &d));
        samples.push(with_scalars(&u1, &(&CURVE.n - u2), &d));
    }
    for k in window_extremes(8, 32, &mut random) {
        let other = random.number(&CURVE.n);
        samples.push(with_scalars(&k, &other, &fixed));
        prepared.push(with_scalars(&other, &k, &fixed));
        prepared.push(with_scalars(&other, &(&CURVE.n - k), &fixed));
    }
    check(&samples, |_| true, 40);
    assert!(
        PATHS
            .prepared_verdicts(&prepared)
            .iter()
            .all(|valid| *valid)
    );
}

#[test]
fn extreme_scalars() {
    let numbers = extremes();
    let d = number(0xdead_beef);
    let mut samples = Vec::new();
    for (i, u1) in numbers.iter().enumerate() {
        for j in [0, 3, 11] {
            samples.push(with_scalars(u1, &numbers[(i + j) % numbers.len()], &d));
            // u1 = 0.
            samples.push(with_scalars(&BigUint::ZERO, u1, &(&d + j)));
        }
    }
    // u1 = 0 as e = n.
    let mut zero = with_scalars(&BigUint::ZERO, &numbers[9], &d);
    zero.digest = super::oracle::octets(&CURVE.n);
    samples.push(zero);
    check(&samples, |_| true, 8);
}

/// Keys ±k·G for small k and for powers of two, and scalars that make every sum a small multiple.
#[test]
fn keys_that_are_small_multiples_of_the_base_point() {
    let n = &CURVE.n;
    let mut keys: Vec<_> = [1, 2, 3, 5, 15, 16, 31, 32, 255, 256].map(number).to_vec();
    keys.extend([8, 51, 52, 64, 128, 248, 255].map(power));
    let negatives: Vec<_> = keys.iter().map(|d| n - d).collect();
    keys.extend(negatives);
    let scalars = [1, 2, 17, 31, 34, 256].map(number);
    let mut samples = Vec::new();
    let mut infinite = Vec::new();
    for d in &keys {
        for (i, u2) in scalars.iter().enumerate() {
            let u1 = &scalars[(i + 2) % scalars.len()];
            for u1 in [
                u1.clone(),
                n - u1,
                u2.clone(),
                n - u2,
                u2 * d % n,
                BigUint::ZERO,
            ] {
                for u2 in [u2.clone(), n - u2] {
                    samples.push(with_scalars(&u1, &u2, d));
                    infinite.push((&u1 + &u2 * d) % n == BigUint::ZERO);
                }
            }
        }
    }
    assert!(infinite.iter().filter(|infinite| **infinite).count() > 100);
    check(&samples, |i| !infinite[i], 97);
    for d in [&keys[0], &keys[4], &keys[keys.len() - 1]] {
        let key = with_scalars(&number(1), &number(7), d).key;
        let of_key = samples.iter().zip(&infinite);
        let of_key = of_key.filter(|(sample, _)| sample.key == key);
        let (of_key, infinite): (Vec<Sample>, Vec<bool>) = of_key.unzip();
        let verdicts = PATHS.prepared_verdicts(&of_key);
        assert!(
            verdicts
                .iter()
                .zip(&infinite)
                .all(|(valid, infinite)| valid != infinite)
        );
    }
}

/// Before each window of u1's table, the sum so far is what comes next, or its negative.
#[test]
fn sums_that_meet_the_next_addend() {
    let mut random = Random::new(9);
    let d = random.number(&CURVE.n);
    let mut samples = Vec::new();
    for window in 0..32 {
        for opposite in [false, true] {
            let u1 = random.number(&CURVE.n);
            let u2 = collision(&u1, &d, window, opposite);
            samples.push(with_scalars(&u1, &u2, &d));
        }
    }
    // The one addition of a table's windows that can meet itself: the last, where the sum has gone once around n.
    let last = (power(8) - 1_u8) * power(249) - &CURVE.n;
    for u2 in [last.clone(), &CURVE.n - last] {
        samples.push(with_scalars(&random.number(&CURVE.n), &u2, &d));
        samples.push(with_scalars(&BigUint::ZERO, &u2, &d));
    }
    // Before the last window the negative of what comes is the negative of the rest: the sum is infinity.
    let infinite = 63;
    check(&samples, |i| i != infinite, 6);
    samples.remove(infinite);
    assert!(PATHS.prepared_verdicts(&samples).iter().all(|valid| *valid));
    // In every lane of a group at once, and beside lanes that meet nothing.
    for sample in samples.iter().step_by(7) {
        assert_eq!(PATHS.verdicts(&[*sample; 8]), [true; 8]);
    }
}

/// The sum is infinity: no r is right.
#[test]
fn sums_at_infinity() {
    let mut random = Random::new(10);
    let n = &CURVE.n;
    let d = random.number(n);
    let samples: Vec<_> = (0..24)
        .map(|_| {
            let u2 = random.number(n);
            with_scalars(&(n - &u2 * &d % n), &u2, &d)
        })
        .collect();
    check(&samples, |_| false, 4);
    assert!(!PATHS.prepared_verdicts(&samples).contains(&true));
}
