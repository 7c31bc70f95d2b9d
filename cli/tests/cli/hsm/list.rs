//! `birthmark hsm list`: what is told of modules, slots and tokens, and of modules that are broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{hsm, json, report};
use crate::support::{assert_code, birthmark, error_line, text};
use crate::token::Token;

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
fn crashing_library(directory: &Path) -> PathBuf {
    let source = directory.join("crash.c");
    let text =
        "#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { abort(); }\n";
    fs::write(&source, text).unwrap();
    let library = directory.join("crash.so");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(made.expect("there is a C compiler").success());
    library
}
