//! What the engine issues, judged by other people's checkers.

use std::collections::BTreeSet;

use birthmark_engine::lint::Severity;
use birthmark_tests::authority::{Base, World};
use birthmark_tests::oracle::{Case, MatterCase, Oracles, Tool};
use birthmark_tests::sample::Issuers;

/// What a tool says about good certificates, and why it is no fault of theirs.
const EXPECTED: &[(Base, Tool, &str, &str)] = &[
    (
        Base::Idevid,
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        Base::IdevidEd25519,
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        Base::IdevidMlDsa,
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        Base::Idevid,
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        Base::IdevidEd25519,
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        Base::IdevidMlDsa,
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        Base::IdevidMlDsa,
        Tool::OpenSsl,
        "unspecified certificate verification error",
        "OpenSSL before 3.5 does not know ML-DSA keys, which -x509_strict minds",
    ),
];

const NO_KEY_IDENTIFIER: &str = "IEEE 802.1AR-2018 Table 8-2: a subject key identifier is not recommended in a DevID; Wi-SUN FAN TPS has none";

#[test]
fn good_certificates_pass_every_checker() {
    let world = World::new();
    let cases: Vec<_> = Base::ALL
        .into_iter()
        .map(|base| Case {
            name: base.name().to_owned(),
            certificate: world.good(base).to_vec(),
            authority: world.authority(base),
            by_root: base == Base::IssuingCa,
        })
        .collect();
    let found: BTreeSet<_> = Oracles::get()
        .judge(&cases)
        .into_iter()
        .flat_map(|((name, tool), findings)| {
            findings
                .into_iter()
                .map(move |finding| (name.clone(), tool, finding))
        })
        .collect();
    let expected: BTreeSet<_> = EXPECTED
        .iter()
        .map(|(base, tool, finding, _why)| (base.name().to_owned(), *tool, (*finding).to_owned()))
        .collect();
    let more: Vec<_> = found.difference(&expected).collect();
    // Those tools come in one version: an entry that they no longer need has to go.
    let pinned = [Tool::Pkilint, Tool::Pyca, Tool::Zlint];
    let gone: Vec<_> = expected
        .difference(&found)
        .filter(|(_, tool, _)| pinned.contains(tool))
        .collect();
    assert!(
        more.is_empty() && gone.is_empty(),
        "unexpected: {more:#?}\nno longer found: {gone:#?}"
    );
}

/// What a tool says about certificates of a ready-made profile, and why it is no fault of theirs.
const EXPECTED_OF_PROFILES: &[(&str, Tool, &str, &str)] = &[
    (
        "idevid",
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        "idevid",
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        "ldevid",
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        "ldevid",
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        "tcg-idevid",
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        "tcg-idevid",
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        "tcg-iak",
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        "tcg-iak",
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        "wi-sun-fan",
        Tool::Pkilint,
        "WARNING pkix.certificate_skid_end_entity_missing",
        NO_KEY_IDENTIFIER,
    ),
    (
        "wi-sun-fan",
        Tool::Zlint,
        "warn w_ext_subject_key_identifier_missing_sub_cert",
        NO_KEY_IDENTIFIER,
    ),
    (
        "iso15118-contract",
        Tool::Pkilint,
        "ERROR pkix.key_usage_value_prohibited_for_ec",
        CONTRACT_USAGE,
    ),
    (
        "iso15118-contract",
        Tool::Zlint,
        "error e_ecdsa_allowed_ku",
        CONTRACT_USAGE,
    ),
    (
        "iso15118-contract",
        Tool::Pkilint,
        "ERROR pkix.name_domain_components_invalid_domain_name",
        ROLE,
    ),
    (
        "iso15118-secc",
        Tool::Pkilint,
        "ERROR pkix.name_domain_components_invalid_domain_name",
        ROLE,
    ),
    (
        "opcua-application",
        Tool::Pkilint,
        "ERROR pkix.invalid_uri_syntax",
        URN,
    ),
    (
        "opcua-application",
        Tool::Zlint,
        "error e_key_usage_and_extended_key_usage_inconsistent",
        OPC_UA_USAGE,
    ),
];

const CONTRACT_USAGE: &str = "ISO 15118-2 Annex F wants keyEncipherment in contract certificates, which RFC 8813 has forbidden since";
const ROLE: &str = "ISO 15118-2 Annex F puts the role (CPO, MO) into DC, which is no domain";
const URN: &str =
    "OPC 10000-6 §6.2.2: the application is named by a URN, and pkilint knows URLs alone";
const OPC_UA_USAGE: &str =
    "OPC 10000-6 §6.2.2 wants nonRepudiation and dataEncipherment beside serverAuth and clientAuth";

#[test]
fn every_profile_passes_every_checker() {
    let (issuers, samples) = Issuers::issue();
    let cases: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(number, sample)| Case {
            name: format!("{number}-{}", sample.profile),
            certificate: sample.certificate.clone(),
            authority: issuers.of(sample.profile),
            by_root: false,
        })
        .collect();
    let mut more = Vec::new();
    for ((name, tool), findings) in Oracles::get().judge(&cases) {
        let profile = name.split_once('-').unwrap().1;
        for finding in findings {
            let expected = EXPECTED_OF_PROFILES
                .iter()
                .any(|(of, by, said, _why)| *of == profile && *by == tool && finding == *said);
            if !expected {
                more.push((name.clone(), tool, finding));
            }
        }
    }
    assert!(more.is_empty(), "unexpected: {more:#?}");
}

#[test]
fn every_profile_passes_this_linter() {
    let (issuers, samples) = Issuers::issue();
    for sample in samples {
        let authority = issuers.of(sample.profile);
        let found = authority.lint(sample.profile, &sample.certificate);
        let errors: Vec<_> = found
            .iter()
            .filter(|finding| finding.rule.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", sample.profile);
    }
}

#[test]
fn matter_certificates_pass_matter_js() {
    let (issuers, samples) = Issuers::issue();
    let kinds = [
        ("matter-dac", "Dac"),
        ("matter-pai", "Pai"),
        ("matter-paa", "Paa"),
    ];
    let mut cases = Vec::new();
    for sample in samples {
        let Some((_, kind)) = kinds.iter().find(|(profile, _)| *profile == sample.profile) else {
            continue;
        };
        cases.push(MatterCase {
            name: (*kind).to_owned(),
            kind,
            issuer: issuers.of(sample.profile).issuing_certificate(),
            certificate: sample.certificate,
        });
    }
    assert_eq!(cases.len(), kinds.len());
    let verdicts = Oracles::get().judge_matter(&cases);
    for (name, findings) in verdicts {
        assert!(findings.is_empty(), "{name}: {findings:?}");
    }
}
