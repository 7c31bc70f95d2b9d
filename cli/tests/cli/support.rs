//! A CA and requests for the tests of the binary.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::device::Device;
use serde_json::Value;

/// A directory with a CA, gone when dropped.
pub(crate) struct Factory {
    directory: tempfile::TempDir,
}

impl Factory {
    /// With a software key, made by the binary itself.
    pub(crate) fn new() -> Factory {
        let factory = Factory {
            directory: tempfile::tempdir().unwrap(),
        };
        let ca = factory.path("ca");
        let made = birthmark(&["ca", "init", "--dir", ca.to_str().unwrap()], b"");
        assert_code(&made, 0);
        factory
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and returns its path as an argument.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    pub(crate) fn issue_arguments(&self, inputs: &[&str]) -> Vec<String> {
        let config = self
            .path("ca/birthmark.toml")
            .into_os_string()
            .into_string()
            .unwrap();
        let mut arguments = ["issue", "--config", &config, "--profile", "idevid"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(inputs.iter().map(|input| (*input).to_owned()));
        arguments
    }

    pub(crate) fn issue(&self, inputs: &[&str], stdin: &[u8]) -> Output {
        birthmark(&self.issue_arguments(inputs), stdin)
    }

    /// The number of records in the log, as the binary verifies it.
    pub(crate) fn records(&self) -> u64 {
        let log = self.path("ca/log");
        let verified = birthmark(&["log", "verify", "--json", log.to_str().unwrap()], b"");
        assert_code(&verified, 0);
        lines(&verified)[0]["records"].as_u64().unwrap()
    }
}

/// Copies a directory as people do.
pub(crate) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-R").args([from, to]).status();
    assert!(copied.unwrap().success());
}

thread_local! {
    /// The state directory of one test's user, gone with the test's thread.
    static STATE: tempfile::TempDir = tempfile::tempdir().unwrap();
}

/// Where the commands of this test keep the user's state.
pub(crate) fn state_home() -> PathBuf {
    STATE.with(|directory| directory.path().to_owned())
}

/// The binary under test.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_birthmark"));
    command.env("XDG_STATE_HOME", state_home());
    command
}

pub(crate) fn birthmark<S: AsRef<str>>(arguments: &[S], stdin: &[u8]) -> Output {
    let mut child = command()
        .args(arguments.iter().map(AsRef::as_ref))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    // A command that ends early does not read it all: that is its right.
    let writer = std::thread::spawn(move || drop(input.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn assert_code(output: &Output, code: i32) {
    let shown = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{shown:?}");
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4_000)]).into_owned()
}

/// The JSON lines on standard output.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// One key of every line.
pub(crate) fn column(output: &Output, key: &str) -> Vec<String> {
    let value = |line: &Value| line[key].as_str().unwrap_or_default().to_owned();
    lines(output).iter().map(value).collect()
}

/// A request of device `number`, DER, freshly signed.
pub(crate) fn request(number: u64) -> Vec<u8> {
    Device::make(KeyAlgorithm::EcP256, 7, number)
        .unwrap()
        .request()
        .unwrap()
}

/// The same as PEM.
pub(crate) fn request_pem(number: u64) -> String {
    let der = request(number);
    der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, &der).unwrap()
}

/// The one line that a failed command writes about it.
pub(crate) fn error_line(output: &Output) -> String {
    let text = text(&output.stderr);
    let errors: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{text}");
    errors[0].to_owned()
}

pub(crate) fn openssl_verify(ca: &Path, certificate: &Path) {
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-CAfile"])
        .arg(ca.join("root/root-ca.pem"))
        .arg("-untrusted")
        .arg(ca.join("issuing-ca.pem"))
        .arg(certificate)
        .output()
        .expect("openssl must be installed for this test");
    assert!(output.status.success(), "{output:?}");
}
