//! What a log can prove of itself, from what it has published: checkpoint, key, proofs, roots. And
//! a look at every record, on several threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use thiserror::Error;

use crate::error::VerifyError;
use crate::published::{
    Published, bundle_at, checkpoint_path, damage, read_checkpoint, read_vkey, vkey_path,
};
use crate::reader::LogReader;
use crate::record::RecordIndex;
use crate::scan::corrupt;
use crate::tlog::{
    self, Hash, HashReader, ProveError, TILE_WIDTH, TileId, VerifierKey, level_hashes,
};

/// A proof or a root was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogProofError {
    /// No checkpoint covers that many records.
    #[error(
        "the log has published {published} records, not {size}; it publishes about once a second \
         while it is open"
    )]
    NotPublished {
        /// What was asked for.
        size: u64,
        /// What the checkpoint covers.
        published: u64,
    },
    /// What was asked for does not fit together, or a tile could not be read.
    #[error(transparent)]
    Prove(#[from] ProveError<VerifyError>),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Log(#[from] VerifyError),
}

impl LogReader {
    /// Number of records that a checkpoint covered when this was last looked at. The signature of
    /// the checkpoint is not looked at.
    pub fn published(&self) -> u64 {
        self.published_files().size()
    }

    /// The signed checkpoint as it is now, word for word (c2sp.org/tlog-checkpoint); `None` when
    /// nothing was published yet. Nothing of it is verified.
    ///
    /// # Errors
    /// [`VerifyError::Storage`]; [`VerifyError::Corrupt`] when it is not even text.
    pub fn checkpoint(&self) -> Result<Option<String>, VerifyError> {
        let published = self.published_files();
        let Some(bytes) = read_checkpoint(published.storage(), published.dir())? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to() as u64;
            corrupt(&checkpoint_path(published.dir()), offset, 0, "not UTF-8")
        })?;
        Ok(Some(text))
    }

    /// The key that is kept beside the log, for which its checkpoints are signed; `None` in a log
    /// that was never opened, or in a copy without it. Whoever can change the log can change it.
    ///
    /// # Errors
    /// [`VerifyError::Storage`]; [`VerifyError::Corrupt`] when it is no verifier key.
    pub fn vkey(&self) -> Result<Option<VerifierKey>, VerifyError> {
        let published = self.published_files();
        let Some(text) = read_vkey(published.storage(), published.dir())? else {
            return Ok(None);
        };
        let key = text.parse().map_err(|error: tlog::KeyError| {
            corrupt(&vkey_path(published.dir()), 0, 0, error.to_string())
        })?;
        Ok(Some(key))
    }

    /// The proof that record `index` is in the tree of the first `size` records (RFC 9162
    /// §2.1.3.1), from the leaf's sibling up.
    ///
    /// # Errors
    /// [`LogProofError`]: too large a size or index, or a tile that is missing or damaged in
    /// length. A tile with wrong bytes gives a wrong proof: verify it.
    pub fn inclusion_proof(
        &self,
        index: RecordIndex,
        size: u64,
    ) -> Result<Vec<Hash>, LogProofError> {
        self.check_published(size)?;
        Ok(tlog::inclusion_proof(
            &mut Tiles(self.published_files()),
            index.0,
            size,
        )?)
    }

    /// The proof that the tree of the first `new` records continues that of the first `old` ones
    /// (RFC 9162 §2.1.4.1).
    ///
    /// # Errors
    /// As [`LogReader::inclusion_proof`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogProofError> {
        self.check_published(new)?;
        Ok(tlog::consistency_proof(
            &mut Tiles(self.published_files()),
            old,
            new,
        )?)
    }

    /// The root of the tree of the first `size` records (RFC 6962 §2.1), as the tiles have it.
    ///
    /// # Errors
    /// As [`LogReader::inclusion_proof`].
    pub fn root(&self, size: u64) -> Result<Hash, LogProofError> {
        self.check_published(size)?;
        Ok(tlog::root(&mut Tiles(self.published_files()), size)?)
    }

    /// Shows every record to `show`, on `threads` threads (default: one for each core) and in no
    /// order. Published records are checked against their hashes.
    ///
    /// # Errors
    /// The damage found first; not all records were shown then.
    pub fn scan(
        &self,
        threads: Option<usize>,
        show: &(dyn Fn(RecordIndex, &[u8]) + Sync),
    ) -> Result<(), VerifyError> {
        // One size for all threads: the writer may publish more meanwhile.
        let size = self.published();
        let work = Scan {
            published: self.published_files(),
            size,
            next: AtomicU64::new(0),
            end: AtomicU64::new(size.div_ceil(TILE_WIDTH)),
            failure: Mutex::new(None),
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads.unwrap_or(cores).max(1) {
                scope.spawn(|| work.run(show));
            }
        });
        let failure = work.failure.into_inner();
        if let Some((_, failure)) = failure.unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        for entry in self.iter_from(RecordIndex(size)) {
            let (index, record) = entry?;
            show(index, &record);
        }
        Ok(())
    }

    /// Whether the checkpoint covers `size` records, the newest one if need be.
    fn check_published(&self, size: u64) -> Result<(), LogProofError> {
        if size > self.published() {
            self.refresh_published()?;
        }
        let published = self.published();
        if size > published {
            return Err(LogProofError::NotPublished { size, published });
        }
        Ok(())
    }
}

/// The tiles of any earlier tree, cut from those of the tree that is published: a partial tile
/// exists only in the widths that a checkpoint asked for.
struct Tiles<'a>(&'a Published);

impl HashReader for Tiles<'_> {
    type Error = VerifyError;

    fn tile(&mut self, id: TileId) -> Result<Vec<u8>, VerifyError> {
        let covered = 1u64 << (8 * u32::from(id.level));
        let first = id.index.saturating_mul(TILE_WIDTH).saturating_mul(covered);
        let present = level_hashes(self.0.size(), id.level)
            .saturating_sub(id.index * TILE_WIDTH)
            .min(TILE_WIDTH) as u16;
        let width = present.max(id.width);
        let mut bytes = self.0.tile(TileId { width, ..id }).map_err(damage(first))?;
        bytes.truncate(id.byte_len());
        Ok(bytes)
    }
}

/// Shared by the threads of a scan.
struct Scan<'a> {
    published: &'a Published,
    size: u64,
    next: AtomicU64,
    /// Bundles from here on need no look: one before is bad, or there are none.
    end: AtomicU64,
    failure: Mutex<Option<(u64, VerifyError)>>,
}

impl Scan<'_> {
    fn run(&self, show: &(dyn Fn(RecordIndex, &[u8]) + Sync)) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end.load(Ordering::Relaxed) {
                return;
            }
            let shown =
                self.published
                    .check_bundle(bundle_at(number, self.size), |index, record| {
                        show(index, record);
                        Ok::<_, VerifyError>(())
                    });
            if let Err(error) = shown {
                self.fail(number, error);
            }
        }
    }

    /// Keeps the failure of the lowest bundle.
    fn fail(&self, number: u64, error: VerifyError) {
        self.end.fetch_min(number, Ordering::Relaxed);
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(failed, _)| number < *failed) {
            *first = Some((number, error));
        }
    }
}
