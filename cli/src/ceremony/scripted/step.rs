//! One step of a ceremony: what it is, whether it needs approval, and how it is told to people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use birthmark_engine::Activation;
use birthmark_hsm::SignerLocation;
use serde::Deserialize;

use super::plan::{Key, Place, activation};
use crate::subject::Subject;

/// Most files or directories that one step names.
const PATHS_MAX: usize = 16;

/// A step as it is written. Every step takes some of these.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    #[serde(rename = "do")]
    action: String,
    key: Option<String>,
    issuer: Option<String>,
    issuer_certificate: Option<PathBuf>,
    subject: Option<String>,
    out: Option<PathBuf>,
    certificate: Option<PathBuf>,
    chain: Option<PathBuf>,
    directory: Option<PathBuf>,
    origin: Option<String>,
    activation: Option<String>,
    files: Option<Vec<PathBuf>>,
    to: Option<Vec<PathBuf>>,
    text: Option<String>,
    approval: Option<bool>,
}

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

/// Takes a raw step apart; what is not taken does not belong there.
struct Parts<'a> {
    raw: RawStep,
    folder: &'a Path,
}

impl Parts<'_> {
    fn action(&mut self) -> Result<Action, String> {
        let name = self.raw.action.clone();
        Ok(match name.as_str() {
            "make-key" => Action::MakeKey { key: self.key()? },
            "self-sign" => Action::SelfSign {
                key: self.key()?,
                subject: self.subject()?,
                out: self.out()?,
            },
            "issue" => Action::Issue {
                issuer: need(self.raw.issuer.take(), "issuer")?,
                issuer_certificate: {
                    let path = self.raw.issuer_certificate.take();
                    self.path(path, "issuer_certificate")?
                },
                key: self.key()?,
                subject: self.subject()?,
                out: self.out()?,
            },
            "install" => Action::Install {
                key: self.key()?,
                certificate: self.certificate()?,
                chain: {
                    let path = self.raw.chain.take();
                    self.path(path, "chain")?
                },
                directory: {
                    let path = self.raw.directory.take();
                    self.path(path, "directory")?
                },
                origin: self.raw.origin.take(),
                activation: activation(self.raw.activation.take().as_deref())?,
            },
            "record-attributes" => Action::RecordAttributes {
                key: self.key()?,
                out: self.out()?,
            },
            "test-key" => Action::TestKey {
                key: self.key()?,
                certificate: self.certificate()?,
            },
            "export" => Action::Export {
                files: {
                    let files = self.raw.files.take();
                    self.paths(files, "files")?
                },
                to: self.to()?,
            },
            "take-offline" => Action::TakeOffline {
                key: self.key()?,
                to: self.to()?,
            },
            "destroy" => Action::Destroy { key: self.key()? },
            "manual" => Action::Manual {
                text: need(self.raw.text.take(), "text")?,
            },
            other => {
                return Err(format!(
                    "there is no step do = {other:?}; there are make-key, self-sign, issue, install, \
                     record-attributes, test-key, export, take-offline, destroy, manual"
                ));
            }
        })
    }

    fn key(&mut self) -> Result<String, String> {
        need(self.raw.key.take(), "key")
    }

    fn subject(&mut self) -> Result<Subject, String> {
        let subject = need(self.raw.subject.take(), "subject")?;
        subject.parse().map_err(|error| format!("subject: {error}"))
    }

    fn out(&mut self) -> Result<PathBuf, String> {
        let path = self.raw.out.take();
        self.path(path, "out")
    }

    fn certificate(&mut self) -> Result<PathBuf, String> {
        let path = self.raw.certificate.take();
        self.path(path, "certificate")
    }

    fn to(&mut self) -> Result<Vec<PathBuf>, String> {
        let paths = self.raw.to.take();
        self.paths(paths, "to")
    }

    fn path(&self, path: Option<PathBuf>, name: &str) -> Result<PathBuf, String> {
        Ok(self.folder.join(need(path, name)?))
    }

    fn paths(&self, paths: Option<Vec<PathBuf>>, name: &str) -> Result<Vec<PathBuf>, String> {
        let paths = need(paths, name)?;
        if !(1..=PATHS_MAX).contains(&paths.len()) {
            return Err(format!("{name} has 1 to {PATHS_MAX} entries"));
        }
        Ok(paths.iter().map(|path| self.folder.join(path)).collect())
    }

    fn nothing_left(&self, action: &str) -> Result<(), String> {
        let raw = &self.raw;
        let left = [
            ("key", raw.key.is_some()),
            ("issuer", raw.issuer.is_some()),
            ("issuer_certificate", raw.issuer_certificate.is_some()),
            ("subject", raw.subject.is_some()),
            ("out", raw.out.is_some()),
            ("certificate", raw.certificate.is_some()),
            ("chain", raw.chain.is_some()),
            ("directory", raw.directory.is_some()),
            ("origin", raw.origin.is_some()),
            ("activation", raw.activation.is_some()),
            ("files", raw.files.is_some()),
            ("to", raw.to.is_some()),
            ("text", raw.text.is_some()),
        ];
        match left.iter().find(|(_, is_left)| *is_left) {
            Some((name, _)) => Err(format!("{action} takes no {name}")),
            None => Ok(()),
        }
    }
}

fn need<T>(value: Option<T>, name: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{name} is missing"))
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

    /// The copies that it makes.
    pub(super) fn copied(&self, keys: &BTreeMap<String, Key>) -> Vec<PathBuf> {
        let (files, to): (Vec<&Path>, _) = match self {
            Action::Export { files, to } => (files.iter().map(PathBuf::as_path).collect(), to),
            Action::TakeOffline { key, to } => {
                let file = keys.get(key).and_then(|key| key.place.file());
                (file.into_iter().collect(), to)
            }
            _ => return Vec::new(),
        };
        let names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
        let copies = names
            .iter()
            .flat_map(|name| to.iter().map(move |directory| directory.join(name)));
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
                activation,
            } => format!(
                "Make the CA directory {} for the key '{key}', certificate {}, chain {}; log origin {}; activation {activation}.",
                directory.display(),
                certificate.display(),
                chain.display(),
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
