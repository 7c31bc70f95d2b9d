//! Whether a signature is the key's.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};

use crate::algorithm::{Curve, MlDsaParameterSet, RsaSignature};
use crate::public_key::PublicKey;
use crate::signing::SignInput;

/// What is signed to see whether a key works. It begins with the letter B (0x42) and is therefore
/// not DER: no certificate, CRL or request begins with anything but a SEQUENCE (0x30), so a
/// signature over it certifies nothing.
pub const TEST_TEXT: &str = "Birthmark test signature. This text is signed to see whether a key \
    works. It is not a certificate, and nobody should believe anything because of it.\n";

impl PublicKey {
    /// Whether `signature`, in X.509 form, is this key's over `message`. `rsa` says how an RSA key
    /// signs; without it PKCS #1 v1.5.
    pub(crate) fn verifies(
        &self,
        rsa: Option<RsaSignature>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.parse(rsa)
            .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }

    /// As [`PublicKey::verifies`], over what a pool was asked to sign.
    pub(crate) fn verifies_input(
        &self,
        rsa: Option<RsaSignature>,
        input: &SignInput,
        signature: &[u8],
    ) -> bool {
        let digest = match input {
            SignInput::Message(message) => return self.verifies(rsa, message, signature),
            SignInput::Digest { .. } => input,
        };
        let digest = self
            .algorithm()
            .and_then(|algorithm| digest.digest_for(algorithm))
            .and_then(|(bytes, algorithm)| {
                Digest::import_less_safe(bytes, algorithm.provider()).ok()
            });
        digest.is_some_and(|digest| {
            self.parse(rsa)
                .is_ok_and(|key| key.verify_digest_sig(&digest, signature).is_ok())
        })
    }

    fn parse(&self, rsa: Option<RsaSignature>) -> Result<ParsedPublicKey, KeyRejected> {
        let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match self {
            PublicKey::Ec { curve, point } => {
                let algorithm = match curve {
                    Curve::P256 => &signature::ECDSA_P256_SHA256_ASN1,
                    Curve::P384 => &signature::ECDSA_P384_SHA384_ASN1,
                    Curve::P521 => &signature::ECDSA_P521_SHA512_ASN1,
                };
                (algorithm, point)
            }
            PublicKey::Ed25519(key) => (&signature::ED25519, key),
            PublicKey::MlDsa { parameter_set, key } => {
                let algorithm = match parameter_set {
                    MlDsaParameterSet::MlDsa44 => &signature::ML_DSA_44,
                    MlDsaParameterSet::MlDsa65 => &signature::ML_DSA_65,
                    MlDsaParameterSet::MlDsa87 => &signature::ML_DSA_87,
                };
                (algorithm, key)
            }
            PublicKey::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                return key.to_parsed_public_key(match rsa {
                    Some(RsaSignature::Pss) => &signature::RSA_PSS_2048_8192_SHA256,
                    Some(RsaSignature::Pkcs1v15) | None => &signature::RSA_PKCS1_2048_8192_SHA256,
                });
            }
        };
        ParsedPublicKey::new(algorithm, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::KeyAlgorithm;
    use crate::software::SoftwareKey;

    #[test]
    fn a_test_signature_certifies_nothing() {
        assert_ne!(TEST_TEXT.as_bytes()[0], 0x30);
    }

    /// Every kind of key in every form, over the message and over what is signed of it.
    #[test]
    fn signatures_verify_and_others_do_not() {
        let forms = [None, Some(RsaSignature::Pkcs1v15), Some(RsaSignature::Pss)];
        for algorithm in KeyAlgorithm::ALL {
            let mut key = SoftwareKey::generate(algorithm).expect("a key");
            for rsa in forms
                .into_iter()
                .filter(|rsa| rsa.is_some() == algorithm.is_rsa())
            {
                key = key.with_rsa_signature(rsa.unwrap_or_default());
                let input = SignInput::for_key(algorithm, b"abc");
                let signature = key.sign(&input).expect("a signature");
                let (public, signature) = (key.public_key(), signature.as_bytes());
                assert!(public.verifies(rsa, b"abc", signature), "{algorithm}");
                assert!(public.verifies_input(rsa, &input, signature), "{algorithm}");
                let other = SignInput::for_key(algorithm, b"abd");
                assert!(!public.verifies(rsa, b"abd", signature), "{algorithm}");
                assert!(
                    !public.verifies_input(rsa, &other, signature),
                    "{algorithm}"
                );
                let mut wrong = signature.to_vec();
                wrong[signature.len() / 2] ^= 1;
                assert!(!public.verifies_input(rsa, &input, &wrong), "{algorithm}");
            }
        }
    }
}
