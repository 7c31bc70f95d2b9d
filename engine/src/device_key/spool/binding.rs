//! What a spool knows of its log and of itself: a small file in its directory, `LOG`.
//!
//! Whether a key was acknowledged, or has no certificate at all, is told from the log. With another log, or an
//! older copy of the right one, both answers would be wrong and keys be lost. So the spool knows its log's
//! key, how many records the log had and the last of them. It also knows which files it had then and how far the
//! newest was filled: a key of an older record stands before that end, and the newer records are held against
//! the files themselves ([`super::account`]). So a durable key that is gone is always missed.
//!
//! ```text
//! 0        one note, its text and zeros
//! 16384    the note before it, or after it: they take turns, so that one is always whole
//! ```
//!
//! Notes are written in place and need no room on a full disk.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;

use birthmark_log::{AlignedBytes, Log, RecordIndex, Storage, StorageFile};

use super::open::{SpoolOpenError, UNFINISHED, at};
use crate::hex;
use crate::key::sha256;

/// Its name.
pub(super) const BINDING_FILE: &str = "LOG";

/// Octets of a note's place: its fixed part has under 2000, because a log's key has under 1000.
const SLOT_BYTES: usize = 16 << 10;

const SLOTS: u64 = 2;

/// Octets of the list of files, at most: 512 files, the default limit, fit however they lie, up to file
/// 99,999,999,999.
const FILES_TEXT_BYTES_MAX: usize = 12 << 10;

const FIRST_LINE: &str = "birthmark key spool 2";

/// How far a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// Its records.
    pub(crate) records: u64,
    /// SHA-256 of the last of them, if it can be read.
    pub(crate) last: Option<[u8; 32]>,
}

impl LogEnd {
    pub(crate) fn of(log: &Log) -> Self {
        let records = log.len();
        let last = records.checked_sub(1).map(RecordIndex);
        let last = last.and_then(|last| log.read(last).ok());
        Self {
            records,
            last: last.map(|record| sha256(&record)),
        }
    }
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// The log's key, as a verifier key is written; `None` until the next start takes the log that is there.
    pub(super) log: Option<String>,
    /// Every key of a record from this one on was in the spool: what is not there now was acknowledged.
    pub(super) since: u64,
    /// How far the log was, at least. What was removed from the spool before has records below that.
    pub(super) log_end: LogEnd,
    /// Keys before this place, file and number in it, were held against the log: none of them is dropped.
    pub(super) held_against: (u64, u32),
    /// How far the newest file was filled, durably: its number, and its keys.
    pub(super) end: (u64, u32),
    /// The files that there were.
    pub(super) files: FileList,
}

impl Binding {
    /// For the log that the next start has.
    pub(super) fn to_any_log() -> Self {
        Self {
            log: None,
            since: 0,
            log_end: LogEnd {
                records: 0,
                last: None,
            },
            held_against: (0, 0),
            end: (0, 0),
            files: FileList::default(),
        }
    }

    /// Refuses a log that is another one, or an older copy.
    pub(super) fn check(
        &self,
        log: &Log,
        name: &str,
        directory: &Path,
    ) -> Result<(), SpoolOpenError> {
        let Some(bound) = &self.log else {
            return Ok(());
        };
        let other = |what: String| SpoolOpenError::OtherLog {
            path: directory.to_owned(),
            what,
        };
        if bound != name {
            return Err(other(format!("its log has the key {bound}, not {name}")));
        }
        let LogEnd { records, last } = &self.log_end;
        if log.len() < *records {
            let has = log.len();
            return Err(other(format!(
                "its log had {records} records, this one {has}"
            )));
        }
        // What is archived cannot be compared; the log's own checks have it.
        match (records.checked_sub(1), last) {
            (Some(index), Some(last)) => match log.read(RecordIndex(index)) {
                Ok(record) if sha256(&record) != *last => {
                    Err(other(format!("record {index} is another one in its log")))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn encode(&self, sequence: u64) -> String {
        let last = self.log_end.last.map(|last| hex::encode(&last));
        let mut text = format!(
            "{FIRST_LINE}\n{sequence}\n{}\n{} {} {}\n{} {}\n{} {}\n{}\n",
            self.log.as_deref().unwrap_or("-"),
            self.since,
            self.log_end.records,
            last.as_deref().unwrap_or("-"),
            self.held_against.0,
            self.held_against.1,
            self.end.0,
            self.end.1,
            self.files.encode(),
        );
        let digest = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "{digest:08x}");
        text
    }

    fn decode(text: &str) -> Option<(u64, Self)> {
        fn numbers<A: std::str::FromStr, B: std::str::FromStr>(line: &str) -> Option<(A, B)> {
            let (first, second) = line.split_once(' ')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        }
        let mut lines = text.lines();
        (lines.next()? == FIRST_LINE).then_some(())?;
        let sequence = lines.next()?.parse().ok()?;
        let log = lines.next()?;
        let (since, log_end) = lines.next()?.split_once(' ')?;
        let (records, last) = log_end.split_once(' ')?;
        let binding = Self {
            log: (log != "-").then(|| log.to_owned()),
            since: since.parse().ok()?,
            log_end: LogEnd {
                records: records.parse().ok()?,
                last: hex_digest(last),
            },
            held_against: numbers(lines.next()?)?,
            end: numbers(lines.next()?)?,
            files: FileList::decode(lines.next()?)?,
        };
        // The digest too: what is not written exactly so was not written here.
        (binding.encode(sequence) == text).then_some((sequence, binding))
    }
}

fn hex_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (octet, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// Numbers of files: the newest ones, where all are too many to write down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileList {
    /// First and last of each run, the newest run first.
    runs: Vec<(u64, u64)>,
}

impl FileList {
    /// Takes the numbers from the largest on.
    pub(super) fn newest_of(descending: impl Iterator<Item = u64>) -> Self {
        let mut list = Self::default();
        let mut bytes = 0;
        for number in descending {
            match list.runs.last_mut() {
                Some((first, _)) if number + 1 == *first => *first = number,
                _ => {
                    // Two numbers with as many digits, at most, and what parts them.
                    bytes += 2 * (number.checked_ilog10().unwrap_or(0) as usize + 2);
                    if bytes > FILES_TEXT_BYTES_MAX {
                        break;
                    }
                    list.runs.push((number, number));
                }
            }
        }
        list
    }

    /// One that is listed and not there.
    pub(super) fn missing_from(&self, there: &BTreeSet<u64>) -> Option<u64> {
        let mut listed = self.runs.iter().flat_map(|(first, last)| *first..=*last);
        // Ends at the first that is missing: a run is no longer than what is there.
        listed.find(|number| !there.contains(number))
    }

    fn encode(&self) -> String {
        let runs = self
            .runs
            .iter()
            .map(|(first, last)| format!("{first}-{last}"));
        runs.collect::<Vec<_>>().join(",")
    }

    fn decode(text: &str) -> Option<Self> {
        let runs = text.split(',').filter(|run| !run.is_empty());
        let run = |run: &str| {
            let (first, last) = run.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let runs = runs.map(run).collect::<Option<_>>()?;
        Some(Self { runs })
    }
}

/// The file: its newest note, and where the next one goes.
pub(super) struct BindingFile {
    /// `None` until it is made.
    file: Option<Arc<dyn StorageFile>>,
    sequence: u64,
    pub(super) binding: Binding,
}

impl BindingFile {
    /// For a spool that has none yet, or is to have another one.
    pub(super) fn new(binding: Binding) -> Self {
        Self {
            file: None,
            sequence: 0,
            binding,
        }
    }

    pub(super) fn read(
        storage: &dyn Storage,
        directory: &Path,
    ) -> Result<Option<Self>, SpoolOpenError> {
        let path = directory.join(BINDING_FILE);
        let mut bytes = AlignedBytes::default();
        let bytes_max = SLOTS * SLOT_BYTES as u64;
        match storage.read_medium(&path, bytes_max, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        }
        let notes = bytes.chunks(SLOT_BYTES).filter_map(note);
        let Some((sequence, binding)) = notes.max_by_key(|(sequence, _)| *sequence) else {
            return Err(SpoolOpenError::Damaged {
                path,
                offset: 0,
                what: "it does not say which log the spool belongs to",
            });
        };
        let file = storage.open(&path, true).map_err(at(&path))?;
        Ok(Some(Self {
            file: Some(file),
            sequence,
            binding,
        }))
    }

    /// Writes the next note: `pwrite`, `fdatasync`. The first time `open(LOG.new)`, `pwrite`, `fdatasync`,
    /// `rename`, `fsync(dir)`.
    pub(super) fn write(
        &mut self,
        storage: &dyn Storage,
        directory: &Path,
        next: Binding,
    ) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let mut slot = next.encode(sequence).into_bytes();
        slot.resize(SLOT_BYTES, 0);
        match &self.file {
            Some(file) => {
                file.write_all_at(&slot, sequence % SLOTS * SLOT_BYTES as u64)?;
                file.sync_data()?;
            }
            None => {
                let path = directory.join(BINDING_FILE);
                let unfinished = directory.join(format!("{BINDING_FILE}{UNFINISHED}"));
                let file = storage.create(&unfinished)?;
                file.write_all_at(&[0; SLOT_BYTES * SLOTS as usize], 0)?;
                file.write_all_at(&slot, sequence % SLOTS * SLOT_BYTES as u64)?;
                file.sync_data()?;
                storage.rename(&unfinished, &path)?;
                storage.sync_dir(directory)?;
                self.file = Some(file);
            }
        }
        (self.sequence, self.binding) = (sequence, next);
        Ok(())
    }
}

/// The note in a place, if it is whole.
fn note(slot: &[u8]) -> Option<(u64, Binding)> {
    let end = slot.iter().position(|octet| *octet == 0)?;
    let (text, rest) = slot.split_at(end);
    rest.iter().all(|octet| *octet == 0).then_some(())?;
    Binding::decode(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use birthmark_log::DiskStorage;

    use super::*;

    fn binding() -> Binding {
        Binding {
            log: Some("a+b+c".to_owned()),
            since: 3,
            log_end: LogEnd {
                records: 70_000,
                last: Some([0xa7; 32]),
            },
            held_against: (12, 345),
            end: (14, 9),
            files: FileList::newest_of([14, 13, 12, 9, 7, 6].into_iter()),
        }
    }

    #[test]
    fn every_changed_octet_is_noticed() {
        let binding = binding();
        let text = binding.encode(5);
        assert_eq!(Binding::decode(&text), Some((5, binding)));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Binding::decode(&changed), None, "{at}");
            assert_eq!(Binding::decode(&text[..at]), None, "{at}");
        }
        let any = Binding::to_any_log();
        assert_eq!(Binding::decode(&any.encode(0)), Some((0, any)));
    }

    #[test]
    fn files_are_listed_as_far_as_there_is_room() {
        let there: BTreeSet<u64> = [6, 7, 9, 12, 13, 14].into();
        let listed = FileList::newest_of(there.iter().rev().copied());
        assert_eq!(listed.encode(), "12-14,9-9,6-7");
        assert_eq!(listed.missing_from(&there), None);
        for gone in &there {
            let mut left = there.clone();
            left.remove(gone);
            assert_eq!(listed.missing_from(&left), Some(*gone));
        }
        // Every second one, and long numbers: what does not fit are the oldest.
        let numbers = || {
            (0..5_000)
                .rev()
                .map(|number| u64::MAX - 10_000 + 2 * number)
        };
        let long = Binding {
            files: FileList::newest_of(numbers()),
            ..binding()
        };
        let text = long.encode(u64::MAX);
        assert!(text.len() < SLOT_BYTES - 1000, "{}", text.len());
        assert_eq!(Binding::decode(&text), Some((u64::MAX, long.clone())));
        let newest = numbers().next().unwrap();
        assert_eq!(long.files.missing_from(&BTreeSet::new()), Some(newest));
        assert!(long.files.runs.len() > 250);
    }

    #[test]
    fn a_note_that_is_cut_short_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = BindingFile::new(Binding::to_any_log());
        let noted = |records| {
            let mut next = binding();
            next.log_end.records = records;
            next
        };
        for records in 1..=5 {
            let write = file.write(&DiskStorage, folder.path(), noted(records));
            write.unwrap();
            let read = BindingFile::read(&DiskStorage, folder.path())
                .unwrap()
                .unwrap();
            assert_eq!(read.binding, noted(records));
        }
        let path = folder.path().join(BINDING_FILE);
        let sound = std::fs::read(&path).unwrap();
        let newest = SLOT_BYTES; // sequence 5 is odd: the second slot
        for at in [newest, newest + 100, newest + SLOT_BYTES - 1] {
            let mut cut = sound.clone();
            cut[at] ^= 1;
            std::fs::write(&path, &cut).unwrap();
            let read = BindingFile::read(&DiskStorage, folder.path())
                .unwrap()
                .unwrap();
            assert_eq!(read.binding, noted(4), "{at}");
            cut[SLOT_BYTES - newest] ^= 1;
            std::fs::write(&path, cut).unwrap();
            let read = BindingFile::read(&DiskStorage, folder.path());
            assert!(matches!(read, Err(SpoolOpenError::Damaged { .. })));
        }
    }
}
