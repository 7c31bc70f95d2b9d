//! What the log stores: opaque records, their positions, and the keys they are found by.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::tlog::{Checkpoint, HASH_BYTES};

/// Position of a record in the log, counted from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordIndex(pub u64);

impl fmt::Display for RecordIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one reservation. Numbers rise from 1 and are never used twice in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub u64);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key that a record is found by: 32 bytes, usually a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKey(pub [u8; 32]);

/// Number of independent key spaces: 0 the key fingerprint, 1 the device identity, 2 the serial
/// number.
pub const KEY_SPACES: usize = 3;

/// The first spaces are looked up before a certificate is released. The others are as exact, but
/// a lookup reads the disk each time.
pub const RELEASE_SPACES: usize = 2;

/// Records that a log can hold: the index has 40 bits for a position.
pub(crate) const RECORDS_MAX: u64 = 1 << 40;

/// Keys that one record can have: one in each key space, and a second one in space 1.
pub const KEY_SLOTS: usize = KEY_SPACES + 1;

/// The slot of a record's second key in space 1, which is as fast to look up as the first.
pub const SECOND_SLOT: usize = KEY_SPACES;

/// The space of the key in [`SECOND_SLOT`].
const SECOND_SPACE: usize = 1;

/// The keys of one record: slot and space are the same number, but for [`SECOND_SLOT`]. `None` where the record
/// has no such key. The two keys of space 1 must differ.
pub type RecordKeys = [Option<IndexKey>; KEY_SLOTS];

/// The key space that a slot's key is in.
#[must_use]
pub const fn slot_space(slot: usize) -> usize {
    if slot == SECOND_SLOT {
        SECOND_SPACE
    } else {
        slot
    }
}

/// The keys of one record in one space.
pub(crate) fn keys_in(keys: &RecordKeys, space: usize) -> impl Iterator<Item = &IndexKey> {
    let second = match space {
        SECOND_SPACE => keys[SECOND_SLOT].as_ref(),
        _ => None,
    };
    keys[space].as_ref().into_iter().chain(second)
}

/// Largest record in bytes: an entry of a C2SP entry bundle has a 16-bit length
/// (c2sp.org/tlog-tiles, "Log Entries").
pub const RECORD_BYTES_MAX: usize = 65_535;

/// Bytes of the prefix that every record starts with:
/// array head, kind, version (1 byte each), then `0x1B` and 8 bytes of time.
pub const RECORD_PREFIX_BYTES: usize = 12;

/// The smallest time that a record can carry, in milliseconds since 1970. The stamp is always
/// 8 bytes long, and deterministic CBOR (RFC 8949 §4.2.1) allows that length only from 2^32 on.
pub const TIME_MS_MIN: u64 = 1 << 32;

/// Finds the keys of a record. The log calls it when a record is appended, when the index is
/// rebuilt at open, and when a lookup confirms a match.
///
/// It must be a pure function of the record's bytes apart from the time stamp, must not panic,
/// and must know every record kind ever written to the log: a kind without keys is
/// `[None; KEY_SLOTS]`, not an error. It also sees the records that the log writes of its own
/// accord (officer's acts, kind 3) when the index is rebuilt or verified.
pub trait KeyExtractor: Send + Sync {
    /// The keys of `record`.
    ///
    /// # Errors
    /// When the record cannot be read. An append is refused for this item alone; at open it
    /// stops the start.
    fn keys(&self, record: &[u8]) -> Result<RecordKeys, ExtractError>;

    /// Raised with every release that finds other keys in a record than the one before. The index on the disk says which
    /// version it has; one of another version is made anew when the log is opened. 0 stands for all from before there were versions.
    fn version(&self) -> u32 {
        0
    }
}

impl<F> KeyExtractor for F
where
    F: Fn(&[u8]) -> Result<RecordKeys, ExtractError> + Send + Sync,
{
    fn keys(&self, record: &[u8]) -> Result<RecordKeys, ExtractError> {
        self(record)
    }
}

/// Why a [`KeyExtractor`] could not read a record. Cheap to clone; keeps the cause.
#[derive(Clone, Debug)]
pub struct ExtractError(Arc<dyn Error + Send + Sync>);

impl ExtractError {
    /// Wraps the extractor's own error, or a plain text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> ExtractError {
        ExtractError(Arc::from(cause.into()))
    }
}

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keys of the record cannot be read: {}", self.0)
    }
}

impl Error for ExtractError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// CBOR initial byte of an unsigned integer in 8 bytes (RFC 8949 §3.1).
const CBOR_UINT_8_BYTES: u8 = 0x1B;

/// First value that does not fit into a CBOR initial byte (RFC 8949 §3).
const CBOR_IMMEDIATE_END: u8 = 24;

/// Whether `record` starts as every record does: an array of 3 to 23 items (`0x83..=0x97`), kind
/// and version below 24, and a time in 8 bytes.
pub(crate) fn has_prefix(record: &[u8]) -> bool {
    record.len() >= RECORD_PREFIX_BYTES
        && (0x83..=0x97).contains(&record[0])
        && record[1] < CBOR_IMMEDIATE_END
        && record[2] < CBOR_IMMEDIATE_END
        && record[3] == CBOR_UINT_8_BYTES
}

/// The time stamp of a record that [`has_prefix`].
pub(crate) fn time_ms(record: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[4..RECORD_PREFIX_BYTES]);
    u64::from_be_bytes(bytes)
}

/// Overwrites the time stamp of a record that [`has_prefix`].
pub(crate) fn stamp(record: &mut [u8], time_ms: u64) {
    record[4..RECORD_PREFIX_BYTES].copy_from_slice(&time_ms.to_be_bytes());
}

/// The officer's-act record of an accepted clock: `[3, 1, time_ms, "clock-accepted", previous_ms]`.
pub(crate) fn clock_accepted(time_ms: u64, previous_ms: u64) -> Vec<u8> {
    const ACT: &[u8; 14] = b"clock-accepted";
    let mut record = vec![0x85, 3, 1, CBOR_UINT_8_BYTES];
    record.extend_from_slice(&time_ms.to_be_bytes());
    record.push(CBOR_TEXT + ACT.len() as u8);
    record.extend_from_slice(ACT);
    record.push(CBOR_UINT_8_BYTES);
    record.extend_from_slice(&previous_ms.to_be_bytes());
    record
}

/// The officer's-act record of a log that goes on from a copy of another:
/// `[3, 1, time_ms, "restored", old origin, old size, old root, last record's time_ms]`. The log stamps
/// the time when it appends it.
pub(crate) fn restored(old: &Checkpoint, last_time_ms: u64) -> Vec<u8> {
    const ACT: &str = "restored";
    let mut record = vec![0x88, 3, 1, CBOR_UINT_8_BYTES];
    record.extend_from_slice(&TIME_MS_MIN.to_be_bytes());
    for text in [ACT, &old.origin] {
        push_head(&mut record, CBOR_TEXT, text.len() as u64);
        record.extend_from_slice(text.as_bytes());
    }
    push_head(&mut record, CBOR_UINT, old.size);
    push_head(&mut record, CBOR_BYTES, HASH_BYTES as u64);
    record.extend_from_slice(&old.root.0);
    push_head(&mut record, CBOR_UINT, last_time_ms);
    record
}

/// CBOR major types (RFC 8949 §3.1), in the upper three bits.
const CBOR_UINT: u8 = 0x00;
const CBOR_BYTES: u8 = 0x40;
const CBOR_TEXT: u8 = 0x60;

/// A head in its shortest form (RFC 8949 §4.2.1).
fn push_head(record: &mut Vec<u8>, major: u8, value: u64) {
    let bytes = value.to_be_bytes();
    match value {
        0..=23 => record.push(major | bytes[7]),
        24..=0xFF => record.extend_from_slice(&[major | 24, bytes[7]]),
        0x100..=0xFFFF => {
            record.push(major | 25);
            record.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xFFFF_FFFF => {
            record.push(major | 26);
            record.extend_from_slice(&bytes[4..]);
        }
        _ => {
            record.push(major | 27);
            record.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_checked_byte_by_byte() {
        let good = [0x83, 1, 1, 0x1B, 0, 0, 0, 1, 0, 0, 0, 0];
        assert!(has_prefix(&good));
        assert_eq!(time_ms(&good), TIME_MS_MIN);
        for (at, bad) in [(0, 0x82), (0, 0x98), (1, 24), (2, 24), (3, 0x1A)] {
            let mut record = good;
            record[at] = bad;
            assert!(!has_prefix(&record), "byte {at} = {bad:#x}");
        }
        assert!(!has_prefix(&good[..11]));
    }

    #[test]
    fn the_clock_record_is_deterministic_cbor() {
        let record = clock_accepted(0x0102_0304_0506, 0x0001_0000_0000);
        let mut expected = vec![0x85, 0x03, 0x01, 0x1B, 0, 0, 1, 2, 3, 4, 5, 6, 0x6E];
        expected.extend_from_slice(b"clock-accepted");
        expected.extend_from_slice(&[0x1B, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(record, expected);
        assert!(has_prefix(&record));
    }

    #[test]
    fn the_restored_record_is_deterministic_cbor() {
        let old = Checkpoint {
            origin: "o".repeat(24),
            size: 300,
            root: crate::tlog::Hash([7; 32]),
        };
        let record = restored(&old, 0x0001_0000_0000);
        let mut expected = vec![0x88, 3, 1, 0x1B, 0, 0, 0, 1, 0, 0, 0, 0, 0x68];
        expected.extend_from_slice(b"restored\x78\x18");
        expected.extend_from_slice(&[b'o'; 24]);
        expected.extend_from_slice(&[0x19, 0x01, 0x2C, 0x58, 0x20]);
        expected.extend_from_slice(&[7; 32]);
        expected.extend_from_slice(&[0x1B, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(record, expected);
        assert!(has_prefix(&record));
    }
}
