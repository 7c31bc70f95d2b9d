//! `birthmark log …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::keep::KeepCommand;
use crate::records;

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check every byte of the log and say what it holds.
    Verify(LogVerifyArguments),
    /// Show records of the log.
    Show(LogShowArguments),
    /// Print the key that the log's checkpoints are signed with.
    Vkey(LogVkeyArguments),
    /// Print the log's newest signed checkpoint.
    Checkpoint(LogCheckpointArguments),
    /// Make a receipt: the proof that the log holds a certificate.
    Proof(LogProofArguments),
    /// Check a receipt and its certificate, without the log.
    VerifyProof(LogVerifyProofArguments),
    /// Prove that a later state of the log continues an earlier one.
    Consistency(LogConsistencyArguments),
    /// Write the log's records as CSV, NDJSON or PEM.
    Export(LogExportArguments),
    /// Make the index anew from the records.
    Reindex(LogReindexArguments),
    #[command(flatten)]
    Keep(KeepCommand),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log reindex ca/log\n\n\
    For an index that 'log verify' found damaged. The log must not be in use; its records are\n\
    checked on the way and not changed. It may be interrupted: the next start goes on.\n\
    Exit code 3: in use, or a record is damaged.")]
pub(crate) struct LogReindexArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log verify ca/log\n  \
    birthmark log verify ca/log --json\n  \
    birthmark log verify ca/log --signatures\n  \
    birthmark log verify copy-of-the-log --signatures --issuer issuing-ca.pem --vkey log.vkey\n\n\
    Exit code 0: intact. 3: damaged, or a certificate is not sound; the first bad file, offset and\n\
    record are named. 2: a key or an issuer's certificate is missing.\n\
    Whoever can change the log can change the key beside it: an auditor gives --vkey.")]
pub(crate) struct LogVerifyArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Also verify every certificate with its issuer's key, and against its record.
    #[arg(long)]
    pub(crate) signatures: bool,
    /// Certificate of an issuing CA, PEM; may be repeated [default: that of the CA the log lies in]
    #[arg(long, value_name = "FILE", requires = "signatures")]
    pub(crate) issuer: Vec<PathBuf>,
    /// Verifier key of the log, or a file with it [default: the one kept beside the log]
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) vkey: Option<String>,
    /// Threads [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log show ca/log\n  \
    birthmark log show ca/log --index 42\n  \
    birthmark log show ca/log --serial 4f3a…\n  \
    birthmark log show ca/log --limit 0 --json > records.ndjson\n\n\
    Exit code 1: there is no such record.")]
pub(crate) struct LogShowArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Show this record.
    #[arg(long, value_name = "N", conflicts_with = "serial")]
    pub(crate) index: Option<u64>,
    /// Show the records with this serial number (hex); reads the whole log.
    #[arg(long, value_name = "HEX", value_parser = serial)]
    pub(crate) serial: Option<Serial>,
    /// How many of the newest records to show; 0: all.
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with_all = ["index", "serial"])]
    pub(crate) limit: u64,
    /// One JSON object per record.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log vkey ca/log > log.vkey\n  \
    birthmark log vkey ca/log --json\n\n\
    Give it to whoever verifies receipts, by another way than the receipts.")]
pub(crate) struct LogVkeyArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print key, origin and key ID as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log checkpoint ca/log > monday.checkpoint\n  \
    birthmark log checkpoint ca/log --json\n\n\
    Exit code 1: nothing was published yet, or the signature is not the log's.")]
pub(crate) struct LogCheckpointArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Verifier key of the log, or a file with it [default: the one kept beside the log]
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) vkey: Option<String>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log proof ca/log --cert device.pem --out device.tlog-proof\n  \
    birthmark log proof ca/log --index 42\n  \
    birthmark log proof ca/log --serial 4f3a… > device.tlog-proof\n\n\
    The receipt (c2sp.org/tlog-proof) holds the record's other fields, too: identity, lot, requester,\n\
    data. With certificate and receipt 'birthmark log verify-proof' needs nothing else. --bare leaves\n\
    them out; such a receipt can be checked only by who has the record.\n\
    Exit code 1: there is no such record, or it is not published yet.")]
pub(crate) struct LogProofArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) subject: ProofSubjectArguments,
    /// Write the receipt here instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Leave out the record's other fields.
    #[arg(long)]
    pub(crate) bare: bool,
    /// Verifier key of the log, or a file with it [default: the one kept beside the log]
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) vkey: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ProofSubjectArguments {
    /// Of this record.
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<u64>,
    /// Of the record with this serial number (hex); reads the whole log.
    #[arg(long, value_name = "HEX", value_parser = serial)]
    pub(crate) serial: Option<Serial>,
    /// Of this certificate, PEM or DER; reads the whole log.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log verify-proof device.tlog-proof device.pem --vkey log.vkey\n  \
    birthmark log verify-proof device.tlog-proof device.der --vkey 'acme.example/line-1+9e3f…+AT…'\n\n\
    Needs no log. Exit code 0: proven. 1: not proven; the reason is named.")]
pub(crate) struct LogVerifyProofArguments {
    /// The receipt that 'birthmark log proof' made.
    #[arg(value_name = "RECEIPT")]
    pub(crate) receipt: PathBuf,
    /// The certificate, PEM or DER.
    #[arg(value_name = "CERT")]
    pub(crate) cert: PathBuf,
    /// Verifier key of the log, or a file with it.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) vkey: String,
    /// Print what is proven as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log consistency ca/log monday.checkpoint friday.checkpoint\n  \
    birthmark log consistency ca/log monday.checkpoint ca/log/public/checkpoint --vkey log.vkey\n  \
    birthmark log consistency ca/log 1000 2000 --json\n\n\
    Prints the proof (RFC 9162 section 2.1.4) after verifying it.\n\
    Exit code 1: the two are not consistent, or a signature is not the log's.")]
pub(crate) struct LogConsistencyArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The earlier state: a file with a checkpoint, or a number of records.
    #[arg(value_name = "OLD")]
    pub(crate) old: String,
    /// The later state: a file with a checkpoint, or a number of records.
    #[arg(value_name = "NEW")]
    pub(crate) new: String,
    /// Verifier key of the log, or a file with it [default: the one kept beside the log]
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) vkey: Option<String>,
    /// Print the proof as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log export ca/log --csv --out records.csv\n  \
    birthmark log export ca/log --ndjson --lot 4711 | gzip > lot-4711.ndjson.gz\n  \
    birthmark log export ca/log --pem --profile idevid --since 2026-11-01 > certificates.pem\n\n\
    The CSV (RFC 4180) has a header. Its cells are no formulas: one that begins with = + - @ ' tab or\n\
    carriage return has a ' in front; drop it to get the value. NDJSON has the values as they are, and\n\
    the certificates. --profile and --lot leave out records that are not of a certificate.")]
pub(crate) struct LogExportArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) format: ExportFormatArguments,
    /// Only certificates of this profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Only certificates of this lot.
    #[arg(long, value_name = "LOT")]
    pub(crate) lot: Option<String>,
    /// Only records from this time on: a date (UTC), or a time like 2026-11-22T06:00:00+01:00.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<u64>,
    /// Write to this file instead of standard output; it appears when everything is in it.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ExportFormatArguments {
    /// One line per record, for spreadsheets.
    #[arg(long)]
    pub(crate) csv: bool,
    /// One JSON object per record.
    #[arg(long)]
    pub(crate) ndjson: bool,
    /// Certificates only.
    #[arg(long)]
    pub(crate) pem: bool,
}

/// A serial number without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serial(pub(crate) Vec<u8>);

fn serial(text: &str) -> Result<Serial, String> {
    let bytes = crate::hex::decode(text);
    let bytes = bytes.ok_or("a serial number is an even number of hexadecimal digits")?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(Serial(bytes[zeros..].to_vec()))
}

fn since(text: &str) -> Result<u64, String> {
    records::parse_time(text).ok_or_else(|| {
        "write a date like 2026-11-22 or a time like 2026-11-22T06:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(serial("00:0A:ff"), Ok(Serial(vec![0x0a, 0xff])));
        assert!(serial("abc").is_err());
        assert_eq!(since("1970-01-02"), Ok(86_400_000));
        assert!(since("yesterday").is_err());
    }
}
