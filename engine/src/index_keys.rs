//! The log's two key spaces: what a record claims for ever, and what a request asks for.

use birthmark_log::{ExtractError, IndexKey, RecordKeys};

use crate::key::sha256;
use crate::profile::Profile;
use crate::record::{IssuedRecord, KIND_OFFICER, Record};
use crate::validate::ValidatedRequest;

/// The log's key space of public-key fingerprints.
pub(crate) const KEY_SPACE: usize = 0;
/// The log's key space of device identities.
pub(crate) const IDENTITY_SPACE: usize = 1;

/// [`KIND_OFFICER`] as records that are not decoded carry it.
const KIND_OFFICER_ACT: u64 = KIND_OFFICER as u64;

/// The index keys of a record. They come from the record alone, domains included: what a device was issued
/// stays claimed whatever becomes of its profile.
///
/// A record that this version cannot read is an error, which stops the start: passing over it would free
/// the key and the identity that it holds.
pub(crate) fn record_keys(record: &[u8]) -> Result<RecordKeys, ExtractError> {
    match Record::decode(record).map_err(ExtractError::new)? {
        Record::Issued(issued) => Ok(issued_keys(&issued)),
        Record::Lost(_)
        | Record::Other {
            kind: KIND_OFFICER_ACT,
            version: 1,
            ..
        } => Ok([None, None]),
        Record::Other { kind, version, .. } => Err(ExtractError::new(format!(
            "kind {kind} version {version} is of a later release: use that release"
        ))),
    }
}

/// The index keys of an issued record.
pub(crate) fn issued_keys(record: &IssuedRecord<'_>) -> RecordKeys {
    let identity_domain = record.identity_domain();
    [
        Some(key_index_key(record.key_domain(), record.key_fingerprint)),
        record
            .identity
            .map(|identity| identity_index_key(identity_domain, identity)),
    ]
}

/// The index keys that a request asks for.
pub(crate) fn request_keys(request: &ValidatedRequest<'_>, profile: &Profile) -> RecordKeys {
    let identity_domain = profile.identity_domain();
    [
        Some(key_index_key(
            profile.key_domain(),
            &request.key_fingerprint,
        )),
        request
            .identity
            .as_deref()
            .map(|identity| identity_index_key(identity_domain, identity)),
    ]
}

/// Fingerprints are SHA-256 already: the domain's digest only sets them apart.
fn key_index_key(domain: &str, fingerprint: &[u8]) -> IndexKey {
    let mut key = if domain.is_empty() {
        [0; 32]
    } else {
        sha256(domain.as_bytes())
    };
    key.iter_mut()
        .zip(fingerprint)
        .for_each(|(byte, other)| *byte ^= other);
    IndexKey(key)
}

/// Identities are equal without regard to case: names are (caseIgnoreMatch, RFC 5280 §7.1), and a device
/// must not be had twice by writing it in capitals. Spaces that the match would fold are refused before.
fn identity_index_key(domain: &str, identity: &str) -> IndexKey {
    let mut text = Vec::with_capacity(domain.len() + 1 + identity.len());
    text.extend_from_slice(domain.as_bytes());
    text.push(0);
    text.extend(identity.bytes().map(|byte| byte.to_ascii_lowercase()));
    IndexKey(sha256(&text))
}
