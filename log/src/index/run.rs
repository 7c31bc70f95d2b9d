//! Runs: sorted, immutable files that hold the entries of one stretch of the log.
//!
//! ```text
//! header    4096 bytes: magic, run, first record, end, entries of each space, bits of the filters
//! blocks    of space 0, then 1, then 2
//! tail      chunks: fences of space 0, its filter; the same of space 1; fences of space 2
//! ```
//!
//! A chunk is length, checksum (4 bytes each) and content; a filter is a chunk for each MiB. The fences are the first hash of each
//! block, 8 bytes each. Header and tail are read at open and stay in memory; blocks are checked
//! each time they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{self, BLOCK_BYTES, BLOCK_ENTRIES, Block};
use super::entry::Entry;
use super::filter::{self, Filter, LARGE_BITS, SMALL_BITS};
use crate::error::{IndexDamage, ReadError};
use crate::record::{KEY_SPACES, RELEASE_SPACES, RecordIndex};
use crate::storage::{Storage, StorageFile};

/// What a run file says of itself in its header, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunHeader {
    pub(crate) id: u64,
    /// The stretch of the log: from `first` to before `end`.
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// Entries of each space.
    pub(crate) entries: [u64; KEY_SPACES],
    /// Bits of the filters for each entry.
    pub(crate) filter_bits: u32,
}

/// One run, open for reading.
pub(crate) struct Run {
    pub(crate) header: RunHeader,
    pub(crate) path: PathBuf,
    pub(crate) file_bytes: u64,
    file: Arc<dyn StorageFile>,
    fences: [Vec<u64>; KEY_SPACES],
    /// One for each space of the release path.
    filters: Vec<Filter>,
}

/// Name of a run's file.
pub(crate) fn run_name(id: u64) -> String {
    format!("{id:012}{RUN_SUFFIX}")
}

/// How the name of a run's file ends.
pub(crate) const RUN_SUFFIX: &str = ".run";

const MAGIC: &[u8; 16] = b"birthmark-run 2\n";

/// Bytes of a filter in one chunk.
pub(crate) const FILTER_CHUNK_BYTES: usize = 1 << 20;

/// Bytes before the content of a chunk.
pub(crate) const CHUNK_HEADER_BYTES: usize = 8;

impl RunHeader {
    /// The header block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in [self.id, self.first, self.end] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in self.entries {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&u64::from(self.filter_bits).to_le_bytes());
        bytes.resize(BLOCK_BYTES, 0);
        block::seal(&mut bytes, self.id, 0);
        bytes
    }

    fn decode(bytes: &[u8], id: u64) -> Option<RunHeader> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let header = RunHeader {
            id: number(16)?,
            first: number(24)?,
            end: number(32)?,
            entries: [number(40)?, number(48)?, number(56)?],
            filter_bits: u32::try_from(number(64)?).ok()?,
        };
        let good = bytes.starts_with(MAGIC)
            && header.id == id
            && (LARGE_BITS..=SMALL_BITS).contains(&header.filter_bits);
        (good && block::is_sealed(bytes, id, 0)).then_some(header)
    }

    /// Number of blocks of a space.
    pub(crate) fn blocks(&self, space: usize) -> u64 {
        self.entries[space].div_ceil(BLOCK_ENTRIES as u64)
    }

    /// Where the blocks of a space begin; where the tail begins for the space after the last.
    pub(crate) fn blocks_at(&self, space: usize) -> u64 {
        let before: u64 = (0..space).map(|space| self.blocks(space)).sum();
        (1 + before) * BLOCK_BYTES as u64
    }

    /// Number of equal parts of the hashes in which a space is merged, 1 or more, of so many entries
    /// about.
    pub(crate) fn parts(&self, space: usize, part_entries: u32) -> u32 {
        let parts = self.entries[space].div_ceil(u64::from(part_entries.max(1)));
        u32::try_from(parts).unwrap_or(u32::MAX).max(1)
    }

    /// Entries of the largest space.
    pub(crate) fn entries_max(&self) -> u64 {
        self.entries.into_iter().max().unwrap_or(0)
    }
}

impl Run {
    /// A run whose file has just been written.
    pub(crate) fn new(
        header: RunHeader,
        path: PathBuf,
        file: Arc<dyn StorageFile>,
        file_bytes: u64,
        fences: [Vec<u64>; KEY_SPACES],
        filters: Vec<Filter>,
    ) -> Run {
        Run {
            header,
            path,
            file_bytes,
            file,
            fences,
            filters,
        }
    }

    /// Opens a run file; reads and checks header and tail.
    pub(crate) fn open(storage: &dyn Storage, path: &Path, id: u64) -> Result<Run, ReadError> {
        let failed = |source| ReadError::Storage {
            path: path.to_owned(),
            source,
        };
        let file = storage.open(path, false).map_err(failed)?;
        let file_bytes = file.size().map_err(failed)?;
        let damaged = |offset: u64, detail: &str| damage(path, offset, detail);
        if file_bytes < BLOCK_BYTES as u64 {
            return Err(damaged(file_bytes, "the file ends in its header"));
        }
        let mut bytes = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let header =
            RunHeader::decode(&bytes, id).ok_or_else(|| damaged(0, "the header is not good"))?;
        // Sizes that do not fit into the file would overflow below.
        if header.entries_max() > file_bytes || header.blocks_at(KEY_SPACES) > file_bytes {
            return Err(damaged(file_bytes, "the file is too short for its entries"));
        }
        let mut tail = Tail {
            file: &*file,
            path,
            id,
            offset: header.blocks_at(KEY_SPACES),
            end: file_bytes,
            content: Vec::new(),
        };
        let mut fences: [Vec<u64>; KEY_SPACES] = Default::default();
        let mut filters = Vec::new();
        for (space, fences) in fences.iter_mut().enumerate() {
            *fences = tail.fences(header.blocks(space))?;
            if space < RELEASE_SPACES {
                filters.push(tail.filter(&header, space)?);
            }
        }
        if tail.offset != file_bytes {
            return Err(damaged(tail.offset, "there is more behind the end"));
        }
        Ok(Run::new(
            header,
            path.to_owned(),
            file,
            file_bytes,
            fences,
            filters,
        ))
    }

    /// `false` when no entry of the space has this hash, without reading the disk.
    pub(crate) fn may_contain(&self, space: usize, hash: u64) -> bool {
        match self.filters.get(space) {
            Some(filter) => filter.may_contain(hash),
            None => !self.fences[space].is_empty(),
        }
    }

    /// The filter of a space of the release path.
    pub(crate) fn filter(&self, space: usize) -> Option<&Filter> {
        self.filters.get(space)
    }

    /// The newest record with this hash that `confirm` takes. Gives the number of blocks that were
    /// read as well.
    pub(crate) fn find(
        &self,
        space: usize,
        hash: u64,
        confirm: &mut dyn FnMut(RecordIndex) -> Result<bool, ReadError>,
    ) -> Result<(Option<RecordIndex>, u64), ReadError> {
        let fences = &self.fences[space];
        let mut bytes = [0; BLOCK_BYTES];
        let mut blocks = 0;
        // Equal hashes can fill several blocks; the newest are in the last.
        let mut next = fences.partition_point(|&fence| fence <= hash);
        while let Some(number) = next.checked_sub(1) {
            let block = self.block(space, number as u64, &mut bytes)?;
            blocks += 1;
            let from = block.below(hash);
            let same = block.entries(from, block.len());
            let same: Vec<Entry> = same.take_while(|entry| entry.hash == hash).collect();
            for entry in same.iter().rev() {
                let record = RecordIndex(entry.position);
                if confirm(record)? {
                    return Ok((Some(record), blocks));
                }
            }
            if from > 0 {
                break;
            }
            next = number;
        }
        Ok((None, blocks))
    }

    /// Reads blocks of a space into `buffer`, which is a multiple of 4096 bytes, unchecked.
    pub(crate) fn read_blocks(
        &self,
        space: usize,
        number: u64,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        let offset = self.block_at(space, number);
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                damage(&self.path, offset, "the file is too short")
            }
            _ => ReadError::Storage {
                path: self.path.clone(),
                source,
            },
        })
    }

    /// Checks a block that was read.
    pub(crate) fn check_block<'a>(
        &self,
        space: usize,
        number: u64,
        bytes: &'a [u8],
    ) -> Result<Block<'a>, ReadError> {
        let offset = self.block_at(space, number);
        let bad = |detail| damage(&self.path, offset, detail);
        let block = Block::check(bytes, self.header.id, offset);
        let block = block.ok_or_else(|| bad("the block's checksum does not match"))?;
        let before = number * BLOCK_ENTRIES as u64;
        let expected = (self.header.entries[space] - before).min(BLOCK_ENTRIES as u64);
        if block.len() as u64 != expected {
            return Err(bad("the block has a wrong number of entries"));
        }
        Ok(block)
    }

    /// The first hash of each block of a space.
    pub(crate) fn fences(&self, space: usize) -> &[u64] {
        &self.fences[space]
    }

    /// Where a block of a space stands in the file.
    pub(crate) fn block_at(&self, space: usize, number: u64) -> u64 {
        self.header.blocks_at(space) + number * BLOCK_BYTES as u64
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let fences: usize = self.fences.iter().map(|fences| fences.capacity() * 8).sum();
        let filters: u64 = self.filters.iter().map(Filter::memory_bytes).sum();
        fences as u64 + filters
    }

    fn block<'a>(
        &self,
        space: usize,
        number: u64,
        bytes: &'a mut [u8; BLOCK_BYTES],
    ) -> Result<Block<'a>, ReadError> {
        self.read_blocks(space, number, bytes)?;
        self.check_block(space, number, bytes)
    }
}

/// Damage in a file of the index.
pub(crate) fn damage(path: &Path, offset: u64, detail: &str) -> ReadError {
    ReadError::Index(IndexDamage {
        file: path.to_owned(),
        offset,
        detail: detail.to_owned(),
    })
}

/// Reads the chunks of a tail one after the other.
struct Tail<'a> {
    file: &'a dyn StorageFile,
    path: &'a Path,
    id: u64,
    offset: u64,
    end: u64,
    content: Vec<u8>,
}

impl Tail<'_> {
    fn fences(&mut self, blocks: u64) -> Result<Vec<u64>, ReadError> {
        let offset = self.offset;
        self.next()?;
        if self.content.len() as u64 != blocks * 8 {
            return Err(damage(self.path, offset, "a wrong number of fences"));
        }
        let fence = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
        Ok(self.content.chunks_exact(8).map(fence).collect())
    }

    fn filter(&mut self, header: &RunHeader, space: usize) -> Result<Filter, ReadError> {
        let (entries, bits) = (header.entries[space], header.filter_bits);
        // What does not fit into the file asks for no memory.
        if filter::bytes(entries, bits) > self.end - self.offset {
            return Err(damage(self.path, self.offset, "the file is too short"));
        }
        let mut filter = Filter::with_capacity(entries, bits);
        for piece in filter.bytes_mut().chunks_mut(FILTER_CHUNK_BYTES) {
            let offset = self.offset;
            self.next()?;
            if self.content.len() != piece.len() {
                return Err(damage(self.path, offset, "a filter of a wrong length"));
            }
            piece.copy_from_slice(&self.content);
        }
        Ok(filter)
    }

    /// Reads the next chunk into `content`.
    fn next(&mut self) -> Result<(), ReadError> {
        let failed = |source| ReadError::Storage {
            path: self.path.to_owned(),
            source,
        };
        let bad = |detail| damage(self.path, self.offset, detail);
        let content_at = self.offset + CHUNK_HEADER_BYTES as u64;
        if content_at > self.end {
            return Err(bad("the file is too short"));
        }
        let mut header = [0; CHUNK_HEADER_BYTES];
        self.file
            .read_exact_at(&mut header, self.offset)
            .map_err(failed)?;
        let [a, b, c, d, sum @ ..] = header;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        if length > self.end - content_at {
            return Err(bad("the file is too short"));
        }
        self.content.resize(length as usize, 0);
        self.file
            .read_exact_at(&mut self.content, content_at)
            .map_err(failed)?;
        if block::checksum(self.id, self.offset, &self.content) != u32::from_le_bytes(sum) {
            return Err(bad("the checksum of fences or filter does not match"));
        }
        self.offset = content_at + length;
        Ok(())
    }
}
