//! Software keys: made or imported here, kept in a PKCS#8 PEM file that only its owner reads.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_44_SIGNING,
    ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{digest, error::Unspecified};
use pem_rfc7468::LineEnding;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::algorithm::{Curve, KeyAlgorithm, MlDsaParameterSet, RsaSignature};
use crate::der;
use crate::error::{SignError, SoftwareKeyError};
use crate::pkcs8;
use crate::public_key::PublicKey;
use crate::signing::{SignInput, Signature};

/// Longest key file read, in bytes: an RSA-4096 key in PEM has 3,272, and text may stand around it.
const KEY_FILE_LEN_MAX: u64 = 64 * 1024;

/// Length of an RSA-4096 signature in bytes, the longest there is.
const RSA_SIGNATURE_LEN_MAX: usize = 512;

/// A private key in this process's memory.
///
/// For development, tests, demonstrations and keys that are taken offline; a production issuing
/// key belongs on a token. It has no `Debug` that shows the key, and the encoded copies are
/// wiped when dropped.
pub struct SoftwareKey {
    algorithm: KeyAlgorithm,
    public_key: PublicKey,
    key: PrivateKey,
}

enum PrivateKey {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair, MlDsaParameterSet),
    Rsa {
        key: RsaKeyPair,
        signature: RsaSignature,
        /// The key's own file says that it signs PSS and nothing else (RFC 4055 §1.2).
        only_pss: bool,
    },
}

impl PrivateKey {
    fn rsa(key: RsaKeyPair) -> PrivateKey {
        PrivateKey::Rsa {
            key,
            signature: RsaSignature::Pkcs1v15,
            only_pss: false,
        }
    }

    fn only_pss(key: RsaKeyPair) -> PrivateKey {
        PrivateKey::Rsa {
            key,
            signature: RsaSignature::Pss,
            only_pss: true,
        }
    }
}

impl SoftwareKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`SoftwareKeyError::Generate`] when memory or randomness runs out.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<SoftwareKey, SoftwareKeyError> {
        let failed = |_: Unspecified| SoftwareKeyError::Generate { algorithm };
        let ec = |curve| {
            EcdsaKeyPair::generate(ecdsa(curve))
                .map(PrivateKey::Ec)
                .map_err(failed)
        };
        let ml_dsa = |parameter_set| {
            PqdsaKeyPair::generate(ml_dsa_signing(parameter_set))
                .map(|key| PrivateKey::MlDsa(key, parameter_set))
                .map_err(failed)
        };
        let rsa = |size| {
            RsaKeyPair::generate(size)
                .map(PrivateKey::rsa)
                .map_err(failed)
        };
        let key = match algorithm {
            KeyAlgorithm::EcP256 => ec(Curve::P256)?,
            KeyAlgorithm::EcP384 => ec(Curve::P384)?,
            KeyAlgorithm::EcP521 => ec(Curve::P521)?,
            KeyAlgorithm::Ed25519 => {
                PrivateKey::Ed25519(Ed25519KeyPair::generate().map_err(failed)?)
            }
            KeyAlgorithm::MlDsa44 => ml_dsa(MlDsaParameterSet::MlDsa44)?,
            KeyAlgorithm::MlDsa65 => ml_dsa(MlDsaParameterSet::MlDsa65)?,
            KeyAlgorithm::MlDsa87 => ml_dsa(MlDsaParameterSet::MlDsa87)?,
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048)?,
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072)?,
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096)?,
        };
        SoftwareKey::new(key).ok_or(SoftwareKeyError::Generate { algorithm })
    }

    /// Imports an unencrypted PKCS#8 key (RFC 5958) in PEM (RFC 7468 §10). An RSA key with the
    /// algorithm id-RSASSA-PSS signs PSS and nothing else (RFC 4055 §1.2). An ML-DSA key may stand there
    /// as its seed, expanded, or both (RFC 9881 §6).
    ///
    /// # Errors
    /// [`SoftwareKeyError::Pem`] and [`SoftwareKeyError::Label`] for other text,
    /// [`SoftwareKeyError::Unsupported`] for keys that do not sign here.
    pub fn from_pkcs8_pem(pem: &str) -> Result<SoftwareKey, SoftwareKeyError> {
        let (label, document) =
            pem_rfc7468::decode_vec(pem.as_bytes()).map_err(SoftwareKeyError::Pem)?;
        let document = Zeroizing::new(document);
        if label != "PRIVATE KEY" {
            return Err(SoftwareKeyError::Label {
                label: label.chars().take(40).collect(),
            });
        }
        let ec = |curve| EcdsaKeyPair::from_pkcs8(ecdsa(curve), &document).ok();
        let ml_dsa = |parameter_set| {
            let key = PqdsaKeyPair::from_pkcs8(ml_dsa_signing(parameter_set), &document).ok()?;
            Some(PrivateKey::MlDsa(key, parameter_set))
        };
        Curve::ALL
            .into_iter()
            .find_map(ec)
            .map(PrivateKey::Ec)
            .or_else(|| MlDsaParameterSet::ALL.into_iter().find_map(ml_dsa))
            .or_else(|| {
                // "maybe unchecked": the public key may be absent (RFC 5958 v1); where it is
                // there, it is checked.
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document).ok()?;
                Some(PrivateKey::Ed25519(key))
            })
            .or_else(|| RsaKeyPair::from_pkcs8(&document).ok().map(PrivateKey::rsa))
            .or_else(|| {
                let key = pkcs8::rsa_pss_private_key(&document)?;
                RsaKeyPair::from_der(key).ok().map(PrivateKey::only_pss)
            })
            .and_then(SoftwareKey::new)
            .ok_or(SoftwareKeyError::Unsupported)
    }

    /// Reads the key from a file that only its owner may read.
    ///
    /// # Errors
    /// [`SoftwareKeyError::Exposed`] when the group or others may read it,
    /// [`SoftwareKeyError::File`] when it cannot be read, and [`SoftwareKeyError::Content`] around
    /// those of [`SoftwareKey::from_pkcs8_pem`].
    pub fn read(path: &Path) -> Result<SoftwareKey, SoftwareKeyError> {
        let failed = |source| SoftwareKeyError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a file",
            )));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SoftwareKeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        // Room for everything at once: a buffer that grows leaves copies of the key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_LEN_MAX as usize + 1));
        file.take(KEY_FILE_LEN_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > KEY_FILE_LEN_MAX {
            return Err(SoftwareKeyError::TooLong {
                path: path.to_owned(),
                max: KEY_FILE_LEN_MAX,
            });
        }
        std::str::from_utf8(&bytes)
            .map_err(|_| SoftwareKeyError::Pem(pem_rfc7468::Error::CharacterEncoding))
            .and_then(SoftwareKey::from_pkcs8_pem)
            .map_err(|source| SoftwareKeyError::Content {
                path: path.to_owned(),
                source: Box::new(source),
            })
    }

    /// The key as PKCS#8 version 1 in PEM, which every tool reads. Wiped when dropped.
    ///
    /// # Errors
    /// [`SoftwareKeyError::Unsupported`] when the key cannot be encoded, as one that was read as
    /// id-RSASSA-PSS: written as rsaEncryption it would no longer be restricted; or an ML-DSA key that
    /// was read without its seed, the form that is written.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, SoftwareKeyError> {
        let unsupported = |_: Unspecified| SoftwareKeyError::Unsupported;
        let pem = |der: &[u8]| {
            pem_rfc7468::encode_string("PRIVATE KEY", LineEnding::LF, der)
                .map(Zeroizing::new)
                .map_err(SoftwareKeyError::Pem)
        };
        match &self.key {
            PrivateKey::Ec(key) => pem(key.to_pkcs8v1().map_err(unsupported)?.as_ref()),
            PrivateKey::Ed25519(key) => pem(key.to_pkcs8v1().map_err(unsupported)?.as_ref()),
            PrivateKey::MlDsa(key, _) => pem(key.to_pkcs8v1().map_err(unsupported)?.as_ref()),
            PrivateKey::Rsa { only_pss: true, .. } => Err(SoftwareKeyError::Unsupported),
            PrivateKey::Rsa { key, .. } => {
                let der: Pkcs8V1Der<'_> = key.as_der().map_err(unsupported)?;
                pem(der.as_ref())
            }
        }
    }

    /// Writes the key to a new file of mode 0600, which is there whole and durable, with its directory entry, or not
    /// at all. A process that is killed meanwhile may leave a hidden file of the same mode beside it.
    ///
    /// # Errors
    /// [`SoftwareKeyError::File`], also when the file exists: it is never overwritten.
    pub fn write_new(&self, path: &Path) -> Result<(), SoftwareKeyError> {
        let pem = self.to_pkcs8_pem()?;
        let write = || {
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            // Mode 0600 from the beginning, whatever the umask.
            let mut file = NamedTempFile::new_in(directory)?;
            file.write_all(pem.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|error| error.error)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| SoftwareKeyError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// The same key, signing as said where it is an RSA key. One that is restricted to PSS stays so.
    pub fn with_rsa_signature(mut self, wanted: RsaSignature) -> SoftwareKey {
        if let PrivateKey::Rsa {
            signature,
            only_pss: false,
            ..
        } = &mut self.key
        {
            *signature = wanted;
        }
        self
    }

    /// How the key signs, if it is an RSA key.
    pub fn rsa_signature(&self) -> Option<RsaSignature> {
        match &self.key {
            PrivateKey::Rsa { signature, .. } => Some(*signature),
            PrivateKey::Ec(_) | PrivateKey::Ed25519(_) | PrivateKey::MlDsa(..) => None,
        }
    }

    /// The key's kind.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs.
    ///
    /// # Errors
    /// [`SignError::WrongInput`] when the input is not what this key signs,
    /// [`SignError::Software`] when the arithmetic fails.
    pub fn sign(&self, input: &SignInput) -> Result<Signature, SignError> {
        let mut signature = Signature::empty();
        self.sign_into(input, &mut signature)?;
        Ok(signature)
    }

    /// [`SoftwareKey::sign`] into a signature that is used again.
    pub(crate) fn sign_into(
        &self,
        input: &SignInput,
        out: &mut Signature,
    ) -> Result<(), SignError> {
        let algorithm = self.algorithm;
        let failed = |_: Unspecified| SignError::Software { algorithm };
        let digest = || {
            let (bytes, digest_algorithm) = input
                .digest_for(algorithm)
                .ok_or(SignError::WrongInput { algorithm })?;
            digest::Digest::import_less_safe(bytes, digest_algorithm.provider()).map_err(failed)
        };
        match &self.key {
            PrivateKey::Ec(key) => {
                out.set(key.sign_digest(&digest()?).map_err(failed)?.as_ref());
            }
            PrivateKey::Ed25519(key) => {
                let SignInput::Message(message) = input else {
                    return Err(SignError::WrongInput { algorithm });
                };
                out.set(key.try_sign(message).map_err(failed)?.as_ref());
            }
            PrivateKey::MlDsa(key, parameter_set) => {
                let SignInput::Message(message) = input else {
                    return Err(SignError::WrongInput { algorithm });
                };
                let signature = out.on_heap(parameter_set.signature_len());
                key.sign(message, signature).map_err(failed)?;
            }
            PrivateKey::Rsa { key, signature, .. } => {
                let encoding: &'static dyn RsaEncoding = match signature {
                    RsaSignature::Pkcs1v15 => &RSA_PKCS1_SHA256,
                    // The salt is as long as the digest, which is the library's default.
                    RsaSignature::Pss => &RSA_PSS_SHA256,
                };
                let mut buffer = [0; RSA_SIGNATURE_LEN_MAX];
                let signature = buffer
                    .get_mut(..key.public_modulus_len())
                    .ok_or(SignError::Software { algorithm })?;
                key.sign_digest(encoding, &digest()?, signature)
                    .map_err(failed)?;
                out.set(signature);
            }
        }
        Ok(())
    }

    fn new(key: PrivateKey) -> Option<SoftwareKey> {
        let public_key = match &key {
            PrivateKey::Ec(key) => {
                let point = key.public_key().as_ref().to_vec();
                let curve = Curve::ALL
                    .into_iter()
                    .find(|curve| point.len() == 1 + 2 * curve.field_len())?;
                PublicKey::Ec { curve, point }
            }
            PrivateKey::Ed25519(key) => {
                PublicKey::Ed25519(key.public_key().as_ref().try_into().ok()?)
            }
            PrivateKey::MlDsa(key, parameter_set) => PublicKey::MlDsa {
                parameter_set: *parameter_set,
                key: key.public_key().as_ref().to_vec(),
            },
            PrivateKey::Rsa { key, .. } => {
                // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }
                let (body, _) = der::read(der::SEQUENCE, key.public_key().as_ref())?;
                let (modulus, body) = der::read(der::INTEGER, body)?;
                let (exponent, _) = der::read(der::INTEGER, body)?;
                PublicKey::rsa(modulus, exponent)
            }
        };
        Some(SoftwareKey {
            algorithm: public_key.algorithm()?,
            public_key,
            key,
        })
    }
}

impl std::fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoftwareKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn ml_dsa_signing(parameter_set: MlDsaParameterSet) -> &'static PqdsaSigningAlgorithm {
    match parameter_set {
        MlDsaParameterSet::MlDsa44 => &ML_DSA_44_SIGNING,
        MlDsaParameterSet::MlDsa65 => &ML_DSA_65_SIGNING,
        MlDsaParameterSet::MlDsa87 => &ML_DSA_87_SIGNING,
    }
}

fn ecdsa(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
    }
}
