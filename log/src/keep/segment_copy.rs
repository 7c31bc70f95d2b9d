//! Copying the write-ahead segments of a log that another process may be writing to.

use std::path::Path;
use std::sync::Arc;

use crate::error::VerifyError;
use crate::floor::{read_floor, write_floor};
use crate::scan::{HOLE, ScanError, corrupt, read_header, segment_numbers};
use crate::segment::{SegmentHeader, segment_name, segments_dir};
use crate::segment_scanner::SegmentScanner;
use crate::storage::{PathError, Storage, StorageFile, at};

/// Zeros written in one call behind the batches of a copy.
const FILL_BYTES: u64 = 1 << 20;

/// Copies the segments of the log in `dir` that are needed beyond its first `published` records to
/// `dest/segments`, not synced. A batch that is just being written is left out: it was not acknowledged
/// before this began.
///
/// `false`: the writer published meanwhile and gave segments up; what was copied is of no use.
pub(super) fn copy_segments(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    dest: &Path,
    published: u64,
) -> Result<bool, VerifyError> {
    let to = segments_dir(dest);
    storage.create_dir(&to).map_err(at(&to))?;
    let floor = read_floor(&**storage, dir)?;
    // Files that appear later are for records that are acknowledged later.
    let numbers = segment_numbers(&**storage, dir)?;
    let mut open: Option<SegmentCopy> = None;
    for number in numbers.into_iter().filter(|&number| number >= floor) {
        let path = segments_dir(dir).join(segment_name(number));
        let Ok(file) = storage.open(&path, false) else {
            return Ok(false);
        };
        let Some(header) = read_header(&*file, &path, number, published)? else {
            // Prepared for later, and so are all after it.
            break;
        };
        if open.is_none() && (number != floor || header.first_index > published) {
            return Ok(false);
        }
        // The one before is complete by now, and may have grown since it was looked at.
        if let Some(before) = open.take()
            && !before.finish()?
        {
            return Ok(false);
        }
        let mut copy = SegmentCopy::begin(&**storage, file, &path, &to, header)?;
        copy.copy_batches()?;
        open = Some(copy);
    }
    let Some(last) = open else {
        return Ok(false);
    };
    if !last.finish()? {
        return Ok(false);
    }
    write_floor(&**storage, dest, floor)?;
    Ok(true)
}

/// One segment on its way.
struct SegmentCopy {
    source: Arc<dyn StorageFile>,
    path: std::path::PathBuf,
    header: SegmentHeader,
    scanner: SegmentScanner,
    copy: Arc<dyn StorageFile>,
    copy_path: std::path::PathBuf,
    /// Where the batches that were copied end.
    end: u64,
}

impl SegmentCopy {
    fn begin(
        storage: &dyn Storage,
        source: Arc<dyn StorageFile>,
        path: &Path,
        to: &Path,
        header: SegmentHeader,
    ) -> Result<SegmentCopy, PathError> {
        let scanner = SegmentScanner::new(Arc::clone(&source), &header).map_err(at(path))?;
        let copy_path = to.join(segment_name(header.number));
        let copy = storage.create(&copy_path).map_err(at(&copy_path))?;
        let (block, _) = header.encode();
        copy.write_all_at(&block, 0).map_err(at(&copy_path))?;
        let (end, _) = scanner.position();
        Ok(SegmentCopy {
            source,
            path: path.to_owned(),
            header,
            scanner,
            copy,
            copy_path,
            end,
        })
    }

    /// Copies the batches that are whole.
    fn copy_batches(&mut self) -> Result<(), PathError> {
        self.scanner.forget_read_ahead();
        while let Some(batch) = self.scanner.next_batch().map_err(at(&self.path))? {
            let written = self.copy.write_all_at(batch.bytes, batch.offset);
            written.map_err(at(&self.copy_path))?;
            self.end = batch.offset + batch.bytes.len() as u64;
        }
        Ok(())
    }

    /// Copies what has come since, and fills the rest with zeros. `false`: the file was given up and
    /// used again meanwhile. Its header is overwritten before anything else in it.
    fn finish(mut self) -> Result<bool, ScanError> {
        self.copy_batches()?;
        while self.scanner.has_later_batch().map_err(at(&self.path))? {
            // So the one that ended the copy was durable, and must be good now.
            let end = self.end;
            self.copy_batches()?;
            if self.end == end {
                if !self.is_same_use()? {
                    return Ok(false);
                }
                let (offset, cursor) = self.scanner.position();
                return Err(corrupt(&self.path, offset, cursor.next_index, HOLE));
            }
        }
        let zeros = vec![0; FILL_BYTES.min(self.header.bytes) as usize];
        let mut offset = self.end;
        while offset < self.header.bytes {
            let part = (self.header.bytes - offset).min(zeros.len() as u64);
            let written = self.copy.write_all_at(&zeros[..part as usize], offset);
            written.map_err(at(&self.copy_path))?;
            offset += part;
        }
        self.is_same_use()
    }

    fn is_same_use(&self) -> Result<bool, ScanError> {
        let SegmentHeader {
            number,
            first_index,
            ..
        } = self.header;
        let header = read_header(&*self.source, &self.path, number, first_index)?;
        Ok(header.as_ref() == Some(&self.header))
    }
}
