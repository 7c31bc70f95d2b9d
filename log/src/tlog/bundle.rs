//! Entry bundles: records, each with its length in front (c2sp.org/tlog-tiles, "Log entries").

use thiserror::Error;

use super::hash::{Hash, leaf_hash_in_place};
use super::tile::TILE_WIDTH;

/// Bytes of the longest entry: its length is a 16-bit number.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes of the longest bundle: 256 entries of the greatest length, each with two bytes in front.
pub const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (LENGTH_BYTES + ENTRY_BYTES_MAX);

/// Bytes of the length in front of an entry, big-endian.
const LENGTH_BYTES: usize = 2;

/// A record that does not fit into a bundle, or bytes that are no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Nothing was added.
    #[error(
        "the record has {bytes} bytes, a log entry holds at most {ENTRY_BYTES_MAX}; make it shorter"
    )]
    RecordTooLong {
        /// Length of the record.
        bytes: usize,
    },
    /// The bytes end within an entry or before it.
    #[error(
        "the bundle is cut short: entry {entry} of it, at byte {offset}, is not all there; restore the file"
    )]
    Truncated {
        /// The entry that is missing or incomplete, counted from 0 within the bundle.
        entry: u16,
        /// Where that entry begins.
        offset: usize,
    },
    /// There are bytes after the last entry.
    #[error("the bundle has bytes after its last entry, from byte {offset} on; restore the file")]
    TrailingBytes {
        /// Where the bundle should end.
        offset: usize,
    },
}

/// Appends one record to a bundle.
///
/// # Errors
/// [`BundleError::RecordTooLong`] if the record is longer than [`ENTRY_BYTES_MAX`]; the bundle is
/// as it was.
pub fn push_entry(bundle: &mut Vec<u8>, record: &[u8]) -> Result<(), BundleError> {
    let length = entry_length(record)?;
    bundle.reserve(LENGTH_BYTES + record.len());
    bundle.extend_from_slice(&length);
    bundle.extend_from_slice(record);
    Ok(())
}

/// What stands before a record in a bundle.
///
/// # Errors
/// [`BundleError::RecordTooLong`].
pub(crate) fn entry_length(record: &[u8]) -> Result<[u8; LENGTH_BYTES], BundleError> {
    let length = u16::try_from(record.len()).map_err(|_| BundleError::RecordTooLong {
        bytes: record.len(),
    })?;
    Ok(length.to_be_bytes())
}

/// The records of a bundle of exactly `width` entries.
///
/// # Errors
/// Those of [`Entries`].
pub fn entries(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    Entries::new(bytes, width).collect()
}

/// Reads the records of a bundle, one at a time and without copying.
///
/// Gives an error, and then nothing more, when the bytes end before the expected number of entries
/// is read ([`BundleError::Truncated`]) or go on after it ([`BundleError::TrailingBytes`]).
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    offset: usize,
    next: u16,
    width: u16,
    failed: bool,
}

impl<'a> Entries<'a> {
    /// Reads `bytes` as a bundle of exactly `width` entries.
    #[must_use]
    pub fn new(bytes: &'a [u8], width: u16) -> Self {
        Self {
            bytes,
            offset: 0,
            next: 0,
            width,
            failed: false,
        }
    }

    /// Where the next entry begins; after the last one, where the bundle ends.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn read(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.bytes.get(self.offset..)?.split_first_chunk()?;
        let record = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        self.offset += LENGTH_BYTES + record.len();
        self.next += 1;
        Some(record)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = if self.next < self.width {
            let truncated = BundleError::Truncated {
                entry: self.next,
                offset: self.offset,
            };
            self.read().ok_or(truncated)
        } else if self.offset < self.bytes.len() {
            Err(BundleError::TrailingBytes {
                offset: self.offset,
            })
        } else {
            return None;
        };
        self.failed = item.is_err();
        Some(item)
    }
}

/// Reads the records of a bundle one at a time, and hashes each where it stands. What was read before is
/// not looked at again: a record's hash overwrites its length.
///
/// Its errors are those of [`Entries`].
#[derive(Debug)]
pub(crate) struct Leaves<'a> {
    bytes: &'a mut [u8],
    offset: usize,
    next: u16,
    width: u16,
}

/// A record in its bundle.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    /// The last byte of the length, and the record.
    behind_one: &'a mut [u8],
}

impl<'a> Leaves<'a> {
    /// Reads `bytes` as a bundle of exactly `width` entries.
    pub(crate) fn new(bytes: &'a mut [u8], width: u16) -> Self {
        Self {
            bytes,
            offset: 0,
            next: 0,
            width,
        }
    }

    /// The next record; `None` at the end of the bundle.
    pub(crate) fn next_leaf(&mut self) -> Result<Option<Leaf<'_>>, BundleError> {
        let mut rest = Entries {
            bytes: &*self.bytes,
            offset: self.offset,
            next: self.next,
            width: self.width,
            failed: false,
        };
        let Some(record) = rest.next().transpose()? else {
            return Ok(None);
        };
        let start = self.offset + LENGTH_BYTES;
        let end = start + record.len();
        (self.offset, self.next) = (end, self.next + 1);
        Ok(Some(Leaf {
            behind_one: &mut self.bytes[start - 1..end],
        }))
    }
}

impl Leaf<'_> {
    /// The record.
    pub(crate) fn record(&self) -> &[u8] {
        &self.behind_one[1..]
    }

    /// Its hash in the tree.
    pub(crate) fn hash(self) -> Hash {
        leaf_hash_in_place(self.behind_one)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::leaf_hash;

    fn walk_leaves(bytes: &mut [u8], width: u16) -> Result<(), BundleError> {
        let mut leaves = Leaves::new(bytes, width);
        while let Some(leaf) = leaves.next_leaf()? {
            let _ = leaf.hash();
        }
        Ok(())
    }

    #[test]
    fn an_entry_is_its_length_and_its_bytes() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"abc").unwrap();
        push_entry(&mut bundle, b"").unwrap();
        assert_eq!(bundle, b"\x00\x03abc\x00\x00");
        assert_eq!(entries(&bundle, 2).unwrap(), [&b"abc"[..], b""]);
    }

    #[test]
    fn the_longest_record_fits_and_the_next_is_refused() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, &[7; ENTRY_BYTES_MAX]).unwrap();
        let bytes = ENTRY_BYTES_MAX + 1;
        assert_eq!(
            push_entry(&mut bundle, &vec![7; bytes]),
            Err(BundleError::RecordTooLong { bytes })
        );
        assert_eq!(bundle.len(), LENGTH_BYTES + ENTRY_BYTES_MAX);
        assert_eq!(entries(&bundle, 1).unwrap()[0].len(), ENTRY_BYTES_MAX);
    }

    #[test]
    fn the_number_of_entries_is_exact() {
        let bundle = b"\x00\x01a\x00\x01b";
        assert_eq!(
            entries(bundle, 1),
            Err(BundleError::TrailingBytes { offset: 3 })
        );
        assert_eq!(
            entries(bundle, 3),
            Err(BundleError::Truncated {
                entry: 2,
                offset: 6
            })
        );
        assert_eq!(
            entries(&bundle[..5], 2),
            Err(BundleError::Truncated {
                entry: 1,
                offset: 3
            })
        );
        assert_eq!(
            entries(&bundle[..4], 2),
            Err(BundleError::Truncated {
                entry: 1,
                offset: 3
            })
        );
        assert_eq!(entries(b"", 0), Ok(vec![]));
        let mut after_error = Entries::new(&bundle[..5], 2).skip(2);
        assert_eq!(after_error.next(), None);
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn bundles_come_back(records in vec(vec(any::<u8>(), 0..300), 0..=256)) {
            let mut bundle = Vec::new();
            for record in &records {
                push_entry(&mut bundle, record).unwrap();
            }
            let width = u16::try_from(records.len()).unwrap();
            prop_assert_eq!(&entries(&bundle, width).unwrap(), &records);
            let mut leaves = Leaves::new(&mut bundle, width);
            for record in &records {
                let leaf = leaves.next_leaf().unwrap().expect("a leaf");
                prop_assert_eq!(leaf.record(), record);
                prop_assert_eq!(leaf.hash(), leaf_hash(record));
            }
            prop_assert!(leaves.next_leaf().unwrap().is_none());
        }

        #[test]
        fn any_bytes_are_answered(bytes in vec(0..4u8, 0..100), width in 0..40u16) {
            prop_assert_eq!(walk_leaves(&mut bytes.clone(), width), entries(&bytes, width).map(|_| ()));
            if let Ok(records) = entries(&bytes, width) {
                let mut again = Vec::new();
                for record in records {
                    push_entry(&mut again, record).unwrap();
                }
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
