//! `birthmark log export`: the records of a log as CSV, NDJSON or PEM, in the order of the log.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use birthmark_engine::record::Record;
use birthmark_log::{LogReader, RecordIndex};
use indicatif::ProgressBar;

use super::csv::push_line;
use super::file::Output;
use super::json::RecordJson;
use super::log_directory;
use super::time::rfc3339;
use super::view::{kind, pem, record_serial, time_ms};
use crate::command::{CommandError, Exit};
use crate::console::Console;
use crate::hex;

/// Records between two movements of the progress bar.
const PROGRESS_EVERY: u64 = 1_024;

/// The columns of the CSV.
const COLUMNS: [&str; 14] = [
    "index",
    "time",
    "kind",
    "serial",
    "profile",
    "lot",
    "requester",
    "identity",
    "issuer",
    "key_fingerprint",
    "request_id",
    "replaces",
    "data",
    "certificate_sha256",
];

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// RFC 4180 with a header, one line for each record.
    Csv,
    /// One JSON object for each record, as `log show --json` writes them.
    Ndjson,
    /// The certificates alone.
    Pem,
}

/// What `log export` writes.
#[derive(Clone, Debug)]
pub struct ExportPlan {
    /// The log's directory.
    pub dir: PathBuf,
    /// How.
    pub format: ExportFormat,
    /// Only certificates of this profile.
    pub profile: Option<String>,
    /// Only certificates of this lot.
    pub lot: Option<String>,
    /// Only records from then on, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Where to; `None`: standard output.
    pub out: Option<PathBuf>,
}

/// `birthmark log export`.
///
/// # Errors
///
/// There is no log, it is damaged, or the output cannot be written.
pub fn export(plan: &ExportPlan, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let dir = log_directory(&plan.dir);
    let reader = LogReader::open(&dir)?;
    let first = match plan.since_ms {
        None => 0,
        Some(since_ms) => first_since(&reader, since_ms)?,
    };
    let bar = if plan.out.is_none() && console.out_is_terminal {
        ProgressBar::hidden()
    } else {
        console.bar("exporting", "records", Some(reader.len() - first))
    };
    let mut out = Output::open(plan.out.as_deref(), console)?;
    let mut text = String::new();
    if plan.format == ExportFormat::Csv {
        push_line(&mut text, COLUMNS);
    }
    for entry in reader.iter_from(RecordIndex(first)) {
        let (index, bytes) = entry?;
        let record = decode(index, &bytes)?;
        if plan.wants(&record) {
            plan.format.push(&mut text, index, &record, &bytes)?;
            out.write(text.as_bytes())?;
            text.clear();
        }
        if index.0.is_multiple_of(PROGRESS_EVERY) {
            bar.set_position(index.0 - first);
        }
    }
    // The header of a log without records.
    out.write(text.as_bytes())?;
    out.finish()?;
    bar.finish_and_clear();
    Ok(Exit::Done)
}

impl ExportPlan {
    /// A record that is not of a certificate has no profile and no lot.
    fn wants(&self, record: &Record<'_>) -> bool {
        match record {
            Record::Issued(issued) => {
                self.profile
                    .as_deref()
                    .is_none_or(|profile| issued.profile == profile)
                    && self
                        .lot
                        .as_deref()
                        .is_none_or(|lot| issued.lot == Some(lot))
            }
            _ => self.profile.is_none() && self.lot.is_none(),
        }
    }
}

impl ExportFormat {
    fn push(
        self,
        text: &mut String,
        index: RecordIndex,
        record: &Record<'_>,
        bytes: &[u8],
    ) -> Result<(), CommandError> {
        match self {
            ExportFormat::Csv => push_csv(text, index, record),
            ExportFormat::Ndjson => {
                let json = serde_json::to_string(&RecordJson::new(index.0, record, bytes));
                text.push_str(&json.map_err(|error| CommandError::output(error.into()))?);
                text.push('\n');
            }
            ExportFormat::Pem => {
                if let Record::Issued(issued) = record {
                    text.push_str(&pem(issued.certificate));
                }
            }
        }
        Ok(())
    }
}

fn push_csv(text: &mut String, index: RecordIndex, record: &Record<'_>) {
    let index = index.to_string();
    let time = time_ms(record).map(rfc3339).unwrap_or_default();
    let serial = record_serial(record).map(hex::encode).unwrap_or_default();
    let known = [index.as_str(), &time, kind(record), &serial];
    match record {
        Record::Issued(issued) => {
            let replaces = issued.replaces.map(|index| index.to_string());
            let data = match issued.data.is_empty() {
                true => String::new(),
                false => serde_json::to_string(&issued.data).unwrap_or_default(),
            };
            let certificate = digest(&SHA256, issued.certificate);
            let rest = [
                issued.profile,
                issued.lot.unwrap_or_default(),
                issued.requester.unwrap_or_default(),
                issued.identity.unwrap_or_default(),
                &hex::encode(issued.issuer),
                &hex::encode(issued.key_fingerprint),
                &hex::encode(issued.request_id),
                replaces.as_deref().unwrap_or_default(),
                &data,
                &hex::encode(certificate.as_ref()),
            ];
            push_line(text, known.into_iter().chain(rest));
        }
        _ => {
            let issuer = match record {
                Record::Lost(lost) => hex::encode(lost.issuer),
                _ => String::new(),
            };
            let rest = ["", "", "", "", &issuer, "", "", "", "", ""];
            push_line(text, known.into_iter().chain(rest));
        }
    }
}

/// The first record from this time on. Times in a log never go back, so it is found by halving.
fn first_since(reader: &LogReader, since_ms: u64) -> Result<u64, CommandError> {
    let (mut low, mut high) = (0, reader.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let index = RecordIndex(middle);
        let bytes = reader.read(index)?;
        if time_ms(&decode(index, &bytes)?).unwrap_or(0) < since_ms {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn decode(index: RecordIndex, bytes: &[u8]) -> Result<Record<'_>, CommandError> {
    Record::decode(bytes).map_err(|source| CommandError::Record {
        index: index.0,
        source,
    })
}
