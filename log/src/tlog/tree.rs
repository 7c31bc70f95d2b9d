//! The right edge of a growing tree (c2sp.org/tlog-tiles, "Partial Tiles").

use thiserror::Error;

use super::hash::{HASH_BYTES, Hash, empty_root, node_hash};
use super::tile::{TILE_BYTES, TILE_LEVELS, TILE_WIDTH, TileId, level_hashes};

/// Leaves of the largest tree that a builder loads. Other implementations keep sizes in signed
/// 64-bit numbers, and counting up from here to the end of `u64` takes longer than any machine runs.
pub const TREE_SIZE_MAX: u64 = i64::MAX as u64;

/// A tree has complete subtrees of at most eight sizes (1, 2, 4 … 128) within an incomplete tile.
const SUBTREES_MAX: usize = 8;

/// The right edge of a tiled tree: all that is needed to append a leaf, to name the root and to
/// write the tiles that changed.
///
/// It keeps the incomplete tile of each level (at most 255 hashes) and the complete subtrees
/// within it, so that an append costs one node hash on average and the root a few dozen. After the
/// first tile of a level nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct TreeBuilder {
    size: u64,
    /// Lowest level first. A level exists once it has had a hash.
    levels: Vec<Level>,
}

/// The edge of a tree was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// No such tree.
    #[error("a tree of {size} leaves is too large (at most {TREE_SIZE_MAX}); check the size")]
    Size {
        /// What was asked for.
        size: u64,
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

impl TreeBuilder {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves whose partial tiles `read` supplies.
    ///
    /// `read` is asked once for the partial tile of each level and answers with exactly
    /// [`TileId::byte_len`] bytes; it may cut them from a wider tile. They are taken as they are:
    /// compare [`root`](Self::root) with a checkpoint before relying on the tree.
    ///
    /// # Errors
    /// [`LoadError`]: the size is out of range, or a tile is missing or has the wrong length.
    pub fn load<E>(
        size: u64,
        read: &mut dyn FnMut(TileId) -> Result<Vec<u8>, E>,
    ) -> Result<Self, LoadError<E>> {
        if size > TREE_SIZE_MAX {
            return Err(LoadError::Size { size });
        }
        let mut levels = Vec::new();
        for level in 0..TILE_LEVELS {
            let hashes = level_hashes(size, level);
            if hashes == 0 {
                break;
            }
            let mut edge = Level::new();
            let at_edge = TileId::containing(level, hashes - 1, size).filter(TileId::is_partial);
            if let Some(tile) = at_edge {
                let bytes = read(tile).map_err(|source| LoadError::Read { tile, source })?;
                if bytes.len() != tile.byte_len() {
                    return Err(LoadError::Length {
                        tile,
                        bytes: bytes.len(),
                    });
                }
                for hash in bytes.as_chunks().0 {
                    edge.push(Hash(*hash));
                }
            }
            levels.push(edge);
        }
        Ok(Self { size, levels })
    }

    /// Appends a leaf. Calls `full` with the id and the bytes of every tile that this completes,
    /// lowest level first.
    pub fn append(&mut self, leaf: Hash, full: &mut dyn FnMut(TileId, &[u8])) {
        let mut hash = leaf;
        let size = self.size + 1;
        for level in 0..TILE_LEVELS {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Level::new());
            }
            let Some(edge) = self.levels.get_mut(usize::from(level)) else {
                break;
            };
            let Some(tile_root) = edge.push(hash) else {
                break;
            };
            let index = level_hashes(size, level) / TILE_WIDTH - 1;
            full(
                TileId {
                    level,
                    index,
                    width: TILE_WIDTH as u16,
                },
                &edge.tile,
            );
            edge.clear();
            hash = tile_root;
        }
        self.size = size;
    }

    /// The partial tiles of the tree as it is, lowest level first.
    pub fn partials(&self) -> impl Iterator<Item = (TileId, &[u8])> {
        (0..)
            .zip(&self.levels)
            .filter(|(_, edge)| !edge.tile.is_empty())
            .map(|(level, edge)| {
                let index = level_hashes(self.size, level) / TILE_WIDTH;
                (
                    TileId {
                        level,
                        index,
                        width: edge.width(),
                    },
                    edge.tile.as_slice(),
                )
            })
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root hash: MTH of RFC 6962 §2.1.
    #[must_use]
    pub fn root(&self) -> Hash {
        // The complete subtrees, smallest first, are folded from the right.
        let subtrees = self
            .levels
            .iter()
            .flat_map(|edge| edge.subtrees().iter().rev());
        subtrees
            .copied()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

/// The incomplete tile of one level.
#[derive(Clone, Debug)]
struct Level {
    /// Its hashes, at most 255 between appends.
    tile: Vec<u8>,
    /// The roots of the complete subtrees over them, largest first: one for each bit that is set
    /// in the number of hashes.
    stack: [Hash; SUBTREES_MAX],
    depth: usize,
}

impl Level {
    fn new() -> Self {
        Self {
            tile: Vec::with_capacity(TILE_BYTES),
            stack: [Hash([0; HASH_BYTES]); SUBTREES_MAX],
            depth: 0,
        }
    }

    /// Adds a hash. Gives the hash over the whole tile if that made it full; `clear` is then due.
    fn push(&mut self, hash: Hash) -> Option<Hash> {
        let mut merge = self.width();
        self.tile.extend_from_slice(&hash.0);
        let mut root = hash;
        // Like a carry in binary addition: equal subtrees join.
        while merge & 1 == 1 {
            self.depth -= 1;
            root = node_hash(&self.stack[self.depth], &root);
            merge >>= 1;
        }
        if self.tile.len() == TILE_BYTES {
            return Some(root);
        }
        self.stack[self.depth] = root;
        self.depth += 1;
        None
    }

    fn clear(&mut self) {
        self.tile.clear();
        self.depth = 0;
    }

    /// At most 256, which is what a tile holds.
    fn width(&self) -> u16 {
        (self.tile.len() / HASH_BYTES) as u16
    }

    fn subtrees(&self) -> &[Hash] {
        &self.stack[..self.depth]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::hash::leaf_hash;
    use super::super::tile::tiles;
    use super::super::verify::naive;
    use super::*;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    /// Every full tile that came out on the way to `size`.
    fn build(size: u64) -> (TreeBuilder, HashMap<TileId, Vec<u8>>) {
        let mut tree = TreeBuilder::new();
        let mut written = HashMap::new();
        for index in 0..size {
            tree.append(leaf(index), &mut |id, bytes| {
                assert_eq!(
                    written.insert(id, bytes.to_vec()),
                    None,
                    "{id:?} came twice"
                );
            });
        }
        (tree, written)
    }

    #[test]
    fn the_root_is_that_of_the_naive_tree() {
        let leaves: Vec<Hash> = (0..1_100).map(leaf).collect();
        let mut tree = TreeBuilder::new();
        assert_eq!(tree.root(), empty_root());
        for (count, next) in (1..).zip(&leaves) {
            tree.append(*next, &mut |_, _| {});
            assert_eq!(tree.size(), count as u64);
            assert_eq!(
                tree.root(),
                naive::root(&leaves[..count]),
                "at {count} leaves"
            );
        }
    }

    #[test]
    fn exactly_the_tiles_of_the_tree_come_out() {
        for size in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
            let (tree, mut written) = build(size);
            for (id, bytes) in tree.partials() {
                assert!(id.is_partial());
                assert_eq!(written.insert(id, bytes.to_vec()), None);
            }
            let expected: Vec<TileId> = tiles(size).collect();
            assert_eq!(written.len(), expected.len(), "at {size}");
            for id in expected {
                assert_eq!(written[&id].len(), id.byte_len(), "{id:?} at {size}");
                for offset in 0..u64::from(id.width) {
                    let span = 256_u64.pow(u32::from(id.level));
                    let start = (id.index * 256 + offset) * span;
                    // The levels above the leaves are checked at their ends only: it is enough.
                    if id.level == 0 || offset == 0 || offset == u64::from(id.width) - 1 {
                        let leaves: Vec<Hash> = (start..start + span).map(leaf).collect();
                        let at = written[&id].as_chunks().0[usize::try_from(offset).unwrap()];
                        assert_eq!(Hash(at), naive::root(&leaves), "{id:?} hash {offset}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_loaded_tree_goes_on_as_if_it_had_never_stopped() {
        for size in [0, 1, 2, 255, 256, 257, 600, 65_536, 65_791, 66_000] {
            let (mut original, _) = build(size);
            let stored: HashMap<_, _> = original
                .partials()
                .map(|(id, bytes)| (id, bytes.to_vec()))
                .collect();
            let mut asked = 0;
            let mut loaded = TreeBuilder::load(size, &mut |id| {
                asked += 1;
                stored.get(&id).cloned().ok_or("no such tile")
            })
            .unwrap();
            assert_eq!(asked, stored.len());
            for index in size..size + 600 {
                assert_eq!(
                    (loaded.size(), loaded.root()),
                    (original.size(), original.root())
                );
                let (mut full, mut full_loaded) = (Vec::new(), Vec::new());
                original.append(leaf(index), &mut |id, bytes| {
                    full.push((id, bytes.to_vec()))
                });
                loaded.append(leaf(index), &mut |id, bytes| {
                    full_loaded.push((id, bytes.to_vec()))
                });
                assert_eq!(full, full_loaded);
            }
            assert!(original.partials().eq(loaded.partials()));
        }
    }

    #[test]
    fn a_tile_of_the_wrong_length_is_refused() {
        let tile = TileId {
            level: 0,
            index: 2,
            width: 88,
        };
        for bytes in [0, 88 * 32 - 1, 88 * 32 + 1, TILE_BYTES] {
            let loaded = TreeBuilder::load(600, &mut |id| match id.level {
                0 => Ok::<_, ()>(vec![1; bytes]),
                _ => Ok(vec![1; id.byte_len()]),
            });
            assert_eq!(loaded.unwrap_err(), LoadError::Length { tile, bytes });
        }
        let loaded = TreeBuilder::load(600, &mut |_| Err("gone"));
        assert_eq!(
            loaded.unwrap_err(),
            LoadError::Read {
                tile,
                source: "gone"
            }
        );
    }

    #[test]
    fn the_largest_tree_loads_and_a_larger_one_does_not() {
        let mut read = |id: TileId| Ok::<_, ()>(vec![1; id.byte_len()]);
        let mut tree = TreeBuilder::load(TREE_SIZE_MAX, &mut read).unwrap();
        let _ = tree.root();
        let mut full = Vec::new();
        tree.append(leaf(0), &mut |id, _| full.push(id));
        assert_eq!((tree.size(), full.len()), (TREE_SIZE_MAX + 1, 7));
        assert!(
            full.iter()
                .all(|id| TileId::containing(id.level, id.index * 256, tree.size()) == Some(*id))
        );
        let size = TREE_SIZE_MAX + 1;
        assert_eq!(
            TreeBuilder::load(size, &mut read).unwrap_err(),
            LoadError::Size { size }
        );
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn flipping_any_bit_of_the_edge_changes_the_root(size in 1..3_000_u64, which: usize, bit: usize) {
            let (tree, _) = build(size);
            let mut stored: Vec<_> =
                tree.partials().map(|(id, bytes)| (id, bytes.to_vec())).collect();
            prop_assume!(!stored.is_empty());
            let which = which % stored.len();
            let bit = bit % (stored[which].1.len() * 8);
            stored[which].1[bit / 8] ^= 1 << (bit % 8);
            let stored: HashMap<_, _> = stored.into_iter().collect();
            let loaded = TreeBuilder::load(size, &mut |id| stored.get(&id).cloned().ok_or(())).unwrap();
            prop_assert_ne!(loaded.root(), tree.root());
        }
    }
}
