//! P-256 and ECDSA in big integers, straight from their definitions (SP 800-186 §3.2.1.3, FIPS 186-5 §6.4.2): slow, plain, and
//! sharing nothing with what it judges.

use std::sync::LazyLock;

use num_bigint::BigUint;

/// `None` is infinity.
pub(crate) type Point = Option<(BigUint, BigUint)>;

pub(crate) struct Curve {
    pub(crate) p: BigUint,
    pub(crate) n: BigUint,
    pub(crate) b: BigUint,
    pub(crate) g: Point,
}

pub(crate) static CURVE: LazyLock<Curve> = LazyLock::new(|| Curve {
    p: hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    n: hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    b: hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    g: Some((
        hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    )),
});

pub(crate) fn hex(digits: &str) -> BigUint {
    BigUint::parse_bytes(digits.as_bytes(), 16).expect("hexadecimal digits")
}

/// 32 octets, most significant first.
pub(crate) fn octets(number: &BigUint) -> [u8; 32] {
    let short = number.to_bytes_be();
    let mut octets = [0; 32];
    octets[32 - short.len()..].copy_from_slice(&short);
    octets
}

impl Curve {
    pub(crate) fn add(&self, a: &Point, b: &Point) -> Point {
        let (Some((x1, y1)), Some((x2, y2))) = (a, b) else {
            return a.clone().or_else(|| b.clone());
        };
        let p = &self.p;
        let slope = if x1 != x2 {
            (p + y2 - y1) * (p + x2 - x1).modinv(p).expect("p is a prime")
        } else if y1 == y2 {
            // a = −3; y is not zero, as the order is odd.
            let denominator = (y1 + y1).modinv(p).expect("p is a prime");
            (p + p + p + x1 * x1 * 3_u8 - 3_u8) * denominator
        } else {
            return None;
        } % p;
        let x3 = (&slope * &slope + p + p - x1 - x2) % p;
        let y3 = (&slope * (p + x1 - &x3) + p - y1) % p;
        Some((x3, y3))
    }

    pub(crate) fn times(&self, k: &BigUint, a: &Point) -> Point {
        let mut sum = None;
        for bit in (0..k.bits()).rev() {
            sum = self.add(&sum, &sum);
            if k.bit(bit) {
                sum = self.add(&sum, a);
            }
        }
        sum
    }

    /// The point with this x coordinate and an even y, if there is one.
    pub(crate) fn with_x(&self, x: &BigUint) -> Point {
        let p = &self.p;
        let right = (x * x * x + &self.b + p * 3_u8 - x * 3_u8) % p;
        // p = 3 mod 4.
        let y = right.modpow(&((p + 1_u8) >> 2), p);
        let even = if y.bit(0) { p - &y } else { y.clone() };
        (&y * &y % p == right).then(|| (x.clone(), even))
    }

    pub(crate) fn contains(&self, x: &BigUint, y: &BigUint) -> bool {
        let p = &self.p;
        x < p && y < p && (y * y + x * 3_u8) % p == (x * x * x + &self.b) % p
    }

    /// 1/a modulo n.
    pub(crate) fn inverse(&self, a: &BigUint) -> BigUint {
        a.modinv(&self.n).expect("n is a prime and a is not zero")
    }

    /// Verification of r ‖ s by a key of 65 octets.
    pub(crate) fn verifies(&self, key: &[u8; 65], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let number = BigUint::from_bytes_be;
        let (x, y) = (number(&key[1..33]), number(&key[33..]));
        let (r, s) = (number(&signature[..32]), number(&signature[32..]));
        let zero = BigUint::ZERO;
        if key[0] != 4 || !self.contains(&x, &y) || r == zero || s == zero {
            return false;
        }
        if r >= self.n || s >= self.n {
            return false;
        }
        let w = self.inverse(&s);
        let u1 = number(digest) * &w % &self.n;
        let u2 = &r * w % &self.n;
        let sum = self.add(&self.times(&u1, &self.g), &self.times(&u2, &Some((x, y))));
        sum.is_some_and(|(x, _)| x % &self.n == r)
    }
}
