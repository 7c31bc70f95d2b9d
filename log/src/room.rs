//! How much room there is, and how much is promised: an acknowledged reservation can always be
//! finished, however full the disk is.

use crate::batch::{
    BATCH_HEADER_BYTES, BLOCK_BYTES, FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX, padded,
};
use crate::segment::{SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES};

/// Room for one frame in the worst case: alone in its batch. Frames that share a batch need less.
pub(crate) const fn frame_room(payload_bytes: usize) -> u64 {
    padded(BATCH_HEADER_BYTES + FRAME_HEADER_BYTES + payload_bytes) as u64
}

/// Most bytes left over at the end of a segment: one block less than the largest frame needs,
/// because whatever fits is put there first.
const WASTE_BYTES_MAX: u64 = frame_room(PAYLOAD_BYTES_MAX) - BLOCK_BYTES as u64;

// Whatever a segment wastes at its end, it holds the largest frame.
const _: () =
    assert!(SEGMENT_BYTES_MIN - SEGMENT_HEADER_BYTES >= WASTE_BYTES_MAX + BLOCK_BYTES as u64);

/// Bytes that surely fit into the rest of the current segment and the prepared ones, whatever
/// order frames come in. `bodies` are the sizes of the prepared segments without their headers.
pub(crate) fn capacity(rest: u64, bodies: impl DoubleEndedIterator<Item = u64>) -> u64 {
    let mut from_last = bodies.rev();
    // The last segment wastes nothing: the promise ends with it.
    let Some(last) = from_last.next() else {
        return rest;
    };
    let between: u64 = from_last
        .map(|body| body.saturating_sub(WASTE_BYTES_MAX))
        .sum();
    rest.saturating_sub(WASTE_BYTES_MAX) + between + last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::RECORD_BYTES_MAX;

    /// Puts frames one by one, each alone in its batch, as the log thread would.
    fn all_fit(mut rest: u64, mut bodies: Vec<u64>, frames: &[usize]) -> bool {
        bodies.reverse();
        frames.iter().all(|&payload| {
            let room = frame_room(payload);
            while rest < room {
                let Some(body) = bodies.pop() else {
                    return false;
                };
                rest = body;
            }
            rest -= room;
            true
        })
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn what_is_promised_fits(
            rest in 0..600u64,
            segments in prop::collection::vec(256..600u64, 0..4),
            wanted in prop::collection::vec(1..=RECORD_BYTES_MAX, 0..60),
        ) {
            let block = BLOCK_BYTES as u64;
            let rest = rest * block;
            let bodies: Vec<u64> = segments.iter().map(|n| (n - 1) * block).collect();
            let capacity = capacity(rest, bodies.iter().copied());
            let mut promised = 0;
            let admitted: Vec<usize> = wanted
                .into_iter()
                .filter(|&payload| {
                    let admit = promised + frame_room(payload) <= capacity;
                    promised += if admit { frame_room(payload) } else { 0 };
                    admit
                })
                .collect();
            prop_assert!(all_fit(rest, bodies, &admitted));
        }
    }

    #[test]
    fn an_empty_rest_and_no_spare_hold_nothing() {
        assert_eq!(capacity(0, std::iter::empty()), 0);
        assert_eq!(capacity(512, std::iter::empty()), 512);
        assert_eq!(frame_room(0), 512);
        assert_eq!(
            frame_room(512 - BATCH_HEADER_BYTES - FRAME_HEADER_BYTES),
            512
        );
        assert_eq!(
            frame_room(513 - BATCH_HEADER_BYTES - FRAME_HEADER_BYTES),
            1024
        );
    }
}
