//! Distinguished names: reading a request's subject, and the attribute types a profile may use.

use crate::der::reader::{DerError, Reader, Tlv, is_printable_string};
use crate::der::tag;

/// Attributes in one name. Device names have one to six.
const NAME_ATTRIBUTES_MAX: usize = 32;

/// An attribute type with its short name and upper bound (RFC 5280 appendix A.1, X.520 annex C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttributeType {
    pub(crate) name: &'static str,
    pub(crate) oid: &'static [u8],
    /// Characters, at most.
    pub(crate) max: usize,
    /// PrintableString where RFC 5280 appendix A.1 demands it, else UTF8String.
    pub(crate) printable: bool,
}

/// The types that profiles know by name.
pub(crate) const ATTRIBUTE_TYPES: &[AttributeType] = &[
    AttributeType {
        name: "CN",
        oid: &[0x55, 0x04, 0x03],
        max: 64,
        printable: false,
    },
    AttributeType {
        name: "serialNumber",
        oid: &[0x55, 0x04, 0x05],
        max: 64,
        printable: true,
    },
    AttributeType {
        name: "C",
        oid: &[0x55, 0x04, 0x06],
        max: 2,
        printable: true,
    },
    AttributeType {
        name: "L",
        oid: &[0x55, 0x04, 0x07],
        max: 128,
        printable: false,
    },
    AttributeType {
        name: "ST",
        oid: &[0x55, 0x04, 0x08],
        max: 128,
        printable: false,
    },
    AttributeType {
        name: "O",
        oid: &[0x55, 0x04, 0x0a],
        max: 64,
        printable: false,
    },
    AttributeType {
        name: "OU",
        oid: &[0x55, 0x04, 0x0b],
        max: 64,
        printable: false,
    },
];

impl AttributeType {
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        ATTRIBUTE_TYPES
            .iter()
            .find(|attribute| attribute.name == name)
    }

    pub(crate) fn by_oid(oid: &[u8]) -> Option<&'static Self> {
        ATTRIBUTE_TYPES
            .iter()
            .find(|attribute| attribute.oid == oid)
    }

    /// The string type of a value of this attribute.
    pub(crate) fn string_tag(&self) -> u8 {
        if self.printable {
            tag::PRINTABLE_STRING
        } else {
            tag::UTF8_STRING
        }
    }

    /// Whether `value` may stand in this attribute.
    pub(crate) fn check(&self, value: &str) -> Result<(), &'static str> {
        if value.is_empty() {
            Err("the value is empty")
        } else if value.chars().count() > self.max {
            Err("the value is longer than X.520 allows")
        } else if value.chars().any(char::is_control) {
            Err("the value holds a control character")
        } else if self.printable && !value.bytes().all(is_printable_string) {
            Err("the value holds a character that PrintableString lacks")
        } else if self.name == "C"
            && !(value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase()))
        {
            Err("the value is not a country code of two capital letters (ISO 3166)")
        } else {
            Ok(())
        }
    }
}

/// A name, borrowed, whose form was checked. Its attributes are read again whenever they are asked for: it
/// is moved from step to step, and they are few.
///
/// `Name ::= SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value ANY }`, RFC 5280 §4.1.2.4.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    rdns: Tlv<'a>,
}

impl<'a> Name<'a> {
    /// From an encoding that passed [`crate::der::reader::check_strict`].
    pub(crate) fn parse(tlv: &Tlv<'a>) -> Result<Self, DerError> {
        let mut count = 0;
        let mut rdns = tlv.reader();
        while !rdns.is_empty() {
            let mut rdn = rdns
                .expect(tag::SET, "a name part that is not a SET")?
                .reader();
            if rdn.is_empty() {
                return Err(DerError("an empty name part"));
            }
            while !rdn.is_empty() {
                read_attribute(&mut rdn)?;
                count += 1;
            }
        }
        if count > NAME_ATTRIBUTES_MAX {
            return Err(DerError::OVER_NAME_ATTRIBUTES);
        }
        Ok(Self { rdns: *tlv })
    }

    /// All attributes in order: type and value.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'a [u8], Tlv<'a>)> + use<'a> {
        let mut rdns = self.rdns.reader();
        let mut rdn = Reader::new(&[]);
        // The form was checked in `parse`: nothing here can fail before the end.
        std::iter::from_fn(move || {
            while rdn.is_empty() {
                rdn = rdns.any().ok()?.reader();
            }
            read_attribute(&mut rdn).ok()
        })
    }

    /// The values of one attribute type.
    pub(crate) fn values(&self, oid: &'a [u8]) -> impl Iterator<Item = Tlv<'a>> + use<'a> {
        self.attributes()
            .filter(move |(found, _)| *found == oid)
            .map(|(_, value)| value)
    }
}

/// `AttributeTypeAndValue ::= SEQUENCE { type OBJECT IDENTIFIER, value ANY }`.
fn read_attribute<'a>(rdn: &mut Reader<'a>) -> Result<(&'a [u8], Tlv<'a>), DerError> {
    let mut pair = rdn
        .expect(tag::SEQUENCE, "a malformed name attribute")?
        .reader();
    let oid = pair.expect(tag::OID, "a malformed name attribute")?.content;
    let value = pair.any()?;
    pair.finish()?;
    Ok((oid, value))
}

/// The text of a directory string. UTF8String, PrintableString and IA5String are read; the old types
/// (TeletexString, BMPString, UniversalString) are not: RFC 5280 §4.1.2.4 retires them.
pub(crate) fn text<'a>(value: &Tlv<'a>) -> Result<&'a str, &'static str> {
    match value.tag {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => {
            core::str::from_utf8(value.content).map_err(|_| "the value is not UTF-8")
        }
        _ => Err("the value is neither a UTF8String nor a PrintableString"),
    }
}
