//! A PIN that an operator types, on a terminal of the test's own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{assert_code, birthmark, error_line, request, state_home, text};
use crate::token::{Token, write_private};

const PIN: &str = "user-7391";

/// A watchdog only: no answer takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command with a terminal of its own, types each line when its prompt is shown, and gives the exit code and all
/// that the terminal showed.
fn with_terminal(arguments: &[&str], answers: &[(&str, &str)]) -> (i32, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = || {
        let path = name.to_str().unwrap();
        File::options().read(true).write(true).open(path).unwrap()
    };
    // setsid makes the terminal on standard input the controlling one, which is what /dev/tty means.
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_birthmark")])
        .args(arguments)
        .env_remove("BIRTHMARK_PIN")
        .env("XDG_STATE_HOME", state_home())
        .stdin(Stdio::from(OwnedFd::from(terminal())))
        .stdout(Stdio::from(OwnedFd::from(terminal())))
        .stderr(Stdio::from(OwnedFd::from(terminal())))
        .spawn()
        .expect("setsid (util-linux) must be installed for this test");
    let mut controller = File::from(controller);
    let mut reader = controller.try_clone().unwrap();
    let (bytes, shown) = mpsc::channel();
    // Ends when the child's side of the terminal is closed.
    let reading = thread::spawn(move || {
        let mut chunk = [0; 1024];
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            if bytes.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let begun = Instant::now();
    let mut all = String::new();
    let (mut seen, mut answered) = (0, 0);
    loop {
        let more = match shown.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            Ok(more) => more,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // It waits for something else.
                child.kill().unwrap();
                break;
            }
        };
        all.push_str(&String::from_utf8_lossy(&more));
        while let Some((prompt, line)) = answers.get(answered)
            && let Some(at) = all[seen..].find(prompt)
        {
            seen += at + prompt.len();
            answered += 1;
            controller
                .write_all(format!("{line}\n").as_bytes())
                .unwrap();
        }
    }
    let code = child.wait().unwrap().code();
    assert_eq!(answered, answers.len(), "not all was asked: {all}");
    reading.join().unwrap();
    (code.unwrap_or_else(|| panic!("still waiting: {all}")), all)
}

#[test]
fn an_operator_types_the_pin_at_the_start() {
    let outer = tempfile::tempdir().unwrap();
    let token = Token::new(outer.path(), "typed");
    let ca = outer.path().join("ca");
    let ca_text = ca.to_str().unwrap();
    let with_file = token.uri("issuing");
    let (uri, _) = with_file.split_once("&pin-source").unwrap();
    // A PIN in a file is no operator.
    let init = [
        "ca",
        "init",
        "--dir",
        ca_text,
        "--activation",
        "operator",
        "--signer",
    ];
    let refused = birthmark(&[&init[..], &[with_file.as_str()]].concat(), b"");
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("take pin-source out"),
        "{}",
        error_line(&refused)
    );

    let (code, shown) = with_terminal(&[&init[..], &[uri]].concat(), &[("PIN of", PIN)]);
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains(PIN), "no echo: {shown}");
    let config = ca.join("birthmark.toml");
    let configuration = fs::read_to_string(&config).unwrap();
    assert!(configuration.contains("activation = \"operator\"") && !configuration.contains(PIN));

    let csr = outer.path().join("device.csr");
    fs::write(&csr, request(1)).unwrap();
    let config = config.to_str().unwrap();
    let issue = [
        "issue",
        "--config",
        config,
        "--profile",
        "idevid",
        csr.to_str().unwrap(),
    ];
    let (code, shown) = with_terminal(&issue, &[("PIN of", PIN)]);
    assert_eq!(code, 0, "{shown}");
    assert!(
        shown.contains("\"status\":\"issued\"") && !shown.contains(PIN),
        "{shown}"
    );
    let (code, shown) = with_terminal(&issue, &[("PIN of", "wrong-pin")]);
    assert_eq!(code, 5, "{shown}");
    assert!(
        shown.contains("refused the PIN") && !shown.contains("wrong-pin"),
        "{shown}"
    );
    // Whoever typed it wrong looks once, before any command sends another.
    let check = ["hsm", "check", "--config", config];
    let (code, shown) = with_terminal(&check, &[("PIN of", PIN)]);
    assert_eq!(code, 5, "{shown}");
    assert!(shown.contains("then remove"), "{shown}");
    for entry in fs::read_dir(&ca).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("pin-refused") {
            fs::remove_file(path).unwrap();
        }
    }
    let (code, shown) = with_terminal(&check, &[("PIN of", PIN)]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("recommended  sessions = "), "{shown}");
    contradictions_are_refused(&token, &configuration, &issue);
}

fn contradictions_are_refused(token: &Token, configuration: &str, issue: &[&str]) {
    let config = issue[2];
    // Stated by hand, and contradicted by the URI.
    let source = format!("pin-source=file:{}&module-path=", token.pin_file.display());
    let with_source = configuration.replacen("module-path=", &source, 1);
    assert_ne!(with_source, configuration, "{configuration}");
    fs::write(config, with_source).unwrap();
    let refused = birthmark(issue, b"");
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("issuer.activation"),
        "{}",
        error_line(&refused)
    );
    write_private(
        config.as_ref(),
        &configuration.replace("\"operator\"", "\"somebody\""),
    );
    let refused = birthmark(issue, b"");
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("m-of-n"),
        "{}",
        error_line(&refused)
    );
}

#[test]
fn a_passphrase_is_typed_twice_for_a_new_key() {
    let outer = tempfile::tempdir().unwrap();
    let path = |name: &str| outer.path().join(name).to_str().unwrap().to_owned();
    let made = birthmark(
        &[
            "officer",
            "keygen",
            "--name",
            "ada.example",
            "--out",
            &path("ada.key"),
        ],
        b"",
    );
    assert_code(&made, 0);
    let plan = format!(
        "version = 1\nname = \"typed\"\npurpose = \"A test.\"\n[approval]\nthreshold = 1\nsigners = [{:?}]\n\
         [transcript]\nfile = \"transcript\"\nsigner = \"officer\"\n\
         [keys.root]\nplace = \"encrypted-file\"\nfile = \"root.key\"\nalgorithm = \"p256\"\n\
         [[step]]\ndo = \"make-key\"\nkey = \"root\"\n",
        text(&made.stdout).trim()
    );
    fs::write(path("typed.toml"), plan).unwrap();
    let ada = path("ada.key");
    assert_code(
        &birthmark(
            &[
                "ca",
                "ceremony",
                "approve",
                &path("typed.toml"),
                "--key",
                &ada,
            ],
            b"",
        ),
        0,
    );
    let run = ["ca", "ceremony", &path("typed.toml"), "--key", &ada];
    let (yes, first, again) = ("type 'yes'", "Passphrase of the key 'root'", "once more");
    let (good, other) = ("nine grey geese fly", "nine grey geese swim");
    for (passphrase, repeated, words) in [
        (good, other, "the two passphrases differ"),
        ("too short", "too short", "has at least 12 characters"),
    ] {
        let (code, shown) = with_terminal(
            &run,
            &[(yes, "yes"), (first, passphrase), (again, repeated)],
        );
        assert_eq!(code, 2, "{shown}");
        assert!(
            shown.contains(words) && !shown.contains(passphrase),
            "{shown}"
        );
        assert!(!outer.path().join("root.key").exists());
    }
    let (code, shown) = with_terminal(&run, &[(yes, "yes"), (first, good), (again, good)]);
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains(good), "no echo: {shown}");
    let key = fs::read_to_string(path("root.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
}
