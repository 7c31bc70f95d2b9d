//! `birthmark hsm` on SoftHSM and on the test token, which plays a network HSM.

use std::fs;
use std::path::Path;

use birthmark_hsm::{KeyAlgorithm, SoftwareKey};
use birthmark_test_token::TestHsm;
use serde_json::Value;

use crate::support::{Factory, assert_code, birthmark, error_line, text};
use crate::token::{Token, write_private};

const PIN: &str = "user-7391";

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn attribute<'a>(report: &'a Value, name: &str) -> &'a Value {
    let attributes = report["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["name"] == name);
    &found.unwrap()["value"]
}

/// A test HSM that tells, when the module ends, what was called.
fn hsm(directory: &Path, name: &str, settings: &str) -> TestHsm {
    let settings = format!(
        "mode = 'software'\nkey_file = '{name}.p8'\nreport_file = '{name}.json'\n{settings}"
    );
    TestHsm::create(directory, name, &settings).unwrap()
}

fn report(directory: &Path, name: &str) -> Value {
    let text = fs::read(directory.join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn list_tells_what_a_token_is_and_never_logs_in() {
    let outer = tempfile::tempdir().unwrap();
    let hsm = hsm(outer.path(), "listed", "session_max = 7\nserial = '4711'\n");
    let module = hsm.module().to_str().unwrap();
    let listed = birthmark(&["hsm", "list", "--module", module, "--json"], b"");
    assert_code(&listed, 0);
    let listed = json(&listed);
    let token = &listed["modules"][0]["slots"][0]["token"];
    assert_eq!(token["label"], "listed");
    assert_eq!(token["serial"], "4711");
    assert_eq!(token["sessions_max"], 7);
    assert_eq!(token["sessions_open"], 0);
    assert!(token["writing_sessions_open"].is_null(), "it does not tell");
    assert_eq!(token["login_required"], true);
    assert_eq!(token["pin"], "good");
    let mechanisms: Vec<&str> = token["mechanisms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(mechanisms, ["CKM_EC_KEY_PAIR_GEN", "CKM_ECDSA"]);
    let report = report(outer.path(), "listed");
    assert_eq!(
        (&report["logins"], &report["logins_refused"]),
        (&0.into(), &0.into())
    );
    assert!(report["calls"]["C_Login"].is_null(), "{report}");

    let people = birthmark(&["hsm", "list", "--uri", &hsm.uri()], b"");
    assert_code(&people, 0);
    let people = text(&people.stdout);
    assert!(
        people.contains("0 open, at most 7") && people.contains("4711"),
        "{people}"
    );
    assert!(!people.contains("pin-source"), "{people}");
}

#[test]
fn list_says_which_token_or_module_is_missing() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "list");
    let listed = birthmark(&["hsm", "list", "--uri", &token.uri("k"), "--json"], b"");
    assert_code(&listed, 0);
    let listed = json(&listed);
    let slots = listed["modules"][0]["slots"].as_array().unwrap();
    assert_eq!(slots.len(), 1, "the URI means one token");
    assert_eq!(slots[0]["token"]["label"], token.label);
    let sizes = slots[0]["token"]["mechanisms"].as_array().unwrap();
    let rsa = sizes
        .iter()
        .find(|one| one["name"] == "CKM_RSA_PKCS")
        .unwrap();
    assert!(rsa["key_size_max"].as_u64().unwrap() >= 4096, "{rsa}");

    let other = token.uri("k").replace(&token.label, "nonesuch");
    for (arguments, word) in [
        (["--uri", &other], "nonesuch"),
        (["--module", "/nowhere/module.so"], "/nowhere/module.so"),
        (
            ["--uri", "pkcs11:token=t?module-path=/m.so&pin-value=1234"],
            "pin-value",
        ),
    ] {
        let refused = birthmark(&["hsm", "list", arguments[0], arguments[1]], b"");
        assert_code(&refused, 2);
        let line = error_line(&refused);
        assert!(line.contains(word) && !line.contains("1234"), "{line}");
    }
}

#[test]
fn keygen_makes_a_key_that_stays_on_the_token() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "keygen");
    for algorithm in ["p256", "p384", "ed25519", "rsa2048"] {
        let uri = token.uri(algorithm);
        let arguments = [
            "hsm",
            "keygen",
            "--uri",
            &uri,
            "--algorithm",
            algorithm,
            "--json",
        ];
        let made = birthmark(&arguments, b"");
        assert_code(&made, 0);
        let made = json(&made);
        assert_eq!(made["algorithm"], algorithm);
        assert_eq!(made["imported"], false);
        for (name, value) in [
            ("CKA_TOKEN", "true"),
            ("CKA_PRIVATE", "true"),
            ("CKA_SENSITIVE", "true"),
            ("CKA_ALWAYS_SENSITIVE", "true"),
            ("CKA_EXTRACTABLE", "false"),
            ("CKA_NEVER_EXTRACTABLE", "true"),
            ("CKA_LOCAL", "true"),
            ("CKA_SIGN", "true"),
            ("CKA_DECRYPT", "false"),
            ("CKA_UNWRAP", "false"),
        ] {
            assert_eq!(attribute(&made, name), value, "{algorithm} {name}");
        }
    }
    // The label is taken now.
    let taken = token.uri("p256");
    let again = birthmark(
        &["hsm", "keygen", "--uri", &taken, "--algorithm", "p256"],
        b"",
    );
    assert_code(&again, 2);
    assert!(error_line(&again).contains("already holds a key with the label"));
}

#[test]
fn keygen_takes_an_id_once() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "id");
    let make = |label: &str, id: &str| {
        let uri = token.uri(label);
        let arguments = [
            "hsm",
            "keygen",
            "--uri",
            &uri,
            "--algorithm",
            "p256",
            "--id",
            id,
        ];
        birthmark(&arguments, b"")
    };
    let made = make("first", "0a01");
    assert_code(&made, 0);
    assert!(text(&made.stdout).contains("id            0a01"));
    let taken = make("second", "0a01");
    assert_code(&taken, 2);
    assert!(
        error_line(&taken).contains("the id 0a01"),
        "{}",
        error_line(&taken)
    );
    assert_code(&make("third", "xyz"), 2);
    assert_code(&make("fourth", ""), 2);
}

#[test]
fn keygen_leaves_a_key_that_is_not_as_asked() {
    let outer = tempfile::tempdir().unwrap();
    let settings =
        "make_key = false\n[[faults]]\nfunction = 'C_GetAttributeValue'\nextractable = true\n";
    let hsm = hsm(outer.path(), "lax", settings);
    let uri = hsm.uri();
    let made = birthmark(
        &["hsm", "keygen", "--uri", &uri, "--algorithm", "p256"],
        b"",
    );
    assert_code(&made, 3);
    let line = error_line(&made);
    assert!(
        line.contains("CKA_NEVER_EXTRACTABLE is false and should be true"),
        "{line}"
    );
    assert!(text(&made.stdout).contains("WRONG: true was asked for"));
    assert!(report(outer.path(), "lax")["calls"]["C_DestroyObject"].is_null());
    assert!(outer.path().join("lax.p8").exists(), "nothing was removed");
}

#[test]
fn a_refused_pin_is_sent_once_and_never_shown() {
    let outer = tempfile::tempdir().unwrap();
    let hsm = hsm(outer.path(), "strict", "");
    write_private(hsm.pin_file(), "wrong-pin");
    for command in ["check", "keygen"] {
        let uri = hsm.uri();
        let mut arguments = vec!["hsm", command, "--uri", &uri];
        if command == "keygen" {
            arguments.extend(["--algorithm", "p256"]);
        }
        let refused = birthmark(&arguments, b"");
        assert_code(&refused, 5);
        let line = error_line(&refused);
        assert!(
            line.contains("refused the PIN") && !line.contains("wrong-pin"),
            "{line}"
        );
        let report = report(outer.path(), "strict");
        assert_eq!(report["calls"]["C_Login"], 1, "{command}: {report}");
        assert_eq!(report["logins_refused"], 1, "{command}");
    }
}

#[test]
fn check_measures_and_recommends_within_the_limit() {
    let outer = tempfile::tempdir().unwrap();
    let settings = "session_max = 6\nlatency = { mean_us = 2000 }\n";
    let hsm = hsm(outer.path(), "measured", settings);
    let checked = birthmark(&["hsm", "check", "--uri", &hsm.uri(), "--json"], b"");
    assert_code(&checked, 0);
    let checked = json(&checked);
    // Six sessions, two of them the pool's own.
    assert_eq!(checked["sessions_verified"], 4);
    assert_eq!(checked["sessions_limited_by"], "the token's limit");
    assert!(checked["certificate_fits"].is_null());
    let steps = checked["steps"].as_array().unwrap();
    let sessions: Vec<u64> = steps
        .iter()
        .map(|step| step["sessions"].as_u64().unwrap())
        .collect();
    assert_eq!(sessions, [1, 2, 4]);
    for step in steps {
        // A sleep is never shorter than asked.
        assert!(step["p50_us"].as_u64().unwrap() >= 1_990, "{step}");
        assert!(step["p99_us"].as_u64().unwrap() >= step["p50_us"].as_u64().unwrap());
    }
    assert!(sessions.contains(&checked["recommended_sessions"].as_u64().unwrap()));
    assert_eq!(report(outer.path(), "measured")["logins"], 1);
}

#[test]
fn check_finds_a_token_that_signs_wrongly() {
    let outer = tempfile::tempdir().unwrap();
    let settings =
        "session_max = 4\n[[faults]]\nfunction = 'C_Sign'\nat = [2]\nsignature = 'wrong'\n";
    let hsm = hsm(outer.path(), "wrong", settings);
    let checked = birthmark(&["hsm", "check", "--uri", &hsm.uri()], b"");
    assert_code(&checked, 3);
    let line = error_line(&checked);
    assert!(
        line.contains("test signature of session 2 does not verify"),
        "{line}"
    );
}

#[test]
fn check_compares_the_key_with_the_issuer_certificate() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "check");
    let ca = outer.path().join("ca");
    let (ca_text, uri) = (ca.to_str().unwrap(), token.uri("issuing"));
    assert_code(
        &birthmark(&["ca", "init", "--dir", ca_text, "--signer", &uri], b""),
        0,
    );
    let config = ca.join("birthmark.toml");
    let config = config.to_str().unwrap();
    let checked = birthmark(&["hsm", "check", "--config", config, "--json"], b"");
    assert_code(&checked, 0);
    assert_eq!(json(&checked)["certificate_fits"], true);
    assert_eq!(json(&checked)["imported"], false);

    // Another CA's certificate: the key is not its key.
    let factory = Factory::new();
    let other = factory.path("ca/issuing-ca.pem");
    let other = other.to_str().unwrap();
    let refused = birthmark(
        &["hsm", "check", "--uri", &uri, "--certificate", other],
        b"",
    );
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("public key is not the one"),
        "{}",
        error_line(&refused)
    );
    let software = factory.path("ca/birthmark.toml");
    let refused = birthmark(
        &["hsm", "check", "--config", software.to_str().unwrap()],
        b"",
    );
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("software key"));
    let missing = token.uri("nonesuch");
    let refused = birthmark(&["hsm", "check", "--uri", &missing], b"");
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("no private key fits object='nonesuch'"));
    for output in [&checked, &refused] {
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert!(!shown.contains(PIN), "{shown}");
    }
}

#[test]
fn a_key_of_the_command_is_named_as_openssl_names_it() {
    let outer = tempfile::tempdir().unwrap();
    let hsm = hsm(outer.path(), "named", "");
    let checked = birthmark(&["hsm", "check", "--uri", &hsm.uri(), "--json"], b"");
    assert_code(&checked, 0);
    let der = fs::read(outer.path().join("named.p8")).unwrap();
    let pem = der::pem::encode_string("PRIVATE KEY", der::pem::LineEnding::LF, &der).unwrap();
    let key = SoftwareKey::from_pkcs8_pem(&pem).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::EcP256);
    let private = outer.path().join("named.pem");
    write_private(&private, &pem);
    let public = std::process::Command::new("openssl")
        .args(["pkey", "-pubout", "-outform", "DER", "-in"])
        .arg(&private)
        .output()
        .expect("openssl must be installed for this test");
    assert!(public.status.success(), "{public:?}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public.stdout);
    assert_eq!(
        json(&checked)["public_key_sha256"],
        birthmark::hex::encode(digest.as_ref())
    );
}

/// Modules that are found, as p11-kit's configuration names them: one that works, one that crashes, one that hangs,
/// one that is none, one that is not there.
#[test]
fn list_finds_modules_and_outlives_broken_ones() {
    let outer = tempfile::tempdir().unwrap();
    let configuration = outer.path().join("modules");
    fs::create_dir(&configuration).unwrap();
    let name = |name: &str, module: &Path| {
        let text = format!("# A module.\nmodule: {}\n", module.display());
        fs::write(configuration.join(format!("{name}.module")), text).unwrap();
    };
    let sound = hsm(outer.path(), "sound", "");
    name("1-sound", sound.module());
    let fault = "[[faults]]\nfunction = 'C_GetInfo'\nat = [1]\n";
    let hanging = hsm(outer.path(), "hanging", &format!("{fault}hang = true\n"));
    name("2-hanging", hanging.module());
    let failing = hsm(
        outer.path(),
        "failing",
        &format!("{fault}code = 'CKR_DEVICE_ERROR'\n"),
    );
    name("3-failing", failing.module());
    let crashing = crashing_library(outer.path());
    name("4-crashing", &crashing);
    let text_file = outer.path().join("text.so");
    fs::write(&text_file, "no module\n").unwrap();
    name("5-text", &text_file);
    name("6-missing", Path::new("/nowhere/missing.so"));

    let directory = configuration.to_str().unwrap();
    let arguments = ["hsm", "list", "--search", directory];
    let listed = birthmark(&[&arguments[..], &["--json"]].concat(), b"");
    assert_code(&listed, 0);
    let listed = json(&listed);
    let modules = listed["modules"].as_array().unwrap();
    assert_eq!(modules.len(), 1, "{listed}");
    assert_eq!(modules[0]["slots"][0]["token"]["label"], "sound");
    assert_eq!(
        modules[0]["named_by"],
        configuration.join("1-sound.module").to_str().unwrap()
    );
    let broken = listed["not_usable"].as_array().unwrap();
    let reasons: Vec<&str> = broken
        .iter()
        .map(|one| one["why"].as_str().unwrap())
        .collect();
    let expected = [
        "did not answer within 10 s",
        "C_GetInfo failed with CKR_DEVICE_ERROR",
        "signal",
        "text.so",
        "no such file",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason} should say {expected}");
    }

    fs::remove_file(configuration.join("2-hanging.module")).unwrap();
    let people = birthmark(&arguments, b"");
    assert_code(&people, 0);
    let people = text(&people.stdout);
    assert!(people.contains("token         sound"), "{people}");
    assert_eq!(people.matches("NOT USABLE: ").count(), 4, "{people}");
    assert_eq!(people.matches("  named by ").count(), 5, "{people}");

    fs::remove_file(configuration.join("1-sound.module")).unwrap();
    assert_code(&birthmark(&arguments, b""), 3);
    let empty = outer.path().to_str().unwrap();
    let none = birthmark(&["hsm", "list", "--search", empty], b"");
    assert_code(&none, 2);
    assert!(error_line(&none).contains("no PKCS#11 module was found"));
}

/// A library that ends the process that loads it, by a signal.
fn crashing_library(directory: &Path) -> std::path::PathBuf {
    let source = directory.join("crash.c");
    let text =
        "#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { abort(); }\n";
    fs::write(&source, text).unwrap();
    let library = directory.join("crash.so");
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(made.expect("there is a C compiler").success());
    library
}
