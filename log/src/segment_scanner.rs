//! Reading one segment batch by batch.

use std::io;
use std::sync::Arc;

use crate::batch::{self, BATCH_HEADER_BYTES, BatchHeader, Frame, Frames};
use crate::scan::{Cursor, has_later_batch};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::{AlignedBytes, StorageFile};
use crate::window::Window;

/// Reads the batches of one segment, as long as they are good and follow each other.
pub(crate) struct SegmentScanner {
    window: Window,
    salt: u64,
    offset: u64,
    cursor: Cursor,
}

/// What [`SegmentScanner::show_batch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// No batch that belongs here.
    Nothing,
    /// A batch that is not what was sealed. Forget what was shown of it.
    Damaged,
    /// A good batch, as far as can be told without its payloads.
    Whole,
}

/// A good batch.
pub(crate) struct Batch<'a> {
    /// Where it starts in the segment.
    pub(crate) offset: u64,
    /// All of it, padding included.
    pub(crate) bytes: &'a [u8],
    pub(crate) frames: Vec<Frame<'a>>,
}

impl SegmentScanner {
    pub(crate) fn new(
        file: Arc<dyn StorageFile>,
        header: &SegmentHeader,
    ) -> io::Result<SegmentScanner> {
        SegmentScanner::with_memory(file, header, AlignedBytes::default())
    }

    /// Uses memory that another scanner has [given up](SegmentScanner::take_memory).
    pub(crate) fn with_memory(
        file: Arc<dyn StorageFile>,
        header: &SegmentHeader,
        memory: AlignedBytes,
    ) -> io::Result<SegmentScanner> {
        Ok(SegmentScanner {
            window: Window::with_memory(file, memory)?,
            salt: header.salt,
            offset: SEGMENT_HEADER_BYTES,
            cursor: Cursor::at_start_of(header),
        })
    }

    /// The next good batch, or `None` at the first that is not.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<Batch<'_>>> {
        let offset = self.offset;
        let found = find_batch(&mut self.window, offset, self.salt, &self.cursor)?;
        let Some((header, bytes)) = found else {
            return Ok(None);
        };
        let Some(frames) = batch::open(&header, bytes) else {
            return Ok(None);
        };
        let records = frames.iter().filter(|frame| frame.is_record()).count();
        self.offset += bytes.len() as u64;
        self.cursor = self.cursor.behind(&header, records as u64);
        Ok(Some(Batch {
            offset,
            bytes,
            frames,
        }))
    }

    /// Shows the frames of the next batch, each with the checksum that its payload was committed with, which
    /// is not compared, and before it is known whether the batch is good.
    pub(crate) fn show_batch(
        &mut self,
        show: &mut dyn FnMut(&Frame<'_>, u32),
    ) -> io::Result<Shown> {
        let found = find_batch(&mut self.window, self.offset, self.salt, &self.cursor)?;
        let Some((header, bytes)) = found else {
            return Ok(Shown::Nothing);
        };
        let mut frames = Frames::of(&header, bytes);
        let mut records = 0;
        for frame in &mut frames {
            records += u64::from(frame.is_record());
            show(&frame, batch::frame_checksum(bytes, &frame));
        }
        if !frames.are_sealed() {
            return Ok(Shown::Damaged);
        }
        self.offset += bytes.len() as u64;
        self.cursor = self.cursor.behind(&header, records);
        Ok(Shown::Whole)
    }

    /// Where the next batch starts, and what it must say.
    pub(crate) fn position(&self) -> (u64, Cursor) {
        (self.offset, self.cursor)
    }

    /// Whether a later batch than the next one was begun, so that the next one is damaged if it is not good.
    pub(crate) fn has_later_batch(&mut self) -> io::Result<bool> {
        self.forget_read_ahead();
        has_later_batch(&mut self.window, self.offset, self.salt, &self.cursor)
    }

    /// The memory that was read into, for another scanner.
    pub(crate) fn take_memory(&mut self) -> AlignedBytes {
        self.window.take_memory()
    }

    /// Lets the next read come from the file and not from memory.
    pub(crate) fn forget_read_ahead(&mut self) {
        self.window.forget();
    }
}

/// The batch at `offset` if it is the one that `expected` awaits, by its header.
fn find_batch<'a>(
    window: &'a mut Window,
    offset: u64,
    salt: u64,
    expected: &Cursor,
) -> io::Result<Option<(BatchHeader, &'a [u8])>> {
    let header = window.get(offset, BATCH_HEADER_BYTES)?;
    let Some(header) = header.and_then(BatchHeader::decode) else {
        return Ok(None);
    };
    let found = Cursor {
        sequence: header.place.sequence,
        previous: header.place.previous,
        next_index: header.place.first_index,
    };
    if header.place.salt != salt || found != *expected {
        return Ok(None);
    }
    let bytes = window.get(offset, header.padded_bytes())?;
    Ok(bytes.map(|bytes| (header, bytes)))
}
