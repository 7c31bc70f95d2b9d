//! Which log a spool belongs to: a small file in its directory, `LOG`.
//!
//! Whether a key was acknowledged, or has no certificate at all, is told from the log. With another log, or an
//! older copy of the right one, both answers would be wrong and keys be lost. So the spool knows its log's
//! key, how many records the log had and the last of them.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use birthmark_log::{AlignedBytes, Log, RecordIndex, Storage};

use super::open::{SpoolOpenError, UNFINISHED, at};
use crate::hex;
use crate::key::sha256;
use crate::record::{DATA_KEY, Record};

/// Its name.
pub(super) const BINDING_FILE: &str = "LOG";

/// Octets of the file, at most: a log's key has under 1000.
const BINDING_BYTES_MAX: u64 = 4096;

const FIRST_LINE: &str = "birthmark key spool 1";

/// Records that are looked through for a generated key before a first spool is made: some seconds. For a longer
/// log somebody has to say that there was none.
const NEW_SPOOL_RECORDS_MAX: u64 = 1 << 20;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// The log's key, as a verifier key is written; `None` until the next start takes the log that is there.
    pub(super) log: Option<String>,
    /// Every key of a record from this one on was in the spool: what is not there now was acknowledged.
    pub(super) since: u64,
    /// Records that the log had, at least.
    pub(super) records: u64,
    /// SHA-256 of the last of them.
    pub(super) last: [u8; 32],
    /// Keys before this place, file and number in it, were held against the log: none of them is dropped.
    pub(super) held_against: (u64, u32),
}

impl Binding {
    /// For the log that the next start has.
    pub(super) fn to_any_log() -> Self {
        Self {
            log: None,
            since: 0,
            records: 0,
            last: [0; 32],
            held_against: (0, 0),
        }
    }

    pub(super) fn read(
        storage: &dyn Storage,
        directory: &Path,
    ) -> Result<Option<Self>, SpoolOpenError> {
        let path = directory.join(BINDING_FILE);
        let mut bytes = AlignedBytes::default();
        match storage.read_medium(&path, BINDING_BYTES_MAX, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        }
        let text = std::str::from_utf8(&bytes).ok();
        let binding = text.and_then(Self::decode);
        binding.map(Some).ok_or(SpoolOpenError::Damaged {
            path,
            offset: 0,
            what: "it does not say which log the spool belongs to",
        })
    }

    /// `open(LOG.new)`, `pwrite`, `fdatasync`, `rename`, `fsync(dir)`.
    pub(super) fn write(
        &self,
        storage: &dyn Storage,
        directory: &Path,
    ) -> Result<(), SpoolOpenError> {
        let path = directory.join(BINDING_FILE);
        let unfinished = directory.join(format!("{BINDING_FILE}{UNFINISHED}"));
        let write = || {
            let file = storage.create(&unfinished)?;
            file.write_all_at(self.encode().as_bytes(), 0)?;
            file.sync_data()?;
            storage.rename(&unfinished, &path)?;
            storage.sync_dir(directory)
        };
        write().map_err(at(&path))
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
        if log.len() < self.records {
            let (has, had) = (log.len(), self.records);
            return Err(other(format!("its log had {had} records, this one {has}")));
        }
        // What is archived cannot be compared; the log's own checks have it.
        match self
            .records
            .checked_sub(1)
            .map(|last| log.read(RecordIndex(last)))
        {
            Some(Ok(record)) if sha256(&record) != self.last => {
                let last = self.records - 1;
                Err(other(format!("record {last} is another one in its log")))
            }
            _ => Ok(()),
        }
    }

    /// This log as it is now.
    pub(super) fn at_end_of(mut self, log: &Log, name: &str) -> Self {
        let records = log.len();
        if self.log.is_none() {
            self.log = Some(name.to_owned());
            self.since = records;
        }
        let last = records.checked_sub(1);
        // One that cannot be read now is not compared later: what was known before stays.
        match last.map(|last| log.read(RecordIndex(last))) {
            Some(Ok(record)) => (self.records, self.last) = (records, sha256(&record)),
            _ => return self,
        }
        self
    }

    fn encode(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\n{}\n{} {} {}\n{} {}\n",
            self.log.as_deref().unwrap_or("-"),
            self.since,
            self.records,
            hex::encode(&self.last),
            self.held_against.0,
            self.held_against.1,
        );
        let digest = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "{digest:08x}");
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == FIRST_LINE).then_some(())?;
        let log = lines.next()?;
        let mut log_words = lines.next()?.split(' ');
        let (since, records) = (log_words.next()?, log_words.next()?);
        let mut last = [0; 32];
        let written = log_words.next()?;
        for (octet, digits) in last.iter_mut().zip(written.as_bytes().chunks(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let (file, keys) = lines.next()?.split_once(' ')?;
        let binding = Self {
            log: (log != "-").then(|| log.to_owned()),
            since: since.parse().ok()?,
            records: records.parse().ok()?,
            last,
            held_against: (file.parse().ok()?, keys.parse().ok()?),
        };
        // The digest too: what is not written exactly so was not written here.
        (binding.encode() == text).then_some(binding)
    }
}

/// Whether a log certainly has no generated key: then a missing spool was never there.
pub(super) fn needs_no_spool(log: &Log) -> bool {
    log.len() <= NEW_SPOOL_RECORDS_MAX
        && (0..log.len()).all(|index| match log.read(RecordIndex(index)) {
            Ok(record) => match Record::decode(&record) {
                Ok(Record::Issued(issued)) => !issued.data.contains_key(DATA_KEY),
                Ok(_) => true,
                Err(_) => false,
            },
            Err(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_octet_is_noticed() {
        let binding = Binding {
            log: Some("a+b+c".to_owned()),
            since: 3,
            records: 70_000,
            last: [0xa7; 32],
            held_against: (12, 345),
        };
        let text = binding.encode();
        assert_eq!(Binding::decode(&text), Some(binding));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Binding::decode(&changed), None, "{at}");
            assert_eq!(Binding::decode(&text[..at]), None, "{at}");
        }
        let any = Binding::to_any_log();
        assert_eq!(Binding::decode(&any.encode()), Some(any));
    }
}
