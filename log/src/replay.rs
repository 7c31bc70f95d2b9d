//! The state of the reservations, followed frame by frame; the same for open and for verify.

use std::collections::BTreeMap;

use crate::batch::{Frame, FrameKind, NO_RESERVATION, RESERVATION_HEAD_BYTES};
use crate::record;
use crate::scan::Fault;

/// A reservation that has no record yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenReservation {
    /// What is appended for it when no other record comes.
    pub(crate) lost_record: Vec<u8>,
}

/// What the frames so far amount to.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Reservations without a record, by number.
    pub(crate) open: BTreeMap<u64, OpenReservation>,
    /// Number of the next reservation.
    pub(crate) next_reservation: u64,
    /// Time stamp of the last record; 0 before the first.
    pub(crate) last_time_ms: u64,
}

impl Replay {
    pub(crate) fn new() -> Replay {
        Replay {
            open: BTreeMap::new(),
            next_reservation: NO_RESERVATION + 1,
            last_time_ms: 0,
        }
    }

    /// Takes the next frame in, if it can stand here.
    pub(crate) fn apply(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        match frame.kind {
            FrameKind::Reservation => self.reserved(frame),
            FrameKind::Record => self.recorded(frame),
            FrameKind::Closed => Ok(()),
        }
    }

    fn reserved(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.reservation != self.next_reservation {
            return Err(Fault::Corrupt("a reservation has the wrong number"));
        }
        if frame.payload.len() < RESERVATION_HEAD_BYTES {
            return Err(Fault::Corrupt("a reservation is too short"));
        }
        let (_, lost_record) = frame.payload.split_at(RESERVATION_HEAD_BYTES);
        if !record::has_prefix(lost_record) {
            return Err(Fault::Corrupt(
                "a reservation's lost record has no valid prefix",
            ));
        }
        let open = OpenReservation {
            lost_record: lost_record.to_vec(),
        };
        self.open.insert(frame.reservation, open);
        self.next_reservation += 1;
        Ok(())
    }

    fn recorded(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if !record::has_prefix(frame.payload) {
            return Err(Fault::Corrupt("a record has no valid prefix"));
        }
        let time_ms = record::time_ms(frame.payload);
        if time_ms < self.last_time_ms {
            return Err(Fault::Corrupt("a record is older than the one before it"));
        }
        self.last_time_ms = time_ms;
        let reserved =
            frame.reservation == NO_RESERVATION || self.open.remove(&frame.reservation).is_some();
        reserved
            .then_some(())
            .ok_or(Fault::Corrupt("a record belongs to no open reservation"))
    }
}
