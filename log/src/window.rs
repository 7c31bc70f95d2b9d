//! Reading a file through a part of it in memory.

use std::io;
use std::sync::Arc;

use crate::batch::BLOCK_BYTES;
use crate::storage::{AlignedBytes, StorageFile};

/// Bytes read at once: a few calls per segment, and little memory.
const WINDOW_BYTES: usize = 1 << 20;

/// A part of a file in memory, moved along as needed.
pub(crate) struct Window {
    file: Arc<dyn StorageFile>,
    pub(crate) size: u64,
    start: u64,
    bytes: AlignedBytes,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn StorageFile>) -> io::Result<Window> {
        let size = file.size()?;
        Ok(Window {
            file,
            size,
            start: 0,
            bytes: AlignedBytes::default(),
        })
    }

    /// Lets the next read come from the file and not from memory.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// `length` bytes at `offset`; `None` when the file ends before.
    pub(crate) fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if offset.saturating_add(length as u64) > self.size {
            return Ok(None);
        }
        let held = self.start..=self.start + self.bytes.len() as u64;
        if !(held.contains(&offset) && held.contains(&(offset + length as u64))) {
            // Whole sectors, which can be read past the cache.
            self.start = offset - offset % BLOCK_BYTES as u64;
            let wanted = (offset - self.start) as usize + length.max(WINDOW_BYTES);
            let size = (wanted as u64).min(self.size - self.start) as usize;
            self.bytes.resize_for_overwrite(size);
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, self.start) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + length]))
    }
}
