//! `birthmark csr check`: findings told without issuing.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Factory, assert_code, birthmark, error_line, lines, request, request_pem, text,
};

/// `csr check` with the factory's configuration and the profile `idevid`.
fn check(factory: &Factory, arguments: &[&str]) -> std::process::Output {
    let config = factory.path("ca/birthmark.toml");
    let mut all = vec![
        "csr",
        "check",
        "--config",
        config.to_str().unwrap(),
        "--profile",
        "idevid",
    ];
    all.extend(arguments);
    birthmark(&all, b"")
}

fn numbers(report: &Value) -> Vec<u64> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["number"].as_u64().unwrap())
        .collect()
}

/// A request made by openssl.
fn openssl_request(factory: &Factory, name: &str, arguments: &[&str]) -> String {
    let (key, csr) = (factory.path(&format!("{name}.key")), factory.path(name));
    let made = Command::new("openssl")
        .args([
            "req", "-new", "-nodes", "-batch", "-outform", "DER", "-keyout",
        ])
        .arg(key)
        .arg("-out")
        .arg(&csr)
        .args(arguments)
        .output()
        .expect("openssl must be installed for this test");
    assert!(made.status.success(), "{made:?}");
    csr.into_os_string().into_string().unwrap()
}

#[test]
fn an_acceptable_request_is_told_and_not_issued() {
    let factory = Factory::new();
    let csr = factory.file("device.csr", request_pem(0));
    let told = check(&factory, &["--json", &csr]);
    assert_code(&told, 0);
    let report = &lines(&told)[0];
    assert_eq!(report["acceptable"], true);
    let serial = json!({"type": "serialNumber", "value": "BM-0000000000000007-00000001"});
    assert_eq!(report["subject"][2], serial);
    assert_eq!(report["key"]["algorithm"], "P-256");
    assert_eq!(report["signature_algorithm"], "ecdsa-with-SHA256");
    assert_eq!(report["findings"], json!([]));
    let told = check(&factory, &[&csr]);
    assert_code(&told, 0);
    let shown = text(&told.stdout);
    assert!(
        shown.starts_with(&format!("{csr}: acceptable\n")),
        "{shown}"
    );
    assert!(
        shown.contains("  subject    O=Acme, CN=BM-0000000000000007-00000001, serialNumber=BM-0000000000000007-00000001"),
        "{shown}"
    );
    assert_eq!(factory.records(), 0);
    // Without a configuration, form, signature and key.
    assert_code(&birthmark(&["csr", "check", "-"], &request(0)), 0);
}

#[test]
fn every_finding_has_number_reason_rule_and_action() {
    const PASSWORD: &str = "correct-horse";
    let factory = Factory::new();
    let configuration = factory.file(
        "req.cnf",
        format!(
            "[req]\ndistinguished_name=dn\nattributes=attributes\nreq_extensions=extensions\nprompt=no\n\
             [dn]\nCN=x\n[attributes]\nchallengePassword={PASSWORD}\n\
             [extensions]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=digitalSignature\n"
        ),
    );
    // RSA of 1024 bits, signed over SHA-1, without a serial number, with the wish to be a CA.
    let arguments = ["-newkey", "rsa:1024", "-sha1", "-config", &configuration];
    let weak = openssl_request(&factory, "weak.csr", &arguments);
    let told = check(&factory, &["--json", &weak]);
    assert_code(&told, 1);
    let report = &lines(&told)[0];
    assert_eq!(numbers(report), [302, 203]);
    let first = &report["findings"][0];
    assert_eq!(
        (&first["reason"], &first["action"]),
        (&json!("rsa-policy"), &json!("REWORK"))
    );
    assert!(first["rule"].as_str().unwrap().contains("NIST"), "{first}");
    assert_eq!(
        report["attributes"],
        json!(["challengePassword", "extensionRequest"])
    );
    let extensions = report["extensions"].as_array().unwrap();
    assert_eq!(
        extensions[0],
        json!({"name": "basicConstraints", "critical": true, "value": "a CA", "fate": "refused"})
    );
    assert_eq!(extensions[1]["fate"], "ignored");

    // With a good key the profile's own findings are told too, all of them.
    let arguments = ["-newkey", "rsa:2048", "-config", &configuration];
    let ca = openssl_request(&factory, "ca.csr", &arguments);
    let told = check(&factory, &["--json", &ca, &weak]);
    assert_code(&told, 1);
    let reports = lines(&told);
    assert_eq!((reports.len(), &reports[0]["input"]), (2, &json!(ca)));
    assert_eq!(numbers(&reports[0]), [403, 401]);
    let shown = check(&factory, &[&ca]);
    for (needle, count) in [("CALL-OFFICER", 1), ("403 requests-ca", 1), (PASSWORD, 0)] {
        let found = text(&shown.stdout).matches(needle).count();
        assert_eq!(found, count, "{needle}: {}", text(&shown.stdout));
    }
    assert!(!text(&told.stdout).contains(PASSWORD));
    assert_eq!(factory.records(), 0);
}

/// The list is made with the command that the documentation gives.
#[test]
fn known_bad_keys_are_refused() {
    let factory = Factory::new();
    let csr = factory.file("device.csr", request(3));
    let pipeline = "openssl req -inform DER -in \"$0\" -pubkey -noout | \
                    openssl pkey -pubin -outform DER | sha256sum";
    let digest = Command::new("sh")
        .args(["-c", pipeline, &csr])
        .output()
        .unwrap();
    assert!(digest.status.success(), "{digest:?}");
    factory.file("ca/known.txt", [&b"# known\n"[..], &digest.stdout].concat());
    let path = factory.path("ca/birthmark.toml");
    let configuration = fs::read_to_string(&path).unwrap();
    let listed = "[engine]\nknown_bad_keys = \"known.txt\"";
    fs::write(&path, configuration.replacen("[engine]", listed, 1)).unwrap();

    let told = check(&factory, &["--json", &csr]);
    assert_code(&told, 1);
    assert_eq!(numbers(&lines(&told)[0]), [308]);
    let other = factory.file("other.csr", request(4));
    let issued = factory.issue(&["--quiet", &csr, &other], b"");
    assert_code(&issued, 1);
    let lines = lines(&issued);
    assert_eq!(lines[0]["reason"], "known-bad-key");
    assert_eq!(lines[0]["action"], "CALL-OFFICER");
    assert_eq!(lines[1]["status"], "issued");
    assert_eq!(factory.records(), 1);

    factory.file("ca/known.txt", "xyz\n");
    let refused = factory.issue(&[&csr], b"");
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("known.txt, line 1"),
        "{refused:?}"
    );
}

#[test]
fn usage() {
    let factory = Factory::new();
    let csr = factory.file("device.csr", request(0));
    let missing = factory.path("missing.csr");
    assert_code(&check(&factory, &[missing.to_str().unwrap()]), 2);
    assert_code(&birthmark(&["csr", "check"], b""), 2);
    assert_code(
        &birthmark(&["csr", "check", "--profile", "idevid", &csr], b""),
        2,
    );
    let config = factory.path("ca/birthmark.toml");
    let config = config.to_str().unwrap();
    let unknown = [
        "csr",
        "check",
        "--config",
        config,
        "--profile",
        "other",
        &csr,
    ];
    let unknown = birthmark(&unknown, b"");
    assert_code(&unknown, 2);
    assert!(error_line(&unknown).contains("idevid"), "{unknown:?}");
    // What is no request at all is a finding.
    let nothing = factory.file("nothing.csr", "");
    let told = check(&factory, &["--json", &nothing]);
    assert_code(&told, 1);
    assert_eq!(numbers(&lines(&told)[0]), [100]);
}
