//! A process of a test's own: for what is read from the environment once, and for modules that crash others.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Names the directory of a test to the process that runs it.
const DIRECTORY_VARIABLE: &str = "BIRTHMARK_TEST_DIRECTORY";

/// How long such a process may take. Each of a test's waits has a watchdog; this one is for what hangs.
const PROCESS_MAX: Duration = Duration::from_secs(240);

/// How long its children may live on, which end by themselves.
const CHILDREN_MAX: Duration = Duration::from_secs(60);

/// Runs the test of this name again in a process with a directory of its own and a changed environment. Returns `None`
/// once it has passed there and nothing of it is left; in that process, the directory.
pub fn enter(
    test: &str,
    environment: impl FnOnce(&Path) -> Vec<(&'static str, OsString)>,
) -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) {
        return Some(directory.into());
    }
    let directory = tempfile::tempdir().unwrap();
    let environment = environment(directory.path());
    run(test, directory.path(), environment);
    None
}

fn run(test: &str, directory: &Path, environment: Vec<(&str, OsString)>) {
    let output = directory.join("output");
    let file = File::create(&output).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIRECTORY_VARIABLE, directory)
        .envs(environment)
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if started.elapsed() > PROCESS_MAX => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let told = fs::read_to_string(&output).unwrap();
    assert!(
        status.is_some_and(|status| status.success()),
        "{test}: {status:?}\n{told}"
    );
    assert!(told.contains("1 passed"), "{test} did not run:\n{told}");
    let started = Instant::now();
    while let Some(process) = remains(directory) {
        assert!(started.elapsed() < CHILDREN_MAX, "{process} is left");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process that was started with the test's directory in its environment.
fn remains(directory: &Path) -> Option<String> {
    let wanted = format!("{DIRECTORY_VARIABLE}={}", directory.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut left = processes.filter(|process| {
        // Of others' processes nothing is told.
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == wanted.as_bytes())
    });
    left.next()
        .map(|process| process.path().display().to_string())
}
