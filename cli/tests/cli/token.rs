//! A CA whose issuing key lives on a PKCS#11 token. Needs SoftHSM.

use std::env;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::support::{
    assert_code, birthmark, column, error_line, openssl_verify, request, request_pem,
};
use birthmark_hsm::{Pkcs11Uri, initialize_token};

const MODULE_VARIABLE: &str = "BIRTHMARK_TEST_MODULE";

/// A fresh token. Its label is random: one SoftHSM configuration serves every run, and process ids come again.
pub(crate) struct Token {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) pin_file: PathBuf,
}

impl Token {
    pub(crate) fn new(directory: &Path, name: &str) -> Token {
        let module = env::var_os(MODULE_VARIABLE).unwrap_or_else(|| {
            panic!("{MODULE_VARIABLE} is not set: run this test under softhsm/with-softhsm.sh")
        });
        let mut random = [0; 6];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let token = Token {
            module: module.into(),
            label: format!("cli-{name}-{}", birthmark::hex::encode(&random)),
            pin_file: directory.join("pin"),
        };
        write_private(&token.pin_file, "user-7391");
        initialize_token(&token.module, &token.label, "officer-2846", "user-7391").unwrap();
        token
    }

    pub(crate) fn uri(&self, key: &str) -> String {
        let uri = Pkcs11Uri::new(&self.module, &self.label, key, Some(&self.pin_file));
        uri.as_written().to_owned()
    }
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_issuing_key_stays_on_the_token() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "issue");
    let ca = outer.path().join("ca");
    let ca_text = ca.to_str().unwrap();
    let (issuing, root) = (token.uri("issuing key"), token.uri("root"));
    let init = [
        "ca",
        "init",
        "--dir",
        ca_text,
        "--signer",
        &issuing,
        "--root-signer",
        &root,
        "--json",
    ];
    let made = birthmark(&init, b"");
    assert_code(&made, 0);
    let report: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(
        report["issuing_key"].is_null() && report["root_key"].is_null(),
        "{report}"
    );
    assert!(!ca.join("issuing-ca.key").exists() && !ca.join("root/root-ca.key").exists());
    openssl_verify(&ca, &ca.join("issuing-ca.pem"));

    let config = ca.join("birthmark.toml");
    let config_text = config.to_str().unwrap();
    let issue = ["issue", "--config", config_text, "--profile", "idevid", "-"];
    let issued = birthmark(&issue, (request_pem(1) + &request_pem(2)).as_bytes());
    assert_code(&issued, 0);
    assert_eq!(column(&issued, "status"), ["issued", "issued"]);
    for certificate in column(&issued, "certificate") {
        let file = outer.path().join("issued.pem");
        fs::write(&file, certificate).unwrap();
        openssl_verify(&ca, &file);
    }

    // The token's keys are taken now: no second ceremony uses them, and none leaves files.
    let other = outer.path().join("other");
    let mut again = init;
    again[3] = other.to_str().unwrap();
    let again = birthmark(&again, b"");
    assert_code(&again, 2);
    assert!(
        error_line(&again).contains("already holds a key"),
        "{}",
        error_line(&again)
    );
    assert!(!other.exists());
}

#[test]
fn each_wrong_piece_of_the_uri_is_one_clear_line() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "wrong");
    let ca = outer.path().join("ca");
    let ca_text = ca.to_str().unwrap();
    let (issuing, root) = (token.uri("issuing key"), token.uri("root"));
    let init = [
        "ca",
        "init",
        "--dir",
        ca_text,
        "--signer",
        &issuing,
        "--root-signer",
        &root,
    ];
    assert_code(&birthmark(&init, b""), 0);
    let config = ca.join("birthmark.toml");
    let issue = [
        "issue",
        "--config",
        config.to_str().unwrap(),
        "--profile",
        "idevid",
        "-",
    ];

    let sound = fs::read_to_string(&config).unwrap();
    // As the URI writes it: a checkout's path may need percent-encoding.
    let (_, module) = sound.split_once("module-path=").unwrap();
    let (encoded_module, _) = module.split_once('&').unwrap();
    for (from, to, word) in [
        (token.label.as_str(), "nonesuch", "nonesuch"),
        ("issuing%20key", "nonesuch", "nonesuch"),
        ("issuing%20key", "root", "key"),
        (encoded_module, "/nowhere/module.so", "/nowhere/module.so"),
    ] {
        let wrong = sound.replace(from, to);
        assert_ne!(wrong, sound, "{from} does not stand in {sound}");
        fs::write(&config, wrong).unwrap();
        let refused = birthmark(&issue, &request(3));
        assert_code(&refused, 2);
        assert!(
            error_line(&refused).contains(word),
            "{}",
            error_line(&refused)
        );
    }
    fs::write(&config, &sound).unwrap();
    write_private(&token.pin_file, "wrong-pin");
    let refused = birthmark(&issue, &request(3));
    assert_code(&refused, 5);
    let line = error_line(&refused);
    assert!(
        line.contains("PIN") && !line.contains("wrong-pin"),
        "{line}"
    );
    write_private(&token.pin_file, "user-7391");
    // The refused PIN is remembered until a person removes the mark that the error named.
    let again = birthmark(&issue, &request(3));
    assert_code(&again, 5);
    let line = error_line(&again);
    let (_, mark) = line.rsplit_once("then remove ").unwrap();
    fs::remove_file(mark.trim()).unwrap();
    assert_code(&birthmark(&issue, &request(3)), 0);
}

#[test]
fn the_demonstration_brings_its_own_token() {
    let outer = tempfile::tempdir().unwrap();
    // Fails with a clear message when there is no module at all.
    let module = env::var_os(MODULE_VARIABLE).unwrap_or_else(|| {
        panic!("{MODULE_VARIABLE} is not set: run this test under softhsm/with-softhsm.sh")
    });
    let directory = outer.path().join("demo");
    for _ in 0..2 {
        // Without SOFTHSM2_CONF the command starts itself again with its own configuration.
        let output = crate::support::command()
            .args([
                "demo", "--count", "500", "--signer", "softhsm", "--json", "--dir",
            ])
            .arg(&directory)
            .env_remove("SOFTHSM2_CONF")
            .env(MODULE_VARIABLE, &module)
            .output()
            .unwrap();
        assert_code(&output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["certificates"], 500);
        assert!(
            report["signer"].as_str().unwrap().contains("PKCS#11"),
            "{report}"
        );
        openssl_verify(&directory.join("ca"), &directory.join("certificate.pem"));
    }
}
