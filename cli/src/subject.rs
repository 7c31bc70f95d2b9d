//! Distinguished names as they are written on the command line.
//!
//! A subset of RFC 4514: `O=Acme,CN=Acme Issuing CA`. Three differences, all
//! deliberate:
//!
//! - The attributes are encoded in the order in which they are written
//!   (as `openssl req -subj` does). RFC 4514 §2.1 would reverse them, which
//!   surprises everyone who writes the country first.
//! - Multi-valued RDNs (`+`) and `#hex` values are refused.
//! - Spaces around a type and around a value are dropped.

mod error;

use std::fmt;
use std::str::FromStr;

use der::asn1::{Any, ObjectIdentifier, SetOfVec};
use der::{Decode, Encode, Tag};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

pub use error::SubjectError;

/// Most attributes in one name. Real CA names have two to five; the bound only
/// keeps a wrong argument from becoming a huge certificate.
pub const ATTRIBUTES_MAX: usize = 16;

/// A parsed, validated distinguished name.
///
/// ```text
/// RDNSequence ::= SEQUENCE OF RelativeDistinguishedName      -- RFC 5280 §4.1.2.4
/// RelativeDistinguishedName ::= SET SIZE (1..MAX) OF AttributeTypeAndValue
/// ```
///
/// Here each RDN holds exactly one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    attributes: Vec<Attribute>,
}

impl Subject {
    /// The name of the root CA that goes with this issuing CA: the same name with
    /// `Issuing` in the common name replaced by `Root`, or ` Root` appended.
    ///
    /// # Errors
    ///
    /// The common name is missing, or would become longer than RFC 5280 allows.
    pub fn to_root(&self) -> Result<Subject, SubjectError> {
        let mut root = self.clone();
        let common_name = root
            .attributes
            .iter_mut()
            .rev()
            .find(|attribute| attribute.kind.label == "CN")
            .ok_or(SubjectError::NoCommonName)?;
        common_name.value = if common_name.value.contains("Issuing") {
            common_name.value.replacen("Issuing", "Root", 1)
        } else {
            format!("{} Root", common_name.value)
        };
        common_name.check()?;
        Ok(root)
    }

    /// The X.501 name: country and serial number as PrintableString, domain
    /// component as IA5String, all others as UTF8String (RFC 5280 §4.1.2.4 and
    /// appendix A.1).
    ///
    /// # Errors
    ///
    /// Only when the DER encoder refuses a value, which the parser's checks exclude.
    pub fn to_name(&self) -> Result<Name, der::Error> {
        let mut sequence = Vec::with_capacity(self.attributes.len());
        for attribute in &self.attributes {
            let value = Any::new(attribute.kind.tag, attribute.value.as_bytes())?;
            let oid = attribute.kind.oid;
            sequence.push(SetOfVec::try_from([AttributeTypeAndValue { oid, value }])?);
        }
        Name::from_der(&sequence.to_der()?)
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let mut attributes = Vec::new();
        for part in split_unescaped(text) {
            if attributes.len() == ATTRIBUTES_MAX {
                return Err(SubjectError::TooMany);
            }
            let part = part.trim_start();
            let (label, value) = part
                .split_once('=')
                .ok_or_else(|| SubjectError::NoEquals { part: shown(part) })?;
            let attribute = Attribute {
                kind: Kind::find(label.trim())?,
                value: unescape(label.trim(), value)?,
            };
            attribute.check()?;
            attributes.push(attribute);
        }
        let subject = Subject { attributes };
        // A name without a common name is legal, but then two CAs of one firm
        // could not be told apart, and no root name could be derived.
        if !subject
            .attributes
            .iter()
            .any(|attribute| attribute.kind.label == "CN")
        {
            return Err(SubjectError::NoCommonName);
        }
        Ok(subject)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, attribute) in self.attributes.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}=", attribute.kind.label)?;
            let last = attribute.value.chars().count() - 1;
            for (at, character) in attribute.value.chars().enumerate() {
                match character {
                    ' ' if at == 0 || at == last => f.write_str("\\ ")?,
                    '#' if at == 0 => f.write_str("\\#")?,
                    '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{character}")?,
                    other => write!(f, "{other}")?,
                }
            }
        }
        Ok(())
    }
}

/// One attribute, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    kind: Kind,
    value: String,
}

impl Attribute {
    fn check(&self) -> Result<(), SubjectError> {
        let label = || self.kind.label.clone();
        let characters = self.value.chars().count();
        if characters == 0 {
            return Err(SubjectError::Empty { label: label() });
        }
        if characters > self.kind.characters_max {
            let characters_max = self.kind.characters_max;
            return Err(SubjectError::TooLong {
                label: label(),
                characters_max,
            });
        }
        let refuse = |why| {
            Err(SubjectError::Characters {
                label: label(),
                why,
            })
        };
        let country = |value: &str| value.len() == 2 && value.bytes().all(is_capital);
        if self.kind.label == "C" && !country(&self.value) {
            return refuse("a country is two capital letters (ISO 3166)");
        }
        if self.kind.tag == Tag::PrintableString && !self.value.bytes().all(is_printable_string) {
            return refuse("letters, digits, space and '()+,-./:=? only (PrintableString)");
        }
        if self.kind.tag == Tag::Ia5String && !self.value.is_ascii() {
            return refuse("ASCII only (IA5String)");
        }
        if self.value.chars().any(char::is_control) {
            return refuse("no control characters");
        }
        Ok(())
    }
}

/// What is known of an attribute type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    label: String,
    oid: ObjectIdentifier,
    tag: Tag,
    characters_max: usize,
}

/// Label, object identifier, string type, upper bound (RFC 5280 appendix A.1).
const KINDS: [(&str, &str, Tag, usize); 8] = [
    ("C", "2.5.4.6", Tag::PrintableString, 2),
    ("ST", "2.5.4.8", Tag::Utf8String, 128),
    ("L", "2.5.4.7", Tag::Utf8String, 128),
    ("O", "2.5.4.10", Tag::Utf8String, 64),
    ("OU", "2.5.4.11", Tag::Utf8String, 64),
    ("CN", "2.5.4.3", Tag::Utf8String, 64),
    ("SERIALNUMBER", "2.5.4.5", Tag::PrintableString, 64),
    ("DC", "0.9.2342.19200300.100.1.25", Tag::Ia5String, 63),
];

/// Bound for types given as a dotted identifier: the widest of the known ones.
const OTHER_CHARACTERS_MAX: usize = 128;

impl Kind {
    fn find(label: &str) -> Result<Kind, SubjectError> {
        let unknown = || SubjectError::UnknownType {
            label: shown(label),
        };
        let known = KINDS
            .iter()
            .find(|(name, dotted, _, _)| name.eq_ignore_ascii_case(label) || *dotted == label);
        if let Some((name, dotted, tag, characters_max)) = known {
            let oid = ObjectIdentifier::new(dotted).map_err(|_| unknown())?;
            let label = (*name).to_owned();
            return Ok(Kind {
                label,
                oid,
                tag: *tag,
                characters_max: *characters_max,
            });
        }
        let oid = ObjectIdentifier::new(label).map_err(|_| unknown())?;
        let (tag, characters_max) = (Tag::Utf8String, OTHER_CHARACTERS_MAX);
        Ok(Kind {
            label: label.to_owned(),
            oid,
            tag,
            characters_max,
        })
    }
}

/// Splits at commas that no backslash precedes.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Undoes the escapes of RFC 4514 §2.4 and drops unescaped spaces at both ends.
fn unescape(label: &str, text: &str) -> Result<String, SubjectError> {
    let wrong = || SubjectError::Escape {
        label: shown(label),
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    // Length up to the last byte that must stay: trailing spaces go unless escaped.
    let mut kept = 0;
    let mut rest = text.trim_start().chars();
    if rest.as_str().starts_with('#') {
        return Err(SubjectError::Unescaped {
            label: shown(label),
            character: '#',
        });
    }
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                let first = rest.next().ok_or_else(wrong)?;
                if first.is_ascii_hexdigit() {
                    let second = rest.next().ok_or_else(wrong)?;
                    let digits = [first, second].map(|digit| digit.to_digit(16));
                    let [Some(high), Some(low)] = digits else {
                        return Err(wrong());
                    };
                    bytes.push((high * 16 + low) as u8);
                } else if " \"#+,;<=>\\".contains(first) {
                    bytes.push(first as u8);
                } else {
                    return Err(wrong());
                }
                kept = bytes.len();
            }
            '"' | '+' | ';' | '<' | '>' => {
                return Err(SubjectError::Unescaped {
                    label: shown(label),
                    character,
                });
            }
            other => {
                bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                if other != ' ' {
                    kept = bytes.len();
                }
            }
        }
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn is_capital(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

/// X.680 §41.4, table 10.
fn is_printable_string(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

/// At most this much of a wrong argument is repeated in a message.
const SHOWN_CHARACTERS_MAX: usize = 40;

fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(SHOWN_CHARACTERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Subject, SubjectError> {
        text.parse()
    }

    #[test]
    fn written_order_and_string_types() {
        let subject = parse("C=DE, O=Acme , CN=Acme Issuing CA,SERIALNUMBER=7").unwrap();
        let name = subject.to_name().unwrap();
        let seen: Vec<_> = name
            .iter()
            .map(|a| {
                (
                    a.oid.to_string(),
                    der::Tagged::tag(&a.value),
                    a.value.value().to_vec(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("2.5.4.6".into(), Tag::PrintableString, b"DE".to_vec()),
                ("2.5.4.10".into(), Tag::Utf8String, b"Acme".to_vec()),
                (
                    "2.5.4.3".into(),
                    Tag::Utf8String,
                    b"Acme Issuing CA".to_vec()
                ),
                ("2.5.4.5".into(), Tag::PrintableString, b"7".to_vec()),
            ]
        );
        assert_eq!(name.len(), 4, "one attribute per RDN");
    }

    #[test]
    fn escapes() {
        let subject = parse(r"O=A\, B \+ C\2c\C3\BC\ ,CN=\#1").unwrap();
        assert_eq!(subject.attributes[0].value, "A, B + C,ü ");
        assert_eq!(subject.attributes[1].value, "#1");
        assert_eq!(subject.to_string(), r"O=A\, B \+ C\,ü\ ,CN=\#1");
    }

    #[test]
    fn dotted_type() {
        let subject = parse("CN=Matter PAI,1.3.6.1.4.1.37244.2.1=FFF1").unwrap();
        let name = subject.to_name().unwrap();
        let vid = name.iter().nth(1).unwrap();
        assert_eq!(vid.oid.to_string(), "1.3.6.1.4.1.37244.2.1");
        assert_eq!(vid.value.value(), b"FFF1");
    }

    #[test]
    fn refused() {
        let label = |text: &str| text.to_owned();
        let cases = [
            (
                "",
                SubjectError::NoEquals {
                    part: String::new(),
                },
            ),
            (
                "O=Acme,",
                SubjectError::NoEquals {
                    part: String::new(),
                },
            ),
            (
                "Acme",
                SubjectError::NoEquals {
                    part: label("Acme"),
                },
            ),
            ("O=Acme", SubjectError::NoCommonName),
            ("X=1,CN=a", SubjectError::UnknownType { label: label("X") }),
            ("CN=", SubjectError::Empty { label: label("CN") }),
            ("CN=  ", SubjectError::Empty { label: label("CN") }),
            (r"CN=a\", SubjectError::Escape { label: label("CN") }),
            (r"CN=a\q", SubjectError::Escape { label: label("CN") }),
            (r"CN=a\ff", SubjectError::Escape { label: label("CN") }),
            (
                "CN=a+OU=b",
                SubjectError::Unescaped {
                    label: label("CN"),
                    character: '+',
                },
            ),
            (
                "CN=#04024869",
                SubjectError::Unescaped {
                    label: label("CN"),
                    character: '#',
                },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn refused_values() {
        assert!(matches!(
            parse("C=de,CN=a"),
            Err(SubjectError::Characters { .. })
        ));
        assert!(matches!(
            parse("C=DEU,CN=a"),
            Err(SubjectError::TooLong { .. })
        ));
        assert!(matches!(
            parse("SERIALNUMBER=a*b,CN=a"),
            Err(SubjectError::Characters { .. })
        ));
        assert!(matches!(
            parse("CN=a\nb"),
            Err(SubjectError::Characters { .. })
        ));
        let long = format!("CN={}", "ü".repeat(65));
        assert!(matches!(
            parse(&long),
            Err(SubjectError::TooLong {
                characters_max: 64,
                ..
            })
        ));
        assert!(
            parse(&format!("CN={}", "ü".repeat(64))).is_ok(),
            "the bound counts characters"
        );
        let many = vec!["CN=a"; ATTRIBUTES_MAX + 1].join(",");
        assert_eq!(parse(&many), Err(SubjectError::TooMany));
    }

    #[test]
    fn root_name() {
        let root = |text: &str| parse(text).unwrap().to_root().map(|name| name.to_string());
        assert_eq!(
            root("O=Acme,CN=Acme Issuing CA").unwrap(),
            "O=Acme,CN=Acme Root CA"
        );
        assert_eq!(
            root("O=Acme,CN=Acme CA 1").unwrap(),
            "O=Acme,CN=Acme CA 1 Root"
        );
        let long = format!("CN={}", "a".repeat(62));
        assert!(matches!(root(&long), Err(SubjectError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_displayed_parses_to_the_same_name(
            organization in "[ -~äü€#]{1,30}", common_name in "[ -~äü€]{1,30}"
        ) {
            let attribute = |label: &str, value: &str| Attribute {
                kind: Kind::find(label).unwrap(),
                value: value.to_owned(),
            };
            let subject = Subject {
                attributes: vec![attribute("O", &organization), attribute("CN", &common_name)],
            };
            prop_assert_eq!(parse(&subject.to_string()), Ok(subject));
        }
    }
}
