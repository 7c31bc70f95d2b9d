//! SubjectPublicKeyInfo: the keys that devices and issuers hold.

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::signature;
use birthmark_hsm::MlDsaParameterSet;
use serde::Deserialize;

use crate::der::reader::{DerError, Reader, Tlv, unsigned, whole_octets};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::oid;
use crate::pss;
use crate::rejection::Rejection;
use crate::weak_key;

mod ed25519;

pub(crate) use ed25519::is_small_order;

/// A kind of key that a profile can accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[non_exhaustive]
pub enum DeviceKeyAlgorithm {
    /// ECDSA on secp256r1, RFC 5480.
    #[serde(rename = "p256")]
    EcP256,
    /// ECDSA on secp384r1, RFC 5480.
    #[serde(rename = "p384")]
    EcP384,
    /// ECDSA on secp521r1, RFC 5480.
    #[serde(rename = "p521")]
    EcP521,
    /// RFC 8410.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// RSA of 2048 to 4096 bits, RFC 3279.
    #[serde(rename = "rsa")]
    Rsa,
    /// RSA of 2048 to 4096 bits that may only sign PSS, RFC 4055 §1.2. The others may sign PSS too.
    #[serde(rename = "rsa-pss")]
    RsaPss,
    /// ML-DSA-44, RFC 9881.
    #[serde(rename = "ml-dsa-44")]
    MlDsa44,
    /// ML-DSA-65, RFC 9881.
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
    /// ML-DSA-87, RFC 9881.
    #[serde(rename = "ml-dsa-87")]
    MlDsa87,
}

impl DeviceKeyAlgorithm {
    /// The name a person reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EcP256 => "P-256",
            Self::EcP384 => "P-384",
            Self::EcP521 => "P-521",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
            Self::RsaPss => "RSA-PSS",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// The parameter set of an ML-DSA key, with the octets that its keys and signatures have.
    pub(crate) fn ml_dsa(self) -> Option<MlDsaParameterSet> {
        match self {
            Self::MlDsa44 => Some(MlDsaParameterSet::MlDsa44),
            Self::MlDsa65 => Some(MlDsaParameterSet::MlDsa65),
            Self::MlDsa87 => Some(MlDsaParameterSet::MlDsa87),
            _ => None,
        }
    }
}

/// Least and greatest RSA modulus, NIST SP 800-57 part 1 §5.6.1 and the largest size in the field.
pub(crate) const RSA_BITS_MIN: usize = 2048;
pub(crate) const RSA_BITS_MAX: usize = 4096;

/// A public key, borrowed from the structure it came in.
///
/// ```asn1
/// SubjectPublicKeyInfo ::= SEQUENCE {
///     algorithm         AlgorithmIdentifier,
///     subjectPublicKey  BIT STRING }            -- RFC 5280 §4.1
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubjectPublicKeyInfo<'a> {
    /// The whole structure, as it goes into the certificate.
    pub(crate) encoding: &'a [u8],
    /// The octets of the subjectPublicKey bit string.
    pub(crate) key: &'a [u8],
    pub(crate) algorithm: DeviceKeyAlgorithm,
    /// RSA's modulus; empty for other keys.
    modulus: &'a [u8],
}

impl<'a> SubjectPublicKeyInfo<'a> {
    /// Stands for a key of this kind where none is used.
    pub(crate) fn sample(encoding: &'a [u8], algorithm: DeviceKeyAlgorithm) -> Self {
        Self {
            encoding,
            key: &[0],
            algorithm,
            modulus: &[],
        }
    }

    pub(crate) fn parse(tlv: &Tlv<'a>) -> Result<Self, Rejection> {
        let mut fields = tlv.reader();
        let algorithm_identifier = fields.expect(tag::SEQUENCE, "no key algorithm")?;
        let key = whole_octets(&fields.expect(tag::BIT_STRING, "no key in a bit string")?)?;
        fields.finish()?;

        let mut reader = algorithm_identifier.reader();
        let algorithm_oid = reader.expect(tag::OID, "no key algorithm")?.content;
        let mut modulus: &[u8] = &[];
        let algorithm = match algorithm_oid {
            oid::EC_PUBLIC_KEY => ec_algorithm(&mut reader, key)?,
            oid::ED25519 => {
                if key.len() != 32 {
                    return Err(Rejection::KeyUnsupported("an Ed25519 key has 32 octets"));
                }
                if is_small_order(key) {
                    return Err(Rejection::KeyUnsupported(
                        "the Ed25519 key is of small order",
                    ));
                }
                DeviceKeyAlgorithm::Ed25519
            }
            oid::RSA_ENCRYPTION => {
                reader.expect(tag::NULL, "RSA parameters that are not NULL")?;
                modulus = rsa_modulus(key)?;
                DeviceKeyAlgorithm::Rsa
            }
            oid::RSA_PSS => {
                pss::check_key_parameters(&mut reader)?;
                modulus = rsa_modulus(key)?;
                DeviceKeyAlgorithm::RsaPss
            }
            oid::ML_DSA_44 => ml_dsa_algorithm(DeviceKeyAlgorithm::MlDsa44, key)?,
            oid::ML_DSA_65 => ml_dsa_algorithm(DeviceKeyAlgorithm::MlDsa65, key)?,
            oid::ML_DSA_87 => ml_dsa_algorithm(DeviceKeyAlgorithm::MlDsa87, key)?,
            _ => return Err(Rejection::KeyUnsupported("unknown key algorithm")),
        };
        reader.finish()?;
        Ok(Self {
            encoding: tlv.encoding,
            key,
            algorithm,
            modulus,
        })
    }

    /// The key's canonical fingerprint: SHA-256 over the algorithm's name, a zero octet, and the
    /// uncompressed point, the Ed25519 or ML-DSA key, or the RSA modulus alone (two exponents make one key, and a
    /// restriction to PSS makes no other).
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let (name, body) = match self.algorithm {
            DeviceKeyAlgorithm::Rsa | DeviceKeyAlgorithm::RsaPss => {
                (DeviceKeyAlgorithm::Rsa.name(), self.modulus)
            }
            other => (other.name(), self.key),
        };
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        hash.update(&[0]);
        hash.update(body);
        hash.finish()
    }

    /// Bits of an RSA key's modulus.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        let first = self.modulus.first()?;
        Some(self.modulus.len() * 8 - first.leading_zeros() as usize)
    }

    /// Key identifier: the first 20 octets of SHA-256 over the bit string's octets, RFC 7093 §2 (1).
    pub(crate) fn key_identifier(&self) -> [u8; 20] {
        let mut identifier = [0; 20];
        identifier.copy_from_slice(&digest(&SHA256, self.key).as_ref()[..20]);
        identifier
    }

    /// The verification algorithm for a signature by this key, by the identifier of the signature
    /// algorithm. `None` where the two do not belong together or the hash is not accepted (MD5 and SHA-1
    /// have no row). A key that is restricted to PSS signs nothing else (RFC 4055 §1.2).
    pub(crate) fn verification(
        &self,
        signature_oid: &[u8],
    ) -> Option<&'static dyn signature::VerificationAlgorithm> {
        use DeviceKeyAlgorithm::{
            EcP256, EcP384, EcP521, Ed25519, MlDsa44, MlDsa65, MlDsa87, Rsa, RsaPss,
        };
        Some(match (self.algorithm, signature_oid) {
            (EcP256, oid::ECDSA_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
            (EcP256, oid::ECDSA_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
            (EcP256, oid::ECDSA_SHA512) => &signature::ECDSA_P256_SHA512_ASN1,
            (EcP384, oid::ECDSA_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
            (EcP384, oid::ECDSA_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
            (EcP384, oid::ECDSA_SHA512) => &signature::ECDSA_P384_SHA512_ASN1,
            (EcP521, oid::ECDSA_SHA256) => &signature::ECDSA_P521_SHA256_ASN1,
            (EcP521, oid::ECDSA_SHA384) => &signature::ECDSA_P521_SHA384_ASN1,
            (EcP521, oid::ECDSA_SHA512) => &signature::ECDSA_P521_SHA512_ASN1,
            (Ed25519, oid::ED25519) => &signature::ED25519,
            (MlDsa44, oid::ML_DSA_44) => &signature::ML_DSA_44,
            (MlDsa65, oid::ML_DSA_65) => &signature::ML_DSA_65,
            (MlDsa87, oid::ML_DSA_87) => &signature::ML_DSA_87,
            (Rsa, oid::RSA_SHA256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Rsa, oid::RSA_SHA384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Rsa, oid::RSA_SHA512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Rsa | RsaPss, oid::RSA_PSS) => &signature::RSA_PSS_2048_8192_SHA256,
            _ => return None,
        })
    }

    /// That the point is on its curve: SEC 1 §3.2.2.1. Its form is right already. Other keys have no point.
    pub(crate) fn check_point(&self) -> Result<(), Rejection> {
        let algorithm = match self.algorithm {
            DeviceKeyAlgorithm::EcP256 => &signature::ECDSA_P256_SHA256_ASN1,
            DeviceKeyAlgorithm::EcP384 => &signature::ECDSA_P384_SHA384_ASN1,
            DeviceKeyAlgorithm::EcP521 => &signature::ECDSA_P521_SHA512_ASN1,
            _ => return Ok(()),
        };
        match signature::ParsedPublicKey::new(algorithm, self.key) {
            Ok(_) => Ok(()),
            Err(_) => Err(Rejection::EcPoint("it is not on its curve")),
        }
    }

    /// That nobody can find the private key from the public one. Only RSA has keys that look sound and are not;
    /// the work is bounded ([`crate::weak_key`]).
    pub(crate) fn check_weakness(&self) -> Result<(), Rejection> {
        match self.algorithm {
            DeviceKeyAlgorithm::Rsa | DeviceKeyAlgorithm::RsaPss => {
                weak_key::check_modulus(self.modulus)
            }
            _ => Ok(()),
        }
    }

    /// Every weakness that [`Self::check_weakness`] looks for.
    pub(crate) fn weaknesses(&self) -> Vec<Rejection> {
        match self.algorithm {
            DeviceKeyAlgorithm::Rsa | DeviceKeyAlgorithm::RsaPss => {
                weak_key::modulus_findings(self.modulus)
            }
            _ => Vec::new(),
        }
    }

    /// SHA-256 over the SubjectPublicKeyInfo, as lists of known keys have it. One of RSA that is restricted to
    /// PSS is listed without the restriction.
    pub(crate) fn listed_fingerprint(&self) -> [u8; 32] {
        if self.algorithm != DeviceKeyAlgorithm::RsaPss {
            return sha256(self.encoding);
        }
        let mut unrestricted = Vec::with_capacity(self.encoding.len());
        Writer::new(&mut unrestricted).nested(tag::SEQUENCE, |info| {
            info.nested(tag::SEQUENCE, |algorithm| {
                algorithm.primitive(tag::OID, oid::RSA_ENCRYPTION);
                algorithm.primitive(tag::NULL, &[]);
            });
            info.primitive(tag::BIT_STRING, &[&[0], self.key].concat());
        });
        sha256(&unrestricted)
    }

    /// Bits of an RSA modulus.
    pub(crate) fn modulus_bits(&self) -> Option<usize> {
        (!self.modulus.is_empty()).then(|| bits(self.modulus))
    }

    /// Octets of the longest signature that this key makes: an Ecdsa-Sig-Value of two INTEGERs one octet
    /// longer than the field, or the one length that the others have.
    pub(crate) fn signature_bytes_max(&self) -> usize {
        use DeviceKeyAlgorithm::{EcP256, EcP384, EcP521, Ed25519};
        match self.algorithm {
            EcP256 => 2 + 2 * (2 + 33),
            EcP384 => 2 + 2 * (2 + 49),
            EcP521 => 3 + 2 * (2 + 66),
            Ed25519 => 64,
            other => other
                .ml_dsa()
                .map_or(self.modulus.len(), MlDsaParameterSet::signature_len),
        }
    }
}

/// RFC 9881 §4: the bit string holds the encoded key and nothing else; parameters are absent, which the
/// caller sees to.
fn ml_dsa_algorithm(
    algorithm: DeviceKeyAlgorithm,
    key: &[u8],
) -> Result<DeviceKeyAlgorithm, Rejection> {
    let expected = algorithm.ml_dsa().map(MlDsaParameterSet::public_key_len);
    if expected == Some(key.len()) {
        Ok(algorithm)
    } else {
        Err(Rejection::KeyUnsupported(
            "an ML-DSA-44 key has 1312 octets, an ML-DSA-65 key 1952, an ML-DSA-87 key 2592",
        ))
    }
}

/// Named curves only: explicit parameters are refused (RFC 5480 §2.1.1, CVE-2022-0778). Points are
/// uncompressed: RFC 5480 §2.2 leaves compressed points optional and many relying devices cannot read
/// them. That the point is on its curve is checked with the proof of possession ([`SubjectPublicKeyInfo::check_point`]).
fn ec_algorithm(
    parameters: &mut Reader<'_>,
    point: &[u8],
) -> Result<DeviceKeyAlgorithm, Rejection> {
    if parameters.peek_tag() != Some(tag::OID) {
        return Err(Rejection::KeyUnsupported(
            "the curve must be named, not described",
        ));
    }
    let (algorithm, point_bytes) = match parameters.any()?.content {
        oid::SECP256R1 => (DeviceKeyAlgorithm::EcP256, 65),
        oid::SECP384R1 => (DeviceKeyAlgorithm::EcP384, 97),
        oid::SECP521R1 => (DeviceKeyAlgorithm::EcP521, 133),
        _ => {
            return Err(Rejection::KeyUnsupported(
                "the curve must be P-256, P-384 or P-521",
            ));
        }
    };
    match point.first() {
        Some(0x04) if point.len() == point_bytes => Ok(algorithm),
        Some(0x00) if point.len() == 1 => Err(Rejection::EcPoint("it is the point at infinity")),
        Some(0x02 | 0x03) => Err(Rejection::KeyUnsupported(
            "the point is compressed; send it uncompressed",
        )),
        _ => Err(Rejection::KeyUnsupported(
            "the point is not an uncompressed point of its curve",
        )),
    }
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`, RFC 8017 appendix A.1.1.
fn rsa_modulus(key: &[u8]) -> Result<&[u8], Rejection> {
    crate::der::reader::check_strict(key)?;
    let mut reader = crate::der::reader::single(key, tag::SEQUENCE, "no RSA public key")?.reader();
    let modulus = unsigned(&reader.expect(tag::INTEGER, "no RSA modulus")?)?;
    let exponent = unsigned(&reader.expect(tag::INTEGER, "no RSA exponent")?)?;
    reader.finish()?;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits(modulus)) {
        return Err(Rejection::RsaPolicy(
            "the modulus has under 2048 or over 4096 bits",
        ));
    }
    if modulus.last().is_none_or(|last| last & 1 == 0) {
        return Err(Rejection::RsaPolicy("the modulus is even"));
    }
    if exponent.last().is_none_or(|last| last & 1 == 0) {
        return Err(Rejection::RsaPolicy("the exponent is even"));
    }
    if exponent != [0x01, 0x00, 0x01] {
        return Err(Rejection::RsaPolicy("the exponent is not 65537"));
    }
    Ok(modulus)
}

/// Bits of a big-endian number without leading zero octets.
fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    number.len() * 8 - zeros as usize
}

impl From<DerError> for Rejection {
    fn from(error: DerError) -> Self {
        let DerError(what) = error;
        if error.is_over_limit() {
            Self::OverLimit(what)
        } else {
            Self::Malformed(what)
        }
    }
}

/// The 32 octets of a finished SHA-256.
pub(crate) fn sha256_output(digest: aws_lc_rs::digest::Digest) -> [u8; 32] {
    let mut output = [0; 32];
    output.copy_from_slice(digest.as_ref());
    output
}

/// Octets that are gathered before they are hashed. A P-256 key's fingerprint takes 71, a request identity with a
/// few short values under 300.
const GATHERED_BYTES: usize = 384;

/// SHA-256 of pieces, one behind the other. Short input is gathered and hashed in one call: a context costs an
/// allocation, and each piece that it is given as much as half a block.
pub(crate) struct Sha256 {
    gathered: arrayvec::ArrayVec<u8, GATHERED_BYTES>,
    /// What came before, once it was more.
    context: Option<Context>,
}

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self {
            gathered: arrayvec::ArrayVec::new(),
            context: None,
        }
    }

    #[inline]
    pub(crate) fn update(&mut self, piece: &[u8]) {
        if self.gathered.try_extend_from_slice(piece).is_err() {
            self.hash_gathered().update(piece);
        }
    }

    /// The digest of all pieces.
    #[inline]
    pub(crate) fn finish(mut self) -> [u8; 32] {
        match self.context.take() {
            None => sha256(&self.gathered),
            Some(mut context) => {
                context.update(&self.gathered);
                sha256_output(context.finish())
            }
        }
    }

    #[cold]
    fn hash_gathered(&mut self) -> &mut Context {
        let context = self.context.get_or_insert_with(|| Context::new(&SHA256));
        context.update(&self.gathered);
        self.gathered.clear();
        context
    }
}

/// SHA-256 of one slice.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256_output(digest(&SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of every kind: gathered, and too many or too long for that.
    #[test]
    fn pieces_are_hashed_as_one() {
        let input: Vec<u8> = (0..3000_u32)
            .map(|number| number.to_le_bytes()[0])
            .collect();
        for total in [
            0,
            1,
            64,
            GATHERED_BYTES - 1,
            GATHERED_BYTES,
            GATHERED_BYTES + 1,
            3000,
        ] {
            for piece in [1, 7, GATHERED_BYTES, GATHERED_BYTES + 1, 3000] {
                let mut hash = Sha256::new();
                input[..total]
                    .chunks(piece)
                    .for_each(|piece| hash.update(piece));
                assert_eq!(hash.finish(), sha256(&input[..total]), "{total} by {piece}");
            }
        }
    }
}
