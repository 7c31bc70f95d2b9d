//! A folder with officers, a token and plans.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use birthmark_log::tlog::{Note, VerifierKey};
use serde_json::Value;

use crate::support::{assert_code, birthmark, command, text};
use crate::token::{Token, write_private};

pub(super) const PASSPHRASE: &str = "a test only: nine grey geese";

pub(super) fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("openssl must be installed for this test");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with three officers and a plan.
pub(super) struct World {
    pub(super) outer: tempfile::TempDir,
    token: Option<Token>,
    pub(super) vkeys: Vec<String>,
}

pub(super) const OFFICERS: [&str; 3] = ["ada", "bob", "cleo"];

impl World {
    pub(super) fn new(name: &str) -> World {
        let mut world = World::without_token();
        world.token = Some(Token::new(world.outer.path(), name));
        world
    }

    /// For plans whose keys are files.
    pub(super) fn without_token() -> World {
        let mut world = World {
            outer: tempfile::tempdir().unwrap(),
            token: None,
            vkeys: Vec::new(),
        };
        for officer in OFFICERS {
            let (key, name) = (
                world.text(&format!("{officer}.key")),
                format!("{officer}.example"),
            );
            let made = birthmark(&["officer", "keygen", "--name", &name, "--out", &key], b"");
            assert_code(&made, 0);
            world.vkeys.push(text(&made.stdout).trim().to_owned());
        }
        write_private(&world.path("passphrase"), PASSPHRASE);
        fs::create_dir(world.path("media-a")).unwrap();
        fs::create_dir(world.path("media-b")).unwrap();
        world
    }

    pub(super) fn uri(&self, key: &str) -> String {
        self.token.as_ref().unwrap().uri(key)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a plan with these keys and steps, two of three signers.
    pub(super) fn plan(&self, name: &str, signer: &str, rest: &str) -> String {
        let signers: Vec<String> = self.vkeys.iter().map(|key| format!("{key:?}")).collect();
        let text = format!(
            "version = 1\nname = \"{name}\"\npurpose = \"A test.\"\n[approval]\nthreshold = 2\nsigners = [{}]\n\
             [transcript]\nfile = \"{name}.transcript\"\nsigner = \"{signer}\"\n{rest}",
            signers.join(", ")
        );
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(super) fn new_ca(&self) -> String {
        let rest = format!(
            "[keys.root]\nplace = \"encrypted-file\"\nfile = \"root.key\"\nalgorithm = \"p384\"\n\
             passphrase_source = \"file:passphrase\"\n\
             [keys.issuing]\nplace = \"token\"\nuri = {:?}\nalgorithm = \"p256\"\n{NEW_CA_STEPS}",
            self.uri("issuing")
        );
        self.plan("new-ca", "officer", &rest)
    }

    /// Begins the ceremony, if it has not begun, and gives its id.
    pub(super) fn open(&self, plan: &str) -> String {
        let opened = birthmark(&["ca", "ceremony", "open", plan], b"");
        assert_code(&opened, 0);
        let shown = text(&opened.stdout);
        let id = shown
            .lines()
            .find_map(|line| line.strip_prefix("ceremony  "));
        id.unwrap().to_owned()
    }

    pub(super) fn approve(&self, plan: &str, officers: &[&str]) {
        self.open(plan);
        for officer in officers {
            let key = self.text(&format!("{officer}.key"));
            let approved = birthmark(&["ca", "ceremony", "approve", plan, "--key", &key], b"");
            assert_code(&approved, 0);
        }
    }

    /// Runs the plan and says yes so many times.
    pub(super) fn run(&self, plan: &str, yes: usize) -> Output {
        let key = self.text("ada.key");
        let output = birthmark(
            &["ca", "ceremony", plan, "--key", &key],
            "yes\n".repeat(yes).as_bytes(),
        );
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert!(
            !shown.contains(PASSPHRASE) && !shown.contains("user-7391"),
            "{shown}"
        );
        output
    }

    /// Runs the plan and says yes each time, after `before` was told which step is asked about.
    pub(super) fn run_with(&self, plan: &str, mut before: impl FnMut(usize)) -> Output {
        let mut process = command();
        process.args(["ca", "ceremony", plan, "--key", &self.text("ada.key")]);
        process.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.stderr(Stdio::piped()).spawn().unwrap();
        let mut answers = child.stdin.take().unwrap();
        let mut shown = BufReader::new(child.stderr.take().unwrap());
        let (mut stderr, mut step) = (String::new(), 0);
        loop {
            let begin = stderr.len();
            if shown.read_line(&mut stderr).unwrap() == 0 {
                break;
            }
            let line = &stderr[begin..];
            if let Some(rest) = line.strip_prefix("step ") {
                step = rest.split(' ').next().unwrap().parse().unwrap();
            }
            if line.starts_with("type 'yes'") {
                before(step);
                answers.write_all(b"yes\n").unwrap();
            }
        }
        let output = child.wait_with_output().unwrap();
        Output {
            stderr: stderr.into_bytes(),
            ..output
        }
    }

    pub(super) fn journal(&self, plan: &str) -> PathBuf {
        PathBuf::from(plan.replace(".toml", ".transcript.journal"))
    }

    /// The lines of a transcript that ada signed.
    pub(super) fn transcript(&self, plan: &str) -> Vec<Value> {
        let bytes = fs::read(plan.replace(".toml", ".transcript")).unwrap();
        let note = Note::parse(&bytes).unwrap();
        note.verified_by(&self.vkeys[0].parse::<VerifierKey>().unwrap())
            .unwrap();
        let shown = String::from_utf8(bytes).unwrap();
        assert!(
            !shown.contains(PASSPHRASE) && !shown.contains("user-7391"),
            "{shown}"
        );
        let lines = note.text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The SHA-256 of the issuing key, as the token has it.
    pub(super) fn issuing_key(&self) -> String {
        let checked = birthmark(
            &["hsm", "check", "--json", "--uri", &self.uri("issuing")],
            b"",
        );
        assert_code(&checked, 0);
        let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
        checked["tokens"][0]["public_key_sha256"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

pub(super) const NEW_CA_STEPS: &str = r#"
[[step]]
do = "manual"
text = "Everybody is here."
[[step]]
do = "make-key"
key = "root"
[[step]]
do = "self-sign"
key = "root"
subject = "O=Acme,CN=Acme Root CA"
out = "root.pem"
[[step]]
do = "make-key"
key = "issuing"
[[step]]
do = "record-attributes"
key = "issuing"
out = "attributes.json"
[[step]]
do = "issue"
issuer = "root"
issuer_certificate = "root.pem"
key = "issuing"
subject = "O=Acme,CN=Acme Issuing CA"
out = "issuing.pem"
[[step]]
do = "test-key"
key = "issuing"
certificate = "issuing.pem"
[[step]]
do = "install"
key = "issuing"
certificate = "issuing.pem"
chain = "root.pem"
directory = "ca"
origin = "acme.example/line-1"
[[step]]
do = "export"
files = ["root.pem", "issuing.pem"]
to = ["media-a"]
[[step]]
do = "take-offline"
key = "root"
to = ["media-a", "media-b"]
"#;

pub(super) const NEW_CA_COUNT: usize = 10;

/// Of a file, hexadecimal.
pub(super) fn sha256(path: &str) -> String {
    sha256_of(&fs::read(path).unwrap())
}

fn sha256_of(content: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
    birthmark::hex::encode(digest.as_ref())
}

/// The lines of a journal or transcript, without what chains them.
pub(super) fn lines_of(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| match line.strip_prefix("{\"previous\":\"") {
            Some(rest) => format!("{{{}", &rest[64 + 2..]),
            None => line.to_owned(),
        })
        .collect()
}

/// Chains lines as the program does.
pub(super) fn chained(lines: &[String]) -> String {
    let mut text = String::new();
    let mut previous: Option<String> = None;
    for line in lines {
        let line = match &previous {
            Some(digest) => format!("{{\"previous\":\"{digest}\",{}", &line[1..]),
            None => line.clone(),
        };
        previous = Some(sha256_of(line.as_bytes()));
        text.push_str(&line);
        text.push('\n');
    }
    text
}
