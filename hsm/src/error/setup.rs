//! Tokens and keys that could not be made, or removed.

use super::{ModuleError, OpenError};
use crate::ckr::CallError;

/// A key pair could not be generated on a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The token could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The URI names no `object`.
    #[error("the PKCS#11 URI names no key: add object=LABEL to it")]
    NoLabel,
    /// The token already holds such a key.
    #[error(
        "token '{token}' already holds a key with {clash}: choose another object= (or id=), or \
         remove the old key with the vendor's tool"
    )]
    Exists {
        /// The token's label.
        token: String,
        /// The label or the id that is taken.
        clash: String,
    },
    /// A PKCS#11 call failed.
    #[error("token '{token}': {call}; {}", call.class().advice())]
    Call {
        /// The token's label.
        token: String,
        /// The call and what it returned.
        call: CallError,
    },
    /// The token made a key that is not protected as asked. It was destroyed again.
    #[error(
        "token '{token}' made a key that is not {missing}; it was destroyed: check the token's \
         policy"
    )]
    NotProtected {
        /// The token's label.
        token: String,
        /// The attributes that do not hold.
        missing: String,
    },
}

/// A key pair was not destroyed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestroyError {
    /// The token could not be opened, or holds no such key.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Under that name is another key.
    #[error(
        "{key} on token '{token}' is another key than the one to be destroyed; nothing was destroyed: \
         check which key is meant"
    )]
    OtherKey {
        /// The URI's object attributes.
        key: String,
        /// The token's label.
        token: String,
    },
    /// The token said that it destroyed the key, and still has one of that name.
    #[error("token '{token}' still holds {key}: remove it with the vendor's tool and check again")]
    StillThere {
        /// The URI's object attributes.
        key: String,
        /// The token's label.
        token: String,
    },
    /// A PKCS#11 call failed.
    #[error("token '{token}': {call}; {}", call.class().advice())]
    Call {
        /// The token's label.
        token: String,
        /// The call and what it returned.
        call: CallError,
    },
}

/// A token could not be initialized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitializeError {
    /// The module could not be used.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A token of that label exists.
    #[error("a token '{label}' exists already: choose another label")]
    Exists {
        /// The label.
        label: String,
    },
    /// The label does not fit the 32 bytes of `CK_TOKEN_INFO`.
    #[error("the token label '{label}' has {} bytes: use 1 to 32", label.len())]
    Label {
        /// The label.
        label: String,
    },
    /// The module has no slot with an uninitialized token.
    #[error("the module shows no uninitialized token")]
    NoFreeSlot,
    /// A PKCS#11 call failed.
    #[error("token '{label}': {call}; {}", call.class().advice())]
    Call {
        /// The label.
        label: String,
        /// The call and what it returned.
        call: CallError,
    },
}
