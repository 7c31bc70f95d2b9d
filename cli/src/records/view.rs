//! One record as people read it.

use birthmark_engine::certificate_serial;
use birthmark_engine::record::{IssuedRecord, Record};

use super::json::{RecordJson, write_json};
use super::time::rfc3339;
use crate::command::CommandError;
use crate::console::Console;
use crate::{hex, text};

/// How much of a record people get to see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Line,
    Full,
}

pub(super) fn write_record(
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

fn record_line(index: u64, record: &Record<'_>) -> String {
    let time = time_ms(record).map_or_else(|| "-".to_owned(), rfc3339);
    let serial = record_serial(record).map_or_else(|| "-".to_owned(), hex::encode);
    let rest = match record {
        Record::Issued(issued) => {
            let identity = issued.identity.unwrap_or("-");
            format!("{}  {}", issued.profile, identity.escape_debug())
        }
        Record::Activated(activated) => activated.activation.escape_debug().to_string(),
        Record::Other { kind, .. } => format!("kind {kind}"),
        _ => String::new(),
    };
    format!(
        "{index:>10}  {time}  {:<9} {serial:<40}  {rest}",
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
        Record::Activated(activated) => {
            line("issuer key id", hex::encode(activated.issuer));
            line(
                "activation",
                activated.activation.escape_debug().to_string(),
            );
            line("signer", activated.signer.escape_debug().to_string());
            line("", "the station started with this key".to_owned());
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

pub(super) fn kind(record: &Record<'_>) -> &'static str {
    match record {
        Record::Issued(_) => "issued",
        Record::Lost(_) => "lost",
        Record::Activated(_) => "activated",
        _ => "other",
    }
}

pub(super) fn time_ms(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Issued(issued) => Some(issued.time_ms),
        Record::Lost(lost) => Some(lost.time_ms),
        Record::Activated(activated) => Some(activated.time_ms),
        Record::Other { time_ms, .. } => *time_ms,
        _ => None,
    }
}

/// Without leading zeros.
pub(super) fn record_serial<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    let serial = match record {
        Record::Issued(issued) => certificate_serial(issued.certificate)?,
        Record::Lost(lost) => lost.serial,
        _ => return None,
    };
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    Some(&serial[zeros..])
}

#[cfg(test)]
mod tests {
    use super::*;

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
            line.contains("2025-11-22T00:00:00.007Z  lost      abcd"),
            "{line}"
        );
        let json = serde_json::to_value(RecordJson::new(7, &record, &[])).unwrap();
        assert_eq!(json["kind"], "lost");
        assert_eq!(json["serial"], "abcd");
        assert_eq!(json["tbs_digest"], "02".repeat(32));
        assert!(json.get("certificate").is_none());
    }

    #[test]
    fn activations_in_both_forms() {
        let record = Record::Activated(birthmark_engine::record::ActivatedRecord {
            time_ms: 1_763_769_600_007,
            issuer: &[1; 20],
            activation: "operator",
            signer: "PKCS#11 token 'line-1'",
        });
        let text = record_text(3, &record);
        assert!(
            text.contains("activated -") && text.contains("operator\n"),
            "{text}"
        );
        assert!(text.contains("  signer          PKCS#11 token"), "{text}");
        let json = serde_json::to_value(RecordJson::new(3, &record, &[])).unwrap();
        assert_eq!(json["kind"], "activated");
        assert_eq!(json["activation"], "operator");
        assert_eq!(json["issuer"], "01".repeat(20));
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
            "         0  -  other     -                                         kind 9"
        );
        let json = serde_json::to_value(RecordJson::new(0, &record, &[0x83, 9])).unwrap();
        assert_eq!(
            (&json["kind_number"], &json["record"]),
            (&9.into(), &"8309".into())
        );
    }
}
