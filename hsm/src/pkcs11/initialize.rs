//! Initializing a token: label, security officer's PIN and user's PIN.

use std::path::Path;

use cryptoki::error::Error;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use super::module::{Module, ModuleUser};
use super::token::initialized_tokens;
use crate::ckr::CallError;
use crate::error::InitializeError;

/// Longest token label in bytes: the field of `CK_TOKEN_INFO` (PKCS#11 v3.1 §3.2).
const LABEL_LEN_MAX: usize = 32;

/// Initializes the first uninitialized token that the module shows: gives it the label and both
/// PINs. For tests, demonstrations and SoftHSM, which always shows one such token; for a real HSM
/// follow the vendor's ceremony.
///
/// The PINs go through PKCS#11 alone. The vendors' tools take them as arguments, where every
/// process of the machine can read them.
///
/// # Errors
/// [`InitializeError::Exists`] when a token of that label exists: it is not touched.
pub fn initialize_token(
    module: &Path,
    label: &str,
    so_pin: &str,
    user_pin: &str,
) -> Result<(), InitializeError> {
    if !(1..=LABEL_LEN_MAX).contains(&label.len()) {
        return Err(InitializeError::Label {
            label: label.chars().take(80).collect(),
        });
    }
    let module = ModuleUser::acquire_path(module)?;
    let _slots = module.change_slots();
    let tokens = initialized_tokens(&module)?;
    if tokens
        .iter()
        .any(|(_, info)| info.label().trim_end() == label)
    {
        return Err(InitializeError::Exists {
            label: label.to_owned(),
        });
    }
    let made = initialize_free(
        &module,
        label,
        &AuthPin::from(so_pin),
        &AuthPin::from(user_pin),
    );
    // SoftHSM adds the next free slot when it is asked for its slots: now, while nobody else asks.
    let _ = module.tokens();
    made
}

fn initialize_free(
    module: &Module,
    label: &str,
    so_pin: &AuthPin,
    user_pin: &AuthPin,
) -> Result<(), InitializeError> {
    let failed = |function| {
        move |error: Error| InitializeError::Call {
            label: label.to_owned(),
            call: CallError::from_wrapper(function, &error),
        }
    };
    let free = module
        .tokens()?
        .into_iter()
        .find(|(_, info)| !info.token_initialized());
    let (slot, _) = free.ok_or(InitializeError::NoFreeSlot)?;
    let context = module.context();
    context
        .init_token(slot, so_pin, label)
        .map_err(failed("C_InitToken"))?;
    let session = context
        .open_rw_session(slot)
        .map_err(failed("C_OpenSession"))?;
    session
        .login(UserType::So, Some(so_pin))
        .map_err(failed("C_Login"))?;
    session.init_pin(user_pin).map_err(failed("C_InitPIN"))
    // The session closes here, and with the token's last session the officer's login ends.
}
