//! The other commands: usage, `ca init`, `log`, `demo`.

use std::fs;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use std::{path::Path, process::Command};

use crate::support::{
    Factory, assert_code, birthmark, column, error_line, lines, openssl_verify, request_pem, text,
};

#[test]
fn usage() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["issue", "--help"],
        &["help", "log"],
    ] {
        assert_code(&birthmark(arguments, b""), 0);
    }
    assert!(text(&birthmark(&["--version"], b"").stdout).starts_with("birthmark 0."));
    for verbose in [["--version", "--verbose"], ["--verbose", "--version"]] {
        let output = birthmark(&verbose, b"");
        assert_code(&output, 0);
        let output = text(&output.stdout);
        let lines: Vec<&str> = output.lines().collect();
        let told = lines[2].strip_prefix("verification ").unwrap().trim();
        assert!(lines[0].starts_with("birthmark 0.") && lines[1].starts_with("processor"));
        assert!(["8 lanes (AVX-512 IFMA)", "scalar (aws-lc-rs)"].contains(&told));
    }
    assert_code(&birthmark(&["--verbose", "profile", "list"], b""), 2);
    for arguments in [
        &[][..],
        &["nonsense"],
        &["issue"],
        &["log"],
        &["demo", "--count", "0"],
    ] {
        assert_code(&birthmark(arguments, b""), 2);
    }
}

/// Valgrind tells the program of no AVX-512: a processor that lacks the instructions.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn without_the_instructions_auto_says_that_it_is_scalar() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tool.sh");
    let found = Command::new(script).arg("valgrind").output().unwrap();
    assert_code(&found, 0);
    let output = Command::new(text(&found.stdout).trim())
        .args(["--quiet", "--tool=none", env!("CARGO_BIN_EXE_birthmark")])
        .args(["--version", "--verbose"])
        .output()
        .unwrap();
    assert_code(&output, 0);
    let told = "verification      scalar (aws-lc-rs)";
    assert_eq!(text(&output.stdout).lines().nth(2), Some(told));
}

#[test]
fn ca_init_reports_and_refuses() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("ca");
    let directory = directory.to_str().unwrap();
    let subject = "O=Acme,CN=Acme Issuing CA";
    let init = [
        "ca",
        "init",
        "--dir",
        directory,
        "--subject",
        subject,
        "--json",
    ];
    let made = birthmark(&init, b"");
    assert_code(&made, 0);
    let report: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(report["issuing_subject"], "O=Acme,CN=Acme Issuing CA");
    assert_eq!(report["root_subject"], "O=Acme,CN=Acme Root CA");
    assert!(fs::exists(report["configuration"].as_str().unwrap()).unwrap());

    let again = birthmark(&init, b"");
    assert_code(&again, 2);
    assert!(error_line(&again).contains("never overwritten"));
    let other = outer.path().join("other");
    let other = other.to_str().unwrap();
    for wrong in [
        &["--subject", "Acme"][..],
        &["--algorithm", "p224"],
        &["--signature", "pss"],
        &["--algorithm", "rsa2048", "--signature", "sha1"],
        &["--signer", "software:other/key"],
        &["--signer", "pkcs11:slot-id=1"],
        &["--signer", "pkcs11:token=t;object=o?pin-value=1234"],
        &[
            "--signer",
            "pkcs11:token=t;object=o?module-path=/nowhere/module.so",
        ],
        &["--origin", "a b"],
    ] {
        let arguments = [&["ca", "init", "--dir", other], wrong].concat();
        assert_code(&birthmark(&arguments, b""), 2);
    }
    assert!(!fs::exists(other).unwrap());
}

#[test]
fn log_show_and_verify() {
    let factory = Factory::new();
    let requests: String = (0..20).map(request_pem).collect();
    let issued = factory.issue(&["-"], requests.as_bytes());
    assert_code(&issued, 0);
    let log = factory.path("ca/log");
    let log = log.to_str().unwrap();

    let newest = birthmark(&["log", "show", log, "--limit", "3", "--json"], b"");
    assert_code(&newest, 0);
    let indexes: Vec<_> = lines(&newest)
        .iter()
        .map(|line| line["index"].clone())
        .collect();
    assert_eq!(indexes, [17, 18, 19]);
    let all = birthmark(&["log", "show", log, "--limit", "0", "--json"], b"");
    assert_eq!(lines(&all).len(), 20);
    let human = text(&birthmark(&["log", "show", log], b"").stdout);
    assert!(
        human.contains("20 records") && human.lines().count() == 11,
        "{human}"
    );

    // What was handed out is what the log holds.
    let (serial, certificate) = (
        &column(&issued, "serial")[5],
        &column(&issued, "certificate")[5],
    );
    let found = birthmark(&["log", "show", log, "--serial", serial, "--json"], b"");
    assert_code(&found, 0);
    assert_eq!(
        &column(&found, "certificate"),
        std::slice::from_ref(certificate)
    );
    assert_eq!(&column(&found, "serial"), std::slice::from_ref(serial));
    let index = lines(&found)[0]["index"].to_string();
    let ca = factory.path("ca");
    let shown = birthmark(
        &["log", "show", ca.to_str().unwrap(), "--index", &index],
        b"",
    );
    assert_code(&shown, 0);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains(serial.as_str()) && shown.contains("hardwareModuleName"),
        "{shown}"
    );
    assert!(shown.ends_with(certificate.as_str()), "{shown}");

    assert_code(&birthmark(&["log", "show", log, "--index", "20"], b""), 1);
    assert_code(&birthmark(&["log", "show", log, "--serial", "ab"], b""), 1);
    assert_code(&birthmark(&["log", "show", log, "--serial", "xyz"], b""), 2);
    assert_code(&birthmark(&["log", "show", "/nowhere"], b""), 2);
    assert_code(&birthmark(&["log", "verify", "/nowhere"], b""), 2);

    let intact = birthmark(&["log", "verify", log], b"");
    assert_code(&intact, 0);
    assert!(text(&intact.stdout).contains("intact"));
}

#[test]
fn log_verify_names_the_damage() {
    let factory = Factory::new();
    assert_code(
        &factory.issue(&["-"], (request_pem(1) + &request_pem(2)).as_bytes()),
        0,
    );
    // The first bytes of the first certificate's subject, somewhere in a segment.
    let segments = factory.path("ca/log/segments");
    let mut flipped = 0;
    for entry in fs::read_dir(segments).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let needle = b"idevid";
        if let Some(at) = bytes
            .windows(needle.len())
            .position(|window| window == needle)
        {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let log = factory.path("ca/log");
    let damaged = birthmark(&["log", "verify", log.to_str().unwrap()], b"");
    assert_code(&damaged, 3);
    let line = error_line(&damaged);
    assert!(line.contains(".seg") && line.contains("damaged"), "{line}");
}

#[test]
fn demo_runs_twice_and_spares_other_directories() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("demo");
    let arguments = [
        "demo",
        "--count",
        "2000",
        "--dir",
        directory.to_str().unwrap(),
    ];
    for _ in 0..2 {
        let output = birthmark(&[&arguments[..], &["--json"]].concat(), b"");
        assert_code(&output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for key in [
            "certificates",
            "rejected",
            "seconds",
            "certificates_per_second",
            "certificates_per_hour",
            "limit_per_second",
            "ratio_to_limit",
            "scalar_limit_per_second",
            "ratio_to_scalar_limit",
            "verification",
            "lanes_asked_again",
            "lanes_disagreements",
            "latency_us",
            "syncs_per_second",
            "records_per_sync",
            "peak_rss_bytes",
            "cores",
            "signer",
            "durable",
        ] {
            assert!(!report[key].is_null(), "{key} is missing: {report}");
        }
        assert_eq!(report["certificates"], 2000);
        assert_eq!(report["lanes_disagreements"], 0);
        let on_lanes = report["verification"].as_str().unwrap().contains("lanes");
        assert_eq!(report["lanes_filled"].as_u64().unwrap() > 0, on_lanes);
        assert_eq!(report["limit_has_lanes"], on_lanes);
        assert_eq!(
            (&report["durable"], &report["log_verified"]),
            (&true.into(), &true.into())
        );
        let certificate = report["certificate"].as_str().unwrap();
        openssl_verify(&directory.join("ca"), certificate.as_ref());
    }
    let human = birthmark(&arguments, b"");
    assert_code(&human, 0);
    let human = text(&human.stdout);
    for word in [
        "certificates",
        "ratio to limit",
        "p99",
        "birthmark.toml",
        "hardwareModuleName",
    ] {
        assert!(human.contains(word), "{word} is missing: {human}");
    }

    let foreign = outer.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "x").unwrap();
    let refused = birthmark(&["demo", "--dir", foreign.to_str().unwrap()], b"");
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("left as it is"));
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}
