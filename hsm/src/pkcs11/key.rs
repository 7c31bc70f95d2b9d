//! The key on a token: found by its URI, its public half read, its handle kept.

use std::sync::{Arc, Mutex};

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::module::lock;
use super::token::Token;
use super::uri::{Pkcs11Uri, hex};
use crate::algorithm::{Curve, KeyAlgorithm};
use crate::ckr::CallError;
use crate::der;
use crate::error::{KeyError, OpenError, SignError};
use crate::public_key::PublicKey;

/// DER of the `CKA_EC_PARAMS` of the curves: `OBJECT IDENTIFIER` 1.2.840.10045.3.1.7
/// (RFC 5480 §2.1.1.1).
pub(super) const P256_PARAMS: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// `OBJECT IDENTIFIER` 1.3.132.0.34 (RFC 5480 §2.1.1.1).
pub(super) const P384_PARAMS: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
/// `OBJECT IDENTIFIER` 1.3.101.112 (RFC 8410 §3).
pub(super) const ED25519_PARAMS: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
/// `PrintableString` "edwards25519", the other form that PKCS#11 v3.1 §6.3.3 allows.
pub(super) const ED25519_NAME_PARAMS: &[u8] = b"\x13\x0cedwards25519";

/// Most keys named in an error: enough to see a misspelling, short enough to read.
const KEYS_LISTED_MAX: usize = 20;

/// A private key on a token, with its handle as it is now.
pub(super) struct TokenKey {
    token: Arc<Token>,
    uri: Pkcs11Uri,
    algorithm: KeyAlgorithm,
    public_key: PublicKey,
    /// Sign with a copy of the key that lives in the anchor session.
    copied: bool,
    handle: Mutex<ObjectHandle>,
}

impl TokenKey {
    /// Finds the key and its public half, and makes the session copy where one is wanted.
    pub(super) fn open(token: Token, uri: &Pkcs11Uri, copied: bool) -> Result<TokenKey, OpenError> {
        let token = Arc::new(token);
        let setup = token.module().setup();
        let found = token.with_anchor(|session| Ok(find_with_public_key(session, &token, uri)));
        let (handle, public_key) = found.map_err(|call| open_error(&token, call))??;
        let algorithm = public_key
            .algorithm()
            .ok_or_else(|| KeyError::Unsupported {
                key: uri.describe_key(),
                token: token.label().to_string(),
                found: "an RSA key of another length".to_owned(),
            })?;
        let handle = if copied {
            token
                .with_anchor(|session| copy_into_session(session, handle))
                .map_err(|call| open_error(&token, call))?
        } else {
            handle
        };
        drop(setup);
        let handle = Mutex::new(handle);
        Ok(TokenKey {
            token,
            uri: uri.clone(),
            algorithm,
            public_key,
            copied,
            handle,
        })
    }

    pub(super) fn token(&self) -> &Arc<Token> {
        &self.token
    }

    pub(super) fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    pub(super) fn copied(&self) -> bool {
        self.copied
    }

    /// The handle to sign with.
    pub(super) fn handle(&self) -> ObjectHandle {
        *lock(&self.handle)
    }

    /// The handle to sign with, now that `stale` was refused: what another thread found
    /// meanwhile, or found again. `None` when no such key, or another key, is on the token.
    pub(super) fn find_again(
        &self,
        stale: ObjectHandle,
    ) -> Result<Option<ObjectHandle>, SignError> {
        let mut current = lock(&self.handle);
        if *current != stale {
            return Ok(Some(*current));
        }
        let _setup = self.token.module().setup();
        let found = self
            .token
            .with_anchor(|session| {
                match find_with_public_key(session, &self.token, &self.uri) {
                    Ok((handle, public_key)) if public_key == self.public_key => if self.copied {
                        copy_into_session(session, handle)
                    } else {
                        Ok(handle)
                    }
                    .map(Some),
                    Err(OpenError::Call { call, .. }) => Err(call),
                    // Another key under the same name must not sign for this one.
                    Ok(_) | Err(_) => Ok(None),
                }
            })
            .map_err(|call| SignError::Call {
                token: Arc::clone(self.token.label()),
                call,
            })?;
        if let Some(handle) = found {
            *current = handle;
        }
        Ok(found)
    }

    /// Gives the token up.
    pub(super) fn into_token(self) -> Arc<Token> {
        self.token
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

/// Reads the public key that the public key object, or failing that the private one, holds.
/// `Ok(None)` when it holds none that is read here.
pub(super) fn read_public_key(
    session: &Session,
    object: ObjectHandle,
) -> Result<Option<PublicKey>, CallError> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    // One by one: some modules answer nothing at all when one of several is missing.
    let mut key_type = None;
    let (mut params, mut point) = (Vec::new(), Vec::new());
    let (mut modulus, mut exponent) = (Vec::new(), Vec::new());
    for attribute in wanted {
        for value in attributes(session, object, &[attribute])? {
            match value {
                Attribute::KeyType(value) => key_type = Some(value),
                Attribute::EcParams(value) => params = value,
                Attribute::EcPoint(value) => point = value,
                Attribute::Modulus(value) => modulus = value,
                Attribute::PublicExponent(value) => exponent = value,
                _ => {}
            }
        }
    }
    Ok(match key_type {
        Some(KeyType::EC) => ec_public_key(&params, &point),
        Some(KeyType::EC_EDWARDS) => ed25519_public_key(&params, &point),
        Some(KeyType::RSA) if !modulus.is_empty() && !exponent.is_empty() => {
            Some(PublicKey::rsa(&modulus, &exponent))
        }
        _ => None,
    })
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
        Some(Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS | KeyType::RSA)) => {
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

fn known_params(params: &[u8]) -> bool {
    [
        P256_PARAMS,
        P384_PARAMS,
        ED25519_PARAMS,
        ED25519_NAME_PARAMS,
    ]
    .contains(&params)
}

/// `CKA_EC_POINT` is the DER `OCTET STRING` around the point (PKCS#11 v3.1 §6.3.3); some tokens
/// leave the wrapping out.
fn ec_public_key(params: &[u8], point: &[u8]) -> Option<PublicKey> {
    let curve = match params {
        P256_PARAMS => Curve::P256,
        P384_PARAMS => Curve::P384,
        _ => return None,
    };
    let uncompressed =
        |point: &[u8]| point.len() == 1 + 2 * curve.field_len() && point.first() == Some(&4);
    let wrapped = der::read(der::OCTET_STRING, point)
        .filter(|(content, rest)| rest.is_empty() && uncompressed(content))
        .map(|(content, _)| content);
    let point = wrapped
        .or_else(|| uncompressed(point).then_some(point))?
        .to_vec();
    Some(PublicKey::Ec { curve, point })
}

/// As for ECDSA: 32 bytes, wrapped or (PKCS#11 v3.0 §2.3.5 as some read it) not.
fn ed25519_public_key(params: &[u8], point: &[u8]) -> Option<PublicKey> {
    if ![ED25519_PARAMS, ED25519_NAME_PARAMS].contains(&params) {
        return None;
    }
    let content = match der::read(der::OCTET_STRING, point) {
        Some((content, [])) if content.len() == 32 => content,
        _ => point,
    };
    Some(PublicKey::Ed25519(content.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec_points_are_read_wrapped_and_bare() {
        for (params, curve) in [(P256_PARAMS, Curve::P256), (P384_PARAMS, Curve::P384)] {
            let len = 1 + 2 * curve.field_len();
            let point = [&[4][..], &vec![9; len - 1]].concat();
            let wrapped = [&[4, len as u8][..], &point].concat();
            let expected = Some(PublicKey::Ec {
                curve,
                point: point.clone(),
            });
            assert_eq!(ec_public_key(params, &wrapped), expected);
            assert_eq!(ec_public_key(params, &point), expected);
            assert_eq!(ec_public_key(params, &point[1..]), None);
            assert_eq!(ec_public_key(params, &[&wrapped[..], &[0]].concat()), None);
            assert_eq!(ec_public_key(b"\x06\x01\x00", &wrapped), None);
            let compressed = [&[2][..], &vec![9; curve.field_len()]].concat();
            assert_eq!(ec_public_key(params, &compressed), None);
        }
    }

    #[test]
    fn ed25519_points_are_read_wrapped_and_bare() {
        let point = [7; 32];
        let wrapped = [&[4, 32][..], &point].concat();
        for params in [ED25519_PARAMS, ED25519_NAME_PARAMS] {
            assert_eq!(
                ed25519_public_key(params, &wrapped),
                Some(PublicKey::Ed25519(point))
            );
            assert_eq!(
                ed25519_public_key(params, &point),
                Some(PublicKey::Ed25519(point))
            );
            assert_eq!(ed25519_public_key(params, &wrapped[..33]), None);
        }
        assert_eq!(ed25519_public_key(P256_PARAMS, &wrapped), None);
        // A key whose own bytes look like a wrapping is still a key.
        let mut odd = [7; 32];
        odd[..2].copy_from_slice(&[4, 30]);
        assert_eq!(
            ed25519_public_key(ED25519_PARAMS, &odd),
            Some(PublicKey::Ed25519(odd))
        );
    }
}
