//! Signature verification on lanes: whatever the bytes say, the lanes and aws-lc-rs agree. Each piece of input makes one
//! item of a batch: a valid signature of its key, nonce and digest, then what the piece does to it.

#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::digest::{Digest as AwsDigest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use libfuzzer_sys::fuzz_target;
use num_bigint::BigUint;
use p256x8::{Digest, Ifma, LaneVerifier, PublicKey, Signature};

/// An octet that says what is changed, where and how, then the private key, the nonce and the digest.
const PIECE: usize = 3 + 3 * 32;

static LANES: LazyLock<LaneVerifier> =
    LazyLock::new(|| Ifma::detect().map_or_else(LaneVerifier::portable, LaneVerifier::new));
static N: LazyLock<BigUint> = LazyLock::new(|| {
    let n = b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    BigUint::parse_bytes(n, 16).expect("hexadecimal digits")
});

/// A number in [1, n − 1].
fn scalar(octets: &[u8]) -> BigUint {
    BigUint::from_bytes_be(octets) % (&*N - 1_u8) + 1_u8
}

fn octets(number: &BigUint) -> [u8; 32] {
    let short = number.to_bytes_be();
    let mut octets = [0; 32];
    octets[32 - short.len()..].copy_from_slice(&short);
    octets
}

/// `k·G`.
fn base_multiple(k: &BigUint) -> [u8; 65] {
    let private = PrivateKey::from_private_key(&ECDH_P256, &octets(k)).expect("k is in range");
    let public = private.compute_public_key().expect("a key has a public key");
    public.as_ref().try_into().expect("an uncompressed point")
}

/// Key, digest and signature.
fn item(piece: &[u8]) -> ([u8; 65], [u8; 32], [u8; 64]) {
    let (change, values) = piece.split_at(3);
    let (d, k) = (scalar(&values[..32]), scalar(&values[32..64]));
    let mut digest: [u8; 32] = values[64..].try_into().expect("32 octets");
    let mut key = base_multiple(&d);
    let r = BigUint::from_bytes_be(&base_multiple(&k)[1..33]) % &*N;
    let inverse = k.modinv(&N).expect("n is a prime");
    let s = (BigUint::from_bytes_be(&digest) + &r * d) * inverse % &*N;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&octets(&r));
    signature[32..].copy_from_slice(&octets(&s));
    let (place, value) = (usize::from(change[1]), change[2]);
    match change[0] % 8 {
        0 => digest[place % 32] ^= value,
        1 => signature[place % 64] ^= value,
        2 => key[1 + place % 64] ^= value,
        3 => signature[32 * (place % 2)..][..32].copy_from_slice(&values[..32]),
        4 => signature[32 * (place % 2)..][..32].fill(value),
        5 => signature[32 * (place % 2)..][..32].copy_from_slice(&octets(&N)),
        _ => {}
    }
    (key, digest, signature)
}

/// What aws-lc-rs says.
fn right(key: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let digest = AwsDigest::import_less_safe(digest, &SHA256).expect("32 octets");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
    key.verify_digest(&digest, signature).is_ok()
}

fuzz_target!(|bytes: &[u8]| {
    let made: Vec<_> = bytes.chunks_exact(PIECE).take(72).map(item).collect();
    let (mut items, mut expected, mut first_key) = (Vec::new(), Vec::new(), None);
    for (octets, digest, signature) in &made {
        let right = right(octets, digest, signature);
        let Some(key) = PublicKey::from_sec1(octets) else {
            // A key that the crate does not take is none.
            assert!(!right);
            continue;
        };
        first_key = first_key.or(Some((key, octets)));
        items.push((key, Digest(*digest), Signature::from_fixed(*signature)));
        expected.push(right);
    }
    let mut verdicts = vec![false; items.len()];
    LANES.verify(&items, &mut verdicts);
    assert_eq!(verdicts, expected);
    if let Some((key, octets)) = first_key
        && let Some(prepared) = LANES.prepare(&key)
    {
        let signed: Vec<_> = items.iter().map(|item| (item.1, item.2)).collect();
        LANES.verify_prepared(&prepared, &signed, &mut verdicts);
        for ((digest, signature), verdict) in signed.iter().zip(verdicts) {
            assert_eq!(verdict, right(octets, &digest.0, signature.as_fixed()));
        }
    }
    // Any bytes are DER or not, and what is has one spelling.
    if let Some(signature) = Signature::from_der(bytes) {
        assert!(bytes.len() <= 72 && signature.as_fixed().len() == 64);
    }
});
