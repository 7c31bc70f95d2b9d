//! The thread `log-index`: writes full tables as runs, merges runs, publishes manifests.

use std::any::Any;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::part_end;
use super::files;
use super::filter::{LARGE_BITS, SMALL_BITS};
use super::manifest::{Manifest, ManifestRun};
use super::memtable::{Memtable, MemtableReader};
use super::merge::{RunReader, due};
use super::run::{Run, RunHeader, run_name};
use super::run_writer::RunWriter;
use super::shared::{Problem, Shared, Snapshot, count};
use crate::error::ReadError;
use crate::record::{KEY_SPACES, RecordIndex};
use crate::storage::{PathError, at, is_full};

/// Longest rest between two pieces of work.
const REST_MAX: Duration = Duration::from_millis(20);

/// A failed merge is tried again after this many times the wait after other failures: it may have
/// filled the disk to the last byte, and the log needs that space more.
const MERGE_RETRIES_APART: u32 = 30;

/// Most merges under way at a time, one inside the other. Each is of newer and hardly ever of more entries
/// than the one around it.
const MERGES_MAX: usize = 4;

/// The state of the thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// Number of the next run. Each attempt to write one takes a new number.
    pub(crate) next_run: u64,
    /// The manifest on the disk is not about the runs in memory.
    pub(crate) manifest_due: bool,
    pub(crate) manifests: u64,
    /// Watermark of the last manifest, and the leaf hash before it.
    pub(crate) anchor: (u64, [u8; 32]),
    /// Files that no manifest on the disk needs once the next one is there.
    pub(crate) garbage: Vec<PathBuf>,
    /// Parts of earlier snapshots. Whoever drops the last reference frees memory and deletes a
    /// file; that takes time, so it is this thread.
    pub(crate) retired: Vec<Arc<dyn Any + Send + Sync>>,
    /// Tables that were written. One of them is emptied and used again.
    pub(crate) written: Vec<Arc<Memtable>>,
    /// Nothing is written before, after a failure.
    pub(crate) write_after: Option<Instant>,
    pub(crate) merge_after: Option<Instant>,
    /// The newest input of each merge under way, the innermost last.
    pub(crate) merging: Vec<Arc<Run>>,
}

/// Why something was not written.
enum WorkError {
    Storage(PathError),
    Read(ReadError),
    /// The index closes; what was begun is given up.
    Closing,
}

impl WorkError {
    fn is_full(&self) -> bool {
        matches!(self, WorkError::Storage(error) if is_full(&error.source))
    }
}

impl Worker {
    /// Works until the index closes, then writes what is left.
    pub(crate) fn run(mut self) {
        // When this thread panics, lookups go on and the index says that it cannot be written.
        let ended = Ended(Arc::clone(&self.shared));
        while !self.shared.is_closing() {
            self.tidy();
            if !self.write_waiting() && !self.merge_due() {
                self.shared.rest(self.rest());
            }
        }
        self.finish();
        drop(ended);
    }

    /// Frees what nobody uses any more, and has a table ready for the next stretch of a large log.
    fn tidy(&mut self) {
        self.retired.retain(|part| Arc::strong_count(part) > 1);
        for table in std::mem::take(&mut self.written) {
            match Arc::try_unwrap(table) {
                Ok(table) => self.shared.recycle(table),
                Err(table) => self.written.push(table),
            }
        }
        let snapshot = self.shared.snapshot();
        let written = snapshot.runs.last().map_or(0, |run| run.header.end);
        drop(snapshot);
        if self.shared.limits.is_large(written) {
            self.shared.provide_spare();
        }
    }

    /// Writes the oldest full table and the manifest, if that is due. `false` when there was
    /// nothing to do, or it failed a moment ago.
    fn write_waiting(&mut self) -> bool {
        if self.write_after.is_some_and(|after| Instant::now() < after) {
            return false;
        }
        let snapshot = self.shared.snapshot();
        let waiting = match snapshot.tables.as_slice() {
            [oldest, _, ..] => Some(Arc::clone(oldest)),
            _ => None,
        };
        drop(snapshot);
        let written = match waiting {
            Some(table) => self.flush(table),
            None if self.manifest_due => self.publish(),
            None => return false,
        };
        match written {
            Ok(()) => {
                self.write_after = None;
                self.shared.set_problem(Problem::Write, None);
            }
            Err(error) => {
                self.write_after = Some(Instant::now() + self.shared.limits.retry);
                self.shared.set_problem(Problem::Write, error.reason());
            }
        }
        self.shared.room();
        true
    }

    /// Merges runs, if that is due. `false` when not, or it failed a moment ago.
    fn merge_due(&mut self) -> bool {
        let Some(inputs) = self.due() else {
            return false;
        };
        self.merging.extend(inputs.last().cloned());
        let merged = self.merge(&inputs);
        self.merging.pop();
        match merged {
            // One inside it may have failed since: that one has to wait.
            Ok(()) if self.merge_after.is_some_and(|after| Instant::now() < after) => {}
            Ok(()) => {
                self.merge_after = None;
                self.shared.set_problem(Problem::Merge, None);
            }
            Err(WorkError::Closing) => {}
            Err(error) => {
                let wait = self.shared.limits.retry * MERGE_RETRIES_APART;
                self.merge_after = Some(Instant::now() + wait);
                // Without space for a merge the index works on with more runs.
                let reason = if error.is_full() {
                    None
                } else {
                    error.reason()
                };
                self.shared.set_problem(Problem::Merge, reason);
            }
        }
        true
    }

    /// The runs that are to be merged now: behind those that are being merged, if any are. `None` as well when
    /// a merge failed a moment ago.
    fn due(&self) -> Option<Vec<Arc<Run>>> {
        if self.merge_after.is_some_and(|after| Instant::now() < after) {
            return None;
        }
        let snapshot = self.shared.snapshot();
        let is_merged = |run: &Arc<Run>| self.merging.iter().any(|newest| Arc::ptr_eq(run, newest));
        let merged = snapshot.runs.iter().rposition(is_merged);
        let runs = &snapshot.runs[merged.map_or(0, |at| at + 1)..];
        let entries: Vec<u64> = runs.iter().map(|run| run.header.entries_max()).collect();
        let limits = &self.shared.limits;
        let range = due(&entries, limits.memtable_entries as u64, limits.fan_in)?;
        Some(runs[range].to_vec())
    }

    /// How long there is nothing to do, unless somebody calls.
    fn rest(&self) -> Duration {
        let after = [self.write_after, self.merge_after]
            .into_iter()
            .flatten()
            .min();
        let unused = !self.retired.is_empty() || !self.written.is_empty();
        let retired = unused.then(|| Instant::now() + self.shared.limits.retry);
        let until = after.into_iter().chain(retired).min();
        until.map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// At the end: writes the full tables, and the last one when it is large.
    fn finish(&mut self) {
        let limits = &self.shared.limits;
        let last = self.shared.snapshot().tables.last().cloned();
        let entries = last
            .iter()
            .flat_map(|table| table.entries())
            .max()
            .unwrap_or(0);
        if entries > limits.tail_at_close {
            self.shared.freeze();
        }
        self.write_after = None;
        while self.write_after.is_none() && self.write_waiting() {}
    }

    /// Writes a table as a run, puts it in the table's place, publishes.
    fn flush(&mut self, table: Arc<Memtable>) -> Result<(), WorkError> {
        let header = RunHeader {
            id: self.take_id(),
            first: table.first,
            end: table.end(),
            entries: table.entries().map(|entries| entries as u64),
            filter_bits: SMALL_BITS,
        };
        let part_entries = self.shared.limits.part_entries;
        let run = self.write_run(header, &mut |worker, writer| {
            let mut entries = Vec::new();
            for space in 0..KEY_SPACES {
                let mut begin = Instant::now();
                let mut reader = MemtableReader::new(Arc::clone(&table), space);
                let parts = writer.header().parts(space, part_entries);
                for part in 0..parts {
                    entries.clear();
                    reader.take(part_end(part, parts), &mut entries);
                    writer.push_part(space, &entries)?;
                    worker.rest_after(begin);
                    begin = Instant::now();
                }
                writer.end_space(space)?;
            }
            Ok(())
        })?;
        self.shared.change(|snapshot| {
            snapshot.tables.retain(|other| !Arc::ptr_eq(other, &table));
            snapshot.runs.push(Arc::new(run));
        });
        self.written.push(table);
        self.publish()
    }

    /// Merges neighboring runs into one and puts it in their place.
    fn merge(&mut self, inputs: &[Arc<Run>]) -> Result<(), WorkError> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Ok(());
        };
        let entries = |space: usize| inputs.iter().map(|run| run.header.entries[space]).sum();
        let limits = &self.shared.limits;
        let entries: [u64; KEY_SPACES] = std::array::from_fn(entries);
        let small_max = limits.memtable_entries as u64 * limits.fan_in as u64;
        let small = entries.into_iter().all(|entries| entries <= small_max);
        let part_entries = limits.part_entries;
        let header = RunHeader {
            id: self.take_id(),
            first: first.header.first,
            end: last.header.end,
            entries,
            filter_bits: match small {
                true => SMALL_BITS,
                false => LARGE_BITS,
            },
        };
        let run = self.write_run(header, &mut |worker, writer| {
            let mut entries = Vec::new();
            for space in 0..KEY_SPACES {
                let reader = |run: &Arc<Run>| RunReader::new(Arc::clone(run), space);
                let mut readers: Vec<RunReader> = inputs.iter().map(reader).collect();
                let parts = writer.header().parts(space, part_entries);
                for part in 0..parts {
                    let begin = Instant::now();
                    entries.clear();
                    for reader in &mut readers {
                        reader.take(part_end(part, parts), &mut entries)?;
                    }
                    // The runs one after the other, each in order: a sort that keeps the order of
                    // equal hashes merges them.
                    entries.sort_by_key(|entry| entry.hash);
                    writer.push_part(space, &entries)?;
                    worker.give_way(begin)?;
                }
                writer.end_space(space)?;
            }
            Ok(())
        })?;
        let run = Arc::new(run);
        self.shared.change(|snapshot| {
            let at = snapshot.runs.iter().position(|run| Arc::ptr_eq(run, first));
            let range: Range<usize> = at.map_or(0..0, |at| at..at + inputs.len());
            snapshot.runs.splice(range, [run]);
        });
        count(&self.shared.counters.merges, 1);
        self.garbage
            .extend(inputs.iter().map(|run| run.path.clone()));
        self.retired
            .extend(inputs.iter().map(|run| Arc::clone(run) as _));
        // Published by the main loop: if that fails, no merge is to blame.
        self.manifest_due = true;
        Ok(())
    }

    /// Between two parts of a merge: writes tables that wait, merges smaller runs that came meanwhile (each
    /// run costs every lookup a cache miss), or rests.
    fn give_way(&mut self, begin: Instant) -> Result<(), WorkError> {
        if self.shared.is_closing() {
            return Err(WorkError::Closing);
        }
        let mut wrote = false;
        while self.shared.snapshot().tables.len() > 1 && self.write_waiting() {
            wrote = true;
            self.tidy();
        }
        while self.merging.len() < MERGES_MAX && !self.shared.is_closing() && self.merge_due() {
            wrote = true;
            self.tidy();
        }
        if !wrote {
            self.rest_after(begin);
        }
        Ok(())
    }

    /// Rests as long as the work since `begin` took, unless there is more to write or to merge: on a machine
    /// with two cores the release path needs both.
    fn rest_after(&self, begin: Instant) {
        // The one that is being written, and the one that takes new entries.
        let more = self.shared.snapshot().tables.len() > 2 || self.due().is_some();
        if self.shared.limits.rests && !more {
            self.shared.rest(begin.elapsed().min(REST_MAX));
        }
    }

    /// Writes one run file, durably: see `files.rs`. A file that failed is not used again.
    fn write_run(
        &mut self,
        header: RunHeader,
        write: &mut dyn FnMut(&mut Worker, &mut RunWriter) -> Result<(), WorkError>,
    ) -> Result<Run, WorkError> {
        let shared = Arc::clone(&self.shared);
        let path = shared.dir.join(run_name(header.id));
        let mut filled = || {
            let sync_bytes = shared.limits.sync_bytes;
            let mut writer =
                RunWriter::create(&*shared.storage, &path, header.clone(), sync_bytes)?;
            write(self, &mut writer)?;
            let run = writer.finish()?;
            shared
                .storage
                .sync_dir(&shared.dir)
                .map_err(at(&shared.dir))?;
            Ok(run)
        };
        let filled = filled();
        match &filled {
            Ok(run) => count(&shared.counters.bytes_written, run.file_bytes),
            // Best effort, to give back the space: what stays is removed at the next open.
            Err(_) => drop(shared.storage.remove(&path)),
        }
        filled
    }

    /// Replaces the manifest by one about the runs in memory, then removes what it does not need.
    fn publish(&mut self) -> Result<(), WorkError> {
        self.manifest_due = true;
        let snapshot = self.shared.snapshot();
        let manifest = self.manifest(&snapshot)?;
        drop(snapshot);
        self.manifests += 1;
        let shared = &self.shared;
        files::replace_manifest(&*shared.storage, &shared.dir, &manifest, self.manifests)?;
        self.manifest_due = false;
        for path in self.garbage.drain(..) {
            // Best effort: what stays is removed at the next open.
            let _ = shared.storage.remove(&path);
        }
        Ok(())
    }

    fn manifest(&mut self, snapshot: &Snapshot) -> Result<Manifest, WorkError> {
        let watermark = snapshot.runs.last().map_or(0, |run| run.header.end);
        if self.anchor.0 != watermark && watermark > 0 {
            let last = RecordIndex(watermark - 1);
            self.anchor = (watermark, self.shared.source.digest(last)?);
        }
        let run = |run: &Arc<Run>| ManifestRun {
            id: run.header.id,
            first: run.header.first,
            end: run.header.end,
            entries: run.header.entries,
            file_bytes: run.file_bytes,
        };
        Ok(Manifest {
            watermark,
            anchor: if watermark > 0 {
                self.anchor.1
            } else {
                [0; 32]
            },
            next_run: self.next_run,
            keys_version: self.shared.source.keys_version(),
            runs: snapshot.runs.iter().map(run).collect(),
        })
    }

    fn take_id(&mut self) -> u64 {
        self.next_run += 1;
        self.next_run - 1
    }
}

impl WorkError {
    fn reason(&self) -> Option<String> {
        match self {
            WorkError::Storage(error) => Some(format!(
                "{}: {}; check the disk and its free space",
                error.path.display(),
                error.source
            )),
            WorkError::Read(error) => {
                let cause = std::error::Error::source(error);
                Some(cause.map_or(error.to_string(), |cause| format!("{error}: {cause}")))
            }
            WorkError::Closing => None,
        }
    }
}

impl From<PathError> for WorkError {
    fn from(error: PathError) -> WorkError {
        WorkError::Storage(error)
    }
}

impl From<ReadError> for WorkError {
    fn from(error: ReadError) -> WorkError {
        WorkError::Read(error)
    }
}

/// Tells everybody that the thread has ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_ended();
    }
}
