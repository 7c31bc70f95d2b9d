//! ML-DSA (FIPS 204) against another implementation, in both directions, and the three forms in which
//! RFC 9881 §6 writes a private key.

use aws_lc_rs::encoding::AsRawBytes;
use aws_lc_rs::signature::{ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair};
use birthmark_hsm::{
    KeyAlgorithm, MlDsaParameterSet, PublicKey, SignInput, SoftwareKey, SoftwareKeyError,
};
use ml_dsa::{
    EncodedSignature, EncodedVerifyingKey, Keypair, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Seed,
    Signature, SigningKey, VerifyingKey,
};

mod test_token;
use test_token::verifies_as;

const SEED: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31,
];

/// Last octet of id-ml-dsa-44, -65 and -87, 2.16.840.1.101.3.4.3.17 to 19 (RFC 9881 §2).
fn arc(parameter_set: MlDsaParameterSet) -> u8 {
    match parameter_set {
        MlDsaParameterSet::MlDsa44 => 17,
        MlDsaParameterSet::MlDsa65 => 18,
        MlDsaParameterSet::MlDsa87 => 19,
    }
}

/// One DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len())
        .expect("a short element")
        .to_be_bytes();
    let header = match content.len() {
        0..=0x7f => vec![tag, len[1]],
        0x80..=0xff => vec![tag, 0x81, len[1]],
        _ => vec![tag, 0x82, len[0], len[1]],
    };
    [&header, content].concat()
}

/// `PrivateKeyInfo` in PEM; `parameters` are those of the algorithm, absent as they must be or not.
fn pem(parameter_set: MlDsaParameterSet, parameters: &[u8], private_key: &[u8]) -> String {
    let oid = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, arc(parameter_set)];
    let algorithm = element(0x30, &[&element(6, &oid), parameters].concat());
    let document = element(
        0x30,
        &[&[2, 1, 0][..], &algorithm, &element(4, private_key)].concat(),
    );
    pem_rfc7468::encode_string("PRIVATE KEY", pem_rfc7468::LineEnding::LF, &document)
        .expect("PEM of a key")
}

fn seed_form() -> Vec<u8> {
    element(0x80, &SEED)
}

/// The expanded key of the seed, FIPS 204 §7.2.
fn expanded(parameter_set: MlDsaParameterSet) -> Vec<u8> {
    let algorithm = match parameter_set {
        MlDsaParameterSet::MlDsa44 => &ML_DSA_44_SIGNING,
        MlDsaParameterSet::MlDsa65 => &ML_DSA_65_SIGNING,
        MlDsaParameterSet::MlDsa87 => &ML_DSA_87_SIGNING,
    };
    let key = PqdsaKeyPair::from_seed(algorithm, &SEED).expect("a key of any seed");
    let raw = key.private_key().as_raw_bytes().expect("the expanded key");
    raw.as_ref().to_vec()
}

#[test]
fn another_implementation_agrees() {
    fn check<P: MlDsaParams>(parameter_set: MlDsaParameterSet) {
        let pem = pem(parameter_set, &[], &seed_form());
        let key = SoftwareKey::from_pkcs8_pem(&pem).unwrap();
        let algorithm = parameter_set.key_algorithm();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(*key.to_pkcs8_pem().unwrap(), pem, "written as its seed");

        let theirs = SigningKey::<P>::from_seed(&Seed::from(SEED));
        let PublicKey::MlDsa { key: encoded, .. } = key.public_key() else {
            panic!("{:?}", key.public_key())
        };
        assert_eq!(encoded.len(), parameter_set.public_key_len());
        assert_eq!(theirs.verifying_key().encode().as_slice(), encoded);

        // Ours by theirs, with the empty context and no other.
        let signature = key
            .sign(&SignInput::for_key(algorithm, b"message"))
            .unwrap();
        let signature = signature.as_bytes();
        assert_eq!(signature.len(), parameter_set.signature_len());
        let encoded = EncodedVerifyingKey::<P>::try_from(&encoded[..]).unwrap();
        let verifying = VerifyingKey::<P>::decode(&encoded);
        let decoded = EncodedSignature::<P>::try_from(signature).unwrap();
        let decoded = Signature::<P>::decode(&decoded).unwrap();
        assert!(verifying.verify_with_context(b"message", b"", &decoded));
        assert!(!verifying.verify_with_context(b"message", b"context", &decoded));
        assert!(!verifying.verify_with_context(b"another", b"", &decoded));

        // Theirs by ours.
        let theirs = theirs.expanded_key();
        for (context, verifies) in [(&b""[..], true), (b"context", false)] {
            let signature = theirs.sign_deterministic(b"message", context).unwrap();
            let found = verifies_as(
                Default::default(),
                key.public_key(),
                b"message",
                &signature.encode(),
            );
            assert_eq!(found, verifies, "{context:?}");
        }
    }
    check::<MlDsa44>(MlDsaParameterSet::MlDsa44);
    check::<MlDsa65>(MlDsaParameterSet::MlDsa65);
    check::<MlDsa87>(MlDsaParameterSet::MlDsa87);
}

#[test]
fn each_form_of_a_private_key_is_read() {
    for parameter_set in MlDsaParameterSet::ALL {
        let algorithm = parameter_set.key_algorithm();
        let expanded = expanded(parameter_set);
        let both = [element(4, &SEED), element(4, &expanded)].concat();
        let read = |form: &[u8]| SoftwareKey::from_pkcs8_pem(&pem(parameter_set, &[], form));
        let from_seed = read(&seed_form()).unwrap();
        let from_expanded = read(&element(4, &expanded)).unwrap();
        let from_both = read(&element(0x30, &both)).unwrap();
        for key in [&from_seed, &from_expanded, &from_both] {
            assert_eq!(key.public_key(), from_seed.public_key(), "{algorithm}");
            let signature = key.sign(&SignInput::for_key(algorithm, b"m")).unwrap();
            assert!(
                verifies_as(
                    Default::default(),
                    from_seed.public_key(),
                    b"m",
                    signature.as_bytes()
                ),
                "{algorithm}"
            );
        }
        assert!(from_both.to_pkcs8_pem().is_ok());
        // The seed cannot be computed from the expanded key.
        let error = from_expanded.to_pkcs8_pem().unwrap_err();
        assert!(matches!(error, SoftwareKeyError::Unsupported), "{error}");
    }
}

#[test]
fn damaged_private_keys_are_refused() {
    for parameter_set in MlDsaParameterSet::ALL {
        let expanded = expanded(parameter_set);
        let both = |seed: &[u8], expanded: &[u8]| {
            element(0x30, &[element(4, seed), element(4, expanded)].concat())
        };
        let mut other_seed = SEED;
        other_seed[31] ^= 1;
        let null = [5, 0];
        for (what, parameters, form) in [
            ("a short seed", &[][..], element(0x80, &SEED[..31])),
            ("a long seed", &[], element(0x80, &[0; 33])),
            ("no seed", &[], element(0x80, &[])),
            ("nothing", &[], Vec::new()),
            ("a short key", &[], element(4, &expanded[1..])),
            (
                "a long key",
                &[],
                element(4, &[&expanded[..], &[0]].concat()),
            ),
            ("two keys", &[], both(&other_seed, &expanded)),
            ("parameters", &null, seed_form()),
        ] {
            let pem = pem(parameter_set, parameters, &form);
            let error = SoftwareKey::from_pkcs8_pem(&pem).err();
            assert!(
                matches!(error, Some(SoftwareKeyError::Unsupported)),
                "{what} {parameter_set:?}: {error:?}"
            );
        }
    }
}

#[test]
fn names_and_lengths_fit_together() {
    for parameter_set in MlDsaParameterSet::ALL {
        let algorithm = parameter_set.key_algorithm();
        assert_eq!(algorithm.ml_dsa(), Some(parameter_set));
        assert_eq!(algorithm.digest(), None);
    }
    assert_eq!(KeyAlgorithm::Ed25519.ml_dsa(), None);
}
