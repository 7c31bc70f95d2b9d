//! What is done to a valid signature, its digest and its key.

use num_bigint::BigUint;

use super::oracle::{CURVE, octets};
use super::random::Random;
use super::sample::{Key, Sample};

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutations! {
    /// Nothing.
    Untouched,
    DigestBit,
    RBit,
    SBit,
    DigestOther,
    /// e + n where that fits in 256 bits, which is as valid; else e is 0.
    DigestPlusN,
    DigestZero,
    DigestN,
    RandomR,
    RandomS,
    RZero,
    ROne,
    RNMinusOne,
    RN,
    RNPlusOne,
    RP,
    RAllOnes,
    /// r + n where that fits in 256 bits, else r is n + 2.
    RPlusN,
    RNegated,
    SZero,
    SOne,
    SNMinusOne,
    SN,
    SNPlusOne,
    SP,
    SAllOnes,
    SPlusN,
    /// As valid as before: (r, n − s) verifies where (r, s) does.
    SNegated,
    Swapped,
    SignatureZero,
    KeyXBit,
    KeyYBit,
    KeyOther,
    KeyNegated,
    KeyYPlusOne,
    KeyZero,
    KeyXOfP,
    KeyYOfP,
    KeyAllOnes,
    KeySwapped,
    /// The key is the base point.
    KeyGenerator,
}

impl Mutation {
    /// Whether the key is another one then, or none.
    pub(crate) fn changes_key(self) -> bool {
        self as usize >= Self::KeyXBit as usize
    }

    /// Whether the signature stays valid for sure.
    pub(crate) fn harmless(self, sample: &Sample) -> bool {
        match self {
            Self::Untouched | Self::SNegated => true,
            Self::DigestPlusN => fits(&plus_n(&sample.digest)),
            _ => false,
        }
    }

    pub(crate) fn apply(self, mut sample: Sample, other: &Key, random: &mut Random) -> Sample {
        let bit = random.below(256);
        if self.changes_key() {
            self.change_key(&mut sample, other, bit);
        } else if self as usize >= Self::RZero as usize {
            self.change_signature(&mut sample);
        } else {
            match self {
                Self::DigestBit => flip(&mut sample.digest, bit),
                Self::RBit => flip(&mut sample.signature[..32], bit),
                Self::SBit => flip(&mut sample.signature[32..], bit),
                Self::DigestOther => sample.digest = random.octets(),
                Self::DigestPlusN => {
                    let sum = plus_n(&sample.digest);
                    let sum = if fits(&sum) { sum } else { BigUint::ZERO };
                    sample.digest = octets(&sum);
                }
                Self::DigestZero => sample.digest = [0; 32],
                Self::DigestN => sample.digest = octets(&CURVE.n),
                Self::RandomR => sample.set_r(&random.number(&CURVE.n)),
                Self::RandomS => sample.set_s(&random.number(&CURVE.n)),
                _ => {}
            }
        }
        sample
    }

    fn change_signature(self, sample: &mut Sample) {
        let (n, one) = (&CURVE.n, BigUint::from(1_u8));
        let all_ones = BigUint::from_bytes_be(&[0xff; 32]);
        let (r, s) = (sample.r(), sample.s());
        let above = |number: BigUint| if fits(&number) { number } else { n + 2_u8 };
        match self {
            Self::RZero => sample.set_r(&BigUint::ZERO),
            Self::ROne => sample.set_r(&one),
            Self::RNMinusOne => sample.set_r(&(n - one)),
            Self::RN => sample.set_r(n),
            Self::RNPlusOne => sample.set_r(&(n + one)),
            Self::RP => sample.set_r(&CURVE.p),
            Self::RAllOnes => sample.set_r(&all_ones),
            Self::RPlusN => sample.set_r(&above(r + n)),
            Self::RNegated => sample.set_r(&(n - r)),
            Self::SZero => sample.set_s(&BigUint::ZERO),
            Self::SOne => sample.set_s(&one),
            Self::SNMinusOne => sample.set_s(&(n - one)),
            Self::SN => sample.set_s(n),
            Self::SNPlusOne => sample.set_s(&(n + one)),
            Self::SP => sample.set_s(&CURVE.p),
            Self::SAllOnes => sample.set_s(&all_ones),
            Self::SPlusN => sample.set_s(&above(s + n)),
            Self::SNegated => sample.set_s(&(n - s)),
            Self::Swapped => {
                sample.set_r(&s);
                sample.set_s(&r);
            }
            _ => sample.signature = [0; 64],
        }
    }

    fn change_key(self, sample: &mut Sample, other: &Key, bit: usize) {
        let (x, y) = sample.key[1..].split_at_mut(32);
        let number = BigUint::from_bytes_be(y);
        match self {
            Self::KeyXBit => flip(x, bit),
            Self::KeyYBit => flip(y, bit),
            Self::KeyNegated => y.copy_from_slice(&octets(&(&CURVE.p - number))),
            Self::KeyYPlusOne => y.copy_from_slice(&octets(&((number + 1_u8) % &CURVE.p))),
            Self::KeyZero => sample.key[1..].fill(0),
            Self::KeyXOfP => x.copy_from_slice(&octets(&CURVE.p)),
            Self::KeyYOfP => y.copy_from_slice(&octets(&CURVE.p)),
            Self::KeyAllOnes => sample.key[1..].fill(0xff),
            Self::KeySwapped => x.swap_with_slice(y),
            Self::KeyGenerator => {
                if let Some((gx, gy)) = &CURVE.g {
                    x.copy_from_slice(&octets(gx));
                    y.copy_from_slice(&octets(gy));
                }
            }
            _ => sample.key = other.public,
        }
    }
}

fn plus_n(digest: &[u8; 32]) -> BigUint {
    BigUint::from_bytes_be(digest) + &CURVE.n
}

fn fits(number: &BigUint) -> bool {
    number.bits() <= 256
}

fn flip(octets: &mut [u8], bit: usize) {
    octets[bit / 8] ^= 1 << (bit % 8);
}
