//! Delivery to a certificate: EnvelopedData, RFC 5652 §6, as `openssl cms -decrypt -inform DER` reads it.
//!
//! The content is one PrivateKeyInfo as id-data: a reader that knows nothing of key packages gets a file that
//! every tool takes. It is encrypted with AES-256-CBC and not as AuthEnvelopedData: every CMS reader has it, and
//! an authentication tag under a key that anybody can encrypt would not say who sent it. What was
//! delivered is checked against the public key of the certificate that comes with it.
//!
//! ```asn1
//! ContentInfo ::= SEQUENCE { contentType, content [0] EXPLICIT EnvelopedData }
//! EnvelopedData ::= SEQUENCE {
//!     version INTEGER, recipientInfos SET SIZE (1) OF RecipientInfo, encryptedContentInfo SEQUENCE {
//!         contentType, contentEncryptionAlgorithm, encryptedContent [0] IMPLICIT OCTET STRING } }
//! KeyTransRecipientInfo ::= SEQUENCE {
//!     version INTEGER (0), rid IssuerAndSerialNumber, keyEncryptionAlgorithm, encryptedKey OCTET STRING }
//! KeyAgreeRecipientInfo ::= [1] IMPLICIT SEQUENCE {
//!     version INTEGER (3), originator [0] EXPLICIT [1] IMPLICIT OriginatorPublicKey,
//!     keyEncryptionAlgorithm, recipientEncryptedKeys SEQUENCE SIZE (1) OF SEQUENCE {
//!         rid IssuerAndSerialNumber, encryptedKey OCTET STRING } }
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use zeroize::Zeroizing;

use super::generate::GeneratedKey;
use super::seal::{NotSealed, encrypt_cbc};
use crate::certificate::{CertificateView, from_pem, unix_seconds};
use crate::der::reader::{DerError, single};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::oid;

/// Octets of the content-encryption key and of the key that wraps it: AES-256.
const KEY_BYTES: usize = 32;
/// Octets that AES key wrap adds, RFC 3394 §2.2.1.
const WRAP_BYTES: usize = 8;
/// Bits of a KeyUsage's first octet, RFC 5280 §4.2.1.3.
const KEY_ENCIPHERMENT: u8 = 0x20;
const KEY_AGREEMENT: u8 = 0x08;
/// Octets that enveloping adds besides the recipient's issuer name, serial number and RSA ciphertext:
/// identifiers, heads, ephemeral key, wrapped key, initialization vector and padding come to 330.
const FIXED_BYTES_MAX: usize = 400;

/// AlgorithmIdentifier of RSAES-OAEP with SHA-256 and MGF1 with SHA-256, RFC 4055 §4.1 and RFC 3560 §3.
const OAEP_SHA256: &[u8] = &[
    0x30, 0x3c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, 0x30, 0x2f, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
];

/// AlgorithmIdentifier of id-aes256-wrap, whose parameters are absent (RFC 3565 §2.3.2).
const AES256_WRAP: &[u8] = &[
    0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d,
];

/// The line's certificate: whoever has its key can read the keys that are delivered.
pub struct Recipient {
    /// IssuerAndSerialNumber, DER.
    id: Vec<u8>,
    key: RecipientKey,
    validity_s: (u64, u64),
}

enum RecipientKey {
    /// RSAES-OAEP.
    Rsa(OaepPublicEncryptingKey),
    /// Ephemeral-static ECDH on P-256: the point.
    EcP256(Vec<u8>),
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.key {
            RecipientKey::Rsa(_) => "RSA",
            RecipientKey::EcP256(_) => "P-256",
        };
        f.debug_struct("Recipient")
            .field("key", &kind)
            .finish_non_exhaustive()
    }
}

/// A certificate that no key can be delivered to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The file cannot be read.
    #[error("recipient {path}: cannot be read; check the path and its permissions", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not one certificate in PEM.
    #[error("recipient {path}: not a certificate in PEM: {problem}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Not a certificate in DER.
    #[error("the recipient's certificate has {0}")]
    Malformed(&'static str),
    /// Not a key that keys can be encrypted to.
    #[error("the recipient's certificate does not do: {0}")]
    Key(&'static str),
    /// Outside its validity.
    #[error("the recipient's certificate {0}; configure a valid one, or correct the clock")]
    Validity(&'static str),
}

impl From<DerError> for RecipientError {
    fn from(DerError(what): DerError) -> Self {
        Self::Malformed(what)
    }
}

impl Recipient {
    /// Reads a PEM file with one certificate.
    ///
    /// # Errors
    /// As [`Recipient::from_der`], or that the file is not there or not PEM.
    pub fn read(path: &Path) -> Result<Self, RecipientError> {
        let pem = std::fs::read(path).map_err(|source| RecipientError::Read {
            path: path.to_owned(),
            source,
        })?;
        let problem = |problem: String| RecipientError::Pem {
            path: path.to_owned(),
            problem,
        };
        Self::from_der(&from_pem(&pem).map_err(problem)?)
    }

    /// Takes a certificate in DER with an RSA key (2048 to 4096 bits) or a key on P-256. Its KeyUsage, where it
    /// has one, allows keyEncipherment or keyAgreement (RFC 5280 §4.2.1.3).
    ///
    /// # Errors
    /// What keeps keys from being delivered to it.
    pub fn from_der(certificate: &[u8]) -> Result<Self, RecipientError> {
        let view = CertificateView::parse(certificate)?;
        let spki = SubjectPublicKeyInfo::parse(&view.spki)
            .map_err(|_| RecipientError::Key("use an RSA key of 2048 to 4096 bits, or P-256"))?;
        let (key, usage) = match spki.algorithm {
            DeviceKeyAlgorithm::Rsa => {
                let key = PublicEncryptingKey::from_der(spki.encoding).ok();
                let key = key.and_then(|key| OaepPublicEncryptingKey::new(key).ok());
                let key = key.ok_or(RecipientError::Key("its RSA key cannot encrypt"))?;
                (RecipientKey::Rsa(key), KEY_ENCIPHERMENT)
            }
            DeviceKeyAlgorithm::EcP256 => {
                let point = spki.key.to_vec();
                let trial = PrivateKey::generate(&ECDH_P256)
                    .map_err(|_| RecipientError::Key("no key can be made to try it"))?;
                agree(&trial, &point)
                    .map_err(|NotSealed| RecipientError::Key("its key is no point of P-256"))?;
                (RecipientKey::EcP256(point), KEY_AGREEMENT)
            }
            _ => {
                return Err(RecipientError::Key(
                    "use an RSA key of 2048 to 4096 bits, or P-256",
                ));
            }
        };
        if let Some(extension) = view.extension(oid::KEY_USAGE) {
            let bits = single(extension.value, tag::BIT_STRING, "malformed key usage")?.content;
            if bits.get(1).is_none_or(|first| first & usage == 0) {
                return Err(RecipientError::Key(
                    "its KeyUsage must allow keyEncipherment for RSA, keyAgreement for P-256",
                ));
            }
        }
        let mut id = Vec::new();
        Writer::new(&mut id).nested(tag::SEQUENCE, |id| {
            id.raw(view.issuer);
            id.raw(view.serial.encoding);
        });
        let validity_s = (
            unix_seconds(&view.not_before)?,
            unix_seconds(&view.not_after)?,
        );
        Ok(Self {
            id,
            key,
            validity_s,
        })
    }

    /// Whether keys may be delivered to it now.
    pub(crate) fn check_valid_at(&self, now_s: u64) -> Result<(), RecipientError> {
        match self.validity_s {
            (from_s, _) if now_s < from_s => Err(RecipientError::Validity("is not valid yet")),
            (_, until_s) if now_s > until_s => Err(RecipientError::Validity("has expired")),
            _ => Ok(()),
        }
    }

    /// Octets that enveloping adds to a key, at most.
    pub(super) fn overhead_bytes_max(&self) -> usize {
        let encrypted = match &self.key {
            RecipientKey::Rsa(key) => key.ciphertext_size(),
            RecipientKey::EcP256(_) => 0,
        };
        FIXED_BYTES_MAX + self.id.len() + encrypted
    }
}

/// Encrypts a key for the recipient. The ContentInfo, DER.
pub(super) fn envelop(to: &Recipient, key: &GeneratedKey) -> Result<Vec<u8>, NotSealed> {
    let mut content_key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *content_key).map_err(|_| NotSealed)?;
    let cipher = UnboundCipherKey::new(&AES_256, &*content_key)
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .map_err(|_| NotSealed)?;
    let (iv, encrypted) = encrypt_cbc(&cipher, key)?;
    let (version, recipient) = match &to.key {
        RecipientKey::Rsa(public) => (0, key_transport(&to.id, public, &content_key)?),
        RecipientKey::EcP256(point) => (2, key_agreement(&to.id, point, &content_key)?),
    };
    let mut der = Vec::with_capacity(encrypted.len() + to.overhead_bytes_max());
    Writer::new(&mut der).nested(tag::SEQUENCE, |info| {
        info.primitive(tag::OID, oid::CMS_ENVELOPED_DATA);
        info.nested(tag::context_constructed(0), |content| {
            content.nested(tag::SEQUENCE, |enveloped| {
                enveloped.primitive(tag::INTEGER, &[version]);
                enveloped.nested(tag::SET, |recipients| recipients.raw(&recipient));
                enveloped.nested(tag::SEQUENCE, |encrypted_content| {
                    encrypted_content.primitive(tag::OID, oid::CMS_DATA);
                    encrypted_content.nested(tag::SEQUENCE, |aes| {
                        aes.primitive(tag::OID, oid::AES256_CBC);
                        aes.primitive(tag::OCTET_STRING, &iv);
                    });
                    encrypted_content.primitive(tag::context_primitive(0), &encrypted);
                });
            });
        });
    });
    Ok(der)
}

/// KeyTransRecipientInfo with RSAES-OAEP, RFC 5652 §6.2.1 and RFC 3560 §2.1.
fn key_transport(
    id: &[u8],
    public: &OaepPublicEncryptingKey,
    content_key: &[u8; KEY_BYTES],
) -> Result<Vec<u8>, NotSealed> {
    let mut encrypted = vec![0; public.ciphertext_size()];
    let encrypted = public
        .encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut encrypted, None)
        .map_err(|_| NotSealed)?;
    let mut der = Vec::with_capacity(id.len() + encrypted.len() + 80);
    Writer::new(&mut der).nested(tag::SEQUENCE, |recipient| {
        recipient.primitive(tag::INTEGER, &[0]);
        recipient.raw(id);
        recipient.raw(OAEP_SHA256);
        recipient.primitive(tag::OCTET_STRING, encrypted);
    });
    Ok(der)
}

/// KeyAgreeRecipientInfo with an ephemeral key, RFC 5652 §6.2.2 and RFC 5753 §3.1.
fn key_agreement(
    id: &[u8],
    point: &[u8],
    content_key: &[u8; KEY_BYTES],
) -> Result<Vec<u8>, NotSealed> {
    let ephemeral = PrivateKey::generate(&ECDH_P256).map_err(|_| NotSealed)?;
    let public = ephemeral.compute_public_key().map_err(|_| NotSealed)?;
    let public: PublicKeyX509Der<'_> = public.as_der().map_err(|_| NotSealed)?;
    // An OriginatorPublicKey has the fields of a SubjectPublicKeyInfo.
    let fields = single(public.as_ref(), tag::SEQUENCE, "no key").map_err(|_| NotSealed)?;
    let wrapping_key = agree(&ephemeral, point)?;
    let mut wrapped = [0; KEY_BYTES + WRAP_BYTES];
    AesKek::new(&key_wrap::AES_256, &*wrapping_key)
        .and_then(|kek| kek.wrap(content_key, &mut wrapped).map(drop))
        .map_err(|_| NotSealed)?;
    let mut der = Vec::with_capacity(id.len() + 192);
    Writer::new(&mut der).nested(tag::context_constructed(1), |recipient| {
        recipient.primitive(tag::INTEGER, &[3]);
        recipient.nested(tag::context_constructed(0), |originator| {
            originator.nested(tag::context_constructed(1), |key| key.raw(fields.content));
        });
        recipient.nested(tag::SEQUENCE, |algorithm| {
            algorithm.primitive(tag::OID, oid::ECDH_SHA256_KDF);
            algorithm.raw(AES256_WRAP);
        });
        recipient.nested(tag::SEQUENCE, |keys| {
            keys.nested(tag::SEQUENCE, |one| {
                one.raw(id);
                one.primitive(tag::OCTET_STRING, &wrapped);
            });
        });
    });
    Ok(der)
}

/// The key-encryption key: the X9.63 function with SHA-256 over the shared secret, of which one block is as
/// long as the key (SEC 1 §3.6.1), with the ECC-CMS-SharedInfo of RFC 5753 §7.2.
fn agree(ours: &PrivateKey, point: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, NotSealed> {
    /// `suppPubInfo [2] EXPLICIT OCTET STRING`: 256 bits.
    const SUPPLEMENT: &[u8] = &[0xa2, 0x06, 0x04, 0x04, 0x00, 0x00, 0x01, 0x00];
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    agreement::agree(ours, theirs, NotSealed, |secret| {
        let mut context = Context::new(&SHA256);
        context.update(secret);
        context.update(&1_u32.to_be_bytes());
        context.update(&[
            tag::SEQUENCE,
            (AES256_WRAP.len() + SUPPLEMENT.len()).to_le_bytes()[0],
        ]);
        context.update(AES256_WRAP);
        context.update(SUPPLEMENT);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(context.finish().as_ref());
        Ok(key)
    })
}
