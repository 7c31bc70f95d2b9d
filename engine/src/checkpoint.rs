//! The log's own key: it signs checkpoints (c2sp.org/tlog-checkpoint), never certificates.

use std::path::{Path, PathBuf};

use birthmark_hsm::{KeyAlgorithm, PublicKey, SignInput, SoftwareKey, SoftwareKeyError};
use birthmark_log::tlog::{CheckpointSigner, SignError, VerifierKey};

/// The Ed25519 key of a log, in a file that `birthmark ca init` made.
pub struct LogKey {
    key: SoftwareKey,
    verifier: VerifierKey,
}

/// Why a log key does not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogKeyError {
    /// The file does not hold a key.
    #[error("log key {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SoftwareKeyError,
    },
    /// Checkpoints are signed with Ed25519 (c2sp.org/tlog-checkpoint).
    #[error("log key {path}: a key of {algorithm}, but checkpoints need Ed25519", path = path.display())]
    Algorithm {
        /// The file.
        path: PathBuf,
        /// What it holds.
        algorithm: KeyAlgorithm,
    },
    /// The origin cannot be the name of a key (c2sp.org/signed-note).
    #[error("log origin '{}': {problem}", origin.escape_debug())]
    Origin {
        /// The origin.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl LogKey {
    /// Reads the key of the log whose checkpoints begin with `origin`.
    ///
    /// # Errors
    /// Names the file or the origin, and what is wrong with it.
    pub fn read(path: &Path, origin: &str) -> Result<Self, LogKeyError> {
        let key = SoftwareKey::read(path).map_err(|source| LogKeyError::File {
            path: path.to_owned(),
            source,
        })?;
        let &PublicKey::Ed25519(public_key) = key.public_key() else {
            return Err(LogKeyError::Algorithm {
                path: path.to_owned(),
                algorithm: key.algorithm(),
            });
        };
        let verifier =
            VerifierKey::ed25519(origin, public_key).map_err(|error| LogKeyError::Origin {
                origin: origin.to_owned(),
                problem: error.to_string(),
            })?;
        Ok(Self { key, verifier })
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogKey")
            .field("verifier", &self.verifier.to_string())
            .finish_non_exhaustive()
    }
}

impl CheckpointSigner for LogKey {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError> {
        let input = SignInput::for_key(KeyAlgorithm::Ed25519, text);
        let signature = self.key.sign(&input).map_err(SignError::failed)?;
        signature
            .as_bytes()
            .try_into()
            .map_err(|_| SignError::failed("the signature has the wrong length"))
    }
}
