//! Reading a log offline: without a lock, without an index, without changing anything.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::{self, FrameKind};
use crate::error::VerifyError;
use crate::locations::read_record;
use crate::record::RecordIndex;
use crate::scan::{Cursor, ScanError, SegmentScanner, corrupt, read_header, segment_numbers};
use crate::segment::{SegmentHeader, segment_name, segments_dir};
use crate::storage::{DiskStorage, PathError, Storage, at};

/// Reads a log that is not open, or one that another process writes: then it shows the records
/// that stood when it was opened. For showing and exporting; what it returns is checked, and
/// [`verify`](crate::verify()) checks the rest.
pub struct LogReader {
    storage: Arc<dyn Storage>,
    segments: Vec<Segment>,
    len: u64,
    /// Offsets of the records of the segment that was last read from.
    offsets: Mutex<Option<(usize, Vec<u32>)>>,
}

struct Segment {
    header: SegmentHeader,
    path: PathBuf,
}

impl LogReader {
    /// Opens the log in `dir` on the real file system. Reads the segment headers and the last
    /// segment.
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
        let mut segments: Vec<Segment> = Vec::new();
        for number in segment_numbers(&*storage, dir)? {
            let path = segments_dir(dir).join(segment_name(number));
            let file = storage.open(&path, false).map_err(at(&path))?;
            let next_index = segments.last().map_or(0, |last| last.header.first_index);
            let Some(header) = read_header(&*file, &path, number, next_index)? else {
                continue;
            };
            if number != segments.len() as u64 {
                let missing = segments_dir(dir).join(segment_name(segments.len() as u64));
                let detail = "the segment is missing or blank, but a later one is in use";
                return Err(corrupt(&missing, 0, next_index, detail).into());
            }
            segments.push(Segment { header, path });
        }
        if segments.is_empty() {
            let first = segments_dir(dir).join(segment_name(0));
            return Err(corrupt(&first, 0, 0, "the first segment is missing or blank").into());
        }
        let mut reader = LogReader {
            storage,
            segments,
            len: u64::MAX,
            offsets: Mutex::new(None),
        };
        let last = reader.segments.len() - 1;
        let offsets = reader.scan_offsets(last)?;
        reader.len = reader.segments[last].header.first_index + offsets.len() as u64;
        *reader
            .offsets
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner) = Some((last, offsets));
        Ok(reader)
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
        let record = read_record(&*file, offset).map_err(at(&segment.path))?;
        record.ok_or_else(|| damaged(offset).into())
    }

    /// All records from the first on.
    pub fn iter(&self) -> Records<'_> {
        Records {
            reader: self,
            next_segment: 0,
            scanner: None,
            batch: VecDeque::new(),
            next_index: 0,
            failed: false,
        }
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
        let Some(frames) = batch::frames(&batch.header, batch.bytes) else {
            let first = batch.header.place.first_index;
            let detail = "the frames of an intact batch do not add up";
            return Err(corrupt(path, batch.offset, first, detail));
        };
        let mut records = 0;
        for frame in frames
            .iter()
            .filter(|frame| frame.kind == FrameKind::Record)
        {
            show((batch.offset + frame.offset as u64) as u32, frame.payload);
            records += 1;
        }
        scanner.add_records(records);
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
    /// Records of the current batch that are still to come.
    batch: VecDeque<Vec<u8>>,
    next_index: u64,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<(RecordIndex, Vec<u8>), VerifyError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.is_empty() && !self.failed && self.next_index < self.reader.len {
            match self.load_batch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error.into()));
                }
            }
        }
        if self.next_index >= self.reader.len {
            return None;
        }
        let record = self.batch.pop_front()?;
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
    /// Goes on by one batch or one segment. `false` at the end of the log.
    fn load_batch(&mut self) -> Result<bool, ScanError> {
        let Some(scanner) = &mut self.scanner else {
            if self.next_segment == self.reader.segments.len() {
                return Ok(false);
            }
            self.scanner = Some(self.reader.scanner(self.next_segment)?);
            self.next_segment += 1;
            return Ok(true);
        };
        let batch = &mut self.batch;
        let mut keep = |_, record: &[u8]| batch.push_back(record.to_vec());
        if !self
            .reader
            .scan_batch(self.next_segment - 1, scanner, &mut keep)?
        {
            self.scanner = None;
        }
        Ok(true)
    }
}

impl From<PathError> for VerifyError {
    fn from(error: PathError) -> VerifyError {
        VerifyError::Storage {
            path: error.path,
            source: error.source,
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
