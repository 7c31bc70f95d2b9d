//! Reading encodings: one walk that holds every value against the rules of DER, and a forgiving reader for
//! what was walked.

use std::ops::ControlFlow;

use super::rules;
use super::{CONTINUE, Flow, Report, Rule};
use crate::der::tag;

/// Values inside values that are followed. A certificate is nine deep.
const DEPTH_MAX: usize = 16;
/// Values in one certificate. A device certificate has about 80, one with a hundred names 200.
const VALUES_MAX: usize = 4096;
/// Octets of one object identifier.
const OID_BYTES_MAX: usize = 64;

const BMP_STRING: u8 = 0x1e;
const NUMERIC_STRING: u8 = 0x12;

/// One value: tag, content and the whole encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) encoding: &'a [u8],
}

impl<'a> Value<'a> {
    pub(crate) fn values(&self) -> Values<'a> {
        Values { rest: self.content }
    }

    /// The value, if it has this tag.
    pub(crate) fn of(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }
}

/// Reads values one after the other. Lengths need not be minimal here: [`walk`] has said so already, and
/// what follows can still be judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Values<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek_tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value if it has this tag.
    #[inline]
    pub(crate) fn tagged(&mut self, tag: u8) -> Option<Value<'a>> {
        if self.peek_tag()? == tag {
            self.next()
        } else {
            None
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        let (header, _) = header(self.rest).ok()?;
        let (encoding, rest) = self.rest.split_at_checked(header.bytes + header.length)?;
        self.rest = rest;
        Some(Value {
            tag: header.tag,
            content: &encoding[header.bytes..],
            encoding,
        })
    }
}

/// The one value that `input` consists of.
pub(crate) fn single(input: &[u8], tag: u8) -> Option<Value<'_>> {
    let mut values = Values::new(input);
    let value = values.tagged(tag)?;
    values.is_empty().then_some(value)
}

#[derive(Clone, Copy)]
struct Header {
    tag: u8,
    /// Octets of tag and length.
    bytes: usize,
    /// Octets of content.
    length: usize,
}

/// Tag and length, and whether the length is minimal.
#[inline]
fn header(input: &[u8]) -> Result<(Header, bool), &'static Rule> {
    let [tag, first, after @ ..] = input else {
        return Err(&rules::DER_TRUNCATED);
    };
    if tag & 0x1f == 0x1f {
        return Err(&rules::DER_TAG);
    }
    let short = Header {
        tag: *tag,
        bytes: 2,
        length: usize::from(*first),
    };
    if *first < 0x80 {
        return Ok((short, true));
    }
    let octets = usize::from(first & 0x7f);
    if octets == 0 {
        return Err(&rules::DER_LENGTH_INDEFINITE);
    }
    let length = after.get(..octets).ok_or(&rules::DER_TRUNCATED)?;
    let significant = length.iter().position(|octet| *octet != 0);
    let significant = &length[significant.unwrap_or(octets)..];
    if significant.len() > 4 {
        return Err(&rules::DER_TRUNCATED);
    }
    let value = significant
        .iter()
        .fold(0, |sum: usize, octet| sum << 8 | usize::from(*octet));
    let header = Header {
        tag: *tag,
        bytes: 2 + octets,
        length: value,
    };
    Ok((header, value >= 0x80 && length[0] != 0))
}

/// Walks `input`, which stands in `whole`, and reports what is not DER. Details name the octet in `whole`.
pub(super) fn walk<R: Report>(input: &[u8], whole: &[u8], report: &mut R) -> Flow {
    let mut walk = Walk {
        start: whole.as_ptr().addr(),
        values: 0,
        report,
    };
    walk.level(input, false, 0)
}

/// Whether `input` is DER.
pub(super) fn is_der(input: &[u8]) -> bool {
    struct Any;
    impl Report for Any {
        const ALL: bool = false;

        fn report(&mut self, rule: &'static Rule, _: std::fmt::Arguments<'_>) -> Flow {
            ControlFlow::Break(super::Finding::new(rule))
        }
    }
    walk(input, input, &mut Any).is_continue()
}

struct Walk<'r, R> {
    /// Address of the certificate's first octet.
    start: usize,
    values: usize,
    report: &'r mut R,
}

impl<R: Report> Walk<'_, R> {
    #[cold]
    fn fault(&mut self, rule: &'static Rule, at: &[u8]) -> Flow {
        let octet = at.as_ptr().addr().wrapping_sub(self.start);
        self.report.report(rule, format_args!("at octet {octet}"))
    }

    fn level(&mut self, mut rest: &[u8], sorted: bool, depth: usize) -> Flow {
        if depth > DEPTH_MAX {
            return self.fault(&rules::LIMIT_DEPTH, rest);
        }
        let mut previous: Option<&[u8]> = None;
        while !rest.is_empty() {
            self.values += 1;
            if self.values > VALUES_MAX {
                // Said once, where the count passes its bound.
                return if self.values == VALUES_MAX + 1 {
                    self.fault(&rules::LIMIT_VALUES, rest)
                } else {
                    CONTINUE
                };
            }
            let (header, minimal) = match header(rest) {
                Ok(header) => header,
                Err(rule) => return self.fault(rule, rest),
            };
            if !minimal {
                self.fault(&rules::DER_LENGTH_MINIMAL, rest)?;
            }
            let Some((encoding, after)) = rest.split_at_checked(header.bytes + header.length)
            else {
                return self.fault(&rules::DER_TRUNCATED, rest);
            };
            if sorted {
                // Not by an empty slice for the first one: comparing no octets through a pointer to nowhere can
                // cost 100 ns where the processor masks the load's fault.
                if previous.is_some_and(|previous| previous > encoding) {
                    self.fault(&rules::DER_SET_ORDER, rest)?;
                }
                previous = Some(encoding);
            }
            let content = &encoding[header.bytes..];
            if header.tag & tag::CONSTRUCTED == 0 {
                if let Some(rule) = primitive_fault(header.tag, content) {
                    self.fault(rule, rest)?;
                }
            } else {
                if header.tag < 0x80 && header.tag != tag::SEQUENCE && header.tag != tag::SET {
                    self.fault(&rules::DER_CONSTRUCTED, rest)?;
                }
                self.level(content, header.tag == tag::SET, depth + 1)?;
            }
            rest = after;
        }
        CONTINUE
    }
}

/// The rule that a primitive value breaks.
#[inline]
fn primitive_fault(tag: u8, content: &[u8]) -> Option<&'static Rule> {
    let (sound, rule) = match tag {
        tag::OID => return oid_fault(content),
        tag::OCTET_STRING => return None,
        tag::PRINTABLE_STRING => (is_printable(content), &rules::DER_PRINTABLE_STRING),
        tag::UTF8_STRING => (
            content.is_ascii() || std::str::from_utf8(content).is_ok(),
            &rules::DER_UTF8_STRING,
        ),
        tag::BOOLEAN => (matches!(content, [0x00 | 0xff]), &rules::DER_BOOLEAN),
        tag::INTEGER | tag::ENUMERATED => (is_minimal_integer(content), &rules::DER_INTEGER),
        tag::NULL => (content.is_empty(), &rules::DER_NULL),
        tag::BIT_STRING => return bit_string_fault(content),
        tag::IA5_STRING => (content.is_ascii(), &rules::DER_IA5_STRING),
        NUMERIC_STRING => (
            content.iter().all(|b| b.is_ascii_digit() || *b == b' '),
            &rules::DER_NUMERIC_STRING,
        ),
        BMP_STRING => (content.len().is_multiple_of(2), &rules::DER_BMP_STRING),
        0x00 => (false, &rules::DER_END_OF_CONTENTS),
        0x10 | 0x11 => (false, &rules::DER_PRIMITIVE),
        _ => return None,
    };
    if sound { None } else { Some(rule) }
}

/// X.690 §8.3.2: the first nine bits are neither all zero nor all one.
pub(crate) fn is_minimal_integer(content: &[u8]) -> bool {
    match content {
        [] => false,
        [0x00, second, ..] => second & 0x80 != 0,
        [0xff, second, ..] => second & 0x80 == 0,
        _ => true,
    }
}

fn bit_string_fault(content: &[u8]) -> Option<&'static Rule> {
    match content {
        [0, ..] => None,
        [unused @ 1..=7, .., last] if last & ((1 << unused) - 1) == 0 => None,
        [1..=7, _, ..] => Some(&rules::DER_UNUSED_BITS),
        _ => Some(&rules::DER_BIT_STRING),
    }
}

/// X.690 §8.19.2: arcs of seven bits an octet, none with a leading zero group, the last one ended.
pub(super) fn oid_fault(content: &[u8]) -> Option<&'static Rule> {
    if content.len() > OID_BYTES_MAX {
        return Some(&rules::LIMIT_OID);
    }
    let mut starts = true;
    for octet in content {
        if starts && *octet == 0x80 {
            return Some(&rules::DER_OID);
        }
        starts = octet & 0x80 == 0;
    }
    if starts && !content.is_empty() {
        None
    } else {
        Some(&rules::DER_OID)
    }
}

/// X.680 §41.4, by table: this runs over every name.
const PRINTABLE: [bool; 256] = {
    let mut table = [false; 256];
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?";
    let mut at = 0;
    while at < letters.len() {
        table[letters[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_printable(content: &[u8]) -> bool {
    content.iter().all(|octet| PRINTABLE[usize::from(*octet)])
}
