//! The two PKCS#11 calls that make a signature, called directly.
//!
//! The wrapper's own `sign` calls `C_Sign` twice, the first time only to learn a length that is
//! known here; on a network HSM that is one more round trip per signature. This file calls
//! `C_SignInit` and `C_Sign` once each, into a buffer of fixed size.
//!
//! It is the only file of the crate with `unsafe` in it.

#![allow(
    unsafe_code,
    reason = "the wrapper has no call that signs without asking for the length"
)]

use std::path::Path;
use std::ptr;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_MECHANISM, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RSA_PKCS_PSS_PARAMS,
    CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_ULONG, CKM_RSA_PKCS_PSS, CKR_BUFFER_TOO_SMALL,
    CKR_CRYPTOKI_NOT_INITIALIZED, CKR_OK,
};

use crate::ckr::{CallError, ReturnCode};

/// `CK_C_SignInit` of the standard's header.
type SignInit =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
/// `CK_C_Sign` of the standard's header.
type Sign =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut u8, CK_ULONG, *mut u8, *mut CK_ULONG) -> CK_RV;

/// `CK_C_GetSessionInfo` of the standard's header.
type GetSessionInfo = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_SESSION_INFO) -> CK_RV;

/// A mechanism with the parameter that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum SignMechanism {
    /// One without a parameter.
    Plain(CK_MECHANISM_TYPE),
    /// `CKM_RSA_PKCS_PSS` (PKCS#11 v3.1 §6.1.10).
    Pss(CK_RSA_PKCS_PSS_PARAMS),
}

/// `C_SignInit` and `C_Sign` of one loaded module.
pub(super) struct SignFunctions {
    get_session_info: GetSessionInfo,
    sign_init: SignInit,
    sign: Sign,
    /// Keeps the module loaded, and so the two functions where they are.
    _library: cryptoki_sys::Pkcs11,
}

/// Why the functions could not be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the file cannot be loaded")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it has no {0}")]
    NoFunction(&'static str),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl SignFunctions {
    /// Finds the functions of the module in the file at `path`. The system loads a file once, so
    /// they are the functions of the same module that the wrapper loaded from the same path.
    pub(super) fn load(path: &Path) -> Result<SignFunctions, LoadError> {
        // SAFETY: loading runs the file's initializers, which is what naming a module in the
        // configuration asks for; the wrapper has already loaded this very file.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }
            .map_err(|error| LoadError::Library(Box::new(error)))?;
        let get_function_list = *library
            .C_GetFunctionList
            .as_ref()
            .map_err(|_| LoadError::NoFunction("C_GetFunctionList"))?;
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        // SAFETY: the signature is the standard's, the function may be called before
        // C_Initialize (PKCS#11 v3.1 §5.4.4), and it writes one pointer to where `list` is.
        let code = unsafe { get_function_list(&mut list) };
        if code != CKR_OK {
            let code = ReturnCode::new(code);
            return Err(CallError {
                function: "C_GetFunctionList",
                code,
            }
            .into());
        }
        if list.is_null() {
            return Err(LoadError::NoFunction("function list"));
        }
        // SAFETY: after CKR_OK the pointer is to the module's own static list, which lives as
        // long as the module is loaded. The list is packed on some targets: it is read unaligned.
        let list = unsafe { list.read_unaligned() };
        Ok(SignFunctions {
            get_session_info: list
                .C_GetSessionInfo
                .ok_or(LoadError::NoFunction("C_GetSessionInfo"))?,
            sign_init: list.C_SignInit.ok_or(LoadError::NoFunction("C_SignInit"))?,
            sign: list.C_Sign.ok_or(LoadError::NoFunction("C_Sign"))?,
            _library: library,
        })
    }

    /// Whether these functions know the wrapper's sessions. A module may give each caller of
    /// C_GetFunctionList an instance of its own (p11-kit's client does, with a connection each);
    /// the wrapper initialized its own, and this one never was.
    pub(super) fn know(&self, session: &Session) -> bool {
        let mut info = CK_SESSION_INFO::default();
        // SAFETY: the function came from this module, and `info` lives through the call.
        let code = unsafe { (self.get_session_info)(session.handle(), &mut info) };
        code != CKR_CRYPTOKI_NOT_INITIALIZED
    }

    /// Signs `data` by one C_SignInit and one C_Sign, and returns the signature's length in `out`.
    ///
    /// `&mut Session` because PKCS#11 allows a session one operation at a time.
    pub(super) fn sign(
        &self,
        session: &mut Session,
        mechanism: &SignMechanism,
        key: ObjectHandle,
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CallError> {
        let failed = |function, code| CallError {
            function,
            code: ReturnCode::new(code),
        };
        let mut mechanism = match mechanism {
            SignMechanism::Plain(mechanism) => CK_MECHANISM {
                mechanism: *mechanism,
                pParameter: ptr::null_mut(),
                ulParameterLen: 0,
            },
            // The parameter is an input that is not const in the header.
            SignMechanism::Pss(parameters) => CK_MECHANISM {
                mechanism: CKM_RSA_PKCS_PSS,
                pParameter: ptr::from_ref(parameters).cast_mut().cast(),
                ulParameterLen: size_of::<CK_RSA_PKCS_PSS_PARAMS>() as CK_ULONG,
            },
        };
        // SAFETY: the function came from the module that the session belongs to (`SignFunctions`
        // and `Session` are made from the same `Module`); `mechanism` lives through the call, and so
        // does its parameter, which is borrowed for as long; the module copies what it keeps and
        // does not write there (§5.13.1: the mechanism is an input). Stale handles are the module's to refuse: PKCS#11 v3.1 §5.1.1.
        let code = unsafe { (self.sign_init)(session.handle(), &mut mechanism, key.handle()) };
        if code != CKR_OK {
            return Err(failed("C_SignInit", code));
        }
        let mut len = out.len() as CK_ULONG;
        // SAFETY: as above. The module reads `data.len()` bytes at `data` and does not write
        // there (the parameter is not const in the header, but is an input: §5.13.2); it writes
        // at most `len` bytes, the length of `out`, and the length written to `len`.
        let code = unsafe {
            (self.sign)(
                session.handle(),
                data.as_ptr().cast_mut(),
                data.len() as CK_ULONG,
                out.as_mut_ptr(),
                &mut len,
            )
        };
        if code != CKR_OK {
            return Err(failed("C_Sign", code));
        }
        // A module that claims more than fits broke the rules; its answer is not used.
        usize::try_from(len)
            .ok()
            .filter(|len| *len <= out.len())
            .ok_or_else(|| failed("C_Sign", CKR_BUFFER_TOO_SMALL))
    }
}
