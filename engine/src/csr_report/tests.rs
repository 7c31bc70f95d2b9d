//! What the report tells, and that it goes on.

use super::*;
use crate::csr::tests::{Draft, RsaKey, der, sequence};
use crate::oid;
use crate::weak_key::rsa_keys;

fn numbers(report: &CsrReport) -> Vec<u16> {
    report.findings.iter().map(Rejection::number).collect()
}

fn attribute(oid: &[u8], value: Vec<u8>) -> Vec<u8> {
    sequence(&[der(tag::OID, oid), der(tag::SET, &value)])
}

fn asks_for(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical {
        der(tag::BOOLEAN, &[0xff])
    } else {
        vec![]
    };
    sequence(&[der(tag::OID, oid), critical, der(tag::OCTET_STRING, value)])
}

#[test]
fn a_sound_request_is_told_in_words() {
    const PASSWORD: &str = "correct-horse";
    let mut draft = Draft::p256();
    let names = sequence(&[der(0x82, b"a.example"), der(0x87, &[192, 0, 2, 1])]);
    let client = sequence(&[der(tag::OID, &[0x2b, 6, 1, 5, 5, 7, 3, 2])]);
    let extensions = sequence(&[
        asks_for(oid::KEY_USAGE, true, &[0x03, 0x02, 0x05, 0xa0]),
        asks_for(oid::EXT_KEY_USAGE, false, &client),
        asks_for(oid::SUBJECT_ALT_NAME, false, &names),
        asks_for(&[0x2a, 0x03], false, &[5, 0]),
    ]);
    draft.attributes = vec![
        attribute(oid::EXTENSION_REQUEST, extensions),
        attribute(
            oid::CHALLENGE_PASSWORD,
            der(tag::UTF8_STRING, PASSWORD.as_bytes()),
        ),
    ];
    let report = CsrReport::examine(&draft.signed(), None);
    assert_eq!(report.findings, []);
    let key = report.key.as_ref().unwrap();
    assert_eq!(
        (key.algorithm, key.bits, key.fingerprint.len()),
        ("P-256", None, 64)
    );
    let subject = report.subject.as_ref().unwrap();
    assert_eq!(subject.len(), 1);
    assert_eq!(
        (&subject[0].name[..], &subject[0].value[..]),
        ("serialNumber", "SN-1")
    );
    assert_eq!(
        report.signature_algorithm.as_deref(),
        Some("ecdsa-with-SHA256")
    );
    assert_eq!(report.attributes, ["challengePassword", "extensionRequest"]);
    let told: Vec<_> = report
        .extensions
        .iter()
        .map(|e| (&e.name[..], e.critical, &e.value[..]))
        .collect();
    assert_eq!(
        told,
        [
            ("keyUsage", true, "digitalSignature, keyEncipherment"),
            ("extKeyUsage", false, "clientAuth"),
            ("subjectAltName", false, "DNS a.example, IP 192.0.2.1"),
            ("1.2.3", false, "0500"),
        ]
    );
    assert!(
        report
            .extensions
            .iter()
            .all(|e| e.fate == ExtensionFate::Ignored)
    );
    assert!(!format!("{report:?}").contains(PASSWORD));
}

#[test]
fn every_finding_is_told() {
    let mut draft = Draft::p256();
    // Off its curve, signed over SHA-1 by its own word, of the wrong version, with an attribute twice.
    draft.point[64] ^= 1;
    let point = draft.point.clone();
    draft.key = sequence(&[
        sequence(&[
            der(tag::OID, oid::EC_PUBLIC_KEY),
            der(tag::OID, oid::SECP256R1),
        ]),
        der(tag::BIT_STRING, &[&[0], &point[..]].concat()),
    ]);
    draft.version = vec![1];
    draft.algorithm = sequence(&[der(tag::OID, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01])]);
    let password = attribute(oid::CHALLENGE_PASSWORD, der(tag::UTF8_STRING, b"x"));
    draft.attributes = vec![password.clone(), password];
    let report = CsrReport::examine(&draft.signed(), None);
    assert_eq!(numbers(&report), [102, 103, 203, 304]);
    assert_eq!(report.attributes.len(), 2);
    assert_eq!(
        report.signature_algorithm.as_deref(),
        Some("1.2.840.10045.4.1")
    );
}

#[test]
fn weak_keys_are_told_even_where_the_signature_fails() {
    let mut csr = RsaKey::from_primes(&rsa_keys::roca()).request();
    assert_eq!(numbers(&CsrReport::examine(&csr, None)), [307]);
    *csr.last_mut().unwrap() ^= 1;
    let report = CsrReport::examine(&csr, None);
    assert_eq!(numbers(&report), [201, 307]);
    assert_eq!(report.key.unwrap().bits, Some(2048));
}

#[test]
fn what_cannot_be_read_is_left_out() {
    for (csr, expected) in [(&[][..], 100), (&[5, 0], 102), (&vec![0; 70_000], 101)] {
        let report = CsrReport::examine(csr, None);
        assert_eq!(numbers(&report), [expected]);
        assert!(report.subject.is_none() && report.key.is_none());
    }
    // The key is of an unknown kind: everything else is told.
    let mut draft = Draft::p256();
    draft.key = sequence(&[
        sequence(&[der(tag::OID, &[0x2a, 3])]),
        der(tag::BIT_STRING, &[0, 1]),
    ]);
    let report = CsrReport::examine(&draft.signed(), None);
    assert_eq!(numbers(&report), [300]);
    assert!(report.key.is_none() && report.subject.is_some());
}

#[test]
fn a_wish_to_be_a_ca_is_marked() {
    let mut draft = Draft::p256();
    let wish = asks_for(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff]);
    draft.attributes = vec![attribute(oid::EXTENSION_REQUEST, sequence(&[wish]))];
    let report = CsrReport::examine(&draft.signed(), None);
    let [extension] = &report.extensions[..] else {
        panic!("{report:?}");
    };
    assert_eq!(
        (&extension.value[..], extension.fate),
        ("a CA", ExtensionFate::Refused)
    );
}

/// What is found of a request held against a profile, and what becomes of its extensions.
fn held_against(
    toml: &str,
    extensions: &[Vec<u8>],
    data: &[(&str, &str)],
) -> (Vec<u16>, Vec<ExtensionFate>) {
    let mut draft = Draft::p256();
    draft.attributes = vec![attribute(oid::EXTENSION_REQUEST, sequence(extensions))];
    let profile = Profile::parse(toml, "p.toml".as_ref()).unwrap();
    let issuer = crate::lint::tests::release::issuer();
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let policy = CsrPolicy {
        profile: &profile,
        issuer: &issuer,
        data: &data.collect(),
        known_bad_keys: None,
    };
    let report = CsrReport::examine(&draft.signed(), Some(&policy));
    let fates = report.extensions.iter().map(|extension| extension.fate);
    (numbers(&report), fates.collect())
}

#[test]
fn a_profile_decides_what_becomes_of_extensions() {
    let names = asks_for(
        oid::SUBJECT_ALT_NAME,
        false,
        &sequence(&[der(0x82, b"a.example")]),
    );
    let usage = asks_for(oid::KEY_USAGE, true, &[0x03, 0x02, 0x07, 0x80]);
    let wish = asks_for(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff]);
    let profile = |rest: &str| {
        format!(
            "name = \"c\"\nbase = \"custom\"\nidentity = \"{{csr.key.id}}\"\n\
             [[subject]]\ntype = \"CN\"\nvalue = \"x\"\n\
             [validity]\ndays = 8\n[key]\nalgorithms = [\"p256\"]\n[extensions]\n{rest}"
        )
    };
    let device = profile(
        "key_usage = [\"digitalSignature\"]\n\
         [requested_extensions.subject_alt_name]\npolicy = \"allow\"\ndns = [\"[a-z]+.example\"]\n\
         [requested_extensions.key_usage]\npolicy = \"require\"\n",
    );
    let (found, fates) = held_against(&device, &[names.clone(), usage.clone(), wish.clone()], &[]);
    assert_eq!(found, [403]);
    assert_eq!(
        fates,
        [
            ExtensionFate::Taken,
            ExtensionFate::Required,
            ExtensionFate::Refused
        ]
    );
    let ca = profile("key_usage = [\"keyCertSign\"]\nbasic_constraints = \"ca\"\n");
    let (found, fates) = held_against(&ca, &[names, wish], &[]);
    assert_eq!((found, fates), (vec![], vec![ExtensionFate::Ignored; 2]));
}

#[test]
fn the_lines_data_is_looked_at() {
    let toml = crate::profile::IDEVID_TOML;
    let usage = [asks_for(oid::KEY_USAGE, true, &[0x03, 0x02, 0x07, 0x80])];
    let found = |key: &str, value: &str| held_against(toml, &usage, &[(key, value)]).0;
    assert_eq!(found("line", "4"), [0; 0]);
    assert_eq!(found("line", "a\u{1b}b"), [405]);
    assert_eq!(found("birthmark:key", "4"), [404]);
    assert_eq!(found("line", &"x".repeat(9000)), [404]);
}

/// Nothing of the report moves a terminal's cursor or turns its text around.
#[test]
fn texts_are_fit_for_a_terminal() {
    let mut draft = Draft::p256();
    let hostile = "a\u{1b}[2J\u{202e}\u{7}\u{9b}\nb";
    let long = "\u{1}".repeat(1000);
    let part = |value: &str| {
        let pair = sequence(&[
            der(tag::OID, &[0x55, 4, 3]),
            der(tag::UTF8_STRING, value.as_bytes()),
        ]);
        der(tag::SET, &pair)
    };
    draft.subject = sequence(&[part(hostile), part(&long), part("O'Neill")]);
    let report = CsrReport::examine(&draft.signed(), None);
    let values: Vec<_> = report
        .subject
        .unwrap()
        .into_iter()
        .map(|a| a.value)
        .collect();
    for value in &values {
        assert!(
            !value.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{value:?}"
        );
        assert!(value.len() < 1000, "{}", value.len());
    }
    assert_eq!(values[2], "O'Neill");
}

proptest::proptest! {
    #[test]
    fn no_input_panics(change in 0..400usize, octet: u8, cut in 0..400usize) {
        let mut csr = Draft::p256().signed();
        let at = change % csr.len();
        csr[at] = octet;
        csr.truncate(cut.max(1));
        let _ = CsrReport::examine(&csr, None);
    }
}
