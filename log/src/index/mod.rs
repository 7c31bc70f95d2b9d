//! The index: from a key to the newest record that has it. Exact, on disk, rebuildable.
//!
//! The newest entries are in tables in memory. A full table is written as a sorted file, a *run*;
//! runs are merged, so that there are few. An entry is a hash of the key and the record's
//! position. Per run and key space of the release path a filter says which hashes are not there,
//! in 11 bits per entry of memory, so a new device rarely meets the disk. An equal hash
//! proves nothing: each match is confirmed by reading the record.
//!
//! # Invariants
//!
//! - A lookup that cannot be answered is an error, never a "no".
//! - Runs and tables cover disjoint stretches of the log, one after the other. The newest is asked
//!   first, so the first confirmed match is the newest record.
//! - Files are immutable. The manifest names those that count, and is replaced last.
//! - What the disk holds is thrown away rather than doubted: the caller inserts it again.
//! - Inserting touches memory only. One thread (`worker.rs`) writes, merges and deletes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::ReadError;
use crate::record::{IndexKey, KEY_SPACES, RecordIndex, RecordKeys};
use crate::storage::{PathError, Storage};

mod asked;
#[doc(hidden)]
pub mod bench_access;
mod block;
mod entry;
mod files;
mod filter;
mod large_memory;
mod manifest;
mod memtable;
mod merge;
mod open;
mod run;
mod run_writer;
mod shared;
mod table;
mod verify;
mod worker;

pub(crate) use entry::EntrySum;
pub(crate) use open::Opened;
pub(crate) use shared::Limits;
pub(crate) use verify::{OnDisk, Verified, verify};

use asked::Places;
use shared::{Shared, Snapshot, count};

/// The records below are in the index on the disk, with keys of this version: a start reads the later ones only. 0 when
/// there is no such index that can be read.
pub(crate) fn watermark_on_disk(
    storage: &dyn Storage,
    dir: &Path,
    keys_version: u32,
) -> Result<u64, PathError> {
    let manifest = files::read_manifest(storage, dir)?.and_then(Result::ok);
    let manifest = manifest.filter(|manifest| manifest.keys_version == keys_version);
    Ok(manifest.map_or(0, |manifest| manifest.watermark))
}

/// Whether there is an index on the disk that the next open makes anew whole: of other keys, or with a manifest that cannot be
/// read, which a later release may have written.
pub(crate) fn is_made_anew(
    storage: &dyn Storage,
    dir: &Path,
    keys_version: u32,
) -> Result<bool, PathError> {
    Ok(match files::read_manifest(storage, dir)? {
        None => false,
        Some(Ok(manifest)) => manifest.keys_version != keys_version,
        Some(Err(_)) => true,
    })
}

/// What the index asks of the log. It asks, on any thread, about every record that was inserted, from
/// the moment when it is: a record must be readable before its keys are inserted.
pub(crate) trait RecordSource: Send + Sync {
    /// Whether a record has a key, by reading it.
    fn has_key(&self, space: usize, key: &IndexKey, record: RecordIndex)
    -> Result<bool, ReadError>;

    /// The leaf hash of a record.
    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError>;

    /// Which keys a record has: an index of another version lacks some, or has others.
    fn keys_version(&self) -> u32;
}

/// The index. Any thread looks up; one thread at a time inserts.
pub(crate) struct Index {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Counters since open, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexMetrics {
    /// Sorted runs on the disk.
    pub runs: u64,
    /// Entries in memory and on the disk, all key spaces together.
    pub entries: u64,
    /// Bytes of memory held by tables, filters and fences.
    pub memory_bytes: u64,
    /// Blocks read for a key that no record has: a filter let it through.
    pub disk_probes_new: u64,
    /// Blocks read for a key that a record has.
    pub disk_probes_known: u64,
    /// Merges finished.
    pub merges: u64,
    /// Bytes of finished run files.
    pub bytes_written: u64,
    /// Full tables in memory that wait to be written.
    pub waiting: u64,
}

impl Index {
    /// Opens the index in `dir` of a log with `len` records, or begins an empty one.
    ///
    /// What is missing, damaged, of another log or of other keys is removed; [`Opened::watermark`] says from
    /// which record on the caller has to insert, and [`Opened::discarded`] why.
    ///
    /// # Errors
    /// When the file system fails. Damage is no error here.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        len: u64,
        source: Arc<dyn RecordSource>,
    ) -> Result<Opened, PathError> {
        open::open(storage, dir, len, source, Limits::default())
    }

    /// Enters the keys of durable records, in ascending order from the watermark on. Records that
    /// are left out have no keys. Never fails and never waits for the disk.
    pub(crate) fn insert(&self, batch: &[(RecordIndex, RecordKeys)]) {
        /// Far below a table, so that tables end near their limit.
        const CHUNK: usize = 1 << 12;
        let limits = &self.shared.limits;
        let chunk = limits.memtable_entries.clamp(1, CHUNK);
        // Tables count positions from their base in 32 bits.
        let spread = |chunk: &[(RecordIndex, RecordKeys)]| match chunk {
            [first, .., last] => last.0.0 - first.0.0 >= u64::from(u32::MAX),
            _ => false,
        };
        let parts = batch.chunks(chunk).flat_map(|chunk| match spread(chunk) {
            true => chunk.chunks(1),
            false => chunk.chunks(chunk.len()),
        });
        for chunk in parts {
            // Only this thread begins tables while the index is open.
            let mut snapshot = self.shared.snapshot();
            let fits = |table: &Arc<memtable::Memtable>| table.has_room(chunk);
            if !snapshot.tables.last().is_some_and(fits) {
                self.shared.freeze();
                snapshot = self.shared.snapshot();
            }
            if let Some(table) = snapshot.tables.last() {
                table.insert(chunk);
            }
        }
    }

    /// Waits until there is room for more tables, or the index is unhealthy. For a rebuild, which
    /// inserts faster than the disk takes it; the release path asks [`Index::health`] instead.
    pub(crate) fn wait_for_room(&self) {
        self.shared.wait_for_room();
    }

    /// The newest record with this key, exactly.
    ///
    /// # Errors
    /// When a record or a block that may have the key cannot be read: never a silent "no".
    pub(crate) fn find(
        &self,
        space: usize,
        key: &IndexKey,
    ) -> Result<Option<RecordIndex>, ReadError> {
        self.find_in(&self.shared.snapshot(), Places::ALL, space, key)
    }

    /// [`find`](Index::find) for many keys, one answer each in the same order.
    ///
    /// Cheaper than one by one, because the cache misses overlap.
    pub(crate) fn find_batch(
        &self,
        space: usize,
        keys: &[IndexKey],
    ) -> Vec<Result<Option<RecordIndex>, ReadError>> {
        if space >= KEY_SPACES {
            return keys
                .iter()
                .map(|_| Err(ReadError::NoSuchSpace { space }))
                .collect();
        }
        let snapshot = self.shared.snapshot();
        let hashes = keys.iter().map(|key| self.shared.hash(key)).collect();
        let places = snapshot.places(space, hashes);
        let find = |(key, places): (&IndexKey, Places)| match places.is_empty() {
            true => Ok(None),
            false => self.find_in(&snapshot, places, space, key),
        };
        keys.iter().zip(places).map(find).collect()
    }

    /// Whether the index can be written. While it cannot, nothing new may be begun: what is
    /// inserted stays in memory.
    ///
    /// # Errors
    /// Says why not, and what to do. It is tried again by itself.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.shared.health()
    }

    /// Counters and sizes.
    pub(crate) fn metrics(&self) -> IndexMetrics {
        let snapshot = self.shared.snapshot();
        let counters = &self.shared.counters;
        let get = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        };
        let in_tables = snapshot.tables.iter().flat_map(|table| table.entries());
        let in_runs = snapshot.runs.iter().flat_map(|run| run.header.entries);
        let tables = snapshot.tables.iter().map(|table| table.memory_bytes());
        let runs = snapshot.runs.iter().map(|run| run.memory_bytes());
        IndexMetrics {
            runs: snapshot.runs.len() as u64,
            entries: in_tables.map(|entries| entries as u64).chain(in_runs).sum(),
            memory_bytes: tables.chain(runs).sum(),
            disk_probes_new: get(&counters.disk_probes_new),
            disk_probes_known: get(&counters.disk_probes_known),
            merges: get(&counters.merges),
            bytes_written: get(&counters.bytes_written),
            waiting: snapshot.tables.len() as u64 - 1,
        }
    }

    /// Writes what is in memory, unless it is little, and ends the thread. Nothing may be
    /// inserted afterwards; lookups go on.
    ///
    /// # Errors
    /// When something could not be written. The next open then inserts more records again.
    pub(crate) fn close(&self) -> Result<(), String> {
        self.shared.set_closing();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            return Err("the index's thread ended early".to_owned());
        }
        self.shared.problem()
    }

    /// [`find`](Index::find) at these places alone.
    fn find_in(
        &self,
        snapshot: &Snapshot,
        places: Places,
        space: usize,
        key: &IndexKey,
    ) -> Result<Option<RecordIndex>, ReadError> {
        if space >= KEY_SPACES {
            return Err(ReadError::NoSuchSpace { space });
        }
        let hash = self.shared.hash(key);
        let source = &*self.shared.source;
        for (number, table) in snapshot.tables.iter().enumerate().rev() {
            if !places.has(snapshot.runs.len() + number) {
                continue;
            }
            for record in table.candidates(space, hash) {
                if source.has_key(space, key, record)? {
                    return Ok(Some(record));
                }
            }
        }
        let mut confirm = |record| source.has_key(space, key, record);
        let mut probes = 0;
        for (number, run) in snapshot.runs.iter().enumerate().rev() {
            if places.has(number) && run.may_contain(space, hash) {
                let (found, blocks) = run.find(space, hash, &mut confirm)?;
                probes += blocks;
                if found.is_some() {
                    count(&self.shared.counters.disk_probes_known, probes);
                    return Ok(found);
                }
            }
        }
        count(&self.shared.counters.disk_probes_new, probes);
        Ok(None)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
