//! Why a signature was not made.

use std::sync::Arc;
use std::time::Duration;

use super::Mark;
use super::pin::LoginAnswer;
use crate::algorithm::KeyAlgorithm;
use crate::ckr::{CallError, ErrorClass, ReturnCode};

/// A signature was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A PKCS#11 call failed, after what its class allows was tried.
    #[error("token '{token}': {call}; {}", call.class().advice())]
    Call {
        /// The token's label.
        token: Arc<str>,
        /// The call and what it returned.
        call: CallError,
    },
    /// The token refused the PIN, or may have, when a lost login had to be renewed. It is not sent again.
    #[error(
        "token '{token}' {}, and it is not tried again; {}{mark}",
        LoginAnswer(*code), ErrorClass::Pin.advice()
    )]
    PinRefused {
        /// The token's label.
        token: Arc<str>,
        /// What the login returned.
        code: ReturnCode,
        /// What remembers it.
        mark: Mark,
    },
    /// A lost login could not be renewed: the PIN was held back, and not sent.
    #[error("token '{token}': {why}")]
    PinHeldBack {
        /// The token's label.
        token: Arc<str>,
        /// Why, with what to do.
        why: Arc<str>,
        /// Whether that stays so until a person acts.
        lasting: bool,
    },
    /// The token holds no such key any more, or another one under the same name.
    #[error(
        "token '{token}' no longer holds the key that this pool signs with as {key}; put the right \
         key there, or take the token out of the configuration"
    )]
    WrongKey {
        /// The token's label.
        token: Arc<str>,
        /// The URI's object attributes.
        key: String,
    },
    /// The token's signatures do not verify with the public half of its key.
    #[error(
        "token '{token}' makes signatures that do not verify with its key's public half; call the \
         officer in charge of the HSM, it stays out until a test signature verifies"
    )]
    WrongSignature {
        /// The token's label.
        token: Arc<str>,
    },
    /// The last of the job's attempts did not return and was given up.
    #[error(
        "token '{token}': the call did not return within {} s and was given up; {}",
        limit.as_secs_f64(), ErrorClass::Device.advice()
    )]
    Hung {
        /// The token's label.
        token: Arc<str>,
        /// How long it may last.
        limit: Duration,
    },
    /// No token took the job.
    #[error(
        "no token signs, waited {} s; check the HSMs, their power and their network: {tokens}",
        waited.as_secs()
    )]
    TokensDown {
        /// How long the job waited while every token was down.
        waited: Duration,
        /// Each token's state, and why.
        tokens: Arc<str>,
    },
    /// The token returned something that is no signature of this key.
    #[error(
        "token '{token}' returned a signature of {found} bytes for a key of type {algorithm}, \
         which takes {expected}; check the token's firmware"
    )]
    MalformedSignature {
        /// The token's label.
        token: Arc<str>,
        /// The key's kind.
        algorithm: KeyAlgorithm,
        /// Bytes that a signature of this key has.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The job's input is not what this key signs. Make it with
    /// [`SigningPool::input_for`](crate::SigningPool::input_for).
    #[error(
        "the input is not what a key of type {algorithm} signs; make it with the pool's input_for"
    )]
    WrongInput {
        /// The key's kind.
        algorithm: KeyAlgorithm,
    },
    /// The software key's arithmetic failed, which means exhausted memory or a damaged key.
    #[error("signing with the {algorithm} software key failed; check memory and the key file")]
    Software {
        /// The key's kind.
        algorithm: KeyAlgorithm,
    },
    /// No session thread is left to sign.
    #[error("the signing pool has stopped; restart this process")]
    Stopped,
}

impl SignError {
    /// The class that decides what is done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            SignError::Call { call, .. } => call.class(),
            SignError::PinRefused { .. } | SignError::PinHeldBack { lasting: true, .. } => {
                ErrorClass::Pin
            }
            // Another login goes on, or the disk takes no mark: it may pass.
            SignError::PinHeldBack { lasting: false, .. } => ErrorClass::Login,
            SignError::WrongKey { .. } => ErrorClass::Handle,
            SignError::MalformedSignature { .. }
            | SignError::WrongSignature { .. }
            | SignError::Software { .. }
            | SignError::Hung { .. }
            | SignError::TokensDown { .. } => ErrorClass::Device,
            SignError::WrongInput { .. } => ErrorClass::Request,
            SignError::Stopped => ErrorClass::Module,
        }
    }

    /// The PKCS#11 function that failed, such as `C_Sign`.
    pub fn function(&self) -> Option<&'static str> {
        match self {
            SignError::Call { call, .. } => Some(call.function),
            SignError::PinRefused { .. } => Some("C_Login"),
            _ => None,
        }
    }

    /// What the PKCS#11 function returned.
    pub fn code(&self) -> Option<ReturnCode> {
        match self {
            SignError::Call { call, .. } => Some(call.code),
            SignError::PinRefused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Why the job of a [rejected](crate::SigningPool::reject) signature is not signed again. Its
/// completion is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSignedAgain {
    /// The signature is the key's, over the very input of the job: no token is to blame.
    #[error(
        "the signature is right over what was to be signed; what it was checked against was changed \
         since, or is another key's"
    )]
    Verifies,
    /// No token of the pool made it: the key is a software key, which would make the same again.
    #[error("no token made it, and the key itself would make it again")]
    NoToken,
    /// The job has had as many attempts as it may have.
    #[error("the job has had {attempts} attempts, and no signature that verifies")]
    AttemptsUsedUp {
        /// Attempts made.
        attempts: u32,
    },
}
