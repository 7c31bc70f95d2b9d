//! Why a command on an HSM did not do what it was asked.

use std::io;
use std::path::PathBuf;

use birthmark_engine::{ConfigurationError, IssuerError};
use birthmark_hsm::{GenerateError, ModuleError, OpenError, SignError, UriError};

use crate::command::{Exit, pin_exit};

/// Why `birthmark hsm` ends without what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// The URI is wrong.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The module cannot be used.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// No token fits.
    #[error(
        "no initialized token fits {wanted}; list them all with `birthmark hsm list --module {module}`"
    )]
    NoToken {
        /// The URI, without where its PIN is.
        wanted: String,
        /// The module's file.
        module: String,
    },
    /// No module was found.
    #[error(
        "no PKCS#11 module was found; install the HSM vendor's client software, or name its module with \
         --module"
    )]
    NoModule,
    /// p11-kit's configuration cannot be read.
    #[error("cannot read {}", path.display())]
    Search {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process for a module cannot be started.
    #[error("cannot start a process of this command; check the limits of this process")]
    Process(#[source] io::Error),
    /// `--id` is not hexadecimal, or too long.
    #[error("--id is 1 to {max} bytes in hexadecimal, such as 0a01")]
    Id {
        /// Most bytes.
        max: usize,
    },
    /// No key was made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A key was made, but not as asked.
    #[error(
        "the token made a key that is not as asked: {wrong}. It was left on the token as '{label}'; do not \
         use it: check the token's policy and remove it with the vendor's tool"
    )]
    NotAsAsked {
        /// The key's label.
        label: String,
        /// Attributes and values.
        wrong: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The certificate cannot be used, or has another key.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The signer is a file.
    #[error("the signer is a software key; there is no HSM to check")]
    Software,
    /// The configuration names one token twice.
    #[error("the configuration names the token '{token}' twice; name each token once")]
    SameToken {
        /// Its label.
        token: String,
    },
    /// Some of several tokens failed.
    #[error("{failed} of {count} tokens failed the check")]
    Tokens {
        /// How many.
        failed: usize,
        /// Of how many.
        count: usize,
        /// What went wrong with one of them.
        #[source]
        gravest: Box<HsmError>,
    },
    /// Module, token, PIN, key or session.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The token does not sign.
    #[error("the token does not sign")]
    Sign(#[from] SignError),
    /// The signature is of another key, or damaged.
    #[error(
        "a test signature of session {session} does not verify with the key's public half; do not use this \
         token"
    )]
    SignatureWrong {
        /// Which session, from 1.
        session: usize,
    },
    /// A call does not return.
    #[error(
        "the token has not answered for {seconds} s while {sessions} sessions signed; check the token and \
         its network, then try again"
    )]
    Hung {
        /// How long.
        seconds: u64,
        /// How many sessions signed.
        sessions: usize,
    },
    /// A thread could not be started.
    #[error("cannot start a thread; check the limits of this process")]
    Thread(#[source] io::Error),
    /// The user has no place for state.
    #[error(
        "no PIN is sent, because there is no place to remember that it was refused: set XDG_STATE_HOME or HOME to a \
         directory of this user"
    )]
    NoStateDirectory,
    /// The user's place for state cannot be made.
    #[error(
        "no PIN is sent, because {} cannot be made to remember that it was refused; let this user write there, or set \
         XDG_STATE_HOME to another directory",
        path.display()
    )]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The terminal does not give a PIN.
    #[error("cannot read the PIN from the terminal; use pin-source=file:… or BIRTHMARK_PIN")]
    Terminal(#[source] io::Error),
    /// Results cannot be written.
    #[error("cannot write to standard output; check where it goes")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HsmError {
    /// What several tokens' errors come to: a refused PIN is the gravest, then a fault.
    pub(crate) fn of_tokens(errors: Vec<HsmError>, count: usize) -> Option<HsmError> {
        let failed = errors.len();
        let rank = |error: &HsmError| match error.exit() {
            Exit::Pin => 0,
            Exit::Fault => 1,
            _ => 2,
        };
        let gravest = errors.into_iter().min_by_key(rank).map(Box::new)?;
        Some(HsmError::Tokens {
            failed,
            count,
            gravest,
        })
    }

    /// What a person typed or a token's owner arranged is usage; what a device or the system does is a fault.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            HsmError::Generate(error) => generate_exit(error),
            HsmError::Open(error) => open_exit(error),
            HsmError::Tokens { gravest, .. } => gravest.exit(),
            HsmError::NotAsAsked { .. }
            | HsmError::Sign(_)
            | HsmError::SignatureWrong { .. }
            | HsmError::Hung { .. }
            | HsmError::Thread(_)
            | HsmError::Process(_)
            | HsmError::Output { .. } => Exit::Fault,
            _ => Exit::Usage,
        }
    }
}

pub(crate) fn generate_exit(error: &GenerateError) -> Exit {
    match error {
        GenerateError::Open(error) => open_exit(error),
        GenerateError::NoLabel | GenerateError::Exists { .. } => Exit::Usage,
        _ => Exit::Fault,
    }
}

pub(crate) fn open_exit(error: &OpenError) -> Exit {
    match error {
        OpenError::Pin(_) => pin_exit(error).unwrap_or(Exit::Usage),
        OpenError::Call { .. } | OpenError::Thread(_) => Exit::Fault,
        _ => Exit::Usage,
    }
}
