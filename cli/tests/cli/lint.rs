//! `birthmark lint`.

use std::fs;

use crate::support::{
    Factory, assert_code, birthmark, column, error_line, lines, request_pem, text,
};

/// A CA with two certificates, and their PEM in one file.
fn issued() -> (Factory, String, String) {
    let factory = Factory::new();
    let requests = request_pem(1) + &request_pem(2);
    let output = factory.issue(&["-"], requests.as_bytes());
    assert_code(&output, 0);
    let bundle = factory.file("devices.pem", column(&output, "certificate").concat());
    let issuer = factory.path("ca/issuing-ca.pem");
    let issuer = issuer.into_os_string().into_string().unwrap();
    (factory, bundle, issuer)
}

#[test]
fn what_the_engine_issues_has_no_error() {
    let (factory, bundle, issuer) = issued();
    let with_all = ["lint", "--issuer", &issuer, "--profile", "idevid", &bundle];
    let output = birthmark(&with_all, b"");
    assert_code(&output, 0);
    let shown = text(&output.stdout);
    assert!(
        shown.lines().all(|line| line.contains(": notice ")),
        "{shown}"
    );
    let numbered = format!("{bundle}#2: notice validity-indefinite: ");
    assert!(shown.contains(&numbered), "{shown}");

    let root = factory.path("ca/root").join("root-ca.pem");
    let root = root.to_str().unwrap();
    let output = birthmark(&["lint", "--issuer", root, &issuer, root], b"");
    assert_code(&output, 0);
}

#[test]
fn a_wrong_issuer_is_an_error() {
    let (factory, bundle, _) = issued();
    let root = factory.path("ca/root").join("root-ca.pem");
    let arguments = [
        "lint",
        "--json",
        "--issuer",
        root.to_str().unwrap(),
        &bundle,
    ];
    let output = birthmark(&arguments, b"");
    assert_code(&output, 1);
    let items = lines(&output);
    assert_eq!(items.len(), 2);
    let findings = items[1]["findings"].as_array().unwrap();
    let of_rule = |rule: &str| findings.iter().find(|finding| finding["rule"] == rule);
    let finding = of_rule("issuer-signature").unwrap();
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["source"], "RFC 5280 §4.1.1.3");
    assert!(of_rule("issuer-name").is_some() && of_rule("version").is_none());
}

#[test]
fn what_is_no_certificate_is_an_error_and_hides_nothing() {
    let (factory, bundle, _) = issued();
    let mixed = fs::read_to_string(&bundle).unwrap() + &request_pem(3);
    let mixed = factory.file("in/b.pem", mixed);
    factory.file("in/a.der", [0x30, 0x80, 0, 0]);
    let directory = factory.path("in");
    let output = birthmark(&["lint", directory.to_str().unwrap()], b"");
    assert_code(&output, 1);
    let shown = text(&output.stdout);
    let errors: Vec<_> = shown
        .lines()
        .filter(|line| line.contains(": error "))
        .collect();
    assert_eq!(errors.len(), 2 + 1, "{shown}");
    assert!(errors[0].contains("a.der: error der-length-indefinite: an indefinite length"));
    assert!(errors[1].contains("a.der: error structure: "));
    let expected = format!(
        "{mixed}#3: error no-certificate: the PEM block is a 'CERTIFICATE REQUEST', not a 'CERTIFICATE'"
    );
    assert!(errors[2].starts_with(&expected), "{shown}");
}

#[test]
fn rules_and_usage() {
    let output = birthmark(&["lint", "--rules"], b"");
    assert_code(&output, 0);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.lines().count() > 100);
    let rule = shown
        .lines()
        .find(|line| line.starts_with("serial-positive"));
    let words: Vec<_> = rule.unwrap().split_whitespace().take(4).collect();
    assert_eq!(words, ["serial-positive", "error", "RFC", "5280"]);

    assert_code(&birthmark(&["lint"], b""), 2);
    let (_factory, bundle, _) = issued();
    for (arguments, why) in [
        (["lint", "--issuer", &bundle, &bundle], "more than one"),
        (["lint", "--issuer", "/nowhere", &bundle], "cannot read"),
        (
            ["lint", "--profile", "/nowhere", &bundle],
            "profile /nowhere",
        ),
    ] {
        let output = birthmark(&arguments, b"");
        assert_code(&output, 2);
        let line = error_line(&output);
        assert!(line.contains(why), "{line}");
    }
}
