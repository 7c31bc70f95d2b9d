//! What the log thread makes known and every thread may read: records, index, clock, poison,
//! counters.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::ClockRule;
use crate::error::{AppendError, ReadError};
use crate::index::{Index, IndexMetrics, RecordSource};
use crate::locations::Locations;
use crate::record::{IndexKey, KeyExtractor, RecordIndex, RecordKeys, keys_in};
use crate::tlog::leaf_hash;

/// Shared by the log thread and its callers.
pub(crate) struct State {
    pub(crate) records: Records,
    pub(crate) clock: ClockRule,
    pub(crate) counters: Counters,
    /// Set once; the log is dead from then on.
    poison: OnceLock<AppendError>,
    publication: Mutex<Publication>,
}

/// How far publication has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publication {
    /// The signed checkpoint that stands.
    pub(crate) checkpoint: Option<Arc<str>>,
    /// Why the last round failed; it is tried again.
    pub(crate) failure: Option<Arc<str>>,
}

/// The durable records and the index over them. Only one thread at a time adds to them.
pub(crate) struct Records {
    pub(crate) source: Arc<Source>,
    index: Index,
    /// Records that are found by their keys and read.
    len: AtomicU64,
}

/// The durable records, and what finds their keys.
pub(crate) struct Source {
    pub(crate) locations: Locations,
    pub(crate) keys: Arc<dyn KeyExtractor>,
}

/// Counters since open.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) reservations: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) frames_per_sync_max: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) segments_begun: AtomicU64,
    pub(crate) reservations_open: AtomicU64,
    pub(crate) wakeups: AtomicU64,
}

/// Adds to a counter. Counters order nothing, so relaxed is enough.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl State {
    pub(crate) fn new(records: Records, clock: ClockRule) -> State {
        State {
            records,
            clock,
            counters: Counters::default(),
            poison: OnceLock::new(),
            publication: Mutex::default(),
        }
    }

    pub(crate) fn publication(&self) -> Publication {
        self.lock_publication().clone()
    }

    pub(crate) fn set_checkpoint(&self, text: String) {
        self.lock_publication().checkpoint = Some(text.into());
    }

    pub(crate) fn set_publish_failure(&self, failure: Option<Arc<str>>) {
        self.lock_publication().failure = failure;
    }

    fn lock_publication(&self) -> MutexGuard<'_, Publication> {
        self.publication
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// `Err` once the log is poisoned.
    pub(crate) fn status(&self) -> Result<(), AppendError> {
        self.poison.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Poisons the log. The first cause stays.
    pub(crate) fn poison(&self, operation: &'static str, cause: io::Error) -> AppendError {
        let poisoned = || AppendError::Poisoned {
            operation,
            cause: Arc::new(cause),
        };
        self.poison.get_or_init(poisoned).clone()
    }
}

impl Records {
    /// Records whose keys are all in the index.
    pub(crate) fn new(source: Arc<Source>, index: Index) -> Records {
        let len = AtomicU64::new(source.locations.len());
        Records { source, index, len }
    }

    /// Enters the keys of records whose locations are known already.
    pub(crate) fn index(&self, batch: &[(RecordIndex, RecordKeys)]) {
        self.index.insert(batch);
    }

    /// Whether the index can be written.
    pub(crate) fn index_health(&self) -> Result<(), String> {
        self.index.health()
    }

    pub(crate) fn index_metrics(&self) -> IndexMetrics {
        self.index.metrics()
    }

    /// Writes the index as far as that helps the next start. What fails here is done again then.
    pub(crate) fn close_index(&self) {
        let _ = self.index.close();
    }

    /// Writes the index, and says so when that failed.
    pub(crate) fn flush_index(&self) -> Result<(), String> {
        self.index.close()
    }

    /// Number of durable records, all of them entered.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Counts the records whose locations and keys have been entered.
    pub(crate) fn publish(&self) {
        self.len
            .store(self.source.locations.len(), Ordering::Release);
    }

    /// The newest record with this key.
    pub(crate) fn find(
        &self,
        space: usize,
        key: &IndexKey,
    ) -> Result<Option<RecordIndex>, ReadError> {
        self.index.find(space, key)
    }

    /// The newest record with each of these keys.
    pub(crate) fn find_batch(
        &self,
        space: usize,
        keys: &[IndexKey],
    ) -> Vec<Result<Option<RecordIndex>, ReadError>> {
        self.index.find_batch(space, keys)
    }
}

impl RecordSource for Source {
    fn has_key(
        &self,
        space: usize,
        key: &IndexKey,
        record: RecordIndex,
    ) -> Result<bool, ReadError> {
        let bytes = self.locations.read(record)?;
        let keys = self
            .keys
            .keys(&bytes)
            .map_err(|source| ReadError::Extract { record, source })?;
        Ok(keys_in(&keys, space).any(|own| own == key))
    }

    fn digest(&self, record: RecordIndex) -> Result<[u8; 32], ReadError> {
        match self.locations.read(record) {
            // The tree has the hash, whoever has the record.
            Err(ReadError::Archived { .. }) => Ok(self.locations.published.leaf_hash(record)?.0),
            read => Ok(leaf_hash(&read?).0),
        }
    }

    fn keys_version(&self) -> u32 {
        self.keys.version()
    }
}
