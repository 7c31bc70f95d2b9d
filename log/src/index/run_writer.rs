//! Writes a run from beginning to end, in one pass, with little memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{self, BLOCK_ENTRIES};
use super::entry::Entry;
use super::filter::Filter;
use super::run::{FILTER_CHUNK_BYTES, Run, RunHeader};
use crate::record::{KEY_SPACES, RELEASE_SPACES};
use crate::storage::{PathError, Storage, StorageFile, at};

/// Bytes written in one call.
const WRITE_BYTES: usize = 256 << 10;

/// A run file in the making.
///
/// It is written with `pwrite`, and with `fdatasync` every few MiB: otherwise a large merge
/// leaves gigabytes for the next sync of somebody else on the same disk to wait for.
pub(crate) struct RunWriter {
    header: RunHeader,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    sync_bytes: u64,
    /// Not written yet; it belongs at `offset`.
    buffer: Vec<u8>,
    offset: u64,
    unsynced: u64,
    /// Entries that do not fill a block yet.
    entries: Vec<Entry>,
    fences: [Vec<u64>; KEY_SPACES],
    /// One for each space of the release path.
    filters: Vec<Filter>,
}

impl RunWriter {
    /// Begins the file at `path`. It is synced after every `sync_bytes`.
    pub(crate) fn create(
        storage: &dyn Storage,
        path: &Path,
        header: RunHeader,
        sync_bytes: u64,
    ) -> Result<RunWriter, PathError> {
        let file = storage.create(path).map_err(at(path))?;
        let blocks = |space| usize::try_from(header.blocks(space)).unwrap_or(0);
        let fences = std::array::from_fn(|space| Vec::with_capacity(blocks(space)));
        let filter = |space| Filter::with_capacity(header.entries[space], header.filter_bits);
        let filters = (0..RELEASE_SPACES).map(filter).collect();
        Ok(RunWriter {
            buffer: header.encode(),
            header,
            path: path.to_owned(),
            file,
            sync_bytes,
            offset: 0,
            unsynced: 0,
            entries: Vec::new(),
            fences,
            filters,
        })
    }

    /// What the header says.
    pub(crate) fn header(&self) -> &RunHeader {
        &self.header
    }

    /// Adds the entries of the next part of a space, sorted.
    pub(crate) fn push_part(&mut self, space: usize, entries: &[Entry]) -> Result<(), PathError> {
        if let Some(filter) = self.filters.get_mut(space) {
            entries.iter().for_each(|entry| filter.add(entry.hash));
        }
        let mut rest = entries;
        if !self.entries.is_empty() {
            let (more, after) = rest.split_at(rest.len().min(BLOCK_ENTRIES - self.entries.len()));
            self.entries.extend_from_slice(more);
            rest = after;
            if self.entries.len() < BLOCK_ENTRIES {
                return Ok(());
            }
            self.put_kept(space)?;
        }
        let blocks = rest.chunks_exact(BLOCK_ENTRIES);
        self.entries.extend_from_slice(blocks.remainder());
        for block in blocks {
            self.put_block(space, block)?;
        }
        Ok(())
    }

    /// Ends a space.
    pub(crate) fn end_space(&mut self, space: usize) -> Result<(), PathError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.put_kept(space)
    }

    /// Writes the tail and makes the file durable, its name excepted.
    pub(crate) fn finish(mut self) -> Result<Run, PathError> {
        for space in 0..KEY_SPACES {
            let fences = std::mem::take(&mut self.fences[space]);
            let bytes: Vec<u8> = fences
                .iter()
                .flat_map(|fence| fence.to_le_bytes())
                .collect();
            self.fences[space] = fences;
            self.put_chunk(&bytes)?;
            self.put_filter(space)?;
        }
        self.write()?;
        self.file.sync_data().map_err(at(&self.path))?;
        let (file_bytes, file) = (self.offset, self.file);
        Ok(Run::new(
            self.header,
            self.path,
            file,
            file_bytes,
            self.fences,
            self.filters,
        ))
    }

    fn put_filter(&mut self, space: usize) -> Result<(), PathError> {
        let filters = std::mem::take(&mut self.filters);
        let pieces = filters.get(space).map(Filter::bytes).unwrap_or_default();
        let put = pieces
            .chunks(FILTER_CHUNK_BYTES)
            .try_for_each(|piece| self.put_chunk(piece));
        self.filters = filters;
        put
    }

    /// A block of the entries kept.
    fn put_kept(&mut self, space: usize) -> Result<(), PathError> {
        let mut entries = std::mem::take(&mut self.entries);
        let put = self.put_block(space, &entries);
        entries.clear();
        self.entries = entries;
        put
    }

    fn put_block(&mut self, space: usize, entries: &[Entry]) -> Result<(), PathError> {
        let offset = self.offset + self.buffer.len() as u64;
        block::encode(entries, self.header.id, offset, &mut self.buffer);
        self.fences[space].extend(entries.first().map(|entry| entry.hash));
        self.write_full()
    }

    fn put_chunk(&mut self, content: &[u8]) -> Result<(), PathError> {
        let offset = self.offset + self.buffer.len() as u64;
        let sum = block::checksum(self.header.id, offset, content);
        self.buffer
            .extend_from_slice(&(content.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&sum.to_le_bytes());
        self.buffer.extend_from_slice(content);
        self.write_full()
    }

    fn write_full(&mut self) -> Result<(), PathError> {
        if self.buffer.len() < WRITE_BYTES {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), PathError> {
        self.file
            .write_all_at(&self.buffer, self.offset)
            .map_err(at(&self.path))?;
        self.offset += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= self.sync_bytes {
            self.unsynced = 0;
            self.file.sync_data().map_err(at(&self.path))?;
        }
        Ok(())
    }
}
