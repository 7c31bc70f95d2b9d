//! What a source must prove before its records are fetched: that its tiles lead to the signed root.
//!
//! Without this a server could fill the disk of a copy with records of its own making, and be found out
//! only at the end.

use super::tree_copy::{CopyError, Source};
use crate::published::{bundle_at, tile_of};
use crate::tlog::{
    BundleId, Checkpoint, HASH_BYTES, Hash, TILE_WIDTH, TileId, TreeBuilder, leaf_hash,
};

/// The tiles of leaf hashes that were proved, by a digest of each: 32 bytes for 256 records, so 12.5 MB
/// for 100 million.
pub(super) struct ProvenTiles {
    /// Number of the first one.
    first: u64,
    digests: Vec<Hash>,
}

impl ProvenTiles {
    /// Reads the tiles of leaf hashes that the copy's `tree` lacks. They must go on with it and lead to
    /// the root of `to`. Nothing is written.
    pub(super) fn prove(
        source: &Source<'_>,
        tree: &TreeBuilder,
        to: &Checkpoint,
    ) -> Result<ProvenTiles, CopyError> {
        let mut tree = tree.clone();
        let mut proven = ProvenTiles {
            first: tree.size() / TILE_WIDTH,
            digests: Vec::new(),
        };
        for number in proven.first..to.size.div_ceil(TILE_WIDTH) {
            let id = tile_of(bundle_at(number, to.size));
            let hashes = source.read_tile(id)?;
            if !goes_on(&tree, id, &hashes) {
                let detail = "the tile does not begin with the hashes that this copy has";
                return Err(source.damaged(&id.path(), number * TILE_WIDTH, detail));
            }
            let known = tree.size() % TILE_WIDTH;
            for hash in hashes.chunks_exact(HASH_BYTES).skip(known as usize) {
                let mut leaf = [0; HASH_BYTES];
                leaf.copy_from_slice(hash);
                tree.append(Hash(leaf), &mut |_, _| {});
            }
            proven.digests.push(leaf_hash(&hashes));
        }
        if (tree.size(), tree.root()) != (to.size, to.root) {
            let detail = "the tiles of level 0 do not give the root of the checkpoint";
            let path = tile_of(bundle_at(proven.first, to.size)).path();
            return Err(source.damaged(&path, proven.first * TILE_WIDTH, detail));
        }
        Ok(proven)
    }

    /// The tile of a bundle, which must be the one that was proved.
    pub(super) fn read(&self, source: &Source<'_>, bundle: BundleId) -> Result<Vec<u8>, CopyError> {
        let id = tile_of(bundle);
        let hashes = source.read_tile(id)?;
        let nth = usize::try_from(bundle.index.wrapping_sub(self.first)).ok();
        let digest = nth.and_then(|nth| self.digests.get(nth));
        if digest == Some(&leaf_hash(&hashes)) {
            return Ok(hashes);
        }
        let detail = "the tile is not the one that was served before";
        Err(source.damaged(&id.path(), bundle.index * TILE_WIDTH, detail))
    }
}

/// Whether a tile begins with what the tree has of it.
fn goes_on(tree: &TreeBuilder, id: TileId, hashes: &[u8]) -> bool {
    let edge = tree.partials().next();
    edge.is_none_or(|(edge, held)| {
        edge.level > 0 || edge.index != id.index || hashes.starts_with(held)
    })
}
