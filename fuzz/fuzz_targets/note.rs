//! The readers of notes, checkpoints and verifier keys: any bytes give an answer, never a panic,
//! and what is accepted has one spelling.

#![no_main]

use birthmark_log::tlog::{Checkpoint, Note, NoteSignature, VerifierKey};
use libfuzzer_sys::fuzz_target;

/// The verifier key of c2sp.org/signed-note's example, which signed the first seed.
const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        let _ = Checkpoint::parse(&note.text);
        if let Ok(key) = KEY.parse::<VerifierKey>() {
            let _ = Checkpoint::from_note(bytes, &key);
            if let Ok(witness) = VerifierKey::cosigner(key.name(), *key.public_key()) {
                let _ = note.cosigned_by(&witness);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert!(text.starts_with(&checkpoint.body()));
        }
        let _ = NoteSignature::parse_lines(text);
    }
});
