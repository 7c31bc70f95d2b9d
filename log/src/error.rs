//! Errors, one type per operation. Each says what happened and what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::clock::ClockError;
use crate::record::{ExtractError, RecordIndex, ReservationId};
use crate::tlog::SignError;

/// A file of the log that does not hold what was made durable in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the log is damaged: {file}, byte {offset}, at record {record}: {detail}; \
     do not issue from this log, keep the files as they are and restore from a backup",
    file = file.display()
)]
#[non_exhaustive]
pub struct Corruption {
    /// The first bad file.
    pub file: PathBuf,
    /// Byte offset in the file where the damage was noticed.
    pub offset: u64,
    /// The first record that cannot be trusted.
    pub record: RecordIndex,
    /// What is wrong there.
    pub detail: String,
}

/// A file of the index that does not hold what was written to it. The log itself is not affected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the index is damaged: {file}, byte {offset}: {detail}; the log is not: \
     check the disk, then rebuild the index (birthmark log reindex)",
    file = file.display()
)]
#[non_exhaustive]
pub struct IndexDamage {
    /// The bad file.
    pub file: PathBuf,
    /// Byte offset in the file where the damage was noticed.
    pub offset: u64,
    /// What is wrong there.
    pub detail: String,
}

/// [`Log::create`](crate::Log::create) did not make a log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is a log already; nothing was touched.
    #[error("{dir} already holds a log; choose another directory", dir = dir.display())]
    Exists {
        /// The directory that was asked for.
        dir: PathBuf,
    },
    /// The file system said no.
    #[error("the log in {path} cannot be created; check the path, its rights and the free space", path = path.display())]
    Storage {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// [`Log::open`](crate::Log::open) did not start the log. Nothing was acknowledged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not a log directory.
    #[error("{dir} holds no log; create one first, or check the path", dir = dir.display())]
    Missing {
        /// The directory that was asked for.
        dir: PathBuf,
    },
    /// Another process (or another part of this one) has the log open.
    #[error("the log in {dir} is in use by another process; stop that one first", dir = dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A file does not hold what was made durable in it.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The log belongs to another origin or key.
    #[error(
        "the log in {dir} is signed for {found}, not for {expected}; \
         check the origin and the key, or use another directory",
        dir = dir.display()
    )]
    OtherKey {
        /// The log's directory.
        dir: PathBuf,
        /// Verifier key of the signer that was given.
        expected: String,
        /// Verifier key that the log has.
        found: String,
    },
    /// The checkpoint signer does not work.
    #[error("the log's checkpoints cannot be signed")]
    Sign(#[source] SignError),
    /// The key extractor cannot read a record that is in the log.
    #[error("record {record} is intact but its keys cannot be read; use the version that wrote it")]
    Extract {
        /// The record.
        record: RecordIndex,
        /// What the extractor said.
        #[source]
        source: ExtractError,
    },
    /// The clock is far ahead of the last record.
    #[error(
        "the clock is far ahead of the last record: {0}; set the clock, or let an officer accept it"
    )]
    ClockForward(#[source] ClockError),
    /// Lost records are due and the clock has no usable time to stamp them with.
    #[error("recovery cannot stamp its records: {0}")]
    Clock(#[source] ClockError),
    /// An option has a value that the log cannot work with.
    #[error("the option {option} is out of range: {rule}")]
    Option {
        /// The field of [`Options`](crate::Options).
        option: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// Recovery could not append a record that it had to append.
    #[error("recovery could not append a lost record")]
    Recovery(#[source] AppendError),
    /// The record lies in an archive that is not there. Nothing is damaged.
    #[error(
        "record {record} was moved to the archive {path}, which is not there; mount the archive, then retry",
        path = path.display()
    )]
    Archived {
        /// The archive.
        path: PathBuf,
        /// The record.
        record: RecordIndex,
    },
    /// The file system said no.
    #[error("the log cannot be opened: {path}; check the disk, its rights and its free space", path = path.display())]
    Storage {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("the log's threads cannot be started; check the limits of this process")]
    Thread(#[source] io::Error),
}

/// One reservation or append was refused. Everything but [`Poisoned`](AppendError::Poisoned)
/// concerns this item alone.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A write or sync failed, now or earlier. What the disk holds is unknown until a restart.
    #[error(
        "the log stopped because {operation} failed ({cause}); nothing more is issued: \
         check the disk, then restart"
    )]
    Poisoned {
        /// What the log was doing.
        operation: &'static str,
        /// What the system said.
        #[source]
        cause: Arc<io::Error>,
    },
    /// There is no room to finish this item, so it was not begun.
    #[error("no room in the log for {bytes} bytes ({reason}); free disk space, then retry")]
    NoSpace {
        /// Bytes that would have been held.
        bytes: u64,
        /// Why there is no more room.
        reason: Arc<str>,
    },
    /// The clock cannot be trusted.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The reservation was never made, or has its record already.
    #[error("reservation {reservation} is not open: it was never made or already has its record")]
    UnknownReservation {
        /// What the append named.
        reservation: ReservationId,
    },
    /// The record does not fit.
    #[error("the record has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// Size of the record, or the size that a reservation asked for.
        bytes: u64,
        /// The limit that applies.
        limit: u64,
    },
    /// The record does not start as every record must.
    #[error(
        "the record does not start with array head, kind, version and an 8-byte time \
         (RFC 8949, one byte each for the first three)"
    )]
    Malformed,
    /// The key extractor cannot read the record.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The log was closed before this item's turn.
    #[error("the log is closing; open it again, then retry")]
    Closing,
}

/// A record could not be read back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No such record.
    #[error("there is no record {record}; the log has {len}")]
    OutOfRange {
        /// What was asked for.
        record: RecordIndex,
        /// Number of records.
        len: u64,
    },
    /// There are only [`KEY_SPACES`](crate::KEY_SPACES) key spaces.
    #[error("there is no key space {space}")]
    NoSuchSpace {
        /// What was asked for.
        space: usize,
    },
    /// A file does not hold what was made durable in it.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// A file of the index does not hold what was written to it.
    #[error(transparent)]
    Index(#[from] IndexDamage),
    /// The key extractor cannot read a record that is in the log.
    #[error("record {record} is intact but its keys cannot be read; use the version that wrote it")]
    Extract {
        /// The record.
        record: RecordIndex,
        /// What the extractor said.
        #[source]
        source: ExtractError,
    },
    /// The record lies in an archive that is not there. Nothing is damaged.
    #[error(
        "record {record} was moved to the archive {path}, which is not there; mount the archive, then retry",
        path = path.display()
    )]
    Archived {
        /// The archive.
        path: PathBuf,
        /// The record.
        record: RecordIndex,
    },
    /// The file system said no.
    #[error("{path} cannot be read; check the disk", path = path.display())]
    Storage {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// [`Log::publish`](crate::Log::publish) did not bring a checkpoint over everything.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The log has stopped.
    #[error(transparent)]
    Stopped(AppendError),
    /// It is tried again by itself.
    #[error("the log is not published for now: {reason}")]
    Later {
        /// What stands against it.
        reason: Arc<str>,
    },
}

/// [`Log::close`](crate::Log::close) could not leave a closed mark. What was acknowledged is
/// durable; the next open recovers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The log had stopped, or stopped while closing.
    #[error("the log was not closed cleanly; the next start recovers it")]
    Stopped(#[source] AppendError),
    /// Everything is durable, but the last records are in no checkpoint yet.
    #[error(
        "the last records are durable but not published: {reason}; the next start publishes them"
    )]
    NotPublished {
        /// What stands against it.
        reason: Arc<str>,
    },
    /// The log thread ended early, most likely by a panic in the commit sink.
    #[error("the log thread ended early; the next start recovers the log")]
    ThreadEnded,
}

/// [`verify`](crate::verify()) or [`LogReader`](crate::LogReader) could not read the log, or found damage.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Not a log directory.
    #[error("{dir} holds no log; check the path", dir = dir.display())]
    Missing {
        /// The directory that was asked for.
        dir: PathBuf,
    },
    /// No such record.
    #[error("there is no record {record}; the log has {len}")]
    OutOfRange {
        /// What was asked for.
        record: RecordIndex,
        /// Number of records.
        len: u64,
    },
    /// A file does not hold what was made durable in it.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// A file of the index does not hold what was written to it.
    #[error(transparent)]
    Index(#[from] IndexDamage),
    /// The key extractor cannot read a record that is in the log.
    #[error("record {record} is intact but its keys cannot be read; use the version that wrote it")]
    Extract {
        /// The record.
        record: RecordIndex,
        /// What the extractor said.
        #[source]
        source: ExtractError,
    },
    /// The record lies in an archive that is not there. Nothing is damaged.
    #[error(
        "record {record} was moved to the archive {path}, which is not there; mount the archive, then retry",
        path = path.display()
    )]
    Archived {
        /// The archive.
        path: PathBuf,
        /// The record.
        record: RecordIndex,
    },
    /// The file system said no.
    #[error("{path} cannot be read; check the disk and the rights", path = path.display())]
    Storage {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
