//! The directory of the index: making files durable in it, and finding what is left over.
//!
//! ```text
//! DIR/index/MANIFEST            what counts; the rest is left over from a crash
//! DIR/index/000000000017.run    a run
//! DIR/index/MANIFEST.3.new      a manifest in the making
//! ```
//!
//! A run file bears its final name from the start, because it counts only once a manifest names it:
//! `open(run)`, `pwrite` …, `fdatasync(run)` (every few MiB and at the end), `fsync(dir)`, and then
//! the manifest is replaced.

use std::io;
use std::path::Path;

use super::manifest::{MANIFEST, MANIFEST_BYTES_MAX, Manifest};
use super::run::RUN_SUFFIX;
use crate::storage::{self, PathError, Storage, UNFINISHED, at};

/// Replaces the manifest, whole or not at all: `open(MANIFEST.n.new)`, `pwrite`, `fdatasync`,
/// `rename(MANIFEST.n.new, MANIFEST)`, `fsync(dir)`.
///
/// `attempt` is never used twice by one process: a file whose sync failed is not synced again.
/// After an error it is unknown which of the two manifests the disk has.
pub(crate) fn replace_manifest(
    storage: &dyn Storage,
    dir: &Path,
    manifest: &Manifest,
    attempt: u64,
) -> Result<(), PathError> {
    let unfinished = dir.join(format!("{MANIFEST}.{attempt}.{UNFINISHED}"));
    let written = storage
        .create(&unfinished)
        .and_then(|file| storage::commit(&*file, &manifest.encode(), 0))
        .map_err(at(&unfinished));
    let path = dir.join(MANIFEST);
    let renamed =
        written.and_then(|()| storage.rename(&unfinished, &path).map_err(at(&unfinished)));
    if renamed.is_err() {
        // Best effort: what stays is removed at the next open.
        let _ = storage.remove(&unfinished);
    }
    renamed?;
    storage.sync_dir(dir).map_err(at(dir))
}

/// Reads the manifest. `Ok(None)` when there is none; the inner error says what is wrong with it.
pub(crate) fn read_manifest(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<Option<Result<Manifest, &'static str>>, PathError> {
    let path = dir.join(MANIFEST);
    let read = || -> io::Result<Result<Manifest, &str>> {
        let file = storage.open(&path, false)?;
        let size = file.size()?;
        if size > MANIFEST_BYTES_MAX {
            return Ok(Err("it is too long"));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Manifest::decode(&bytes))
    };
    match read() {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Makes the directory, durably: `mkdir(dir)`, `fsync(dir/..)`.
pub(crate) fn create_dir(storage: &dyn Storage, dir: &Path) -> Result<(), PathError> {
    storage.create_dir(dir).map_err(at(dir))?;
    let above = dir.parent().unwrap_or(dir);
    storage.sync_dir(above).map_err(at(above))
}

/// Removes all files of an index but the ones to keep: `unlink` …, `fsync(dir)`.
///
/// Synced, so that no later crash brings back a manifest that names files of another content.
pub(crate) fn remove_others(
    storage: &dyn Storage,
    dir: &Path,
    keep: &dyn Fn(&str) -> bool,
) -> Result<(), PathError> {
    let names = storage.list(dir).map_err(at(dir))?;
    let ours = |name: &String| name.ends_with(RUN_SUFFIX) || name.starts_with(MANIFEST);
    let mut removed = false;
    for name in names.into_iter().filter(ours).filter(|name| !keep(name)) {
        let path = dir.join(name);
        storage.remove(&path).map_err(at(&path))?;
        removed = true;
    }
    if removed {
        storage.sync_dir(dir).map_err(at(dir))?;
    }
    Ok(())
}
