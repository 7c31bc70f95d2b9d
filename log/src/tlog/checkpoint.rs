//! Checkpoints: the size and the root of a log, signed (c2sp.org/tlog-checkpoint).

use std::error::Error as StdError;

use thiserror::Error;

use super::hash::Hash;
use super::key::{KeyAlgorithm, VerifierKey};
use super::note::{NOTE_BYTES_MAX, Note, NoteError, NoteSignature, control_character};

/// What a log says of itself: its name, how many records it has and the root over them.
///
/// Extension lines are accepted when parsing, are covered by the signatures like the rest, and are
/// not kept: they say nothing of the tree. None are ever written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The log's name, the same as the name of its key.
    pub origin: String,
    /// Leaves of the tree.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

/// Text that is no checkpoint, or one that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note is malformed or not signed by the key.
    #[error("the checkpoint cannot be trusted: {0}")]
    Note(#[from] NoteError),
    /// A line of the text is not as it should be.
    #[error("line {line} of the checkpoint is not {expected}; restore the file")]
    Line {
        /// Which one, counted from 1.
        line: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// A checkpoint of another log, though signed with the right key.
    #[error(
        "the checkpoint is of the log {origin}, the key is that of {name}; check the file and the key"
    )]
    Origin {
        /// First line of the checkpoint.
        origin: String,
        /// Name of the key.
        name: String,
    },
}

impl Checkpoint {
    /// The text that is signed: origin, size and root, a line each (c2sp.org/tlog-checkpoint,
    /// "Note text").
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads the text of a note, without its signatures.
    ///
    /// # Errors
    /// [`CheckpointError`]: a line is missing, malformed or not in its one spelling.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong { bytes: text.len() }.into());
        }
        if let Some(offset) = control_character(text) {
            return Err(NoteError::Characters { offset }.into());
        }
        let mut lines = (1..).zip(text.split_inclusive('\n'));
        // A line counts with its newline only, and an empty one is no line.
        let mut next = |expected| {
            let (line, text) = lines.next()?;
            let text = text.strip_suffix('\n').filter(|text| !text.is_empty());
            Some(text.ok_or(CheckpointError::Line { line, expected }))
        };
        let mut required = |line, expected| {
            next(expected).unwrap_or(Err(CheckpointError::Line { line, expected }))
        };

        let origin = required(1, "an origin")?.to_owned();
        let expected = "a size in decimal";
        let size = parse_decimal(required(2, expected)?)
            .ok_or(CheckpointError::Line { line: 2, expected })?;
        let expected = "a root hash in base64";
        let root = required(3, expected)?
            .parse()
            .map_err(|_| CheckpointError::Line { line: 3, expected })?;
        while let Some(extension) = next("an extension line") {
            extension?;
        }
        Ok(Self { origin, size, root })
    }

    /// Reads a signed checkpoint and checks that the log with this key signed it.
    ///
    /// # Errors
    /// [`CheckpointError`]: malformed, not signed by the key, or of another log.
    pub fn from_note(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        note.verified_by(key)?;
        let checkpoint = Self::parse(&note.text)?;
        if checkpoint.origin != key.name() {
            let name = key.name().to_owned();
            return Err(CheckpointError::Origin {
                origin: checkpoint.origin,
                name,
            });
        }
        Ok(checkpoint)
    }
}

/// Whoever holds the key of a log.
///
/// A log must never sign two checkpoints of which one is not the continuation of the other
/// (c2sp.org/tlog-checkpoint, "Signatures"). Whoever asks for signatures sees to that.
pub trait CheckpointSigner: Send + Sync {
    /// The public half, of type 0x01. Its name is the log's origin.
    fn verifier_key(&self) -> &VerifierKey;

    /// Signs with Ed25519 (RFC 8032 §5.1.6).
    ///
    /// # Errors
    /// [`SignError::Failed`] with what the key's keeper said.
    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError>;
}

/// A checkpoint was not signed; nothing may be published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key is that of another log.
    #[error("the key of {name} must not sign for the log {origin}; configure the log's own key")]
    Origin {
        /// Whose checkpoint it is.
        origin: String,
        /// Name of the key.
        name: String,
    },
    /// The key is not one for logs.
    #[error(
        "{name} is not a key for signing checkpoints (Ed25519, type 0x01); configure the log's own key"
    )]
    Algorithm {
        /// Name of the key.
        name: String,
    },
    /// The signer said no.
    #[error("the checkpoint could not be signed; check the log's key")]
    Failed {
        /// What it said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The signature is wrong.
    #[error(
        "the checkpoint's signature does not verify; check that the log's two key halves belong together"
    )]
    Unverified {
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
}

impl SignError {
    /// The signer said no, for this reason.
    pub fn failed(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed {
            source: source.into(),
        }
    }
}

/// Signs a checkpoint and gives the whole note, after its own signature verified.
///
/// # Errors
/// [`SignError`]: the wrong key, no signature, or one that does not verify.
pub fn sign_checkpoint(
    signer: &dyn CheckpointSigner,
    checkpoint: &Checkpoint,
) -> Result<String, SignError> {
    let key = signer.verifier_key();
    let name = || key.name().to_owned();
    if key.algorithm() != KeyAlgorithm::Ed25519 {
        return Err(SignError::Algorithm { name: name() });
    }
    if checkpoint.origin != key.name() {
        return Err(SignError::Origin {
            origin: checkpoint.origin.clone(),
            name: name(),
        });
    }
    let text = checkpoint.body();
    let signature = signer.sign(text.as_bytes())?.to_vec();
    let signature = NoteSignature {
        name: name(),
        key_id: key.key_id(),
        signature,
    };
    let note = Note {
        text,
        signatures: vec![signature],
    };
    note.verified_by(key)
        .map_err(|source| SignError::Unverified { source })?;
    Ok(note.to_string())
}

/// A decimal number without leading zeros or signs.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    text.parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == text)
}

/// A log's key for tests.
#[cfg(test)]
pub(super) struct TestSigner {
    pub(super) key: VerifierKey,
    pub(super) pair: aws_lc_rs::signature::Ed25519KeyPair,
}

#[cfg(test)]
impl TestSigner {
    pub(super) fn new(name: &str) -> Self {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        Self {
            key: VerifierKey::ed25519(name, public).unwrap(),
            pair,
        }
    }
}

#[cfg(test)]
impl CheckpointSigner for TestSigner {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of c2sp.org/tlog-checkpoint, "Note text".
    const EXAMPLE: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_example_of_the_specification_parses() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size, 20_852_163);
        assert_eq!(checkpoint.body(), EXAMPLE);
        let extended = Checkpoint::parse(&format!("{EXAMPLE}extension\nanother\n"));
        assert_eq!(extended, Ok(checkpoint));
    }

    #[test]
    fn a_checkpoint_has_one_spelling() {
        for (from, to, wrong) in [
            ("20852163", "020852163", 2),
            ("20852163", "+20852163", 2),
            ("20852163", "-1", 2),
            ("20852163", "", 2),
            ("20852163", "18446744073709551616", 2),
            ("20852163", "2085216 3", 2),
            ("example.com/behind-the-sofa", "", 1),
            ("q2I=", "q2I", 3),
            ("q2I=", "q2J=", 3),
            ("q2I=", "q2I=\n\nextension", 4),
            ("q2I=\n", "q2I=", 3),
            ("q2I=\n", "q2I=\nextension", 4),
            ("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "", 3),
        ] {
            match Checkpoint::parse(&EXAMPLE.replace(from, to)) {
                Err(CheckpointError::Line { line, .. }) => assert_eq!(line, wrong, "{from} {to}"),
                other => panic!("{from} {to}: {other:?}"),
            }
        }
        assert!(Checkpoint::parse("").is_err());
        let carriage_return = Checkpoint::parse(&EXAMPLE.replace('\n', "\r\n"));
        assert_eq!(
            carriage_return,
            Err(NoteError::Characters { offset: 27 }.into())
        );
        assert!(Checkpoint::parse(&EXAMPLE.replace("20852163", "0")).is_ok());
        assert!(Checkpoint::parse(&EXAMPLE.replace("20852163", "18446744073709551615")).is_ok());
    }

    #[test]
    fn a_signed_checkpoint_opens_with_its_key_alone() {
        let signer = TestSigner::new("example.com/log");
        let origin = "example.com/log".to_owned();
        let checkpoint = Checkpoint {
            origin,
            size: 7,
            root: Hash([7; 32]),
        };
        let note = sign_checkpoint(&signer, &checkpoint).unwrap();
        assert_eq!(
            Checkpoint::from_note(note.as_bytes(), &signer.key),
            Ok(checkpoint)
        );
        let stranger = VerifierKey::ed25519("example.com/log", [2; 32]).unwrap();
        assert_eq!(
            Checkpoint::from_note(note.as_bytes(), &stranger),
            Err(NoteError::NotSigned {
                name: "example.com/log".to_owned()
            }
            .into())
        );
        for bit in 0..note.len() * 8 {
            let mut bytes = note.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Checkpoint::from_note(&bytes, &signer.key).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_key_signs_for_its_own_log_only() {
        let signer = TestSigner::new("example.com/log");
        let origin = "example.com/other".to_owned();
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: 7,
            root: Hash([7; 32]),
        };
        let refused = sign_checkpoint(&signer, &checkpoint);
        assert!(
            matches!(refused, Err(SignError::Origin { .. })),
            "{refused:?}"
        );

        // A note by the log's key that is another log's checkpoint.
        let text = checkpoint.body();
        let signature = signer.sign(text.as_bytes()).unwrap().to_vec();
        let key_id = signer.key.key_id();
        let name = "example.com/log".to_owned();
        let signatures = vec![NoteSignature {
            name: name.clone(),
            key_id,
            signature,
        }];
        let note = Note { text, signatures }.to_string();
        assert_eq!(
            Checkpoint::from_note(note.as_bytes(), &signer.key),
            Err(CheckpointError::Origin { origin, name })
        );
    }

    /// Signs with another key than it shows.
    struct Mismatched(TestSigner, VerifierKey);

    impl CheckpointSigner for Mismatched {
        fn verifier_key(&self) -> &VerifierKey {
            &self.1
        }

        fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignError> {
            self.0.sign(text)
        }
    }

    #[test]
    fn a_wrong_signature_is_never_handed_out() {
        let checkpoint = Checkpoint {
            origin: "a".to_owned(),
            size: 0,
            root: Hash([0; 32]),
        };
        let other = VerifierKey::ed25519("a", [2; 32]).unwrap();
        let result = sign_checkpoint(&Mismatched(TestSigner::new("a"), other), &checkpoint);
        assert!(
            matches!(result, Err(SignError::Unverified { .. })),
            "{result:?}"
        );
        let signer = TestSigner::new("a");
        let witness = VerifierKey::cosigner("a", *signer.key.public_key()).unwrap();
        let result = sign_checkpoint(&Mismatched(signer, witness), &checkpoint);
        assert!(
            matches!(result, Err(SignError::Algorithm { .. })),
            "{result:?}"
        );
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn checkpoints_come_back(origin in "[ -~öΩ]{1,40}", size: u64, root: [u8; 32]) {
            let checkpoint = Checkpoint { origin, size, root: Hash(root) };
            prop_assert_eq!(Checkpoint::parse(&checkpoint.body()), Ok(checkpoint));
        }
    }
}
