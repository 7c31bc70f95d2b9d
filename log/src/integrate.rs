//! Publication: committed records become entry bundles, tiles and a checkpoint
//! (c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint); then the segments they came from may go.
//!
//! One round:
//!
//! 1. The records committed since are copied from the segments into bundles.
//! 2. The volume is synced.
//! 3. The bundles are read again, from the medium where the system lets us choose. Every record
//!    must have the checksum that it was committed with, and is hashed into the tree.
//! 4. The tiles are written, the volume is synced, the tiles are read again and compared.
//! 5. The checkpoint is signed and replaces the one before.
//! 6. Segments that hold nothing but published records and finished reservations are given up.
//!
//! A crash anywhere before 5 leaves the old checkpoint, and files beyond it that the next round
//! writes anew from the same records. What a checkpoint covers is never written again.
//!
//! A round that fails for want of space leaves this object in an unknown state: the caller loads
//! a new one, which is what a restart does too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Corruption, ReadError};
use crate::floor::{read_floor, write_floor};
use crate::follow::{Followed, Follower};
use crate::public_files::PublicFiles;
use crate::published::{
    Published, bundle_at, checkpoint_path, damage, offsets_path, public_dir, read_checkpoint,
    read_vkey, write_vkey,
};
use crate::record::RecordIndex;
use crate::scan::ScanError;
use crate::storage::{self, AlignedBytes, PathError, Storage, StorageFile, Volume, at};
use crate::tlog::{
    BUNDLE_BYTES_MAX, BundleError, BundleId, Checkpoint, CheckpointSigner, Leaves, LoadError,
    SignError, TILE_BYTES, TILE_LEVELS, TILE_WIDTH, TileId, TreeBuilder, entry_length,
    sign_checkpoint,
};

/// Most records that one checkpoint adds, unless a single batch has more: what a round keeps in
/// memory is a checksum and an offset for each, and their tiles.
const ROUND_RECORDS_MAX: u64 = 1 << 16;

/// Why a round failed.
#[derive(Debug)]
pub(crate) enum IntegrateError {
    /// The file system said no.
    Storage(PathError),
    /// What was written is not what is read.
    Corrupt(Corruption),
    /// The checkpoint could not be signed.
    Sign(SignError),
}

/// Turns records into the published tree. Owned by the publisher thread.
pub(crate) struct Integrator {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    signer: Arc<dyn CheckpointSigner>,
    volume: Box<dyn Volume>,
    offsets: Arc<dyn StorageFile>,
    follower: Follower,
    tree: TreeBuilder,
    bundle: OpenBundle,
    /// Memory of bundles that were written, for the next ones.
    spare: Vec<AlignedBytes>,
    /// Memory for what is read again.
    again: AlignedBytes,
    /// First segment that is kept.
    floor: u64,
    /// Partial files of the checkpoint that stands; they go once the full ones stand.
    partials: Vec<PathBuf>,
    files: PublicFiles,
    /// The verifier key is to be kept beside the log before its first checkpoint.
    keep_vkey: bool,
}

/// The bundle that is not full yet.
#[derive(Default)]
struct OpenBundle {
    bytes: AlignedBytes,
    /// Checksum of each record in it, as it was committed.
    checksums: Vec<u32>,
}

/// A bundle written in this round.
struct WrittenBundle {
    id: BundleId,
    path: PathBuf,
    checksums: Vec<u32>,
}

impl Integrator {
    /// Goes on from the checkpoint that stands, which covers `size` records.
    pub(crate) fn load(
        storage: Arc<dyn Storage>,
        dir: &Path,
        signer: Arc<dyn CheckpointSigner>,
        published: &Published,
    ) -> Result<Integrator, IntegrateError> {
        let public = public_dir(dir);
        storage.create_dir(&public).map_err(at(&public))?;
        // A process that was killed may have left a checkpoint whose name is in memory only.
        storage.sync_dir(&public).map_err(at(&public))?;
        let standing = standing_checkpoint(&*storage, dir, &*signer, published.size())?;
        let size = standing.as_ref().map_or(0, |checkpoint| checkpoint.size);
        published.set_size(size);
        let volume = storage.volume(&public).map_err(at(&public))?;
        let offsets_path = offsets_path(dir);
        let offsets = storage
            .open(&offsets_path, true)
            .or_else(|_| storage.create(&offsets_path))
            .map_err(at(&offsets_path))?;
        let tree = load_tree(published, size)?;
        if let Some(checkpoint) = &standing
            && tree.root() != checkpoint.root
        {
            let detail = "the tiles do not give the root of the checkpoint";
            return Err(differs(&checkpoint_path(dir), size, detail));
        }
        let bundle = OpenBundle::load(published, size)?;
        let keep_vkey = read_vkey(&*storage, dir)?.is_none();
        let floor = read_floor(&*storage, dir)?;
        let mut follower = Follower::start(Arc::clone(&storage), dir, floor)?;
        while follower.next_index() < size {
            follower.next_batch(&mut |_| ())?;
        }
        // The last round may have ended before it removed what the full files before these replaced.
        let before = (0..TILE_LEVELS).flat_map(|level| partial_before(level, size));
        let partials = partial_files(&tree, size).chain(before);
        let partials = partials.map(|path| public.join(path)).collect();
        let files = PublicFiles::load(Arc::clone(&storage), dir)?;
        Ok(Integrator {
            storage,
            dir: dir.to_owned(),
            signer,
            volume,
            offsets,
            follower,
            tree,
            bundle,
            spare: Vec::new(),
            again: AlignedBytes::default(),
            floor,
            partials,
            files,
            keep_vkey,
        })
    }

    /// Number of records that are published.
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// One round: publishes records up to `goal`, which are committed, or as many as one round
    /// takes. Gives the checkpoint's text; it stands when this returns.
    pub(crate) fn publish(&mut self, goal: u64) -> Result<String, IntegrateError> {
        let written = self.write_bundles(goal)?;
        self.sync()?;
        let tiles = self.hash_bundles(&written)?;
        self.write_tiles(&tiles)?;
        self.sync()?;
        self.check_tiles(&tiles)?;
        let checkpoint = Checkpoint {
            origin: self.signer.verifier_key().name().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        if self.keep_vkey {
            write_vkey(
                &*self.storage,
                &self.dir,
                &self.signer.verifier_key().to_string(),
            )?;
            self.keep_vkey = false;
        }
        let text = sign_checkpoint(&*self.signer, &checkpoint).map_err(IntegrateError::Sign)?;
        storage::replace_file(&*self.storage, &checkpoint_path(&self.dir), text.as_bytes())?;
        Ok(text)
    }

    /// Gives up partial files that full ones have made needless. A crash may leave some behind.
    pub(crate) fn remove_partials(&mut self) -> Result<(), IntegrateError> {
        let size = self.tree.size();
        let public = public_dir(&self.dir);
        let now: Vec<PathBuf> = partial_files(&self.tree, size)
            .map(|path| public.join(path))
            .collect();
        let needless: Vec<PathBuf> = std::mem::take(&mut self.partials)
            .into_iter()
            .filter(|old| !now.iter().any(|new| new.parent() == old.parent()))
            .collect();
        self.partials = now;
        for path in needless {
            self.files.give_up(&path)?;
        }
        Ok(())
    }

    /// Gives up the segments that are not needed any more. Gives the first that is kept, when that
    /// has changed; durable when this returns.
    pub(crate) fn raise_floor(&mut self) -> Result<Option<(u64, u64)>, IntegrateError> {
        let (old, floor) = (self.floor, self.follower.floor());
        if floor == old {
            return Ok(None);
        }
        write_floor(&*self.storage, &self.dir, floor)?;
        self.floor = floor;
        Ok(Some((old, floor)))
    }

    /// Step 1: full bundles as they fill up, and the partial one at the end.
    fn write_bundles(&mut self, goal: u64) -> Result<Vec<WrittenBundle>, IntegrateError> {
        let first = self.tree.size();
        let limit = goal.min(first + ROUND_RECORDS_MAX);
        let mut offsets: Vec<u8> = Vec::new();
        let mut full: Vec<(u64, OpenBundle)> = Vec::new();
        let mut written = Vec::new();
        self.follower.refresh();
        while self.follower.next_index() < limit {
            let (bundle, spare) = (&mut self.bundle, &mut self.spare);
            self.follower.next_batch(&mut |record: Followed<'_>| {
                offsets.extend_from_slice(&(bundle.bytes.len() as u32).to_le_bytes());
                bundle.push(&record);
                if bundle.checksums.len() as u64 == TILE_WIDTH {
                    let next = OpenBundle::with_memory(spare.pop());
                    full.push((record.index / TILE_WIDTH, std::mem::replace(bundle, next)));
                }
            })?;
            for (number, bundle) in full.drain(..) {
                let id = bundle_at(number, u64::MAX);
                written.push(self.write_bundle(id, &bundle.bytes, bundle.checksums)?);
                if self.spare.len() < SPARE_BUNDLES_MAX {
                    self.spare.push(bundle.bytes);
                }
            }
        }
        let size = self.follower.next_index();
        if !self.bundle.checksums.is_empty() {
            let id = bundle_at(size / TILE_WIDTH, size);
            let bytes = std::mem::take(&mut self.bundle.bytes);
            written.push(self.write_bundle(id, &bytes, self.bundle.checksums.clone())?);
            self.bundle.bytes = bytes;
        }
        let path = offsets_path(&self.dir);
        self.offsets
            .write_all_at(&offsets, first * 4)
            .map_err(at(&path))?;
        Ok(written)
    }

    fn write_bundle(
        &mut self,
        id: BundleId,
        bytes: &[u8],
        checksums: Vec<u32>,
    ) -> Result<WrittenBundle, IntegrateError> {
        let path = match u64::from(id.width) == TILE_WIDTH {
            true => self.files.write(&id.path(), bytes)?,
            false => self.files.write_partial(&id.path(), bytes)?,
        };
        Ok(WrittenBundle {
            id,
            path,
            checksums,
        })
    }

    /// Step 3. Gives the tiles that are new, full ones first.
    fn hash_bundles(
        &mut self,
        written: &[WrittenBundle],
    ) -> Result<Vec<(TileId, Vec<u8>)>, IntegrateError> {
        let mut tiles = Vec::new();
        let mut bytes = std::mem::take(&mut self.again);
        for bundle in written {
            let first = bundle.id.index * TILE_WIDTH;
            self.read_again(&bundle.path, BUNDLE_BYTES_MAX as u64, &mut bytes)?;
            let no_bundle = |error: BundleError| differs(&bundle.path, first, &error.to_string());
            let mut leaves = Leaves::new(&mut bytes, bundle.id.width);
            let mut checksums = bundle.checksums.iter();
            let mut index = first;
            while let Some(leaf) = leaves.next_leaf().map_err(no_bundle)? {
                if checksums.next() != Some(&crc32c::crc32c(leaf.record())) {
                    let detail = "the record is not what was committed: this file is damaged, or the segment that it was copied from";
                    return Err(differs(&bundle.path, index, detail));
                }
                if index >= self.tree.size() {
                    self.tree.append(leaf.hash(), &mut |id, hashes| {
                        tiles.push((id, hashes.to_vec()));
                    });
                }
                index += 1;
            }
        }
        self.again = bytes;
        // A partial tile above the lowest level often stays as it is. The checkpoint that stands covers
        // it: writing it again would put it at risk, and show readers an empty file for a moment.
        let public = public_dir(&self.dir);
        let stands = |id: &TileId| self.partials.contains(&public.join(id.path()));
        let changed = self.tree.partials().filter(|(id, _)| !stands(id));
        tiles.extend(changed.map(|(id, hashes)| (id, hashes.to_vec())));
        Ok(tiles)
    }

    fn write_tiles(&mut self, tiles: &[(TileId, Vec<u8>)]) -> Result<(), IntegrateError> {
        for (id, hashes) in tiles {
            match u64::from(id.width) == TILE_WIDTH {
                true => self.files.write(&id.path(), hashes)?,
                false => self.files.write_partial(&id.path(), hashes)?,
            };
        }
        Ok(())
    }

    fn check_tiles(&self, tiles: &[(TileId, Vec<u8>)]) -> Result<(), IntegrateError> {
        let mut bytes = AlignedBytes::default();
        for (id, hashes) in tiles {
            let path = public_dir(&self.dir).join(id.path());
            self.read_again(&path, TILE_BYTES as u64, &mut bytes)?;
            if bytes[..] != *hashes {
                let detail = "the tile is not what was written";
                return Err(differs(&path, self.tree.size(), detail));
            }
        }
        Ok(())
    }

    fn read_again(
        &self,
        path: &Path,
        bytes_max: u64,
        bytes: &mut AlignedBytes,
    ) -> Result<(), IntegrateError> {
        let read = self.storage.read_medium(path, bytes_max, bytes);
        Ok(read.map_err(at(path))?)
    }

    fn sync(&mut self) -> Result<(), IntegrateError> {
        let synced = self.volume.sync();
        Ok(synced.map_err(|source| {
            // Whatever its kind: what reached the disk is unknown now.
            let source = io::Error::other(source);
            PathError {
                path: public_dir(&self.dir),
                source,
            }
        })?)
    }
}

/// Buffers of written bundles that are kept: as many as one batch of records fills, about.
const SPARE_BUNDLES_MAX: usize = 8;

impl OpenBundle {
    /// An empty one in memory that was used before.
    fn with_memory(memory: Option<AlignedBytes>) -> OpenBundle {
        let mut bytes = memory.unwrap_or_default();
        bytes.clear();
        OpenBundle {
            bytes,
            checksums: Vec::with_capacity(TILE_WIDTH as usize),
        }
    }

    fn load(published: &Published, size: u64) -> Result<OpenBundle, IntegrateError> {
        let mut bundle = OpenBundle::default();
        if !size.is_multiple_of(TILE_WIDTH) {
            for record in published.checked_bundle(bundle_at(size / TILE_WIDTH, size))? {
                let checksum = crc32c::crc32c(&record);
                bundle.push(&Followed {
                    index: 0,
                    bytes: &record,
                    checksum,
                });
            }
        }
        Ok(bundle)
    }

    fn push(&mut self, record: &Followed<'_>) {
        // The log takes no record that is too long for its length.
        let length = entry_length(record.bytes);
        debug_assert!(length.is_ok());
        self.bytes.extend_from_slice(&length.unwrap_or_default());
        self.bytes.extend_from_slice(record.bytes);
        self.checksums.push(record.checksum);
    }
}

/// The checkpoint that stands. A round that failed at its very end may have put it there, so it may
/// cover more than is known, and never less.
fn standing_checkpoint(
    storage: &dyn Storage,
    dir: &Path,
    signer: &dyn CheckpointSigner,
    known: u64,
) -> Result<Option<Checkpoint>, IntegrateError> {
    let path = checkpoint_path(dir);
    let checkpoint = match read_checkpoint(storage, dir)? {
        None => None,
        Some(bytes) => Some(
            Checkpoint::from_note(&bytes, signer.verifier_key())
                .map_err(|error| differs(&path, known, &error.to_string()))?,
        ),
    };
    if checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size) < known {
        return Err(differs(&path, known, "the checkpoint went back"));
    }
    Ok(checkpoint)
}

/// The right edge of the published tree.
pub(crate) fn load_tree(published: &Published, size: u64) -> Result<TreeBuilder, IntegrateError> {
    TreeBuilder::load(size, &mut |id| published.tile(id)).map_err(|error| match error {
        LoadError::Read { source, .. } => damage(size)(source).into(),
        other => differs(Path::new("tile"), size, &other.to_string()),
    })
}

/// A partial tile, and a partial bundle, just before the ones at the right edge.
fn partial_before(level: u8, size: u64) -> Vec<String> {
    let full = (size >> (8 * u32::from(level))) / TILE_WIDTH;
    let Some(index) = full.checked_sub(1) else {
        return Vec::new();
    };
    let width = 1;
    let mut paths = vec![
        TileId {
            level,
            index,
            width,
        }
        .path(),
    ];
    if level == 0 {
        paths.push(BundleId { index, width }.path());
    }
    paths
}

fn partial_files(tree: &TreeBuilder, size: u64) -> impl Iterator<Item = String> {
    let bundle = (!size.is_multiple_of(TILE_WIDTH)).then(|| bundle_at(size / TILE_WIDTH, size));
    let tiles = tree.partials().map(|(id, _)| id.path());
    tiles.chain(bundle.map(|id| id.path()))
}

fn differs(path: &Path, record: u64, detail: &str) -> IntegrateError {
    IntegrateError::Corrupt(Corruption {
        file: path.to_owned(),
        offset: 0,
        record: RecordIndex(record),
        detail: detail.to_owned(),
    })
}

impl From<PathError> for IntegrateError {
    fn from(error: PathError) -> IntegrateError {
        IntegrateError::Storage(error)
    }
}

impl From<ReadError> for IntegrateError {
    fn from(error: ReadError) -> IntegrateError {
        match error {
            ReadError::Corrupt(corruption) => IntegrateError::Corrupt(corruption),
            ReadError::Storage { path, source } => {
                IntegrateError::Storage(PathError { path, source })
            }
            other => IntegrateError::Storage(PathError {
                path: PathBuf::new(),
                source: io::Error::other(other),
            }),
        }
    }
}

impl From<ScanError> for IntegrateError {
    fn from(error: ScanError) -> IntegrateError {
        match error {
            ScanError::Corrupt(corruption) => IntegrateError::Corrupt(corruption),
            ScanError::Storage(error) => IntegrateError::Storage(error),
            ScanError::Missing { dir } => IntegrateError::Storage(PathError {
                path: dir,
                source: io::ErrorKind::NotFound.into(),
            }),
            ScanError::Extract { source, .. } => IntegrateError::Storage(PathError {
                path: PathBuf::new(),
                source: io::Error::other(source),
            }),
        }
    }
}
