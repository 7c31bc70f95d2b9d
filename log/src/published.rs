//! The published part of a log: entry bundles, tiles and the checkpoint, laid out as
//! c2sp.org/tlog-tiles says, so that any static file server can serve it.
//!
//! ```text
//! DIR/public/checkpoint               the signed tree head (c2sp.org/tlog-checkpoint)
//! DIR/public/tile/0/x001/067          256 hashes
//! DIR/public/tile/0/x001/068.p/17     17 hashes
//! DIR/public/tile/entries/x001/067    256 records, each behind its length
//! DIR/offsets                         where each record starts in its bundle: u32, little-endian
//! ```
//!
//! Old full bundles may lie in an archive (`archive.rs`), where they are looked for when they are not here.
//!
//! The offsets are a hint for point reads. They are never synced and never believed: a record that
//! is read with their help must have the hash that its tile says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archive::archived;
use crate::error::{Corruption, ReadError};
use crate::record::RecordIndex;
use crate::storage::{self, PathError, Storage, StorageFile, at};
use crate::tlog::{
    BUNDLE_BYTES_MAX, BundleId, HASH_BYTES, Hash, TILE_BYTES, TILE_WIDTH, TileId, entries,
    leaf_hash,
};

/// Bytes in front of an entry in its bundle.
const LENGTH_BYTES: usize = 2;

/// The longest signed checkpoint that is read: its text and dozens of cosignatures.
pub(crate) const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;

/// The longest verifier key that is read.
const VKEY_BYTES_MAX: u64 = 4096;

/// Bytes read in the first call of a point read: nearly every record fits.
const READ_AHEAD_BYTES: usize = 2048;

/// Times that a read is tried again because its partial file was replaced meanwhile. Files change
/// once per checkpoint, so a second try is rare and a fourth does not come.
const TRIES: usize = 4;

/// Directory that is served.
pub(crate) fn public_dir(dir: &Path) -> PathBuf {
    dir.join("public")
}

/// The signed checkpoint.
pub(crate) fn checkpoint_path(dir: &Path) -> PathBuf {
    public_dir(dir).join("checkpoint")
}

/// The offsets of records in their bundles.
pub(crate) fn offsets_path(dir: &Path) -> PathBuf {
    dir.join("offsets")
}

/// The text of the checkpoint in `dir`; `None` when nothing was published yet.
pub(crate) fn read_checkpoint(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<Option<Vec<u8>>, PathError> {
    let path = checkpoint_path(dir);
    match storage::read_file(storage, &path, CHECKPOINT_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(at(&path)),
    }
}

/// The verifier key that the checkpoints of the log in `dir` are signed for; `None` in a log that
/// was never opened.
pub(crate) fn read_vkey(storage: &dyn Storage, dir: &Path) -> Result<Option<String>, PathError> {
    let path = vkey_path(dir);
    match storage::read_file(storage, &path, VKEY_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => {
            let bytes = read.map_err(at(&path))?;
            Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
        }
    }
}

/// Keeps the verifier key beside the log, so that whoever has the directory can check it.
pub(crate) fn write_vkey(storage: &dyn Storage, dir: &Path, vkey: &str) -> Result<(), PathError> {
    storage::replace_file(storage, &vkey_path(dir), format!("{vkey}\n").as_bytes())
}

/// The verifier key beside the log.
pub(crate) fn vkey_path(dir: &Path) -> PathBuf {
    dir.join("vkey")
}

/// Reads what is published. Any thread.
pub(crate) struct Published {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    /// Records that a checkpoint covers.
    size: AtomicU64,
}

impl Published {
    /// The published part of the log in `dir`, which covers `size` records.
    pub(crate) fn new(storage: Arc<dyn Storage>, dir: &Path, size: u64) -> Published {
        let dir = dir.to_owned();
        Published {
            storage,
            dir,
            size: AtomicU64::new(size),
        }
    }

    /// The log's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the files are.
    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Number of records that are published.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// A checkpoint over so many records stands.
    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Reads a record and checks that it is the one whose hash the tree has.
    pub(crate) fn read(&self, index: RecordIndex) -> Result<Vec<u8>, ReadError> {
        let bundle = self.bundle_of(index.0);
        let leaf = self.leaf_hash(index)?;
        if let Some(record) = self.read_hinted(bundle, index)
            && leaf_hash(&record) == leaf
        {
            return Ok(record);
        }
        self.read_scanning(bundle, index, &leaf)
    }

    /// Hash of a published record.
    pub(crate) fn leaf_hash(&self, index: RecordIndex) -> Result<Hash, ReadError> {
        let tile = tile_of(self.bundle_of(index.0));
        self.leaf(tile, index).map_err(damage(index.0))
    }

    /// The hashes of a tile. Where the partial one is gone, the full one has its hashes too.
    pub(crate) fn tile(&self, id: TileId) -> Result<Vec<u8>, PathError> {
        let (path, mut bytes) = self.read_either(
            &id.path(),
            &full_tile(id).path(),
            id.is_partial(),
            TILE_BYTES as u64,
        )?;
        let wanted = usize::from(id.width) * HASH_BYTES;
        if bytes.len() < wanted {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the tile is too short");
            return Err(PathError { path, source });
        }
        bytes.truncate(wanted);
        Ok(bytes)
    }

    /// The bytes of an entry bundle, wanted for `record`, and where they came from: the partial file,
    /// or the full one where that is gone, or the archive.
    fn bundle(&self, id: BundleId, record: u64) -> Result<BundleFile, ReadError> {
        let full = full_bundle(id);
        let read = self.read_either(
            &id.path(),
            &full.path(),
            id.is_partial(),
            BUNDLE_BYTES_MAX as u64,
        );
        let (path, bytes) = match read {
            Err(missing) if missing.source.kind() == io::ErrorKind::NotFound => {
                let Some(there) = archived(&*self.storage, &self.dir, full)? else {
                    return Err(damage(record)(missing));
                };
                let read = storage::read_file(&*self.storage, &there.path, BUNDLE_BYTES_MAX as u64);
                match read {
                    Ok(bytes) => (there.path, bytes),
                    Err(error) => {
                        return Err(there.failed(&*self.storage, RecordIndex(record), error));
                    }
                }
            }
            read => read.map_err(damage(record))?,
        };
        let from_full = path.ends_with(full.path());
        let width = if from_full { full.width } else { id.width };
        Ok(BundleFile { path, bytes, width })
    }

    /// The bundle that holds a published record, in its present width.
    pub(crate) fn bundle_of(&self, index: u64) -> BundleId {
        bundle_at(index / TILE_WIDTH, self.size())
    }

    /// Shows the published records from `from` to `to`, in order.
    pub(crate) fn for_each<E: From<ReadError>>(
        &self,
        from: u64,
        to: u64,
        mut show: impl FnMut(RecordIndex, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = from;
        while next < to {
            let id = self.bundle_of(next);
            let first = id.index * TILE_WIDTH;
            let records = self.checked_bundle(id)?;
            for record in &records[(next - first) as usize..] {
                if next < to {
                    show(RecordIndex(next), record)?;
                    next += 1;
                }
            }
        }
        Ok(())
    }

    /// The records of a bundle, each checked against its hash.
    pub(crate) fn checked_bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut records = Vec::with_capacity(usize::from(id.width));
        self.check_bundle(id, |_, record| {
            records.push(record.to_vec());
            Ok::<_, ReadError>(())
        })?;
        Ok(records)
    }

    /// Shows the records of a bundle, each checked against its hash. Gives these hashes.
    pub(crate) fn check_bundle<E: From<ReadError>>(
        &self,
        id: BundleId,
        mut show: impl FnMut(RecordIndex, &[u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let first = id.index * TILE_WIDTH;
        let hashes = self.tile(tile_of(id)).map_err(damage(first))?;
        let file = self.bundle(id, first)?;
        let records = split(&file.path, &file.bytes, first, file.width)?;
        let (mut offset, mut index) = (0, first);
        for (record, hash) in records.iter().zip(hashes.chunks_exact(HASH_BYTES)) {
            if leaf_hash(record).0 != hash {
                return Err(wrong_record(&file.path, offset, index).into());
            }
            show(RecordIndex(index), record)?;
            offset += (LENGTH_BYTES + record.len()) as u64;
            index += 1;
        }
        Ok(hashes)
    }

    /// The one hash that matters for a point read, without the rest of its tile.
    fn leaf(&self, id: TileId, index: RecordIndex) -> Result<Hash, PathError> {
        let public = public_dir(&self.dir);
        let offset = index.0 % TILE_WIDTH * HASH_BYTES as u64;
        let mut hash = [0; HASH_BYTES];
        for _ in 0..TRIES {
            for path in [public.join(id.path()), public.join(full_tile(id).path())] {
                match self.storage.open(&path, false) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    file => {
                        let file = file.map_err(at(&path))?;
                        file.read_exact_at(&mut hash, offset).map_err(at(&path))?;
                        return Ok(Hash(hash));
                    }
                }
            }
        }
        let path = public.join(id.path());
        let source = io::ErrorKind::NotFound.into();
        Err(PathError { path, source })
    }

    /// A record as the offsets say; anything odd gives `None`, and the caller looks itself.
    fn read_hinted(&self, bundle: BundleId, index: RecordIndex) -> Option<Vec<u8>> {
        let offsets = self.storage.open(&offsets_path(&self.dir), false).ok()?;
        let mut offset = [0; 4];
        offsets.read_exact_at(&mut offset, index.0 * 4).ok()?;
        let offset = u64::from(u32::from_le_bytes(offset));
        let public = public_dir(&self.dir);
        let full = full_bundle(bundle);
        let file = [bundle, full]
            .iter()
            .find_map(|id| self.storage.open(&public.join(id.path()), false).ok())
            .or_else(|| {
                let there = archived(&*self.storage, &self.dir, full).ok()??;
                self.storage.open(&there.path, false).ok()
            })?;
        read_entry(&*file, offset).ok()
    }

    fn read_scanning(
        &self,
        bundle: BundleId,
        index: RecordIndex,
        leaf: &Hash,
    ) -> Result<Vec<u8>, ReadError> {
        let BundleFile { path, bytes, width } = self.bundle(bundle, index.0)?;
        let first = bundle.index * TILE_WIDTH;
        let records = split(&path, &bytes, first, width)?;
        let nth = (index.0 - first) as usize;
        let before = &records[..nth.min(records.len())];
        let offset = before
            .iter()
            .map(|entry| (LENGTH_BYTES + entry.len()) as u64)
            .sum();
        match records.get(nth) {
            Some(record) if leaf_hash(record) == *leaf => Ok(record.to_vec()),
            _ => Err(wrong_record(&path, offset, index.0)),
        }
    }

    fn read_either(
        &self,
        path: &str,
        full: &str,
        partial: bool,
        bytes_max: u64,
    ) -> Result<(PathBuf, Vec<u8>), PathError> {
        let public = public_dir(&self.dir);
        let path = public.join(path);
        match storage::read_file(&*self.storage, &path, bytes_max) {
            Err(error) if partial && error.kind() == io::ErrorKind::NotFound => {}
            read => return read.map(|bytes| (path.clone(), bytes)).map_err(at(&path)),
        }
        // A partial file goes once the full one stands.
        let full = public.join(full);
        let read = storage::read_file(&*self.storage, &full, bytes_max);
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PathError {
                path,
                source: error,
            }),
            read => read.map(|bytes| (full.clone(), bytes)).map_err(at(&full)),
        }
    }
}

/// What a bundle was read from.
struct BundleFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Entries in it.
    width: u16,
}

/// The tile with the hashes of a bundle's records.
pub(crate) fn tile_of(bundle: BundleId) -> TileId {
    TileId {
        level: 0,
        index: bundle.index,
        width: bundle.width,
    }
}

/// Bundle `number` of a log of `size` records.
pub(crate) fn bundle_at(number: u64, size: u64) -> BundleId {
    let width = (size - number * TILE_WIDTH).min(TILE_WIDTH);
    BundleId {
        index: number,
        width: width as u16,
    }
}

fn full_tile(id: TileId) -> TileId {
    TileId {
        width: TILE_WIDTH as u16,
        ..id
    }
}

fn full_bundle(id: BundleId) -> BundleId {
    BundleId {
        width: TILE_WIDTH as u16,
        ..id
    }
}

/// The first `width` entries of a bundle whose first record is `first`.
fn split<'a>(
    path: &Path,
    bytes: &'a [u8],
    first: u64,
    width: u16,
) -> Result<Vec<&'a [u8]>, ReadError> {
    let split = entries(bytes, width).map_err(|error| {
        ReadError::Corrupt(Corruption {
            file: path.to_owned(),
            offset: 0,
            record: RecordIndex(first),
            detail: error.to_string(),
        })
    })?;
    Ok(split)
}

fn read_entry(file: &dyn StorageFile, offset: u64) -> io::Result<Vec<u8>> {
    let rest = file.size()?.saturating_sub(offset);
    let mut bytes = vec![0; rest.min(READ_AHEAD_BYTES as u64) as usize];
    file.read_exact_at(&mut bytes, offset)?;
    let Some(&[high, low]) = bytes.get(..LENGTH_BYTES) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let whole = LENGTH_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let have = bytes.len();
    bytes.resize(whole, 0);
    if whole > have {
        file.read_exact_at(&mut bytes[have..], offset + have as u64)?;
    }
    bytes.drain(..LENGTH_BYTES);
    Ok(bytes)
}

pub(crate) fn wrong_record(path: &Path, offset: u64, record: u64) -> ReadError {
    ReadError::Corrupt(Corruption {
        file: path.to_owned(),
        offset,
        record: RecordIndex(record),
        detail: "the record is not the one whose hash is in the tree".to_owned(),
    })
}

/// A published file that is missing or has another length than it must is damage; anything else is
/// the system's word.
pub(crate) fn damage(record: u64) -> impl Fn(PathError) -> ReadError {
    move |PathError { path, source }| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            ReadError::Corrupt(Corruption {
                file: path,
                offset: 0,
                record: RecordIndex(record),
                detail: match source.kind() {
                    io::ErrorKind::NotFound => "the file is missing".to_owned(),
                    _ => format!("the file has the wrong length: {source}"),
                },
            })
        }
        _ => ReadError::Storage { path, source },
    }
}
