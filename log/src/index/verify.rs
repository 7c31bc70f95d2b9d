//! Verifying the files of an index: every byte of them, without the log.

use std::path::Path;
use std::sync::Arc;

use super::block::BLOCK_ENTRIES;
use super::entry::{Entry, EntrySum};
use super::files;
use super::manifest::MANIFEST;
use super::merge::RunReader;
use super::run::{Run, damage, run_name};
use crate::error::{IndexDamage, ReadError, VerifyError};
use crate::record::KEY_SPACES;
use crate::storage::Storage;

/// What [`verify`] read from the files of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The files hold the entries of the records below.
    pub(crate) watermark: u64,
    /// Leaf hash of the record before the watermark; zeros when there is none.
    pub(crate) anchor: [u8; 32],
    /// One sum for each key space: to be compared with the sum made from the records below the
    /// watermark.
    pub(crate) sums: [EntrySum; KEY_SPACES],
}

/// What [`verify`] found on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// No index yet.
    Nothing,
    /// An index of other keys. It was not looked at: the next start makes it anew.
    OtherKeys,
    /// Sound files.
    Sound(Verified),
}

/// Reads all files of the index in `dir`: checksums, the order of the entries, and that each entry
/// is found through fences and filter.
///
/// # Errors
/// [`VerifyError::Index`] names the first damage.
pub(crate) fn verify(
    storage: &dyn Storage,
    dir: &Path,
    keys_version: u32,
) -> Result<OnDisk, VerifyError> {
    let manifest = match files::read_manifest(storage, dir) {
        Ok(None) => return Ok(OnDisk::Nothing),
        Ok(Some(Ok(manifest))) if manifest.keys_version != keys_version => {
            return Ok(OnDisk::OtherKeys);
        }
        Ok(Some(Ok(manifest))) => manifest,
        Ok(Some(Err(detail))) => {
            return Err(VerifyError::Index(IndexDamage {
                file: dir.join(MANIFEST),
                offset: 0,
                detail: detail.to_owned(),
            }));
        }
        Err(error) => {
            return Err(VerifyError::Storage {
                path: error.path,
                source: error.source,
            });
        }
    };
    let mut sums = [EntrySum::default(); KEY_SPACES];
    for described in &manifest.runs {
        let path = dir.join(run_name(described.id));
        let run = Run::open(storage, &path, described.id).map_err(verify_error)?;
        if !described.describes(&run.header, run.file_bytes) {
            let other = damage(&path, 0, "the manifest says something else of this run");
            return Err(verify_error(other));
        }
        let run = Arc::new(run);
        for (space, sum) in sums.iter_mut().enumerate() {
            verify_space(&run, space, sum).map_err(verify_error)?;
        }
    }
    Ok(OnDisk::Sound(Verified {
        watermark: manifest.watermark,
        anchor: manifest.anchor,
        sums,
    }))
}

/// Checks the entries of one space, and adds them up.
fn verify_space(run: &Arc<Run>, space: usize, sum: &mut EntrySum) -> Result<(), ReadError> {
    let mut reader = RunReader::new(Arc::clone(run), space);
    let stretch = run.header.first..run.header.end;
    let mut entries: Vec<Entry> = Vec::with_capacity(BLOCK_ENTRIES);
    let mut last = None;
    for (number, &fence) in (0..).zip(run.fences(space)) {
        let bad = |detail| Err(damage(&run.path, run.block_at(space, number), detail));
        entries.clear();
        reader.take_block(&mut entries)?;
        if entries.first().map(|entry| entry.hash) != Some(fence) {
            return bad("the block does not begin with its fence");
        }
        for &entry in &entries {
            // The two keys of a record in one space can have the same hash; the sums tell them from a copy.
            if last.is_some_and(|last| last > entry) {
                return bad("the entries are not in order");
            }
            if !stretch.contains(&entry.position) {
                return bad("an entry is of a record that the run does not cover");
            }
            if !run.may_contain(space, entry.hash) {
                return bad("the filter does not let an entry pass");
            }
            sum.add_entry(entry);
            last = Some(entry);
        }
    }
    Ok(())
}

fn verify_error(error: ReadError) -> VerifyError {
    match error {
        ReadError::Index(damage) => VerifyError::Index(damage),
        ReadError::Corrupt(corruption) => VerifyError::Corrupt(corruption),
        ReadError::Storage { path, source } => VerifyError::Storage { path, source },
        ReadError::OutOfRange { record, len } => VerifyError::OutOfRange { record, len },
        ReadError::Archived { path, record } => VerifyError::Archived { path, record },
        ReadError::Extract { record, source } => VerifyError::Extract { record, source },
        // Verifying asks for spaces that exist.
        ReadError::NoSuchSpace { .. } => VerifyError::Index(IndexDamage {
            file: std::path::PathBuf::new(),
            offset: 0,
            detail: error.to_string(),
        }),
    }
}
