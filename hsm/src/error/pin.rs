//! PINs that are missing or refused, and what remembers a refusal.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    /// The token refused the PIN, or answered with a code that does not tell. It was sent once.
    #[error(
        "token '{token}' {}; it was tried once. {}{mark}",
        LoginAnswer(*code), ErrorClass::Pin.advice()
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
    /// The token refused the PIN before, in this process, and no file remembers it. It was not sent again.
    #[error(
        "token '{token}' refused the PIN before in this process ({reason}), and it is not sent again. \
         Correct the PIN, make sure that the token is not locked, then restart this process"
    )]
    RefusedHere {
        /// The token's label.
        token: String,
        /// What the login returned.
        reason: String,
    },
    /// A process ended while a PIN was at the token. It was not sent again.
    #[error(
        "a process ended while it logged in to token '{token}', and nobody knows whether the PIN was \
         refused: it is not sent again. Make sure that the PIN is right and the token not locked, \
         then remove {}",
        mark.display()
    )]
    LoginCutShort {
        /// The token's label.
        token: String,
        /// The mark that the process left.
        mark: PathBuf,
    },
    /// Another login to the token goes on, here or in another process. No PIN was sent.
    #[error(
        "another login to token '{token}' has not ended within {} s, and no PIN is sent meanwhile; \
         check the HSM and its network, and end a process that hangs",
        waited.as_secs()
    )]
    LoginElsewhere {
        /// The token's label.
        token: String,
        /// How long this one waited.
        waited: Duration,
    },
    /// That a PIN is being sent could not be written down. It was not sent.
    #[error(
        "the PIN is not sent to token '{token}', because it could not be written down in {} first \
         ({source}); let the user that runs this write there: chown the file, or its directory where \
         the file is missing",
        mark.display()
    )]
    MarkUnwritable {
        /// The token's label.
        token: String,
        /// The mark.
        mark: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl PinError {
    /// Whether no PIN is sent to the token before a person saw to it.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            PinError::Refused { .. }
                | PinError::RefusedBefore { .. }
                | PinError::RefusedHere { .. }
                | PinError::LoginCutShort { .. }
        )
    }
}

/// What a login that did not succeed was told, as the end of a sentence about the token.
pub(super) struct LoginAnswer(pub(super) ReturnCode);

impl fmt::Display for LoginAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0;
        match code.class() {
            ErrorClass::Pin => write!(f, "refused the PIN with {code}"),
            _ => write!(
                f,
                "answered the login with {code}, which does not tell whether it refused the PIN"
            ),
        }
    }
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
