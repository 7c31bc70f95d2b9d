//! `birthmark log verify`: the whole log, and with `--signatures` every certificate in it.

use std::path::{Path, PathBuf};

use birthmark_engine::record::Record;
use birthmark_engine::{AuditError, Configuration, Issuer, RecordKeyExtractor, verify_issued};
use birthmark_log::tlog::VerifierKey;
use birthmark_log::{
    ExtractError, LogReader, Progress, RecordIndex, Verification, VerifyError, VerifyReport,
};

use super::json::{Verified, write_json};
use super::time::rfc3339;
use super::{RecordsError, file, log_directory};
use crate::ceremony::CONFIGURATION_FILE;
use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};
use crate::hex;

/// What `log verify` checks.
#[derive(Clone, Debug, Default)]
pub struct VerifyPlan {
    /// The log's directory.
    pub dir: PathBuf,
    /// Also every certificate.
    pub signatures: bool,
    /// Files with issuer certificates; none: the one of the CA's configuration beside the log.
    pub issuers: Vec<PathBuf>,
    /// The verifier key that the checkpoint must be signed with, or a file with it.
    pub vkey: Option<String>,
    /// Threads; `None`: one for each core.
    pub threads: Option<usize>,
    /// The report as JSON.
    pub json: bool,
}

/// `birthmark log verify`.
///
/// # Errors
///
/// There is no log, it cannot be read, it is damaged, or a certificate in it is not sound.
pub fn verify(plan: &VerifyPlan, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let dir = log_directory(&plan.dir);
    let vkey = plan.vkey.as_deref().map(file::read_vkey).transpose()?;
    let issuers = match plan.signatures {
        true => Some(issuers(&dir, &plan.issuers)?),
        false => None,
    };
    let audit = Audit {
        dir: &dir,
        issuers: issuers.as_deref(),
        vkey: vkey.as_ref(),
        threads: plan.threads,
    };
    let report = audit.run(console)?;
    let keys = issuers.unwrap_or_default();
    let keys: Vec<String> = keys
        .iter()
        .map(|issuer| hex::encode(issuer.key_identifier()))
        .collect();
    let written = if plan.json {
        write_json(
            console,
            &Verified::new(&dir, &report, plan.signatures, &keys),
        )
    } else {
        let mut text = human_report(&dir, &report);
        if plan.signatures {
            let keys = keys.join(", ");
            let which = match report.archived_unseen {
                0 => "all",
                _ => "those that were seen are",
            };
            text.push_str(&format!(
                "  certificates  {which} verified, with issuer {keys}\n"
            ));
        }
        write!(console.out, "{text}")
    };
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(Exit::Done)
}

/// Checks a whole log with a progress bar: every byte in use, and that every record is one
/// this version can read or knows to be another's.
pub(crate) fn check(dir: &Path, console: &Console<'_>) -> Result<VerifyReport, CommandError> {
    let audit = Audit {
        dir,
        issuers: None,
        vkey: None,
        threads: None,
    };
    audit.run(console)
}

/// One verification, with everything read that it needs.
struct Audit<'a> {
    dir: &'a Path,
    /// Whose signatures are checked; `None`: none are.
    issuers: Option<&'a [Issuer]>,
    vkey: Option<&'a VerifierKey>,
    threads: Option<usize>,
}

impl Audit<'_> {
    fn run(&self, console: &Console<'_>) -> Result<VerifyReport, CommandError> {
        let bar = console.bar("verifying log", "records", Some(0));
        let sound = |_: RecordIndex, record: &[u8]| self.sound(record).map_err(ExtractError::new);
        let progress = |progress: Progress| {
            bar.set_length(progress.records_total);
            bar.set_position(progress.records);
        };
        let verification = Verification {
            keys: Some(&RecordKeyExtractor),
            vkey: self.vkey,
            record: self.issuers.is_some().then_some(&sound),
            threads: self.threads,
            progress: Some(&progress),
        };
        let verified = birthmark_log::verify(self.dir, &verification);
        bar.finish_and_clear();
        verified.map_err(|error| self.explain(error))
    }

    fn sound(&self, bytes: &[u8]) -> Result<(), AuditError> {
        // Whether it can be read at all was checked before.
        let (Some(issuers), Ok(Record::Issued(issued))) = (self.issuers, Record::decode(bytes))
        else {
            return Ok(());
        };
        let mut last = Ok(());
        for issuer in issuers {
            last = verify_issued(&issued, issuer);
            if !matches!(last, Err(AuditError::OtherIssuer { .. })) {
                break;
            }
        }
        last
    }

    /// The verification stops at a record that the log calls unreadable; it may be its certificate
    /// that is wrong.
    fn explain(&self, error: VerifyError) -> CommandError {
        if let VerifyError::Extract { record: index, .. } = &error
            && let Ok(record) = LogReader::open(self.dir).and_then(|log| log.read(*index))
            && let Err(source) = self.sound(&record)
        {
            let index = *index;
            return RecordsError::Unsound { index, source }.into();
        }
        error.into()
    }
}

/// The issuer certificates in these files; without any, the one that the CA's configuration beside
/// the log names, if that configuration is of this log.
fn issuers(dir: &Path, files: &[PathBuf]) -> Result<Vec<Issuer>, CommandError> {
    if !files.is_empty() {
        let issuers = files.iter().map(|file| Issuer::read(file));
        return Ok(issuers
            .collect::<Result<_, _>>()
            .map_err(RecordsError::Issuer)?);
    }
    let none = || RecordsError::NoIssuer {
        dir: dir.to_owned(),
    };
    let canonical = dir.canonicalize().map_err(|_| none())?;
    let configuration = canonical
        .parent()
        .ok_or_else(none)?
        .join(CONFIGURATION_FILE);
    if !configuration.is_file() {
        return Err(none().into());
    }
    let configuration = Configuration::load(&configuration)?;
    let of_this_log = configuration.log_directory().canonicalize();
    if of_this_log.is_ok_and(|directory| directory == canonical) {
        let issuer = Issuer::read(configuration.issuer_certificate());
        Ok(vec![issuer.map_err(RecordsError::Issuer)?])
    } else {
        Err(none().into())
    }
}

fn human_report(dir: &Path, report: &VerifyReport) -> String {
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
        line("last record", rfc3339(report.last_time_ms));
    }
    if report.archived_unseen > 0 {
        let unseen = grouped(report.archived_unseen);
        line(
            "NOT SEEN",
            format!(
                "{unseen} records: their archive is not mounted; only their hashes were checked"
            ),
        );
    }
    if let Some(index) = uncompared_index(report) {
        line("index", index.to_owned());
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

/// Why the index was not held against the records, if it was not.
pub(super) fn uncompared_index(report: &VerifyReport) -> Option<&'static str> {
    if report.index_of_other_keys {
        Some("of another release, not looked at; the next start makes it anew")
    } else if report.archived_unseen > 0 {
        Some("intact, not compared with the records: not all of them are there")
    } else {
        None
    }
}
