//! The log's key spaces: what a record claims for ever, what a request asks for, and serial numbers.

use birthmark_log::{ExtractError, IndexKey, KeyExtractor, RecordKeys, SECOND_SLOT};

use crate::audit::certificate_serial;
use crate::key::sha256;
use crate::profile::Profile;
use crate::record::{IssuedRecord, KIND_OFFICER, Record};
use crate::validate::ValidatedRequest;

/// The log's key space of public-key fingerprints.
pub(crate) const KEY_SPACE: usize = 0;
/// The log's key space of device identities.
pub(crate) const IDENTITY_SPACE: usize = 1;
/// The log's key space of serial numbers. Nothing on the way of a certificate asks for it.
pub(crate) const SERIAL_SPACE: usize = 2;

/// The slot of a record's place in its lot, which is in the key space of device identities.
pub(crate) const LOT_SLOT: usize = SECOND_SLOT;

/// [`KIND_OFFICER`] as records that are not decoded carry it.
const KIND_OFFICER_ACT: u64 = KIND_OFFICER as u64;

/// Which keys [`record_keys`] finds: 1 has the serial number and the place in a lot besides key and identity. It is raised with
/// every change of what is found or of how it is derived; the test `the_version_of_the_keys_is_raised_when_they_change` notices.
const KEYS_VERSION: u32 = 1;

/// [`record_keys`] with its version, as the log takes it.
#[derive(Debug, Clone, Copy)]
pub struct RecordKeyExtractor;

impl KeyExtractor for RecordKeyExtractor {
    fn keys(&self, record: &[u8]) -> Result<RecordKeys, ExtractError> {
        record_keys(record)
    }

    fn version(&self) -> u32 {
        KEYS_VERSION
    }
}

/// The index keys of a record. They come from the record alone, domains included: what a device was issued
/// stays claimed whatever becomes of its profile.
///
/// A record that this version cannot read is an error, which stops the start: passing over it would free
/// the key and the identity that it holds.
pub(crate) fn record_keys(record: &[u8]) -> Result<RecordKeys, ExtractError> {
    match Record::decode(record).map_err(ExtractError::new)? {
        Record::Issued(issued) => {
            let mut keys = issued_keys(&issued);
            keys[SERIAL_SPACE] = certificate_serial(issued.certificate).map(serial_index_key);
            Ok(keys)
        }
        Record::Lost(lost) => Ok([None, None, Some(serial_index_key(lost.serial)), None]),
        Record::Activated(_)
        | Record::Other {
            kind: KIND_OFFICER_ACT,
            version: 1,
            ..
        } => Ok(RecordKeys::default()),
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
        None,
        record
            .lot_place()
            .map(|(lot, number)| lot_index_key(&lot_digest(lot), number)),
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
        None,
        request.lot.key(),
    ]
}

/// The index key of a serial number, given as the content octets of its INTEGER. Ours are random, which
/// is all that the index asks of a key; leading zeros do not count.
pub(crate) fn serial_index_key(serial: &[u8]) -> IndexKey {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    let serial = &serial[zeros..];
    let mut key = [0; 32];
    let length = key.len() - 1;
    if serial.len() > length {
        // Longer than any serial number may be (RFC 5280 §4.1.2.2).
        return IndexKey(sha256(serial));
    }
    key[..serial.len()].copy_from_slice(serial);
    key[length] = serial.len() as u8;
    IndexKey(key)
}

/// Fingerprints are SHA-256 already: the domain's digest only sets them apart.
pub(crate) fn key_index_key(domain: &str, fingerprint: &[u8]) -> IndexKey {
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
pub(crate) fn identity_index_key(domain: &str, identity: &str) -> IndexKey {
    let mut text = Vec::with_capacity(domain.len() + 1 + identity.len());
    text.extend_from_slice(domain.as_bytes());
    text.push(0);
    text.extend(identity.bytes().map(|byte| byte.to_ascii_lowercase()));
    IndexKey(sha256(&text))
}

/// What sets the places of one lot apart from those of others.
pub(crate) fn lot_digest(lot: &str) -> [u8; 32] {
    sha256(lot.as_bytes())
}

/// The index key of a place in a lot. No identity has it: what is hashed begins with an octet of 0, where an identity
/// has its domain, which is not empty.
pub(crate) fn lot_index_key(lot_digest: &[u8; 32], number: u64) -> IndexKey {
    let mut place = [0; 1 + 32 + 8];
    place[1..33].copy_from_slice(lot_digest);
    place[33..].copy_from_slice(&number.to_be_bytes());
    IndexKey(sha256(&place))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::hex;
    use crate::record::{
        ActivatedRecord, DATA_IDENTITY_DOMAIN, DATA_KEY_DOMAIN, DATA_LOT_NUMBER, LostRecord,
    };

    /// Serial number 0x00abcd in as little of a certificate as it is found in.
    const CERTIFICATE: [u8; 14] = [
        0x30, 0x0c, 0x30, 0x0a, 0xa0, 3, 2, 1, 2, 2, 3, 0, 0xab, 0xcd,
    ];

    /// All keys of records of every kind, with everything that there are keys of, in and out of domains.
    fn sample() -> Vec<u8> {
        let issued = |identity, data: BTreeMap<&str, &str>| {
            let record = IssuedRecord {
                time_ms: 0,
                issuer: &[1; 20],
                profile: "idevid",
                profile_digest: &[2; 32],
                lot: Some("lot-7"),
                requester: None,
                request_id: &[3; 32],
                key_fingerprint: &[4; 32],
                identity,
                replaces: None,
                data,
                certificate: &CERTIFICATE,
            };
            record.encode()
        };
        let in_domains = [(DATA_KEY_DOMAIN, "keys"), (DATA_IDENTITY_DOMAIN, "devices")];
        let lost = |serial| LostRecord {
            time_ms: 0,
            issuer: &[1; 20],
            serial,
            tbs_digest: &[6; 32],
        };
        let activated = ActivatedRecord {
            time_ms: 0,
            issuer: &[1; 20],
            activation: "operator",
            signer: "software",
        };
        // [3, 1, 0, "x"]: an officer's act, of which only the head is read.
        let act = [0x84, KIND_OFFICER, 1, 0, 0x61, b'x'];
        let records = [
            issued(Some("Sn-1"), BTreeMap::from([(DATA_LOT_NUMBER, "9")])),
            issued(Some("Sn-1"), BTreeMap::from(in_domains)),
            issued(None, BTreeMap::new()),
            lost(&[5; 16]).encode(),
            lost(&[5; 40]).encode(),
            activated.encode(),
            act.to_vec(),
        ];
        let keys = records
            .iter()
            .flat_map(|record| record_keys(record).unwrap());
        let mut all = Vec::new();
        for key in keys {
            all.push(u8::from(key.is_some()));
            all.extend(key.map(|key| key.0).unwrap_or_default());
        }
        all
    }

    #[test]
    fn the_version_of_the_keys_is_raised_when_they_change() {
        // Other keys than these? Raise KEYS_VERSION too: indexes on disks have the old ones.
        assert_eq!(
            (KEYS_VERSION, hex::encode(&sha256(&sample())).as_str()),
            (
                1,
                "bb0ed186fd2f07f5ecac8e9ead6441fb80c682db27fe314bf69e953fcc75bd15"
            )
        );
    }
}
