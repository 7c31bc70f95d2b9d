//! Writing the published files, without removing any: ext4 looks at every inode that was freed in the
//! last minutes before it hands one out, so a file removed each second makes each later one dearer
//! (measured: 0.5 µs a record of a busy log). Files and directories that are needless become other ones.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::published::public_dir;
use crate::storage::{self, PathError, Storage, at};

/// Directories whose existence is remembered: two for each of the first eight levels of tiles.
const DIRECTORIES_KEPT: usize = 16;

/// Needless files that are kept; more are removed. A busy log gives up some five each second.
const FILES_MAX: usize = 1024;

/// For so long none is used again: a slow download ends, and a file server that keeps files open (a minute
/// is usual) looks again.
const REST: Duration = Duration::from_secs(120);

/// Needless directories that are kept: one for each level of tiles and the bundles', twice.
const DIRECTORIES_MAX: usize = 16;

const FILE_PREFIX: &str = "file-";
const DIRECTORY_PREFIX: &str = "directory-";

/// The files under `public/`, for the one who writes them.
pub(crate) struct PublicFiles {
    storage: Arc<dyn Storage>,
    public: PathBuf,
    /// Where needless files and directories are kept, out of the sight of those who are served `public/`.
    spare: PathBuf,
    /// Directories known to exist.
    made: Vec<PathBuf>,
    /// Each with when it was given up, oldest first.
    files: VecDeque<(Instant, PathBuf)>,
    directories: Vec<PathBuf>,
    /// Number of the next name in `spare`.
    next: u64,
    /// [`REST`], but in tests.
    rest: Duration,
}

impl PublicFiles {
    /// Takes over what an earlier process left.
    pub(crate) fn load(storage: Arc<dyn Storage>, dir: &Path) -> Result<PublicFiles, PathError> {
        let spare = dir.join("spare");
        let names = match storage.list(&spare) {
            // Made when it is needed, so that a log opens on a full disk.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(at(&spare))?,
        };
        let mut files = PublicFiles {
            public: public_dir(dir),
            made: Vec::new(),
            files: VecDeque::new(),
            directories: Vec::new(),
            next: 0,
            rest: REST,
            storage,
            spare,
        };
        let now = Instant::now();
        for name in names {
            let path = files.spare.join(&name);
            let number = name.rsplit_once('-').and_then(|(_, n)| n.parse().ok());
            let next = number.map_or(0, |number: u64| number.saturating_add(1));
            files.next = files.next.max(next);
            if name.starts_with(FILE_PREFIX) {
                files.files.push_back((now, path));
            } else if name.starts_with(DIRECTORY_PREFIX) {
                files.directories.push(path);
            }
        }
        Ok(files)
    }

    /// Writes a file that stays.
    pub(crate) fn write(&mut self, path: &str, bytes: &[u8]) -> Result<PathBuf, PathError> {
        let path = self.public.join(path);
        if let Some(dir) = path.parent() {
            self.make(dir)?;
        }
        storage::write_file(&*self.storage, &path, bytes)?;
        Ok(path)
    }

    /// Writes a partial file, which stands alone with other widths in its directory and will be
    /// [given up](PublicFiles::give_up).
    pub(crate) fn write_partial(&mut self, path: &str, bytes: &[u8]) -> Result<PathBuf, PathError> {
        let path = self.public.join(path);
        if let Some(dir) = path.parent() {
            self.make_partial(dir)?;
        }
        if let Some(spare) = self.take_rested() {
            let written = storage::write_file(&*self.storage, &spare, bytes);
            let placed =
                written.and_then(|()| self.storage.rename(&spare, &path).map_err(at(&path)));
            if placed.is_ok() {
                return Ok(path);
            }
            // Another file system, other rights: a new file does as well. What is published is read again
            // before it is signed for.
            let _ = self.storage.remove(&spare);
        }
        storage::write_file(&*self.storage, &path, bytes)?;
        Ok(path)
    }

    fn take_rested(&mut self) -> Option<PathBuf> {
        let (since, _) = self.files.front()?;
        let rested = since.elapsed() >= self.rest;
        rested.then(|| self.files.pop_front().map(|(_, path)| path))?
    }

    /// Gives up all widths of the partial file `path`, and their directory.
    pub(crate) fn give_up(&mut self, path: &Path) -> Result<(), PathError> {
        let Some(dir) = path.parent() else {
            return Ok(());
        };
        let names = match self.storage.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(at(dir))?,
        };
        for name in names {
            let path = dir.join(name);
            let room = self.files.len() < FILES_MAX;
            match room.then(|| self.keep(&path, FILE_PREFIX)).flatten() {
                Some(spare) => self.files.push_back((Instant::now(), spare)),
                None => is_gone(self.storage.remove(&path)).map_err(at(&path))?,
            }
        }
        self.made.retain(|made| made != dir);
        let room = self.directories.len() < DIRECTORIES_MAX;
        match room.then(|| self.keep(dir, DIRECTORY_PREFIX)).flatten() {
            Some(spare) => self.directories.push(spare),
            None => is_gone(self.storage.remove_dir(dir)).map_err(at(dir))?,
        }
        Ok(())
    }

    /// Moves something needless to `spare`. `None` when that does not go, as between file systems; then it
    /// is to be removed.
    fn keep(&mut self, path: &Path, prefix: &str) -> Option<PathBuf> {
        if self.next == 0 {
            self.storage.create_dir(&self.spare).ok()?;
        }
        let spare = self.spare.join(format!("{prefix}{}", self.next));
        self.storage.rename(path, &spare).ok()?;
        self.next += 1;
        Some(spare)
    }

    fn make(&mut self, dir: &Path) -> Result<(), PathError> {
        if !self.is_made(dir) {
            self.storage.create_dir(dir).map_err(at(dir))?;
            self.remember(dir);
        }
        Ok(())
    }

    fn make_partial(&mut self, dir: &Path) -> Result<(), PathError> {
        if self.is_made(dir) {
            return Ok(());
        }
        if let Some(above) = dir.parent() {
            self.make(above)?;
        }
        // One that a crash left behind is used as it is.
        let missing = self.storage.list(dir).is_err();
        let spare = missing.then(|| self.directories.pop()).flatten();
        if spare.is_none_or(|spare| self.storage.rename(&spare, dir).is_err()) {
            self.storage.create_dir(dir).map_err(at(dir))?;
        }
        self.remember(dir);
        Ok(())
    }

    fn is_made(&self, dir: &Path) -> bool {
        self.made.iter().any(|made| made == dir)
    }

    fn remember(&mut self, dir: &Path) {
        // One directory for each level is in use at a time, and a few are just full.
        self.made.truncate(DIRECTORIES_KEPT - 1);
        self.made.insert(0, dir.to_owned());
    }
}

/// What is not there any more is removed.
fn is_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::storage::DiskStorage;

    fn names(dir: &Path) -> Vec<String> {
        DiskStorage.list(dir).unwrap_or_default()
    }

    #[test]
    fn what_is_given_up_becomes_something_else_and_nothing_is_left_in_public() {
        let dir = tempfile::tempdir().unwrap();
        let mut inodes = BTreeSet::new();
        let load = || {
            let mut files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
            files.rest = Duration::ZERO;
            files
        };
        let mut files = load();
        for round in 0..300_u64 {
            let partial = format!("tile/0/{:03}.p/{}", round / 2, round % 2 + 1);
            let content = vec![round as u8; 40_000 * (round as usize % 3)];
            let path = files.write_partial(&partial, &content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
            inodes.insert(fs::metadata(&path).unwrap().ino());
            if round % 2 == 1 {
                files.give_up(&path).unwrap();
                assert!(names(&dir.path().join("public/tile/0")).is_empty());
            }
            if round == 150 {
                files = load();
            }
        }
        assert!(inodes.len() <= 4, "{} inodes", inodes.len());
        let spare = names(&dir.path().join("spare"));
        assert!(spare.len() <= 4, "{spare:?}");
    }

    #[test]
    fn what_was_just_given_up_rests() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
        let first = files.write_partial("tile/0/000.p/1", b"first").unwrap();
        let reader = fs::File::open(&first).unwrap();
        files.give_up(&first).unwrap();
        files.write_partial("tile/0/001.p/1", b"other").unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "first");
    }

    #[test]
    fn without_a_place_for_spares_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("spare"), "in the way").unwrap();
        let loaded = PublicFiles::load(Arc::new(DiskStorage), dir.path());
        assert!(loaded.is_err(), "told at the start");
        fs::remove_file(dir.path().join("spare")).unwrap();
        let mut files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
        files.rest = Duration::ZERO;
        fs::write(dir.path().join("spare"), "in the way").unwrap();
        for number in 0..3 {
            let partial = format!("tile/0/00{number}.p/1");
            let path = files.write_partial(&partial, b"x").unwrap();
            files.give_up(&path).unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
        for number in 0..250 {
            let width = |width: u64| format!("tile/0/{number:03}.p/{width}");
            let paths: Vec<PathBuf> = (1..=5)
                .map(|n| files.write_partial(&width(n), b"x").unwrap())
                .collect();
            files.give_up(&paths[0]).unwrap();
            assert!(names(&dir.path().join("spare")).len() <= FILES_MAX + DIRECTORIES_MAX);
        }
        let partial = dir.path().join("public/tile/0/000.p/1");
        files.give_up(&partial).expect("given up before");
    }
}
