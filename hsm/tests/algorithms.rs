//! Every kind of key signs in every way it can, on a token (SoftHSM) and in software, and nothing but
//! the signature itself verifies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use birthmark_hsm::{
    KeyAlgorithm, Pkcs11Options, PublicKey, RsaSignature, SignInput, SigningPool, SoftwareKey,
    SoftwareKeyError, generate_key_pair,
};

mod test_token;
use test_token::{TestToken, messages, sign_all, verifies, verifies_as};

const BOTH: [RsaSignature; 2] = [RsaSignature::Pkcs1v15, RsaSignature::Pss];

/// The ways in which a kind of key signs.
fn ways(algorithm: KeyAlgorithm) -> &'static [RsaSignature] {
    if algorithm.is_rsa() {
        &BOTH
    } else {
        &BOTH[..1]
    }
}

#[test]
fn each_algorithm_signs_through_several_sessions() {
    let token = TestToken::create();
    let cases = [
        (KeyAlgorithm::EcP256, 4000),
        (KeyAlgorithm::EcP384, 1000),
        (KeyAlgorithm::EcP521, 500),
        (KeyAlgorithm::Ed25519, 2000),
        (KeyAlgorithm::Rsa2048, 300),
        (KeyAlgorithm::Rsa3072, 20),
        (KeyAlgorithm::Rsa4096, 20),
    ];
    for (algorithm, count) in cases {
        let uri = token.uri(algorithm.name());
        let public_key = generate_key_pair(&uri, algorithm).unwrap();
        assert_eq!(public_key.algorithm(), Some(algorithm));
        let ways = ways(algorithm).iter();
        for (rsa_signature, key_copy) in ways.flat_map(|way| [(*way, false), (*way, true)]) {
            let options = Pkcs11Options {
                sessions: Some(3),
                key_copy,
                rsa_signature,
            };
            let pool = SigningPool::pkcs11(&uri, options).unwrap();
            assert_eq!(pool.key_algorithm(), algorithm);
            assert_eq!(
                pool.rsa_signature(),
                algorithm.is_rsa().then_some(rsa_signature)
            );
            assert_eq!(*pool.public_key(), public_key);
            assert!(!pool.signs_inline());
            let messages = messages(count);
            for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
                let signature = outcome.unwrap();
                assert!(
                    verifies_as(rsa_signature, &public_key, message, signature.as_bytes()),
                    "{algorithm} {rsa_signature}"
                );
            }
            let metrics = pool.metrics();
            assert_eq!((metrics.signatures, metrics.sessions), (count as u64, 3));
            assert_eq!((metrics.errors_total(), metrics.queued), (0, 0));
            pool.close().unwrap();
        }
    }
}

#[test]
fn the_pool_of_a_software_key_signs_in_every_way() {
    for algorithm in KeyAlgorithm::ALL {
        for rsa_signature in ways(algorithm) {
            let key = SoftwareKey::generate(algorithm).unwrap();
            let pool = SigningPool::software(key.with_rsa_signature(*rsa_signature));
            let messages = messages(20);
            for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
                let signature = outcome.unwrap();
                let verified_as = BOTH
                    .map(|way| verifies_as(way, pool.public_key(), message, signature.as_bytes()));
                let expected = BOTH.map(|way| !algorithm.is_rsa() || way == *rsa_signature);
                assert_eq!(verified_as, expected, "{algorithm} {rsa_signature}");
            }
            assert_eq!(
                pool.describe().ends_with(" PSS"),
                *rsa_signature == RsaSignature::Pss
            );
        }
    }
}

/// Every bit of a short signature, and about 500 of a long one.
#[test]
fn a_flipped_bit_is_found() {
    for algorithm in KeyAlgorithm::ALL {
        for rsa_signature in ways(algorithm) {
            let key = SoftwareKey::generate(algorithm).unwrap();
            let key = key.with_rsa_signature(*rsa_signature);
            let signature = key.sign(&SignInput::for_key(algorithm, b"m")).unwrap();
            let bits = signature.as_bytes().len() * 8;
            for bit in (0..bits).step_by(bits.div_ceil(500)) {
                let mut flipped = signature.as_bytes().to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    !verifies_as(*rsa_signature, key.public_key(), b"m", &flipped),
                    "{algorithm} {rsa_signature}: bit {bit}"
                );
            }
        }
    }
}

/// Keys of `openssl genpkey -algorithm RSA-PSS`: unrestricted, as this crate signs, and otherwise.
#[test]
fn a_key_that_may_only_sign_pss_does_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let make = |options: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "RSA-PSS", "-out"]);
        openssl
            .arg(&path)
            .args(["-pkeyopt", "rsa_keygen_bits:2048"]);
        for option in options {
            openssl.args(["-pkeyopt", option]);
        }
        let made = openssl.output().expect("openssl is installed");
        assert!(made.status.success(), "{made:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        SoftwareKey::read(&path)
    };
    let sha256 = ["rsa_pss_keygen_md:sha256", "rsa_pss_keygen_mgf1_md:sha256"];
    let with_salt = |salt| [&sha256[..], &[salt]].concat();
    for options in [
        Vec::new(),
        sha256.to_vec(),
        with_salt("rsa_pss_keygen_saltlen:32"),
        with_salt("rsa_pss_keygen_saltlen:0"),
    ] {
        let key = make(&options).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Rsa2048);
        let key = key.with_rsa_signature(RsaSignature::Pkcs1v15);
        assert_eq!(key.rsa_signature(), Some(RsaSignature::Pss), "it stays so");
        let input = SignInput::for_key(KeyAlgorithm::Rsa2048, b"m");
        let signature = key.sign(&input).unwrap();
        let signature = signature.as_bytes();
        let public_key = key.public_key();
        assert!(matches!(public_key, PublicKey::Rsa { .. }));
        assert!(verifies_as(RsaSignature::Pss, public_key, b"m", signature));
        assert!(matches!(
            key.to_pkcs8_pem(),
            Err(SoftwareKeyError::Unsupported)
        ));
    }
    for options in [
        vec!["rsa_pss_keygen_md:sha512", "rsa_pss_keygen_mgf1_md:sha512"],
        vec!["rsa_pss_keygen_md:sha256", "rsa_pss_keygen_mgf1_md:sha1"],
        with_salt("rsa_pss_keygen_saltlen:33"),
    ] {
        let error = make(&options).unwrap_err();
        assert!(
            matches!(&error, SoftwareKeyError::Content { source, .. }
                if matches!(**source, SoftwareKeyError::Unsupported)),
            "{options:?}: {error}"
        );
    }
}

/// A key that signs one way only is not changed by the wish for another.
#[test]
fn only_rsa_keys_have_a_way_to_sign() {
    let key = SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap();
    let key = key.with_rsa_signature(RsaSignature::Pss);
    assert_eq!(key.rsa_signature(), None);
    let input = SignInput::for_key(KeyAlgorithm::EcP256, b"m");
    assert!(verifies(key.public_key(), b"m", &key.sign(&input).unwrap()));
}
