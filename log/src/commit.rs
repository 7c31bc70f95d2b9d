//! What goes into the log and what comes back: reservations, appends, and one answer for each.

use crate::error::AppendError;
use crate::record::{RecordIndex, ReservationId};

/// Announces a record before it exists. Once answered with [`Committed::Reserved`] it leaves a
/// trace whatever happens: either a record is appended for it, or recovery appends `lost_record`.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The caller's own number; comes back in [`Commit::ticket`].
    pub ticket: u64,
    /// The whole record that recovery appends when no other record closes this reservation; its
    /// time stamp is overwritten then. At most `record_bytes_max` long.
    pub lost_record: Vec<u8>,
    /// Room in bytes that is held for the record, so that a full disk cannot stop it: the largest
    /// record that may be appended for this reservation. At most
    /// [`RECORD_BYTES_MAX`](crate::RECORD_BYTES_MAX).
    pub record_bytes_max: u32,
}

/// A record for a reservation that was answered with [`Committed::Reserved`].
#[derive(Clone, Debug)]
pub struct Append {
    /// The caller's own number; comes back in [`Commit::ticket`].
    pub ticket: u64,
    /// The reservation that this record closes.
    pub reservation: ReservationId,
    /// The whole record. The log overwrites its time stamp (bytes 4 to 11).
    pub record: Vec<u8>,
}

/// The answer to one [`Reservation`] or [`Append`].
#[derive(Clone, Debug)]
pub struct Commit {
    /// The ticket of the item that this answers.
    pub ticket: u64,
    /// What became of it. `Ok` means durable.
    pub outcome: Result<Committed, AppendError>,
}

/// What became durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The reservation stands under this number.
    Reserved(ReservationId),
    /// The record stands at this position and [`Log::find`](crate::Log::find) finds it.
    Appended(RecordIndex),
}

/// Takes the answers of the log.
pub trait CommitSink: Send + Sync {
    /// Called on the log thread after the sync, once per group commit: first the items that
    /// were refused, then those of the batch in its order. Must not block and must not panic. The sink drains the vector; what it
    /// leaves is dropped.
    fn committed(&self, commits: &mut Vec<Commit>);
}
