//! Memory for transfers past the system's cache, which need it aligned.

use std::ops::{Deref, DerefMut};

/// Alignment of the memory, in bytes: a page, the largest block size in use.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of 4096 in memory, so that a disk can be asked to read them and to
/// write them without a copy in between. Grows like a `Vec`.
#[derive(Debug, Default)]
pub struct AlignedBytes {
    /// All of it is initialized. Longer than needed, so that it can begin anywhere in the first 4096.
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// Forgets the bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds bytes at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.reserve(end);
        self.buffer[self.start + self.len..self.start + end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Changes the length; what is new is zero.
    pub fn resize(&mut self, len: usize) {
        self.reserve(len);
        if len > self.len {
            self.buffer[self.start + self.len..self.start + len].fill(0);
        }
        self.len = len;
    }

    /// Changes the length; what is new has any content. For reading into.
    pub fn resize_for_overwrite(&mut self, len: usize) {
        self.reserve(len);
        self.len = len;
    }

    fn reserve(&mut self, len: usize) {
        if self.start + len <= self.buffer.len() {
            return;
        }
        let room = len.next_multiple_of(ALIGNMENT).max(2 * self.len);
        let mut buffer = vec![0; room + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        buffer[start..start + self.len].copy_from_slice(self);
        (self.buffer, self.start) = (buffer, start);
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_a_vector_would_at_an_aligned_place() {
        let (mut bytes, mut model) = (AlignedBytes::default(), Vec::new());
        for round in 0..3 {
            bytes.clear();
            model.clear();
            for part in 0..40_usize {
                let more = vec![part as u8; part * part * (round + 1)];
                bytes.extend_from_slice(&more);
                model.extend_from_slice(&more);
                let len = model.len() + 7;
                bytes.resize(len);
                model.resize(len, 0);
                assert_eq!(*bytes, *model);
                assert_eq!(bytes.as_ptr().align_offset(ALIGNMENT), 0);
            }
            bytes.resize_for_overwrite(3);
            assert_eq!(*bytes, model[..3]);
        }
    }
}
