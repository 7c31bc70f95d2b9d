//! `birthmark hsm` on SoftHSM and on the test token, which plays a network HSM.

mod list;

use std::fs;
use std::path::Path;
use std::process::Output;

use birthmark_hsm::{KeyAlgorithm, SoftwareKey};
use birthmark_test_token::TestHsm;
use serde_json::Value;

use crate::support::{Factory, assert_code, birthmark, error_line, state_home, text};
use crate::token::{Token, write_private};

const PIN: &str = "user-7391";

fn json(output: &Output) -> Value {
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
        // A person saw to it.
        fs::remove_file(state_home().join("birthmark/pin-refused.strict.0001")).unwrap();
    }
}

#[test]
fn check_measures_and_recommends_within_the_limit() {
    let outer = tempfile::tempdir().unwrap();
    let settings = "session_max = 6\nlatency = { mean_us = 2000 }\n";
    let hsm = hsm(outer.path(), "measured", settings);
    let checked = birthmark(&["hsm", "check", "--uri", &hsm.uri(), "--json"], b"");
    assert_code(&checked, 0);
    let checked = &json(&checked)["tokens"][0];
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

/// Each signature of a key with limited uses is one that no device gets: one is made, and nothing measured.
#[test]
fn check_spends_one_use_of_a_counted_key() {
    let outer = tempfile::tempdir().unwrap();
    let settings = "sign_limit = 2\nstate_file = 'state.json'\n";
    let hsm = hsm(outer.path(), "counted", settings);
    for used in 0..2 {
        let checked = birthmark(&["hsm", "check", "--uri", &hsm.uri(), "--json"], b"");
        assert_code(&checked, 0);
        let checked = json(&checked);
        let token = &checked["tokens"][0];
        let uses = serde_json::json!({ "count": used, "limit": 2 });
        assert_eq!(token["uses"], uses);
        assert_eq!(token["sessions_verified"], 1);
        assert_eq!(token["steps"], serde_json::json!([]));
        assert!(checked["recommended_sessions"].is_null());
        assert_eq!(report(outer.path(), "counted")["signatures"], 1);
    }
    let used_up = birthmark(&["hsm", "check", "--uri", &hsm.uri()], b"");
    assert_code(&used_up, 3);
    let line = error_line(&used_up);
    assert!(line.contains("the key may not sign"), "{line}");

    let unlimited = self::hsm(outer.path(), "unlimited", "session_max = 3\n");
    let checked = birthmark(&["hsm", "check", "--uri", &unlimited.uri(), "--json"], b"");
    assert!(json(&checked)["tokens"][0]["uses"].is_null());
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
    assert_eq!(json(&checked)["tokens"][0]["certificate_fits"], true);
    assert_eq!(json(&checked)["tokens"][0]["imported"], false);

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

/// Names these tokens in the configuration, and checks them.
fn check_all(config: &Path, hsms: &[&TestHsm]) -> Output {
    let uris: Vec<String> = hsms.iter().map(|hsm| hsm.uri()).collect();
    let text = fs::read_to_string(config).unwrap();
    let lines = text.lines().map(|line| match line.split_once(['=', ' ']) {
        Some(("signer" | "signers", _)) => format!("signers = {uris:?}"),
        _ => line.to_owned(),
    });
    fs::write(config, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let config = config.to_str().unwrap();
    birthmark(&["hsm", "check", "--config", config, "--json"], b"")
}

#[test]
fn check_looks_at_every_token_of_a_configuration() {
    let outer = tempfile::tempdir().unwrap();
    let shared = "key_file = 'shared.p8'\nreport_file = 'report-NAME.json'\nmode = 'software'\nmake_key = false\n";
    let token = |name: &str, settings: &str| {
        let settings = shared.replace("NAME", name) + settings;
        TestHsm::create(outer.path(), name, &settings).unwrap()
    };
    let slow = token("slow", "session_max = 4\nlatency = { mean_us = 4000 }\n");
    let fast = token("fast", "session_max = 6\nlatency = { mean_us = 1000 }\n");
    let other = hsm(outer.path(), "other", "session_max = 4\n");
    let dead = token(
        "dead",
        "[[faults]]\nfunction = 'C_OpenSession'\nevery = 1\ncode = 'CKR_DEVICE_ERROR'\n",
    );
    let strict = token("strict", "session_max = 4\n");
    let last = token("last", "session_max = 4\n");
    write_private(strict.pin_file(), "wrong-pin");

    let ca = outer.path().join("ca");
    let (ca_text, slow_uri) = (ca.to_str().unwrap(), slow.uri());
    let create = ["ca", "init", "--dir", ca_text, "--signer", &slow_uri];
    assert_code(&birthmark(&create, b""), 0);
    let config = ca.join("birthmark.toml");
    let check = |hsms: &[&TestHsm]| check_all(&config, hsms);

    let both = check(&[&slow, &fast]);
    assert_code(&both, 0);
    let both = json(&both);
    let tokens = both["tokens"].as_array().unwrap();
    let each = |name: &str| -> Vec<&Value> { tokens.iter().map(|one| &one[name]).collect() };
    assert_eq!(each("token"), ["slow", "fast"]);
    assert_eq!(each("sessions_verified"), [2, 4]);
    assert_eq!(each("certificate_fits"), [true, true]);
    assert_eq!(
        tokens[0]["public_key_sha256"],
        tokens[1]["public_key_sha256"]
    );
    let sessions = each("recommended_sessions");
    let sessions = sessions.iter().map(|one| one.as_u64().unwrap());
    assert_eq!(both["recommended_sessions"], sessions.max().unwrap());
    assert_eq!(both["failed"], serde_json::json!([]));

    // What is wrong with one token keeps nobody from knowing of the others.
    let some = check(&[&other, &dead, &slow, &slow]);
    assert_code(&some, 3);
    assert!(error_line(&some).contains("3 of 4 tokens failed the check"));
    let some = json(&some);
    assert_eq!(some["tokens"][0]["token"], "slow");
    let why = |number: usize| some["failed"][number]["why"].as_str().unwrap();
    assert!(why(0).contains("public key is not the one"), "{some}");
    assert!(why(1).contains("CKR_DEVICE_ERROR"), "{some}");
    assert!(why(2).contains("names the token 'slow' twice"), "{some}");

    let refused = check(&[&fast, &strict, &last]);
    assert_code(&refused, 5);
    let line = error_line(&refused);
    assert!(
        line.contains("1 of 3") && line.contains("refused the PIN"),
        "{line}"
    );
    let refused = json(&refused);
    assert_eq!(refused["tokens"][0]["token"], "fast");
    let unchecked = &refused["failed"][1];
    assert_eq!(unchecked["token"], "last");
    assert!(unchecked["why"].as_str().unwrap().contains("not checked"));
    assert_eq!(report(outer.path(), "report-strict")["logins"], 1);
    assert!(
        !outer.path().join("report-last.json").exists(),
        "never asked"
    );
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
        json(&checked)["tokens"][0]["public_key_sha256"],
        birthmark::hex::encode(digest.as_ref())
    );
}
