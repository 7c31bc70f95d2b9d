//! Reading the frames of a batch.

use super::{BATCH_HEADER_BYTES, BatchHeader, CHECKSUM_AT, FRAME_HEADER_BYTES, Frame, parse_frame};

/// The frames of a whole, padded batch, one at least; `None` when it is not what was sealed.
pub(crate) fn open<'a>(header: &BatchHeader, batch: &'a [u8]) -> Option<Vec<Frame<'a>>> {
    let mut frames = Frames::of(header, batch);
    // A frame has a header at least, so a wrong count cannot ask for much memory.
    let frames_max = batch.len().div_ceil(FRAME_HEADER_BYTES);
    let mut read = Vec::with_capacity(frames_max.min(header.count as usize));
    read.extend(&mut frames);
    let intact = frames.are_sealed() && read.iter().all(|frame| frame.is_good(batch));
    intact.then_some(read)
}

/// Reads the frames of a batch before it is known whether they are what was sealed. Payloads are not compared
/// with their checksums.
///
/// One look at each place, front to back: a large batch was just read into memory, and each look costs the
/// wait for that memory.
pub(crate) struct Frames<'a> {
    batch: &'a [u8],
    header: BatchHeader,
    /// Where the next frame starts.
    offset: usize,
    /// Frames that are still to come.
    left: u32,
    /// Checksum of the frames' headers so far.
    checksum: u32,
}

impl<'a> Frames<'a> {
    /// Those of a whole, padded batch with this header.
    pub(crate) fn of(header: &BatchHeader, batch: &'a [u8]) -> Frames<'a> {
        Frames {
            batch,
            header: *header,
            offset: BATCH_HEADER_BYTES,
            left: header.count,
            checksum: 0,
        }
    }

    /// Whether all of them were read, one at least, and these and the batch's header are what was sealed.
    pub(crate) fn are_sealed(&self) -> bool {
        let end = self.end();
        self.header.count > 0
            && self.left == 0
            && self.offset == end
            && self
                .batch
                .get(end..)
                .is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
            && crc32c::crc32c_append(self.checksum, &self.batch[..CHECKSUM_AT])
                == self.header.checksum
    }

    /// Where the frames end according to the header.
    fn end(&self) -> usize {
        BATCH_HEADER_BYTES + self.header.length as usize
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    /// `None` also when what comes cannot be a frame.
    fn next(&mut self) -> Option<Frame<'a>> {
        self.left.checked_sub(1)?;
        let frame = parse_frame(self.batch.get(..self.end())?, self.offset)?;
        let payload_at = self.offset + FRAME_HEADER_BYTES;
        let header = &self.batch[self.offset..payload_at];
        self.checksum = crc32c::crc32c_append(self.checksum, header);
        self.offset = payload_at + frame.payload.len();
        self.left -= 1;
        Some(frame)
    }
}
