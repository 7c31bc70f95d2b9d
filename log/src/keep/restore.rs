//! Restore: a new log that knows everything that an old one is known to have issued.
//!
//! Whoever goes on from an older state under the same name signs a second history. So a restored log has
//! a name and a key of its own; its tree begins with the old one's records, under the same indexes. Its
//! first new record says where it came from, and until when the past is known.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use super::backup::{BackupError, stored_checkpoint};
use super::lineage::{Lineage, same_origin};
use super::place::{put_in_place, refuse_nested, remove_tree};
use super::segment_copy::copy_segments;
use super::source::DirectorySource;
use super::tree_copy::{CopyError, copy_tree, sync};
use crate::commit::{Commit, CommitSink};
use crate::error::{CloseError, OpenError, VerifyError};
use crate::log::{LOCK_FILE, Log};
use crate::options::Options;
use crate::published::{checkpoint_path, public_dir, write_vkey};
use crate::record::{ExtractError, KeyExtractor, RecordIndex, restored};
use crate::storage::{self, LockGuard, PathError, Storage, at};
use crate::tlog::{
    Checkpoint, CheckpointSigner, SignError, VerifierKey, empty_root, sign_checkpoint,
};
use crate::verify::{Progress, RecordCheck, Verification, VerifyReport, verify_on};

/// What a log is restored with.
pub struct RestorePlan<'a> {
    /// Verifier key of the log that the backup is of. Its name is the old origin.
    pub old_key: &'a VerifierKey,
    /// The new log's key. Its name is the new origin.
    pub signer: Arc<dyn CheckpointSigner>,
    /// Finds the keys of each record.
    pub keys: Arc<dyn KeyExtractor>,
    /// Looks at every record that no checkpoint of the backup covers: whoever can write to the backup can
    /// write these, too.
    pub record: Option<&'a RecordCheck<'a>>,
    /// How the new log is opened for the first time.
    pub options: Options,
    /// Told now and then how far it has come.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// A restored log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Records that came from the backup.
    pub records: u64,
    /// Those of them after the backup's checkpoint: no signature of the old log covers them.
    pub unsigned: u64,
    /// The record that says so.
    pub act: RecordIndex,
    /// Reservations that were open in the backup and are lost records now.
    pub lost_written: u64,
    /// The backup's checkpoint, or that of the empty tree.
    pub old: Checkpoint,
    /// Time stamp of the last record of the backup in milliseconds since 1970; 0 when there is none. From
    /// then until now the old log may have issued what the new one does not know.
    pub known_until_ms: u64,
    /// The new log's verifier key.
    pub vkey: String,
}

/// Nothing was restored; there is no new log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is something already.
    #[error("{dir} exists and is not empty; a log is never restored over another, choose a new directory", dir = dir.display())]
    Exists {
        /// Where the log was to go.
        dir: PathBuf,
    },
    /// The new log would be taken for the old one.
    #[error(
        "the restored log needs an origin and a key of its own, but {what} is that of the old log {origin}: \
         going on under it would sign a second history"
    )]
    SameLog {
        /// The origin, or the key.
        what: &'static str,
        /// The old log.
        origin: String,
    },
    /// A process has the backup open.
    #[error("{backup} is in use; a log in use is backed up first (`birthmark log backup`)", backup = backup.display())]
    Locked {
        /// The backup.
        backup: PathBuf,
    },
    /// The backup is of another log.
    #[error(
        "the backup is of the log {found}, not of {expected}; check the configuration and the backup"
    )]
    OtherOrigin {
        /// Origin of its checkpoint.
        found: String,
        /// Name of the key that was given.
        expected: String,
    },
    /// The backup is damaged, or not signed by the old key.
    #[error(transparent)]
    Backup(#[from] VerifyError),
    /// The backup has records and no checkpoint.
    #[error(
        "the backup has {records} records and no checkpoint signed by the old log: nothing shows that it \
         issued them; find a backup with public/checkpoint, or make a new CA log and keep this as evidence"
    )]
    Unsigned {
        /// Records in it.
        records: u64,
    },
    /// A record after the backup's checkpoint is not one that the old log can have written.
    #[error(
        "record {record} of the backup is covered by no signature of the old log and is not sound; somebody \
         may have changed the backup: take another one, keep this as evidence"
    )]
    Unsound {
        /// The record.
        record: RecordIndex,
        /// What is wrong with it.
        #[source]
        source: ExtractError,
    },
    /// The paths do not do, or an interrupted backup could not be put in place.
    #[error(transparent)]
    Place(BackupError),
    /// It could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The new checkpoint cannot be signed.
    #[error("the new log's checkpoint cannot be signed")]
    Sign(#[source] SignError),
    /// The copy does not open.
    #[error("the restored log does not open")]
    Open(#[source] OpenError),
    /// The copy does not close.
    #[error("the restored log does not close")]
    Close(#[source] CloseError),
}

/// Makes a new log in `dir` from the backup (or any copy) of an old one. Nobody may have either open.
///
/// The backup is verified as a whole first. The new log is built beside `dir` and appears there whole, with
/// its first record durable and published, or not at all.
///
/// # Errors
/// [`RestoreError`]. The backup is not changed.
pub fn restore(
    backup: &Path,
    dir: &Path,
    plan: &RestorePlan<'_>,
) -> Result<RestoreReport, RestoreError> {
    let storage = &plan.options.storage;
    check_new(plan)?;
    refuse_nested(backup, dir).map_err(RestoreError::Place)?;
    match storage.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(names) if names.is_empty() => {}
        _ => {
            return Err(RestoreError::Exists {
                dir: dir.to_owned(),
            });
        }
    }
    let _lock = lock(&**storage, backup)?;
    put_in_place(&**storage, backup)?;
    let verified = verify_backup(storage, backup, plan)?;
    let old = verified.checkpoint.clone().unwrap_or_else(|| Checkpoint {
        origin: plan.old_key.name().to_owned(),
        size: 0,
        root: empty_root(),
    });
    let staging = staging(dir);
    remove_tree(&**storage, &staging)?;
    let above = storage::first_existing(&**storage, &staging).to_owned();
    storage.create_dir(&staging).map_err(at(&staging))?;
    let built = build(storage, backup, &staging, &verified, &old, plan).and_then(|report| {
        storage.rename(&staging, dir).map_err(at(dir))?;
        let mut made = dir;
        while let Some(parent) = made.parent() {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            storage.sync_dir(parent).map_err(at(parent))?;
            if parent == above {
                break;
            }
            made = parent;
        }
        Ok(report)
    });
    if built.is_err() {
        // Best effort: the next restore begins with this.
        let _ = remove_tree(&**storage, &staging);
    }
    built
}

/// Neither the name nor the key may be the old ones. The names before that are in the backup, see
/// [`Lineage`].
fn check_new(plan: &RestorePlan<'_>) -> Result<(), RestoreError> {
    let (old, new) = (plan.old_key, plan.signer.verifier_key());
    let what = if same_origin(old.name(), new.name()) {
        "the origin"
    } else if old.public_key() == new.public_key() {
        "the key"
    } else {
        return Ok(());
    };
    Err(RestoreError::SameLog {
        what,
        origin: old.name().to_owned(),
    })
}

/// Where the log is built.
fn staging(dir: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(dir.file_name().unwrap_or_default());
    name.push(".restoring");
    dir.with_file_name(name)
}

/// A log that is in use is not restored from. A medium that cannot be written to has no log in use.
fn lock(storage: &dyn Storage, backup: &Path) -> Result<Option<LockGuard>, RestoreError> {
    let path = backup.join(LOCK_FILE);
    if storage.open(&path, false).is_err() {
        return Ok(None);
    }
    match storage.lock(&path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(RestoreError::Locked {
            backup: backup.to_owned(),
        }),
        lock => Ok(lock.ok()),
    }
}

fn verify_backup(
    storage: &Arc<dyn Storage>,
    backup: &Path,
    plan: &RestorePlan<'_>,
) -> Result<VerifyReport, RestoreError> {
    let stored = stored_checkpoint(&**storage, backup, Some(plan.old_key));
    // One that is not the old key's is refused below, with its place.
    let stored = stored.unwrap_or_default();
    let size = stored.map_or(0, |(_, checkpoint)| checkpoint.size);
    let unsound = OnceLock::new();
    let unsigned = |index: RecordIndex, record: &[u8]| match plan.record {
        Some(check) if index.0 >= size => check(index, record).inspect_err(|_| {
            let _ = unsound.set(index);
        }),
        _ => Ok(()),
    };
    let verification = Verification {
        vkey: Some(plan.old_key),
        keys: Some(&*plan.keys),
        record: Some(&unsigned),
        progress: plan.progress,
        ..Verification::default()
    };
    let verified = verify_on(storage, backup, &verification).map_err(|error| match error {
        VerifyError::Extract { record, source } if unsound.get() == Some(&record) => {
            RestoreError::Unsound { record, source }
        }
        error => error.into(),
    })?;
    if verified.segments == 0 {
        // A copy of the published files lacks what was acknowledged after the last checkpoint.
        return Err(VerifyError::Missing {
            dir: backup.to_owned(),
        }
        .into());
    }
    let covered = verified.checkpoint.as_ref().map(|signed| signed.size);
    if covered.unwrap_or(0) != size {
        // Exchanged while it was verified.
        return Err(RestoreError::Locked {
            backup: backup.to_owned(),
        });
    }
    if covered.is_none() && verified.records > 0 {
        return Err(RestoreError::Unsigned {
            records: verified.records,
        });
    }
    match &verified.checkpoint {
        Some(checkpoint) if checkpoint.origin != plan.old_key.name() => {
            Err(RestoreError::OtherOrigin {
                found: checkpoint.origin.clone(),
                expected: plan.old_key.name().to_owned(),
            })
        }
        _ => Ok(verified),
    }
}

/// Builds the log in `staging`: the same tree, signed under its new name, and its first record.
fn build(
    storage: &Arc<dyn Storage>,
    backup: &Path,
    staging: &Path,
    verified: &VerifyReport,
    old: &Checkpoint,
    plan: &RestorePlan<'_>,
) -> Result<RestoreReport, RestoreError> {
    let volume = storage.volume(staging).map_err(at(staging))?;
    let vkey = plan.signer.verifier_key().to_string();
    let mut lineage = Lineage::new(plan.signer.verifier_key().name());
    lineage.see_segments(storage, backup, old.size)?;
    if old.size > 0 || verified.checkpoint.is_some() {
        let source = DirectorySource::of_log(storage, backup);
        let seen = &mut |record: &[u8]| lineage.see(record);
        copy_tree(&source, storage, staging, None, old, seen, &|_| {})?;
        let checkpoint = Checkpoint {
            origin: plan.signer.verifier_key().name().to_owned(),
            ..old.clone()
        };
        let text = sign_checkpoint(&*plan.signer, &checkpoint).map_err(RestoreError::Sign)?;
        let public = public_dir(staging);
        storage.create_dir(&public).map_err(at(&public))?;
        storage::replace_file(&**storage, &checkpoint_path(staging), text.as_bytes())?;
    }
    lineage.check()?;
    write_vkey(&**storage, staging, &vkey)?;
    if !copy_segments(storage, backup, staging, old.size)? {
        let dir = backup.to_owned();
        return Err(VerifyError::Missing { dir }.into());
    }
    sync(&*volume, staging)?;
    let act = restored(old, verified.last_time_ms);
    let log = Log::open_with_act(
        staging,
        plan.options.clone(),
        Arc::clone(&plan.keys),
        Arc::clone(&plan.signer),
        Arc::new(Nobody),
        Some(&act),
    )
    .map_err(RestoreError::Open)?;
    let recovery = log.recovery();
    let lost_written = recovery.lost_written;
    // Before the lost records; an accepted clock has a record of its own before that.
    let act = RecordIndex(recovery.records - lost_written - 1);
    log.close().map_err(RestoreError::Close)?;
    Ok(RestoreReport {
        records: verified.records,
        unsigned: verified.records - old.size,
        act,
        lost_written,
        old: old.clone(),
        known_until_ms: verified.last_time_ms,
        vkey,
    })
}

/// Nothing is submitted, so nothing is answered.
struct Nobody;

impl CommitSink for Nobody {
    fn committed(&self, _commits: &mut Vec<Commit>) {}
}

impl From<PathError> for RestoreError {
    fn from(error: PathError) -> RestoreError {
        CopyError::from(error).into()
    }
}
