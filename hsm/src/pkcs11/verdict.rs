//! What is done about an error of an attempt: the error table, as code.

use crate::ckr::{ErrorClass, ReturnCode};
use crate::error::SignError;
use crate::event::TokenState;

/// What a worker does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Mend session, key handle or login, once per job, and try again here. For a PIN, which has no
    /// remedy, that is to leave its mark; then the token stops.
    Remedy,
    /// The job gets the error: it would be refused again.
    Answer,
    /// As answer; but a token that refuses many in a row while others sign goes down.
    Refused,
    /// The job goes elsewhere; the token goes down if that happens in a row.
    Suspicious,
    /// As suspicious, and this session waits before it takes the next job.
    Busy,
    /// The token takes no more work; the job goes elsewhere.
    Stop(TokenState),
    /// As stop, for every token of the module.
    ModuleLost,
    /// This session is gone and cannot be replaced now; the job goes elsewhere.
    NoSession,
}

/// The verdict about a signature that was not made.
pub(super) fn of(error: &SignError) -> Verdict {
    match error {
        SignError::WrongInput { .. } | SignError::Software { .. } => Verdict::Answer,
        SignError::MalformedSignature { .. } => Verdict::Suspicious,
        SignError::WrongKey { .. } => Verdict::Stop(TokenState::WrongKey),
        SignError::WrongSignature { .. } => Verdict::Stop(TokenState::WrongSignatures),
        SignError::PinRefused { .. } => Verdict::Stop(TokenState::PinRefused),
        _ => match error.class() {
            ErrorClass::Session | ErrorClass::Handle | ErrorClass::Login | ErrorClass::Pin => {
                Verdict::Remedy
            }
            // It may be anything, a passing thing among it.
            ErrorClass::Device if error.code() == Some(ReturnCode::GENERAL_ERROR) => {
                Verdict::Suspicious
            }
            ErrorClass::Device => Verdict::Stop(TokenState::Down),
            ErrorClass::Busy => Verdict::Busy,
            ErrorClass::Module => Verdict::ModuleLost,
            ErrorClass::UsedUp => Verdict::Stop(TokenState::KeyStopped),
            ErrorClass::Request => Verdict::Refused,
        },
    }
}

/// The verdict about a remedy that failed.
pub(super) fn of_remedy(error: &SignError) -> Verdict {
    match of(error) {
        // The session could not be opened anew: the token has no more of them, or has no room.
        Verdict::Busy => Verdict::NoSession,
        _ if error.class() == ErrorClass::Pin => Verdict::Stop(TokenState::PinRefused),
        Verdict::Remedy | Verdict::Answer | Verdict::Refused => Verdict::Suspicious,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ckr::CallError;

    fn error(code: u64) -> SignError {
        SignError::Call {
            token: Arc::from("t"),
            call: CallError {
                function: "C_Sign",
                code: ReturnCode::new(code as _),
            },
        }
    }

    #[test]
    fn the_error_table() {
        let down = Verdict::Stop(TokenState::Down);
        let stopped = Verdict::Stop(TokenState::KeyStopped);
        let refused = Verdict::Stop(TokenState::PinRefused);
        let table = [
            (0xb3, Verdict::Remedy, Verdict::Suspicious), // SESSION_HANDLE_INVALID
            (0xb0, Verdict::Remedy, Verdict::Suspicious), // SESSION_CLOSED
            (0x90, Verdict::Remedy, Verdict::Suspicious), // OPERATION_ACTIVE
            (0x60, Verdict::Remedy, Verdict::Suspicious), // KEY_HANDLE_INVALID
            (0x82, Verdict::Remedy, Verdict::Suspicious), // OBJECT_HANDLE_INVALID
            (0x101, Verdict::Remedy, Verdict::Suspicious), // USER_NOT_LOGGED_IN
            (0x30, down, down),                           // DEVICE_ERROR
            (0x31, down, down),                           // DEVICE_MEMORY
            (0x32, down, down),                           // DEVICE_REMOVED
            (0xe0, down, down),                           // TOKEN_NOT_PRESENT
            (0x2, down, down),                            // HOST_MEMORY
            (0x5, Verdict::Suspicious, Verdict::Suspicious), // GENERAL_ERROR
            (0x6, Verdict::Busy, Verdict::NoSession),     // FUNCTION_FAILED
            (0xb1, Verdict::Busy, Verdict::NoSession),    // SESSION_COUNT
            (0x190, Verdict::ModuleLost, Verdict::ModuleLost), // CRYPTOKI_NOT_INITIALIZED
            (0x8000_0136, stopped, stopped),              // KEY_NOT_ACTIVE (Luna)
            (0x68, stopped, stopped),                     // KEY_FUNCTION_NOT_PERMITTED
            (0xa0, Verdict::Remedy, refused),             // PIN_INCORRECT
            (0xa4, Verdict::Remedy, refused),             // PIN_LOCKED
            (0xa3, Verdict::Remedy, refused),             // PIN_EXPIRED
            (0x70, Verdict::Refused, Verdict::Suspicious), // MECHANISM_INVALID
            (0x21, Verdict::Refused, Verdict::Suspicious), // DATA_LEN_RANGE
            (0x63, Verdict::Refused, Verdict::Suspicious), // KEY_TYPE_INCONSISTENT
        ];
        for (code, attempt, remedy) in table {
            let error = error(code);
            assert_eq!(of(&error), attempt, "{error}");
            assert_eq!(of_remedy(&error), remedy, "{error}");
        }
    }
}
