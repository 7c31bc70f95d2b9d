//! PINs that are missing or refused, and what remembers a refusal.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ckr::{ErrorClass, ReturnCode};

/// The PIN is missing, unreadable or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Nothing says where the PIN is.
    #[error(
        "no PIN for token '{token}': put it in a file and add pin-source=file:/path to the URI, \
         or set BIRTHMARK_PIN"
    )]
    Missing {
        /// The token's label.
        token: String,
    },
    /// The PIN's file cannot be read.
    #[error("the PIN file that pin-source names cannot be read: {source}")]
    Unreadable {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The PIN's file or variable holds no PIN.
    #[error("{place} holds no PIN: it must be one line of text, 1 to {max} bytes")]
    Malformed {
        /// `the PIN file` or `BIRTHMARK_PIN`.
        place: &'static str,
        /// Longest PIN read, in bytes.
        max: usize,
    },
    /// The token refused the PIN. It was sent once.
    #[error(
        "token '{token}' refused the PIN with {code}; it was tried once. {}{mark}",
        ErrorClass::Pin.advice()
    )]
    Refused {
        /// The token's label.
        token: String,
        /// What the login returned.
        code: ReturnCode,
        /// What remembers it.
        mark: Mark,
    },
    /// The token refused the PIN before. It was not sent again.
    #[error(
        "token '{token}' refused the PIN before ({reason}), and it is not sent again. Correct the \
         PIN, make sure that the token is not locked, then remove {}",
        mark.display()
    )]
    RefusedBefore {
        /// The token's label.
        token: String,
        /// What the mark says.
        reason: String,
        /// The mark.
        mark: PathBuf,
    },
}

/// What remembers a refused PIN, so that no later process sends it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Nothing but this process.
    None,
    /// The file that a person removes once the PIN is corrected.
    Left(Arc<Path>),
    /// The file could not be written.
    Failed(Arc<str>),
}

/// The end of a sentence about a refused PIN.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::None => Ok(()),
            Mark::Left(path) => write!(f, "; then remove {}", path.display()),
            Mark::Failed(why) => write!(
                f,
                "; this could not be written down ({why}): start nothing before the PIN is right"
            ),
        }
    }
}
