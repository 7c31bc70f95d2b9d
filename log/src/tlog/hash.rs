//! The Merkle tree's hash functions (RFC 6962 §2.1, with SHA-256).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// Characters of a hash in base64: 32 bytes are 11 groups of four.
const HASH_BASE64_CHARS: usize = 44;

/// Domain separation of leaves and nodes (RFC 6962 §2.1).
const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

/// A SHA-256 hash of a record, of an inner node or of a whole tree.
///
/// `Display` and `FromStr` use base64 (RFC 4648 §4), as checkpoints and proofs do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

/// The text is not the base64 of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a hash: expected 32 bytes in base64 with padding")]
pub struct HashParseError;

/// The hash of a record: `SHA-256(0x00 ‖ record)` (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Hash {
    let mut context = digest::Context::new(&SHA256);
    context.update(&[LEAF_PREFIX]);
    context.update(record);
    from_digest(&context.finish())
}

/// [`leaf_hash`] of the record behind the first byte of `behind_one`, which is overwritten: in one piece a
/// record is hashed a tenth faster.
///
/// Of no bytes at all it is the hash of the empty tree.
pub(crate) fn leaf_hash_in_place(behind_one: &mut [u8]) -> Hash {
    if let Some(first) = behind_one.first_mut() {
        *first = LEAF_PREFIX;
    }
    from_digest(&digest::digest(&SHA256, behind_one))
}

/// The hash of a node: `SHA-256(0x01 ‖ left ‖ right)` (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [NODE_PREFIX; 1 + 2 * HASH_BYTES];
    input[1..=HASH_BYTES].copy_from_slice(&left.0);
    input[1 + HASH_BYTES..].copy_from_slice(&right.0);
    from_digest(&digest::digest(&SHA256, &input))
}

/// The root of the tree without leaves: `SHA-256()` (RFC 6962 §2.1).
#[must_use]
pub fn empty_root() -> Hash {
    from_digest(&digest::digest(&SHA256, &[]))
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &STANDARD).fmt(f)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The length first: nothing is decoded from a line that cannot be a hash.
        if text.len() != HASH_BASE64_CHARS {
            return Err(HashParseError);
        }
        let bytes = STANDARD.decode(text).map_err(|_| HashParseError)?;
        bytes.try_into().map(Self).map_err(|_| HashParseError)
    }
}

fn from_digest(digest: &digest::Digest) -> Hash {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(digest.as_ref());
    Hash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: Hash) -> String {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The values that RFC 6962's reference implementation and RFC 9162's test data use.
    #[test]
    fn hashes_match_the_published_values() {
        assert_eq!(
            hex(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            hex(leaf_hash(&[0])),
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        );
        assert_eq!(
            hex(node_hash(&leaf_hash(b""), &leaf_hash(&[0]))),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn in_place_the_byte_in_front_does_not_matter() {
        for bytes in [0, 1, 54, 55, 56, 850] {
            let mut entry = vec![0x7E; 1 + bytes];
            let hash = leaf_hash(&entry[1..]);
            assert_eq!(leaf_hash_in_place(&mut entry), hash, "{bytes} bytes");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        let hash = leaf_hash(b"record");
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        let unpadded = text.trim_end_matches('=');
        let trailing_bits = format!("{}B=", &text[..42]);
        for wrong in [
            "",
            unpadded,
            &text[1..],
            &format!("{text}\n"),
            &trailing_bits,
        ] {
            assert_eq!(wrong.parse::<Hash>(), Err(HashParseError), "{wrong:?}");
        }
    }
}
