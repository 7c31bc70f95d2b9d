//! Proofs made from tiles (RFC 9162 §2.1.3.1 and §2.1.4.1, the same as RFC 6962 §2.1.1 and §2.1.2).

use thiserror::Error;

use super::hash::{HASH_BYTES, Hash, empty_root, node_hash};
use super::tile::{TILE_WIDTH, TileId};

/// Where proofs take their hashes from.
pub trait HashReader {
    /// Why a tile could not be read.
    type Error;

    /// The bytes of a tile, exactly [`TileId::byte_len`] of them; a reader whose partial tile is
    /// gone cuts them from the full one. `id.width` is that of the tree size in question.
    ///
    /// Each tile is asked for once per proof.
    ///
    /// # Errors
    /// The tile is not there or could not be read.
    fn tile(&mut self, id: TileId) -> Result<Vec<u8>, Self::Error>;
}

/// A proof or a root was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProveError<E> {
    /// The tree has no such record.
    #[error(
        "record {index} is not in a tree of {size} records; ask for a lower index or wait for a later checkpoint"
    )]
    Index {
        /// What was asked for.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {old} records is no earlier state of one of {new}; swap the sizes")]
    Sizes {
        /// Leaves of the earlier tree.
        old: u64,
        /// Leaves of the later tree.
        new: u64,
    },
    /// A tile could not be read.
    #[error("{path} could not be read; restore the file", path = tile.path())]
    Read {
        /// The tile.
        tile: TileId,
        /// What its reader said.
        #[source]
        source: E,
    },
    /// A tile has another length than its width asks for.
    #[error(
        "{path} has {bytes} bytes instead of {expected}; restore the file",
        path = tile.path(),
        expected = tile.byte_len()
    )]
    Length {
        /// The tile.
        tile: TileId,
        /// How many bytes came.
        bytes: usize,
    },
}

/// The proof that leaf `index` is in the tree of `size` leaves: PATH of RFC 9162 §2.1.3.1, from
/// the leaf's sibling up.
///
/// # Errors
/// [`ProveError`]: the index is out of range, or a tile is missing or has the wrong length. Wrong
/// bytes in a tile are found by [`verify_inclusion`](super::verify_inclusion) only.
pub fn inclusion_proof<R: HashReader + ?Sized>(
    reader: &mut R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if index >= size {
        return Err(ProveError::Index { index, size });
    }
    let mut tree = Tree::new(reader, size);
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(tree.range(middle, end)?);
            end = middle;
        } else {
            proof.push(tree.range(start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` leaves is a beginning of the tree of `new` leaves: PROOF of
/// RFC 9162 §2.1.4.1. Empty if `old` is 0 or equals `new`.
///
/// # Errors
/// [`ProveError`]: the sizes are in the wrong order, or a tile is missing or has the wrong length.
pub fn consistency_proof<R: HashReader + ?Sized>(
    reader: &mut R,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if old > new {
        return Err(ProveError::Sizes { old, new });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let mut tree = Tree::new(reader, new);
    let mut proof = Vec::new();
    // SUBPROOF's recursion, as a walk down to the node at which the old tree ends.
    let (mut start, mut end) = (0, new);
    while old < end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(tree.range(middle, end)?);
            end = middle;
        } else {
            proof.push(tree.range(start, middle)?);
            start = middle;
        }
    }
    // The verifier knows this node only if it is the whole old tree.
    if start > 0 {
        proof.push(tree.range(start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of the tree of `size` leaves, from the tiles at its right edge.
///
/// # Errors
/// [`ProveError`]: a tile is missing or has the wrong length.
pub fn root<R: HashReader + ?Sized>(
    reader: &mut R,
    size: u64,
) -> Result<Hash, ProveError<R::Error>> {
    match size {
        0 => Ok(empty_root()),
        _ => Tree::new(reader, size).range(0, size),
    }
}

/// The largest power of two below `leaves`, which is at least 2 (RFC 9162 §2.1.1).
fn split(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The hashes of a tree of one size, and the tiles read so far: neighboring hashes of a proof
/// mostly share a tile. A proof touches at most three tiles of each of the eight levels.
struct Tree<'a, R: ?Sized> {
    reader: &'a mut R,
    size: u64,
    read: Vec<(TileId, Vec<u8>)>,
}

impl<'a, R: HashReader + ?Sized> Tree<'a, R> {
    fn new(reader: &'a mut R, size: u64) -> Self {
        Self {
            reader,
            size,
            read: Vec::new(),
        }
    }

    /// MTH over the leaves `start..end`, a range that RFC 9162's recursion can reach: at least one
    /// leaf, and `start` a multiple of the range's length rounded up to a power of two.
    fn range(&mut self, start: u64, end: u64) -> Result<Hash, ProveError<R::Error>> {
        let leaves = end - start;
        if leaves.is_power_of_two() {
            return self.subtree(start, leaves.trailing_zeros());
        }
        let middle = start + split(leaves);
        let left = self.range(start, middle)?;
        // One half is complete, so this goes 64 deep at most.
        let right = self.range(middle, end)?;
        Ok(node_hash(&left, &right))
    }

    /// The root of the complete subtree of 2^height leaves from leaf `start` on.
    fn subtree(&mut self, start: u64, height: u32) -> Result<Hash, ProveError<R::Error>> {
        // A tile has the hashes of every eighth height; those between are made from it.
        let level = (height / 8) as u8;
        let first = start >> (u32::from(level) * 8);
        let mut count = 1 << (height % 8);
        let tile = self.tile(level, first)?;
        // The tile is as wide as the tree asks for, so it has them all.
        let from = (first % TILE_WIDTH) as usize;
        let hashes = tile.iter().skip(from).take(count);

        let mut row = [Hash([0; HASH_BYTES]); (TILE_WIDTH / 2) as usize];
        for (place, hash) in row.iter_mut().zip(hashes) {
            *place = Hash(*hash);
        }
        while count > 1 {
            count /= 2;
            for pair in 0..count {
                row[pair] = node_hash(&row[2 * pair], &row[2 * pair + 1]);
            }
        }
        Ok(row[0])
    }

    /// The tile that holds hash `index` of `level`.
    fn tile(&mut self, level: u8, index: u64) -> Result<&[[u8; HASH_BYTES]], ProveError<R::Error>> {
        let id = TileId::containing(level, index, self.size).ok_or(ProveError::Index {
            index,
            size: self.size,
        })?;
        let known = match self.read.iter().position(|(read, _)| *read == id) {
            Some(known) => known,
            None => {
                let bytes = self
                    .reader
                    .tile(id)
                    .map_err(|source| ProveError::Read { tile: id, source })?;
                if bytes.len() != id.byte_len() {
                    return Err(ProveError::Length {
                        tile: id,
                        bytes: bytes.len(),
                    });
                }
                self.read.push((id, bytes));
                self.read.len() - 1
            }
        };
        Ok(self.read[known].1.as_chunks().0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::super::hash::leaf_hash;
    use super::super::tree::TreeBuilder;
    use super::super::verify::{naive, verify_consistency, verify_inclusion};
    use super::*;

    /// The tiles of one growing tree; a partial tile is cut from what there is of the full one.
    struct Memory {
        tiles: HashMap<(u8, u64), Vec<u8>>,
        asked: HashSet<TileId>,
    }

    impl HashReader for Memory {
        type Error = TileId;

        fn tile(&mut self, id: TileId) -> Result<Vec<u8>, TileId> {
            assert!(self.asked.insert(id), "{id:?} was asked for twice");
            let bytes = self.tiles.get(&(id.level, id.index)).ok_or(id)?;
            Ok(bytes.get(..id.byte_len()).ok_or(id)?.to_vec())
        }
    }

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size)
            .map(|index| leaf_hash(&index.to_be_bytes()))
            .collect()
    }

    fn memory(leaves: &[Hash]) -> Memory {
        let mut tree = TreeBuilder::new();
        let mut tiles = HashMap::new();
        for leaf in leaves {
            tree.append(*leaf, &mut |id, bytes| {
                tiles.insert((id.level, id.index), bytes.to_vec());
            });
        }
        for (id, bytes) in tree.partials() {
            tiles.insert((id.level, id.index), bytes.to_vec());
        }
        Memory {
            tiles,
            asked: HashSet::new(),
        }
    }

    fn fresh(memory: &mut Memory) -> &mut Memory {
        memory.asked.clear();
        memory
    }

    #[test]
    fn every_proof_of_small_trees_is_the_naive_one_and_verifies() {
        let all = leaves(70);
        let mut tiles = memory(&all);
        for size in 1..=all.len() {
            let (leaves, root_new) = (&all[..size], naive::root(&all[..size]));
            let n = size as u64;
            assert_eq!(root(fresh(&mut tiles), n), Ok(root_new));
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = inclusion_proof(fresh(&mut tiles), index as u64, n).unwrap();
                assert_eq!(proof, naive::path(index, leaves), "{index} of {size}");
                verify_inclusion(*leaf, index as u64, n, &proof, root_new).unwrap();
            }
            for old in 0..=size {
                let proof = consistency_proof(fresh(&mut tiles), old as u64, n).unwrap();
                assert_eq!(proof, naive::consistency(old, leaves), "{old} to {size}");
                let root_old = naive::root(&all[..old]);
                verify_consistency(old as u64, root_old, n, root_new, &proof).unwrap();
            }
        }
    }

    #[test]
    fn proofs_around_the_edges_of_tiles_are_the_naive_ones() {
        let all = leaves(66_050);
        let mut tiles = memory(&all);
        let edges = [
            1, 2, 255, 256, 257, 512, 65_279, 65_535, 65_536, 65_537, 65_792, 66_050,
        ];
        for size in edges {
            let leaves = &all[..usize::try_from(size).unwrap()];
            let root_new = naive::root(leaves);
            for near in edges.into_iter().filter(|near| *near <= size) {
                let at = usize::try_from(near).unwrap();
                let proof = inclusion_proof(fresh(&mut tiles), near - 1, size).unwrap();
                verify_inclusion(all[at - 1], near - 1, size, &proof, root_new).unwrap();
                let proof = consistency_proof(fresh(&mut tiles), near, size).unwrap();
                assert_eq!(proof, naive::consistency(at, leaves), "{near} to {size}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_tree_is_refused() {
        let mut tiles = memory(&leaves(10));
        for (index, size) in [(10, 10), (u64::MAX, 10), (0, 0)] {
            let proof = inclusion_proof(fresh(&mut tiles), index, size);
            assert_eq!(proof, Err(ProveError::Index { index, size }));
        }
        let proof = consistency_proof(fresh(&mut tiles), 11, 10);
        assert_eq!(proof, Err(ProveError::Sizes { old: 11, new: 10 }));
        let tile = TileId {
            level: 0,
            index: 0,
            width: 11,
        };
        let proof = inclusion_proof(fresh(&mut tiles), 3, 11);
        assert_eq!(proof, Err(ProveError::Read { tile, source: tile }));
    }

    /// Answers every question with the same number of bytes.
    struct Liar(usize);

    impl HashReader for Liar {
        type Error = ();

        fn tile(&mut self, _: TileId) -> Result<Vec<u8>, ()> {
            Ok(vec![0; self.0])
        }
    }

    #[test]
    fn a_reader_that_lies_about_lengths_is_an_error() {
        for bytes in [0, 1, 31, 33, 254 * 32, 256 * 32 + 1] {
            let mut liar = Liar(bytes);
            for size in [1, 70_000, u64::MAX] {
                let proof = inclusion_proof(&mut liar, size - 1, size);
                assert!(matches!(
                    (size, proof),
                    (1, Ok(_)) | (_, Err(ProveError::Length { .. }))
                ));
                assert!(matches!(
                    root(&mut liar, size),
                    Err(ProveError::Length { .. })
                ));
            }
        }
    }

    /// Answers with zeros of the right length.
    struct Zeros;

    impl HashReader for Zeros {
        type Error = ();

        fn tile(&mut self, id: TileId) -> Result<Vec<u8>, ()> {
            Ok(vec![0; id.byte_len()])
        }
    }

    #[test]
    fn the_largest_sizes_have_proofs() {
        let size = u64::MAX;
        assert!(root(&mut Zeros, size).is_ok());
        for (index, hashes) in [(0, 64), (size / 2, 64), (size - 1, 63)] {
            assert_eq!(
                inclusion_proof(&mut Zeros, index, size).unwrap().len(),
                hashes
            );
        }
        for old in [1, size / 2, size / 2 + 1, size - 1, size] {
            assert!(consistency_proof(&mut Zeros, old, size).unwrap().len() <= 65);
        }
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn proofs_are_the_naive_ones(size in 1..2_000_usize, index: usize, old: usize) {
            let (index, old) = (index % size, old % (size + 1));
            let all = leaves(size as u64);
            let mut tiles = memory(&all);
            let proof = inclusion_proof(fresh(&mut tiles), index as u64, size as u64).unwrap();
            prop_assert_eq!(proof, naive::path(index, &all));
            let proof = consistency_proof(fresh(&mut tiles), old as u64, size as u64).unwrap();
            prop_assert_eq!(proof, naive::consistency(old, &all));
        }
    }
}
