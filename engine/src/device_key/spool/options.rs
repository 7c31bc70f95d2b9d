//! How a spool is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use birthmark_log::{DiskStorage, Storage};

/// Keys that wait at the same time, unless the configuration says otherwise: two runs of a million. Each
/// takes about 60 bytes of memory.
pub const SPOOL_KEYS_MAX_DEFAULT: usize = 1 << 21;

/// Bytes of the spool's files, unless the configuration says otherwise: four million keys for P-256.
pub const SPOOL_BYTES_MAX_DEFAULT: u64 = 4 << 30;

/// Bytes of one file, some ten thousand keys. A key that nobody acknowledges keeps its file.
const FILE_BYTES_DEFAULT: u64 = 8 << 20;

/// How a spool is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// Where its files are. An engine makes it if its log has no generated key yet.
    pub directory: PathBuf,
    /// Keys that wait at the same time, at most. Default: [`SPOOL_KEYS_MAX_DEFAULT`].
    pub keys_max: usize,
    /// Bytes of its files, at most, but for one file. Default: [`SPOOL_BYTES_MAX_DEFAULT`].
    pub bytes_max: u64,
    /// Bytes of one file, a multiple of 64 KiB from 128 KiB to 64 MiB. Default: 8 MiB.
    pub file_bytes: u64,
    /// Sync as soon as this many keys wait. Default: 128, as the log does.
    pub sync_keys_max: usize,
    /// Sync as soon as the oldest has waited this long. Default: 4 ms, as the log does.
    pub sync_wait_max: Duration,
    /// The file system. Default: the real one.
    pub storage: Arc<dyn Storage>,
}

impl SpoolOptions {
    /// The defaults, which are right for production.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            keys_max: SPOOL_KEYS_MAX_DEFAULT,
            bytes_max: SPOOL_BYTES_MAX_DEFAULT,
            file_bytes: FILE_BYTES_DEFAULT,
            sync_keys_max: 128,
            sync_wait_max: Duration::from_millis(4),
            storage: Arc::new(DiskStorage),
        }
    }
}

impl fmt::Debug for SpoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolOptions")
            .field("directory", &self.directory)
            .field("keys_max", &self.keys_max)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}
