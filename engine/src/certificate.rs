//! A reader of finished certificates. It shares nothing with the code that encodes them.

use crate::der::reader::{DerError, Reader, Tlv, check_strict, single};
use crate::der::tag;

/// Extensions in one certificate. Device certificates have three to eight.
const EXTENSIONS_MAX: usize = 32;

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
    /// The signed bytes.
    pub(crate) tbs: &'a [u8],
    pub(crate) signature_algorithm: &'a [u8],
    pub(crate) signature: Tlv<'a>,
    pub(crate) serial: Tlv<'a>,
    /// The algorithm named inside the signed bytes.
    pub(crate) tbs_algorithm: &'a [u8],
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
    pub(crate) critical: bool,
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
        let signature = outer.expect(tag::BIT_STRING, "no signatureValue")?;
        outer.finish()?;

        let mut fields = tbs.reader();
        let version = fields.expect(tag::context_constructed(0), "no version")?;
        if version.content != [tag::INTEGER, 1, 2] {
            return Err(DerError("a version other than v3"));
        }
        let serial = fields.expect(tag::INTEGER, "no serialNumber")?;
        let tbs_algorithm = fields
            .expect(tag::SEQUENCE, "no signature algorithm")?
            .encoding;
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
            tbs: tbs.encoding,
            signature_algorithm,
            signature,
            serial,
            tbs_algorithm,
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
        let critical = match extension.optional(tag::BOOLEAN)? {
            None => false,
            Some(critical) if critical.content == [0xff] => true,
            Some(_) => return Err(DerError("a default value that is encoded")),
        };
        let value = extension
            .expect(tag::OCTET_STRING, "an extension without a value")?
            .content;
        extension.finish()?;
        check_strict(value)?;
        if extensions.iter().any(|other| other.oid == oid) {
            return Err(DerError("an extension twice"));
        }
        extensions
            .try_push(ExtensionView {
                oid,
                critical,
                value,
            })
            .map_err(|_| DerError("too many extensions"))?;
    }
    Ok(extensions)
}

/// Seconds since 1970 of a Time, RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime after, seconds
/// present, Zulu.
pub(crate) fn unix_seconds(time: &Tlv<'_>) -> Result<u64, DerError> {
    let malformed = DerError("a malformed time");
    let text = time.content;
    let (year, rest) = match (time.tag, text.len()) {
        (tag::UTC_TIME, 13) => {
            let two = digits(&text[..2]).ok_or(malformed)?;
            (if two < 50 { 2000 + two } else { 1900 + two }, &text[2..])
        }
        (tag::GENERALIZED_TIME, 15) => (digits(&text[..4]).ok_or(malformed)?, &text[4..]),
        _ => return Err(malformed),
    };
    if time.tag == tag::GENERALIZED_TIME && year < 2050 {
        return Err(DerError("a GeneralizedTime before 2050"));
    }
    if rest[10] != b'Z' {
        return Err(malformed);
    }
    let field = |at: usize| digits(&rest[at..at + 2]).ok_or(malformed);
    let (month, day) = (field(0)?, field(2)?);
    let (hour, minute, second) = (field(4)?, field(6)?, field(8)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return Err(malformed);
    }
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return Err(malformed);
    }
    Ok(((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before a date of the Gregorian calendar, counted in closed form: this runs for every certificate.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let leap_day = u64::from(month > 2 && is_leap(year));
    let before_month = BEFORE_MONTH
        .get(usize::try_from(month).unwrap_or(1) - 1)
        .copied()
        .unwrap_or(0);
    years + before_month + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_rfc_5280_writes_them() {
        let read = |tag: u8, text: &str| {
            unix_seconds(&Tlv {
                tag,
                content: text.as_bytes(),
                encoding: &[],
            })
        };
        assert_eq!(read(tag::UTC_TIME, "700101000000Z"), Ok(0));
        assert_eq!(read(tag::UTC_TIME, "240229235959Z"), Ok(1_709_251_199));
        assert_eq!(
            read(tag::GENERALIZED_TIME, "99991231235959Z"),
            Ok(253_402_300_799)
        );
        for (tag, text) in [
            (tag::UTC_TIME, "2402292359Z"),
            (tag::UTC_TIME, "230229000000Z"),
            (tag::UTC_TIME, "240101240000Z"),
            (tag::UTC_TIME, "240101000060Z"),
            (tag::UTC_TIME, "240101000000+"),
            (tag::GENERALIZED_TIME, "20240229235959Z"),
            (tag::GENERALIZED_TIME, "20500001000000Z"),
            (tag::UTC_TIME, "240001000000Z"),
        ] {
            assert!(read(tag, text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar_of_der() {
        for unix in (0..253_402_300_799u64).step_by(86_400 * 97 + 1) {
            let time =
                der::DateTime::from_unix_duration(std::time::Duration::from_secs(unix)).unwrap();
            let days = days_since_1970(time.year().into(), time.month().into(), time.day().into());
            assert_eq!(days, unix / 86_400, "{time:?}");
        }
    }
}
