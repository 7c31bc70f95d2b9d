//! Each fault of a profile names its file, its line and its key.

mod extensions;

use super::*;

/// A change of a ready-made profile, and where the error is: what stands first on that line, and the key.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

fn assert_faults(cases: &[Case]) {
    for (name, from, to, place, key) in cases {
        let text = ready(name);
        assert!(text.contains(from), "{name}: {from}");
        let changed = text.replacen(from, to, 1);
        let line = changed.lines().position(|line| line.starts_with(place));
        let error = parse(&changed).unwrap_err();
        let wanted = format!("profile p.toml:{}: {key}: ", line.unwrap() + 1);
        assert!(
            error.starts_with(&wanted),
            "{name} {to:?}: {error}\n{wanted}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

const FORM: &[Case] = &[
    (
        "idevid",
        "[validity]",
        "[validity]\ncolor = 1",
        "color",
        "validity.color",
    ),
    (
        "idevid",
        "base = \"idevid\"",
        "base = \"x\"",
        "base",
        "base",
    ),
    (
        "idevid",
        "type = \"serialNumber\"",
        "typ = \"serialNumber\"",
        "typ ",
        "subject[0].typ",
    ),
    (
        "wi-sun-fan",
        "\"hardware_module_name\"",
        "\"x400\"",
        "type = \"x400\"",
        "subject_alt_name[0].type",
    ),
    (
        "tls-client",
        "days = 3650",
        "days = -1",
        "days",
        "validity.days",
    ),
    (
        "tls-client",
        "days = 3650",
        "days = \"10\"",
        "days",
        "validity.days",
    ),
    (
        "tls-client",
        "\"p384\"",
        "\"p385\"",
        "algorithms",
        "key.algorithms[1]",
    ),
    (
        "opcua-application",
        "extended_key_usage = [",
        "key_purposes = [",
        "key_purposes",
        "extensions.key_purposes",
    ),
];

#[test]
fn faults_of_form_name_line_and_key() {
    assert_faults(FORM);
    let error = parse(&IDEVID_TOML.replace("[key]", "[key")).unwrap_err();
    let line = IDEVID_TOML
        .lines()
        .position(|line| line == "[key]")
        .unwrap()
        + 1;
    assert!(
        error.starts_with(&format!("profile p.toml:{line}: ")),
        "{error}"
    );
    let long = format!("{IDEVID_TOML}#{}", "x".repeat(PROFILE_BYTES_MAX));
    assert_eq!(
        parse(&long).unwrap_err(),
        "profile p.toml: has over 65536 bytes"
    );
}

const SUBJECTS: &[Case] = &[
    (
        "idevid",
        "\"{csr.subject.serialNumber}\"",
        "\"{csr.subject.serial}\"",
        "identity",
        "identity",
    ),
    (
        "idevid",
        "\"{csr.subject.serialNumber}\"",
        "\"same\"",
        "identity",
        "identity",
    ),
    (
        "idevid",
        "name = \"idevid\"",
        "name = \"a b\"",
        "name",
        "name",
    ),
    (
        "tls-client",
        "type = \"CN\"",
        "type = \"XX\"",
        "type",
        "subject[0].type",
    ),
    (
        "tls-client",
        "type = \"CN\"",
        "type = \"O\"",
        "[[subject]]",
        "subject",
    ),
    (
        "tls-client",
        "type = \"CN\"",
        "oid = \"2.5.4.3\"",
        "oid",
        "subject[0].oid",
    ),
    (
        "ldevid",
        "type = \"O\"",
        "oid = \"1.2.3\"",
        "[[subject]]",
        "subject[0].string",
    ),
    (
        "tls-client",
        "type = \"CN\"",
        "type = \"CN\"\nstring = \"ia5\"",
        "string",
        "subject[0].string",
    ),
    (
        "ldevid",
        "\"Example Owner\"",
        "\"\\u0007\"",
        "value = \"\\u0007\"",
        "subject[0].value",
    ),
    (
        "ldevid",
        "\"Example Owner\"",
        "\"{data.x\"",
        "value = \"{data.x\"",
        "subject[0].value",
    ),
    (
        "ldevid",
        "\"Example Owner\"",
        "\"{data.x}\"\npattern = \"(\"",
        "pattern",
        "subject[0].pattern",
    ),
    // Matching it could cost too much.
    (
        "ldevid",
        "\"Example Owner\"",
        "\"{data.x}\"\npattern = '.*[0-9].{12}'",
        "pattern",
        "subject[0].pattern",
    ),
    (
        "tls-server",
        "[validity]",
        "[requested_extensions.subject_alt_name]\npolicy = \"allow\"\nuri = [\n  'urn:[ab]*a[ab]{10}xc',\n  'urn:[ab]*a[ab]{10}xxc',\n  'urn:c',\n]\n[validity]",
        "  'urn:[ab]*a[ab]{10}xxc'",
        "requested_extensions.subject_alt_name.uri[1]",
    ),
    (
        "matter-dac",
        "\"FFF1\"",
        "\"fff1\"",
        "value = \"fff1\"",
        "subject[1].value",
    ),
    (
        "matter-dac",
        "type = \"PID\"",
        "type = \"OU\"",
        "[[subject]]",
        "subject",
    ),
    (
        "iso15118-secc",
        "\"CPO\"",
        "\"MO\"",
        "[[subject]]",
        "subject",
    ),
];

#[test]
fn faults_of_subjects_name_line_and_key() {
    assert_faults(SUBJECTS);
}

const ALTERNATIVE_NAMES: &[Case] = &[
    (
        "idevid",
        "1.3.6.1.4.1.32473.1",
        "one.two",
        "type = \"one.two\"",
        "hardware_module_name.type",
    ),
    (
        "ldevid",
        "type = \"hardware_module_name\"\nhardware_type = \"1.3.6.1.4.1.32473.1\"",
        "type = \"uri\"",
        "[[subject_alt_name]]",
        "subject_alt_name",
    ),
    (
        "ldevid",
        "type = \"hardware_module_name\"",
        "type = \"dns\"",
        "hardware_type",
        "subject_alt_name[0].hardware_type",
    ),
    (
        "ldevid",
        "hardware_type = \"1.3.6.1.4.1.32473.1\"",
        "assigner = \"1.2\"",
        "assigner",
        "subject_alt_name[0].assigner",
    ),
    (
        "tls-server",
        "type = \"dns\"",
        "type = \"email\"",
        "[[subject_alt_name]]",
        "subject_alt_name",
    ),
    (
        "opcua-application",
        "type = \"dns\"\nvalue = \"{csr.san.dns}\"",
        "type = \"uri\"\nvalue = \"{csr.san.uri}\"",
        "[[subject_alt_name]]",
        "subject_alt_name",
    ),
    (
        "wi-sun-fan",
        "[validity]",
        "[[subject_alt_name]]\ntype = \"dns\"\nvalue = \"{data.x}\"\n[validity]",
        "[[subject_alt_name]]",
        "subject_alt_name",
    ),
    (
        "wi-sun-fan",
        "[validity]",
        "[[subject]]\ntype = \"CN\"\nvalue = \"{data.x}\"\n[validity]",
        "[[subject]]",
        "subject",
    ),
];

#[test]
fn faults_of_alternative_names_name_line_and_key() {
    assert_faults(ALTERNATIVE_NAMES);
}

const VALIDITY_AND_KEYS: &[Case] = &[
    (
        "idevid",
        "99991231235959Z",
        "20501231235959Z",
        "[validity]",
        "validity",
    ),
    (
        "idevid",
        "99991231235959Z",
        "2050",
        "not_after",
        "validity.not_after",
    ),
    (
        "tls-client",
        "days = 3650",
        "days = 0",
        "days",
        "validity.days",
    ),
    (
        "tls-client",
        "days = 3650",
        "hours = 0",
        "hours",
        "validity.hours",
    ),
    (
        "tls-client",
        "days = 3650",
        "days = 1\nhours = 1",
        "[validity]",
        "validity",
    ),
    (
        "tls-client",
        "days = 3650",
        "not_after = \"99991231235959Z\"",
        "[validity]",
        "validity",
    ),
    (
        "tls-client",
        "days = 3650",
        "not_after = \"20300101000000Z\"\nnot_before = \"20310101000000Z\"",
        "backdate_minutes",
        "validity.backdate_minutes",
    ),
    (
        "tls-client",
        "days = 3650\nbackdate_minutes = 5",
        "not_after = \"20300101000000Z\"\nnot_before = \"20310101000000Z\"",
        "not_after",
        "validity.not_after",
    ),
    (
        "matter-dac",
        "[validity]",
        "[validity]\nnot_before = \"20201301000000Z\"",
        "not_before",
        "validity.not_before",
    ),
    (
        "tls-client",
        "backdate_minutes = 5",
        "backdate_minutes = 1441",
        "backdate",
        "validity.backdate_minutes",
    ),
    (
        "idevid",
        "[\"p256\", \"p384\", \"ed25519\", \"rsa\"]",
        "[]",
        "algorithms",
        "key.algorithms",
    ),
    (
        "tls-client",
        "\"rsa\"]",
        "\"p256\"]",
        "algorithms",
        "key.algorithms[2]",
    ),
    (
        "wi-sun-fan",
        "[\"p256\"]",
        "[\"p384\"]",
        "algorithms",
        "key.algorithms[0]",
    ),
    (
        "idevid",
        "[key]",
        "[key]\nrsa_bits_min = 1024",
        "rsa_bits_min",
        "key.rsa_bits_min",
    ),
    (
        "idevid",
        "[key]",
        "[key]\nrsa_bits_min = 3072\nrsa_bits_max = 2048",
        "rsa_bits_max",
        "key.rsa_bits_max",
    ),
    (
        "wi-sun-fan",
        "[key]",
        "[key]\nrsa_bits_min = 3072",
        "[key]",
        "key",
    ),
    (
        "matter-dac",
        "identity =",
        "certificate_bytes_max = 601\nidentity =",
        "certificate",
        "certificate_bytes_max",
    ),
    (
        "iso15118-secc",
        "{ ocsp = [\"http://ocsp.example/\"] }",
        "{ ca_issuers = [\"http://ca.example/\"] }",
        "authority_info_access",
        "extensions.authority_info_access",
    ),
];

#[test]
fn faults_of_validity_and_keys_name_line_and_key() {
    assert_faults(VALIDITY_AND_KEYS);
}
