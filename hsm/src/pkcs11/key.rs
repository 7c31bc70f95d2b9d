//! The key on a token: found by its URI, its public half read, its handle kept.

use std::sync::{Arc, Mutex};

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::key_attributes::{known_params, read_public_key};
use super::module::lock;
use super::pool::Pkcs11Options;
use super::token::Token;
use super::uri::{Pkcs11Uri, hex};
use crate::algorithm::{KeyAlgorithm, RsaSignature};
use crate::ckr::CallError;
use crate::error::{KeyError, OpenError, SignError};
use crate::public_key::PublicKey;

/// Most keys named in an error: enough to see a misspelling, short enough to read.
const KEYS_LISTED_MAX: usize = 20;

/// A private key on a token, with its handle as it is now.
pub(super) struct TokenKey {
    token: Arc<Token>,
    uri: Pkcs11Uri,
    algorithm: KeyAlgorithm,
    rsa_signature: Option<RsaSignature>,
    public_key: PublicKey,
    /// Each session signs with a copy of its own ([`TokenKey::for_session`]).
    copied: bool,
    /// The key on the token.
    object: Mutex<ObjectHandle>,
}

impl TokenKey {
    /// Finds the key and its public half.
    pub(super) fn open(
        token: Token,
        uri: &Pkcs11Uri,
        options: &Pkcs11Options,
    ) -> Result<TokenKey, OpenError> {
        let token = Arc::new(token);
        let setup = token.setup();
        let found = token.with_anchor(|session| Ok(find_with_public_key(session, &token, uri)));
        let (object, public_key) = found.map_err(|call| open_error(&token, call))??;
        let algorithm = public_key
            .algorithm()
            .ok_or_else(|| KeyError::Unsupported {
                key: uri.describe_key(),
                token: token.label().to_string(),
                found: "an RSA key of another length".to_owned(),
            })?;
        drop(setup);
        Ok(TokenKey {
            token,
            uri: uri.clone(),
            algorithm,
            rsa_signature: algorithm.is_rsa().then_some(options.rsa_signature),
            public_key,
            copied: options.key_copy,
            object: Mutex::new(object),
        })
    }

    pub(super) fn token(&self) -> &Arc<Token> {
        &self.token
    }

    pub(super) fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// How the key signs, if it is an RSA key.
    pub(super) fn rsa_signature(&self) -> Option<RsaSignature> {
        self.rsa_signature
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The key on the token.
    pub(super) fn object(&self) -> ObjectHandle {
        *lock(&self.object)
    }

    /// What a session signs with: the key on the token, or a copy of it that lives in the session. A copy of its own for
    /// each, because modules lock an object while they read it: on SoftHSM sessions that share a copy wait for each other.
    pub(super) fn for_session(
        &self,
        session: &Session,
        object: ObjectHandle,
    ) -> Result<ObjectHandle, CallError> {
        if !self.copied {
            return Ok(object);
        }
        // A search must not meet a copy that is being made: on SoftHSM it is on the token for a moment.
        let _setup = self.token.setup();
        copy_into_session(session, object)
    }

    /// The key on the token, now that `stale`, or a copy of it, was refused: what another thread found meanwhile, or found
    /// again.
    ///
    /// # Errors
    /// [`SignError::WrongKey`] when no such key, or another key, is on the token.
    pub(super) fn find_again(&self, stale: ObjectHandle) -> Result<ObjectHandle, SignError> {
        let mut current = lock(&self.object);
        if *current != stale {
            return Ok(*current);
        }
        self.search(&mut current)
    }

    /// The key on the token, after it was looked up and its public half compared.
    ///
    /// # Errors
    /// As [`TokenKey::find_again`].
    pub(super) fn confirm(&self) -> Result<ObjectHandle, SignError> {
        self.search(&mut lock(&self.object))
    }

    /// The error of a call on the token, settled as [`Token::settle`] does.
    pub(super) fn failed(&self, call: CallError) -> SignError {
        let token = Arc::clone(self.token.label());
        self.token.settle(SignError::Call { token, call })
    }

    /// The URI's object attributes, for a message.
    pub(super) fn describe(&self) -> String {
        self.uri.describe_key()
    }

    /// Gives the token up.
    pub(super) fn into_token(self) -> Arc<Token> {
        self.token
    }

    /// Looks the key up.
    fn search(&self, current: &mut ObjectHandle) -> Result<ObjectHandle, SignError> {
        let _setup = self.token.setup();
        let found = self.token.with_anchor(|session| {
            self.token.check_login(session)?;
            match find_with_public_key(session, &self.token, &self.uri) {
                // Another key under the same name must not sign for this one.
                Ok((_, public_key)) if public_key != self.public_key => Ok(None),
                Ok((object, _)) => Ok(Some(object)),
                Err(OpenError::Call { call, .. }) => Err(call),
                Err(_) => Ok(None),
            }
        });
        let token = || Arc::clone(self.token.label());
        let found = found.map_err(|call| SignError::Call {
            token: token(),
            call,
        })?;
        *current = found.ok_or_else(|| SignError::WrongKey {
            token: token(),
            key: self.uri.describe_key(),
        })?;
        Ok(*current)
    }
}

/// The private keys on the token that fit the label and the id.
pub(super) fn private_keys(
    session: &Session,
    label: Option<&str>,
    id: Option<&[u8]>,
) -> Result<Vec<ObjectHandle>, CallError> {
    find_objects(session, ObjectClass::PRIVATE_KEY, label, id)
}

/// Objects of a class *on the token*: copies that live in a session are left out.
pub(super) fn find_objects(
    session: &Session,
    class: ObjectClass,
    label: Option<&str>,
    id: Option<&[u8]>,
) -> Result<Vec<ObjectHandle>, CallError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
    template.extend(id.map(|id| Attribute::Id(id.to_vec())));
    session
        .find_objects(&template)
        .map_err(|error| CallError::from_wrapper("C_FindObjects", &error))
}

/// Label and id of an object, for a message.
pub(super) fn describe(session: &Session, object: ObjectHandle) -> Result<String, CallError> {
    let (label, id) = label_and_id(session, object)?;
    Ok(format!(
        "'{}' (id {})",
        String::from_utf8_lossy(&label),
        hex(&id)
    ))
}

pub(super) fn attributes(
    session: &Session,
    object: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<Vec<Attribute>, CallError> {
    match session.get_attributes(object, wanted) {
        Ok(values) => Ok(values),
        Err(error @ Error::Pkcs11(..)) => {
            Err(CallError::from_wrapper("C_GetAttributeValue", &error))
        }
        // A value that the wrapper cannot read, such as an unknown key type, is no value.
        Err(_) => Ok(Vec::new()),
    }
}

fn open_error(token: &Token, call: CallError) -> OpenError {
    OpenError::Call {
        token: token.label().to_string(),
        call,
    }
}

/// The one private key that the URI names, and its public half.
pub(super) fn find_with_public_key(
    session: &Session,
    token: &Token,
    uri: &Pkcs11Uri,
) -> Result<(ObjectHandle, PublicKey), OpenError> {
    let failed = |call| open_error(token, call);
    let handle = find(session, token, uri)?;
    let name = describe(session, handle).map_err(failed)?;
    let public_key = matching_public_key(session, handle).map_err(failed)?;
    if let Some(public_key) = public_key {
        return Ok((handle, public_key));
    }
    let token = token.label().to_string();
    let key_type = attributes(session, handle, &[AttributeType::KeyType]).map_err(failed)?;
    match key_type.first() {
        Some(Attribute::KeyType(
            KeyType::EC | KeyType::EC_EDWARDS | KeyType::RSA | KeyType::ML_DSA,
        )) => {
            let params = attributes(session, handle, &[AttributeType::EcParams]).map_err(failed)?;
            match params.first() {
                Some(Attribute::EcParams(params)) if !known_params(params) => {
                    let found = "an EC key on another curve".to_owned();
                    Err(KeyError::Unsupported {
                        key: name,
                        token,
                        found,
                    }
                    .into())
                }
                _ => Err(KeyError::NoPublicKey { key: name, token }.into()),
            }
        }
        Some(Attribute::KeyType(other)) => {
            let found = format!("of type {other}");
            Err(KeyError::Unsupported {
                key: name,
                token,
                found,
            }
            .into())
        }
        _ => {
            let found = "of a type the token does not tell".to_owned();
            Err(KeyError::Unsupported {
                key: name,
                token,
                found,
            }
            .into())
        }
    }
}

/// The one private key that fits the URI's `object` and `id`.
fn find(session: &Session, token: &Token, uri: &Pkcs11Uri) -> Result<ObjectHandle, OpenError> {
    let failed = |call| open_error(token, call);
    let names = |keys: &[ObjectHandle]| -> Result<Vec<String>, OpenError> {
        let listed = keys.iter().take(KEYS_LISTED_MAX);
        listed
            .map(|key| describe(session, *key).map_err(failed))
            .collect()
    };
    let keys = private_keys(session, uri.object(), uri.id()).map_err(failed)?;
    let token = token.label().to_string();
    let wanted = uri.describe_key();
    match keys[..] {
        [key] => Ok(key),
        [] => {
            let all = private_keys(session, None, None).map_err(failed)?;
            Err(KeyError::Unknown {
                wanted,
                token,
                seen: names(&all)?,
            }
            .into())
        }
        _ => Err(KeyError::Ambiguous {
            wanted,
            token,
            fitting: names(&keys)?,
        }
        .into()),
    }
}

/// The public key object with the private key's id (or label, where there is no id), else what
/// the private key object itself tells.
fn matching_public_key(
    session: &Session,
    private: ObjectHandle,
) -> Result<Option<PublicKey>, CallError> {
    let (label, id) = label_and_id(session, private)?;
    let label = std::str::from_utf8(&label)
        .ok()
        .filter(|label| !label.is_empty());
    let id = Some(&id[..]).filter(|id| !id.is_empty());
    let objects = match (id, label) {
        (Some(id), _) => find_objects(session, ObjectClass::PUBLIC_KEY, None, Some(id))?,
        (None, Some(label)) => find_objects(session, ObjectClass::PUBLIC_KEY, Some(label), None)?,
        (None, None) => Vec::new(),
    };
    let mut found: Option<PublicKey> = None;
    for object in objects {
        let Some(public_key) = read_public_key(session, object)? else {
            continue;
        };
        match &found {
            // Two different keys under one id: none of them is to be believed.
            Some(other) if *other != public_key => return Ok(None),
            _ => found = Some(public_key),
        }
    }
    match found {
        Some(public_key) => Ok(Some(public_key)),
        None => read_public_key(session, private),
    }
}

pub(super) fn label_and_id(
    session: &Session,
    object: ObjectHandle,
) -> Result<(Vec<u8>, Vec<u8>), CallError> {
    let (mut label, mut id) = (Vec::new(), Vec::new());
    for value in attributes(session, object, &[AttributeType::Label, AttributeType::Id])? {
        match value {
            Attribute::Label(value) => label = value,
            Attribute::Id(value) => id = value,
            _ => {}
        }
    }
    Ok((label, id))
}

/// A copy of the key that lives in memory only. SoftHSM signs faster with it, because it need not
/// ask the token's files whether the key has changed.
fn copy_into_session(session: &Session, key: ObjectHandle) -> Result<ObjectHandle, CallError> {
    session
        .copy_object(key, &[Attribute::Token(false)])
        .map_err(|error| CallError::from_wrapper("C_CopyObject", &error))
}
