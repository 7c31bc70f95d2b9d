//! Blocks: 4096 bytes of sorted entries with a checksum, the unit that a lookup reads.
//!
//! ```text
//! 0     hashes, 8 bytes each      ascending; room for 314
//! 2512  positions, 5 bytes each   in the order of the hashes; room for 314
//! 4082  count, 2 bytes
//! 4084  zeros, 8 bytes
//! 4092  checksum, 4 bytes
//! ```
//!
//! All numbers in all files of the index are little-endian.

use super::entry::Entry;

/// Bytes of a block: a page, which the system reads whole anyway.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Entries in every block but the last of a space: what fits beside count and checksum.
pub(crate) const BLOCK_ENTRIES: usize = 314;

const HASH_BYTES: usize = 8;
const POSITION_BYTES: usize = 5;
const POSITIONS_AT: usize = HASH_BYTES * BLOCK_ENTRIES;
const COUNT_AT: usize = POSITIONS_AT + POSITION_BYTES * BLOCK_ENTRIES;
const CHECKSUM_AT: usize = BLOCK_BYTES - 4;

const _: () = assert!(COUNT_AT + 2 <= CHECKSUM_AT);
const _: () = assert!(POSITION_BYTES * 8 == super::entry::POSITION_BITS as usize);

/// CRC-32C (RFC 3720 appendix B.4) of `bytes` at this place of this run: a block that is good in
/// another place is bad here.
pub(crate) fn checksum(run: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&run.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

/// Puts a checksum into the last four bytes of a block.
pub(crate) fn seal(block: &mut [u8], run: u64, offset: u64) {
    let sum = checksum(run, offset, &block[..CHECKSUM_AT]);
    block[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
}

/// Whether [`seal`] made the last four bytes.
pub(crate) fn is_sealed(block: &[u8], run: u64, offset: u64) -> bool {
    let sum = checksum(run, offset, &block[..CHECKSUM_AT]);
    block[CHECKSUM_AT..] == sum.to_le_bytes()
}

/// Appends a block with at most [`BLOCK_ENTRIES`] entries to `out`; it will stand at `offset`.
pub(crate) fn encode(entries: &[Entry], run: u64, offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BLOCK_BYTES, 0);
    let block = &mut out[start..];
    let (hashes, rest) = block.split_at_mut(POSITIONS_AT);
    let slots = hashes
        .chunks_exact_mut(HASH_BYTES)
        .zip(rest.chunks_exact_mut(POSITION_BYTES));
    for (entry, (hash, position)) in entries.iter().zip(slots) {
        hash.copy_from_slice(&entry.hash.to_le_bytes());
        position.copy_from_slice(&entry.position.to_le_bytes()[..POSITION_BYTES]);
    }
    block[COUNT_AT..COUNT_AT + 2].copy_from_slice(&(entries.len() as u16).to_le_bytes());
    seal(block, run, offset);
}

/// A block that was read and found good.
pub(crate) struct Block<'a> {
    hashes: &'a [u8],
    positions: &'a [u8],
    count: usize,
}

impl<'a> Block<'a> {
    /// Checks 4096 bytes that were read at `offset` of this run.
    pub(crate) fn check(bytes: &'a [u8], run: u64, offset: u64) -> Option<Block<'a>> {
        let count = usize::from(u16::from_le_bytes([bytes[COUNT_AT], bytes[COUNT_AT + 1]]));
        let good = is_sealed(bytes, run, offset) && (1..=BLOCK_ENTRIES).contains(&count);
        good.then(|| Block {
            hashes: &bytes[..HASH_BYTES * count],
            positions: &bytes[POSITIONS_AT..POSITIONS_AT + POSITION_BYTES * count],
            count,
        })
    }

    /// Number of entries, 1 or more.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many entries have a hash below this one.
    pub(crate) fn below(&self, hash: u64) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            let at = middle * HASH_BYTES;
            if read_hash(&self.hashes[at..at + HASH_BYTES]) < hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The entries from one to before another, in order.
    pub(crate) fn entries(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = Entry> {
        let hashes = self.hashes[from * HASH_BYTES..to * HASH_BYTES].chunks_exact(HASH_BYTES);
        let positions =
            self.positions[from * POSITION_BYTES..to * POSITION_BYTES].chunks_exact(POSITION_BYTES);
        hashes.zip(positions).map(|(hash, position)| Entry {
            hash: read_hash(hash),
            position: read_position(position),
        })
    }
}

fn read_hash(bytes: &[u8]) -> u64 {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(bytes);
    u64::from_le_bytes(hash)
}

fn read_position(bytes: &[u8]) -> u64 {
    let mut position = [0; 8];
    position[..POSITION_BYTES].copy_from_slice(bytes);
    u64::from_le_bytes(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Entry> {
        let entry = |i| Entry {
            hash: i / 2 * 1000 + 5,
            position: (1 << 40) - 1 - count + i,
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        for count in [1, 2, 313, BLOCK_ENTRIES as u64] {
            let entries = entries(count);
            let mut bytes = Vec::new();
            encode(&entries, 7, 8192, &mut bytes);
            assert_eq!(bytes.len(), BLOCK_BYTES);
            let block = Block::check(&bytes, 7, 8192).unwrap();
            assert_eq!(block.entries(0, block.len()).collect::<Vec<_>>(), entries);
            for hash in [0, 5, 6, 1005, 1006, u64::MAX] {
                let below = entries.iter().filter(|entry| entry.hash < hash).count();
                assert_eq!(block.below(hash), below);
            }
        }
    }

    #[test]
    fn a_flipped_bit_or_another_place_is_noticed() {
        let mut bytes = Vec::new();
        encode(&entries(100), 7, 8192, &mut bytes);
        assert!(Block::check(&bytes, 8, 8192).is_none());
        assert!(Block::check(&bytes, 7, 4096).is_none());
        assert!(Block::check(&[0; BLOCK_BYTES], 0, 0).is_none());
        for bit in 0..BLOCK_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Block::check(&bytes, 7, 8192).is_none(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
