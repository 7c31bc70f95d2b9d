//! Requests that are refused for what is in them: keys that anybody can sign for, hidden wishes to
//! be a CA, data that only the engine may write.
//!
//! None of this depends on the signer: a software key serves for all.

use std::collections::BTreeMap;

use birthmark_engine::{Engine, IssueStatus, Rejection, Request};
use der::asn1::{BitString, ObjectIdentifier, OctetString};
use der::{Encode, Tag};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::request::{CertReq, ExtensionReq};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::requests::{Key, SERIAL_NUMBER, challenge_password, name, wants_to_be_a_ca};
use crate::station::{Factory, Signer, rejection};

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A request with an Ed25519 key and the signature that holds for the neutral element whatever is
/// signed: R the neutral element, S = 0 (RFC 8032 §5.1.7: S·B = R + k·A).
fn forged_ed25519(key: [u8; 32], serial: &str) -> Vec<u8> {
    let algorithm = AlgorithmIdentifierOwned {
        oid: ED25519,
        parameters: None,
    };
    let subject = name(&[(SERIAL_NUMBER, Tag::PrintableString, serial)]);
    let mut info = Key::generate().info(subject, &[]);
    info.public_key = SubjectPublicKeyInfoOwned {
        algorithm: algorithm.clone(),
        subject_public_key: BitString::from_bytes(&key).unwrap(),
    };
    let mut signature = [0; 64];
    signature[0] = 1;
    let request = CertReq {
        info,
        algorithm,
        signature: BitString::from_bytes(&signature).unwrap(),
    };
    request.to_der().unwrap()
}

/// A y coordinate, most significant digit first, as it stands in a key: the other way round.
fn y(digits: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().rev().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    }
    bytes
}

#[test]
fn ed25519_keys_of_small_order_are_refused() {
    // The points of order 4 (y = 0), 1, 2 (y = -1) and 8 of edwards25519, RFC 8032 §5.1.
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec",
        "05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826",
        "7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7",
    ];
    let factory = Factory::new(Signer::P256);
    let engine = factory.open();
    for digits in small {
        for sign in [0, 0x80] {
            let mut key = y(digits);
            key[31] |= sign;
            let csr = forged_ed25519(key, "SN-1");
            let refused = rejection(engine.issue(Request::new(csr, "idevid")));
            assert!(
                matches!(refused, Rejection::KeyUnsupported(_)),
                "y = {digits}, sign {sign:#x}: {refused:?}"
            );
            assert_eq!(refused.number(), 300);
        }
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}

/// The same points with the field's prime added to y: not the encoding of a point (RFC 8032
/// §5.1.3), whoever says so. Several requests each, since a forged signature of a point of order n
/// holds for one in n.
#[test]
fn ed25519_keys_beyond_the_prime_are_refused() {
    const TRIES: usize = 40;
    let beyond = [
        "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
        "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffee",
    ];
    let factory = Factory::new(Signer::P256);
    let engine = factory.open();
    for digits in beyond {
        for sign in [0, 0x80] {
            let mut key = y(digits);
            key[31] |= sign;
            for number in 0..TRIES {
                let csr = forged_ed25519(key, &format!("SN-{number}"));
                let refused = rejection(engine.issue(Request::new(csr, "idevid")));
                assert!(
                    matches!(
                        refused,
                        Rejection::KeyUnsupported(_) | Rejection::ProofOfPossession
                    ),
                    "y = {digits}, sign {sign:#x}: {refused:?}"
                );
            }
        }
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}

/// extensionRequest's forerunner in Microsoft's tools.
const MICROSOFT_EXTENSION_REQUEST: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

const CA_TRUE: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0xff];
const CA_ABSENT: &[u8] = &[0x30, 0x00];
const CA_FALSE: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0x00];
/// Bit 5, keyCertSign, alone (RFC 5280 §4.2.1.3).
const KEY_CERT_SIGN: &[u8] = &[0x03, 0x02, 0x02, 0x04];
/// Bits 0 and 5: digitalSignature and keyCertSign.
const BOTH_USAGES: &[u8] = &[0x03, 0x02, 0x02, 0x84];
/// Bit 0, digitalSignature, alone.
const DIGITAL_SIGNATURE: &[u8] = &[0x03, 0x02, 0x07, 0x80];

fn extensions(wanted: &[(ObjectIdentifier, &[u8])]) -> Attribute {
    let extensions = wanted
        .iter()
        .map(|(oid, value)| Extension {
            extn_id: *oid,
            critical: true,
            extn_value: OctetString::new(*value).unwrap(),
        })
        .collect();
    ExtensionReq(extensions).try_into().unwrap()
}

fn as_microsoft(mut attribute: Attribute) -> Attribute {
    attribute.oid = MICROSOFT_EXTENSION_REQUEST;
    attribute
}

fn ask(engine: &Engine, attributes: &[Attribute]) -> birthmark_engine::IssueResult {
    let key = Key::generate();
    // Every request its own device.
    let serial = format!("SN-{}", engine.log().len());
    let subject = name(&[(SERIAL_NUMBER, Tag::PrintableString, &serial)]);
    engine.issue(Request::new(
        key.request_with(subject, attributes),
        "idevid",
    ))
}

#[test]
fn every_way_to_ask_for_a_ca_is_refused() {
    let harmless = || extensions(&[(KEY_USAGE, DIGITAL_SIGNATURE)]);
    let requests = [
        vec![as_microsoft(wants_to_be_a_ca())],
        vec![extensions(&[(KEY_USAGE, KEY_CERT_SIGN)])],
        vec![extensions(&[(KEY_USAGE, BOTH_USAGES)])],
        vec![as_microsoft(extensions(&[(KEY_USAGE, KEY_CERT_SIGN)]))],
        // What stands beside the wish does not take it back, in whatever order.
        vec![wants_to_be_a_ca(), as_microsoft(harmless())],
        vec![harmless(), as_microsoft(wants_to_be_a_ca())],
        vec![extensions(&[
            (BASIC_CONSTRAINTS, CA_TRUE),
            (KEY_USAGE, DIGITAL_SIGNATURE),
        ])],
        vec![extensions(&[
            (KEY_USAGE, KEY_CERT_SIGN),
            (BASIC_CONSTRAINTS, CA_ABSENT),
        ])],
    ];
    let factory = Factory::new(Signer::P256);
    let engine = factory.open();
    for (number, attributes) in requests.iter().enumerate() {
        let refused = rejection(ask(&engine, attributes));
        assert_eq!(refused, Rejection::RequestsCa, "request {number}");
        assert_eq!(refused.number(), 403);
    }
    // Whoever asks for nothing of the kind is served.
    let requests = [
        vec![harmless()],
        vec![as_microsoft(harmless())],
        vec![extensions(&[(BASIC_CONSTRAINTS, CA_ABSENT)])],
        vec![harmless(), as_microsoft(harmless())],
    ];
    for (number, attributes) in requests.iter().enumerate() {
        let issued = ask(&engine, attributes).unwrap();
        assert_eq!(issued.status, IssueStatus::Issued, "request {number}");
    }
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 4);
}

/// X.690 §11.5: a value that is the default is not encoded.
#[test]
fn basic_constraints_are_strict_der() {
    let malformed: [&[u8]; 4] = [
        CA_FALSE,
        // A path length that is negative.
        &[0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0xff],
        // Something more.
        &[0x30, 0x05, 0x01, 0x01, 0xff, 0x05, 0x00],
        // No SEQUENCE.
        &[0x01, 0x01, 0xff],
    ];
    let factory = Factory::new(Signer::P256);
    let engine = factory.open();
    for value in malformed {
        let wanted = extensions(&[(BASIC_CONSTRAINTS, value)]);
        for attribute in [as_microsoft(wanted.clone()), wanted] {
            let refused = rejection(ask(&engine, &[attribute]));
            assert!(
                matches!(refused, Rejection::Malformed(_)),
                "{value:02x?}: {refused:?}"
            );
            assert_eq!(refused.number(), 102);
        }
    }
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 0);
}

/// What the engine itself writes into a record's data, above all the domains, a line cannot.
#[test]
fn data_keys_of_the_engine_are_refused() {
    let factory = Factory::new(Signer::P256);
    let engine = factory.open();
    let key = Key::generate();
    let request = |data_key: &str| {
        let mut request = Request::new(key.request("SN-1"), "idevid");
        request.data = BTreeMap::from([(data_key.to_owned(), "elsewhere".to_owned())]);
        request
    };
    for data_key in [
        "birthmark:key-domain",
        "birthmark:identity-domain",
        "birthmark:anything",
        "birthmark:",
    ] {
        let refused = rejection(engine.issue(request(data_key)));
        assert!(
            matches!(refused, Rejection::DataLimit(_)),
            "{data_key}: {refused:?}"
        );
        assert_eq!(refused.number(), 404);
    }
    assert_eq!(engine.log().len(), 0);
    engine.issue(request("birthmark")).unwrap();
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1);
}

/// Records are exported line by line and read on terminals: what the line adds is one line of text.
#[test]
fn data_with_control_characters_is_refused() {
    let factory = Factory::new(Signer::P256);
    let engine = factory.open();
    let key = Key::generate();
    let request = |data_key: &str, value: &str, lot: Option<&str>| {
        let mut request = Request::new(key.request("SN-1"), "idevid");
        request.data = BTreeMap::from([(data_key.to_owned(), value.to_owned())]);
        request.lot = lot.map(str::to_owned);
        request
    };
    let wrong = [
        request("station", "7\n8", None),
        request("station", "\u{1b}[2J", None),
        request("station", "\u{9b}", None),
        request("sta\0tion", "7", None),
        request("station", "7", Some("L\r1")),
    ];
    for request in wrong {
        let refused = rejection(engine.issue(request));
        assert!(matches!(refused, Rejection::DataValue(_)), "{refused:?}");
        assert_eq!((refused.number(), refused.reason()), (405, "data-value"));
    }
    assert_eq!(engine.log().len(), 0);
    engine
        .issue(request("station", "Süd 7", Some("L 1")))
        .unwrap();
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1);
}

/// A request may hold a challenge password, and data may be anything: programs print what they
/// were about to send.
#[test]
fn debug_output_of_a_request_tells_no_content() {
    const PASSWORD: &str = "correct-horse";
    const VALUE: &str = "battery-staple";
    let subject = name(&[(SERIAL_NUMBER, Tag::PrintableString, "SN-1")]);
    let csr = Key::generate().request_with(subject, &[challenge_password(PASSWORD)]);
    let head = csr[..4].to_vec();
    let mut request = Request::new(csr, "idevid");
    request.data = BTreeMap::from([("station".to_owned(), VALUE.to_owned())]);
    // As numbers in a list, which is how bytes print.
    let listed = |bytes: &[u8]| {
        let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
        numbers.join(", ")
    };
    let secrets = [
        PASSWORD.to_owned(),
        VALUE.to_owned(),
        listed(PASSWORD.as_bytes()),
        listed(&head),
    ];
    for shown in [format!("{request:?}"), format!("{:?}", Some(&request))] {
        for secret in &secrets {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(shown.contains("idevid"), "{shown}");
    }
    let shown = format!("{request:#?}");
    let lines: Vec<_> = shown
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .collect();
    // On lines of their own, numbers are bytes.
    assert!(
        lines.iter().all(|line| line.parse::<u8>().is_err()),
        "{shown}"
    );
    for secret in &secrets[..2] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
