//! Making a key pair.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::pkcs8::Document;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};

use crate::der::reader::single;
use crate::der::tag;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};

/// A key pair that was made here, so that its possession needs no proof. There is no other way to one than
/// [`GeneratedKey::generate`].
///
/// The private key is erased when this is dropped: [`Document`] zeroizes itself, and aws-lc clears what it
/// frees.
pub(crate) struct GeneratedKey {
    /// SubjectPublicKeyInfo, DER.
    spki: Vec<u8>,
    /// PrivateKeyInfo, DER (RFC 5958 §2, version v1).
    private: Document,
}

/// Says nothing of the private key.
impl fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedKey").finish_non_exhaustive()
    }
}

/// No key could be made: the random number generator failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoKey;

impl GeneratedKey {
    /// Whether keys of this kind are made here.
    pub(crate) fn makes(algorithm: DeviceKeyAlgorithm) -> bool {
        curve(algorithm).is_some()
    }

    /// A new key pair, uniform over the curve's order (FIPS 186-5 appendix A.2).
    pub(crate) fn generate(algorithm: DeviceKeyAlgorithm) -> Result<Self, NoKey> {
        let pair = EcdsaKeyPair::generate(curve(algorithm).ok_or(NoKey)?).map_err(|_| NoKey)?;
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| NoKey)?;
        Ok(Self {
            spki: spki.as_ref().to_vec(),
            private: pair.to_pkcs8v1().map_err(|_| NoKey)?,
        })
    }

    /// The public half, read as strictly as a request's.
    pub(crate) fn public(&self) -> Result<SubjectPublicKeyInfo<'_>, NoKey> {
        let tlv = single(&self.spki, tag::SEQUENCE, "no key").map_err(|_| NoKey)?;
        SubjectPublicKeyInfo::parse(&tlv).map_err(|_| NoKey)
    }

    /// PrivateKeyInfo, DER. Whoever copies it erases the copy.
    pub(super) fn private(&self) -> &[u8] {
        self.private.as_ref()
    }
}

fn curve(algorithm: DeviceKeyAlgorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        DeviceKeyAlgorithm::EcP256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        DeviceKeyAlgorithm::EcP384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        DeviceKeyAlgorithm::EcP521 => Some(&ECDSA_P521_SHA512_ASN1_SIGNING),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_back_as_what_was_asked_for() {
        for algorithm in [
            DeviceKeyAlgorithm::EcP256,
            DeviceKeyAlgorithm::EcP384,
            DeviceKeyAlgorithm::EcP521,
        ] {
            let key = GeneratedKey::generate(algorithm).unwrap();
            assert_eq!(key.public().unwrap().algorithm, algorithm);
            let pair = EcdsaKeyPair::from_pkcs8(curve(algorithm).unwrap(), key.private()).unwrap();
            assert_eq!(pair.public_key().as_ref(), key.public().unwrap().key);
            assert_eq!(format!("{key:?}"), "GeneratedKey { .. }");
        }
        assert!(!GeneratedKey::makes(DeviceKeyAlgorithm::Rsa));
        assert_eq!(
            GeneratedKey::generate(DeviceKeyAlgorithm::Rsa).unwrap_err(),
            NoKey
        );
    }
}
