//! Keeping a log: copies of it, a new log from an old one, others who vouch for it, and where its old
//! records go.
//!
//! | file | subject |
//! | --- | --- |
//! | `source.rs` | where published files are read from: a directory, or what the caller brings |
//! | `tree_copy.rs` | copies a published tree and proves the copy right, record by record |
//! | `tile_proof.rs` | what a source must prove before its records are fetched |
//! | `partials.rs` | removes what a copy's checkpoint does not need any more |
//! | `backup.rs`, `segment_copy.rs`, `place.rs` | a copy of all that was acknowledged, while the log grows |
//! | `archive.rs`, `archive_place.rs`, `archive_error.rs` | moves old records out of the log's directory |
//! | `unpublished.rs` | whether a log without checkpoint is the one that a backup is of |
//! | `restore.rs` | a new log, with a new origin, that knows what an old one issued |
//! | `lineage.rs` | which logs a restored log goes on from |
//! | `witness.rs` | pushes checkpoints to witnesses, keeps their cosignatures |
//! | `mirror.rs` | a copy of what a log publishes that never follows it back or into a fork |
//!
//! # Invariants
//!
//! - A copy's checkpoint is replaced last: what it covers was read back from the copy, hashed, and
//!   gives its root.
//! - Nothing here writes into the log that it reads, but `archive.rs`: it replaces the log's pointer to its
//!   archives, and removes what it has just read back from there.

mod archive;
mod archive_error;
mod archive_place;
mod backup;
mod lineage;
mod mirror;
mod partials;
mod place;
mod restore;
mod segment_copy;
mod source;
mod tile_proof;
mod tree_copy;
mod unpublished;
mod witness;

pub use self::archive::{ArchiveLimit, ArchiveOptions, ArchiveReport, archive, archive_on};
pub use self::archive_error::ArchiveError;
pub use self::backup::{BackupError, BackupOptions, BackupReport, backup, backup_on};
pub use self::mirror::{MirrorError, MirrorReport, mirror, mirror_on};
pub use self::restore::{RestoreError, RestorePlan, RestoreReport, restore};
pub use self::source::{DirectorySource, SourceError, TreeSource};
pub use self::tree_copy::CopyError;
pub use self::witness::{
    WITNESS_ANSWER_BYTES_MAX, Witness, WitnessAnswer, WitnessClient, WitnessError, WitnessReport,
    push_checkpoint,
};
