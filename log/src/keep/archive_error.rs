//! Why archiving stopped.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::backup::BackupError;
use crate::error::{ReadError, VerifyError};
use crate::storage::PathError;

/// Archiving stopped. What was moved until then is in the archive, everything else in the log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// One directory lies in the other.
    #[error(
        "{dest} and the log in {dir} lie in each other; choose a directory elsewhere, best on another disk",
        dir = dir.display(), dest = dest.display()
    )]
    Inside {
        /// The log.
        dir: PathBuf,
        /// Where the archive was to be.
        dest: PathBuf,
    },
    /// Somebody else archives.
    #[error("{dir} is being archived or is in use as an archive; wait for that to end", dir = dir.display())]
    Locked {
        /// The log, or the archive.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error("{dest} is not empty and no archive; choose an empty directory", dest = dest.display())]
    NotAnArchive {
        /// Where the archive was to be.
        dest: PathBuf,
    },
    /// The directory is another log's archive.
    #[error("{dest} is not the archive of {log}; choose another directory", dest = dest.display())]
    OtherLog {
        /// Where the archive was to be.
        dest: PathBuf,
        /// Verifier key of this log.
        log: String,
    },
    /// The log cannot note this directory.
    #[error(
        "the log cannot note {dest}: its path is too long or has characters that are not text, or the log \
         has 256 archives already; choose another directory",
        dest = dest.display()
    )]
    Path {
        /// Where the archive was to be.
        dest: PathBuf,
    },
    /// The archive does not hold what was written to it. Nothing of it was removed from the log.
    #[error("{path} is not what was written; check the archive's disk, then archive again", path = path.display())]
    Differs {
        /// The file in the archive.
        path: PathBuf,
    },
    /// A file cannot be written or removed.
    #[error("{path}: check the disk, its rights and its free space, then archive again", path = path.display())]
    Write {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The log cannot be read or is damaged, or an earlier archive is not there.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// What the log published cannot be used.
    #[error(transparent)]
    Published(BackupError),
}

impl From<PathError> for ArchiveError {
    fn from(PathError { path, source }: PathError) -> ArchiveError {
        ArchiveError::Write { path, source }
    }
}

impl From<ReadError> for ArchiveError {
    fn from(error: ReadError) -> ArchiveError {
        ArchiveError::Log(error.into())
    }
}
