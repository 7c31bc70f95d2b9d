//! Who may sign permits, and whether one allows what is asked for.

use birthmark_log::tlog::{KeyAlgorithm, KeyError, Note, NoteError, VerifierKey};

use super::{Permit, PermitProblem, fold_identity, parse_note};
use crate::hex;
use crate::key::sha256;

/// Officers of one station: every shift of a large site.
pub(super) const OFFICERS_MAX: usize = 64;

/// The officers of a station: whose permits count, for which log.
#[derive(Debug, Clone)]
pub struct Officers {
    log: String,
    keys: Vec<VerifierKey>,
}

/// A list of officers that does not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfficersError {
    /// Nobody, or too many.
    #[error("has {0} keys; list 1 to {OFFICERS_MAX}")]
    Count(usize),
    /// Not a verifier key of a signed note.
    #[error(
        "{written:?} is not an officer's key; write what `birthmark officer keygen` printed: name+hash+key"
    )]
    Key {
        /// The entry, cut short.
        written: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// One key stands twice, or two keys cannot be told apart.
    #[error("has the key of {0} twice; list each once")]
    Twice(String),
}

impl Officers {
    /// Officers with these verifier keys (`name+hash+base64`, <https://c2sp.org/signed-note>), whose permits
    /// name `log`, the origin of the station's log.
    ///
    /// # Errors
    /// No key, too many, one that is not an Ed25519 verifier key, or one twice.
    pub fn new(log: &str, keys: &[String]) -> Result<Self, OfficersError> {
        if !(1..=OFFICERS_MAX).contains(&keys.len()) {
            return Err(OfficersError::Count(keys.len()));
        }
        let mut parsed: Vec<VerifierKey> = Vec::with_capacity(keys.len());
        for written in keys {
            let key = verifier_key(written)?;
            let twin =
                |other: &VerifierKey| (other.name(), other.key_id()) == (key.name(), key.key_id());
            if parsed.iter().any(twin) {
                return Err(OfficersError::Twice(key.name().to_owned()));
            }
            parsed.push(key);
        }
        Ok(Self {
            log: log.to_owned(),
            keys: parsed,
        })
    }

    /// The log that permits have to name.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The officers' keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Whether a permit allows what is wanted. Gives the SHA-256 of the note, for the record.
    pub(crate) fn check(
        &self,
        note: &[u8],
        wanted: &Wanted<'_>,
    ) -> Result<[u8; 32], PermitProblem> {
        let signed = self.opened(note)?;
        let permit = Permit::from_text(&signed.text)?;
        if permit.log != self.log {
            return Err(PermitProblem::OtherLog(permit.log));
        }
        if permit.issuer != *wanted.issuer {
            return Err(PermitProblem::OtherIssuer(hex::encode(&permit.issuer)));
        }
        if permit.profile != wanted.profile {
            return Err(PermitProblem::OtherProfile(permit.profile));
        }
        if permit.identity_domain != wanted.identity_domain
            || permit.identity != fold_identity(wanted.identity)
        {
            return Err(PermitProblem::OtherDevice {
                domain: permit.identity_domain,
                identity: permit.identity,
            });
        }
        if permit.replaces != wanted.replaces {
            return Err(PermitProblem::OtherEntry(permit.replaces));
        }
        if let Some(key) = permit.key_fingerprint
            && key != *wanted.key_fingerprint
        {
            return Err(PermitProblem::OtherKey(hex::encode(&key)));
        }
        if wanted.now_s > permit.not_after_s {
            return Err(PermitProblem::Expired(permit.not_after()?));
        }
        Ok(sha256(note))
    }

    /// The note, if an officer signed it. Nothing of its text is believed before.
    fn opened(&self, note: &[u8]) -> Result<Note, PermitProblem> {
        let note = parse_note(note)?;
        let mut signed = false;
        for key in &self.keys {
            // As c2sp.org/signed-note has it: unknown keys are passed over, but one bad signature of a known
            // key spoils the note.
            match note.verified_by(key) {
                Ok(()) => signed = true,
                Err(NoteError::NotSigned { .. }) => {}
                Err(NoteError::BadSignature { name }) => return Err(PermitProblem::Forged(name)),
                Err(error) => return Err(PermitProblem::Malformed(error.to_string())),
            }
        }
        if signed {
            Ok(note)
        } else {
            Err(PermitProblem::UnknownOfficer)
        }
    }
}

/// What a request needs a permit for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) issuer: &'a [u8],
    pub(crate) profile: &'a str,
    pub(crate) identity_domain: &'a str,
    pub(crate) identity: &'a str,
    pub(crate) key_fingerprint: &'a [u8; 32],
    pub(crate) replaces: u64,
    pub(crate) now_s: u64,
}

fn verifier_key(written: &str) -> Result<VerifierKey, OfficersError> {
    let key = written
        .parse::<VerifierKey>()
        .and_then(|key| match key.algorithm() {
            KeyAlgorithm::Ed25519 => Ok(key),
            other => Err(KeyError::Algorithm {
                identifier: other.identifier(),
            }),
        });
    key.map_err(|source| OfficersError::Key {
        written: written.chars().take(80).collect(),
        source,
    })
}
