//! What an auditor checks of a record that is in the log: the record and its certificate against
//! each other and against the issuer. Works on the bytes alone and without any secret.

use crate::certificate::CertificateView;
use crate::der::reader::{DerError, Reader, unsigned};
use crate::der::tag;
use crate::issuer::Issuer;
use crate::key::SubjectPublicKeyInfo;
use crate::lint::{Finding, check_issued};
use crate::record::IssuedRecord;

/// Why a record or its certificate is not as this engine issues them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The record names another issuer.
    #[error(
        "the record was issued by the key {}; name the certificate of that issuer", Hex(.found)
    )]
    OtherIssuer {
        /// The key identifier in the record.
        found: Vec<u8>,
    },
    /// The certificate, or what the record says of it, is wrong.
    #[error("{finding} ({rule}): keep the log as evidence and call an officer")]
    Finding {
        /// What is wrong.
        finding: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl From<Finding> for AuditError {
    fn from(finding: Finding) -> Self {
        Self::Finding {
            finding: finding.rule.text,
            rule: finding.rule.source,
        }
    }
}

/// Checks an issued record: issuer and key fingerprint of the record are those of the certificate, and the
/// linter finds no error in the certificate's encoding, serial number, times, algorithms and signature, held
/// against this issuer. What the profile asked for on that day and how long the issuer was valid then is not
/// known here and not checked.
///
/// # Errors
/// [`AuditError::OtherIssuer`] where another issuer has to be tried; [`AuditError::Finding`] for the
/// first thing that is wrong.
pub fn verify_issued(record: &IssuedRecord<'_>, issuer: &Issuer) -> Result<(), AuditError> {
    if record.issuer != issuer.key_identifier() {
        return Err(AuditError::OtherIssuer {
            found: record.issuer.to_vec(),
        });
    }
    check(record, issuer)
}

fn check(record: &IssuedRecord<'_>, issuer: &Issuer) -> Result<(), AuditError> {
    let unreadable = |finding, rule| AuditError::Finding { finding, rule };
    let view = CertificateView::parse(record.certificate)
        .map_err(|DerError(what)| unreadable(what, "X.690 §10"))?;
    let key = SubjectPublicKeyInfo::parse(&view.spki)
        .map_err(|_| unreadable("the public key cannot be read", "RFC 5280 §4.1.2.7"))?;
    if key.fingerprint() != record.key_fingerprint {
        return Err(unreadable(
            "the record has the fingerprint of another key than the certificate",
            "log record",
        ));
    }
    // An issuer with an RSA key may have been set to another form since.
    let form = issuer.form_of(view.signature_algorithm);
    Ok(check_issued(
        record.certificate,
        issuer,
        form.unwrap_or(issuer.form()),
    )?)
}

/// The serial number of a certificate in DER: its magnitude without a leading zero octet. Reads no
/// further than that; `None` when the bytes do not begin like a certificate (RFC 5280 §4.1).
#[must_use]
pub fn certificate_serial(der: &[u8]) -> Option<&[u8]> {
    let certificate = Reader::new(der).expect(tag::SEQUENCE, "").ok()?;
    let tbs = certificate.reader().expect(tag::SEQUENCE, "").ok()?;
    let mut fields = tbs.reader();
    fields.expect(tag::context_constructed(0), "").ok()?;
    unsigned(&fields.expect(tag::INTEGER, "").ok()?).ok()
}

/// Octets in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_of_certificates_and_of_other_bytes() {
        let der = [
            0x30, 0x0c, 0x30, 0x0a, 0xa0, 3, 2, 1, 2, 2, 3, 0, 0xab, 0xcd,
        ];
        assert_eq!(certificate_serial(&der), Some(&[0xab, 0xcd][..]));
        // Cut anywhere, it is not one any more.
        for length in 0..der.len() {
            assert_eq!(certificate_serial(&der[..length]), None, "{length}");
        }
        // Negative, and of another version field.
        for (at, byte) in [(11, 0x80), (4, 0xa1), (0, 0x31), (9, 4)] {
            let mut other = der;
            other[at] = byte;
            assert_eq!(certificate_serial(&other), None, "byte {at}");
        }
    }
}
