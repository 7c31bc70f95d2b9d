//! The extensions that a request asks for: wishes, which the profile grants or ignores.

use crate::der::reader::{self, Reader, Tlv, check_strict};
use crate::der::tag;
use crate::general_name::{GeneralName, check_general_names, general_names};
use crate::oid;
use crate::rejection::Rejection;

/// Extensions in one extension request. Real requests carry under ten.
pub(crate) const REQUESTED_EXTENSIONS_MAX: usize = 32;

/// Bit 5 of KeyUsage, keyCertSign, as it stands in the first octet (RFC 5280 §4.2.1.3).
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;

/// What a request asks for, borrowed from it. Its form was checked; nothing in it is granted.
///
/// A request has up to two extension requests: PKCS #9's, and the one that Microsoft's tools wrote before it.
/// An extension that stands in both must be the same in both, and is told once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestedExtensions<'a> {
    /// The contents of the SEQUENCEs of extensions, empty where there is none.
    requests: [&'a [u8]; 2],
    /// One of them asks for a CA certificate.
    pub(crate) ca: bool,
}

/// `Extension ::= SEQUENCE { extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }`,
/// RFC 5280 §4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestedExtension<'a> {
    /// Content octets of the identifier.
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    /// The DER inside extnValue.
    pub(crate) value: &'a [u8],
}

impl<'a> RequestedExtensions<'a> {
    /// All of them, in the request's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RequestedExtension<'a>> + use<'a> {
        let [first, second] = self.requests;
        extensions(first).chain(
            extensions(second)
                .filter(move |other| extensions(first).all(|known| known.oid != other.oid)),
        )
    }

    /// The one with this identifier.
    pub(crate) fn get(&self, oid: &[u8]) -> Option<RequestedExtension<'a>> {
        self.iter().find(|extension| extension.oid == oid)
    }

    /// The names of the subject alternative name, RFC 5280 §4.2.1.6; none if it is not asked for.
    pub(crate) fn subject_alt_names(&self) -> impl Iterator<Item = GeneralName<'a>> + use<'a> {
        self.get(oid::SUBJECT_ALT_NAME)
            .into_iter()
            .flat_map(|extension| general_names(extension.value))
    }

    /// Takes the value of another extension request: `Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension`, RFC
    /// 5280 §4.1. Each must be well formed and stand once.
    pub(crate) fn add(&mut self, value: &Tlv<'a>) -> Result<(), Rejection> {
        if value.tag != tag::SEQUENCE || value.content.is_empty() {
            return Err(Rejection::Malformed(
                "an extension request without extensions",
            ));
        }
        let known = self.requests[0];
        let mut seen: arrayvec::ArrayVec<&[u8], REQUESTED_EXTENSIONS_MAX> =
            arrayvec::ArrayVec::new();
        let mut reader = value.reader();
        while !reader.is_empty() {
            let extension = read(&mut reader)?;
            check_strict(extension.value)?;
            if seen.contains(&extension.oid) {
                return Err(Rejection::Malformed("an extension twice"));
            }
            seen.try_push(extension.oid)
                .map_err(|_| Rejection::OverLimit("over 32 requested extensions"))?;
            let mut others = extensions(known).filter(|other| other.oid == extension.oid);
            if others.any(|other| other != extension) {
                return Err(Rejection::Malformed(
                    "an extension twice, with different content",
                ));
            }
            self.ca |= extension.check_content()?;
        }
        // The attributes of a request are of different types, and two types ask for extensions.
        let place = usize::from(!known.is_empty());
        self.requests[place] = value.content;
        Ok(())
    }
}

/// The extensions of a content whose form was checked in [`RequestedExtensions::add`].
fn extensions<'a>(content: &'a [u8]) -> impl Iterator<Item = RequestedExtension<'a>> + use<'a> {
    let mut reader = Reader::new(content);
    std::iter::from_fn(move || read(&mut reader).ok())
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<RequestedExtension<'a>, Rejection> {
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
    Ok(RequestedExtension {
        oid,
        critical: critical.is_some(),
        value,
    })
}

impl RequestedExtension<'_> {
    /// Whether it asks for a CA certificate.
    pub(crate) fn asks_for_ca(&self) -> bool {
        self.check_content().unwrap_or_default()
    }

    /// Reads what is known by its identifier, and tells whether it asks for a CA certificate.
    fn check_content(&self) -> Result<bool, Rejection> {
        match self.oid {
            oid::BASIC_CONSTRAINTS => basic_constraints_ca(self.value),
            oid::KEY_USAGE => key_cert_sign(self.value),
            oid::SUBJECT_ALT_NAME => {
                check_general_names(self.value)?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }
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

#[cfg(test)]
mod tests;
