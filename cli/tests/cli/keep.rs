//! `log backup`, `log restore`, `log witness`, `log follow`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use birthmark_log::tlog::{Note, VerifierKey};

use crate::server::{Server, Witness};
use crate::support::{
    Factory, assert_code, birthmark, column, error_line, lines, request_pem, text,
};

fn issue_with(config: &Path, numbers: std::ops::Range<u64>) -> Output {
    let requests: String = numbers.map(request_pem).collect();
    let config = config.to_str().unwrap();
    let arguments = ["issue", "--config", config, "--profile", "idevid", "-"];
    birthmark(&arguments, requests.as_bytes())
}

fn log(factory: &Factory, arguments: &[&str]) -> Output {
    let arguments: Vec<String> = std::iter::once("log".to_owned())
        .chain(
            arguments
                .iter()
                .map(|argument| match argument.strip_prefix('@') {
                    Some(path) => factory.path(path).to_str().unwrap().to_owned(),
                    None => (*argument).to_owned(),
                }),
        )
        .collect();
    birthmark(&arguments, b"")
}

/// Copies a directory as a person would.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn vkey(dir: &Path) -> String {
    fs::read_to_string(dir.join("vkey"))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_station_is_carried_on_from_its_backup() {
    let factory = Factory::new();
    let old = factory.path("ca/birthmark.toml");
    let first = issue_with(&old, 0..5);
    assert_code(&first, 0);
    let backed_up = log(&factory, &["backup", "@ca", "@backup", "--json"]);
    assert_code(&backed_up, 0);
    assert_eq!(lines(&backed_up)[0]["records"], 5);
    // What comes after the backup is lost with the disk.
    assert_code(&issue_with(&old, 5..7), 0);
    let lost = fs::read_to_string(&old).unwrap();
    old_log_is_told_of(&factory);
    fs::remove_dir_all(factory.path("ca/log")).unwrap();

    let restore = [
        "restore",
        "@backup",
        "@ca/log-2",
        "--config",
        "@ca/birthmark.toml",
    ];
    let restored = log(&factory, &[&restore[..], &["--json"]].concat());
    assert_code(&restored, 0);
    let report = &lines(&restored)[0];
    assert_eq!(
        (&report["records"], &report["restored_record"]),
        (&5.into(), &5.into())
    );
    assert!(report["known_until_ms"].as_u64() < report["unknown_until_ms"].as_u64());
    assert_ne!(report["origin"], report["old_origin"]);
    assert_eq!(fs::read_to_string(&old).unwrap(), lost);

    // The same devices get the same certificates; those that were lost, new ones.
    let new = factory.path("ca/birthmark-restored.toml");
    let again = issue_with(&new, 0..8);
    assert_code(&again, 0);
    let certificates = column(&again, "certificate");
    assert_eq!(certificates[..5], column(&first, "certificate")[..]);
    let mut statuses = vec!["existing"; 5];
    statuses.extend(["issued"; 3]);
    assert_eq!(column(&again, "status"), statuses);
    let indexes = |output: &Output| -> Vec<u64> {
        let lines = lines(output);
        lines
            .iter()
            .map(|line| line["index"].as_u64().unwrap())
            .collect()
    };
    let (before, mut after) = (indexes(&first), indexes(&again));
    assert_eq!(after[..5], before);
    after.sort_unstable();
    // Record 5 says that the log was restored.
    assert_eq!(after, [0, 1, 2, 3, 4, 6, 7, 8]);
    assert_code(&log(&factory, &["verify", "@ca/log-2"]), 0);
    assert_ne!(
        vkey(&factory.path("backup")),
        vkey(&factory.path("ca/log-2"))
    );

    refused_beside_a_restored_log(&factory, &lost, &restore);
}

/// An old log that is in use stops a restore; one that only lies there is warned of.
fn old_log_is_told_of(factory: &Factory) {
    let restore = |dir: &str, new: &str, more: &[&str]| {
        let config = ["--config", "@ca/birthmark.toml", "--new-config", new];
        log(
            factory,
            &[&["restore", "@backup", dir][..], &config, more].concat(),
        )
    };
    let lock = fs::File::open(factory.path("ca/log/LOCK")).unwrap();
    lock.lock().unwrap();
    let used = restore("@a", "a.toml", &[]);
    assert_code(&used, 2);
    assert!(error_line(&used).contains("in use"));
    drop(lock);
    assert!(!factory.path("a").exists() && !factory.path("ca/a.toml").exists());
    let warned = restore("@b", "b.toml", &[]);
    assert_code(&warned, 0);
    assert!(text(&warned.stdout).contains("WARNING: the old log is still in"));
    let json = restore("@c", "c.toml", &["--json"]);
    assert_code(&json, 0);
    assert!(lines(&json)[0]["old_log"].is_string());
    assert_eq!(lines(&json)[0]["unsigned"], 0);
}

/// Not over it, not with the old names, and the backup stays nobody's log.
fn refused_beside_a_restored_log(factory: &Factory, configuration: &str, restore: &[&str]) {
    let old = factory.path("ca/birthmark.toml");
    let over = log(factory, restore);
    assert_code(&over, 2);
    let elsewhere = log(
        factory,
        &[restore, &["--new-config", "second.toml"]].concat(),
    );
    assert_code(&elsewhere, 2);
    assert!(error_line(&elsewhere).contains("never restored over another"));
    assert!(!factory.path("ca/second.toml").exists() && !factory.path("ca/second.key").exists());
    let wrong = configuration.replace("directory = \"log\"", "directory = \"log-2\"");
    assert_ne!(wrong, configuration);
    fs::write(&old, wrong).unwrap();
    let refused = issue_with(&old, 20..21);
    assert_code(&refused, 3);
    assert!(
        error_line(&refused).contains("is signed for"),
        "{}",
        error_line(&refused)
    );
    assert_code(&log(factory, &["verify", "@backup"]), 0);
    let nested = log(factory, &["backup", "@ca/log-2", "@ca/log-2/public/x"]);
    assert_code(&nested, 2);
}

#[test]
fn a_witness_finds_a_rolled_back_station_out() {
    let factory = Factory::new();
    let config = factory.path("ca/birthmark.toml");
    let dir = factory.path("ca/log");
    assert_code(&issue_with(&config, 0..3), 0);
    let witness = Witness::of(vkey(&dir).parse::<VerifierKey>().unwrap());
    let server = Server::witness(Arc::clone(&witness));
    let entry = format!(
        "\n[[log.witness]]\nurl = \"{}\"\nvkey = \"{}\"\n",
        server.url(),
        witness.vkey
    );
    let plain = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        plain.replace("\n[engine]", &format!("{entry}\n[engine]")),
    )
    .unwrap();
    let push = || {
        log(
            &factory,
            &[
                "witness",
                "@ca/log",
                "--config",
                "@ca/birthmark.toml",
                "--once",
            ],
        )
    };
    assert_code(&push(), 0);
    copy(&dir, &factory.path("older"));
    assert_code(&issue_with(&config, 3..6), 0);
    assert_code(&push(), 0);
    // Named twice, asked once.
    let address = format!("{} {}", server.url(), witness.vkey);
    let twice = ["witness", "@ca", "--once", "--witness", &address];
    let twice = log(&factory, &[&twice[..], &["--witness", &address]].concat());
    assert_code(&twice, 0);
    // One round at a time.
    let lock = fs::File::open(dir.join("witness/LOCK")).unwrap();
    lock.lock().unwrap();
    let busy = push();
    assert_code(&busy, 3);
    assert!(error_line(&busy).contains("held by another"));
    drop(lock);
    assert_eq!(*witness.statuses.lock().unwrap(), [200, 200, 200]);
    // The cosignature is kept with the checkpoint, and verifies.
    let kept = fs::read(dir.join("witness/checkpoint")).unwrap();
    let kept = Note::parse(&kept).unwrap();
    assert!(kept.cosigned_by(&witness.vkey).is_ok() && kept.signatures.len() == 2);

    // Without what we remember, the witness tells its size.
    fs::remove_dir_all(dir.join("witness")).unwrap();
    assert_code(&issue_with(&config, 6..7), 0);
    assert_code(&push(), 0);
    assert_eq!(witness.statuses.lock().unwrap()[3..], [409, 200]);

    found_out(&factory, &kept, &push);
}

fn found_out(factory: &Factory, kept: &Note, push: &dyn Fn() -> Output) {
    let (config, dir) = (factory.path("ca/birthmark.toml"), factory.path("ca/log"));
    // An older copy is put in place: found out at once, and also when it has gone on.
    fs::remove_dir_all(&dir).unwrap();
    copy(&factory.path("older"), &dir);
    let back = push();
    assert_code(&back, 4);
    assert!(error_line(&back).contains("STOP") && error_line(&back).contains("rolled back"));
    assert_code(&issue_with(&config, 10..14), 0);
    let same_size = push();
    assert_code(&same_size, 4);
    // What one witness says keeps no other from being asked.
    let stranger = Witness::of(VerifierKey::ed25519("log.example/nobody", [7; 32]).unwrap());
    let server = Server::witness(Arc::clone(&stranger));
    let other = VerifierKey::cosigner("other.example", [9; 32]).unwrap();
    let address = format!("{} {other}", server.url());
    let text = fs::read_to_string(&config).unwrap();
    let value = |key: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches('"').to_owned()
    };
    let first = format!("{} {}", value("url = "), value("vkey = "));
    let both = ["witness", "@ca/log", "--once", "--witness", &first];
    assert_code(
        &log(factory, &[&both[..], &["--witness", &address]].concat()),
        4,
    );
    assert_eq!(*stranger.statuses.lock().unwrap(), [404]);
    assert!(
        error_line(&same_size).contains("not the first ones"),
        "{}",
        error_line(&same_size)
    );
    assert_code(&issue_with(&config, 14..20), 0);
    let forked = push();
    assert_code(&forked, 4);
    assert!(
        error_line(&forked).contains("not the first ones"),
        "{}",
        error_line(&forked)
    );
    // Part of the directory is older than the rest.
    fs::create_dir_all(dir.join("witness")).unwrap();
    fs::write(dir.join("witness/checkpoint"), kept.to_string()).unwrap();
    let partly = push();
    assert_code(&partly, 4);
    assert!(error_line(&partly).contains("STOP"));
}

#[test]
fn faults_of_witnesses_are_told_apart() {
    let factory = Factory::new();
    let config = factory.path("ca/birthmark.toml");
    assert_code(&issue_with(&config, 0..1), 0);
    let nobody = VerifierKey::ed25519("log.example/nobody", [7; 32]).unwrap();
    let strange = Witness::of(nobody);
    let strange_server = Server::witness(Arc::clone(&strange));
    let address = format!("{} {}", strange_server.url(), strange.vkey);
    let unknown = log(
        &factory,
        &["witness", "@ca/log", "--once", "--witness", &address],
    );
    assert_code(&unknown, 1);
    assert!(text(&unknown.stderr).contains("404"));
    let url = strange_server.url();
    drop(strange_server);
    let address = format!("{url} {}", strange.vkey);
    let away = log(
        &factory,
        &["witness", "@ca/log", "--once", "--witness", &address],
    );
    assert_code(&away, 1);
    assert!(text(&away.stderr).contains("does not answer"));
    assert_code(&log(&factory, &["witness", "@ca/log", "--once"]), 2);
}

#[test]
fn a_follower_keeps_what_it_has_seen() {
    let factory = Factory::new();
    let config = factory.path("ca/birthmark.toml");
    let dir = factory.path("ca/log");
    assert_code(&issue_with(&config, 0..300), 0);
    let key = vkey(&dir);
    let server = Server::files(&dir.join("public"));
    let url = server.url();
    let follow = |from: &str, to: &str| {
        log(
            &factory,
            &["follow", from, to, "--vkey", &key, "--once", "--json"],
        )
    };
    let (web, disk) = (follow(&url, "@web"), follow("@ca", "@disk"));
    for copied in [&web, &disk] {
        assert_code(copied, 0);
        assert_eq!(lines(copied)[0]["records_new"], 300);
    }
    assert_code(&log(&factory, &["verify", "@web"]), 0);
    copy(&dir, &factory.path("older"));
    assert_code(&issue_with(&config, 300..310), 0);
    let grown = follow(&url, "@web");
    assert_eq!(
        (&lines(&grown)[0]["size"], &lines(&grown)[0]["records_new"]),
        (&310.into(), &10.into())
    );
    assert_eq!(lines(&follow(&url, "@web"))[0]["records_new"], 0);
    let shown = log(&factory, &["show", "@web", "--index", "309"]);
    assert_code(&shown, 0);

    // A bundle is damaged on its way: refused and named; the copy goes on when it is right again.
    assert_code(&issue_with(&config, 310..320), 0);
    let bundle = dir.join("public/tile/entries/001.p/64");
    let right = fs::read(&bundle).unwrap();
    let mut bytes = right.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let damaged = follow(&url, "@web");
    assert_code(&damaged, 3);
    assert!(
        error_line(&damaged).contains("record 319"),
        "{}",
        error_line(&damaged)
    );
    assert_code(&log(&factory, &["verify", "@web"]), 0);
    fs::write(&bundle, right).unwrap();
    assert_code(&follow(&url, "@web"), 0);

    follows_no_fork(&factory, &url, &follow);
}

fn follows_no_fork(factory: &Factory, url: &str, follow: &dyn Fn(&str, &str) -> Output) {
    let (config, dir) = (factory.path("ca/birthmark.toml"), factory.path("ca/log"));
    let key = vkey(&dir);
    // Another key, another copy, a log.
    let other = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let wrong = log(factory, &["follow", url, "@new", "--vkey", other, "--once"]);
    assert_code(&wrong, 3);
    assert_code(&follow(url, "@ca/log"), 2);
    assert_code(&follow("@ca", "@ca/log/copy"), 2);
    assert!(!factory.path("ca/log/copy").exists());
    fs::create_dir(factory.path("photos")).unwrap();
    factory.file("photos/cat", "cat");
    assert_code(&follow(url, "@photos"), 2);

    // The log goes back, then goes on differently: refused, and the copy kept.
    let before = fs::read(factory.path("web/public/checkpoint")).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    copy(&factory.path("older"), &dir);
    let back = follow(url, "@web");
    assert_code(&back, 4);
    assert!(
        error_line(&back).contains("went back"),
        "{}",
        error_line(&back)
    );
    assert_code(&issue_with(&config, 400..440), 0);
    let forked = follow(url, "@web");
    assert_code(&forked, 4);
    assert!(
        error_line(&forked).contains("forked"),
        "{}",
        error_line(&forked)
    );
    assert_eq!(
        fs::read(factory.path("web/public/checkpoint")).unwrap(),
        before
    );
    // The evidence bears the log's own signature.
    let evidence = conflicts(&factory.path("web"));
    assert_eq!(evidence.len(), 2, "{evidence:?}");
    for (name, note) in &evidence {
        let conflict = Note::parse(note).unwrap();
        assert_eq!(
            conflict.verified_by(&key.parse().unwrap()),
            Ok(()),
            "{name}"
        );
    }
    // Seen again, it is not written again.
    assert_code(&follow(url, "@web"), 4);
    assert_eq!(conflicts(&factory.path("web")), evidence);
    assert_code(&log(factory, &["verify", "@web"]), 0);
}

/// The evidence that a copy keeps, by name.
fn conflicts(copy: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(copy)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            let note = || (name.clone(), fs::read(&path).unwrap());
            name.starts_with("conflict-").then(note)
        })
        .collect();
    found.sort();
    found
}
