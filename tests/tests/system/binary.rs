//! The real binary `birthmark`, run as people run it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;

use crate::station::Factory;

/// The binary beside this test binary, in the same profile.
pub(crate) fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    // target/<profile>/deps/system-…: two up.
    let path = tests
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("birthmark");
    assert!(
        path.is_file(),
        "{} is missing: run `make test`, or `cargo build -p birthmark` first",
        path.display()
    );
    path
}

thread_local! {
    /// Where the commands of one test remember what became of a PIN; gone with the test's thread.
    static STATE: tempfile::TempDir = tempfile::tempdir().unwrap();
}

/// The binary, with no PIN in its environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("BIRTHMARK_PIN");
    STATE.with(|directory| command.env("XDG_STATE_HOME", directory.path()));
    command
}

/// Runs the binary to its end.
pub(crate) fn birthmark(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = start(&mut command(arguments));
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A command that ends early does not read it all: that is its right.
    let writer = thread::spawn(move || drop(input.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Factory {
    /// Runs `birthmark issue` of this CA's configuration and the IDevID profile.
    pub(crate) fn issue(&self, inputs: &[&str], stdin: &[u8]) -> Output {
        let configuration = self.configuration();
        let mut arguments = self.issue_arguments(&configuration);
        arguments.extend(inputs);
        birthmark(&arguments, stdin)
    }

    pub(crate) fn issue_arguments<'a>(&self, configuration: &'a Path) -> Vec<&'a str> {
        vec![
            "issue",
            "--config",
            configuration.to_str().unwrap(),
            "--profile",
            "idevid",
        ]
    }
}

/// The JSON lines on standard output.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    let (out, err) = (shown(&output.stdout), shown(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {out}\nstderr: {err}"
    );
}

/// The one line in which a failed command says why. Warnings may stand before it.
#[track_caller]
pub(crate) fn error_line(output: &Output) -> String {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    let (errors, others): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("error: "));
    assert_eq!(errors.len(), 1, "{text}");
    assert!(
        others.iter().all(|line| line.starts_with("warning: ")),
        "{text}"
    );
    errors[0].to_owned()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned()
}
