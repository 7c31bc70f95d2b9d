//! The real file system, with faults that a test switches on and a gate that holds commits back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use birthmark_log::{AlignedBytes, DiskStorage, LockGuard, Storage, StorageFile, Volume};

/// How a group commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// The write fails; nothing reaches the disk.
    Write,
    /// The write fails half-way: the first half of what is not padding reached the disk.
    HalfWrite,
    /// The sync fails and nothing of the write is kept, as when dirty pages are dropped.
    SyncDropped,
    /// The sync fails, but what was written did reach the disk.
    SyncPersisted,
}

impl CommitFault {
    pub(crate) const ALL: [CommitFault; 4] = [
        CommitFault::Write,
        CommitFault::HalfWrite,
        CommitFault::SyncDropped,
        CommitFault::SyncPersisted,
    ];
}

/// The switches. Shared by the test and the storage.
#[derive(Default)]
pub(crate) struct Faults {
    /// Published files cannot be written: ENOSPC. The segments keep everything.
    pub(crate) public_full: AtomicBool,
    /// Files cannot grow: ENOSPC.
    pub(crate) disk_full: AtomicBool,
    /// The names in the key spool's directory cannot be made durable, once: EIO.
    pub(crate) spool_sync_fails: AtomicBool,
    /// Whoever writes into a file that is there panics.
    pub(crate) spool_panics: AtomicBool,
    /// Directories whose names were made durable.
    pub(crate) synced_directories: Mutex<Vec<PathBuf>>,
    /// The commit with this number (from 1, counted since armed) fails; every later one too, as
    /// nobody may retry.
    commit: Mutex<Option<(CommitFault, u64)>>,
    /// Commits tried after the one that failed.
    pub(crate) commits_after_fault: AtomicU64,
    closed_gate: Mutex<bool>,
    opened: Condvar,
}

impl Faults {
    /// Lets the `number`th commit from now on (from 1) fail.
    pub(crate) fn fail_commit(&self, fault: CommitFault, number: u64) {
        *self.commit.lock().unwrap_or_else(PoisonError::into_inner) = Some((fault, number));
    }

    /// Commits wait from now on.
    pub(crate) fn close_gate(&self) {
        *self
            .closed_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn open_gate(&self) {
        *self
            .closed_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = false;
        self.opened.notify_all();
    }

    fn pass_gate(&self) {
        let closed = self
            .closed_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wait = self.opened.wait_while(closed, |closed| *closed);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    /// The fault of the commit that begins now.
    fn next_commit(&self) -> Option<CommitFault> {
        let mut commit = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        let (fault, number) = commit.as_mut()?;
        match *number {
            0 => {
                self.commits_after_fault.fetch_add(1, Ordering::SeqCst);
                Some(*fault)
            }
            1 => {
                *number = 0;
                Some(*fault)
            }
            _ => {
                *number -= 1;
                None
            }
        }
    }
}

/// The storage for [`birthmark_log::Options::storage`].
pub(crate) struct FaultyStorage {
    faults: Arc<Faults>,
}

impl FaultyStorage {
    pub(crate) fn new() -> (Arc<FaultyStorage>, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        (
            Arc::new(FaultyStorage {
                faults: faults.clone(),
            }),
            faults,
        )
    }

    fn refuse_published(&self, path: &Path) -> io::Result<()> {
        let public = path.iter().any(|part| part == "public");
        match public && self.faults.public_full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn wrap(&self, inner: Arc<dyn StorageFile>, filled: bool) -> Arc<dyn StorageFile> {
        let (faults, filled) = (self.faults.clone(), AtomicBool::new(filled));
        Arc::new(FaultyFile {
            inner,
            faults,
            filled,
            undo: Mutex::new(None),
        })
    }
}

/// Commits are what goes into segments and into the files of the key spool; the published files are none.
fn is_segment(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "seg" || extension == "keys")
}

impl Storage for FaultyStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DiskStorage.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        DiskStorage.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.refuse_published(path)?;
        Ok(self.wrap(DiskStorage.create(path)?, false))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(DiskStorage.open(path, writable)?, is_segment(path)))
    }

    fn create_direct(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.refuse_published(path)?;
        Ok(self.wrap(DiskStorage.create_direct(path)?, false))
    }

    fn open_direct(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(DiskStorage.open_direct(path, writable)?, is_segment(path)))
    }

    fn read_medium(&self, path: &Path, bytes_max: u64, bytes: &mut AlignedBytes) -> io::Result<()> {
        DiskStorage.read_medium(path, bytes_max, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        DiskStorage.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskStorage.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        DiskStorage.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut synced = self
            .faults
            .synced_directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        synced.push(dir.to_owned());
        drop(synced);
        let is_spool = dir.ends_with("spool");
        if is_spool && self.faults.spool_sync_fails.swap(false, Ordering::SeqCst) {
            return Err(eio());
        }
        DiskStorage.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        DiskStorage.lock(path)
    }

    fn volume(&self, dir: &Path) -> io::Result<Box<dyn Volume>> {
        DiskStorage.volume(dir)
    }
}

struct FaultyFile {
    inner: Arc<dyn StorageFile>,
    faults: Arc<Faults>,
    /// A new file is filled and synced once; what is written after that are commits.
    filled: AtomicBool,
    /// What the last write replaced, and the fault that its sync is to report.
    undo: Mutex<Option<(u64, Vec<u8>, CommitFault)>>,
}

impl StorageFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let grows = offset + bytes.len() as u64 > self.inner.size()?;
        if grows && self.faults.disk_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !self.filled.load(Ordering::SeqCst) {
            return self.inner.write_all_at(bytes, offset);
        }
        self.faults.pass_gate();
        assert!(
            !self.faults.spool_panics.load(Ordering::SeqCst),
            "a panic that a test asked for"
        );
        match self.faults.next_commit() {
            None => self.inner.write_all_at(bytes, offset),
            Some(CommitFault::Write) => Err(eio()),
            Some(CommitFault::HalfWrite) => {
                let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                self.inner.write_all_at(&bytes[..used / 2], offset)?;
                Err(eio())
            }
            Some(fault) => {
                let mut before = vec![0; bytes.len()];
                self.inner.read_exact_at(&mut before, offset)?;
                let mut undo = self.undo.lock().unwrap_or_else(PoisonError::into_inner);
                *undo = Some((offset, before, fault));
                self.inner.write_all_at(bytes, offset)
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let undo = self
            .undo
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match undo {
            Some((offset, before, CommitFault::SyncDropped)) => {
                self.inner.write_all_at(&before, offset)?;
                Err(eio())
            }
            Some(_) => {
                self.inner.sync_data()?;
                Err(eio())
            }
            None => {
                let synced = self.inner.sync_data();
                self.filled.store(true, Ordering::SeqCst);
                synced
            }
        }
    }
}

fn eio() -> io::Error {
    io::Error::other("EIO, injected")
}
