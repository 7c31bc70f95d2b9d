//! Verifier keys: who may have signed a note (c2sp.org/signed-note, "Verifier keys").

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Bytes of the longest key name. Cosignatures carry the name behind one byte of length
/// (c2sp.org/tlog-cosignature, "ML-DSA-44 signed message").
pub const KEY_NAME_BYTES_MAX: usize = 255;

/// Bytes of the longest verifier key: name, `+`, key ID in hex, `+`, base64 of 33 bytes.
pub const VERIFIER_KEY_BYTES_MAX: usize = KEY_NAME_BYTES_MAX + 1 + 8 + 1 + 44;

/// Bytes of an Ed25519 public key (RFC 8032 §5.1.5).
const PUBLIC_KEY_BYTES: usize = 32;

/// How a key signs: the signature types of c2sp.org/signed-note that are known here.
///
/// Signatures of other types, ML-DSA-44 (0x06) among them, stay in a note and are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// 0x01: Ed25519 over the note's text. A log signs its checkpoints so.
    Ed25519,
    /// 0x04: Ed25519 over `cosignature/v1`, a time and the text (c2sp.org/tlog-cosignature). A
    /// witness signs so.
    CosignatureV1,
}

impl KeyAlgorithm {
    /// The signature type identifier byte.
    #[must_use]
    pub fn identifier(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    fn from_identifier(identifier: u8) -> Option<Self> {
        [Self::Ed25519, Self::CosignatureV1]
            .into_iter()
            .find(|algorithm| algorithm.identifier() == identifier)
    }
}

/// A public key with the name and the ID under which its signatures appear.
///
/// `Display` and `FromStr` use the vkey form, `name+hex(key ID)+base64(type ‖ public key)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    algorithm: KeyAlgorithm,
    public_key: [u8; PUBLIC_KEY_BYTES],
    key_id: [u8; 4],
}

/// A verifier key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name breaks the rules of c2sp.org/signed-note.
    #[error(
        "the key name must have 1 to {KEY_NAME_BYTES_MAX} bytes and no space, plus or control \
         character; choose one like example.com/log"
    )]
    Name,
    /// Not of the form `name+hex+base64`, or not in its one spelling.
    #[error("not a verifier key: expected name+keyid+base64; copy it again, whole and unchanged")]
    Format,
    /// A type of key that is not known here.
    #[error("verifier keys of type {identifier:#04x} are not supported; use an Ed25519 key")]
    Algorithm {
        /// The signature type identifier byte.
        identifier: u8,
    },
    /// The key ID is not that of the name and the public key.
    #[error("the key ID does not belong to the name and the key; copy the verifier key again")]
    KeyId,
}

impl VerifierKey {
    /// The key of a log, which signs notes plainly (type 0x01). Its name is the log's origin.
    ///
    /// # Errors
    /// [`KeyError::Name`] if the name is not allowed.
    pub fn ed25519(name: &str, public_key: [u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, KeyAlgorithm::Ed25519, public_key)
    }

    /// The key of a witness, which cosigns checkpoints (type 0x04).
    ///
    /// # Errors
    /// [`KeyError::Name`] if the name is not allowed.
    pub fn cosigner(name: &str, public_key: [u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, KeyAlgorithm::CosignatureV1, public_key)
    }

    fn new(name: &str, algorithm: KeyAlgorithm, public_key: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) || name.len() > KEY_NAME_BYTES_MAX {
            return Err(KeyError::Name);
        }
        let mut input = Vec::with_capacity(name.len() + 2 + PUBLIC_KEY_BYTES);
        input.extend_from_slice(name.as_bytes());
        input.extend_from_slice(&[b'\n', algorithm.identifier()]);
        input.extend_from_slice(&public_key);
        let mut key_id = [0; 4];
        key_id.copy_from_slice(&digest::digest(&SHA256, &input).as_ref()[..4]);
        Ok(Self {
            name: name.to_owned(),
            algorithm,
            public_key,
            key_id,
        })
    }

    /// The key name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the key signs.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public key (RFC 8032 §5.1.5).
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// `SHA-256(name ‖ 0x0A ‖ type ‖ public key)[..4]` (c2sp.org/signed-note, "Signatures").
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// True if this key made `signature`, an Ed25519 signature, over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public_key)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = [self.algorithm.identifier(); 1 + PUBLIC_KEY_BYTES];
        material[1..].copy_from_slice(&self.public_key);
        let key_id = u32::from_be_bytes(self.key_id);
        write!(
            f,
            "{}+{key_id:08x}+{}",
            self.name,
            STANDARD.encode(material)
        )
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > VERIFIER_KEY_BYTES_MAX {
            return Err(KeyError::Format);
        }
        let (name, rest) = text.split_once('+').ok_or(KeyError::Format)?;
        let (key_id, material) = rest.split_once('+').ok_or(KeyError::Format)?;
        let material = STANDARD.decode(material).map_err(|_| KeyError::Format)?;
        let (&identifier, public_key) = material.split_first().ok_or(KeyError::Format)?;
        let algorithm =
            KeyAlgorithm::from_identifier(identifier).ok_or(KeyError::Algorithm { identifier })?;
        let public_key = public_key.try_into().map_err(|_| KeyError::Format)?;
        let key = Self::new(name, algorithm, public_key)?;
        // Lowercase hex of eight digits is the only spelling.
        if key_id != format!("{:08x}", u32::from_be_bytes(key.key_id)) {
            return Err(KeyError::KeyId);
        }
        Ok(key)
    }
}

/// The rules of c2sp.org/signed-note for key names; control characters are not allowed in a note.
pub(super) fn is_key_name(name: &str) -> bool {
    let forbidden = |c: char| c == '+' || c < ' ' || c.is_whitespace();
    !name.is_empty() && !name.contains(forbidden)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of c2sp.org/signed-note.
    const EXAMPLE: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn the_example_of_the_specification_parses() {
        let key: VerifierKey = EXAMPLE.parse().unwrap();
        assert_eq!(
            (key.name(), key.algorithm()),
            ("example.com/foo", KeyAlgorithm::Ed25519)
        );
        assert_eq!(key.key_id(), [0x53, 0x0d, 0x90, 0x3a]);
        assert_eq!(key.to_string(), EXAMPLE);
        assert_eq!(
            VerifierKey::ed25519("example.com/foo", *key.public_key()),
            Ok(key)
        );
    }

    #[test]
    fn the_type_of_a_key_is_part_of_its_id() {
        let log = VerifierKey::ed25519("example.com/a", [9; 32]).unwrap();
        let witness = VerifierKey::cosigner("example.com/a", [9; 32]).unwrap();
        assert_ne!(log.key_id(), witness.key_id());
        assert_eq!(witness.to_string().parse(), Ok(witness));
    }

    #[test]
    fn a_key_has_one_spelling() {
        for (wrong, error) in [
            (EXAMPLE.replace("530d903a", "530D903A"), KeyError::KeyId),
            (EXAMPLE.replace("530d903a", "530d903b"), KeyError::KeyId),
            (EXAMPLE.replace("530d903a", "0530d903a"), KeyError::KeyId),
            (EXAMPLE.replace("foo", "fop"), KeyError::KeyId),
            (EXAMPLE.replace("foo", "f o"), KeyError::Name),
            (EXAMPLE.replace("example.com/foo", ""), KeyError::Name),
            (
                EXAMPLE.replace("AekyeR", "AukyeR"),
                KeyError::Algorithm { identifier: 2 },
            ),
            (EXAMPLE.replace("3U2k", ""), KeyError::Format),
            (EXAMPLE.replace("3U2k", "3U2"), KeyError::Format),
            (format!("{EXAMPLE}\n"), KeyError::Format),
            (
                EXAMPLE.replace("example", &"e".repeat(300)),
                KeyError::Format,
            ),
            ("example.com/foo+530d903a".to_owned(), KeyError::Format),
            ("example.com/foo+530d903a+".to_owned(), KeyError::Format),
            (String::new(), KeyError::Format),
        ] {
            assert_eq!(wrong.parse::<VerifierKey>(), Err(error), "{wrong:?}");
        }
    }

    #[test]
    fn names_follow_the_rules() {
        let longest = "n".repeat(KEY_NAME_BYTES_MAX);
        for name in ["a", "example.com/log", "ö", "a=b", &longest] {
            assert!(VerifierKey::ed25519(name, [0; 32]).is_ok(), "{name:?}");
        }
        let too_long = "n".repeat(KEY_NAME_BYTES_MAX + 1);
        for name in [
            "",
            "a b",
            "a+b",
            "a\nb",
            "a\u{a0}b",
            "a\u{2003}",
            "a\u{1}",
            &too_long,
        ] {
            assert_eq!(
                VerifierKey::ed25519(name, [0; 32]),
                Err(KeyError::Name),
                "{name:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        #[test]
        fn keys_come_back(name in "[a-z./öΩ=-]{1,60}", public_key: [u8; 32], cosigns: bool) {
            let new = if cosigns { VerifierKey::cosigner } else { VerifierKey::ed25519 };
            let key = new(&name, public_key).unwrap();
            prop_assert_eq!(key.to_string().parse::<VerifierKey>(), Ok(key));
        }

        #[test]
        fn any_text_is_answered(text in "[a-f0-9+/=A]{0,80}") {
            if let Ok(key) = text.parse::<VerifierKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
