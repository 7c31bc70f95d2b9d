//! One step of a ceremony: what it is, whether it needs approval, and how it is told to people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::plan::{Key, Place};
use super::raw_step::{Parts, RawStep};
use crate::ceremony::CONFIGURATION_FILE;
use crate::ceremony::layout::{ISSUING_CERTIFICATE_FILE, ROOT_CERTIFICATE_FILE, ROOT_DIRECTORY};
use crate::hex;
use crate::subject::Subject;
use birthmark_engine::Activation;
use birthmark_hsm::SignerLocation;

/// A step, checked.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    /// Whether the threshold of signers has to have approved the plan.
    pub(super) needs_approval: bool,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Action {
    MakeKey {
        key: String,
    },
    SelfSign {
        key: String,
        subject: Subject,
        out: PathBuf,
    },
    Issue {
        issuer: String,
        issuer_certificate: PathBuf,
        key: String,
        subject: Subject,
        out: PathBuf,
    },
    Install {
        key: String,
        certificate: PathBuf,
        chain: PathBuf,
        directory: PathBuf,
        origin: Option<String>,
        /// Of the root's certificate; `None`: the root is one that the ceremony makes.
        root_sha256: Option<[u8; 32]>,
        activation: Activation,
    },
    RecordAttributes {
        key: String,
        out: PathBuf,
    },
    TestKey {
        key: String,
        certificate: PathBuf,
    },
    Export {
        files: Vec<PathBuf>,
        to: Vec<PathBuf>,
    },
    TakeOffline {
        key: String,
        to: Vec<PathBuf>,
    },
    Destroy {
        key: String,
    },
    Manual {
        text: String,
    },
}

impl Step {
    pub(super) fn new(raw: RawStep, folder: &Path) -> Result<Step, String> {
        let mut parts = Parts { raw, folder };
        let action = parts.action()?;
        parts.nothing_left(action.name())?;
        let always = matches!(
            action,
            Action::MakeKey { .. }
                | Action::SelfSign { .. }
                | Action::Issue { .. }
                | Action::TakeOffline { .. }
                | Action::Destroy { .. }
        );
        let needs_approval = match parts.raw.approval {
            Some(false) if always => {
                return Err(format!(
                    "{} always needs approval; take approval = false out",
                    action.name()
                ));
            }
            other => always || other == Some(true),
        };
        Ok(Step {
            action,
            needs_approval,
        })
    }
}

impl Action {
    /// As it stands in a plan.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Action::MakeKey { .. } => "make-key",
            Action::SelfSign { .. } => "self-sign",
            Action::Issue { .. } => "issue",
            Action::Install { .. } => "install",
            Action::RecordAttributes { .. } => "record-attributes",
            Action::TestKey { .. } => "test-key",
            Action::Export { .. } => "export",
            Action::TakeOffline { .. } => "take-offline",
            Action::Destroy { .. } => "destroy",
            Action::Manual { .. } => "manual",
        }
    }

    /// The keys that it uses.
    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            Action::Issue { issuer, key, .. } => vec![issuer, key],
            Action::MakeKey { key }
            | Action::SelfSign { key, .. }
            | Action::Install { key, .. }
            | Action::RecordAttributes { key, .. }
            | Action::TestKey { key, .. }
            | Action::TakeOffline { key, .. }
            | Action::Destroy { key } => vec![key],
            Action::Export { .. } | Action::Manual { .. } => Vec::new(),
        }
    }

    /// The files and directories that it makes, but for keys and copies.
    pub(super) fn makes(&self) -> Option<&PathBuf> {
        match self {
            Action::SelfSign { out, .. }
            | Action::Issue { out, .. }
            | Action::RecordAttributes { out, .. } => Some(out),
            Action::Install { directory, .. } => Some(directory),
            _ => None,
        }
    }

    /// How many copies it makes.
    pub(super) fn copies(&self) -> usize {
        match self {
            Action::Export { files, to } => files.len() * to.len(),
            Action::TakeOffline { to, .. } => to.len(),
            _ => 0,
        }
    }

    /// The files whose digests it records as made.
    pub(super) fn files(&self, keys: &BTreeMap<String, Key>) -> Vec<PathBuf> {
        match self {
            Action::MakeKey { key } => {
                let file = keys.get(key).and_then(|key| key.place.file());
                file.map(Path::to_owned).into_iter().collect()
            }
            Action::Install { directory, .. } => [CONFIGURATION_FILE, ISSUING_CERTIFICATE_FILE]
                .map(|file| directory.join(file))
                .into_iter()
                .chain(self.root_file())
                .collect(),
            other => other.makes().cloned().into_iter().collect(),
        }
    }

    /// Whether it makes a root.
    pub(super) fn makes_root(&self) -> bool {
        matches!(self, Action::SelfSign { .. })
    }

    /// Where the certificate of a root is that it makes or installs.
    pub(super) fn root_file(&self) -> Option<PathBuf> {
        match self {
            Action::SelfSign { out, .. } => Some(out.clone()),
            Action::Install { directory, .. } => {
                Some(directory.join(ROOT_DIRECTORY).join(ROOT_CERTIFICATE_FILE))
            }
            _ => None,
        }
    }

    /// The key that it makes.
    pub(super) fn made_key(&self) -> Option<&str> {
        match self {
            Action::MakeKey { key } => Some(key),
            _ => None,
        }
    }

    /// The copies that it makes, each after the file that it is of.
    pub(super) fn copied(&self, keys: &BTreeMap<String, Key>) -> Vec<(PathBuf, PathBuf)> {
        let (files, to): (Vec<&Path>, _) = match self {
            Action::Export { files, to } => (files.iter().map(PathBuf::as_path).collect(), to),
            Action::TakeOffline { key, to } => {
                let file = keys.get(key).and_then(|key| key.place.file());
                (file.into_iter().collect(), to)
            }
            _ => return Vec::new(),
        };
        let copies = files.iter().flat_map(|file| {
            let name = file.file_name().unwrap_or_default();
            let copy = move |directory: &PathBuf| ((*file).to_owned(), directory.join(name));
            to.iter().map(copy)
        });
        copies.collect()
    }

    /// The key file that it removes in the end.
    pub(super) fn removed<'a>(&self, keys: &'a BTreeMap<String, Key>) -> Option<&'a Path> {
        match self {
            Action::Destroy { key } | Action::TakeOffline { key, .. } => {
                keys.get(key).and_then(|key| key.place.file())
            }
            _ => None,
        }
    }

    /// Why it does not go with the place of its key.
    pub(super) fn misplaced(&self, keys: &BTreeMap<String, Key>) -> Option<String> {
        let on_token =
            |key: &String| matches!(keys.get(key).map(|key| &key.place), Some(Place::Token(_)));
        match self {
            Action::TakeOffline { key, .. } if on_token(key) => Some(format!(
                "the key '{key}' is on a token and cannot be copied"
            )),
            Action::RecordAttributes { key, .. } if !on_token(key) => Some(format!(
                "the key '{key}' is in a file, which has no attributes"
            )),
            Action::Install {
                key, activation, ..
            } => {
                let location = match keys.get(key).map(|key| &key.place)? {
                    Place::Encrypted { .. } => {
                        return Some(format!(
                            "the key '{key}' is encrypted: a station cannot sign with it; use a token"
                        ));
                    }
                    Place::File(file) => SignerLocation::Software(file.clone()),
                    Place::Token(uri) => SignerLocation::Pkcs11((**uri).clone()),
                };
                let misfit = activation.check(&location).err();
                misfit.map(|error| format!("activation: {error}"))
            }
            Action::Issue { issuer, key, .. } if issuer == key => {
                Some("issuer and key are the same: use self-sign".to_owned())
            }
            _ => None,
        }
    }

    /// In a sentence, for whoever has to agree.
    pub(super) fn explain(&self, keys: &BTreeMap<String, Key>) -> String {
        shown(&self.sentence(keys))
    }

    fn sentence(&self, keys: &BTreeMap<String, Key>) -> String {
        let place = |name: &String| place(keys.get(name));
        match self {
            Action::MakeKey { key } => {
                let algorithm = keys.get(key).and_then(|key| key.algorithm);
                let algorithm = algorithm.map_or("", |algorithm| algorithm.title());
                format!("Make the {algorithm} key '{key}' {}.", place(key))
            }
            Action::SelfSign { key, subject, out } => format!(
                "Make a root certificate for the key '{key}', signed by itself: {subject}. It goes to {}.",
                out.display()
            ),
            Action::Issue {
                issuer,
                issuer_certificate,
                key,
                subject,
                out,
            } => format!(
                "Certify the key '{key}' as the issuing CA {subject}, signed by '{issuer}' (certificate {}). It goes to {}.",
                issuer_certificate.display(),
                out.display()
            ),
            Action::Install {
                key,
                certificate,
                chain,
                directory,
                origin,
                root_sha256,
                activation,
            } => format!(
                "Make the CA directory {} for the key '{key}', certificate {}, chain {} up to {}; log origin {}; activation {activation}.",
                directory.display(),
                certificate.display(),
                chain.display(),
                match root_sha256 {
                    Some(digest) => format!("the root with SHA-256 {}", hex::encode(digest)),
                    None => "the root made before".to_owned(),
                },
                origin.as_deref().unwrap_or("at random")
            ),
            Action::RecordAttributes { key, out } => format!(
                "Read every attribute of the key '{key}' from the token and record it in {}.",
                out.display()
            ),
            Action::TestKey { key, certificate } => format!(
                "Sign a test text with the key '{key}' ({}) and verify it with the certificate {}.",
                place(key),
                certificate.display()
            ),
            Action::Export { files, to } => format!("Copy {} to {}.", list(files), list(to)),
            Action::TakeOffline { key, to } => format!(
                "Copy the key '{key}' ({}) to {}, read the copies back, and remove it here.",
                place(key),
                list(to)
            ),
            Action::Destroy { key } => {
                format!(
                    "DESTROY the key '{key}' {}. This cannot be undone.",
                    place(key)
                )
            }
            Action::Manual { text } => format!("By hand: {}", text.trim()),
        }
    }
}

/// Text of a plan on one line, as it is: characters that move the cursor or turn the direction of writing could show
/// another plan than the one that is approved.
pub(super) fn shown(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let plain = line.chars().map(|c| match c {
        c if c.is_control() || turns(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    plain.collect()
}

/// Where a key is, in a sentence.
fn place(key: Option<&Key>) -> String {
    match key.map(|key| &key.place) {
        Some(Place::Token(uri)) => format!("on the token: {uri}"),
        Some(Place::Encrypted { file, .. }) => {
            format!("in the encrypted file {}", file.display())
        }
        Some(Place::File(file)) => format!("in the file {}, not encrypted", file.display()),
        None => String::new(),
    }
}

/// Files or directories, in a sentence.
fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_cannot_show_itself_as_another() {
        let text = " Everybody\nis  here.\u{1b}[2A\r\u{202e}gnol\u{7} ";
        assert_eq!(
            shown(text),
            "Everybody is here.\u{fffd}[2A \u{fffd}gnol\u{fffd}"
        );
        let action = Action::Manual {
            text: "a\n  3. Destroy".to_owned(),
        };
        assert_eq!(action.explain(&BTreeMap::new()), "By hand: a 3. Destroy");
    }
}
