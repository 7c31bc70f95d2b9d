//! `birthmark log`: verifies a log and shows its records.

mod json;

use std::path::{Path, PathBuf};
use std::time::Duration;

use birthmark_engine::record::{IssuedRecord, Record};
use birthmark_log::{
    ExtractError, KEY_SPACES, LogReader, Progress, RecordIndex, Verification, VerifyReport,
};
use der::DateTime;
use serde::Serialize;

use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};
use crate::{hex, text};

use json::{RecordJson, Verified};

/// Which records `log show` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// One record.
    Index(u64),
    /// All records of this serial number, given without leading zeros.
    Serial(Vec<u8>),
    /// So many of the newest; 0 means all.
    Newest(u64),
}

/// `birthmark log verify`.
///
/// # Errors
///
/// There is no log, it cannot be read, or it is damaged.
pub fn verify(dir: &Path, json: bool, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let dir = log_directory(dir);
    let report = check(&dir, console)?;
    let written = if json {
        write_json(console, &Verified::new(&dir, &report))
    } else {
        write!(console.out, "{}", human_report(&dir, &report))
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// Checks a whole log with a progress bar: every byte in use, and that every record is one
/// this version can read or knows to be another's.
pub(crate) fn check(dir: &Path, console: &Console<'_>) -> Result<VerifyReport, CommandError> {
    let bar = console.bar("verifying log", "records", Some(0));
    let readable = |record: &[u8]| match Record::decode(record) {
        Ok(_) => Ok([None; KEY_SPACES]),
        Err(error) => Err(ExtractError::new(error)),
    };
    let progress = |progress: Progress| {
        bar.set_length(progress.records_total);
        bar.set_position(progress.records);
    };
    let verification = Verification {
        keys: Some(&readable),
        progress: Some(&progress),
        ..Verification::default()
    };
    let verified = birthmark_log::verify(dir, &verification);
    bar.finish_and_clear();
    Ok(verified?)
}

/// `birthmark log show`.
///
/// # Errors
///
/// There is no log, a record cannot be read, or the output cannot be written.
pub fn show(
    dir: &Path,
    selection: &Selection,
    json: bool,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let dir = log_directory(dir);
    let reader = LogReader::open(&dir)?;
    let shown = match selection {
        Selection::Index(index) if *index >= reader.len() => 0,
        Selection::Index(index) => {
            let record = reader.read(RecordIndex(*index))?;
            write_record(console, *index, &record, json, Detail::Full)?;
            1
        }
        Selection::Serial(serial) => show_serial(&reader, serial, json, console)?,
        Selection::Newest(limit) => {
            show_newest(&dir, &reader, *limit, json, console)?;
            // An empty log is shown, too.
            1
        }
    };
    console.out.flush().map_err(CommandError::output)?;
    if shown > 0 {
        return Ok(Exit::Done);
    }
    match selection {
        Selection::Serial(serial) => {
            let serial = hex::encode(serial);
            console.note(format_args!(
                "no record of {} has serial number {serial}",
                dir.display()
            ));
        }
        _ => console.note(format_args!(
            "there is no such record; {} holds {}, counted from 0",
            dir.display(),
            grouped(reader.len())
        )),
    }
    Ok(Exit::Rejected)
}

fn show_serial(
    reader: &LogReader,
    serial: &[u8],
    json: bool,
    console: &mut Console<'_>,
) -> Result<u64, CommandError> {
    let mut shown = 0;
    for entry in reader.iter() {
        let (index, record) = entry?;
        // A certificate holds its serial number as it is: most records are passed over
        // without reading them.
        let candidate = record
            .windows(serial.len().max(1))
            .any(|window| window == serial);
        if candidate && serial_of(&record).is_some_and(|found| found == serial) {
            write_record(console, index.0, &record, json, Detail::Full)?;
            shown += 1;
        }
    }
    Ok(shown)
}

fn show_newest(
    dir: &Path,
    reader: &LogReader,
    limit: u64,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let records = reader.len();
    let first = if limit == 0 {
        0
    } else {
        records.saturating_sub(limit)
    };
    if !json {
        let dir = dir.display();
        writeln!(console.out, "{dir}: {} records", grouped(records))
            .map_err(CommandError::output)?;
    }
    if first == 0 {
        for entry in reader.iter() {
            let (index, record) = entry?;
            write_record(console, index.0, &record, json, Detail::Line)?;
        }
    } else {
        for index in first..records {
            let record = reader.read(RecordIndex(index))?;
            write_record(console, index, &record, json, Detail::Line)?;
        }
    }
    Ok(())
}

/// `DIR` itself, or `DIR/log` when the CA's directory was given.
pub(crate) fn log_directory(dir: &Path) -> PathBuf {
    let inner = dir.join("log");
    if !dir.join("segments").is_dir() && inner.join("segments").is_dir() {
        return inner;
    }
    dir.to_owned()
}

/// How much of a record people get to see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Line,
    Full,
}

fn write_record(
    console: &mut Console<'_>,
    index: u64,
    bytes: &[u8],
    json: bool,
    detail: Detail,
) -> Result<(), CommandError> {
    let record = Record::decode(bytes).map_err(|source| CommandError::Record { index, source })?;
    let written = if json {
        write_json(console, &RecordJson::new(index, &record, bytes))
    } else if detail == Detail::Line {
        writeln!(console.out, "{}", record_line(index, &record))
    } else {
        write!(console.out, "{}", record_text(index, &record))
    };
    written.map_err(CommandError::output)
}

fn write_json(console: &mut Console<'_>, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *console.out, value)?;
    console.out.write_all(b"\n")
}

fn record_line(index: u64, record: &Record<'_>) -> String {
    let time = time_ms(record).map_or_else(|| "-".to_owned(), time);
    let serial =
        record_serial(record).map_or_else(|| "-".to_owned(), |serial| hex::encode(&serial));
    let rest = match record {
        Record::Issued(issued) => {
            let identity = issued.identity.unwrap_or("-");
            format!("{}  {}", issued.profile, identity.escape_debug())
        }
        Record::Other { kind, .. } => format!("kind {kind}"),
        _ => String::new(),
    };
    format!(
        "{index:>10}  {time}  {:<7} {serial:<40}  {rest}",
        kind(record)
    )
    .trim_end()
    .to_owned()
}

fn record_text(index: u64, record: &Record<'_>) -> String {
    let mut text = record_line(index, record);
    text.push('\n');
    let mut line = |name: &str, value: String| {
        text.push_str(&format!("  {name:<16}{value}\n"));
    };
    match record {
        Record::Issued(issued) => {
            line("issuer key id", hex::encode(issued.issuer));
            line("profile digest", hex::encode(issued.profile_digest));
            line("request id", hex::encode(issued.request_id));
            line("key fingerprint", hex::encode(issued.key_fingerprint));
            let named = [
                ("lot", issued.lot),
                ("requester", issued.requester),
                ("identity", issued.identity),
            ];
            for (name, value) in named {
                if let Some(value) = value {
                    line(name, value.escape_debug().to_string());
                }
            }
            if let Some(replaces) = issued.replaces {
                line("replaces", replaces.to_string());
            }
            for (key, value) in &issued.data {
                line(
                    "data",
                    format!("{}={}", key.escape_debug(), value.escape_debug()),
                );
            }
            text.push_str(&certificate_text(issued));
        }
        Record::Lost(lost) => {
            line("issuer key id", hex::encode(lost.issuer));
            line("tbs digest", hex::encode(lost.tbs_digest));
            line(
                "",
                "a crash or fault ended this reservation without a certificate".to_owned(),
            );
        }
        _ => line(
            "",
            "a kind of record that this version does not read".to_owned(),
        ),
    }
    text
}

fn certificate_text(issued: &IssuedRecord<'_>) -> String {
    let described = text::describe(issued.certificate, "  ")
        .unwrap_or_else(|error| format!("  the certificate cannot be read: {error}\n"));
    format!("{described}{}", pem(issued.certificate))
}

pub(crate) fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap_or_default()
}

fn kind(record: &Record<'_>) -> &'static str {
    match record {
        Record::Issued(_) => "issued",
        Record::Lost(_) => "lost",
        _ => "other",
    }
}

fn time_ms(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Issued(issued) => Some(issued.time_ms),
        Record::Lost(lost) => Some(lost.time_ms),
        Record::Other { time_ms, .. } => *time_ms,
        _ => None,
    }
}

fn serial_of(bytes: &[u8]) -> Option<Vec<u8>> {
    record_serial(&Record::decode(bytes).ok()?)
}

/// Without leading zeros.
fn record_serial(record: &Record<'_>) -> Option<Vec<u8>> {
    match record {
        Record::Issued(issued) => text::serial(issued.certificate),
        Record::Lost(lost) => {
            let zeros = lost.serial.iter().take_while(|byte| **byte == 0).count();
            Some(lost.serial[zeros..].to_vec())
        }
        _ => None,
    }
}

/// RFC 3339 with milliseconds.
pub(crate) fn time(unix_ms: u64) -> String {
    match DateTime::from_unix_duration(Duration::from_secs(unix_ms / 1_000)) {
        Ok(seconds) => {
            let seconds = seconds.to_string();
            format!("{}.{:03}Z", seconds.trim_end_matches('Z'), unix_ms % 1_000)
        }
        Err(_) => format!("{unix_ms} ms"),
    }
}

pub(crate) fn human_report(dir: &Path, report: &VerifyReport) -> String {
    let mut text = format!("{}: intact\n", dir.display());
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<14}{value}\n"));
    line("records", grouped(report.records));
    line(
        "reservations",
        format!(
            "{}, {} of them open",
            grouped(report.reservations),
            grouped(report.reservations_open)
        ),
    );
    line(
        "segments",
        format!(
            "{}, {} bytes",
            grouped(report.segments),
            grouped(report.segment_bytes)
        ),
    );
    match &report.checkpoint {
        Some(checkpoint) => {
            line("published", grouped(checkpoint.size));
            line("root", checkpoint.root.to_string());
            line("origin", checkpoint.origin.clone());
        }
        None => line("published", "nothing yet".to_owned()),
    }
    if let Some(vkey) = &report.vkey {
        line("signed by", vkey.clone());
    }
    if report.last_time_ms > 0 {
        line("last record", time(report.last_time_ms));
    }
    let closed = if report.clean {
        "cleanly"
    } else {
        "not cleanly; the next start recovers it"
    };
    line("closed", closed.to_owned());
    if let Some(tail) = &report.torn_tail {
        line(
            "torn tail",
            format!(
                "{} bytes in {} from byte {} on, never acknowledged; the next start drops them",
                grouped(tail.bytes),
                tail.file.display(),
                tail.offset
            ),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(1_763_769_600_007), "2025-11-22T00:00:00.007Z");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn lost_records_in_both_forms() {
        let record = Record::Lost(birthmark_engine::record::LostRecord {
            time_ms: 1_763_769_600_007,
            issuer: &[1; 20],
            serial: &[0, 0xab, 0xcd],
            tbs_digest: &[2; 32],
        });
        let line = record_line(7, &record);
        assert!(
            line.contains("2025-11-22T00:00:00.007Z  lost    abcd"),
            "{line}"
        );
        let json = serde_json::to_value(RecordJson::new(7, &record, &[])).unwrap();
        assert_eq!(json["kind"], "lost");
        assert_eq!(json["serial"], "abcd");
        assert_eq!(json["tbs_digest"], "02".repeat(32));
        assert!(json.get("certificate").is_none());
    }

    #[test]
    fn unknown_kinds_are_shown() {
        let record = Record::Other {
            kind: 9,
            version: 1,
            time_ms: None,
        };
        assert_eq!(
            record_line(0, &record),
            "         0  -  other   -                                         kind 9"
        );
        let json = serde_json::to_value(RecordJson::new(0, &record, &[0x83, 9])).unwrap();
        assert_eq!(
            (&json["kind_number"], &json["record"]),
            (&9.into(), &"8309".into())
        );
    }
}
