//! Checking the write-ahead segments: every byte in use, and that they go on where the published records end.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::batch::{Frame, FrameKind, NO_RESERVATION};
use crate::error::VerifyError;
use crate::floor::read_floor;
use crate::log::LOCK_FILE;
use crate::published::{Published, checkpoint_path};
use crate::record::RecordIndex;
use crate::replay::Replay;
use crate::scan::{Fault, ScanError, Visitor, Walked, corrupt, segment_numbers, walk};
use crate::segment::SegmentHeader;
use crate::storage::Storage;
use crate::tlog::leaf_hash;
use crate::verify::{Count, KeySums, TornTail, Verification, VerifyReport};

/// Times that the segments are walked when another process writes to them meanwhile.
pub(crate) const WALK_TRIES: usize = 8;

/// Wait before the next try: several group commits.
pub(crate) const WALK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Walks the segments; again when another process has changed them meanwhile.
pub(crate) fn verify_segments(
    storage: &dyn Storage,
    dir: &Path,
    published: &Published,
    verification: &Verification<'_>,
    count: &Count<'_>,
    sums: &mut KeySums,
) -> Result<VerifyReport, VerifyError> {
    let watermark = sums.watermark();
    if let Err(ScanError::Missing { .. }) = segment_numbers(storage, dir) {
        return Ok(report_of(published.size(), &Replay::new(0), None));
    }
    let mut before: Option<(u64, VerifyError)> = None;
    for _ in 0..WALK_TRIES {
        let floor = read_floor(storage, dir)?;
        let mut check = Check {
            replay: Replay::new(published.size()),
            published,
            verification,
            first_index: None,
            records: published.size(),
            uncounted: 0,
            count,
            sums: KeySums::below(watermark),
        };
        let error = match walk(storage, dir, &mut check) {
            Ok(walked) => {
                check.check_joined(dir, &walked)?;
                sums.merge(&check.sums);
                return Ok(report_of(check.records, &check.replay, Some(walked)));
            }
            Err(error) => VerifyError::from(error),
        };
        // Real damage looks the same twice. A batch that was just being written does not, nor a
        // segment that was just given up.
        let same = before.is_some_and(|(of, error_before)| {
            of == floor && error_before.to_string() == error.to_string()
        });
        if same || !has_writer(storage, dir) {
            return Err(error);
        }
        before = Some((floor, error));
        thread::sleep(WALK_AGAIN_AFTER);
    }
    Err(before.map_or(
        VerifyError::Missing {
            dir: dir.to_owned(),
        },
        |(_, error)| error,
    ))
}

/// Whether another process has the log open, as far as it can be told.
pub(crate) fn has_writer(storage: &dyn Storage, dir: &Path) -> bool {
    let path = dir.join(LOCK_FILE);
    // Opened first: taking the lock would make the file.
    storage.open(&path, false).is_ok() && storage.lock(&path).is_err()
}

fn report_of(records: u64, replay: &Replay, walked: Option<Walked>) -> VerifyReport {
    let torn_tail = walked.as_ref().and_then(|walked| {
        (walked.tail.torn_bytes > 0).then(|| TornTail {
            file: walked.tail.path.clone(),
            offset: walked.tail.end,
            bytes: walked.tail.torn_bytes,
        })
    });
    VerifyReport {
        records,
        checkpoint: None,
        vkey: None,
        archived_unseen: 0,
        indexed: 0,
        index_of_other_keys: false,
        reservations: replay.next_reservation - (NO_RESERVATION + 1),
        reservations_open: replay.open.len() as u64,
        segments: walked.as_ref().map_or(0, |walked| walked.segments),
        segment_bytes: walked.as_ref().map_or(0, |walked| walked.bytes),
        last_time_ms: replay.last_time_ms,
        clean: walked.is_none_or(|walked| walked.tail.clean),
        torn_tail,
    }
}

struct Check<'a> {
    replay: Replay,
    published: &'a Published,
    verification: &'a Verification<'a>,
    /// First record in the segments.
    first_index: Option<u64>,
    /// Records so far, the published ones included.
    records: u64,
    uncounted: u64,
    count: &'a Count<'a>,
    sums: KeySums,
}

impl Check<'_> {
    /// The segments must go on where the published records end, or before.
    fn check_joined(&self, dir: &Path, walked: &Walked) -> Result<(), VerifyError> {
        let (published, end) = (self.published.size(), walked.tail.cursor.next_index);
        let first = self.first_index.unwrap_or(0);
        let detail = if first > published {
            format!("records {published} to {first} are in no segment and not published")
        } else if end < published {
            format!("the checkpoint covers {published} records, but the segments end at {end}")
        } else {
            return Ok(());
        };
        Err(corrupt(&checkpoint_path(dir), 0, end.min(published), detail).into())
    }

    /// A record that is published already must be the same there.
    fn compare(&self, index: RecordIndex, record: &[u8]) -> Result<(), Fault> {
        match self.published.leaf_hash(index) {
            Ok(hash) if hash == leaf_hash(record) => Ok(()),
            Ok(_) => Err(Fault::Corrupt("the published record is another one")),
            // The tree was checked before, so the file has just gone.
            Err(_) => Err(Fault::Corrupt("the published record cannot be read")),
        }
    }
}

impl Visitor for Check<'_> {
    fn segment(&mut self, header: &SegmentHeader) {
        self.first_index.get_or_insert(header.first_index);
        self.replay.begin_segment(header);
    }

    fn frame(&mut self, _offset: u32, index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        self.replay.apply(index, frame)?;
        if frame.kind != FrameKind::Record {
            return Ok(());
        }
        if index.0 < self.published.size() {
            return self.compare(index, frame.payload);
        }
        self.records += 1;
        self.uncounted += 1;
        if frame.reservation != NO_RESERVATION {
            self.verification
                .look_at(index, frame.payload, &mut self.sums)?;
        }
        Ok(())
    }

    fn batch_end(&mut self, _bytes: u64) {
        self.count.add(std::mem::take(&mut self.uncounted));
    }
}
