//! Everything that can be wrong around the binary: the exit code, one clear line, no secret, and
//! nothing lost.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use birthmark_hsm::KeyAlgorithm;

use crate::binary::{assert_code, birthmark, command, error_line, lines, start};
use crate::requests::{device, openssl, pem};
use crate::station::{Factory, Signer, write_private};

fn request_pem(number: u64) -> String {
    pem("CERTIFICATE REQUEST", &device(number))
}

/// Runs an issue of one good request, which has to end in this code with one line of error that
/// contains all of `words`. Nothing is issued.
#[track_caller]
fn assert_refused(factory: &Factory, code: i32, words: &[&str]) -> Output {
    let good = factory.file("good.pem", request_pem(0));
    let output = factory.issue(&[&good], b"");
    assert_code(&output, code);
    assert_eq!(output.stdout, b"");
    let line = error_line(&output);
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    if factory.log().is_dir() {
        assert_eq!(factory.verify().records, 0);
    }
    output
}

/// The configuration with one text replaced; undone by the guard.
fn with_configuration(factory: &Factory, from: &str, to: &str, test: impl FnOnce()) {
    let path = factory.configuration();
    let sound = fs::read_to_string(&path).unwrap();
    assert!(sound.contains(from), "{from:?} is not in\n{sound}");
    fs::write(&path, sound.replace(from, to)).unwrap();
    test();
    fs::write(&path, sound).unwrap();
    clear_pin_marks(&path);
}

/// What a person does once the PIN is right: removes the marks beside the configuration. Returns
/// how many there were.
fn clear_pin_marks(configuration: &Path) -> usize {
    let folder = fs::read_dir(configuration.parent().unwrap()).unwrap();
    let marks = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("/pin-refused."));
    marks.map(|path| fs::remove_file(path).unwrap()).count()
}

/// The name of the key in a configuration's PKCS#11 URI.
fn object_of(factory: &Factory) -> String {
    let text = fs::read_to_string(factory.configuration()).unwrap();
    let from = text.find("object=").unwrap() + "object=".len();
    text[from..].split(['?', ';']).next().unwrap().to_owned()
}

#[test]
fn token_errors_say_what_is_wrong_and_never_the_pin() {
    let factory = Factory::for_binary(Signer::SoftHsm(KeyAlgorithm::EcP256));
    let token = factory.token();
    let (label, pin_file) = (&*token.label, token.pin_file.to_str().unwrap());
    // As the URI writes it: a checkout's path may need percent-encoding.
    let configuration = fs::read_to_string(factory.configuration()).unwrap();
    let (_, module) = configuration.split_once("module-path=").unwrap();
    let (module, _) = module.split_once('&').unwrap();
    let object = object_of(&factory);
    let no_pin = |output: Output| assert_no_secret(&output, &[&token.pin, "wrong-pin"]);
    let wrong_pin = factory.path("wrong-pin-file");
    write_private(&wrong_pin, "wrong-pin");
    let text_file = factory.file("module.so", "this is no shared object");
    let no_file = factory.path("no-pin-file");
    let other_object = object_of(&factory.beside());

    let table: [(&str, String, &[&str]); 10] = [
        (
            pin_file,
            wrong_pin.to_str().unwrap().to_owned(),
            &[label, "PIN"],
        ),
        (pin_file, no_file.to_str().unwrap().to_owned(), &["PIN"]),
        (
            &format!("&pin-source=file:{pin_file}"),
            String::new(),
            &["BIRTHMARK_PIN"],
        ),
        (
            &format!("pin-source=file:{pin_file}"),
            "pin-value=wrong-pin".into(),
            &["pin-source"],
        ),
        (module, "/nowhere/libhsm.so".into(), &["/nowhere/libhsm.so"]),
        (module, text_file.clone(), &[&*text_file]),
        (
            &format!("token={label}"),
            "token=unknown".into(),
            &["unknown", "the module shows"],
        ),
        (
            &format!("object={object}"),
            "object=unknown".into(),
            &["unknown", &*object],
        ),
        // Another CA's key: a token that holds another key under a label must not issue.
        (
            &format!("object={object}"),
            format!("object={other_object}"),
            &["issuer certificate"],
        ),
        ("pkcs11:", "pkcs12:".into(), &["issuer.signer"]),
    ];
    for (from, to, words) in table {
        with_configuration(&factory, from, &to, || {
            let code = if to.ends_with("wrong-pin-file") { 5 } else { 2 };
            no_pin(assert_refused(&factory, code, words))
        });
    }
}

/// A service that is restarted in a loop must not lock the token.
#[test]
fn a_refused_pin_is_not_sent_again_until_a_person_clears_its_mark() {
    let factory = Factory::for_binary(Signer::SoftHsm(KeyAlgorithm::EcP256));
    let path = factory.configuration();
    let sound = fs::read_to_string(&path).unwrap();
    let wrong_pin = factory.path("wrong-pin-file");
    write_private(&wrong_pin, "wrong-pin");
    let right_pin = factory.token().pin_file.to_str().unwrap();
    let wrong = sound.replace(right_pin, wrong_pin.to_str().unwrap());
    assert_ne!(wrong, sound);
    fs::write(&path, wrong).unwrap();
    assert_refused(&factory, 5, &["CKR_PIN_INCORRECT", "then remove"]);
    // Though it is right by now: a person says so.
    fs::write(&path, sound).unwrap();
    for _ in 0..2 {
        assert_refused(&factory, 5, &["not sent again", "then remove"]);
    }
    assert_eq!(clear_pin_marks(&factory.configuration()), 1);
    let good = factory.file("good.pem", request_pem(1));
    assert_code(&factory.issue(&[&good], b""), 0);
}

#[track_caller]
fn assert_no_secret(output: &Output, secrets: &[&str]) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        assert!(
            secrets.iter().all(|secret| !text.contains(secret)),
            "{text}"
        );
    }
}

#[test]
fn the_pin_comes_from_a_file_or_the_environment_and_is_not_shown() {
    let factory = Factory::for_binary(Signer::SoftHsm(KeyAlgorithm::EcP256));
    let token = factory.token();
    let good = factory.file("good.pem", request_pem(1));
    let issued = factory.issue(&["--json", &good], b"");
    assert_code(&issued, 0);
    assert_no_secret(&issued, &[&token.pin]);
    let source = format!("&pin-source=file:{}", token.pin_file.to_str().unwrap());
    with_configuration(&factory, &source, "", || {
        let configuration = factory.configuration();
        let mut arguments = factory.issue_arguments(&configuration);
        arguments.push(&good);
        let mut command = command(&arguments);
        let output = command.env("BIRTHMARK_PIN", &token.pin).output().unwrap();
        assert_code(&output, 0);
        assert_eq!(lines(&output)[0]["status"], "existing");
        assert_no_secret(&output, &[&token.pin]);
    });
    let entries = factory.assert_sound();
    let issued = entries.iter().filter(|entry| entry.certificate().is_some());
    assert_eq!(issued.count(), 1);
    assert_eq!(entries.len(), 3, "and two starts");
}

#[test]
fn configuration_errors_are_usage() {
    let factory = Factory::new(Signer::P256);
    let key = factory.path("ca/issuing-ca.key");
    let software = "software:issuing-ca.key";
    let profile = "profiles/idevid.toml";
    factory.file(
        "ca/profiles/broken.toml",
        "name = \"idevid\"\nbase = \"idevid\"\ncolor = 1\n",
    );
    factory.file("ca/garbage.pem", [0xff; 300]);
    let table = [
        (software, "software:none.key", "none.key"),
        (software, "software:root/root-ca.key", "issuer certificate"),
        (software, "software:issuing-ca.pem", "chmod 600"),
        (profile, "profiles/none.toml", "none.toml"),
        (profile, "profiles", "profiles"),
        (profile, "profiles/broken.toml", "broken.toml:3: color: "),
        ("issuing-ca.pem", "none.pem", "none.pem"),
        ("issuing-ca.pem", "garbage.pem", "garbage.pem"),
        ("issuing-ca.pem", "issuing-ca.key", "issuing-ca.key"),
        ("directory = \"log\"", "directory = \"none\"", "none"),
        ("[engine]", "[engine]\nmax_in_flight = 0", "max_in_flight"),
        ("[engine]", "[engine]\nspeed = 11", "speed"),
        ("[engine]", "[engine", "birthmark.toml"),
    ];
    for (from, to, word) in table {
        with_configuration(&factory, from, to, || {
            drop(assert_refused(&factory, 2, &[word]))
        });
    }
    let permissions = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    permissions(0o640);
    assert_refused(&factory, 2, &["issuing-ca.key"]);
    permissions(0o600);
    let good = factory.file("good.pem", request_pem(0));
    assert_code(&factory.issue(&[&good], b""), 0);
}

#[test]
fn a_key_file_that_is_no_key_is_named() {
    let factory = Factory::new(Signer::P256);
    write_private(&factory.path("ca/other.key"), "this is no key");
    with_configuration(&factory, "issuing-ca.key", "other.key", || {
        assert_refused(&factory, 2, &["PRIVATE KEY", "other.key"]);
    });
}

#[test]
fn what_is_not_there_is_found_before_anything_is_issued() {
    let factory = Factory::new(Signer::P256);
    let good = factory.file("good.pem", request_pem(0));
    let configuration = factory.configuration();
    let none = factory.path("none.toml");
    let usage: [(Vec<&str>, &str); 3] = [
        (
            [&factory.issue_arguments(&none)[..], &[&good]].concat(),
            "none.toml",
        ),
        (
            [
                &factory.issue_arguments(&configuration)[..],
                &[&good, "none.pem"],
            ]
            .concat(),
            "none.pem",
        ),
        (
            vec![
                "issue",
                "--config",
                configuration.to_str().unwrap(),
                "--profile",
                "none",
                &good,
            ],
            "none",
        ),
    ];
    for (arguments, word) in usage {
        let output = birthmark(&arguments, b"");
        assert_code(&output, 2);
        assert_eq!(output.stdout, b"");
        assert!(error_line(&output).contains(word));
    }
    assert_eq!(factory.verify().records, 0);
    assert_code(&factory.issue(&[&good], b""), 0);
}

#[test]
fn an_expired_issuer_does_not_issue() {
    let factory = Factory::new(Signer::P256);
    reissue_ca_certificate(&factory, "20200101000000Z", "20210101000000Z");
    assert_refused(&factory, 2, &["issuer certificate", "expired"]);
    reissue_ca_certificate(&factory, "20900101000000Z", "20910101000000Z");
    assert_refused(&factory, 2, &["issuer certificate", "not valid yet"]);
    reissue_ca_certificate(&factory, "20200101000000Z", "20910101000000Z");
    let good = factory.file("good.pem", request_pem(0));
    assert_code(&factory.issue(&[&good], b""), 0);
}

/// Has openssl make another certificate for the issuing CA's key, signed by the root.
fn reissue_ca_certificate(factory: &Factory, start: &str, end: &str) {
    let path = |name: &str| factory.path(name).to_str().unwrap().to_owned();
    let request = path("issuing.csr");
    let issuing_key = path("ca/issuing-ca.key");
    let subject = "/O=Acme/CN=Acme Issuing CA";
    openssl(&[
        "req",
        "-new",
        "-key",
        &issuing_key,
        "-subj",
        subject,
        "-out",
        &request,
    ]);
    factory.file("index.txt", "");
    let directory = path("");
    let configuration = factory.file(
        "openssl.cnf",
        format!(
            "[ca]\ndefault_ca = d\n[d]\nnew_certs_dir = {directory}\n\
             database = {directory}/index.txt\ndefault_md = sha256\npolicy = p\n\
             unique_subject = no\nrand_serial = yes\nemail_in_dn = no\n[p]\n\
             organizationName = supplied\ncommonName = supplied\n[e]\n\
             basicConstraints = critical,CA:TRUE,pathlen:0\n\
             keyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n\
             authorityKeyIdentifier = keyid\n"
        ),
    );
    let (root, root_key) = (path("ca/root/root-ca.pem"), path("ca/root/root-ca.key"));
    let out = path("ca/issuing-ca.pem");
    openssl(&[
        "ca",
        "-batch",
        "-notext",
        "-preserveDN",
        "-config",
        &configuration,
        "-in",
        &request,
        "-cert",
        &root,
        "-keyfile",
        &root_key,
        "-startdate",
        start,
        "-enddate",
        end,
        "-extensions",
        "e",
        "-out",
        &out,
    ]);
}

#[test]
fn bad_inputs_are_rejections_and_good_ones_beside_them_are_issued() {
    let factory = Factory::new(Signer::P256);
    let pem = request_pem(0);
    let huge_pem = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}-----END CERTIFICATE REQUEST-----\n",
        format!("{}\n", "A".repeat(64)).repeat(160_000)
    );
    let mut forged = device(10);
    *forged.last_mut().unwrap() ^= 1;
    let huge_der = [&[0x30, 0x84, 0x00, 0x98, 0x96, 0x80][..], &[0; 10_000_000]].concat();
    let table: [(&str, Vec<u8>, &str); 8] = [
        ("empty.pem", Vec::new(), "empty"),
        ("garbage.der", vec![0xa5; 4_096], "malformed"),
        ("huge.der", huge_der, "too-large"),
        ("huge.pem", huge_pem.into_bytes(), "too-large"),
        (
            "cut.pem",
            pem.as_bytes()[..pem.len() / 2].to_vec(),
            "pem-truncated",
        ),
        (
            "no-end.pem",
            pem.as_bytes()[..pem.rfind("-----END").unwrap()].to_vec(),
            "pem-truncated",
        ),
        ("cut.der", device(11)[..120].to_vec(), "malformed"),
        ("forged.der", forged, "proof-of-possession"),
    ];
    for (name, content, reason) in &table {
        let path = factory.file(name, content);
        let output = factory.issue(&["--quiet", &path], b"");
        assert_code(&output, 1);
        let result = lines(&output);
        assert_eq!(result.len(), 1, "{name}");
        assert_rejected(&result[0], &path, reason);
    }
    assert_eq!(factory.verify().records, 0);

    // All of them between good ones.
    let mut inputs = vec![factory.file("first.pem", request_pem(1))];
    inputs.extend(
        table
            .iter()
            .map(|(name, ..)| factory.path(name).to_str().unwrap().to_owned()),
    );
    inputs.push(factory.file("last.pem", request_pem(2)));
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let output = factory.issue(&inputs, b"");
    assert_code(&output, 1);
    let results = lines(&output);
    assert_eq!(results.len(), 10);
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["input"], inputs[number]);
        match number {
            0 | 9 => assert_eq!(result["status"], "issued"),
            _ => assert_rejected(result, inputs[number], table[number - 1].2),
        }
    }
    assert_eq!(factory.assert_sound().len(), 2);
}

#[track_caller]
fn assert_rejected(line: &serde_json::Value, input: &str, reason: &str) {
    assert_eq!(
        (&line["status"], &line["input"]),
        (&"rejected".into(), &input.into()),
        "{line}"
    );
    assert_eq!(line["reason"], reason, "{line}");
    for key in ["rule", "action", "detail"] {
        assert!(
            line[key].as_str().is_some_and(|value| !value.is_empty()),
            "{line}"
        );
    }
    assert!(line.get("certificate").is_none(), "{line}");
}

#[test]
fn a_second_writer_is_refused_and_the_first_goes_on() {
    let factory = Factory::new(Signer::P256);
    let configuration = factory.configuration();
    let mut arguments = factory.issue_arguments(&configuration);
    arguments.push("-");
    let mut first = start(&mut command(&arguments));
    let mut stdin = first.stdin.take().unwrap();
    stdin
        .write_all((request_pem(1) + &request_pem(2)).as_bytes())
        .unwrap();
    // When its first result is there, it holds the log.
    let mut results = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    results.read_line(&mut line).unwrap();
    assert!(line.contains("issued"), "{line}");

    let second = factory.issue(&["-"], request_pem(3).as_bytes());
    assert_code(&second, 3);
    assert_eq!(second.stdout, b"");
    let error = error_line(&second);
    assert!(error.contains("in use") && error.contains("log"), "{error}");

    stdin.write_all(request_pem(4).as_bytes()).unwrap();
    drop(stdin);
    assert!(first.wait().unwrap().success());
    assert_eq!(factory.assert_sound().len(), 3);
}

#[test]
fn results_that_cannot_be_written_are_in_the_log() {
    let factory = Factory::new(Signer::P256);
    let good = factory.file("good.pem", request_pem(1));
    let configuration = factory.configuration();
    let mut arguments = factory.issue_arguments(&configuration);
    arguments.extend(["--quiet", &good]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command(&arguments)
        .stdin(Stdio::null())
        .stdout(full)
        .output()
        .unwrap();
    assert_code(&output, 3);
    assert!(error_line(&output).contains("standard output"));
    assert_eq!(factory.assert_sound().len(), 1);
    let again = factory.issue(&["--quiet", &good], b"");
    assert_code(&again, 0);
    assert_eq!(lines(&again)[0]["status"], "existing");
}

#[test]
fn logs_that_are_not_there_or_damaged() {
    let factory = Factory::new(Signer::P256);
    let missing = factory.path("nowhere");
    for arguments in [["log", "verify"], ["log", "show"]] {
        let output = birthmark(
            &[&arguments[..], &[missing.to_str().unwrap()]].concat(),
            b"",
        );
        assert_code(&output, 2);
        assert!(error_line(&output).contains("nowhere"));
    }
    let good = factory.file("good.pem", request_pem(1));
    assert_code(&factory.issue(&[&good], b""), 0);
    let log = factory.log();
    let log = log.to_str().unwrap();
    let shown = birthmark(&["log", "show", log, "--index", "0", "--json"], b"");
    assert_code(&shown, 0);
    let record = &lines(&shown)[0];
    let serial = record["serial"].as_str().unwrap();
    let by_serial = birthmark(&["log", "show", log, "--serial", serial, "--json"], b"");
    assert_eq!(&lines(&by_serial)[0], record);
    assert_code(&birthmark(&["log", "show", log, "--index", "1"], b""), 1);
    assert_code(
        &birthmark(&["log", "show", log, "--serial", "00ff"], b""),
        1,
    );
    let verified = birthmark(&["log", "verify", log, "--json"], b"");
    assert_code(&verified, 0);
    assert_eq!(lines(&verified)[0]["records"], 1);
}

#[test]
fn requests_of_openssl_come_through_a_pipe() {
    let factory = Factory::new(Signer::P256);
    let key = factory.file("device.key", "");
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &key,
    ]);
    let subject = "/O=Acme/CN=device/serialNumber=SN-1";
    let made = openssl(&["req", "-new", "-key", &key, "-subj", subject]);
    let output = factory.issue(&["--data", "station=7", "-"], &made.stdout);
    assert_code(&output, 0);
    let result = &lines(&output)[0];
    assert_eq!(
        (&result["input"], &result["status"]),
        (&"-".into(), &"issued".into())
    );
    let certificate = factory.file("device.pem", result["certificate"].as_str().unwrap());
    let ca = |file: &str| factory.path("ca").join(file).to_str().unwrap().to_owned();
    let (root, issuing) = (ca("root/root-ca.pem"), ca("issuing-ca.pem"));
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
        &certificate,
    ]);
}
