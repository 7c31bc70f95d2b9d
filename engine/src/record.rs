//! Log records: deterministic CBOR (RFC 8949 §4.2), arrays that start with kind, version and time.
//!
//! ```cddl
//! issued = [1, 1, time_ms, issuer: bstr .size 20, profile: tstr, profile_digest: bstr .size 32,
//!           lot: tstr / nil, requester: tstr / nil, request_id: bstr .size 32,
//!           key_fingerprint: bstr .size 32, identity: tstr / nil, replaces: uint / nil,
//!           data: { * tstr => tstr }, certificate: bstr]
//! lost   = [2, 1, time_ms, issuer: bstr .size 20, serial: bstr, tbs_digest: bstr .size 32]
//! activated = [3, 1, time_ms, "activated", issuer: bstr .size 20, activation: tstr, signer: tstr]
//! ```
//!
//! The log overwrites `time_ms` when it appends, so records are encoded with a placeholder of the same
//! width.

use std::collections::BTreeMap;

use minicbor::{Decoder, Encoder};

/// A certificate that was issued.
pub const KIND_ISSUED: u8 = 1;
/// A reservation that a crash or a fault left without a certificate.
pub const KIND_LOST: u8 = 2;
/// An act of an officer.
pub const KIND_OFFICER: u8 = 3;

const VERSION: u8 = 1;

/// What the engine itself adds to a record's data starts with this; a line's keys must not.
pub const DATA_RESERVED_PREFIX: &str = "birthmark:";
/// Data key of the domain that the key is unique in, where that is not the whole log.
pub(crate) const DATA_KEY_DOMAIN: &str = "birthmark:key-domain";
/// Data key of the domain that the identity is unique in, where that is not the profile's name.
pub(crate) const DATA_IDENTITY_DOMAIN: &str = "birthmark:identity-domain";
/// Data key that says whether the key is known to be inside its TPM. Only profiles of TPM keys have it.
pub(crate) const DATA_RESIDENCY: &str = "birthmark:residency";

/// What the record of an activation says it is.
const ACT_ACTIVATED: &str = "activated";

/// Longest text of an activation's signer in octets.
const SIGNER_BYTES_MAX: usize = 2048;

/// Data key of the permit that allowed the reissue: SHA-256 of the signed note, in hexadecimal.
pub const DATA_PERMIT: &str = "birthmark:permit";

/// Data key that says who made the device's key, where that was the engine: its value is [`KEY_GENERATED`].
pub const DATA_KEY: &str = "birthmark:key";
/// The engine made the key; see [`DATA_KEY`].
pub const KEY_GENERATED: &str = "generated";

/// Data key of the place that the certificate has in its lot, from 0: a decimal number, unique in the lot. Records of
/// lots that nobody declared have none.
pub const DATA_LOT_NUMBER: &str = "birthmark:lot-number";

/// The key domain that all profiles share unless they name one.
pub(crate) const KEY_DOMAIN_WHOLE_LOG: &str = "";

/// Takes nine octets in CBOR, as every time after February 1970 does.
const TIME_PLACEHOLDER: u64 = u64::MAX;

/// Octets of an issued record besides its certificate, its texts and its data: heads, time, issuer,
/// digests, the two domains of 64 octets, a permit's digest, a residency, the word for a generated key and the number
/// in a lot, with their data keys: 510. Rounded up.
const ISSUED_FIXED_BYTES: usize = 544;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'a> {
    /// A certificate that was issued.
    Issued(IssuedRecord<'a>),
    /// A reservation without a certificate.
    Lost(LostRecord<'a>),
    /// A start with a key that somebody or something had to activate.
    Activated(ActivatedRecord<'a>),
    /// A kind that this version does not read. It is kept and shown, never skipped in silence.
    Other {
        /// The record's kind.
        kind: u64,
        /// The kind's version.
        version: u64,
        /// Milliseconds since 1970, if the record has them in the usual place.
        time_ms: Option<u64>,
    },
}

/// What stands in an issued record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedRecord<'a> {
    /// Milliseconds since 1970, set by the log.
    pub time_ms: u64,
    /// The issuer's key identifier.
    pub issuer: &'a [u8],
    /// The profile's name.
    pub profile: &'a str,
    /// SHA-256 of the profile's file.
    pub profile_digest: &'a [u8],
    /// The production order.
    pub lot: Option<&'a str>,
    /// Who asked, where that is known.
    pub requester: Option<&'a str>,
    /// Request identity.
    pub request_id: &'a [u8],
    /// Canonical fingerprint of the device's key.
    pub key_fingerprint: &'a [u8],
    /// Device identity.
    pub identity: Option<&'a str>,
    /// The record that this one takes the place of.
    pub replaces: Option<u64>,
    /// What the line added.
    pub data: BTreeMap<&'a str, &'a str>,
    /// The certificate, DER.
    pub certificate: &'a [u8],
}

/// What stands in a lost record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRecord<'a> {
    /// Milliseconds since 1970, set by the log.
    pub time_ms: u64,
    /// The issuer's key identifier.
    pub issuer: &'a [u8],
    /// The serial number that was reserved.
    pub serial: &'a [u8],
    /// SHA-256 of the TBS that may have been signed.
    pub tbs_digest: &'a [u8],
}

/// What stands in the record of a start whose key is on tokens: kind [`KIND_OFFICER`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivatedRecord<'a> {
    /// Milliseconds since 1970, set by the log.
    pub time_ms: u64,
    /// The issuer's key identifier.
    pub issuer: &'a [u8],
    /// `issuer.activation` as it was stated, such as `operator`.
    pub activation: &'a str,
    /// The signer and its tokens, for people. At most 2048 octets are kept.
    pub signer: &'a str,
}

/// Bytes that are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a log record: {0}")]
pub struct RecordError(String);

impl From<minicbor::decode::Error> for RecordError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(error.to_string())
    }
}

impl IssuedRecord<'_> {
    /// The domain that the key is unique in; empty for the whole log.
    #[must_use]
    pub fn key_domain(&self) -> &str {
        self.data
            .get(DATA_KEY_DOMAIN)
            .copied()
            .unwrap_or(KEY_DOMAIN_WHOLE_LOG)
    }

    /// The domain that the identity is unique in.
    #[must_use]
    pub fn identity_domain(&self) -> &str {
        self.data
            .get(DATA_IDENTITY_DOMAIN)
            .copied()
            .unwrap_or(self.profile)
    }

    /// The place that the certificate takes in a lot that was declared: the lot's name, and a number that no other
    /// record of this lot has.
    #[must_use]
    pub fn lot_place(&self) -> Option<(&str, u64)> {
        let number = self.data.get(DATA_LOT_NUMBER)?.parse().ok()?;
        Some((self.lot?, number))
    }

    /// An upper bound of the encoding's size for a certificate of at most `certificate_bytes`.
    pub(crate) fn bytes_max(
        profile: &str,
        lot: Option<&str>,
        requester: Option<&str>,
        identity: Option<&str>,
        data: &BTreeMap<String, String>,
        certificate_bytes: usize,
    ) -> usize {
        // Each head of a data entry's key and value has at most three octets.
        let data: usize = data
            .iter()
            .map(|(key, value)| key.len() + value.len() + 6)
            .sum();
        ISSUED_FIXED_BYTES
            + profile.len()
            + lot.map_or(0, str::len)
            + requester.map_or(0, str::len)
            + identity.map_or(0, str::len)
            + data
            + certificate_bytes
    }

    /// The record's encoding. `time_ms` is left to the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ISSUED_FIXED_BYTES + self.certificate.len() + 64);
        let encoded = self.encode_to(&mut Encoder::new(&mut bytes));
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        bytes
    }

    fn encode_to(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        e.array(14)?
            .u8(KIND_ISSUED)?
            .u8(VERSION)?
            .u64(TIME_PLACEHOLDER)?;
        e.bytes(self.issuer)?
            .str(self.profile)?
            .bytes(self.profile_digest)?;
        e.encode(self.lot)?.encode(self.requester)?;
        e.bytes(self.request_id)?.bytes(self.key_fingerprint)?;
        e.encode(self.identity)?.encode(self.replaces)?;
        // RFC 8949 §4.2.1: keys in the order of their encodings, which puts shorter ones first.
        let mut data: Vec<(&str, &str)> = self.data.iter().map(|(k, v)| (*k, *v)).collect();
        data.sort_by_key(|(key, _)| (key.len(), *key));
        e.map(data.len() as u64)?;
        for (key, value) in data {
            e.str(key)?.str(value)?;
        }
        e.bytes(self.certificate)?;
        Ok(())
    }
}

impl LostRecord<'_> {
    /// The record's encoding. `time_ms` is left to the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        let mut e = Encoder::new(&mut bytes);
        let encoded = e
            .array(6)
            .and_then(|e| e.u8(KIND_LOST)?.u8(VERSION)?.u64(TIME_PLACEHOLDER))
            .and_then(|e| {
                e.bytes(self.issuer)?
                    .bytes(self.serial)?
                    .bytes(self.tbs_digest)
            });
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        bytes
    }
}

impl ActivatedRecord<'_> {
    /// The record's encoding. `time_ms` is left to the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut end = self.signer.len().min(SIGNER_BYTES_MAX);
        while !self.signer.is_char_boundary(end) {
            end -= 1;
        }
        let signer = &self.signer[..end];
        let mut bytes = Vec::with_capacity(96 + signer.len());
        let mut e = Encoder::new(&mut bytes);
        let encoded = e
            .array(7)
            .and_then(|e| e.u8(KIND_OFFICER)?.u8(VERSION)?.u64(TIME_PLACEHOLDER))
            .and_then(|e| e.str(ACT_ACTIVATED)?.bytes(self.issuer))
            .and_then(|e| e.str(self.activation)?.str(signer));
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        bytes
    }
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// Bytes that are not a record, or a known kind with other content.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut d = Decoder::new(bytes);
        let length = d
            .array()?
            .ok_or_else(|| RecordError("an indefinite array".to_owned()))?;
        let kind = d.u64()?;
        let version = d.u64()?;
        let known = version == u64::from(VERSION);
        let record = match (u8::try_from(kind), length) {
            (Ok(KIND_ISSUED), 14) if known => Self::Issued(IssuedRecord::decode(&mut d)?),
            (Ok(KIND_LOST), 6) if known => Self::Lost(LostRecord {
                time_ms: d.u64()?,
                issuer: d.bytes()?,
                serial: d.bytes()?,
                tbs_digest: d.bytes()?,
            }),
            (Ok(KIND_OFFICER), 7) if known => match ActivatedRecord::decode(&mut d)? {
                Ok(activated) => Self::Activated(activated),
                Err(time_ms) => {
                    return Ok(Self::Other {
                        kind,
                        version,
                        time_ms: Some(time_ms),
                    });
                }
            },
            (Ok(KIND_ISSUED | KIND_LOST), _) if known => {
                return Err(RecordError(format!("kind {kind} with {length} fields")));
            }
            _ => {
                let time_ms = d.u64().ok();
                return Ok(Self::Other {
                    kind,
                    version,
                    time_ms,
                });
            }
        };
        if d.position() == bytes.len() {
            Ok(record)
        } else {
            Err(RecordError("octets after its end".to_owned()))
        }
    }
}

impl<'a> ActivatedRecord<'a> {
    /// The record, or the time of an act of another kind.
    fn decode(d: &mut Decoder<'a>) -> Result<Result<Self, u64>, minicbor::decode::Error> {
        let time_ms = d.u64()?;
        if d.str()? != ACT_ACTIVATED {
            return Ok(Err(time_ms));
        }
        Ok(Ok(Self {
            time_ms,
            issuer: d.bytes()?,
            activation: d.str()?,
            signer: d.str()?,
        }))
    }
}

impl<'a> IssuedRecord<'a> {
    fn decode(d: &mut Decoder<'a>) -> Result<Self, RecordError> {
        let record = Self {
            time_ms: d.u64()?,
            issuer: d.bytes()?,
            profile: d.str()?,
            profile_digest: d.bytes()?,
            lot: d.decode()?,
            requester: d.decode()?,
            request_id: d.bytes()?,
            key_fingerprint: d.bytes()?,
            identity: d.decode()?,
            replaces: d.decode()?,
            data: decode_data(d)?,
            certificate: d.bytes()?,
        };
        if record.issuer.len() == 20
            && record.request_id.len() == 32
            && record.key_fingerprint.len() == 32
            && record.profile_digest.len() == 32
        {
            Ok(record)
        } else {
            Err(RecordError("a digest of the wrong size".to_owned()))
        }
    }
}

fn decode_data<'a>(d: &mut Decoder<'a>) -> Result<BTreeMap<&'a str, &'a str>, RecordError> {
    let entries = d
        .map()?
        .ok_or_else(|| RecordError("an indefinite map".to_owned()))?;
    let mut data = BTreeMap::new();
    for _ in 0..entries {
        data.insert(d.str()?, d.str()?);
    }
    Ok(data)
}

#[cfg(test)]
mod tests;
