//! A ceremony's plan: what is written (TOML), and what is left of it when everything about it was checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{self, SHA256};
use birthmark_engine::Activation;
use birthmark_hsm::{KeyAlgorithm, Pkcs11Uri, RsaSignature};
use birthmark_log::tlog::{KeyAlgorithm as NoteAlgorithm, VerifierKey};
use serde::Deserialize;

use super::ScriptError;
use super::step::{Action, Step, shown};
use crate::hex;

/// Longest plan read, in bytes. People have to read it.
const PLAN_BYTES_MAX: u64 = 256 * 1024;

/// Most signers: as many as officers of a station.
const SIGNERS_MAX: usize = 64;

/// Most keys of one plan.
const KEYS_MAX: usize = 16;

/// Most steps of one plan: a day's work.
pub(super) const STEPS_MAX: usize = 100;

/// Most copies that all steps together make: each is a line's part in the transcript.
const COPIES_MAX: usize = 1_000;

/// The transcript is signed with an officer's key that is given when the ceremony runs.
const OFFICER: &str = "officer";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    version: u32,
    name: String,
    purpose: String,
    approval: RawApproval,
    transcript: RawTranscript,
    keys: BTreeMap<String, RawKey>,
    step: Vec<super::raw_step::RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApproval {
    threshold: usize,
    signers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTranscript {
    file: PathBuf,
    signer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    place: String,
    algorithm: Option<String>,
    signature: Option<String>,
    file: Option<PathBuf>,
    passphrase_source: Option<String>,
    uri: Option<String>,
    #[serde(default)]
    existing: bool,
    public_key_sha256: Option<String>,
}

/// A plan that can be carried out, as far as the plan itself tells.
#[derive(Debug)]
pub(super) struct Plan {
    /// The file.
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) purpose: String,
    /// SHA-256 of the file, byte for byte: what is approved.
    pub(super) sha256: String,
    pub(super) threshold: usize,
    pub(super) signers: Vec<VerifierKey>,
    pub(super) transcript: PathBuf,
    pub(super) transcript_signer: TranscriptSigner,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TranscriptSigner {
    /// One of the plan's signers, with the key file that is given when it runs.
    Officer,
    /// An Ed25519 key of the plan.
    Key(String),
}

/// A key that the ceremony makes or uses.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    /// Of a key that is made.
    pub(super) algorithm: Option<KeyAlgorithm>,
    /// How an RSA key signs; `None`: PKCS #1 v1.5.
    pub(super) rsa_signature: Option<RsaSignature>,
    /// Of a key that exists: no other may be used in its place.
    pub(super) public_key_sha256: Option<String>,
}

#[derive(Debug)]
pub(super) enum Place {
    /// PKCS #8 in PEM, readable by its owner.
    File(PathBuf),
    /// The same, encrypted with a passphrase.
    Encrypted {
        file: PathBuf,
        /// A file with the passphrase; `None`: it is typed.
        passphrase: Option<PathBuf>,
    },
    Token(Box<Pkcs11Uri>),
}

impl Place {
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Place::File(file) | Place::Encrypted { file, .. } => Some(file),
            Place::Token(_) => None,
        }
    }
}

impl Plan {
    /// Reads and checks a plan. Nothing that it names is touched.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub(super) fn read(path: &Path) -> Result<Plan, ScriptError> {
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(PLAN_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|source| ScriptError::file("read", path, source))?;
        let wrong = Wrong { path };
        if text.len() as u64 > PLAN_BYTES_MAX {
            return wrong.plan("", format!("it has over {PLAN_BYTES_MAX} bytes"));
        }
        let raw: RawPlan = toml::from_str(&text).or_else(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text[..span.start.min(text.len())].matches('\n').count()
            });
            wrong.plan(&format!("line {line}"), error.message().replace('\n', " "))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if raw.version != 1 {
            return wrong.plan("version", "this program reads version 1".to_owned());
        }
        // It is the key's name in the transcript's signature, and a part of file names.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=64).contains(&raw.name.len()) || !raw.name.chars().all(plain) {
            let problem = "use 1 to 64 letters, digits, '-', '_' and '.'".to_owned();
            return wrong.plan("name", problem);
        }
        let signers = signers(&raw.approval, &wrong)?;
        let mut keys = BTreeMap::new();
        if raw.keys.len() > KEYS_MAX {
            return wrong.plan("keys", format!("there are over {KEYS_MAX}"));
        }
        for (name, key) in raw.keys {
            let place = format!("keys.{name}");
            let key = self::key(key, folder).or_else(|problem| wrong.plan(&place, problem))?;
            keys.insert(name, key);
        }
        if !(1..=STEPS_MAX).contains(&raw.step.len()) {
            return wrong.plan("step", format!("write 1 to {STEPS_MAX} of them"));
        }
        let mut steps = Vec::with_capacity(raw.step.len());
        for (index, step) in raw.step.into_iter().enumerate() {
            let place = format!("step {}", index + 1);
            let step = Step::new(step, folder).or_else(|problem| wrong.plan(&place, problem))?;
            steps.push(step);
        }
        let transcript_signer = match raw.transcript.signer.as_str() {
            OFFICER => TranscriptSigner::Officer,
            key => TranscriptSigner::Key(key.to_owned()),
        };
        let plan = Plan {
            path: path.to_owned(),
            name: raw.name,
            purpose: raw.purpose,
            sha256: hex::encode(digest::digest(&SHA256, text.as_bytes()).as_ref()),
            threshold: raw.approval.threshold,
            signers,
            transcript: folder.join(raw.transcript.file),
            transcript_signer,
            keys,
            steps,
        };
        plan.check_order(&wrong)?;
        plan.check_transcript(&wrong)?;
        Ok(plan)
    }

    /// The directory that the plan's paths start from.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// How a path of the plan is recorded: from the plan's directory on, so that it means the same wherever that is.
    pub(super) fn record(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.folder()).unwrap_or(path);
        path.display().to_string()
    }

    /// The path that was recorded so.
    pub(super) fn resolve(&self, recorded: &str) -> PathBuf {
        self.folder().join(recorded)
    }

    /// That every key is there when it is used, and every file is made once.
    fn check_order(&self, wrong: &Wrong<'_>) -> Result<(), ScriptError> {
        let existing = self.keys.iter().filter(|(_, key)| key.algorithm.is_none());
        let mut there: BTreeSet<&str> = existing.map(|(name, _)| name.as_str()).collect();
        let mut used = BTreeSet::new();
        let mut made = BTreeSet::new();
        let mut has_root = false;
        for (index, step) in self.steps.iter().enumerate() {
            let fail = |problem: String| wrong.plan(&format!("step {}", index + 1), problem);
            for name in step.action.keys() {
                let Some(key) = self.keys.get(name) else {
                    return fail(format!("there is no [keys.{name}]"));
                };
                used.insert(name);
                let makes = matches!(step.action, Action::MakeKey { .. });
                if makes && key.algorithm.is_none() {
                    return fail(format!(
                        "the key '{name}' is existing = true: it is not made"
                    ));
                }
                if makes && !there.insert(name) {
                    return fail(format!("the key '{name}' is made twice"));
                }
                if !there.contains(name) {
                    return fail(format!(
                        "the key '{name}' is not there: it is not made yet, or gone by then"
                    ));
                }
            }
            has_root |= step.action.makes_root();
            if !has_root
                && matches!(
                    step.action,
                    Action::Install {
                        root_sha256: None,
                        ..
                    }
                )
            {
                return fail(
                    "nothing says which root is trusted: add root_sha256 = \"…\", as the root's keeper tells it (openssl \
                     x509 -fingerprint -sha256), or make the root before by self-sign"
                        .to_owned(),
                );
            }
            if let Some(problem) = step.action.misplaced(&self.keys) {
                return fail(problem);
            }
            if let Action::Destroy { key } | Action::TakeOffline { key, .. } = &step.action {
                there.remove(key.as_str());
            }
            if let Some(file) = step.action.makes()
                && (!made.insert(file) || self.transcript == *file)
            {
                return fail(format!("{} is made twice", file.display()));
            }
        }
        let copies: usize = self.steps.iter().map(|step| step.action.copies()).sum();
        if copies > COPIES_MAX {
            let problem =
                format!("all together make {copies} copies; {COPIES_MAX} fit a transcript");
            return wrong.plan("step", problem);
        }
        match self.keys.keys().find(|name| !used.contains(name.as_str())) {
            Some(unused) => wrong.plan(
                &format!("keys.{unused}"),
                "no step uses it; take it out".to_owned(),
            ),
            None => Ok(()),
        }
    }

    /// That whoever signs the transcript can do so in the end.
    fn check_transcript(&self, wrong: &Wrong<'_>) -> Result<(), ScriptError> {
        let TranscriptSigner::Key(name) = &self.transcript_signer else {
            return Ok(());
        };
        let fail = |problem: &str| wrong.plan("transcript.signer", problem.to_owned());
        let Some(key) = self.keys.get(name) else {
            return fail("write \"officer\", or the name of one of the plan's keys");
        };
        if key
            .algorithm
            .is_some_and(|algorithm| algorithm != KeyAlgorithm::Ed25519)
        {
            return fail("a signed note needs an Ed25519 key: name another, or \"officer\"");
        }
        let gone = self.steps.iter().any(|step| match &step.action {
            Action::Destroy { key } | Action::TakeOffline { key, .. } => key == name,
            _ => false,
        });
        if gone {
            return fail("this key is gone when the transcript is signed: write \"officer\"");
        }
        Ok(())
    }
}

/// Where the plan is wrong.
struct Wrong<'a> {
    path: &'a Path,
}

impl Wrong<'_> {
    fn plan<T>(&self, place: &str, problem: String) -> Result<T, ScriptError> {
        Err(ScriptError::Plan {
            path: self.path.to_owned(),
            place: shown(place),
            problem: shown(&problem),
        })
    }
}

fn signers(raw: &RawApproval, wrong: &Wrong<'_>) -> Result<Vec<VerifierKey>, ScriptError> {
    let count = raw.signers.len();
    if !(1..=SIGNERS_MAX).contains(&count) {
        let problem = format!("list 1 to {SIGNERS_MAX} lines of `birthmark officer keygen`");
        return wrong.plan("approval.signers", problem);
    }
    if !(1..=count).contains(&raw.threshold) {
        let problem = format!("use 1 to {count}, the number of signers");
        return wrong.plan("approval.threshold", problem);
    }
    let mut signers: Vec<VerifierKey> = Vec::with_capacity(count);
    for written in &raw.signers {
        let place = "approval.signers";
        let key: VerifierKey = written
            .parse()
            .or_else(|error| wrong.plan(place, format!("{written:?}: {error}")))?;
        if key.algorithm() != NoteAlgorithm::Ed25519 {
            return wrong.plan(
                place,
                format!("{written:?}: not an Ed25519 key (type 0x01)"),
            );
        }
        // One person with two names would count twice.
        let same = |other: &VerifierKey| {
            other.name() == key.name() || other.public_key() == key.public_key()
        };
        if signers.iter().any(same) {
            return wrong.plan(place, format!("{} stands there twice", key.name()));
        }
        signers.push(key);
    }
    Ok(signers)
}

fn key(raw: RawKey, folder: &Path) -> Result<Key, String> {
    let place = match (raw.place.as_str(), raw.file, raw.uri) {
        ("file", Some(file), None) if raw.passphrase_source.is_none() => {
            Place::File(folder.join(file))
        }
        ("encrypted-file", Some(file), None) => Place::Encrypted {
            file: folder.join(file),
            passphrase: match raw.passphrase_source {
                Some(source) => {
                    let path = source.strip_prefix("file:").filter(|path| !path.is_empty());
                    let path = path.ok_or(
                        "passphrase_source is \"file:…\"; without it, the passphrase is typed",
                    )?;
                    Some(folder.join(path))
                }
                None => None,
            },
        },
        ("token", None, Some(uri)) if raw.passphrase_source.is_none() => {
            let uri: Pkcs11Uri = uri.parse().map_err(|error| format!("uri: {error}"))?;
            if uri.object().is_none() {
                return Err("uri: add object=LABEL to it".to_owned());
            }
            Place::Token(Box::new(uri))
        }
        _ => {
            return Err(
                "write place = \"file\" with file, \"encrypted-file\" with file (and passphrase_source), or \
                 \"token\" with uri"
                    .to_owned(),
            );
        }
    };
    let algorithm = raw.algorithm.map(|name| name.parse::<KeyAlgorithm>());
    let algorithm = algorithm.transpose().map_err(|error| error.to_string())?;
    let rsa_signature = raw.signature.map(|name| name.parse::<RsaSignature>());
    let rsa_signature = rsa_signature
        .transpose()
        .map_err(|error| error.to_string())?;
    if rsa_signature.is_some() && algorithm.is_some_and(|algorithm| !algorithm.is_rsa()) {
        return Err("signature is for RSA keys; take it out".to_owned());
    }
    let digest = |text: &String| hex::decode(text).filter(|digest| digest.len() == 32);
    match (raw.existing, algorithm, &raw.public_key_sha256) {
        (false, Some(algorithm), None) => Ok(Key {
            place,
            algorithm: Some(algorithm),
            rsa_signature,
            public_key_sha256: None,
        }),
        (true, None, Some(text)) => {
            let digest = digest(text).ok_or("public_key_sha256 has 64 hexadecimal digits")?;
            Ok(Key {
                place,
                algorithm: None,
                rsa_signature,
                public_key_sha256: Some(hex::encode(&digest)),
            })
        }
        (false, ..) => Err("a key that is made has an algorithm and no public_key_sha256".to_owned()),
        (true, ..) => Err(
            "a key with existing = true has the public_key_sha256 that `birthmark hsm check` or the transcript of \
             its making tells, and no algorithm"
                .to_owned(),
        ),
    }
}

/// An activation as a step names it.
pub(super) fn activation(name: Option<&str>) -> Result<Activation, String> {
    let activation = name.map_or(Ok(Activation::default()), str::parse);
    activation.map_err(|error| format!("activation: {error}"))
}
