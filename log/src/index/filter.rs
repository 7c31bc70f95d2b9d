//! Filters: which hashes a run cannot have.

use super::bloom::Bloom;
use super::fuse::{Fuse, PartBuilder};

/// The filter of one run and key space.
#[derive(Debug)]
pub(crate) enum Filter {
    /// Of a small run.
    Bloom(Bloom),
    /// Of a large run.
    Fuse(Fuse),
}

impl Filter {
    /// `false` when no entry has this hash.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        match self {
            Filter::Bloom(bloom) => bloom.may_contain(hash),
            Filter::Fuse(fuse) => fuse.may_contain(hash),
        }
    }

    /// Sets the flag of each hash that may be there.
    ///
    /// Nearly every look is a cache miss; in these loops they overlap.
    pub(crate) fn flag(&self, hashes: &[u64], flags: &mut [bool]) {
        let touched = hashes;
        let hashes = hashes.iter().zip(flags);
        match self {
            Filter::Bloom(bloom) => {
                bloom.touch(touched);
                hashes.for_each(|(hash, flag)| *flag |= bloom.may_contain(*hash))
            }
            Filter::Fuse(fuse) => hashes.for_each(|(hash, flag)| *flag |= fuse.may_contain(*hash)),
        }
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Filter::Bloom(bloom) => bloom.memory_bytes(),
            Filter::Fuse(fuse) => fuse.memory_bytes(),
        }
    }
}

/// A filter in the making.
pub(crate) struct FilterBuilder {
    filter: Filter,
    /// More hashes than this in a part get no filter.
    part_max: usize,
    builder: PartBuilder,
    hashes: Vec<u64>,
    part: Vec<u8>,
}

impl FilterBuilder {
    /// For this many entries in so many parts of about `part_entries`.
    pub(crate) fn new(small: bool, entries: u64, parts: u32, part_entries: u32) -> FilterBuilder {
        FilterBuilder {
            filter: match small {
                true => Filter::Bloom(Bloom::with_capacity(entries)),
                false => Filter::Fuse(Fuse::with_capacity(parts, entries)),
            },
            part_max: PART_UNEVEN_MAX * part_entries as usize,
            builder: PartBuilder::default(),
            hashes: Vec::new(),
            part: Vec::new(),
        }
    }

    /// Adds the hashes of the next part, ascending.
    pub(crate) fn push_part(&mut self, hashes: impl Iterator<Item = u64>) {
        match &mut self.filter {
            Filter::Bloom(bloom) => hashes.for_each(|hash| bloom.add(hash)),
            Filter::Fuse(fuse) => {
                self.hashes.clear();
                self.hashes.extend(hashes);
                self.hashes.dedup();
                self.part.clear();
                self.builder
                    .build(&self.hashes, self.part_max, &mut self.part);
                // What the builder writes has the right length.
                let _ = fuse.push_part(&self.part);
            }
        }
    }

    /// The filter, when all parts have been added.
    pub(crate) fn finish(self) -> Filter {
        let mut filter = self.filter;
        if let Filter::Fuse(fuse) = &mut filter {
            fuse.shrink();
        }
        filter
    }
}

/// A part with more than this many times the average gets no filter: only keys that are no
/// digests are so uneven.
const PART_UNEVEN_MAX: usize = 4;
