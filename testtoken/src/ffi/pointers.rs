//! From the caller's pointers to values and back.

use std::slice;

use cryptoki_sys::{CK_ATTRIBUTE, CK_ULONG, CKR_ARGUMENTS_BAD};

use crate::code::{Code, Outcome};
use crate::object::Template;

/// Most attributes in a template, and most bytes in one value: far more than a key has.
const ATTRIBUTES_MAX: usize = 64;
const VALUE_LEN_MAX: usize = 64 * 1024;

const BAD: Code = Code(CKR_ARGUMENTS_BAD);

/// Writes to where the caller wants it.
///
/// # Safety
/// `place` is null, or may be written as a `T`.
pub(super) unsafe fn put<T>(place: *mut T, value: T) -> Outcome<()> {
    if place.is_null() {
        return Err(BAD);
    }
    // SAFETY: not null, and the caller's to be written. It may be packed on some targets.
    unsafe { place.write_unaligned(value) };
    Ok(())
}

/// Reads what the caller passes.
///
/// # Safety
/// `place` is null, or may be read as a `T`.
pub(super) unsafe fn get<T: Copy>(place: *const T) -> Outcome<T> {
    if place.is_null() {
        return Err(BAD);
    }
    // SAFETY: not null, and the caller's to be read. It may be packed on some targets.
    Ok(unsafe { place.read_unaligned() })
}

/// The bytes that the caller passes. Null is fine for none.
///
/// # Safety
/// `place` is null, or `len` bytes there may be read as long as `'a` and do not change meanwhile.
pub(super) unsafe fn bytes<'a>(place: *const u8, len: CK_ULONG) -> Outcome<&'a [u8]> {
    let len = usize::try_from(len).map_err(|_| BAD)?;
    match (place.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(BAD),
        // SAFETY: not null, and `len` bytes are the caller's to be read.
        (false, _) => Ok(unsafe { slice::from_raw_parts(place, len) }),
    }
}

/// Copies to the caller's buffer.
///
/// # Safety
/// As many bytes as `from` has may be written at `to`.
pub(super) unsafe fn copy_out<T: Copy>(from: &[T], to: *mut T) -> Outcome<()> {
    if to.is_null() {
        return Err(BAD);
    }
    // SAFETY: not null, long enough, and not overlapping a slice of our own.
    unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    Ok(())
}

/// The attributes that the caller passes.
///
/// # Safety
/// `count` attributes may be read and written at `place` as long as `'a`; nobody else uses them.
pub(super) unsafe fn attributes<'a>(
    place: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Outcome<&'a mut [CK_ATTRIBUTE]> {
    let count = usize::try_from(count).map_err(|_| BAD)?;
    match (place.is_null(), count) {
        (_, 0) => Ok(&mut []),
        (false, 1..=ATTRIBUTES_MAX) => {
            // SAFETY: not null, and `count` attributes are the caller's, for this call alone.
            Ok(unsafe { slice::from_raw_parts_mut(place, count) })
        }
        _ => Err(BAD),
    }
}

/// The values of a template.
///
/// # Safety
/// As for [`attributes`], and each value's bytes may be read.
pub(super) unsafe fn template(place: *mut CK_ATTRIBUTE, count: CK_ULONG) -> Outcome<Template> {
    // SAFETY: as the caller promises.
    let attributes = unsafe { attributes(place, count) }?;
    attributes
        .iter()
        .map(|attribute| {
            if attribute.ulValueLen as usize > VALUE_LEN_MAX {
                return Err(BAD);
            }
            // SAFETY: as the caller promises.
            let value = unsafe { bytes(attribute.pValue.cast(), attribute.ulValueLen) }?;
            Ok((attribute.type_, value.to_vec()))
        })
        .collect()
}
