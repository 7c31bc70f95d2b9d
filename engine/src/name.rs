//! Distinguished names: reading a request's subject, and the attribute types a profile may use.

use crate::der::reader::{DerError, Reader, Tlv, is_printable_string};
use crate::der::tag;
use crate::oid::{MATTER_PRODUCT_ID, MATTER_VENDOR_ID};

/// Attributes in one name. Device names have one to six.
const NAME_ATTRIBUTES_MAX: usize = 32;

/// An attribute type with its short name and upper bound (RFC 5280 appendix A.1, X.520 annex C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttributeType {
    pub(crate) name: &'static str,
    pub(crate) oid: &'static [u8],
    /// Characters, at most.
    pub(crate) max: usize,
    /// PrintableString or IA5String where the type's own definition demands it, else UTF8String.
    pub(crate) string: StringType,
}

/// The string types that values of name attributes are written in, RFC 5280 §4.1.2.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StringType {
    Utf8,
    Printable,
    Ia5,
}

impl StringType {
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Utf8 => tag::UTF8_STRING,
            Self::Printable => tag::PRINTABLE_STRING,
            Self::Ia5 => tag::IA5_STRING,
        }
    }

    /// Whether a value of 1 to `max` characters may stand in this string type, without control characters.
    pub(crate) fn check(self, value: &str, max: usize) -> Result<(), &'static str> {
        if value.is_empty() {
            Err("the value is empty")
        } else if value.len() > max && value.chars().count() > max {
            Err("the value is longer than X.520 allows")
        } else if holds_control(value) {
            Err("the value holds a control character")
        } else if self == Self::Printable && !value.bytes().all(is_printable_string) {
            Err("the value holds a character that PrintableString lacks")
        } else if self == Self::Ia5 && !value.is_ascii() {
            Err("the value holds a character that IA5String lacks")
        } else {
            Ok(())
        }
    }
}

/// Whether a text holds a control character: ASCII's, or U+0080 to U+009F.
pub(crate) fn holds_control(text: &str) -> bool {
    // To the end without a branch, which takes many octets at a time: nearly every text has none.
    let octets = text.bytes();
    octets.fold(false, |found, octet| found | octet.is_ascii_control())
        || (!text.is_ascii() && text.chars().any(char::is_control))
}

/// A type of the X.520 arc 2.5.4 whose values are UTF8String.
const fn utf8(name: &'static str, oid: &'static [u8], max: usize) -> AttributeType {
    AttributeType {
        name,
        oid,
        max,
        string: StringType::Utf8,
    }
}

/// One whose values are PrintableString.
const fn printable(name: &'static str, oid: &'static [u8], max: usize) -> AttributeType {
    AttributeType {
        name,
        oid,
        max,
        string: StringType::Printable,
    }
}

/// One whose values are IA5String.
const fn ia5(name: &'static str, oid: &'static [u8], max: usize) -> AttributeType {
    AttributeType {
        name,
        oid,
        max,
        string: StringType::Ia5,
    }
}

/// Characters of a distinguished name's qualifier, to which X.520 sets no bound any more.
const DN_QUALIFIER_CHARS_MAX: usize = 64;
/// Characters of a domain component, which is a DNS label (RFC 1034 §3.1).
const DC_CHARS_MAX: usize = 63;

/// Matter's vendor and product identifiers: 16 bits as four upper-case hexadecimal digits, Matter 1.x §6.1.1.
const MATTER_ID_CHARS: usize = 4;

/// The types that profiles know by name. RFC 5280 appendix A.1 but for: UID (RFC 4519 §2.39, ub of RFC 4524), VID and PID
/// (matter-oid-vid, matter-oid-pid, Matter 1.x §6.1.1).
pub(crate) const ATTRIBUTE_TYPES: &[AttributeType] = &[
    utf8("CN", &[0x55, 0x04, 0x03], 64),
    utf8("surname", &[0x55, 0x04, 0x04], 64),
    printable("serialNumber", &[0x55, 0x04, 0x05], 64),
    printable("C", &[0x55, 0x04, 0x06], 2),
    utf8("L", &[0x55, 0x04, 0x07], 128),
    utf8("ST", &[0x55, 0x04, 0x08], 128),
    utf8("street", &[0x55, 0x04, 0x09], 128),
    utf8("O", &[0x55, 0x04, 0x0a], 64),
    utf8("OU", &[0x55, 0x04, 0x0b], 64),
    utf8("title", &[0x55, 0x04, 0x0c], 64),
    utf8("givenName", &[0x55, 0x04, 0x2a], 64),
    printable("dnQualifier", &[0x55, 0x04, 0x2e], DN_QUALIFIER_CHARS_MAX),
    utf8("pseudonym", &[0x55, 0x04, 0x41], 128),
    utf8("organizationIdentifier", &[0x55, 0x04, 0x61], 256),
    utf8(
        "UID",
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01],
        256,
    ),
    ia5(
        "DC",
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19],
        DC_CHARS_MAX,
    ),
    ia5(
        "emailAddress",
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01],
        255,
    ),
    utf8("VID", MATTER_VENDOR_ID, MATTER_ID_CHARS),
    utf8("PID", MATTER_PRODUCT_ID, MATTER_ID_CHARS),
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

    /// All names, as a person reads a list.
    pub(crate) fn names() -> String {
        let names: Vec<&str> = ATTRIBUTE_TYPES.iter().map(|known| known.name).collect();
        names.join(", ")
    }

    /// The string type of a value of this attribute.
    pub(crate) fn string_tag(&self) -> u8 {
        self.string.tag()
    }

    /// Whether `value` may stand in this attribute.
    pub(crate) fn check(&self, value: &str) -> Result<(), &'static str> {
        self.string.check(value, self.max)?;
        let country = || value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase());
        let matter_id = || {
            value.len() == MATTER_ID_CHARS
                && value.bytes().all(|b| b"0123456789ABCDEF".contains(&b))
        };
        if self.name == "C" && !country() {
            Err("the value is not a country code of two capital letters (ISO 3166)")
        } else if (self.name == "VID" || self.name == "PID") && !matter_id() {
            Err("the value is not four upper-case hexadecimal digits (Matter §6.1.1)")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_found_in_any_script() {
        for code in 0..=0x3000 {
            let character = char::from_u32(code).unwrap();
            for text in [
                format!("{character}"),
                format!("a{character}b"),
                format!("é{character}"),
            ] {
                assert_eq!(holds_control(&text), character.is_control(), "{text:?}");
            }
        }
        assert!(!holds_control(""));
    }

    #[test]
    fn bounds_count_characters_and_not_octets() {
        let check = |text: &str| StringType::Utf8.check(text, 4);
        assert_eq!(check("\u{20ac}".repeat(4).as_str()), Ok(()));
        assert_eq!(check("abcd"), Ok(()));
        assert!(check("abcde").is_err());
        assert!(check("\u{20ac}".repeat(5).as_str()).is_err());
    }
}
