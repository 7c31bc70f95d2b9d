//! Where old entry bundles are when they were moved out of the log's directory.
//!
//! ```text
//! DIR/archive                        the pointer: which bundles are where
//!     birthmark archive 1
//!     4096 /mnt/archive/line-1       bundles 0 to 4095
//!     8192 /mnt/archive-2/line-1     bundles 4096 to 8191
//!     crc32c 8f0c12ab
//! ARCHIVE/ARCHIVE                    says what the directory is, and of which log
//! ARCHIVE/tile/entries/x001/067      256 records, as they were in DIR/public
//! ```
//!
//! The pointer is replaced, durably, after the bundles are durable in the archive and before they leave the
//! log. So whoever misses a bundle below the last number asks the pointer, and finds it there. Hashes, tiles
//! and checkpoint never leave the log: what comes from an archive is checked like everything else.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, ReadError};
use crate::published::damage;
use crate::record::RecordIndex;
use crate::storage::{self, PathError, Storage, at};
use crate::tlog::{BundleId, TILE_WIDTH};

/// Says of a directory that it is an archive, and of which log.
pub(crate) const MARKER_FILE: &str = "ARCHIVE";

/// Directories that a log may be archived in: a new disk each month for 20 years.
const PARTS_MAX: usize = 256;

/// The longest path of a directory, as Linux has it (PATH_MAX).
const DIRECTORY_BYTES_MAX: usize = 4096;

/// The longest pointer: all directories, each behind a number of at most 20 digits, a head and a checksum.
const POINTER_BYTES_MAX: u64 = (PARTS_MAX * (DIRECTORY_BYTES_MAX + 22) + 64) as u64;

const HEAD: &str = "birthmark archive 1\n";

/// Which bundles were moved away, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Archive {
    parts: Vec<Part>,
}

/// Bundles that lie in one directory: those from the end of the part before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// First bundle that is not in it.
    end: u64,
    dir: String,
}

/// A bundle that was moved away.
pub(crate) struct Archived {
    /// The archive.
    pub(crate) root: PathBuf,
    /// The bundle's file in it.
    pub(crate) path: PathBuf,
}

impl Archive {
    /// The pointer of the log in `dir`; of a log that was never archived, an empty one.
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Archive, ReadError> {
        let path = pointer_path(dir);
        let bytes = match storage::read_file(storage, &path, POINTER_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Archive::default()),
            read => read.map_err(at(&path)).map_err(damage(0))?,
        };
        let read = std::str::from_utf8(&bytes).ok().and_then(Archive::parse);
        read.ok_or_else(|| {
            ReadError::Corrupt(Corruption {
                file: path,
                offset: 0,
                record: RecordIndex(0),
                detail: "the list of archived bundles cannot be read".to_owned(),
            })
        })
    }

    /// Replaces the pointer; durable when this returns.
    pub(crate) fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<(), PathError> {
        storage::replace_file(storage, &pointer_path(dir), self.text().as_bytes())
    }

    /// First bundle that was not moved away.
    pub(crate) fn end(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end)
    }

    /// The archive that has a bundle; `None` when it was not moved away.
    pub(crate) fn dir_of(&self, bundle: u64) -> Option<&Path> {
        let at = self.parts.partition_point(|part| part.end <= bundle);
        self.parts.get(at).map(|part| Path::new(&part.dir))
    }

    /// The archives, each with the first bundle that it has.
    pub(crate) fn directories(&self) -> impl Iterator<Item = (u64, &Path)> {
        let firsts = std::iter::once(0).chain(self.parts.iter().map(|part| part.end));
        firsts.zip(self.parts.iter().map(|part| Path::new(part.dir.as_str())))
    }

    /// The bundles from [`Archive::end`] to `end` are in `dir`. `false`: its path cannot be written down, or
    /// there are too many directories.
    #[must_use]
    pub(crate) fn extend(&mut self, end: u64, dir: &Path) -> bool {
        let Some(dir) = representable(dir) else {
            return false;
        };
        if let Some(last) = self.parts.last_mut().filter(|last| last.dir == dir) {
            last.end = end;
            return true;
        }
        if self.parts.len() == PARTS_MAX {
            return false;
        }
        let dir = dir.to_owned();
        self.parts.push(Part { end, dir });
        true
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for part in &self.parts {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} {}", part.end, part.dir);
        }
        let sum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {sum:08x}");
        text
    }

    fn parse(text: &str) -> Option<Archive> {
        let (lines, _) = text.strip_prefix(HEAD)?.rsplit_once("crc32c ")?;
        let part = |line: &str| {
            let (end, dir) = line.split_once(' ')?;
            Some(Part {
                end: end.parse().ok()?,
                dir: dir.to_owned(),
            })
        };
        let parts: Vec<Part> = lines.lines().map(part).collect::<Option<_>>()?;
        let archive = Archive { parts };
        let ends = archive.parts.iter().map(|part| part.end);
        // The same bytes once more: checksum, spelling, everything.
        (archive.text() == text && ends.is_sorted_by(|a, b| a < b)).then_some(archive)
    }
}

/// A directory's path as the pointer can have it.
pub(crate) fn representable(dir: &Path) -> Option<&str> {
    let text = dir.to_str()?;
    (text.len() <= DIRECTORY_BYTES_MAX && !text.contains(['\n', '\r'])).then_some(text)
}

/// Where a full bundle of the log in `dir` was moved to; `None` when it was not.
pub(crate) fn archived(
    storage: &dyn Storage,
    dir: &Path,
    bundle: BundleId,
) -> Result<Option<Archived>, ReadError> {
    let archive = Archive::read(storage, dir)?;
    Ok(archive.dir_of(bundle.index).map(|root| Archived {
        root: root.to_owned(),
        path: root.join(bundle.path()),
    }))
}

impl Archived {
    /// Why the bundle, wanted for `record`, was not read. An archive that is not there is no damage.
    pub(crate) fn failed(
        self,
        storage: &dyn Storage,
        record: RecordIndex,
        error: io::Error,
    ) -> ReadError {
        if error.kind() == io::ErrorKind::NotFound && !is_there(storage, &self.root) {
            return ReadError::Archived {
                path: self.root,
                record,
            };
        }
        damage(record.0)(PathError {
            path: self.path,
            source: error,
        })
    }
}

/// Whether an archive is mounted.
pub(crate) fn is_there(storage: &dyn Storage, root: &Path) -> bool {
    storage.open(&root.join(MARKER_FILE), false).is_ok()
}

/// All archives of the log in `dir` must be there.
pub(crate) fn check_there(storage: &dyn Storage, dir: &Path) -> Result<(), ReadError> {
    for (first, root) in Archive::read(storage, dir)?.directories() {
        if !is_there(storage, root) {
            return Err(ReadError::Archived {
                path: root.to_owned(),
                record: RecordIndex(first * TILE_WIDTH),
            });
        }
    }
    Ok(())
}

fn pointer_path(dir: &Path) -> PathBuf {
    dir.join("archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        assert!(archive.extend(3, Path::new("/a b/c")));
        assert!(archive.extend(5, Path::new("/a b/c")));
        assert!(archive.extend(9, Path::new("/crc32c /d")));
        archive
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let archive = archive();
        assert_eq!(Archive::parse(&archive.text()), Some(archive.clone()));
        assert_eq!(archive.end(), 9);
        let dirs = [0, 4, 5, 8, 9].map(|bundle| archive.dir_of(bundle).and_then(Path::to_str));
        let (one, two) = (Some("/a b/c"), Some("/crc32c /d"));
        assert_eq!(dirs, [one, one, two, two, None]);
        let empty = Archive::default();
        assert_eq!(Archive::parse(&empty.text()), Some(empty));
    }

    #[test]
    fn no_changed_byte_is_overlooked() {
        let text = archive().text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let read = std::str::from_utf8(&bytes).ok().and_then(Archive::parse);
            assert_eq!(read, None, "byte {at}");
            assert_eq!(Archive::parse(&text[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn paths_that_would_break_a_line_are_refused() {
        let mut archive = archive();
        assert!(!archive.extend(10, Path::new("/a\n/b")));
        assert!(!archive.extend(10, Path::new(&"x".repeat(DIRECTORY_BYTES_MAX + 1))));
        for n in 2..PARTS_MAX as u64 {
            assert!(archive.extend(10 + n, Path::new(&format!("/{n}"))));
        }
        assert!(!archive.extend(1_000_000, Path::new("/one-too-many")));
        assert!(archive.text().len() as u64 <= POINTER_BYTES_MAX);
    }
}
