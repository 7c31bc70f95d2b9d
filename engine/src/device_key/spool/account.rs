//! What a log says of its spool: which keys must be there, and whether there ever was one.
//!
//! A spool cannot tell a batch that was never durable from one that was damaged afterwards: both cannot be
//! read, and nothing follows them. The log can. A key is durable in the spool before its certificate's
//! serial number is reserved; so a record of a generated key says that its batch was whole. Which records can
//! speak of keys that are still here is told by the spool's last note ([`super::binding`]): a file is
//! removed after a note of how far the log was, and its keys have older records.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use birthmark_log::{Log, RecordIndex};

use super::Serial;
use super::binding::Binding;
use super::file::file_name;
use super::open::SpoolOpenError;
use crate::audit::certificate_serial;
use crate::record::{DATA_KEY, Record};

/// Records that are looked through for a generated key before a first spool is made: some seconds. For a longer
/// log somebody has to say that there was none.
const NEW_SPOOL_RECORDS_MAX: u64 = 1 << 20;

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

/// Keys that have to be in the spool's files, waiting or done with, or they were lost.
#[derive(Debug, Default)]
pub(super) struct Account {
    missing: HashSet<Serial>,
}

impl Account {
    /// The generated keys of all records since the spool's last note. A record that cannot be read says nothing;
    /// the log's own checks have it.
    pub(super) fn of(binding: &Binding, log: &Log) -> Self {
        if binding.log.is_none() {
            return Self::default();
        }
        let records = (binding.log_end.records..log.len()).map(RecordIndex);
        let missing = records.filter_map(|index| generated_serial(&log.read(index).ok()?));
        Self {
            missing: missing.collect(),
        }
    }

    /// Ticks off a key that was found.
    pub(super) fn found(&mut self, serial: &Serial) {
        if !self.missing.is_empty() {
            self.missing.remove(serial);
        }
    }

    /// Refuses a spool that is not what its last note and the log say. `end` is how far its newest file is filled,
    /// and `offset` the place there.
    pub(super) fn close(
        &self,
        binding: &Binding,
        there: &BTreeSet<u64>,
        (end, offset): ((u64, u32), u64),
        directory: &Path,
    ) -> Result<(), SpoolOpenError> {
        let damaged = |file, offset, what| {
            Err(SpoolOpenError::Damaged {
                path: directory.join(file_name(file)),
                offset,
                what,
            })
        };
        if let Some(missing) = binding.files.missing_from(there) {
            return damaged(missing, 0, "the file is gone");
        }
        if end < binding.end {
            return damaged(
                end.0,
                offset,
                "keys that were durable are gone from its end",
            );
        }
        match self.missing.is_empty() {
            true => Ok(()),
            false => damaged(
                end.0,
                offset,
                "keys of certificates in the log are gone, most likely from its end",
            ),
        }
    }
}

/// The serial number of a certificate whose key the engine made.
fn generated_serial(record: &[u8]) -> Option<Serial> {
    match Record::decode(record) {
        Ok(Record::Issued(issued)) if issued.data.contains_key(DATA_KEY) => {
            certificate_serial(issued.certificate)?.try_into().ok()
        }
        _ => None,
    }
}
