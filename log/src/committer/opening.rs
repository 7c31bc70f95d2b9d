//! The caller's record of a start: it stands before anything that was begun after that start.

use super::admission::check_record;
use super::{Committer, Item};
use crate::batch::NO_RESERVATION;
use crate::clock::Stamp;
use crate::error::AppendError;
use crate::record::{RECORD_BYTES_MAX, RecordKeys};

impl Committer {
    /// Takes the record, which has no keys, and writes it at once if the clock and the disk let it.
    /// Otherwise it is written before the first reservation, which needs both as well: a station whose
    /// clock is wrong can still answer what it answered before.
    ///
    /// # Errors
    /// When these bytes can never be a record, or have keys: it claims nothing.
    pub(crate) fn record_opening(&mut self, record: Vec<u8>) -> Result<(), AppendError> {
        check_record(&record, RECORD_BYTES_MAX)?;
        if self.state.records.source.keys.keys(&record)? != RecordKeys::default() {
            return Err(AppendError::Malformed);
        }
        self.opening = Some(record);
        let stamp = self.state.clock.read();
        self.begin();
        if stamp.admits.is_ok() && self.take_opening(&stamp) && self.writer.batch.count() > 0 {
            self.commit(&stamp);
        }
        self.state.status()
    }

    /// Puts the record into the batch, if it has not been written. `false` when there is no room for it.
    pub(super) fn take_opening(&mut self, stamp: &Stamp) -> bool {
        let (Some(record), Ok(time_ms)) = (&self.opening, &stamp.time_ms) else {
            return self.opening.is_none();
        };
        if !self.writer.fits_new(record.len()) || !self.has_room(record.len(), 0) {
            return false;
        }
        let batch = &mut self.writer.batch;
        let offset = batch.push_record(NO_RESERVATION, record, *time_ms) as u32;
        self.items.push(Item::Appended {
            ticket: None,
            keys: RecordKeys::default(),
            offset,
        });
        self.opening = None;
        true
    }
}
