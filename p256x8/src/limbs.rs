//! Numbers of 260 bits in five limbs of 52 bits, eight side by side, and what the field and the scalars share.

use crate::lanes::Lanes;

/// Bits of a limb: what VPMADD52 multiplies.
pub(crate) const LIMB_BITS: u32 = 52;
pub(crate) const LOW_52: u64 = (1 << LIMB_BITS) - 1;

/// Five limbs of one number.
pub(crate) type Limbs = [u64; 5];

/// Five limbs of eight numbers. *Tight* limbs are under 2^52, as a multiplication takes them; *loose* ones are
/// signed 64-bit words of whatever size.
pub(crate) type Vectors<V> = [V; 5];

/// The limbs of a number of 32 octets, most significant first.
pub(crate) const fn limbs(octets: &[u8; 32]) -> Limbs {
    to_limbs(words(octets))
}

/// Four words of 64 bits, least significant first, of 32 octets, most significant first.
pub(crate) const fn words(octets: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    let mut at = 0;
    while at < 32 {
        words[3 - at / 8] = words[3 - at / 8] << 8 | octets[at] as u64;
        at += 1;
    }
    words
}

/// Five limbs of four words.
pub(crate) const fn to_limbs(w: [u64; 4]) -> Limbs {
    [
        w[0] & LOW_52,
        (w[0] >> 52 | w[1] << 12) & LOW_52,
        (w[1] >> 40 | w[2] << 24) & LOW_52,
        (w[2] >> 28 | w[3] << 36) & LOW_52,
        w[3] >> 16,
    ]
}

/// The same number in every lane.
#[inline(always)]
pub(crate) fn fill<V: Lanes>(like: V, limbs: Limbs) -> Vectors<V> {
    limbs.map(|limb| like.fill(limb))
}

/// All ten limbs of a product of two tight numbers, not carried: each under 10·2^52.
#[inline(always)]
pub(crate) fn product<V: Lanes>(a: Vectors<V>, b: Vectors<V>) -> [V; 10] {
    let mut t = [a[0].fill(0); 10];
    for i in 0..5 {
        for j in 0..5 {
            t[i + j] = t[i + j].madd_low(a[i], b[j]);
            t[i + j + 1] = t[i + j + 1].madd_high(a[i], b[j]);
        }
    }
    t
}

/// The product of a tight number with itself: 30 multiplications of limbs in place of 50.
#[inline(always)]
pub(crate) fn square<V: Lanes>(a: Vectors<V>) -> [V; 10] {
    let mut t = [a[0].fill(0); 10];
    for i in 0..5 {
        for j in i + 1..5 {
            t[i + j] = t[i + j].madd_low(a[i], a[j]);
            t[i + j + 1] = t[i + j + 1].madd_high(a[i], a[j]);
        }
    }
    for limb in &mut t[1..9] {
        *limb = limb.add(*limb);
    }
    for i in 0..5 {
        t[2 * i] = t[2 * i].madd_low(a[i], a[i]);
        t[2 * i + 1] = t[2 * i + 1].madd_high(a[i], a[i]);
    }
    t
}

/// Makes loose limbs tight. The number is in [0, 2^260).
#[inline(always)]
pub(crate) fn carry<V: Lanes>(mut a: Vectors<V>) -> Vectors<V> {
    let low = a[0].fill(LOW_52);
    for i in 0..4 {
        a[i + 1] = a[i + 1].add(a[i].sar::<LIMB_BITS>());
        a[i] = a[i].and(low);
    }
    debug_assert!(
        a[4].to_array().iter().all(|&limb| limb <= LOW_52),
        "a number outside of [0, 2^260) was carried"
    );
    a
}

/// The lanes in which two tight numbers are equal.
#[inline(always)]
pub(crate) fn equal<V: Lanes>(a: Vectors<V>, b: Vectors<V>) -> u8 {
    (0..5).fold(0xff, |mask, i| mask & a[i].equal(b[i]))
}

/// In each lane `yes` where the mask's bit is set, else `no`.
#[inline(always)]
pub(crate) fn select<V: Lanes>(mask: u8, yes: Vectors<V>, no: Vectors<V>) -> Vectors<V> {
    core::array::from_fn(|i| no[i].select(mask, yes[i]))
}

/// `a − b` of tight numbers with tight limbs but the last, whose sign is the difference's.
#[inline(always)]
fn difference<V: Lanes>(a: Vectors<V>, b: Vectors<V>) -> Vectors<V> {
    let mut difference: Vectors<V> = core::array::from_fn(|i| a[i].sub(b[i]));
    let low = a[0].fill(LOW_52);
    for i in 0..4 {
        difference[i + 1] = difference[i + 1].add(difference[i].sar::<LIMB_BITS>());
        difference[i] = difference[i].and(low);
    }
    difference
}

/// The lanes in which a < b, both tight.
#[inline(always)]
pub(crate) fn less_than<V: Lanes>(a: Vectors<V>, b: Vectors<V>) -> u8 {
    let sign = difference(a, b)[4].sar::<63>();
    !sign.equal(sign.fill(0))
}

/// `a − b` where that is not negative, else `a`; both tight.
#[inline(always)]
pub(crate) fn subtract_once<V: Lanes>(a: Vectors<V>, b: Vectors<V>) -> Vectors<V> {
    let difference = difference(a, b);
    let sign = difference[4].sar::<63>();
    select(sign.equal(sign.fill(0)), difference, a)
}
