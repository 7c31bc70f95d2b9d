//! RSA moduli that can be factored by anybody.
//!
//! Three tests, the cheap ones first. The work is bounded whatever the modulus is: about 40 remainders of the
//! modulus by a number of 32 bits, 125 powers of numbers under 752, and [`FERMAT_STEPS`] steps of which few take
//! a square root ([`is_square`] says why).

use num_bigint::BigUint;

use crate::rejection::Rejection;

/// Odd primes below 752, the bound of NIST SP 800-89 §5.3.3 and of the CA/Browser Forum's baseline requirements
/// §6.1.6.
const PRIMES: [u32; PRIME_COUNT] = odd_primes();
const PRIME_COUNT: usize = 132;

/// Steps of Fermat's method. It finds primes that differ by less than `sqrt(800)` times the fourth root of the
/// modulus: all that were found in the field fell within a few steps (CVE-2022-26320).
const FERMAT_STEPS: usize = 100;

/// The generator of the RSA library of CVE-2017-15361.
const ROCA_GENERATOR: u32 = 65_537;

/// The largest prime in the primorial of that library's keys of 1984 to 3936 bits; those of more bits have these
/// primes and others (Nemec and others, "The Return of Coppersmith's Attack", 2017, table 1).
const ROCA_PRIME_MAX: u32 = 701;

/// The first weakness of a modulus, which is odd and has 2048 to 4096 bits.
pub(crate) fn check_modulus(modulus: &[u8]) -> Result<(), Rejection> {
    let residues = residues(modulus);
    match small_factor(&residues) {
        Some(factor) => Err(Rejection::RsaSmallFactor { factor }),
        None if is_roca(&residues) => Err(Rejection::RsaRoca),
        None if primes_are_close(modulus) => Err(Rejection::RsaClosePrimes),
        None => Ok(()),
    }
}

/// Every weakness of a modulus.
pub(crate) fn modulus_findings(modulus: &[u8]) -> Vec<Rejection> {
    let residues = residues(modulus);
    let small = small_factor(&residues).map(|factor| Rejection::RsaSmallFactor { factor });
    let roca = is_roca(&residues).then_some(Rejection::RsaRoca);
    let close = primes_are_close(modulus).then_some(Rejection::RsaClosePrimes);
    [small, roca, close].into_iter().flatten().collect()
}

const fn odd_primes() -> [u32; PRIME_COUNT] {
    let mut primes = [0; PRIME_COUNT];
    let (mut count, mut candidate) = (0, 3);
    while count < PRIME_COUNT {
        let (mut known, mut prime) = (0, true);
        while known < count {
            prime &= candidate % primes[known] != 0;
            known += 1;
        }
        if prime {
            primes[count] = candidate;
            count += 1;
        }
        candidate += 2;
    }
    primes
}

/// The modulus by each of [`PRIMES`]. Primes go together while their product fits into 32 bits, so that the long
/// number is gone through 40 times and not 132.
fn residues(modulus: &[u8]) -> [u32; PRIME_COUNT] {
    let mut residues = [0; PRIME_COUNT];
    let mut start = 0;
    while start < PRIME_COUNT {
        let (mut product, mut end) = (PRIMES[start], start + 1);
        while end < PRIME_COUNT
            && let Some(larger) = product.checked_mul(PRIMES[end])
        {
            product = larger;
            end += 1;
        }
        let remainder = remainder(modulus, product);
        for (residue, prime) in residues[start..end].iter_mut().zip(&PRIMES[start..end]) {
            *residue = remainder % prime;
        }
        start = end;
    }
    residues
}

/// A big-endian number by a small one.
fn remainder(number: &[u8], divisor: u32) -> u32 {
    let divisor = u64::from(divisor);
    let (words, last) = number.as_chunks::<4>();
    let high = words.iter().fold(0, |rest, word| {
        (rest << 32 | u64::from(u32::from_be_bytes(*word))) % divisor
    });
    let rest = last
        .iter()
        .fold(high, |rest, byte| (rest << 8 | u64::from(*byte)) % divisor);
    rest as u32
}

fn small_factor(residues: &[u32; PRIME_COUNT]) -> Option<u32> {
    let place = residues.iter().position(|residue| *residue == 0)?;
    Some(PRIMES[place])
}

/// Primes of the form `k·M + (65537^a mod M)`, M a product of small primes, give moduli that are a power of
/// 65537 by each of those primes (CVE-2017-15361). Other moduli are so by chance in one case of 2^150.
fn is_roca(residues: &[u32; PRIME_COUNT]) -> bool {
    PRIMES
        .iter()
        .zip(residues)
        .take_while(|(prime, _)| **prime <= ROCA_PRIME_MAX)
        .all(|(prime, residue)| is_power_of_generator(*residue, *prime))
}

/// A group of prime order has one subgroup of each order: a residue is in the one that 65537 makes if that
/// order takes it to 1.
fn is_power_of_generator(residue: u32, prime: u32) -> bool {
    power(residue, ROCA_ORDERS[prime as usize], prime) == 1
}

/// The multiplicative orders of 65537, by prime; 0 elsewhere.
const ROCA_ORDERS: [u32; ROCA_PRIME_MAX as usize + 1] = roca_orders();

const fn roca_orders() -> [u32; ROCA_PRIME_MAX as usize + 1] {
    let mut orders = [0; ROCA_PRIME_MAX as usize + 1];
    let mut place = 0;
    while place < PRIME_COUNT && PRIMES[place] <= ROCA_PRIME_MAX {
        let prime = PRIMES[place];
        let generator = ROCA_GENERATOR % prime;
        let (mut value, mut order) = (generator, 1);
        while value != 1 {
            value = value * generator % prime;
            order += 1;
        }
        orders[prime as usize] = order;
        place += 1;
    }
    orders
}

/// `base^exponent mod modulus`, all under 752.
fn power(base: u32, exponent: u32, modulus: u32) -> u32 {
    let (mut result, mut square, mut exponent) = (1 % modulus, base % modulus, exponent);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % modulus;
        }
        square = square * square % modulus;
        exponent >>= 1;
    }
    result
}

/// Fermat's method: `n = a² - b²` with the smallest a, step by step.
fn primes_are_close(modulus: &[u8]) -> bool {
    let modulus = BigUint::from_bytes_be(modulus);
    let mut a = modulus.sqrt();
    let mut square = &a * &a;
    if square < modulus {
        square += (&a << 1u8) + 1u8;
        a += 1u8;
    }
    let mut b_square = square - modulus;
    for _ in 0..FERMAT_STEPS {
        if is_square(&b_square) {
            return true;
        }
        b_square += (&a << 1u8) + 1u8;
        a += 1u8;
    }
    false
}

/// A number that is no square by 64, 63, 65 or 11 is none, and takes no square root to find out. Of neighboring
/// `a² - n` at most one in 20 passes, however n was chosen, if it has no small factor.
fn is_square(number: &BigUint) -> bool {
    /// Squares by 64: bit i says that i is one.
    const SQUARES_MOD_64: u64 = squares_mod_64();
    let last = number.iter_u64_digits().next().unwrap_or_default();
    if SQUARES_MOD_64 >> (last & 63) & 1 == 0 {
        return false;
    }
    let rest = (number % (63u32 * 65 * 11))
        .iter_u32_digits()
        .next()
        .unwrap_or_default();
    let possible = [63, 65, 11]
        .into_iter()
        .all(|modulus| (0..modulus).any(|root| root * root % modulus == rest % modulus));
    possible && {
        let root = number.sqrt();
        &root * &root == *number
    }
}

const fn squares_mod_64() -> u64 {
    let (mut squares, mut root) = (0, 0);
    while root < 64 {
        squares |= 1 << (root * root % 64);
        root += 1;
    }
    squares
}

#[cfg(test)]
pub(crate) mod keys;
#[cfg(test)]
mod tests;
