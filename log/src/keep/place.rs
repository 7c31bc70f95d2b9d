//! The directory of a backup or a copy: taken for it, and a finished state put into place.

use std::io;
use std::path::{Path, PathBuf};

use super::backup::BackupError;
use super::tree_copy::CopyError;
use crate::log::LOCK_FILE;
use crate::published::checkpoint_path;
use crate::segment::segments_dir;
use crate::storage::{self, LockGuard, PathError, Storage, at};

/// A file that says what a directory is, to people and to the next run.
pub(super) struct Marker {
    file: &'static str,
    text: &'static str,
}

/// Marks a backup.
pub(super) const BACKUP: Marker = Marker {
    file: "BACKUP",
    text: "This directory is a backup of a log, made by `birthmark log backup`.\n\
        Do not issue from it. `birthmark log restore` makes a new log from it.\n",
};

/// Marks a follower's copy.
pub(super) const COPY: Marker = Marker {
    file: "COPY",
    text: "This directory is a copy of what a log publishes, kept by `birthmark log follow`.\n",
};

/// Where the next state is made, and where it waits when it is whole.
pub(super) const NEXT: &str = "next";
pub(super) const READY: &str = "ready";

/// Takes the directory for a copy of this kind: it is empty, or it is one already.
pub(super) fn claim(
    storage: &dyn Storage,
    dest: &Path,
    marker: &Marker,
) -> Result<LockGuard, BackupError> {
    let names = match storage.list(dest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(at(dest)).map_err(CopyError::from)?,
    };
    let ours = names.iter().any(|name| name == marker.file);
    let unfinished = format!("{}.{}", marker.file, storage::UNFINISHED);
    let only_begun = names
        .iter()
        .all(|name| *name == LOCK_FILE || *name == unfinished);
    if !ours && !only_begun {
        return Err(BackupError::NotABackup {
            dest: dest.to_owned(),
        });
    }
    let above = storage::first_existing(storage, dest).to_owned();
    storage
        .create_dir(dest)
        .map_err(at(dest))
        .map_err(CopyError::from)?;
    let path = dest.join(LOCK_FILE);
    let lock = storage.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => BackupError::Locked {
            dest: dest.to_owned(),
        },
        _ => CopyError::from(PathError { path, source }).into(),
    })?;
    if !ours {
        mark(storage, dest, &above, marker.file, marker.text)?;
    }
    Ok(lock)
}

/// Puts a marker into a new directory; it and the names up to `above` are durable when this returns.
pub(super) fn mark(
    storage: &dyn Storage,
    dest: &Path,
    above: &Path,
    name: &str,
    text: &str,
) -> Result<(), PathError> {
    storage::replace_file(storage, &dest.join(name), text.as_bytes())?;
    let mut made = dest;
    while let Some(parent) = made.parent().filter(|_| made != above) {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        storage.sync_dir(parent).map_err(at(parent))?;
        made = parent;
    }
    Ok(())
}

/// Puts a state that is ready into place. Does nothing where there is none; can be repeated whenever it
/// was interrupted.
pub(super) fn put_in_place(storage: &dyn Storage, dest: &Path) -> Result<(), PathError> {
    let ready = dest.join(READY);
    if storage.list(&ready).is_err() {
        return Ok(());
    }
    let (from, to) = (ready.join("segments"), segments_dir(dest));
    if storage.list(&from).is_ok() {
        let old = dest.join("segments.old");
        remove_tree(storage, &old)?;
        if storage.list(&to).is_ok() {
            storage.rename(&to, &old).map_err(at(&to))?;
        }
        storage.rename(&from, &to).map_err(at(&from))?;
        storage.sync_dir(dest).map_err(at(dest))?;
        storage.sync_dir(&ready).map_err(at(&ready))?;
        remove_tree(storage, &old)?;
    }
    let (from, to) = (ready.join("checkpoint"), checkpoint_path(dest));
    match storage.rename(&from, &to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed.map_err(at(&from))?,
    }
    if let Some(public) = to.parent()
        && storage.list(public).is_ok()
    {
        storage.sync_dir(public).map_err(at(public))?;
    }
    remove_tree(storage, &ready)?;
    storage.sync_dir(dest).map_err(at(dest))
}

/// Removes a directory and what is in it; no error when there is none.
pub(super) fn remove_tree(storage: &dyn Storage, dir: &Path) -> Result<(), PathError> {
    let names = match storage.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(at(dir))?,
    };
    for name in names {
        let path = dir.join(name);
        if storage.list(&path).is_ok() {
            remove_tree(storage, &path)?;
        } else {
            storage.remove(&path).map_err(at(&path))?;
        }
    }
    storage.remove_dir(dir).map_err(at(dir))
}

/// Neither directory may lie in the other: a backup on its own disk is none, and one in the log's
/// directory would be published.
pub(super) fn refuse_nested(dir: &Path, dest: &Path) -> Result<(), BackupError> {
    let (log, copy) = (resolved(dir), resolved(dest));
    if log.starts_with(&copy) || copy.starts_with(&log) {
        return Err(BackupError::Inside {
            dir: dir.to_owned(),
            dest: dest.to_owned(),
        });
    }
    Ok(())
}

/// The real path, of the part that exists.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut existing = absolute.as_path();
    let mut rest = Vec::new();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        let (Some(name), Some(above)) = (existing.file_name(), existing.parent()) else {
            return absolute;
        };
        rest.push(name.to_owned());
        existing = above;
    }
}
