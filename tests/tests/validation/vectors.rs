//! Requests and certificates that others made: the vectors of pyca/cryptography, PKITS among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use birthmark_engine::lint::{IssuerView, Options, Severity, lint};
use birthmark_engine::{IssueError, Request};
use birthmark_hsm::KeyAlgorithm;
use birthmark_tests::authority::Authority;
use birthmark_tests::oracle::Oracles;

use crate::report;

/// What becomes of each request under the IDevID profile, which wants a serial number in the subject.
const REQUESTS: &[(&str, &str)] = &[
    ("bad-version.pem", "malformed"),
    ("basic_constraints.pem", "signature-hash"),
    ("challenge-invalid.der", "proof-of-possession"),
    ("challenge-multi-valued.der", "attribute-count"),
    ("challenge-unstructured.pem", "malformed"),
    ("challenge.pem", "field-count"),
    ("dsa_sha1.der", "key-unsupported"),
    ("dsa_sha1.pem", "key-unsupported"),
    ("ec_sha256.der", "field-count"),
    ("ec_sha256.pem", "field-count"),
    ("ec_sha256_old_header.pem", "field-count"),
    ("freeipa-bad-critical.pem", "malformed"),
    ("invalid_signature.pem", "rsa-policy"),
    ("long-form-attribute.pem", "malformed"),
    ("rsa_md4.der", "signature-hash"),
    ("rsa_md4.pem", "signature-hash"),
    ("rsa_sha1.der", "signature-hash"),
    ("rsa_sha1.pem", "signature-hash"),
    ("rsa_sha256.der", "field-count"),
    ("rsa_sha256.pem", "field-count"),
    ("san_rsa_sha1.der", "signature-hash"),
    ("san_rsa_sha1.pem", "signature-hash"),
    ("two_basic_constraints.pem", "malformed"),
    ("unsupported_extension.pem", "malformed"),
    ("unsupported_extension_critical.pem", "malformed"),
    ("zero-element-attribute.pem", "attribute-count"),
];

/// Rules that certificates break which others made to be wrong.
const CERTIFICATES: &[(&str, &str)] = &[
    ("badasn1time.pem", "time-form"),
    ("v1_cert.pem", "version"),
    ("verisign_md2_root.pem", "algorithm-weak"),
    ("wosign-bc-invalid.pem", "basic-constraints-path-length"),
    ("custom/bad_country.pem", "name-country"),
    ("custom/ec_no_named_curve.pem", "key-ec-named-curve"),
    ("custom/ecdsa_null_alg.pem", "algorithm-ecdsa-parameters"),
    ("custom/empty-eku.pem", "eku-empty"),
    ("custom/invalid_utf8_common_name.pem", "der-utf8-string"),
    ("custom/invalid_version.pem", "version"),
    ("custom/long-form-name-attribute.pem", "der-tag"),
    ("custom/malformed-san.pem", "general-name-form"),
    (
        "custom/mismatch_inner_outer_sig_algorithm.der",
        "algorithm-equal",
    ),
    ("custom/nc_ip_invalid_length.pem", "general-name-ip"),
    ("custom/negative_serial.pem", "serial-positive"),
    (
        "custom/rsa_pss_cert_no_sig_params.der",
        "algorithm-pss-parameters",
    ),
    ("custom/two_basic_constraints.pem", "extension-twice"),
    (
        "custom/unsupported_extension_critical.pem",
        "extension-unknown-critical",
    ),
    (
        "PKITS_data/certs/InvalidNegativeSerialNumberTest15EE.crt",
        "serial-positive",
    ),
    (
        "PKITS_data/certs/InvalidUnknownCriticalCertificateExtensionTest2EE.crt",
        "extension-unknown-critical",
    ),
    (
        "PKITS_data/certs/MappingFromanyPolicyCACert.crt",
        "policy-mapping-any",
    ),
    (
        "PKITS_data/certs/MappingToanyPolicyCACert.crt",
        "policy-mapping-any",
    ),
    (
        "PKITS_data/certs/MissingbasicConstraintsCACert.crt",
        "key-usage-cert-sign",
    ),
];

/// Certificates that do not belong to the issuer named here, and the rule that says so.
const CHAINS: &[(&str, &str, &str)] = &[
    (
        "InvalidEESignatureTest3EE.crt",
        "GoodCACert.crt",
        "issuer-signature",
    ),
    (
        "InvalidNameChainingTest1EE.crt",
        "GoodCACert.crt",
        "issuer-name",
    ),
    (
        "InvalidNameChainingOrderTest2EE.crt",
        "NameOrderingCACert.crt",
        "issuer-name",
    ),
    (
        "InvalidcAFalseTest2EE.crt",
        "basicConstraintsCriticalcAFalseCACert.crt",
        "issuer-ca",
    ),
    (
        "InvalidkeyUsageCriticalkeyCertSignFalseTest1EE.crt",
        "keyUsageCriticalkeyCertSignFalseCACert.crt",
        "issuer-ca",
    ),
];

/// PKITS has 405 certificates, the other vectors over a hundred.
const CERTIFICATES_MIN: usize = 450;

#[test]
fn requests_of_others_are_refused_for_known_reasons() {
    let authority = Authority::new(KeyAlgorithm::EcP256);
    authority.accept_every_key("idevid");
    let engine = authority.open();
    let mut found = BTreeMap::new();
    for path in files(&vectors().join("requests")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let result = engine.issue(Request::new(der(&path), "idevid"));
        let reason = match result {
            Ok(_) => "issued",
            Err(IssueError::Rejected(rejection)) => rejection.reason(),
            Err(IssueError::Fault(fault)) => panic!("{name}: {fault}"),
        };
        found.insert(name, reason.to_owned());
    }
    engine.close().unwrap();
    let expected: BTreeMap<_, _> = REQUESTS
        .iter()
        .map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn certificates_of_others_are_read_without_panic_and_their_faults_found() {
    let vectors = vectors();
    let mut counts: BTreeMap<Severity, usize> = BTreeMap::new();
    let mut read = 0;
    for path in files(&vectors) {
        let findings = lint(&der(&path), &Options::default());
        read += 1;
        for finding in findings {
            *counts.entry(finding.rule.severity).or_default() += 1;
        }
    }
    report(format_args!(
        "{read} certificates and others' files: {counts:?}"
    ));
    assert!(read >= CERTIFICATES_MIN, "{read}");
    let mut problems = Vec::new();
    for (file, rule) in CERTIFICATES {
        let ids = rules(&vectors.join(file), None);
        if !ids.contains(rule) {
            problems.push(format!("{file}: {rule} is not among {ids:?}"));
        }
    }
    let pkits = vectors.join("PKITS_data/certs");
    for (file, issuer, rule) in CHAINS {
        let ids = rules(&pkits.join(file), Some(&pkits.join(issuer)));
        if !ids.contains(rule) {
            problems.push(format!("{file} by {issuer}: {rule} is not among {ids:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The rules that a certificate breaks.
fn rules(certificate: &Path, issuer: Option<&Path>) -> Vec<&'static str> {
    let issuer = issuer.map(|path| IssuerView::from_der(&der(path)).unwrap());
    let options = Options {
        issuer: issuer.as_ref(),
        ..Options::default()
    };
    let findings = lint(&der(certificate), &options);
    findings.iter().map(|finding| finding.rule.id).collect()
}

fn vectors() -> PathBuf {
    Oracles::get().vectors().join("x509")
}

/// Every file below, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(files(&path));
        } else if ["pem", "der", "crt"]
            .iter()
            .any(|kind| path.extension().is_some_and(|one| one == *kind))
        {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// The DER in a file, which may be PEM. Where that cannot be read it is the file as it is.
fn der(path: &Path) -> Vec<u8> {
    let octets = fs::read(path).unwrap();
    let Ok(text) = std::str::from_utf8(&octets) else {
        return octets;
    };
    let Some(start) = text.find("-----BEGIN") else {
        return octets;
    };
    let block = text[start..].replace("\r\n", "\n");
    der::pem::decode_vec(block.as_bytes()).map_or(octets, |(_, der)| der)
}
