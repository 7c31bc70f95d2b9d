//! `log archive`, and a station whose archive is away.

use std::fs;
use std::process::Output;
use std::thread;

use crate::support::{
    Factory, assert_code, birthmark, column, error_line, lines, request_pem, text,
};

/// More than a closed log keeps out of the index on the disk (65,536): a start needs no old record then.
const DEVICES: u64 = 66_000;

fn issue(factory: &Factory, requests: &str) -> Output {
    birthmark(&factory.issue_arguments(&["-"]), requests.as_bytes())
}

fn log(factory: &Factory, command: &str, arguments: &[&str]) -> Output {
    let path = |argument: &&str| match argument.strip_prefix('@') {
        Some(path) => factory.path(path).to_str().unwrap().to_owned(),
        None => (*argument).to_owned(),
    };
    let begin = ["log".to_owned(), command.to_owned()].into_iter();
    let arguments: Vec<String> = begin.chain(arguments.iter().map(path)).collect();
    birthmark(&arguments, b"")
}

fn many_requests() -> String {
    let half =
        |range: std::ops::Range<u64>| thread::spawn(move || range.map(request_pem).collect());
    let halves: [thread::JoinHandle<String>; 2] =
        [half(0..DEVICES / 2), half(DEVICES / 2..DEVICES)];
    halves.map(|half| half.join().unwrap()).concat()
}

#[test]
fn a_station_issues_on_while_its_archive_is_away() {
    let factory = Factory::new();
    let issued = issue(&factory, &many_requests());
    assert_code(&issued, 0);
    let first = &lines(&issued)[0];
    // Within one run the order in the log is open, but not by so many records.
    assert!(first["index"].as_u64().unwrap() < 64_768, "{first}");

    let archive = ["@ca", "@old", "--keep", "1000", "--json"];
    let planned = log(
        &factory,
        "archive",
        &[&archive[..], &["--dry-run"]].concat(),
    );
    assert_code(&planned, 0);
    assert_eq!(lines(&planned)[0]["records_moved"], 64_768);
    assert!(!factory.path("old").exists());
    let archived = log(&factory, "archive", &archive);
    assert_code(&archived, 0);
    let report = &lines(&archived)[0];
    let numbers = ["records_moved", "records_kept", "records_held_back"].map(|key| &report[key]);
    assert_eq!(numbers, [64_768, 1_232, 0]);
    assert!(!factory.path("ca/log/public/tile/entries/000").exists());
    assert!(factory.path("old/tile/entries/000").exists());

    let again = issue(&factory, &[0, DEVICES].map(request_pem).concat());
    assert_code(&again, 0);
    assert_eq!(column(&again, "status"), ["existing", "issued"]);
    assert_eq!(lines(&again)[0]["certificate"], first["certificate"]);
    let verified = log(&factory, "verify", &["@ca", "--json", "--signatures"]);
    assert_code(&verified, 0);
    assert_eq!(lines(&verified)[0]["records_not_seen"], 0);
    assert_eq!(lines(&verified)[0]["index_compared"], true);

    fs::rename(factory.path("old"), factory.path("away")).unwrap();
    away(&factory);

    fs::rename(factory.path("away"), factory.path("old")).unwrap();
    let back = issue(&factory, &request_pem(0));
    assert_code(&back, 0);
    assert_eq!(lines(&back)[0]["certificate"], first["certificate"]);
    assert_code(&log(&factory, "backup", &["@ca", "@backup"]), 0);
    fs::remove_dir_all(factory.path("old")).unwrap();
    let backup = log(&factory, "verify", &["@backup", "--json"]);
    assert_code(&backup, 0);
    assert_eq!(lines(&backup)[0]["records_not_seen"], 0);
    assert_eq!(lines(&backup)[0]["records"], DEVICES + 2);
}

/// New devices are served, old ones told; nobody is told of damage, and nothing is thrown away.
fn away(factory: &Factory) {
    let mixed = issue(factory, &[0, DEVICES + 1].map(request_pem).concat());
    assert_code(&mixed, 3);
    assert_eq!(column(&mixed, "status"), ["fault", "issued"]);
    let told = &lines(&mixed)[0];
    assert_eq!(
        (&told["reason"], &told["number"]),
        (&"archived".into(), &908.into())
    );
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("mount the archive, then retry"), "{detail}");

    let verified = log(factory, "verify", &["@ca"]);
    assert_code(&verified, 0);
    let report = text(&verified.stdout);
    assert!(report.contains("NOT SEEN      64,768 records"), "{report}");
    assert!(report.contains("not compared with the records"), "{report}");
    let verified = log(factory, "verify", &["@ca", "--json"]);
    assert_eq!(lines(&verified)[0]["records_not_seen"], 64_768);
    assert_eq!(lines(&verified)[0]["index_compared"], false);

    assert_code(
        &log(factory, "proof", &["@ca", "--index", "5", "--bare"]),
        0,
    );
    for (command, arguments) in [
        ("proof", &["@ca", "--index", "5"][..]),
        ("show", &["@ca", "--index", "5"]),
        ("reindex", &["@ca"]),
        ("backup", &["@ca", "@backup"]),
        ("archive", &["@ca", "@old", "--keep", "0", "--beyond-index"]),
    ] {
        let refused = log(factory, command, arguments);
        assert_code(&refused, 3);
        let error = error_line(&refused);
        assert!(
            error.contains("mount the archive, then retry"),
            "{command}: {error}"
        );
        assert!(!error.contains("damaged"), "{command}: {error}");
    }
    assert!(!factory.path("old").exists());
    assert!(factory.path("ca/log/index/MANIFEST").exists());
}

#[test]
fn wrong_arguments_of_archive_are_usage() {
    let factory = Factory::new();
    for arguments in [
        &["@ca", "@old"][..],
        &["@ca", "@old", "--keep", "1", "--before", "2026-01-01"],
        &["@ca", "@old", "--before", "yesterday"],
        &["@ca", "@ca/log/public/old", "--keep", "1"],
        &["@nothing", "@old", "--keep", "1"],
    ] {
        assert_code(&log(&factory, "archive", arguments), 2);
    }
    let nothing = log(
        &factory,
        "archive",
        &["@ca", "@old", "--before", "2026-01-01"],
    );
    assert_code(&nothing, 0);
    assert!(text(&nothing.stdout).contains("moved         0 records, 0 bytes"));
    assert!(!factory.path("old").exists());
}
