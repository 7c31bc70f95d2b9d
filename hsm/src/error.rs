//! Errors, one type per operation. None of them ever holds a PIN or a key.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::algorithm::KeyAlgorithm;
use crate::ckr::{CallError, ErrorClass};
use crate::pkcs11::UriError;

mod lookup;
mod pin;
mod setup;
mod sign;

pub use lookup::{KeyError, TokenError};
pub use pin::{Mark, PinError};
pub use setup::{DestroyError, GenerateError, InitializeError};
pub use sign::{NotSignedAgain, SignError};

/// A signing pool could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The module could not be used.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The token was not found.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The PIN is missing, unreadable or refused.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The key was not found or cannot sign here.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The software key could not be read.
    #[error(transparent)]
    Software(#[from] SoftwareKeyError),
    /// A PKCS#11 call failed.
    #[error("token '{token}': {call}; {}", call.class().advice())]
    Call {
        /// The token's label.
        token: String,
        /// The call and what it returned.
        call: CallError,
    },
    /// The number of sessions asked for is zero or above the limit.
    #[error("{asked} sessions asked for: use 1 to {max}")]
    Sessions {
        /// What was asked for.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// The list of tokens is empty or too long.
    #[error("{asked} tokens named: use 1 to {max}")]
    Tokens {
        /// How many were named.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// A software key stands beside another signer.
    #[error("a software key signs alone: name one software key, or PKCS#11 tokens only")]
    SoftwareBesideOthers,
    /// Two of the tokens hold different keys.
    #[error(
        "tokens '{first}' and '{second}' hold different keys: one pool signs with one key; copy \
         the key to both with the vendor's tool, or take one of them out"
    )]
    KeysDiffer {
        /// The label of a token.
        first: String,
        /// The label of a token with another key.
        second: String,
    },
    /// One token is named twice.
    #[error("token '{token}' is named twice: name each token once")]
    SameToken {
        /// The token's label.
        token: String,
    },
    /// A limit is out of its range.
    #[error("the limit {name} is out of range: use {range}")]
    Limit {
        /// The field of the options.
        name: &'static str,
        /// What would be right.
        range: &'static str,
    },
    /// No token answered.
    #[error(
        "no token answered within {} s; check the HSMs, their power and their network",
        waited.as_secs()
    )]
    NoAnswer {
        /// How long.
        waited: Duration,
    },
    /// The system gave no thread for a session.
    #[error("no thread for a signing session; raise the limit on processes and retry")]
    Thread(#[source] io::Error),
}

/// A PKCS#11 module could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The URI names no module.
    #[error(
        "the PKCS#11 URI names no module: add ?module-path=/path/of/the/vendor's/library.so to it"
    )]
    NotNamed,
    /// `module-name` is in none of the directories searched.
    #[error(
        "no PKCS#11 module named '{name}' in {}: install it, or give its file with module-path",
        searched.join(", ")
    )]
    NameNotFound {
        /// The name in the URI.
        name: String,
        /// The directories searched.
        searched: Vec<&'static str>,
    },
    /// The module's file cannot be opened.
    #[error(
        "no PKCS#11 module at {}: install the HSM vendor's client software (for SoftHSM: apt \
         install softhsm2, dnf install softhsm, brew install softhsm) or correct module-path",
        path.display()
    )]
    Missing {
        /// The path in the URI.
        path: PathBuf,
        /// Why it cannot be opened.
        #[source]
        source: io::Error,
    },
    /// The file is no PKCS#11 module, or one for another kind of machine.
    #[error(
        "{} is not a PKCS#11 module this machine can load: correct module-path",
        path.display()
    )]
    NotAModule {
        /// The path in the URI.
        path: PathBuf,
        /// What loading it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The module refused to start.
    #[error(
        "the PKCS#11 module {} does not start: {call}; check its configuration file and \
         environment (for SoftHSM: SOFTHSM2_CONF)",
        path.display()
    )]
    Initialize {
        /// The path in the URI.
        path: PathBuf,
        /// The call and what it returned.
        call: CallError,
    },
    /// The module lost its state while it is in use, so that it cannot be initialized anew.
    #[error(
        "the PKCS#11 module {} lost its state, and calls are inside it or others of this process \
         use it; restart this process",
        path.display()
    )]
    Lost {
        /// The path in the URI.
        path: PathBuf,
    },
    /// The module's slots cannot be listed.
    #[error("the PKCS#11 module {}: {call}; {}", path.display(), call.class().advice())]
    Call {
        /// The path in the URI.
        path: PathBuf,
        /// The call and what it returned.
        call: CallError,
    },
}

/// A software key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SoftwareKeyError {
    /// The file cannot be read or written.
    #[error("the key file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error(
        "the key file {} may be read by others (mode {mode:04o}): run chmod 600 on it, and \
         replace the key if it was exposed",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is too long for a key.
    #[error("the key file {} is longer than {max} bytes: that is no private key", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// What the file holds is no key that signs here.
    #[error("the key file {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<SoftwareKeyError>,
    },
    /// The text is no PKCS#8 PEM.
    #[error(
        "not a PKCS#8 private key in PEM ('-----BEGIN PRIVATE KEY-----'): convert it with \
         openssl pkcs8 -topk8 -nocrypt"
    )]
    Pem(#[source] pem_rfc7468::Error),
    /// The PEM holds something else.
    #[error(
        "the PEM holds '{label}' where 'PRIVATE KEY' is expected: convert it with openssl pkcs8 \
         -topk8 -nocrypt"
    )]
    Label {
        /// The label found.
        label: String,
    },
    /// The key is damaged or of a kind that does not sign here.
    #[error(
        "the private key is damaged, or of another kind or with other parameters than {}",
        KeyAlgorithm::NAMES
    )]
    Unsupported,
    /// The key could not be generated.
    #[error("no {algorithm} key could be generated; check memory and the system's randomness")]
    Generate {
        /// The kind asked for.
        algorithm: KeyAlgorithm,
    },
}

/// A signing pool did not close cleanly. It is closed nonetheless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Session threads ended by a panic.
    #[error("{count} signing threads had panicked; report this with the process's log")]
    Panicked {
        /// How many.
        count: usize,
    },
    /// Calls that were given up are still inside the module. It was not finalized.
    #[error(
        "{count} calls are still inside the PKCS#11 modules, which were not finalized; end this \
         process"
    )]
    Inside {
        /// How many.
        count: usize,
    },
    /// The module did not finalize.
    #[error("the PKCS#11 module {}: {call}; restart this process before using it", path.display())]
    Finalize {
        /// The module's file.
        path: PathBuf,
        /// The call and what it returned.
        call: CallError,
    },
}

impl OpenError {
    /// The failed PKCS#11 call's class, where a call failed.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            OpenError::Call { call, .. }
            | OpenError::Module(
                ModuleError::Initialize { call, .. } | ModuleError::Call { call, .. },
            ) => Some(call.class()),
            OpenError::Pin(error) if error.is_lasting() => Some(ErrorClass::Pin),
            OpenError::Module(ModuleError::Lost { .. }) => Some(ErrorClass::Module),
            _ => None,
        }
    }
}

/// Where a signer is could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// Neither form.
    #[error("a signer is 'software:PATH' or 'pkcs11:token=…;object=…?module-path=…'")]
    UnknownForm,
    /// `software:` without a path.
    #[error("'software:' is followed by the key file's path")]
    NoPath,
    /// The PKCS#11 URI is wrong.
    #[error(transparent)]
    Uri(#[from] UriError),
}
