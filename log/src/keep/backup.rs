//! Backup: a copy of all that was acknowledged, while the log grows.
//!
//! ```text
//! DEST/BACKUP                     says what the directory is
//! DEST/public, vkey, segments     as in a log; opens and verifies like the log after a crash
//! DEST/next                       being made
//! DEST/ready                      made, durable, verified; being put in place
//! ```
//!
//! Tiles and bundles are added to those that the backup has. Segments and checkpoint belong together and
//! are replaced together: they are made in `next`, which becomes `ready` in one rename. From then on
//! the new state counts; whoever comes next puts it in place if this process could not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::partials::remove_partials;
use super::place::{BACKUP, NEXT, READY, claim, put_in_place, refuse_nested, remove_tree};
use super::segment_copy::copy_segments;
use super::source::DirectorySource;
use super::tree_copy::{CopyError, copy_tree, sync};
use super::unpublished::Unpublished;
use crate::error::VerifyError;
use crate::published::{Published, checkpoint_path, read_checkpoint, read_vkey, write_vkey};
use crate::scan::segment_numbers;
use crate::storage::{self, DiskStorage, PathError, Storage, at};
use crate::tlog::{Checkpoint, CheckpointError, KeyError, VerifierKey};
use crate::verify::{Progress, Verification, VerifyReport, verify_on, verify_segments_of};

/// Times that the segments are copied when the writer publishes and gives some up meanwhile. It does so
/// about once a second; copying what is not published takes a fraction of that, and each try has only
/// the news of the last one to catch up with.
const TRIES: usize = 32;

/// Wait before the next try: several group commits.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How a backup is made.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct BackupOptions<'a> {
    /// Check all of the backup in the end, and not only what is new in it.
    pub verify_all: bool,
    /// Told now and then how far the published records have come.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl<'a> BackupOptions<'a> {
    /// Checks what is new, or everything.
    #[must_use]
    pub fn verify_all(mut self, verify_all: bool) -> BackupOptions<'a> {
        self.verify_all = verify_all;
        self
    }

    /// Tells how far it has come.
    #[must_use]
    pub fn progress(mut self, progress: &'a (dyn Fn(Progress) + Sync)) -> BackupOptions<'a> {
        self.progress = Some(progress);
        self
    }
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Records in it, those in the segments included.
    pub records: u64,
    /// The checkpoint in it.
    pub checkpoint: Option<Checkpoint>,
    /// Entry bundles that were copied; the others were there already.
    pub bundles_copied: u64,
    /// Reservations without a record.
    pub reservations_open: u64,
    /// Time stamp of the last record in milliseconds since 1970; 0 when not known.
    pub last_time_ms: u64,
    /// Whether all of it was verified now, and not only what is new.
    pub verified_all: bool,
}

/// There is no new backup. What the directory held before counts on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// One directory lies in the other.
    #[error(
        "{dest} and the log in {dir} lie in each other; choose a directory elsewhere, best on another disk",
        dir = dir.display(), dest = dest.display()
    )]
    Inside {
        /// The log.
        dir: PathBuf,
        /// Where the backup was to go.
        dest: PathBuf,
    },
    /// The directory is in use.
    #[error("{dest} is in use, as a log or by another backup; choose another directory", dest = dest.display())]
    Locked {
        /// Where the backup was to go.
        dest: PathBuf,
    },
    /// The directory holds something else.
    #[error("{dest} is not empty and no backup; choose an empty directory", dest = dest.display())]
    NotABackup {
        /// Where the backup was to go.
        dest: PathBuf,
    },
    /// The directory holds the backup of another log.
    #[error(
        "{dest} is a backup of {held}, not of {log}; choose another directory",
        dest = dest.display()
    )]
    OtherLog {
        /// Where the backup was to go.
        dest: PathBuf,
        /// Verifier key of the log that it is a backup of.
        held: String,
        /// Verifier key of this log.
        log: String,
    },
    /// The backup has more records than the log. Published ones are compared with published ones, and all
    /// with all where the backup has no checkpoint.
    #[error(
        "the backup has {held} records where the log has {log}: the log was rolled back, or it is not the \
         one that was backed up; STOP: do not issue from it, keep both as they are"
    )]
    RolledBack {
        /// Records of the backup.
        held: u64,
        /// Records of the log.
        log: u64,
    },
    /// A checkpoint is malformed or wrongly signed.
    #[error("{path} cannot be used", path = path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// A verifier key is none.
    #[error("the verifier key in {dir} cannot be used; restore the file `vkey`", dir = dir.display())]
    Key {
        /// Where it lies.
        dir: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The published tree could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The log, or the backup, cannot be read or is damaged.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// The writer was faster than the copy each time.
    #[error(
        "the log in {dir} went on faster than it could be copied; try again, or write to a faster disk",
        dir = dir.display()
    )]
    TooSlow {
        /// The log.
        dir: PathBuf,
    },
}

/// Backs the log in `dir` up to `dest`, on the real file system. The log may be in use. Everything that
/// was acknowledged before is in the backup, durable and checked, when this returns.
///
/// What an earlier backup brought is not copied again. One that was interrupted is gone on with.
///
/// # Errors
/// [`BackupError`]; an earlier backup in `dest` stays as it was.
pub fn backup(
    dir: &Path,
    dest: &Path,
    options: &BackupOptions<'_>,
) -> Result<BackupReport, BackupError> {
    refuse_nested(dir, dest)?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage);
    backup_on(&storage, dir, dest, options)
}

/// As [`backup`], on any storage. That the directories are apart is the caller's to see.
///
/// # Errors
/// As [`backup`].
pub fn backup_on(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    dest: &Path,
    options: &BackupOptions<'_>,
) -> Result<BackupReport, BackupError> {
    segment_numbers(&**storage, dir).map_err(VerifyError::from)?;
    let _lock = claim(&**storage, dest, &BACKUP)?;
    put_in_place(&**storage, dest)?;
    let job = Backup {
        storage,
        dir,
        dest,
        options,
    };
    job.run()
}

struct Backup<'a> {
    storage: &'a Arc<dyn Storage>,
    dir: &'a Path,
    dest: &'a Path,
    options: &'a BackupOptions<'a>,
}

impl Backup<'_> {
    fn run(&self) -> Result<BackupReport, BackupError> {
        let held = self.held()?;
        let unpublished = match held {
            Some(_) => None,
            None => Unpublished::read(&**self.storage, self.dest)?,
        };
        let mut old_sizes: Vec<u64> = held.iter().map(|held| held.size).collect();
        let mut base = held;
        let mut bundles_copied = 0;
        let mut last: Option<VerifyError> = None;
        for _ in 0..TRIES {
            let (text, checkpoint) = self.published()?.unzip();
            let log = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
            if let (Some(base), None) = (&base, &checkpoint) {
                return Err(BackupError::RolledBack {
                    held: base.size,
                    log,
                });
            }
            if let Some(checkpoint) = &checkpoint {
                bundles_copied += self.copy_published(base.as_ref(), checkpoint)?;
            }
            match self.make_next(text.as_deref(), checkpoint.as_ref()) {
                Ok(Some(verified)) => {
                    self.check_continued(unpublished.as_ref(), log)?;
                    self.commit(&old_sizes, checkpoint.as_ref())?;
                    return self.report(verified, checkpoint, bundles_copied);
                }
                Ok(None) => {}
                // Real damage stays; what was just being written does not.
                Err(BackupError::Log(error)) => {
                    let same = last
                        .as_ref()
                        .is_some_and(|last| last.to_string() == error.to_string());
                    if same {
                        return Err(error.into());
                    }
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
            // What was copied and verified now is where the next try goes on from.
            base = checkpoint;
            old_sizes.extend(base.as_ref().map(|base| base.size));
            thread::sleep(AGAIN_AFTER);
        }
        Err(last.map_or(
            BackupError::TooSlow {
                dir: self.dir.to_owned(),
            },
            BackupError::Log,
        ))
    }

    /// The checkpoint of the backup that stands.
    fn held(&self) -> Result<Option<Checkpoint>, BackupError> {
        let held = stored_vkey(&**self.storage, self.dest)?;
        let log = stored_vkey(&**self.storage, self.dir)?;
        match (&held, &log) {
            (Some(held), Some(log)) if held != log => Err(BackupError::OtherLog {
                dest: self.dest.to_owned(),
                held: held.to_string(),
                log: log.to_string(),
            }),
            // A checkpoint is never overlooked because the key beside it is gone.
            (held, log) => {
                let key = held.as_ref().or(log.as_ref());
                let stored = stored_checkpoint(&**self.storage, self.dest, key)?;
                Ok(stored.map(|(_, checkpoint)| checkpoint))
            }
        }
    }

    /// What the log has published by now, as text and read.
    fn published(&self) -> Result<Option<(Vec<u8>, Checkpoint)>, BackupError> {
        let vkey = stored_vkey(&**self.storage, self.dir)?;
        stored_checkpoint(&**self.storage, self.dir, vkey.as_ref())
    }

    fn copy_published(
        &self,
        base: Option<&Checkpoint>,
        checkpoint: &Checkpoint,
    ) -> Result<u64, BackupError> {
        let held = base.map_or(0, |base| base.size);
        if held > checkpoint.size {
            return Err(BackupError::RolledBack {
                held,
                log: checkpoint.size,
            });
        }
        let source = DirectorySource::of_log(self.storage, self.dir);
        let quiet = |_: Progress| {};
        let progress: &dyn Fn(Progress) = match self.options.progress {
            Some(progress) => progress,
            None => &quiet,
        };
        Ok(copy_tree(
            &source,
            self.storage,
            self.dest,
            base,
            checkpoint,
            &mut |_| {},
            progress,
        )?)
    }

    /// Makes segments and checkpoint of the new state and verifies them. `None`: the writer was faster.
    fn make_next(
        &self,
        text: Option<&[u8]>,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Option<VerifyReport>, BackupError> {
        let storage = &**self.storage;
        let next = self.dest.join(NEXT);
        remove_tree(storage, &next)?;
        storage.create_dir(&next).map_err(at(&next))?;
        let volume = storage.volume(&next).map_err(at(&next))?;
        let size = checkpoint.map_or(0, |checkpoint| checkpoint.size);
        if !copy_segments(self.storage, self.dir, &next, size)? {
            return Ok(None);
        }
        if let Some(text) = text {
            storage::write_file(storage, &next.join("checkpoint"), text)?;
        }
        sync(&*volume, self.dest)?;
        let published = Published::new(Arc::clone(self.storage), self.dest, size);
        let verification = Verification::default();
        let verified = verify_segments_of(storage, &next, &published, &verification)?;
        Ok(Some(verified))
    }

    /// A backup without checkpoint is continued by the new state, or that one is thrown away.
    fn check_continued(
        &self,
        held: Option<&Unpublished>,
        published: u64,
    ) -> Result<(), BackupError> {
        let Some(held) = held else {
            return Ok(());
        };
        let storage = &**self.storage;
        let next = self.dest.join(NEXT);
        let published = Published::new(Arc::clone(self.storage), self.dest, published);
        let checked = held.check_continued(storage, &published, &next, (self.dir, self.dest));
        if checked.is_err() {
            // Best effort: the next backup begins with this.
            let _ = remove_tree(storage, &next);
        }
        checked
    }

    /// From here on the new state counts.
    fn commit(
        &self,
        old_sizes: &[u64],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), BackupError> {
        let storage = &**self.storage;
        if let Some(vkey) = stored_vkey(storage, self.dir)?
            && stored_vkey(storage, self.dest)?.as_ref() != Some(&vkey)
        {
            write_vkey(storage, self.dest, &vkey.to_string())?;
        }
        let (next, ready) = (self.dest.join(NEXT), self.dest.join(READY));
        storage.rename(&next, &ready).map_err(at(&next))?;
        storage.sync_dir(self.dest).map_err(at(self.dest))?;
        put_in_place(storage, self.dest)?;
        let new = checkpoint.map_or(0, |checkpoint| checkpoint.size);
        for &old in old_sizes {
            remove_partials(storage, self.dest, old, new)?;
        }
        Ok(())
    }

    fn report(
        &self,
        verified: VerifyReport,
        checkpoint: Option<Checkpoint>,
        bundles_copied: u64,
    ) -> Result<BackupReport, BackupError> {
        if self.options.verify_all {
            let verification = Verification {
                progress: self.options.progress,
                ..Verification::default()
            };
            verify_on(self.storage, self.dest, &verification)?;
        }
        Ok(BackupReport {
            records: verified.records,
            checkpoint,
            bundles_copied,
            reservations_open: verified.reservations_open,
            last_time_ms: verified.last_time_ms,
            verified_all: self.options.verify_all,
        })
    }
}

/// The verifier key that is kept with a log or a copy.
pub(super) fn stored_vkey(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<Option<VerifierKey>, BackupError> {
    let text = read_vkey(storage, dir).map_err(VerifyError::from)?;
    let key = text.map(|text| text.parse::<VerifierKey>()).transpose();
    key.map_err(|source| BackupError::Key {
        dir: dir.to_owned(),
        source,
    })
}

/// The checkpoint that stands, as text and read.
pub(super) fn stored_checkpoint(
    storage: &dyn Storage,
    dir: &Path,
    key: Option<&VerifierKey>,
) -> Result<Option<(Vec<u8>, Checkpoint)>, BackupError> {
    let (Some(text), Some(key)) = (
        read_checkpoint(storage, dir).map_err(VerifyError::from)?,
        key,
    ) else {
        return Ok(None);
    };
    let checkpoint =
        Checkpoint::from_note(&text, key).map_err(|source| BackupError::Checkpoint {
            path: checkpoint_path(dir),
            source,
        })?;
    Ok(Some((text, checkpoint)))
}

impl From<PathError> for BackupError {
    fn from(error: PathError) -> BackupError {
        CopyError::from(error).into()
    }
}
