//! Key, name and content policy: from a verified request to one that a profile accepts.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};

use crate::csr::VerifiedRequest;
use crate::der::tag;
use crate::der::writer::Writer;
use crate::issuer::Issuer;
use crate::key::{SubjectPublicKeyInfo, sha256_output};
use crate::permit::PERMIT_BYTES_MAX;
use crate::profile::Profile;
use crate::record::DATA_RESERVED_PREFIX;
use crate::rejection::Rejection;
use crate::template::FieldValues;

/// Entries in the line's data.
const DATA_ENTRIES_MAX: usize = 32;
/// Octets of one key of the line's data.
const DATA_KEY_BYTES_MAX: usize = 64;
/// Octets of all keys and values of the line's data. A record has at most 65,535.
const DATA_BYTES_MAX: usize = 8 * 1024;
/// Octets of a lot's name.
const LOT_BYTES_MAX: usize = 128;
/// Octets of a device identity. Four times the longest serialNumber attribute, so that templates have room.
const IDENTITY_BYTES_MAX: usize = 256;
/// Octets of hwSerialNum, as for the serialNumber attribute.
const HARDWARE_SERIAL_BYTES_MAX: usize = 64;

/// The versions of the request identity's definition below.
const REQUEST_ID_VERSION: u8 = 1;
const REQUEST_ID_VERSION_GENERATED: u8 = 2;
/// What stands in the request identity in the place of a fingerprint, where the engine makes the key.
const GENERATED: &[u8] = b"generated";

/// A request that its profile accepts, with the parts of the certificate that come from it.
#[derive(Debug)]
pub(crate) struct ValidatedRequest<'a> {
    pub(crate) key: SubjectPublicKeyInfo<'a>,
    pub(crate) key_fingerprint: [u8; 32],
    /// The engine made the key: the next request of the same device will have another.
    pub(crate) generated: bool,
    pub(crate) request_id: [u8; 32],
    pub(crate) identity: Option<String>,
    /// The subject's RDNSequence, DER.
    pub(crate) subject: Vec<u8>,
    /// hwSerialNum, if the profile has one.
    pub(crate) hardware_serial: Option<String>,
}

/// Holds a verified request against its profile.
pub(crate) fn validate<'a>(
    request: &VerifiedRequest<'a>,
    profile: &Profile,
    issuer: &Issuer,
    data: &'a BTreeMap<String, String>,
) -> Result<ValidatedRequest<'a>, Rejection> {
    if !profile.accepts(request.key.algorithm) {
        return Err(Rejection::KeyNotAllowed {
            profile: profile.name().to_owned(),
            algorithm: request.key.algorithm.name(),
        });
    }
    let key_fingerprint = request.key.fingerprint();
    if key_fingerprint == *issuer.key_fingerprint() {
        return Err(Rejection::IssuerKey);
    }
    if request.requests_ca {
        return Err(Rejection::RequestsCa);
    }
    let values = profile.fields.values(profile.name(), request, data)?;
    let mut text = String::new();
    let subject = encode_subject(profile, &values, &mut text)?;
    let identity = render_bounded(
        profile.identity.as_ref(),
        &values,
        &mut text,
        "identity",
        IDENTITY_BYTES_MAX,
    )?;
    check_identity(identity.as_deref())?;
    let hardware_serial = render_bounded(
        profile
            .hardware_module_name
            .as_ref()
            .map(|name| &name.serial),
        &values,
        &mut text,
        "hardware_module_name.serial",
        HARDWARE_SERIAL_BYTES_MAX,
    )?;
    Ok(ValidatedRequest {
        request_id: match request.generated {
            false => request_id(
                REQUEST_ID_VERSION,
                issuer,
                profile,
                &key_fingerprint,
                &values,
            ),
            true => request_id(
                REQUEST_ID_VERSION_GENERATED,
                issuer,
                profile,
                GENERATED,
                &values,
            ),
        },
        generated: request.generated,
        key: request.key,
        key_fingerprint,
        identity,
        subject,
        hardware_serial,
    })
}

/// Bounds on what the line adds, before any of it is looked at.
pub(crate) fn check_data(
    lot: Option<&str>,
    data: &BTreeMap<String, String>,
) -> Result<(), Rejection> {
    if lot.is_some_and(|lot| lot.len() > LOT_BYTES_MAX) {
        return Err(Rejection::DataLimit("the lot's name has over 128 bytes"));
    }
    if data.len() > DATA_ENTRIES_MAX {
        return Err(Rejection::DataLimit("there are over 32 entries"));
    }
    if data
        .keys()
        .any(|key| key.is_empty() || key.len() > DATA_KEY_BYTES_MAX)
    {
        return Err(Rejection::DataLimit("a key is empty or has over 64 bytes"));
    }
    if data.keys().any(|key| key.starts_with(DATA_RESERVED_PREFIX)) {
        return Err(Rejection::DataLimit(
            "keys that start with 'birthmark:' are the engine's own",
        ));
    }
    let bytes: usize = data
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > DATA_BYTES_MAX {
        return Err(Rejection::DataLimit(
            "keys and values have over 8192 bytes together",
        ));
    }
    Ok(())
}

/// The bound on a permit, before it is looked at. Whether it is one shows where one is needed.
pub(crate) fn check_permit_size(permit: Option<&[u8]>) -> Result<(), Rejection> {
    if permit.is_some_and(|note| note.len() > PERMIT_BYTES_MAX) {
        return Err(Rejection::DataLimit("the permit has over 4096 bytes"));
    }
    Ok(())
}

/// `Name ::= SEQUENCE OF SET SIZE (1) OF AttributeTypeAndValue`, RFC 5280 §4.1.2.6.
fn encode_subject(
    profile: &Profile,
    values: &FieldValues<'_>,
    text: &mut String,
) -> Result<Vec<u8>, Rejection> {
    let mut subject = Vec::with_capacity(160);
    let mut problem = None;
    Writer::new(&mut subject).nested(tag::SEQUENCE, |name| {
        for entry in &profile.subject {
            entry.value.render(values, text);
            let checked = entry.attribute.check(text).and_then(|()| {
                if entry.registration_id {
                    check_registration_id(text)
                } else {
                    Ok(())
                }
            });
            if let Err(fault) = checked {
                problem = Some((entry.attribute.name, fault));
            }
            name.nested(tag::SET, |rdn| {
                rdn.nested(tag::SEQUENCE, |pair| {
                    pair.primitive(tag::OID, entry.attribute.oid);
                    pair.primitive(entry.attribute.string_tag(), text.as_bytes());
                });
            });
        }
    });
    match problem {
        None => Ok(subject),
        Some((name, problem)) => Err(Rejection::FieldValue {
            target: format!("subject {name}"),
            problem,
        }),
    }
}

/// A registration id: letters, digits, `.`, `_` and `-`, as device clouds take it.
fn check_registration_id(text: &str) -> Result<(), &'static str> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        Ok(())
    } else {
        Err("a registration id holds only letters, digits, '.', '_' and '-'")
    }
}

fn render_bounded(
    template: Option<&crate::template::Template>,
    values: &FieldValues<'_>,
    text: &mut String,
    target: &str,
    max: usize,
) -> Result<Option<String>, Rejection> {
    let Some(template) = template else {
        return Ok(None);
    };
    template.render(values, text);
    let problem = if text.is_empty() {
        "the value is empty"
    } else if text.len() > max {
        "the value is too long"
    } else if text.chars().any(char::is_control) {
        "the value holds a control character"
    } else {
        return Ok(Some(text.clone()));
    };
    Err(Rejection::FieldValue {
        target: target.to_owned(),
        problem,
    })
}

/// One way to write an identity: what a name's comparison would fold (spaces) or could not tell apart by eye
/// (other scripts) must not make two devices of one. Case is folded by the claims.
fn check_identity(identity: Option<&str>) -> Result<(), Rejection> {
    let Some(identity) = identity else {
        return Ok(());
    };
    let problem = if !identity.is_ascii() {
        "an identity holds ASCII characters only"
    } else if identity.starts_with(' ') || identity.ends_with(' ') || identity.contains("  ") {
        "an identity has no spaces at its ends and none in a row"
    } else {
        return Ok(());
    };
    Err(Rejection::FieldValue {
        target: "identity".to_owned(),
        problem,
    })
}

/// Request identity: SHA-256 over version, issuer key identifier, profile name, key fingerprint and the
/// values that the profile takes, in the order of their names, each text behind its length. Not over the request's bytes: a device that
/// asks again signs afresh. In version 2 the word `generated` stands in the place of the key fingerprint: the
/// engine made the key, and a device that asks again means that one.
fn request_id(
    version: u8,
    issuer: &Issuer,
    profile: &Profile,
    key: &[u8],
    values: &FieldValues<'_>,
) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut text = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    text(&[version]);
    text(issuer.key_identifier());
    text(profile.name().as_bytes());
    text(key);
    for (name, number) in profile.fields.by_name() {
        text(name.as_bytes());
        text(values[*number].as_bytes());
    }
    sha256_output(context.finish())
}
