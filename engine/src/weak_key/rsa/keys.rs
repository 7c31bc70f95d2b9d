//! Primes of RSA keys for tests, made with fixed seeds: sound ones, and weak ones of every kind.

use num_bigint::BigUint;

use super::{PRIMES, ROCA_GENERATOR};

/// Two primes of 1024 bits as they should be.
pub(crate) fn sound() -> Vec<BigUint> {
    let mut seeded = Seeded(2);
    vec![seeded.prime(1024), seeded.prime(1024)]
}

/// A modulus of 2058 bits or less with the largest small factor.
pub(crate) fn small_factor() -> Vec<BigUint> {
    let mut seeded = Seeded(4);
    vec![751u32.into(), seeded.prime(1024), seeded.prime(1024)]
}

/// Two primes next to each other.
pub(crate) fn close() -> Vec<BigUint> {
    let p = Seeded(6).prime(1024);
    vec![next_prime(&p + 2u8), p]
}

/// Two primes of the library of CVE-2017-15361.
pub(crate) fn roca() -> Vec<BigUint> {
    let mut seeded = Seeded(8);
    loop {
        let primes = vec![roca_prime(&mut seeded), roca_prime(&mut seeded)];
        if primes.iter().product::<BigUint>().bits() == 2048 {
            return primes;
        }
    }
}

/// Fixed numbers for keys: the generator of D. Lehmer's kind that PCG uses, top bits out.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        let mut word = 0;
        for _ in 0..2 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            word = word << 32 | self.0 >> 32;
        }
        word
    }

    /// An odd number of exactly so many bits, its two top bits set, so that products have twice as many.
    pub(super) fn odd(&mut self, bits: u64) -> BigUint {
        let words: Vec<u32> = (0..bits / 32).map(|_| self.next() as u32).collect();
        let mut number = BigUint::new(words);
        for bit in [0, bits - 1, bits - 2] {
            number.set_bit(bit, true);
        }
        number
    }

    pub(super) fn prime(&mut self, bits: u64) -> BigUint {
        next_prime(self.odd(bits))
    }
}

/// Fermat's test to base 2 after trial division: enough for numbers that nobody chose.
fn is_probable_prime(number: &BigUint) -> bool {
    let one = BigUint::from(1u8);
    PRIMES.iter().all(|prime| number % prime != BigUint::ZERO)
        && BigUint::from(2u8).modpow(&(number - &one), number) == one
}

pub(super) fn next_prime(mut number: BigUint) -> BigUint {
    while !is_probable_prime(&number) {
        number += 2u8;
    }
    number
}

/// A prime as the library of CVE-2017-15361 made it: `k·M + (65537^a mod M)`, M the product of the first 126
/// primes, which has 971 bits.
pub(super) fn roca_prime(seeded: &mut Seeded) -> BigUint {
    let primorial: BigUint = PRIMES
        .iter()
        .filter(|p| **p <= 701)
        .fold(2u8.into(), |m: BigUint, p| m * *p);
    assert_eq!(primorial.bits(), 971);
    let base = BigUint::from(ROCA_GENERATOR);
    let offset = base.modpow(&BigUint::from(seeded.next() >> 2), &primorial);
    // k so that the prime has 1024 bits.
    let mut k = BigUint::from(seeded.next() >> 11 | 3 << 51);
    loop {
        let candidate = &k * &primorial + &offset;
        if is_probable_prime(&candidate) {
            return candidate;
        }
        k += 1u8;
    }
}
