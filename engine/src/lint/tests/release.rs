//! The check before release: what the profile, the request and the issuer demand.

use std::path::Path;

use super::super::{Expectation, check_certificate, check_issued};
use super::faults::Fault;
use super::parts::*;
use super::{Options, lint};
use crate::der::tag;
use crate::issuer::Issuer;
use crate::key::DeviceKeyAlgorithm;
use crate::lint::FINDINGS_MAX;
use crate::oid;
use crate::profile::{BasicConstraintsRule, IDEVID_TOML, Profile, TLS_CLIENT_TOML};

const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];

fn serial_number(tag: u8) -> Vec<u8> {
    name(&[attribute(SERIAL_NUMBER, tag, b"SN-1")])
}

/// A certificate as the ready-made profile `idevid` wants it.
fn idevid() -> Parts {
    let mut parts = Parts::end_entity();
    parts.subject = serial_number(tag::PRINTABLE_STRING);
    parts.not_after = tlv(tag::GENERALIZED_TIME, b"99991231235959Z");
    for other in [
        oid::SUBJECT_KEY_IDENTIFIER,
        oid::EXT_KEY_USAGE,
        oid::BASIC_CONSTRAINTS,
        POLICIES,
        CRL_POINTS,
        AUTHORITY_INFO_ACCESS,
    ] {
        parts.remove(other);
    }
    parts
}

fn tls_client() -> Parts {
    let mut parts = Parts::end_entity();
    for other in [
        oid::SUBJECT_ALT_NAME,
        oid::BASIC_CONSTRAINTS,
        POLICIES,
        CRL_POINTS,
        AUTHORITY_INFO_ACCESS,
    ] {
        parts.remove(other);
    }
    parts
}

pub(crate) fn issuer() -> Issuer {
    let mut ca = Parts::ca();
    ca.subject = Parts::end_entity().issuer;
    Issuer::from_der(&ca.der()).unwrap()
}

/// The rule that the check before release names, or nothing.
fn checked(parts: &Parts, profile: &str, issuer: &Issuer) -> &'static str {
    let profile = Profile::parse(profile, Path::new("p.toml")).unwrap();
    let expected = Expectation {
        issuer,
        spki: &Parts::end_entity().spki,
        key_algorithm: DeviceKeyAlgorithm::EcP256,
        rules: profile.rules(),
    };
    let checked = check_certificate(&parts.der(), &[0x4a; 16], &expected);
    checked.map_or_else(|finding| finding.rule.id, |()| "")
}

type Row = (&'static str, &'static str, fn(&mut Parts));

const IDEVID: &str = IDEVID_TOML;
const CLIENT: &str = TLS_CLIENT_TOML;

const ROWS: &[Row] = &[
    ("", IDEVID, |_| {}),
    ("", CLIENT, |p| *p = tls_client()),
    ("request-serial", IDEVID, |p| {
        p.serial = tlv(tag::INTEGER, &[0x4b; 16]);
    }),
    ("request-key", IDEVID, |p| p.spki = ec_spki(&BASE_POINT)),
    ("issuer-algorithm", IDEVID, |p| {
        p.algorithm = seq(&[oid(oid::ECDSA_SHA384)]);
    }),
    ("issuer-name", IDEVID, |p| p.issuer = common_name("Other")),
    ("issuer-not-before", IDEVID, |p| {
        p.not_before = tlv(tag::UTC_TIME, b"251231235959Z");
    }),
    ("issuer-not-after", CLIENT, |p| {
        *p = tls_client();
        p.not_after = tlv(tag::GENERALIZED_TIME, b"99991231235959Z");
    }),
    ("issuer-signature", IDEVID, |p| {
        p.signature = Some(vec![tag::BIT_STRING, 9, 0, 0x30, 6, 2, 1, 1, 2, 1, 1]);
    }),
    ("der-trailing", IDEVID, |p| p.trailing = vec![0]),
    ("profile-subject", IDEVID, |p| {
        p.subject = seq(&[]);
        p.set_critical(oid::SUBJECT_ALT_NAME, true);
    }),
    ("profile-string-type", CLIENT, |p| {
        *p = tls_client();
        p.subject = name(&[attribute(CN, tag::PRINTABLE_STRING, b"a")]);
    }),
    ("profile-indefinite", IDEVID, |p| {
        p.not_after = tlv(tag::UTC_TIME, b"351231235959Z");
    }),
    ("profile-extension", IDEVID, |p| {
        p.add(PRIVATE, false, vec![5, 0])
    }),
    ("profile-extension-missing", IDEVID, |p| {
        p.remove(oid::SUBJECT_ALT_NAME)
    }),
    ("profile-extension-missing", CLIENT, |p| {
        *p = tls_client();
        p.remove(oid::EXT_KEY_USAGE);
    }),
    ("profile-critical", IDEVID, |p| {
        p.set_critical(oid::SUBJECT_ALT_NAME, true);
    }),
    ("profile-critical", IDEVID, |p| {
        p.set_critical(oid::KEY_USAGE, false)
    }),
    ("profile-key-usage", IDEVID, |p| {
        p.set(oid::KEY_USAGE, key_usage(6, &[0xc0]));
    }),
    ("profile-eku", CLIENT, |p| {
        *p = tls_client();
        let server_auth = oid(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
        p.set(oid::EXT_KEY_USAGE, seq(&[server_auth]));
    }),
];

#[test]
fn the_check_before_release_names_the_broken_rule() {
    let issuer = issuer();
    for (row, (expected, profile, fault)) in ROWS.iter().enumerate() {
        let mut parts = idevid();
        fault(&mut parts);
        assert_eq!(checked(&parts, profile, &issuer), *expected, "row {row}");
    }
}

/// The rule that the check of a certificate from the log names, or nothing.
fn checked_later(fault: fn(&mut Parts)) -> &'static str {
    let issuer = issuer();
    let mut parts = idevid();
    fault(&mut parts);
    let checked = check_issued(&parts.der(), &issuer, issuer.form());
    checked.map_or_else(|finding| finding.rule.id, |()| "")
}

#[test]
fn a_certificate_from_the_log_answers_for_what_no_profile_decides() {
    // What ISO 15118 demands and RFC 8813 forbids, and an issuer that was renewed since.
    assert_eq!(
        checked_later(|p| p.set(oid::KEY_USAGE, key_usage(5, &[0xa0]))),
        ""
    );
    assert_eq!(
        checked_later(|p| p.not_before = tlv(tag::UTC_TIME, b"200101000000Z")),
        ""
    );
    assert_eq!(
        checked_later(|p| p.not_after = tlv(tag::UTC_TIME, b"451231235959Z")),
        ""
    );
    // The rest stays.
    let rows: [Fault; 8] = [
        ("der-trailing", |p| p.trailing = vec![0]),
        ("version", |p| p.version = Vec::new()),
        ("serial-positive", |p| {
            p.serial = tlv(tag::INTEGER, &[0x8a; 16])
        }),
        ("time-form", |p| {
            p.not_after = tlv(tag::UTC_TIME, b"3512312359Z")
        }),
        ("issuer-algorithm", |p| {
            p.algorithm = seq(&[oid(oid::ECDSA_SHA384)]);
        }),
        ("aki-missing", |p| p.remove(oid::AUTHORITY_KEY_IDENTIFIER)),
        ("issuer-name", |p| p.issuer = common_name("Other")),
        ("issuer-signature", |p| {
            p.signature = Some(vec![tag::BIT_STRING, 9, 0, 0x30, 6, 2, 1, 1, 2, 1, 1]);
        }),
    ];
    for (expected, fault) in rows {
        assert_eq!(checked_later(fault), expected);
    }
}

#[test]
fn demands_that_no_ready_made_profile_has() {
    let issuer = issuer();
    let profile = Profile::parse(IDEVID_TOML, Path::new("p.toml")).unwrap();
    let spki = Parts::end_entity().spki;
    let check = |parts: &Parts, change: fn(&mut crate::profile::CertificateRules)| {
        let mut rules = profile.rules().clone();
        change(&mut rules);
        let expected = Expectation {
            issuer: &issuer,
            spki: &spki,
            key_algorithm: DeviceKeyAlgorithm::EcP256,
            rules: &rules,
        };
        let checked = check_certificate(&parts.der(), &[0x4a; 16], &expected);
        checked.map_or_else(|finding| finding.rule.id, |()| "")
    };
    let small = |rules: &mut crate::profile::CertificateRules| {
        rules.certificate_bytes_max = Some(300);
    };
    assert_eq!(check(&idevid(), small), "profile-size");

    let leaf = |rules: &mut crate::profile::CertificateRules| {
        rules.basic_constraints = BasicConstraintsRule::EndEntity { critical: true };
    };
    let mut parts = idevid();
    assert_eq!(check(&parts, leaf), "profile-extension-missing");
    parts.add(oid::BASIC_CONSTRAINTS, true, seq(&[]));
    assert_eq!(check(&parts, leaf), "");
    let path_length = |rules: &mut crate::profile::CertificateRules| {
        rules.basic_constraints = BasicConstraintsRule::Ca {
            path_length: Some(0),
        };
    };
    assert_eq!(check(&parts, path_length), "profile-basic-constraints");
    // RFC 8813 §3 forbids it, and the profile's own standard may demand it.
    let mut parts = idevid();
    parts.set(oid::KEY_USAGE, key_usage(5, &[0xa0]));
    assert_eq!(check(&parts, |_| {}), "key-usage-ec");
    assert_eq!(check(&parts, |rules| rules.key_usage.other = 5), "");
}

#[test]
fn a_profile_counts_in_the_linter_too() {
    let profile = Profile::parse(TLS_CLIENT_TOML, Path::new("p.toml")).unwrap();
    let options = Options {
        profile: Some(&profile),
        ..Options::default()
    };
    assert_eq!(lint(&tls_client().der(), &options), []);
    let mut parts = tls_client();
    parts.set_key(spki(oid::ML_DSA_44, &[], &[7; 1312]));
    let findings = lint(&parts.der(), &options);
    let ids: Vec<_> = findings.iter().map(|finding| finding.rule.id).collect();
    assert_eq!(ids, ["profile-key"]);
}

#[test]
fn encodings_that_end_or_do_not() {
    let der = idevid().der();
    for length in 0..der.len() {
        let findings = lint(&der[..length], &Options::default());
        let ids: Vec<_> = findings.iter().map(|finding| finding.rule.id).collect();
        let expected = if length == 0 {
            "structure"
        } else {
            "der-truncated"
        };
        assert!(ids.contains(&expected), "{length}: {ids:?}");
    }
    let mut parts = Parts::end_entity();
    parts.extension_list = Some(seq(&[]));
    let findings = lint(&parts.der(), &Options::default());
    assert_eq!(findings[0].rule.id, "extensions-empty");
    let many = seq(&[[5, 0].repeat(5_000)]);
    let findings = lint(&many, &Options::default());
    assert!(
        findings
            .iter()
            .any(|finding| finding.rule.id == "limit-values")
    );
    assert!(findings.len() < FINDINGS_MAX);
}
