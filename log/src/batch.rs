//! One batch: what one group commit writes. Torn means all or nothing.
//!
//! A batch starts on a 512-byte block and is padded with zeros to a whole number of blocks.
//! All integers are little-endian.
//!
//! ```text
//! header   magic u32 · length u32 · sequence u64 · salt u64 · first_index u64
//!          count u32 · previous u32 · reserved u32 = 0 · checksum u32
//! frame    length u32 · checksum u32 · kind u8 · reservation u64 · payload      (count times)
//! padding  zeros
//! ```
//!
//! `length` is that of all frames. `checksum` of a frame is the CRC-32C of its payload; `checksum` of
//! the batch is that of all frames' headers and then of its own header. So each payload is summed
//! once, and who copies records can compare the payloads later, where they arrive. `previous` is the
//! checksum of the batch before (of the segment header for the first one), which chains them.

use crate::record::RECORD_BYTES_MAX;
use crate::storage::AlignedBytes;

mod frames;

pub(crate) use frames::{Frames, open};

/// Unit of alignment: a disk writes a sector of this size whole or not at all.
pub(crate) const BLOCK_BYTES: usize = 512;

/// Bytes in front of the frames.
pub(crate) const BATCH_HEADER_BYTES: usize = 48;

/// Bytes in front of a payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 17;

/// Largest payload: a reservation's lost record is a whole record, after its 4-byte room.
pub(crate) const PAYLOAD_BYTES_MAX: usize = RECORD_BYTES_MAX + RESERVATION_HEAD_BYTES;

/// Bytes of `record_bytes_max` in front of the lost record in a reservation's payload.
pub(crate) const RESERVATION_HEAD_BYTES: usize = 4;

/// `BMB2` in the file.
const MAGIC: u32 = u32::from_le_bytes(*b"BMB2");

/// Offset of the checksum in the batch header.
const CHECKSUM_AT: usize = 44;

/// Reservation number of frames that belong to none.
pub(crate) const NO_RESERVATION: u64 = 0;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// `record_bytes_max` u32, then the lost record.
    Reservation = 1,
    /// A record; closes its reservation.
    Record = 2,
    /// Nothing: the log was closed here, and everything before it was synced.
    Closed = 3,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        match byte {
            1 => Some(FrameKind::Reservation),
            2 => Some(FrameKind::Record),
            3 => Some(FrameKind::Closed),
            _ => None,
        }
    }
}

/// One frame of a decoded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) reservation: u64,
    pub(crate) payload: &'a [u8],
    /// Offset of the frame's header from the start of the batch.
    pub(crate) offset: usize,
}

impl Frame<'_> {
    /// Whether it holds a record.
    pub(crate) fn is_record(&self) -> bool {
        self.kind == FrameKind::Record
    }

    /// Whether the checksum in the frame of these bytes is that of the payload.
    fn is_good(&self, bytes: &[u8]) -> bool {
        frame_checksum(bytes, self) == crc32c::crc32c(self.payload)
    }
}

/// What ties a batch to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchPlace {
    /// Number of the batch, counted over the whole log.
    pub(crate) sequence: u64,
    /// Salt of the segment: frames of an earlier use of the file never pass.
    pub(crate) salt: u64,
    /// Index of the first record in the batch (or of the next one, when it has none).
    pub(crate) first_index: u64,
    /// Checksum of what stands before.
    pub(crate) previous: u32,
}

/// A decoded batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) place: BatchPlace,
    /// Bytes of all frames.
    pub(crate) length: u32,
    /// Number of frames.
    pub(crate) count: u32,
    pub(crate) checksum: u32,
}

impl BatchHeader {
    /// Reads a header; `None` when these bytes are none. Says nothing about the rest.
    pub(crate) fn decode(bytes: &[u8]) -> Option<BatchHeader> {
        if bytes.len() < BATCH_HEADER_BYTES || u32_at(bytes, 0) != MAGIC || u32_at(bytes, 40) != 0 {
            return None;
        }
        Some(BatchHeader {
            place: BatchPlace {
                sequence: u64_at(bytes, 8),
                salt: u64_at(bytes, 16),
                first_index: u64_at(bytes, 24),
                previous: u32_at(bytes, 36),
            },
            length: u32_at(bytes, 4),
            count: u32_at(bytes, 32),
            checksum: u32_at(bytes, CHECKSUM_AT),
        })
    }

    /// Bytes of the whole batch with its padding.
    pub(crate) fn padded_bytes(&self) -> usize {
        padded(BATCH_HEADER_BYTES + self.length as usize)
    }
}

/// Rounds up to whole blocks.
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

/// Gives a batch with these frames another salt and predecessor, and returns its new checksum.
pub(crate) fn transplant(
    batch: &[u8],
    frames: &[Frame<'_>],
    salt: u64,
    previous: u32,
) -> (Vec<u8>, u32) {
    let mut moved = batch.to_vec();
    moved[16..24].copy_from_slice(&salt.to_le_bytes());
    moved[36..40].copy_from_slice(&previous.to_le_bytes());
    let checksum = checksum(&moved, frames);
    moved[CHECKSUM_AT..BATCH_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    (moved, checksum)
}

/// The frame that starts at `offset`, its checksum verified.
pub(crate) fn frame_at(bytes: &[u8], offset: usize) -> Option<Frame<'_>> {
    parse_frame(bytes, offset).filter(|frame| frame.is_good(bytes))
}

fn parse_frame(bytes: &[u8], offset: usize) -> Option<Frame<'_>> {
    let header = bytes.get(offset..offset + FRAME_HEADER_BYTES)?;
    let kind = FrameKind::from_byte(header[8])?;
    let start = offset + FRAME_HEADER_BYTES;
    let payload = bytes.get(start..start + u32_at(header, 0) as usize)?;
    (payload.len() <= PAYLOAD_BYTES_MAX).then_some(Frame {
        kind,
        reservation: u64_at(header, 9),
        payload,
        offset,
    })
}

/// Checksum of the payload of a frame of `batch`.
pub(crate) fn frame_checksum(batch: &[u8], frame: &Frame<'_>) -> u32 {
    u32_at(batch, frame.offset + 4)
}

/// Length of the payload that the frame header at the start of `bytes` announces.
pub(crate) fn announced_payload_bytes(bytes: &[u8]) -> usize {
    u32_at(bytes, 0) as usize
}

/// A batch being filled. One buffer, used again for every batch.
#[derive(Debug, Default)]
pub(crate) struct BatchBuffer {
    bytes: AlignedBytes,
    /// Where the batch starts: behind a segment header when it is the first of its segment.
    start: usize,
    count: u32,
    /// Checksum of the frames' headers so far.
    frames_checksum: u32,
}

impl BatchBuffer {
    /// Starts over, with `head` bytes in front of the batch.
    pub(crate) fn begin(&mut self, head: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(head);
        self.start = head.len();
        self.bytes.resize(self.start + BATCH_HEADER_BYTES);
        self.count = 0;
        self.frames_checksum = 0;
    }

    /// Number of frames.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the batch, head included, with one more frame of `payload_bytes` and its padding.
    pub(crate) fn padded_with(&self, payload_bytes: usize) -> usize {
        padded(self.bytes.len() + FRAME_HEADER_BYTES + payload_bytes)
    }

    /// Appends a frame whose payload is `head` and `body` together. Gives its offset in the
    /// buffer.
    pub(crate) fn push(
        &mut self,
        kind: FrameKind,
        reservation: u64,
        head: &[u8],
        body: &[u8],
    ) -> usize {
        let offset = self.bytes.len();
        let length = (head.len() + body.len()) as u32;
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[8] = kind as u8;
        header[9..].copy_from_slice(&reservation.to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(body);
        self.seal_frame(offset);
        self.count += 1;
        offset
    }

    /// Appends a record with its time stamp overwritten. Gives the frame's offset in the buffer.
    pub(crate) fn push_record(&mut self, reservation: u64, record: &[u8], time_ms: u64) -> usize {
        let mut prefix = [0; crate::record::RECORD_PREFIX_BYTES];
        prefix.copy_from_slice(&record[..crate::record::RECORD_PREFIX_BYTES]);
        crate::record::stamp(&mut prefix, time_ms);
        self.push(
            FrameKind::Record,
            reservation,
            &prefix,
            &record[prefix.len()..],
        )
    }

    /// Pads and seals the batch. Gives its checksum.
    pub(crate) fn finish(&mut self, place: &BatchPlace) -> u32 {
        let length = self.bytes.len() - self.start - BATCH_HEADER_BYTES;
        self.bytes.resize(padded(self.bytes.len()));
        let batch = &mut self.bytes[self.start..];
        batch[..4].copy_from_slice(&MAGIC.to_le_bytes());
        batch[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        batch[8..16].copy_from_slice(&place.sequence.to_le_bytes());
        batch[16..24].copy_from_slice(&place.salt.to_le_bytes());
        batch[24..32].copy_from_slice(&place.first_index.to_le_bytes());
        batch[32..36].copy_from_slice(&self.count.to_le_bytes());
        batch[36..40].copy_from_slice(&place.previous.to_le_bytes());
        let checksum = crc32c::crc32c_append(self.frames_checksum, &batch[..CHECKSUM_AT]);
        batch[CHECKSUM_AT..BATCH_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// Everything to write.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn seal_frame(&mut self, offset: usize) {
        let (header, payload) = self.bytes[offset..].split_at_mut(FRAME_HEADER_BYTES);
        header[4..8].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        self.frames_checksum = crc32c::crc32c_append(self.frames_checksum, header);
    }
}

fn checksum(batch: &[u8], frames: &[Frame<'_>]) -> u32 {
    let header = |frame: &Frame<'_>| frame.offset..frame.offset + FRAME_HEADER_BYTES;
    let headers = frames.iter().fold(0, |sum, frame| {
        crc32c::crc32c_append(sum, &batch[header(frame)])
    });
    crc32c::crc32c_append(headers, &batch[..CHECKSUM_AT])
}

/// A little-endian integer inside `bytes`, which must be long enough.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

/// A little-endian integer inside `bytes`, which must be long enough.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_kind() -> impl Strategy<Value = FrameKind> {
        prop_oneof![
            Just(FrameKind::Reservation),
            Just(FrameKind::Record),
            Just(FrameKind::Closed)
        ]
    }

    fn any_place() -> impl Strategy<Value = BatchPlace> {
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(sequence, salt, first_index, previous)| BatchPlace {
                sequence,
                salt,
                first_index,
                previous,
            },
        )
    }

    fn build(place: &BatchPlace, content: &[(FrameKind, u64, Vec<u8>)]) -> Vec<u8> {
        let mut buffer = BatchBuffer::default();
        buffer.begin(&[]);
        for (kind, reservation, payload) in content {
            let (head, body) = payload.split_at(payload.len() / 3);
            let expected = buffer.padded_with(payload.len());
            buffer.push(*kind, *reservation, head, body);
            assert_eq!(padded(buffer.bytes.len()), expected);
        }
        buffer.finish(place);
        buffer.bytes().to_vec()
    }

    fn frames_of(batch: &[u8]) -> Option<Vec<Frame<'_>>> {
        open(&BatchHeader::decode(batch)?, batch)
    }

    fn is_sealed(batch: &[u8]) -> bool {
        BatchHeader::decode(batch).is_some_and(|header| {
            let mut frames = Frames::of(&header, batch);
            frames.by_ref().for_each(drop);
            frames.are_sealed()
        })
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn what_goes_in_comes_out(
            place in any_place(),
            content in prop::collection::vec(
                (any_kind(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..700)),
                1..20,
            ),
        ) {
            let batch = build(&place, &content);
            prop_assert_eq!(batch.len() % BLOCK_BYTES, 0);
            let header = BatchHeader::decode(&batch).expect("a header");
            prop_assert_eq!(header.place, place);
            prop_assert_eq!(header.padded_bytes(), batch.len());
            let frames = open(&header, &batch).expect("frames");
            prop_assert_eq!(frames.len(), content.len());
            for (frame, (kind, reservation, payload)) in frames.iter().zip(&content) {
                prop_assert_eq!(frame.kind, *kind);
                prop_assert_eq!(frame.reservation, *reservation);
                prop_assert_eq!(frame.payload, &payload[..]);
                prop_assert_eq!(frame_at(&batch, frame.offset), Some(*frame));
            }
        }

        #[test]
        fn any_flipped_bit_breaks_the_batch(
            place in any_place(),
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 1..4),
            at in any::<prop::sample::Index>(),
            bit in 0..8u32,
        ) {
            let content: Vec<_> = payloads
                .into_iter()
                .map(|payload| (FrameKind::Record, 7, payload))
                .collect();
            let mut batch = build(&place, &content);
            let sealed = frames_of(&batch).map(|frames| {
                let payload = |frame: &Frame<'_>| {
                    let start = frame.offset + FRAME_HEADER_BYTES;
                    start..start + frame.payload.len()
                };
                frames.iter().map(payload).collect::<Vec<_>>()
            });
            let at = at.index(batch.len());
            batch[at] ^= 1 << bit;
            prop_assert_eq!(frames_of(&batch), None);
            // Whoever compares payloads later finds everything else by opening the batch.
            let in_payload = sealed.expect("frames").iter().any(|payload| payload.contains(&at));
            prop_assert_eq!(is_sealed(&batch), in_payload);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0..2100usize) {
            let _ = frame_at(&bytes, at);
            if bytes.len() >= BATCH_HEADER_BYTES {
                let mut bytes = bytes;
                bytes[..4].copy_from_slice(b"BMB2");
                bytes[40..44].fill(0);
                let header = BatchHeader::decode(&bytes).expect("a header");
                let _ = open(&header, &bytes);
                let _ = is_sealed(&bytes);
            }
        }
    }

    #[test]
    fn a_transplant_is_intact_and_keeps_its_frames() {
        let place = BatchPlace {
            sequence: 3,
            salt: 4,
            first_index: 5,
            previous: 6,
        };
        let batch = build(&place, &[(FrameKind::Record, 7, vec![8; 600])]);
        let frames = frames_of(&batch).expect("frames");
        let (moved, checksum) = transplant(&batch, &frames, 44, 66);
        let header = BatchHeader::decode(&moved).expect("a header");
        assert_eq!(
            header.place,
            BatchPlace {
                salt: 44,
                previous: 66,
                ..place
            }
        );
        assert_eq!(header.checksum, checksum);
        assert_eq!(frames_of(&moved), Some(frames));
    }

    #[test]
    fn a_batch_behind_a_head_seals_only_itself() {
        let place = BatchPlace {
            sequence: 1,
            salt: 2,
            first_index: 3,
            previous: 4,
        };
        let mut buffer = BatchBuffer::default();
        buffer.begin(&[0xEE; BLOCK_BYTES]);
        let offset = buffer.push(FrameKind::Record, 9, b"ab", b"c");
        buffer.finish(&place);
        assert_eq!(offset, BLOCK_BYTES + BATCH_HEADER_BYTES);
        assert_eq!(buffer.bytes()[..BLOCK_BYTES], [0xEE; BLOCK_BYTES]);
        assert!(frames_of(&buffer.bytes()[BLOCK_BYTES..]).is_some());
    }
}
