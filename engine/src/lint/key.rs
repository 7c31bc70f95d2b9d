//! SubjectPublicKeyInfo: that the key is of its algorithm's form, and none that anybody can break.

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use super::algorithm::{
    ED448, PssHash, SignatureKind, identifier, kind as signature_kind, pss_hash, pss_parameters,
};
use super::der::{Value, Values, single, walk};
use super::structure::Certificate;
use super::{CONTINUE, Demands, Flow, Report, rules};
use crate::der::tag;
use crate::key::{DeviceKeyAlgorithm, is_small_order};
use crate::oid;
use crate::weak_key::modulus_findings;

/// What the linter tells apart about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    P256,
    P384,
    P521,
    /// On a curve that is not known here, or not named.
    OtherEc,
    Rsa,
    RsaPss,
    Ed25519,
    Ed448,
    X25519,
    X448,
    MlDsa44,
    MlDsa65,
    MlDsa87,
    Unknown,
}

/// id-X25519 and id-X448, RFC 8410 §3.
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
const X448: &[u8] = &[0x2b, 0x65, 0x6f];

impl KeyKind {
    /// The same kind as profiles call it.
    pub(super) fn device_algorithm(self) -> Option<DeviceKeyAlgorithm> {
        Some(match self {
            Self::P256 => DeviceKeyAlgorithm::EcP256,
            Self::P384 => DeviceKeyAlgorithm::EcP384,
            Self::P521 => DeviceKeyAlgorithm::EcP521,
            Self::Ed25519 => DeviceKeyAlgorithm::Ed25519,
            Self::Rsa => DeviceKeyAlgorithm::Rsa,
            Self::RsaPss => DeviceKeyAlgorithm::RsaPss,
            Self::MlDsa44 => DeviceKeyAlgorithm::MlDsa44,
            Self::MlDsa65 => DeviceKeyAlgorithm::MlDsa65,
            Self::MlDsa87 => DeviceKeyAlgorithm::MlDsa87,
            Self::OtherEc | Self::Ed448 | Self::X25519 | Self::X448 | Self::Unknown => return None,
        })
    }

    /// Octets of a public key that has one length.
    fn key_bytes(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::P384 => 97,
            Self::P521 => 133,
            Self::Ed25519 | Self::X25519 => 32,
            Self::Ed448 => 57,
            Self::X448 => 56,
            Self::MlDsa44 => 1312,
            Self::MlDsa65 => 1952,
            Self::MlDsa87 => 2592,
            Self::OtherEc | Self::Rsa | Self::RsaPss | Self::Unknown => 0,
        }
    }

    /// Whether such a key may sign with this AlgorithmIdentifier. What is not known here counts as if it did.
    pub(super) fn can_sign(self, algorithm: Value<'_>) -> bool {
        let Some((oid, _)) = identifier(algorithm) else {
            return true;
        };
        match (self, signature_kind(oid)) {
            (Self::X25519 | Self::X448, _) => false,
            (Self::Unknown, _) | (_, SignatureKind::Unknown | SignatureKind::Weak) => true,
            (Self::P256 | Self::P384 | Self::P521 | Self::OtherEc, SignatureKind::Ecdsa) => true,
            (Self::Rsa, SignatureKind::RsaPkcs1 | SignatureKind::RsaPss) => true,
            (Self::RsaPss, SignatureKind::RsaPss) => true,
            // These keys' algorithms have the keys' own identifiers.
            (Self::Ed25519, _) => oid == oid::ED25519,
            (Self::Ed448, _) => oid == ED448,
            (Self::MlDsa44, _) => oid == oid::ML_DSA_44,
            (Self::MlDsa65, _) => oid == oid::ML_DSA_65,
            (Self::MlDsa87, _) => oid == oid::ML_DSA_87,
            _ => false,
        }
    }

    /// What verifies a signature by such a key with this AlgorithmIdentifier. `None` where the two do not fit,
    /// or the algorithm is not known here.
    pub(super) fn verification(
        self,
        algorithm: Value<'_>,
    ) -> Option<&'static dyn VerificationAlgorithm> {
        let (oid, mut parameters) = identifier(algorithm)?;
        if oid == oid::RSA_PSS && matches!(self, Self::Rsa | Self::RsaPss) {
            return Some(match pss_hash(parameters.tagged(tag::SEQUENCE)?)? {
                PssHash::Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
                PssHash::Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
                PssHash::Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
            });
        }
        Some(match (self, oid) {
            (Self::P256, oid::ECDSA_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::P256, oid::ECDSA_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::P256, oid::ECDSA_SHA512) => &signature::ECDSA_P256_SHA512_ASN1,
            (Self::P384, oid::ECDSA_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::P384, oid::ECDSA_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::P384, oid::ECDSA_SHA512) => &signature::ECDSA_P384_SHA512_ASN1,
            (Self::P521, oid::ECDSA_SHA256) => &signature::ECDSA_P521_SHA256_ASN1,
            (Self::P521, oid::ECDSA_SHA384) => &signature::ECDSA_P521_SHA384_ASN1,
            (Self::P521, oid::ECDSA_SHA512) => &signature::ECDSA_P521_SHA512_ASN1,
            (Self::Ed25519, oid::ED25519) => &signature::ED25519,
            (Self::MlDsa44, oid::ML_DSA_44) => &signature::ML_DSA_44,
            (Self::MlDsa65, oid::ML_DSA_65) => &signature::ML_DSA_65,
            (Self::MlDsa87, oid::ML_DSA_87) => &signature::ML_DSA_87,
            (Self::Rsa, oid::RSA_SHA256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa, oid::RSA_SHA384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa, oid::RSA_SHA512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// `SubjectPublicKeyInfo ::= SEQUENCE { algorithm AlgorithmIdentifier, subjectPublicKey BIT STRING }`.
pub(super) struct Spki<'a> {
    pub(super) kind: KeyKind,
    parameters: Values<'a>,
    /// The bit string's octets.
    pub(super) key: &'a [u8],
}

impl<'a> Spki<'a> {
    /// `None` where it is malformed.
    pub(super) fn read(spki: Value<'a>) -> Option<Self> {
        let mut fields = spki.values();
        let (oid, parameters) = identifier(fields.tagged(tag::SEQUENCE)?)?;
        let [0, key @ ..] = fields.tagged(tag::BIT_STRING)?.content else {
            return None;
        };
        let kind = match oid {
            oid::EC_PUBLIC_KEY => match parameters.clone().next().map(|curve| curve.content) {
                Some(oid::SECP256R1) => KeyKind::P256,
                Some(oid::SECP384R1) => KeyKind::P384,
                Some(oid::SECP521R1) => KeyKind::P521,
                _ => KeyKind::OtherEc,
            },
            oid::RSA_ENCRYPTION => KeyKind::Rsa,
            oid::RSA_PSS => KeyKind::RsaPss,
            oid::ED25519 => KeyKind::Ed25519,
            ED448 => KeyKind::Ed448,
            X25519 => KeyKind::X25519,
            X448 => KeyKind::X448,
            oid::ML_DSA_44 => KeyKind::MlDsa44,
            oid::ML_DSA_65 => KeyKind::MlDsa65,
            oid::ML_DSA_87 => KeyKind::MlDsa87,
            _ => KeyKind::Unknown,
        };
        fields.is_empty().then_some(Self {
            kind,
            parameters,
            key,
        })
    }
}

/// Reads the key and says of what kind it is. Where the request's key is known, the certificate must have it
/// byte for byte; it was validated then, and is not looked at again.
pub(super) fn check<R: Report>(
    certificate: &Certificate<'_>,
    demands: &Demands<'_>,
    report: &mut R,
) -> Flow<KeyKind> {
    let Some(value) = certificate.spki else {
        return Flow::Continue(KeyKind::Unknown);
    };
    let Some(spki) = Spki::read(value) else {
        report.broken(&rules::KEY_STRUCTURE)?;
        return Flow::Continue(KeyKind::Unknown);
    };
    match &demands.request {
        Some(request) => report.ensure(request.spki == value.encoding, &rules::REQUEST_KEY)?,
        None => check_key(
            spki.kind,
            spki.parameters,
            spki.key,
            certificate.der,
            report,
        )?,
    }
    Flow::Continue(spki.kind)
}

fn check_key<R: Report>(
    kind: KeyKind,
    mut parameters: Values<'_>,
    key: &[u8],
    der: &[u8],
    report: &mut R,
) -> Flow {
    let absent = parameters.is_empty();
    match kind {
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 | KeyKind::OtherEc => {
            let named = parameters.tagged(tag::OID).is_some() && parameters.is_empty();
            report.ensure(named, &rules::KEY_EC_PARAMETERS)?;
            check_point(kind, key, named, report)
        }
        KeyKind::Rsa => {
            let null = parameters.tagged(tag::NULL).is_some() && parameters.is_empty();
            report.ensure(null, &rules::KEY_RSA_PARAMETERS)?;
            check_rsa(key, der, report)
        }
        KeyKind::RsaPss => {
            let sound = absent || parameters.next().and_then(pss_parameters).is_some();
            report.ensure(sound && parameters.is_empty(), &rules::KEY_RSA_PSS)?;
            check_rsa(key, der, report)
        }
        KeyKind::Ed25519 | KeyKind::Ed448 | KeyKind::X25519 | KeyKind::X448 => {
            report.ensure(absent, &rules::KEY_EDWARDS_PARAMETERS)?;
            report.ensure(key.len() == kind.key_bytes(), &rules::KEY_EDWARDS_LENGTH)?;
            let small = kind == KeyKind::Ed25519 && key.len() == 32 && is_small_order(key);
            report.ensure(!small, &rules::KEY_ED25519_SMALL)
        }
        KeyKind::MlDsa44 | KeyKind::MlDsa65 | KeyKind::MlDsa87 => {
            report.ensure(absent, &rules::KEY_ML_DSA_PARAMETERS)?;
            report.ensure(key.len() == kind.key_bytes(), &rules::KEY_ML_DSA_LENGTH)
        }
        KeyKind::Unknown => report.broken(&rules::KEY_UNKNOWN),
    }
}

/// `ECPoint ::= OCTET STRING`: 04 and both coordinates, or 02 or 03 and one, RFC 5480 §2.2 and SEC 1 §2.3.3.
fn check_point<R: Report>(kind: KeyKind, point: &[u8], named: bool, report: &mut R) -> Flow {
    let verification: &'static dyn VerificationAlgorithm = match kind {
        KeyKind::P256 => &signature::ECDSA_P256_SHA256_ASN1,
        KeyKind::P384 => &signature::ECDSA_P384_SHA384_ASN1,
        KeyKind::P521 => &signature::ECDSA_P521_SHA512_ASN1,
        _ if named => return report.broken(&rules::KEY_EC_CURVE),
        _ => return CONTINUE,
    };
    let uncompressed = kind.key_bytes();
    match point {
        [0x04, ..] if point.len() == uncompressed => {}
        [0x02 | 0x03, ..] if point.len() == uncompressed / 2 + 1 => {
            report.broken(&rules::KEY_EC_COMPRESSED)?;
        }
        _ => return report.broken(&rules::KEY_EC_POINT),
    }
    let on_curve = ParsedPublicKey::new(verification, point).is_ok();
    report.ensure(on_curve, &rules::KEY_EC_OFF_CURVE)
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`, RFC 8017 appendix A.1.1.
fn check_rsa<R: Report>(key: &[u8], der: &[u8], report: &mut R) -> Flow {
    walk(key, der, report)?;
    let Some([modulus, exponent]) = rsa_numbers(key) else {
        return report.broken(&rules::KEY_RSA_FORM);
    };
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
    if bits < 2048 {
        report.report(&rules::KEY_RSA_BITS, format_args!("{bits} bits"))?;
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    report.ensure(odd(modulus), &rules::KEY_RSA_EVEN)?;
    // Before release the request's key was looked at already.
    if R::ALL && odd(modulus) && (2048..=4096).contains(&bits) {
        for weakness in modulus_findings(modulus) {
            let reason = weakness.reason();
            report.report(&rules::KEY_RSA_WEAK, format_args!("{reason}"))?;
        }
    }
    let weak = !odd(exponent) || exponent == [1];
    report.ensure(!weak, &rules::KEY_RSA_EXPONENT)?;
    let usual = weak || exponent == [0x01, 0x00, 0x01];
    report.ensure(usual, &rules::KEY_RSA_EXPONENT_POLICY)
}

/// Modulus and exponent, positive, without leading zeros.
fn rsa_numbers(key: &[u8]) -> Option<[&[u8]; 2]> {
    let mut numbers = single(key, tag::SEQUENCE)?.values();
    let magnitude = |number: Value<'_>| -> Option<usize> {
        let content = number.content;
        let zeros = content.iter().take_while(|octet| **octet == 0).count();
        let positive = content.first()? & 0x80 == 0 && zeros < content.len();
        positive.then_some(zeros)
    };
    let (modulus, exponent) = (numbers.tagged(tag::INTEGER)?, numbers.tagged(tag::INTEGER)?);
    let numbers = numbers.is_empty().then_some([modulus, exponent])?;
    let [modulus_zeros, exponent_zeros] = numbers.map(magnitude);
    Some([
        &modulus.content[modulus_zeros?..],
        &exponent.content[exponent_zeros?..],
    ])
}
