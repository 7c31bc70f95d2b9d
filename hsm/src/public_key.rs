//! Public keys in the one canonical form that the crates above encode and compare.

use crate::algorithm::{Curve, KeyAlgorithm, MlDsaParameterSet};

/// The public half of a signing key.
///
/// Two equal keys have equal values: points are uncompressed, integers big-endian without a
/// leading zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// An ECDSA key.
    Ec {
        /// The curve.
        curve: Curve,
        /// The uncompressed point of SEC 1 §2.3.3: `04`, X, Y; 65, 97 or 133 bytes.
        point: Vec<u8>,
    },
    /// An Ed25519 key (RFC 8032 §5.1.5): 32 bytes.
    Ed25519([u8; 32]),
    /// An ML-DSA key.
    MlDsa {
        /// The parameter set.
        parameter_set: MlDsaParameterSet,
        /// The encoded key of FIPS 204 §7.2: 1312, 1952 or 2592 bytes.
        key: Vec<u8>,
    },
    /// An RSA key (RFC 8017 §3.1).
    Rsa {
        /// The modulus n, big-endian without a leading zero: 256, 384 or 512 bytes.
        modulus: Vec<u8>,
        /// The public exponent e, big-endian without a leading zero.
        exponent: Vec<u8>,
    },
}

impl PublicKey {
    /// The kind of key; `None` for an RSA modulus of a length that does not sign here.
    pub fn algorithm(&self) -> Option<KeyAlgorithm> {
        match self {
            PublicKey::Ec { curve, .. } => Some(curve.key_algorithm()),
            PublicKey::Ed25519(_) => Some(KeyAlgorithm::Ed25519),
            PublicKey::MlDsa { parameter_set, .. } => Some(parameter_set.key_algorithm()),
            PublicKey::Rsa { modulus, .. } => {
                let unused_bits = modulus
                    .first()
                    .map_or(0, |byte| byte.leading_zeros() as usize);
                KeyAlgorithm::rsa(modulus.len() * 8 - unused_bits)
            }
        }
    }

    /// An RSA key from integers that may carry leading zeros.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> PublicKey {
        PublicKey::Rsa {
            modulus: without_leading_zeros(modulus).to_vec(),
            exponent: without_leading_zeros(exponent).to_vec(),
        }
    }
}

/// The integer's bytes from the first that is not zero.
pub(crate) fn without_leading_zeros(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    &integer[zeros..]
}
