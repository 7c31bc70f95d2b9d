//! Which aws-lc-rs algorithm verifies what each kind of key signs here.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, ML_DSA_44,
    ML_DSA_65, ML_DSA_87, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use birthmark_hsm::{DigestAlgorithm, KeyAlgorithm, PublicKey, RsaSignature, SigningPool};

/// ECDSA with the curve's own SHA-2, Ed25519, ML-DSA, and RSA with SHA-256 in either way.
pub(crate) fn algorithm(
    key: KeyAlgorithm,
    rsa_signature: Option<RsaSignature>,
) -> &'static dyn VerificationAlgorithm {
    match key {
        KeyAlgorithm::EcP256 => &ECDSA_P256_SHA256_ASN1,
        KeyAlgorithm::EcP384 => &ECDSA_P384_SHA384_ASN1,
        KeyAlgorithm::EcP521 => &ECDSA_P521_SHA512_ASN1,
        KeyAlgorithm::Ed25519 => &ED25519,
        KeyAlgorithm::MlDsa44 => &ML_DSA_44,
        KeyAlgorithm::MlDsa65 => &ML_DSA_65,
        KeyAlgorithm::MlDsa87 => &ML_DSA_87,
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => rsa(rsa_signature),
    }
}

fn rsa(signature: Option<RsaSignature>) -> &'static RsaParameters {
    match signature {
        Some(RsaSignature::Pss) => &RSA_PSS_2048_8192_SHA256,
        Some(RsaSignature::Pkcs1v15) | None => &RSA_PKCS1_2048_8192_SHA256,
    }
}

/// The issuer's key, parsed once for many verifications.
pub(crate) fn issuer(pool: &SigningPool) -> Result<ParsedPublicKey, KeyRejected> {
    let algorithm = algorithm(pool.key_algorithm(), pool.rsa_signature());
    match pool.public_key() {
        PublicKey::Ec { point, .. } => ParsedPublicKey::new(algorithm, point),
        PublicKey::Ed25519(key) => ParsedPublicKey::new(algorithm, key),
        PublicKey::MlDsa { key, .. } => ParsedPublicKey::new(algorithm, key),
        PublicKey::Rsa { modulus, exponent } => RsaPublicKeyComponents {
            n: modulus,
            e: exponent,
        }
        .to_parsed_public_key(rsa(pool.rsa_signature())),
    }
}

/// The implementation of a digest.
pub(crate) fn digest(algorithm: DigestAlgorithm) -> &'static digest::Algorithm {
    match algorithm {
        DigestAlgorithm::Sha256 => &SHA256,
        DigestAlgorithm::Sha384 => &SHA384,
        DigestAlgorithm::Sha512 => &SHA512,
    }
}
