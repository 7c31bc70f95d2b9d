//! Receipts: the proof that one record is in the log, complete in one file (c2sp.org/tlog-proof).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::bundle::ENTRY_BYTES_MAX;
use super::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use super::hash::{Hash, leaf_hash};
use super::key::VerifierKey;
use super::note::{NOTE_BYTES_MAX, Note, NoteError};
use super::verify::{ProofError, verify_inclusion};

/// Hashes of the longest proof: a tree whose size is a 64-bit number is at most 64 high.
pub const RECEIPT_PROOF_HASHES_MAX: usize = 64;

/// Bytes of extra data. It helps to rebuild a record and need not be longer than one.
pub const RECEIPT_EXTRA_BYTES_MAX: usize = ENTRY_BYTES_MAX;

/// Bytes of the longest receipt: first line, extra line, index line with 20 digits, proof, empty
/// line, checkpoint.
pub const RECEIPT_BYTES_MAX: usize = (MAGIC.len() + 1)
    + (EXTRA.len() + EXTRA_BASE64_MAX + 1)
    + (INDEX.len() + 20 + 1)
    + RECEIPT_PROOF_HASHES_MAX * 45
    + 1
    + NOTE_BYTES_MAX;

const MAGIC: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";
const EXTRA_BASE64_MAX: usize = RECEIPT_EXTRA_BYTES_MAX.div_ceil(3) * 4;

/// The proof that a record is in a log, to be kept beside the record. It verifies without the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Data for the application's own use, which nothing vouches for. Empty data is none.
    pub extra: Option<Vec<u8>>,
    /// Index of the record.
    pub index: u64,
    /// Inclusion proof, from the leaf's sibling up.
    pub proof: Vec<Hash>,
    /// The signed checkpoint, word for word, with all its signatures.
    pub checkpoint: String,
}

/// A receipt that cannot be read or does not prove what it should.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// More than [`RECEIPT_BYTES_MAX`] bytes.
    #[error(
        "the receipt has {bytes} bytes, more than {RECEIPT_BYTES_MAX}; check that it is a receipt"
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("the receipt is not plain UTF-8 text, at byte {offset}; restore the file")]
    Characters {
        /// Where that was noticed.
        offset: usize,
    },
    /// A line is not as it should be.
    #[error("line {line} of the receipt is not {expected}; restore the file")]
    Line {
        /// Which one, counted from 1.
        line: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// The lower part is no signed note.
    #[error("the receipt's checkpoint cannot be read: {0}")]
    Note(#[from] NoteError),
    /// The checkpoint is malformed or not signed by the key.
    #[error("the receipt proves nothing: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The record is not at this place of the log.
    #[error("the receipt does not belong to this record: {0}")]
    Proof(#[from] ProofError),
}

impl Receipt {
    /// The receipt as a file (`.tlog-proof`; c2sp.org/tlog-proof, "Format").
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{MAGIC}\n");
        if let Some(extra) = self.extra.as_ref().filter(|extra| !extra.is_empty()) {
            text.push_str(&format!("{EXTRA}{}\n", STANDARD.encode(extra)));
        }
        text.push_str(&format!("{INDEX}{}\n", self.index));
        for hash in &self.proof {
            text.push_str(&format!("{hash}\n"));
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a receipt; nothing is verified.
    ///
    /// # Errors
    /// [`ReceiptError`]: the bytes are not a receipt, or exceed a bound.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::TooLong { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| ReceiptError::Characters {
            offset: error.valid_up_to(),
        })?;
        let mut lines = Lines {
            rest: text,
            line: 0,
        };

        let expected = "c2sp.org/tlog-proof@v1";
        if lines.next(expected)? != MAGIC {
            return Err(lines.error(expected));
        }
        let expected = "an index in decimal";
        let mut line = lines.next(expected)?;
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix(EXTRA) {
            extra = Some(parse_extra(encoded).ok_or(lines.error("extra data in base64"))?);
            line = lines.next(expected)?;
        }
        let index = line
            .strip_prefix(INDEX)
            .and_then(parse_decimal)
            .ok_or(lines.error(expected))?;

        let mut proof = Vec::new();
        let expected = "a hash in base64, or empty after at most 64 of them";
        loop {
            let line = lines.next(expected)?;
            if line.is_empty() {
                break;
            }
            if proof.len() == RECEIPT_PROOF_HASHES_MAX {
                return Err(lines.error(expected));
            }
            proof.push(line.parse().map_err(|_| lines.error(expected))?);
        }
        Note::parse(lines.rest.as_bytes())?;
        Ok(Self {
            extra,
            index,
            proof,
            checkpoint: lines.rest.to_owned(),
        })
    }

    /// Checks that the log with this key has `record` at [`index`](Self::index), and gives the
    /// checkpoint that says so (c2sp.org/tlog-proof, "Verifying a tlog proof", steps 1, 2 and 4).
    ///
    /// Step 3, cosignatures, is for whoever trusts witnesses: [`Note::cosigned_by`] on the
    /// [`checkpoint`](Self::checkpoint).
    ///
    /// # Errors
    /// [`ReceiptError`]: the checkpoint is not the log's, or the proof does not lead to it.
    pub fn verify(&self, record: &[u8], key: &VerifierKey) -> Result<Checkpoint, ReceiptError> {
        let checkpoint = Checkpoint::from_note(self.checkpoint.as_bytes(), key)?;
        let leaf = leaf_hash(record);
        verify_inclusion(
            leaf,
            self.index,
            checkpoint.size,
            &self.proof,
            checkpoint.root,
        )?;
        Ok(checkpoint)
    }
}

/// The lines of a receipt, counted.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self, expected: &'static str) -> Result<&'a str, ReceiptError> {
        self.line += 1;
        let (line, rest) = self.rest.split_once('\n').ok_or(self.error(expected))?;
        self.rest = rest;
        Ok(line)
    }

    /// The line read last is wrong.
    fn error(&self, expected: &'static str) -> ReceiptError {
        ReceiptError::Line {
            line: self.line,
            expected,
        }
    }
}

fn parse_extra(encoded: &str) -> Option<Vec<u8>> {
    if encoded.is_empty() || encoded.len() > EXTRA_BASE64_MAX {
        return None;
    }
    STANDARD
        .decode(encoded)
        .ok()
        .filter(|extra| extra.len() <= RECEIPT_EXTRA_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::checkpoint::{TestSigner, sign_checkpoint};
    use super::super::verify::naive;
    use super::*;

    fn signed(leaves: &[Hash]) -> (String, VerifierKey) {
        let signer = TestSigner::new("example.com/log");
        let size = leaves.len() as u64;
        let origin = "example.com/log".to_owned();
        let checkpoint = Checkpoint {
            origin,
            size,
            root: naive::root(leaves),
        };
        (sign_checkpoint(&signer, &checkpoint).unwrap(), signer.key)
    }

    fn record(index: u64) -> Vec<u8> {
        format!("record {index}").into_bytes()
    }

    fn receipt(index: usize, size: u64) -> (Receipt, VerifierKey) {
        let leaves: Vec<Hash> = (0..size).map(|index| leaf_hash(&record(index))).collect();
        let (checkpoint, key) = signed(&leaves);
        let proof = naive::path(index, &leaves);
        (
            Receipt {
                extra: None,
                index: index as u64,
                proof,
                checkpoint,
            },
            key,
        )
    }

    #[test]
    fn a_receipt_has_the_form_of_the_specification() {
        let (mut receipt, _) = receipt(2, 3);
        let checkpoint = receipt.checkpoint.clone();
        let hash = receipt.proof[0];
        let plain = format!("c2sp.org/tlog-proof@v1\nindex 2\n{hash}\n\n{checkpoint}");
        assert_eq!(receipt.encode(), plain);
        assert_eq!(Receipt::parse(plain.as_bytes()), Ok(receipt.clone()));
        receipt.extra = Some(b"abc".to_vec());
        let extra = format!("c2sp.org/tlog-proof@v1\nextra YWJj\nindex 2\n{hash}\n\n{checkpoint}");
        assert_eq!(receipt.encode(), extra);
        assert_eq!(Receipt::parse(extra.as_bytes()), Ok(receipt.clone()));
        receipt.extra = Some(Vec::new());
        assert_eq!(receipt.encode(), plain);
    }

    #[test]
    fn a_receipt_proves_its_own_record_only() {
        for size in [1, 2, 3, 7, 100] {
            for index in 0..size {
                let (receipt, key) = receipt(usize::try_from(index).unwrap(), size);
                let receipt = Receipt::parse(receipt.encode().as_bytes()).unwrap();
                assert_eq!(receipt.verify(&record(index), &key).unwrap().size, size);
                let other = receipt.verify(&record(index + 1), &key);
                assert!(matches!(
                    other,
                    Err(ReceiptError::Proof(ProofError::Root { .. }))
                ));
                let stranger = VerifierKey::ed25519("example.com/log", [9; 32]).unwrap();
                let other = receipt.verify(&record(index), &stranger);
                assert!(matches!(other, Err(ReceiptError::Checkpoint(_))));
            }
        }
    }

    #[test]
    fn flipping_any_bit_breaks_the_receipt() {
        let (receipt, key) = receipt(5, 11);
        let text = receipt.encode();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let accepted =
                Receipt::parse(&bytes).and_then(|receipt| receipt.verify(&record(5), &key));
            assert!(accepted.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn malformed_receipts_are_refused_with_the_line() {
        let (receipt, _) = receipt(5, 11);
        let text = receipt.encode();
        let hash = format!("{}\n", receipt.proof[0]);
        let long = hash.repeat(65);
        for (from, to, wrong) in [
            ("proof@v1", "proof@v2", 1),
            ("proof@v1\n", "proof@v1\r\n", 1),
            ("index 5", "index 05", 2),
            ("index 5", "index +5", 2),
            ("index 5", "index  5", 2),
            ("index 5", "index 18446744073709551616", 2),
            ("index 5", "index 5 ", 2),
            ("index 5\n", "", 2),
            ("index 5", "extra \nindex 5", 2),
            ("index 5", "extra YWJ\nindex 5", 2),
            ("index 5", "extra YWJj\nextra YWJj\nindex 5", 3),
            ("index 5", "extra YWJj", 3),
            (&hash, "AAAA\n", 3),
            (&hash, &long, 67),
        ] {
            match Receipt::parse(text.replacen(from, to, 1).as_bytes()) {
                Err(ReceiptError::Line { line, .. }) => assert_eq!(line, wrong, "{from} {to}"),
                other => panic!("{from} {to}: {other:?}"),
            }
        }
        for length in 0..text.len() {
            assert!(
                Receipt::parse(&text.as_bytes()[..length]).is_err(),
                "cut at {length}"
            );
        }
        let bytes = RECEIPT_BYTES_MAX + 1;
        assert_eq!(
            Receipt::parse(&vec![b'a'; bytes]),
            Err(ReceiptError::TooLong { bytes })
        );
        assert_eq!(
            Receipt::parse(b"c2\xFF"),
            Err(ReceiptError::Characters { offset: 2 })
        );
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn receipts_come_back(
            extra in option::of(vec(any::<u8>(), 1..100)),
            index: u64,
            proof in vec(any::<[u8; 32]>(), 0..=RECEIPT_PROOF_HASHES_MAX),
        ) {
            let (checkpoint, _) = signed(&[Hash([1; 32])]);
            let proof = proof.into_iter().map(Hash).collect();
            let receipt = Receipt { extra, index, proof, checkpoint };
            prop_assert_eq!(Receipt::parse(receipt.encode().as_bytes()), Ok(receipt));
        }
    }
}
