//! The memory map of a corpus file: the only `unsafe` of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use memmap2::{Mmap, UncheckedAdvice};

/// A read-only, shared map of a whole file.
#[derive(Debug)]
pub(super) struct Map(Mmap);

impl Map {
    /// Maps the file as it is now.
    pub(super) fn new(file: &File) -> io::Result<Map> {
        // SAFETY: the map is a `&[u8]`, so the bytes must not change while it lives. A corpus
        // is written under a temporary name, renamed when it is whole and never written again
        // by this crate. Who cuts or rewrites the file under a running load generator breaks
        // that run; nothing is made from a corpus but test load.
        unsafe { Mmap::map(file) }.map(Map)
    }

    /// Tells the kernel that these pages are not needed now. They are read from the file again
    /// when they are touched again.
    pub(super) fn forget(&self, range: Range<usize>) {
        debug_assert!(range.start <= range.end && range.end <= self.0.len());
        // SAFETY: MADV_DONTNEED changes what private and anonymous pages hold. This map is a
        // shared one of a file and never written, so the same bytes come back from the file.
        let advised = unsafe {
            self.0
                .unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
        // Advice: without it the pages stay until the kernel wants them, and nothing else changes.
        drop(advised);
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
