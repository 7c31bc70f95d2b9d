//! Rebuilding what is kept in memory: the state of the reservations, where records are, and what the
//! index has not got yet.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::archive::check_there;
use crate::batch::{Frame, FrameKind, NO_RESERVATION};
use crate::error::OpenError;
use crate::index::{Index, Opened, RecordSource, is_made_anew};
use crate::locations::Locations;
use crate::published::checkpoint_path;
use crate::record::{KeyExtractor, RecordIndex, RecordKeys};
use crate::replay::Replay;
use crate::scan::{Fault, Visitor, Walked, corrupt, walk};
use crate::segment::SegmentHeader;
use crate::state::{Records, Source};
use crate::storage::Storage;

/// What the segments tell. Nothing was written to find it out.
pub(crate) struct Walkthrough {
    pub(crate) replay: Replay,
    pub(crate) walked: Walked,
    pub(crate) found: Found,
}

/// The records that were found.
pub(crate) struct Found {
    source: Source,
    /// Keys of the records in the segments.
    keyed: Vec<(RecordIndex, RecordKeys)>,
    /// First record that is in the segments.
    first_index: u64,
}

/// Records whose keys are entered in one go.
const ENTERED_AT_ONCE: usize = 1024;

/// Walks the segments. `locations` knows how many records are published.
pub(crate) fn walk_through(
    storage: &dyn Storage,
    dir: &Path,
    locations: Locations,
    keys: Arc<dyn KeyExtractor>,
) -> Result<Walkthrough, OpenError> {
    let published = locations.published.size();
    let mut gather = Gather {
        replay: Replay::new(published),
        source: Source { locations, keys },
        keyed: Vec::new(),
        first_index: None,
    };
    let walked = walk(storage, dir, &mut gather)?;
    let first_index = gather.first_index.unwrap_or(0);
    check_joined(dir, &walked, first_index, published)?;
    Ok(Walkthrough {
        replay: gather.replay,
        walked,
        found: Found {
            source: gather.source,
            keyed: gather.keyed,
            first_index,
        },
    })
}

impl Found {
    /// Enters into the index what it has not got. Gives the records, and why the index on the disk
    /// was not used, if it was not. `progress` is told the number of records entered now and then.
    pub(crate) fn enter(
        self,
        storage: Arc<dyn Storage>,
        dir: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Records, Option<String>), OpenError> {
        let source = Arc::new(self.source);
        let len = source.locations.len();
        // The index is about to go, and may be good for the release that made it: first all that the new one needs is within reach.
        if is_made_anew(&*storage, &index_dir(dir), source.keys.version())? {
            check_there(&*storage, dir)?;
        }
        let confirm = Arc::clone(&source) as Arc<dyn RecordSource>;
        let Opened {
            index,
            watermark,
            discarded,
        } = Index::open(storage, &index_dir(dir), len, confirm)?;
        enter_published(&source, &index, dir, watermark, self.first_index, progress)?;
        let known = self.keyed.partition_point(|(at, _)| at.0 < watermark);
        for keyed in self.keyed[known..].chunks(ENTERED_AT_ONCE) {
            enter(dir, &index, keyed)?;
        }
        progress(len);
        Ok((Records::new(source, index), discarded))
    }
}

/// Where the index is.
pub(crate) fn index_dir(dir: &Path) -> std::path::PathBuf {
    dir.join("index")
}

/// Enters the keys of some records, and waits while the index writes. An index that cannot be written
/// grows in memory, and there may be any number of records: the start fails then.
fn enter(dir: &Path, index: &Index, keyed: &[(RecordIndex, RecordKeys)]) -> Result<(), OpenError> {
    index.insert(keyed);
    index.wait_for_room();
    match index.health() {
        Err(reason) if index.metrics().waiting > TABLES_WAITING_MAX => Err(OpenError::Storage {
            path: index_dir(dir),
            source: io::Error::other(reason),
        }),
        _ => Ok(()),
    }
}

/// Tables of a quarter of a million records that may wait in memory while a start enters keys.
const TABLES_WAITING_MAX: u64 = 16;

/// Enters the records from `from` to `to`, which are in no segment any more.
fn enter_published(
    source: &Source,
    index: &Index,
    dir: &Path,
    from: u64,
    to: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), OpenError> {
    let mut keyed = Vec::with_capacity(ENTERED_AT_ONCE);
    let published = &source.locations.published;
    published.for_each(from, to, |at, record| -> Result<(), OpenError> {
        let keys = source
            .keys
            .keys(record)
            .map_err(|source| OpenError::Extract { record: at, source })?;
        keyed.push((at, keys));
        if keyed.len() == ENTERED_AT_ONCE {
            enter(dir, index, &keyed)?;
            keyed.clear();
            progress(at.0 + 1);
        }
        Ok(())
    })?;
    index.insert(&keyed);
    Ok(())
}

/// The segments must go on where the published records end, or before.
fn check_joined(
    dir: &Path,
    walked: &Walked,
    first_index: u64,
    published: u64,
) -> Result<(), OpenError> {
    let len = walked.tail.cursor.next_index;
    let detail = if first_index > published {
        format!("records {published} to {first_index} are in no segment and not published")
    } else if len < published {
        format!("the checkpoint covers {published} records, but the segments end at {len}")
    } else {
        return Ok(());
    };
    Err(corrupt(&checkpoint_path(dir), 0, len.min(published), detail).into())
}

/// Gathers what the segments hold.
struct Gather {
    replay: Replay,
    source: Source,
    /// Keys of the records in the segments.
    keyed: Vec<(RecordIndex, RecordKeys)>,
    /// First record that is in the segments.
    first_index: Option<u64>,
}

impl Visitor for Gather {
    fn segment(&mut self, header: &SegmentHeader) {
        self.first_index.get_or_insert(header.first_index);
        self.replay.begin_segment(header);
        self.source
            .locations
            .begin_segment(header.number, header.first_index);
    }

    fn frame(&mut self, offset: u32, index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        self.replay.apply(index, frame)?;
        if frame.kind == FrameKind::Record {
            self.source.locations.extend([offset]);
            if frame.reservation != NO_RESERVATION {
                let keys = self.source.keys.keys(frame.payload);
                self.keyed.push((index, keys.map_err(Fault::Extract)?));
            }
        }
        Ok(())
    }

    fn batch_end(&mut self, _bytes: u64) {}
}
