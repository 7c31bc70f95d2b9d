//! Independent verifiers from PyPI: `aics-tlog` and `tlog-scales`.
//!
//! They know nothing of this project and judge any directory in C2SP layout. `install.sh` brings
//! them; if it cannot, whatever asks for a verdict fails with what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use birthmark_log::tlog::VerifierKey;

/// From any crate of the workspace, so that other tests may use this file too.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../log/tests/python");

/// What `judge.py` exits with when a tool rejects a log.
const REJECTED: i32 = 3;

/// The tools, by the names that `judge.py` knows.
pub(crate) const TOOLS: [&str; 2] = ["aics-tlog", "tlog-scales"];

/// Has `tool` judge the log in `dir` with the log's key and those of the witnesses that must have
/// cosigned. Gives what it counted, or why it rejects the log.
pub(crate) fn judge(
    tool: &str,
    dir: &Path,
    log: &VerifierKey,
    witnesses: &[VerifierKey],
) -> Result<String, String> {
    let mut command = python();
    command
        .arg(Path::new(PYTHON).join("judge.py"))
        .arg(tool)
        .arg(dir)
        .arg(log.to_string());
    command.args(witnesses.iter().map(VerifierKey::to_string));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) if said.starts_with("accepted: ") => Ok(said),
        Some(REJECTED) if said.starts_with("rejected: ") => Err(said),
        _ => panic!(
            "{tool} came to no verdict on {}: {}",
            dir.display(),
            told(&output)
        ),
    }
}

/// Fails the test unless every tool accepts the log in `dir`.
pub(crate) fn accepts(dir: &Path, log: &VerifierKey, witnesses: &[VerifierKey]) {
    for tool in TOOLS {
        let verdict = judge(tool, dir, log, witnesses);
        assert!(
            verdict.is_ok(),
            "{tool} rejects {}: {verdict:?}",
            dir.display()
        );
    }
}

/// The receipt for the record at `index` as `tlog-scales gen-proof` makes it.
pub(crate) fn receipt(dir: &Path, index: u64) -> String {
    let mut command = python();
    command
        .args(["-m", "tlog_scales.cli", "gen-proof"])
        .arg(dir)
        .arg(index.to_string());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "tlog-scales made no receipt: {}",
        told(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The interpreter that has the tools, isolated from the user's own Python settings.
fn python() -> Command {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    let interpreter = INTERPRETER.get_or_init(|| {
        let output = Command::new(Path::new(PYTHON).join("install.sh"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "the independent verifiers could not be installed, so nothing was checked: {}",
            told(&output)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    });
    let mut command = Command::new(interpreter);
    // UTF-8 whatever the locale: signature lines begin with an em dash.
    command.args(["-I", "-B", "-X", "utf8"]);
    command
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
