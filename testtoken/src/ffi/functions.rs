//! The function list: every function of PKCS#11 v2.40, and who does its work.

use std::ffi::c_void;

use cryptoki_sys::*;

use super::forward::forward;
use super::{C_GetFunctionList, MODULE, calls, finalize, initialize, return_code};
use crate::backend::Backend;
use crate::code::Code;
use crate::function::Function;
use crate::module::Target::{self, Anything, Session as In, Token as OnToken};

// Short names, so that a function fits on a line.
type Session = CK_SESSION_HANDLE;
type Object = CK_OBJECT_HANDLE;
type ObjectPlace = *mut CK_OBJECT_HANDLE;
type Bytes = *mut CK_BYTE;
type Count = CK_ULONG;
type CountPlace = *mut CK_ULONG;
type Attributes = *mut CK_ATTRIBUTE;
type Mechanism = *mut CK_MECHANISM;

/// What one function does. `real()`: only a module behind ours has it. `own(f)`: our token does
/// `f`, a module behind ours is called as it is. `both(f)`: `f` does it for either.
macro_rules! perform {
    (real(), $call:ident, $name:ident($($arg:ident),*)) => {
        match $call.running.backend() {
            Backend::Forward(real) => forward!(real, $name($($arg),*)),
            Backend::Own(_) => Err(Code(CKR_FUNCTION_NOT_SUPPORTED)),
        }
    };
    (own($run:ident), $call:ident, $name:ident($($arg:ident),*)) => {
        match $call.running.backend() {
            Backend::Forward(real) => forward!(real, $name($($arg),*)),
            Backend::Own(token) => calls::$run($call, token, $($arg),*),
        }
    };
    (both($run:ident), $call:ident, $name:ident($($arg:ident),*)) => {
        calls::$run($call, $($arg),*)
    };
}

/// The functions of the list, each on its way through [`Module::run`].
macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*) $target:expr => $way:ident($($run:ident)?);)+) => {
        $(
            #[allow(non_snake_case, clippy::too_many_arguments, reason = "the standard's")]
            unsafe extern "C" fn $name($($arg: $type),*) -> CK_RV {
                let target: Target = $target;
                return_code(MODULE.run(Function::$name, target, |call| {
                    perform!($way($($run)?), call, $name($($arg),*))
                }))
            }
        )+

        pub(super) static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            C_Initialize: Some(initialize),
            C_Finalize: Some(finalize),
            C_GetFunctionList: Some(C_GetFunctionList),
            $($name: Some($name),)+
        };
    };
}

functions! {
    C_GetInfo(a: *mut CK_INFO) Anything => own(get_info);
    C_GetSlotList(a: CK_BBOOL, b: *mut CK_SLOT_ID, c: CountPlace) Anything => both(get_slot_list);
    C_GetSlotInfo(a: CK_SLOT_ID, b: *mut CK_SLOT_INFO) Anything => both(get_slot_info);
    C_GetTokenInfo(a: CK_SLOT_ID, b: *mut CK_TOKEN_INFO) OnToken => own(get_token_info);
    C_GetMechanismList(a: CK_SLOT_ID, b: *mut CK_MECHANISM_TYPE, c: CountPlace)
        OnToken => own(get_mechanism_list);
    C_GetMechanismInfo(a: CK_SLOT_ID, b: CK_MECHANISM_TYPE, c: *mut CK_MECHANISM_INFO)
        OnToken => own(get_mechanism_info);
    C_InitToken(a: CK_SLOT_ID, b: Bytes, c: Count, d: Bytes) OnToken => real();
    C_InitPIN(session: Session, b: Bytes, c: Count) In(session) => real();
    C_SetPIN(session: Session, b: Bytes, c: Count, d: Bytes, e: Count) In(session) => real();
    C_OpenSession(a: CK_SLOT_ID, b: CK_FLAGS,
        c: *mut c_void, d: CK_NOTIFY, e: *mut CK_SESSION_HANDLE)
        OnToken => both(open_session);
    C_CloseSession(session: Session) In(session) => both(close_session);
    C_CloseAllSessions(a: CK_SLOT_ID) OnToken => both(close_all_sessions);
    C_GetSessionInfo(session: Session, b: *mut CK_SESSION_INFO)
        In(session) => own(get_session_info);
    C_GetOperationState(session: Session, b: Bytes, c: CountPlace) In(session) => real();
    C_SetOperationState(session: Session, b: Bytes, c: Count, d: Object, e: Object)
        In(session) => real();
    C_Login(session: Session, b: CK_USER_TYPE, c: Bytes, d: Count) In(session) => both(login);
    C_Logout(session: Session) In(session) => own(logout);
    C_CreateObject(session: Session, b: Attributes, c: Count, d: ObjectPlace) In(session) => real();
    C_CopyObject(session: Session, b: Object, c: Attributes, d: Count, e: ObjectPlace)
        In(session) => real();
    C_DestroyObject(session: Session, b: Object) In(session) => real();
    C_GetObjectSize(session: Session, b: Object, c: CountPlace) In(session) => real();
    C_GetAttributeValue(session: Session, b: Object, c: Attributes, d: Count)
        In(session) => both(get_attribute_value);
    C_SetAttributeValue(session: Session, b: Object, c: Attributes, d: Count) In(session) => real();
    C_FindObjectsInit(session: Session, b: Attributes, c: Count)
        In(session) => own(find_objects_init);
    C_FindObjects(session: Session, b: ObjectPlace, c: Count, d: CountPlace)
        In(session) => own(find_objects);
    C_FindObjectsFinal(session: Session) In(session) => own(find_objects_final);
    C_EncryptInit(session: Session, b: Mechanism, c: Object) In(session) => real();
    C_Encrypt(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace) In(session) => real();
    C_EncryptUpdate(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_EncryptFinal(session: Session, b: Bytes, c: CountPlace) In(session) => real();
    C_DecryptInit(session: Session, b: Mechanism, c: Object) In(session) => real();
    C_Decrypt(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace) In(session) => real();
    C_DecryptUpdate(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_DecryptFinal(session: Session, b: Bytes, c: CountPlace) In(session) => real();
    C_DigestInit(session: Session, b: Mechanism) In(session) => real();
    C_Digest(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace) In(session) => real();
    C_DigestUpdate(session: Session, b: Bytes, c: Count) In(session) => real();
    C_DigestKey(session: Session, b: Object) In(session) => real();
    C_DigestFinal(session: Session, b: Bytes, c: CountPlace) In(session) => real();
    C_SignInit(session: Session, b: Mechanism, c: Object) In(session) => both(sign_init);
    C_Sign(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace) In(session) => both(sign);
    C_SignUpdate(session: Session, b: Bytes, c: Count) In(session) => real();
    C_SignFinal(session: Session, b: Bytes, c: CountPlace) In(session) => real();
    C_SignRecoverInit(session: Session, b: Mechanism, c: Object) In(session) => real();
    C_SignRecover(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_VerifyInit(session: Session, b: Mechanism, c: Object) In(session) => real();
    C_Verify(session: Session, b: Bytes, c: Count, d: Bytes, e: Count) In(session) => real();
    C_VerifyUpdate(session: Session, b: Bytes, c: Count) In(session) => real();
    C_VerifyFinal(session: Session, b: Bytes, c: Count) In(session) => real();
    C_VerifyRecoverInit(session: Session, b: Mechanism, c: Object) In(session) => real();
    C_VerifyRecover(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_DigestEncryptUpdate(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_DecryptDigestUpdate(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_SignEncryptUpdate(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_DecryptVerifyUpdate(session: Session, b: Bytes, c: Count, d: Bytes, e: CountPlace)
        In(session) => real();
    C_GenerateKey(session: Session, b: Mechanism, c: Attributes, d: Count, e: ObjectPlace)
        In(session) => real();
    C_GenerateKeyPair(session: Session, b: Mechanism, c: Attributes, d: Count,
        e: Attributes, f: Count, g: ObjectPlace, h: ObjectPlace)
        In(session) => own(generate_key_pair);
    C_WrapKey(session: Session, b: Mechanism, c: Object, d: Object, e: Bytes, f: CountPlace)
        In(session) => real();
    C_UnwrapKey(session: Session, b: Mechanism, c: Object, d: Bytes,
        e: Count, f: Attributes, g: Count, h: ObjectPlace)
        In(session) => real();
    C_DeriveKey(session: Session, b: Mechanism, c: Object, d: Attributes, e: Count, f: ObjectPlace)
        In(session) => real();
    C_SeedRandom(session: Session, b: Bytes, c: Count) In(session) => real();
    C_GenerateRandom(session: Session, b: Bytes, c: Count) In(session) => real();
    C_GetFunctionStatus(session: Session) In(session) => real();
    C_CancelFunction(session: Session) In(session) => real();
    C_WaitForSlotEvent(a: CK_FLAGS, b: *mut CK_SLOT_ID, c: *mut c_void) Anything => real();
}
