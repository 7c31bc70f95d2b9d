//! Entry bundles: records, each with its length in front (c2sp.org/tlog-tiles, "Log entries").

use thiserror::Error;

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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

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
            prop_assert_eq!(entries(&bundle, width).unwrap(), records);
        }

        #[test]
        fn any_bytes_are_answered(bytes in vec(0..4u8, 0..100), width in 0..40u16) {
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
