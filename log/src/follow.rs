//! Following the write-ahead segments batch by batch, for whoever turns them into something else. Records come
//! with the checksum that they were committed with, to be compared where they arrive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch::{self, FrameKind, NO_RESERVATION, Payloads};
use crate::scan::{ScanError, SegmentScanner, corrupt, read_header};
use crate::segment::{segment_name, segments_dir};
use crate::storage::{Storage, at};

/// Goes through the batches from the first segment that is kept. Owned by the publisher.
pub(crate) struct Follower {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    /// Segment that `scanner` reads.
    segment: u64,
    path: PathBuf,
    scanner: SegmentScanner,
    /// Reservations without a record so far, and the segment that has them.
    open: HashMap<u64, u64>,
    /// Number of records passed.
    next_index: u64,
}

/// One record on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed<'a> {
    pub(crate) index: u64,
    pub(crate) bytes: &'a [u8],
    /// CRC-32C of the bytes, as it was taken when they were committed.
    pub(crate) checksum: u32,
}

impl Follower {
    /// Starts at the beginning of a segment.
    pub(crate) fn start(
        storage: Arc<dyn Storage>,
        dir: &Path,
        segment: u64,
    ) -> Result<Follower, ScanError> {
        let (path, scanner) = open_segment(&storage, dir, segment, 0)?;
        let next_index = scanner.position().1.next_index;
        Ok(Follower {
            storage,
            dir: dir.to_owned(),
            segment,
            path,
            scanner,
            open: HashMap::new(),
            next_index,
        })
    }

    /// Number of records passed.
    pub(crate) fn next_index(&self) -> u64 {
        self.next_index
    }

    /// The first segment that is still needed once everything passed so far stands elsewhere: the
    /// one that is read, or the one with the oldest open reservation.
    pub(crate) fn floor(&self) -> u64 {
        self.open
            .values()
            .fold(self.segment, |floor, &segment| floor.min(segment))
    }

    /// Sees what was committed since; to be called before each run of [`Follower::next_batch`].
    pub(crate) fn refresh(&mut self) {
        self.scanner.forget_read_ahead();
    }

    /// Shows the records of the next batch, which must have been committed before the last
    /// [`Follower::refresh`].
    pub(crate) fn next_batch(
        &mut self,
        show: &mut dyn FnMut(Followed<'_>) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        if self.read_batch(show)? {
            return Ok(());
        }
        let (path, scanner) =
            open_segment(&self.storage, &self.dir, self.segment + 1, self.next_index)?;
        if scanner.position().1.next_index != self.next_index {
            let detail = "a batch is damaged or missing here: the next segment does not follow";
            let (end, _) = self.scanner.position();
            return Err(corrupt(&self.path, end, self.next_index, detail));
        }
        (self.segment, self.path, self.scanner) = (self.segment + 1, path, scanner);
        if self.read_batch(show)? {
            return Ok(());
        }
        let detail = "a batch that was committed is not there";
        Err(corrupt(&self.path, 0, self.next_index, detail))
    }

    fn read_batch(
        &mut self,
        show: &mut dyn FnMut(Followed<'_>) -> Result<(), ScanError>,
    ) -> Result<bool, ScanError> {
        let first = self.next_index;
        let Some(batch) = self.scanner.next_batch().map_err(at(&self.path))? else {
            return Ok(false);
        };
        let mut index = first;
        for frame in &batch.frames {
            match frame.kind {
                FrameKind::Reservation => {
                    self.open.insert(frame.reservation, self.segment);
                }
                FrameKind::Record => {
                    if frame.reservation != NO_RESERVATION {
                        self.open.remove(&frame.reservation);
                    }
                    show(Followed {
                        index,
                        bytes: frame.payload,
                        checksum: batch::frame_checksum(batch.bytes, frame),
                    })?;
                    index += 1;
                }
                FrameKind::Closed => {}
            }
        }
        self.next_index = index;
        Ok(true)
    }
}

fn open_segment(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    number: u64,
    next_index: u64,
) -> Result<(PathBuf, SegmentScanner), ScanError> {
    let path = segments_dir(dir).join(segment_name(number));
    let file = storage.open_direct(&path, false).map_err(at(&path))?;
    let Some(header) = read_header(&*file, &path, number, next_index)? else {
        let detail = "the segment is blank, but records in it were committed";
        return Err(corrupt(&path, 0, next_index, detail));
    };
    let scanner = SegmentScanner::new(file, &header, Payloads::ComparedLater).map_err(at(&path))?;
    Ok((path, scanner))
}
