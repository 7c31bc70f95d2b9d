//! Private keys encrypted with a passphrase, as `openssl pkey` reads them.
//!
//! PBES2 (RFC 8018 §6.2) with PBKDF2-HMAC-SHA256 and AES-256-CBC, in an EncryptedPrivateKeyInfo (RFC 5958 §3).

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{pbkdf2, rand};
use birthmark_hsm::SoftwareKey;
use der::asn1::{Any, Null, ObjectIdentifier, OctetString};
use der::pem::LineEnding;
use der::{Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::ScriptError;

/// Shortest passphrase taken for a new key, in characters. The file may be copied and tried at leisure.
pub(super) const PASSPHRASE_CHARS_MIN: usize = 12;

/// Rounds of PBKDF2 for a new key: some 0.2 s, the number that OWASP recommends for HMAC-SHA256.
const ITERATIONS: u32 = 600_000;

/// Most rounds done for a file that says so: some seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const IV_BYTES: usize = 16;
const LABEL: &str = "ENCRYPTED PRIVATE KEY";

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const AES256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

/// ```text
/// EncryptedPrivateKeyInfo ::= SEQUENCE {             -- RFC 5958 §3
///     encryptionAlgorithm  AlgorithmIdentifier,
///     encryptedData        OCTET STRING }
/// ```
#[derive(Sequence)]
struct EncryptedPrivateKeyInfo {
    encryption_algorithm: AlgorithmIdentifierOwned,
    encrypted_data: OctetString,
}

/// ```text
/// PBES2-params ::= SEQUENCE {                        -- RFC 8018 appendix A.4
///     keyDerivationFunc AlgorithmIdentifier,
///     encryptionScheme  AlgorithmIdentifier }
/// ```
#[derive(Sequence)]
struct Pbes2Parameters {
    key_derivation: AlgorithmIdentifierOwned,
    encryption: AlgorithmIdentifierOwned,
}

/// ```text
/// PBKDF2-params ::= SEQUENCE {                       -- RFC 8018 appendix A.2
///     salt           OCTET STRING,
///     iterationCount INTEGER,
///     keyLength      INTEGER OPTIONAL,
///     prf            AlgorithmIdentifier DEFAULT hmacWithSHA1 }
/// ```
#[derive(Sequence)]
struct Pbkdf2Parameters {
    salt: OctetString,
    iterations: u32,
    #[asn1(optional = "true")]
    key_length: Option<u16>,
    prf: AlgorithmIdentifierOwned,
}

/// The key in PEM, encrypted.
pub(super) fn encrypt(key: &SoftwareKey, passphrase: &str) -> Result<String, ScriptError> {
    let pem = key.to_pkcs8_pem()?;
    let (_, der) = der::pem::decode_vec(pem.as_bytes()).map_err(der::Error::from)?;
    let mut content = Zeroizing::new(der);
    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; IV_BYTES]);
    rand::fill(&mut salt)
        .and_then(|()| rand::fill(&mut iv))
        .map_err(|_| ScriptError::Random)?;
    let failed = |_| ScriptError::Random;
    let context = {
        let key = UnboundCipherKey::new(&AES_256, &*derive(passphrase, &salt, ITERATIONS)?);
        let key = key
            .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
            .map_err(failed)?;
        let context = aws_lc_rs::cipher::EncryptionContext::Iv128(FixedLength::from(&iv));
        key.less_safe_encrypt(&mut *content, context)
            .map_err(failed)?
    };
    debug_assert!(matches!(context, DecryptionContext::Iv128(_)));
    let algorithm = |oid, parameters| AlgorithmIdentifierOwned {
        oid,
        parameters: Some(parameters),
    };
    let derivation = Pbkdf2Parameters {
        salt: OctetString::new(salt)?,
        iterations: ITERATIONS,
        key_length: None,
        prf: algorithm(HMAC_SHA256, Any::encode_from(&Null)?),
    };
    let parameters = Pbes2Parameters {
        key_derivation: algorithm(PBKDF2, Any::encode_from(&derivation)?),
        encryption: algorithm(AES256_CBC, Any::encode_from(&OctetString::new(iv)?)?),
    };
    let encrypted = EncryptedPrivateKeyInfo {
        encryption_algorithm: algorithm(PBES2, Any::encode_from(&parameters)?),
        encrypted_data: OctetString::new(content.as_slice())?,
    };
    let pem = der::pem::encode_string(LABEL, LineEnding::LF, &encrypted.to_der()?);
    Ok(pem.map_err(der::Error::from)?)
}

/// The key. A wrong passphrase and a damaged file look the same.
pub(super) fn decrypt(pem: &str, passphrase: &str) -> Result<SoftwareKey, ScriptError> {
    let (label, der) = der::pem::decode_vec(pem.as_bytes()).map_err(der::Error::from)?;
    if label != LABEL {
        return Err(ScriptError::NotEncrypted);
    }
    let info = EncryptedPrivateKeyInfo::from_der(&der)?;
    let unknown = || ScriptError::Encryption;
    let parameters = |algorithm: &AlgorithmIdentifierOwned, oid| {
        let known = algorithm.oid == oid;
        let parameters = algorithm.parameters.clone().filter(|_| known);
        parameters.ok_or_else(unknown)
    };
    let pbes2 = parameters(&info.encryption_algorithm, PBES2)?.decode_as::<Pbes2Parameters>()?;
    let derivation = parameters(&pbes2.key_derivation, PBKDF2)?.decode_as::<Pbkdf2Parameters>()?;
    let iv = parameters(&pbes2.encryption, AES256_CBC)?.decode_as::<OctetString>()?;
    let iv: [u8; IV_BYTES] = iv.as_bytes().try_into().map_err(|_| unknown())?;
    let length_fits = derivation
        .key_length
        .is_none_or(|length| usize::from(length) == KEY_BYTES);
    let rounds_fit = (1..=ITERATIONS_MAX).contains(&derivation.iterations);
    if derivation.prf.oid != HMAC_SHA256 || !length_fits || !rounds_fit {
        return Err(unknown());
    }
    let wrong = |_| ScriptError::Passphrase;
    let key = derive(
        passphrase,
        derivation.salt.as_bytes(),
        derivation.iterations,
    )?;
    let key = UnboundCipherKey::new(&AES_256, &*key).map_err(wrong)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(wrong)?;
    let mut content = Zeroizing::new(info.encrypted_data.as_bytes().to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(&iv));
    let plain = key.decrypt(&mut content, context).map_err(wrong)?;
    let pem = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, plain);
    let pem = Zeroizing::new(pem.map_err(der::Error::from)?);
    SoftwareKey::from_pkcs8_pem(&pem).map_err(|_| ScriptError::Passphrase)
}

fn derive(
    passphrase: &str,
    salt: &[u8],
    iterations: u32,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, ScriptError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let iterations = NonZeroU32::new(iterations).ok_or(ScriptError::Encryption)?;
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(
        algorithm,
        iterations,
        salt,
        passphrase.as_bytes(),
        &mut *key,
    );
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use birthmark_hsm::KeyAlgorithm;

    #[test]
    fn keys_come_back_with_their_passphrase_alone() {
        for algorithm in [KeyAlgorithm::EcP384, KeyAlgorithm::Ed25519] {
            let key = SoftwareKey::generate(algorithm).unwrap();
            let pem = encrypt(&key, "nine grey geese").unwrap();
            let back = decrypt(&pem, "nine grey geese").unwrap();
            assert_eq!(back.public_key(), key.public_key());
            for wrong in ["", "nine grey goose", "nine grey geese "] {
                assert!(matches!(decrypt(&pem, wrong), Err(ScriptError::Passphrase)));
            }
            assert_ne!(encrypt(&key, "nine grey geese").unwrap(), pem, "salted");
            let plain = key.to_pkcs8_pem().unwrap();
            let refused = decrypt(&plain, "nine grey geese");
            assert!(matches!(refused, Err(ScriptError::NotEncrypted)));
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let key = SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap();
        let pem = encrypt(&key, "nine grey geese").unwrap();
        let (_, der) = der::pem::decode_vec(pem.as_bytes()).unwrap();
        // The algorithm identifiers and the first block; a changed number of rounds is bounded.
        for at in 0..100.min(der.len()) {
            let mut damaged = der.clone();
            damaged[at] ^= 0x10;
            let pem = der::pem::encode_string(LABEL, LineEnding::LF, &damaged).unwrap();
            match decrypt(&pem, "nine grey geese") {
                Err(_) => {}
                // The label of the NULL beside the function's name, or the like, has no bearing on the key.
                Ok(back) => assert_eq!(back.public_key(), key.public_key(), "byte {at}"),
            }
        }
    }
}
