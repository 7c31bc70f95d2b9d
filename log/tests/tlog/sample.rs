//! A log written to a directory with nothing but the library's formats.

use std::fs;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use birthmark_log::tlog::{
    BundleId, Checkpoint, CheckpointSigner, Note, NoteSignature, Receipt, SignError, TILE_WIDTH,
    TileId, TreeBuilder, VerifierKey, bundles, cosignature_message, inclusion_proof, leaf_hash,
    push_entry, sign_checkpoint,
};

/// A log of `size` records in a temporary directory, with the keys that signed its checkpoint.
pub(crate) struct Sample {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) log: VerifierKey,
    pub(crate) witness: VerifierKey,
    pub(crate) size: u64,
}

impl Sample {
    pub(crate) fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = TreeBuilder::new();
        for index in 0..size {
            tree.append(leaf_hash(&record(index)), &mut |tile, bytes| {
                write(dir.path(), &tile.path(), bytes);
            });
        }
        for (tile, bytes) in tree.partials() {
            write(dir.path(), &tile.path(), bytes);
        }
        for bundle in bundles(size) {
            write(dir.path(), &bundle.path(), &bundle_bytes(bundle));
        }
        let signer = Signer::new();
        let origin = signer.key.name().to_owned();
        let checkpoint = Checkpoint {
            origin,
            size,
            root: tree.root(),
        };
        let (note, witness) = cosign(&sign_checkpoint(&signer, &checkpoint).unwrap());
        write(dir.path(), "checkpoint", note.as_bytes());
        Self {
            dir,
            log: signer.key,
            witness,
            size,
        }
    }

    /// The receipt as the library makes it from the files.
    pub(crate) fn receipt(&self, index: u64) -> Receipt {
        let dir = self.dir.path();
        let mut reader = Tiles(dir);
        Receipt {
            extra: None,
            index,
            proof: inclusion_proof(&mut reader, index, self.size).unwrap(),
            checkpoint: fs::read_to_string(dir.join("checkpoint")).unwrap(),
        }
    }
}

/// Records of all lengths from 0 to 299, and a few of the greatest length.
pub(crate) fn record(index: u64) -> Vec<u8> {
    let length = if index % 1_000 == 300 {
        65_535
    } else {
        index % 300
    };
    (0..length)
        .map(|at| (index.wrapping_mul(31) + at).to_le_bytes()[0])
        .collect()
}

fn bundle_bytes(bundle: BundleId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let first = bundle.index * TILE_WIDTH;
    for index in first..first + u64::from(bundle.width) {
        push_entry(&mut bytes, &record(index)).unwrap();
    }
    bytes
}

fn write(dir: &Path, path: &str, bytes: &[u8]) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Adds a witness's cosignature to a checkpoint.
fn cosign(note: &str) -> (String, VerifierKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = VerifierKey::cosigner("witness.example/w1", public).unwrap();
    let mut note = Note::parse(note.as_bytes()).unwrap();
    let time_s: u64 = 1_679_315_147;
    let made = pair.sign(cosignature_message(time_s, &note.text).as_bytes());
    let signature = [&time_s.to_be_bytes()[..], made.as_ref()].concat();
    note.signatures.push(NoteSignature {
        name: key.name().to_owned(),
        key_id: key.key_id(),
        signature,
    });
    assert_eq!(note.cosigned_by(&key), Ok(time_s));
    (note.to_string(), key)
}

struct Tiles<'a>(&'a Path);

impl birthmark_log::tlog::HashReader for Tiles<'_> {
    type Error = std::io::Error;

    fn tile(&mut self, id: TileId) -> Result<Vec<u8>, Self::Error> {
        fs::read(self.0.join(id.path()))
    }
}

struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl Signer {
    fn new() -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        let key = VerifierKey::ed25519("example.com/factory/line-7", public).unwrap();
        Self { pair, key }
    }
}

impl CheckpointSigner for Signer {
    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError> {
        self.pair
            .sign(text)
            .as_ref()
            .try_into()
            .map_err(SignError::failed)
    }
}
