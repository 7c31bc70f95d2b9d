//! Encrypted keys that wait for their acknowledgement, durable from before their certificates are signed.
//!
//! A thread of its own writes: it gathers keys as the log gathers records and syncs once for all of them.
//! Keys are known by their certificates' serial numbers. A key leaves by a durable mark, an
//! acknowledgement or the engine's word that no certificate will follow; a file goes when all its keys are
//! marked.

mod account;
mod binding;
mod compact;
mod file;
mod inspect;
mod open;
mod options;
mod state;
mod thread;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use birthmark_log::{LockGuard, Log};

use super::Serial;
use super::seal::{Delivery, EncryptedKey};
use crate::fault::Fault;
use crate::slots::Ticket;

pub(crate) use binding::LogEnd;
pub use inspect::{SpoolFileDamage, read_spool_file};
use open::Purpose;
pub use open::SpoolOpenError;
pub use options::{SPOOL_BYTES_MAX_DEFAULT, SPOOL_KEYS_MAX_DEFAULT, SpoolOptions};
use state::{Marking, Place, Shared};

/// Records of the log after which the spool notes again how far it is: what a start reads after a crash, at most,
/// some seconds.
const NOTE_RECORDS_MAX: u64 = 1 << 18;

/// Why the spool does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// As many keys wait as it takes.
    #[error(
        "{keys} generated keys wait for their acknowledgement, and the limit is {keys_max} keys in \
         {bytes_max} bytes of files; acknowledge those that were delivered (birthmark key ack)"
    )]
    Full {
        /// Keys that wait or are being made.
        keys: usize,
        /// The limit of keys.
        keys_max: usize,
        /// The limit of bytes.
        bytes_max: u64,
    },
    /// The next file cannot be made.
    #[error("the spool of generated keys has no file to write to: {0}")]
    NoFile(String),
    /// A write or sync failed: nobody knows what the disk holds.
    #[error("the spool of generated keys failed; restart to recover it: {0}")]
    Failed(String),
    /// A key cannot be read back.
    #[error("a generated key cannot be read back from the spool: {0}")]
    Unreadable(String),
    /// It is closing.
    #[error("the spool of generated keys is closing")]
    Closing,
}

impl SpoolError {
    fn panicked() -> Self {
        Self::Failed("a panic on its thread".to_owned())
    }
}

impl From<SpoolError> for Fault {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Full { .. } | SpoolError::NoFile(_) => {
                Self::KeySpoolFull(error.to_string())
            }
            SpoolError::Closing => Self::Closing,
            _ => Self::KeySpool(error.to_string()),
        }
    }
}

/// What came of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The key is kept no longer.
    Done,
    /// No key waits under this serial number: it was acknowledged before, or never was here.
    NotWaiting,
}

/// A key that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpooledKey {
    /// The certificate's serial number.
    pub serial: [u8; 16],
    /// How it is encrypted.
    pub delivery: Delivery,
}

/// Takes the answers, which keys are durable; and knows the log. Called on the spool's thread.
pub(crate) trait SpoolSink: Send + Sync {
    fn spooled(&self, outcomes: Vec<(Ticket, Result<(), SpoolError>)>);

    /// How far the log is; `None` while nobody can say.
    fn log_end(&self) -> Option<LogEnd>;

    /// Whether the certificates of these keys are all in the log.
    fn are_recorded(&self, serials: &[Serial]) -> bool;
}

/// A key on its way into the spool.
#[derive(Debug)]
pub(crate) struct SpoolEntry {
    pub(crate) ticket: Ticket,
    pub(crate) serial: Serial,
    pub(crate) key: EncryptedKey,
    /// What it was promised, until it is answered.
    pub(crate) _room: Room,
}

/// Room for one key, taken before anything is kept of it. Given back when dropped.
pub(crate) struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({})", self.bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(1, Ordering::SeqCst);
        self.shared
            .held_bytes
            .fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// An open spool: the only writer of its directory.
pub struct KeySpool {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Where the next key went when it was opened: file, and number there.
    end_at_open: (u64, u32),
    /// Given back after the thread has ended.
    _lock: LockGuard,
}

impl fmt::Debug for KeySpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySpool")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl KeySpool {
    /// Opens a spool to acknowledge keys. An engine has its own open: there, ask the engine.
    ///
    /// # Errors
    /// [`SpoolOpenError::Locked`] while an engine has it; [`SpoolOpenError::Missing`] if there is none;
    /// [`SpoolOpenError::Damaged`] names the first damage.
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolOpenError> {
        open::open(options, None, Purpose::Keys)
    }

    /// Makes a spool, or lets another log have the one that is there with all its keys: the log that the next
    /// engine opens. Retries of certificates which that log has by then, and whose keys are not here, are answered
    /// with [`KeyDelivery::NotKept`](super::KeyDelivery::NotKept).
    ///
    /// # Errors
    /// Those of [`KeySpool::open`], but for [`SpoolOpenError::Missing`].
    pub fn init(options: SpoolOptions) -> Result<Self, SpoolOpenError> {
        open::open(options, None, Purpose::Init)
    }

    pub(crate) fn open_with(
        options: SpoolOptions,
        sink: Arc<dyn SpoolSink>,
        log: &Log,
        log_name: &str,
    ) -> Result<Self, SpoolOpenError> {
        open::open(options, Some(sink), Purpose::Engine(log, log_name))
    }

    /// Notes durably how far the log is, and that what was here at the open was held against it. Removes the files
    /// of which nothing waits.
    pub(crate) fn bind(&self, log: &Log, log_name: &str) -> Result<(), SpoolOpenError> {
        let mut noted = self.shared.binding();
        let mut next = noted.binding.clone();
        if next.log.is_none() {
            next.log = Some(log_name.to_owned());
            next.since = log.len();
        }
        next.held_against = self.end_at_open;
        let written = self.shared.settle(&mut noted, next, LogEnd::of(log));
        written.map_err(open::at(&self.shared.options.directory))
    }

    /// Notes at a clean close how far the log is. Best effort: what was noted before stays true.
    pub(crate) fn note_end(&self, log: &Log) {
        let name = self.shared.binding().binding.log.clone();
        let failed = self.shared.lock().failed.is_some();
        if let Some(name) = name
            && !failed
            && log.status().is_ok()
        {
            let _ = self.bind(log, &name);
        }
    }

    /// Takes notice of how many records the log has; notes it once in a while.
    pub(crate) fn log_has(&self, records: u64) {
        let note_at = &self.shared.note_at;
        let due = note_at.load(Ordering::Relaxed);
        // Who comes first asks for the note; the note itself says when the next one is due.
        let next = records.saturating_add(NOTE_RECORDS_MAX);
        let order = Ordering::Relaxed;
        if records >= due && note_at.compare_exchange(due, next, order, order).is_ok() {
            self.shared.lock().note_due = true;
            self.shared.wake.notify_one();
        }
    }

    /// Has files looked through of which little waits. Called once the engine runs.
    pub(crate) fn compact(&self) {
        self.shared.lock().compact_due = true;
        self.shared.wake.notify_one();
    }

    /// Whether all keys of the log from this record on were here: what is not here now was acknowledged.
    pub(crate) fn had_key_of(&self, record: u64) -> bool {
        let binding = &self.shared.binding().binding;
        binding.log.is_some() && record >= binding.since
    }

    /// Keys that wait for their acknowledgement.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// Whether a key waits that is delivered that way.
    pub(crate) fn has_waiting(&self, delivery: Delivery) -> bool {
        let state = self.shared.lock();
        let mut places = state.live.values();
        places.any(|place| place.delivery == delivery)
    }

    /// What waits, the oldest first: keys that were gathered out of older files, then the others.
    #[must_use]
    pub fn keys(&self) -> Vec<SpooledKey> {
        let state = self.shared.lock();
        let mut keys: Vec<_> = state.live.iter().collect();
        keys.sort_by_key(|(_, place)| (!place.copied, place.spot()));
        let spooled = |(serial, place): (&Serial, &Place)| SpooledKey {
            serial: *serial,
            delivery: place.delivery,
        };
        keys.into_iter().map(spooled).collect()
    }

    /// A key that waits, as it was released.
    ///
    /// # Errors
    /// [`SpoolError::Unreadable`].
    pub fn get(&self, serial: &[u8]) -> Result<Option<EncryptedKey>, SpoolError> {
        let Ok(serial) = Serial::try_from(serial) else {
            return Ok(None);
        };
        let found = {
            let state = self.shared.lock();
            let place = state.live.get(&serial).copied();
            place.and_then(|place| Some((place, state.files.get(&place.file)?.file.clone())))
        };
        let Some((place, file)) = found else {
            return Ok(None);
        };
        let mut bytes = vec![0; place.bytes as usize];
        file.read_exact_at(&mut bytes, u64::from(place.offset))
            .map_err(|error| SpoolError::Unreadable(error.to_string()))?;
        let damaged = || {
            let name = file::file_name(place.file);
            SpoolError::Unreadable(format!("{name} is damaged at {}", place.offset))
        };
        file::read_entry(&bytes, &serial)
            .map(Some)
            .ok_or_else(damaged)
    }

    /// Lets keys go that the line has, and blocks until that is durable. One outcome for each serial number, in
    /// their order.
    ///
    /// # Errors
    /// What keeps the acknowledgements from being durable. They may be repeated.
    pub fn acknowledge(
        &self,
        serials: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Acknowledgement>, SpoolError> {
        // A serial number of another length is none of ours: one of no key.
        let serials = serials
            .iter()
            .map(|serial| Serial::try_from(serial.as_ref()).unwrap_or_default())
            .collect();
        let (sender, answer) = mpsc::channel();
        {
            let mut state = self.shared.lock();
            state.check()?;
            state.acknowledgements.push(Marking {
                serials,
                answer: sender,
            });
        }
        self.shared.wake.notify_one();
        // A thread that closes answers all first. One that panics lets go of what it has in hand before it says so.
        answer.recv().map_err(|_| SpoolError::panicked())?
    }

    /// Room for a key of at most so many octets, if there is any.
    pub(crate) fn take_room(&self, bytes_max: usize) -> Result<Room, SpoolError> {
        let shared = &self.shared;
        shared.lock().check()?;
        let bytes = file::entry_bytes(bytes_max) as u64;
        let room = Room {
            shared: shared.clone(),
            bytes,
        };
        let held = shared.held.fetch_add(1, Ordering::SeqCst);
        let held_bytes = shared.held_bytes.fetch_add(bytes, Ordering::SeqCst);
        let (keys, options) = (held + self.waiting(), &shared.options);
        let all_bytes = shared.file_bytes.load(Ordering::SeqCst) + held_bytes + bytes;
        if keys < options.keys_max && all_bytes <= options.bytes_max {
            return Ok(room);
        }
        self.compact();
        Err(SpoolError::Full {
            keys,
            keys_max: options.keys_max,
            bytes_max: options.bytes_max,
        })
    }

    /// Writes keys; the sink hears of each. `in_flight` is how much work may still add to them, so that nobody
    /// is waited for who does not come.
    pub(crate) fn write(&self, mut entries: Vec<SpoolEntry>, in_flight: usize) {
        let refused = {
            let mut state = self.shared.lock();
            state.in_flight = in_flight;
            match state.check() {
                Ok(()) => {
                    state.since.get_or_insert_with(Instant::now);
                    state.queue.append(&mut entries);
                    None
                }
                Err(error) => Some(error),
            }
        };
        match refused {
            None => self.shared.wake.notify_one(),
            Some(error) => self.shared.answer(entries, &Err(error)),
        }
    }

    /// Lets a key go that no certificate will follow. It is gone for good with the next sync; if none comes, the
    /// next start finds that there is no certificate.
    pub(crate) fn drop_key(&self, serial: Serial) {
        self.shared.lock().dropped.push(serial);
    }

    /// Serial numbers of the newest keys that wait and were never held against the log.
    pub(crate) fn newest(&self, count: usize) -> Vec<Serial> {
        let held_against = self.shared.binding().binding.held_against;
        let state = self.shared.lock();
        let places = state.live.iter();
        let mut keys: Vec<_> = places
            .filter(|(_, place)| !place.copied && place.spot() >= held_against)
            .map(|(serial, place)| (place.spot(), *serial))
            .collect();
        keys.sort_unstable();
        let older = keys.len().saturating_sub(count);
        keys.drain(older..).map(|(_, serial)| serial).collect()
    }

    fn shut_down(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for KeySpool {
    fn drop(&mut self) {
        self.shut_down();
    }
}
