//! A refused PIN is sent once, whichever command comes next.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use aws_lc_rs::digest::{SHA256, digest};
use birthmark_test_token::{Report, TestHsm};
use der::{DecodePem, Encode};
use x509_cert::Certificate;

use crate::support::{Factory, assert_code, birthmark, error_line, state_home};
use crate::token::write_private;

/// The certificate of the root that `ca init` makes.
fn root_certificate(factory: &Factory) -> PathBuf {
    factory.path("ca").join("root").join("root-ca.pem")
}

/// An HSM, and all that the commands need besides.
struct World {
    factory: Factory,
    hsm: TestHsm,
    /// SHA-256 of the root's certificate.
    root: String,
}

impl World {
    fn new() -> World {
        let factory = Factory::new();
        let settings = "mode = 'software'\nkey_file = 'k.p8'\nmake_key = false\nreport_file = 'report-{pid}.json'\n";
        let hsm = TestHsm::create(&factory.path(""), "pins", settings).unwrap();
        let officer = factory.path("ada.key");
        let keygen = ["officer", "keygen", "--name", "ada.example", "--out"];
        let made = birthmark(&[&keygen[..], &[officer.to_str().unwrap()]].concat(), b"");
        assert_code(&made, 0);
        let plan = format!(
            "version = 1\nname = \"pins\"\npurpose = \"A test.\"\n[approval]\nthreshold = 1\nsigners = [{:?}]\n\
             [transcript]\nfile = \"transcript\"\nsigner = \"officer\"\n\
             [keys.k]\nplace = \"token\"\nuri = {:?}\nalgorithm = \"p256\"\n\
             [[step]]\ndo = \"make-key\"\nkey = \"k\"\n",
            String::from_utf8_lossy(&made.stdout).trim(),
            hsm.uri()
        );
        fs::create_dir(factory.path("plan")).unwrap();
        factory.file("plan/plan.toml", plan);
        // A configuration of its own with this signer.
        let configuration = fs::read_to_string(factory.path("ca/birthmark.toml")).unwrap();
        let signer = configuration.replace("software:issuing-ca.key", &hsm.uri());
        factory.file("ca/birthmark.toml", signer);
        let root = Certificate::from_pem(fs::read(root_certificate(&factory)).unwrap());
        let root = digest(&SHA256, &root.unwrap().to_der().unwrap());
        let root = birthmark::hex::encode(root.as_ref());
        World { factory, hsm, root }
    }

    fn text(&self, name: &str) -> String {
        self.factory.path(name).to_str().unwrap().to_owned()
    }

    /// Every command that logs in for itself, with the user's state.
    fn commands(&self) -> Vec<Vec<String>> {
        let uri = self.hsm.uri();
        let (certificate, root) = (
            self.text("ca/issuing-ca.pem"),
            root_certificate(&self.factory).to_str().unwrap().to_owned(),
        );
        let [csr, ca, other] = ["new.csr", "new-ca", "other-ca"].map(|name| self.text(name));
        let of = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        vec![
            of(&["hsm", "check", "--uri", &uri]),
            of(&["hsm", "keygen", "--uri", &uri, "--algorithm", "p256"]),
            of(&[
                "ca",
                "csr",
                "--signer",
                &uri,
                "--subject",
                "CN=x",
                "--out",
                &csr,
            ]),
            of(&[
                "ca",
                "install",
                "--dir",
                &ca,
                "--certificate",
                &certificate,
                "--chain",
                &root,
                "--root-sha256",
                &self.root,
                "--signer",
                &uri,
            ]),
            of(&["ca", "init", "--dir", &other, "--signer", &uri]),
            of(&["ca", "init", "--dir", &other, "--root-signer", &uri]),
        ]
    }

    /// Calls of `C_Login` by all processes so far.
    fn logins(&self) -> u64 {
        files(&self.factory.path(""), "report-")
            .iter()
            .map(|path| {
                let report: Report = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
                report.calls("C_Login")
            })
            .sum()
    }
}

fn files(directory: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(beginning))
        })
        .collect()
}

/// It ended because of the PIN, and says which file to remove.
fn held_back(output: &Output, directory: &Path) -> PathBuf {
    assert_code(output, 5);
    let marks = files(directory, "pin-refused.");
    let [mark] = &marks[..] else {
        panic!("{marks:?}")
    };
    let line = error_line(output);
    let removal = format!("then remove {}", mark.display());
    assert!(line.contains(&removal), "{line}");
    assert!(!line.contains("wrong-pin"), "{line}");
    mark.clone()
}

#[test]
fn commands_without_a_configuration_keep_marks_in_the_users_state() {
    let world = World::new();
    write_private(world.hsm.pin_file(), "wrong-pin");
    let state = state_home().join("birthmark");
    let commands = world.commands();
    for (sent, first) in commands.iter().enumerate() {
        let mark = held_back(&birthmark(first, b""), &state);
        for next in &commands {
            held_back(&birthmark(next, b""), &state);
        }
        assert_eq!(world.logins(), sent as u64 + 1, "{first:?}");
        fs::remove_file(mark).unwrap();
    }
    assert!(!world.factory.path("other-ca").exists() && !world.factory.path("new.csr").exists());
}

#[test]
fn commands_with_a_configuration_or_a_plan_keep_marks_beside_it() {
    let world = World::new();
    write_private(world.hsm.pin_file(), "wrong-pin");
    let config = world.text("ca/birthmark.toml");
    let check = ["hsm", "check", "--config", &config];
    let issue = ["issue", "--config", &config, "--profile", "idevid", "-"];
    let ca = world.factory.path("ca");
    for (first, sent) in [(&check[..], 1), (&issue[..], 2)] {
        let mark = held_back(&birthmark(first, b""), &ca);
        for next in [&check[..], &issue[..], &check[..]] {
            held_back(&birthmark(next, b""), &ca);
        }
        assert_eq!(world.logins(), sent);
        fs::remove_file(mark).unwrap();
    }

    let (plan, key) = (world.text("plan/plan.toml"), world.text("ada.key"));
    assert_code(&birthmark(&["ca", "ceremony", "open", &plan], b""), 0);
    let approved = birthmark(&["ca", "ceremony", "approve", &plan, "--key", &key], b"");
    assert_code(&approved, 0);
    let run = ["ca", "ceremony", &plan, "--key", &key];
    for _ in 0..3 {
        held_back(&birthmark(&run, b"yes\n"), &world.factory.path("plan"));
    }
    assert_eq!(world.logins(), 3);
}

#[test]
fn without_a_place_for_marks_no_pin_is_sent() {
    let world = World::new();
    write_private(world.hsm.pin_file(), "wrong-pin");
    let file = world.factory.file("file", "");
    for (state, words) in [
        (None, "set XDG_STATE_HOME or HOME"),
        (Some(&file), "let this user write there"),
    ] {
        for command in world.commands() {
            let mut process = crate::support::command();
            process.args(&command).env_remove("HOME");
            match state {
                Some(state) => process.env("XDG_STATE_HOME", state),
                None => process.env_remove("XDG_STATE_HOME"),
            };
            let output = process.output().unwrap();
            assert_code(&output, 2);
            let line = error_line(&output);
            assert!(
                line.contains(words) && line.contains("no PIN is sent"),
                "{line}"
            );
        }
    }
    assert_eq!(world.logins(), 0);
}
