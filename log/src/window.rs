//! Reading a file through a part of it in memory.

use std::io;
use std::sync::Arc;

use crate::batch::BLOCK_BYTES;
use crate::storage::{AlignedBytes, StorageFile};

/// Bytes read at once at first.
const WINDOW_BYTES_MIN: usize = 1 << 18;

/// Bytes read at once while the reader goes on and on. A batch of up to 2 MiB that is not whole in one window
/// is read again with the next: with larger windows less often.
const WINDOW_BYTES_MAX: usize = 4 << 20;

/// A part of a file in memory, moved along as needed.
pub(crate) struct Window {
    file: Arc<dyn StorageFile>,
    pub(crate) size: u64,
    start: u64,
    bytes: AlignedBytes,
    /// How much is read next.
    ahead: usize,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn StorageFile>) -> io::Result<Window> {
        Window::with_memory(file, AlignedBytes::default())
    }

    /// Uses memory that another window has [given up](Window::take_memory).
    pub(crate) fn with_memory(
        file: Arc<dyn StorageFile>,
        mut memory: AlignedBytes,
    ) -> io::Result<Window> {
        let size = file.size()?;
        memory.clear();
        Ok(Window {
            file,
            size,
            start: 0,
            bytes: memory,
            ahead: WINDOW_BYTES_MIN,
        })
    }

    /// The memory, for another window. What this one gives next, it reads again.
    pub(crate) fn take_memory(&mut self) -> AlignedBytes {
        std::mem::take(&mut self.bytes)
    }

    /// Lets the next read come from the file and not from memory.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.ahead = WINDOW_BYTES_MIN;
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
            let wanted = (offset - self.start) as usize + length.max(self.ahead);
            self.ahead = (2 * self.ahead).min(WINDOW_BYTES_MAX);
            let size = (wanted as u64).min(self.size - self.start) as usize;
            // Cleared: what it grows by need not be moved.
            self.bytes.clear();
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
