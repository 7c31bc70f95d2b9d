//! Officers' permits: signed notes that allow one reissue for one device.
//!
//! A permit is a signed note (<https://c2sp.org/signed-note>) with an Ed25519 signature of an officer. Its text:
//!
//! ```text
//! birthmark/permit@v1
//! log example.com/line-7
//! issuer 2083eb51e1059793dc167d7896d8e9cc7ac746f8
//! profile idevid
//! identity idevid sn-0001
//! key any
//! replaces 42
//! not-after 2026-12-01T00:00:00Z
//! reason board swapped
//! ```
//!
//! | line | holds |
//! | --- | --- |
//! | `log` | origin of the log (tlog-checkpoint) whose entry is replaced |
//! | `issuer` | the issuer's key identifier as records have it: RFC 7093 method 1, 40 digits |
//! | `profile` | name of the profile |
//! | `identity` | the profile's identity domain, and the identity as the log compares it: in lower case |
//! | `key` | fingerprint of the new key as records have it, 64 digits; or `any` |
//! | `replaces` | the entry that is replaced, the device's newest |
//! | `not-after` | last second in which the permit counts, by the log's clock |
//! | `reason` | for people, at most 200 characters; the line may be missing |
//!
//! Lines stand in this order, each once, in this one spelling. A permit is spent by its own use: it names
//! the entry that it replaces, and from then on another entry is the device's newest.

mod officers;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use birthmark_log::tlog::{Note, NoteSignature, VerifierKey};

use crate::hex;

pub(crate) use officers::Wanted;
pub use officers::{Officers, OfficersError};

/// First line of a permit.
pub const PERMIT_HEADER: &str = "birthmark/permit@v1";

/// Octets of a whole note: a text of 1,670 octets with every value at its limit, an empty line, and six
/// signatures of 353 by names of 255. Rounded up.
pub const PERMIT_BYTES_MAX: usize = 4096;

/// Octets of a log's origin, as the ceremony bounds it.
const LOG_BYTES_MAX: usize = 255;
/// Octets of a profile's or domain's name.
const NAME_BYTES_MAX: usize = 64;
/// Octets of an identity, as requests are bounded.
const IDENTITY_BYTES_MAX: usize = 256;
/// Characters of a reason: two lines of a form.
pub const REASON_CHARS_MAX: usize = 200;

/// What a permit says. Making one checks nothing; [`Permit::to_text`] and [`Permit::from_text`] do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Origin of the log.
    pub log: String,
    /// Key identifier of the issuer that may sign.
    pub issuer: [u8; 20],
    /// Name of the profile.
    pub profile: String,
    /// The domain in which the identity is unique.
    pub identity_domain: String,
    /// The device, in lower case: [`fold_identity`].
    pub identity: String,
    /// Fingerprint of the new key; `None` allows any.
    pub key_fingerprint: Option<[u8; 32]>,
    /// The entry that is replaced.
    pub replaces: u64,
    /// Seconds since 1970, the last one included.
    pub not_after_s: u64,
    /// For people.
    pub reason: Option<String>,
}

/// An identity as the log compares it.
#[must_use]
pub fn fold_identity(identity: &str) -> String {
    identity.to_ascii_lowercase()
}

/// A permit that cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermitError {
    /// A line is missing, in the wrong place or not in its one spelling; or a value does not fit there.
    #[error("the permit's line {line:?} {problem}")]
    Line {
        /// The line's first word.
        line: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Text after the last line.
    #[error("the permit goes on after its last line")]
    Excess,
    /// The signature is not one of this key over this text.
    #[error("the signature does not verify with the officer's key {0}")]
    Signature(String),
}

impl Permit {
    /// The text that an officer signs.
    ///
    /// # Errors
    /// A value that does not fit its line.
    pub fn to_text(&self) -> Result<String, PermitError> {
        self.check()?;
        let not_after = self.not_after()?;
        let key = match &self.key_fingerprint {
            Some(fingerprint) => hex::encode(fingerprint),
            None => "any".to_owned(),
        };
        let mut text = format!(
            "{PERMIT_HEADER}\nlog {}\nissuer {}\nprofile {}\nidentity {} {}\nkey {key}\nreplaces {}\n\
             not-after {not_after}\n",
            self.log,
            hex::encode(&self.issuer),
            self.profile,
            self.identity_domain,
            self.identity,
            self.replaces,
        );
        if let Some(reason) = &self.reason {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "reason {reason}");
        }
        Ok(text)
    }

    /// Reads the text of a permit.
    ///
    /// # Errors
    /// Names the first line that does not do.
    pub fn from_text(text: &str) -> Result<Self, PermitError> {
        let body = text
            .strip_prefix(PERMIT_HEADER)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or(line(PERMIT_HEADER, "is missing at the top"))?;
        let mut lines = body.split_inclusive('\n').peekable();
        let mut value = |name: &'static str| {
            let value = lines.next().and_then(|whole| line_value(whole, name));
            value.ok_or(line(name, "is missing or in the wrong place"))
        };
        let log = value("log")?.to_owned();
        let issuer = hex::decode(value("issuer")?).ok_or(line("issuer", "is not 40 hex digits"))?;
        let profile = value("profile")?.to_owned();
        let (identity_domain, identity) = value("identity")?
            .split_once(' ')
            .ok_or(line("identity", "has no identity after the domain"))?;
        let key_fingerprint = match value("key")? {
            "any" => None,
            digits => {
                Some(hex::decode(digits).ok_or(line("key", "is not 'any' or 64 hex digits"))?)
            }
        };
        let replaces = value("replaces")?
            .parse()
            .map_err(|_| line("replaces", "is not an entry's number"))?;
        let not_after: der::DateTime = value("not-after")?
            .parse()
            .map_err(|_| line("not-after", "is not a time such as 2026-12-01T00:00:00Z"))?;
        let reason = lines.next().map(|whole| {
            line_value(whole, "reason").ok_or(line("reason", "is not what follows not-after"))
        });
        let permit = Self {
            log,
            issuer,
            profile,
            identity_domain: identity_domain.to_owned(),
            identity: identity.to_owned(),
            key_fingerprint,
            replaces,
            not_after_s: not_after.unix_duration().as_secs(),
            reason: reason.transpose()?.map(str::to_owned),
        };
        if lines.next().is_some() {
            return Err(PermitError::Excess);
        }
        // One value, one spelling: what does not write back the same is not what was read.
        if permit.to_text()? == text {
            Ok(permit)
        } else {
            Err(line("replaces", "or another is not in its one spelling"))
        }
    }

    /// The finished permit: the text with an officer's signature, a signed note.
    ///
    /// # Errors
    /// A value that does not fit its line, or a signature that is not `key`'s over this text.
    pub fn signed(&self, key: &VerifierKey, signature: &[u8]) -> Result<String, PermitError> {
        let note = Note {
            text: self.to_text()?,
            signatures: vec![NoteSignature {
                name: key.name().to_owned(),
                key_id: key.key_id(),
                signature: signature.to_vec(),
            }],
        };
        match note.verified_by(key) {
            Ok(()) => Ok(note.to_string()),
            Err(_) => Err(PermitError::Signature(key.name().to_owned())),
        }
    }

    /// Reads a signed note without asking who signed it: for people and tools that sort permits. What
    /// counts is decided by [`Officers`].
    ///
    /// # Errors
    /// Not a signed note, or not a permit in it.
    pub fn read_unverified(note: &[u8]) -> Result<Self, PermitProblem> {
        let note = parse_note(note)?;
        Self::from_text(&note.text).map_err(PermitProblem::from)
    }

    /// As it is written: RFC 3339, UTC, whole seconds.
    fn not_after(&self) -> Result<String, PermitError> {
        match der::DateTime::from_unix_duration(Duration::from_secs(self.not_after_s)) {
            Ok(time) => Ok(time.to_string()),
            Err(_) => Err(line("not-after", "is later than the year 9999")),
        }
    }

    /// Bounds of every value; no value can begin a line of its own.
    fn check(&self) -> Result<(), PermitError> {
        let sound = |text: &str, max: usize| {
            (1..=max).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        let name = |text: &str| sound(text, NAME_BYTES_MAX) && !text.contains(' ');
        if !sound(&self.log, LOG_BYTES_MAX) || self.log.contains(char::is_whitespace) {
            return Err(line("log", "is not the origin of a log"));
        }
        if !name(&self.profile) {
            return Err(line("profile", "is not the name of a profile"));
        }
        if !name(&self.identity_domain) {
            return Err(line("identity", "has no identity domain first"));
        }
        if !sound(&self.identity, IDENTITY_BYTES_MAX) || !self.identity.is_ascii() {
            return Err(line("identity", "is empty, over 256 bytes or not ASCII"));
        }
        if fold_identity(&self.identity) != self.identity {
            return Err(line("identity", "is not in lower case"));
        }
        match &self.reason {
            Some(reason)
                if reason.chars().count() > REASON_CHARS_MAX
                    || !sound(reason, 4 * REASON_CHARS_MAX) =>
            {
                Err(line(
                    "reason",
                    "is empty, over 200 characters or not one line",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Why a permit does not allow what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermitProblem {
    /// Not a signed note, or not a permit in it.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// None of its signatures names a key of the configuration.
    #[error("nobody in engine.officers signed it")]
    UnknownOfficer,
    /// An officer's signature does not verify.
    #[error("it was changed after it was signed, or the signature of {0} is forged")]
    Forged(String),
    /// It is for another log.
    #[error("it is for the log {0:?}")]
    OtherLog(String),
    /// It is for another issuer.
    #[error("it is for the issuer with the key identifier {0}")]
    OtherIssuer(String),
    /// It is for another profile.
    #[error("it is for the profile {0:?}")]
    OtherProfile(String),
    /// It is for another device.
    #[error("it is for the device {identity:?} in the identity domain {domain}")]
    OtherDevice {
        /// The identity domain in the permit.
        domain: String,
        /// The identity in the permit.
        identity: String,
    },
    /// It replaces another entry than the device's newest.
    #[error(
        "it replaces record {0}, which is not the device's newest: it was used, or is for another record"
    )]
    OtherEntry(u64),
    /// It is for another key.
    #[error("it is for the key {0}")]
    OtherKey(String),
    /// Its time is over.
    #[error("it ended at {0}")]
    Expired(String),
}

impl PermitProblem {
    /// Stable number and kind.
    pub(crate) fn facts(&self) -> (u16, &'static str) {
        match self {
            Self::Malformed(_) => (511, "permit-malformed"),
            Self::UnknownOfficer => (512, "permit-unknown-officer"),
            Self::Forged(_) => (513, "permit-forged"),
            Self::OtherLog(_) => (514, "permit-other-log"),
            Self::OtherIssuer(_) => (515, "permit-other-issuer"),
            Self::OtherProfile(_) => (516, "permit-other-profile"),
            Self::OtherDevice { .. } => (517, "permit-other-device"),
            Self::OtherEntry(_) => (518, "permit-other-entry"),
            Self::OtherKey(_) => (519, "permit-other-key"),
            Self::Expired(_) => (520, "permit-expired"),
        }
    }
}

impl From<PermitError> for PermitProblem {
    fn from(error: PermitError) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn parse_note(note: &[u8]) -> Result<Note, PermitProblem> {
    if note.len() > PERMIT_BYTES_MAX {
        let problem = format!("it has over {PERMIT_BYTES_MAX} bytes");
        return Err(PermitProblem::Malformed(problem));
    }
    Note::parse(note).map_err(|error| PermitProblem::Malformed(error.to_string()))
}

/// The value of a line `NAME VALUE` that ends in a line feed.
fn line_value<'a>(whole: &'a str, name: &str) -> Option<&'a str> {
    whole
        .strip_suffix('\n')?
        .strip_prefix(name)?
        .strip_prefix(' ')
}

fn line(line: &'static str, problem: &'static str) -> PermitError {
    PermitError::Line { line, problem }
}
