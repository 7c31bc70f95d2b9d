//! The spool's thread: gathers, writes, syncs, answers; and between, makes room.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

use birthmark_log::StorageFile;

use super::file::{self, Batch, SECTOR_BYTES, Scan, encode_header, file_name};
use super::open::UNFINISHED;
use super::state::{FileState, Marking, Place, Shared, State, is_full};
use super::{Acknowledgement, EncryptedKey, Serial, SpoolEntry, SpoolError};

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
    pub(super) shared: Arc<Shared>,
    current: Current,
    batch: Batch,
}

/// A key to be written.
pub(super) struct Writing<'a> {
    pub(super) serial: Serial,
    pub(super) key: &'a EncryptedKey,
    /// A copy out of an older file.
    pub(super) copied: bool,
}

/// What a turn takes from the queue.
struct Turn {
    entries: Vec<SpoolEntry>,
    acknowledgements: Vec<Marking>,
    dropped: Vec<Serial>,
    note: bool,
    compact: bool,
    closing: bool,
}

/// Ends the spool when its thread panics (in the sink, or in what stores its files): then nothing is answered any
/// more, and everybody who waits must know.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let error = SpoolError::panicked();
        let (tickets, entries) = {
            let mut state = self.0.lock();
            state.failed = Some(error.clone());
            // Whoever waits for these sees their channel close.
            state.acknowledgements.clear();
            let tickets = std::mem::take(&mut state.in_hand);
            (tickets, std::mem::take(&mut state.queue))
        };
        let Some(sink) = &self.0.sink else { return };
        let in_hand = tickets.into_iter();
        let queued = entries.iter().map(|entry| entry.ticket);
        let answers = in_hand.chain(queued);
        let answers = answers.map(|ticket| (ticket, Err(error.clone()))).collect();
        drop(entries);
        // The sink passes over what it has had an answer for. A second panic here would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| sink.spooled(answers)));
    }
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
        let _guard = PanicGuard(self.shared.clone());
        loop {
            let turn = self.wait();
            if !turn.entries.is_empty() {
                self.write(turn.entries);
                self.shared.lock().in_hand.clear();
            }
            if !turn.acknowledgements.is_empty() || !turn.dropped.is_empty() {
                self.mark(turn.acknowledgements, turn.dropped);
            }
            if turn.closing {
                return;
            }
            if turn.note {
                self.settle();
            }
            if turn.compact {
                self.compact_one();
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
        let entries = std::mem::take(&mut state.queue);
        state.in_hand = entries.iter().map(|entry| entry.ticket).collect();
        Turn {
            entries,
            acknowledgements: std::mem::take(&mut state.acknowledgements),
            dropped: std::mem::take(&mut state.dropped),
            note: std::mem::take(&mut state.note_due),
            compact: std::mem::take(&mut state.compact_due),
            closing: state.closing,
        }
    }

    /// Writes keys, batch by batch. Each is answered when its batch is durable.
    fn write(&mut self, mut entries: Vec<SpoolEntry>) {
        while !entries.is_empty() {
            if let Err(error) = self.shared.lock().failed() {
                return self.shared.answer(entries, &Err(error));
            }
            if let Err(error) = self.have_room(&entries[0].key) {
                return self.shared.answer(entries, &Err(error));
            }
            let keys = entries.iter().map(|entry| Writing {
                serial: entry.serial,
                key: &entry.key,
                copied: false,
            });
            match self.write_batch(keys) {
                Ok(written) => {
                    let rest = entries.split_off(written);
                    self.shared.answer(entries, &Ok(()));
                    self.shared.lock().in_hand.drain(..written);
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
    pub(super) fn have_room(&mut self, key: &EncryptedKey) -> Result<(), SpoolError> {
        let bytes = file::entry_bytes(key.as_der().len());
        if key.as_der().len() > file::KEY_BYTES_MAX {
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
        let file_bytes = self.shared.options.file_bytes;
        self.current = Current {
            number: next,
            end: Some(file::batches_start(file_bytes)),
            keys: 0,
        };
        {
            let mut state = self.shared.lock();
            state.files.insert(next, FileState::new(file));
            state.end = (next, 0);
            state.compact_due = true;
        }
        self.shared
            .file_bytes
            .fetch_add(file_bytes, Ordering::SeqCst);
        self.settle();
        self.shared.lock().failed()
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
    pub(super) fn write_batch<'a>(
        &mut self,
        keys: impl ExactSizeIterator<Item = Writing<'a>>,
    ) -> io::Result<usize> {
        let Some(end) = self.current.end else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.batch.begin();
        let mut places = Vec::with_capacity(keys.len());
        for Writing {
            serial,
            key,
            copied,
        } in keys
        {
            let (count, bytes) = (self.batch.count(), self.batch.entries_bytes());
            let more = file::entry_bytes(key.as_der().len());
            let full = count > 0 && bytes + more > BATCH_ENTRIES_BYTES_MAX;
            if full || !self.fits(count, bytes, more) {
                break;
            }
            let offset = self.batch.push(&serial, key, copied);
            let place = Place {
                file: self.current.number,
                offset: end as u32 + offset,
                bytes: more as u32,
                ordinal: self.current.keys + count,
                delivery: key.delivery(),
                copied,
            };
            places.push((serial, place));
        }
        let written = places.len();
        let bytes = self.batch.finish(self.current.number, self.current.keys);
        let file = self.shared.lock().file(self.current.number)?;
        file.write_all_at(bytes, end)?;
        file.sync_data()?;
        self.current.end = Some(end + bytes.len() as u64);
        self.current.keys += written as u32;
        let mut state = self.shared.lock();
        state.end = (self.current.number, self.current.keys);
        for (serial, place) in places {
            if state.insert(serial, place).is_none() {
                self.shared.live.fetch_add(1, Ordering::SeqCst);
            }
        }
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
            let written = files.try_for_each(|(number, marks)| {
                let file = self.shared.lock().file(*number)?;
                write_marks(&*file, *number, marks)
            });
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

    /// Forgets marked keys, and removes files that are done with. Returns the keys.
    fn forget(&self, by_file: &BTreeMap<u64, Vec<(Serial, u32)>>) -> BTreeSet<Serial> {
        let mut gone = BTreeSet::new();
        let has_done = {
            let mut state = self.shared.lock();
            for (serial, _) in by_file.values().flatten() {
                if state.remove(serial).is_some() {
                    gone.insert(*serial);
                    self.shared.live.fetch_sub(1, Ordering::SeqCst);
                }
            }
            let half = self.shared.options.bytes_max / 2;
            if self.shared.file_bytes.load(Ordering::SeqCst) > half {
                state.compact_due = true;
            }
            let end = state.end.0;
            let is_done = |number: &u64| {
                let file = state.files.get(number);
                *number < end && file.is_some_and(|file| file.live == 0)
            };
            by_file.keys().any(is_done)
        };
        if has_done {
            self.settle();
        }
        gone
    }

    /// Notes how far log and spool are, and removes what is done with. Not while nobody knows how far the log is: at
    /// the start, at the end, and without an engine.
    pub(super) fn settle(&self) {
        let sink = self.shared.sink.as_ref();
        let Some(log_end) = sink.and_then(|sink| sink.log_end()) else {
            return;
        };
        let mut noted = self.shared.binding();
        let next = noted.binding.clone();
        if next.log.is_some()
            && let Err(error) = self.shared.settle(&mut noted, next, log_end)
        {
            self.fail(&error);
        }
    }

    /// Ends the spool: what the disk holds is unknown.
    pub(super) fn fail(&self, error: &io::Error) -> SpoolError {
        let error = SpoolError::Failed(error.to_string());
        self.shared.lock().failed = Some(error.clone());
        error
    }
}

/// Marks keys as done with: whole sectors, each of which reaches the disk whole or not at all.
pub(super) fn write_marks(
    file: &dyn StorageFile,
    number: u64,
    marks: &[(Serial, u32)],
) -> io::Result<()> {
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

impl State {
    fn is_due(&self, shared: &Shared) -> bool {
        let gathered = self.queue.len();
        let waited = |since: Instant| since.elapsed() >= shared.options.sync_wait_max;
        self.closing
            || self.note_due
            || self.compact_due
            || !self.acknowledgements.is_empty()
            || gathered >= shared.options.sync_keys_max
            || gathered > 0 && gathered >= self.in_flight
            || self.since.is_some_and(waited)
    }
}
