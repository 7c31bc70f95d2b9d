//! The table `device_keys` of a station's configuration.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{DeviceKeys, Recipient, RecipientError, SecretError, SpoolOptions, TransportSecret};

/// The table as it is written. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDeviceKeys {
    recipient: Option<PathBuf>,
    secret: Option<PathBuf>,
    spool: Option<PathBuf>,
    keys_max: Option<usize>,
    bytes_max: Option<u64>,
}

/// The spool's directory beside the configuration, unless it says otherwise.
const SPOOL_DIRECTORY: &str = "spool";

/// Least and most keys that can be configured to wait: at 60 bytes each, memory bounds them.
const KEYS_MAX_RANGE: std::ops::RangeInclusive<usize> = 1..=1 << 26;
/// Least and most bytes of the spool's files: two files, and a disk.
const BYTES_MAX_RANGE: std::ops::RangeInclusive<u64> = 16 << 20..=1 << 40;

/// The table, checked. The files that it names are read by [`DeviceKeyFiles::read`].
#[derive(Debug)]
pub(crate) struct DeviceKeyFiles {
    recipient: Option<PathBuf>,
    secret: Option<PathBuf>,
    spool: SpoolOptions,
}

/// A file of `device_keys` that does not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceKeysError {
    /// The recipient's certificate.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
    /// The secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl DeviceKeyFiles {
    /// Takes relative paths from `folder`. The key at fault otherwise.
    pub(crate) fn new(raw: RawDeviceKeys, folder: &Path) -> Result<Self, (&'static str, String)> {
        let directory = raw.spool.unwrap_or_else(|| PathBuf::from(SPOOL_DIRECTORY));
        let mut spool = SpoolOptions::new(folder.join(directory));
        if let Some(keys_max) = raw.keys_max {
            if !KEYS_MAX_RANGE.contains(&keys_max) {
                let problem = "use 1 to 67108864 keys".to_owned();
                return Err(("device_keys.keys_max", problem));
            }
            spool.keys_max = keys_max;
        }
        if let Some(bytes_max) = raw.bytes_max {
            if !BYTES_MAX_RANGE.contains(&bytes_max) {
                let problem = "use 16777216 (16 MiB) to 1099511627776 bytes".to_owned();
                return Err(("device_keys.bytes_max", problem));
            }
            spool.bytes_max = bytes_max;
        }
        Ok(Self {
            recipient: raw.recipient.map(|path| folder.join(path)),
            secret: raw.secret.map(|path| folder.join(path)),
            spool,
        })
    }

    pub(crate) fn spool(&self) -> &SpoolOptions {
        &self.spool
    }

    /// Reads certificate and secret.
    pub(crate) fn read(&self) -> Result<DeviceKeys, DeviceKeysError> {
        let mut keys = DeviceKeys::new(self.spool.clone());
        if let Some(path) = &self.recipient {
            keys.recipient = Some(Recipient::read(path)?);
        }
        if let Some(path) = &self.secret {
            keys.secret = Some(TransportSecret::read(path)?);
        }
        Ok(keys)
    }
}
