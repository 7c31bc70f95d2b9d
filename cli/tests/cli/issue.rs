//! `birthmark issue`: every kind of input, every way to end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::support::{
    Factory, assert_code, birthmark, column, command, error_line, lines, openssl_verify, request,
    request_pem, text,
};
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::Corpus;

#[test]
fn every_kind_of_input_in_order() {
    let factory = Factory::new();
    let many = factory.file("many.pem", request_pem(1) + "text\n" + &request_pem(2));
    let single = factory.file("single.pem", request_pem(3));
    let der = factory.file("one.der", request(4));
    factory.file("directory/b.pem", request_pem(6));
    factory.file("directory/a.der", request(5));
    let directory = factory
        .path("directory")
        .into_os_string()
        .into_string()
        .unwrap();
    let corpus_path = factory.path("corpus");
    Corpus::make(&corpus_path, 3, KeyAlgorithm::EcP256, 99, &mut |_| {}).unwrap();
    let corpus = corpus_path.to_str().unwrap();

    let inputs = [many.as_str(), &single, &der, &directory, corpus, "-"];
    let output = factory.issue(&inputs, request_pem(7).as_bytes());
    assert_code(&output, 0);
    let expected = [
        format!("{many}#1"),
        format!("{many}#2"),
        single,
        der,
        format!("{directory}/a.der"),
        format!("{directory}/b.pem"),
        "corpus#0".to_owned(),
        "corpus#1".to_owned(),
        "corpus#2".to_owned(),
        "-".to_owned(),
    ];
    assert_eq!(column(&output, "input"), expected);
    assert!(
        column(&output, "status")
            .iter()
            .all(|status| status == "issued")
    );
    let mut indexes: Vec<_> = lines(&output)
        .iter()
        .map(|line| line["index"].as_u64().unwrap())
        .collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..10).collect::<Vec<_>>());
    assert_eq!(factory.records(), 10);
    for (number, certificate) in column(&output, "certificate").iter().enumerate() {
        let file = factory.file(&format!("issued-{number}.pem"), certificate);
        openssl_verify(&factory.path("ca"), file.as_ref());
    }
    // Keys in the documented order, nothing else.
    let first = text(&output.stdout).lines().next().unwrap().to_owned();
    let keys: Vec<_> = ["input", "status", "serial", "index", "certificate"]
        .map(|key| first.find(&format!("\"{key}\":")).unwrap())
        .to_vec();
    assert!(keys.is_sorted(), "{first}");
    assert_eq!(lines(&output)[0].as_object().unwrap().len(), 5);
}

#[test]
fn a_retry_gets_the_same_certificate() {
    let factory = Factory::new();
    let first = factory.issue(&["-"], request_pem(1).as_bytes());
    // The same device signs again: other bytes, the same request.
    let again = factory.issue(&["-"], request_pem(1).as_bytes());
    assert_code(&again, 0);
    assert_eq!(column(&first, "status"), ["issued"]);
    assert_eq!(column(&again, "status"), ["existing"]);
    for key in ["serial", "certificate"] {
        assert_eq!(column(&first, key), column(&again, key));
    }
    assert_eq!(factory.records(), 1);
    assert!(
        text(&again.stderr).contains("1 existing"),
        "{}",
        text(&again.stderr)
    );
}

#[test]
fn bad_items_spoil_only_themselves() {
    let factory = Factory::new();
    let good = request_pem(1);
    let cut = &request_pem(3)[..200];
    let mut altered = request(4);
    *altered.last_mut().unwrap() ^= 1;
    let bad = [
        ("empty", factory.file("empty", "")),
        ("malformed", factory.file("garbage", [0xa5; 5_000])),
        (
            "too-large",
            factory.file("huge.der", [&[0x30, 0x84][..], &[0; 10_000_000]].concat()),
        ),
        ("pem-truncated", factory.file("cut.pem", cut)),
        ("malformed", factory.file("short.der", &request(5)[..100])),
        (
            "malformed",
            factory.file("long.der", [request(5), vec![0]].concat()),
        ),
    ];
    let huge_pem = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        "A".repeat(10_000_000)
    );
    let huge_pem = factory.file("huge.pem", huge_pem + &request_pem(6));
    let altered = factory.file("altered.der", altered);
    let first = factory.file("first.pem", good);
    let last = factory.file("last.pem", request_pem(2));

    let mut inputs = vec![first.as_str()];
    inputs.extend(bad.iter().map(|(_, path)| path.as_str()));
    inputs.extend([huge_pem.as_str(), &altered, &last]);
    let output = factory.issue(&inputs, b"");
    assert_code(&output, 1);

    let mut expected = vec!["".to_owned()];
    expected.extend(bad.iter().map(|(reason, _)| (*reason).to_owned()));
    expected.extend(["too-large", ""].map(str::to_owned));
    let reasons = column(&output, "reason");
    assert_eq!(reasons[..9], expected);
    assert_eq!(reasons.len(), 11);
    assert_eq!(
        column(&output, "status")
            .iter()
            .filter(|status| *status == "issued")
            .count(),
        3
    );
    for line in lines(&output)
        .iter()
        .filter(|line| line["status"] == "rejected")
    {
        for key in ["reason", "rule", "action", "detail"] {
            assert!(
                line[key].as_str().is_some_and(|value| !value.is_empty()),
                "{line}"
            );
        }
        assert!(line.get("certificate").is_none());
    }
    assert_eq!(factory.records(), 3);
}

#[test]
fn data_of_the_line_is_recorded() {
    let factory = Factory::new();
    let output = factory.issue(
        &["--data", "station=7", "--data", "order=a=b", "-"],
        &request(1),
    );
    assert_code(&output, 0);
    let log = factory.path("ca/log");
    let shown = birthmark(
        &[
            "log",
            "show",
            "--json",
            "--index",
            "0",
            log.to_str().unwrap(),
        ],
        b"",
    );
    assert_code(&shown, 0);
    assert_eq!(
        lines(&shown)[0]["data"],
        serde_json::json!({"order": "a=b", "station": "7"})
    );
}

#[test]
fn nothing_is_issued_when_the_usage_is_wrong() {
    let factory = Factory::new();
    let good = factory.file("good.pem", request_pem(1));
    let missing = factory.issue(&[&good, "/nowhere/at/all.pem"], b"");
    assert_code(&missing, 2);
    assert!(error_line(&missing).contains("/nowhere/at/all.pem"));
    assert!(missing.stdout.is_empty());

    assert_code(&factory.issue(&["--data", "novalue", &good], b""), 2);
    assert_code(&factory.issue(&["-", "-"], b""), 2);
    assert_code(&factory.issue(&[], b""), 2);
    let twice = factory.issue(&["--data", "a=1", "--data", "a=2", &good], b"");
    assert_code(&twice, 2);
    assert!(error_line(&twice).contains("'a'"));
    let config = [
        "issue",
        "--config",
        "/nowhere.toml",
        "--profile",
        "idevid",
        &good,
    ];
    let no_config = birthmark(&config, b"");
    assert_code(&no_config, 2);
    assert!(error_line(&no_config).contains("/nowhere.toml"));

    let toml = factory.path("ca/birthmark.toml");
    let mut no_profile = factory.issue_arguments(&[&good]);
    no_profile[4] = "nonesuch".to_owned();
    let no_profile = birthmark(&no_profile, b"");
    assert_code(&no_profile, 2);
    assert!(error_line(&no_profile).contains("nonesuch"));

    // An unreadable profile, a signer that is another's key, a key that others can read.
    let sound = fs::read_to_string(&toml).unwrap();
    fs::write(
        &toml,
        sound.replace("profiles/idevid.toml", "profiles/none.toml"),
    )
    .unwrap();
    assert!(error_line(&coded(&factory, &good, 2)).contains("none.toml"));
    fs::write(
        &toml,
        sound.replace("software:issuing-ca.key", "software:root/root-ca.key"),
    )
    .unwrap();
    error_line(&coded(&factory, &good, 2));
    fs::write(&toml, &sound).unwrap();
    let key = factory.path("ca/issuing-ca.key");
    let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
    fs::set_permissions(&key, mode(0o644)).unwrap();
    assert!(error_line(&coded(&factory, &good, 2)).contains("issuing-ca.key"));
    fs::set_permissions(&key, mode(0o600)).unwrap();

    assert_eq!(factory.records(), 0);
    assert_code(&factory.issue(&[&good], b""), 0);
}

fn coded(factory: &Factory, input: &str, code: i32) -> std::process::Output {
    let output = factory.issue(&[input], b"");
    assert_code(&output, code);
    assert!(output.stdout.is_empty());
    output
}

#[test]
fn a_second_writer_is_refused() {
    let factory = Factory::new();
    let mut first = command()
        .args(factory.issue_arguments(&["-"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin
        .write_all((request_pem(1) + &request_pem(2)).as_bytes())
        .unwrap();
    // When its first result is there, it holds the log.
    let mut results = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    results.read_line(&mut line).unwrap();
    assert!(line.contains("\"-#1\""), "{line}");

    let second = factory.issue(&["-"], request_pem(3).as_bytes());
    assert_code(&second, 3);
    assert!(
        error_line(&second).contains("in use"),
        "{}",
        text(&second.stderr)
    );

    drop(stdin);
    assert!(first.wait().unwrap().success());
    assert_eq!(factory.records(), 2);
}

#[test]
fn an_interrupt_finishes_what_is_in_flight() {
    let factory = Factory::new();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = command()
            .args(factory.issue_arguments(&["-"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all((request_pem(1) + &request_pem(2)).as_bytes())
            .unwrap();
        let mut results = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        results.read_line(&mut line).unwrap();
        let killed = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        // Standard input stays open: only the signal ends it.
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let mut told = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        assert!(told.contains("interrupted"), "{told}");
        drop(stdin);
    }
    factory.records();
}

#[test]
fn a_closed_output_loses_nothing() {
    let factory = Factory::new();
    let corpus = factory.path("corpus");
    let count = 4_000;
    Corpus::make(&corpus, count, KeyAlgorithm::EcP256, 3, &mut |_| {}).unwrap();
    let mut child = command()
        .args(factory.issue_arguments(&[corpus.to_str().unwrap()]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    results.read_line(&mut line).unwrap();
    drop(results);
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 3);
    assert!(error_line(&output).contains("standard output"));
    let issued = factory.records();
    assert!(issued > 0 && issued <= count, "{issued}");

    // The same command again: everything gets its certificate, what was issued is not doubled.
    let again = factory.issue(&[corpus.to_str().unwrap()], b"");
    assert_code(&again, 0);
    let existing = column(&again, "status")
        .iter()
        .filter(|status| *status == "existing")
        .count();
    assert_eq!(existing as u64, issued);
    assert_eq!(factory.records(), count);
}

#[test]
fn quiet_and_json_summaries() {
    let factory = Factory::new();
    let quiet = factory.issue(&["--quiet", "-"], &request(1));
    assert_code(&quiet, 0);
    assert_eq!(text(&quiet.stderr), "");
    let json = factory.issue(&["--json", "-"], &request(1));
    let summary: serde_json::Value = serde_json::from_slice(&json.stderr).unwrap();
    assert_eq!(
        (&summary["issued"], &summary["existing"]),
        (&0.into(), &1.into())
    );
}
