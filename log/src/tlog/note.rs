//! Signed notes (c2sp.org/signed-note) and cosignatures on them (c2sp.org/tlog-cosignature).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::key::{KeyAlgorithm, VerifierKey, is_key_name};

/// Signatures that a note may have. A verifier must take 16 (c2sp.org/signed-note, "Format"); a log
/// has one key and a handful of witnesses.
pub const NOTE_SIGNATURES_MAX: usize = 100;

/// Bytes of the longest note: 100 signatures of 5,000 bytes, the largest that the specification
/// expects, are 670,000 characters of base64; the rest is for names and the text.
pub const NOTE_BYTES_MAX: usize = 1_000_000;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Bytes of the time in front of a cosignature.
const TIMESTAMP_BYTES: usize = 8;

/// The latest time that a cosignature may bear (c2sp.org/tlog-cosignature, "Format").
const TIMESTAMP_S_MAX: u64 = i64::MAX as u64;

/// Text with signatures below it.
///
/// Nothing in it is to be believed before [`verified_by`](Self::verified_by) says so. `Display`
/// gives the note as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is signed: lines that each end in a newline.
    pub text: String,
    /// The signatures in their order, of known and unknown types.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// ID of the key; see [`VerifierKey::key_id`].
    pub key_id: [u8; 4],
    /// What follows the key ID. Its form depends on the key's type: 64 bytes for type 0x01, a
    /// big-endian time in Unix seconds and 64 bytes for type 0x04.
    pub signature: Vec<u8>,
}

/// Bytes that are no note, or a note that is not signed as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// More than [`NOTE_BYTES_MAX`] bytes.
    #[error(
        "the note has {bytes} bytes, more than {NOTE_BYTES_MAX}; check that it is a checkpoint"
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Not UTF-8, or a control character other than the newline.
    #[error("the note is not plain UTF-8 text, at byte {offset}; restore the file")]
    Characters {
        /// Where that was noticed.
        offset: usize,
    },
    /// No empty line with signatures below it.
    #[error("the note has no signatures; restore the file")]
    Unsigned,
    /// More than [`NOTE_SIGNATURES_MAX`] signatures.
    #[error("the note has more than {NOTE_SIGNATURES_MAX} signatures; remove those nobody needs")]
    TooManySignatures,
    /// A signature line is malformed.
    #[error("signature line {line} of the note is malformed; restore the file")]
    SignatureLine {
        /// Which one, counted from 1.
        line: usize,
    },
    /// There is no signature of this key.
    #[error("the note bears no signature of {name}; check that the key belongs to this log")]
    NotSigned {
        /// Name of the key.
        name: String,
    },
    /// There are two signatures of this key, so it is not clear which one counts.
    #[error("the note bears more than one signature of {name}; get it again from the log")]
    Repeated {
        /// Name of the key.
        name: String,
    },
    /// The signature is wrong: the text is not what was signed.
    #[error(
        "the signature of {name} is wrong: the text was changed or another key made it; do not trust it"
    )]
    BadSignature {
        /// Name of the key.
        name: String,
    },
    /// The key is not one of a witness.
    #[error("{name} is not the key of a witness (type 0x04); give a witness's verifier key")]
    NotACosigner {
        /// Name of the key.
        name: String,
    },
}

impl Note {
    /// Reads a note. Signatures of any type are kept; none is checked.
    ///
    /// # Errors
    /// [`NoteError`]: the bytes are not a note or exceed a bound.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong { bytes: bytes.len() });
        }
        let note = std::str::from_utf8(bytes).map_err(|error| NoteError::Characters {
            offset: error.valid_up_to(),
        })?;
        if let Some(offset) = control_character(note) {
            return Err(NoteError::Characters { offset });
        }
        // The last empty line separates: the text may have empty lines of its own.
        let separator = note.rfind("\n\n").ok_or(NoteError::Unsigned)?;
        let (text, signatures) = note.split_at(separator + 1);
        let signatures = NoteSignature::parse_lines(&signatures[1..])?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// Checks that `key` signed the text, plainly or, if it is a witness's key, as a cosigner.
    ///
    /// # Errors
    /// [`NoteError`]: no signature of this key, more than one, or a wrong one.
    pub fn verified_by(&self, key: &VerifierKey) -> Result<(), NoteError> {
        match key.algorithm() {
            KeyAlgorithm::Ed25519 => {
                let signature = self.signature_of(key)?;
                check(key, self.text.as_bytes(), signature)
            }
            KeyAlgorithm::CosignatureV1 => self.cosigned_by(key).map(|_| ()),
        }
    }

    /// Checks that the witness with this key cosigned the text and gives the time at which it did,
    /// in Unix seconds (c2sp.org/tlog-cosignature, "Ed25519 signed message").
    ///
    /// # Errors
    /// [`NoteError`]: not a witness's key, no signature of it, more than one, or a wrong one.
    pub fn cosigned_by(&self, key: &VerifierKey) -> Result<u64, NoteError> {
        if key.algorithm() != KeyAlgorithm::CosignatureV1 {
            return Err(NoteError::NotACosigner {
                name: key.name().to_owned(),
            });
        }
        let bad = || NoteError::BadSignature {
            name: key.name().to_owned(),
        };
        let (time, signature) = self
            .signature_of(key)?
            .split_first_chunk::<TIMESTAMP_BYTES>()
            .ok_or_else(bad)?;
        let time_s = u64::from_be_bytes(*time);
        if time_s > TIMESTAMP_S_MAX {
            return Err(bad());
        }
        check(
            key,
            cosignature_message(time_s, &self.text).as_bytes(),
            signature,
        )?;
        Ok(time_s)
    }

    /// The one signature whose name and ID are those of `key`. Others are ignored, even if they
    /// share one of the two.
    fn signature_of(&self, key: &VerifierKey) -> Result<&[u8], NoteError> {
        let mut of_key = self
            .signatures
            .iter()
            .filter(|signature| signature.key_id == key.key_id() && signature.name == key.name());
        let Some(signature) = of_key.next() else {
            return Err(NoteError::NotSigned {
                name: key.name().to_owned(),
            });
        };
        if of_key.next().is_some() {
            return Err(NoteError::Repeated {
                name: key.name().to_owned(),
            });
        }
        Ok(&signature.signature)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl NoteSignature {
    /// Reads signature lines, each with its newline: the lower part of a note, or what a witness
    /// answers (c2sp.org/tlog-witness, "add-checkpoint").
    ///
    /// # Errors
    /// [`NoteError`]: no line, too many, too long, or a malformed one.
    pub fn parse_lines(lines: &str) -> Result<Vec<Self>, NoteError> {
        if lines.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong { bytes: lines.len() });
        }
        if lines.is_empty() {
            return Err(NoteError::Unsigned);
        }
        let mut signatures = Vec::new();
        for (line, text) in (1..).zip(lines.split_inclusive('\n')) {
            if line > NOTE_SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            let signature = text.strip_suffix('\n').and_then(Self::parse);
            signatures.push(signature.ok_or(NoteError::SignatureLine { line })?);
        }
        Ok(signatures)
    }

    /// One line without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let decoded = STANDARD.decode(encoded).ok()?;
        let (key_id, signature) = decoded.split_first_chunk()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }
}

impl fmt::Display for NoteSignature {
    /// The line without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = STANDARD.encode([&self.key_id[..], &self.signature].concat());
        write!(f, "{SIGNATURE_PREFIX}{} {encoded}", self.name)
    }
}

/// What a witness signs at `time_s`, in Unix seconds, for a checkpoint with this text
/// (c2sp.org/tlog-cosignature, "Ed25519 signed message").
#[must_use]
pub fn cosignature_message(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// Where the first control character other than the newline is (c2sp.org/signed-note, "Format").
pub(super) fn control_character(text: &str) -> Option<usize> {
    text.bytes().position(|byte| byte < b' ' && byte != b'\n')
}

fn check(key: &VerifierKey, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
    if key.verifies(message, signature) {
        Ok(())
    } else {
        Err(NoteError::BadSignature {
            name: key.name().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The example of c2sp.org/signed-note, "Verifier keys".
    const EXAMPLE: &str = "This is an example message.\n\n\
        \u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    const EXAMPLE_KEY: &str =
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn pair(seed: u8) -> (Ed25519KeyPair, [u8; 32]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        (pair, public)
    }

    fn cosigned(text: &str, time_s: u64) -> (Note, VerifierKey) {
        let (pair, public) = pair(3);
        let key = VerifierKey::cosigner("witness.example", public).unwrap();
        let made = pair.sign(cosignature_message(time_s, text).as_bytes());
        let signature = [&time_s.to_be_bytes()[..], made.as_ref()].concat();
        let signature = NoteSignature {
            name: key.name().to_owned(),
            key_id: key.key_id(),
            signature,
        };
        (
            Note {
                text: text.to_owned(),
                signatures: vec![signature],
            },
            key,
        )
    }

    #[test]
    fn the_example_of_the_specification_verifies() {
        let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
        let note = Note::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(note.text, "This is an example message.\n");
        assert_eq!(note.verified_by(&key), Ok(()));
        assert_eq!(note.to_string(), EXAMPLE);
        let changed = Note::parse(
            EXAMPLE
                .replace("example message", "Example message")
                .as_bytes(),
        );
        let name = "example.com/foo".to_owned();
        assert_eq!(
            changed.unwrap().verified_by(&key),
            Err(NoteError::BadSignature { name })
        );
    }

    #[test]
    fn flipping_any_bit_breaks_the_note() {
        let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
        for bit in 0..EXAMPLE.len() * 8 {
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let accepted = Note::parse(&bytes).and_then(|note| note.verified_by(&key));
            assert!(accepted.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cosignature_covers_its_time_and_the_text() {
        let text = "example.com/log\n0\nroot\n";
        let (note, key) = cosigned(text, 1_679_315_147);
        assert_eq!(note.cosigned_by(&key), Ok(1_679_315_147));
        assert_eq!(note.verified_by(&key), Ok(()));
        assert_eq!(Note::parse(note.to_string().as_bytes()).as_ref(), Ok(&note));

        let bad = Err(NoteError::BadSignature {
            name: "witness.example".to_owned(),
        });
        let mut later = note.clone();
        later.signatures[0].signature[7] ^= 1;
        assert_eq!(later.cosigned_by(&key), bad);
        let mut other = note.clone();
        other.text.push_str("extension\n");
        assert_eq!(other.cosigned_by(&key), bad);
        for length in [0, 7, 8, 71] {
            let mut cut = note.clone();
            cut.signatures[0].signature.truncate(length);
            assert_eq!(cut.cosigned_by(&key), bad, "{length} bytes");
        }
        // The same key as a log's has another ID, and signs another message.
        let as_log = VerifierKey::ed25519(key.name(), *key.public_key()).unwrap();
        let name = key.name().to_owned();
        assert_eq!(
            note.verified_by(&as_log),
            Err(NoteError::NotSigned { name: name.clone() })
        );
        assert_eq!(
            note.cosigned_by(&as_log),
            Err(NoteError::NotACosigner { name })
        );
        let (beyond, key) = cosigned(text, 1 << 63);
        assert_eq!(beyond.cosigned_by(&key), bad);
    }

    #[test]
    fn unknown_signatures_are_kept_and_ignored() {
        let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
        let mut note = Note::parse(EXAMPLE.as_bytes()).unwrap();
        let known = note.signatures[0].clone();
        // ML-DSA-44: 2,420 bytes and a time. One with the same name, one with the same ID.
        let ml_dsa = NoteSignature {
            key_id: [6; 4],
            signature: vec![6; 2_428],
            ..known.clone()
        };
        let other = NoteSignature {
            name: "other".to_owned(),
            ..known.clone()
        };
        note.signatures = vec![ml_dsa, known.clone(), other];
        let note = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(note.signatures.len(), 3);
        assert_eq!(note.verified_by(&key), Ok(()));

        let mut twice = note.clone();
        twice.signatures.push(known);
        let name = "example.com/foo".to_owned();
        assert_eq!(
            twice.verified_by(&key),
            Err(NoteError::Repeated { name: name.clone() })
        );
        let mut none = note;
        none.signatures.remove(1);
        assert_eq!(none.verified_by(&key), Err(NoteError::NotSigned { name }));
    }

    #[test]
    fn malformed_signature_lines_are_refused() {
        let line = EXAMPLE.split_once("\n\n").unwrap().1;
        for second in [
            "- a AAAAAAA=\n",
            " a AAAAAAA=\n",
            "\u{2014}a AAAAAAA=\n",
            "\u{2014}  AAAAAAA=\n",
            "\u{2014} a  AAAAAAA=\n",
            "\u{2014} a+b AAAAAAA=\n",
            "\u{2014} a\u{a0}b AAAAAAA=\n",
            "\u{2014} a AAAAAA==\n",
            "\u{2014} a AAAAAAB=\n",
            "\u{2014} a AAAAAAA\n",
            "\u{2014} a AAAAAAA= \n",
            "\u{2014} a AAAAAAA=",
            "\u{2014} a\n",
        ] {
            let parsed = Note::parse(format!("text\n\n{line}{second}").as_bytes());
            let refused = Err(NoteError::SignatureLine { line: 2 });
            assert_eq!(parsed, refused, "{second:?}");
        }
    }

    #[test]
    fn malformed_notes_are_refused() {
        let line = EXAMPLE.split_once("\n\n").unwrap().1;
        let long = "t".repeat(NOTE_BYTES_MAX);
        let bytes = NOTE_BYTES_MAX + 2 + line.len();
        for (note, error) in [
            (String::new(), NoteError::Unsigned),
            ("text\n".to_owned(), NoteError::Unsigned),
            ("text\n\n".to_owned(), NoteError::Unsigned),
            (format!("text\n{line}"), NoteError::Unsigned),
            (format!("text\n\n{line}\n"), NoteError::Unsigned),
            (
                format!("te\rxt\n\n{line}"),
                NoteError::Characters { offset: 2 },
            ),
            (
                format!("text\n\n{}", line.repeat(101)),
                NoteError::TooManySignatures,
            ),
            (format!("{long}\n\n{line}"), NoteError::TooLong { bytes }),
        ] {
            let start: String = note.chars().take(200).collect();
            assert_eq!(Note::parse(note.as_bytes()), Err(error), "{start:?}");
        }
        let cut_character = Note::parse(&[b't', b'\n', b'\n', 0xE2, 0x80]);
        assert_eq!(cut_character, Err(NoteError::Characters { offset: 3 }));
        assert!(Note::parse(format!("text\n\n{}", line.repeat(100)).as_bytes()).is_ok());
        let empty_lines = Note::parse(format!("a\n\n\nb\n\n{line}").as_bytes()).unwrap();
        assert_eq!(empty_lines.text, "a\n\n\nb\n");
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn notes_come_back(
            lines in vec("[ -~öΩ—]{0,20}", 1..5),
            signatures in vec(("[!-*,-~]{1,9}", any::<[u8; 4]>(), vec(any::<u8>(), 1..80)), 1..5),
        ) {
            let text = lines.concat() + "\n";
            let signatures = signatures
                .into_iter()
                .map(|(name, key_id, signature)| NoteSignature { name, key_id, signature })
                .collect();
            let note = Note { text, signatures };
            prop_assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
        }

        #[test]
        fn any_text_is_answered(text in "[ab\n\u{2014} =A+]{0,60}") {
            if let Ok(note) = Note::parse(text.as_bytes()) {
                prop_assert_eq!(note.to_string(), text);
            }
        }
    }
}
