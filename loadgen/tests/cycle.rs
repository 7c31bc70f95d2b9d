//! The `loadgen` command against a real engine with a software key.

#![allow(clippy::too_many_lines, reason = "a test tells its story in one piece")]
#![allow(clippy::unwrap_used)] // in a test an unwrap is an assertion

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use birthmark_hsm::{KeyAlgorithm, SoftwareKey};
use birthmark_log::Log;
use serde_json::Value;
use tempfile::TempDir;

/// Enough for a warm-up and five slices.
const COUNT: &str = "12000";

/// An issuing CA with a log in a folder of its own.
struct Station(TempDir);

impl Station {
    fn new() -> Station {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, algorithm) in [
            ("issuing-ca.key", KeyAlgorithm::EcP256),
            ("log.key", KeyAlgorithm::Ed25519),
        ] {
            SoftwareKey::generate(algorithm)
                .unwrap()
                .write_new(&path(name))
                .unwrap();
        }
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-sha256",
                "-days",
                "3650",
                "-subj",
                "/O=Acme/CN=Acme Issuing CA",
            ])
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
            .arg("-key")
            .arg(path("issuing-ca.key"))
            .arg("-out")
            .arg(path("issuing-ca.pem"))
            .output()
            .expect("this test needs the openssl command: install openssl");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        std::fs::write(path("idevid.toml"), birthmark_engine::profile::IDEVID_TOML).unwrap();
        let configuration = "\
            [issuer]\n\
            certificate = \"issuing-ca.pem\"\n\
            signer = \"software:issuing-ca.key\"\n\
            [log]\n\
            directory = \"log\"\n\
            origin = \"example.com/birthmark/test\"\n\
            key = \"log.key\"\n\
            [engine]\n\
            profiles = [\"idevid.toml\"]\n";
        std::fs::write(path("birthmark.toml"), configuration).unwrap();
        Log::create(&path("log")).unwrap();
        Station(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn corpus(&self, name: &str, more: &[&str]) -> PathBuf {
        let path = self.path(name);
        let output = loadgen(&["corpus", "--out", text(&path)], more);
        assert_eq!(code(&output), 0, "{}", said(&output));
        path
    }

    fn run(&self, corpus: &Path, more: &[&str]) -> Output {
        let config = self.path("birthmark.toml");
        let base = [
            "run",
            "--config",
            text(&config),
            "--profile",
            "idevid",
            "--corpus",
        ];
        loadgen(&[&base[..], &[text(corpus)]].concat(), more)
    }
}

fn loadgen(arguments: &[&str], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .args(more)
        .output()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

fn said(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn a_run_and_its_retry() {
    let station = Station::new();
    let devices = station.corpus("devices", &["--count", COUNT, "--seed", "77"]);
    let (first, second) = (station.path("first.sha256"), station.path("second.sha256"));

    let output = station.run(
        &devices,
        &[
            "--json",
            "--expect",
            "issued",
            "--digests",
            text(&first),
            "--limit-threads",
            "2",
        ],
    );
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(
        output.stderr.is_empty(),
        "no bar where there is no terminal: {}",
        said(&output)
    );
    let report = json(&output);
    assert_eq!(report["certificates"], 12_000);
    for none in [
        "existing",
        "rejected",
        "faults",
        "unfinished",
        "doubled",
        "unexpected",
    ] {
        assert_eq!(report[none], 0, "{none}: {report}");
    }
    assert_eq!(report["slices"], 5);
    assert_eq!(report["warm_up"], 600);
    assert_eq!(report["durable"], true);
    let number = |key: &str| {
        report[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {report}"))
    };
    let rate = number("certificates_per_second");
    assert!(rate > 0.0 && (number("certificates_per_hour") / rate - 3600.0).abs() < 0.01);
    assert!(
        (number("seconds") * rate - 11_400.0).abs() < 1.0,
        "{report}"
    );
    assert!(number("limit_per_second") > 0.0 && number("ratio_to_limit") > 0.0);
    let scalar = number("scalar_limit_per_second");
    assert!(scalar > 0.0 && number("ratio_to_scalar_limit") > 0.0);
    assert_eq!(number("lanes_disagreements"), 0.0);
    // Every certificate is checked on lanes, where there are any.
    match report["limit_has_lanes"].as_bool().unwrap() {
        true => assert!(number("lanes_filled") >= 12_000.0 && number("lane_occupancy") <= 1.0),
        false => assert_eq!(scalar, number("limit_per_second")),
    }
    assert!(number("syncs_per_second") > 0.0 && number("records_per_sync") > 0.0);
    assert!(number("peak_rss_bytes") > 1e6);
    let latency = |key: &str| report["latency_us"][key].as_f64().unwrap();
    let ordered = ["p50", "p90", "p99", "p999", "max"].map(latency);
    assert!(ordered[0] > 0.0 && ordered.is_sorted(), "{ordered:?}");
    assert_eq!(std::fs::metadata(&first).unwrap().len(), 32 * 12_000);

    // The devices try again with fresh signatures: the same certificates, byte for byte.
    let retry = station.corpus("retry", &["--resign", text(&devices)]);
    assert_ne!(
        std::fs::read(&retry).unwrap(),
        std::fs::read(&devices).unwrap()
    );
    let same = [
        "--expect",
        "existing",
        "--check-digests",
        text(&first),
        "--digests",
        text(&second),
    ];
    let output = station.run(&retry, &[&same[..], &["--json", "--no-limit"]].concat());
    assert_eq!(code(&output), 0, "{}", said(&output));
    let report = json(&output);
    assert_eq!(
        (&report["certificates"], &report["existing"]),
        (&12_000.into(), &12_000.into())
    );
    assert_eq!(report["limit_per_second"], Value::Null);
    assert_eq!(
        std::fs::read(&first).unwrap(),
        std::fs::read(&second).unwrap()
    );

    // What was expected differs, or the digests do: exit code 1.
    let output = station.run(&retry, &["--expect", "issued", "--no-limit", "--json"]);
    assert_eq!(
        (code(&output), &json(&output)["unexpected"]),
        (1, &12_000.into())
    );
    let mut digests = std::fs::read(&first).unwrap();
    digests[32 * 500] ^= 1;
    std::fs::write(&second, digests).unwrap();
    let output = station.run(&retry, &["--check-digests", text(&second), "--no-limit"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("request 500: "), "{}", said(&output));
}

#[test]
fn the_open_loop_reports_the_rate_it_offered() {
    let station = Station::new();
    let devices = station.corpus("devices", &["--count", "600"]);
    let output = station.run(
        &devices,
        &["--open", "--rate", "400", "--json", "--no-limit"],
    );
    assert_eq!(code(&output), 0, "{}", said(&output));
    let report = json(&output);
    assert_eq!(report["certificates"], 600);
    assert_eq!(
        (&report["offered_per_second"], &report["slices"]),
        (&400.0.into(), &1.into())
    );
    // 570 requests, one every 2.5 ms: never faster than that, however fast the engine is.
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds >= 569.0 * 0.0025, "{report}");
}

#[test]
fn the_limit_by_itself() {
    let station = Station::new();
    let config = station.path("birthmark.toml");
    let arguments = [
        "limit",
        "--config",
        text(&config),
        "--slices",
        "3",
        "--seconds",
        "0.1",
    ];
    let output = loadgen(&arguments, &["--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let report = json(&output);
    assert!(
        report["limit_per_second"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0),
        "{report}"
    );
    assert!(report["scalar_limit_per_second"].as_f64().unwrap() > 0.0);
    assert!(!report["verification"].as_str().unwrap().is_empty());
    assert_eq!(
        (&report["slices"], &report["request_algorithm"]),
        (&3.into(), &"p256".into())
    );
    let output = loadgen(&arguments, &[]);
    assert!(
        said(&output).starts_with("limit             "),
        "{}",
        said(&output)
    );
}

#[test]
fn what_cannot_work_says_so_in_one_line_and_with_its_exit_code() {
    let station = Station::new();
    let devices = station.corpus("devices", &["--count", "20"]);
    let config = station.path("birthmark.toml");
    let (config, devices, missing) = (text(&config), text(&devices), "/nowhere/at/all");
    let run = |config: &str, profile: &str, corpus: &str, more: &[&str]| {
        loadgen(
            &[
                "run",
                "--config",
                config,
                "--profile",
                profile,
                "--corpus",
                corpus,
            ],
            more,
        )
    };
    let cases: &[(i32, &str, Output)] = &[
        (2, "/nowhere/at/all", run(missing, "idevid", devices, &[])),
        (2, "/nowhere/at/all", run(config, "idevid", missing, &[])),
        (
            2,
            "is not a corpus file",
            run(config, "idevid", config, &[]),
        ),
        (
            2,
            "no profile is named \"nobody\"",
            run(config, "nobody", devices, &["--no-limit"]),
        ),
        (
            2,
            "holds 20 requests and 21",
            run(config, "idevid", devices, &["--count", "21"]),
        ),
        (
            2,
            "rate of 0 requests",
            run(config, "idevid", devices, &["--open", "--rate", "0"]),
        ),
        (
            2,
            "/nowhere/at/all",
            run(config, "idevid", devices, &["--check-digests", missing]),
        ),
        (
            2,
            "a corpus of 0 requests",
            loadgen(&["corpus", "--count", "0", "--out", "x"], &[]),
        ),
        (
            3,
            "cannot write",
            loadgen(&["corpus", "--count", "5", "--out", missing], &[]),
        ),
        (
            2,
            "of 0 seconds",
            loadgen(&["limit", "--config", config, "--seconds", "0"], &[]),
        ),
    ];
    for (wanted, words, output) in cases {
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(output), *wanted, "{words}: {error}");
        assert!(error.contains(words), "{words}: {error}");
        assert!(
            error.starts_with("loadgen: ") && error.lines().count() == 1,
            "{error}"
        );
        assert!(output.stdout.is_empty(), "{words}");
    }
    // clap's own errors.
    for arguments in [
        &["corpus", "--out", "x"][..],
        &["run"],
        &["run", "--open"],
        &["unheard-of"],
    ] {
        assert_eq!(code(&loadgen(arguments, &[])), 2, "{arguments:?}");
    }
    let help = said(&loadgen(&["run", "--help"], &[]));
    assert!(
        help.contains("Examples:") && help.contains("--check-digests"),
        "{help}"
    );
}
