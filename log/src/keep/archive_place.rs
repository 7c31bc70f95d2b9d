//! The directory of an archive, and who may archive a log.

use std::io;
use std::path::Path;

use super::archive_error::ArchiveError;
use super::place::mark;
use crate::archive::MARKER_FILE;
use crate::log::LOCK_FILE;
use crate::storage::{self, LockGuard, Storage, at};

/// The longest marker that is read: its text and a verifier key.
const MARKER_BYTES_MAX: u64 = 8192;

/// Held by who archives the log; the log's own lock is the writer's.
const ARCHIVE_LOCK_FILE: &str = "archive.lock";

/// One at a time.
pub(super) fn lock_log(storage: &dyn Storage, dir: &Path) -> Result<LockGuard, ArchiveError> {
    lock(storage, dir, ARCHIVE_LOCK_FILE)
}

/// Takes the directory for the archive of the log with this verifier key.
pub(super) fn claim(
    storage: &dyn Storage,
    dest: &Path,
    vkey: &str,
) -> Result<LockGuard, ArchiveError> {
    let names = match storage.list(dest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(at(dest))?,
    };
    let marker = dest.join(MARKER_FILE);
    let text = format!(
        "This directory is an archive of a log, made by `birthmark log archive`.\n\
         The log needs it: records in it are nowhere else. Do not change anything here.\n\
         log: {vkey}\n"
    );
    let ours = names.iter().any(|name| name == MARKER_FILE);
    let unfinished = format!("{MARKER_FILE}.{}", storage::UNFINISHED);
    let only_begun = |name: &String| *name == LOCK_FILE || *name == unfinished;
    if ours {
        let found = storage::read_file(storage, &marker, MARKER_BYTES_MAX).map_err(at(&marker))?;
        if found != text.as_bytes() {
            return Err(ArchiveError::OtherLog {
                dest: dest.to_owned(),
                log: vkey.to_owned(),
            });
        }
    } else if !names.iter().all(only_begun) {
        let dest = dest.to_owned();
        return Err(ArchiveError::NotAnArchive { dest });
    }
    let above = storage::first_existing(storage, dest).to_owned();
    storage.create_dir(dest).map_err(at(dest))?;
    let guard = lock(storage, dest, LOCK_FILE)?;
    if !ours {
        mark(storage, dest, &above, MARKER_FILE, &text)?;
    }
    Ok(guard)
}

fn lock(storage: &dyn Storage, dir: &Path, name: &str) -> Result<LockGuard, ArchiveError> {
    let path = dir.join(name);
    storage.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => ArchiveError::Locked {
            dir: dir.to_owned(),
        },
        _ => ArchiveError::Write { path, source },
    })
}
