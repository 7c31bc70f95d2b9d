//! Return codes by name.

use std::fmt;

use cryptoki_sys::{self as sys, CK_RV};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Thales Luna: the key's usage limit is reached (`CKR_VENDOR_DEFINED + 0x136` in the vendor's
/// header).
const CKR_KEY_NOT_ACTIVE: CK_RV = sys::CKR_VENDOR_DEFINED + 0x136;

/// A return code (`CK_RV`, PKCS#11 v3.1 §5.1). Read from its name, such as `"CKR_DEVICE_ERROR"`,
/// or from its number, such as `0x80000136`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Code(pub(crate) CK_RV);

/// What a call of a module comes to.
pub(crate) type Outcome<T> = Result<T, Code>;

impl Code {
    pub(crate) const KEY_NOT_ACTIVE: Code = Code(CKR_KEY_NOT_ACTIVE);

    /// The code of that name.
    pub(crate) fn named(name: &str) -> Option<Code> {
        let row = TABLE.iter().find(|row| row.1 == name)?;
        Some(Code(row.0))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TABLE.iter().find(|row| row.0 == self.0) {
            Some(row) => f.write_str(row.1),
            None => write!(f, "CKR {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        struct CodeVisitor;
        impl Visitor<'_> for CodeVisitor {
            type Value = Code;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name such as \"CKR_DEVICE_ERROR\", or a number that is not 0")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Code, E> {
                Code::named(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Code, E> {
                match CK_RV::try_from(number) {
                    Ok(code) if code != sys::CKR_OK => Ok(Code(code)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(CodeVisitor)
    }
}

macro_rules! table {
    ($($code:ident)+) => {
        &[$((sys::$code, stringify!($code)),)+ (CKR_KEY_NOT_ACTIVE, "CKR_KEY_NOT_ACTIVE")]
    };
}

/// Every code of the standard but `CKR_OK`, and Luna's.
const TABLE: &[(CK_RV, &str)] = table! {
    CKR_CANCEL CKR_HOST_MEMORY CKR_SLOT_ID_INVALID CKR_GENERAL_ERROR CKR_FUNCTION_FAILED
    CKR_ARGUMENTS_BAD CKR_NO_EVENT CKR_NEED_TO_CREATE_THREADS CKR_CANT_LOCK
    CKR_ATTRIBUTE_READ_ONLY CKR_ATTRIBUTE_SENSITIVE CKR_ATTRIBUTE_TYPE_INVALID
    CKR_ATTRIBUTE_VALUE_INVALID CKR_ACTION_PROHIBITED CKR_DATA_INVALID CKR_DATA_LEN_RANGE
    CKR_DEVICE_ERROR CKR_DEVICE_MEMORY CKR_DEVICE_REMOVED CKR_ENCRYPTED_DATA_INVALID
    CKR_ENCRYPTED_DATA_LEN_RANGE CKR_AEAD_DECRYPT_FAILED CKR_FUNCTION_CANCELED
    CKR_FUNCTION_NOT_PARALLEL CKR_FUNCTION_NOT_SUPPORTED CKR_KEY_HANDLE_INVALID
    CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT CKR_KEY_NOT_NEEDED CKR_KEY_CHANGED
    CKR_KEY_NEEDED CKR_KEY_INDIGESTIBLE CKR_KEY_FUNCTION_NOT_PERMITTED CKR_KEY_NOT_WRAPPABLE
    CKR_KEY_UNEXTRACTABLE CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID
    CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE CKR_OPERATION_NOT_INITIALIZED
    CKR_PIN_INCORRECT CKR_PIN_INVALID CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED CKR_PIN_LOCKED
    CKR_SESSION_CLOSED CKR_SESSION_COUNT CKR_SESSION_HANDLE_INVALID
    CKR_SESSION_PARALLEL_NOT_SUPPORTED CKR_SESSION_READ_ONLY CKR_SESSION_EXISTS
    CKR_SESSION_READ_ONLY_EXISTS CKR_SESSION_READ_WRITE_SO_EXISTS CKR_SIGNATURE_INVALID
    CKR_SIGNATURE_LEN_RANGE CKR_TEMPLATE_INCOMPLETE CKR_TEMPLATE_INCONSISTENT
    CKR_TOKEN_NOT_PRESENT CKR_TOKEN_NOT_RECOGNIZED CKR_TOKEN_WRITE_PROTECTED
    CKR_UNWRAPPING_KEY_HANDLE_INVALID CKR_UNWRAPPING_KEY_SIZE_RANGE
    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT CKR_USER_ALREADY_LOGGED_IN CKR_USER_NOT_LOGGED_IN
    CKR_USER_PIN_NOT_INITIALIZED CKR_USER_TYPE_INVALID CKR_USER_ANOTHER_ALREADY_LOGGED_IN
    CKR_USER_TOO_MANY_TYPES CKR_WRAPPED_KEY_INVALID CKR_WRAPPED_KEY_LEN_RANGE
    CKR_WRAPPING_KEY_HANDLE_INVALID CKR_WRAPPING_KEY_SIZE_RANGE
    CKR_WRAPPING_KEY_TYPE_INCONSISTENT CKR_RANDOM_SEED_NOT_SUPPORTED CKR_RANDOM_NO_RNG
    CKR_DOMAIN_PARAMS_INVALID CKR_CURVE_NOT_SUPPORTED CKR_BUFFER_TOO_SMALL
    CKR_SAVED_STATE_INVALID CKR_INFORMATION_SENSITIVE CKR_STATE_UNSAVEABLE
    CKR_CRYPTOKI_NOT_INITIALIZED CKR_CRYPTOKI_ALREADY_INITIALIZED CKR_MUTEX_BAD
    CKR_MUTEX_NOT_LOCKED CKR_NEW_PIN_MODE CKR_NEXT_OTP CKR_EXCEEDED_MAX_ITERATIONS
    CKR_FIPS_SELF_TEST_FAILED CKR_LIBRARY_LOAD_FAILED CKR_PIN_TOO_WEAK CKR_PUBLIC_KEY_INVALID
    CKR_FUNCTION_REJECTED CKR_TOKEN_RESOURCE_EXCEEDED CKR_OPERATION_CANCEL_FAILED
    CKR_KEY_EXHAUSTED CKR_PENDING CKR_SESSION_ASYNC_NOT_SUPPORTED CKR_SEED_RANDOM_REQUIRED
    CKR_OPERATION_NOT_VALIDATED CKR_TOKEN_NOT_INITIALIZED CKR_PARAMETER_SET_NOT_SUPPORTED
};

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Read {
        code: Code,
    }

    #[test]
    fn codes_are_read_from_names_and_numbers() {
        let read = |text: &str| toml::from_str::<Read>(text).map(|read| read.code);
        assert_eq!(
            read("code = \"CKR_DEVICE_ERROR\"").unwrap(),
            Code(sys::CKR_DEVICE_ERROR)
        );
        assert_eq!(read("code = 0x80000136").unwrap(), Code::KEY_NOT_ACTIVE);
        for wrong in ["\"CKR_OK\"", "\"CKR_DEVICE_EROR\"", "0", "-1", "1.5"] {
            assert!(read(&format!("code = {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_lead_back() {
        for (code, name) in TABLE {
            assert_eq!(Code::named(name), Some(Code(*code)));
            assert_eq!(Code(*code).to_string(), *name);
        }
        assert_eq!(Code(0x8000_0007).to_string(), "CKR 0x80000007");
    }
}
