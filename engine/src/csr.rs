//! PKCS #10 certification requests: parse, then verify.

use aws_lc_rs::signature::UnparsedPublicKey;

use crate::der::reader::{self, Reader, Tlv, check_strict, whole_octets};
use crate::der::tag;
use crate::device_key::{GeneratedKey, NoKey};
use crate::key::SubjectPublicKeyInfo;
use crate::name::Name;
use crate::oid;
use crate::pss;
use crate::rejection::Rejection;

/// The largest request that is looked at. Real ones have 200 to 2,000 bytes, an ML-DSA-87 one about 8,000.
pub const CSR_BYTES_MAX: usize = 64 * 1024;

/// Attributes in one request, and extensions in its extension request. Real requests carry under ten.
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

/// Bit 5 of KeyUsage, keyCertSign, as it stands in the first octet (RFC 5280 §4.2.1.3).
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;

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
    /// The request asks for a CA certificate.
    requests_ca: bool,
}

impl<'a> CertificationRequest<'a> {
    pub(crate) fn parse(der: CertificateSigningRequestDer<'a>) -> Result<Self, Rejection> {
        check_strict(der.0)?;
        let mut outer = reader::single(der.0, tag::SEQUENCE, "no outer SEQUENCE")?.reader();
        let info = outer.expect(tag::SEQUENCE, "no certificationRequestInfo")?;
        let signature_algorithm = outer.expect(tag::SEQUENCE, "no signatureAlgorithm")?;
        let signature = outer.expect(tag::BIT_STRING, "no signature")?;
        outer.finish()?;

        let mut fields = info.reader();
        let version = fields.expect(tag::INTEGER, "no version")?;
        if version.content != [0] {
            return Err(Rejection::Malformed("a version other than v1"));
        }
        let subject = Name::parse(&fields.expect(tag::SEQUENCE, "no subject")?)?;
        let key = SubjectPublicKeyInfo::parse(&fields.expect(tag::SEQUENCE, "no subjectPKInfo")?)?;
        let attributes = fields.expect(tag::context_constructed(0), "no attributes field")?;
        fields.finish()?;
        let requests_ca = parse_attributes(&attributes)?;

        Ok(Self {
            info: info.encoding,
            signature_oid: signature_oid(&signature_algorithm, &key)?,
            signature: whole_octets(&signature)?,
            subject,
            key,
            requests_ca,
        })
    }

    /// Proof of possession: the key in the request made its signature (RFC 2986 §4.2).
    fn verify(self) -> Result<VerifiedRequest<'a>, Rejection> {
        let Some(algorithm) = self.key.verification(self.signature_oid) else {
            return Err(Rejection::SignatureAlgorithm);
        };
        if self.signature.len() > self.key.signature_bytes_max() {
            return Err(Rejection::ProofOfPossession);
        }
        UnparsedPublicKey::new(algorithm, self.key.key)
            .verify(self.info, self.signature)
            .map_err(|_| Rejection::ProofOfPossession)?;
        Ok(VerifiedRequest {
            subject: self.subject,
            key: self.key,
            requests_ca: self.requests_ca,
            generated: false,
        })
    }
}

/// A request whose key is in the right hands: its signature was made by the key in it, or the engine made
/// the key itself.
#[derive(Debug)]
pub(crate) struct VerifiedRequest<'a> {
    pub(crate) subject: Name<'a>,
    pub(crate) key: SubjectPublicKeyInfo<'a>,
    pub(crate) requests_ca: bool,
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
            requests_ca: false,
            generated: true,
        })
    }
}

/// Verifies a chunk of requests. They go together so that a verifier with several lanes can take them
/// side by side.
pub(crate) fn verify_batch<'a>(
    requests: Vec<Result<CertificationRequest<'a>, Rejection>>,
) -> Vec<Result<VerifiedRequest<'a>, Rejection>> {
    requests
        .into_iter()
        .map(|request| request.and_then(CertificationRequest::verify))
        .collect()
}

/// The signature algorithm's identifier. RSASSA-PSS has the parameters of RFC 4055 §3.1, other RSA NULL (§5);
/// ECDSA, EdDSA and ML-DSA have none (RFC 5758 §3.2, RFC 8410 §3, RFC 9881 §2).
fn signature_oid<'a>(
    algorithm: &Tlv<'a>,
    key: &SubjectPublicKeyInfo<'_>,
) -> Result<&'a [u8], Rejection> {
    let mut reader = algorithm.reader();
    let oid = reader.expect(tag::OID, "no signature algorithm")?.content;
    if oid == oid::RSA_PSS {
        pss::check_signature_parameters(&mut reader)?;
    } else if key.algorithm == crate::key::DeviceKeyAlgorithm::Rsa {
        reader.expect(tag::NULL, "RSA signature parameters that are not NULL")?;
    }
    reader.finish().map_err(|_| Rejection::SignatureAlgorithm)?;
    Ok(oid)
}

/// Checks the attributes and finds whether a CA certificate is asked for.
///
/// `Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF ANY }`, RFC 2986 §4.1. Each type at most
/// once; those of RFC 2985 have exactly one value. Their content stays where it is: a challenge password
/// is neither read nor repeated.
fn parse_attributes(attributes: &Tlv<'_>) -> Result<bool, Rejection> {
    let mut seen: arrayvec::ArrayVec<&[u8], ATTRIBUTES_MAX> = arrayvec::ArrayVec::new();
    let mut previous: &[u8] = &[];
    let mut requests_ca = false;
    let mut reader = attributes.reader();
    while !reader.is_empty() {
        let attribute = reader.expect(tag::SEQUENCE, "an attribute that is not a SEQUENCE")?;
        if previous > attribute.encoding {
            return Err(Rejection::Malformed("a SET out of order"));
        }
        previous = attribute.encoding;
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
            .map_err(|_| Rejection::Malformed("too many attributes"))?;
        let asks_extensions = EXTENSION_REQUESTS.contains(&oid);
        if asks_extensions || oid == oid::CHALLENGE_PASSWORD {
            let value = values.any().map_err(|_| Rejection::AttributeCount)?;
            values.finish().map_err(|_| Rejection::AttributeCount)?;
            if asks_extensions {
                requests_ca |= parse_extension_request(&value)?;
            }
        } else if values.is_empty() {
            return Err(Rejection::AttributeCount);
        }
    }
    Ok(requests_ca)
}

/// `Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension`, RFC 5280 §4.1. Requested extensions are wishes:
/// the profile makes the certificate's, none is copied. They must be well formed, and none may ask for a
/// CA certificate.
fn parse_extension_request(extensions: &Tlv<'_>) -> Result<bool, Rejection> {
    if extensions.tag != tag::SEQUENCE || extensions.content.is_empty() {
        return Err(Rejection::Malformed(
            "an extension request without extensions",
        ));
    }
    let mut seen: arrayvec::ArrayVec<&[u8], ATTRIBUTES_MAX> = arrayvec::ArrayVec::new();
    let mut requests_ca = false;
    let mut reader = extensions.reader();
    while !reader.is_empty() {
        let (oid, _critical, value) = extension(&mut reader)?;
        if seen.contains(&oid) {
            return Err(Rejection::Malformed("an extension twice"));
        }
        seen.try_push(oid)
            .map_err(|_| Rejection::Malformed("too many extensions"))?;
        requests_ca |= match oid {
            oid::BASIC_CONSTRAINTS => basic_constraints_ca(value)?,
            oid::KEY_USAGE => key_cert_sign(value)?,
            _ => false,
        };
    }
    Ok(requests_ca)
}

/// `Extension ::= SEQUENCE { extnID OID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }`.
fn extension<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], bool, &'a [u8]), Rejection> {
    let mut fields = reader
        .expect(tag::SEQUENCE, "an extension that is not a SEQUENCE")?
        .reader();
    let oid = fields
        .expect(tag::OID, "an extension without an identifier")?
        .content;
    let critical = fields.optional(tag::BOOLEAN)?;
    if critical.is_some_and(|critical| critical.content == [0]) {
        return Err(Rejection::Malformed("a default value that is encoded"));
    }
    let value = fields
        .expect(tag::OCTET_STRING, "an extension without a value")?
        .content;
    fields.finish()?;
    check_strict(value)?;
    Ok((oid, critical.is_some(), value))
}

/// `BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }`.
fn basic_constraints_ca(value: &[u8]) -> Result<bool, Rejection> {
    let mut fields = reader::single(value, tag::SEQUENCE, "malformed basic constraints")?.reader();
    let ca = fields.optional(tag::BOOLEAN)?;
    if ca.is_some_and(|ca| ca.content == [0]) {
        return Err(Rejection::Malformed("a default value that is encoded"));
    }
    if let Some(path_length) = fields.optional(tag::INTEGER)? {
        reader::unsigned(&path_length)?;
    }
    fields.finish()?;
    Ok(ca.is_some())
}

/// Whether a KeyUsage, RFC 5280 §4.2.1.3, asks to sign certificates.
fn key_cert_sign(value: &[u8]) -> Result<bool, Rejection> {
    let bits = reader::single(value, tag::BIT_STRING, "malformed key usage")?.content;
    Ok(bits.get(1).is_some_and(|first| first & KEY_CERT_SIGN != 0))
}
