//! A reader of certificates for those who need their fields: issuer, audit, the answers of long ago. What is wrong
//! with a certificate is the linter's matter.

use crate::der::reader::{DerError, Reader, Tlv, check_strict, single};
use crate::der::tag;

/// Extensions in one certificate. Device certificates have three to eight.
const EXTENSIONS_MAX: usize = 32;

/// The DER of a PEM file with one certificate (RFC 7468 §5), or what is wrong with the file.
pub(crate) fn from_pem(pem: &[u8]) -> Result<Vec<u8>, String> {
    match pem_rfc7468::decode_vec(pem) {
        Ok(("CERTIFICATE", der)) => Ok(der),
        Ok((label, _)) => Err(format!("it is labeled {label:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The fields of a certificate, borrowed, RFC 5280 §4.1.
///
/// ```asn1
/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }
/// TBSCertificate ::= SEQUENCE {
///     version [0] EXPLICIT INTEGER, serialNumber INTEGER, signature AlgorithmIdentifier, issuer Name,
///     validity SEQUENCE { notBefore Time, notAfter Time }, subject Name,
///     subjectPublicKeyInfo, extensions [3] EXPLICIT SEQUENCE OF Extension OPTIONAL }
/// ```
#[derive(Debug)]
pub(crate) struct CertificateView<'a> {
    pub(crate) signature_algorithm: &'a [u8],
    pub(crate) serial: Tlv<'a>,
    pub(crate) issuer: &'a [u8],
    pub(crate) not_before: Tlv<'a>,
    pub(crate) not_after: Tlv<'a>,
    pub(crate) subject: Tlv<'a>,
    pub(crate) spki: Tlv<'a>,
    pub(crate) extensions: arrayvec::ArrayVec<ExtensionView<'a>, EXTENSIONS_MAX>,
}

/// `Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExtensionView<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> CertificateView<'a> {
    /// Reads a version 3 certificate strictly.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, DerError> {
        check_strict(der)?;
        let mut outer = single(der, tag::SEQUENCE, "no outer SEQUENCE")?.reader();
        let tbs = outer.expect(tag::SEQUENCE, "no tbsCertificate")?;
        let signature_algorithm = outer
            .expect(tag::SEQUENCE, "no signatureAlgorithm")?
            .encoding;
        outer.expect(tag::BIT_STRING, "no signatureValue")?;
        outer.finish()?;

        let mut fields = tbs.reader();
        let version = fields.expect(tag::context_constructed(0), "no version")?;
        if version.content != [tag::INTEGER, 1, 2] {
            return Err(DerError("a version other than v3"));
        }
        let serial = fields.expect(tag::INTEGER, "no serialNumber")?;
        fields.expect(tag::SEQUENCE, "no signature algorithm")?;
        let issuer = fields.expect(tag::SEQUENCE, "no issuer")?.encoding;
        let mut validity = fields.expect(tag::SEQUENCE, "no validity")?.reader();
        let not_before = validity.any()?;
        let not_after = validity.any()?;
        validity.finish()?;
        let subject = fields.expect(tag::SEQUENCE, "no subject")?;
        let spki = fields.expect(tag::SEQUENCE, "no subjectPublicKeyInfo")?;
        let extensions = parse_extensions(&mut fields)?;
        fields.finish()?;
        Ok(Self {
            signature_algorithm,
            serial,
            issuer,
            not_before,
            not_after,
            subject,
            spki,
            extensions,
        })
    }

    /// The extension with this identifier.
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<ExtensionView<'a>> {
        self.extensions
            .iter()
            .find(|extension| extension.oid == oid)
            .copied()
    }
}

fn parse_extensions<'a>(
    fields: &mut Reader<'a>,
) -> Result<arrayvec::ArrayVec<ExtensionView<'a>, EXTENSIONS_MAX>, DerError> {
    let mut extensions: arrayvec::ArrayVec<ExtensionView<'a>, EXTENSIONS_MAX> =
        arrayvec::ArrayVec::new();
    let Some(explicit) = fields.optional(tag::context_constructed(3))? else {
        return Ok(extensions);
    };
    let mut list = single(explicit.content, tag::SEQUENCE, "malformed extensions")?.reader();
    while !list.is_empty() {
        let mut extension = list
            .expect(tag::SEQUENCE, "a malformed extension")?
            .reader();
        let oid = extension
            .expect(tag::OID, "an extension without an identifier")?
            .content;
        let critical = extension.optional(tag::BOOLEAN)?;
        if critical.is_some_and(|critical| critical.content != [0xff]) {
            return Err(DerError("a default value that is encoded"));
        }
        let value = extension
            .expect(tag::OCTET_STRING, "an extension without a value")?
            .content;
        extension.finish()?;
        check_strict(value)?;
        if extensions.iter().any(|other| other.oid == oid) {
            return Err(DerError("an extension twice"));
        }
        extensions
            .try_push(ExtensionView { oid, value })
            .map_err(|_| DerError("too many extensions"))?;
    }
    Ok(extensions)
}

/// Seconds since 1970 of a Time, RFC 5280 §4.1.2.5. Times before 1970 are refused.
pub(crate) fn unix_seconds(time: &Tlv<'_>) -> Result<u64, DerError> {
    crate::lint::time::unix_seconds(time.tag, time.content)
        .ok()
        .and_then(|unix_s| u64::try_from(unix_s).ok())
        .ok_or(DerError("a malformed time"))
}
