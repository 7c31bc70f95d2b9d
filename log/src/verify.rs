//! Checking a whole log offline: the published tree in parallel, then the write-ahead segments.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::error::{IndexDamage, VerifyError};
use crate::index::{self, EntrySum, OnDisk};
use crate::published::{Published, checkpoint_path, read_checkpoint, read_vkey};
use crate::reader::published_size;
use crate::rebuild::index_dir;
use crate::record::{ExtractError, KEY_SPACES, KeyExtractor, RecordIndex, RecordKeys, slot_space};
use crate::scan::{Fault, corrupt};
use crate::storage::{DiskStorage, Storage};
use crate::tlog::{Checkpoint, Note, VerifierKey};
use crate::verify_segments::{WALK_AGAIN_AFTER, WALK_TRIES, has_writer, verify_segments};
use crate::verify_tree::{Tree, verify_tree};

/// What to check beyond the structure, and how.
#[derive(Clone, Copy, Default)]
pub struct Verification<'a> {
    /// Every record's keys must be readable, and the index must hold exactly these.
    pub keys: Option<&'a dyn KeyExtractor>,
    /// The checkpoint must be signed by this key, and be there unless the log is empty. Default: the key that is kept with the log, which
    /// whoever can change the log can change, too.
    pub vkey: Option<&'a VerifierKey>,
    /// Looks at every record, on several threads.
    pub record: Option<&'a RecordCheck<'a>>,
    /// Threads. Default: one for each core.
    pub threads: Option<usize>,
    /// Told now and then how far it has come, on several threads.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// Looks at one record. An error ends the verification.
pub type RecordCheck<'a> = dyn Fn(RecordIndex, &[u8]) -> Result<(), ExtractError> + Sync + 'a;

/// How far [`verify`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Records checked so far.
    pub records: u64,
    /// Records that there are, as far as known.
    pub records_total: u64,
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
    /// The checkpoint, if one was published: its tree is what the records give.
    pub checkpoint: Option<Checkpoint>,
    /// The verifier key that the checkpoint's signature was checked with.
    pub vkey: Option<String>,
    /// Records in an archive that is not there: their hashes are in the tree of the checkpoint, the
    /// records were not looked at.
    pub archived_unseen: u64,
    /// Records whose keys are in the index on the disk, as they must be. Looked at only when the
    /// keys of the records were, and all records were seen; 0 otherwise.
    pub indexed: u64,
    /// The index on the disk has keys of another [version](KeyExtractor::version) than those that were asked for. It was not
    /// looked at; the next open makes it anew.
    pub index_of_other_keys: bool,
    /// Reservations ever made. 0 for a copy of the published files.
    pub reservations: u64,
    /// Reservations without a record: the next open appends a lost record for each.
    pub reservations_open: u64,
    /// Segments in use.
    pub segments: u64,
    /// Bytes of batches and headers in them.
    pub segment_bytes: u64,
    /// Time stamp of the last record in the segments, in milliseconds since 1970; 0 when none.
    pub last_time_ms: u64,
    /// Whether the log was closed cleanly.
    pub clean: bool,
    /// What a crash left at the end.
    pub torn_tail: Option<TornTail>,
}

/// Checks the log in `dir`, on the real file system and without a lock: every published record
/// against its hash, every tile against the one above, the root against the checkpoint, and in the
/// segments every byte in use: checksums, the chain of batches, the order of records, reservations
/// and time stamps. Works on a copy of the published files as well.
///
/// # Errors
/// [`VerifyError::Corrupt`] names the first bad file, the offset and the record. What a crash
/// leaves at the end is no damage: see [`VerifyReport::torn_tail`].
pub fn verify(dir: &Path, verification: &Verification<'_>) -> Result<VerifyReport, VerifyError> {
    verify_on(
        &(Arc::new(DiskStorage) as Arc<dyn Storage>),
        dir,
        verification,
    )
}

/// As [`verify`], on any storage.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    verification: &Verification<'_>,
) -> Result<VerifyReport, VerifyError> {
    let mut tries = 1;
    loop {
        let state = State::read(storage, dir, verification)?;
        let mut sums = state.sums();
        let count = state.count(verification);
        // The segments first: there the writer may take away what is being looked at, and then all is
        // read anew. What a checkpoint covers stays as it is.
        let walked = verify_segments(
            &**storage,
            dir,
            &state.published,
            verification,
            &count,
            &mut sums,
        );
        if walked.is_err() && tries < WALK_TRIES && state.is_past(&**storage, dir)? {
            tries += 1;
            continue;
        }
        // If the tree is damaged, that is what is wrong with the segments, too.
        let unseen = state.verify_tree(dir, verification, &count, &mut sums)?;
        let mut report = walked?;
        report.archived_unseen = unseen;
        return state.report(dir, verification, &count, &sums, report);
    }
}

/// What is verified: the log as it stood at one moment.
struct State {
    signed: Option<Signed>,
    published: Published,
    index: OnDisk,
}

impl State {
    fn read(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        verification: &Verification<'_>,
    ) -> Result<State, VerifyError> {
        let signed = signed_checkpoint(&**storage, dir, verification.vkey)?;
        let size = signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        let index = match verification.keys {
            Some(keys) => verify_index(&**storage, dir, keys.version())?,
            None => OnDisk::Nothing,
        };
        Ok(State {
            signed,
            published: Published::new(Arc::clone(storage), dir, size),
            index,
        })
    }

    fn sums(&self) -> KeySums {
        KeySums::below(match &self.index {
            OnDisk::Sound(index) => index.watermark,
            OnDisk::Nothing | OnDisk::OtherKeys => 0,
        })
    }

    fn count<'a>(&self, verification: &Verification<'a>) -> Count<'a> {
        Count {
            records: AtomicU64::new(0),
            records_total: AtomicU64::new(self.published.size()),
            progress: verification.progress,
        }
    }

    /// Whether the log has published more meanwhile.
    fn is_past(&self, storage: &dyn Storage, dir: &Path) -> Result<bool, VerifyError> {
        let now = published_size(storage, dir)?.unwrap_or(0);
        Ok(now > self.published.size())
    }

    /// Gives the number of records that could not be seen, because they are in an archive.
    fn verify_tree(
        &self,
        dir: &Path,
        verification: &Verification<'_>,
        count: &Count<'_>,
        sums: &mut KeySums,
    ) -> Result<u64, VerifyError> {
        let Some(signed) = &self.signed else {
            return Ok(0);
        };
        let signed = &signed.checkpoint.root;
        let Tree { root, unseen } =
            verify_tree(&self.published, signed, verification, count, sums)?;
        if root == *signed {
            return Ok(unseen);
        }
        let detail = "the tiles do not give the root of the checkpoint";
        Err(corrupt(&checkpoint_path(dir), 0, self.published.size(), detail).into())
    }

    fn report(
        self,
        dir: &Path,
        verification: &Verification<'_>,
        count: &Count<'_>,
        sums: &KeySums,
        mut report: VerifyReport,
    ) -> Result<VerifyReport, VerifyError> {
        let State { signed, index, .. } = self;
        report.index_of_other_keys = index == OnDisk::OtherKeys;
        if let OnDisk::Sound(index) = index {
            compare_index(dir, &index, sums, &report)?;
            if report.archived_unseen == 0 {
                report.indexed = index.watermark;
            }
        }
        if signed.is_none() && verification.vkey.is_some() && report.records > 0 {
            let detail = "there is no checkpoint, so the key that was given vouches for nothing";
            return Err(corrupt(&checkpoint_path(dir), 0, 0, detail).into());
        }
        if signed.is_none() && report.segments == 0 {
            return Err(VerifyError::Missing {
                dir: dir.to_owned(),
            });
        }
        if let Some(signed) = signed {
            report.vkey = signed.vkey;
            report.checkpoint = Some(signed.checkpoint);
        }
        count.add(0);
        Ok(report)
    }
}

/// A checkpoint, and the key that it was checked with.
struct Signed {
    checkpoint: Checkpoint,
    vkey: Option<String>,
}

fn signed_checkpoint(
    storage: &dyn Storage,
    dir: &Path,
    vkey: Option<&VerifierKey>,
) -> Result<Option<Signed>, VerifyError> {
    let Some(bytes) = read_checkpoint(storage, dir)? else {
        return Ok(None);
    };
    let damaged = |detail: String| corrupt(&checkpoint_path(dir), 0, 0, detail);
    let note = Note::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
    let kept = read_vkey(storage, dir)?;
    let kept = kept.map(|text| text.parse::<VerifierKey>());
    let kept = kept
        .transpose()
        .map_err(|error| damaged(format!("the verifier key beside it is none: {error}")))?;
    let key = vkey.cloned().or(kept);
    if let Some(key) = &key {
        note.verified_by(key)
            .map_err(|error| damaged(error.to_string()))?;
    }
    let checkpoint = Checkpoint::parse(&note.text).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(Signed {
        checkpoint,
        vkey: key.map(|key| key.to_string()),
    }))
}

/// Reads the files of the index; again when a writer has merged them meanwhile.
fn verify_index(
    storage: &dyn Storage,
    dir: &Path,
    keys_version: u32,
) -> Result<OnDisk, VerifyError> {
    for _ in 1..WALK_TRIES {
        match index::verify(storage, &index_dir(dir), keys_version) {
            Err(_) if has_writer(storage, dir) => thread::sleep(WALK_AGAIN_AFTER),
            verified => return verified,
        }
    }
    index::verify(storage, &index_dir(dir), keys_version)
}

/// The index must hold the keys of the records that it covers, and nothing else. That cannot be told
/// when not all records were seen.
fn compare_index(
    dir: &Path,
    index: &index::Verified,
    sums: &KeySums,
    report: &VerifyReport,
) -> Result<(), VerifyError> {
    let detail = if index.watermark > report.records {
        "the index covers more records than there are"
    } else if report.archived_unseen == 0 && index.sums != sums.sums() {
        "the index does not hold exactly the keys of the records"
    } else {
        return Ok(());
    };
    Err(VerifyError::Index(IndexDamage {
        file: index_dir(dir),
        offset: 0,
        detail: detail.to_owned(),
    }))
}

/// Sums over the keys of records, to be compared with those of the index.
pub(crate) struct KeySums {
    watermark: u64,
    sums: [EntrySum; KEY_SPACES],
}

impl KeySums {
    /// Sums over the records before `watermark`.
    pub(crate) fn below(watermark: u64) -> KeySums {
        KeySums {
            watermark,
            sums: Default::default(),
        }
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    pub(crate) fn merge(&mut self, other: &KeySums) {
        for (sum, other) in self.sums.iter_mut().zip(&other.sums) {
            sum.merge(other);
        }
    }

    fn add(&mut self, index: RecordIndex, keys: &RecordKeys) {
        if index.0 < self.watermark {
            for (slot, key) in keys.iter().enumerate() {
                if let Some(key) = key {
                    self.sums[slot_space(slot)].add(key, index);
                }
            }
        }
    }

    fn sums(&self) -> [EntrySum; KEY_SPACES] {
        self.sums
    }
}

/// Counts records for the progress.
pub(crate) struct Count<'a> {
    records: AtomicU64,
    records_total: AtomicU64,
    progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

impl Count<'_> {
    pub(crate) fn add(&self, records: u64) {
        let records = self.records.fetch_add(records, Ordering::Relaxed) + records;
        let records_total = self.records_total.fetch_max(records, Ordering::Relaxed);
        if let Some(progress) = self.progress {
            progress(Progress {
                records,
                records_total: records_total.max(records),
            });
        }
    }
}

/// Checks the segments in `dir` that go on after what is `published` elsewhere.
pub(crate) fn verify_segments_of(
    storage: &dyn Storage,
    dir: &Path,
    published: &Published,
    verification: &Verification<'_>,
) -> Result<VerifyReport, VerifyError> {
    let count = Count {
        records: AtomicU64::new(published.size()),
        records_total: AtomicU64::new(published.size()),
        progress: None,
    };
    // The index of another log is none of this one's.
    let mut sums = KeySums::below(0);
    verify_segments(storage, dir, published, verification, &count, &mut sums)
}

impl Verification<'_> {
    /// What was asked for on each record.
    pub(crate) fn look_at(
        &self,
        index: RecordIndex,
        record: &[u8],
        sums: &mut KeySums,
    ) -> Result<(), Fault> {
        if let Some(keys) = self.keys {
            let keys = keys.keys(record).map_err(Fault::Extract)?;
            sums.add(index, &keys);
        }
        if let Some(check) = self.record {
            check(index, record).map_err(Fault::Extract)?;
        }
        Ok(())
    }
}
