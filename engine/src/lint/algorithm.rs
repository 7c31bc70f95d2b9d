//! The signature's algorithm and form: equal inside and out, parameters as the algorithm's standard has them.

use super::der::{Value, Values, single};
use super::structure::Certificate;
use super::{CONTINUE, Flow, Report, rules};
use crate::csr::check_signature_hash;
use crate::der::tag;
use crate::oid;

/// What the linter tells apart about signature algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureKind {
    /// With MD2, MD4, MD5 or SHA-1.
    Weak,
    Ecdsa,
    RsaPkcs1,
    RsaPss,
    /// Octets of a signature.
    Eddsa(usize),
    /// Octets of a signature.
    MlDsa(usize),
    Unknown,
}

/// ecdsa-with-SHA1, RFC 3279 §2.2.3, without its last arc; 3 and an arc of its own are the SHA-2 family (RFC 5758).
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// pkcs-1: 2 to 5 are MD2, MD4, MD5 and SHA-1 (RFC 3279 §2.2.1), 11 to 14 the SHA-2 family (RFC 4055 §5).
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// id-Ed448, RFC 8410 §3.
pub(super) const ED448: &[u8] = &[0x2b, 0x65, 0x71];
/// id-sha1, RFC 3279 §2.1.
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// NIST's hash algorithms, 2.16.840.1.101.3.4.2: 1 is SHA-256, 2 SHA-384, 3 SHA-512.
const NIST_HASHES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

pub(super) fn kind(oid: &[u8]) -> SignatureKind {
    use SignatureKind::{Ecdsa, Eddsa, MlDsa, RsaPkcs1, RsaPss, Unknown, Weak};
    if let Some(arcs) = oid.strip_prefix(ECDSA) {
        return match arcs {
            [3, 1..=4] => Ecdsa,
            [1] => Weak,
            _ => Unknown,
        };
    }
    if let Some(arcs) = oid.strip_prefix(PKCS1) {
        return match arcs {
            [2..=5] => Weak,
            [10] => RsaPss,
            [11..=14] => RsaPkcs1,
            _ => Unknown,
        };
    }
    match oid {
        oid::ED25519 => Eddsa(64),
        ED448 => Eddsa(114),
        oid::ML_DSA_44 => MlDsa(2420),
        oid::ML_DSA_65 => MlDsa(3309),
        oid::ML_DSA_87 => MlDsa(4627),
        _ if check_signature_hash(oid).is_err() => Weak,
        _ => Unknown,
    }
}

/// `AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters ANY OPTIONAL }`: the identifier
/// and what follows it.
pub(super) fn identifier(value: Value<'_>) -> Option<(&[u8], Values<'_>)> {
    let mut fields = value.values();
    let oid = fields.tagged(tag::OID)?.content;
    Some((oid, fields))
}

pub(super) fn check<R: Report>(certificate: &Certificate<'_>, report: &mut R) -> Flow {
    let (inside, outside) = (certificate.tbs_algorithm, certificate.signature_algorithm);
    let equal = match (inside, outside) {
        (Some(inside), Some(outside)) => inside.encoding == outside.encoding,
        _ => true,
    };
    report.ensure(equal, &rules::ALGORITHM_EQUAL)?;
    if let Some(inside) = inside.filter(|_| !equal) {
        check_identifier(inside, "signature", report)?;
    }
    let Some(outside) = outside else {
        return CONTINUE;
    };
    let kind = check_identifier(outside, "signatureAlgorithm", report)?;
    match certificate.signature {
        Some(signature) => check_signature(kind, signature, report),
        None => CONTINUE,
    }
}

fn check_identifier<R: Report>(
    algorithm: Value<'_>,
    name: &str,
    report: &mut R,
) -> Flow<SignatureKind> {
    let Some((oid, mut parameters)) = identifier(algorithm) else {
        report.report(&rules::STRUCTURE, format_args!("{name}"))?;
        return Flow::Continue(SignatureKind::Unknown);
    };
    let kind = kind(oid);
    match kind {
        SignatureKind::Weak => report.broken(&rules::ALGORITHM_WEAK)?,
        SignatureKind::Unknown => report.broken(&rules::ALGORITHM_UNKNOWN)?,
        SignatureKind::Ecdsa => report.ensure(parameters.is_empty(), &rules::ALGORITHM_ECDSA)?,
        SignatureKind::Eddsa(_) => report.ensure(parameters.is_empty(), &rules::ALGORITHM_EDDSA)?,
        SignatureKind::MlDsa(_) => {
            report.ensure(parameters.is_empty(), &rules::ALGORITHM_ML_DSA)?;
        }
        SignatureKind::RsaPkcs1 => {
            let null = parameters.tagged(tag::NULL).is_some() && parameters.is_empty();
            report.ensure(null, &rules::ALGORITHM_RSA)?;
        }
        SignatureKind::RsaPss => {
            let value = parameters.tagged(tag::SEQUENCE);
            let sound = value.and_then(pss_parameters).is_some() && parameters.is_empty();
            report.ensure(sound, &rules::ALGORITHM_PSS)?;
            let usual = !sound || value.and_then(pss_hash).is_some();
            report.ensure(usual, &rules::ALGORITHM_PSS_SALT)?;
        }
    }
    Flow::Continue(kind)
}

/// A hash of RSASSA-PSS-params.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PssHash {
    Sha256,
    Sha384,
    Sha512,
}

/// The one hash that parameters name for the message and for MGF1, RFC 4055 §3.1, and the octets of the salt;
/// `None` where they are malformed, have SHA-1, encode a default or differ.
///
/// ```asn1
/// RSASSA-PSS-params ::= SEQUENCE {
///     hashAlgorithm [0] EXPLICIT DEFAULT sha1, maskGenAlgorithm [1] EXPLICIT DEFAULT mgf1SHA1,
///     saltLength [2] EXPLICIT INTEGER DEFAULT 20, trailerField [3] EXPLICIT INTEGER DEFAULT 1 }
/// ```
pub(super) fn pss_parameters(parameters: Value<'_>) -> Option<(PssHash, u8)> {
    let mut fields = parameters.values();
    let hash = fields.tagged(tag::context_constructed(0))?;
    let hash = hash_of(single(hash.content, tag::SEQUENCE)?)?;
    let mask = fields.tagged(tag::context_constructed(1))?;
    let (mask_oid, mut mask) = identifier(single(mask.content, tag::SEQUENCE)?)?;
    let mask_hash = hash_of(mask.tagged(tag::SEQUENCE)?)?;
    let salt = fields.tagged(tag::context_constructed(2));
    let salt = match salt {
        None => 20,
        Some(salt) => match single(salt.content, tag::INTEGER)?.content {
            [salt @ 0..=127] if *salt != 20 => *salt,
            [0, salt @ 128..=255] => *salt,
            _ => return None,
        },
    };
    let sound = mask_oid == oid::MGF1 && mask.is_empty() && hash == mask_hash && fields.is_empty();
    sound.then_some((hash, salt))
}

/// The hash of a signature's parameters, if the salt is as long as the hash (RFC 8017 §9.1, note 4): what is
/// verified here.
pub(super) fn pss_hash(parameters: Value<'_>) -> Option<PssHash> {
    let (hash, salt) = pss_parameters(parameters)?;
    let octets = match hash {
        PssHash::Sha256 => 32,
        PssHash::Sha384 => 48,
        PssHash::Sha512 => 64,
    };
    (salt == octets).then_some(hash)
}

/// A hash's AlgorithmIdentifier with parameters that are NULL or absent, both legal (RFC 4055 §2.1).
fn hash_of(value: Value<'_>) -> Option<PssHash> {
    let (found, mut parameters) = identifier(value)?;
    parameters.tagged(tag::NULL);
    if !parameters.is_empty() || found == SHA1 {
        return None;
    }
    match found.strip_prefix(NIST_HASHES)? {
        [1] => Some(PssHash::Sha256),
        [2] => Some(PssHash::Sha384),
        [3] => Some(PssHash::Sha512),
        _ => None,
    }
}

/// `signatureValue BIT STRING`, whole octets; `Ecdsa-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER }`.
fn check_signature<R: Report>(kind: SignatureKind, signature: Value<'_>, report: &mut R) -> Flow {
    let [0, octets @ ..] = signature.content else {
        return report.broken(&rules::SIGNATURE_FORM);
    };
    if octets.is_empty() {
        return report.broken(&rules::SIGNATURE_FORM);
    }
    match kind {
        SignatureKind::Ecdsa => report.ensure(is_ecdsa_signature(octets), &rules::SIGNATURE_ECDSA),
        SignatureKind::Eddsa(length) | SignatureKind::MlDsa(length) => {
            report.ensure(octets.len() == length, &rules::SIGNATURE_LENGTH)
        }
        _ => CONTINUE,
    }
}

fn is_ecdsa_signature(octets: &[u8]) -> bool {
    let positive = |number: Value<'_>| {
        let content = number.content;
        super::der::is_minimal_integer(content)
            && content[0] & 0x80 == 0
            && content.iter().any(|b| *b != 0)
    };
    // The lengths of r and s need one octet each, and P-521's sum two.
    let Some(sequence) = single(octets, tag::SEQUENCE) else {
        return false;
    };
    let header = if sequence.content.len() < 0x80 { 2 } else { 3 };
    let mut numbers = sequence.values();
    let (r, s) = (numbers.tagged(tag::INTEGER), numbers.tagged(tag::INTEGER));
    let (Some(r), Some(s)) = (r, s) else {
        return false;
    };
    sequence.encoding.len() == header + sequence.content.len()
        && sequence.content.len() == 4 + r.content.len() + s.content.len()
        && numbers.is_empty()
        && positive(r)
        && positive(s)
}
