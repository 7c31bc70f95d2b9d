//! Why a log could not be kept as asked.

use std::io;
use std::path::PathBuf;

use birthmark_engine::{ConfigurationError, LogKeyError};
use birthmark_log::VerifyError;
use birthmark_log::keep::{
    ArchiveError, BackupError, CopyError, MirrorError, RestoreError, WitnessError,
};

use crate::ceremony::CeremonyError;
use crate::command::Exit;

/// Why `birthmark log backup`, `restore` and their like did not do what they were asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// No backup was made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Nothing more was archived.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No log was restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The copy was not brought up to date.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The checkpoint was not cosigned, or the log was rolled back.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// Nobody to push to.
    #[error(
        "no witness is named; add [[log.witness]] to the configuration and give it, or give --witness"
    )]
    NoWitness,
    /// No root certificates.
    #[error(
        "no root certificates to check servers with; set SSL_CERT_FILE to a PEM file that has them"
    )]
    NoRoots,
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The old log's key is not known.
    #[error("the old log's key is needed to check the backup; give --vkey with its verifier key")]
    OldKey {
        /// Why the key file of the configuration does not do.
        #[source]
        source: LogKeyError,
    },
    /// The new log's key or origin cannot be made.
    #[error(transparent)]
    NewKey(#[from] CeremonyError),
    /// The new log's key cannot be read back.
    #[error(transparent)]
    ReadKey(#[from] LogKeyError),
    /// The old log is alive.
    #[error(
        "the old log in {dir} is in use: stop the station that issues from it for good, then restore; two logs \
         that go on would certify the same device twice", dir = dir.display()
    )]
    OldLogInUse {
        /// The old log.
        dir: PathBuf,
    },
    /// The issuer certificate that unsigned records are checked against.
    #[error("the issuer certificate of the configuration is needed to check the backup")]
    Issuer(#[source] ConfigurationError),
    /// A file that would be overwritten.
    #[error("{path} exists; it is never overwritten, choose another --new-config or move it away", path = path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// The new configuration has to lie beside the old one.
    #[error("--new-config {path}: give a file name; the new configuration lies beside the old one", path = path.display())]
    NewConfig {
        /// What was given.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: check the path and its rights", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Results cannot be written.
    #[error("cannot write to standard output; check where it goes")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl KeepError {
    /// Whether the log is not what it was, or somebody says so.
    pub(crate) fn is_stop(&self) -> bool {
        match self {
            KeepError::Backup(error) => matches!(
                error,
                BackupError::RolledBack { .. } | BackupError::Copy(CopyError::Forked { .. })
            ),
            KeepError::Mirror(error) => matches!(
                error,
                MirrorError::RolledBack { .. } | MirrorError::Copy(CopyError::Forked { .. })
            ),
            KeepError::Witness(error) => error.is_stop(),
            _ => false,
        }
    }

    /// What a person typed is usage; disk, network and what was found there are the system.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            error if error.is_stop() => Exit::Stop,
            KeepError::Backup(
                BackupError::Inside { .. }
                | BackupError::NotABackup { .. }
                | BackupError::OtherLog { .. }
                | BackupError::Log(VerifyError::Missing { .. }),
            )
            | KeepError::Archive(
                ArchiveError::Inside { .. }
                | ArchiveError::NotAnArchive { .. }
                | ArchiveError::OtherLog { .. }
                | ArchiveError::Path { .. }
                | ArchiveError::Log(VerifyError::Missing { .. }),
            )
            | KeepError::Restore(
                RestoreError::Exists { .. }
                | RestoreError::SameLog { .. }
                | RestoreError::OtherOrigin { .. }
                | RestoreError::Place(BackupError::Inside { .. })
                | RestoreError::Backup(VerifyError::Missing { .. }),
            )
            | KeepError::Mirror(
                MirrorError::NotACopy { .. }
                | MirrorError::OtherLog { .. }
                | MirrorError::Held(BackupError::Inside { .. }),
            )
            | KeepError::OldLogInUse { .. }
            | KeepError::Issuer(_)
            | KeepError::Configuration(_)
            | KeepError::OldKey { .. }
            | KeepError::NoWitness
            | KeepError::NoRoots
            | KeepError::Witness(WitnessError::NothingPublished { .. })
            | KeepError::NewConfig { .. }
            | KeepError::FileExists { .. }
            | KeepError::NewKey(CeremonyError::Origin { .. }) => Exit::Usage,
            _ => Exit::Fault,
        }
    }
}
