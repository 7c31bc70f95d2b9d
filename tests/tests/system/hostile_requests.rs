//! Requests that somebody changed, and subjects with any text: the engine's answer is known
//! beforehand, and it stands it all.

use birthmark_engine::{Engine, IssueError, Request};
use birthmark_hsm::KeyAlgorithm;
use der::{Decode, Tag};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use x509_cert::Certificate;

use crate::algorithms::accept_every_key;
use crate::requests::{COMMON_NAME, Key, SERIAL_NUMBER, device, device_of, name};
use crate::station::{Factory, Signer};

on_every_signer!(
    changed_requests_are_never_issued,
    subjects_are_taken_or_refused_by_rule
);

/// One way to change bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Truncate(Index),
    /// A piece is repeated elsewhere.
    Copy(Index, Index, usize),
}

impl Change {
    fn any() -> impl Strategy<Value = Change> {
        let at = any::<Index>;
        prop_oneof![
            4 => (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
            2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            1 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
            1 => at().prop_map(Change::Remove),
            1 => at().prop_map(Change::Truncate),
            1 => (at(), at(), 1..40usize).prop_map(|(from, to, len)| Change::Copy(from, to, len)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Change::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Change::Set(at, byte) => bytes[at.index(len)] = *byte,
            Change::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            Change::Remove(at) => drop(bytes.remove(at.index(len))),
            Change::Truncate(at) => bytes.truncate(at.index(len)),
            Change::Copy(from, to, count) => {
                let from = from.index(len);
                let piece = bytes[from..(from + count).min(len)].to_vec();
                let to = to.index(len);
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// Cases from a fixed seed; proptest prints the smallest failing one.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn changed_requests_are_never_issued(signer: Signer) {
    const CASES: u32 = 400;
    let factory = Factory::new(signer);
    accept_every_key(&factory);
    let engine = factory.open();
    let originals: Vec<Vec<u8>> = [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::MlDsa44,
        KeyAlgorithm::Rsa2048,
    ]
    .into_iter()
    .map(|algorithm| device_of(algorithm, 0))
    .collect();
    let changes = prop::collection::vec(Change::any(), 1..4);
    let cases = (0..originals.len(), changes);
    runner(CASES)
        .run(&cases, |(original, changes)| {
            let mut csr = originals[original].clone();
            changes.iter().for_each(|change| change.apply(&mut csr));
            prop_assume!(csr != originals[original]);
            // A signature covers every byte that means anything, and DER has one form: whatever
            // was changed, this is no request any more.
            match engine.issue(Request::new(csr, "idevid")) {
                Err(IssueError::Rejected(rejection)) => {
                    prop_assert!(rejection.number() < 400, "{:?}", rejection);
                }
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            }
            Ok(())
        })
        .unwrap();
    // It works as before.
    assert_eq!(engine.log().len(), 0);
    engine.issue(Request::new(device(0), "idevid")).unwrap();
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 1);
}

/// Texts around every limit: short, long, other alphabets, control characters; and plain ones.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9.-]{3,12}( [A-Z0-9]{1,8})?",
        4 => "[A-Za-z0-9 '()+,./:=?_-]{0,20}",
        2 => "[A-Za-z0-9._-]{60,70}",
        1 => "\\PC{0,20}",
        1 => any::<String>().prop_map(|text| text.chars().take(30).collect()),
        1 => "[a-zäöü*@&;]{1,10}",
        1 => "[A-Z]{1,5}[\\x00-\\x1f\\x7f][A-Z]{0,5}",
    ]
}

/// PrintableString's characters, X.680 §41.4.
fn is_printable(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c))
}

/// A serial number is an identity too: no spaces that a comparison of names would fold.
fn is_serial_number(text: &str) -> bool {
    is_printable(text) && !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ")
}

fn is_registration_id(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// What a profile should do with a text, said independently of the engine.
struct Rule {
    profile: &'static str,
    attribute: der::asn1::ObjectIdentifier,
    string: Tag,
    accepts: fn(&str) -> bool,
}

const RULES: [Rule; 2] = [
    Rule {
        profile: "idevid",
        attribute: SERIAL_NUMBER,
        string: Tag::PrintableString,
        accepts: is_serial_number,
    },
    Rule {
        profile: "tls-client",
        attribute: COMMON_NAME,
        string: Tag::Utf8String,
        accepts: is_registration_id,
    },
];

fn subjects_are_taken_or_refused_by_rule(signer: Signer) {
    const CASES: u32 = 150;
    let factory = Factory::new(signer);
    let engine = factory.open();
    runner(CASES)
        .run(&(0..RULES.len(), texts()), |(rule, text)| {
            check_subject(&engine, &RULES[rule], &text)
        })
        .unwrap();
    let metrics = engine.metrics();
    assert!(
        metrics.issued > 20 && metrics.rejected > 20,
        "both happen: {metrics:?}"
    );
    engine.close().unwrap();
    factory.assert_sound();
}

fn check_subject(engine: &Engine, rule: &Rule, text: &str) -> Result<(), TestCaseError> {
    let key = Key::generate();
    // As UTF8String, which can hold any text; the engine picks the certificate's string type.
    let subject = name(&[(rule.attribute, Tag::Utf8String, text)]);
    let result = engine.issue(Request::new(key.request_with(subject, &[]), rule.profile));
    let acceptable = (1..=64).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && (rule.accepts)(text);
    match result {
        Ok(issued) => {
            prop_assert!(acceptable, "{text:?} was issued");
            let certificate = Certificate::from_der(issued.certificate.as_der()).unwrap();
            let parts: Vec<_> = certificate.tbs_certificate().subject().iter().collect();
            prop_assert_eq!(parts.len(), 1);
            prop_assert_eq!(parts[0].oid, rule.attribute);
            prop_assert_eq!(der::Tagged::tag(&parts[0].value), rule.string);
            prop_assert_eq!(parts[0].value.value(), text.as_bytes());
        }
        Err(IssueError::Rejected(rejection)) => {
            // A short text can come twice: then the identity has another key.
            let twice = rejection.reason() == "identity-in-use";
            prop_assert!(!acceptable || twice, "{:?}: {}", text, rejection);
            prop_assert!(
                twice || rejection.reason() == "field-value",
                "{}",
                rejection
            );
        }
        Err(IssueError::Fault(fault)) => return Err(TestCaseError::fail(fault.to_string())),
    }
    Ok(())
}
