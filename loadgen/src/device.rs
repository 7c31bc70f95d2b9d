//! Devices: their keys, made from a seed and a number, and the requests they sign.
//!
//! The keys are throw-away keys of devices that do not exist. Whoever knows the seed knows them.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_44_SIGNING,
    ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use birthmark_hsm::{Curve, KeyAlgorithm, MlDsaParameterSet, RsaSignature};

use crate::csr;

/// Keeps these derived keys apart from every other use of the same seed.
const KEY_DOMAIN: &[u8] = b"birthmark load generator device key, version 1";

/// How often a scalar may fall outside the group's order before something else must be wrong.
/// For P-256 one hash in 2^32 does, for P-384 one in 2^194: two in a row are never seen.
const DERIVE_ATTEMPTS_MAX: u8 = 8;

/// Why a device could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The cryptographic library refused an operation that should always work.
    #[error(
        "the cryptographic library refused to {0}; check that this machine has memory to spare"
    )]
    Crypto(&'static str),
    /// A stored RSA key cannot be read.
    #[error("the stored RSA key cannot be read; make the first corpus again")]
    StoredKey,
}

/// One device: its serial number and its key.
pub struct Device {
    serial_number: String,
    key: Key,
}

enum Key {
    Ec(EcdsaKeyPair, Curve),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair, MlDsaParameterSet),
    Rsa(Box<RsaKeyPair>, RsaSignature),
}

impl Device {
    /// Device `number` (from 0) of the corpus with this seed.
    ///
    /// EC, Ed25519 and ML-DSA keys derive from `(seed, number)`, so the same arguments give the same
    /// device again. An RSA key is generated: keep it with [`Device::stored_key`].
    pub fn make(algorithm: KeyAlgorithm, seed: u64, number: u64) -> Result<Device, DeviceError> {
        let key = match algorithm {
            KeyAlgorithm::EcP256 => ec_key(Curve::P256, seed, number)?,
            KeyAlgorithm::EcP384 => ec_key(Curve::P384, seed, number)?,
            KeyAlgorithm::EcP521 => ec_key(Curve::P521, seed, number)?,
            KeyAlgorithm::Ed25519 => ed25519_key(seed, number)?,
            KeyAlgorithm::MlDsa44 => ml_dsa_key(MlDsaParameterSet::MlDsa44, seed, number)?,
            KeyAlgorithm::MlDsa65 => ml_dsa_key(MlDsaParameterSet::MlDsa65, seed, number)?,
            KeyAlgorithm::MlDsa87 => ml_dsa_key(MlDsaParameterSet::MlDsa87, seed, number)?,
            KeyAlgorithm::Rsa2048 => rsa_key(KeySize::Rsa2048)?,
            KeyAlgorithm::Rsa3072 => rsa_key(KeySize::Rsa3072)?,
            KeyAlgorithm::Rsa4096 => rsa_key(KeySize::Rsa4096)?,
        };
        Ok(Device {
            serial_number: serial_number(seed, number),
            key,
        })
    }

    /// The same device again, from the RSA key (PKCS#8 DER) that [`Device::stored_key`] gave.
    pub fn from_stored_key(seed: u64, number: u64, pkcs8: &[u8]) -> Result<Device, DeviceError> {
        let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| DeviceError::StoredKey)?;
        Ok(Device {
            serial_number: serial_number(seed, number),
            key: Key::Rsa(Box::new(key), RsaSignature::default()),
        })
    }

    /// The same device, signing as said where its key is an RSA key.
    pub fn with_rsa_signature(mut self, wanted: RsaSignature) -> Device {
        if let Key::Rsa(_, signature) = &mut self.key {
            *signature = wanted;
        }
        self
    }

    /// The key as PKCS#8 DER if it cannot be derived again (RSA); none otherwise.
    pub fn stored_key(&self) -> Result<Option<Vec<u8>>, DeviceError> {
        match &self.key {
            Key::Ec(..) | Key::Ed25519(_) | Key::MlDsa(..) => Ok(None),
            Key::Rsa(key, _) => {
                let der = AsDer::<Pkcs8V1Der>::as_der(key.as_ref())
                    .map_err(|_| DeviceError::Crypto("encode an RSA key"))?;
                Ok(Some(der.as_ref().to_vec()))
            }
        }
    }

    /// The value of the subject's serialNumber and commonName attributes.
    pub fn serial_number(&self) -> &str {
        &self.serial_number
    }

    /// A freshly signed certification request (RFC 2986), DER.
    ///
    /// ECDSA draws a fresh nonce, PSS a fresh salt, and ML-DSA is hedged (FIPS 204 §3.4), so every call
    /// gives other bytes. Ed25519 (RFC 8032 §5.1.6) and RSA PKCS #1 v1.5 (RFC 8017 §8.2.1) are
    /// deterministic: a device that retries sends the same bytes.
    pub fn request(&self) -> Result<Vec<u8>, DeviceError> {
        let info = csr::request_info(&self.serial_number, &self.public_key_info()?);
        let signature = self.sign(&info)?;
        Ok(csr::assemble(
            &info,
            &self.signature_algorithm(),
            &signature,
        ))
    }

    /// The AlgorithmIdentifier of this device's signatures, DER.
    pub fn signature_algorithm(&self) -> Vec<u8> {
        match &self.key {
            Key::Ec(_, Curve::P256) => csr::ECDSA_WITH_SHA256.to_vec(),
            Key::Ec(_, Curve::P384) => csr::ECDSA_WITH_SHA384.to_vec(),
            Key::Ec(_, Curve::P521) => csr::ECDSA_WITH_SHA512.to_vec(),
            Key::Ed25519(_) => csr::ED25519.to_vec(),
            Key::MlDsa(_, parameter_set) => csr::ml_dsa(*parameter_set).to_vec(),
            Key::Rsa(_, RsaSignature::Pkcs1v15) => csr::SHA256_WITH_RSA.to_vec(),
            Key::Rsa(_, RsaSignature::Pss) => csr::RSASSA_PSS.to_vec(),
        }
    }

    /// Signs a message with the device's key.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let refused = |_| DeviceError::Crypto("sign a request");
        match &self.key {
            Key::Ec(key, _) => {
                let signature = key.sign(&SystemRandom::new(), message).map_err(refused)?;
                Ok(signature.as_ref().to_vec())
            }
            Key::Ed25519(key) => {
                let signature = key.try_sign(message).map_err(refused)?;
                Ok(signature.as_ref().to_vec())
            }
            Key::MlDsa(key, parameter_set) => {
                let mut signature = vec![0; parameter_set.signature_len()];
                key.sign(message, &mut signature).map_err(refused)?;
                Ok(signature)
            }
            Key::Rsa(key, form) => {
                let encoding: &'static dyn RsaEncoding = match form {
                    RsaSignature::Pkcs1v15 => &RSA_PKCS1_SHA256,
                    RsaSignature::Pss => &RSA_PSS_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(refused)?;
                Ok(signature)
            }
        }
    }

    /// The SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
    pub fn public_key_info(&self) -> Result<Vec<u8>, DeviceError> {
        Ok(match &self.key {
            Key::Ec(key, curve) => {
                let head = match curve {
                    Curve::P256 => csr::P256_KEY_INFO,
                    Curve::P384 => csr::P384_KEY_INFO,
                    Curve::P521 => csr::P521_KEY_INFO,
                };
                [head, key.public_key().as_ref()].concat()
            }
            Key::Ed25519(key) => [csr::ED25519_KEY_INFO, key.public_key().as_ref()].concat(),
            Key::MlDsa(key, parameter_set) => {
                csr::ml_dsa_key_info(*parameter_set, key.public_key().as_ref())
            }
            Key::Rsa(key, _) => AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key())
                .map_err(|_| DeviceError::Crypto("encode an RSA public key"))?
                .as_ref()
                .to_vec(),
        })
    }
}

/// Without the key.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("serial_number", &self.serial_number)
            .finish_non_exhaustive()
    }
}

/// `BM-<seed, 16 hex digits>-<number from 1, at least 8 digits>`: 28 characters and more, so far
/// under the 64 of X.520's ub-serial-number, and all of PrintableString's alphabet.
fn serial_number(seed: u64, number: u64) -> String {
    format!("BM-{seed:016x}-{:08}", u128::from(number) + 1)
}

/// SHA-2 over (domain, seed, number, attempt).
fn derive(hash: &'static digest::Algorithm, seed: u64, number: u64, attempt: u8) -> digest::Digest {
    let mut context = digest::Context::new(hash);
    context.update(KEY_DOMAIN);
    context.update(&seed.to_be_bytes());
    context.update(&number.to_be_bytes());
    context.update(&[attempt]);
    context.finish()
}

/// The scalar is a hash; one that is zero or not below the group's order is drawn again, so
/// scalars are uniform; P-521's are so below 2^512, which is as far as a hash goes.
///
/// aws-lc-rs takes the scalar inside PKCS #8 without the public key (optional in RFC 5915 §3) and
/// computes the point itself. Measured: half the time of computing the point first and building
/// the pair from both.
fn ec_key(curve: Curve, seed: u64, number: u64) -> Result<Key, DeviceError> {
    let (signing, hash, head): (&'static EcdsaSigningAlgorithm, _, _) = match curve {
        Curve::P256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, &SHA256, P256_PKCS8_HEAD),
        Curve::P384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, &SHA384, P384_PKCS8_HEAD),
        Curve::P521 => (&ECDSA_P521_SHA512_ASN1_SIGNING, &SHA512, P521_PKCS8_HEAD),
    };
    for attempt in 0..DERIVE_ATTEMPTS_MAX {
        let scalar = derive(hash, seed, number, attempt);
        let pkcs8 = [head, scalar.as_ref()].concat();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, &pkcs8) {
            return Ok(Key::Ec(pair, curve));
        }
    }
    Err(DeviceError::Crypto("derive an EC key"))
}

/// PrivateKeyInfo (RFC 5208 §5) of a P-256 ECPrivateKey up to the 32 octets of the scalar.
const P256_PKCS8_HEAD: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];
/// The same for P-384, up to the 48 octets of the scalar.
const P384_PKCS8_HEAD: &[u8] = &[
    0x30, 0x4e, 0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x04, 0x37, 0x30, 0x35, 0x02, 0x01, 0x01, 0x04, 0x30,
];
/// The same for P-521, up to the last 64 of the scalar's 66 octets.
const P521_PKCS8_HEAD: &[u8] = &[
    0x30, 0x60, 0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23, 0x04, 0x49, 0x30, 0x47, 0x02, 0x01, 0x01, 0x04, 0x42,
    0x00, 0x00,
];

fn ed25519_key(seed: u64, number: u64) -> Result<Key, DeviceError> {
    let secret = derive(&SHA256, seed, number, 0);
    Ed25519KeyPair::from_seed_unchecked(secret.as_ref())
        .map(Key::Ed25519)
        .map_err(|_| DeviceError::Crypto("derive an Ed25519 key"))
}

fn ml_dsa_key(
    parameter_set: MlDsaParameterSet,
    seed: u64,
    number: u64,
) -> Result<Key, DeviceError> {
    let signing: &'static PqdsaSigningAlgorithm = match parameter_set {
        MlDsaParameterSet::MlDsa44 => &ML_DSA_44_SIGNING,
        MlDsaParameterSet::MlDsa65 => &ML_DSA_65_SIGNING,
        MlDsaParameterSet::MlDsa87 => &ML_DSA_87_SIGNING,
    };
    let secret = derive(&SHA256, seed, number, 0);
    PqdsaKeyPair::from_seed(signing, secret.as_ref())
        .map(|key| Key::MlDsa(key, parameter_set))
        .map_err(|_| DeviceError::Crypto("derive an ML-DSA key"))
}

fn rsa_key(size: KeySize) -> Result<Key, DeviceError> {
    RsaKeyPair::generate(size)
        .map(|key| Key::Rsa(Box::new(key), RsaSignature::default()))
        .map_err(|_| DeviceError::Crypto("generate an RSA key"))
}
