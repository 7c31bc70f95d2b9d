//! Large arrays that are looked into at random.

use memmap2::MmapMut;

/// Zeroed memory from the system and not from the allocator, so that it can be in large pages: a look into
/// small ones would miss the processor's table of pages as well as its cache.
#[derive(Debug)]
pub(crate) enum LargeMemory {
    Mapped(MmapMut),
    /// Where the system maps none.
    Heap(Vec<u8>),
}

impl LargeMemory {
    /// So many bytes, all zero.
    pub(crate) fn zeroed(bytes: usize) -> LargeMemory {
        let Ok(map) = MmapMut::map_anon(bytes) else {
            return LargeMemory::Heap(vec![0; bytes]);
        };
        // A kernel without large pages refuses, and that is no harm.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        LargeMemory::Mapped(map)
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            LargeMemory::Mapped(map) => map,
            LargeMemory::Heap(bytes) => bytes,
        }
    }

    /// All of it, to write to.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            LargeMemory::Mapped(map) => map,
            LargeMemory::Heap(bytes) => bytes,
        }
    }

    /// As pieces of `N` bytes; what is left behind the last is not among them.
    pub(crate) fn chunks<const N: usize>(&self) -> &[[u8; N]] {
        self.bytes().as_chunks().0
    }

    /// As pieces of `N` bytes, to write to.
    pub(crate) fn chunks_mut<const N: usize>(&mut self) -> &mut [[u8; N]] {
        self.bytes_mut().as_chunks_mut().0
    }
}
