//! Why a configuration cannot be used.

use std::path::PathBuf;

use crate::checkpoint::LogKeyError;
use crate::device_key::DeviceKeysError;
use crate::issuer::IssuerError;
use crate::lots::LotsError;
use crate::profile::ProfileError;
use crate::weak_key::KnownBadKeysError;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("configuration {path}: cannot be read; make one with `birthmark ca init`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or not the keys of a configuration.
    #[error("configuration {path}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and key, in one line.
        problem: String,
    },
    /// One key's value does not do.
    #[error("configuration {path}: {key}: {problem}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The issuer certificate does not do.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A profile does not do.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The list of known bad keys does not do.
    #[error(transparent)]
    KnownBadKeys(#[from] KnownBadKeysError),
    /// The lots do not do.
    #[error(transparent)]
    Lots(#[from] LotsError),
    /// The log's key or origin does not do.
    #[error(transparent)]
    LogKey(#[from] LogKeyError),
    /// What generated keys are delivered with does not do.
    #[error(transparent)]
    DeviceKeys(#[from] DeviceKeysError),
    /// The signer does not open.
    #[error(transparent)]
    Signer(#[from] birthmark_hsm::OpenError),
}
