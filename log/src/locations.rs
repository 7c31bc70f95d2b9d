//! Where each record stands: its segment, and its offset in it. Reads records by position.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::batch::{self, FRAME_HEADER_BYTES, FrameKind, PAYLOAD_BYTES_MAX};
use crate::error::{Corruption, ReadError};
use crate::published::Published;
use crate::recent::RecentRecords;
use crate::record::RecordIndex;
use crate::segment::{segment_name, segments_dir};
use crate::storage::{Storage, StorageFile};

/// Segment files kept open for reading. Far below the usual limit of 1024 files per process, and
/// enough for all of the last gigabyte.
const FILES_OPEN_MAX: usize = 64;

/// Bytes read in the first call of a point read: a record with a P-256 certificate fits, so that
/// one call is enough for nearly all.
const READ_AHEAD_BYTES: usize = 2048;

/// Locations of all durable records: 4 bytes a record.
pub(crate) struct Locations {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    segments: RwLock<Vec<SegmentRecords>>,
    files: Mutex<OpenFiles>,
    recent: RecentRecords,
    /// Where the records are that no segment has any more.
    pub(crate) published: Published,
}

struct SegmentRecords {
    number: u64,
    first_index: u64,
    /// Offset of each record's frame in the segment.
    offsets: Vec<u32>,
}

impl Locations {
    /// Locations in the log in `dir`, of which `published` records are published.
    pub(crate) fn new(storage: Arc<dyn Storage>, dir: &Path, published: u64) -> Locations {
        let files = Mutex::new(OpenFiles::default());
        let published = Published::new(Arc::clone(&storage), dir, published);
        Locations {
            storage,
            dir: dir.to_owned(),
            segments: RwLock::default(),
            files,
            recent: RecentRecords::default(),
            published,
        }
    }

    /// Segments before this number are given up; their records are all published.
    pub(crate) fn retire_before(&self, number: u64) {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        segments.retain(|segment| segment.number >= number);
        drop(segments);
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files
            .retain(|file| file.number >= number);
    }

    /// A segment begins. The one before gets no more records.
    pub(crate) fn begin_segment(&self, number: u64, first_index: u64) {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = segments.last_mut() {
            before.offsets.shrink_to_fit();
        }
        segments.push(SegmentRecords {
            number,
            first_index,
            offsets: Vec::new(),
        });
    }

    /// The next records of the last segment are durable at these offsets.
    pub(crate) fn extend(&self, offsets: impl IntoIterator<Item = u32>) {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = segments.last_mut() {
            last.offsets.extend(offsets);
        }
    }

    /// Number of durable records.
    pub(crate) fn len(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments
            .last()
            .map_or(0, |last| last.first_index + last.offsets.len() as u64)
    }

    /// Reads one record and checks its checksum, or its hash where it is published.
    pub(crate) fn read(&self, index: RecordIndex) -> Result<Vec<u8>, ReadError> {
        if let Some(record) = self.recent.get(index) {
            return Ok(record);
        }
        let record = self.read_from_disk(index)?;
        self.recent.put(index, &record);
        Ok(record)
    }

    fn read_from_disk(&self, index: RecordIndex) -> Result<Vec<u8>, ReadError> {
        while let Some((number, offset)) = self.locate(index) {
            let read = self.read_in_segment(index, number, offset);
            // While it was read the segment may have been given up and filled with something else,
            // even with other good records. It leaves the list before that.
            if self.locate(index) == Some((number, offset)) {
                return read;
            }
        }
        if index.0 < self.published.size() {
            return self.published.read(index);
        }
        Err(ReadError::OutOfRange {
            record: index,
            len: self.len(),
        })
    }

    fn read_in_segment(
        &self,
        index: RecordIndex,
        number: u64,
        offset: u32,
    ) -> Result<Vec<u8>, ReadError> {
        let path = segments_dir(&self.dir).join(segment_name(number));
        let storage_error = |source| ReadError::Storage {
            path: path.clone(),
            source,
        };
        let file = self.file(number, &path).map_err(storage_error)?;
        match read_record(&*file, u64::from(offset)).map_err(storage_error)? {
            Some(record) => Ok(record),
            None => Err(ReadError::Corrupt(Corruption {
                file: path,
                offset: u64::from(offset),
                record: index,
                detail: "the record's checksum does not match".to_owned(),
            })),
        }
    }

    fn locate(&self, index: RecordIndex) -> Option<(u64, u32)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        // Segments without records share their first index with the next; the last one counts.
        let after = segments.partition_point(|segment| segment.first_index <= index.0);
        let segment = segments.get(after.checked_sub(1)?)?;
        let offset = segment
            .offsets
            .get((index.0 - segment.first_index) as usize)?;
        Some((segment.number, *offset))
    }

    fn file(&self, number: u64, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(number) {
            return Ok(file);
        }
        let file = self.storage.open(path, false)?;
        files.put(number, Arc::clone(&file));
        Ok(file)
    }
}

/// Reads the record whose frame starts at `offset`; `None` when its checksum does not hold.
pub(crate) fn read_record(file: &dyn StorageFile, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let rest = file.size()?.saturating_sub(offset);
    let mut bytes = vec![0; rest.min(READ_AHEAD_BYTES as u64) as usize];
    file.read_exact_at(&mut bytes, offset)?;
    if bytes.len() < FRAME_HEADER_BYTES {
        return Ok(None);
    }
    let payload = batch::announced_payload_bytes(&bytes);
    let whole = FRAME_HEADER_BYTES + payload;
    if payload > PAYLOAD_BYTES_MAX || whole as u64 > rest {
        return Ok(None);
    }
    let have = bytes.len();
    if whole > have {
        bytes.resize(whole, 0);
        file.read_exact_at(&mut bytes[have..], offset + have as u64)?;
    }
    let record = batch::frame_at(&bytes, 0).is_some_and(|frame| frame.kind == FrameKind::Record);
    if !record {
        return Ok(None);
    }
    bytes.truncate(whole);
    bytes.drain(..FRAME_HEADER_BYTES);
    Ok(Some(bytes))
}

/// The files last read from.
#[derive(Default)]
struct OpenFiles {
    files: Vec<OpenFile>,
    clock: u64,
}

struct OpenFile {
    number: u64,
    used: u64,
    file: Arc<dyn StorageFile>,
}

impl OpenFiles {
    fn get(&mut self, number: u64) -> Option<Arc<dyn StorageFile>> {
        self.clock += 1;
        let entry = self.files.iter_mut().find(|entry| entry.number == number)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.file))
    }

    fn put(&mut self, number: u64, file: Arc<dyn StorageFile>) {
        let entry = OpenFile {
            number,
            used: self.clock,
            file,
        };
        if self.files.len() < FILES_OPEN_MAX {
            self.files.push(entry);
        } else if let Some(oldest) = self.files.iter_mut().min_by_key(|entry| entry.used) {
            *oldest = entry;
        }
    }
}
