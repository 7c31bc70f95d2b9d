//! Why a name is refused.

use super::ATTRIBUTES_MAX;

/// Why a distinguished name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// A part has no `=`.
    #[error("'{part}' is not TYPE=VALUE; write a subject like 'O=Acme,CN=Acme Issuing CA'")]
    NoEquals {
        /// The part as written.
        part: String,
    },
    /// An attribute type that is not known here.
    #[error(
        "attribute type '{label}' is not known; use C, ST, L, O, OU, CN, SERIALNUMBER, DC or a \
         dotted object identifier"
    )]
    UnknownType {
        /// The type as written.
        label: String,
    },
    /// A value is empty.
    #[error("the value of {label} is empty; give it a value or leave the attribute out")]
    Empty {
        /// The attribute type.
        label: String,
    },
    /// A value is longer than RFC 5280 appendix A.1 allows.
    #[error(
        "the value of {label} is longer than {characters_max} characters (RFC 5280 appendix A.1)"
    )]
    TooLong {
        /// The attribute type.
        label: String,
        /// The upper bound in characters.
        characters_max: usize,
    },
    /// A character that the attribute's string type cannot hold.
    #[error("the value of {label} holds a character that is not allowed there: {why}")]
    Characters {
        /// The attribute type.
        label: String,
        /// What is allowed.
        why: &'static str,
    },
    /// A backslash that is not followed by a special character or two hex digits.
    #[error(
        "the value of {label} has a wrong escape; write a special character as \\, \\+ or \\2C (RFC 4514 §2.4)"
    )]
    Escape {
        /// The attribute type.
        label: String,
    },
    /// A special character that must be escaped.
    #[error(
        "the value of {label} holds '{character}', which must be written as \\{character} (RFC 4514 §2.4)"
    )]
    Unescaped {
        /// The attribute type.
        label: String,
        /// The character.
        character: char,
    },
    /// There is no CN.
    #[error("the subject has no common name; add CN=…")]
    NoCommonName,
    /// More than [`ATTRIBUTES_MAX`] attributes.
    #[error("the subject has more than {ATTRIBUTES_MAX} attributes; use fewer")]
    TooMany,
}
