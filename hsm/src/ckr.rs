//! PKCS#11 return codes: their names, and the class that decides what is done about each.

use std::fmt;

use cryptoki::error::{Rv, RvError};
use cryptoki_sys::{self as sys, CK_RV};

/// What kind of fault a PKCS#11 return code tells of, and so what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The session is gone or stuck: it is replaced and the job tried once more.
    Session,
    /// The key's handle no longer holds: the key is found again and the job tried once more.
    Handle,
    /// The login is gone: one login for all sessions, then the job is tried once more.
    Login,
    /// The device failed or is gone: its breaker opens, and other tokens sign its jobs.
    Device,
    /// The device is overloaded: the session is kept and waits, the job goes elsewhere.
    Busy,
    /// The module is not initialized: it is initialized anew once nobody is inside.
    Module,
    /// The PIN was refused. Nothing is tried again, ever: retries lock the token.
    Pin,
    /// The key may not sign (any more): a usage limit, or it was not made for signing. The token
    /// stops; others sign.
    UsedUp,
    /// The request itself was refused. It would be refused again.
    Request,
}

impl ErrorClass {
    /// Every class, in the order of the table in the documentation.
    pub const ALL: [ErrorClass; 9] = [
        ErrorClass::Session,
        ErrorClass::Handle,
        ErrorClass::Login,
        ErrorClass::Device,
        ErrorClass::Busy,
        ErrorClass::Module,
        ErrorClass::Pin,
        ErrorClass::UsedUp,
        ErrorClass::Request,
    ];

    /// One word for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::Session => "session",
            ErrorClass::Handle => "handle",
            ErrorClass::Login => "login",
            ErrorClass::Device => "device",
            ErrorClass::Busy => "busy",
            ErrorClass::Module => "module",
            ErrorClass::Pin => "pin",
            ErrorClass::UsedUp => "used-up",
            ErrorClass::Request => "request",
        }
    }

    /// What the person in charge does about it.
    pub fn advice(self) -> &'static str {
        match self {
            ErrorClass::Session | ErrorClass::Handle => {
                "the pool already tried again in a fresh session; retry, and look at the HSM's log \
                 if it persists"
            }
            ErrorClass::Login => "the login was lost and not regained; restart, and check the PIN",
            ErrorClass::Device => "check the HSM, its power and its network, then retry",
            ErrorClass::Busy => "the HSM is overloaded; retry later, or use fewer sessions",
            ErrorClass::Module => "restart this process: the PKCS#11 module lost its state",
            ErrorClass::Pin => {
                "stop: correct the PIN before anything is started again, every further attempt \
                 may lock the token"
            }
            ErrorClass::UsedUp => "the key may not sign: call the officer in charge of it",
            ErrorClass::Request => "the token refuses this operation for this key; do not retry",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A PKCS#11 return code (`CK_RV`, PKCS#11 v3.1 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReturnCode(CK_RV);

impl ReturnCode {
    /// The number as the module returned it.
    pub fn value(self) -> u64 {
        #[allow(
            clippy::useless_conversion,
            reason = "CK_RV has 32 bits on some targets"
        )]
        u64::from(self.0)
    }

    /// The name from the standard, such as `CKR_SESSION_CLOSED`; `None` when it has none here.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// The class of fault. A code without an entry in the table is the device's own: vendors
    /// report their device's faults so.
    pub fn class(self) -> ErrorClass {
        self.row().map_or(ErrorClass::Device, |row| row.2)
    }

    pub(crate) const SESSION_HANDLE_INVALID: ReturnCode =
        ReturnCode(sys::CKR_SESSION_HANDLE_INVALID);

    pub(crate) const SESSION_CLOSED: ReturnCode = ReturnCode(sys::CKR_SESSION_CLOSED);
    pub(crate) const USER_NOT_LOGGED_IN: ReturnCode = ReturnCode(sys::CKR_USER_NOT_LOGGED_IN);
    pub(crate) const HOST_MEMORY: ReturnCode = ReturnCode(sys::CKR_HOST_MEMORY);
    pub(crate) const KEY_TYPE_INCONSISTENT: ReturnCode = ReturnCode(sys::CKR_KEY_TYPE_INCONSISTENT);
    pub(crate) const GENERAL_ERROR: ReturnCode = ReturnCode(sys::CKR_GENERAL_ERROR);

    pub(crate) fn new(code: CK_RV) -> ReturnCode {
        ReturnCode(code)
    }

    /// The code behind an error of the wrapper, which keeps names and drops numbers.
    pub(crate) fn from_wrapper(error: RvError) -> ReturnCode {
        match error {
            RvError::VendorDefined(code) | RvError::UnknownErrorCode(code) => ReturnCode(code),
            named => TABLE
                .iter()
                .map(|row| row.0)
                .filter(|code| *code <= sys::CKR_FUNCTION_REJECTED)
                .find(|code| Rv::from(*code) == Rv::Error(named))
                .map_or(ReturnCode(sys::CKR_GENERAL_ERROR), ReturnCode),
        }
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.0 == self.0)
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "CKR {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A PKCS#11 call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{function} failed with {code}")]
pub struct CallError {
    /// The function of the standard, such as `C_Sign`.
    pub function: &'static str,
    /// What it returned.
    pub code: ReturnCode,
}

impl CallError {
    /// The class of fault.
    pub fn class(&self) -> ErrorClass {
        self.code.class()
    }

    /// The failed call behind an error of the wrapper. Errors that are no return code mean that
    /// the module answered with something that does not fit the standard.
    pub(crate) fn from_wrapper(function: &'static str, error: &cryptoki::error::Error) -> Self {
        let code = match error {
            cryptoki::error::Error::Pkcs11(error, _) => ReturnCode::from_wrapper(*error),
            cryptoki::error::Error::NullFunctionPointer
            | cryptoki::error::Error::MissingSymbol(_) => {
                ReturnCode(sys::CKR_FUNCTION_NOT_SUPPORTED)
            }
            _ => ReturnCode(sys::CKR_GENERAL_ERROR),
        };
        CallError { function, code }
    }
}

/// Thales Luna: the key's usage limit is reached, or its start date lies ahead
/// (`CKR_VENDOR_DEFINED + 0x136` in the vendor's header).
const CKR_LUNA_KEY_NOT_ACTIVE: CK_RV = sys::CKR_VENDOR_DEFINED + 0x136;

type Row = (CK_RV, &'static str, ErrorClass);

macro_rules! rows {
    ($($class:ident: $($code:ident)+;)+) => {
        &[$($((sys::$code, stringify!($code), ErrorClass::$class),)+)+
          (CKR_LUNA_KEY_NOT_ACTIVE, "CKR_KEY_NOT_ACTIVE", ErrorClass::UsedUp)]
    };
}

const TABLE: &[Row] = rows! {
    Session: CKR_SESSION_HANDLE_INVALID CKR_SESSION_CLOSED CKR_OPERATION_ACTIVE
        CKR_OPERATION_NOT_INITIALIZED;
    Handle: CKR_KEY_HANDLE_INVALID CKR_OBJECT_HANDLE_INVALID;
    Login: CKR_USER_NOT_LOGGED_IN;
    Device: CKR_DEVICE_ERROR CKR_DEVICE_MEMORY CKR_DEVICE_REMOVED CKR_TOKEN_NOT_PRESENT
        CKR_TOKEN_NOT_RECOGNIZED CKR_HOST_MEMORY CKR_GENERAL_ERROR CKR_SLOT_ID_INVALID
        CKR_FIPS_SELF_TEST_FAILED CKR_BUFFER_TOO_SMALL;
    Busy: CKR_FUNCTION_FAILED CKR_SESSION_COUNT CKR_FUNCTION_CANCELED CKR_CANCEL
        CKR_TOKEN_RESOURCE_EXCEEDED;
    Module: CKR_CRYPTOKI_NOT_INITIALIZED CKR_CRYPTOKI_ALREADY_INITIALIZED CKR_CANT_LOCK
        CKR_NEED_TO_CREATE_THREADS CKR_LIBRARY_LOAD_FAILED CKR_MUTEX_BAD CKR_MUTEX_NOT_LOCKED;
    Pin: CKR_PIN_INCORRECT CKR_PIN_INVALID CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED CKR_PIN_LOCKED
        CKR_PIN_TOO_WEAK CKR_USER_PIN_NOT_INITIALIZED;
    UsedUp: CKR_KEY_FUNCTION_NOT_PERMITTED CKR_KEY_EXHAUSTED;
    Request: CKR_ARGUMENTS_BAD CKR_ATTRIBUTE_READ_ONLY CKR_ATTRIBUTE_SENSITIVE
        CKR_ATTRIBUTE_TYPE_INVALID CKR_ATTRIBUTE_VALUE_INVALID CKR_ACTION_PROHIBITED
        CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_FUNCTION_NOT_SUPPORTED CKR_CURVE_NOT_SUPPORTED
        CKR_DOMAIN_PARAMS_INVALID CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT
        CKR_KEY_UNEXTRACTABLE CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID
        CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT CKR_SESSION_READ_ONLY
        CKR_TOKEN_WRITE_PROTECTED CKR_SESSION_EXISTS CKR_SESSION_READ_ONLY_EXISTS
        CKR_SESSION_READ_WRITE_SO_EXISTS CKR_USER_ALREADY_LOGGED_IN CKR_USER_TYPE_INVALID
        CKR_USER_ANOTHER_ALREADY_LOGGED_IN CKR_USER_TOO_MANY_TYPES CKR_FUNCTION_REJECTED;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_the_codes_that_decide() {
        let expected = [
            (sys::CKR_SESSION_HANDLE_INVALID, ErrorClass::Session),
            (sys::CKR_SESSION_CLOSED, ErrorClass::Session),
            (sys::CKR_OPERATION_ACTIVE, ErrorClass::Session),
            (sys::CKR_KEY_HANDLE_INVALID, ErrorClass::Handle),
            (sys::CKR_OBJECT_HANDLE_INVALID, ErrorClass::Handle),
            (sys::CKR_USER_NOT_LOGGED_IN, ErrorClass::Login),
            (sys::CKR_DEVICE_ERROR, ErrorClass::Device),
            (sys::CKR_DEVICE_MEMORY, ErrorClass::Device),
            (sys::CKR_DEVICE_REMOVED, ErrorClass::Device),
            (sys::CKR_TOKEN_NOT_PRESENT, ErrorClass::Device),
            (sys::CKR_HOST_MEMORY, ErrorClass::Device),
            (sys::CKR_GENERAL_ERROR, ErrorClass::Device),
            (sys::CKR_FUNCTION_FAILED, ErrorClass::Busy),
            (sys::CKR_SESSION_COUNT, ErrorClass::Busy),
            (sys::CKR_CRYPTOKI_NOT_INITIALIZED, ErrorClass::Module),
            (sys::CKR_PIN_INCORRECT, ErrorClass::Pin),
            (sys::CKR_PIN_LOCKED, ErrorClass::Pin),
            (sys::CKR_PIN_EXPIRED, ErrorClass::Pin),
            (sys::CKR_VENDOR_DEFINED + 0x136, ErrorClass::UsedUp),
            (sys::CKR_KEY_FUNCTION_NOT_PERMITTED, ErrorClass::UsedUp),
            (sys::CKR_MECHANISM_INVALID, ErrorClass::Request),
            (sys::CKR_DATA_LEN_RANGE, ErrorClass::Request),
            (sys::CKR_KEY_TYPE_INCONSISTENT, ErrorClass::Request),
            (sys::CKR_VENDOR_DEFINED + 7, ErrorClass::Device),
        ];
        for (code, class) in expected {
            assert_eq!(
                ReturnCode::new(code).class(),
                class,
                "{}",
                ReturnCode::new(code)
            );
        }
    }

    #[test]
    fn each_code_stands_once_and_survives_the_wrapper() {
        for (place, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..place].iter().all(|other| other.0 != row.0),
                "{} twice",
                row.1
            );
            let Rv::Error(error) = Rv::from(row.0) else {
                panic!("{} is no error", row.1)
            };
            assert_eq!(
                ReturnCode::from_wrapper(error),
                ReturnCode(row.0),
                "{}",
                row.1
            );
        }
        assert_eq!(
            ReturnCode::new(sys::CKR_SESSION_CLOSED).to_string(),
            "CKR_SESSION_CLOSED"
        );
        assert_eq!(ReturnCode::new(0x8000_0007).to_string(), "CKR 0x80000007");
    }

    #[test]
    fn classes_are_indexed_in_order() {
        for (index, class) in ErrorClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index);
        }
    }
}
