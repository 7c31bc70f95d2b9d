//! What the log thread makes known and every thread may read: records, index, clock, poison,
//! counters.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::ClockRule;
use crate::error::{AppendError, ReadError};
use crate::index::Index;
use crate::locations::Locations;
use crate::record::{IndexKey, KEY_SPACES, KeyExtractor, RecordIndex, RecordKeys};

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
    pub(crate) locations: Locations,
    pub(crate) keys: Arc<dyn KeyExtractor>,
    index: Index,
    /// Records that are found by their keys and read.
    len: AtomicU64,
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
    pub(crate) fn new(locations: Locations, keys: Arc<dyn KeyExtractor>) -> Records {
        Records {
            locations,
            keys,
            index: Index::new(),
            len: AtomicU64::new(0),
        }
    }

    /// Enters the keys of records whose locations are known already.
    pub(crate) fn index(&self, batch: &[(RecordIndex, RecordKeys)]) {
        self.index
            .insert(batch, &|space, key, at| self.has_key(space, key, at));
    }

    /// Number of durable records, all of them entered.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Counts the records whose locations and keys have been entered.
    pub(crate) fn publish(&self) {
        self.len.store(self.locations.len(), Ordering::Release);
    }

    /// The newest record with this key.
    pub(crate) fn find(
        &self,
        space: usize,
        key: &IndexKey,
    ) -> Result<Option<RecordIndex>, ReadError> {
        if space >= KEY_SPACES {
            return Err(ReadError::NoSuchSpace { space });
        }
        self.index
            .find(space, key, &|space, key, at| self.has_key(space, key, at))
    }

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
        Ok(keys[space].as_ref() == Some(key))
    }
}
