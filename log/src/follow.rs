//! Following the write-ahead segments batch by batch, for whoever turns them into something else. Records come
//! with the checksum that they were committed with, to be compared where they arrive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch::{FrameKind, NO_RESERVATION};
use crate::scan::{ScanError, corrupt, read_header};
use crate::segment::{segment_name, segments_dir};
use crate::segment_scanner::{SegmentScanner, Shown};
use crate::storage::{AlignedBytes, Storage, at};

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
        let (path, scanner) = open_segment(&storage, dir, segment, 0, AlignedBytes::default())?;
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
    /// [`Follower::refresh`]. What was shown counts only when there is no error: whether the batch is good is
    /// known at its end.
    pub(crate) fn next_batch(
        &mut self,
        show: &mut dyn FnMut(Followed<'_>),
    ) -> Result<(), ScanError> {
        if self.read_batch(show)? {
            return Ok(());
        }
        let (end, _) = self.scanner.position();
        let memory = self.scanner.take_memory();
        let (path, scanner) = open_segment(
            &self.storage,
            &self.dir,
            self.segment + 1,
            self.next_index,
            memory,
        )?;
        if scanner.position().1.next_index != self.next_index {
            let detail = "a batch is damaged or missing here: the next segment does not follow";
            return Err(corrupt(&self.path, end, self.next_index, detail));
        }
        (self.segment, self.path, self.scanner) = (self.segment + 1, path, scanner);
        if self.read_batch(show)? {
            return Ok(());
        }
        let detail = "a batch that was committed is not there";
        Err(corrupt(&self.path, 0, self.next_index, detail))
    }

    /// `false` when the segment has no next batch.
    fn read_batch(&mut self, show: &mut dyn FnMut(Followed<'_>)) -> Result<bool, ScanError> {
        let (offset, _) = self.scanner.position();
        let (open, segment) = (&mut self.open, self.segment);
        let mut index = self.next_index;
        let shown = self
            .scanner
            .show_batch(&mut |frame, checksum| match frame.kind {
                FrameKind::Reservation => {
                    open.insert(frame.reservation, segment);
                }
                FrameKind::Record => {
                    if frame.reservation != NO_RESERVATION {
                        open.remove(&frame.reservation);
                    }
                    show(Followed {
                        index,
                        bytes: frame.payload,
                        checksum,
                    });
                    index += 1;
                }
                FrameKind::Closed => {}
            });
        match shown.map_err(at(&self.path))? {
            Shown::Nothing => Ok(false),
            Shown::Damaged => {
                let detail = "a batch that was committed is damaged";
                Err(corrupt(&self.path, offset, self.next_index, detail))
            }
            Shown::Whole => {
                self.next_index = index;
                Ok(true)
            }
        }
    }
}

fn open_segment(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    number: u64,
    next_index: u64,
    memory: AlignedBytes,
) -> Result<(PathBuf, SegmentScanner), ScanError> {
    let path = segments_dir(dir).join(segment_name(number));
    let file = storage.open_direct(&path, false).map_err(at(&path))?;
    let Some(header) = read_header(&*file, &path, number, next_index)? else {
        let detail = "the segment is blank, but records in it were committed";
        return Err(corrupt(&path, 0, next_index, detail));
    };
    let scanner = SegmentScanner::with_memory(file, &header, memory).map_err(at(&path))?;
    Ok((path, scanner))
}
