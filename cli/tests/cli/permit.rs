//! Officers at the command line: keys, permits, and what `issue` makes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::device::Device;
use serde_json::Value;

use crate::support::{Factory, assert_code, birthmark, error_line, lines, request_pem, text};

/// Identity of device `number`; see [`request_pem`].
fn identity(number: u64) -> String {
    format!("BM-{:016x}-{:08}", 7, number + 1)
}

/// A request with the identity of device `number` and a key of its own.
fn reworked(number: u64) -> String {
    let made = Device::make(KeyAlgorithm::EcP384, 7, number).unwrap();
    let der = made.request().unwrap();
    der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, &der).unwrap()
}

/// A CA whose profile `idevid` is reissued by the permits of one officer, whose key is `ada.key`.
fn with_officer() -> Factory {
    let factory = Factory::new();
    let vkey = keygen(&factory, "ada.acme.example", "ada.key");
    let configuration = factory.path("ca/birthmark.toml");
    let officers = format!("[engine]\nofficers = [{:?}]", vkey.trim_end());
    edit(&factory, "ca/birthmark.toml", "[engine]", &officers);
    assert!(configuration.is_file());
    by_permit(&factory);
    factory
}

fn by_permit(factory: &Factory) {
    let profile = "ca/profiles/idevid.toml";
    let reissue = "reissue = \"permit\"\nbase = \"idevid\"";
    edit(factory, profile, "base = \"idevid\"", reissue);
}

fn edit(factory: &Factory, file: &str, from: &str, to: &str) {
    let path = factory.path(file);
    let sound = fs::read_to_string(&path).unwrap();
    assert!(sound.contains(from), "{from:?} is not in\n{sound}");
    fs::write(path, sound.replacen(from, to, 1)).unwrap();
}

fn keygen(factory: &Factory, name: &str, file: &str) -> String {
    let out = factory.path(file);
    let out = out.to_str().unwrap();
    let made = birthmark(&["officer", "keygen", "--name", name, "--out", out], b"");
    assert_code(&made, 0);
    String::from_utf8(made.stdout).unwrap()
}

/// `permit new` for entry `replaces` of device `number`, with other arguments added.
fn permit(factory: &Factory, number: u64, replaces: &str, out: &str, more: &[&str]) -> Output {
    let path = |name: &str| factory.path(name).to_str().unwrap().to_owned();
    let (config, key, out) = (path("ca/birthmark.toml"), path("ada.key"), path(out));
    let identity = identity(number);
    let mut arguments = vec!["permit", "new", "--config", &config, "--profile", "idevid"];
    arguments.extend([
        "--identity",
        &identity,
        "--replaces",
        replaces,
        "--out",
        &out,
    ]);
    arguments.extend(more);
    if !more.contains(&"--key-fingerprint") {
        arguments.push("--any-key");
    }
    if !more.contains(&"--officer-key") {
        arguments.extend(["--officer-key", &key]);
    }
    birthmark(&arguments, b"")
}

fn reasons(output: &Output) -> Vec<String> {
    let of = |line: &Value| match line["status"].as_str() {
        Some("rejected") => line["reason"].as_str().unwrap().to_owned(),
        status => status.unwrap().to_owned(),
    };
    lines(output).iter().map(of).collect()
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let factory = Factory::new();
    let vkey = keygen(&factory, "ada.acme.example", "ada.key");
    assert!(
        vkey.starts_with("ada.acme.example+") && vkey.lines().count() == 1,
        "{vkey}"
    );
    let path = factory.path("ada.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let key = fs::read_to_string(&path).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));

    let again = [
        "officer",
        "keygen",
        "--name",
        "eve",
        "--out",
        path.to_str().unwrap(),
    ];
    assert_code(&birthmark(&again, b""), 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
    let other = factory.path("other.key");
    for name in ["", "a b", "a+b"] {
        let bad = [
            "officer",
            "keygen",
            "--name",
            name,
            "--out",
            other.to_str().unwrap(),
        ];
        assert_code(&birthmark(&bad, b""), 2);
        assert!(!other.exists());
    }
}

#[test]
fn a_rework_from_the_refusal_to_the_new_certificate() {
    let factory = with_officer();
    // One after the other: within one run their order in the log is open.
    for device in 0..2 {
        let first = factory.issue(&["-"], request_pem(device).as_bytes());
        assert_eq!(reasons(&first), ["issued"]);
    }
    let new = factory.file("new.pem", reworked(1));
    let refused = factory.issue(&[&new], b"");
    assert_code(&refused, 1);
    let line = &lines(&refused)[0];
    assert_eq!(
        (&line["reason"], &line["number"]),
        (&"permit-needed".into(), &510.into())
    );
    assert_eq!(line["action"], "CALL-OFFICER");
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.contains(&identity(1)) && detail.contains("record 1"),
        "{detail}"
    );

    let new_permit = permit_for_refusal(&factory, detail);
    assert!(new_permit.contains("\nreason board swapped\n\n\u{2014} ada.acme.example "));
    assert_code(&permit(&factory, 0, "0", "permits/0", &[]), 0);

    // The directory goes to every request; each takes the permit that is for it, where it needs one.
    let permits = factory.path("permits");
    let permits = permits.to_str().unwrap();
    let mixed = [0, 2].map(request_pem).concat() + &[1, 0, 1].map(reworked).concat();
    let issued = factory.issue(&["--permit", permits, "-"], mixed.as_bytes());
    assert_code(&issued, 0);
    let expected = ["existing", "issued", "issued", "issued", "existing"];
    assert_eq!(reasons(&issued), expected);
    assert_eq!(factory.records(), 5);
    let superseded = factory.issue(&["--permit", permits, "-"], request_pem(1).as_bytes());
    assert_eq!(reasons(&superseded), ["superseded"]);

    // Spent. Whoever made the new certificate gets it again without a permit.
    let one = factory.path("permits/1");
    let again = factory.issue(&["--permit", one.to_str().unwrap(), &new], b"");
    assert_eq!(reasons(&again), ["existing"]);
    let log = factory.path("ca/log");
    let index = lines(&issued)[2]["index"].to_string();
    let show = [
        "log",
        "show",
        log.to_str().unwrap(),
        "--json",
        "--index",
        &index,
    ];
    let shown = birthmark(&show, b"");
    let record = &lines(&shown)[0];
    assert_eq!(record["replaces"], 1);
    assert_eq!(
        record["data"]["birthmark:permit"].as_str().unwrap().len(),
        64
    );
}

/// A permit in `permits/1` for entry 1: what the officer needs stands in the refusal.
fn permit_for_refusal(factory: &Factory, detail: &str) -> String {
    let fingerprint = detail
        .split([' ', ','])
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .unwrap();
    let more = [
        "--key-fingerprint",
        fingerprint,
        "--valid",
        "1h",
        "--reason",
        "board swapped",
    ];
    let made = permit(factory, 1, "1", "permits/1", &more);
    assert_code(&made, 2);
    fs::create_dir(factory.path("permits")).unwrap();
    let made = permit(factory, 1, "1", "permits/1", &more);
    assert_code(&made, 0);
    assert!(
        text(&made.stdout).contains("replaces   1"),
        "{}",
        text(&made.stdout)
    );
    assert_code(&permit(factory, 1, "1", "permits/1", &more), 2);
    let note = fs::read_to_string(factory.path("permits/1")).unwrap();
    assert!(
        note.starts_with("birthmark/permit@v1\nlog birthmark.invalid/"),
        "{note}"
    );
    note
}

#[test]
fn a_permit_that_came_alone_is_shown_and_its_fault_told() {
    let factory = with_officer();
    // One after the other: within one run their order in the log is open.
    for device in 0..2 {
        assert_code(&factory.issue(&["-"], request_pem(device).as_bytes()), 0);
    }
    assert_code(&permit(&factory, 0, "0", "other-device", &[]), 0);
    assert_code(&permit(&factory, 1, "0", "other-entry", &[]), 0);
    let digits = "0".repeat(64);
    let other_key = permit(
        &factory,
        1,
        "1",
        "other-key",
        &["--key-fingerprint", &digits],
    );
    assert_code(&other_key, 0);
    let good = fs::read_to_string(factory.path("other-entry")).unwrap();
    factory.file("forged", good.replace("replaces 0", "replaces 1"));
    let table = [
        ("other-device", "permit-other-device"),
        ("other-entry", "permit-other-entry"),
        ("other-key", "permit-other-key"),
        ("forged", "permit-forged"),
    ];
    for (file, reason) in table {
        let path = factory.path(file);
        let arguments = ["--permit", path.to_str().unwrap(), "-"];
        let refused = factory.issue(&arguments, reworked(1).as_bytes());
        assert_code(&refused, 1);
        assert_eq!(reasons(&refused), [reason]);
    }
    assert_eq!(factory.records(), 2);
}

#[test]
fn a_permit_that_does_not_count_hides_no_valid_one() {
    let factory = with_officer();
    assert_code(&factory.issue(&["-"], request_pem(0).as_bytes()), 0);
    fs::create_dir(factory.path("permits")).unwrap();
    // Read first, and ending last: another line's, another profile's, a forged one.
    assert_code(
        &permit(&factory, 0, "0", "permits/good", &["--valid", "1h"]),
        0,
    );
    assert_code(&permit(&factory, 0, "0", "later", &["--valid", "300d"]), 0);
    let later = fs::read_to_string(factory.path("later")).unwrap();
    let log = later.lines().nth(1).unwrap();
    let wrong = [
        later.replace(log, "log example.com/other-line"),
        later.replace("\nprofile idevid", "\nprofile other"),
    ];
    factory.file("permits/a", &wrong[0]);
    factory.file("permits/b", &wrong[1]);
    let forged = later.replace("\nnot-after 20", "\nnot-after 21");
    factory.file("permits/c", forged);
    let permits = factory.path("permits");
    let arguments = ["--permit", permits.to_str().unwrap(), "-"];
    let issued = factory.issue(&arguments, reworked(0).as_bytes());
    assert_eq!(reasons(&issued), ["issued"]);
}

#[test]
fn a_permit_for_any_key_is_asked_for_by_name() {
    let factory = with_officer();
    let path = |name: &str| factory.path(name).to_str().unwrap().to_owned();
    let (config, key, out) = (path("ca/birthmark.toml"), path("ada.key"), path("out"));
    let plain = [
        "permit",
        "new",
        "--config",
        &config,
        "--profile",
        "idevid",
        "--identity",
        "SN-1",
        "--replaces",
        "0",
        "--officer-key",
        &key,
        "--out",
        &out,
    ];
    let refused = birthmark(&plain, b"");
    assert_code(&refused, 2);
    assert!(text(&refused.stderr).contains("--key-fingerprint"));
    let digits = "0".repeat(64);
    let both = [&plain[..], &["--any-key", "--key-fingerprint", &digits]].concat();
    assert_code(&birthmark(&both, b""), 2);
    assert!(!factory.path("out").exists());
    assert_code(&birthmark(&[&plain[..], &["--any-key"]].concat(), b""), 0);
}

#[test]
fn what_could_not_count_is_not_begun() {
    let factory = with_officer();
    let good = factory.file("good.pem", request_pem(0));
    let garbage = factory.file("garbage", "no permit");
    for path in [&*garbage, "/nowhere/at/all"] {
        let refused = factory.issue(&["--permit", path, &good], b"");
        assert_code(&refused, 2);
        assert!(error_line(&refused).contains(path));
    }
    keygen(&factory, "eve", "eve.key");
    let path = |name: &str| factory.path(name).to_str().unwrap().to_owned();
    let (eve, issuing) = (path("eve.key"), path("ca/issuing-ca.key"));
    let long = "x".repeat(201);
    let bad: [(&[&str], &str); 6] = [
        (&["--officer-key", &eve], "engine.officers"),
        (&["--officer-key", &issuing], "Ed25519"),
        (&["--officer-key", "/nowhere"], "/nowhere"),
        (&["--reason", &long], "reason"),
        (&["--reason", "a\nb"], "reason"),
        (&["--reason", ""], "reason"),
    ];
    for (more, word) in bad {
        let refused = permit(&factory, 0, "0", "out", more);
        assert_code(&refused, 2);
        let line = error_line(&refused);
        assert!(line.contains(word), "{line}");
        assert!(!factory.path("out").exists());
    }
    // A profile that replaces nothing by permit.
    edit(
        &factory,
        "ca/profiles/idevid.toml",
        "\"permit\"",
        "\"same-key\"",
    );
    let refused = permit(&factory, 0, "0", "out", &[]);
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("would not count"));
    assert_eq!(factory.records(), 0);
}

#[test]
fn officers_are_part_of_a_sound_configuration() {
    let factory = Factory::new();
    by_permit(&factory);
    let good = factory.file("good.pem", request_pem(0));
    let refused = factory.issue(&[&good], b"");
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("engine.officers"));
    for (officers, word) in [
        ("[\"ada\"]", "name+hash+key"),
        ("\"ada\"", "line"),
        ("[\"witness.example+00000000+BA==\"]", "officers"),
    ] {
        let broken = Factory::new();
        let officers = format!("[engine]\nofficers = {officers}");
        edit(&broken, "ca/birthmark.toml", "[engine]", &officers);
        let refused = broken.issue(&[&good], b"");
        assert_code(&refused, 2);
        let line = error_line(&refused);
        assert!(line.contains(word), "{line}");
    }
    let profile = "ca/profiles/idevid.toml";
    edit(&factory, profile, "\"permit\"", "\"always\"");
    let refused = factory.issue(&[&good], b"");
    assert_code(&refused, 2);
    let line = error_line(&refused);
    assert!(
        line.contains("reissue") && line.contains("\"same-key\""),
        "{line}"
    );
}

/// A limit on the size of files kills the command in the middle of the write, as a crash would.
#[test]
fn a_key_file_is_whole_or_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("ada.key");
    let keygen = ["officer", "keygen", "--name", "ada.example", "--out"];
    let killed = std::process::Command::new("sh")
        .args(["-c", "ulimit -f 0 && exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_birthmark"))
        .args(keygen)
        .arg(&key)
        .output()
        .unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    assert!(!key.exists(), "a part of a key");
    let made = birthmark(&[&keygen[..], &[key.to_str().unwrap()]].concat(), b"");
    assert_code(&made, 0);
    birthmark_hsm::SoftwareKey::read(&key).unwrap();
}
