//! Generated keys in PKCS #12 files, as OpenSSL, GnuTLS and pyca/cryptography read them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};
use birthmark_engine::Request;
use birthmark_engine::device_key::{Delivery, KeyDelivery};
use birthmark_hsm::KeyAlgorithm;
use birthmark_log::tlog::VerifierKey;
use birthmark_tests::authority::{Authority, from_pem};
use birthmark_tests::oracle::{Oracles, Tool};
use x509_cert::Certificate;
use x509_cert::der::Decode;

const PROFILE: &str = r#"
name = "made"
base = "idevid"
reissue = "permit"

[[subject]]
type = "serialNumber"
value = "{data.serial}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
generated = "pkcs12"
"#;

/// Sixteen characters, one that fills a block of the MAC's derivation exactly (with its two zero octets), and
/// characters of two, three and four octets of UTF-8, the last outside the BMP.
const SECRETS: [&str; 3] = [
    "0123456789abcdef",
    "thirty-one ASCII letters and ..",
    "Schlüssel für Linie 7 – ✓ 🔑",
];

fn issue(secret: &str) -> (Authority, Vec<u8>, Vec<u8>) {
    let authority = Authority::new(KeyAlgorithm::EcP256);
    authority.add_profile("made", PROFILE);
    let file = authority.path("transport.txt");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let officer = Ed25519KeyPair::generate().unwrap();
    let public = officer.public_key().as_ref().try_into().unwrap();
    let officer = VerifierKey::ed25519("ada", public).unwrap();
    let path = authority.path("birthmark.toml");
    let configuration = fs::read_to_string(&path).unwrap();
    let officers = format!("[engine]\nofficers = [\"{officer}\"]\n");
    let configuration = configuration.replacen("[engine]\n", &officers, 1);
    let keys = "\n[device_keys]\nsecret = \"transport.txt\"\n";
    fs::write(&path, configuration + keys).unwrap();
    let engine = authority.open();
    let data = BTreeMap::from([("serial".to_owned(), "SN-1".to_owned())]);
    let issued = engine.issue(Request::generated("made", data)).unwrap();
    engine.close().unwrap();
    let Some(KeyDelivery::Encrypted(key)) = issued.key else {
        panic!("no key: {issued:?}")
    };
    assert_eq!(key.delivery(), Delivery::Pkcs12);
    let certificate = issued.certificate.as_der().to_vec();
    (authority, certificate, key.as_der().to_vec())
}

/// The PEM blocks of a kind.
fn blocks(text: &str, label: &str) -> Vec<Vec<u8>> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let after = text.split(&begin).skip(1);
    after
        .map(|block| {
            from_pem(&format!(
                "{begin}{}{end}\n",
                block.split(&end).next().unwrap()
            ))
        })
        .collect()
}

/// The one key among PEM blocks.
fn key_pair(text: &str) -> Option<EcdsaKeyPair> {
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    if let [key] = &blocks(text, "PRIVATE KEY")[..] {
        return EcdsaKeyPair::from_pkcs8(algorithm, key).ok();
    }
    // ECPrivateKey, RFC 5915 §3: version, the number, and the point as a bit string. Not everybody
    // writes the number's leading zeros.
    let key = blocks(text, "EC PRIVATE KEY").pop()?;
    let octets = usize::from(key[6]);
    let mut number = [0; 32];
    number[32 - octets..].copy_from_slice(&key[7..7 + octets]);
    let point = &key[key.len() - 65..];
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &number, point).ok()
}

#[test]
fn everybody_reads_the_key_and_the_certificates() {
    let oracles = Oracles::get();
    for secret in SECRETS {
        let (authority, certificate, pfx) = issue(secret);
        for (tool, opened) in oracles.open_pkcs12(&pfx, secret) {
            let text = opened.unwrap_or_else(|told| panic!("{tool:?} {secret}: {told}"));
            let certificates = blocks(&text, "CERTIFICATE");
            assert_eq!(
                certificates,
                [certificate.clone(), authority.issuing_certificate()],
                "{tool:?} {secret}: {text}"
            );
            let pair = key_pair(&text).unwrap_or_else(|| panic!("{tool:?} {secret}: no key"));
            let signature = pair.sign(&SystemRandom::new(), b"device").unwrap();
            let certified = Certificate::from_der(&certificate).unwrap();
            let certified = certified.tbs_certificate().subject_public_key_info();
            let point = certified.subject_public_key.raw_bytes();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(b"device", signature.as_ref())
                .unwrap();
        }
    }
}

#[test]
fn nobody_reads_it_under_another_secret_or_changed() {
    let oracles = Oracles::get();
    let (_authority, certificate, pfx) = issue(SECRETS[0]);
    for (tool, opened) in oracles.open_pkcs12(&pfx, "0123456789abcdeF") {
        let text = opened.unwrap_or_default();
        assert!(key_pair(&text).is_none(), "{tool:?}: {text}");
    }
    // An octet of the certificate, which is not encrypted: the MAC is what shows it.
    let at = pfx
        .windows(certificate.len())
        .position(|window| window == certificate)
        .unwrap();
    let mut changed = pfx;
    changed[at + certificate.len() - 1] ^= 1;
    for (tool, opened) in oracles.open_pkcs12(&changed, SECRETS[0]) {
        let told = match opened {
            Ok(text) => text,
            Err(_) => continue,
        };
        // certtool tells it and goes on.
        assert!(
            tool == Tool::GnuTls && told.contains("MAC"),
            "{tool:?}: {told}"
        );
    }
}
