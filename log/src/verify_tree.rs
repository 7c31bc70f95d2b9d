//! Checking the published tree, on several threads: bundles against their hashes, then tiles level by
//! level.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::VerifyError;
use crate::published::{Published, bundle_at, damage, public_dir, tile_of};
use crate::record::RecordIndex;
use crate::scan::{Fault, corrupt};
use crate::tlog::{HASH_BYTES, Hash, TILE_WIDTH, TileId, TreeBuilder, level_hashes, node_hash};
use crate::verify::{Count, KeySums, Verification};

/// What the published files give.
pub(crate) struct Tree {
    /// Root over all records.
    pub(crate) root: Hash,
    /// Records in an archive that is not there. Their hashes are in the tree.
    pub(crate) unseen: u64,
}

/// Checks every published record, and every tile from the lowest level up. The root must be `signed`.
pub(crate) fn verify_tree(
    published: &Published,
    signed: &Hash,
    verification: &Verification<'_>,
    count: &Count<'_>,
    sums: &mut KeySums,
) -> Result<Tree, VerifyError> {
    let size = published.size();
    let (mut roots, unseen) = verify_bundles(published, verification, count, sums)
        .map_err(|(number, error)| blame(published, signed, number, error))?;
    for level in 1.. {
        let hashes = level_hashes(size, level);
        if hashes == 0 {
            break;
        }
        roots = verify_level(published, level, hashes, &roots)?;
    }
    let tree = TreeBuilder::load(size, &mut |id| published.tile(id)).map_err(|error| {
        let public = public_dir(published.dir());
        corrupt(&public, 0, size, error.to_string())
    })?;
    let root = tree.root();
    Ok(Tree { root, unseen })
}

/// A record and its hash do not agree. If the tree does not vouch for the tile with the hash, it is
/// the tile that is bad, and not the record.
fn blame(published: &Published, signed: &Hash, number: u64, error: VerifyError) -> VerifyError {
    let id = bundle_at(number, published.size());
    let VerifyError::Corrupt(found) = &error else {
        return error;
    };
    if !found.file.ends_with(id.path()) || vouched(published, signed, number).unwrap_or(true) {
        return error;
    }
    let tile = tile_of(id);
    let path = public_dir(published.dir()).join(tile.path());
    let offset = found.record.0 % TILE_WIDTH * HASH_BYTES as u64;
    let detail = "the hash is not that of the record";
    corrupt(&path, offset, found.record.0, detail).into()
}

/// Whether the rest of the tree vouches for the tile over a bundle. `None` when it cannot be told.
fn vouched(published: &Published, signed: &Hash, number: u64) -> Option<bool> {
    let size = published.size();
    let id = tile_of(bundle_at(number, size));
    if id.is_partial() {
        let tree = TreeBuilder::load(size, &mut |id| published.tile(id)).ok()?;
        return Some(tree.root() == *signed);
    }
    let above = published.tile(TileId::containing(1, number, size)?).ok()?;
    let expected = above
        .chunks_exact(HASH_BYTES)
        .nth((number % TILE_WIDTH) as usize)?;
    Some(tile_root(&published.tile(id).ok()?).0 == expected)
}

/// Gives the root of each full bundle, and how many records were not there to be seen; or the first bad
/// bundle, and what is wrong with it.
fn verify_bundles(
    published: &Published,
    verification: &Verification<'_>,
    count: &Count<'_>,
    sums: &mut KeySums,
) -> Result<(Vec<Hash>, u64), (u64, VerifyError)> {
    let size = published.size();
    let bundles = size.div_ceil(TILE_WIDTH);
    let work = Work {
        published,
        verification,
        count,
        next: AtomicU64::new(0),
        end: AtomicU64::new(bundles),
        first_failure: Mutex::new(None),
        unseen: AtomicU64::new(0),
        watermark: sums.watermark(),
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = verification.threads.unwrap_or(cores).max(1);
    let mut roots: Vec<(u64, Hash)> = Vec::new();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        for thread in running {
            match thread.join() {
                Ok(done) => {
                    roots.extend(done.roots);
                    sums.merge(&done.sums);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let failure = work.first_failure.into_inner();
    if let Some(failure) = failure.unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    roots.sort_unstable_by_key(|(number, _)| *number);
    let roots = roots.into_iter().map(|(_, root)| root).collect();
    Ok((roots, work.unseen.into_inner()))
}

/// Shared by the threads.
struct Work<'a> {
    published: &'a Published,
    verification: &'a Verification<'a>,
    count: &'a Count<'a>,
    next: AtomicU64,
    /// Bundles from here on need no look: one before is bad, or there are none.
    end: AtomicU64,
    first_failure: Mutex<Option<(u64, VerifyError)>>,
    /// Records in an archive that is not there.
    unseen: AtomicU64,
    /// Records before this one are in the index.
    watermark: u64,
}

/// What one thread found.
struct Done {
    roots: Vec<(u64, Hash)>,
    sums: KeySums,
}

impl Work<'_> {
    fn run(&self) -> Done {
        let mut roots = Vec::new();
        let mut sums = KeySums::below(self.watermark);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end.load(Ordering::Relaxed) {
                return Done { roots, sums };
            }
            match self.verify_bundle(number, &mut sums) {
                Ok(Some(root)) => roots.push((number, root)),
                Ok(None) => {}
                Err(error) => self.fail(number, error),
            }
        }
    }

    fn verify_bundle(&self, number: u64, sums: &mut KeySums) -> Result<Option<Hash>, VerifyError> {
        let id = bundle_at(number, self.published.size());
        let look = |index: RecordIndex, record: &[u8]| {
            self.verification
                .look_at(index, record, sums)
                .map_err(|fault| match fault {
                    Fault::Extract(source) => VerifyError::Extract {
                        record: index,
                        source,
                    },
                    Fault::Corrupt(detail) => {
                        let path = public_dir(self.published.dir()).join(id.path());
                        corrupt(&path, 0, index.0, detail).into()
                    }
                })
        };
        let hashes = match self.published.check_bundle(id, look) {
            // The tile stays in the log, and must be right all the same.
            Err(VerifyError::Archived { record, .. }) => {
                let width = u64::from(id.width);
                self.unseen.fetch_add(width, Ordering::Relaxed);
                let tile = self.published.tile(tile_of(id));
                tile.map_err(damage(record.0))?
            }
            checked => checked?,
        };
        self.count.add(u64::from(id.width));
        Ok((!id.is_partial()).then(|| tile_root(&hashes)))
    }

    /// Keeps the failure of the lowest bundle.
    fn fail(&self, number: u64, error: VerifyError) {
        self.end.fetch_min(number, Ordering::Relaxed);
        let mut first = self
            .first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(failed, _)| number < *failed) {
            *first = Some((number, error));
        }
    }
}

/// Checks the tiles of one level against the roots of those below. Gives their own roots.
fn verify_level(
    published: &Published,
    level: u8,
    hashes: u64,
    below: &[Hash],
) -> Result<Vec<Hash>, VerifyError> {
    let mut roots = Vec::new();
    for (index, expected) in (0u64..).zip(below.chunks(TILE_WIDTH as usize)) {
        let width = (hashes - index * TILE_WIDTH).min(TILE_WIDTH) as u16;
        let id = TileId {
            level,
            index,
            width,
        };
        // A tile of this level covers so many records for each of its hashes.
        let covered = 1u64 << (8 * u32::from(level));
        let first = index * TILE_WIDTH * covered;
        let bytes = published
            .tile(id)
            .map_err(damage(first))
            .map_err(VerifyError::from)?;
        let wrong = bytes
            .chunks_exact(HASH_BYTES)
            .zip(expected)
            .position(|(found, expected)| found != expected.0);
        if let Some(nth) = wrong {
            let path = public_dir(published.dir()).join(id.path());
            let detail = "the hash is not that of the tile below";
            let record = first + nth as u64 * covered;
            return Err(corrupt(&path, (nth * HASH_BYTES) as u64, record, detail).into());
        }
        if !id.is_partial() {
            roots.push(tile_root(&bytes));
        }
    }
    Ok(roots)
}

/// Root of the complete tree over the hashes of a full tile (RFC 6962 §2.1).
fn tile_root(hashes: &[u8]) -> Hash {
    let mut row: Vec<Hash> = hashes
        .chunks_exact(HASH_BYTES)
        .map(|bytes| {
            let mut hash = [0; HASH_BYTES];
            hash.copy_from_slice(bytes);
            Hash(hash)
        })
        .collect();
    while row.len() > 1 {
        row = row
            .chunks_exact(2)
            .map(|pair| node_hash(&pair[0], &pair[1]))
            .collect();
    }
    row.first().copied().unwrap_or(Hash([0; HASH_BYTES]))
}
