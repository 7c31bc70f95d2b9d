//! PKCS #10 certification requests: parse, then verify.

use arrayvec::ArrayVec;
use aws_lc_rs::signature::UnparsedPublicKey;
use p256x8::{Digest, PublicKey, Signature, Verifier};

use crate::der::reader::{self, Tlv, check_strict, whole_octets};
use crate::der::tag;
use crate::device_key::{GeneratedKey, NoKey};
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo, sha256};
use crate::name::Name;
use crate::oid;
use crate::pss;
use crate::rejection::Rejection;
use crate::requested_extensions::RequestedExtensions;
use crate::verification::{BATCH_MAX, LaneItem, has_lanes};

/// The largest request that is looked at. Real ones have 200 to 2,000 bytes, an ML-DSA-87 one about 8,000.
pub const CSR_BYTES_MAX: usize = 64 * 1024;

/// Attributes in one request. Real requests carry under ten.
const ATTRIBUTES_MAX: usize = 32;

/// The bytes of a request, bounded in size and otherwise untouched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CertificateSigningRequestDer<'a>(&'a [u8]);

impl<'a> CertificateSigningRequestDer<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Rejection> {
        match bytes.len() {
            0 => Err(Rejection::Empty),
            1..=CSR_BYTES_MAX => Ok(Self(bytes)),
            bytes => Err(Rejection::TooLarge {
                bytes,
                max: CSR_BYTES_MAX,
            }),
        }
    }
}

/// The attributes that hold requested extensions: PKCS #9's, and the one that Microsoft's tools wrote before
/// it.
const EXTENSION_REQUESTS: [&[u8]; 2] = [oid::EXTENSION_REQUEST, oid::MICROSOFT_EXTENSION_REQUEST];

/// A parsed request. Nothing in it is trusted yet.
///
/// ```asn1
/// CertificationRequest ::= SEQUENCE {
///     certificationRequestInfo CertificationRequestInfo,
///     signatureAlgorithm       AlgorithmIdentifier,
///     signature                BIT STRING }                    -- RFC 2986 §4.2
/// CertificationRequestInfo ::= SEQUENCE {
///     version       INTEGER { v1(0) },
///     subject       Name,
///     subjectPKInfo SubjectPublicKeyInfo,
///     attributes    [0] IMPLICIT SET OF Attribute }            -- RFC 2986 §4.1
/// ```
#[derive(Debug)]
pub(crate) struct CertificationRequest<'a> {
    /// The signed bytes.
    info: &'a [u8],
    signature_oid: &'a [u8],
    signature: &'a [u8],
    subject: Name<'a>,
    key: SubjectPublicKeyInfo<'a>,
    extensions: RequestedExtensions<'a>,
}

impl<'a> CertificationRequest<'a> {
    pub(crate) fn parse(der: CertificateSigningRequestDer<'a>) -> Result<Self, Rejection> {
        check_strict(der.0)?;
        let parts = Parts::read(der.0)?;
        parts.check_version()?;
        let subject = Name::parse(&parts.subject)?;
        let key = SubjectPublicKeyInfo::parse(&parts.key)?;
        let extensions = parse_attributes(&parts.attributes)?;
        Ok(Self {
            info: parts.info,
            signature_oid: signature_oid(&parts.signature_algorithm, &key)?,
            signature: whole_octets(&parts.signature)?,
            subject,
            key,
            extensions,
        })
    }

    /// Proof of possession: the key in the request made its signature (RFC 2986 §4.2). Then, whether it is a key
    /// that only its owner has. `proof` is the lanes' verdict, where they had the signature.
    fn verify(self, proof: Option<bool>) -> Result<VerifiedRequest<'a>, Rejection> {
        match proof {
            Some(true) => {}
            Some(false) => return Err(unproven(&self.key)),
            None => check_signature(&self.key, self.signature_oid, self.info, self.signature)?,
        }
        self.key.check_weakness()?;
        Ok(VerifiedRequest {
            subject: self.subject,
            key: self.key,
            extensions: self.extensions,
            generated: false,
        })
    }

    pub(crate) fn is_p256_with_sha256(&self) -> bool {
        self.key.algorithm == DeviceKeyAlgorithm::EcP256 && self.signature_oid == oid::ECDSA_SHA256
    }

    /// The signature as lanes take it. `None` for other algorithms, and for what only aws-lc-rs shall judge because it
    /// is not in the usual form.
    fn lane_item(&self) -> Option<LaneItem> {
        let usual =
            self.is_p256_with_sha256() && self.signature.len() <= self.key.signature_bytes_max();
        if !usual {
            return None;
        }
        let key = PublicKey::from_sec1(self.key.key)?;
        let signature = Signature::from_der(self.signature)?;
        Some((key, Digest(sha256(self.info)), signature))
    }
}

/// The values of a request, each for itself and none looked into.
pub(crate) struct Parts<'a> {
    /// The signed bytes.
    pub(crate) info: &'a [u8],
    version: Tlv<'a>,
    pub(crate) subject: Tlv<'a>,
    pub(crate) key: Tlv<'a>,
    pub(crate) attributes: Tlv<'a>,
    pub(crate) signature_algorithm: Tlv<'a>,
    pub(crate) signature: Tlv<'a>,
}

impl<'a> Parts<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, Rejection> {
        let mut outer = reader::single(der, tag::SEQUENCE, "no outer SEQUENCE")?.reader();
        let info = outer.expect(tag::SEQUENCE, "no certificationRequestInfo")?;
        let signature_algorithm = outer.expect(tag::SEQUENCE, "no signatureAlgorithm")?;
        let signature = outer.expect(tag::BIT_STRING, "no signature")?;
        outer.finish()?;

        let mut fields = info.reader();
        let version = fields.expect(tag::INTEGER, "no version")?;
        let subject = fields.expect(tag::SEQUENCE, "no subject")?;
        let key = fields.expect(tag::SEQUENCE, "no subjectPKInfo")?;
        let attributes = fields.expect(tag::context_constructed(0), "no attributes field")?;
        fields.finish()?;
        Ok(Self {
            info: info.encoding,
            version,
            subject,
            key,
            attributes,
            signature_algorithm,
            signature,
        })
    }

    pub(crate) fn check_version(&self) -> Result<(), Rejection> {
        if self.version.content == [0] {
            Ok(())
        } else {
            Err(Rejection::Malformed("a version other than v1"))
        }
    }
}

/// Whether `key` made `signature` over `info`.
pub(crate) fn check_signature(
    key: &SubjectPublicKeyInfo<'_>,
    signature_oid: &[u8],
    info: &[u8],
    signature: &[u8],
) -> Result<(), Rejection> {
    let Some(algorithm) = key.verification(signature_oid) else {
        return Err(Rejection::SignatureAlgorithm);
    };
    let verified = signature.len() <= key.signature_bytes_max()
        && UnparsedPublicKey::new(algorithm, key.key)
            .verify(info, signature)
            .is_ok();
    if verified { Ok(()) } else { Err(unproven(key)) }
}

/// Why a signature does not verify. A point that is not on its curve is told apart only here, so that good requests do
/// not pay for it: no signature verifies with such a point.
fn unproven(key: &SubjectPublicKeyInfo<'_>) -> Rejection {
    match key.check_point() {
        Ok(()) => Rejection::ProofOfPossession,
        Err(rejection) => rejection,
    }
}

/// A request whose key is in the right hands: its signature was made by the key in it, or the engine made
/// the key itself.
#[derive(Debug)]
pub(crate) struct VerifiedRequest<'a> {
    pub(crate) subject: Name<'a>,
    pub(crate) key: SubjectPublicKeyInfo<'a>,
    pub(crate) extensions: RequestedExtensions<'a>,
    /// The engine made the key.
    pub(crate) generated: bool,
}

impl<'a> VerifiedRequest<'a> {
    /// What a device without a key of its own asks for: the key that was made for it, and no wishes.
    pub(crate) fn of_generated(key: &'a GeneratedKey) -> Result<Self, NoKey> {
        /// `Name ::= SEQUENCE OF …`, with nothing in it.
        const NO_NAME: &[u8] = &[tag::SEQUENCE, 0];
        let subject = reader::single(NO_NAME, tag::SEQUENCE, "no name").map_err(|_| NoKey)?;
        Ok(Self {
            subject: Name::parse(&subject).map_err(|_| NoKey)?,
            key: key.public()?,
            extensions: RequestedExtensions::default(),
            generated: true,
        })
    }
}

/// Verifies requests. They go together so that a verifier with several lanes takes them side by side.
pub(crate) fn verify_batch<'a>(
    verifier: &Verifier,
    requests: Vec<Result<CertificationRequest<'a>, Rejection>>,
) -> Vec<Result<VerifiedRequest<'a>, Rejection>> {
    let mut proofs = Vec::with_capacity(requests.len());
    for chunk in requests.chunks(BATCH_MAX) {
        proofs.extend(prove(verifier, chunk));
    }
    requests
        .into_iter()
        .zip(proofs)
        .map(|(request, proof)| request.and_then(|request| request.verify(proof)))
        .collect()
}

/// The lanes' verdicts on up to [`BATCH_MAX`] requests; `None` for each that they do not take.
fn prove(
    verifier: &Verifier,
    chunk: &[Result<CertificationRequest<'_>, Rejection>],
) -> ArrayVec<Option<bool>, BATCH_MAX> {
    let mut proofs: ArrayVec<_, BATCH_MAX> = chunk.iter().map(|_| None).collect();
    if !has_lanes(verifier) {
        return proofs;
    }
    let mut places: ArrayVec<usize, BATCH_MAX> = ArrayVec::new();
    let mut items: ArrayVec<LaneItem, BATCH_MAX> = ArrayVec::new();
    for (place, request) in chunk.iter().enumerate() {
        if let Some(item) = request.as_ref().ok().and_then(|it| it.lane_item()) {
            places.push(place);
            items.push(item);
        }
    }
    let mut verdicts = [false; BATCH_MAX];
    verifier.verify_into(&items, &mut verdicts);
    for (place, verdict) in places.into_iter().zip(verdicts) {
        proofs[place] = Some(verdict);
    }
    proofs
}

/// Signature algorithms whose hash no longer binds a signature to what was signed: MD2 (RFC 6149), MD4 (RFC 6150),
/// MD5 (RFC 6151) and SHA-1 (NIST SP 800-131A revision 2 §9), content octets of the identifiers.
const BROKEN_HASHES: [(&[u8], &str); 9] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x02],
        "MD2",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x03],
        "MD4",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
        "MD5",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
        "SHA-1",
    ),
    // The same of the Open Systems Environment Implementors' Workshop: 1.3.14.3.2.
    (&[0x2b, 0x0e, 0x03, 0x02, 0x02], "MD4"),
    (&[0x2b, 0x0e, 0x03, 0x02, 0x03], "MD5"),
    (&[0x2b, 0x0e, 0x03, 0x02, 0x1d], "SHA-1"),
    // ecdsa-with-SHA1 and id-dsa-with-sha1.
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "SHA-1"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03], "SHA-1"),
];

/// Refuses a signature over a broken hash, whatever key it goes with.
pub(crate) fn check_signature_hash(signature_oid: &[u8]) -> Result<(), Rejection> {
    let broken = BROKEN_HASHES.iter().find(|(oid, _)| *oid == signature_oid);
    broken.map_or(Ok(()), |(_, hash)| Err(Rejection::SignatureHash(hash)))
}

/// The signature algorithm's identifier. RSASSA-PSS has the parameters of RFC 4055 §3.1, other RSA NULL (§5);
/// ECDSA, EdDSA and ML-DSA have none (RFC 5758 §3.2, RFC 8410 §3, RFC 9881 §2).
pub(crate) fn signature_oid<'a>(
    algorithm: &Tlv<'a>,
    key: &SubjectPublicKeyInfo<'_>,
) -> Result<&'a [u8], Rejection> {
    let mut reader = algorithm.reader();
    let oid = reader.expect(tag::OID, "no signature algorithm")?.content;
    if oid == oid::RSA_PSS {
        pss::check_signature_parameters(&mut reader)?;
    } else if key.verification(oid).is_none() {
        check_signature_hash(oid)?;
        return Err(Rejection::SignatureAlgorithm);
    } else if key.algorithm == DeviceKeyAlgorithm::Rsa {
        reader.expect(tag::NULL, "RSA signature parameters that are not NULL")?;
    }
    reader.finish().map_err(|_| Rejection::SignatureAlgorithm)?;
    Ok(oid)
}

/// Checks the attributes and finds the extensions that are asked for.
///
/// `Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF ANY }`, RFC 2986 §4.1. Each type at most
/// once; those of RFC 2985 have exactly one value. Their content stays where it is: a challenge password
/// is neither read nor repeated.
pub(crate) fn parse_attributes<'a>(
    attributes: &Tlv<'a>,
) -> Result<RequestedExtensions<'a>, Rejection> {
    let mut seen: ArrayVec<&[u8], ATTRIBUTES_MAX> = ArrayVec::new();
    let mut previous: Option<&[u8]> = None;
    let mut extensions = RequestedExtensions::default();
    let mut reader = attributes.reader();
    while !reader.is_empty() {
        let attribute = reader.expect(tag::SEQUENCE, "an attribute that is not a SEQUENCE")?;
        if previous.is_some_and(|previous| previous > attribute.encoding) {
            return Err(Rejection::Malformed("a SET out of order"));
        }
        previous = Some(attribute.encoding);
        let mut fields = attribute.reader();
        let oid = fields
            .expect(tag::OID, "an attribute without a type")?
            .content;
        let mut values = fields
            .expect(tag::SET, "an attribute without values")?
            .reader();
        fields.finish()?;
        if seen.contains(&oid) {
            return Err(Rejection::AttributeCount);
        }
        seen.try_push(oid)
            .map_err(|_| Rejection::OverLimit("over 32 attributes"))?;
        let asks_extensions = EXTENSION_REQUESTS.contains(&oid);
        if asks_extensions || oid == oid::CHALLENGE_PASSWORD {
            let value = values.any().map_err(|_| Rejection::AttributeCount)?;
            values.finish().map_err(|_| Rejection::AttributeCount)?;
            if asks_extensions {
                extensions.add(&value)?;
            }
        } else if values.is_empty() {
            return Err(Rejection::AttributeCount);
        }
    }
    Ok(extensions)
}

/// The attributes' types, as far as they can be read.
pub(crate) fn attribute_types<'a>(
    attributes: &Tlv<'a>,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let mut reader = attributes.reader();
    let types = std::iter::from_fn(move || {
        let mut fields = reader.expect(tag::SEQUENCE, "").ok()?.reader();
        Some(fields.expect(tag::OID, "").ok()?.content)
    });
    types.take(ATTRIBUTES_MAX)
}

#[cfg(test)]
pub(crate) mod tests;
