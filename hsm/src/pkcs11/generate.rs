//! Key pairs made on a token, where the private half stays.

use aws_lc_rs::rand;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::key;
use super::key_attributes::{
    ED25519_NAME_PARAMS, ED25519_PARAMS, P256_PARAMS, P384_PARAMS, P521_PARAMS,
    ml_dsa_parameter_set, read_public_key,
};
use super::pin_mark::PinMarks;
use super::token::Token;
use super::uri::{Pkcs11Uri, hex};
use crate::algorithm::KeyAlgorithm;
use crate::ckr::{CallError, ErrorClass};
use crate::error::{GenerateError, KeyError, OpenError};
use crate::public_key::PublicKey;

/// Length in bytes of an id made here: random, so that no two keys share one.
const ID_LEN: usize = 16;

/// The public exponent 65537 (RFC 8017 §3.1; FIPS 186-5 §5.1 allows nothing smaller).
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Makes a key pair on the token that the URI names, under the URI's `object` label and its `id`
/// (or a random one).
///
/// The private key has `CKA_TOKEN`, `CKA_PRIVATE`, `CKA_SENSITIVE` and `CKA_SIGN` true, `CKA_EXTRACTABLE`
/// and every other use than signing false, and the token has to confirm afterwards, by `CKA_ALWAYS_SENSITIVE` and
/// `CKA_NEVER_EXTRACTABLE` (PKCS#11 v3.1 §4.9), that it never left.
///
/// # Errors
/// [`GenerateError::Exists`] when the label or the id is taken: nothing is overwritten.
pub fn generate_key_pair(
    uri: &Pkcs11Uri,
    algorithm: KeyAlgorithm,
) -> Result<PublicKey, GenerateError> {
    make_key_pair(uri, algorithm, |session, token, public, private| {
        let checked = check(session, token, public, private);
        if checked.is_err() {
            // Best effort: the error that led here says what is wrong.
            let _ = session.destroy_object(private);
            let _ = session.destroy_object(public);
        }
        checked
    })
}

/// Makes the pair and hands its objects, public and private, to `look` while nobody else of this process
/// makes one.
pub(super) fn make_key_pair<T>(
    uri: &Pkcs11Uri,
    algorithm: KeyAlgorithm,
    look: impl FnOnce(&Session, &Token, ObjectHandle, ObjectHandle) -> Result<T, GenerateError>,
) -> Result<T, GenerateError> {
    let label = uri.object().ok_or(GenerateError::NoLabel)?;
    let token = Token::open(uri, &PinMarks::default())?;
    let failed = |call| GenerateError::Call {
        token: token.label().to_string(),
        call,
    };
    let id = match uri.id() {
        Some(id) => id.to_vec(),
        None => random_id().ok_or(OpenError::Software(
            crate::error::SoftwareKeyError::Generate { algorithm },
        ))?,
    };
    // From the search to the key's making nobody of this process makes another.
    let setup = token.setup();
    let session = token.open_writing_session().map_err(failed)?;
    if let Some(clash) = taken(&session, label, &id).map_err(failed)? {
        return Err(GenerateError::Exists {
            token: token.label().to_string(),
            clash,
        });
    }
    let (public, private) = make(&session, algorithm, label, &id).map_err(failed)?;
    let looked_at = look(&session, &token, public, private);
    // The session closes before the lock opens, the token after: it takes the lock itself.
    drop(session);
    drop(setup);
    looked_at
}

fn random_id() -> Option<Vec<u8>> {
    let mut id = vec![0; ID_LEN];
    rand::fill(&mut id).ok()?;
    Some(id)
}

/// The label or id that a key on the token has already.
fn taken(session: &Session, label: &str, id: &[u8]) -> Result<Option<String>, CallError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !key::find_objects(session, class, Some(label), None)?.is_empty() {
            return Ok(Some(format!("the label '{label}'")));
        }
        if !key::find_objects(session, class, None, Some(id))?.is_empty() {
            return Ok(Some(format!("the id {}", hex(id))));
        }
    }
    Ok(None)
}

fn make(
    session: &Session,
    algorithm: KeyAlgorithm,
    label: &str,
    id: &[u8],
) -> Result<(ObjectHandle, ObjectHandle), CallError> {
    let rsa = |bits| {
        vec![
            Attribute::ModulusBits(Ulong::new(bits)),
            Attribute::PublicExponent(RSA_EXPONENT.to_vec()),
        ]
    };
    let ec = |params: &[u8]| vec![Attribute::EcParams(params.to_vec())];
    let (mechanism, parameters) = match algorithm {
        KeyAlgorithm::EcP256 => (Mechanism::EccKeyPairGen, vec![ec(P256_PARAMS)]),
        KeyAlgorithm::EcP384 => (Mechanism::EccKeyPairGen, vec![ec(P384_PARAMS)]),
        KeyAlgorithm::EcP521 => (Mechanism::EccKeyPairGen, vec![ec(P521_PARAMS)]),
        // Two forms are in use, and a token may know only one of them.
        KeyAlgorithm::Ed25519 => (
            Mechanism::EccEdwardsKeyPairGen,
            vec![ec(ED25519_PARAMS), ec(ED25519_NAME_PARAMS)],
        ),
        KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => {
            let parameter_set = algorithm.ml_dsa().map(ml_dsa_parameter_set);
            let parameter_set = parameter_set.map(Attribute::ParameterSet);
            (
                Mechanism::MlDsaKeyPairGen,
                vec![parameter_set.into_iter().collect()],
            )
        }
        KeyAlgorithm::Rsa2048 => (Mechanism::RsaPkcsKeyPairGen, vec![rsa(2048)]),
        KeyAlgorithm::Rsa3072 => (Mechanism::RsaPkcsKeyPairGen, vec![rsa(3072)]),
        KeyAlgorithm::Rsa4096 => (Mechanism::RsaPkcsKeyPairGen, vec![rsa(4096)]),
    };
    let named = |more: Vec<Attribute>| {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        template.extend(more);
        template
    };
    let private = named(vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        // Tokens have defaults of their own for these: the key is to sign and nothing else.
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    let mut attempts = parameters.into_iter().peekable();
    loop {
        let mut public = named(vec![Attribute::Private(false), Attribute::Verify(true)]);
        public.extend(attempts.next().unwrap_or_default());
        let made = session
            .generate_key_pair(&mechanism, &public, &private)
            .map_err(|error: Error| CallError::from_wrapper("C_GenerateKeyPair", &error));
        match made {
            Err(call) if call.class() == ErrorClass::Request && attempts.peek().is_some() => {}
            outcome => return outcome,
        }
    }
}

fn check(
    session: &Session,
    token: &Token,
    public: ObjectHandle,
    private: ObjectHandle,
) -> Result<PublicKey, GenerateError> {
    let label = || token.label().to_string();
    let failed = |call| GenerateError::Call {
        token: label(),
        call,
    };
    let found = key::attributes(
        session,
        private,
        &[
            AttributeType::Token,
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
        ],
    )
    .map_err(failed)?;
    let holds = |wanted: &Attribute| found.iter().any(|attribute| attribute == wanted);
    let missing: Vec<&str> = [
        ("on the token", Attribute::Token(true)),
        ("private", Attribute::Private(true)),
        ("sensitive", Attribute::Sensitive(true)),
        ("always sensitive", Attribute::AlwaysSensitive(true)),
        ("unextractable", Attribute::Extractable(false)),
        ("never extractable", Attribute::NeverExtractable(true)),
    ]
    .iter()
    .filter(|(_, wanted)| !holds(wanted))
    .map(|(name, _)| *name)
    .collect();
    if !missing.is_empty() {
        return Err(GenerateError::NotProtected {
            token: label(),
            missing: missing.join(", "),
        });
    }
    let public_key = read_public_key(session, public).map_err(failed)?;
    public_key.ok_or_else(|| {
        let key = key::describe(session, private).unwrap_or_default();
        OpenError::Key(KeyError::NoPublicKey {
            key,
            token: label(),
        })
        .into()
    })
}
