//! Making the index anew from the records, without the log's key.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::archive::check_there;
use crate::error::{OpenError, VerifyError};
use crate::locations::Locations;
use crate::log::lock;
use crate::reader::published_size;
use crate::rebuild::{Walkthrough, index_dir, walk_through};
use crate::record::KeyExtractor;
use crate::storage::{DiskStorage, Storage, at};

/// Throws the index of the log in `dir` away and makes it anew from the records, on the real file
/// system. Records are checked on the way: published ones against their hashes, the others against
/// their checksums. `progress` is told now and then how many records are done. Gives the number of
/// records.
///
/// The log must not be open. Cut off, it has done no harm: the next open goes on.
///
/// # Errors
/// As [`Log::open`](crate::Log::open); nothing but the index is touched.
pub fn reindex(
    dir: &Path,
    keys: Arc<dyn KeyExtractor>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, OpenError> {
    reindex_on(Arc::new(DiskStorage), dir, keys, progress)
}

/// As [`reindex`], on any storage.
///
/// # Errors
/// As [`reindex`].
pub fn reindex_on(
    storage: Arc<dyn Storage>,
    dir: &Path,
    keys: Arc<dyn KeyExtractor>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, OpenError> {
    let _lock = lock(&*storage, dir)?;
    let published = published_size(&*storage, dir).map_err(open_error)?;
    let locations = Locations::new(Arc::clone(&storage), dir, published.unwrap_or(0));
    // First the records are found good, and those in an archive within reach; then the index goes.
    check_there(&*storage, dir)?;
    let Walkthrough { found, .. } = walk_through(&*storage, dir, locations, keys)?;
    remove_index(&*storage, dir)?;
    let (records, _) = found.enter(storage, dir, progress)?;
    records.flush_index().map_err(|reason| OpenError::Storage {
        path: index_dir(dir),
        source: io::Error::other(reason),
    })?;
    Ok(records.len())
}

fn remove_index(storage: &dyn Storage, dir: &Path) -> Result<(), OpenError> {
    let index = index_dir(dir);
    let names = match storage.list(&index) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(at(&index))?,
    };
    for name in names {
        let path = index.join(name);
        storage.remove(&path).map_err(at(&path))?;
    }
    Ok(storage.sync_dir(&index).map_err(at(&index))?)
}

fn open_error(error: VerifyError) -> OpenError {
    match error {
        VerifyError::Corrupt(corruption) => OpenError::Corrupt(corruption),
        VerifyError::Missing { dir } => OpenError::Missing { dir },
        VerifyError::Storage { path, source } => OpenError::Storage { path, source },
        other => OpenError::Storage {
            path: Path::new("").to_owned(),
            source: io::Error::other(other),
        },
    }
}
