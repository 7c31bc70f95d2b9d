//! What the spool's thread and its callers share.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use birthmark_log::StorageFile;

use super::binding::{Binding, BindingFile, FileList, LogEnd};
use super::file::file_name;
use super::{
    Acknowledgement, NOTE_RECORDS_MAX, Serial, SpoolEntry, SpoolError, SpoolOptions, SpoolSink,
};
use crate::device_key::seal::Delivery;
use crate::slots::Ticket;

pub(super) struct Shared {
    pub(super) options: SpoolOptions,
    pub(super) sink: Option<Arc<dyn SpoolSink>>,
    pub(super) state: Mutex<State>,
    /// Its last note. Locked before `state` where both are.
    pub(super) binding: Mutex<BindingFile>,
    pub(super) wake: Condvar,
    /// Records of the log from which on a note is due.
    pub(super) note_at: AtomicU64,
    /// Keys with room that are not durable yet, and the octets they were promised.
    pub(super) held: AtomicUsize,
    pub(super) held_bytes: AtomicU64,
    /// Keys that wait.
    pub(super) live: AtomicUsize,
    /// Bytes of all files.
    pub(super) file_bytes: AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) live: HashMap<Serial, Place>,
    pub(super) files: BTreeMap<u64, FileState>,
    /// How far the newest file is filled, durably: its number, and its keys. Older files are full.
    pub(super) end: (u64, u32),
    pub(super) queue: Vec<SpoolEntry>,
    /// When the first of `queue` came.
    pub(super) since: Option<Instant>,
    /// What the thread has taken from `queue` and works on.
    pub(super) in_hand: Vec<Ticket>,
    /// Work that may still add to the queue, when it was last said.
    pub(super) in_flight: usize,
    pub(super) acknowledgements: Vec<Marking>,
    /// Keys that no certificate will follow. They wait for the next sync.
    pub(super) dropped: Vec<Serial>,
    /// The log has grown by much since the last note.
    pub(super) note_due: bool,
    /// Files may have come to wait for little.
    pub(super) compact_due: bool,
    pub(super) closing: bool,
    pub(super) failed: Option<SpoolError>,
}

/// Marks that somebody waits for.
pub(super) struct Marking {
    pub(super) serials: Vec<Serial>,
    pub(super) answer: mpsc::Sender<Result<Vec<Acknowledgement>, SpoolError>>,
}

/// Where a key stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) file: u64,
    pub(super) offset: u32,
    pub(super) bytes: u32,
    pub(super) ordinal: u32,
    pub(super) delivery: Delivery,
    /// A copy out of an older file.
    pub(super) copied: bool,
}

impl Place {
    /// File, and number there.
    pub(super) fn spot(&self) -> (u64, u32) {
        (self.file, self.ordinal)
    }
}

pub(super) struct FileState {
    pub(super) file: Arc<dyn StorageFile>,
    /// Keys that wait in it, and their octets.
    pub(super) live: u32,
    pub(super) live_bytes: u64,
    /// A key in it cannot be read back, so it stays as it is.
    pub(super) unreadable: bool,
}

impl FileState {
    pub(super) fn new(file: Arc<dyn StorageFile>) -> Self {
        Self {
            file,
            live: 0,
            live_bytes: 0,
            unreadable: false,
        }
    }
}

/// Whether it failed for want of space, which passes.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl State {
    pub(super) fn check(&self) -> Result<(), SpoolError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.closing => Err(SpoolError::Closing),
            None => Ok(()),
        }
    }

    pub(super) fn failed(&self) -> Result<(), SpoolError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// A key waits here from now on. Returns where it waited before.
    pub(super) fn insert(&mut self, serial: Serial, place: Place) -> Option<Place> {
        let older = self.remove(&serial);
        if let Some(file) = self.files.get_mut(&place.file) {
            file.live += 1;
            file.live_bytes += u64::from(place.bytes);
        }
        self.live.insert(serial, place);
        older
    }

    /// A key waits no longer.
    pub(super) fn remove(&mut self, serial: &Serial) -> Option<Place> {
        let place = self.live.remove(serial)?;
        if let Some(file) = self.files.get_mut(&place.file) {
            file.live -= 1;
            file.live_bytes -= u64::from(place.bytes);
        }
        Some(place)
    }

    pub(super) fn file(&self, number: u64) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.files.get(&number).map(|state| state.file.clone());
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Full files of which nothing waits.
    pub(super) fn done_files(&self) -> Vec<u64> {
        let full = self.files.range(..self.end.0);
        full.filter(|(_, file)| file.live == 0)
            .map(|(number, _)| *number)
            .collect()
    }

    /// A note with what the spool has now.
    pub(super) fn noted_in(&self, mut next: Binding) -> Binding {
        let done = self.done_files();
        let kept = self.files.keys().rev().copied();
        next.files = FileList::newest_of(kept.filter(|number| done.binary_search(number).is_err()));
        next.end = self.end;
        next
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn binding(&self) -> MutexGuard<'_, BindingFile> {
        self.binding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers entries, giving back their rooms first.
    pub(super) fn answer(&self, entries: Vec<SpoolEntry>, outcome: &Result<(), SpoolError>) {
        let answers = entries
            .into_iter()
            .map(|entry| (entry.ticket, outcome.clone()))
            .collect();
        if let Some(sink) = &self.sink {
            sink.spooled(answers);
        }
    }

    /// Writes a note, and removes the files of which nothing waits. Their keys have records below the log's
    /// end, which was read after they were done with; so the note comes first. That a file is gone need not be
    /// durable: if it comes back, all its keys are marked.
    pub(super) fn settle(
        &self,
        noted: &mut BindingFile,
        next: Binding,
        log_end: LogEnd,
    ) -> io::Result<()> {
        let (next, done) = {
            let state = self.lock();
            (state.noted_in(next), state.done_files())
        };
        let records = log_end.records;
        let (storage, directory) = (&*self.options.storage, &self.options.directory);
        noted.write(storage, directory, Binding { log_end, ..next })?;
        let note_at = records.saturating_add(NOTE_RECORDS_MAX);
        self.note_at.store(note_at, Ordering::Relaxed);
        let mut state = self.lock();
        for number in done {
            if storage.remove(&directory.join(file_name(number))).is_ok() {
                state.files.remove(&number);
                self.file_bytes
                    .fetch_sub(self.options.file_bytes, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}
