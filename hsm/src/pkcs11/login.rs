//! A login to a token: when a PIN is sent, and what an answer says of it.

use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::AuthPin;
use cryptoki_sys as sys;

use super::pin;
use super::pin_mark::PinMarks;
use super::pin_memory::TokenName;
use super::uri::Pkcs11Uri;
use crate::ckr::{CallError, ErrorClass, ReturnCode};
use crate::error::{Mark, PinError};

/// How to log in.
pub(super) enum Login {
    Pin(AuthPin),
    /// The token asks for the PIN on its own keypad (`CKF_PROTECTED_AUTHENTICATION_PATH`).
    Keypad,
}

/// Why there is no login.
pub(super) enum LoginError {
    /// Nothing was sent.
    HeldBack(PinError),
    /// The PIN was refused, or may have been, and that is written down.
    Refused(ReturnCode, Mark),
    /// The PIN was not judged.
    Call(CallError),
}

/// What `C_Login` returns without having judged the PIN. Any other code that is neither success nor a
/// refusal says nothing of the PIN: `CKR_GENERAL_ERROR`, `CKR_FUNCTION_FAILED`, `CKR_DEVICE_ERROR`,
/// the vendors' own codes. Neither do three that one might look for here. `CKR_DEVICE_REMOVED` and
/// `CKR_SESSION_CLOSED` mean that it happened *during* the call (PKCS#11 v3.1 §5.1.2, §5.1.3): a network
/// token may have had the PIN, and its answer was lost. `CKR_HOST_MEMORY` and `CKR_DEVICE_MEMORY` may
/// concern the answer.
const PIN_NOT_JUDGED: [sys::CK_RV; 11] = [
    // The module has no state, and so no session to send anything through.
    sys::CKR_CRYPTOKI_NOT_INITIALIZED,
    // The handle was invalid "at the time that the function was invoked" (§5.1.2).
    sys::CKR_SESSION_HANDLE_INVALID,
    // The token was not there "at the time that the function was invoked" (§5.1.3).
    sys::CKR_TOKEN_NOT_PRESENT,
    // No token was reached.
    sys::CKR_TOKEN_NOT_RECOGNIZED,
    sys::CKR_SLOT_ID_INVALID,
    // The module has no such function, or did not take its arguments.
    sys::CKR_FUNCTION_NOT_SUPPORTED,
    sys::CKR_ARGUMENTS_BAD,
    // Who may log in is settled before the PIN is looked at (§5.6.8).
    sys::CKR_USER_TYPE_INVALID,
    sys::CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    sys::CKR_USER_TOO_MANY_TYPES,
    sys::CKR_SESSION_READ_ONLY_EXISTS,
];

/// How to log in; `None` where the token wants no login.
pub(super) fn find(
    uri: &Pkcs11Uri,
    info: &TokenInfo,
    token: &TokenName,
    marks: &PinMarks,
) -> Result<Option<Login>, PinError> {
    if !info.login_required() {
        return Ok(None);
    }
    marks.check(token)?;
    if let Some(pin) = pin::read(uri)? {
        Ok(Some(Login::Pin(pin)))
    } else if info.protected_authentication_path() {
        Ok(Some(Login::Keypad))
    } else {
        Err(PinError::Missing {
            token: token.label.clone(),
        })
    }
}

/// Logs in, with a mark around it while a PIN is on its way. A keypad gets no PIN from here, and whoever
/// stands at it sees what becomes of it.
pub(super) fn marked(
    session: &Session,
    login: &Login,
    marks: &PinMarks,
    token: &TokenName,
) -> Result<(), LoginError> {
    let mark = match login {
        Login::Pin(_) => Some(marks.login_begins(token).map_err(LoginError::HeldBack)?),
        Login::Keypad => None,
    };
    let outcome = log_in(session, login).map_err(|call| {
        if call.class() == ErrorClass::Pin || (mark.is_some() && !is_pin_unjudged(call.code)) {
            LoginError::Refused(call.code, marks.remember(token, call.code))
        } else {
            LoginError::Call(call)
        }
    });
    // A refusal that could not be written down is remembered by the mark of the login.
    let unwritten = matches!(&outcome, Err(LoginError::Refused(_, Mark::Failed(_))));
    if let Some(mark) = mark.filter(|_| !unwritten) {
        mark.ends();
    }
    outcome
}

fn is_pin_unjudged(code: ReturnCode) -> bool {
    PIN_NOT_JUDGED
        .iter()
        .any(|known| ReturnCode::new(*known) == code)
}

fn log_in(session: &Session, login: &Login) -> Result<(), CallError> {
    let pin = match login {
        Login::Pin(pin) => Some(pin),
        Login::Keypad => None,
    };
    match session.login(UserType::User, pin) {
        // Another pool of this process logged in: the login is everybody's.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => Err(CallError::from_wrapper("C_Login", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_precedes_the_pin_leaves_it_unjudged() {
        for code in [
            sys::CKR_GENERAL_ERROR,
            sys::CKR_FUNCTION_FAILED,
            sys::CKR_FUNCTION_CANCELED,
            sys::CKR_DEVICE_ERROR,
            sys::CKR_DEVICE_MEMORY,
            sys::CKR_DEVICE_REMOVED,
            sys::CKR_SESSION_CLOSED,
            sys::CKR_HOST_MEMORY,
            sys::CKR_MUTEX_BAD,
            sys::CKR_VENDOR_DEFINED,
            sys::CKR_VENDOR_DEFINED + 0x136,
            0x0123_4567,
        ] {
            let code = ReturnCode::new(code);
            assert!(!is_pin_unjudged(code), "{code}");
        }
        for code in PIN_NOT_JUDGED {
            let code = ReturnCode::new(code);
            assert!(
                is_pin_unjudged(code) && code.class() != ErrorClass::Pin,
                "{code}"
            );
        }
    }
}
