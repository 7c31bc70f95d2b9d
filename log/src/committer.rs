//! Group commit: takes what waits, makes one batch of it, writes and syncs it once, and then makes
//! it known. The normal path and recovery both run through here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hashbrown::HashMap;

use crate::batch::{FrameKind, NO_RESERVATION, RESERVATION_HEAD_BYTES};
use crate::clock::Stamp;
use crate::commit::{Append, Commit, Committed, Reservation};
use crate::error::AppendError;
use crate::preparer::Spare;
use crate::record::{RecordIndex, RecordKeys, ReservationId};
use crate::room::frame_room;
use crate::state::{State, count};
use crate::waiting::{Backlog, Waiting};
use crate::writer::{SPARES_KEPT, SPARES_MAX, SegmentFacts, SegmentWriter, Written};

mod admission;
mod opening;

use admission::{check_append, reservation_bytes};

/// Room held for the closed mark, so that a log that is closed on a full disk opens on one.
const CLOSED_MARK_ROOM: u64 = frame_room(0);

/// Owned by one thread: the log thread, and before that by open.
pub(crate) struct Committer {
    state: Arc<State>,
    writer: SegmentWriter,
    /// The last thing in the log is a closed mark.
    closed: bool,
    next_reservation: u64,
    /// Largest record of each open reservation, by number.
    open: HashMap<u64, u32>,
    /// Room promised to the open reservations.
    held: u64,
    appends: Waiting<Append>,
    reservations: Waiting<Reservation>,
    /// The caller's record of this start, until it is written.
    opening: Option<Vec<u8>>,
    /// The first waiting reservation needs a segment that is being prepared.
    blocked: bool,
    /// Why no segment can be prepared now.
    space_failure: Option<Arc<str>>,
    /// What is in the writer's batch, in its order.
    items: Vec<Item>,
    /// Keys of the records of a batch that has just become durable.
    keyed: Vec<(RecordIndex, RecordKeys)>,
    /// Answers not delivered yet.
    commits: Vec<Commit>,
}

/// Where the committer goes on after what is in the log already.
pub(crate) struct Position {
    pub(crate) writer: SegmentWriter,
    /// The last thing in the log is a closed mark.
    pub(crate) closed: bool,
    pub(crate) next_reservation: u64,
    /// Largest record of each open reservation, by number.
    pub(crate) open: HashMap<u64, u32>,
}

/// One frame of the batch that is being filled.
enum Item {
    Reserved {
        ticket: u64,
        reservation: u64,
        record_bytes_max: u32,
    },
    Appended {
        ticket: Option<u64>,
        keys: RecordKeys,
        offset: u32,
    },
}

impl Item {
    /// Where the frame of a record starts in the batch's buffer.
    fn record_offset(&self) -> Option<u32> {
        match self {
            Item::Appended { offset, .. } => Some(*offset),
            Item::Reserved { .. } => None,
        }
    }
}

/// Why nothing more was taken from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    All,
    /// The batch is full; more fits into the next one.
    BatchFull,
}

impl Committer {
    pub(crate) fn new(state: Arc<State>, position: Position) -> Committer {
        let held = position
            .open
            .values()
            .map(|&bytes| frame_room(bytes as usize))
            .sum();
        Committer {
            state,
            writer: position.writer,
            closed: position.closed,
            next_reservation: position.next_reservation,
            open: position.open,
            held,
            appends: Waiting::default(),
            reservations: Waiting::default(),
            opening: None,
            blocked: false,
            space_failure: None,
            items: Vec::new(),
            keyed: Vec::new(),
            commits: Vec::new(),
        }
    }

    /// Lets reservations wait for the next flush.
    pub(crate) fn enqueue_reservations(&mut self, chunk: Vec<Reservation>, now: Instant) {
        self.reservations.push(chunk, now);
    }

    /// Lets appends wait for the next flush.
    pub(crate) fn enqueue_appends(&mut self, chunk: Vec<Append>, now: Instant) {
        self.appends.push(chunk, now);
    }

    /// A prepared segment has come.
    pub(crate) fn add_spare(&mut self, spare: Spare) {
        self.writer.add_spare(spare);
        self.space_failure = None;
        self.blocked = false;
    }

    /// No segment can be prepared for now.
    pub(crate) fn space_failed(&mut self, reason: Arc<str>) {
        self.space_failure = Some(reason);
        self.blocked = false;
    }

    /// Number of the segment to prepare next, if one is wanted.
    pub(crate) fn wanted_spare(&self) -> Option<u64> {
        let wanted = self.writer.spares() < SPARES_KEPT || self.blocked || !self.promises_covered();
        if wanted {
            self.writer.next_spare()
        } else {
            None
        }
    }

    /// Whether the room that is there covers what is promised.
    pub(crate) fn promises_covered(&self) -> bool {
        self.writer.room() >= self.held
    }

    /// Whether it does when the segment is counted that is kept for recovery.
    pub(crate) fn promises_covered_in_recovery(&self) -> bool {
        self.writer.room_with_last() >= self.held
    }

    /// What waits.
    pub(crate) fn backlog(&self) -> Backlog {
        let all = self.appends.len() + self.reservations.len();
        if self.blocked {
            return Backlog {
                ready: self.appends.len(),
                all,
                oldest: self.appends.oldest(),
            };
        }
        let oldest = [self.appends.oldest(), self.reservations.oldest()];
        Backlog {
            ready: all,
            all,
            oldest: oldest.into_iter().flatten().min(),
        }
    }

    /// The answers since the last call; the caller empties the vector.
    pub(crate) fn commits(&mut self) -> &mut Vec<Commit> {
        &mut self.commits
    }

    /// One group commit. Records come first: they finish what was begun and give room back.
    /// `true` when more was ready than one batch holds.
    pub(crate) fn flush(&mut self) -> bool {
        if let Err(error) = self.state.status() {
            self.refuse_all(&error);
            return false;
        }
        let stamp = self.state.clock.read();
        self.begin();
        let mut taken = self.take_appends(&stamp);
        if taken == Taken::All {
            taken = self.take_reservations(&stamp);
        }
        if self.writer.batch.count() > 0 {
            self.commit(&stamp);
        }
        taken == Taken::BatchFull
    }

    /// Appends a record of the log's own, without reservation and keys.
    pub(crate) fn append_own(&mut self, record: &[u8]) -> Result<(), AppendError> {
        let stamp = self.state.clock.read();
        let time_ms = stamp.time_ms.clone()?;
        self.begin();
        if !self.writer.fits(record.len()) {
            return Err(self.no_space(record.len()));
        }
        let offset = self
            .writer
            .batch
            .push_record(NO_RESERVATION, record, time_ms);
        self.items.push(Item::Appended {
            ticket: None,
            keys: RecordKeys::default(),
            offset: offset as u32,
        });
        self.commit(&stamp);
        self.state.status()
    }

    /// Answers everything that waits with the same error.
    pub(crate) fn refuse_all(&mut self, error: &AppendError) {
        while let Some(append) = self.appends.pop() {
            self.refuse(append.ticket, error.clone());
        }
        while let Some(reservation) = self.reservations.pop() {
            self.refuse(reservation.ticket, error.clone());
        }
        self.blocked = false;
    }

    /// Writes the closed mark behind everything else.
    pub(crate) fn mark_closed(&mut self) -> Result<(), AppendError> {
        self.state.status()?;
        if self.closed {
            return Ok(());
        }
        let stamp = self.state.clock.read();
        self.begin();
        // Room for it is held; without it the next open would only have more to do.
        if self.writer.fits(0) {
            self.writer
                .batch
                .push(FrameKind::Closed, NO_RESERVATION, &[], &[]);
            self.commit(&stamp);
        }
        self.state.status()
    }

    fn take_appends(&mut self, stamp: &Stamp) -> Taken {
        while let Some(append) = self.appends.peek() {
            let (ticket, bytes) = (append.ticket, append.record.len());
            let checked = check_append(append, &self.open);
            let time_ms = match checked.and(stamp.time_ms.clone().map_err(AppendError::Clock)) {
                Ok(time_ms) => time_ms,
                Err(error) => {
                    self.appends.pop();
                    self.refuse(ticket, error);
                    continue;
                }
            };
            if !self.writer.fits(bytes) {
                if self.writer.batch.count() > 0 {
                    return Taken::BatchFull;
                }
                // Impossible while the promises hold; the reservation stays open.
                self.appends.pop();
                let error = self.no_space(bytes);
                self.refuse(ticket, error);
                continue;
            }
            if let Some(append) = self.appends.pop() {
                self.push_append(&append, time_ms);
            }
        }
        Taken::All
    }

    fn push_append(&mut self, append: &Append, time_ms: u64) {
        let keys = match self.state.records.source.keys.keys(&append.record) {
            Ok(keys) => keys,
            Err(error) => return self.refuse(append.ticket, error.into()),
        };
        let reservation = append.reservation.0;
        if let Some(record_bytes_max) = self.open.remove(&reservation) {
            self.held -= frame_room(record_bytes_max as usize);
        }
        let offset = self
            .writer
            .batch
            .push_record(reservation, &append.record, time_ms) as u32;
        self.items.push(Item::Appended {
            ticket: Some(append.ticket),
            keys,
            offset,
        });
    }

    fn take_reservations(&mut self, stamp: &Stamp) -> Taken {
        if self.blocked {
            return Taken::All;
        }
        let index_health = self.index_health();
        while let Some(reservation) = self.reservations.peek() {
            let ticket = reservation.ticket;
            let payload = RESERVATION_HEAD_BYTES + reservation.lost_record.len();
            let wanted = frame_room(reservation.record_bytes_max as usize);
            let admitted = stamp.admits.clone().map_err(AppendError::Clock);
            let checked = self
                .check_reservation(reservation)
                .and(self.check_positions())
                .and(index_health.clone());
            if let Err(error) = admitted.and(checked) {
                self.reservations.pop();
                self.refuse(ticket, error);
                continue;
            }
            let fits = self.take_opening(stamp) && self.writer.fits_new(payload);
            if !fits && self.writer.batch.count() > 0 {
                return Taken::BatchFull;
            }
            if !fits || !self.has_room(payload, wanted) {
                if self.space_failure.is_none() && self.writer.spares() < SPARES_MAX {
                    // A segment is being prepared: it decides.
                    self.blocked = true;
                    return Taken::All;
                }
                self.reservations.pop();
                let error = self.no_space(reservation_bytes(payload, wanted));
                self.refuse(ticket, error);
                continue;
            }
            if let Some(reservation) = self.reservations.pop() {
                self.push_reservation(&reservation);
            }
        }
        Taken::All
    }

    fn push_reservation(&mut self, reservation: &Reservation) {
        let number = self.next_reservation;
        let record_bytes_max = reservation.record_bytes_max;
        self.next_reservation += 1;
        self.held += frame_room(record_bytes_max as usize);
        let head = record_bytes_max.to_le_bytes();
        self.writer.batch.push(
            FrameKind::Reservation,
            number,
            &head,
            &reservation.lost_record,
        );
        let ticket = reservation.ticket;
        self.items.push(Item::Reserved {
            ticket,
            reservation: number,
            record_bytes_max,
        });
    }

    /// Starts a batch.
    fn begin(&mut self) {
        self.items.clear();
        let next_reservation = self.next_reservation;
        let last_time_ms = self.state.clock.last_ms();
        self.writer.begin(SegmentFacts {
            last_time_ms,
            next_reservation,
        });
    }

    /// Writes and syncs the batch, then makes its content known and answers it.
    fn commit(&mut self, stamp: &Stamp) {
        let records = self
            .items
            .iter()
            .filter(|item| item.record_offset().is_some())
            .count();
        match self.writer.write(records as u64) {
            Ok(written) => {
                self.closed = false;
                self.publish(&written, stamp);
            }
            Err(error) => self.poison("writing and syncing the log", error),
        }
    }

    /// The batch is durable: readers see its records, then its items are answered.
    fn publish(&mut self, written: &Written, stamp: &Stamp) {
        let state = Arc::clone(&self.state);
        if let Some(number) = written.begins_segment {
            state
                .records
                .source
                .locations
                .begin_segment(number, written.first_index);
            count(&state.counters.segments_begun, 1);
        }
        let offsets = self.items.iter().filter_map(Item::record_offset);
        state
            .records
            .source
            .locations
            .extend(offsets.map(|offset| written.offset + offset));
        let frames = self.items.len() as u64;
        for item in self.items.drain(..) {
            let (ticket, committed) = match item {
                Item::Reserved {
                    ticket,
                    reservation,
                    record_bytes_max,
                } => {
                    self.open.insert(reservation, record_bytes_max);
                    (
                        Some(ticket),
                        Committed::Reserved(ReservationId(reservation)),
                    )
                }
                Item::Appended { ticket, keys, .. } => {
                    let index = RecordIndex(written.first_index + self.keyed.len() as u64);
                    self.keyed.push((index, keys));
                    (ticket, Committed::Appended(index))
                }
            };
            if let Some(ticket) = ticket {
                self.commits.push(Commit {
                    ticket,
                    outcome: Ok(committed),
                });
            }
        }
        state.records.index(&self.keyed);
        state.records.publish();
        let records = self.keyed.len() as u64;
        self.keyed.clear();
        if records > 0
            && let Ok(time_ms) = stamp.time_ms
        {
            state.clock.advance(time_ms);
        }
        let counters = &state.counters;
        count(&counters.syncs, 1);
        count(&counters.bytes, written.bytes);
        count(&counters.reservations, frames - records);
        count(&counters.records, records);
        counters
            .frames_per_sync_max
            .fetch_max(frames, Ordering::Relaxed);
        counters
            .reservations_open
            .store(self.open.len() as u64, Ordering::Relaxed);
    }

    /// Ends the log: what the disk holds of the batch is unknown.
    fn poison(&mut self, operation: &'static str, cause: io::Error) {
        let error = self.state.poison(operation, cause);
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Reserved { ticket, .. }
                | Item::Appended {
                    ticket: Some(ticket),
                    ..
                } => {
                    self.refuse(ticket, error.clone());
                }
                Item::Appended { ticket: None, .. } => {}
            }
        }
        self.refuse_all(&error);
    }

    fn refuse(&mut self, ticket: u64, error: AppendError) {
        count(&self.state.counters.refused, 1);
        self.commits.push(Commit {
            ticket,
            outcome: Err(error),
        });
    }
}
