//! Signed notes (c2sp.org/signed-note) of a ceremony: approvals and the transcript.

use std::path::Path;

use birthmark_hsm::{PublicKey, SignInput, SoftwareKey};
use birthmark_log::tlog::{Note, NoteSignature, VerifierKey};

use super::ScriptError;

/// The text, signed by one key.
pub(super) fn note(
    text: String,
    key: &VerifierKey,
    signature: &[u8],
) -> Result<String, ScriptError> {
    let note = Note {
        text,
        signatures: vec![NoteSignature {
            name: key.name().to_owned(),
            key_id: key.key_id(),
            signature: signature.to_vec(),
        }],
    };
    // What others will do with it is done here first.
    let text = note.to_string();
    let read_back = Note::parse(text.as_bytes());
    read_back
        .and_then(|note| note.verified_by(key))
        .map_err(|source| ScriptError::Note { source })?;
    Ok(text)
}

/// An officer's key, as one of the plan's signers.
pub(super) struct Officer<'a> {
    key: SoftwareKey,
    pub(super) verifier: &'a VerifierKey,
}

impl Officer<'_> {
    pub(super) fn read<'a>(
        path: &Path,
        signers: &'a [VerifierKey],
    ) -> Result<Officer<'a>, ScriptError> {
        let key = SoftwareKey::read(path)?;
        let known = signers.iter().find(
            |signer| matches!(key.public_key(), PublicKey::Ed25519(public) if signer.public_key() == public),
        );
        match known {
            Some(verifier) => Ok(Officer { key, verifier }),
            None => Err(ScriptError::UnknownSigner {
                path: path.to_owned(),
            }),
        }
    }

    pub(super) fn sign(&self, text: String) -> Result<String, ScriptError> {
        let input = SignInput::for_key(self.key.algorithm(), text.as_bytes());
        let signature = self.key.sign(&input)?;
        note(text, self.verifier, signature.as_bytes())
    }
}
