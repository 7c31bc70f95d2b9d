//! What an auditor does with a published log: key, checkpoint, receipts, consistency.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use birthmark_log::tlog::{Checkpoint, Receipt, VerifierKey};

use crate::support::{
    Factory, assert_code, birthmark, column, command, copy, error_line, lines, request_pem, text,
};

/// Records of the log in most of these tests: two full tiles and a partial one.
const RECORDS: u64 = 530;

/// A log in a directory, its key in a file, and the certificates that were handed out.
struct Logged {
    factory: Factory,
    log: String,
    vkey: String,
    certificates: Vec<String>,
}

impl Logged {
    fn new(records: u64) -> Logged {
        let factory = Factory::new();
        let requests: String = (0..records).map(request_pem).collect();
        let issued = factory.issue(&["-"], requests.as_bytes());
        assert_code(&issued, 0);
        let log = factory.path("ca/log").to_str().unwrap().to_owned();
        let vkey = birthmark(&["log", "vkey", &log], b"");
        assert_code(&vkey, 0);
        let vkey = factory.file("log.vkey", vkey.stdout);
        Logged {
            factory,
            log,
            vkey,
            certificates: column(&issued, "certificate"),
        }
    }

    /// The log's newest checkpoint, in a file of this name.
    fn checkpoint(&self, name: &str) -> String {
        let printed = birthmark(&["log", "checkpoint", &self.log], b"");
        assert_code(&printed, 0);
        self.factory.file(name, printed.stdout)
    }

    fn issue(&self, numbers: std::ops::Range<u64>) {
        let requests: String = numbers.map(request_pem).collect();
        assert_code(&self.factory.issue(&["-"], requests.as_bytes()), 0);
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.factory.file(name, content)
    }

    fn consistency(&self, old: &str, new: &str) -> std::process::Output {
        birthmark(&["log", "consistency", &self.log, old, new], b"")
    }

    /// A receipt that `log proof` writes to standard output.
    fn receipt(&self, arguments: &[&str]) -> String {
        let proof = birthmark(&[&["log", "proof", &self.log], arguments].concat(), b"");
        assert_code(&proof, 0);
        String::from_utf8(proof.stdout).unwrap()
    }

    fn verify_proof(&self, receipt: &str, certificate: &str) -> std::process::Output {
        let vkey = &self.vkey;
        birthmark(
            &["log", "verify-proof", receipt, certificate, "--vkey", vkey],
            b"",
        )
    }
}

fn der(pem: &str) -> Vec<u8> {
    der::pem::decode_vec(pem.as_bytes()).unwrap().1
}

#[test]
fn key_and_checkpoint() {
    let logged = Logged::new(3);
    let key: VerifierKey = fs::read_to_string(&logged.vkey)
        .unwrap()
        .trim_end()
        .parse()
        .unwrap();
    let json = &lines(&birthmark(&["log", "vkey", &logged.log, "--json"], b""))[0];
    assert_eq!(json["vkey"], key.to_string());
    assert_eq!(json["origin"], key.name());

    let note = fs::read(logged.checkpoint("now")).unwrap();
    assert_eq!(
        note,
        fs::read(logged.factory.path("ca/log/public/checkpoint")).unwrap()
    );
    let checkpoint = Checkpoint::from_note(&note, &key).unwrap();
    assert_eq!(checkpoint.size, 3);
    // The CA's directory does as well.
    let ca = logged.factory.path("ca");
    let arguments = ["log", "checkpoint", ca.to_str().unwrap(), "--json"];
    let json = &lines(&birthmark(&arguments, b""))[0];
    assert_eq!(json["size"], 3);
    assert_eq!(json["root"], checkpoint.root.to_string());
    assert_eq!(json["note"].as_str().unwrap().as_bytes(), note);
    assert_eq!(json["signatures"][0]["name"], key.name());

    // Not signed by the key beside it any more.
    let path = logged.factory.path("ca/log/public/checkpoint");
    let text = String::from_utf8(note).unwrap();
    fs::write(&path, text.replacen("\n3\n", "\n2\n", 1)).unwrap();
    let refused = birthmark(&["log", "checkpoint", &logged.log], b"");
    assert_code(&refused, 1);
    assert_eq!(refused.stdout, b"");
    assert!(error_line(&refused).contains("do not trust it"));
}

#[test]
fn a_log_that_was_never_opened_says_so() {
    let factory = Factory::new();
    let log = factory.path("ca/log").to_str().unwrap().to_owned();
    for arguments in [
        &["log", "vkey", &log][..],
        &["log", "checkpoint", &log],
        &["log", "proof", &log, "--index", "0"],
        &["log", "proof", &log, "--serial", "ab"],
    ] {
        let refused = birthmark(arguments, b"");
        assert_code(&refused, 1);
        let said = text(&refused.stderr);
        assert!(
            said.contains("published") || said.contains("no record") || said.contains("holds 0"),
            "{said}"
        );
    }
    for command in ["vkey", "checkpoint"] {
        assert_code(&birthmark(&["log", command, "/nowhere"], b""), 2);
    }
    assert_code(&birthmark(&["log", "proof", &log], b""), 2);
    assert_code(
        &birthmark(
            &["log", "proof", &log, "--index", "0", "--serial", "ab"],
            b"",
        ),
        2,
    );
}

#[test]
fn receipts_prove_certificates_without_the_log() {
    let logged = Logged::new(RECORDS);
    let shown = birthmark(&["log", "show", &logged.log, "--limit", "0", "--json"], b"");
    let serials = column(&shown, "serial");
    for index in [0, 255, 256, 511, 512, RECORDS - 1] {
        let (at, number) = (index as usize, index.to_string());
        let receipt = logged.receipt(&["--index", &number]);
        let certificate = &lines(&shown)[at]["certificate"];
        let certificate = certificate.as_str().unwrap();
        assert!(logged.certificates.iter().any(|given| given == certificate));
        let pem = logged.file("device.pem", format!("Some text above\n{certificate}"));
        let der = logged.file("device.der", der(certificate));
        assert_eq!(logged.receipt(&["--serial", &serials[at]]), receipt);
        assert_eq!(logged.receipt(&["--cert", &pem]), receipt);
        assert_eq!(logged.receipt(&["--cert", &der]), receipt);
        let out = logged.file("device.tlog-proof", "an older one");
        assert_eq!(logged.receipt(&["--index", &number, "--out", &out]), "");
        assert_eq!(fs::read_to_string(&out).unwrap(), receipt);

        for file in [&pem, &der] {
            let proven = logged.verify_proof(&out, file);
            assert_code(&proven, 0);
            let said = text(&proven.stdout);
            for word in ["proven", "idevid", &serials[at], "birthmark.invalid/"] {
                assert!(said.contains(word), "{word} is missing: {said}");
            }
        }
        let key = fs::read_to_string(&logged.vkey).unwrap();
        let key = key.trim_end();
        let arguments = ["log", "verify-proof", &out, &pem, "--vkey", key, "--json"];
        let json = &lines(&birthmark(&arguments, b""))[0];
        assert_eq!(json["proven"], true);
        assert_eq!(json["index"], index);
        assert_eq!(json["size"], RECORDS);
        assert_eq!(json["time"], lines(&shown)[at]["time"]);
        assert_eq!(json["identity"], lines(&shown)[at]["identity"]);
    }
}

#[test]
fn what_a_receipt_does_not_prove_is_refused() {
    let logged = Logged::new(300);
    let other = Logged::new(1);
    let pem = logged.file("device.pem", &logged.certificates[7]);
    let neighbor = logged.file("neighbor.pem", &logged.certificates[8]);
    let receipt = logged.receipt(&["--cert", &pem]);
    let file = logged.file("device.tlog-proof", &receipt);
    assert_code(&logged.verify_proof(&file, &pem), 0);

    let refused = |output: std::process::Output, words: &str| {
        assert_code(&output, 1);
        assert_eq!(output.stdout, b"");
        let line = error_line(&output);
        assert!(
            line.contains("not proven") && line.contains(words),
            "{line}"
        );
    };
    refused(logged.verify_proof(&file, &neighbor), "");
    // The certificate, one bit changed in its signature.
    let mut forged = der(&logged.certificates[7]);
    *forged.last_mut().unwrap() ^= 1;
    let forged = logged.file("forged.der", forged);
    refused(logged.verify_proof(&file, &forged), "does not belong");
    // Bytes after it.
    let mut longer = der(&logged.certificates[7]);
    longer.push(0);
    let longer = logged.file("longer.der", longer);
    refused(
        logged.verify_proof(&file, &longer),
        "not of this certificate",
    );
    // Another log's key, of another name and of the same.
    refused(other.verify_proof(&file, &pem), "no signature of");
    let name = fs::read_to_string(&logged.vkey).unwrap();
    let public = fs::read_to_string(&other.vkey).unwrap();
    let public: VerifierKey = public.trim_end().parse().unwrap();
    let stranger = VerifierKey::ed25519(name.split('+').next().unwrap(), *public.public_key());
    let stranger = stranger.unwrap().to_string();
    let arguments = ["log", "verify-proof", &file, &pem, "--vkey", &stranger];
    refused(birthmark(&arguments, b""), "no signature of");
    // Made of another record's fields.
    let mut swapped = Receipt::parse(receipt.as_bytes()).unwrap();
    let elsewhere = logged.receipt(&["--cert", &neighbor]);
    swapped.extra = Receipt::parse(elsewhere.as_bytes()).unwrap().extra;
    let swapped = logged.file("swapped", swapped.encode());
    refused(logged.verify_proof(&swapped, &pem), "");
    let bare = logged.receipt(&["--cert", &pem, "--bare"]);
    assert!(!bare.contains("extra"));
    let bare = logged.file("bare", bare);
    refused(logged.verify_proof(&bare, &pem), "--bare");

    // A bit of any part of it.
    let mut checked = 0;
    for at in (0..receipt.len()).step_by(23).chain([receipt.len() - 2]) {
        let mut flipped = receipt.clone().into_bytes();
        flipped[at] ^= 1 << (at % 7);
        let flipped = logged.file("flipped", flipped);
        let output = logged.verify_proof(&flipped, &pem);
        assert_eq!(output.status.code(), Some(1), "byte {at} was overlooked");
        checked += 1;
    }
    assert!(checked > 40, "{checked}");

    // What cannot be used at all.
    let nowhere = "/nowhere/at/all";
    for (receipt, certificate, vkey) in [
        (nowhere, &*pem, &*logged.vkey),
        (&file, nowhere, &logged.vkey),
        (&file, &pem, nowhere),
        (&file, &pem, "example.com+1234+abcd"),
        (&file, &file, &logged.vkey),
        (&file, &pem, &pem),
    ] {
        let arguments = ["log", "verify-proof", receipt, certificate, "--vkey", vkey];
        assert_code(&birthmark(&arguments, b""), 2);
    }
}

#[test]
fn records_that_are_not_there_or_not_published() {
    let logged = Logged::new(5);
    let foreign = Logged::new(1);
    let foreign = logged.file("foreign.pem", &foreign.certificates[0]);
    for arguments in [
        &["--index", "5"][..],
        &["--serial", "abcd"],
        &["--cert", &foreign],
    ] {
        let missing = birthmark(&[&["log", "proof", &logged.log], arguments].concat(), b"");
        assert_code(&missing, 1);
        assert_eq!(missing.stdout, b"");
    }
    // The same certificate but for its signature is another one.
    let mut forged = der(&logged.certificates[2]);
    *forged.last_mut().unwrap() ^= 1;
    let forged = logged.file("forged.der", forged);
    let missing = birthmark(&["log", "proof", &logged.log, "--cert", &forged], b"");
    assert_code(&missing, 1);

    // Durable in the segments, and in no checkpoint.
    let unpublished = logged.factory.path("unpublished");
    copy(logged.log.as_ref(), &unpublished);
    fs::remove_dir_all(unpublished.join("public")).unwrap();
    let unpublished = unpublished.to_str().unwrap();
    let early = birthmark(&["log", "proof", unpublished, "--index", "2"], b"");
    assert_code(&early, 1);
    let line = error_line(&early);
    assert!(line.contains("published about once a second"), "{line}");

    // A tile that does not lead to the checkpoint makes no receipt.
    let tile = logged.factory.path("ca/log/public/tile/0/000.p/5");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[3 * 32] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let damaged = birthmark(&["log", "proof", &logged.log, "--index", "2"], b"");
    assert_code(&damaged, 3);
    assert_eq!(damaged.stdout, b"");
    assert!(error_line(&damaged).contains("log verify"));
    let damaged = birthmark(&["log", "consistency", &logged.log, "2", "4"], b"");
    assert_code(&damaged, 3);
}

#[test]
fn receipts_beside_a_running_writer() {
    let logged = Logged::new(2);
    let mut writer = command()
        .args(logged.factory.issue_arguments(&["-"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut requests = writer.stdin.take().unwrap();
    // The second block lets the first one go.
    requests.write_all(request_pem(2).as_bytes()).unwrap();
    requests.write_all(request_pem(3).as_bytes()).unwrap();
    requests.write_all(request_pem(4).as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(writer.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let issued: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(issued["status"], "issued");
    let pem = logged.file("device.pem", issued["certificate"].as_str().unwrap());
    let out = logged.file("receipt", "");
    // It comes; until then the reason is the one that passes by itself.
    loop {
        let proof = birthmark(
            &["log", "proof", &logged.log, "--cert", &pem, "--out", &out],
            b"",
        );
        if proof.status.success() {
            break;
        }
        assert_code(&proof, 1);
        assert!(error_line(&proof).contains("try again"));
    }
    assert_code(&logged.verify_proof(&out, &pem), 0);
    assert_code(
        &birthmark(&["log", "verify", &logged.log, "--signatures"], b""),
        0,
    );
    drop(requests);
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_log_continues_its_past() {
    let logged = Logged::new(200);
    let first = logged.checkpoint("first");
    logged.issue(200..RECORDS);
    let second = logged.checkpoint("second");
    let run = |old: &str, new: &str| logged.consistency(old, new);

    let consistent = run(&first, &second);
    assert_code(&consistent, 0);
    let said = text(&consistent.stdout);
    assert!(
        said.starts_with("consistent") && said.contains("proof"),
        "{said}"
    );
    let arguments = ["log", "consistency", &logged.log, &first, &second, "--json"];
    let json = &lines(&birthmark(&arguments, b""))[0];
    assert_eq!(json["consistent"], true);
    assert_eq!(
        (&json["old"]["size"], &json["new"]["size"]),
        (&200.into(), &RECORDS.into())
    );
    // Others check the proof with nothing but the two checkpoints.
    let hash = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
    let proof: Vec<_> = json["proof"].as_array().unwrap().iter().map(hash).collect();
    birthmark_log::tlog::verify_consistency(
        200,
        hash(&json["old"]["root"]),
        RECORDS,
        hash(&json["new"]["root"]),
        &proof,
    )
    .unwrap();
    // Any two sizes, those without a checkpoint of their own included.
    for (old, new) in [
        ("0", "1"),
        ("1", "2"),
        ("255", "257"),
        ("300", "511"),
        ("0", "0"),
    ] {
        assert_code(&run(old, new), 0);
    }
    assert_code(&run(&first, &RECORDS.to_string()), 0);
    assert_code(&run(&second, &second), 0);

    // In the wrong order; beyond the end; not there.
    let swapped = run(&second, &first);
    assert_code(&swapped, 2);
    assert!(error_line(&swapped).contains("older one first"));
    assert_code(&run("1", &(RECORDS + 1).to_string()), 1);
    assert_code(&run("/nowhere", "1"), 2);
}

#[test]
fn a_fork_and_a_forgery_are_found_out() {
    let logged = Logged::new(200);
    let first = logged.checkpoint("first");
    let ca = logged.factory.path("ca");
    // The same CA twice: what a restored backup would be.
    let fork = logged.factory.path("fork");
    copy(&ca, &fork);
    logged.issue(200..RECORDS);
    let second = logged.checkpoint("second");
    let run = |old: &str, new: &str| logged.consistency(old, new);
    // The fork goes on differently.
    let config = fork.join("birthmark.toml");
    let config = config.to_str().unwrap();
    let fork_log = fork.join("log").to_str().unwrap().to_owned();
    for (numbers, name) in [
        (1_000..1_100, "shorter"),
        (1_100..1_330, "as-long"),
        (1_330..1_400, "longer"),
    ] {
        let requests: String = numbers.map(request_pem).collect();
        let arguments = ["issue", "--config", config, "--profile", "idevid", "-"];
        assert_code(&birthmark(&arguments, requests.as_bytes()), 0);
        let printed = birthmark(&["log", "checkpoint", &fork_log], b"");
        let name = logged.file(name, printed.stdout);
        let forked = match name.ends_with("longer") {
            true => run(&second, &name),
            false => run(&name, &second),
        };
        assert_code(&forked, 1);
        assert_eq!(forked.stdout, b"");
        let line = error_line(&forked);
        assert!(
            line.contains("NOT CONSISTENT") && line.contains("evidence"),
            "{line}"
        );
        // Within the fork all is well.
        assert_code(
            &birthmark(&["log", "consistency", &fork_log, &first, &name], b""),
            0,
        );
    }

    // Changed, and of another log.
    let text = fs::read_to_string(&first).unwrap();
    let changed = logged.file("changed", text.replacen("\n200\n", "\n199\n", 1));
    assert_code(&run(&changed, &second), 1);
    let other = Logged::new(1);
    assert_code(&run(&other.checkpoint("other"), &second), 1);
    let arguments = [
        "log",
        "consistency",
        &logged.log,
        "1",
        "2",
        "--vkey",
        &other.vkey,
    ];
    assert_code(&birthmark(&arguments, b""), 1);
}
