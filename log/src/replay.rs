//! The state of the reservations, followed frame by frame; the same for open and for verify.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::batch::{Frame, FrameKind, NO_RESERVATION, RESERVATION_HEAD_BYTES};
use crate::record::{self, RecordIndex};
use crate::scan::Fault;
use crate::segment::SegmentHeader;

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
    /// Number of the first reservation in the segments that are kept; `None` before the first.
    first_reservation: Option<u64>,
    /// Records that are published. The reservations of these may be in segments that are gone.
    published: u64,
}

impl Replay {
    /// Before the first segment of a log of which so many records are published.
    pub(crate) fn new(published: u64) -> Replay {
        Replay {
            open: BTreeMap::new(),
            next_reservation: NO_RESERVATION + 1,
            last_time_ms: 0,
            first_reservation: None,
            published,
        }
    }

    /// A segment begins. The first one says where the log was when it began.
    pub(crate) fn begin_segment(&mut self, header: &SegmentHeader) {
        if self.first_reservation.is_none() && header.number > 0 {
            self.next_reservation = header.next_reservation;
            self.last_time_ms = header.last_time_ms;
        }
        self.first_reservation.get_or_insert(self.next_reservation);
    }

    /// Takes the next frame in, if it can stand here. `index` is the number of records before it.
    pub(crate) fn apply(&mut self, index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        match frame.kind {
            FrameKind::Reservation => self.reserved(frame),
            FrameKind::Record => self.recorded(index, frame),
            FrameKind::Closed => Ok(()),
        }
    }

    /// Room in bytes that each open reservation needs when nothing but its lost record follows.
    pub(crate) fn room_held(&self) -> HashMap<u64, u32> {
        let room = |open: &OpenReservation| u32::try_from(open.lost_record.len());
        self.open
            .iter()
            .map(|(&number, open)| (number, room(open).unwrap_or(u32::MAX)))
            .collect()
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

    fn recorded(&mut self, index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        if !record::has_prefix(frame.payload) {
            return Err(Fault::Corrupt("a record has no valid prefix"));
        }
        let time_ms = record::time_ms(frame.payload);
        if time_ms < self.last_time_ms {
            return Err(Fault::Corrupt("a record is older than the one before it"));
        }
        self.last_time_ms = time_ms;
        let reserved_earlier = index.0 < self.published
            && self
                .first_reservation
                .is_some_and(|first| frame.reservation < first);
        let reserved = frame.reservation == NO_RESERVATION
            || self.open.remove(&frame.reservation).is_some()
            || reserved_earlier;
        reserved
            .then_some(())
            .ok_or(Fault::Corrupt("a record belongs to no open reservation"))
    }
}
