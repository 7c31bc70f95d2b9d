//! What a token says of a key: every attribute that its protection rests on, and whether it is as it
//! should be. Also the end of a key.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki_sys::{CK_ULONG, CKA_VENDOR_DEFINED};

use super::generate::make_key_pair;
use super::key;
use super::key_attributes::read_public_key;
use super::pin_mark::PinMarks;
use super::token::Token;
use super::uri::Pkcs11Uri;
use crate::algorithm::KeyAlgorithm;
use crate::ckr::CallError;
use crate::error::{DestroyError, GenerateError, KeyError, OpenError};
use crate::public_key::PublicKey;

/// A key on a token, as the token describes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyReport {
    /// The token's label.
    pub token: String,
    /// The key's label (`CKA_LABEL`).
    pub label: String,
    /// The key's id (`CKA_ID`).
    pub id: Vec<u8>,
    /// The public half.
    pub public_key: PublicKey,
    /// The private key's attributes (PKCS#11 v3.1 §4.7 to 4.9).
    pub attributes: Vec<KeyAttribute>,
    /// How often the key was used and may be; `None` where the token limits its uses not, or does not tell.
    pub uses: Option<KeyUses>,
}

/// The uses of a key that signs so often and no more, as Thales Luna counts them: then every signature is refused
/// with `CKR_KEY_NOT_ACTIVE`. Each HSM counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUses {
    /// How often it was used (`CKA_USAGE_COUNT`).
    pub count: u64,
    /// How often it may be used in all (`CKA_USAGE_LIMIT`).
    pub limit: u64,
}

impl KeyUses {
    /// How often it may still be used.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.count)
    }
}

/// One attribute of a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyAttribute {
    /// The standard's name, such as `CKA_SENSITIVE`.
    pub name: &'static str,
    /// What the token says; `None`: it does not tell.
    pub value: Option<String>,
    /// What an issuing key should have; `None`: no matter.
    pub wanted: Option<&'static str>,
    /// The token has to tell: silence is not enough.
    must_tell: bool,
}

impl KeyAttribute {
    /// Whether it is what an issuing key should have.
    pub fn is_as_asked(&self) -> bool {
        match (self.wanted, &self.value) {
            (None, _) => true,
            (Some(wanted), Some(value)) => wanted == value,
            // A token that has no such use for keys need not know its attribute.
            (Some(_), None) => !self.must_tell,
        }
    }
}

impl KeyReport {
    /// The attributes that are not as they should be.
    pub fn not_as_asked(&self) -> Vec<&KeyAttribute> {
        let wrong = |attribute: &&KeyAttribute| !attribute.is_as_asked();
        self.attributes.iter().filter(wrong).collect()
    }

    /// Whether the key was made elsewhere and brought to the token (`CKA_LOCAL` is not true): copies of it
    /// may exist.
    pub fn is_imported(&self) -> bool {
        let local = |attribute: &&KeyAttribute| attribute.name == LOCAL;
        let value = self.attributes.iter().find(local);
        value.and_then(|attribute| attribute.value.as_deref()) != Some("true")
    }
}

/// Thales Luna's attributes of a key with limited uses: `LUNA_ATTR_USAGE_COUNT` and `LUNA_ATTR_USAGE_COUNT_LIMIT` in the
/// vendor's pycryptoki (`defines.py`), `CKA_USAGE_COUNT` and `CKA_USAGE_LIMIT` in its documentation ("Object Usage
/// Count"), which says that a key has both or neither.
const USAGE_COUNT: AttributeType = AttributeType::VendorDefined(CKA_VENDOR_DEFINED + 0x101);
const USAGE_LIMIT: AttributeType = AttributeType::VendorDefined(CKA_VENDOR_DEFINED + 0x200);

/// The largest limit that a Luna takes, by that documentation.
const USAGE_LIMIT_MAX: u64 = 0xFFFF_FFFF;

const LOCAL: &str = "CKA_LOCAL";

/// Name, attribute, wanted value, whether the token has to tell it. `CKA_LOCAL` is told and judged apart: an
/// imported key signs just as well.
const ATTRIBUTES: [(&str, AttributeType, Option<&str>, bool); 16] = [
    ("CKA_TOKEN", AttributeType::Token, Some("true"), true),
    ("CKA_PRIVATE", AttributeType::Private, Some("true"), true),
    (
        "CKA_SENSITIVE",
        AttributeType::Sensitive,
        Some("true"),
        true,
    ),
    (
        "CKA_ALWAYS_SENSITIVE",
        AttributeType::AlwaysSensitive,
        Some("true"),
        true,
    ),
    (
        "CKA_EXTRACTABLE",
        AttributeType::Extractable,
        Some("false"),
        true,
    ),
    (
        "CKA_NEVER_EXTRACTABLE",
        AttributeType::NeverExtractable,
        Some("true"),
        true,
    ),
    (LOCAL, AttributeType::Local, None, false),
    (
        "CKA_KEY_GEN_MECHANISM",
        AttributeType::KeyGenMechanism,
        None,
        false,
    ),
    ("CKA_SIGN", AttributeType::Sign, Some("true"), true),
    (
        "CKA_SIGN_RECOVER",
        AttributeType::SignRecover,
        Some("false"),
        false,
    ),
    ("CKA_DECRYPT", AttributeType::Decrypt, Some("false"), false),
    ("CKA_UNWRAP", AttributeType::Unwrap, Some("false"), false),
    ("CKA_DERIVE", AttributeType::Derive, Some("false"), false),
    (
        "CKA_ALWAYS_AUTHENTICATE",
        AttributeType::AlwaysAuthenticate,
        Some("false"),
        false,
    ),
    ("CKA_MODIFIABLE", AttributeType::Modifiable, None, false),
    (
        "CKA_WRAP_WITH_TRUSTED",
        AttributeType::WrapWithTrusted,
        None,
        false,
    ),
];

/// Makes a key pair as [`generate_key_pair`](super::generate_key_pair) does, and tells what the token then
/// says of it. Nothing is destroyed when that is not as asked: the caller looks at
/// [`KeyReport::not_as_asked`].
///
/// # Errors
/// As [`generate_key_pair`](super::generate_key_pair), but for its `NotProtected`.
pub fn generate_reported_key_pair(
    uri: &Pkcs11Uri,
    algorithm: KeyAlgorithm,
) -> Result<KeyReport, GenerateError> {
    make_key_pair(uri, algorithm, |session, token, public, private| {
        let failed = |call| GenerateError::Call {
            token: token.label().to_string(),
            call,
        };
        let public_key = read_public_key(session, public).map_err(failed)?;
        let public_key = public_key.ok_or_else(|| {
            OpenError::Key(KeyError::NoPublicKey {
                key: key::describe(session, private).unwrap_or_default(),
                token: token.label().to_string(),
            })
        })?;
        report(session, token, private, public_key).map_err(failed)
    })
}

/// Logs in and tells what the token says of the one key that the URI names.
///
/// # Errors
/// [`OpenError`] says which of module, token, PIN or key it was.
pub fn report_key(uri: &Pkcs11Uri) -> Result<KeyReport, OpenError> {
    let token = Token::open(uri, &PinMarks::default())?;
    let setup = token.setup();
    let found = token.with_anchor(|session| {
        Ok(match key::find_with_public_key(session, &token, uri) {
            Ok((private, public_key)) => Ok(report(session, &token, private, public_key)?),
            Err(error) => Err(error),
        })
    });
    // The token takes the lock itself when it goes.
    drop(setup);
    found.map_err(|call| OpenError::Call {
        token: token.label().to_string(),
        call,
    })?
}

/// Destroys the private key that the URI names, and the public key objects beside it, if its public half
/// is `expected`. It cannot be undone: only a backup of the token, if there is one, still has the key.
///
/// # Errors
/// [`DestroyError`]; with all but [`DestroyError::StillThere`] and a failed call nothing was destroyed.
pub fn destroy_key_pair(uri: &Pkcs11Uri, expected: &PublicKey) -> Result<(), DestroyError> {
    let token = Token::open(uri, &PinMarks::default())?;
    let setup = token.setup();
    let outcome = destroy(&token, uri, expected);
    drop(setup);
    outcome
}

fn destroy(token: &Token, uri: &Pkcs11Uri, expected: &PublicKey) -> Result<(), DestroyError> {
    let label = || token.label().to_string();
    let failed = |call| DestroyError::Call {
        token: label(),
        call,
    };
    let session = token.open_writing_session().map_err(failed)?;
    let (private, public_key) = key::find_with_public_key(&session, token, uri)?;
    if public_key != *expected {
        return Err(DestroyError::OtherKey {
            key: uri.describe_key(),
            token: label(),
        });
    }
    let public = key::find_objects(&session, ObjectClass::PUBLIC_KEY, uri.object(), uri.id())
        .map_err(failed)?;
    // The private key first: if the rest fails, the secret is gone.
    destroy_object(&session, private).map_err(failed)?;
    for object in public {
        let same = read_public_key(&session, object).map_err(failed)?;
        if same.as_ref() == Some(expected) {
            destroy_object(&session, object).map_err(failed)?;
        }
    }
    let left = key::private_keys(&session, uri.object(), uri.id()).map_err(failed)?;
    if left.is_empty() {
        Ok(())
    } else {
        Err(DestroyError::StillThere {
            key: uri.describe_key(),
            token: label(),
        })
    }
}

fn destroy_object(session: &Session, object: ObjectHandle) -> Result<(), CallError> {
    session
        .destroy_object(object)
        .map_err(|error| CallError::from_wrapper("C_DestroyObject", &error))
}

fn report(
    session: &Session,
    token: &Token,
    private: ObjectHandle,
    public_key: PublicKey,
) -> Result<KeyReport, CallError> {
    let (label, id) = key::label_and_id(session, private)?;
    let attributes = ATTRIBUTES
        .iter()
        .map(|(name, attribute, wanted, must_tell)| KeyAttribute {
            name,
            value: value(session, private, *attribute),
            wanted: *wanted,
            must_tell: *must_tell,
        });
    Ok(KeyReport {
        token: token.label().to_string(),
        label: String::from_utf8_lossy(&label).into_owned(),
        id,
        public_key,
        attributes: attributes.collect(),
        uses: uses(session, private),
    })
}

/// Vendors number their attributes as they like: only what can be a limit and its count is taken for them.
fn uses(session: &Session, private: ObjectHandle) -> Option<KeyUses> {
    let number = |wanted| {
        let values = key::attributes(session, private, &[wanted]).ok()?;
        let Some(Attribute::VendorDefined((_, value))) = values.first() else {
            return None;
        };
        let bytes = value.as_slice().try_into().ok()?;
        // As wide as C's unsigned long, with the bytes in this machine's order.
        #[allow(
            clippy::useless_conversion,
            reason = "CK_ULONG has 32 bits on some targets"
        )]
        Some(u64::from(CK_ULONG::from_ne_bytes(bytes)))
    };
    let limit = number(USAGE_LIMIT).filter(|limit| (1..=USAGE_LIMIT_MAX).contains(limit))?;
    let count = number(USAGE_COUNT).filter(|count| *count <= limit)?;
    Some(KeyUses { count, limit })
}

/// What the token says, asked one by one: some modules answer nothing when one of several is missing. A
/// refusal to tell is no value.
fn value(session: &Session, key: ObjectHandle, wanted: AttributeType) -> Option<String> {
    let values = key::attributes(session, key, &[wanted]).ok()?;
    let text = |value: bool| if value { "true" } else { "false" }.to_owned();
    match values.first()? {
        Attribute::Token(value)
        | Attribute::Private(value)
        | Attribute::Sensitive(value)
        | Attribute::AlwaysSensitive(value)
        | Attribute::Extractable(value)
        | Attribute::NeverExtractable(value)
        | Attribute::Local(value)
        | Attribute::Sign(value)
        | Attribute::SignRecover(value)
        | Attribute::Decrypt(value)
        | Attribute::Unwrap(value)
        | Attribute::Derive(value)
        | Attribute::AlwaysAuthenticate(value)
        | Attribute::Modifiable(value)
        | Attribute::WrapWithTrusted(value) => Some(text(*value)),
        Attribute::KeyGenMechanism(mechanism) => Some(mechanism.to_string()),
        _ => None,
    }
}
