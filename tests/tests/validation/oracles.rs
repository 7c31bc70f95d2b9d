//! What the engine issues, judged by other people's checkers.

use std::collections::BTreeSet;

use birthmark_tests::authority::{Base, World};
use birthmark_tests::oracle::{Case, Oracles, Tool};

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

const NO_KEY_IDENTIFIER: &str =
    "IEEE 802.1AR-2018 Table 8-2: a subject key identifier is not recommended in an IDevID";

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
