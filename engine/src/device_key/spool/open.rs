//! Opening a spool: what its files hold, and how far the newest one got.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex};

use birthmark_log::{AlignedBytes, Log, Storage};

use super::account::{Account, needs_no_spool};
use super::binding::{BINDING_FILE, Binding, BindingFile};
use super::file::{self, Scan, file_name, file_number, scan};
use super::state::{FileState, Place, Shared, State};
use super::thread::{Current, Writer, write_marks};
use super::{KeySpool, Serial, SpoolOptions, SpoolSink};

/// Its lock says who writes.
const LOCK_FILE: &str = "LOCK";

/// Ends the name of a file that is not finished.
pub(super) const UNFINISHED: &str = ".new";

/// Why a spool does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolOpenError {
    /// An option is out of range.
    #[error("the spool of generated keys: {0}")]
    Option(&'static str),
    /// Somebody else has it.
    #[error("the spool {path} is in use by another process", path = path.display())]
    Locked {
        /// Its directory.
        path: PathBuf,
    },
    /// There is none where it should be.
    #[error(
        "there is no spool of generated keys in {path}: mount or restore it. If it is lost, make another one \
         (birthmark key init); devices whose keys were not delivered then need a reissue",
        path = path.display()
    )]
    Missing {
        /// Its directory.
        path: PathBuf,
    },
    /// It belongs to another log, or to a newer copy of this one.
    #[error(
        "the spool {path} does not belong to this log: {what}. Give each log a spool of its own \
         (device_keys.spool) or restore the log's newest copy; or let this log have the spool and all keys \
         in it (birthmark key init)",
        path = path.display()
    )]
    OtherLog {
        /// Its directory.
        path: PathBuf,
        /// What is different.
        what: String,
    },
    /// The file system refuses something.
    #[error("the spool of generated keys: {path}", path = path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error(
        "the spool's file {path} is damaged at {offset}: {what}. Nothing was changed. Restore the file; or, if \
         that cannot be, let the keys go that cannot be read (birthmark key init, which says so if the file has \
         to be moved away first): devices whose keys were not delivered then need a reissue",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> SpoolOpenError {
    move |source| SpoolOpenError::Storage {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn open(
    options: SpoolOptions,
    sink: Option<Arc<dyn SpoolSink>>,
    purpose: Purpose<'_>,
) -> Result<KeySpool, SpoolOpenError> {
    check(&options)?;
    let (storage, directory) = (options.storage.clone(), options.directory.clone());
    have_directory(&*storage, &directory, &purpose)?;
    let path = directory.join(LOCK_FILE);
    let lock = storage.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => SpoolOpenError::Locked {
            path: directory.clone(),
        },
        _ => at(&path)(source),
    })?;
    let (loaded, binding) = match purpose {
        Purpose::Engine(log, name) => {
            let binding = read_binding(&*storage, &directory)?;
            binding.binding.check(log, name, &directory)?;
            let mut account = Account::of(&binding.binding, log);
            let loaded = load(&*storage, &options, &mut account)?;
            loaded.hold_against(&account, &binding.binding, &directory)?;
            loaded.repair(&*storage, &directory)?;
            (loaded, binding)
        }
        Purpose::Keys => {
            let binding = read_binding(&*storage, &directory)?;
            let account = &mut Account::default();
            let loaded = load(&*storage, &options, account)?;
            loaded.hold_against(account, &binding.binding, &directory)?;
            (loaded, binding)
        }
        Purpose::Init => {
            let loaded = load(&*storage, &options, &mut Account::default())?;
            // No key that is here is held against a log that may not know it.
            let next = loaded.state.noted_in(Binding {
                held_against: loaded.state.end,
                ..Binding::to_any_log()
            });
            let mut binding = BindingFile::new(next.clone());
            let written = binding.write(&*storage, &directory, next);
            written.map_err(at(&directory.join(BINDING_FILE)))?;
            (loaded, binding)
        }
    };
    start(options, sink, loaded, binding, lock)
}

/// What a spool without a note is for: any log.
fn read_binding(storage: &dyn Storage, directory: &Path) -> Result<BindingFile, SpoolOpenError> {
    let read = BindingFile::read(storage, directory)?;
    Ok(read.unwrap_or_else(|| BindingFile::new(Binding::to_any_log())))
}

fn start(
    options: SpoolOptions,
    sink: Option<Arc<dyn SpoolSink>>,
    loaded: Loaded,
    binding: BindingFile,
    lock: birthmark_log::LockGuard,
) -> Result<KeySpool, SpoolOpenError> {
    let Loaded { state, current, .. } = loaded;
    let (end, directory) = (state.end, options.directory.clone());
    let shared = Arc::new(Shared {
        live: AtomicUsize::new(state.live.len()),
        file_bytes: AtomicU64::new(state.files.len() as u64 * options.file_bytes),
        held: AtomicUsize::new(0),
        held_bytes: AtomicU64::new(0),
        // Until it is bound to its log.
        note_at: AtomicU64::new(u64::MAX),
        state: Mutex::new(state),
        binding: Mutex::new(binding),
        wake: Condvar::new(),
        options,
        sink,
    });
    let writer = Writer::new(shared.clone(), current);
    let thread = std::thread::Builder::new()
        .name("key-spool".to_owned())
        .spawn(move || writer.run())
        .map_err(at(&directory))?;
    Ok(KeySpool {
        shared,
        thread: Some(thread),
        end_at_open: end,
        _lock: lock,
    })
}

/// What a spool is opened for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// To make keys for this log, whose key is written so. Makes a first spool.
    Engine(&'a Log, &'a str),
    /// To look and to acknowledge. Writes marks and nothing else.
    Keys,
    /// To be the spool of the log that the next start has, whatever was before.
    Init,
}

/// A spool that is missing is made only where none can have been.
fn have_directory(
    storage: &dyn Storage,
    directory: &Path,
    purpose: &Purpose<'_>,
) -> Result<(), SpoolOpenError> {
    let names = match storage.list(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(at(directory)(error)),
    };
    if names.iter().any(|name| name == BINDING_FILE) {
        return Ok(());
    }
    let has_keys = names.iter().any(|name| file_number(name).is_some());
    let may_make = match purpose {
        Purpose::Engine(log, _) => !has_keys && needs_no_spool(log),
        Purpose::Keys => false,
        Purpose::Init => true,
    };
    if !may_make {
        return Err(SpoolOpenError::Missing {
            path: directory.to_owned(),
        });
    }
    let holders = new_names_in(storage, directory);
    storage
        .create_private_dir(directory)
        .map_err(at(directory))?;
    for holder in holders {
        storage.sync_dir(holder).map_err(at(holder))?;
    }
    Ok(())
}

/// The directories that get a new name when this one is made: those above it, up to the lowest that is there.
fn new_names_in<'a>(storage: &dyn Storage, directory: &'a Path) -> Vec<&'a Path> {
    let mut holders = Vec::new();
    for above in directory.ancestors().skip(1) {
        let above = match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        };
        holders.push(above);
        if storage.list(above).is_ok() {
            break;
        }
    }
    holders
}

fn check(options: &SpoolOptions) -> Result<(), SpoolOpenError> {
    if !file::is_file_length(options.file_bytes) {
        let rule = "file_bytes is a multiple of 65536 from 131072 to 67108864";
        return Err(SpoolOpenError::Option(rule));
    }
    if options.keys_max == 0 || options.sync_keys_max == 0 {
        return Err(SpoolOpenError::Option("it must take at least one key"));
    }
    if options.bytes_max < 2 * options.file_bytes {
        return Err(SpoolOpenError::Option(
            "it needs room for at least two files",
        ));
    }
    Ok(())
}

/// What the files hold. Nothing is changed by looking.
struct Loaded {
    state: State,
    current: Current,
    /// Where the newest file's next batch begins, and the octets from there to its end.
    tail: (u64, usize),
    /// Files that are not finished.
    unfinished: Vec<PathBuf>,
    /// Keys whose newer copy counts: file, and number there.
    outdated: BTreeMap<u64, Vec<(Serial, u32)>>,
}

fn load(
    storage: &dyn Storage,
    options: &SpoolOptions,
    account: &mut Account,
) -> Result<Loaded, SpoolOpenError> {
    let directory = &options.directory;
    let mut loaded = Loaded {
        state: State::default(),
        current: Current::before(0),
        tail: (0, 0),
        unfinished: Vec::new(),
        outdated: BTreeMap::new(),
    };
    let mut numbers = BTreeSet::new();
    for name in storage.list(directory).map_err(at(directory))? {
        if name.ends_with(UNFINISHED) {
            loaded.unfinished.push(directory.join(&name));
        } else if let Some(number) = file_number(&name) {
            numbers.insert(number);
        }
    }
    let newest = numbers.last().copied();
    let mut bytes = AlignedBytes::default();
    for number in numbers {
        let path = directory.join(file_name(number));
        // From the medium: after a failed sync, the system's cache may show what the disk does not have.
        storage
            .read_medium(&path, file::FILE_BYTES_MAX, &mut bytes)
            .map_err(at(&path))?;
        let damaged = |offset, what| SpoolOpenError::Damaged {
            path: path.clone(),
            offset,
            what,
        };
        let read = scan(&bytes, number).map_err(|damage| damaged(damage.offset, damage.what))?;
        let is_newest = newest == Some(number);
        if read.torn && !is_newest {
            return Err(damaged(read.end, "a batch cannot be read"));
        }
        let file = storage.open(&path, true).map_err(at(&path))?;
        loaded.state.files.insert(number, FileState::new(file));
        if is_newest {
            loaded.tail = (read.end, bytes.len() - read.end as usize);
            loaded.state.end = (number, read.keys.len() as u32);
            loaded.current = match bytes.len() as u64 == options.file_bytes {
                true => Current::resumed(number, &read),
                false => Current::before(number + 1),
            };
        }
        loaded.add(number, &read, account);
    }
    Ok(loaded)
}

impl Loaded {
    fn add(&mut self, number: u64, read: &Scan, account: &mut Account) {
        for key in &read.keys {
            account.found(&key.serial);
            // The newest copy of a key says whether it waits.
            if key.copied
                && let Some(older) = self.state.remove(&key.serial)
            {
                let outdated = self.outdated.entry(older.file).or_default();
                outdated.push((key.serial, older.ordinal));
            }
            if !key.done {
                let place = Place {
                    file: number,
                    offset: key.offset,
                    bytes: key.bytes,
                    ordinal: key.ordinal,
                    delivery: key.delivery,
                    copied: key.copied,
                };
                self.state.insert(key.serial, place);
            }
        }
    }

    fn hold_against(
        &self,
        account: &Account,
        binding: &Binding,
        directory: &Path,
    ) -> Result<(), SpoolOpenError> {
        let there = self.state.files.keys().copied().collect();
        let end = (self.state.end, self.tail.0);
        account.close(binding, &there, end, directory)
    }

    /// Takes away what unfinished work left: files without a name, a torn tail, marks that a copied key's old place
    /// does not have yet. Only for a spool that was held against its log.
    fn repair(&self, storage: &dyn Storage, directory: &Path) -> Result<(), SpoolOpenError> {
        for path in &self.unfinished {
            storage.remove(path).map_err(at(path))?;
        }
        let file = |number: &u64| self.state.files.get(number).map(|state| &state.file);
        let newest = self.state.end.0;
        if let Some(file) = file(&newest) {
            let path = directory.join(file_name(newest));
            // What an unfinished write left must not look like part of the next ones.
            let (end, bytes) = self.tail;
            file.write_all_at(&vec![0; bytes], end).map_err(at(&path))?;
            file.sync_data().map_err(at(&path))?;
        }
        for (number, marks) in &self.outdated {
            if let Some(file) = file(number) {
                let path = directory.join(file_name(*number));
                write_marks(&**file, *number, marks).map_err(at(&path))?;
            }
        }
        Ok(())
    }
}
