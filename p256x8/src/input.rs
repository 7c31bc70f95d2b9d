//! What a verification is asked about: keys, digests and signatures, as numbers of 32 octets.

use crate::batch::Checked;
use crate::field::P;
use crate::limbs::{Limbs, limbs};
use crate::scalar::N;

/// A public key: an uncompressed point with coordinates under p. Whether it is on the curve is found out by the
/// verification, which costs less there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey {
    point: [u8; 65],
}

impl PublicKey {
    /// Of the 65 octets `04 ‖ x ‖ y` (SEC 1 §2.3.4). `None` for another length or form and for a coordinate that is not under p
    /// (SP 800-56A §5.6.2.3.4). Compressed points and infinity are not taken.
    #[must_use]
    pub fn from_sec1(octets: &[u8]) -> Option<Self> {
        let point: [u8; 65] = octets.try_into().ok()?;
        let key = Self { point };
        (point[0] == 4 && less(&key.x(), &P) && less(&key.y(), &P)).then_some(key)
    }

    /// The 65 octets `04 ‖ x ‖ y`.
    #[must_use]
    pub fn as_sec1(&self) -> &[u8; 65] {
        &self.point
    }

    pub(crate) fn x(&self) -> Limbs {
        half(&self.point, 1)
    }

    pub(crate) fn y(&self) -> Limbs {
        half(&self.point, 33)
    }
}

/// The digest of a signed message: SHA-256's 32 octets, or the first 32 of a longer one (FIPS 186-5 §6.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// A signature: r and s, each as 32 octets, most significant first. Whether they are in [1, n − 1] is part of the
/// verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    fixed: [u8; 64],
}

impl Signature {
    /// Of the 64 octets r ‖ s (IEEE P1363).
    #[must_use]
    pub const fn from_fixed(fixed: [u8; 64]) -> Self {
        Self { fixed }
    }

    /// Of the DER of `ECDSA-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 §2.2.3). `None` where that is not DER to
    /// the last octet, or a number is negative or has over 256 bits: such a signature is not valid.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let mut rest = der;
        let mut sequence = element(&mut rest, 0x30)?;
        let mut fixed = [0; 64];
        let (r, s) = fixed.split_at_mut(32);
        for number in [r, s] {
            let content = element(&mut sequence, 0x02)?;
            let magnitude = match content {
                [] => return None,
                [0, next, ..] if *next < 0x80 => return None,
                [0, magnitude @ ..] => magnitude,
                [first, ..] if *first >= 0x80 => return None,
                magnitude => magnitude,
            };
            let start = 32_usize.checked_sub(magnitude.len())?;
            number[start..].copy_from_slice(magnitude);
        }
        (rest.is_empty() && sequence.is_empty()).then_some(Self { fixed })
    }

    /// The 64 octets r ‖ s.
    #[must_use]
    pub fn as_fixed(&self) -> &[u8; 64] {
        &self.fixed
    }
}

/// Takes a DER value with this tag off the front. A signature's lengths are under 128.
fn element<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let [found, length @ 0..0x80, body @ ..] = *rest else {
        return None;
    };
    let (content, after) = body.split_at_checked(usize::from(*length))?;
    *rest = after;
    (*found == tag).then_some(content)
}

/// The numbers of one verification, if r and s are in [1, n − 1] (FIPS 186-5 §6.4.2 step 1).
pub(crate) fn check(key: &PublicKey, digest: &Digest, signature: &Signature) -> Option<Checked> {
    let r = half(&signature.fixed, 0);
    let s = half(&signature.fixed, 32);
    let in_range = |number: &Limbs| *number != [0; 5] && less(number, &N);
    (in_range(&r) && in_range(&s)).then(|| Checked {
        x: key.x(),
        y: key.y(),
        e: limbs(&digest.0),
        r,
        s,
    })
}

/// Whether a < b, limb by limb from the top.
fn less(a: &Limbs, b: &Limbs) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// The number in 32 octets from `start` on.
fn half<const SIZE: usize>(octets: &[u8; SIZE], start: usize) -> Limbs {
    let mut number = [0; 32];
    number.copy_from_slice(&octets[start..start + 32]);
    limbs(&number)
}
