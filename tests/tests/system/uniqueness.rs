//! What makes two devices one: domains that outlive their profiles, ways to write an identity, and
//! profiles that are rearranged.
//!
//! None of this depends on the signer: a software key serves for all.

use std::collections::BTreeMap;
use std::path::Path;

use birthmark_engine::{Engine, IssueStatus, Profile, Rejection, Request};
use der::Tag;

use crate::requests::{Key, SERIAL_NUMBER, name};
use crate::station::{Factory, Signer, rejection};

/// An IDevID profile whose identity and subject are the request's serial number. `lines` stand at
/// its top level.
fn profile(name: &str, lines: &str) -> String {
    format!(
        r#"
name = "{name}"
base = "idevid"
identity = "{{csr.subject.serialNumber}}"
{lines}
[[subject]]
type = "serialNumber"
value = "{{csr.subject.serialNumber}}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
"#
    )
}

/// Opens the engine with these profiles and no others.
fn open(factory: &Factory, profiles: &[&str]) -> Engine {
    factory.open_with(|station| {
        station.profiles = profiles
            .iter()
            .map(|text| Profile::parse(text, Path::new("test.toml")).unwrap())
            .collect();
    })
}

fn request(profile: &str, key: &Key, serial: &str) -> Request {
    Request::new(key.request(serial), profile)
}

fn with_data(csr: Vec<u8>, profile: &str, data: &[(&str, &str)]) -> Request {
    let mut request = Request::new(csr, profile);
    request.data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect::<BTreeMap<_, _>>();
    request
}

fn issue_new(engine: &Engine, request: Request) {
    let issued = engine.issue(request).unwrap();
    assert_eq!(issued.status, IssueStatus::Issued);
}

/// What may become of profile `a` at the next start: how it is told, and its text.
fn fates_of_a(domain: &str) -> [(&'static str, Option<String>); 4] {
    [
        ("kept", Some(profile("a", domain))),
        ("dropped", None),
        ("renamed", Some(profile("c", domain))),
        ("without its domain", Some(profile("a", ""))),
    ]
}

#[test]
fn an_identity_stays_taken_in_its_domain_whatever_becomes_of_its_profile() {
    let domain = "identity_domain = \"factory\"";
    let (a, b) = (profile("a", domain), profile("b", domain));
    let factory = Factory::new(Signer::P256);
    let (key, other_key) = (Key::generate(), Key::generate());
    let engine = open(&factory, &[&a, &b]);
    issue_new(&engine, request("a", &key, "SN-1"));
    engine.close().unwrap();

    for (fate, a) in fates_of_a(domain) {
        let profiles: Vec<&str> = a.iter().chain([&b]).map(String::as_str).collect();
        let engine = open(&factory, &profiles);
        let identity = "SN-1".to_owned();
        assert_eq!(
            rejection(engine.issue(request("b", &other_key, "SN-1"))),
            Rejection::IdentityInUse { identity, index: 0 },
            "a is {fate}"
        );
        let identity = "SN-1".to_owned();
        assert_eq!(
            rejection(engine.issue(request("b", &key, "SN-1"))),
            Rejection::ChangedRequest { identity, index: 0 },
            "a is {fate}"
        );
        assert_eq!(
            rejection(engine.issue(request("b", &key, "SN-2"))),
            Rejection::KeyInUse { index: 0 },
            "a is {fate}"
        );
        engine.close().unwrap();
    }
    assert_eq!(factory.assert_sound().len(), 1);
}

#[test]
fn a_key_stays_taken_in_its_domain_whatever_becomes_of_its_profile() {
    let domain = "key_domain = \"shared\"";
    let (a, b) = (profile("a", domain), profile("b", domain));
    let factory = Factory::new(Signer::P256);
    let key = Key::generate();
    let engine = open(&factory, &[&a, &b]);
    issue_new(&engine, request("a", &key, "SN-1"));
    engine.close().unwrap();

    for (fate, a) in fates_of_a(domain) {
        let profiles: Vec<&str> = a.iter().chain([&b]).map(String::as_str).collect();
        let engine = open(&factory, &profiles);
        // The same serial number in b's own identity domain is another identity.
        for serial in ["SN-1", "SN-2"] {
            assert_eq!(
                rejection(engine.issue(request("b", &key, serial))),
                Rejection::KeyInUse { index: 0 },
                "a is {fate}, {serial}"
            );
        }
        engine.close().unwrap();
    }
    assert_eq!(factory.assert_sound().len(), 1);
}

/// The other way round: a profile that moves to a domain does not take its earlier devices along,
/// and an unchanged request is still answered.
#[test]
fn a_new_domain_does_not_reach_back() {
    let before = profile("a", "");
    let after = profile("a", "identity_domain = \"factory\"");
    let factory = Factory::new(Signer::P256);
    let key = Key::generate();
    let engine = open(&factory, &[&before]);
    issue_new(&engine, request("a", &key, "SN-1"));
    engine.close().unwrap();

    let engine = open(&factory, &[&after]);
    let again = engine.issue(request("a", &key, "SN-1")).unwrap();
    assert_eq!(again.status, IssueStatus::Existing);
    issue_new(&engine, request("a", &Key::generate(), "SN-1"));
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 2);
}

#[test]
fn an_identity_in_other_capitals_is_the_same_identity() {
    let factory = Factory::new(Signer::P256);
    let key = Key::generate();
    let mut engine = factory.open();
    issue_new(&engine, request("idevid", &key, "SN-a1"));
    for _ in 0..2 {
        for serial in ["sn-a1", "SN-A1", "Sn-a1"] {
            let identity = serial.to_owned();
            assert_eq!(
                rejection(engine.issue(request("idevid", &Key::generate(), serial))),
                Rejection::IdentityInUse { identity, index: 0 }
            );
            let identity = serial.to_owned();
            assert_eq!(
                rejection(engine.issue(request("idevid", &key, serial))),
                Rejection::ChangedRequest { identity, index: 0 }
            );
        }
        engine.close().unwrap();
        engine = factory.open();
    }
    issue_new(&engine, request("idevid", &Key::generate(), "SN-a2"));
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 2);
}

#[test]
fn an_identity_has_one_way_to_be_written() {
    let by_data = profile("by-data", "").replacen(
        "identity = \"{csr.subject.serialNumber}\"",
        "identity = \"{data.sn}\"",
        1,
    );
    let factory = Factory::new(Signer::P256);
    let engine = open(&factory, &[&profile("by-csr", ""), &by_data]);
    let bad = [
        (" SN-1", "no spaces at its ends"),
        ("SN-1 ", "no spaces at its ends"),
        ("SN  1", "none in a row"),
        ("SN-\u{e9}", "ASCII"),
        // A Cyrillic letter that looks like a Latin one.
        ("\u{405}N-1", "ASCII"),
        ("SN\u{a0}1", "ASCII"),
        ("SN-1\t", "control character"),
    ];
    for (sn, expected) in bad {
        let csr = Key::generate().request("any");
        match rejection(engine.issue(with_data(csr, "by-data", &[("sn", sn)]))) {
            Rejection::FieldValue { target, problem } => {
                assert_eq!(target, "identity", "{sn:?}");
                assert!(problem.contains(expected), "{sn:?}: {problem}");
            }
            // What is not a line of text is refused as data, before it is an identity.
            Rejection::DataValue(problem) => {
                assert!(problem.contains(expected), "{sn:?}: {problem}");
            }
            other => panic!("{sn:?}: {other:?}"),
        }
        // The same from the request, where PrintableString has its say too.
        let subject = name(&[(SERIAL_NUMBER, Tag::Utf8String, sn)]);
        let csr = Key::generate().request_with(subject, &[]);
        let refused = rejection(engine.issue(Request::new(csr, "by-csr")));
        assert!(
            matches!(refused, Rejection::FieldValue { .. }),
            "{sn:?}: {refused:?}"
        );
        assert_eq!(refused.number(), 402);
    }
    // One space within is a character like any other.
    let csr = Key::generate().request("any");
    issue_new(&engine, with_data(csr, "by-data", &[("sn", "SN 1")]));
    issue_new(&engine, request("by-csr", &Key::generate(), "SN 1"));
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 2);
}

/// The device is what its certificates call it, also where the line and not the request says so.
#[test]
fn without_an_identity_line_the_subject_serial_number_is_the_identity() {
    let profile = r#"
name = "line"
base = "idevid"

[[subject]]
type = "serialNumber"
value = "{data.sn}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
"#;
    let factory = Factory::new(Signer::P256);
    // The requests' own serial numbers differ, so that they are no help.
    let ask =
        |serial: &str, sn: &str| with_data(Key::generate().request(serial), "line", &[("sn", sn)]);
    let mut engine = open(&factory, &[profile]);
    issue_new(&engine, ask("one", "SN-1"));
    for _ in 0..2 {
        let identity = "SN-1".to_owned();
        assert_eq!(
            rejection(engine.issue(ask("two", "SN-1"))),
            Rejection::IdentityInUse { identity, index: 0 }
        );
        engine.close().unwrap();
        engine = open(&factory, &[profile]);
    }
    // One more device: what the request itself is called does not matter.
    issue_new(&engine, ask("one", "SN-2"));
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 2);
}

/// Two fields swap places in the file: the values that the profile takes are the same.
#[test]
fn a_rearranged_profile_knows_its_earlier_requests() {
    let attribute = |r#type: &str, value: &str| {
        format!("[[subject]]\ntype = \"{type}\"\nvalue = \"{{data.{value}}}\"\n")
    };
    let (order, line) = (attribute("O", "order"), attribute("OU", "line"));
    let one_way = profile("arranged", &format!("{order}{line}"));
    let other_way = profile("arranged", &format!("{line}{order}"));
    let factory = Factory::new(Signer::P256);
    let key = Key::generate();
    let ask = |order: &str, line: &str| {
        let data = [("order", order), ("line", line)];
        with_data(key.request("SN-1"), "arranged", &data)
    };
    let engine = open(&factory, &[&one_way]);
    let first = engine.issue(ask("7", "8")).unwrap();
    assert_eq!(first.status, IssueStatus::Issued);
    engine.close().unwrap();

    for profile in [&other_way, &one_way] {
        let engine = open(&factory, &[profile]);
        let again = engine.issue(ask("7", "8")).unwrap();
        assert_eq!(again.status, IssueStatus::Existing);
        assert_eq!(again.certificate, first.certificate);
        // The values have kept their names: swapped, they are another request.
        let identity = "SN-1".to_owned();
        assert_eq!(
            rejection(engine.issue(ask("8", "7"))),
            Rejection::ChangedRequest { identity, index: 0 }
        );
        engine.close().unwrap();
    }
    assert_eq!(factory.assert_sound().len(), 1);
}
