//! Key, name and content policy: from a verified request to one that a profile accepts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::csr::VerifiedRequest;
use crate::der::tag;
use crate::der::writer::Writer;
use crate::issuer::Issuer;
use crate::key::{Sha256, SubjectPublicKeyInfo};
use crate::lots::{LOT_BYTES_MAX, LotOffer};
use crate::name::holds_control;
use crate::permit::PERMIT_BYTES_MAX;
use crate::profile::Profile;
use crate::record::DATA_RESERVED_PREFIX;
use crate::rejection::Rejection;
use crate::serial_offer::SerialOffer;
use crate::template::FieldValues;

/// Entries in the line's data.
const DATA_ENTRIES_MAX: usize = 32;
/// Octets of one key of the line's data.
const DATA_KEY_BYTES_MAX: usize = 64;
/// Octets of all keys and values of the line's data. A record has at most 65,535.
const DATA_BYTES_MAX: usize = 8 * 1024;
/// Octets of a device identity. Four times the longest serialNumber attribute, so that templates have room.
const IDENTITY_BYTES_MAX: usize = 256;

/// The versions of the request identity's definition below.
pub(crate) const REQUEST_ID_VERSION: u8 = 1;
const REQUEST_ID_VERSION_GENERATED: u8 = 2;
/// What stands in the request identity before the names that the certificate takes over from the request.
const COPIED_NAMES: &[u8] = b"requested names";
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
    /// The subject alternative name's value, DER, if there is one.
    pub(crate) alt_names: Option<Vec<u8>>,
    pub(crate) serial: SerialOffer,
    pub(crate) lot: LotOffer,
}

/// Holds a verified request against its profile.
pub(crate) fn validate<'a>(
    request: &VerifiedRequest<'a>,
    profile: &Profile,
    issuer: &Issuer,
    data: &'a BTreeMap<String, String>,
    mut serial: SerialOffer,
) -> Result<ValidatedRequest<'a>, Rejection> {
    profile.check_key(&request.key)?;
    let key_fingerprint = request.key.fingerprint();
    check_issuer_key(&key_fingerprint, issuer)?;
    check_no_ca(request, profile)?;
    let mut values = FieldValues::new();
    let content = match content(request, profile, data, serial.text(), &mut values) {
        Ok(content) => content,
        Err(rejection) => {
            if let Rejection::FieldValue { .. } = rejection {
                serial.set_aside();
            }
            return Err(rejection);
        }
    };
    let (version, key): (_, &[u8]) = match request.generated {
        false => (REQUEST_ID_VERSION, &key_fingerprint),
        true => (REQUEST_ID_VERSION_GENERATED, GENERATED),
    };
    let names = &content.copied_names;
    let id = |values: &FieldValues<'_>| request_id(version, issuer, profile, key, values, names);
    let request_id = request_ids(&mut serial, profile, &mut values, id);
    Ok(ValidatedRequest {
        request_id,
        generated: request.generated,
        key: request.key,
        key_fingerprint,
        identity: content.identity,
        subject: content.subject,
        alt_names: content.alt_names,
        serial,
        lot: LotOffer::None,
    })
}

/// Nobody asks for a certificate for the key that signs it.
pub(crate) fn check_issuer_key(
    key_fingerprint: &[u8; 32],
    issuer: &Issuer,
) -> Result<(), Rejection> {
    if key_fingerprint == issuer.key_fingerprint() {
        Err(Rejection::IssuerKey)
    } else {
        Ok(())
    }
}

/// The request does not ask for a CA certificate, unless the profile is one for CAs.
pub(crate) fn check_no_ca(
    request: &VerifiedRequest<'_>,
    profile: &Profile,
) -> Result<(), Rejection> {
    if request.extensions.ca && !profile.is_ca() {
        Err(Rejection::RequestsCa)
    } else {
        Ok(())
    }
}

/// What comes from the request into the certificate, whoever issues it.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) identity: Option<String>,
    /// The subject's RDNSequence, DER.
    pub(crate) subject: Vec<u8>,
    /// The subject alternative name's value, DER.
    pub(crate) alt_names: Option<Vec<u8>>,
    /// The requested names that the profile lets in, DER of one behind the other.
    copied_names: Vec<u8>,
}

/// Names and other content, of a request whose key does. `serial` is the number that is handed out to it. `values`
/// takes what the profile's fields come to.
pub(crate) fn content<'a>(
    request: &VerifiedRequest<'a>,
    profile: &Profile,
    data: &'a BTreeMap<String, String>,
    serial: Option<&str>,
    values: &mut FieldValues<'a>,
) -> Result<Content, Rejection> {
    profile
        .fields
        .values(profile, request, data, serial, values)?;
    let mut text = String::new();
    let subject = encode_subject(profile, values, &mut text)?;
    let identity = render_identity(profile, values, &mut text)?;
    let (alt_names, copied_names) = encode_alt_names(request, profile, values, &mut text)?;
    profile
        .requested
        .check_required(&request.extensions, &request.key, alt_names.as_deref())?;
    Ok(Content {
        identity,
        subject,
        alt_names,
        copied_names,
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
    // They stand in exports and receipts, one line each, and people read them on terminals.
    let texts = data.iter().flat_map(|(key, value)| [key.as_str(), value]);
    if texts.chain(lot).any(holds_control) {
        return Err(Rejection::DataValue(
            "a control character in a key or value",
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
            if let Some(encoded) = &entry.encoded {
                name.raw(encoded);
                continue;
            }
            entry.value.render(values, text);
            if let Err(fault) = entry.check(text) {
                problem = Some((entry.name(), fault));
            }
            entry.encode(text, name);
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

/// `GeneralNames ::= SEQUENCE SIZE (1..MAX) OF GeneralName`, RFC 5280 §4.2.1.6: the profile's own, then those of
/// the request that the profile lets in. Behind the value, if there is one, those of the request alone.
fn encode_alt_names(
    request: &VerifiedRequest<'_>,
    profile: &Profile,
    values: &FieldValues<'_>,
    text: &mut String,
) -> Result<(Option<Vec<u8>>, Vec<u8>), Rejection> {
    if profile.alt_names.is_empty() && !profile.requested.copies_names() {
        return Ok((None, Vec::new()));
    }
    let mut names = Vec::with_capacity(96);
    for name in &profile.alt_names {
        if let Some(encoded) = &name.encoded {
            names.extend_from_slice(encoded);
            continue;
        }
        name.value.render(values, text);
        name.check(text).map_err(|problem| Rejection::FieldValue {
            target: format!("subject alternative name {}", name.form.label()),
            problem,
        })?;
        name.form.encode(text, &mut Writer::new(&mut names));
    }
    let requested = &request.extensions;
    let copied = profile.requested.copy_names(requested, &mut names)?;
    if names.is_empty() {
        return Ok((None, copied));
    }
    let mut value = Vec::with_capacity(names.len() + 4);
    Writer::new(&mut value).nested(tag::SEQUENCE, |list| list.raw(&names));
    Ok((Some(value), copied))
}

fn render_identity(
    profile: &Profile,
    values: &FieldValues<'_>,
    text: &mut String,
) -> Result<Option<String>, Rejection> {
    let Some(template) = &profile.identity else {
        return Ok(None);
    };
    template.render(values, text);
    let problem = if text.is_empty() {
        "the value is empty"
    } else if text.len() > IDENTITY_BYTES_MAX {
        "the value is too long"
    } else if holds_control(text) {
        "the value holds a control character"
    } else {
        check_identity(text)?;
        return Ok(Some(text.clone()));
    };
    Err(Rejection::FieldValue {
        target: "identity".to_owned(),
        problem,
    })
}

/// One way to write an identity: what a name's comparison would fold (spaces) or could not tell apart by eye
/// (other scripts) must not make two devices of one. Case is folded by the claims.
fn check_identity(identity: &str) -> Result<(), Rejection> {
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

/// A request's identity. The serial gets that of the same request with the number brought where it was handed out, or
/// the other way round: a device that asks again is the same, whatever number is proposed to it this time.
fn request_ids(
    serial: &mut SerialOffer,
    profile: &Profile,
    values: &mut FieldValues<'_>,
    id: impl Fn(&FieldValues<'_>) -> [u8; 32],
) -> [u8; 32] {
    let with_number = id(values);
    let mut fields = values.iter_mut().enumerate();
    let Some((_, value)) = fields.find(|(number, _)| profile.fields.is_serial(*number)) else {
        return with_number;
    };
    *value = Cow::Borrowed("");
    let without = id(values);
    match serial {
        SerialOffer::None => {
            *serial = SerialOffer::Brought(Box::new(without));
            with_number
        }
        SerialOffer::Own(own) => {
            own.brought_id = with_number;
            without
        }
        _ => without,
    }
}

/// Request identity: SHA-256 over version, issuer key identifier, profile name, key fingerprint and the
/// values that the profile takes, in the order of their names, each text behind its length. Not over the request's bytes: a device that
/// asks again signs afresh. In version 2 the word `generated` stands in the place of the key fingerprint: the
/// engine made the key, and a device that asks again means that one. Where the certificate takes names over from the
/// request, these follow behind a word of their own: with other names the request is another.
pub(crate) fn request_id(
    version: u8,
    issuer: &Issuer,
    profile: &Profile,
    key: &[u8],
    values: &FieldValues<'_>,
    copied_names: &[u8],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut text = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    text(&[version]);
    text(issuer.key_identifier());
    text(profile.name().as_bytes());
    text(key);
    for (name, number) in profile.fields.by_name() {
        text(name.as_bytes());
        text(values[*number].as_bytes());
    }
    if !copied_names.is_empty() {
        text(COPIED_NAMES);
        text(copied_names);
    }
    hash.finish()
}
