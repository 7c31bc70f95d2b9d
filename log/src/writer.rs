//! Where batches go: the current segment, the prepared ones after it, and the batch being filled.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::batch::{BatchBuffer, BatchPlace};
use crate::preparer::Spare;
use crate::room::capacity;
use crate::scan::Cursor;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, random_salt};
use crate::storage::{self, StorageFile};

/// Most bytes in one batch: a sync of this much takes about a millisecond, and 128 certificates
/// with their reservations are a sixteenth of it.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// Segment files prepared ahead as a rule: the next one, and one that is never promised to anybody,
/// so that recovery finds a file to copy the tail into however full the disk is.
pub(crate) const SPARES_KEPT: usize = 2;

/// Most segment files prepared ahead. More than the usual two are made when the room promised to
/// open reservations asks for them. 64 of the default size are 1 GiB.
pub(crate) const SPARES_MAX: usize = 64;

/// Writes batches one after the other, from segment to segment.
pub(crate) struct SegmentWriter {
    segment: CurrentSegment,
    /// Prepared segments in the order of their use.
    spares: VecDeque<Spare>,
    /// Where the next batch goes on.
    cursor: Cursor,
    /// What a segment's header says if one begins with this batch.
    facts: SegmentFacts,
    /// Filled between [`SegmentWriter::begin`] and [`SegmentWriter::write`].
    pub(crate) batch: BatchBuffer,
}

/// The segment that is written to.
pub(crate) struct CurrentSegment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) bytes: u64,
    pub(crate) salt: u64,
    /// Where the next batch goes.
    pub(crate) offset: u64,
    /// The header, until it is written with the first batch.
    pub(crate) unwritten: Option<SegmentHeader>,
}

/// What stands before a segment, for its header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentFacts {
    pub(crate) last_time_ms: u64,
    pub(crate) next_reservation: u64,
}

/// A batch that is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Number of the segment, when this is its first batch.
    pub(crate) begins_segment: Option<u64>,
    /// Index of the first record in the batch.
    pub(crate) first_index: u64,
    /// Where the batch's buffer stands in the segment.
    pub(crate) offset: u32,
    pub(crate) bytes: u64,
}

impl SegmentWriter {
    pub(crate) fn new(
        segment: CurrentSegment,
        cursor: Cursor,
        spares: VecDeque<Spare>,
    ) -> SegmentWriter {
        let (facts, batch) = (SegmentFacts::default(), BatchBuffer::default());
        SegmentWriter {
            segment,
            spares,
            cursor,
            facts,
            batch,
        }
    }

    /// Starts a batch in the current segment.
    pub(crate) fn begin(&mut self, facts: SegmentFacts) {
        self.facts = facts;
        self.begin_here();
    }

    /// Whether one more frame of something new fits into the batch. An empty batch moves on to the next
    /// segment when the current one has no place for it, but not to the last: that is recovery's.
    pub(crate) fn fits_new(&mut self, payload_bytes: usize) -> bool {
        self.fits_keeping(payload_bytes, 1)
    }

    /// [`fits_new`](SegmentWriter::fits_new) for what was promised: that may take the last one too.
    pub(crate) fn fits(&mut self, payload_bytes: usize) -> bool {
        self.fits_keeping(payload_bytes, 0)
    }

    fn fits_keeping(&mut self, payload_bytes: usize, spares_kept: usize) -> bool {
        let bytes = self.batch.padded_with(payload_bytes);
        if self.segment.offset + bytes as u64 <= self.segment.bytes {
            return self.batch.count() == 0 || bytes <= BATCH_BYTES_MAX;
        }
        if self.batch.count() > 0 || self.segment.unwritten.is_some() {
            return false;
        }
        if self.spares.len() <= spares_kept {
            return false;
        }
        let Some(spare) = self.spares.pop_front() else {
            return false;
        };
        self.roll(spare);
        self.begin_here();
        true
    }

    /// Writes and syncs the batch, which has so many records.
    pub(crate) fn write(&mut self, records: u64) -> io::Result<Written> {
        let header = self.segment.unwritten;
        let place = BatchPlace {
            sequence: self.cursor.sequence,
            salt: self.segment.salt,
            first_index: self.cursor.next_index,
            previous: header.map_or(self.cursor.previous, |header| header.checksum()),
        };
        let checksum = self.batch.finish(&place);
        let bytes = self.batch.bytes();
        storage::commit(&*self.segment.file, bytes, self.segment.offset)?;
        let written = Written {
            begins_segment: header.map(|header| header.number),
            first_index: place.first_index,
            // Segments are at most SEGMENT_BYTES_MAX long: the offset fits.
            offset: self.segment.offset as u32,
            bytes: bytes.len() as u64,
        };
        self.segment.offset += written.bytes;
        self.segment.unwritten = None;
        self.cursor = Cursor {
            sequence: place.sequence + 1,
            previous: checksum,
            next_index: place.first_index + records,
        };
        Ok(written)
    }

    /// Number of records before the next batch.
    pub(crate) fn next_index(&self) -> u64 {
        self.cursor.next_index
    }

    /// Room that there is.
    pub(crate) fn room(&self) -> u64 {
        self.room_behind(self.segment.offset)
    }

    /// Room that there is when the segment is counted that is kept for recovery.
    pub(crate) fn room_with_last(&self) -> u64 {
        self.room_in(self.segment.offset, self.spares.len())
    }

    /// Room that is left when the batch is written with one more frame.
    pub(crate) fn room_after(&self, payload_bytes: usize) -> u64 {
        self.room_behind(self.segment.offset + self.batch.padded_with(payload_bytes) as u64)
    }

    /// Number of prepared segments.
    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    pub(crate) fn add_spare(&mut self, spare: Spare) {
        self.spares.push_back(spare);
    }

    /// Number that the next prepared segment gets; `None` when there are enough of them.
    pub(crate) fn next_spare(&self) -> Option<u64> {
        let last = self
            .spares
            .back()
            .map_or(self.segment.number, |spare| spare.number);
        (self.spares.len() < SPARES_MAX).then_some(last + 1)
    }

    fn begin_here(&mut self) {
        match &self.segment.unwritten {
            Some(header) => self.batch.begin(&header.encode().0),
            None => self.batch.begin(&[]),
        }
    }

    /// Makes a prepared segment the current one. Its header is written with its first batch.
    fn roll(&mut self, spare: Spare) {
        let header = SegmentHeader {
            previous: self.cursor.previous,
            number: spare.number,
            bytes: spare.bytes,
            salt: random_salt(),
            first_index: self.cursor.next_index,
            sequence: self.cursor.sequence,
            last_time_ms: self.facts.last_time_ms,
            next_reservation: self.facts.next_reservation,
        };
        self.segment = CurrentSegment {
            number: spare.number,
            file: spare.file,
            bytes: spare.bytes,
            salt: header.salt,
            offset: 0,
            unwritten: Some(header),
        };
    }

    fn room_behind(&self, offset: u64) -> u64 {
        // The last one is recovery's.
        self.room_in(offset, self.spares.len().saturating_sub(1))
    }

    /// Room that is left behind `offset` and in the first so many prepared segments.
    fn room_in(&self, offset: u64, promised: usize) -> u64 {
        let rest = self.segment.bytes.saturating_sub(offset);
        capacity(
            rest,
            self.spares
                .iter()
                .take(promised)
                .map(|spare| spare.bytes - SEGMENT_HEADER_BYTES),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{DiskStorage, Storage};

    #[test]
    fn only_what_was_promised_moves_into_the_last_segment() {
        const BYTES: u64 = 1 << 12;
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| DiskStorage.create(&dir.path().join(name)).unwrap();
        let spare = |number: u64| Spare {
            number,
            bytes: BYTES,
            file: file(&number.to_string()),
        };
        let full = CurrentSegment {
            number: 0,
            file: file("0"),
            bytes: BYTES,
            salt: 1,
            offset: BYTES - 512,
            unwritten: None,
        };
        let cursor = Cursor {
            sequence: 1,
            previous: 2,
            next_index: 3,
        };
        let mut writer = SegmentWriter::new(full, cursor, VecDeque::from([spare(1), spare(2)]));
        writer.begin(SegmentFacts::default());
        assert!(writer.fits_new(100) && writer.spares() == 2, "here");
        assert!(writer.fits_new(1000) && writer.spares() == 1, "in the next");
        writer.segment.offset = BYTES;
        writer.segment.unwritten = None;
        assert!(!writer.fits_new(1000) && writer.spares() == 1, "recovery's");
        assert!(writer.fits(1000) && writer.spares() == 0);
    }
}
