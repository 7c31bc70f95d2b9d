//! Samples made backwards: from the numbers or the points that the verification is to meet, to the key, digest and signature.

use num_bigint::BigUint;

use super::oracle::{CURVE, Point, octets};
use super::sample::{Key, Sample, base_multiple};

/// The sample whose verification computes `point` from r, s and e: its key is r⁻¹(s·point − e·G). `None` where that is
/// infinity. It is valid exactly if `point`'s x coordinate is r modulo n.
pub(crate) fn with_point(point: &Point, r: &BigUint, s: &BigUint, e: &BigUint) -> Option<Sample> {
    let minus_e = (&CURVE.n * 2_u8 - e) % &CURVE.n;
    let sum = CURVE.add(&CURVE.times(s, point), &CURVE.times(&minus_e, &CURVE.g));
    let (x, y) = CURVE.times(&CURVE.inverse(r), &sum)?;
    let mut key = [4; 65];
    key[1..33].copy_from_slice(&octets(&x));
    key[33..].copy_from_slice(&octets(&y));
    let mut sample = Sample {
        key,
        digest: octets(e),
        signature: [0; 64],
    };
    sample.set_r(r);
    sample.set_s(s);
    Some(sample)
}

/// The sample whose verification computes u1·G + u2·Q for the key Q = d·G. It is valid, unless the sum is infinity.
pub(crate) fn with_scalars(u1: &BigUint, u2: &BigUint, d: &BigUint) -> Sample {
    let n = &CURVE.n;
    let sum = (u1 + u2 * d) % n;
    // With infinity no r is right; that of the base point will do.
    let point = base_multiple(&if sum == BigUint::ZERO {
        1_u8.into()
    } else {
        sum
    });
    let r = BigUint::from_bytes_be(&point[1..33]) % n;
    let s = &r * CURVE.inverse(u2) % n;
    let mut sample = Sample {
        key: Key::new(d.clone()).public,
        digest: octets(&(u1 * &s % n)),
        signature: [0; 64],
    };
    sample.set_r(&r);
    sample.set_s(&s);
    sample
}

/// The digits of odd k in `count` windows of `width` bits, by definition: each is odd and the rest is divisible by
/// 2^width. As absolute values with "is negative".
pub(crate) fn odd_digits(k: &BigUint, width: u32, count: usize) -> Vec<(BigUint, bool)> {
    let window = BigUint::from(1_u8) << width;
    let mut rest = k.clone();
    let mut digits = Vec::new();
    for _ in 1..count {
        // The residue modulo 2^(width + 1), less 2^width, is odd; what is left over is divisible and odd after the division.
        let residue = &rest % (&window << 1);
        let digit = if residue > window {
            (&residue - &window, false)
        } else {
            (&window - &residue, true)
        };
        rest = if digit.1 {
            &rest + &digit.0
        } else {
            &rest - &digit.0
        } >> width;
        digits.push(digit);
    }
    digits.push((rest, false));
    digits
}

/// The sum of the digits times their windows' weights, modulo n.
pub(crate) fn recombined(digits: &[(BigUint, bool)], width: u32) -> BigUint {
    let n = &CURVE.n;
    digits
        .iter()
        .rev()
        .fold(BigUint::ZERO, |sum, (digit, negative)| {
            let digit = digit % n;
            ((sum << width) + if *negative { n - digit } else { digit }) % n
        })
}

/// Pairs (u1, u2) for a key d·G with which the sum of the table of u1 meets a point that it cannot add: before window `j`, what
/// was summed up is ± what is to be added.
pub(crate) fn collision(u1: &BigUint, d: &BigUint, j: usize, opposite: bool) -> BigUint {
    let n = &CURVE.n;
    // As the verification does, an even number is replaced by its negative, all digits with it.
    let negated = !u1.bit(0);
    let k = if negated { n - u1 } else { u1.clone() };
    let signed: Vec<_> = odd_digits(&k, 8, 32)
        .into_iter()
        .map(|(digit, negative)| (digit, negative != negated))
        .collect();
    let before = recombined(&signed[..j], 8);
    let (digit, negative) = &signed[j];
    let addend = (digit << (8 * j)) % n;
    let target = if *negative == opposite {
        addend
    } else {
        n - addend
    };
    (target + n - before) * CURVE.inverse(d) % n
}
