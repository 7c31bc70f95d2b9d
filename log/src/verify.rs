//! Checking a whole log offline.

use std::path::{Path, PathBuf};

use crate::batch::{Frame, FrameKind, NO_RESERVATION};
use crate::error::VerifyError;
use crate::record::{KeyExtractor, RecordIndex};
use crate::replay::Replay;
use crate::scan::{Fault, Visitor, read_header, segment_numbers, walk};
use crate::segment::{SegmentHeader, segment_name, segments_dir};
use crate::storage::{DiskStorage, Storage, at};

/// How far [`verify`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of segment files behind us.
    pub bytes: u64,
    /// Bytes of all segment files in use.
    pub bytes_total: u64,
    /// Records checked so far.
    pub records: u64,
}

/// An unfinished batch at the end of the log, left by a crash. The next open drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The last segment.
    pub file: PathBuf,
    /// Where its last good batch ends.
    pub offset: u64,
    /// Bytes beyond that belong to the unfinished batch, as far as it can be told.
    pub bytes: u64,
}

/// What [`verify`] found in an intact log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Records.
    pub records: u64,
    /// Reservations ever made.
    pub reservations: u64,
    /// Reservations without a record: the next open appends a lost record for each.
    pub reservations_open: u64,
    /// Segments in use.
    pub segments: u64,
    /// Bytes of batches and headers.
    pub bytes: u64,
    /// Time stamp of the last record in milliseconds since 1970; 0 when there is none.
    pub last_time_ms: u64,
    /// Whether the log was closed cleanly.
    pub clean: bool,
    /// What a crash left at the end.
    pub torn_tail: Option<TornTail>,
}

/// Checks every byte in use of the log in `dir`, on the real file system and without a lock:
/// checksums, the chain of batches, the order of records, reservations and time stamps, and (with
/// `keys`) that every record can be read. Calls `progress` now and then.
///
/// # Errors
/// [`VerifyError::Corrupt`] names the first bad file, the offset and the record. What a crash
/// leaves at the end is no damage: see [`VerifyReport::torn_tail`].
pub fn verify(
    dir: &Path,
    keys: Option<&dyn KeyExtractor>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    verify_on(&DiskStorage, dir, keys, progress)
}

/// As [`verify`], on any storage.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(
    storage: &dyn Storage,
    dir: &Path,
    keys: Option<&dyn KeyExtractor>,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, VerifyError> {
    let mut check = Check {
        replay: Replay::new(),
        keys,
        records: 0,
        bytes_before: 0,
        segment_bytes: 0,
        bytes_total: bytes_in_use(storage, dir)?,
        progress,
    };
    let walked = walk(storage, dir, &mut check)?;
    let torn_tail = (walked.tail.torn_bytes > 0).then(|| TornTail {
        file: walked.tail.path.clone(),
        offset: walked.tail.end,
        bytes: walked.tail.torn_bytes,
    });
    (check.progress)(Progress {
        bytes: check.bytes_total,
        bytes_total: check.bytes_total,
        records: check.records,
    });
    Ok(VerifyReport {
        records: check.records,
        reservations: check.replay.next_reservation - (NO_RESERVATION + 1),
        reservations_open: check.replay.open.len() as u64,
        segments: walked.segments,
        bytes: walked.bytes,
        last_time_ms: check.replay.last_time_ms,
        clean: walked.tail.clean,
        torn_tail,
    })
}

struct Check<'a> {
    replay: Replay,
    keys: Option<&'a dyn KeyExtractor>,
    records: u64,
    /// Sizes of the segments before the current one.
    bytes_before: u64,
    /// Size of the current one.
    segment_bytes: u64,
    bytes_total: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Visitor for Check<'_> {
    fn segment(&mut self, header: &SegmentHeader) {
        self.bytes_before += self.segment_bytes;
        self.segment_bytes = header.bytes;
    }

    fn frame(&mut self, _offset: u32, _index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        self.replay.apply(frame)?;
        if frame.kind != FrameKind::Record {
            return Ok(());
        }
        self.records += 1;
        if let Some(keys) = self.keys
            && frame.reservation != NO_RESERVATION
        {
            keys.keys(frame.payload).map_err(Fault::Extract)?;
        }
        Ok(())
    }

    fn batch_end(&mut self, bytes: u64) {
        let bytes = self.bytes_before + bytes;
        let (bytes_total, records) = (self.bytes_total, self.records);
        (self.progress)(Progress {
            bytes,
            bytes_total,
            records,
        });
    }
}

/// Sizes of all segments in use.
fn bytes_in_use(storage: &dyn Storage, dir: &Path) -> Result<u64, VerifyError> {
    let mut total = 0;
    for number in segment_numbers(storage, dir)? {
        let path = segments_dir(dir).join(segment_name(number));
        let file = storage.open(&path, false).map_err(at(&path))?;
        // A damaged header is named by the walk, in its turn.
        if let Ok(Some(header)) = read_header(&*file, &path, number, 0) {
            total += header.bytes;
        }
    }
    Ok(total)
}
