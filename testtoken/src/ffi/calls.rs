//! What the functions of PKCS#11 do: the token's own, and those that differ between it and a
//! module behind ours only in part.

use cryptoki_sys::*;

use super::forward::forward;
use super::pointers::{attributes, bytes, copy_out, get, put, template};
use crate::backend::Backend;
use crate::call::Call;
use crate::code::{Code, Outcome};
use crate::schedule::WrongSignature;
use crate::token::{SLOT, Signed, Token};

/// Length in bytes of a PIN: what SoftHSM takes.
const PIN_LEN: (CK_ULONG, CK_ULONG) = (4, 255);

const VERSION: CK_VERSION = CK_VERSION { major: 1, minor: 0 };
const MANUFACTURER: &str = "Birthmark tests";

/// A text in a field of fixed length, filled up with spaces (PKCS#11 v3.1 §3.1).
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let len = text.len().min(N);
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

fn the_slot(slot: CK_SLOT_ID) -> Outcome<()> {
    if slot == SLOT {
        Ok(())
    } else {
        Err(Code(CKR_SLOT_ID_INVALID))
    }
}

pub(super) fn get_info(_: &Call<'_>, _: &Token, info: *mut CK_INFO) -> Outcome<()> {
    let told = CK_INFO {
        cryptokiVersion: CK_VERSION {
            major: 2,
            minor: 40,
        },
        manufacturerID: padded(MANUFACTURER),
        flags: 0,
        libraryDescription: padded("Test token"),
        libraryVersion: VERSION,
    };
    // SAFETY: the caller passes a CK_INFO to be filled, or null.
    unsafe { put(info, told) }
}

pub(super) fn get_slot_list(
    call: &Call<'_>,
    with_token: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> Outcome<()> {
    let absent = with_token != CK_FALSE && !call.is_present();
    match call.running.backend() {
        Backend::Forward(real) if !absent => {
            forward!(real, C_GetSlotList(with_token, list, count))
        }
        _ => list_out(if absent { &[] } else { &[SLOT] }, list, count),
    }
}

/// Gives a list in the standard's way: the count alone, or both (PKCS#11 v3.1 §5.2).
fn list_out<T: Copy>(all: &[T], list: *mut T, count: *mut CK_ULONG) -> Outcome<()> {
    // SAFETY: the caller passes the count of places, or null.
    let room = unsafe { get(count) }?;
    // SAFETY: as before; the same place takes the count.
    unsafe { put(count, all.len() as CK_ULONG) }?;
    if list.is_null() {
        return Ok(());
    }
    if (room as usize) < all.len() {
        return Err(Code(CKR_BUFFER_TOO_SMALL));
    }
    // SAFETY: the caller's list has `room` places, and that is enough.
    unsafe { copy_out(all, list) }
}

pub(super) fn get_slot_info(
    call: &Call<'_>,
    slot: CK_SLOT_ID,
    info: *mut CK_SLOT_INFO,
) -> Outcome<()> {
    let mut told = match call.running.backend() {
        Backend::Forward(real) => {
            forward!(real, C_GetSlotInfo(slot, info))?;
            // SAFETY: the real module has filled it.
            unsafe { get(info) }?
        }
        Backend::Own(_) => {
            the_slot(slot)?;
            CK_SLOT_INFO {
                slotDescription: padded("Slot of the test token"),
                manufacturerID: padded(MANUFACTURER),
                flags: CKF_HW_SLOT | CKF_REMOVABLE_DEVICE | CKF_TOKEN_PRESENT,
                hardwareVersion: VERSION,
                firmwareVersion: VERSION,
            }
        }
    };
    if !call.is_present() {
        told.flags &= !CKF_TOKEN_PRESENT;
    }
    // SAFETY: the caller passes a CK_SLOT_INFO to be filled, or null.
    unsafe { put(info, told) }
}

pub(super) fn get_token_info(
    call: &Call<'_>,
    token: &Token,
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> Outcome<()> {
    the_slot(slot)?;
    let configuration = call.running.configuration();
    let (open, max) = (token.sessions().open_now(), token.sessions().max());
    let told = CK_TOKEN_INFO {
        label: padded(configuration.label()),
        manufacturerID: padded(MANUFACTURER),
        model: padded("Test token"),
        serialNumber: padded(&configuration.serial),
        flags: CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED,
        ulMaxSessionCount: max as CK_ULONG,
        ulSessionCount: open as CK_ULONG,
        ulMaxRwSessionCount: max as CK_ULONG,
        ulRwSessionCount: CK_UNAVAILABLE_INFORMATION,
        ulMaxPinLen: PIN_LEN.1,
        ulMinPinLen: PIN_LEN.0,
        ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        hardwareVersion: VERSION,
        firmwareVersion: VERSION,
        utcTime: padded(""),
    };
    // SAFETY: the caller passes a CK_TOKEN_INFO to be filled, or null.
    unsafe { put(info, told) }
}

pub(super) fn get_mechanism_list(
    _: &Call<'_>,
    _: &Token,
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> Outcome<()> {
    the_slot(slot)?;
    list_out(&[CKM_ECDSA, CKM_EC_KEY_PAIR_GEN], list, count)
}

pub(super) fn get_mechanism_info(
    _: &Call<'_>,
    _: &Token,
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> Outcome<()> {
    the_slot(slot)?;
    let does = match mechanism {
        CKM_ECDSA => CKF_SIGN,
        CKM_EC_KEY_PAIR_GEN => CKF_GENERATE_KEY_PAIR,
        _ => return Err(Code(CKR_MECHANISM_INVALID)),
    };
    let told = CK_MECHANISM_INFO {
        ulMinKeySize: 256,
        ulMaxKeySize: 256,
        flags: does | CKF_HW | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS,
    };
    // SAFETY: the caller passes a CK_MECHANISM_INFO to be filled, or null.
    unsafe { put(info, told) }
}

pub(super) fn open_session(
    call: &Call<'_>,
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut std::ffi::c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> Outcome<()> {
    match call.running.backend() {
        Backend::Forward(real) => {
            if real.sessions().0 >= call.running.configuration().session_max as u64 {
                return Err(Code(CKR_SESSION_COUNT));
            }
            forward!(
                real,
                C_OpenSession(slot, flags, application, notify, session)
            )?;
            // SAFETY: the real module has written it.
            real.opened(unsafe { get(session) }?, slot);
        }
        Backend::Own(token) => {
            the_slot(slot)?;
            if flags & CKF_SERIAL_SESSION == 0 {
                return Err(Code(CKR_SESSION_PARALLEL_NOT_SUPPORTED));
            }
            if session.is_null() {
                return Err(Code(CKR_ARGUMENTS_BAD));
            }
            let opened = token.sessions().open(flags & CKF_RW_SESSION != 0)?;
            // SAFETY: the caller passes the place for a handle.
            unsafe { put(session, opened) }?;
        }
    }
    call.session_opened();
    Ok(())
}

pub(super) fn close_session(call: &Call<'_>, session: CK_SESSION_HANDLE) -> Outcome<()> {
    match call.running.backend() {
        Backend::Forward(real) => {
            let closed = forward!(real, C_CloseSession(session));
            if closed.is_ok() {
                real.closed(session);
            }
            closed
        }
        Backend::Own(token) => token.close_session(session),
    }
}

pub(super) fn close_all_sessions(call: &Call<'_>, slot: CK_SLOT_ID) -> Outcome<()> {
    match call.running.backend() {
        Backend::Forward(real) => {
            let closed = forward!(real, C_CloseAllSessions(slot));
            if closed.is_ok() {
                real.closed_all(slot);
            }
            closed
        }
        Backend::Own(token) => {
            the_slot(slot)?;
            token.lose_sessions();
            Ok(())
        }
    }
}

pub(super) fn get_session_info(
    _: &Call<'_>,
    token: &Token,
    session: CK_SESSION_HANDLE,
    info: *mut CK_SESSION_INFO,
) -> Outcome<()> {
    let told = token.session_info(session)?;
    // SAFETY: the caller passes a CK_SESSION_INFO to be filled, or null.
    unsafe { put(info, told) }
}

pub(super) fn login(
    call: &Call<'_>,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    len: CK_ULONG,
) -> Outcome<()> {
    call.login(user, || match call.running.backend() {
        Backend::Forward(real) => forward!(real, C_Login(session, user, pin, len)),
        Backend::Own(token) => {
            // SAFETY: the caller passes `len` bytes, or null.
            token.login(session, user, unsafe { bytes(pin, len) }?)
        }
    })
}

pub(super) fn logout(_: &Call<'_>, token: &Token, session: CK_SESSION_HANDLE) -> Outcome<()> {
    token.logout(session)
}

pub(super) fn find_objects_init(
    _: &Call<'_>,
    token: &Token,
    session: CK_SESSION_HANDLE,
    wanted: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Outcome<()> {
    // SAFETY: the caller passes `count` attributes with their values.
    token.find_init(session, &unsafe { template(wanted, count) }?)
}

pub(super) fn find_objects(
    _: &Call<'_>,
    token: &Token,
    session: CK_SESSION_HANDLE,
    list: *mut CK_OBJECT_HANDLE,
    max: CK_ULONG,
    count: *mut CK_ULONG,
) -> Outcome<()> {
    if list.is_null() || count.is_null() {
        return Err(Code(CKR_ARGUMENTS_BAD));
    }
    let found = token.find(session, max as usize)?;
    // SAFETY: the caller's list has `max` places, and no more are found.
    unsafe { copy_out(&found, list) }?;
    // SAFETY: the caller passes the place for the count.
    unsafe { put(count, found.len() as CK_ULONG) }
}

pub(super) fn find_objects_final(
    _: &Call<'_>,
    token: &Token,
    session: CK_SESSION_HANDLE,
) -> Outcome<()> {
    token.find_final(session)
}

pub(super) fn get_attribute_value(
    call: &Call<'_>,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    wanted: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Outcome<()> {
    let told = match call.running.backend() {
        Backend::Forward(real) => {
            forward!(real, C_GetAttributeValue(session, object, wanted, count))
        }
        Backend::Own(token) => {
            let object = token.object(session, object)?;
            // SAFETY: the caller passes `count` attributes, for this call alone.
            let wanted = unsafe { attributes(wanted, count) }?;
            let mut told = Ok(());
            for attribute in wanted {
                // All are tried; what went wrong last is told (PKCS#11 v3.1 §5.7.5).
                let wanted = attribute.type_;
                let uses = call.uses(object, wanted);
                let value = uses.unwrap_or_else(|| token.attribute(object, wanted));
                if let Err(code) = give(value, attribute) {
                    told = Err(code);
                }
            }
            told
        }
    };
    if call.effect.extractable && told.is_ok() {
        // SAFETY: as above; it went well, so that the values are there.
        let told = unsafe { attributes(wanted, count) }?;
        for attribute in told {
            if attribute.type_ == CKA_NEVER_EXTRACTABLE && !attribute.pValue.is_null() {
                // SAFETY: the value is a CK_BBOOL that was just written.
                unsafe { put(attribute.pValue.cast::<CK_BBOOL>(), CK_FALSE) }?;
            }
        }
    }
    told
}

/// Gives one attribute: its length alone where the caller has no buffer.
fn give(value: Outcome<Vec<u8>>, place: &mut CK_ATTRIBUTE) -> Outcome<()> {
    let room = std::mem::replace(&mut place.ulValueLen, CK_UNAVAILABLE_INFORMATION);
    let value = value?;
    if !place.pValue.is_null() {
        if (room as usize) < value.len() {
            return Err(Code(CKR_BUFFER_TOO_SMALL));
        }
        // SAFETY: the caller's buffer has `room` bytes, and that is enough.
        unsafe { copy_out(&value, place.pValue.cast()) }?;
    }
    place.ulValueLen = value.len() as CK_ULONG;
    Ok(())
}

pub(super) fn sign_init(
    call: &Call<'_>,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Outcome<()> {
    call.key_is_active()?;
    match call.running.backend() {
        Backend::Forward(real) => forward!(real, C_SignInit(session, mechanism, key)),
        Backend::Own(token) => {
            // SAFETY: the caller passes a CK_MECHANISM, or null.
            let mechanism = unsafe { get(mechanism) }?;
            token.sign_init(session, mechanism.mechanism, key)
        }
    }
}

pub(super) fn sign(
    call: &Call<'_>,
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> Outcome<()> {
    let make = || match call.running.backend() {
        Backend::Forward(real) => forward!(real, C_Sign(session, data, data_len, out, out_len)),
        Backend::Own(token) => own_sign(token, session, data, data_len, out, out_len),
    };
    if out.is_null() {
        return make();
    }
    let made = call.counted_signature(make);
    if let (Err(Code::KEY_NOT_ACTIVE), Backend::Own(token)) = (made, call.running.backend()) {
        token.sign_cancel(session);
    }
    made?;
    // SAFETY: the signature was just written there.
    let len = unsafe { get(out_len) }?;
    match call.effect.signature {
        None => Ok(()),
        // SAFETY: the same place takes the length.
        Some(WrongSignature::Short) => unsafe { put(out_len, len.saturating_sub(1)) },
        // SAFETY: likewise.
        Some(WrongSignature::Long) => unsafe { put(out_len, len + 1) },
        Some(WrongSignature::Wrong) if len > 0 => {
            let last = out.wrapping_add(len as usize - 1);
            // SAFETY: the signature's last byte, just written.
            let byte = unsafe { get(last) }?;
            // SAFETY: the same byte.
            unsafe { put(last, byte ^ 1) }
        }
        Some(WrongSignature::Wrong) => Ok(()),
    }
}

fn own_sign(
    token: &Token,
    session: CK_SESSION_HANDLE,
    data: *const CK_BYTE,
    data_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> Outcome<()> {
    // SAFETY: the caller passes the length of its buffer, or null.
    let room = unsafe { get(out_len) }?;
    // SAFETY: the caller passes `data_len` bytes, or null.
    let data = unsafe { bytes(data, data_len) }?;
    let room = (!out.is_null()).then_some(room as usize);
    let signed = token.sign(session, data, room)?;
    // SAFETY: the same place takes the length.
    unsafe { put(out_len, crate::key::SIGNATURE_LEN as CK_ULONG) }?;
    match signed {
        Signed::Length if room.is_some() => Err(Code(CKR_BUFFER_TOO_SMALL)),
        Signed::Length => Ok(()),
        // SAFETY: the caller's buffer has room for it: the token looked.
        Signed::Signature(signature) => unsafe { copy_out(&signature, out) },
    }
}

#[allow(clippy::too_many_arguments, reason = "the standard's signature")]
pub(super) fn generate_key_pair(
    _: &Call<'_>,
    token: &Token,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> Outcome<()> {
    if public_key.is_null() || private_key.is_null() {
        return Err(Code(CKR_ARGUMENTS_BAD));
    }
    // SAFETY: the caller passes a CK_MECHANISM, or null.
    let mechanism = unsafe { get(mechanism) }?.mechanism;
    // SAFETY: the caller passes so many attributes with their values.
    let public = unsafe { template(public, public_count) }?;
    // SAFETY: likewise.
    let private = unsafe { template(private, private_count) }?;
    let [made_public, made_private] = token.generate(session, mechanism, &public, &private)?;
    // SAFETY: the caller passes the places for the handles.
    unsafe { put(public_key, made_public) }?;
    // SAFETY: likewise.
    unsafe { put(private_key, made_private) }
}
