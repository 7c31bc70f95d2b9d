//! Where the published files of a log are read from.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::archive::archived;
use crate::published::{Published, public_dir};
use crate::record::RecordIndex;
use crate::storage::{self, DiskStorage, Storage};
use crate::tlog::{BundleId, HashReader, TILE_WIDTH, TileId};

/// The files that a log publishes, laid out as c2sp.org/tlog-tiles says.
pub trait TreeSource {
    /// The file at `path` below the log's prefix, for example `checkpoint` or `tile/0/x001/067`.
    /// `None` when there is no such file.
    ///
    /// # Errors
    /// [`SourceError`]: it cannot be read, or has more than `bytes_max` bytes.
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError>;

    /// The log's prefix as a person knows it: a directory or an address.
    fn location(&self) -> String;

    /// The directory on this machine that must not lie in a copy, nor a copy in it.
    fn directory(&self) -> Option<&Path> {
        None
    }
}

/// A published file could not be read.
#[derive(Debug, Error)]
#[error(
    "{location} cannot be read; check that it can be reached and is served whole, then try again"
)]
pub struct SourceError {
    /// The file, as a person finds it.
    pub location: String,
    /// Why.
    #[source]
    pub source: Box<dyn StdError + Send + Sync>,
}

impl SourceError {
    /// The file at `location` could not be read for this reason.
    pub fn new(
        location: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> SourceError {
        SourceError {
            location: location.into(),
            source: source.into(),
        }
    }
}

/// A directory with the published files: a log's own, or a copy.
///
/// Bundles that `birthmark log archive` moved out of a log's directory are read from the archive.
pub struct DirectorySource {
    storage: Arc<dyn Storage>,
    /// The log's directory.
    dir: PathBuf,
    /// Where the published files are in it.
    root: PathBuf,
}

impl DirectorySource {
    /// What the log in `dir` publishes, or `dir` itself when the files lie directly in it.
    #[must_use]
    pub fn new(dir: &Path) -> DirectorySource {
        let public = public_dir(dir);
        let root = if public.is_dir() {
            public
        } else {
            dir.to_owned()
        };
        DirectorySource {
            storage: Arc::new(DiskStorage),
            dir: dir.to_owned(),
            root,
        }
    }

    /// What the log in `dir` publishes, on any storage.
    pub(crate) fn of_log(storage: &Arc<dyn Storage>, dir: &Path) -> DirectorySource {
        DirectorySource {
            storage: Arc::clone(storage),
            dir: dir.to_owned(),
            root: public_dir(dir),
        }
    }
}

impl DirectorySource {
    /// A full bundle that was moved to an archive.
    fn read_archived(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let storage = &*self.storage;
        let bundle = BundleId::parse_path(path).filter(|bundle| !bundle.is_partial());
        let (Some(bundle), Some(dir)) = (bundle, self.root.parent()) else {
            return Ok(None);
        };
        let location = self.root.join(path).display().to_string();
        let there = match archived(storage, dir, bundle) {
            Ok(Some(there)) => there,
            Ok(None) => return Ok(None),
            Err(error) => return Err(SourceError::new(location, error)),
        };
        storage::read_file(storage, &there.path, bytes_max)
            .map(Some)
            .map_err(|error| {
                let record = RecordIndex(bundle.index * TILE_WIDTH);
                SourceError::new(location, there.failed(storage, record, error))
            })
    }
}

impl TreeSource for DirectorySource {
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let file = self.root.join(path);
        match storage::read_file(&*self.storage, &file, bytes_max) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.read_archived(path, bytes_max)
            }
            Err(error) => Err(SourceError::new(file.display().to_string(), error)),
            Ok(bytes) => Ok(Some(bytes)),
        }
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.dir)
    }
}

/// The tiles of a log's own tree, to prove with.
pub(super) struct Tiles<'a>(pub(super) &'a Published);

impl HashReader for Tiles<'_> {
    type Error = String;

    fn tile(&mut self, id: TileId) -> Result<Vec<u8>, String> {
        // Partial files of earlier sizes need not be there any more.
        let size = self.0.size();
        let now = TileId::containing(id.level, id.index * TILE_WIDTH, size).unwrap_or(id);
        let read = self.0.tile(now);
        let mut bytes =
            read.map_err(|error| format!("{}: {}", error.path.display(), error.source))?;
        bytes.truncate(id.byte_len());
        Ok(bytes)
    }
}
