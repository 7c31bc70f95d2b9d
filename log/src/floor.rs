//! Which segments are still needed: the first one's number, in a small file of its own.
//!
//! ```text
//! magic [u8; 8] · segment u64 · checksum u32         little-endian
//! ```
//!
//! The file is replaced before segments are taken away, so whatever stands below its number is left
//! over, and a segment that is missing from there on is damage. No file means: from 0.

use std::io;
use std::path::{Path, PathBuf};

use crate::batch::{u32_at, u64_at};
use crate::scan::{ScanError, corrupt};
use crate::segment::segments_dir;
use crate::storage::{self, PathError, Storage, at};

const MAGIC: [u8; 8] = *b"BMLOGFLR";
const FLOOR_BYTES: usize = 20;
const CHECKSUM_AT: usize = 16;

/// Number of the first segment that is needed.
pub(crate) fn read_floor(storage: &dyn Storage, dir: &Path) -> Result<u64, ScanError> {
    let path = floor_path(dir);
    let bytes = match storage::read_file(storage, &path, FLOOR_BYTES as u64) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Vec::new(),
        read => read.map_err(at(&path))?,
    };
    let intact = bytes.len() == FLOOR_BYTES
        && bytes[..8] == MAGIC
        && crc32c::crc32c(&bytes[..CHECKSUM_AT]) == u32_at(&bytes, CHECKSUM_AT);
    if intact {
        return Ok(u64_at(&bytes, 8));
    }
    let detail = "the number of the first segment cannot be read";
    Err(corrupt(&path, 0, 0, detail))
}

/// Makes `segment` the first one that is needed; durable when this returns.
pub(crate) fn write_floor(
    storage: &dyn Storage,
    dir: &Path,
    segment: u64,
) -> Result<(), PathError> {
    let mut bytes = [0; FLOOR_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..CHECKSUM_AT].copy_from_slice(&segment.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    storage::replace_file(storage, &floor_path(dir), &bytes)
}

fn floor_path(dir: &Path) -> PathBuf {
    segments_dir(dir).join("floor")
}
