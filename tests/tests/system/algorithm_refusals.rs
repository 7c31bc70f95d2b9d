//! Requests whose keys or signatures are not as their algorithm wants them, and what is refused of each.

use std::fs;

use birthmark_engine::{Rejection, Request};
use birthmark_hsm::KeyAlgorithm;
use der::asn1::{Any, AnyRef, BitString, Null, ObjectIdentifier};
use der::{Decode, Encode};
use x509_cert::request::CertReq;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::algorithms::{
    RSA, RSA_PSS, accept_every_key, devices, ml_dsa_verifies, openssl_request,
};
use crate::requests::{device_of, from_pem, openssl, pem};
use crate::station::{Factory, Random, Signer, rejection};

#[test]
fn pss_requests_with_other_parameters_are_refused() {
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    let pss = |hash: &'static str, mask: &'static str, salt: &'static str| {
        let padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", mask];
        [&[hash][..], &padding, &["-sigopt", salt]].concat()
    };
    let (mask, salt) = ("rsa_mgf1_md:sha256", "rsa_pss_saltlen:32");
    let keygen = |option| {
        [
            RSA_PSS,
            &["-pkeyopt", "rsa_pss_keygen_md:sha256"],
            &["-pkeyopt", option],
        ]
        .concat()
    };
    let signed_otherwise = [
        (
            RSA,
            pss("-sha384", "rsa_mgf1_md:sha384", "rsa_pss_saltlen:48"),
            "SHA-256",
        ),
        (RSA, pss("-sha256", "rsa_mgf1_md:sha512", salt), "MGF1"),
        (
            RSA,
            pss("-sha1", "rsa_mgf1_md:sha1", "rsa_pss_saltlen:20"),
            "SHA-256",
        ),
        (RSA, pss("-sha256", mask, "rsa_pss_saltlen:0"), "salt"),
        (RSA, pss("-sha256", mask, "rsa_pss_saltlen:20"), "salt"),
        (RSA, pss("-sha256", mask, "rsa_pss_saltlen:222"), "salt"),
        (
            &keygen("rsa_pss_keygen_saltlen:64"),
            vec!["-sha256"],
            "salt",
        ),
    ];
    for (key, options, word) in signed_otherwise {
        let csr = openssl_request("otherwise", key, &options);
        let refused = rejection(engine.issue(Request::new(csr, "idevid")));
        assert!(
            matches!(refused, Rejection::PssParameters(_)),
            "{options:?}: {refused:?}"
        );
        assert_eq!(
            (refused.number(), refused.reason()),
            (202, "pss-parameters")
        );
        assert!(refused.to_string().contains(word), "{options:?}: {refused}");
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}

/// A salt of another length than the parameters say, and PKCS #1 v1.5 of a key that is restricted to PSS.
#[test]
fn pss_requests_that_are_not_what_they_say_are_refused() {
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    // A signature with a salt of 33 octets, and 32 in its parameters.
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt"];
    let request = |salt| openssl_request("salt", RSA, &[&pss[..], &[salt]].concat());
    let salt_field = |bytes: u8| [0xa2, 0x03, 0x02, 0x01, bytes];
    let mut csr = request("rsa_pss_saltlen:33");
    let at = find(&csr, &salt_field(33));
    csr[at + 4] = 32;
    let refused = rejection(engine.issue(Request::new(csr, "idevid")));
    assert_eq!(refused, Rejection::ProofOfPossession);

    // A restricted key's own SubjectPublicKeyInfo with sha256WithRSAEncryption.
    let csr = openssl_request(
        "restricted",
        RSA_PSS,
        &["-sha256", "-sigopt", "rsa_pss_saltlen:32"],
    );
    let request = CertReq::from_der(&csr).unwrap();
    let pkcs1 = CertReq {
        algorithm: AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
            parameters: Some(Any::from(AnyRef::from(Null))),
        },
        ..request
    };
    let csr = pkcs1.to_der().unwrap();
    let refused = rejection(engine.issue(Request::new(csr, "idevid")));
    assert_eq!(refused, Rejection::SignatureAlgorithm);
    engine.close().unwrap();
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    let mut places = bytes.windows(part.len());
    places.position(|window| window == part).unwrap()
}

/// One RSA key in both of its forms is one key; and a policy names the forms apart.
#[test]
fn a_restriction_to_pss_makes_no_other_key() {
    let factory = Factory::new(Signer::P256);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (restricted, plain) = (path("restricted"), path("plain"));
    openssl(&[&["genpkey", "-out", &restricted], RSA_PSS].concat());
    // The same PKCS#8 with rsaEncryption and NULL in place of id-RSASSA-PSS, so two octets longer.
    let pkcs8 = openssl(&["pkey", "-in", &restricted, "-outform", "DER"]).stdout;
    let [0x30, 0x82, high, low, body @ ..] = &pkcs8[..] else {
        panic!("not the PKCS#8 of an RSA key")
    };
    let length = u16::from_be_bytes([*high, *low]) + 2;
    let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    let at = find(body, &oid);
    let (before, after) = (&body[..at - 2], &body[at + 11..]);
    let algorithm = [&[0x30, 0x0d], &oid[..], &[0x01, 0x05, 0x00]].concat();
    let header = [&[0x30, 0x82][..], &length.to_be_bytes()].concat();
    let pkcs8 = [&header, before, &algorithm, after].concat();
    fs::write(&plain, pem("PRIVATE KEY", &pkcs8)).unwrap();
    let request = |key: &str, serial: &str| {
        let made = openssl(&["req", "-new", "-key", key, "-subj", serial]);
        Request::new(from_pem(&made.stdout), "idevid")
    };
    let pss = ["-sha256", "-sigopt", "rsa_pss_saltlen:32"];
    let engine = factory.open();
    let made = openssl(
        &[
            &[
                "req",
                "-new",
                "-key",
                &restricted,
                "-subj",
                "/serialNumber=1",
            ],
            &pss[..],
        ]
        .concat(),
    );
    let csr = from_pem(&made.stdout);
    let refused = rejection(engine.issue(Request::new(csr.clone(), "idevid")));
    assert!(refused.to_string().contains("RSA-PSS"), "{refused}");
    assert_eq!(refused.reason(), "key-not-allowed");
    engine.close().unwrap();

    accept_every_key(&factory);
    let engine = factory.open();
    engine.issue(Request::new(csr, "idevid")).unwrap();
    let refused = rejection(engine.issue(request(&plain, "/serialNumber=2")));
    assert_eq!(refused.reason(), "key-in-use");
    engine.close().unwrap();
}

const ML_DSA: [KeyAlgorithm; 3] = [
    KeyAlgorithm::MlDsa44,
    KeyAlgorithm::MlDsa65,
    KeyAlgorithm::MlDsa87,
];

/// The load generator's requests are what another implementation verifies; what is changed in them is
/// refused with its reason.
#[test]
fn ml_dsa_requests_that_are_not_as_they_should_be_are_refused() {
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    let reason = |csr: Vec<u8>| rejection(engine.issue(Request::new(csr, "idevid"))).reason();
    for (algorithm, other) in ML_DSA.into_iter().zip([1, 2, 0].map(|next| ML_DSA[next])) {
        let request = CertReq::from_der(&device_of(algorithm, 0)).unwrap();
        let other = CertReq::from_der(&device_of(other, 0)).unwrap();
        let signed = request.info.to_der().unwrap();
        let signature = request.signature.as_bytes().unwrap();
        ml_dsa_verifies(
            &request.info.public_key,
            &request.algorithm,
            &signed,
            signature,
        );
        let changed = |change: &dyn Fn(&mut CertReq)| {
            let mut request = request.clone();
            change(&mut request);
            reason(request.to_der().unwrap())
        };
        let null = Some(Any::from(AnyRef::from(Null)));

        // Parameters, of the key and of the signature (RFC 9881 §2).
        assert_eq!(
            changed(&|r| r.algorithm.parameters = null.clone()),
            "signature-algorithm"
        );
        assert_eq!(
            changed(&|r| r.info.public_key.algorithm.parameters = null.clone()),
            "malformed"
        );
        // Another parameter set's identifier.
        assert_eq!(
            changed(&|r| r.algorithm = other.algorithm.clone()),
            "signature-algorithm"
        );
        let identifier = &other.info.public_key.algorithm;
        assert_eq!(
            changed(&|r| r.info.public_key.algorithm = identifier.clone()),
            "key-unsupported"
        );
        // The pre-hashed form, id-hash-ml-dsa-44-with-sha512 and its neighbors, is not the pure one.
        let hashed = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.32");
        assert_eq!(
            changed(&|r| r.algorithm.oid = hashed),
            "signature-algorithm"
        );

        // Keys and signatures that are cut or longer.
        let key = request
            .info
            .public_key
            .subject_public_key
            .as_bytes()
            .unwrap();
        let longer = |bytes: &[u8]| BitString::from_bytes(&[bytes, &[0]].concat()).unwrap();
        let cut = |bytes: &[u8]| BitString::from_bytes(&bytes[1..]).unwrap();
        for key in [longer(key), cut(key), BitString::from_bytes(&[]).unwrap()] {
            let change = |r: &mut CertReq| r.info.public_key.subject_public_key = key.clone();
            assert_eq!(changed(&change), "key-unsupported");
        }
        for signature in [
            longer(signature),
            cut(signature),
            BitString::from_bytes(&[]).unwrap(),
        ] {
            assert_eq!(
                changed(&|r| r.signature = signature.clone()),
                "proof-of-possession"
            );
        }
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}

/// A bit of the key or of the signature, wherever it is.
#[test]
fn requests_with_a_flipped_bit_are_refused() {
    const FLIPS: u64 = 60;
    const SEED: u64 = 9881;
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    let mut random = Random::new(SEED);
    for device in devices() {
        let request = CertReq::from_der(&device.csr).unwrap();
        let key = request
            .info
            .public_key
            .subject_public_key
            .as_bytes()
            .unwrap();
        let signature = request.signature.as_bytes().unwrap();
        for flip in 0..FLIPS {
            let mut csr = device.csr.clone();
            let part = if flip % 2 == 0 { key } else { signature };
            let at = find(&csr, part) + random.below(part.len() as u64) as usize;
            csr[at] ^= 1 << random.below(8);
            let refused = rejection(engine.issue(Request::new(csr, "idevid")));
            assert!(
                matches!(
                    refused,
                    Rejection::ProofOfPossession
                        | Rejection::KeyUnsupported(_)
                        | Rejection::EcPoint(_)
                        | Rejection::RsaPolicy(_)
                        | Rejection::Malformed(_)
                ),
                "{} (seed {SEED}): octet {at}: {refused:?}",
                device.name
            );
        }
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}
