//! Opening a spool: what its files hold, and how far the newest one got.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex};

use birthmark_log::{AlignedBytes, Log, Storage};

use super::binding::{BINDING_FILE, Binding, needs_no_spool};
use super::file::{self, Scan, file_name, file_number, scan};
use super::thread::{Current, Writer};
use super::{FileState, KeySpool, Place, Shared, SpoolOptions, SpoolSink, State};

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
        "the spool's file {path} is damaged at {offset}: {what}; keys in it may be lost. Restore it, or \
         move it away and say so (birthmark key init): devices whose keys were not delivered then need a reissue",
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
    let mut binding = match purpose {
        Purpose::Init => Binding::to_any_log(),
        _ => Binding::read(&*storage, &directory)?.unwrap_or_else(Binding::to_any_log),
    };
    if let Purpose::Engine(log, name) = purpose {
        binding.check(log, name, &directory)?;
    }
    let (state, current) = load(&*storage, &options)?;
    let end = current.place();
    if let Purpose::Init = purpose {
        // No key that is here is held against a log that may not know it.
        binding = Binding {
            held_against: end,
            ..Binding::to_any_log()
        };
        binding.write(&*storage, &directory)?;
    }
    let shared = Arc::new(Shared {
        live: AtomicUsize::new(state.live.len()),
        file_bytes: AtomicU64::new(state.files.len() as u64 * options.file_bytes),
        held: AtomicUsize::new(0),
        held_bytes: AtomicU64::new(0),
        state: Mutex::new(state),
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
        binding: Mutex::new(binding),
        end_at_open: end,
        _lock: lock,
    })
}

/// What a spool is opened for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// To make keys for this log, whose key is written so. Makes a first spool.
    Engine(&'a Log, &'a str),
    /// To look and to acknowledge.
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
    storage
        .create_private_dir(directory)
        .map_err(at(directory))?;
    if let Some(above) = directory.parent() {
        let above = match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        };
        storage.sync_dir(above).map_err(at(above))?;
    }
    Ok(())
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

/// Reads all files. Whatever is not finished goes, and files of which nothing waits any more.
fn load(storage: &dyn Storage, options: &SpoolOptions) -> Result<(State, Current), SpoolOpenError> {
    let directory = &options.directory;
    let mut numbers = Vec::new();
    for name in storage.list(directory).map_err(at(directory))? {
        let path = directory.join(&name);
        if name.ends_with(UNFINISHED) {
            storage.remove(&path).map_err(at(&path))?;
        } else if let Some(number) = file_number(&name) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    let mut state = State::default();
    let newest = numbers.last().copied();
    let mut current = Current::before(newest.map_or(0, |newest| newest + 1));
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
        let waiting = read.keys.iter().filter(|key| !key.done).count();
        if waiting == 0 && !is_newest {
            storage.remove(&path).map_err(at(&path))?;
            continue;
        }
        let file = storage.open(&path, true).map_err(at(&path))?;
        if is_newest {
            // What an unfinished write left must not look like part of the next ones.
            let rest = vec![0; bytes.len() - read.end as usize];
            file.write_all_at(&rest, read.end).map_err(at(&path))?;
            file.sync_data().map_err(at(&path))?;
            if bytes.len() as u64 == options.file_bytes {
                current = Current::resumed(number, &read);
            }
        }
        let live = waiting as u32;
        state.files.insert(number, FileState { file, live });
        state.add(number, &read);
    }
    Ok((state, current))
}

impl State {
    fn add(&mut self, number: u64, read: &Scan) {
        for key in read.keys.iter().filter(|key| !key.done) {
            let place = Place {
                file: number,
                offset: key.offset,
                bytes: key.bytes,
                ordinal: key.ordinal,
                delivery: key.delivery,
            };
            self.live.insert(key.serial, place);
        }
    }
}
