//! Reading segments from the first to the last: one walk serves open, verify and the reader.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{self, BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, Frame, FrameKind};
use crate::error::Corruption;
use crate::floor::read_floor;
use crate::record::{ExtractError, RecordIndex};
use crate::segment::{
    HeaderBlock, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_number, segments_dir,
};
use crate::segment_scanner::SegmentScanner;
use crate::storage::{PathError, Storage, StorageFile, at};
use crate::window::Window;

/// Sees everything in the log, in order.
pub(crate) trait Visitor {
    /// A segment in use begins.
    fn segment(&mut self, header: &SegmentHeader);
    /// The next frame. `offset` is where it starts in its segment; `index` is the number of
    /// records before it.
    fn frame(&mut self, offset: u32, index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault>;
    /// A batch ended; `bytes` of its segment are behind us.
    fn batch_end(&mut self, bytes: u64);
}

/// What a visitor objects to.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The frame cannot stand here.
    Corrupt(&'static str),
    /// The key extractor cannot read it.
    Extract(ExtractError),
}

/// What a walk ran into.
#[derive(Debug)]
pub(crate) enum ScanError {
    Missing {
        dir: PathBuf,
    },
    Corrupt(Corruption),
    Extract {
        record: RecordIndex,
        source: ExtractError,
    },
    Storage(PathError),
}

impl From<PathError> for ScanError {
    fn from(error: PathError) -> ScanError {
        ScanError::Storage(error)
    }
}

/// What the next batch must say about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) sequence: u64,
    pub(crate) previous: u32,
    pub(crate) next_index: u64,
}

impl Cursor {
    /// At the first batch of a segment.
    pub(crate) fn at_start_of(header: &SegmentHeader) -> Cursor {
        Cursor {
            sequence: header.sequence,
            previous: header.checksum(),
            next_index: header.first_index,
        }
    }

    /// Behind a batch with so many records.
    pub(crate) fn behind(&self, batch: &BatchHeader, records: u64) -> Cursor {
        Cursor {
            sequence: self.sequence + 1,
            previous: batch.checksum,
            next_index: self.next_index + records,
        }
    }
}

/// The last segment in use.
pub(crate) struct Tail {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) path: PathBuf,
    /// Where the last good batch ends.
    pub(crate) end: u64,
    /// Bytes of an unfinished batch after `end`, as far as it can be told.
    pub(crate) torn_bytes: u64,
    /// Whether the last thing in it is a closed mark.
    pub(crate) clean: bool,
    /// Where the next batch goes on.
    pub(crate) cursor: Cursor,
}

/// A walked log.
pub(crate) struct Walked {
    pub(crate) tail: Tail,
    /// Number of the first segment that is kept.
    pub(crate) first: u64,
    /// Segments in use.
    pub(crate) segments: u64,
    /// Bytes in use: headers and batches.
    pub(crate) bytes: u64,
    /// Numbers of the files prepared for later, rising.
    pub(crate) unused: Vec<u64>,
}

/// The numbers of all segment files, rising.
pub(crate) fn segment_numbers(storage: &dyn Storage, dir: &Path) -> Result<Vec<u64>, ScanError> {
    let segments = segments_dir(dir);
    let names = match storage.list(&segments) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ScanError::Missing {
                dir: dir.to_owned(),
            });
        }
        names => names.map_err(at(&segments))?,
    };
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Walks the whole log and checks every byte in use.
pub(crate) fn walk(
    storage: &dyn Storage,
    dir: &Path,
    visitor: &mut dyn Visitor,
) -> Result<Walked, ScanError> {
    let mut tail: Option<Tail> = None;
    let mut unused = Vec::new();
    let (mut segments, mut bytes) = (0, 0);
    let first = read_floor(storage, dir)?;
    for number in segment_numbers(storage, dir)? {
        if number < first {
            continue;
        }
        let path = segments_dir(dir).join(segment_name(number));
        let file = storage.open_direct(&path, false).map_err(at(&path))?;
        let next_index = tail.as_ref().map_or(0, |tail| tail.cursor.next_index);
        let Some(header) = read_header(&*file, &path, number, next_index)? else {
            unused.push(number);
            continue;
        };
        if number != first + segments {
            let missing = segments_dir(dir).join(segment_name(first + segments));
            let detail = "the segment is missing or blank, but a later one is in use";
            return Err(corrupt(&missing, 0, next_index, detail));
        }
        if let Some(before) = &tail {
            check_joint(before, &header)?;
        }
        visitor.segment(&header);
        let walked = walk_segment(file, path, header, visitor)?;
        segments += 1;
        bytes += walked.end;
        tail = Some(walked);
    }
    let Some(mut tail) = tail else {
        let path = segments_dir(dir).join(segment_name(first));
        let detail = "the first segment is missing or blank";
        return Err(corrupt(&path, 0, 0, detail));
    };
    tail.torn_bytes = check_after(&tail)?;
    tail.clean &= tail.torn_bytes == 0;
    for &number in &unused {
        check_unused(storage, dir, number, &tail.cursor)?;
    }
    Ok(Walked {
        tail,
        first,
        segments,
        bytes,
        unused,
    })
}

/// Reads the header of a segment file; `None` when the file is not in use yet.
pub(crate) fn read_header(
    file: &dyn StorageFile,
    path: &Path,
    number: u64,
    next_index: u64,
) -> Result<Option<SegmentHeader>, ScanError> {
    let mut block = [0; BLOCK_BYTES];
    match file.read_exact_at(&mut block, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(corrupt(
                path,
                0,
                next_index,
                "the file is shorter than its header",
            ));
        }
        read => read.map_err(at(path))?,
    }
    match SegmentHeader::decode(&block, number) {
        HeaderBlock::Unused => Ok(None),
        HeaderBlock::Damaged(detail) => Err(corrupt(path, 0, next_index, detail)),
        HeaderBlock::InUse(header) => {
            let size = file.size().map_err(at(path))?;
            if size != header.bytes {
                let detail = format!("the file has {size} bytes instead of {}", header.bytes);
                return Err(corrupt(
                    path,
                    size.min(header.bytes),
                    header.first_index,
                    detail,
                ));
            }
            Ok(Some(header))
        }
    }
}

fn walk_segment(
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    header: SegmentHeader,
    visitor: &mut dyn Visitor,
) -> Result<Tail, ScanError> {
    let mut scanner = SegmentScanner::new(Arc::clone(&file), &header).map_err(at(&path))?;
    let mut clean = false;
    loop {
        let mut index = scanner.position().1.next_index;
        let Some(batch) = scanner.next_batch().map_err(at(&path))? else {
            break;
        };
        for frame in &batch.frames {
            let offset = batch.offset + frame.offset as u64;
            // Segments are at most SEGMENT_BYTES_MAX long: the offset fits.
            visitor
                .frame(offset as u32, RecordIndex(index), frame)
                .map_err(|fault| match fault {
                    Fault::Corrupt(detail) => corrupt(&path, offset, index, detail),
                    Fault::Extract(source) => ScanError::Extract {
                        record: RecordIndex(index),
                        source,
                    },
                })?;
            index += u64::from(frame.is_record());
            clean = frame.kind == FrameKind::Closed;
        }
        visitor.batch_end(batch.offset + batch.bytes.len() as u64);
    }
    let (end, cursor) = scanner.position();
    Ok(Tail {
        header,
        file,
        path,
        end,
        torn_bytes: 0,
        clean,
        cursor,
    })
}

/// A segment must go on exactly where the one before ended: then nothing is missing there.
fn check_joint(before: &Tail, header: &SegmentHeader) -> Result<(), ScanError> {
    let expected = (
        before.cursor.sequence,
        before.cursor.previous,
        before.cursor.next_index,
    );
    if (header.sequence, header.previous, header.first_index) == expected {
        return Ok(());
    }
    let detail = "a batch is damaged or missing here: the next segment does not follow";
    Err(corrupt(
        &before.path,
        before.end,
        before.cursor.next_index,
        detail,
    ))
}

/// After the end of the last segment there may be one unfinished batch and nothing else. Gives
/// the bytes of the unfinished one.
fn check_after(tail: &Tail) -> Result<u64, ScanError> {
    let mut window = Window::new(Arc::clone(&tail.file)).map_err(at(&tail.path))?;
    let salt = tail.header.salt;
    if has_later_batch(&mut window, tail.end, salt, &tail.cursor).map_err(at(&tail.path))? {
        return Err(corrupt(&tail.path, tail.end, tail.cursor.next_index, HOLE));
    }
    let block = window
        .get(tail.end, BATCH_HEADER_BYTES)
        .map_err(at(&tail.path))?;
    let torn = block
        .and_then(BatchHeader::decode)
        .filter(|header| header.place.salt == salt);
    let rest = window.size.saturating_sub(tail.end);
    Ok(torn.map_or(0, |header| rest.min(header.padded_bytes() as u64)))
}

/// What is wrong when a batch cannot be read and a later one was begun.
pub(crate) const HOLE: &str = "a batch is damaged or missing here, but a later one was begun";

/// Whether a later batch than the one that `cursor` awaits was begun behind `from`. A batch is begun when the
/// one before is durable. Its header alone proves it: nobody outside knows the segment's salt.
pub(crate) fn has_later_batch(
    window: &mut Window,
    from: u64,
    salt: u64,
    cursor: &Cursor,
) -> io::Result<bool> {
    let later =
        |header: &BatchHeader| header.place.salt == salt && header.place.sequence > cursor.sequence;
    // The header right there may be that of the awaited batch, with a damaged number.
    let found = find_header(window, from + BLOCK_BYTES as u64, &later)?;
    Ok(found.is_some())
}

/// A prepared file is blank, or holds batches of an earlier use and what requesters had put into them. Or it
/// has the one that was being written when the machine stopped; a later one means that the segment was in
/// use and lost its header.
fn check_unused(
    storage: &dyn Storage,
    dir: &Path,
    number: u64,
    cursor: &Cursor,
) -> Result<(), ScanError> {
    let path = segments_dir(dir).join(segment_name(number));
    let file = storage.open_direct(&path, false).map_err(at(&path))?;
    let mut window = Window::new(file).map_err(at(&path))?;
    if !has_lost_header(&mut window, cursor).map_err(at(&path))? {
        return Ok(());
    }
    let detail = "the segment holds records but its header is blank";
    Err(corrupt(&path, 0, cursor.next_index, detail))
}

fn has_lost_header(window: &mut Window, cursor: &Cursor) -> io::Result<bool> {
    let later = |header: &BatchHeader| header.place.sequence > cursor.sequence;
    let blank = |block: &[u8]| block.iter().all(|&byte| byte == 0);
    let used_before = !window.get(0, BLOCK_BYTES)?.is_some_and(blank);
    let mut from = SEGMENT_HEADER_BYTES;
    while let Some(offset) = find_header(window, from, &later)? {
        // Where the first batch stands no requester has put anything. Behind it one can have put bytes
        // that look like a batch, since no salt is known here.
        if used_before && offset != SEGMENT_HEADER_BYTES {
            return Ok(false);
        }
        if is_intact_batch(window, offset)? {
            return Ok(true);
        }
        from = offset + BLOCK_BYTES as u64;
    }
    Ok(false)
}

/// The next block that begins like the header of a batch that is wanted.
fn find_header(
    window: &mut Window,
    from: u64,
    wanted: &dyn Fn(&BatchHeader) -> bool,
) -> io::Result<Option<u64>> {
    let mut offset = from;
    while let Some(block) = window.get(offset, BLOCK_BYTES)? {
        if BatchHeader::decode(block).is_some_and(|header| wanted(&header)) {
            return Ok(Some(offset));
        }
        offset += BLOCK_BYTES as u64;
    }
    Ok(None)
}

fn is_intact_batch(window: &mut Window, offset: u64) -> io::Result<bool> {
    let header = window
        .get(offset, BATCH_HEADER_BYTES)?
        .and_then(BatchHeader::decode);
    let Some(header) = header else {
        return Ok(false);
    };
    let batch = window.get(offset, header.padded_bytes())?;
    let frames = batch.and_then(|batch| batch::open(&header, batch));
    Ok(frames.is_some())
}

pub(crate) fn corrupt(
    file: &Path,
    offset: u64,
    record: u64,
    detail: impl Into<String>,
) -> ScanError {
    ScanError::Corrupt(Corruption {
        file: file.to_owned(),
        offset,
        record: RecordIndex(record),
        detail: detail.into(),
    })
}
