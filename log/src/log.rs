//! The log itself: opening, submitting, looking up, closing.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::batch::{BatchBuffer, BatchPlace, FrameKind, NO_RESERVATION};
use crate::clock::ClockError;
use crate::commit::{Append, Commit, CommitSink, Reservation};
use crate::error::{AppendError, CloseError, CreateError, OpenError, PublishError, ReadError};
use crate::index::IndexMetrics;
use crate::integrate::Integrator;
use crate::log_thread::{LogThread, SyncRule};
use crate::options::Options;
use crate::preparer::{Preparer, Workshop};
use crate::publisher::{Publisher, PublisherParts};
use crate::queue::InFlight;
use crate::queue::{Queue, Submission};
use crate::record::{IndexKey, KeyExtractor, RecordIndex};
use crate::recovery::recover;
use crate::scan::segment_numbers;
use crate::segment::{
    SEGMENT_HEADER_BYTES, SegmentHeader, random_salt, segment_name, segments_dir,
};
use crate::state::State;
use crate::storage::{self, DiskStorage, LockGuard, Storage};
use crate::tlog::CheckpointSigner;

/// What [`Log::open`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Records in the log after recovery.
    pub records: u64,
    /// Lost records that recovery appended.
    pub lost_written: u64,
    /// Bytes of an unfinished batch that were dropped; nothing in them was acknowledged.
    pub torn_bytes_dropped: u64,
    /// Time stamp of the last record in milliseconds since 1970; 0 when there is none.
    pub last_time_ms: u64,
    /// Whether the log had been closed cleanly.
    pub clean: bool,
    /// Segments in use.
    pub segments: u64,
    /// Why the index on the disk was not used but made anew; `None` when it was used.
    pub index_discarded: Option<String>,
}

/// Counters since open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Group commits: one write and one sync each.
    pub syncs: u64,
    /// Reservations made durable.
    pub reservations: u64,
    /// Records made durable.
    pub records: u64,
    /// Most reservations and records in one group commit.
    pub frames_per_sync_max: u64,
    /// Bytes written by group commits.
    pub bytes: u64,
    /// Items refused.
    pub refused: u64,
    /// Segments begun.
    pub segments_begun: u64,
    /// Reservations without a record yet.
    pub reservations_open: u64,
    /// Times the log thread woke up.
    pub wakeups: u64,
    /// Records that a checkpoint covers.
    pub published: u64,
}

/// An open log: the only writer of its directory. Shared by reference among threads.
///
/// Dropping it closes it as well as it can; [`Log::close`] says whether that worked.
pub struct Log {
    state: Arc<State>,
    queue: Arc<Queue>,
    sink: Arc<dyn CommitSink>,
    recovery: Recovery,
    thread: Option<JoinHandle<Result<(), AppendError>>>,
    publisher: Option<Publisher>,
    /// Given back after the threads have ended.
    _lock: LockGuard,
}

impl Log {
    /// Makes a new, empty log in `dir` on the real file system. Makes `dir` too if needed.
    ///
    /// # Errors
    /// [`CreateError::Exists`] when there is a log already, which is not touched.
    pub fn create(dir: &Path) -> Result<(), CreateError> {
        Log::create_on(&DiskStorage, dir)
    }

    /// Makes a new, empty log in `dir` on any storage.
    ///
    /// # Errors
    /// [`CreateError::Exists`] when there is a log already, which is not touched.
    pub fn create_on(storage: &dyn Storage, dir: &Path) -> Result<(), CreateError> {
        let exists = || CreateError::Exists {
            dir: dir.to_owned(),
        };
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| CreateError::Storage { path, source }
        };
        let above = storage::first_existing(storage, dir).to_owned();
        storage.create_dir(dir).map_err(failed(dir))?;
        let _lock = match storage.lock(&dir.join(LOCK_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(exists()),
            lock => lock.map_err(failed(&dir.join(LOCK_FILE)))?,
        };
        let segments = segments_dir(dir);
        match storage.list(&segments) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&segments)(error)),
            Ok(_) => return Err(exists()),
        }
        let first = segment_name(0);
        storage::create_layout(storage, dir, &above, &first, &first_segment()).map_err(|error| {
            CreateError::Storage {
                path: error.path,
                source: error.source,
            }
        })
    }

    /// Opens the log in `dir` for writing, and recovers it first if it was not closed cleanly:
    /// when this returns, every reservation without a record has its lost record.
    ///
    /// `keys` finds the keys of each record; `signer` signs checkpoints on the publisher thread, and
    /// its name is the log's origin; `sink` takes the answers and is called on the log thread.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while another process has it, [`OpenError::Corrupt`] names the first
    /// damage, [`OpenError::ClockForward`] when the clock is far ahead of the last record and
    /// [`Options::accept_clock`] is not set.
    pub fn open(
        dir: &Path,
        options: Options,
        keys: Arc<dyn KeyExtractor>,
        signer: Arc<dyn CheckpointSigner>,
        sink: Arc<dyn CommitSink>,
    ) -> Result<Log, OpenError> {
        Log::open_with_act(dir, options, keys, signer, sink, None)
    }

    /// Opens the log as [`Log::open`] does, and appends a record of its own before anything else.
    pub(crate) fn open_with_act(
        dir: &Path,
        options: Options,
        keys: Arc<dyn KeyExtractor>,
        signer: Arc<dyn CheckpointSigner>,
        sink: Arc<dyn CommitSink>,
        first_act: Option<&[u8]>,
    ) -> Result<Log, OpenError> {
        options.check()?;
        let lock = lock(&*options.storage, dir)?;
        let recovered = recover(dir, &options, keys, &*signer, first_act)?;
        let (queue, receiver) = Queue::new(options.sync_records_max);
        let queue = Arc::new(queue);
        let workshop = recovered.workshop;
        let publisher = start_publisher(&recovered.state, &workshop, signer, &options)?;
        let preparer = Preparer::start(workshop, Arc::clone(&queue)).map_err(OpenError::Thread)?;
        let log_thread = LogThread {
            committer: recovered.committer,
            state: Arc::clone(&recovered.state),
            queue: Arc::clone(&queue),
            receiver,
            sink: Arc::clone(&sink),
            preparer,
            rule: SyncRule {
                records_max: options.sync_records_max,
                wait_max: options.sync_wait_max,
            },
            preparing: false,
        };
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || log_thread.run())
            .map_err(OpenError::Thread)?;
        let (state, recovery) = (recovered.state, recovered.recovery);
        Ok(Log {
            state,
            queue,
            sink,
            recovery,
            thread: Some(thread),
            publisher: Some(publisher),
            _lock: lock,
        })
    }

    /// What opening found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Announces records, all in one go. Never blocks; each is answered through the sink.
    ///
    /// The caller bounds what waits here: by its own permits, one per item.
    pub fn reserve(&self, reservations: Vec<Reservation>) {
        let items = reservations.len();
        if items > 0 {
            self.submit(Submission::Reserve(reservations), items);
        }
    }

    /// Appends records to reservations, all in one go. Never blocks; each is answered through
    /// the sink.
    pub fn append(&self, appends: Vec<Append>) {
        let items = appends.len();
        if items > 0 {
            self.submit(Submission::Append(appends), items);
        }
    }

    /// The gauge that tells the log how many items it may expect.
    pub fn in_flight(&self) -> &InFlight {
        &self.queue.in_flight
    }

    /// The newest durable record with this key, exactly. `space` is below
    /// [`KEY_SPACES`](crate::KEY_SPACES).
    ///
    /// # Errors
    /// When a record that may have the key cannot be read: never a silent "no".
    pub fn find(&self, space: usize, key: &IndexKey) -> Result<Option<RecordIndex>, ReadError> {
        self.state.records.find(space, key)
    }

    /// The newest durable record with each of these keys, in their order: [`Log::find`] for many,
    /// and cheaper than one by one.
    pub fn find_batch(
        &self,
        space: usize,
        keys: &[IndexKey],
    ) -> Vec<Result<Option<RecordIndex>, ReadError>> {
        self.state.records.find_batch(space, keys)
    }

    /// Counters and sizes of the index.
    pub fn index_metrics(&self) -> IndexMetrics {
        self.state.records.index_metrics()
    }

    /// Reads a durable record and checks its checksum.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] beyond the end; [`ReadError::Corrupt`] names the damaged file.
    pub fn read(&self, index: RecordIndex) -> Result<Vec<u8>, ReadError> {
        self.state.records.source.locations.read(index)
    }

    /// Number of durable records.
    pub fn len(&self) -> u64 {
        self.state.records.len()
    }

    /// Whether there is no durable record yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the log still works.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`] once a write or sync failed; only a restart helps then.
    pub fn status(&self) -> Result<(), AppendError> {
        self.state.status()
    }

    /// Counters since open.
    pub fn metrics(&self) -> Metrics {
        let counters = &self.state.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            syncs: get(&counters.syncs),
            reservations: get(&counters.reservations),
            records: get(&counters.records),
            frames_per_sync_max: get(&counters.frames_per_sync_max),
            bytes: get(&counters.bytes),
            refused: get(&counters.refused),
            segments_begun: get(&counters.segments_begun),
            reservations_open: get(&counters.reservations_open),
            wakeups: get(&counters.wakeups),
            published: self.state.records.source.locations.published.size(),
        }
    }

    /// The time stamp that a record would get now, in milliseconds since 1970. To be asked before
    /// something is signed.
    ///
    /// # Errors
    /// When the clock cannot be trusted; nothing new may be begun then.
    pub fn now_ms(&self) -> Result<u64, ClockError> {
        let stamp = self.state.clock.read();
        stamp.admits.and(stamp.time_ms)
    }

    /// Publishes what is durable now, without waiting for the interval, and blocks until that is
    /// done. Gives the number of records that a checkpoint covers.
    ///
    /// # Errors
    /// [`PublishError`] says why not; the log tries again every [`Options::publish_interval`].
    pub fn publish(&self) -> Result<u64, PublishError> {
        if let Some(publisher) = &self.publisher {
            publisher.publish_now();
        }
        self.state.status().map_err(PublishError::Stopped)?;
        match self.state.publication().failure {
            Some(reason) => Err(PublishError::Later { reason }),
            None => Ok(self.state.records.source.locations.published.size()),
        }
    }

    /// The checkpoint that stands, a signed note (c2sp.org/tlog-checkpoint); `None` before the
    /// first.
    pub fn checkpoint(&self) -> Option<Arc<str>> {
        self.state.publication().checkpoint
    }

    /// Finishes what was submitted, syncs, leaves the closed mark, publishes and ends the threads.
    /// Reservations that are open then get their lost records at the next open.
    ///
    /// # Errors
    /// When the log had stopped before; the next open recovers it.
    pub fn close(mut self) -> Result<(), CloseError> {
        match self.end() {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(error))) => return Err(CloseError::Stopped(error)),
            Some(Err(_)) => return Err(CloseError::ThreadEnded),
        }
        self.state.status().map_err(CloseError::Stopped)?;
        match self.state.publication().failure {
            Some(reason) => Err(CloseError::NotPublished { reason }),
            None => Ok(()),
        }
    }

    fn submit(&self, submission: Submission, items: usize) {
        let Err(unsent) = self.queue.send(submission, items) else {
            return;
        };
        // The log thread is gone, and that poisoned the log; the items are answered from here.
        let error = self.state.status().err().unwrap_or(AppendError::Closing);
        let tickets: Vec<u64> = match unsent {
            Submission::Reserve(chunk) => chunk.iter().map(|item| item.ticket).collect(),
            Submission::Append(chunk) => chunk.iter().map(|item| item.ticket).collect(),
            Submission::Segment(_) | Submission::Close => Vec::new(),
        };
        let refused = |ticket| Commit {
            ticket,
            outcome: Err(error.clone()),
        };
        self.sink
            .committed(&mut tickets.into_iter().map(refused).collect());
    }

    fn end(&mut self) -> Option<thread::Result<Result<(), AppendError>>> {
        let thread = self.thread.take()?;
        // It fails only when the thread has ended already, and then joining tells.
        let _ = self.queue.send(Submission::Close, 0);
        thread.thread().unpark();
        let ended = thread.join();
        // After the log thread: then nothing more becomes durable, and all of it is published.
        if let Some(publisher) = self.publisher.take() {
            publisher.close();
            self.state.records.close_index();
        }
        Some(ended)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

fn start_publisher(
    state: &Arc<State>,
    workshop: &Workshop,
    signer: Arc<dyn CheckpointSigner>,
    options: &Options,
) -> Result<Publisher, OpenError> {
    let published = &state.records.source.locations.published;
    let storage = Arc::clone(&options.storage);
    let integrator = Integrator::load(storage, &workshop.dir, Arc::clone(&signer), published)?;
    let parts = PublisherParts {
        state: Arc::clone(state),
        workshop: workshop.clone(),
        signer,
        interval: options.publish_interval,
    };
    Publisher::start(parts, integrator).map_err(OpenError::Thread)
}

/// Times that the lock is tried: `verify` holds it for an instant to see whether somebody writes.
const LOCK_TRIES: usize = 4;

/// Wait before the next try: thousands of times such an instant.
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The file whose lock says who writes.
pub(crate) const LOCK_FILE: &str = "LOCK";

pub(crate) fn lock(storage: &dyn Storage, dir: &Path) -> Result<LockGuard, OpenError> {
    // Not in a directory that holds no log: taking the lock would make a file there.
    segment_numbers(storage, dir)?;
    let path = dir.join(LOCK_FILE);
    let mut taken = storage.lock(&path);
    for _ in 1..LOCK_TRIES {
        match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(LOCK_AGAIN_AFTER);
                taken = storage.lock(&path);
            }
            _ => break,
        }
    }
    taken.map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked {
            dir: dir.to_owned(),
        },
        _ => OpenError::Storage { path, source },
    })
}

/// The first segment: a header and a closed mark, and no room for more. So a new log looks like
/// one that was closed, and one whose files are gone never looks new.
fn first_segment() -> Vec<u8> {
    let header = SegmentHeader {
        previous: 0,
        number: 0,
        bytes: 2 * SEGMENT_HEADER_BYTES,
        salt: random_salt(),
        first_index: 0,
        sequence: 0,
        last_time_ms: 0,
        next_reservation: NO_RESERVATION + 1,
    };
    let (block, checksum) = header.encode();
    let mut batch = BatchBuffer::default();
    batch.begin(&block);
    batch.push(FrameKind::Closed, NO_RESERVATION, &[], &[]);
    batch.finish(&BatchPlace {
        sequence: 0,
        salt: header.salt,
        first_index: 0,
        previous: checksum,
    });
    batch.bytes().to_vec()
}
