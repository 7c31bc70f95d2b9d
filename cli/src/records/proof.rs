//! `birthmark log proof` and `birthmark log verify-proof`: receipts (c2sp.org/tlog-proof).
//!
//! An issued record ends with the certificate. The receipt's extra data is all that stands before
//! it, so that whoever holds receipt and certificate has the whole record: record = extra ‖ DER.

use std::path::{Path, PathBuf};

use birthmark_engine::certificate_serial;
use birthmark_engine::record::{IssuedRecord, Record};
use birthmark_log::tlog::{
    Checkpoint, Hash, RECEIPT_BYTES_MAX, Receipt, ReceiptError, VerifierKey, leaf_hash,
    verify_inclusion,
};
use birthmark_log::{LogReader, RecordIndex, VerifyError};
use serde::Serialize;

use super::checkpoint::{Signed, signed};
use super::file::{Output, read, read_certificate, read_vkey};
use super::find::with_serial;
use super::json::write_json;
use super::time::rfc3339;
use super::view::record_serial;
use super::{RecordsError, log_directory};
use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};
use crate::hex;

/// Which record `log proof` proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofSubject {
    /// The record with this index.
    Index(u64),
    /// The record with this serial number, given without leading zeros.
    Serial(Vec<u8>),
    /// The record of the certificate in this file, PEM or DER.
    Certificate(PathBuf),
}

/// What `log proof` makes.
#[derive(Clone, Debug)]
pub struct ProofPlan {
    /// The log's directory.
    pub dir: PathBuf,
    /// Of which record.
    pub subject: ProofSubject,
    /// Where the receipt goes; `None`: standard output.
    pub out: Option<PathBuf>,
    /// Without the record's other fields.
    pub bare: bool,
    /// The verifier key that the checkpoint must be signed with, or a file with it; `None`: the
    /// key that is kept beside the log.
    pub vkey: Option<String>,
}

/// `birthmark log proof`: a receipt, verified before it is written.
///
/// # Errors
///
/// There is no log or no such record, it is not published yet, or the log is damaged.
pub fn prove(plan: &ProofPlan, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let dir = log_directory(&plan.dir);
    let vkey = plan.vkey.as_deref().map(read_vkey).transpose()?;
    let reader = LogReader::open(&dir)?;
    let Some(index) = find(&reader, &plan.subject)? else {
        let len = grouped(reader.len());
        let dir = dir.display();
        let what = match &plan.subject {
            ProofSubject::Index(index) => {
                format!("there is no record {index}; {dir} holds {len}, counted from 0")
            }
            ProofSubject::Serial(serial) => {
                let serial = hex::encode(serial);
                format!("no record of {dir} has serial number {serial}")
            }
            ProofSubject::Certificate(path) => {
                format!(
                    "no record of {dir} has the certificate in {}",
                    path.display()
                )
            }
        };
        console.note(format_args!("{what}"));
        return Ok(Exit::Rejected);
    };
    let content = match reader.read(index) {
        // The tree has its hash, and a bare receipt needs no more.
        Err(VerifyError::Archived { .. }) if plan.bare => Content {
            hash: reader.leaf_hash(index)?,
            extra: None,
        },
        record => Content::of(&record?, plan.bare),
    };
    let signed = match signed(&reader, &dir, vkey.as_ref()) {
        Err(CommandError::Records(RecordsError::NothingPublished { .. })) => {
            let published = 0;
            return Err(RecordsError::NotPublishedYet { index, published }.into());
        }
        signed => signed?,
    };
    let receipt = receipt(&reader, signed, index, content)?;
    let mut out = Output::open(plan.out.as_deref(), console)?;
    out.write(receipt.encode().as_bytes())?;
    out.finish()?;
    Ok(Exit::Done)
}

fn find(reader: &LogReader, subject: &ProofSubject) -> Result<Option<RecordIndex>, CommandError> {
    match subject {
        ProofSubject::Index(index) => Ok((*index < reader.len()).then_some(RecordIndex(*index))),
        ProofSubject::Serial(serial) => match with_serial(reader, serial)?.as_slice() {
            [] => Ok(None),
            [index] => Ok(Some(*index)),
            several => {
                let indexes: Vec<_> = several.iter().map(ToString::to_string).collect();
                let indexes = indexes.join(", ");
                Err(RecordsError::Several { indexes }.into())
            }
        },
        ProofSubject::Certificate(path) => {
            let certificate = read_certificate(path)?;
            let serial = certificate_serial(&certificate).unwrap_or_default();
            for index in with_serial(reader, serial)? {
                let record = reader.read(index)?;
                if issued(&record).is_some_and(|issued| issued.certificate == certificate) {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        }
    }
}

fn issued(record: &[u8]) -> Option<IssuedRecord<'_>> {
    match Record::decode(record) {
        Ok(Record::Issued(issued)) => Some(issued),
        _ => None,
    }
}

/// What a receipt says of its record.
struct Content {
    hash: Hash,
    /// The record's other fields, unless they are left out.
    extra: Option<Vec<u8>>,
}

impl Content {
    fn of(record: &[u8], bare: bool) -> Content {
        let certificate = issued(record).map_or(0, |issued| issued.certificate.len());
        let extra = record.len() - certificate;
        Content {
            hash: leaf_hash(record),
            extra: (!bare).then(|| record[..extra].to_vec()),
        }
    }
}

/// The receipt for a record against this checkpoint.
fn receipt(
    reader: &LogReader,
    signed: Signed,
    index: RecordIndex,
    content: Content,
) -> Result<Receipt, CommandError> {
    let Signed { text, checkpoint } = signed;
    if index.0 >= checkpoint.size {
        let published = checkpoint.size;
        return Err(RecordsError::NotPublishedYet { index, published }.into());
    }
    let receipt = Receipt {
        extra: content.extra,
        index: index.0,
        proof: reader
            .inclusion_proof(index, checkpoint.size)
            .map_err(RecordsError::Proof)?,
        checkpoint: text,
    };
    // The tiles are believed only as far as they lead to the signed root.
    verify_inclusion(
        content.hash,
        index.0,
        checkpoint.size,
        &receipt.proof,
        checkpoint.root,
    )
    .map_err(|source| RecordsError::Unproven { source })?;
    Ok(receipt)
}

/// What a receipt proves, as JSON.
#[derive(Serialize)]
struct ProvenJson<'a> {
    proven: bool,
    index: u64,
    origin: &'a str,
    size: u64,
    root: String,
    time: String,
    time_ms: u64,
    profile: &'a str,
    serial: Option<String>,
    identity: Option<&'a str>,
    lot: Option<&'a str>,
    requester: Option<&'a str>,
    vkey: String,
}

/// `birthmark log verify-proof`: whether the log with this key holds the certificate, without the
/// log. `vkey` is a verifier key or a file with one.
///
/// # Errors
///
/// A file cannot be read, or the receipt does not prove it.
pub fn verify_proof(
    receipt: &Path,
    certificate: &Path,
    vkey: &str,
    json: bool,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let key = read_vkey(vkey)?;
    let certificate = read_certificate(certificate)?;
    let receipt = read(receipt, RECEIPT_BYTES_MAX as u64)?;
    let receipt = Receipt::parse(&receipt).map_err(RecordsError::NotProven)?;
    let mut record = receipt.extra.clone().ok_or(RecordsError::Bare)?;
    record.extend_from_slice(&certificate);
    let (issued, checkpoint) = proven(&receipt, &record, &certificate, &key)?;
    let written = if json {
        write_json(
            console,
            &ProvenJson {
                proven: true,
                index: receipt.index,
                origin: &checkpoint.origin,
                size: checkpoint.size,
                root: checkpoint.root.to_string(),
                time: rfc3339(issued.time_ms),
                time_ms: issued.time_ms,
                profile: issued.profile,
                serial: serial(&issued),
                identity: issued.identity,
                lot: issued.lot,
                requester: issued.requester,
                vkey: key.to_string(),
            },
        )
    } else {
        write!(
            console.out,
            "{}",
            proven_text(receipt.index, &checkpoint, &issued, &key)
        )
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// Whether the log has `record`, and the record is of exactly this certificate. The checkpoint's
/// signature comes first: of a receipt that the log did not sign nothing else is worth saying.
fn proven<'a>(
    receipt: &Receipt,
    record: &'a [u8],
    certificate: &[u8],
    key: &VerifierKey,
) -> Result<(IssuedRecord<'a>, Checkpoint), RecordsError> {
    Checkpoint::from_note(receipt.checkpoint.as_bytes(), key)
        .map_err(|error| RecordsError::NotProven(ReceiptError::Checkpoint(error)))?;
    let issued = issued(record).filter(|issued| issued.certificate == certificate);
    let issued = issued.ok_or(RecordsError::OtherCertificate)?;
    let checkpoint = receipt.verify(record, key)?;
    Ok((issued, checkpoint))
}

fn serial(issued: &IssuedRecord<'_>) -> Option<String> {
    record_serial(&Record::Issued(issued.clone())).map(hex::encode)
}

fn proven_text(
    index: u64,
    checkpoint: &Checkpoint,
    issued: &IssuedRecord<'_>,
    key: &VerifierKey,
) -> String {
    let mut text = "proven: this certificate is in the log\n".to_owned();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<10}{}\n", value.escape_debug()));
    };
    line("origin", &checkpoint.origin);
    let of = format!("{} of {}", grouped(index), grouped(checkpoint.size));
    line("record", &of);
    line("time", &rfc3339(issued.time_ms));
    line("profile", issued.profile);
    let serial = serial(issued);
    let named = [
        ("serial", serial.as_deref()),
        ("identity", issued.identity),
        ("lot", issued.lot),
        ("requester", issued.requester),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            line(name, value);
        }
    }
    line("signed by", &key.to_string());
    text
}
