//! Delivery under a secret: EncryptedPrivateKeyInfo, RFC 5958 §3, with PBES2 (RFC 8018 §6.2), PBKDF2 with
//! HMAC-SHA256 and AES-256-CBC, as `openssl pkcs8` reads it.
//!
//! ```asn1
//! EncryptedPrivateKeyInfo ::= SEQUENCE {
//!     encryptionAlgorithm  AlgorithmIdentifier {{ PBES2 }},
//!     encryptedData        OCTET STRING }
//! PBES2-params  ::= SEQUENCE { keyDerivationFunc AlgorithmIdentifier, encryptionScheme AlgorithmIdentifier }
//! PBKDF2-params ::= SEQUENCE { salt OCTET STRING, iterationCount INTEGER, prf AlgorithmIdentifier }
//! ```

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{pbkdf2, rand};
use zeroize::Zeroizing;

use super::generate::GeneratedKey;
use super::seal::{NotSealed, encrypt_cbc};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::oid;

/// Shortest secret, in characters. An encrypted key may be copied and tried at leisure.
pub const SECRET_CHARS_MIN: usize = 16;

/// Octets of the longest secret.
const SECRET_BYTES_MAX: usize = 1024;

/// Rounds of PBKDF2: what OWASP recommends for HMAC-SHA256, some 0.2 s.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

/// [`ITERATIONS`] as an INTEGER's magnitude.
const ITERATIONS_OCTETS: [u8; 3] = [0x09, 0x27, 0xc0];

const SALT_BYTES: usize = 16;

/// Octets that encryption adds: identifiers, salt, initialization vector, heads and padding come to 135.
pub(super) const OVERHEAD_BYTES_MAX: usize = 160;

/// The secret that station and line share. Erased when dropped.
pub struct TransportSecret(Zeroizing<String>);

/// Says nothing of the secret.
impl fmt::Debug for TransportSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportSecret(..)")
    }
}

/// A secret that does not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("secret {path}: cannot be read; check the path and its permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner may read it.
    #[error(
        "secret {path} has mode {mode:04o}; only its owner may have access: chmod 600",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not text of one line, or of the wrong length.
    #[error("secret {path}: use one line of {SECRET_CHARS_MIN} to {SECRET_BYTES_MAX} characters", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
}

impl TransportSecret {
    /// Reads a secret from a file's one line. The line's end does not belong to it.
    ///
    /// # Errors
    /// Names the file, never its content.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        // One buffer that does not grow, so that no copy stays behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 8));
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        file.take(SECRET_BYTES_MAX as u64 + 3)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let text = std::str::from_utf8(&bytes).ok();
        let text = text.map(|text| text.strip_suffix('\n').unwrap_or(text));
        let text = text.map(|text| text.strip_suffix('\r').unwrap_or(text));
        text.and_then(Self::new).ok_or_else(|| SecretError::Form {
            path: path.to_owned(),
        })
    }

    /// Takes a secret of one line; `None` when it is too short or too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let sound = text.chars().count() >= SECRET_CHARS_MIN
            && text.len() <= SECRET_BYTES_MAX
            && !text.chars().any(char::is_control);
        sound.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret, in the clear.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// Encrypts under one secret. The encryption key is derived once for a start, under a salt of its own: what a
/// salt is for, no table of secrets made beforehand, holds for all keys of a start together, and deriving anew
/// would cost 0.2 s for each. The initialization vector is new for each key.
pub(super) struct SecretSealer {
    cipher: PaddedBlockEncryptingKey,
    salt: [u8; SALT_BYTES],
}

/// Says nothing of the key.
impl fmt::Debug for SecretSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSealer(..)")
    }
}

impl SecretSealer {
    pub(super) fn new(secret: &TransportSecret) -> Result<Self, NotSealed> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| NotSealed)?;
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            secret.0.as_bytes(),
            &mut *key,
        );
        let cipher = UnboundCipherKey::new(&AES_256, &*key)
            .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
            .map_err(|_| NotSealed)?;
        Ok(Self { cipher, salt })
    }

    pub(super) fn encrypt(&self, key: &GeneratedKey) -> Result<Vec<u8>, NotSealed> {
        let (iv, encrypted) = encrypt_cbc(&self.cipher, key)?;
        let mut der = Vec::with_capacity(encrypted.len() + OVERHEAD_BYTES_MAX);
        Writer::new(&mut der).nested(tag::SEQUENCE, |info| {
            info.nested(tag::SEQUENCE, |pbes2| {
                pbes2.primitive(tag::OID, oid::PBES2);
                pbes2.nested(tag::SEQUENCE, |parameters| {
                    self.derivation(parameters);
                    parameters.nested(tag::SEQUENCE, |aes| {
                        aes.primitive(tag::OID, oid::AES256_CBC);
                        aes.primitive(tag::OCTET_STRING, &iv);
                    });
                });
            });
            info.primitive(tag::OCTET_STRING, &encrypted);
        });
        Ok(der)
    }

    fn derivation(&self, parameters: &mut Writer<'_>) {
        parameters.nested(tag::SEQUENCE, |pbkdf2| {
            pbkdf2.primitive(tag::OID, oid::PBKDF2);
            pbkdf2.nested(tag::SEQUENCE, |values| {
                values.primitive(tag::OCTET_STRING, &self.salt);
                values.unsigned(&ITERATIONS_OCTETS);
                values.nested(tag::SEQUENCE, |prf| {
                    prf.primitive(tag::OID, oid::HMAC_SHA256);
                    prf.primitive(tag::NULL, &[]);
                });
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_are_written_as_they_are_done() {
        let written = ITERATIONS_OCTETS
            .iter()
            .fold(0, |sum, octet| sum << 8 | u32::from(*octet));
        assert_eq!(written, ITERATIONS.get());
    }

    #[test]
    fn a_secret_is_one_line_of_some_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        // What is written to it later leaves its mode as it is.
        File::create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (text, taken) in [
            ("sixteen letters!", true),
            ("sixteen letters!\n", true),
            ("sixteen letters!\r\n", true),
            ("fifteen letters", false),
            ("sixteen letters!\nand more", false),
            ("", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = TransportSecret::read(&path);
            assert_eq!(read.is_ok(), taken, "{text:?}");
            if let Ok(secret) = read {
                assert_eq!(*secret.0, "sixteen letters!");
                assert_eq!(format!("{secret:?}"), "TransportSecret(..)");
            }
        }
        std::fs::write(&path, "x".repeat(SECRET_BYTES_MAX + 1)).unwrap();
        assert!(matches!(
            TransportSecret::read(&path),
            Err(SecretError::Form { .. })
        ));
    }
}
