//! Which kinds of keys sign, and which digest each of them signs.

use std::fmt;
use std::str::FromStr;

/// The kind and size of a signing key. Each kind signs in exactly one way, but for RSA, where
/// [`RsaSignature`] says in which of two.
///
/// | kind | signature | digest |
/// | --- | --- | --- |
/// | `EcP256` | ECDSA (FIPS 186-5) | SHA-256 |
/// | `EcP384` | ECDSA (FIPS 186-5) | SHA-384 |
/// | `EcP521` | ECDSA (FIPS 186-5) | SHA-512 |
/// | `Ed25519` | EdDSA (RFC 8032 §5.1) | none: the message itself |
/// | `Rsa2048`, `Rsa3072`, `Rsa4096` | RSASSA-PKCS1-v1_5 or RSASSA-PSS (RFC 8017 §8) | SHA-256 |
/// | `MlDsa44`, `MlDsa65`, `MlDsa87` | ML-DSA (FIPS 204 §5.2), pure, empty context | none: the message itself |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    EcP256,
    /// ECDSA on P-384.
    EcP384,
    /// ECDSA on P-521.
    EcP521,
    /// Ed25519.
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl KeyAlgorithm {
    /// Every kind, in the order in which they are documented.
    pub const ALL: [KeyAlgorithm; 10] = [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa2048,
        KeyAlgorithm::Rsa3072,
        KeyAlgorithm::Rsa4096,
        KeyAlgorithm::MlDsa44,
        KeyAlgorithm::MlDsa65,
        KeyAlgorithm::MlDsa87,
    ];

    /// The names of [`KeyAlgorithm::ALL`], for help texts and errors.
    pub const NAMES: &'static str = "p256, p384, p521, ed25519, rsa2048, rsa3072, rsa4096, \
         ml-dsa-44, ml-dsa-65, ml-dsa-87";

    /// The digest that is signed, or `None` when the message itself is signed.
    pub fn digest(self) -> Option<DigestAlgorithm> {
        match self {
            KeyAlgorithm::EcP384 => Some(DigestAlgorithm::Sha384),
            KeyAlgorithm::EcP521 => Some(DigestAlgorithm::Sha512),
            KeyAlgorithm::Ed25519
            | KeyAlgorithm::MlDsa44
            | KeyAlgorithm::MlDsa65
            | KeyAlgorithm::MlDsa87 => None,
            KeyAlgorithm::EcP256
            | KeyAlgorithm::Rsa2048
            | KeyAlgorithm::Rsa3072
            | KeyAlgorithm::Rsa4096 => Some(DigestAlgorithm::Sha256),
        }
    }

    /// The name used on the command line and in configuration, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            KeyAlgorithm::EcP256 => "p256",
            KeyAlgorithm::EcP384 => "p384",
            KeyAlgorithm::EcP521 => "p521",
            KeyAlgorithm::Ed25519 => "ed25519",
            KeyAlgorithm::Rsa2048 => "rsa2048",
            KeyAlgorithm::Rsa3072 => "rsa3072",
            KeyAlgorithm::Rsa4096 => "rsa4096",
            KeyAlgorithm::MlDsa44 => "ml-dsa-44",
            KeyAlgorithm::MlDsa65 => "ml-dsa-65",
            KeyAlgorithm::MlDsa87 => "ml-dsa-87",
        }
    }

    /// The name in a sentence: `P-256`, `RSA-2048`.
    pub fn title(self) -> &'static str {
        match self {
            KeyAlgorithm::EcP256 => "P-256",
            KeyAlgorithm::EcP384 => "P-384",
            KeyAlgorithm::EcP521 => "P-521",
            KeyAlgorithm::Ed25519 => "Ed25519",
            KeyAlgorithm::Rsa2048 => "RSA-2048",
            KeyAlgorithm::Rsa3072 => "RSA-3072",
            KeyAlgorithm::Rsa4096 => "RSA-4096",
            KeyAlgorithm::MlDsa44 => "ML-DSA-44",
            KeyAlgorithm::MlDsa65 => "ML-DSA-65",
            KeyAlgorithm::MlDsa87 => "ML-DSA-87",
        }
    }

    /// The curve of an ECDSA key.
    pub fn curve(self) -> Option<Curve> {
        match self {
            KeyAlgorithm::EcP256 => Some(Curve::P256),
            KeyAlgorithm::EcP384 => Some(Curve::P384),
            KeyAlgorithm::EcP521 => Some(Curve::P521),
            _ => None,
        }
    }

    /// The parameter set of an ML-DSA key.
    pub fn ml_dsa(self) -> Option<MlDsaParameterSet> {
        MlDsaParameterSet::ALL
            .into_iter()
            .find(|parameter_set| parameter_set.key_algorithm() == self)
    }

    /// Whether this is an RSA key.
    pub fn is_rsa(self) -> bool {
        self.rsa_modulus_len().is_some()
    }

    /// Length in bytes of an RSA key's modulus, and of its signatures.
    pub(crate) fn rsa_modulus_len(self) -> Option<usize> {
        match self {
            KeyAlgorithm::Rsa2048 => Some(256),
            KeyAlgorithm::Rsa3072 => Some(384),
            KeyAlgorithm::Rsa4096 => Some(512),
            _ => None,
        }
    }

    /// The RSA kind with a modulus of `bits`, if it is one that signs here.
    pub(crate) fn rsa(bits: usize) -> Option<KeyAlgorithm> {
        match bits {
            2048 => Some(KeyAlgorithm::Rsa2048),
            3072 => Some(KeyAlgorithm::Rsa3072),
            4096 => Some(KeyAlgorithm::Rsa4096),
            _ => None,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = UnknownKeyAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        KeyAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| UnknownKeyAlgorithm {
                name: name.chars().take(40).collect(),
            })
    }
}

/// The name is none of those that [`KeyAlgorithm`] reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown key algorithm '{name}': use one of {}", KeyAlgorithm::NAMES)]
pub struct UnknownKeyAlgorithm {
    name: String,
}

/// How an RSA key signs (RFC 8017 §8). Both ways sign a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RsaSignature {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2): what every verifier knows.
    #[default]
    Pkcs1v15,
    /// RSASSA-PSS (RFC 8017 §8.1) with MGF1 over SHA-256 and a salt of 32 bytes.
    Pss,
}

impl RsaSignature {
    /// The name used on the command line and in configuration, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            RsaSignature::Pkcs1v15 => "pkcs1",
            RsaSignature::Pss => "pss",
        }
    }
}

impl fmt::Display for RsaSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RsaSignature {
    type Err = UnknownRsaSignature;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [RsaSignature::Pkcs1v15, RsaSignature::Pss]
            .into_iter()
            .find(|signature| signature.name() == name)
            .ok_or_else(|| UnknownRsaSignature {
                name: name.chars().take(40).collect(),
            })
    }
}

/// The name is none of those that [`RsaSignature`] reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown RSA signature '{name}': use pkcs1 or pss")]
pub struct UnknownRsaSignature {
    name: String,
}

/// A digest that a key signs (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl DigestAlgorithm {
    /// Length of the digest in bytes.
    pub fn output_len(self) -> usize {
        self.provider().output_len()
    }

    /// The implementation of this digest.
    pub(crate) fn provider(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            DigestAlgorithm::Sha256 => &aws_lc_rs::digest::SHA256,
            DigestAlgorithm::Sha384 => &aws_lc_rs::digest::SHA384,
            DigestAlgorithm::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

/// An elliptic curve for ECDSA (FIPS 186-5, SP 800-186).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// P-256, also `prime256v1` and `secp256r1`.
    P256,
    /// P-384, also `secp384r1`.
    P384,
    /// P-521, also `secp521r1`.
    P521,
}

impl Curve {
    /// Every curve.
    pub const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    /// The kind of key on this curve.
    pub fn key_algorithm(self) -> KeyAlgorithm {
        match self {
            Curve::P256 => KeyAlgorithm::EcP256,
            Curve::P384 => KeyAlgorithm::EcP384,
            Curve::P521 => KeyAlgorithm::EcP521,
        }
    }

    /// Length in bytes of a coordinate, and of `r` and of `s`.
    pub fn field_len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

/// A parameter set of ML-DSA (FIPS 204 §4, tables 1 and 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MlDsaParameterSet {
    /// ML-DSA-44, security category 2.
    MlDsa44,
    /// ML-DSA-65, security category 3.
    MlDsa65,
    /// ML-DSA-87, security category 5.
    MlDsa87,
}

impl MlDsaParameterSet {
    /// Every parameter set.
    pub const ALL: [MlDsaParameterSet; 3] = [
        MlDsaParameterSet::MlDsa44,
        MlDsaParameterSet::MlDsa65,
        MlDsaParameterSet::MlDsa87,
    ];

    /// The kind of key with this parameter set.
    pub fn key_algorithm(self) -> KeyAlgorithm {
        match self {
            MlDsaParameterSet::MlDsa44 => KeyAlgorithm::MlDsa44,
            MlDsaParameterSet::MlDsa65 => KeyAlgorithm::MlDsa65,
            MlDsaParameterSet::MlDsa87 => KeyAlgorithm::MlDsa87,
        }
    }

    /// Length of a public key in bytes.
    pub fn public_key_len(self) -> usize {
        match self {
            MlDsaParameterSet::MlDsa44 => 1312,
            MlDsaParameterSet::MlDsa65 => 1952,
            MlDsaParameterSet::MlDsa87 => 2592,
        }
    }

    /// Length of a signature in bytes.
    pub fn signature_len(self) -> usize {
        match self {
            MlDsaParameterSet::MlDsa44 => 2420,
            MlDsaParameterSet::MlDsa65 => 3309,
            MlDsaParameterSet::MlDsa87 => 4627,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse::<KeyAlgorithm>(), Ok(algorithm));
        }
        for wrong in ["", "P256", "rsa1024", "p256 "] {
            let error = wrong.parse::<KeyAlgorithm>().unwrap_err();
            assert!(error.to_string().contains("rsa2048"), "{error}");
        }
        assert_eq!(
            KeyAlgorithm::ALL.map(KeyAlgorithm::name).join(", "),
            KeyAlgorithm::NAMES
        );
    }
}
