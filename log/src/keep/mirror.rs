//! A verified copy of what a log publishes, on a second machine.
//!
//! The copy is laid out like the log's published part, with the verifier key beside it, so everything
//! that reads logs reads it. It never goes back and never follows a fork: whoever has the log's key but
//! changes its history is found out here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::backup::{BackupError, stored_checkpoint, stored_vkey};
use super::partials::remove_partials;
use super::place::{COPY, claim, refuse_nested};
use super::source::{SourceError, TreeSource};
use super::tree_copy::{CopyError, copy_tree};
use crate::published::{CHECKPOINT_BYTES_MAX, checkpoint_path, public_dir, write_vkey};
use crate::segment::segments_dir;
use crate::storage::{self, DiskStorage, PathError, Storage, at};
use crate::tlog::{Checkpoint, CheckpointError, VerifierKey};
use crate::verify::Progress;

/// A checkpoint of the source that this copy does not follow is kept under a name that begins so, with its
/// size and the beginning of its root: it bears the log's signature and is evidence.
const CONFLICT_FILE: &str = "conflict";

/// Bytes of the root in the name.
const CONFLICT_ROOT_BYTES: usize = 8;

/// What the copy holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorReport {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Records that are new since the last time.
    pub records_new: u64,
}

/// The copy was not brought up to date. It stands as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source has no checkpoint.
    #[error("{location} has no checkpoint; check the address, or wait until the log has published")]
    NothingPublished {
        /// The source.
        location: String,
    },
    /// The source's checkpoint is malformed, or not signed by the key.
    #[error("the checkpoint of {location} is not one of this log; check the address and the key")]
    Checkpoint {
        /// The source.
        location: String,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// The source has fewer records than the copy.
    #[error(
        "the log at {location} went back: it shows {new} records, this copy has {old} with the same \
         signature; STOP: it was rolled back, or an old copy is served; keep both, ask who runs the log"
    )]
    RolledBack {
        /// The source.
        location: String,
        /// Records of the copy.
        old: u64,
        /// Records that the source shows.
        new: u64,
    },
    /// The directory is in use.
    #[error("{dest} is in use by another process; stop that one first", dest = dest.display())]
    Locked {
        /// Where the copy is.
        dest: PathBuf,
    },
    /// The directory holds something else: a log that can be issued from, or other files.
    #[error(
        "{dest} is not empty and no copy made by `birthmark log follow`; choose an empty directory",
        dest = dest.display()
    )]
    NotACopy {
        /// Where the copy was to go.
        dest: PathBuf,
    },
    /// The directory holds a copy of another log.
    #[error("{dest} is a copy of {held}, not of {asked}; choose another directory", dest = dest.display())]
    OtherLog {
        /// Where the copy is.
        dest: PathBuf,
        /// Verifier key of the log that it is a copy of.
        held: String,
        /// Verifier key that was given.
        asked: String,
    },
    /// The tree could not be copied, or is a fork.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The copy itself cannot be used.
    #[error(transparent)]
    Held(BackupError),
}

/// Brings the copy in `dest` up to date with `source`, whose checkpoints are signed by `key`, on the real
/// file system. Everything is verified up to the signed root and durable when this returns.
///
/// # Errors
/// [`MirrorError`]. [`MirrorError::RolledBack`] and [`CopyError::Forked`] accuse whoever has the log's
/// key; the checkpoint that shows it is kept in a file `conflict-<size>-<root>` of the copy, which is never
/// overwritten.
pub fn mirror(
    source: &dyn TreeSource,
    dest: &Path,
    key: &VerifierKey,
    progress: &dyn Fn(Progress),
) -> Result<MirrorReport, MirrorError> {
    if let Some(dir) = source.directory() {
        refuse_nested(dir, dest).map_err(MirrorError::Held)?;
    }
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage);
    mirror_on(&storage, source, dest, key, progress)
}

/// As [`mirror`], on any storage.
///
/// # Errors
/// As [`mirror`].
pub fn mirror_on(
    storage: &Arc<dyn Storage>,
    source: &dyn TreeSource,
    dest: &Path,
    key: &VerifierKey,
    progress: &dyn Fn(Progress),
) -> Result<MirrorReport, MirrorError> {
    if storage.list(&segments_dir(dest)).is_ok() {
        return Err(MirrorError::NotACopy {
            dest: dest.to_owned(),
        });
    }
    let (text, checkpoint) = signed(source, key)?;
    let _lock = claim(&**storage, dest, &COPY).map_err(|error| match error {
        BackupError::Locked { dest } => MirrorError::Locked { dest },
        BackupError::NotABackup { dest } => MirrorError::NotACopy { dest },
        error => MirrorError::Held(error),
    })?;
    let held = held(&**storage, dest, key)?;
    let old = held.as_ref().map_or(0, |held| held.size);
    if held.as_ref() == Some(&checkpoint) {
        return Ok(MirrorReport {
            checkpoint,
            records_new: 0,
        });
    }
    if checkpoint.size < old {
        keep_conflict(&**storage, dest, &checkpoint, &text)?;
        return Err(MirrorError::RolledBack {
            location: source.location(),
            old,
            new: checkpoint.size,
        });
    }
    let copied = forked_at_once(source, held.as_ref(), &checkpoint).and_then(|()| {
        let seen = &mut |_: &[u8]| {};
        copy_tree(
            source,
            storage,
            dest,
            held.as_ref(),
            &checkpoint,
            seen,
            progress,
        )
    });
    if let Err(CopyError::Forked { .. }) = &copied {
        keep_conflict(&**storage, dest, &checkpoint, &text)?;
    }
    copied?;
    if stored_vkey(&**storage, dest)
        .map_err(MirrorError::Held)?
        .is_none()
    {
        write_vkey(&**storage, dest, &key.to_string())?;
    }
    let path = checkpoint_path(dest);
    storage.create_dir(&public_dir(dest)).map_err(at(&path))?;
    storage::replace_file(&**storage, &path, &text)?;
    remove_partials(&**storage, dest, old, checkpoint.size)?;
    Ok(MirrorReport {
        records_new: checkpoint.size - old,
        checkpoint,
    })
}

/// The source's checkpoint, as text and read.
fn signed(
    source: &dyn TreeSource,
    key: &VerifierKey,
) -> Result<(Vec<u8>, Checkpoint), MirrorError> {
    let Some(text) = source.read("checkpoint", CHECKPOINT_BYTES_MAX)? else {
        return Err(MirrorError::NothingPublished {
            location: source.location(),
        });
    };
    let checkpoint =
        Checkpoint::from_note(&text, key).map_err(|error| MirrorError::Checkpoint {
            location: source.location(),
            source: error,
        })?;
    Ok((text, checkpoint))
}

/// What the copy has, which must be of the same log.
fn held(
    storage: &dyn Storage,
    dest: &Path,
    key: &VerifierKey,
) -> Result<Option<Checkpoint>, MirrorError> {
    let held = stored_vkey(storage, dest).map_err(MirrorError::Held)?;
    if let Some(held) = held.filter(|held| held != key) {
        return Err(MirrorError::OtherLog {
            dest: dest.to_owned(),
            held: held.to_string(),
            asked: key.to_string(),
        });
    }
    let stored = stored_checkpoint(storage, dest, Some(key)).map_err(MirrorError::Held)?;
    Ok(stored.map(|(_, checkpoint)| checkpoint))
}

/// Two signed trees of one size with different roots need no further proof.
fn forked_at_once(
    source: &dyn TreeSource,
    held: Option<&Checkpoint>,
    new: &Checkpoint,
) -> Result<(), CopyError> {
    match held {
        Some(held) if held.size == new.size && held.root != new.root => Err(CopyError::Forked {
            location: source.location(),
            old: held.size,
            new: new.size,
        }),
        _ => Ok(()),
    }
}

/// Keeps the first note of each tree: later ones say no more.
fn keep_conflict(
    storage: &dyn Storage,
    dest: &Path,
    checkpoint: &Checkpoint,
    text: &[u8],
) -> Result<(), PathError> {
    let root = &checkpoint.root.0[..CONFLICT_ROOT_BYTES];
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = dest.join(format!("{CONFLICT_FILE}-{}-{root}", checkpoint.size));
    if storage.open(&path, false).is_ok() {
        return Ok(());
    }
    storage::replace_file(storage, &path, text)
}

impl From<PathError> for MirrorError {
    fn from(error: PathError) -> MirrorError {
        CopyError::from(error).into()
    }
}
