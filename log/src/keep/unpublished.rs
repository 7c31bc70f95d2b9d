//! A backup of a log that had published nothing: no signature says which log it is of.

use std::path::Path;

use super::backup::BackupError;
use crate::batch::{Frame, FrameKind};
use crate::error::VerifyError;
use crate::published::Published;
use crate::record::RecordIndex;
use crate::scan::{Fault, Visitor, walk};
use crate::segment::{SegmentHeader, segments_dir};
use crate::storage::Storage;
use crate::tlog::{Hash, leaf_hash};

/// What such a backup holds.
pub(super) struct Unpublished {
    /// Hashes of the records, in order: those of about one second.
    records: Vec<Hash>,
}

impl Unpublished {
    /// What the segments in `dir` hold; `None` when there are none yet.
    pub(super) fn read(
        storage: &dyn Storage,
        dir: &Path,
    ) -> Result<Option<Unpublished>, BackupError> {
        if storage.list(&segments_dir(dir)).is_err() {
            return Ok(None);
        }
        let mut hashes = Hashes(Vec::new());
        walk(storage, dir, &mut hashes).map_err(VerifyError::from)?;
        Ok(Some(Unpublished { records: hashes.0 }))
    }

    /// The log in `dir`, whose copied tree `published` is, must begin with the records of this backup in
    /// `dest`. Where it has published nothing, its copied segments in `next` must. A segment's salt says
    /// nothing: after a crash the last segment gets another.
    pub(super) fn check_continued(
        &self,
        storage: &dyn Storage,
        published: &Published,
        next: &Path,
        (dir, dest): (&Path, &Path),
    ) -> Result<(), BackupError> {
        let mut theirs = Vec::new();
        for (index, _) in (0..published.size()).zip(&self.records) {
            let hash = published.leaf_hash(RecordIndex(index));
            theirs.push(hash.map_err(VerifyError::from)?);
        }
        if published.size() == 0
            && let Some(next) = Unpublished::read(storage, next)?
        {
            theirs = next.records;
        }
        let both = theirs.len().min(self.records.len());
        let held = self.records.len() as u64;
        if theirs[..both] != self.records[..both] {
            return Err(BackupError::OtherLog {
                dest: dest.to_owned(),
                held: format!("a log that had published nothing ({held} records)"),
                log: format!("the one in {}", dir.display()),
            });
        }
        if published.size() == 0 && both < self.records.len() {
            let log = theirs.len() as u64;
            return Err(BackupError::RolledBack { held, log });
        }
        Ok(())
    }
}

/// Collects the hashes of all records.
struct Hashes(Vec<Hash>);

impl Visitor for Hashes {
    fn segment(&mut self, _header: &SegmentHeader) {}

    fn frame(&mut self, _offset: u32, _index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.kind == FrameKind::Record {
            self.0.push(leaf_hash(frame.payload));
        }
        Ok(())
    }

    fn batch_end(&mut self, _bytes: u64) {}
}
