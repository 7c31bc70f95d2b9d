//! `log verify --signatures` and `log export`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, mpsc};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use birthmark_engine::record::Record;
use birthmark_log::tlog::{CheckpointSigner, SignError, VerifierKey};
use birthmark_log::{
    Append, Commit, CommitSink, Committed, ExtractError, Log, LogReader, Options, RecordKeys,
    Reservation,
};

use crate::support::{
    Factory, assert_code, birthmark, column, command, copy, error_line, lines, request_pem, text,
};

fn issued(records: u64) -> (Factory, String) {
    let factory = Factory::new();
    let requests: String = (0..records).map(request_pem).collect();
    assert_code(&factory.issue(&["-"], requests.as_bytes()), 0);
    let log = factory.path("ca/log").to_str().unwrap().to_owned();
    (factory, log)
}

#[test]
fn every_signature_is_verified() {
    let (factory, log) = issued(300);
    let issuer = factory.path("ca/issuing-ca.pem");
    let issuer = issuer.to_str().unwrap();
    for arguments in [
        &["--signatures"][..],
        &["--signatures", "--threads", "1"],
        &["--signatures", "--issuer", issuer],
        &["--threads", "3"],
    ] {
        let verified = birthmark(&[&["log", "verify", &log], arguments].concat(), b"");
        assert_code(&verified, 0);
        let certificates = text(&verified.stdout).contains("all verified, with issuer");
        assert_eq!(certificates, arguments[0] == "--signatures");
    }
    let json = &lines(&birthmark(
        &["log", "verify", &log, "--signatures", "--json"],
        b"",
    ))[0];
    assert_eq!(
        (&json["signatures"], &json["records"]),
        (&true.into(), &300.into())
    );
    assert_eq!(json["issuers"].as_array().unwrap().len(), 1);

    // Another CA's certificate does not do; both together do.
    let other = Factory::new();
    let stranger = other.path("ca/issuing-ca.pem");
    let stranger = stranger.to_str().unwrap();
    let refused = birthmark(
        &["log", "verify", &log, "--signatures", "--issuer", stranger],
        b"",
    );
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("name the certificate of that issuer"));
    let both = [
        "log",
        "verify",
        &log,
        "--signatures",
        "--issuer",
        stranger,
        "--issuer",
        issuer,
    ];
    assert_code(&birthmark(&both, b""), 0);
}

#[test]
fn a_copy_is_verified_with_what_the_auditor_brings() {
    let (factory, log) = issued(30);
    let issuer = factory.path("ca/issuing-ca.pem");
    let issuer = issuer.to_str().unwrap();
    // Elsewhere there is no configuration; a copy of what is published is enough.
    let elsewhere = factory.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    copy(&factory.path("ca/log/public"), &elsewhere.join("public"));
    let elsewhere = elsewhere.to_str().unwrap();
    let alone = birthmark(&["log", "verify", elsewhere, "--signatures"], b"");
    assert_code(&alone, 2);
    assert!(error_line(&alone).contains("--issuer"));
    let arguments = [
        "log",
        "verify",
        elsewhere,
        "--signatures",
        "--issuer",
        issuer,
    ];
    assert_code(&birthmark(&arguments, b""), 0);

    // The key that the auditor trusts, not the one beside the log.
    let vkey = birthmark(&["log", "vkey", &log], b"");
    let vkey = text(&vkey.stdout);
    let vkey = vkey.trim_end();
    assert_code(
        &birthmark(&["log", "verify", elsewhere, "--vkey", vkey], b""),
        0,
    );
    // A copy without the key: whoever asks brings it.
    for arguments in [
        &["log", "vkey", elsewhere][..],
        &["log", "checkpoint", elsewhere],
        &["log", "proof", elsewhere, "--index", "3"],
    ] {
        let keyless = birthmark(arguments, b"");
        assert_code(&keyless, 2);
        assert!(error_line(&keyless).contains("--vkey"));
    }
    for arguments in [
        &["log", "checkpoint", elsewhere][..],
        &["log", "proof", elsewhere, "--index", "3"],
    ] {
        let given = birthmark(&[arguments, &["--vkey", vkey]].concat(), b"");
        assert_code(&given, 0);
    }
    let (stranger, stranger_log) = issued(1);
    let key = stranger.file(
        "vkey",
        birthmark(&["log", "vkey", &stranger_log], b"").stdout,
    );
    let refused = birthmark(&["log", "verify", elsewhere, "--vkey", &key], b"");
    assert_code(&refused, 3);
    assert!(error_line(&refused).contains("no signature of"));
    assert_code(
        &birthmark(&["log", "verify", &log, "--vkey", "nonsense"], b""),
        2,
    );
}

#[test]
fn an_intact_log_with_an_unsound_certificate_is_found_out() {
    let (factory, log) = issued(40);
    let records: Vec<Vec<u8>> = LogReader::open(log.as_ref())
        .unwrap()
        .iter()
        .map(|entry| entry.unwrap().1)
        .collect();
    let issuer = factory.path("ca/issuing-ca.pem");
    let issuer = issuer.to_str().unwrap();
    let fingerprint = |record: &[u8]| {
        let Ok(Record::Issued(issued)) = Record::decode(record) else {
            panic!("not issued")
        };
        let fingerprint = issued.key_fingerprint;
        record
            .windows(fingerprint.len())
            .position(|window| window == fingerprint)
            .unwrap()
    };
    let inside = records[17].len() - 300;
    let table: [(&str, usize, &str); 3] = [
        ("signature", records[17].len() - 1, "does not verify"),
        ("contents", inside, "record 17"),
        ("fingerprint", fingerprint(&records[17]), "fingerprint"),
    ];
    for (name, at, words) in table {
        let mut forged = records.clone();
        forged[17][at] ^= 1;
        let dir = factory.path(name);
        write_log(&dir, &forged);
        let dir = dir.to_str().unwrap();
        // Hashes, tree and checkpoint are all in order.
        assert_code(&birthmark(&["log", "verify", dir], b""), 0);
        let arguments = ["log", "verify", dir, "--signatures", "--issuer", issuer];
        let unsound = birthmark(&arguments, b"");
        assert_code(&unsound, 3);
        let line = error_line(&unsound);
        assert!(line.contains("record 17") && line.contains(words), "{line}");
    }
}

#[test]
fn exports() {
    let (_factory, log) = issued(300);
    let shown = birthmark(&["log", "show", &log, "--limit", "0", "--json"], b"");
    let export = |arguments: &[&str]| {
        let output = birthmark(&[&["log", "export", &log], arguments].concat(), b"");
        assert_code(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    };

    let ndjson = export(&["--ndjson"]);
    assert_eq!(ndjson.as_bytes(), shown.stdout);
    let pem = export(&["--pem"]);
    assert_eq!(pem, column(&shown, "certificate").concat());
    let csv = export(&["--csv"]);
    assert!(csv.ends_with("\r\n") && !csv.replace("\r\n", "").contains('\n'));
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 301);
    assert!(rows.iter().all(|row| row.len() == 14));
    assert_eq!(rows[0][..5], ["index", "time", "kind", "serial", "profile"]);
    for (row, record) in rows[1..].iter().zip(lines(&shown)) {
        assert_eq!(row[0], record["index"].to_string());
        assert_eq!(row[2], "issued");
        for (at, key) in [
            (1, "time"),
            (3, "serial"),
            (7, "identity"),
            (9, "key_fingerprint"),
        ] {
            assert_eq!(row[at], record[key].as_str().unwrap());
        }
    }

    assert_eq!(export(&["--csv", "--profile", "idevid"]), csv);
    let header = csv.split_inclusive("\r\n").next().unwrap();
    for none in [
        &["--profile", "tls-client"][..],
        &["--lot", "4711"],
        &["--since", "2999-01-01"],
    ] {
        assert_eq!(export(&[&["--csv"], none].concat()), header);
        assert_eq!(export(&[&["--pem"], none].concat()), "");
    }
    // From the time of a record on: that one, those of the same millisecond, and all after it.
    let times = column(&shown, "time");
    for at in [0, 1, 150, 299] {
        let since = export(&["--ndjson", "--since", &times[at]]);
        let expected = times.iter().filter(|time| **time >= times[at]).count();
        assert_eq!(since.lines().count(), expected, "since {}", times[at]);
        assert!(ndjson.ends_with(&since));
    }
    assert_eq!(export(&["--ndjson", "--since", "1999-12-31"]), ndjson);

    assert_code(&birthmark(&["log", "export", &log], b""), 2);
    assert_code(
        &birthmark(&["log", "export", &log, "--csv", "--pem"], b""),
        2,
    );
    assert_code(
        &birthmark(&["log", "export", &log, "--csv", "--since", "noon"], b""),
        2,
    );
    assert_code(&birthmark(&["log", "export", "/nowhere", "--csv"], b""), 2);
}

#[test]
fn exports_to_files_and_pipes() {
    let (factory, log) = issued(300);
    let whole = birthmark(&["log", "export", &log, "--ndjson"], b"").stdout;
    let out = factory.file("records.ndjson", "an older export");
    let exported = birthmark(&["log", "export", &log, "--ndjson", "--out", &out], b"");
    assert_code(&exported, 0);
    assert_eq!(exported.stdout, b"");
    assert_eq!(fs::read(&out).unwrap(), whole);

    // A full disk, a folder that is not there: an error, and no half file.
    let full = birthmark(
        &["log", "export", &log, "--ndjson", "--out", "/dev/full"],
        b"",
    );
    assert_code(&full, 3);
    assert!(error_line(&full).contains("/dev/full"));
    let nowhere = factory.path("nowhere/records.csv");
    let nowhere = nowhere.to_str().unwrap();
    assert_code(
        &birthmark(&["log", "export", &log, "--csv", "--out", nowhere], b""),
        3,
    );
    assert!(!Path::new(nowhere).exists());

    // Damage in the middle: the old file stays, and nothing lies beside it.
    let bundle = factory.path("ca/log/public/tile/entries/001.p/44");
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let before = fs::read_dir(factory.path("")).unwrap().count();
    let damaged = birthmark(&["log", "export", &log, "--pem", "--out", &out], b"");
    assert_code(&damaged, 3);
    assert!(error_line(&damaged).contains("tile/entries/001.p/44"));
    assert_eq!(fs::read(&out).unwrap(), whole);
    assert_eq!(fs::read_dir(factory.path("")).unwrap().count(), before);

    // Whoever reads has seen enough.
    let mut child = command()
        .args(["log", "export", &log, "--ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!(text(&output.stderr), "");
}

struct Answers(mpsc::Sender<Commit>);

impl CommitSink for Answers {
    fn committed(&self, commits: &mut Vec<Commit>) {
        commits
            .drain(..)
            .for_each(|commit| self.0.send(commit).unwrap());
    }
}

struct Signer(Ed25519KeyPair, VerifierKey);

impl CheckpointSigner for Signer {
    fn verifier_key(&self) -> &VerifierKey {
        &self.1
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError> {
        self.0
            .sign(text)
            .as_ref()
            .try_into()
            .map_err(SignError::failed)
    }
}

/// A new log with these records and a key of its own: what somebody could make who has the log's
/// key but not the CA's.
fn write_log(dir: &Path, records: &[Vec<u8>]) {
    Log::create(dir).unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let signer = Signer(
        pair,
        VerifierKey::ed25519("example.com/forged", public).unwrap(),
    );
    let keys = |_: &[u8]| Ok::<RecordKeys, ExtractError>(RecordKeys::default());
    let (sender, answers) = mpsc::channel();
    let log = Log::open(
        dir,
        Options::default(),
        Arc::new(keys),
        Arc::new(signer),
        Arc::new(Answers(sender)),
    )
    .unwrap();
    for (ticket, record) in (0..).zip(records) {
        let lost_record = vec![0x84, 2, 1, 0x1B, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let record_bytes_max = record.len() as u32;
        log.reserve(vec![Reservation {
            ticket,
            lost_record,
            record_bytes_max,
        }]);
        let Ok(Committed::Reserved(reservation)) = answers.recv().unwrap().outcome else {
            panic!("not reserved")
        };
        let record = record.clone();
        log.append(vec![Append {
            ticket,
            reservation,
            record,
        }]);
        assert!(matches!(
            answers.recv().unwrap().outcome,
            Ok(Committed::Appended(_))
        ));
    }
    log.close().unwrap();
}
