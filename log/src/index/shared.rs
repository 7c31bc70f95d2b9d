//! What the index's thread and its callers share: the snapshot, the bounds, the signals.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::RecordSource;
use super::asked::{Asked, Places};
use super::entry::masked;
use super::memtable::Memtable;
use super::run::Run;
use crate::record::IndexKey;
use crate::storage::Storage;

/// Bounds of the index. The defaults are right for production; tests make them small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries of one space in memory before they are written as a run. 3/4 of 2^20, which fills
    /// a table as far as it may: 13 MB for each space of the release path.
    pub memtable_entries: usize,
    /// Full tables that may wait to be written before the index calls itself unhealthy.
    pub waiting_max: usize,
    /// Runs of one class that are merged. At 100 million records 4 wrote a third more for two runs fewer.
    pub fan_in: usize,
    /// Entries of a part, which is merged in one go inside the processor's second cache.
    pub part_entries: u32,
    /// A run is synced after this many bytes: at 200 MB/s nobody waits more than 20 ms for it.
    pub sync_bytes: u64,
    /// At close, a tail with more entries than this is written: reading so many records again
    /// takes about 0.1 s.
    pub tail_at_close: usize,
    /// After a failure to write, it is tried again this often.
    pub retry: Duration,
    /// A merge rests as long as it works.
    pub rests: bool,
    /// Part of the hash that is used; all of it but in tests, where collisions are wanted.
    pub hash_mask: u64,
}

impl Limits {
    /// Whether a log of so many records is worth tables of full size, which take memory.
    pub(crate) fn is_large(&self, records: u64) -> bool {
        records >= self.memtable_entries as u64
    }

    /// Most entries of one space in a table that grows, so that nobody waits long for it.
    pub(crate) fn growing_max(&self) -> usize {
        self.memtable_entries.div_ceil(8)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memtable_entries: 3 << 18,
            waiting_max: 4,
            fan_in: 6,
            part_entries: 1 << 15,
            sync_bytes: 4 << 20,
            tail_at_close: 1 << 16,
            retry: Duration::from_secs(1),
            rests: true,
            hash_mask: u64::MAX,
        }
    }
}

/// Shared by the index's thread and its callers.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    snapshot: RwLock<Arc<Snapshot>>,
    /// An empty table of full size, once a log is not small any more: the next stretch begins without a wait.
    spare: Mutex<Option<Memtable>>,
    /// Held by who prepares the next snapshot.
    changing: Mutex<()>,
    signals: Mutex<Signals>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes who waits for room.
    room: Condvar,
}

/// All entries, at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// Oldest first. The last one takes new entries, the others wait to be written.
    pub(crate) tables: Vec<Arc<Memtable>>,
    /// Oldest first, all older than the tables.
    pub(crate) runs: Vec<Arc<Run>>,
}

impl Snapshot {
    /// Where each of these hashes may be, without reading the disk: runs come first, then tables.
    pub(crate) fn places(&self, space: usize, hashes: Vec<u64>) -> Vec<Places> {
        let mut asked = Asked::new(hashes);
        let filters: Vec<_> = self.runs.iter().map(|run| run.filter(space)).collect();
        if let Some(Some(first)) = filters.first() {
            first.touch(&asked.hashes);
        }
        for (number, filter) in filters.iter().enumerate() {
            let place = Places::nth(number);
            match filter {
                Some(filter) => {
                    let next = filters.get(number + 1).copied().flatten();
                    filter.ask(&mut asked, place, next);
                }
                None => asked.add_to_all(place),
            }
        }
        for (number, table) in self.tables.iter().enumerate() {
            table.ask(space, &mut asked, Places::nth(self.runs.len() + number));
        }
        asked.places
    }
}

/// Counters since open.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) disk_probes_new: AtomicU64,
    pub(crate) disk_probes_known: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
}

/// Adds to a counter. Counters order nothing, so relaxed is enough.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[derive(Default)]
struct Signals {
    closing: bool,
    ended: bool,
    /// Somebody called since the thread last rested.
    called: bool,
    problems: [Option<String>; 2],
}

/// What the thread failed to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Problem {
    Write = 0,
    Merge = 1,
}

impl Shared {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        source: Arc<dyn RecordSource>,
        limits: Limits,
        snapshot: Snapshot,
    ) -> Shared {
        Shared {
            storage,
            dir,
            source,
            limits,
            counters: Counters::default(),
            snapshot: RwLock::new(Arc::new(snapshot)),
            spare: Mutex::default(),
            changing: Mutex::default(),
            signals: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// All entries as they are now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a changed snapshot in the place of the current one.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Snapshot::clone(&self.snapshot());
        change(&mut changed);
        let mut changed = Arc::new(changed);
        // Lookups wait only while two pointers change places, even if this thread loses its turn.
        let mut current = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *current, &mut changed);
    }

    /// Begins a new table; the last one waits to be written from now on.
    pub(crate) fn freeze(&self) {
        self.change(|snapshot| {
            let Some(last) = snapshot.tables.last() else {
                return;
            };
            let spare = self.spare().take();
            let next = match spare {
                Some(mut table) => {
                    table.begin(last.end());
                    table
                }
                None => {
                    let limits = &self.limits;
                    Memtable::growing(last.end(), limits.growing_max(), limits.hash_mask)
                }
            };
            snapshot.tables.push(Arc::new(next));
        });
        self.signals().called = true;
        self.work.notify_one();
    }

    /// Keeps a table that was written for the next stretch, unless it is small or one is kept already.
    pub(crate) fn recycle(&self, mut table: Memtable) {
        if table.entries_max() >= self.limits.memtable_entries && !self.has_spare() {
            table.recycle();
            *self.spare() = Some(table);
        }
    }

    /// Keeps a new table for the next stretch, unless there is one.
    pub(crate) fn provide_spare(&self) {
        if !self.has_spare() {
            let limits = &self.limits;
            let table = Memtable::full_size(0, limits.memtable_entries, limits.hash_mask);
            *self.spare() = Some(table);
        }
    }

    fn has_spare(&self) -> bool {
        self.spare().is_some()
    }

    fn spare(&self) -> MutexGuard<'_, Option<Memtable>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on the index's thread until somebody calls, or the time is over.
    pub(crate) fn rest(&self, time: Duration) {
        let signals = self.signals();
        let idle = |signals: &mut Signals| !signals.called && !signals.closing;
        let rested = self.work.wait_timeout_while(signals, time, idle);
        rested.unwrap_or_else(PoisonError::into_inner).0.called = false;
    }

    /// Tells the thread to end.
    pub(crate) fn set_closing(&self) {
        self.signals().closing = true;
        self.work.notify_all();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.signals().closing
    }

    /// The thread has ended.
    pub(crate) fn set_ended(&self) {
        self.signals().ended = true;
        self.room.notify_all();
    }

    /// Something has been written, or not.
    pub(crate) fn room(&self) {
        // With the lock: otherwise it could fall between somebody's look and wait.
        let _signals = self.signals();
        self.room.notify_all();
    }

    pub(crate) fn set_problem(&self, problem: Problem, reason: Option<String>) {
        self.signals().problems[problem as usize] = reason;
    }

    /// Waits until fewer tables wait than may, or the index cannot be written.
    pub(crate) fn wait_for_room(&self) {
        let signals = self.signals();
        let full = |signals: &mut Signals| {
            self.waiting() >= self.limits.waiting_max
                && !signals.ended
                && signals.problems.iter().all(Option::is_none)
        };
        drop(self.room.wait_while(signals, full));
    }

    /// Why the index cannot be written, if it cannot.
    pub(crate) fn health(&self) -> Result<(), String> {
        let waiting = self.waiting();
        let signals = self.signals();
        if let Some(reason) = signals.problems.iter().flatten().next() {
            return Err(format!("the index cannot be written: {reason}"));
        }
        if signals.ended {
            return Err("the index cannot be written: its thread has ended; restart".to_owned());
        }
        if waiting > self.limits.waiting_max {
            return Err(format!(
                "the index cannot be written fast enough: {waiting} tables wait; check the disk"
            ));
        }
        Ok(())
    }

    /// Tables that wait to be written, in tables of full size: a small one counts for the part that it may hold.
    fn waiting(&self) -> usize {
        let snapshot = self.snapshot();
        let full = snapshot
            .tables
            .split_last()
            .map_or(&[][..], |(_, full)| full);
        let entries: usize = full.iter().map(|table| table.entries_max()).sum();
        entries / self.limits.memtable_entries.max(1)
    }

    /// What the thread failed to do last.
    pub(crate) fn problem(&self) -> Result<(), String> {
        let signals = self.signals();
        signals
            .problems
            .iter()
            .flatten()
            .next()
            .cloned()
            .map_or(Ok(()), Err)
    }

    /// The hash that entries of this key have.
    pub(crate) fn hash(&self, key: &IndexKey) -> u64 {
        masked(key, self.limits.hash_mask)
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
