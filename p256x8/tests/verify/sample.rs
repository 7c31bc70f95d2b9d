//! Signatures to verify: valid ones at about a microsecond each, and what becomes of them.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::digest::{Digest as AwsDigest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use num_bigint::BigUint;
use p256x8::{Digest, PublicKey, Signature};

use super::oracle::{CURVE, octets};
use super::random::Random;

/// What a verifier is given, in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    pub(crate) key: [u8; 65],
    pub(crate) digest: [u8; 32],
    pub(crate) signature: [u8; 64],
}

impl Sample {
    /// As the crate takes it. `None` if it does not take the key.
    pub(crate) fn item(&self) -> Option<(PublicKey, Digest, Signature)> {
        let (digest, signature) = self.signed();
        PublicKey::from_sec1(&self.key).map(|key| (key, digest, signature))
    }

    pub(crate) fn signed(&self) -> (Digest, Signature) {
        (Digest(self.digest), Signature::from_fixed(self.signature))
    }

    /// The verdict of aws-lc-rs.
    pub(crate) fn aws(&self) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.key)
            .verify_digest(&aws_digest(&self.digest), &self.signature)
            .is_ok()
    }

    /// The verdict of aws-lc-rs with a key that it has read.
    pub(crate) fn aws_parsed(&self, key: &ParsedPublicKey) -> bool {
        key.verify_digest_sig(&aws_digest(&self.digest), &self.signature)
            .is_ok()
    }

    pub(crate) fn r(&self) -> BigUint {
        BigUint::from_bytes_be(&self.signature[..32])
    }

    pub(crate) fn s(&self) -> BigUint {
        BigUint::from_bytes_be(&self.signature[32..])
    }

    pub(crate) fn set_r(&mut self, r: &BigUint) {
        self.signature[..32].copy_from_slice(&octets(r));
    }

    pub(crate) fn set_s(&mut self, s: &BigUint) {
        self.signature[32..].copy_from_slice(&octets(s));
    }
}

fn aws_digest(digest: &[u8; 32]) -> AwsDigest {
    AwsDigest::import_less_safe(digest, &SHA256).expect("32 octets are a digest")
}

/// `k·G` for k in [1, n − 1], by aws-lc-rs.
pub(crate) fn base_multiple(k: &BigUint) -> [u8; 65] {
    let private = PrivateKey::from_private_key(&ECDH_P256, &octets(k)).expect("k is in range");
    let public = private
        .compute_public_key()
        .expect("a key has a public key");
    public.as_ref().try_into().expect("an uncompressed point")
}

/// A key, with its private half.
pub(crate) struct Key {
    d: BigUint,
    pub(crate) public: [u8; 65],
}

impl Key {
    pub(crate) fn random(random: &mut Random) -> Self {
        Self::new(random.number(&CURVE.n))
    }

    pub(crate) fn new(d: BigUint) -> Self {
        let public = base_multiple(&d);
        Self { d, public }
    }

    /// A valid signature.
    pub(crate) fn sign(&self, digest: [u8; 32], nonce: &Nonce) -> Sample {
        let mut sample = Sample {
            key: self.public,
            digest,
            signature: [0; 64],
        };
        let e = BigUint::from_bytes_be(&digest);
        sample.set_r(&nonce.r);
        sample.set_s(&((e + &nonce.r * &self.d) * &nonce.inverse % &CURVE.n));
        sample
    }
}

/// The k of a signature. Signatures of different digests share one here, which no signer may do.
pub(crate) struct Nonce {
    inverse: BigUint,
    r: BigUint,
}

impl Nonce {
    pub(crate) fn random(random: &mut Random) -> Self {
        Self::new(&random.number(&CURVE.n))
    }

    pub(crate) fn new(k: &BigUint) -> Self {
        Self {
            inverse: CURVE.inverse(k),
            r: BigUint::from_bytes_be(&base_multiple(k)[1..33]) % &CURVE.n,
        }
    }
}
