//! The fields of a certificate, RFC 5280 §4.1, as far as they can be told apart.

use arrayvec::ArrayVec;

use super::der::{Value, Values, single, walk};
use super::{CERTIFICATE_BYTES_MAX, CONTINUE, Flow, Report, rules};
use crate::der::tag;

/// Extensions in one certificate. Device certificates have three to eight.
const EXTENSIONS_MAX: usize = 32;

const EXTENSIONS: u8 = tag::context_constructed(3);

/// ```asn1
/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }
/// TBSCertificate ::= SEQUENCE {
///     version [0] EXPLICIT INTEGER DEFAULT v1, serialNumber INTEGER, signature AlgorithmIdentifier,
///     issuer Name, validity SEQUENCE { notBefore Time, notAfter Time }, subject Name, subjectPublicKeyInfo,
///     issuerUniqueID [1], subjectUniqueID [2], extensions [3] EXPLICIT SEQUENCE OF Extension }
/// ```
///
/// A field that is `None` was reported.
#[derive(Debug, Default)]
pub(super) struct Certificate<'a> {
    pub(super) der: &'a [u8],
    /// The signed bytes.
    pub(super) tbs: Option<Value<'a>>,
    pub(super) signature_algorithm: Option<Value<'a>>,
    pub(super) signature: Option<Value<'a>>,
    pub(super) serial: Option<Value<'a>>,
    pub(super) tbs_algorithm: Option<Value<'a>>,
    pub(super) issuer: Option<Value<'a>>,
    pub(super) not_before: Option<Value<'a>>,
    pub(super) not_after: Option<Value<'a>>,
    pub(super) subject: Option<Value<'a>>,
    pub(super) spki: Option<Value<'a>>,
    pub(super) extensions: ArrayVec<Extension<'a>, EXTENSIONS_MAX>,
}

/// `Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension<'a> {
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Walks the encoding and tells its fields apart. It fills a certificate in its place, which is too large to be
    /// moved for nothing.
    pub(super) fn read<R: Report>(&mut self, der: &'a [u8], report: &mut R) -> Flow {
        self.der = der;
        if der.len() > CERTIFICATE_BYTES_MAX {
            report.broken(&rules::LIMIT_SIZE)
        } else {
            self.read_outer(report)
        }
    }

    pub(super) fn extension(&self, oid: &[u8]) -> Option<&Extension<'a>> {
        self.extensions
            .iter()
            .find(|extension| extension.oid == oid)
    }

    fn read_outer<R: Report>(&mut self, report: &mut R) -> Flow {
        let mut input = Values::new(self.der);
        let first = input.next();
        walk(
            first.map_or(self.der, |first| first.encoding),
            self.der,
            report,
        )?;
        report.ensure(input.is_empty() || first.is_none(), &rules::DER_TRAILING)?;
        let Some(outer) = first.and_then(|first| first.of(tag::SEQUENCE)) else {
            return missing("Certificate", report);
        };
        let mut fields = outer.values();
        self.tbs = field(&mut fields, tag::SEQUENCE, "tbsCertificate", report)?;
        self.signature_algorithm = field(&mut fields, tag::SEQUENCE, "signatureAlgorithm", report)?;
        self.signature = field(&mut fields, tag::BIT_STRING, "signatureValue", report)?;
        end(fields, "Certificate", report)?;
        match self.tbs {
            Some(tbs) => self.read_tbs(tbs.values(), report),
            None => CONTINUE,
        }
    }

    fn read_tbs<R: Report>(&mut self, mut fields: Values<'a>, report: &mut R) -> Flow {
        let version = fields.tagged(tag::context_constructed(0));
        let version = version.map_or(&[][..], |version| version.content);
        report.ensure(version == [tag::INTEGER, 1, 2], &rules::VERSION)?;
        if version == [tag::INTEGER, 1, 0] {
            report.report(&rules::DER_DEFAULT, format_args!("version"))?;
        }
        self.serial = field(&mut fields, tag::INTEGER, "serialNumber", report)?;
        self.tbs_algorithm = field(&mut fields, tag::SEQUENCE, "signature", report)?;
        self.issuer = field(&mut fields, tag::SEQUENCE, "issuer", report)?;
        if let Some(validity) = field(&mut fields, tag::SEQUENCE, "validity", report)? {
            let mut times = validity.values();
            self.not_before = time(&mut times, "notBefore", report)?;
            self.not_after = time(&mut times, "notAfter", report)?;
            end(times, "validity", report)?;
        }
        self.subject = field(&mut fields, tag::SEQUENCE, "subject", report)?;
        self.spki = field(&mut fields, tag::SEQUENCE, "subjectPublicKeyInfo", report)?;
        // Both are IMPLICIT BIT STRING; the constructed form was reported by the walk.
        for number in [1, 2] {
            if fields.tagged(tag::context_primitive(number)).is_some() {
                report.broken(&rules::UNIQUE_IDS)?;
            }
        }
        // What does not belong here must not hide the extensions.
        while fields.peek_tag().is_some_and(|tag| tag != EXTENSIONS) && fields.next().is_some() {
            missing("end of tbsCertificate", report)?;
        }
        if let Some(explicit) = fields.tagged(EXTENSIONS) {
            match single(explicit.content, tag::SEQUENCE) {
                Some(list) => self.read_extensions(list, report)?,
                None => missing("extensions", report)?,
            }
        }
        end(fields, "tbsCertificate", report)
    }

    fn read_extensions<R: Report>(&mut self, list: Value<'a>, report: &mut R) -> Flow {
        report.ensure(!list.content.is_empty(), &rules::EXTENSIONS_EMPTY)?;
        for value in list.values() {
            let Some(extension) = read_extension(value, report)? else {
                continue;
            };
            if self.extension(extension.oid).is_some() {
                let oid = Dotted(extension.oid);
                report.report(&rules::EXTENSION_TWICE, format_args!("{oid}"))?;
            } else if self.extensions.try_push(extension).is_err() {
                return report.broken(&rules::LIMIT_EXTENSIONS);
            }
        }
        CONTINUE
    }
}

fn read_extension<'a, R: Report>(value: Value<'a>, report: &mut R) -> Flow<Option<Extension<'a>>> {
    let mut fields = value.values();
    let oid = if value.tag == tag::SEQUENCE {
        fields.tagged(tag::OID)
    } else {
        None
    };
    let critical = fields.tagged(tag::BOOLEAN);
    if let (Some(oid), Some(extension)) = (oid, fields.tagged(tag::OCTET_STRING)) {
        if critical.is_some_and(|critical| critical.content == [0x00]) {
            let oid = Dotted(oid.content);
            report.report(&rules::DER_DEFAULT, format_args!("critical of {oid}"))?;
        }
        end(fields, "Extension", report)?;
        return Flow::Continue(Some(Extension {
            oid: oid.content,
            critical: critical.is_some_and(|critical| critical.content != [0x00]),
            value: extension.content,
        }));
    }
    missing("Extension", report)?;
    Flow::Continue(None)
}

/// The next value, which must have this tag. One with another tag is passed over, unless it looks like a later
/// field in this one's place.
pub(super) fn field<'a, R: Report>(
    fields: &mut Values<'a>,
    tag: u8,
    name: &str,
    report: &mut R,
) -> Flow<Option<Value<'a>>> {
    if let Some(value) = fields.tagged(tag) {
        return Flow::Continue(Some(value));
    }
    missing(name, report)?;
    if fields
        .peek_tag()
        .is_some_and(|found| found != tag::SEQUENCE && found < 0x80)
    {
        fields.next();
    }
    Flow::Continue(None)
}

fn time<'a, R: Report>(
    times: &mut Values<'a>,
    name: &str,
    report: &mut R,
) -> Flow<Option<Value<'a>>> {
    let value = times.next();
    if value.is_none() {
        missing(name, report)?;
    }
    Flow::Continue(value)
}

/// Nothing may follow.
pub(super) fn end<R: Report>(values: Values<'_>, name: &str, report: &mut R) -> Flow {
    if values.is_empty() {
        CONTINUE
    } else {
        report.report(&rules::STRUCTURE, format_args!("end of {name}"))
    }
}

#[cold]
pub(super) fn missing<R: Report>(name: &str, report: &mut R) -> Flow {
    report.report(&rules::STRUCTURE, format_args!("{name}"))
}

/// An object identifier in dotted form, as far as its arcs fit.
pub(super) struct Dotted<'a>(pub(super) &'a [u8]);

impl std::fmt::Display for Dotted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut arc: u64 = 0;
        let mut first = true;
        for octet in self.0 {
            if arc >> 57 != 0 {
                return f.write_str("(long)");
            }
            arc = arc << 7 | u64::from(octet & 0x7f);
            if octet & 0x80 != 0 {
                continue;
            }
            if first {
                let top = (arc / 40).min(2);
                write!(f, "{top}.{}", arc - top * 40)?;
            } else {
                write!(f, ".{arc}")?;
            }
            (arc, first) = (0, false);
        }
        Ok(())
    }
}
