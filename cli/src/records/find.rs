//! Finding records.

use std::sync::{Mutex, PoisonError};

use birthmark_engine::record::Record;
use birthmark_log::{LogReader, RecordIndex, VerifyError};

use super::view::record_serial;

/// Indexes of all records with this serial number, given without leading zeros, in the order of the
/// log. Reads the whole log, on all cores.
pub(super) fn with_serial(
    reader: &LogReader,
    serial: &[u8],
) -> Result<Vec<RecordIndex>, VerifyError> {
    let found = Mutex::new(Vec::new());
    reader.scan(None, &|index, bytes| {
        let Ok(record) = Record::decode(bytes) else {
            return;
        };
        if record_serial(&record) == Some(serial) {
            found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(index);
        }
    })?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable();
    Ok(found)
}
