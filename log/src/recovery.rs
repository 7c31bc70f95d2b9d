//! Opening a log: walks it, rebuilds the index, replaces an unclean tail, appends the lost records.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::batch::{self, BLOCK_BYTES};
use crate::clock::{ClockLimits, ClockRule, saturating_ms};
use crate::commit::Append;
use crate::committer::{Committer, Position};
use crate::error::{AppendError, OpenError, ReadError};
use crate::integrate::{IntegrateError, load_tree};
use crate::locations::Locations;
use crate::log::Recovery;
use crate::options::Options;
use crate::preparer::{Spare, Workshop};
use crate::published::{self, checkpoint_path, read_checkpoint};
use crate::rebuild::{Walkthrough, walk_through};
use crate::record::{self, KeyExtractor, ReservationId};
use crate::replay::OpenReservation;
use crate::scan::{ScanError, Tail, Walked, corrupt, segment_numbers};
use crate::segment::{SEGMENT_BYTES_UNIT, SegmentHeader, random_salt, segment_name, segments_dir};
use crate::segment_scanner::SegmentScanner;
use crate::state::State;
use crate::storage::{self, PathError, Storage, StorageFile, UNFINISHED, at};
use crate::tlog::{Checkpoint, CheckpointSigner, VerifierKey};
use crate::writer::{CurrentSegment, SPARES_MAX, SegmentWriter};

/// A log that is ready for its threads.
pub(crate) struct Recovered {
    pub(crate) state: Arc<State>,
    pub(crate) committer: Committer,
    pub(crate) recovery: Recovery,
    pub(crate) workshop: Workshop,
}

/// Recovers the log in `dir`, which this process has locked. `first_act` is appended before the
/// lost records are.
pub(crate) fn recover(
    dir: &Path,
    options: &Options,
    keys: Arc<dyn KeyExtractor>,
    signer: &dyn CheckpointSigner,
    first_act: Option<&[u8]>,
) -> Result<Recovered, OpenError> {
    let storage = &*options.storage;
    let checkpoint = stored_checkpoint(storage, dir, signer.verifier_key())?;
    let locations = open_published(Arc::clone(&options.storage), dir, checkpoint.as_ref())?;
    let Walkthrough {
        replay,
        walked,
        found,
    } = walk_through(storage, dir, locations, keys)?;

    // Nothing is written before the clock is found good.
    let clock = clock_rule(options, replay.last_time_ms);
    let far_ahead = clock.check_start();
    if !options.accept_clock {
        far_ahead.clone().map_err(OpenError::ClockForward)?;
    }
    if first_act.is_some() || !replay.open.is_empty() {
        clock.read().time_ms.map_err(OpenError::Clock)?;
    }

    let (clean, torn_bytes_dropped) = (walked.tail.clean, walked.tail.torn_bytes);
    let mut segments = walked.segments;
    let mut unused = remove_leftovers(storage, dir, &walked, options.segment_bytes)?;
    let (segment, cursor) = resume_tail(storage, dir, walked.tail, &mut unused, options)?;
    let entered = found.enter(Arc::clone(&options.storage), dir, &mut |_| {})?;
    let (records, index_discarded) = entered;
    let state = Arc::new(State::new(records, clock));
    if let Some((text, _)) = checkpoint {
        state.set_checkpoint(text);
    }
    let spares = open_spares(storage, dir, &unused, options.segment_bytes)?;
    let position = Position {
        writer: SegmentWriter::new(segment, cursor, spares),
        closed: clean,
        next_reservation: replay.next_reservation,
        open: replay.room_held(),
    };
    let mut committer = Committer::new(Arc::clone(&state), position);
    let workshop = workshop(dir, options);
    provide_room(&mut committer, &workshop)?;

    append_acts(&mut committer, &state, far_ahead.is_err(), first_act)?;
    let lost_written = append_lost(&mut committer, replay.open)?;
    if let Some(record) = options.opening_record.clone() {
        let recorded = committer.record_opening(record);
        recorded.map_err(OpenError::Recovery)?;
    }
    segments += state
        .counters
        .segments_begun
        .load(std::sync::atomic::Ordering::Relaxed);
    let recovery = Recovery {
        records: state.records.len(),
        lost_written,
        torn_bytes_dropped,
        last_time_ms: state.clock.last_ms(),
        clean,
        segments,
        index_discarded,
    };
    Ok(Recovered {
        state,
        committer,
        recovery,
        workshop,
    })
}

/// What prepares segments for this log.
fn workshop(dir: &Path, options: &Options) -> Workshop {
    Workshop {
        storage: Arc::clone(&options.storage),
        dir: dir.to_owned(),
        segment_bytes: options.segment_bytes,
        retry_after: options.space_retry,
        recycler: Arc::default(),
    }
}

/// The checkpoint that stands, as text and read; `None` before the first.
fn stored_checkpoint(
    storage: &dyn Storage,
    dir: &Path,
    key: &VerifierKey,
) -> Result<Option<(String, Checkpoint)>, OpenError> {
    let vkey = published::read_vkey(storage, dir)?;
    if let Some(found) = vkey
        && found != key.to_string()
    {
        let (dir, expected) = (dir.to_owned(), key.to_string());
        return Err(OpenError::OtherKey {
            dir,
            expected,
            found,
        });
    }
    let Some(bytes) = read_checkpoint(storage, dir)? else {
        return Ok(None);
    };
    let damaged = |detail: String| {
        let path = checkpoint_path(dir);
        OpenError::from(corrupt(&path, 0, 0, detail))
    };
    let checkpoint =
        Checkpoint::from_note(&bytes, key).map_err(|error| damaged(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    Ok(Some((text, checkpoint)))
}

/// Opens what is published: the tiles must give the root that was signed.
fn open_published(
    storage: Arc<dyn Storage>,
    dir: &Path,
    checkpoint: Option<&(String, Checkpoint)>,
) -> Result<Locations, OpenError> {
    let Some((_, checkpoint)) = checkpoint else {
        return Ok(Locations::new(storage, dir, 0));
    };
    let locations = Locations::new(storage, dir, checkpoint.size);
    let tree = load_tree(&locations.published, checkpoint.size)?;
    if tree.root() == checkpoint.root {
        return Ok(locations);
    }
    let detail = "the tiles do not give the root of the checkpoint";
    let path = checkpoint_path(dir);
    Err(corrupt(&path, 0, checkpoint.size, detail).into())
}

fn clock_rule(options: &Options, last_ms: u64) -> ClockRule {
    let limits = ClockLimits {
        back_max_ms: saturating_ms(options.clock_back_max),
        forward_max_ms: saturating_ms(options.clock_forward_max),
        start_forward_max_ms: saturating_ms(options.clock_start_forward_max),
    };
    ClockRule::new(Arc::clone(&options.clock), limits, last_ms)
}

/// Removes what a crash left half made. Gives the prepared segments that can be used, in order.
fn remove_leftovers(
    storage: &dyn Storage,
    dir: &Path,
    walked: &Walked,
    segment_bytes: u64,
) -> Result<Vec<u64>, OpenError> {
    let segments = segments_dir(dir);
    let mut leftovers: Vec<PathBuf> = storage
        .list(&segments)
        .map_err(at(&segments))?
        .into_iter()
        .filter(|name| name.ends_with(&format!(".{UNFINISHED}")))
        .map(|name| segments.join(name))
        .collect();
    let mut usable = Vec::new();
    for &number in &walked.unused {
        let path = segments.join(segment_name(number));
        let size = storage
            .open(&path, false)
            .and_then(|file| file.size())
            .map_err(at(&path))?;
        let next = walked.tail.header.number + 1 + usable.len() as u64;
        if number == next && size == segment_bytes {
            usable.push(number);
        } else {
            leftovers.push(path);
        }
    }
    // Given up already, but the process ended before they were gone.
    let given_up = |&number: &u64| number < walked.first;
    let numbers = segment_numbers(storage, dir)?;
    leftovers.extend(
        numbers
            .into_iter()
            .filter(given_up)
            .map(|number| segments.join(segment_name(number))),
    );
    for path in &leftovers {
        storage.remove(path).map_err(at(path))?;
    }
    // Always: the process before may have ended between a rename and its sync, and then a prepared
    // segment has its name in memory only.
    storage.sync_dir(&segments).map_err(at(&segments))?;
    Ok(usable)
}

/// Goes on in the last segment when it was closed cleanly. Otherwise its good part is copied into
/// another file first: after a failed sync the page cache may show what the disk does not have.
fn resume_tail(
    storage: &dyn Storage,
    dir: &Path,
    tail: Tail,
    unused: &mut Vec<u64>,
    options: &Options,
) -> Result<(CurrentSegment, crate::scan::Cursor), OpenError> {
    let number = tail.header.number;
    if tail.clean {
        let file = storage
            .open_direct(&tail.path, true)
            .map_err(at(&tail.path))?;
        affirm_mark(&*file, tail.end).map_err(at(&tail.path))?;
        let segment = CurrentSegment {
            number,
            file,
            bytes: tail.header.bytes,
            salt: tail.header.salt,
            offset: tail.end,
            unwritten: None,
        };
        return Ok((segment, tail.cursor));
    }
    // The last prepared one, so that the numbers of the others stay without a gap.
    let fits = options.segment_bytes >= tail.end;
    let spare = if fits { unused.pop() } else { None };
    let spare = spare.map(|number| segments_dir(dir).join(segment_name(number)));
    let bytes = options.segment_bytes.max(tail.header.bytes);
    let bytes = if spare.is_some() {
        options.segment_bytes
    } else {
        bytes
    };
    let header = SegmentHeader {
        salt: random_salt(),
        bytes,
        ..tail.header
    };
    let mut cursor = tail.cursor;
    let mut copy = |file: &dyn StorageFile| {
        cursor.previous = copy_batches(&tail, &header, file)?;
        Ok(())
    };
    let file = storage::replace_segment(storage, &tail.path, spare.as_deref(), bytes, &mut copy)?;
    let (salt, offset) = (header.salt, tail.end);
    Ok((
        CurrentSegment {
            number,
            file,
            bytes,
            salt,
            offset,
            unwritten: None,
        },
        cursor,
    ))
}

/// Writes the closed mark that ends at `end` once more, and syncs it.
///
/// The sync of the mark may have failed: then the mark is seen in the page cache and is not on
/// the disk. Nothing else is in doubt, because a failed sync before it would have ended the log.
/// Writing to the page makes the kernel write all of it again.
fn affirm_mark(file: &dyn StorageFile, end: u64) -> io::Result<()> {
    let mark = end - BLOCK_BYTES as u64;
    // A segment that begins with the mark got its header in the same write, in the same page.
    let page = mark / SEGMENT_BYTES_UNIT * SEGMENT_BYTES_UNIT;
    let mut bytes = vec![0; (end - page) as usize];
    file.read_exact_at(&mut bytes, page)?;
    storage::commit(file, &bytes, page)
}

/// Copies the good batches of `tail` behind a new header. Gives the checksum of the last one.
fn copy_batches(
    tail: &Tail,
    header: &SegmentHeader,
    file: &dyn StorageFile,
) -> Result<u32, PathError> {
    let (block, mut previous) = header.encode();
    file.write_all_at(&block, 0).map_err(at(&tail.path))?;
    let mut scanner =
        SegmentScanner::new(Arc::clone(&tail.file), &tail.header).map_err(at(&tail.path))?;
    let mut copied = BLOCK_BYTES as u64;
    while let Some(batch) = scanner.next_batch().map_err(at(&tail.path))? {
        let bytes;
        (bytes, previous) = batch::transplant(batch.bytes, &batch.frames, header.salt, previous);
        file.write_all_at(&bytes, batch.offset)
            .map_err(at(&tail.path))?;
        copied = batch.offset + bytes.len() as u64;
    }
    if copied == tail.end {
        return Ok(previous);
    }
    // The walk has just read more than this.
    let source = io::Error::other("the file reads differently the second time");
    Err(PathError {
        path: tail.path.clone(),
        source,
    })
}

fn open_spares(
    storage: &dyn Storage,
    dir: &Path,
    unused: &[u64],
    bytes: u64,
) -> Result<VecDeque<Spare>, OpenError> {
    let mut spares = VecDeque::new();
    for &number in unused {
        let path = segments_dir(dir).join(segment_name(number));
        let file = storage.open_direct(&path, true).map_err(at(&path))?;
        spares.push_back(Spare {
            number,
            bytes,
            file,
        });
    }
    Ok(spares)
}

/// Makes room for what is promised, and has one prepared segment at least. On a full disk a log
/// opens without the latter: it can be read, and issues again once there is space.
fn provide_room(committer: &mut Committer, workshop: &Workshop) -> Result<(), OpenError> {
    for _ in 0..SPARES_MAX {
        let covered = committer.promises_covered_in_recovery();
        let Some(number) = committer.wanted_spare() else {
            break;
        };
        match workshop.prepare(number, &AtomicBool::new(false)) {
            Ok(spare) => committer.add_spare(spare),
            Err(error) if covered && storage::is_full(&error.source) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Appends what officers have decided: that the clock is right, and what the caller brings.
fn append_acts(
    committer: &mut Committer,
    state: &State,
    accept_clock: bool,
    first_act: Option<&[u8]>,
) -> Result<(), OpenError> {
    if accept_clock {
        let (now_ms, previous_ms) = state.clock.accept();
        let act = record::clock_accepted(now_ms, previous_ms);
        committer.append_own(&act).map_err(OpenError::Recovery)?;
    }
    if let Some(act) = first_act {
        committer.append_own(act).map_err(OpenError::Recovery)?;
    }
    Ok(())
}

/// Appends the lost record of each open reservation. Gives their number.
fn append_lost(
    committer: &mut Committer,
    open: BTreeMap<u64, OpenReservation>,
) -> Result<u64, OpenError> {
    let count = open.len() as u64;
    let lost = |(number, open): (u64, OpenReservation)| Append {
        ticket: number,
        reservation: ReservationId(number),
        record: open.lost_record,
    };
    committer.enqueue_appends(open.into_iter().map(lost).collect(), Instant::now());
    while committer.backlog().all > 0 {
        committer.flush();
    }
    for commit in committer.commits().drain(..) {
        match commit.outcome {
            Ok(_) => {}
            Err(AppendError::Clock(error)) => return Err(OpenError::Clock(error)),
            Err(error) => return Err(OpenError::Recovery(error)),
        }
    }
    Ok(count)
}

impl From<PathError> for OpenError {
    fn from(error: PathError) -> OpenError {
        OpenError::Storage {
            path: error.path,
            source: error.source,
        }
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> OpenError {
        match error {
            ReadError::Corrupt(corruption) => OpenError::Corrupt(corruption),
            ReadError::Storage { path, source } => OpenError::Storage { path, source },
            ReadError::Extract { record, source } => OpenError::Extract { record, source },
            ReadError::Archived { path, record } => OpenError::Archived { path, record },
            ReadError::OutOfRange { .. } | ReadError::NoSuchSpace { .. } | ReadError::Index(_) => {
                OpenError::Storage {
                    path: PathBuf::new(),
                    source: io::Error::other(error),
                }
            }
        }
    }
}

impl From<IntegrateError> for OpenError {
    fn from(error: IntegrateError) -> OpenError {
        match error {
            IntegrateError::Storage(error) => error.into(),
            IntegrateError::Corrupt(corruption) => OpenError::Corrupt(corruption),
            IntegrateError::Sign(error) => OpenError::Sign(error),
        }
    }
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> OpenError {
        match error {
            ScanError::Missing { dir } => OpenError::Missing { dir },
            ScanError::Corrupt(corruption) => OpenError::Corrupt(corruption),
            ScanError::Extract { record, source } => OpenError::Extract { record, source },
            ScanError::Storage(error) => error.into(),
        }
    }
}
