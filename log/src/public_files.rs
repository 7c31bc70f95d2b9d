//! Writing the published files, without removing any: ext4 looks at every inode that was freed in the
//! last minutes before it hands one out, so a file removed each second makes each later one dearer
//! (measured: 0.5 µs a record of a busy log). Files and directories that are needless become other ones.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::published::public_dir;
use crate::storage::{self, PathError, Storage, at};

/// Directories whose existence is remembered: two for each of the first eight levels of tiles.
const DIRECTORIES_KEPT: usize = 16;

/// Needless files that are kept; more are removed. A partial tile above the lowest level has a file for each
/// checkpoint until the full one stands.
const FILES_MAX: usize = 64;

/// As long as there are not more, none is used again: whoever still reads one has some rounds to end.
const FILES_REST: usize = 32;

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
    /// Oldest first.
    files: VecDeque<PathBuf>,
    directories: Vec<PathBuf>,
    /// Number of the next name in `spare`.
    next: u64,
}

impl PublicFiles {
    /// Takes over what an earlier process left.
    pub(crate) fn load(storage: Arc<dyn Storage>, dir: &Path) -> Result<PublicFiles, PathError> {
        let spare = dir.join("spare");
        storage.create_dir(&spare).map_err(at(&spare))?;
        let mut files = PublicFiles {
            public: public_dir(dir),
            made: Vec::new(),
            files: VecDeque::new(),
            directories: Vec::new(),
            next: 0,
            storage,
            spare,
        };
        let names = files.storage.list(&files.spare).map_err(at(&files.spare))?;
        for name in names {
            let path = files.spare.join(&name);
            let number = name.rsplit_once('-').and_then(|(_, n)| n.parse().ok());
            files.next = files.next.max(number.map_or(0, |number: u64| number + 1));
            if name.starts_with(FILE_PREFIX) {
                files.files.push_back(path);
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
        let rested = self.files.len() > FILES_REST;
        match rested.then(|| self.files.pop_front()).flatten() {
            Some(spare) => {
                storage::write_file(&*self.storage, &spare, bytes)?;
                self.storage.rename(&spare, &path).map_err(at(&path))?;
            }
            None => storage::write_file(&*self.storage, &path, bytes)?,
        }
        Ok(path)
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
            if self.files.len() < FILES_MAX {
                let spare = self.take_name(FILE_PREFIX);
                self.storage.rename(&path, &spare).map_err(at(&path))?;
                self.files.push_back(spare);
            } else {
                self.storage.remove(&path).map_err(at(&path))?;
            }
        }
        self.made.retain(|made| made != dir);
        if self.directories.len() < DIRECTORIES_MAX {
            let spare = self.take_name(DIRECTORY_PREFIX);
            self.storage.rename(dir, &spare).map_err(at(dir))?;
            self.directories.push(spare);
            return Ok(());
        }
        self.storage.remove_dir(dir).map_err(at(dir))
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
        match missing.then(|| self.directories.pop()).flatten() {
            Some(spare) => self.storage.rename(&spare, dir).map_err(at(dir))?,
            None => self.storage.create_dir(dir).map_err(at(dir))?,
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

    fn take_name(&mut self, prefix: &str) -> PathBuf {
        let name = format!("{prefix}{}", self.next);
        self.next += 1;
        self.spare.join(name)
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
        let mut files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
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
                files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
            }
        }
        assert!(inodes.len() <= FILES_REST + 3, "{} inodes", inodes.len());
        let spare = names(&dir.path().join("spare"));
        assert!(spare.len() <= FILES_REST + 3, "{spare:?}");
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = PublicFiles::load(Arc::new(DiskStorage), dir.path()).unwrap();
        for number in 0..30 {
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
