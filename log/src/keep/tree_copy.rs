//! Copying a published tree: its tiles must lead to the root of the checkpoint, then records are fetched,
//! hashed into the copy's own tree, and must give that root, too. So the copy is a continuation of what it was before, or it is refused.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::partials::edge_tiles;
use super::source::{SourceError, TreeSource};
use super::tile_proof::ProvenTiles;
use crate::error::Corruption;
use crate::integrate::load_tree;
use crate::published::{Published, bundle_at, offsets_path, public_dir};
use crate::record::RecordIndex;
use crate::storage::{self, AlignedBytes, PathError, Storage, StorageFile, Volume, at};
use crate::tlog::{
    BUNDLE_BYTES_MAX, BundleId, Checkpoint, Entries, HASH_BYTES, HashReader, ProveError,
    TILE_BYTES, TILE_WIDTH, TileId, TreeBuilder, consistency_proof, leaf_hash, root,
    verify_consistency,
};
use crate::verify::Progress;

/// Width of a full tile, in the type of [`TileId::width`].
const FULL: u16 = TILE_WIDTH as u16;

/// A published tree could not be copied. What the copy had before stands as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A file of the source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source lacks a file that its checkpoint covers.
    #[error(
        "{location} lacks {path}, which its checkpoint covers; have it checked with `birthmark log verify`"
    )]
    Missing {
        /// The source.
        location: String,
        /// The file.
        path: String,
    },
    /// A file of the source does not belong under its checkpoint.
    #[error(
        "{location}: {path}, at record {record}: {detail}; have it checked with `birthmark log verify`"
    )]
    Damaged {
        /// The source.
        location: String,
        /// The first bad file, as far as it can be told.
        path: String,
        /// The first record that is affected.
        record: RecordIndex,
        /// What is wrong.
        detail: String,
    },
    /// The log signed a history that does not contain what the copy has.
    #[error(
        "the log at {location} was forked: its {new} records do not begin with the {old} records that this \
         copy has, though the same key signed both; STOP: keep both, trust neither, ask who ran the log"
    )]
    Forked {
        /// The source.
        location: String,
        /// Records of the copy.
        old: u64,
        /// Records that the source signed.
        new: u64,
    },
    /// What the copy has already is damaged.
    #[error(transparent)]
    Copy(#[from] Corruption),
    /// The copy cannot be written.
    #[error("the copy cannot be written: {path}; check the disk, its rights and its free space", path = path.display())]
    Write {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Brings the copy in `dest` from the tree `from`, which it holds, to the tree `to`: bundles and tiles,
/// durable and read back. Gives the number of bundles that were fetched. The checkpoint is the caller's.
/// `seen` is shown each record that is new.
pub(crate) fn copy_tree(
    source: &dyn TreeSource,
    storage: &Arc<dyn Storage>,
    dest: &Path,
    from: Option<&Checkpoint>,
    to: &Checkpoint,
    seen: &mut dyn FnMut(&[u8]),
    progress: &dyn Fn(Progress),
) -> Result<u64, CopyError> {
    let old = from.map_or(0, |from| from.size);
    let tree = held_tree(storage, dest, from)?;
    let source = Source {
        tree: source,
        size: to.size,
    };
    if let Some(from) = from {
        check_continues(&source, from, to)?;
    }
    let tiles = ProvenTiles::prove(&source, &tree, to)?;
    let public = public_dir(dest);
    storage.create_dir(&public).map_err(at(&public))?;
    let volume = storage.volume(&public).map_err(at(&public))?;
    let offsets_path = offsets_path(dest);
    let offsets = storage
        .open(&offsets_path, true)
        .or_else(|_| storage.create(&offsets_path))
        .map_err(at(&offsets_path))?;
    let mut copy = TreeCopy {
        source,
        storage,
        dest,
        tree,
        tiles,
        offsets,
        made: HashSet::new(),
        fetched: 0,
    };
    for number in old / TILE_WIDTH..to.size.div_ceil(TILE_WIDTH) {
        copy.add_bundle(bundle_at(number, to.size), seen)?;
        progress(Progress {
            records: copy.tree.size(),
            records_total: to.size,
        });
    }
    copy.finish(old, to)?;
    let fetched = copy.fetched;
    sync(&*volume, dest)?;
    read_back(storage, dest, from, to)?;
    Ok(fetched)
}

/// Makes everything durable that was written to the file system under `dest`.
pub(crate) fn sync(volume: &dyn Volume, dest: &Path) -> Result<(), CopyError> {
    volume.sync().map_err(|source| CopyError::Write {
        path: dest.to_owned(),
        source,
    })
}

/// The tree that the copy has, which must be the one of its checkpoint.
fn held_tree(
    storage: &Arc<dyn Storage>,
    dest: &Path,
    from: Option<&Checkpoint>,
) -> Result<TreeBuilder, CopyError> {
    let Some(from) = from else {
        return Ok(TreeBuilder::new());
    };
    let held = Published::new(Arc::clone(storage), dest, from.size);
    let tree = load_tree(&held, from.size).map_err(|error| {
        use crate::integrate::IntegrateError;
        match error {
            IntegrateError::Storage(error) => CopyError::from(error),
            IntegrateError::Corrupt(corruption) => CopyError::Copy(corruption),
            IntegrateError::Sign(error) => CopyError::Write {
                path: dest.to_owned(),
                source: io::Error::other(error),
            },
        }
    })?;
    if tree.root() == from.root {
        return Ok(tree);
    }
    let detail = "the tiles do not give the root of the checkpoint";
    Err(damaged_copy(&public_dir(dest), 0, detail))
}

/// A source whose partial files may have gone because the full ones stand.
pub(super) struct Source<'a> {
    tree: &'a dyn TreeSource,
    /// Records that its checkpoint covers.
    size: u64,
}

impl Source<'_> {
    /// The first of these files that is there.
    fn first(&self, paths: &[String], bytes_max: usize) -> Result<Vec<u8>, CopyError> {
        for path in paths {
            if let Some(bytes) = self.tree.read(path, bytes_max as u64)? {
                return Ok(bytes);
            }
        }
        Err(CopyError::Missing {
            location: self.tree.location(),
            path: paths.first().cloned().unwrap_or_default(),
        })
    }

    /// A tile of this tree or of an earlier state of it: the source need not have its earlier partial
    /// files any more.
    pub(super) fn read_tile(&self, id: TileId) -> Result<Vec<u8>, CopyError> {
        let now = TileId::containing(id.level, id.index * TILE_WIDTH, self.size).unwrap_or(id);
        let full = TileId { width: FULL, ..id };
        let mut bytes = self.first(&[now, id, full].map(|id| id.path()), TILE_BYTES)?;
        if bytes.len() < id.byte_len() {
            return Err(self.damaged(&id.path(), id.index * TILE_WIDTH, "the tile is too short"));
        }
        bytes.truncate(id.byte_len());
        Ok(bytes)
    }

    /// The first records of a bundle, as many as it is wide, and where each begins.
    fn read_bundle(&self, id: BundleId) -> Result<Vec<u8>, CopyError> {
        let full = BundleId { width: FULL, ..id };
        let mut bytes = self.first(&[id, full].map(|id| id.path()), BUNDLE_BYTES_MAX)?;
        let mut entries = Entries::new(&bytes, id.width);
        let whole = entries
            .by_ref()
            .take(usize::from(id.width))
            .all(|entry| entry.is_ok());
        if !whole {
            return Err(self.damaged(&id.path(), id.index * TILE_WIDTH, "the bundle is cut off"));
        }
        let end = entries.offset();
        bytes.truncate(end);
        Ok(bytes)
    }

    pub(super) fn damaged(&self, path: &str, record: u64, detail: &str) -> CopyError {
        CopyError::Damaged {
            location: self.tree.location(),
            path: path.to_owned(),
            record: RecordIndex(record),
            detail: detail.to_owned(),
        }
    }
}

impl HashReader for &Source<'_> {
    type Error = CopyError;

    fn tile(&mut self, id: TileId) -> Result<Vec<u8>, CopyError> {
        self.read_tile(id)
    }
}

/// What the source signed must begin with what the copy has. Tells a fork from damaged files: for a
/// fork the source's own tiles prove that its signed tree has another beginning.
fn check_continues(
    source: &Source<'_>,
    from: &Checkpoint,
    to: &Checkpoint,
) -> Result<(), CopyError> {
    let proved = |error: ProveError<CopyError>| match error {
        ProveError::Read { source, .. } => source,
        other => source.damaged("tile", from.size, &other.to_string()),
    };
    let mut reader = source;
    let begins_with = root(&mut reader, from.size).map_err(proved)?;
    let proof = consistency_proof(&mut reader, from.size, to.size).map_err(proved)?;
    verify_consistency(from.size, begins_with, to.size, to.root, &proof).map_err(|error| {
        let detail = format!("the tiles do not give the root of the checkpoint: {error}");
        source.damaged("tile", from.size, &detail)
    })?;
    if begins_with == from.root {
        return Ok(());
    }
    Err(CopyError::Forked {
        location: source.tree.location(),
        old: from.size,
        new: to.size,
    })
}

struct TreeCopy<'a> {
    source: Source<'a>,
    storage: &'a Arc<dyn Storage>,
    dest: &'a Path,
    tree: TreeBuilder,
    tiles: ProvenTiles,
    offsets: Arc<dyn StorageFile>,
    /// Directories known to exist.
    made: HashSet<PathBuf>,
    fetched: u64,
}

impl TreeCopy<'_> {
    /// Takes one bundle over, unless an earlier, interrupted run has brought it.
    fn add_bundle(&mut self, id: BundleId, seen: &mut dyn FnMut(&[u8])) -> Result<(), CopyError> {
        let hashes = self.tiles.read(&self.source, id)?;
        let path = public_dir(self.dest).join(id.path());
        // From the medium: after a failed sync the page cache may show what the disk does not have.
        let held = read_again(&**self.storage, &path, BUNDLE_BYTES_MAX as u64);
        let bytes = match held {
            Ok(bytes) if first_wrong(&bytes, id.width, &hashes).is_none() => bytes.to_vec(),
            _ => {
                let bytes = self.source.read_bundle(id)?;
                if let Some(nth) = first_wrong(&bytes, id.width, &hashes) {
                    let record = id.index * TILE_WIDTH + nth;
                    let detail = "the record is not the one whose hash is in the tree";
                    return Err(self.source.damaged(&id.path(), record, detail));
                }
                self.write(&path, &bytes)?;
                self.fetched += 1;
                bytes
            }
        };
        self.enter(id, &bytes, seen)
    }

    /// Enters the records that are new into the tree, and writes the tiles that this fills.
    fn enter(
        &mut self,
        id: BundleId,
        bytes: &[u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CopyError> {
        let first = id.index * TILE_WIDTH;
        let mut starts = Vec::with_capacity(usize::from(id.width) * 4);
        let mut full = Vec::new();
        let mut entries = Entries::new(bytes, id.width);
        let mut index = first;
        loop {
            let start = entries.offset() as u32;
            let Some(Ok(record)) = entries.next() else {
                break;
            };
            starts.extend_from_slice(&start.to_le_bytes());
            if index == self.tree.size() {
                seen(record);
                self.tree.append(leaf_hash(record), &mut |id, hashes| {
                    full.push((id, hashes.to_vec()));
                });
            }
            index += 1;
        }
        for (id, hashes) in full {
            self.write(&public_dir(self.dest).join(id.path()), &hashes)?;
        }
        let path = offsets_path(self.dest);
        let written = self.offsets.write_all_at(&starts, first * 4);
        Ok(written.map_err(at(&path))?)
    }

    /// Writes the tiles at the right edge, but none that the copy's tree of `old` records rests on. The
    /// root must be the one that was signed.
    fn finish(&mut self, old: u64, to: &Checkpoint) -> Result<(), CopyError> {
        if (self.tree.size(), self.tree.root()) != (to.size, to.root) {
            let detail = "the records do not give the root of the checkpoint";
            return Err(self.source.damaged("checkpoint", to.size, detail));
        }
        let edge: Vec<_> = self
            .tree
            .partials()
            .filter(|(id, _)| !edge_tiles(old).any(|held| held == *id))
            .map(|(id, hashes)| (id, hashes.to_vec()))
            .collect();
        for (id, hashes) in edge {
            self.write(&public_dir(self.dest).join(id.path()), &hashes)?;
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), CopyError> {
        if let Some(dir) = path.parent()
            && !self.made.contains(dir)
        {
            self.storage.create_dir(dir).map_err(at(dir))?;
            self.made.insert(dir.to_owned());
        }
        Ok(storage::write_file(&**self.storage, path, bytes)?)
    }
}

/// The first entry of a bundle whose hash is not the one of its tile; `None` when all are right.
pub(super) fn first_wrong(bytes: &[u8], width: u16, hashes: &[u8]) -> Option<u64> {
    let mut expected = hashes.chunks_exact(HASH_BYTES);
    let entries: Vec<_> = Entries::new(bytes, width).collect();
    let wrong = entries.iter().position(|entry| {
        let hash = entry.as_ref().ok().map(|record| leaf_hash(record));
        hash.as_ref().map(|hash| &hash.0[..]) != expected.next()
    });
    match wrong {
        Some(nth) => Some(nth as u64),
        None => expected.next().map(|_| entries.len() as u64),
    }
}

/// Reads what is new in the copy again, from the medium where the system lets us choose, and checks
/// every record and every tile against the root.
fn read_back(
    storage: &Arc<dyn Storage>,
    dest: &Path,
    from: Option<&Checkpoint>,
    to: &Checkpoint,
) -> Result<(), CopyError> {
    let mut tree = held_tree(storage, dest, from)?;
    let public = public_dir(dest);
    let old = tree.size();
    for number in old / TILE_WIDTH..to.size.div_ceil(TILE_WIDTH) {
        let id = bundle_at(number, to.size);
        let path = public.join(id.path());
        let bytes = read_again(&**storage, &path, BUNDLE_BYTES_MAX as u64)?;
        let mut full = Vec::new();
        let mut index = id.index * TILE_WIDTH;
        for entry in Entries::new(&bytes, id.width) {
            let record = entry.map_err(|error| damaged_copy(&path, index, &error.to_string()))?;
            if index >= old {
                tree.append(leaf_hash(record), &mut |id, hashes| {
                    full.push((id, hashes.to_vec()));
                });
            }
            index += 1;
        }
        for (id, hashes) in full {
            check_tile(&**storage, &public.join(id.path()), index, &hashes)?;
        }
    }
    for (id, hashes) in tree.partials() {
        check_tile(&**storage, &public.join(id.path()), to.size, hashes)?;
    }
    if tree.root() == to.root {
        return Ok(());
    }
    let detail = "the records do not give the root of the checkpoint";
    Err(damaged_copy(&public, to.size, detail))
}

fn check_tile(
    storage: &dyn Storage,
    path: &Path,
    record: u64,
    hashes: &[u8],
) -> Result<(), CopyError> {
    if read_again(storage, path, TILE_BYTES as u64)?[..] == *hashes {
        return Ok(());
    }
    Err(damaged_copy(
        path,
        record,
        "the tile is not what was written",
    ))
}

fn read_again(
    storage: &dyn Storage,
    path: &Path,
    bytes_max: u64,
) -> Result<AlignedBytes, CopyError> {
    let mut bytes = AlignedBytes::default();
    storage
        .read_medium(path, bytes_max, &mut bytes)
        .map_err(at(path))?;
    Ok(bytes)
}

fn damaged_copy(path: &Path, record: u64, detail: &str) -> CopyError {
    CopyError::Copy(Corruption {
        file: path.to_owned(),
        offset: 0,
        record: RecordIndex(record),
        detail: detail.to_owned(),
    })
}

impl From<PathError> for CopyError {
    fn from(PathError { path, source }: PathError) -> CopyError {
        CopyError::Write { path, source }
    }
}
