//! Everything that makes bytes durable: the system calls and, written out, their sequences.
//!
//! Assumed of the medium: a write of one aligned 512-byte sector happens whole or not at all;
//! sectors of one write may reach the disk in any order until a sync returns; a rename replaces
//! the target whole. A failed sync is final: the kernel may have dropped the pages and call them
//! clean, so no sync is ever repeated on the same file.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::segment::segments_dir;

mod aligned;
mod disk;

pub use aligned::AlignedBytes;
pub use disk::DiskStorage;

/// The file system as the log uses it. Tests replace it with one that fails or crashes.
///
/// Paths are used as given. No method but the two `sync` ones promises durability.
pub trait Storage: Send + Sync {
    /// Makes a directory and those above it. No error when it exists.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// [`create_dir`](Storage::create_dir), of a directory that only its owner may look into, where the system
    /// knows owners.
    ///
    /// # Errors
    /// What the system says.
    fn create_private_dir(&self, dir: &Path) -> io::Result<()> {
        self.create_dir(dir)
    }
    /// Names (not paths) of what is in a directory, in any order.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file, or empties one, for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;
    /// Opens a file, for reading only unless `writable`.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] when there is no such file.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>>;
    /// [`create`](Storage::create), for a file whose content goes past the system's cache where the file
    /// system lets us choose: what is aligned to 4096 bytes, or to 512 on most disks, in memory
    /// ([`AlignedBytes`]) and in the file. The rest goes through the cache. A write is durable after a sync
    /// only, as ever.
    ///
    /// # Errors
    /// What the system says.
    fn create_direct(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.create(path)
    }
    /// [`open`](Storage::open), with transfers as in [`create_direct`](Storage::create_direct).
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] when there is no such file.
    fn open_direct(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        self.open(path, writable)
    }
    /// Makes a file with these bytes, or gives one these bytes alone. Large ones go past the system's cache as
    /// in [`create_direct`](Storage::create_direct).
    ///
    /// # Errors
    /// What the system says.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.create(path)?.write_all_at(bytes, 0)
    }
    /// Reads a whole file of at most `bytes_max` bytes into `bytes`, from the medium and not from the system's
    /// cache where the file system lets us choose. To be used on synced files.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidData`] when it is longer.
    fn read_medium(&self, path: &Path, bytes_max: u64, bytes: &mut AlignedBytes) -> io::Result<()>;
    /// Renames a file or directory, replacing a file at `to`.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on a file, making it if needed. Dropping the guard gives it back.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else has it; otherwise what the system says.
    fn lock(&self, path: &Path) -> io::Result<LockGuard>;
    /// A handle on the file system that holds `dir`. It reports what went wrong there from now on.
    ///
    /// # Errors
    /// What the system says.
    fn volume(&self, dir: &Path) -> io::Result<Box<dyn Volume>>;
}

/// The file system under a directory.
pub trait Volume: Send {
    /// Makes all files written so far durable, and all names.
    ///
    /// # Errors
    /// What the system says; also when writing back any file failed since the handle was made.
    fn sync(&self) -> io::Result<()>;
}

/// Holds an exclusive lock until dropped.
pub type LockGuard = Box<dyn Any + Send + Sync>;

/// One open file. Offsets and lengths in bytes.
pub trait StorageFile: Send + Sync {
    /// Length of the file.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written to the file durable, and its length.
    ///
    /// # Errors
    /// What the system says.
    fn sync_data(&self) -> io::Result<()>;
}

/// A file-system error with the path it concerns.
#[derive(Debug)]
pub(crate) struct PathError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Puts the path to an error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> PathError {
    move |source| PathError {
        path: path.to_owned(),
        source,
    }
}

/// Whether it failed for want of space, which passes.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Ends the name of a file that is not finished yet. Whatever bears it at open is left over from
/// a crash and removed.
pub(crate) const UNFINISHED: &str = "new";

/// Bytes written in one call while a file is filled.
const FILL_BYTES: usize = 1 << 20;

/// Group commit: one write, one sync. `pwrite`, `fdatasync`.
///
/// The file was filled to its full length beforehand, so the sync has no metadata to write.
pub(crate) fn commit(file: &dyn StorageFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    file.sync_data()
}

/// Makes a segment file of `bytes` zeros under `path`, ready for [`commit`]:
/// `open(path.new)`, `pwrite` …, `fdatasync(path.new)`, `rename(path.new, path)`, `fsync(dir)`.
///
/// Stops early with [`io::ErrorKind::Interrupted`] once `stop` is set. Leaves nothing behind on error,
/// as far as the disk allows.
pub(crate) fn prepare_segment(
    storage: &dyn Storage,
    path: &Path,
    bytes: u64,
    stop: &AtomicBool,
) -> Result<Arc<dyn StorageFile>, PathError> {
    let unfinished = unfinished(path);
    let filled = fill(storage, &unfinished, bytes, stop).map_err(at(&unfinished));
    let placed = filled.and_then(|file| {
        storage.rename(&unfinished, path).map_err(at(path))?;
        let dir = parent(path);
        storage.sync_dir(dir).map_err(at(dir))?;
        Ok(file)
    });
    if placed.is_err() {
        // Best effort: what stays is removed at the next open.
        let _ = storage.remove(&unfinished);
    }
    placed
}

/// Replaces the segment at `path` by what `write` puts into another file, whole or not at all:
/// `rename(spare, path.new)` and `fsync(dir)`, or a newly filled file; `write`, `fdatasync`;
/// `rename(path.new, path)`, `fsync(dir)`.
///
/// Using a prepared spare means that recovery works on a full disk.
pub(crate) fn replace_segment(
    storage: &dyn Storage,
    path: &Path,
    spare: Option<&Path>,
    bytes: u64,
    write: &mut dyn FnMut(&dyn StorageFile) -> Result<(), PathError>,
) -> Result<Arc<dyn StorageFile>, PathError> {
    let dir = parent(path);
    let unfinished = unfinished(path);
    let file = match spare {
        Some(spare) => {
            storage.rename(spare, &unfinished).map_err(at(spare))?;
            storage.sync_dir(dir).map_err(at(dir))?;
            storage
                .open_direct(&unfinished, true)
                .map_err(at(&unfinished))?
        }
        None => {
            fill(storage, &unfinished, bytes, &AtomicBool::new(false)).map_err(at(&unfinished))?
        }
    };
    write(&*file)?;
    file.sync_data().map_err(at(&unfinished))?;
    storage.rename(&unfinished, path).map_err(at(path))?;
    storage.sync_dir(dir).map_err(at(dir))?;
    Ok(file)
}

/// Gives a pruned segment file another use: `rename(old, path)`, `fsync(dir)`.
pub(crate) fn recycle_segment(
    storage: &dyn Storage,
    old: &Path,
    path: &Path,
) -> Result<Arc<dyn StorageFile>, PathError> {
    storage.rename(old, path).map_err(at(old))?;
    let dir = parent(path);
    storage.sync_dir(dir).map_err(at(dir))?;
    storage.open_direct(path, true).map_err(at(path))
}

/// Writes a whole file, not durable before its volume is synced: `open(path)`, `pwrite` (of the
/// aligned part past the cache).
pub(crate) fn write_file(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
) -> Result<(), PathError> {
    storage.write_new(path, bytes).map_err(at(path))
}

/// Puts a small file in the place of another, whole or not at all: `open(path.new)`, `pwrite`,
/// `fdatasync`, `rename(path.new, path)`, `fsync(dir)`.
pub(crate) fn replace_file(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
) -> Result<(), PathError> {
    let unfinished = unfinished(path);
    let file = storage.create(&unfinished).map_err(at(&unfinished))?;
    commit(&*file, bytes, 0).map_err(at(&unfinished))?;
    storage.rename(&unfinished, path).map_err(at(path))?;
    let dir = parent(path);
    storage.sync_dir(dir).map_err(at(dir))
}

fn check_length(size: u64, bytes_max: u64) -> io::Result<()> {
    if size <= bytes_max {
        return Ok(());
    }
    let text = format!("{size} bytes, at most {bytes_max} are right");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// Reads a whole file of at most `bytes_max` bytes.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = storage.open(path, false)?;
    let size = file.size()?;
    check_length(size, bytes_max)?;
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Makes the layout of a new log, visible only when whole:
/// `mkdir(dir)`, `mkdir(dir/segments.new)`, `pwrite` and `fdatasync` of the first segment,
/// `fsync(dir/segments.new)`, `rename(dir/segments.new, dir/segments)`, `fsync(dir)`, and `fsync`
/// of every directory up to `above`, the lowest that existed before.
pub(crate) fn create_layout(
    storage: &dyn Storage,
    dir: &Path,
    above: &Path,
    first_segment: &str,
    content: &[u8],
) -> Result<(), PathError> {
    let segments = &segments_dir(dir);
    let unfinished = unfinished(segments);
    storage.create_dir(&unfinished).map_err(at(&unfinished))?;
    let first = unfinished.join(first_segment);
    let file = storage.create(&first).map_err(at(&first))?;
    commit(&*file, content, 0).map_err(at(&first))?;
    storage.sync_dir(&unfinished).map_err(at(&unfinished))?;
    storage
        .rename(&unfinished, segments)
        .map_err(at(segments))?;
    let mut made = dir;
    loop {
        storage.sync_dir(made).map_err(at(made))?;
        if made == above {
            return Ok(());
        }
        made = parent(made);
    }
}

/// The lowest directory above `dir` that exists.
pub(crate) fn first_existing<'a>(storage: &dyn Storage, dir: &'a Path) -> &'a Path {
    let mut above = parent(dir);
    while parent(above) != above && storage.list(above).is_err() {
        above = parent(above);
    }
    above
}

fn fill(
    storage: &dyn Storage,
    path: &Path,
    bytes: u64,
    stop: &AtomicBool,
) -> io::Result<Arc<dyn StorageFile>> {
    let file = storage.create_direct(path)?;
    let mut zeros = AlignedBytes::default();
    zeros.resize(FILL_BYTES.min(usize::try_from(bytes).unwrap_or(FILL_BYTES)));
    let mut offset = 0;
    while offset < bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let part = (bytes - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..part as usize], offset)?;
        offset += part;
    }
    file.sync_data()?;
    Ok(file)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    PathBuf::from(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
