//! What a module, its slots and its tokens say of themselves. Nothing here logs in.

use std::path::{Path, PathBuf};

use cryptoki::context::{Info, Pkcs11};
use cryptoki::error::Error;
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::{Limit, Slot, TokenInfo};

use super::module::{Module, ModuleUser};
use super::token::fits;
use super::uri::Pkcs11Uri;
use crate::ckr::CallError;
use crate::error::ModuleError;

/// Most slots described: the largest HSMs show 100 partitions as slots.
pub const SLOTS_MAX: usize = 256;

/// The mechanisms that make and use signing keys (PKCS#11 v3.2 §6): what a key made here needs.
const MECHANISMS: [MechanismType; 9] = [
    MechanismType::ECC_KEY_PAIR_GEN,
    MechanismType::ECDSA,
    MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
    MechanismType::EDDSA,
    MechanismType::RSA_PKCS_KEY_PAIR_GEN,
    MechanismType::RSA_PKCS,
    MechanismType::RSA_PKCS_PSS,
    MechanismType::ML_DSA_KEY_PAIR_GEN,
    MechanismType::ML_DSA,
];

/// A module and the slots that it shows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModuleDescription {
    /// The file, with symbolic links followed.
    pub path: PathBuf,
    /// Version of PKCS#11 that it speaks, such as `2.40`.
    pub cryptoki_version: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it calls itself.
    pub description: String,
    /// Its own version.
    pub version: String,
    /// At most [`SLOTS_MAX`].
    pub slots: Vec<SlotDescription>,
}

/// A slot, with or without a token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SlotDescription {
    /// The number at this moment. Tokens change their slots: it is for people only.
    pub number: u64,
    /// What the slot calls itself.
    pub description: String,
    /// The token in it.
    pub token: Option<TokenDescription>,
}

/// A token: `CK_TOKEN_INFO` (PKCS#11 v3.1 §3.2) and its signing mechanisms.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TokenDescription {
    /// The label; `token=` in a URI.
    pub label: String,
    /// The serial number; `serial=` in a URI.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Version of its hardware.
    pub hardware_version: String,
    /// Version of its firmware.
    pub firmware_version: String,
    /// It has been initialized and can hold keys.
    pub initialized: bool,
    /// Private keys need a login.
    pub login_required: bool,
    /// The user's PIN has been set.
    pub user_pin_initialized: bool,
    /// The PIN is typed on the token's own keypad, or another way that it has.
    pub protected_authentication_path: bool,
    /// How many wrong PINs the token still takes, as far as it tells.
    pub pin: PinState,
    /// No object can be made or destroyed.
    pub write_protected: bool,
    /// Most sessions that one program may open at a time.
    pub sessions_max: SessionLimit,
    /// Sessions that this program has open; `None`: not told.
    pub sessions_open: Option<u64>,
    /// Most sessions that may write.
    pub writing_sessions_max: SessionLimit,
    /// Writing sessions that this program has open; `None`: not told.
    pub writing_sessions_open: Option<u64>,
    /// The signing mechanisms that it has.
    pub mechanisms: Vec<MechanismDescription>,
}

/// The user's PIN, as the token's flags tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinState {
    /// No wrong PIN since the last good one.
    Good,
    /// `CKF_USER_PIN_COUNT_LOW`: at least one wrong PIN since the last good one.
    CountLow,
    /// `CKF_USER_PIN_FINAL_TRY`: one more wrong PIN locks it.
    FinalTry,
    /// `CKF_USER_PIN_LOCKED`: only the security officer can unlock it.
    Locked,
    /// `CKF_USER_PIN_TO_BE_CHANGED`: it is the one that came with the token, or has expired.
    ToBeChanged,
}

/// How many sessions a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLimit {
    /// So many.
    Most(u64),
    /// It says that there is no limit.
    Unlimited,
    /// It does not tell (`CK_UNAVAILABLE_INFORMATION`).
    NotTold,
}

/// One mechanism and the keys that it takes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MechanismDescription {
    /// The standard's name, such as `CKM_ECDSA`.
    pub name: String,
    /// Smallest and largest key in bits; `None` where the token does not tell. (ML-DSA counts in
    /// bytes of the public key.)
    pub key_size: Option<(u64, u64)>,
    /// The token's hardware does it.
    pub hardware: bool,
}

/// Describes the module in the file at `path`, its slots and their tokens.
///
/// # Errors
/// [`ModuleError`]: the file is no module, or it does not start or answer.
pub fn inspect_module(path: &Path) -> Result<ModuleDescription, ModuleError> {
    let module = ModuleUser::acquire_path(path)?;
    describe(&module, None)
}

/// Describes the module that the URI names, and of its tokens those that fit the URI's `token`, `serial`,
/// `manufacturer` and `model`.
///
/// # Errors
/// As [`inspect_module`], and that the URI names no module.
pub fn inspect_uri(uri: &Pkcs11Uri) -> Result<ModuleDescription, ModuleError> {
    let module = ModuleUser::acquire(uri)?;
    describe(&module, Some(uri))
}

fn describe(module: &Module, uri: Option<&Pkcs11Uri>) -> Result<ModuleDescription, ModuleError> {
    let _slots = module.keep_slots();
    let failed = |function: &'static str| {
        move |error: Error| ModuleError::Call {
            path: module.path().to_owned(),
            call: CallError::from_wrapper(function, &error),
        }
    };
    let context = module.context();
    let info = context.get_library_info().map_err(failed("C_GetInfo"))?;
    let slots = context.get_all_slots().map_err(failed("C_GetSlotList"))?;
    let slots = at_most(slots, |slot| describe_slot(context, slot, uri));
    Ok(ModuleDescription {
        path: module.path().to_owned(),
        cryptoki_version: info.cryptoki_version().to_string(),
        manufacturer: info.manufacturer_id().trim_end().to_owned(),
        description: Info::library_description(&info).trim_end().to_owned(),
        version: Info::library_version(&info).to_string(),
        slots,
    })
}

/// Describes [`SLOTS_MAX`] slots. What is not described does not count: the one that a URI means may be the last.
fn at_most<S, T>(
    slots: impl IntoIterator<Item = S>,
    describe: impl FnMut(S) -> Option<T>,
) -> Vec<T> {
    let described = slots.into_iter().filter_map(describe);
    described.take(SLOTS_MAX).collect()
}

/// `None` for a slot that goes away while it is asked, and for one that the URI does not mean.
fn describe_slot(context: &Pkcs11, slot: Slot, uri: Option<&Pkcs11Uri>) -> Option<SlotDescription> {
    let description = context.get_slot_info(slot).ok()?;
    let token = context.get_token_info(slot).ok();
    if let Some(uri) = uri
        && !token
            .as_ref()
            .is_some_and(|info| info.token_initialized() && fits(uri, info))
    {
        return None;
    }
    Some(SlotDescription {
        number: slot.id(),
        description: description.slot_description().trim_end().to_owned(),
        token: token.map(|info| describe_token(context, slot, &info)),
    })
}

fn describe_token(context: &Pkcs11, slot: Slot, info: &TokenInfo) -> TokenDescription {
    let text = |text: &str| text.trim_end().to_owned();
    TokenDescription {
        label: text(info.label()),
        serial: text(info.serial_number()),
        manufacturer: text(info.manufacturer_id()),
        model: text(info.model()),
        hardware_version: info.hardware_version().to_string(),
        firmware_version: info.firmware_version().to_string(),
        initialized: info.token_initialized(),
        login_required: info.login_required(),
        user_pin_initialized: info.user_pin_initialized(),
        protected_authentication_path: info.protected_authentication_path(),
        pin: pin_state(info),
        write_protected: info.write_protected(),
        sessions_max: session_limit(info.max_session_count()),
        sessions_open: info.session_count(),
        writing_sessions_max: session_limit(info.max_rw_session_count()),
        writing_sessions_open: info.rw_session_count(),
        mechanisms: mechanisms(context, slot),
    }
}

/// The gravest that the flags tell.
fn pin_state(info: &TokenInfo) -> PinState {
    if info.user_pin_locked() {
        PinState::Locked
    } else if info.user_pin_final_try() {
        PinState::FinalTry
    } else if info.user_pin_count_low() {
        PinState::CountLow
    } else if info.user_pin_to_be_changed() {
        PinState::ToBeChanged
    } else {
        PinState::Good
    }
}

fn session_limit(limit: Limit) -> SessionLimit {
    match limit {
        Limit::Max(most) => SessionLimit::Most(most),
        Limit::Infinite => SessionLimit::Unlimited,
        Limit::Unavailable => SessionLimit::NotTold,
    }
}

/// A token that does not list its mechanisms has none that are known.
fn mechanisms(context: &Pkcs11, slot: Slot) -> Vec<MechanismDescription> {
    let found = context.get_mechanism_list(slot).unwrap_or_default();
    let wanted = MECHANISMS.into_iter().filter(|name| found.contains(name));
    wanted
        .map(|name| {
            let info = context.get_mechanism_info(slot, name).ok();
            let size = info.map(|info| (info.min_key_size() as u64, info.max_key_size() as u64));
            MechanismDescription {
                name: name.to_string(),
                key_size: size.filter(|(_, max)| *max > 0),
                hardware: info.is_some_and(|info| info.hardware()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_behind_many_others_is_found() {
        let last = |slot| (slot == 999).then_some(slot);
        assert_eq!(at_most(0..1000, last), [999]);
        assert_eq!(at_most(0..1000, Some).len(), SLOTS_MAX);
    }
}
