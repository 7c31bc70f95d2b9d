//! What may be begun and what may be appended: sizes, room, the index, the numbers of records.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{CLOSED_MARK_ROOM, Committer};
use crate::commit::{Append, Reservation};
use crate::error::AppendError;
use crate::record::{self, RECORD_BYTES_MAX, RECORDS_MAX};

impl Committer {
    pub(super) fn check_reservation(&self, reservation: &Reservation) -> Result<(), AppendError> {
        let limit = RECORD_BYTES_MAX as u64;
        let bytes = u64::from(reservation.record_bytes_max);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let lost_record = &reservation.lost_record;
        check_record(lost_record, reservation.record_bytes_max as usize)?;
        // Recovery may have to append it, and a record that cannot be read stops a start.
        self.state.records.source.keys.keys(lost_record)?;
        Ok(())
    }

    /// Whether the promises still hold when this reservation's frame is written and its record
    /// is promised.
    pub(super) fn has_room(&self, payload_bytes: usize, wanted: u64) -> bool {
        self.writer.room_after(payload_bytes) >= self.held + wanted + CLOSED_MARK_ROOM
    }

    /// Nothing new is begun while the index cannot be written: it would grow in memory.
    pub(super) fn index_health(&self) -> Result<(), AppendError> {
        let health = self.state.records.index_health();
        health.map_err(|reason| AppendError::NoSpace {
            bytes: 0,
            reason: format!("the index cannot be written: {reason}").into(),
        })
    }

    /// Whether the index can hold the record of one more reservation.
    pub(super) fn check_positions(&self) -> Result<(), AppendError> {
        let promised = self.writer.next_index() + (self.open.len() + self.items.len()) as u64;
        if promised < RECORDS_MAX {
            return Ok(());
        }
        let reason = Arc::from("the log holds as many records as it can number");
        Err(AppendError::NoSpace { bytes: 0, reason })
    }

    pub(super) fn no_space(&self, bytes: usize) -> AppendError {
        let reason = self.space_failure.clone();
        let reason = reason.unwrap_or_else(|| Arc::from("too much is reserved already"));
        AppendError::NoSpace {
            bytes: bytes as u64,
            reason,
        }
    }
}

pub(super) fn reservation_bytes(payload: usize, wanted: u64) -> usize {
    payload + usize::try_from(wanted).unwrap_or(usize::MAX - payload)
}

pub(super) fn check_append(append: &Append, open: &HashMap<u64, u32>) -> Result<(), AppendError> {
    let reservation = append.reservation;
    let Some(&limit) = open.get(&reservation.0) else {
        return Err(AppendError::UnknownReservation { reservation });
    };
    check_record(&append.record, limit as usize)
}

pub(super) fn check_record(record: &[u8], limit: usize) -> Result<(), AppendError> {
    if record.len() > limit {
        return Err(AppendError::TooLarge {
            bytes: record.len() as u64,
            limit: limit as u64,
        });
    }
    if !record::has_prefix(record) {
        return Err(AppendError::Malformed);
    }
    Ok(())
}
