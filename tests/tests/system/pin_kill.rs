//! SIGKILL while a PIN is at the token: nobody heard whether it was refused, and it is not sent again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use birthmark_test_token::{Report, TestHsm};

use crate::binary::{assert_code, command, error_line, start};
use crate::load::WATCHDOG;
use crate::requests::{device, pem};
use crate::station::Factory;

/// Processes killed, each followed by restarts.
const KILLS: usize = 3;

/// Starts while the mark is there.
const RESTARTS: usize = 4;

const SETTINGS: &str = "mode = 'software'\nkey_file = 'shared'\nmake_key = false\n\
    report_file = 'report-{pid}.json'\ncontrol_file = 'control'";

#[test]
fn a_pin_that_was_on_its_way_when_the_process_was_killed_is_not_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let hsm = TestHsm::create(directory.path(), "a", SETTINGS).unwrap();
    let factory = Factory::on_tokens(&[hsm.uri().parse().unwrap()], "");
    let mark = factory.path("ca/pin-login.a.0001");
    let mut sent = logins(directory.path());
    for kill in 0..KILLS {
        control(
            directory.path(),
            "fault = { function = 'C_Login', hang = true }\n",
        );
        kill_in_login(&factory, directory.path());
        sent += 1;
        control(directory.path(), "");
        for _ in 0..RESTARTS {
            let output = issue(&factory, kill);
            assert_code(&output, 5);
            let line = error_line(&output);
            assert!(line.contains("ended while it logged in"), "{line}");
            assert!(
                line.contains(&format!("remove {}", mark.display())),
                "{line}"
            );
            assert_eq!(logins(directory.path()), sent, "no PIN was sent");
        }
        // A person saw to it.
        fs::remove_file(&mark).unwrap();
        assert_code(&issue(&factory, kill), 0);
        assert_code(&issue(&factory, kill), 0);
        sent += 2;
        assert_eq!(logins(directory.path()), sent);
    }
    crate::report(format_args!(
        "{KILLS} processes killed in C_Login, {} starts after: no PIN sent again",
        KILLS * RESTARTS
    ));
}

/// Starts the binary and kills it once the token has the PIN. Its report says that it was sent once.
fn kill_in_login(factory: &Factory, directory: &Path) {
    let configuration = factory.configuration();
    let mut arguments = factory.issue_arguments(&configuration);
    let input = factory.file("request.pem", pem("CERTIFICATE REQUEST", &device(0)));
    arguments.push(&input);
    let mut child = start(&mut command(&arguments));
    let report = directory.join(format!("report-{}.json", child.id()));
    let started = Instant::now();
    let hung = loop {
        let mut control = OpenOptions::new()
            .append(true)
            .open(directory.join("control"))
            .unwrap();
        control.write_all(b"write-report\n").unwrap();
        sleep(Duration::from_millis(20));
        // It may be half written.
        let text = fs::read(&report).unwrap_or_default();
        if let Ok(report) = serde_json::from_slice::<Report>(&text)
            && report.hung == 1
        {
            break report;
        }
        assert!(started.elapsed() < WATCHDOG, "no login hangs");
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(hung.calls("C_Login"), 1);
}

fn issue(factory: &Factory, number: usize) -> std::process::Output {
    let request = pem("CERTIFICATE REQUEST", &device(number as u64));
    factory.issue(&["-"], request.as_bytes())
}

fn control(directory: &Path, text: &str) {
    fs::write(directory.join("control"), text).unwrap();
}

/// C_Login calls of every process that left a report.
fn logins(directory: &Path) -> u64 {
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let report: Report = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            report.calls("C_Login")
        })
        .sum()
}
