//! The transparency log: its hashes, its files and its proofs.
//!
//! Mathematics and formats only. Nothing here opens a file, holds a private key or knows the time;
//! whoever publishes or verifies a log brings tiles and keys.
//!
//! | file | subject | source |
//! | --- | --- | --- |
//! | `hash.rs` | leaf and node hashes | RFC 6962 §2.1 |
//! | `tile.rs` | which tiles and bundles a tree has, their paths | c2sp.org/tlog-tiles |
//! | `bundle.rs` | entry bundles | c2sp.org/tlog-tiles, "Log entries" |
//! | `tree.rs` | the right edge of a growing tree | c2sp.org/tlog-tiles, "Partial Tiles" |
//! | `proof.rs` | proofs made from tiles | RFC 9162 §2.1.3.1, §2.1.4.1 |
//! | `verify.rs` | proofs checked against roots | RFC 9162 §2.1.3.2, §2.1.4.2 |
//! | `key.rs`, `note.rs` | verifier keys, signed notes, cosignatures | c2sp.org/signed-note, /tlog-cosignature |
//! | `checkpoint.rs` | checkpoints and who signs them | c2sp.org/tlog-checkpoint |
//! | `receipt.rs` | the proof that one record is in the log | c2sp.org/tlog-proof@v1 |
//!
//! # Invariants
//!
//! - Every parser accepts one spelling: what parses encodes to the same bytes. (A checkpoint's
//!   extension lines, which it does not keep, are the exception.)
//! - Every parser is bounded by a named constant and answers any bytes without a panic.
//! - Proofs are made from tiles and verified without them; the two share only the hash functions.
//!
//! # Example
//!
//! ```
//! use std::collections::HashMap;
//!
//! use birthmark_log::tlog::{
//!     HashReader, TileId, TreeBuilder, inclusion_proof, leaf_hash, verify_inclusion,
//! };
//!
//! struct Tiles(HashMap<TileId, Vec<u8>>);
//!
//! impl HashReader for Tiles {
//!     type Error = TileId;
//!
//!     fn tile(&mut self, id: TileId) -> Result<Vec<u8>, TileId> {
//!         self.0.get(&id).cloned().ok_or(id)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut tree = TreeBuilder::new();
//! let mut tiles = HashMap::new();
//! for record in 0..1_000_u32 {
//!     tree.append(leaf_hash(&record.to_be_bytes()), &mut |id, bytes| {
//!         tiles.insert(id, bytes.to_vec());
//!     });
//! }
//! tiles.extend(tree.partials().map(|(id, bytes)| (id, bytes.to_vec())));
//!
//! let Ok(proof) = inclusion_proof(&mut Tiles(tiles), 700, 1_000) else { panic!() };
//! let leaf = leaf_hash(&700_u32.to_be_bytes());
//! verify_inclusion(leaf, 700, tree.size(), &proof, tree.root())?;
//! # Ok(())
//! # }
//! ```

mod bundle;
mod checkpoint;
mod hash;
mod key;
mod note;
mod proof;
mod receipt;
mod tile;
mod tree;
mod verify;

pub use self::bundle::{
    BUNDLE_BYTES_MAX, BundleError, ENTRY_BYTES_MAX, Entries, entries, push_entry,
};
pub(crate) use self::bundle::{Leaves, entry_length};
pub use self::checkpoint::{
    Checkpoint, CheckpointError, CheckpointSigner, SignError, sign_checkpoint,
};
pub use self::hash::{HASH_BYTES, Hash, HashParseError, empty_root, leaf_hash, node_hash};
pub use self::key::{
    KEY_NAME_BYTES_MAX, KeyAlgorithm, KeyError, VERIFIER_KEY_BYTES_MAX, VerifierKey,
};
pub use self::note::{
    NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX, Note, NoteError, NoteSignature, cosignature_message,
};
pub use self::proof::{HashReader, ProveError, consistency_proof, inclusion_proof, root};
pub use self::receipt::{
    RECEIPT_BYTES_MAX, RECEIPT_EXTRA_BYTES_MAX, RECEIPT_PROOF_HASHES_MAX, Receipt, ReceiptError,
};
pub use self::tile::{
    BundleId, LevelTiles, TILE_BYTES, TILE_LEVELS, TILE_WIDTH, TileId, bundles, level_hashes,
    tile_widths, tiles,
};
pub use self::tree::{LoadError, TREE_SIZE_MAX, TreeBuilder};
pub use self::verify::{ProofError, verify_consistency, verify_inclusion};
