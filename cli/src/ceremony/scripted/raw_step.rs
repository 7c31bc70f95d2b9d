//! A step of a ceremony as it is written in a plan.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::plan::activation;
use super::step::Action;
use crate::hex;
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
    root_sha256: Option<String>,
    activation: Option<String>,
    files: Option<Vec<PathBuf>>,
    to: Option<Vec<PathBuf>>,
    text: Option<String>,
    pub(super) approval: Option<bool>,
}

/// Takes a raw step apart; what is not taken does not belong there.
pub(super) struct Parts<'a> {
    pub(super) raw: RawStep,
    pub(super) folder: &'a Path,
}

impl Parts<'_> {
    pub(super) fn action(&mut self) -> Result<Action, String> {
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
                root_sha256: self.root_sha256()?,
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

    fn root_sha256(&mut self) -> Result<Option<[u8; 32]>, String> {
        let Some(text) = self.raw.root_sha256.take() else {
            return Ok(None);
        };
        let digest = hex::decode(&text).and_then(|digest| digest.try_into().ok());
        let digest = digest.ok_or("root_sha256 has 64 hexadecimal digits")?;
        Ok(Some(digest))
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

    pub(super) fn nothing_left(&self, action: &str) -> Result<(), String> {
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
            ("root_sha256", raw.root_sha256.is_some()),
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
