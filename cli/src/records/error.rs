//! Why a command over a published log fails or refuses.

use std::io;
use std::path::{Path, PathBuf};

use birthmark_engine::{AuditError, IssuerError};
use birthmark_log::tlog::{CheckpointError, KeyError, ProofError, ReceiptError};
use birthmark_log::{LogProofError, RecordIndex};

use crate::command::Exit;

/// Why a command over a published log fails or refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// A file that an argument names cannot be read.
    #[error("cannot read {}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file is too long to be what it should be.
    #[error("{} has more than {bytes_max} bytes; check that it is the right file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How many are read.
        bytes_max: u64,
    },
    /// A file does not hold one certificate.
    #[error("{} is not a certificate: {problem}", path.display())]
    NotACertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Not a verifier key, nor a file with one.
    #[error("--vkey: {0} (`birthmark log vkey DIR` prints the log's)")]
    Vkey(#[source] KeyError),
    /// The log has no key beside it.
    #[error(
        "{} holds no verifier key; ask whoever runs the log for it and give it with --vkey",
        dir.display()
    )]
    NoVkey {
        /// The log.
        dir: PathBuf,
    },
    /// There is no checkpoint yet.
    #[error(
        "{} has published nothing yet; it does so about once a second while it is open: try again",
        dir.display()
    )]
    NothingPublished {
        /// The log.
        dir: PathBuf,
    },
    /// The record is in no checkpoint yet.
    #[error(
        "record {index} is durable but not published yet (the checkpoint covers {published}); \
         published about once a second: try again"
    )]
    NotPublishedYet {
        /// The record.
        index: RecordIndex,
        /// What the checkpoint covers.
        published: u64,
    },
    /// What is published does not hold together.
    #[error("the log's files do not lead to its checkpoint; run `birthmark log verify`")]
    Unproven {
        /// What does not hold.
        #[source]
        source: ProofError,
    },
    /// Several records have the serial number.
    #[error("records {indexes} have this serial number; choose one with --index")]
    Several {
        /// Which.
        indexes: String,
    },
    /// A checkpoint cannot be read or trusted.
    #[error("{}: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// The receipt proves nothing for this certificate.
    #[error("not proven: {0}")]
    NotProven(#[from] ReceiptError),
    /// The record that the receipt tells of has another certificate.
    #[error(
        "not proven: the receipt is not of this certificate; check that the two belong together"
    )]
    OtherCertificate,
    /// The record cannot be rebuilt.
    #[error("not proven: the receipt lacks the record's other fields; make one without --bare")]
    Bare,
    /// Sizes in the wrong order, or beyond the log.
    #[error("{older} has {old} records, {newer} has {new}; name the older one first")]
    Order {
        /// The first argument.
        older: String,
        /// Its size.
        old: u64,
        /// The second argument.
        newer: String,
        /// Its size.
        new: u64,
    },
    /// A checkpoint covers more than the log has.
    #[error(
        "NOT CONSISTENT: {what} covers {size} records, but the log has published {published}: it was \
         rolled back, or this is another log; keep the checkpoint as evidence"
    )]
    Beyond {
        /// The argument.
        what: String,
        /// Its size.
        size: u64,
        /// What the log covers.
        published: u64,
    },
    /// The log contradicts a checkpoint.
    #[error("NOT CONSISTENT: {what} is no earlier state of the log: {source}")]
    Inconsistent {
        /// The argument.
        what: String,
        /// How.
        source: ProofError,
    },
    /// `--signatures` without an issuer certificate.
    #[error(
        "no issuer certificate for {}; give the issuing CA's with --issuer FILE", dir.display()
    )]
    NoIssuer {
        /// The log.
        dir: PathBuf,
    },
    /// An issuer certificate does not do.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A certificate in the log is not as it must be.
    #[error("record {index} is intact but its certificate is not sound")]
    Unsound {
        /// The record.
        index: RecordIndex,
        /// What is wrong.
        #[source]
        source: AuditError,
    },
    /// A proof was not made.
    #[error(transparent)]
    Proof(#[from] LogProofError),
    /// `--out` cannot be written.
    #[error("cannot write {}; check space and permissions", path.display())]
    Out {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl RecordsError {
    pub(super) fn out(path: &Path, source: io::Error) -> RecordsError {
        RecordsError::Out {
            path: path.to_owned(),
            source,
        }
    }

    /// What a person named is usage; what does not prove what it should is rejected; damage, disks
    /// and certificates that must not be are faults.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            RecordsError::Unreadable { .. }
            | RecordsError::TooLong { .. }
            | RecordsError::NotACertificate { .. }
            | RecordsError::Vkey(_)
            | RecordsError::NoVkey { .. }
            | RecordsError::Several { .. }
            | RecordsError::Order { .. }
            | RecordsError::NoIssuer { .. }
            | RecordsError::Issuer(_)
            | RecordsError::Unsound {
                source: AuditError::OtherIssuer { .. },
                ..
            } => Exit::Usage,
            RecordsError::NothingPublished { .. }
            | RecordsError::NotPublishedYet { .. }
            | RecordsError::Checkpoint { .. }
            | RecordsError::NotProven(_)
            | RecordsError::OtherCertificate
            | RecordsError::Bare
            | RecordsError::Beyond { .. }
            | RecordsError::Inconsistent { .. }
            | RecordsError::Proof(LogProofError::NotPublished { .. }) => Exit::Rejected,
            _ => Exit::Fault,
        }
    }
}
