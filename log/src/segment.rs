//! One segment file: a header block, then batches. Little-endian integers.
//!
//! ```text
//! header   magic [u8; 8] · version u32 · previous u32 · number u64 · bytes u64 · salt u64
//!          first_index u64 · sequence u64 · last_time_ms u64 · next_reservation u64
//!          zeros … · checksum u32                                        (512 bytes together)
//! ```
//!
//! A file is prepared, filled to its whole length, long before it is used. It is *unused* until
//! its header stands, and the header is written together with the first batch. A block is written
//! whole or not at all, so a header block is either all zero, or the header of an earlier use
//! (another number), or the segment's own; anything else is damage.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use crate::batch::{BLOCK_BYTES, u32_at, u64_at};

/// Bytes in front of the first batch.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = BLOCK_BYTES as u64;

/// `bytes` of the smallest segment that can hold a record of the largest size and more.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 128 << 10;

/// `bytes` of the largest segment: offsets in it fit 31 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Segment sizes are multiples of a memory page.
pub(crate) const SEGMENT_BYTES_UNIT: u64 = 4096;

const MAGIC: [u8; 8] = *b"BMLOGSEG";
/// 2: payloads are summed once.
const VERSION: u32 = 2;
const CHECKSUM_AT: usize = BLOCK_BYTES - 4;
const FIELDS_END: usize = 72;

/// The header of a segment in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Checksum of the last batch before this segment.
    pub(crate) previous: u32,
    /// Number of the segment, counted from 0; also its file name.
    pub(crate) number: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Random; every batch repeats it.
    pub(crate) salt: u64,
    /// Index of the first record in the segment.
    pub(crate) first_index: u64,
    /// Number of the first batch in the segment.
    pub(crate) sequence: u64,
    /// Time stamp of the last record before the segment; 0 when there is none.
    pub(crate) last_time_ms: u64,
    /// Number of the first reservation made in the segment.
    pub(crate) next_reservation: u64,
}

/// What the first block of a segment file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderBlock {
    /// The segment is in use.
    InUse(SegmentHeader),
    /// The file is prepared for later use.
    Unused,
    /// Neither; the text says why.
    Damaged(&'static str),
}

impl SegmentHeader {
    /// The header block, and its checksum.
    pub(crate) fn encode(&self) -> ([u8; BLOCK_BYTES], u32) {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&self.previous.to_le_bytes());
        let fields = [
            self.number,
            self.bytes,
            self.salt,
            self.first_index,
            self.sequence,
            self.last_time_ms,
            self.next_reservation,
        ];
        for (slot, field) in block[16..FIELDS_END].chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&block[..CHECKSUM_AT]);
        block[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        (block, checksum)
    }

    /// Reads the first block of the file of segment `number`.
    pub(crate) fn decode(block: &[u8; BLOCK_BYTES], number: u64) -> HeaderBlock {
        if block.iter().all(|&byte| byte == 0) {
            return HeaderBlock::Unused;
        }
        if crc32c::crc32c(&block[..CHECKSUM_AT]) != u32_at(block, CHECKSUM_AT) {
            return HeaderBlock::Damaged("the segment header's checksum does not match");
        }
        if block[..8] != MAGIC || u32_at(block, 8) != VERSION {
            return HeaderBlock::Damaged("the segment header is of another format version");
        }
        let header = SegmentHeader {
            previous: u32_at(block, 12),
            number: u64_at(block, 16),
            bytes: u64_at(block, 24),
            salt: u64_at(block, 32),
            first_index: u64_at(block, 40),
            sequence: u64_at(block, 48),
            last_time_ms: u64_at(block, 56),
            next_reservation: u64_at(block, 64),
        };
        if header.number == number {
            HeaderBlock::InUse(header)
        } else {
            HeaderBlock::Unused
        }
    }

    /// Checksum that the first batch of the segment names as its predecessor.
    pub(crate) fn checksum(&self) -> u32 {
        self.encode().1
    }
}

/// A salt that content from outside cannot guess.
pub(crate) fn random_salt() -> u64 {
    // The standard library seeds these hashers from the system's random source.
    RandomState::new().hash_one(0u64)
}

/// Directory of the segment files inside a log.
pub(crate) fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// File name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:012}.seg")
}

/// Number of the segment that bears this file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    // Only the one spelling: "+1.seg" and "1.seg" are none of ours.
    (segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        previous: 1,
        number: 2,
        bytes: 3,
        salt: 4,
        first_index: 5,
        sequence: 6,
        last_time_ms: 7,
        next_reservation: 8,
    };

    #[test]
    fn header_comes_back_and_every_flip_shows() {
        let (block, checksum) = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&block, 2), HeaderBlock::InUse(HEADER));
        assert_eq!(SegmentHeader::decode(&block, 3), HeaderBlock::Unused);
        assert_eq!(HEADER.checksum(), checksum);
        assert_eq!(
            SegmentHeader::decode(&[0; BLOCK_BYTES], 2),
            HeaderBlock::Unused
        );
        for at in 0..BLOCK_BYTES {
            let mut flipped = block;
            flipped[at] ^= 0x10;
            assert!(
                matches!(SegmentHeader::decode(&flipped, 2), HeaderBlock::Damaged(_)),
                "byte {at}"
            );
        }
    }

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(segment_name(7), "000000000007.seg");
        assert_eq!(segment_number("000000000007.seg"), Some(7));
        for other in [
            "7.seg",
            "+00000000007.seg",
            "000000000007.seg.new",
            "LOCK",
            ".seg",
        ] {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }

    #[test]
    fn salts_differ() {
        assert_ne!(random_salt(), random_salt());
    }
}
