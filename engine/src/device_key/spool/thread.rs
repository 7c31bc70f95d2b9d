//! The spool's thread: gathers, writes, syncs, answers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use birthmark_log::StorageFile;

use super::file::{self, Batch, SECTOR_BYTES, Scan, encode_header, file_name};
use super::open::UNFINISHED;
use super::{
    Acknowledgement, FileState, Marking, Place, Serial, Shared, SpoolEntry, SpoolError, State,
    is_full,
};

/// Octets of one batch's keys, at most.
const BATCH_ENTRIES_BYTES_MAX: usize = 1 << 20;

/// Octets that are written in one call while a file is filled.
const FILL_BYTES: usize = 1 << 20;

/// How far the file has come that is written to.
pub(super) struct Current {
    number: u64,
    /// Where the next batch goes; `None` if the file is not made yet.
    end: Option<u64>,
    keys: u32,
}

impl Current {
    /// A file that will be made when it is needed.
    pub(super) fn before(number: u64) -> Self {
        Self {
            number,
            end: None,
            keys: 0,
        }
    }

    /// Where the next key goes: the file, and its number there.
    pub(super) fn place(&self) -> (u64, u32) {
        (self.number, self.keys)
    }

    /// A file that an earlier process wrote to.
    pub(super) fn resumed(number: u64, read: &Scan) -> Self {
        Self {
            number,
            end: Some(read.end),
            keys: read.keys.len() as u32,
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    current: Current,
    batch: Batch,
}

/// What a turn takes from the queue.
struct Turn {
    entries: Vec<SpoolEntry>,
    acknowledgements: Vec<Marking>,
    dropped: Vec<Serial>,
    closing: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, current: Current) -> Self {
        Self {
            shared,
            current,
            batch: Batch::default(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let turn = self.wait();
            if !turn.entries.is_empty() {
                self.write(turn.entries);
            }
            if !turn.acknowledgements.is_empty() || !turn.dropped.is_empty() {
                self.mark(turn.acknowledgements, turn.dropped);
            }
            if turn.closing {
                return;
            }
        }
    }

    /// Waits until a sync is due.
    fn wait(&self) -> Turn {
        let shared = &*self.shared;
        let mut state = shared.lock();
        while !state.is_due(shared) {
            state = match state.since {
                None => shared
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(since) => {
                    let left = shared.options.sync_wait_max.saturating_sub(since.elapsed());
                    let waited = shared.wake.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.since = None;
        Turn {
            entries: std::mem::take(&mut state.queue),
            acknowledgements: std::mem::take(&mut state.acknowledgements),
            dropped: std::mem::take(&mut state.dropped),
            closing: state.closing,
        }
    }

    /// Writes keys, batch by batch. Each is answered when its batch is durable.
    fn write(&mut self, mut entries: Vec<SpoolEntry>) {
        while !entries.is_empty() {
            if let Err(error) = self.shared.lock().failed() {
                return self.shared.answer(entries, &Err(error));
            }
            if let Err(error) = self.have_room(&entries[0]) {
                return self.shared.answer(entries, &Err(error));
            }
            match self.write_batch(&entries) {
                Ok(written) => {
                    let rest = entries.split_off(written);
                    self.shared.answer(entries, &Ok(()));
                    entries = rest;
                }
                Err(error) => {
                    let error = self.fail(&error);
                    return self.shared.answer(entries, &Err(error));
                }
            }
        }
    }

    /// Sees to it that the current file takes one key more.
    fn have_room(&mut self, entry: &SpoolEntry) -> Result<(), SpoolError> {
        let bytes = file::entry_bytes(entry.key.as_der().len());
        if entry.key.as_der().len() > file::KEY_BYTES_MAX {
            return Err(SpoolError::NoFile(format!("a key of {bytes} bytes")));
        }
        if self.fits(0, 0, bytes) {
            return Ok(());
        }
        let next = match self.current.end {
            Some(_) => self.current.number + 1,
            None => self.current.number,
        };
        let file = self.make_file(next)?;
        let mut state = self.shared.lock();
        state.files.insert(next, FileState { file, live: 0 });
        let file_bytes = self.shared.options.file_bytes;
        self.shared
            .file_bytes
            .fetch_add(file_bytes, Ordering::SeqCst);
        let full = std::mem::replace(
            &mut self.current,
            Current {
                number: next,
                end: Some(file::batches_start(file_bytes)),
                keys: 0,
            },
        );
        if full.end.is_some() {
            self.shared.remove_if_done(&mut state, full.number);
        }
        Ok(())
    }

    fn fits(&self, count: u32, entries_bytes: usize, more: usize) -> bool {
        let file_bytes = self.shared.options.file_bytes;
        let bytes = file::batch_bytes(entries_bytes + more) as u64;
        self.current
            .end
            .is_some_and(|end| end + bytes <= file_bytes)
            && self.current.keys + count < file::file_keys_max(file_bytes)
    }

    /// A file of zeros with its header: `open(path.new)`, `pwrite` …, `fdatasync`, `rename`, `fsync(dir)`.
    ///
    /// A disk that is full before the rename passes, and the next key may fare better. Every other failure ends
    /// the spool: a sync that failed may succeed when it is repeated, with nothing on the disk.
    fn make_file(&self, number: u64) -> Result<Arc<dyn StorageFile>, SpoolError> {
        let options = &self.shared.options;
        let path = options.directory.join(file_name(number));
        let unfinished = path.with_extension(format!("keys{UNFINISHED}"));
        let filled = self.fill(&unfinished, number).map_err(|error| {
            // Best effort: the next open removes what is not finished.
            let _ = options.storage.remove(&unfinished);
            match is_full(&error) {
                true => SpoolError::NoFile(format!("{}: {error}", file_name(number))),
                false => self.fail(&error),
            }
        })?;
        let place = || {
            options.storage.rename(&unfinished, &path)?;
            options.storage.sync_dir(&options.directory)
        };
        place().map_err(|error| self.fail(&error))?;
        Ok(filled)
    }

    fn fill(&self, path: &Path, number: u64) -> io::Result<Arc<dyn StorageFile>> {
        let options = &self.shared.options;
        let file = options.storage.create(path)?;
        let zeros = vec![0; FILL_BYTES.min(options.file_bytes as usize)];
        let mut offset = 0;
        while offset < options.file_bytes {
            let part = (options.file_bytes - offset).min(zeros.len() as u64);
            file.write_all_at(&zeros[..part as usize], offset)?;
            offset += part;
        }
        file.write_all_at(&encode_header(number, options.file_bytes), 0)?;
        file.sync_data()?;
        Ok(file)
    }

    /// Writes as many keys as fit into one batch, and syncs. Returns how many.
    fn write_batch(&mut self, entries: &[SpoolEntry]) -> io::Result<usize> {
        let Some(end) = self.current.end else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.batch.begin();
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            let (count, bytes) = (self.batch.count(), self.batch.entries_bytes());
            let more = file::entry_bytes(entry.key.as_der().len());
            let full = count > 0 && bytes + more > BATCH_ENTRIES_BYTES_MAX;
            if full || !self.fits(count, bytes, more) {
                break;
            }
            let offset = self.batch.push(&entry.serial, &entry.key);
            places.push(Place {
                file: self.current.number,
                offset: end as u32 + offset,
                bytes: more as u32,
                ordinal: self.current.keys + count,
                delivery: entry.key.delivery(),
            });
        }
        let written = places.len();
        let count = self.batch.count();
        let bytes = self.batch.finish(self.current.number, self.current.keys);
        let file = self.shared.lock().file(self.current.number)?;
        file.write_all_at(bytes, end)?;
        file.sync_data()?;
        self.current.end = Some(end + bytes.len() as u64);
        self.current.keys += count;
        let mut state = self.shared.lock();
        for (entry, place) in entries.iter().zip(places) {
            state.live.insert(entry.serial, place);
        }
        if let Some(file) = state.files.get_mut(&self.current.number) {
            file.live += count;
        }
        self.shared.live.fetch_add(count as usize, Ordering::SeqCst);
        Ok(written)
    }

    /// Marks keys as done with, file by file, and syncs each once.
    fn mark(&mut self, acknowledgements: Vec<Marking>, dropped: Vec<Serial>) {
        let asked = acknowledgements.iter().flat_map(|marking| &marking.serials);
        let all: BTreeSet<Serial> = asked.chain(&dropped).copied().collect();
        let mut by_file: BTreeMap<u64, Vec<(Serial, u32)>> = BTreeMap::new();
        let failed = {
            let state = self.shared.lock();
            for serial in &all {
                if let Some(place) = state.live.get(serial) {
                    let marks = by_file.entry(place.file).or_default();
                    marks.push((*serial, place.ordinal));
                }
            }
            state.failed()
        };
        let written = failed.and_then(|()| {
            let mut files = by_file.iter();
            let written = files.try_for_each(|(number, marks)| self.write_marks(*number, marks));
            written.map_err(|error| self.fail(&error))
        });
        if let Err(error) = written {
            for marking in acknowledgements {
                let _ = marking.answer.send(Err(error.clone()));
            }
            return;
        }
        let mut gone: BTreeSet<Serial> = self.forget(&by_file);
        for Marking { serials, answer } in acknowledgements {
            let outcomes = serials.iter().map(|serial| match gone.remove(serial) {
                true => Acknowledgement::Done,
                false => Acknowledgement::NotWaiting,
            });
            let _ = answer.send(Ok(outcomes.collect()));
        }
    }

    /// Writes whole sectors, each of which reaches the disk whole or not at all.
    fn write_marks(&self, number: u64, marks: &[(Serial, u32)]) -> io::Result<()> {
        let file = self.shared.lock().file(number)?;
        let mut sectors: BTreeMap<u64, [u8; SECTOR_BYTES]> = BTreeMap::new();
        for (serial, ordinal) in marks {
            let offset = file::mark_offset(*ordinal);
            let within = (offset % SECTOR_BYTES as u64) as usize;
            let start = offset - within as u64;
            let sector = match sectors.entry(start) {
                Entry::Occupied(sector) => sector.into_mut(),
                Entry::Vacant(vacant) => {
                    let mut sector = [0; SECTOR_BYTES];
                    file.read_exact_at(&mut sector, start)?;
                    vacant.insert(sector)
                }
            };
            sector[within..within + file::MARK_BYTES].copy_from_slice(&file::mark(number, serial));
        }
        for (start, sector) in &sectors {
            file.write_all_at(sector, *start)?;
        }
        file.sync_data()
    }

    /// Forgets marked keys, and removes files that are done with. Returns the keys.
    fn forget(&mut self, by_file: &BTreeMap<u64, Vec<(Serial, u32)>>) -> BTreeSet<Serial> {
        let mut state = self.shared.lock();
        let mut gone = BTreeSet::new();
        for (number, marks) in by_file {
            for (serial, _) in marks {
                if state.live.remove(serial).is_some() {
                    gone.insert(*serial);
                    self.shared.live.fetch_sub(1, Ordering::SeqCst);
                    if let Some(file) = state.files.get_mut(number) {
                        file.live -= 1;
                    }
                }
            }
            if *number != self.current.number {
                self.shared.remove_if_done(&mut state, *number);
            }
        }
        gone
    }

    /// Ends the spool: what the disk holds is unknown.
    fn fail(&self, error: &io::Error) -> SpoolError {
        let error = SpoolError::Failed(error.to_string());
        self.shared.lock().failed = Some(error.clone());
        error
    }
}

impl State {
    fn is_due(&self, shared: &Shared) -> bool {
        let gathered = self.queue.len();
        let waited = |since: Instant| since.elapsed() >= shared.options.sync_wait_max;
        self.closing
            || !self.acknowledgements.is_empty()
            || gathered >= shared.options.sync_keys_max
            || gathered > 0 && gathered >= self.in_flight
            || self.since.is_some_and(waited)
    }

    fn failed(&self) -> Result<(), SpoolError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn file(&self, number: u64) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.files.get(&number).map(|state| state.file.clone());
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Shared {
    /// Removes a file of which nothing waits. That need not be durable: if it comes back, all its keys are marked.
    fn remove_if_done(&self, state: &mut MutexGuard<'_, State>, number: u64) {
        let done = state.files.get(&number).is_some_and(|file| file.live == 0);
        let path = self.options.directory.join(file_name(number));
        if done && self.options.storage.remove(&path).is_ok() {
            state.files.remove(&number);
            self.file_bytes
                .fetch_sub(self.options.file_bytes, Ordering::SeqCst);
        }
    }
}
