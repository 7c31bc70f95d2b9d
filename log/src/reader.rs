//! Reading a log offline: without a lock, without an index, without changing anything.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{ReadError, VerifyError};
use crate::floor::read_floor;
use crate::locations::read_record;
use crate::published::{Published, checkpoint_path, read_checkpoint};
use crate::record::RecordIndex;
use crate::scan::{Cursor, ScanError, corrupt, read_header, segment_numbers};
use crate::segment::{SegmentHeader, segment_name, segments_dir};
use crate::segment_scanner::SegmentScanner;
use crate::storage::{DiskStorage, PathError, Storage, at};
use crate::tlog::{Checkpoint, Hash, Note, TILE_WIDTH, leaf_hash};

/// Reads a log that is not open, or one that another process writes: then it shows the records
/// that stood when it was opened. For showing and exporting; what it returns is checked, and
/// [`verify`](crate::verify()) checks the rest.
pub struct LogReader {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    published: Published,
    /// What is kept of the write-ahead segments; none in a copy of the published files.
    segments: Vec<Segment>,
    len: u64,
    /// Offsets of the records of the segment that was last read from.
    offsets: Mutex<Option<(usize, Vec<u32>)>>,
}

struct Segment {
    header: SegmentHeader,
    path: PathBuf,
}

/// Times that opening is tried when the writer gives segments up meanwhile. It does so about once a
/// second at most, and opening takes milliseconds.
const OPEN_TRIES: usize = 8;

impl LogReader {
    /// Opens the log in `dir` on the real file system: a log's directory, or a copy of what it
    /// publishes. Reads the segment headers and the last segment.
    ///
    /// # Errors
    /// [`VerifyError::Missing`] when there is no log, [`VerifyError::Corrupt`] when these are
    /// damaged.
    pub fn open(dir: &Path) -> Result<LogReader, VerifyError> {
        LogReader::open_on(Arc::new(DiskStorage), dir)
    }

    /// Opens the log in `dir` on any storage.
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn open_on(storage: Arc<dyn Storage>, dir: &Path) -> Result<LogReader, VerifyError> {
        let mut tries = 1;
        loop {
            let floor = read_floor(&*storage, dir)?;
            match LogReader::try_open(&storage, dir, floor) {
                // The writer gave up segments that were just being looked at.
                Err(_) if tries < OPEN_TRIES && read_floor(&*storage, dir)? != floor => tries += 1,
                opened => return opened,
            }
        }
    }

    fn try_open(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        floor: u64,
    ) -> Result<LogReader, VerifyError> {
        let segments = segments_from(&**storage, dir, floor)?;
        // After the segments: what was in others by then is published by now.
        let published = published_size(&**storage, dir)?;
        let Some(last) = segments.len().checked_sub(1) else {
            return LogReader::of_published(storage, dir, published);
        };
        let first_index = segments[0].header.first_index;
        if first_index > published.unwrap_or(0) {
            let detail = "records before this segment are not published";
            return Err(corrupt(&segments[0].path, 0, first_index, detail).into());
        }
        let mut reader = LogReader {
            storage: Arc::clone(storage),
            dir: dir.to_owned(),
            published: Published::new(Arc::clone(storage), dir, published.unwrap_or(0)),
            segments,
            len: u64::MAX,
            offsets: Mutex::new(None),
        };
        let offsets = reader.scan_offsets(last)?;
        let end = reader.segments[last].header.first_index + offsets.len() as u64;
        // The writer may have gone on, and published more than was seen of the segments.
        reader.len = end.max(reader.published.size());
        *reader
            .offsets
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner) = Some((last, offsets));
        Ok(reader)
    }

    fn of_published(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        published: Option<u64>,
    ) -> Result<LogReader, VerifyError> {
        let Some(len) = published else {
            return Err(VerifyError::Missing {
                dir: dir.to_owned(),
            });
        };
        Ok(LogReader {
            storage: Arc::clone(storage),
            dir: dir.to_owned(),
            published: Published::new(Arc::clone(storage), dir, len),
            segments: Vec::new(),
            len,
            offsets: Mutex::new(None),
        })
    }

    /// Number of records.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads one record. Quick for records near the last one read; for all of them use
    /// [`LogReader::iter`].
    ///
    /// # Errors
    /// [`VerifyError::OutOfRange`] beyond the end; [`VerifyError::Corrupt`] names the damage.
    pub fn read(&self, index: RecordIndex) -> Result<Vec<u8>, VerifyError> {
        if index.0 >= self.len {
            return Err(VerifyError::OutOfRange {
                record: index,
                len: self.len,
            });
        }
        if index.0 < self.published.size() {
            return Ok(self.published.read(index)?);
        }
        match self.read_in_segment(index) {
            Err(_) if self.published_meanwhile(index.0)? => Ok(self.published.read(index)?),
            read => read,
        }
    }

    /// The hash of one record (RFC 6962 §2.1). A published record itself is not needed for it, and
    /// need not be there.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn leaf_hash(&self, index: RecordIndex) -> Result<Hash, VerifyError> {
        if index.0 < self.published.size() {
            return Ok(self.published.leaf_hash(index)?);
        }
        Ok(leaf_hash(&self.read(index)?))
    }

    /// Whether a record that was only in a segment is published now.
    fn published_meanwhile(&self, index: u64) -> Result<bool, VerifyError> {
        Ok(index < self.refresh_published()?)
    }

    /// Looks again how much is published. Gives it.
    pub(crate) fn refresh_published(&self) -> Result<u64, VerifyError> {
        let size = published_size(&*self.storage, &self.dir)?.unwrap_or(0);
        self.published.set_size(size.max(self.published.size()));
        Ok(size)
    }

    fn read_in_segment(&self, index: RecordIndex) -> Result<Vec<u8>, VerifyError> {
        let after = self
            .segments
            .partition_point(|s| s.header.first_index <= index.0);
        let number = after.saturating_sub(1);
        let segment = &self.segments[number];
        let mut cached = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let offsets = match cached.take() {
            Some((of, offsets)) if of == number => offsets,
            _ => self.scan_offsets(number)?,
        };
        let offset = offsets
            .get((index.0 - segment.header.first_index) as usize)
            .copied();
        *cached = Some((number, offsets));
        drop(cached);
        let damaged = |offset| {
            corrupt(
                &segment.path,
                offset,
                index.0,
                "the record's checksum does not match",
            )
        };
        let offset = u64::from(offset.ok_or_else(|| damaged(0))?);
        let file = self
            .storage
            .open(&segment.path, false)
            .map_err(at(&segment.path))?;
        // A file that was given up and is used again has another number in its header.
        read_header(&*file, &segment.path, segment.header.number, index.0)?
            .filter(|header| *header == segment.header)
            .ok_or_else(|| damaged(0))?;
        let record = read_record(&*file, offset).map_err(at(&segment.path))?;
        // The writer may have begun to use the file again meanwhile. Its new header comes first.
        read_header(&*file, &segment.path, segment.header.number, index.0)?
            .filter(|header| *header == segment.header)
            .ok_or_else(|| damaged(0))?;
        record.ok_or_else(|| damaged(offset).into())
    }

    /// All records from the first on.
    pub fn iter(&self) -> Records<'_> {
        self.iter_from(RecordIndex(0))
    }

    /// All records from this one on; none beyond the end.
    pub fn iter_from(&self, first: RecordIndex) -> Records<'_> {
        Records {
            reader: self,
            next_segment: 0,
            scanner: None,
            gathered: VecDeque::new(),
            next_index: first.0,
            failed: false,
        }
    }

    /// What is published, for proofs.
    pub(crate) fn published_files(&self) -> &Published {
        &self.published
    }

    fn scanner(&self, number: usize) -> Result<SegmentScanner, ScanError> {
        let Segment { header, path } = &self.segments[number];
        let file = self.storage.open(path, false).map_err(at(path))?;
        Ok(SegmentScanner::new(file, header).map_err(at(path))?)
    }

    fn scan_offsets(&self, number: usize) -> Result<Vec<u32>, ScanError> {
        let mut scanner = self.scanner(number)?;
        let mut offsets = Vec::new();
        while self.scan_batch(number, &mut scanner, &mut |offset, _| offsets.push(offset))? {}
        Ok(offsets)
    }

    /// Shows the offsets and bytes of the records of the next batch. `false` at the end of the
    /// segment, which must be where the next segment goes on.
    fn scan_batch(
        &self,
        number: usize,
        scanner: &mut SegmentScanner,
        show: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<bool, ScanError> {
        let path = &self.segments[number].path;
        let Some(batch) = scanner.next_batch().map_err(at(path))? else {
            return self.check_end(number, scanner).map(|()| false);
        };
        for frame in batch.frames.iter().filter(|frame| frame.is_record()) {
            show((batch.offset + frame.offset as u64) as u32, frame.payload);
        }
        Ok(true)
    }

    fn check_end(&self, number: usize, scanner: &SegmentScanner) -> Result<(), ScanError> {
        let Some(next) = self.segments.get(number + 1) else {
            return Ok(());
        };
        let (end, cursor) = scanner.position();
        let header = &next.header;
        let expected = Cursor {
            sequence: header.sequence,
            previous: header.previous,
            next_index: header.first_index,
        };
        if cursor == expected {
            return Ok(());
        }
        let detail = "a batch is damaged or missing here: the next segment does not follow";
        Err(corrupt(
            &self.segments[number].path,
            end,
            cursor.next_index,
            detail,
        ))
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a LogReader {
    type Item = Result<(RecordIndex, Vec<u8>), VerifyError>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// Iterates over all records; ends after the first error.
pub struct Records<'a> {
    reader: &'a LogReader,
    next_segment: usize,
    /// Of the segment before `next_segment`.
    scanner: Option<SegmentScanner>,
    /// Records of the current bundle or batch that are still to come.
    gathered: VecDeque<Vec<u8>>,
    next_index: u64,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<(RecordIndex, Vec<u8>), VerifyError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.gathered.is_empty() && !self.failed && self.next_index < self.reader.len {
            if let Err(error) = self.gather() {
                self.failed = true;
                return Some(Err(error));
            }
        }
        if self.next_index >= self.reader.len {
            return None;
        }
        let record = self.gathered.pop_front()?;
        let index = RecordIndex(self.next_index);
        self.next_index += 1;
        Some(Ok((index, record)))
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("next_index", &self.next_index)
            .finish_non_exhaustive()
    }
}

impl Records<'_> {
    /// Goes on by one bundle, one batch or one segment.
    fn gather(&mut self) -> Result<(), VerifyError> {
        let published = &self.reader.published;
        if self.next_index < published.size() {
            let bundle = published.bundle_of(self.next_index);
            let known = self.next_index % TILE_WIDTH;
            let records = published.checked_bundle(bundle)?;
            self.gathered
                .extend(records.into_iter().skip(known as usize));
            return Ok(());
        }
        match self.load_batch() {
            // What was to come from a segment is in a bundle now.
            Err(_) if self.reader.published_meanwhile(self.next_index)? => Ok(()),
            loaded => Ok(loaded?),
        }
    }

    fn load_batch(&mut self) -> Result<(), ScanError> {
        // Segments whose records came from bundles are passed over; they may be gone.
        let segments = &self.reader.segments;
        let after = segments.partition_point(|s| s.header.first_index <= self.next_index);
        let holder = after.saturating_sub(1);
        if holder >= self.next_segment {
            self.scanner = None;
            self.next_segment = holder;
        }
        let Some(scanner) = &mut self.scanner else {
            if self.next_segment == self.reader.segments.len() {
                let path = segments_dir(&self.reader.dir);
                let detail = "the segments end before the log does";
                return Err(corrupt(&path, 0, self.next_index, detail));
            }
            self.scanner = Some(self.reader.scanner(self.next_segment)?);
            self.next_segment += 1;
            return Ok(());
        };
        let mut index = scanner.position().1.next_index;
        let (gathered, wanted) = (&mut self.gathered, self.next_index);
        let mut keep = |_, record: &[u8]| {
            if index >= wanted {
                gathered.push_back(record.to_vec());
            }
            index += 1;
        };
        if !self
            .reader
            .scan_batch(self.next_segment - 1, scanner, &mut keep)?
        {
            self.scanner = None;
        }
        Ok(())
    }
}

/// The segments in use from `floor` on; none where there is no directory of them.
fn segments_from(
    storage: &dyn Storage,
    dir: &Path,
    floor: u64,
) -> Result<Vec<Segment>, VerifyError> {
    let mut segments: Vec<Segment> = Vec::new();
    let numbers = match segment_numbers(storage, dir) {
        Err(ScanError::Missing { .. }) => return Ok(segments),
        numbers => numbers?,
    };
    for number in numbers.into_iter().filter(|&number| number >= floor) {
        let path = segments_dir(dir).join(segment_name(number));
        let file = storage.open(&path, false).map_err(at(&path))?;
        let next_index = segments.last().map_or(0, |last| last.header.first_index);
        let Some(header) = read_header(&*file, &path, number, next_index)? else {
            continue;
        };
        let expected = floor + segments.len() as u64;
        if number != expected {
            let missing = segments_dir(dir).join(segment_name(expected));
            let detail = "the segment is missing or blank, but a later one is in use";
            return Err(corrupt(&missing, 0, next_index, detail).into());
        }
        segments.push(Segment { header, path });
    }
    if segments.is_empty() {
        let first = segments_dir(dir).join(segment_name(floor));
        return Err(corrupt(&first, 0, 0, "the first segment is missing or blank").into());
    }
    Ok(segments)
}

/// Records that the checkpoint in `dir` covers; `None` without one. Its signature is not looked at.
pub(crate) fn published_size(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<Option<u64>, VerifyError> {
    let Some(bytes) = read_checkpoint(storage, dir)? else {
        return Ok(None);
    };
    let damaged =
        |error: &dyn fmt::Display| corrupt(&checkpoint_path(dir), 0, 0, error.to_string());
    let note = Note::parse(&bytes).map_err(|error| damaged(&error))?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(|error| damaged(&error))?;
    Ok(Some(checkpoint.size))
}

impl From<PathError> for VerifyError {
    fn from(error: PathError) -> VerifyError {
        VerifyError::Storage {
            path: error.path,
            source: error.source,
        }
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> VerifyError {
        match error {
            ReadError::Corrupt(corruption) => VerifyError::Corrupt(corruption),
            ReadError::Storage { path, source } => VerifyError::Storage { path, source },
            ReadError::Extract { record, source } => VerifyError::Extract { record, source },
            ReadError::OutOfRange { record, len } => VerifyError::OutOfRange { record, len },
            ReadError::Archived { path, record } => VerifyError::Archived { path, record },
            ReadError::Index(damage) => VerifyError::Index(damage),
            ReadError::NoSuchSpace { .. } => VerifyError::Storage {
                path: PathBuf::new(),
                source: io::Error::other(error),
            },
        }
    }
}

impl From<ScanError> for VerifyError {
    fn from(error: ScanError) -> VerifyError {
        match error {
            ScanError::Missing { dir } => VerifyError::Missing { dir },
            ScanError::Corrupt(corruption) => VerifyError::Corrupt(corruption),
            ScanError::Extract { record, source } => VerifyError::Extract { record, source },
            ScanError::Storage(error) => error.into(),
        }
    }
}
