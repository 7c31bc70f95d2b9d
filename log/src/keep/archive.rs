//! Archiving: old entry bundles move to another directory, hashes and tiles stay.
//!
//! One round, of at most [`ROUND_BUNDLES`]:
//!
//! 1. The bundles are copied, each checked against its tile.
//! 2. The archive's volume is synced.
//! 3. They are read again, from the medium where the system lets us choose, and checked once more.
//! 4. The pointer (`crate::archive`) is replaced, durably: from now on the archive has them.
//! 5. They are removed from the log.
//!
//! An interruption before 4 leaves copies that the next run finds and checks; one after it leaves bundles in
//! the log that the next run removes, after it has read the archived ones once more.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive_error::ArchiveError;
use super::archive_place::{claim, lock_log};
use super::backup::{stored_checkpoint, stored_vkey};
use super::place::refuse_nested;
use super::tree_copy::first_wrong;
use crate::archive::{Archive, is_there, representable};
use crate::error::VerifyError;
use crate::index::watermark_on_disk;
use crate::published::{Published, bundle_at, damage, public_dir, tile_of, wrong_record};
use crate::rebuild::index_dir;
use crate::record::{RecordIndex, time_ms};
use crate::scan::segment_numbers;
use crate::storage::{self, AlignedBytes, DiskStorage, Storage, Volume, at};
use crate::tlog::{BUNDLE_BYTES_MAX, BundleId, TILE_WIDTH};
use crate::verify::Progress;

/// Bundles that are moved between two syncs: a million records, a gigabyte or so. What an interruption
/// costs is to read these again; what the log's disk must still hold meanwhile is these, too.
const ROUND_BUNDLES: u64 = 4096;

/// Full bundles whose paths differ in the last three digits only (c2sp.org/tlog-tiles).
const BUNDLES_IN_DIRECTORY: u64 = 1000;

/// Which records may go. Whole bundles of 256 go, so a little more may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveLimit {
    /// All but at least so many of the newest published records.
    Keep(u64),
    /// Those stamped before this time, in milliseconds since 1970.
    Before(u64),
}

/// What is archived, and how.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ArchiveOptions<'a> {
    limit: ArchiveLimit,
    keys_version: u32,
    dry_run: bool,
    beyond_index: bool,
    progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl<'a> ArchiveOptions<'a> {
    /// Moves what the limit lets go and the index on the disk covers with keys of this
    /// [version](crate::KeyExtractor::version): an index of another version is made anew by the next open, which reads all records.
    #[must_use]
    pub fn new(limit: ArchiveLimit, keys_version: u32) -> ArchiveOptions<'a> {
        ArchiveOptions {
            limit,
            keys_version,
            dry_run: false,
            beyond_index: false,
            progress: None,
        }
    }

    /// Says what would be done and changes nothing.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> ArchiveOptions<'a> {
        self.dry_run = dry_run;
        self
    }

    /// Also moves records that the index on the disk does not cover. The log reads these when it opens, so
    /// it opens only while the archive is there.
    #[must_use]
    pub fn beyond_index(mut self, beyond_index: bool) -> ArchiveOptions<'a> {
        self.beyond_index = beyond_index;
        self
    }

    /// Tells how far it has come.
    #[must_use]
    pub fn progress(mut self, progress: &'a (dyn Fn(Progress) + Sync)) -> ArchiveOptions<'a> {
        self.progress = Some(progress);
        self
    }
}

/// What was moved, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// Bundles moved now, of 256 records each.
    pub bundles: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bundles of an earlier, interrupted run that were still in the log and are not any more.
    pub removed_later: u64,
    /// Records in archives by now, from the first one on.
    pub archived: u64,
    /// Published records that are in the log.
    pub kept: u64,
    /// Records that the limit lets go and that stay, because the index on the disk does not cover them yet.
    pub held_back: u64,
}

/// Moves old full entry bundles of the log in `dir` to `dest`, on the real file system. The log may be in
/// use. A bundle leaves the log when it is durable in the archive, was read back, and the log notes where it
/// is. Tiles, checkpoint and index stay.
///
/// What was interrupted is gone on with. Earlier archives stay where they are.
///
/// # Errors
/// [`ArchiveError`].
pub fn archive(
    dir: &Path,
    dest: &Path,
    options: &ArchiveOptions<'_>,
) -> Result<ArchiveReport, ArchiveError> {
    refuse_nested(dir, dest).map_err(|_| ArchiveError::Inside {
        dir: dir.to_owned(),
        dest: dest.to_owned(),
    })?;
    // The log is read from elsewhere, too.
    let dest = std::path::absolute(dest).map_err(at(dest))?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage);
    archive_on(&storage, dir, &dest, options)
}

/// As [`archive`], on any storage. That the directories are apart and `dest` is absolute is the caller's
/// to see.
///
/// # Errors
/// As [`archive`].
pub fn archive_on(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    dest: &Path,
    options: &ArchiveOptions<'_>,
) -> Result<ArchiveReport, ArchiveError> {
    segment_numbers(&**storage, dir).map_err(VerifyError::from)?;
    if representable(dest).is_none() {
        let dest = dest.to_owned();
        return Err(ArchiveError::Path { dest });
    }
    if options.dry_run {
        return Archiving::begin(storage, dir, dest, options)?.dry_run();
    }
    let _log = lock_log(&**storage, dir)?;
    let mut archiving = Archiving::begin(storage, dir, dest, options)?;
    archiving.remove_left_over()?;
    if archiving.goal > archiving.pointer.end() {
        archiving.check_mounted()?;
        let vkey = stored_vkey(&**storage, dir).map_err(ArchiveError::Published)?;
        let vkey = vkey.map(|vkey| vkey.to_string()).unwrap_or_default();
        let _archive = claim(&**storage, dest, &vkey)?;
        archiving.run()?;
    }
    Ok(archiving.report())
}

struct Archiving<'a> {
    storage: &'a Arc<dyn Storage>,
    dir: &'a Path,
    dest: &'a Path,
    options: &'a ArchiveOptions<'a>,
    published: Published,
    pointer: Archive,
    /// First bundle that stays.
    goal: u64,
    report: ArchiveReport,
}

impl<'a> Archiving<'a> {
    fn begin(
        storage: &'a Arc<dyn Storage>,
        dir: &'a Path,
        dest: &'a Path,
        options: &'a ArchiveOptions<'a>,
    ) -> Result<Archiving<'a>, ArchiveError> {
        let vkey = stored_vkey(&**storage, dir).map_err(ArchiveError::Published)?;
        let checkpoint = stored_checkpoint(&**storage, dir, vkey.as_ref());
        let checkpoint = checkpoint.map_err(ArchiveError::Published)?;
        let size = checkpoint.map_or(0, |(_, checkpoint)| checkpoint.size);
        let pointer = Archive::read(&**storage, dir)?;
        let mut archiving = Archiving {
            storage,
            dir,
            dest,
            options,
            published: Published::new(Arc::clone(storage), dir, size),
            pointer,
            goal: 0,
            report: ArchiveReport::default(),
        };
        let wanted = archiving.wanted()?;
        archiving.goal = if options.beyond_index {
            wanted
        } else {
            let covered = watermark_on_disk(&**storage, &index_dir(dir), options.keys_version)?;
            wanted.min(covered / TILE_WIDTH)
        };
        let stays = wanted.saturating_sub(archiving.goal.max(archiving.pointer.end()));
        archiving.report.held_back = stays * TILE_WIDTH;
        Ok(archiving)
    }

    /// First bundle that the limit keeps.
    fn wanted(&self) -> Result<u64, ArchiveError> {
        let size = self.published.size();
        let full = size / TILE_WIDTH;
        let before = match self.options.limit {
            ArchiveLimit::Keep(keep) => return Ok(size.saturating_sub(keep) / TILE_WIDTH),
            ArchiveLimit::Before(before) => before,
        };
        // Times never go back: the last record of a bundle tells of the whole bundle.
        let (mut low, mut high) = (self.pointer.end().min(full), full);
        while low < high {
            let middle = low + (high - low) / 2;
            let last = RecordIndex(middle * TILE_WIDTH + TILE_WIDTH - 1);
            if time_ms(&self.published.read(last)?) < before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn dry_run(mut self) -> Result<ArchiveReport, ArchiveError> {
        let public = public_dir(self.dir);
        for number in self.pointer.end()..self.goal {
            let path = public.join(full(number).path());
            let file = self.storage.open(&path, false).map_err(at(&path))?;
            self.report.bytes += file.size().map_err(at(&path))?;
            self.report.bundles += 1;
        }
        Ok(self.report())
    }

    /// Bundles that a run noted as archived and could not remove.
    fn remove_left_over(&mut self) -> Result<(), ArchiveError> {
        let left = self.left_over()?;
        let mut proven = Vec::new();
        for number in left {
            let Some(root) = self.pointer.dir_of(number) else {
                continue;
            };
            // It can wait until that archive is there again.
            if is_there(&**self.storage, root) {
                self.check_archived(root, number)?;
                proven.push(number);
            }
        }
        if proven.is_empty() {
            return Ok(());
        }
        // What is read of the pointer need not be durable: the last run may have failed just there.
        self.pointer.write(&**self.storage, self.dir)?;
        self.remove(proven.iter().copied())?;
        self.report.removed_later = proven.len() as u64;
        Ok(())
    }

    fn left_over(&self) -> Result<Vec<u64>, ArchiveError> {
        let mut left = Vec::new();
        let end = self.pointer.end();
        for first in (0..end).step_by(BUNDLES_IN_DIRECTORY as usize) {
            let path = public_dir(self.dir).join(full(first).path());
            let Some(dir) = path.parent() else { continue };
            let names = match self.storage.list(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                names => names.map_err(at(dir))?,
            };
            let names: HashSet<String> = names.into_iter().collect();
            left.extend(
                (first..end.min(first + BUNDLES_IN_DIRECTORY)).filter(|&number| {
                    let path = full(number).path();
                    path.rsplit('/')
                        .next()
                        .is_some_and(|name| names.contains(name))
                }),
            );
        }
        Ok(left)
    }

    /// A directory that is an archive of this log already must look like one: else its disk is not mounted,
    /// and what is written there now would vanish below it later.
    fn check_mounted(&self) -> Result<(), ArchiveError> {
        let known = self.pointer.directories();
        let unmounted = known
            .filter(|(_, root)| *root == self.dest)
            .find(|(_, root)| !is_there(&**self.storage, root));
        match unmounted {
            None => Ok(()),
            Some((first, root)) => Err(ArchiveError::Log(VerifyError::Archived {
                path: root.to_owned(),
                record: RecordIndex(first * TILE_WIDTH),
            })),
        }
    }

    fn run(&mut self) -> Result<(), ArchiveError> {
        // Made before anything is written: it reports what goes wrong from then on.
        let volume = self.storage.volume(self.dest).map_err(at(self.dest))?;
        let records_total = (self.goal - self.pointer.end()) * TILE_WIDTH;
        while self.pointer.end() < self.goal {
            let (first, end) = (
                self.pointer.end(),
                self.goal.min(self.pointer.end() + ROUND_BUNDLES),
            );
            let bytes = self.copy(&*volume, first, end)?;
            let mut pointer = self.pointer.clone();
            if !pointer.extend(end, self.dest) {
                let dest = self.dest.to_owned();
                return Err(ArchiveError::Path { dest });
            }
            pointer.write(&**self.storage, self.dir)?;
            self.pointer = pointer;
            self.remove(first..end)?;
            self.report.bundles += end - first;
            self.report.bytes += bytes;
            if let Some(progress) = self.options.progress {
                progress(Progress {
                    records: self.report.bundles * TILE_WIDTH,
                    records_total,
                });
            }
        }
        Ok(())
    }

    /// Steps 1 to 3. Gives the bytes.
    fn copy(&self, volume: &dyn Volume, first: u64, end: u64) -> Result<u64, ArchiveError> {
        let mut bytes = 0;
        let mut made = HashSet::new();
        for number in first..end {
            bytes += self.copy_bundle(number, &mut made)?;
        }
        volume.sync().map_err(at(self.dest))?;
        for number in first..end {
            self.check_archived(self.dest, number)?;
        }
        Ok(bytes)
    }

    fn copy_bundle(&self, number: u64, made: &mut HashSet<PathBuf>) -> Result<u64, ArchiveError> {
        let id = full(number);
        let path = public_dir(self.dir).join(id.path());
        let first = number * TILE_WIDTH;
        let hashes = self.published.tile(tile_of(id)).map_err(damage(first))?;
        let read = storage::read_file(&**self.storage, &path, BUNDLE_BYTES_MAX as u64);
        let bytes = read.map_err(at(&path)).map_err(damage(first))?;
        if let Some(nth) = first_wrong(&bytes, id.width, &hashes) {
            return Err(wrong_record(&path, 0, first + nth).into());
        }
        let copy = self.dest.join(id.path());
        // From the medium: after a failed sync the page cache may show what the disk does not have.
        let mut held = AlignedBytes::default();
        let read = self
            .storage
            .read_medium(&copy, BUNDLE_BYTES_MAX as u64, &mut held);
        if read.is_ok() && held[..] == bytes[..] {
            return Ok(bytes.len() as u64);
        }
        if let Some(dir) = copy.parent()
            && !made.contains(dir)
        {
            self.storage.create_dir(dir).map_err(at(dir))?;
            made.insert(dir.to_owned());
        }
        storage::write_file(&**self.storage, &copy, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Reads an archived bundle past the cache: each record must have the hash that its tile says.
    fn check_archived(&self, root: &Path, number: u64) -> Result<(), ArchiveError> {
        let id = full(number);
        let path = root.join(id.path());
        let hashes = self.published.tile(tile_of(id));
        let hashes = hashes.map_err(damage(number * TILE_WIDTH))?;
        let mut bytes = AlignedBytes::default();
        self.storage
            .read_medium(&path, BUNDLE_BYTES_MAX as u64, &mut bytes)
            .map_err(at(&path))?;
        match first_wrong(&bytes, id.width, &hashes) {
            None => Ok(()),
            Some(_) => Err(ArchiveError::Differs { path }),
        }
    }

    fn remove(&self, bundles: impl Iterator<Item = u64>) -> Result<(), ArchiveError> {
        let mut dirs = HashSet::new();
        for number in bundles {
            let path = public_dir(self.dir).join(full(number).path());
            match self.storage.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(at(&path))?,
            }
            dirs.extend(path.parent().map(Path::to_owned));
        }
        for dir in dirs {
            self.storage.sync_dir(&dir).map_err(at(&dir))?;
        }
        Ok(())
    }

    fn report(mut self) -> ArchiveReport {
        let end = match self.options.dry_run {
            true => self.goal.max(self.pointer.end()),
            false => self.pointer.end(),
        };
        self.report.archived = end * TILE_WIDTH;
        self.report.kept = self.published.size().saturating_sub(self.report.archived);
        self.report
    }
}

/// Bundle `number`, full.
fn full(number: u64) -> BundleId {
    bundle_at(number, u64::MAX)
}
