//! A strict, borrowing DER reader, X.690 §10 and §11.

use super::tag;

/// Values inside values that the reader follows. A request with an extension request is seven deep;
/// the cap keeps hostile nesting from costing stack (CVE-2025-66031).
pub(crate) const DEPTH_MAX: usize = 16;

/// Values in one structure. A large request has about a hundred.
pub(crate) const ELEMENTS_MAX: usize = 1024;

/// Octets of one object identifier. The longest in use are under 20; long arcs cost quadratic time in
/// careless readers (CVE-2023-2650).
pub(crate) const OID_BYTES_MAX: usize = 64;

/// Octets of one arc of an object identifier: seven bits each, for the 128 bits of a UUID below 2.25 (X.667), the
/// longest arcs that are given out. Readers that keep arcs in words wrapped them around (CVE-2025-66030).
pub(crate) const ARC_BYTES_MAX: usize = 19;

/// Retired string types, which only issuers' names still have.
const NUMERIC_STRING: u8 = 0x12;
const BMP_STRING: u8 = 0x1e;

/// What is wrong with an encoding, as a phrase that fits behind "the encoding has".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DerError(pub(crate) &'static str);

impl DerError {
    const OVER_DEPTH: DerError = DerError("values nested over 16 deep");
    const OVER_ELEMENTS: DerError = DerError("over 1024 values");
    pub(crate) const OVER_NAME_ATTRIBUTES: DerError = DerError("over 32 attributes in a name");
    pub(crate) const OVER_GENERAL_NAMES: DerError = DerError("over 32 subject alternative names");

    /// Whether the encoding may be sound and is more than is read.
    pub(crate) fn is_over_limit(self) -> bool {
        [
            Self::OVER_DEPTH,
            Self::OVER_ELEMENTS,
            Self::OVER_NAME_ATTRIBUTES,
            Self::OVER_GENERAL_NAMES,
        ]
        .contains(&self)
    }
}

/// One value: tag, content and the whole encoding, all borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) encoding: &'a [u8],
}

impl<'a> Tlv<'a> {
    /// A reader of the values inside.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

/// Reads values one after the other. Lengths are definite and minimal, tags are of one octet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The tag of the next value, if there is one.
    pub(crate) fn peek_tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value, whatever its tag.
    pub(crate) fn any(&mut self) -> Result<Tlv<'a>, DerError> {
        let [tag, first, after @ ..] = self.rest else {
            return Err(DerError("an end inside a value"));
        };
        if tag & 0x1f == 0x1f {
            return Err(DerError("a tag of several octets"));
        }
        let (length, header) = match *first {
            short @ 0..=0x7f => (usize::from(short), 2),
            0x80 => return Err(DerError("an indefinite length")),
            long => {
                let octets = usize::from(long & 0x7f);
                if octets > 4 {
                    return Err(DerError("a length of more than four octets"));
                }
                let Some(bytes) = after.get(..octets) else {
                    return Err(DerError("an end inside a value"));
                };
                let length = bytes
                    .iter()
                    .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                if bytes[0] == 0 || length < 0x80 {
                    return Err(DerError("a length that is not minimal"));
                }
                (length, 2 + octets)
            }
        };
        let end = header
            .checked_add(length)
            .ok_or(DerError("an end inside a value"))?;
        let Some(encoding) = self.rest.get(..end) else {
            return Err(DerError("an end inside a value"));
        };
        self.rest = &self.rest[end..];
        Ok(Tlv {
            tag: *tag,
            content: &encoding[header..],
            encoding,
        })
    }

    /// The next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8, otherwise: &'static str) -> Result<Tlv<'a>, DerError> {
        if self.peek_tag() != Some(tag) {
            return Err(DerError(otherwise));
        }
        self.any()
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Tlv<'a>>, DerError> {
        if self.peek_tag() == Some(tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerError("octets after the end of a value"))
        }
    }
}

/// A whole input that is exactly one value with this tag.
pub(crate) fn single<'a>(
    input: &'a [u8],
    tag: u8,
    otherwise: &'static str,
) -> Result<Tlv<'a>, DerError> {
    let mut reader = Reader::new(input);
    let tlv = reader.expect(tag, otherwise)?;
    reader.finish()?;
    Ok(tlv)
}

/// The content of a BIT STRING of whole octets.
pub(crate) fn whole_octets<'a>(bit_string: &Tlv<'a>) -> Result<&'a [u8], DerError> {
    match bit_string.content {
        [0, octets @ ..] => Ok(octets),
        _ => Err(DerError("a bit string that is not of whole octets")),
    }
}

/// A non-negative INTEGER's magnitude without the leading zero octet.
pub(crate) fn unsigned<'a>(integer: &Tlv<'a>) -> Result<&'a [u8], DerError> {
    match integer.content {
        [] => Err(DerError("an integer without content")),
        [0, rest @ ..] if !rest.is_empty() => Ok(rest),
        [first, ..] if first & 0x80 != 0 => Err(DerError("a negative integer")),
        content => Ok(content),
    }
}

/// Walks a whole structure once and holds every value against the rules of DER that need no knowledge
/// of its type: lengths, integers, booleans, identifiers, strings, the order of SETs. Typed parsers run
/// after it and need not repeat them.
///
/// Cost is linear in the input for everything but SETs, whose neighbors are compared once.
pub(crate) fn check_strict(input: &[u8]) -> Result<(), DerError> {
    let mut elements = 0;
    walk(Reader::new(input), false, 0, &mut elements)
}

fn walk(
    mut reader: Reader<'_>,
    sorted: bool,
    depth: usize,
    elements: &mut usize,
) -> Result<(), DerError> {
    if depth > DEPTH_MAX {
        return Err(DerError::OVER_DEPTH);
    }
    // Not an empty slice before the first one: comparing no octets through a pointer to nowhere can cost 100 ns where
    // the processor masks the load's fault.
    let mut previous: Option<&[u8]> = None;
    while !reader.is_empty() {
        *elements += 1;
        if *elements > ELEMENTS_MAX {
            return Err(DerError::OVER_ELEMENTS);
        }
        let tlv = reader.any()?;
        if sorted {
            if previous.is_some_and(|previous| previous > tlv.encoding) {
                return Err(DerError("a SET out of order"));
            }
            previous = Some(tlv.encoding);
        }
        if tlv.tag & tag::CONSTRUCTED != 0 {
            if tlv.tag < 0x80 && tlv.tag != tag::SEQUENCE && tlv.tag != tag::SET {
                return Err(DerError("a string in constructed form"));
            }
            walk(tlv.reader(), tlv.tag == tag::SET, depth + 1, elements)?;
        } else {
            check_primitive(&tlv)?;
        }
    }
    Ok(())
}

fn check_primitive(tlv: &Tlv<'_>) -> Result<(), DerError> {
    let content = tlv.content;
    let sound = match tlv.tag {
        tag::BOOLEAN => matches!(content, [0x00] | [0xff]),
        tag::INTEGER | tag::ENUMERATED => match content {
            [] => false,
            [0x00, second, ..] => second & 0x80 != 0,
            [0xff, second, ..] => second & 0x80 == 0,
            _ => true,
        },
        tag::NULL => content.is_empty(),
        tag::BIT_STRING => match content {
            [0] => true,
            [unused @ 0..=7, .., last] => last & ((1u8 << unused) - 1) == 0,
            _ => false,
        },
        tag::OID => is_oid(content),
        tag::PRINTABLE_STRING => content.iter().all(|byte| is_printable_string(*byte)),
        tag::IA5_STRING => content.is_ascii(),
        tag::UTF8_STRING => content.is_ascii() || core::str::from_utf8(content).is_ok(),
        NUMERIC_STRING => content.iter().all(|b| b.is_ascii_digit() || *b == b' '),
        BMP_STRING => content.len().is_multiple_of(2),
        tag::SEQUENCE | tag::SET => true,
        0x00 | 0x10 | 0x11 => false,
        _ => true,
    };
    if sound {
        Ok(())
    } else {
        Err(DerError(primitive_fault(tlv.tag)))
    }
}

fn primitive_fault(tag: u8) -> &'static str {
    match tag {
        tag::BOOLEAN => "a boolean that is neither 00 nor FF",
        tag::INTEGER | tag::ENUMERATED => "an integer that is not minimal",
        tag::NULL => "a NULL with content",
        tag::BIT_STRING => "a bit string with unused bits set",
        tag::OID => "an object identifier that is malformed or too long",
        tag::PRINTABLE_STRING => "a PrintableString with other characters",
        tag::IA5_STRING => "an IA5String with other characters",
        tag::UTF8_STRING => "a UTF8String that is not UTF-8",
        NUMERIC_STRING => "a NumericString with other characters",
        BMP_STRING => "a BMPString of an odd number of octets",
        0x00 => "an end-of-contents mark",
        _ => "a SEQUENCE or SET in primitive form",
    }
}

/// X.690 §8.19: arcs of seven bits each, none with a leading zero group.
pub(crate) fn is_oid(content: &[u8]) -> bool {
    let ends = content.last().is_some_and(|last| last & 0x80 == 0);
    if !ends || content.len() > OID_BYTES_MAX {
        return false;
    }
    let mut starts = true;
    for octet in content {
        if starts && *octet == 0x80 {
            return false;
        }
        starts = octet & 0x80 == 0;
    }
    let mut arcs = content.split_inclusive(|octet| octet & 0x80 == 0);
    content.len() <= ARC_BYTES_MAX || arcs.all(|arc| arc.len() <= ARC_BYTES_MAX)
}

/// The characters of PrintableString, X.680 §41.4, by table: this runs over every name.
const PRINTABLE: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b" '()+,-./:=?";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut octet = 0;
    while octet <= 0x7f {
        if (octet as u8).is_ascii_alphanumeric() {
            table[octet] = true;
        }
        octet += 1;
    }
    table
};

/// Whether a character may stand in a PrintableString.
#[inline]
pub(crate) fn is_printable_string(byte: u8) -> bool {
    PRINTABLE[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_fault_is_named() {
        let table: &[(&[u8], &str)] = &[
            (&[0x30, 0x80, 0x00, 0x00], "an indefinite length"),
            (&[0x30, 0x81, 0x01, 0x00], "a length that is not minimal"),
            (&[0x30, 0x82, 0x00, 0x80], "a length that is not minimal"),
            (
                &[0x30, 0x85, 1, 1, 1, 1, 1],
                "a length of more than four octets",
            ),
            (&[0x30, 0x02, 0x05], "an end inside a value"),
            (&[0x1f, 0x81, 0x01, 0x00], "a tag of several octets"),
            (&[0x02, 0x02, 0x00, 0x01], "an integer that is not minimal"),
            (&[0x02, 0x02, 0xff, 0xff], "an integer that is not minimal"),
            (&[0x02, 0x00], "an integer that is not minimal"),
            (&[0x01, 0x01, 0x01], "a boolean that is neither 00 nor FF"),
            (
                &[0x03, 0x02, 0x01, 0x01],
                "a bit string with unused bits set",
            ),
            (&[0x03, 0x00], "a bit string with unused bits set"),
            (
                &[0x06, 0x02, 0x80, 0x01],
                "an object identifier that is malformed or too long",
            ),
            (
                &[0x06, 0x01, 0x81],
                "an object identifier that is malformed or too long",
            ),
            (
                &[
                    0x06, 21, 0x69, 0x84, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
                ],
                "an object identifier that is malformed or too long",
            ),
            (
                &[0x31, 0x06, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01],
                "a SET out of order",
            ),
            (
                &[0x13, 0x01, b'@'],
                "a PrintableString with other characters",
            ),
            (&[0x0c, 0x01, 0xff], "a UTF8String that is not UTF-8"),
            (&[0x12, 0x01, b'a'], "a NumericString with other characters"),
            (
                &[0x1e, 0x01, b'a'],
                "a BMPString of an odd number of octets",
            ),
            (
                &[0x2c, 0x03, 0x0c, 0x01, b'a'],
                "a string in constructed form",
            ),
            (&[0x00, 0x00], "an end-of-contents mark"),
            (&[0x0a, 0x02, 0x00, 0x01], "an integer that is not minimal"),
            (&[0x10, 0x00], "a SEQUENCE or SET in primitive form"),
        ];
        for (input, fault) in table {
            assert_eq!(check_strict(input), Err(DerError(fault)), "{input:02x?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut input = vec![0x05, 0x00];
        for _ in 0..DEPTH_MAX + 1 {
            let mut outer = vec![0x30, u8::try_from(input.len()).unwrap()];
            outer.append(&mut input);
            input = outer;
        }
        assert_eq!(check_strict(&input), Err(DerError::OVER_DEPTH));
    }

    #[test]
    fn printable_strings_have_the_characters_of_x_680() {
        for byte in 0..=u8::MAX {
            let printable = byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
            assert_eq!(is_printable_string(byte), printable, "{byte:02x}");
        }
    }

    proptest! {
        #[test]
        fn identifiers_are_arcs_within_their_bounds(
            arcs in proptest::collection::vec((1usize..=ARC_BYTES_MAX + 1, any::<bool>()), 0..8),
        ) {
            let mut content = Vec::new();
            for (octets, padded) in &arcs {
                content.push(if *padded { 0x80 } else { 0x81 });
                content.resize(content.len() + octets - 1, 0x80);
                *content.last_mut().unwrap() &= 0x7f;
            }
            // An arc of one octet has no room for a zero in front.
            let sound = arcs.iter().all(|(octets, padded)| {
                *octets <= ARC_BYTES_MAX && (*octets == 1 || !padded)
            });
            let bounded = (1..=OID_BYTES_MAX).contains(&content.len());
            prop_assert_eq!(is_oid(&content), sound && bounded);
            if let Some(last) = content.last_mut() {
                *last |= 0x80;
                prop_assert!(!is_oid(&content));
            }
        }

        #[test]
        fn no_input_panics(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_strict(&input);
        }
    }
}
