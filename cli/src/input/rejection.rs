//! Why an input is not a request.

use std::io;

use birthmark_engine::Action;

use crate::devices::DeviceLineError;
use crate::pem::{PemError, REQUEST_BYTES_MAX};

/// Why an input did not give a request. Its neighbors are not affected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputRejection {
    /// No bytes at all.
    #[error("the input is empty")]
    Empty,
    /// Longer than any request can be.
    #[error(
        "the input is longer than {REQUEST_BYTES_MAX} bytes and not PEM; no certificate and no request is"
    )]
    TooLong,
    /// Neither DER nor PEM.
    #[error(
        "the input is neither PEM (no BEGIN line of what is looked for) nor DER (first byte not 30)"
    )]
    NotARequest,
    /// A PEM block that is not a sound request.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A line of a list that is no device.
    #[error(transparent)]
    Device(#[from] DeviceLineError),
    /// The file could not be read to its end.
    #[error("the input cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl InputRejection {
    /// A stable number, continuing the engine's 1xx (form of the request).
    #[must_use]
    pub fn number(&self) -> u16 {
        self.facts().0
    }

    /// The kind in kebab case, for programs. Where the engine has the same rule, the same word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.facts().1
    }

    /// Where the rule comes from.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.facts().2
    }

    /// What to do at the line.
    #[must_use]
    pub fn action(&self) -> Action {
        self.facts().3
    }

    fn facts(&self) -> (u16, &'static str, &'static str, Action) {
        use Action::{Retry, Rework};
        match self {
            Self::Empty => (100, "empty", "RFC 2986 §4", Rework),
            Self::TooLong | Self::Pem(PemError::TooLong) => {
                (101, "too-large", "Birthmark size limit", Rework)
            }
            Self::NotARequest => (102, "malformed", "RFC 2986 §4, X.690 §10", Rework),
            Self::Pem(PemError::Label { .. }) => (191, "pem-label", "RFC 7468 §7", Rework),
            Self::Pem(PemError::Truncated) => (192, "pem-truncated", "RFC 7468 §3", Rework),
            Self::Pem(_) => (193, "pem-malformed", "RFC 7468 §§2-3", Rework),
            Self::Device(_) => (194, "device-line", "RFC 4180 §2, RFC 8259", Rework),
            Self::Unreadable(_) => (190, "unreadable", "operating system", Retry),
        }
    }
}
