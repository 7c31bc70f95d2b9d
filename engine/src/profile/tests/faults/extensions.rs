//! Faults of the tables of extensions.

use super::*;

/// Lines under `[extensions]`, and how the error begins after the file's name and line of `[extensions]`.
const EXTENSIONS: &[(&str, usize, &str)] = &[
    (
        "key_usage = [\"digitalsignature\"]",
        1,
        "extensions.key_usage: ",
    ),
    (
        "key_usage = [\"digitalSignature\", \"digitalSignature\"]",
        1,
        "extensions.key_usage: ",
    ),
    (
        "key_usage = []",
        1,
        "extensions.key_usage: lacks digitalSignature",
    ),
    (
        "key_usage = [\"digitalSignature\", \"cRLSign\"]",
        1,
        "extensions.key_usage: must not have cRLSign",
    ),
    (
        "key_usage_rsa = [\"digitalSignature\", \"keyAgreement\"]",
        1,
        "extensions.key_usage_rsa: ",
    ),
    (
        "extended_key_usage = [\"x\"]",
        1,
        "extensions.extended_key_usage[0]: ",
    ),
    (
        "extended_key_usage = [\"2.5.29.37.0\"]",
        1,
        "extensions.extended_key_usage[0]: ",
    ),
    (
        "basic_constraints = \"ca\"",
        1,
        "extensions.basic_constraints: ",
    ),
    ("path_length = 1", 1, "extensions.path_length: "),
    (
        "certificate_policies = []",
        1,
        "extensions.certificate_policies: ",
    ),
    (
        "certificate_policies = [\"1.2\", \"1.2\"]",
        1,
        "extensions.certificate_policies[1]: ",
    ),
    (
        "authority_info_access = { ocsp = [\"ocsp.example\"] }",
        1,
        "extensions.authority_info_access.ocsp[0]: ",
    ),
    (
        "crl_distribution_points = [\"ftp://x/\"]",
        1,
        "extensions.crl_distribution_points[0]: ",
    ),
    (
        "masa_url = \"http://masa.example\"",
        1,
        "extensions.masa_url: ",
    ),
    (
        "[[extensions.other]]\noid = \"2.5.29.15\"\nder = \"0500\"",
        2,
        "extensions.other[0].oid: this extension is not given as DER",
    ),
    (
        "[[extensions.other]]\noid = \"1.2.3\"\nder = \"050\"",
        3,
        "extensions.other[0].der: ",
    ),
    (
        "[[extensions.other]]\noid = \"1.2.3\"\nder = \"0500 00\"",
        3,
        "extensions.other[0].der: is not DER",
    ),
    (
        "[[extensions.other]]\noid = \"1.2.3\"\nder = \"0101 01\"",
        3,
        "extensions.other[0].der: is not DER: it has a boolean",
    ),
    (
        "[requested_extensions.key_use]\npolicy = \"require\"",
        1,
        "requested_extensions.key_use: ",
    ),
    (
        "[requested_extensions.masa_url]\npolicy = \"require\"",
        1,
        "requested_extensions.masa_url: cannot be required",
    ),
    (
        "[requested_extensions.key_usage]\npolicy = \"allow\"",
        1,
        "requested_extensions.key_usage: only names",
    ),
    (
        "[requested_extensions.subject_alt_name]\npolicy = \"allow\"",
        1,
        "requested_extensions.subject_alt_name: needs patterns",
    ),
    (
        "[requested_extensions.subject_alt_name]\npolicy = \"allow\"\ndns = [\"a\", \"(\"]",
        3,
        "requested_extensions.subject_alt_name.dns[1]: ",
    ),
];

#[test]
fn faults_of_extensions_name_line_and_key() {
    let before = IDEVID_TOML.lines().count() + 1;
    for (lines, line, wanted) in EXTENSIONS {
        let text = format!("{IDEVID_TOML}[extensions]\n{lines}\n");
        let error = parse(&text).map(|_| ()).unwrap_err();
        let wanted = format!("profile p.toml:{}: {wanted}", before + line);
        assert!(error.starts_with(&wanted), "{error}\n{wanted}");
    }
}
