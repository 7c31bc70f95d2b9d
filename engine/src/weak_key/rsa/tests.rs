//! Moduli that anybody can factor, made with fixed seeds, and moduli that nobody can.

use num_bigint::BigUint;

use super::keys::{Seeded, next_prime, roca_prime};
use super::*;

fn findings(modulus: &BigUint) -> Vec<Rejection> {
    modulus_findings(&modulus.to_bytes_be())
}

#[test]
fn primes_and_orders_are_what_they_should_be() {
    assert_eq!((PRIMES[0], PRIMES[PRIME_COUNT - 1]), (3, 751));
    for prime in PRIMES.into_iter().filter(|prime| *prime <= ROCA_PRIME_MAX) {
        let order = ROCA_ORDERS[prime as usize];
        assert_eq!((prime - 1) % order, 0, "{prime}");
        assert_eq!(power(ROCA_GENERATOR % prime, order, prime), 1, "{prime}");
    }
    // 125 odd primes up to 701, as the paper counts 126 with 2.
    assert_eq!(PRIMES.iter().filter(|prime| **prime <= 701).count(), 125);
}

/// How seldom a sound modulus looks like one of that library.
#[test]
fn the_roca_test_does_not_err() {
    let shares = PRIMES.iter().filter(|prime| **prime <= ROCA_PRIME_MAX);
    let bits: f64 = shares
        .map(|prime| (f64::from(prime - 1) / f64::from(ROCA_ORDERS[*prime as usize])).log2())
        .sum();
    assert!(bits > 150.0, "{bits}");
}

#[test]
fn residues_are_remainders() {
    let mut seeded = Seeded(3);
    for bits in [2048, 2080, 4096] {
        let modulus = seeded.odd(bits);
        let found = residues(&modulus.to_bytes_be());
        for (residue, prime) in found.into_iter().zip(PRIMES) {
            assert_eq!(BigUint::from(residue), &modulus % prime, "{prime}");
        }
    }
    // A number of octets that four do not divide.
    assert_eq!(
        remainder(&[1, 2, 3, 4, 5, 6, 7], 751),
        (0x01_0203_0405_0607_u64 % 751) as u32
    );
}

#[test]
fn sound_moduli_have_no_finding() {
    let mut seeded = Seeded(11);
    for bits in [1024, 1536] {
        let modulus = seeded.prime(bits) * seeded.prime(bits);
        assert_eq!(findings(&modulus), []);
        assert_eq!(check_modulus(&modulus.to_bytes_be()), Ok(()));
    }
}

#[test]
fn every_small_factor_is_found() {
    let mut seeded = Seeded(5);
    let large = seeded.prime(2048);
    for factor in PRIMES {
        let found = check_modulus(&(&large * factor).to_bytes_be());
        assert_eq!(found, Err(Rejection::RsaSmallFactor { factor }));
    }
    // The next prime is above the bound.
    assert_eq!(check_modulus(&(large * 757u32).to_bytes_be()), Ok(()));
}

#[test]
fn close_primes_are_found_up_to_the_bound() {
    let mut seeded = Seeded(7);
    let p = seeded.prime(1024);
    let next = next_prime(&p + 2u8);
    for modulus in [&p * &next, &p * &p] {
        assert_eq!(findings(&modulus), [Rejection::RsaClosePrimes]);
    }
    // Steps taken = (difference / 2)² / (2 · sqrt(n)), rounded: a difference of 2^k·sqrt(p) costs 4^k / 8.
    let root = p.sqrt();
    let apart = |shift: u8| &p * next_prime(&p + (&root << shift) + ((&root << shift) % 2u8));
    assert_eq!(findings(&apart(4)), [Rejection::RsaClosePrimes]);
    // 128 steps, over the bound; and primes as FIPS 186-5 wants them, far apart.
    assert_eq!(findings(&apart(5)), []);
    let far = next_prime(&p - (BigUint::from(1u8) << 924u32));
    assert_eq!(findings(&(p * far)), []);
}

#[test]
fn keys_of_the_faulty_library_are_found() {
    let mut seeded = Seeded(2017);
    for _ in 0..3 {
        let (p, q) = (roca_prime(&mut seeded), roca_prime(&mut seeded));
        assert!((2047..=2048).contains(&(&p * &q).bits()));
        assert_eq!(findings(&(&p * &q)), [Rejection::RsaRoca]);
        // One such prime alone does not make the modulus one.
        assert_eq!(findings(&(p * seeded.prime(1024))), []);
    }
}

#[test]
fn squares_are_found_and_nothing_else() {
    let mut seeded = Seeded(13);
    for bits in [64, 1024] {
        let root = seeded.odd(bits);
        let square = &root * &root;
        assert!(is_square(&square));
        assert!(!is_square(&(&square + 1u8)) && !is_square(&(&square - 1u8)));
    }
    assert!(is_square(&BigUint::ZERO) && is_square(&BigUint::from(1u8)));
    let small = (0..1000u32).filter(|n| is_square(&BigUint::from(*n)));
    assert!(small.eq((0..32u32).map(|root| root * root)));
}

/// What an attacker can make of it: neighboring a² - n that are squares by every modulus that sorts out
/// non-squares, as many as can be. No n gets more than one in 20 through, and each costs a square root.
#[test]
fn few_steps_take_a_square_root() {
    let share: f64 = [64u32, 9, 7, 5, 13, 11]
        .into_iter()
        .map(|factor| {
            let is_square = |value: u32| (0..factor).any(|root| root * root % factor == value);
            // Small factors of n were found before.
            let prime = if factor == 64 {
                2
            } else if factor == 9 {
                3
            } else {
                factor
            };
            let worst = (1..factor).filter(|n| n % prime != 0).map(|n| {
                let passes = (0..factor).filter(|a| is_square((a * a + factor - n) % factor));
                passes.count() as f64 / f64::from(factor)
            });
            worst.fold(0.0, f64::max)
        })
        .product();
    assert!(share < 0.05, "{share}");
}
