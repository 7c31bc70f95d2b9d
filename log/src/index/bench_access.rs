//! The index for measurements and for tests with a simulated disk. No part of the interface.

use std::path::Path;
use std::sync::Arc;

use super::{Index, IndexMetrics, OnDisk, RecordSource, open};
use crate::error::{ReadError, VerifyError};
use crate::record::{IndexKey, KEY_SPACES, RecordIndex, RecordKeys, keys_in};
use crate::storage::Storage;

pub use super::shared::Limits;

/// What the index asks of the log.
pub trait Source: Send + Sync {
    /// Whether a record has a key.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn has_key(&self, space: usize, key: &IndexKey, at: RecordIndex) -> Result<bool, ReadError>;

    /// The leaf hash of a record.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError>;

    /// Version of the keys.
    fn keys_version(&self) -> u32 {
        0
    }
}

/// The index.
pub struct IndexAccess(Index);

/// What was found at open: the index, its watermark, and why something was discarded.
pub type Opened = (IndexAccess, u64, Option<String>);

/// Watermark, and count and sum of each key space.
pub type Verified = (u64, [(u64, u128); KEY_SPACES]);

impl IndexAccess {
    /// Opens the index in `dir`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        len: u64,
        source: Arc<dyn Source>,
        limits: Limits,
    ) -> std::io::Result<Opened> {
        let source = Arc::new(SourceOf(source));
        let opened = open::open(storage, dir, len, source, limits).map_err(|error| error.source)?;
        Ok((
            IndexAccess(opened.index),
            opened.watermark,
            opened.discarded,
        ))
    }

    /// Enters keys.
    pub fn insert(&self, batch: &[(RecordIndex, RecordKeys)]) {
        self.0.insert(batch);
    }

    /// Waits until there is room for more in memory.
    pub fn wait_for_room(&self) {
        self.0.wait_for_room();
    }

    /// The newest record with this key.
    ///
    /// # Errors
    /// When a candidate cannot be read.
    pub fn find(&self, space: usize, key: &IndexKey) -> Result<Option<RecordIndex>, ReadError> {
        self.0.find(space, key)
    }

    /// The newest record with each key.
    pub fn find_batch(
        &self,
        space: usize,
        keys: &[IndexKey],
    ) -> Vec<Result<Option<RecordIndex>, ReadError>> {
        self.0.find_batch(space, keys)
    }

    /// Whether the index can be written.
    ///
    /// # Errors
    /// Says why not.
    pub fn health(&self) -> Result<(), String> {
        self.0.health()
    }

    /// Counters.
    pub fn metrics(&self) -> IndexMetrics {
        self.0.metrics()
    }

    /// Ends the thread.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn close(&self) -> Result<(), String> {
        self.0.close()
    }
}

/// Verifies the files in `dir`.
///
/// # Errors
/// Names the first damage.
pub fn verify(storage: &dyn Storage, dir: &Path) -> Result<Option<Verified>, VerifyError> {
    Ok(match super::verify(storage, dir, 0)? {
        OnDisk::Nothing | OnDisk::OtherKeys => None,
        OnDisk::Sound(verified) => {
            let sums = verified.sums.map(|sum| (sum.count, sum.sum));
            Some((verified.watermark, sums))
        }
    })
}

/// Count and sum that an index of these records has, with this mask of the hashes.
pub fn sums(records: &[(RecordIndex, RecordKeys)], hash_mask: u64) -> [(u64, u128); KEY_SPACES] {
    std::array::from_fn(|space| {
        let mut sum = super::EntrySum::default();
        for (record, keys) in records {
            for key in keys_in(keys, space) {
                sum.add_masked(key, *record, hash_mask);
            }
        }
        (sum.count, sum.sum)
    })
}

struct SourceOf(Arc<dyn Source>);

impl RecordSource for SourceOf {
    fn has_key(
        &self,
        space: usize,
        key: &IndexKey,
        record: RecordIndex,
    ) -> Result<bool, ReadError> {
        self.0.has_key(space, key, record)
    }

    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError> {
        self.0.digest(record)
    }

    fn keys_version(&self) -> u32 {
        self.0.keys_version()
    }
}
