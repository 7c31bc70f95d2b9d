//! Records and reports as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use birthmark_engine::record::Record;
use birthmark_log::VerifyReport;
use serde::Serialize;

use super::time::rfc3339;
use super::verify::uncompared_index;
use super::view::{kind, pem, record_serial, time_ms};
use crate::console::Console;
use crate::hex;

/// One line of JSON on standard output.
pub(super) fn write_json(console: &mut Console<'_>, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *console.out, value)?;
    console.out.write_all(b"\n")
}

/// A record as JSON: the names of the record format's CDDL, byte strings in hexadecimal, the
/// certificate as PEM, and its serial number beside it.
#[derive(Serialize)]
pub(super) struct RecordJson<'a> {
    index: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind_number: Option<u64>,
    time: Option<String>,
    time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(flatten)]
    issued: Option<IssuedJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tbs_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<&'a str>,
    /// The bytes of a record that this version does not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

#[derive(Serialize)]
struct IssuedJson<'a> {
    profile: &'a str,
    profile_digest: String,
    lot: Option<&'a str>,
    requester: Option<&'a str>,
    request_id: String,
    key_fingerprint: String,
    identity: Option<&'a str>,
    replaces: Option<u64>,
    data: &'a BTreeMap<&'a str, &'a str>,
    certificate: String,
}

impl<'a> RecordJson<'a> {
    pub(super) fn new(index: u64, record: &'a Record<'_>, bytes: &[u8]) -> RecordJson<'a> {
        let time_ms = time_ms(record);
        let mut json = RecordJson {
            index,
            kind: kind(record),
            kind_number: None,
            time: time_ms.map(rfc3339),
            time_ms,
            serial: record_serial(record).map(hex::encode),
            issuer: None,
            issued: None,
            tbs_digest: None,
            activation: None,
            signer: None,
            record: None,
        };
        match record {
            Record::Issued(issued) => {
                json.issuer = Some(hex::encode(issued.issuer));
                json.issued = Some(IssuedJson {
                    profile: issued.profile,
                    profile_digest: hex::encode(issued.profile_digest),
                    lot: issued.lot,
                    requester: issued.requester,
                    request_id: hex::encode(issued.request_id),
                    key_fingerprint: hex::encode(issued.key_fingerprint),
                    identity: issued.identity,
                    replaces: issued.replaces,
                    data: &issued.data,
                    certificate: pem(issued.certificate),
                });
            }
            Record::Lost(lost) => {
                json.issuer = Some(hex::encode(lost.issuer));
                json.tbs_digest = Some(hex::encode(lost.tbs_digest));
            }
            Record::Activated(activated) => {
                json.issuer = Some(hex::encode(activated.issuer));
                json.activation = Some(activated.activation);
                json.signer = Some(activated.signer);
            }
            Record::Other { kind, .. } => {
                json.kind_number = Some(*kind);
                json.record = Some(hex::encode(bytes));
            }
            _ => json.record = Some(hex::encode(bytes)),
        }
        json
    }
}

/// The verification report as JSON.
#[derive(Serialize)]
pub(super) struct Verified<'a> {
    log: PathBuf,
    intact: bool,
    records: u64,
    /// Records in an archive that is not mounted: only their hashes were checked.
    records_not_seen: u64,
    /// Whether the index was held against the records. Not when some were not seen, or when it has keys of another version.
    index_compared: bool,
    reservations: u64,
    reservations_open: u64,
    segments: u64,
    segment_bytes: u64,
    published: Option<u64>,
    root: Option<String>,
    origin: Option<String>,
    vkey: Option<String>,
    last_time: Option<String>,
    last_time_ms: u64,
    clean: bool,
    torn_tail: Option<TornTailJson>,
    /// Whether every certificate was verified, too, and with which issuers' keys.
    signatures: bool,
    issuers: &'a [String],
}

#[derive(Serialize)]
struct TornTailJson {
    file: PathBuf,
    offset: u64,
    bytes: u64,
}

impl<'a> Verified<'a> {
    pub(super) fn new(
        dir: &Path,
        report: &VerifyReport,
        signatures: bool,
        issuers: &'a [String],
    ) -> Verified<'a> {
        let torn_tail = report.torn_tail.as_ref().map(|tail| TornTailJson {
            file: tail.file.clone(),
            offset: tail.offset,
            bytes: tail.bytes,
        });
        let checkpoint = report.checkpoint.as_ref();
        Verified {
            log: dir.to_owned(),
            intact: true,
            records: report.records,
            records_not_seen: report.archived_unseen,
            index_compared: uncompared_index(report).is_none(),
            reservations: report.reservations,
            reservations_open: report.reservations_open,
            segments: report.segments,
            segment_bytes: report.segment_bytes,
            published: checkpoint.map(|checkpoint| checkpoint.size),
            root: checkpoint.map(|checkpoint| checkpoint.root.to_string()),
            origin: checkpoint.map(|checkpoint| checkpoint.origin.clone()),
            vkey: report.vkey.clone(),
            last_time: (report.last_time_ms > 0).then(|| rfc3339(report.last_time_ms)),
            last_time_ms: report.last_time_ms,
            clean: report.clean,
            torn_tail,
            signatures,
            issuers,
        }
    }
}
