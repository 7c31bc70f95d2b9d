//! The module's C side. Only here is `unsafe`: the exported functions, the caller's pointers, a
//! module behind ours, and the symbols of a loaded copy.

#![allow(
    unsafe_code,
    reason = "a PKCS#11 module is called from C, and calls one"
)]

mod calls;
mod forward;
mod functions;
mod library;
mod pointers;

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use cryptoki_sys::*;
use libloading::os::unix::Library;

use crate::code::{Code, Outcome};
use crate::module::Module;
pub(crate) use forward::RealModule;
pub(crate) use library::ControlLibrary;

/// This copy of the module. From its first use on it stays loaded, whoever lets go of it: the
/// cryptographic library leaves destructors of each thread's data with the system, which would
/// call them after the code is gone.
static MODULE: LazyLock<Module> = LazyLock::new(|| {
    if let Some(path) = own_path() {
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
        // SAFETY: with RTLD_NOLOAD nothing is loaded, so that no initializer runs.
        mem::forget(unsafe { Library::open(Some(path), flags) });
    }
    Module::default()
});

/// The real module's return code as an outcome.
fn outcome(code: CK_RV) -> Outcome<()> {
    match code {
        CKR_OK => Ok(()),
        code => Err(Code(code)),
    }
}

fn return_code(outcome: Outcome<()>) -> CK_RV {
    match outcome {
        Ok(()) => CKR_OK,
        Err(Code(code)) => code,
    }
}

/// Gives out the function list (PKCS#11 v3.1 §5.4.4).
///
/// # Safety
/// `list` is null, or a pointer may be written there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    // The standard has callers read it only.
    let functions = (&raw const functions::FUNCTIONS).cast_mut();
    // SAFETY: as the caller promises.
    return_code(unsafe { pointers::put(list, functions) })
}

/// Gives a command: a line as in the crate's README. Returns 0, or 1 when it was refused; the
/// report's `error` says why.
///
/// # Safety
/// `line` is null or a string that ends with a zero.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn birthmark_test_token_command(line: *const c_char) -> c_int {
    if line.is_null() {
        return 1;
    }
    // SAFETY: as the caller promises.
    let line = unsafe { CStr::from_ptr(line) };
    c_int::from(MODULE.command(&line.to_string_lossy()).is_err())
}

/// Writes the report, JSON without a zero at the end. Returns its length; when that is more than
/// `len`, nothing was written.
///
/// # Safety
/// `len` bytes may be written at `buffer`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn birthmark_test_token_report(
    buffer: *mut c_char,
    len: usize,
) -> usize {
    // A report holds numbers and strings: it can always be written.
    let report = serde_json::to_vec(&MODULE.report()).unwrap_or_default();
    if report.len() <= len && !buffer.is_null() {
        // SAFETY: `buffer` has room for `len` bytes, and the report is no longer.
        unsafe { buffer.copy_from_nonoverlapping(report.as_ptr().cast(), report.len()) };
    }
    report.len()
}

/// The file that this copy was loaded from.
fn own_path() -> Option<PathBuf> {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: any address may be asked for, and `info` lives through the call.
    let known = unsafe { libc::dladdr(C_GetFunctionList as *const c_void, &mut info) };
    if known == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: after success it is a string of the loader's, which lasts while we are loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

unsafe extern "C" fn initialize(arguments: *mut c_void) -> CK_RV {
    return_code(MODULE.initialize(own_path().as_deref(), |real| real.initialize(arguments)))
}

unsafe extern "C" fn finalize(reserved: *mut c_void) -> CK_RV {
    return_code(MODULE.finalize(|real| real.finalize(reserved)))
}
