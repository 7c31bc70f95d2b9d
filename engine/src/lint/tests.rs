//! Every rule has a row that breaks a good certificate in one place, and the findings are exactly that rule's.

mod encoded;
mod faults;
mod matter;
mod parts;
pub(crate) mod release;
mod samples;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::oid;
use parts::*;

fn ids(der: &[u8], options: &Options<'_>) -> Vec<&'static str> {
    let findings = lint(der, options);
    let ids: BTreeSet<_> = findings.iter().map(|finding| finding.rule.id).collect();
    ids.into_iter().collect()
}

#[test]
fn good_certificates_have_no_findings() {
    let mut ldap = Parts::end_entity();
    let address = b"ldap:///CN=ca,DC=example?cACertificate";
    ldap.set(oid::SUBJECT_ALT_NAME, alt_name(0x86, address));
    for parts in [Parts::end_entity(), Parts::ca(), ldap] {
        assert_eq!(lint(&parts.der(), &Options::default()), []);
    }
}

/// The rows whose findings are not what they should be: number, expected, found.
fn misses(
    faults: &'static [faults::Fault],
    good: fn() -> Parts,
    options: &Options<'_>,
) -> Vec<(usize, &'static str, String)> {
    let found = faults.iter().enumerate().map(|(row, (expected, fault))| {
        let mut parts = good();
        fault(&mut parts);
        (row, *expected, ids(&parts.der(), options).join(" "))
    });
    found
        .filter(|(_, expected, found)| expected != found)
        .collect()
}

#[test]
fn each_fault_gives_its_own_finding() {
    let options = Options::default();
    assert_eq!(misses(faults::FIELDS, Parts::end_entity, &options), []);
    assert_eq!(misses(faults::EXTENSIONS, Parts::end_entity, &options), []);
    assert_eq!(misses(faults::CA, Parts::ca, &options), []);
}

#[test]
fn every_rule_is_tested_and_named_once() {
    let tested: BTreeSet<_> = [faults::FIELDS, faults::EXTENSIONS, faults::CA]
        .into_iter()
        .flatten()
        .map(|(expected, _)| *expected)
        .chain(faults::ISSUED.iter().map(|(expected, _)| *expected))
        .chain(faults::OTHERS.iter().copied())
        .flat_map(|expected| expected.split(' '))
        .collect();
    let named: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(named.len(), RULES.len());
    assert_eq!(tested, named);
}

#[test]
fn an_issuer_is_compared_and_verifies() {
    let mut ca = Parts::ca();
    ca.subject = Parts::end_entity().issuer;
    let issuer = IssuerView::from_der(&ca.der()).unwrap();
    let options = Options {
        issuer: Some(&issuer),
        ..Options::default()
    };
    assert_eq!(lint(&Parts::end_entity().der(), &options), []);
    assert_eq!(misses(faults::ISSUED, Parts::end_entity, &options), []);

    let mut leaf = Parts::end_entity();
    leaf.subject = ca.subject;
    let issuer = IssuerView::from_der(&leaf.der()).unwrap();
    let options = Options {
        issuer: Some(&issuer),
        ..Options::default()
    };
    let found = ids(&Parts::end_entity().der(), &options);
    let expected = [
        "issuer-ca",
        "issuer-key-certified",
        "issuer-key-identifier",
        "issuer-signature",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_purpose_is_compared() {
    let purpose = |purpose| Options {
        purpose: Some(purpose),
        ..Options::default()
    };
    let (leaf, ca) = (Parts::end_entity().der(), Parts::ca().der());
    assert_eq!(ids(&leaf, &purpose(Purpose::Ca)), ["purpose-ca"]);
    assert_eq!(
        ids(&ca, &purpose(Purpose::EndEntity)),
        ["purpose-end-entity"]
    );
    assert_eq!(ids(&ca, &purpose(Purpose::Ca)), [""; 0]);
}

#[test]
fn findings_say_where_and_are_bounded() {
    let mut parts = Parts::end_entity();
    parts.subject = name(&[attribute(C, 0x13, b"de")]);
    let findings = lint(&parts.der(), &Options::default());
    assert_eq!(
        findings[0].to_string(),
        "a country that is not two capital letters: subject, 2.5.4.6 (ISO 3166-1)"
    );
    // Ten thousand identical and ten thousand different faults.
    let nulls = [5, 1, 0].repeat(10_000);
    let findings = lint(&tlv(0x30, &nulls), &Options::default());
    assert_eq!(findings.len(), FINDINGS_MAX);
    assert!(findings.iter().all(|finding| finding.rule.id == "der-null"));
    let large = tlv(0x30, &[5, 0].repeat(40_000));
    assert_eq!(ids(&large, &Options::default()), ["limit-size"]);
}

#[test]
fn nesting_is_bounded() {
    let mut der = Vec::new();
    for _ in 0..100 {
        der = tlv(0x30, &der);
    }
    let found = ids(&der, &Options::default());
    assert!(found.contains(&"limit-depth"), "{found:?}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = lint(&bytes, &Options::default());
        let _ = IssuerView::from_der(&bytes);
    }

    #[test]
    fn no_changed_octets_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        ca in any::<bool>(),
    ) {
        let mut der = if ca { Parts::ca() } else { Parts::end_entity() }.der();
        for (index, octet) in changes {
            let at = index.index(der.len());
            der[at] = octet;
        }
        if let Ok(issuer) = IssuerView::from_der(&der) {
            let options = Options { issuer: Some(&issuer), ..Options::default() };
            let _ = lint(&der, &options);
        }
        let findings = lint(&der, &Options::default());
        prop_assert!(findings.len() <= FINDINGS_MAX);
        for finding in findings {
            prop_assert!(!finding.to_string().contains(char::is_control));
        }
    }
}
