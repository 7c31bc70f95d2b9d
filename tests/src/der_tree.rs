//! DER as a tree that can be changed and encoded again: rightly, or with one fault on purpose.
//!
//! It shares nothing with the readers and writers that it tests.

use std::ops::{Index, IndexMut};

/// Tags, X.680 §8.4.
pub mod tag {
    /// BOOLEAN.
    pub const BOOLEAN: u8 = 0x01;
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// NULL.
    pub const NULL: u8 = 0x05;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// UTF8String.
    pub const UTF8_STRING: u8 = 0x0c;
    /// NumericString.
    pub const NUMERIC_STRING: u8 = 0x12;
    /// PrintableString.
    pub const PRINTABLE_STRING: u8 = 0x13;
    /// TeletexString.
    pub const TELETEX_STRING: u8 = 0x14;
    /// IA5String.
    pub const IA5_STRING: u8 = 0x16;
    /// UTCTime.
    pub const UTC_TIME: u8 = 0x17;
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// VisibleString.
    pub const VISIBLE_STRING: u8 = 0x1a;
    /// UniversalString.
    pub const UNIVERSAL_STRING: u8 = 0x1c;
    /// BMPString.
    pub const BMP_STRING: u8 = 0x1e;
    /// SEQUENCE, constructed.
    pub const SEQUENCE: u8 = 0x30;
    /// SET, constructed.
    pub const SET: u8 = 0x31;
    /// The bit of a constructed encoding.
    pub const CONSTRUCTED: u8 = 0x20;
    /// The context class.
    pub const CONTEXT: u8 = 0x80;
}

/// How the length of a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// In the fewest octets, X.690 §10.1.
    Minimal,
    /// In the long form with this many octets after the first.
    Long(u8),
    /// 0x80, with two zero octets after the content (X.690 §8.1.3.6).
    Indefinite,
    /// Minimal, but off by so much.
    Off(i64),
    /// Neither tag nor length: the content stands there as it is.
    Bare,
}

/// What stands inside a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Octets of a primitive value.
    Octets(Vec<u8>),
    /// Values inside a constructed one.
    Nodes(Vec<Node>),
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The identifier octet.
    pub tag: u8,
    /// How its length is written.
    pub length: Length,
    /// What it holds.
    pub content: Content,
}

impl Node {
    /// Reads one value with everything in it. Values inside OCTET STRINGs stay octets: see
    /// [`Node::within`].
    ///
    /// # Panics
    ///
    /// If this is not exactly one well-formed value: it reads what a test made.
    #[must_use]
    pub fn parse(der: &[u8]) -> Node {
        let (node, rest) = Node::parse_one(der);
        assert!(rest.is_empty(), "octets after the value");
        node
    }

    fn parse_one(der: &[u8]) -> (Node, &[u8]) {
        let (tag, first) = (der[0], usize::from(der[1]));
        let (length, header) = if first < 0x80 {
            (first, 2)
        } else {
            let octets = first - 0x80;
            let length = der[2..2 + octets]
                .iter()
                .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (length, 2 + octets)
        };
        let (inside, rest) = der[header..].split_at(length);
        let content = if tag & tag::CONSTRUCTED == 0 {
            Content::Octets(inside.to_vec())
        } else {
            let mut nodes = Vec::new();
            let mut inside = inside;
            while !inside.is_empty() {
                let (node, after) = Node::parse_one(inside);
                nodes.push(node);
                inside = after;
            }
            Content::Nodes(nodes)
        };
        let node = Node {
            tag,
            length: Length::Minimal,
            content,
        };
        (node, rest)
    }

    /// A primitive value.
    #[must_use]
    pub fn primitive(tag: u8, content: &[u8]) -> Node {
        Node {
            tag,
            length: Length::Minimal,
            content: Content::Octets(content.to_vec()),
        }
    }

    /// A constructed value.
    #[must_use]
    pub fn constructed(tag: u8, nodes: impl IntoIterator<Item = Node>) -> Node {
        Node {
            tag,
            length: Length::Minimal,
            content: Content::Nodes(nodes.into_iter().collect()),
        }
    }

    /// Octets that stand there as they are, whatever they mean.
    #[must_use]
    pub fn bare(octets: &[u8]) -> Node {
        Node {
            tag: 0,
            length: Length::Bare,
            content: Content::Octets(octets.to_vec()),
        }
    }

    /// A SEQUENCE.
    #[must_use]
    pub fn sequence(nodes: impl IntoIterator<Item = Node>) -> Node {
        Node::constructed(tag::SEQUENCE, nodes)
    }

    /// A SET, in the order given.
    #[must_use]
    pub fn set(nodes: impl IntoIterator<Item = Node>) -> Node {
        Node::constructed(tag::SET, nodes)
    }

    /// An OBJECT IDENTIFIER in dotted form.
    ///
    /// # Panics
    ///
    /// If it is not of numbers and dots.
    #[must_use]
    pub fn oid(dotted: &str) -> Node {
        Node::primitive(tag::OID, &oid_content(dotted))
    }

    /// An INTEGER with these content octets.
    #[must_use]
    pub fn integer(content: &[u8]) -> Node {
        Node::primitive(tag::INTEGER, content)
    }

    /// A NULL.
    #[must_use]
    pub fn null() -> Node {
        Node::primitive(tag::NULL, &[])
    }

    /// A BIT STRING.
    #[must_use]
    pub fn bits(unused: u8, octets: &[u8]) -> Node {
        Node::primitive(tag::BIT_STRING, &[&[unused], octets].concat())
    }

    /// A string of any type.
    #[must_use]
    pub fn string(tag: u8, text: &str) -> Node {
        Node::primitive(tag, text.as_bytes())
    }

    /// An OCTET STRING.
    #[must_use]
    pub fn octets(content: &[u8]) -> Node {
        Node::primitive(tag::OCTET_STRING, content)
    }

    /// `[number]` around primitive content, as IMPLICIT tags make it.
    #[must_use]
    pub fn context(number: u8, content: &[u8]) -> Node {
        Node::primitive(tag::CONTEXT | number, content)
    }

    /// `[number]` around values, as EXPLICIT tags make it, and IMPLICIT ones of SEQUENCE and SET.
    #[must_use]
    pub fn context_of(number: u8, nodes: impl IntoIterator<Item = Node>) -> Node {
        Node::constructed(tag::CONTEXT | tag::CONSTRUCTED | number, nodes)
    }

    /// The same with its length written otherwise.
    #[must_use]
    pub fn with_length(mut self, length: Length) -> Node {
        self.length = length;
        self
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = match &self.content {
            Content::Octets(octets) => octets.clone(),
            Content::Nodes(nodes) => nodes.iter().flat_map(Node::encode).collect(),
        };
        if self.length == Length::Bare {
            return content;
        }
        let mut out = vec![self.tag];
        match self.length {
            Length::Indefinite => {
                out.push(0x80);
                content.extend([0, 0]);
            }
            Length::Long(octets) => {
                out.push(0x80 | octets);
                let length = content.len().to_be_bytes();
                out.extend(&length[length.len() - usize::from(octets)..]);
            }
            Length::Off(by) => {
                let wrong = content.len() as i64 + by;
                push_length(&mut out, usize::try_from(wrong).unwrap_or(0));
            }
            Length::Minimal | Length::Bare => push_length(&mut out, content.len()),
        }
        out.append(&mut content);
        out
    }

    /// The values inside.
    ///
    /// # Panics
    ///
    /// If it is primitive.
    #[must_use]
    pub fn nodes(&self) -> &Vec<Node> {
        match &self.content {
            Content::Nodes(nodes) => nodes,
            Content::Octets(_) => panic!("a primitive value has no values inside"),
        }
    }

    /// The values inside, to be changed.
    ///
    /// # Panics
    ///
    /// If it is primitive.
    pub fn nodes_mut(&mut self) -> &mut Vec<Node> {
        match &mut self.content {
            Content::Nodes(nodes) => nodes,
            Content::Octets(_) => panic!("a primitive value has no values inside"),
        }
    }

    /// The octets of a primitive value.
    ///
    /// # Panics
    ///
    /// If it is constructed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Octets(octets) => octets,
            Content::Nodes(_) => panic!("a constructed value has no octets of its own"),
        }
    }

    /// The octets of a primitive value, to be changed.
    ///
    /// # Panics
    ///
    /// If it is constructed.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        match &mut self.content {
            Content::Octets(octets) => octets,
            Content::Nodes(_) => panic!("a constructed value has no octets of its own"),
        }
    }

    /// Adds a value at the end.
    pub fn push(&mut self, node: Node) {
        self.nodes_mut().push(node);
    }

    /// Changes the DER inside an OCTET STRING, or behind the first octet of a BIT STRING.
    pub fn within(&mut self, change: impl FnOnce(&mut Node)) {
        let head = usize::from(self.tag == tag::BIT_STRING);
        let octets = self.bytes_mut();
        let mut inner = Node::parse(&octets[head..]);
        change(&mut inner);
        octets.truncate(head);
        octets.extend(inner.encode());
    }
}

/// The value inside at this place.
impl Index<usize> for Node {
    type Output = Node;

    fn index(&self, at: usize) -> &Node {
        &self.nodes()[at]
    }
}

impl IndexMut<usize> for Node {
    fn index_mut(&mut self, at: usize) -> &mut Node {
        &mut self.nodes_mut()[at]
    }
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        out.push(length as u8);
        return;
    }
    let octets = length.to_be_bytes();
    let skip = octets.iter().take_while(|octet| **octet == 0).count();
    out.push(0x80 | (octets.len() - skip) as u8);
    out.extend_from_slice(&octets[skip..]);
}

/// Content octets of an identifier in dotted form, X.690 §8.19.
///
/// # Panics
///
/// If it is not of at least two numbers with dots between.
#[must_use]
pub fn oid_content(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut out = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            out.push((arc >> (7 * group)) as u8 & 0x7f | more);
        }
    }
    out
}

/// ECParameters of P-256 written out, as RFC 3279 §2.3.5 allowed and RFC 5480 §2.1.1 forbids. The numbers are
/// those of SP 800-186 §3.2.1.3.
#[must_use]
pub fn explicit_p256() -> Node {
    let hex = |digits: &str| -> Vec<u8> {
        let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(octet).collect()
    };
    let prime = hex("00ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let a = hex("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc");
    let b = hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b");
    let generator = hex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    );
    let order = hex("00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    Node::sequence([
        Node::integer(&[1]),
        Node::sequence([Node::oid("1.2.840.10045.1.1"), Node::integer(&prime)]),
        Node::sequence([Node::octets(&a), Node::octets(&b)]),
        Node::primitive(tag::OCTET_STRING, &generator),
        Node::integer(&order),
        Node::integer(&[1]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_encodes_as_it_was() {
        let device =
            birthmark_loadgen::device::Device::make(birthmark_hsm::KeyAlgorithm::EcP384, 1, 1)
                .unwrap();
        let request = device.request().unwrap();
        assert_eq!(Node::parse(&request).encode(), request);
    }

    #[test]
    fn lengths_are_written_as_told() {
        let value = |length| Node::octets(&[7; 3]).with_length(length).encode();
        assert_eq!(value(Length::Minimal), [4, 3, 7, 7, 7]);
        assert_eq!(value(Length::Long(2)), [4, 0x82, 0, 3, 7, 7, 7]);
        assert_eq!(value(Length::Indefinite), [4, 0x80, 7, 7, 7, 0, 0]);
        assert_eq!(value(Length::Off(-1)), [4, 2, 7, 7, 7]);
        assert_eq!(value(Length::Bare), [7, 7, 7]);
        assert_eq!(Node::octets(&[0; 300]).encode()[..4], [4, 0x82, 1, 0x2c]);
    }

    #[test]
    fn identifiers_are_written_in_groups_of_seven_bits() {
        assert_eq!(
            oid_content("1.2.840.10045.4.3.2"),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]
        );
        assert_eq!(oid_content("2.5.29.15"), [0x55, 0x1d, 0x0f]);
        assert_eq!(oid_content("2.999.0"), [0x88, 0x37, 0]);
    }

    #[test]
    fn what_is_inside_a_string_is_changed_in_place() {
        let mut outer = Node::octets(&Node::sequence([Node::null()]).encode());
        outer.within(|inner| inner.push(Node::integer(&[5])));
        assert_eq!(outer.encode(), [4, 7, 0x30, 5, 5, 0, 2, 1, 5]);
    }
}
