//! `birthmark log backup`.

use birthmark_log::Progress;
use birthmark_log::keep::{BackupOptions, BackupReport, backup};
use serde::Serialize;

use super::args::BackupArguments;
use super::{KeepError, write_result};
use crate::command::Exit;
use crate::console::{Console, grouped};
use crate::records::{log_directory, rfc3339};

pub(super) fn run(
    arguments: &BackupArguments,
    console: &mut Console<'_>,
) -> Result<Exit, KeepError> {
    let dir = log_directory(&arguments.dir);
    let bar = console.bar("backing up", "records", Some(0));
    let progress = |progress: Progress| {
        bar.set_length(progress.records_total);
        bar.set_position(progress.records);
    };
    let options = BackupOptions::default()
        .verify_all(arguments.verify_all)
        .progress(&progress);
    let report = backup(&dir, &arguments.dest, &options);
    bar.finish_and_clear();
    let report = report?;
    let mut text = format!(
        "{}: backed up\n  records       {}\n  bundles       {} copied, the others were there\n",
        arguments.dest.display(),
        grouped(report.records),
        grouped(report.bundles_copied),
    );
    if let Some(checkpoint) = &report.checkpoint {
        text.push_str(&format!(
            "  published     {}\n  root          {}\n  origin        {}\n",
            grouped(checkpoint.size),
            checkpoint.root,
            checkpoint.origin
        ));
    }
    if report.last_time_ms > 0 {
        text.push_str(&format!(
            "  last record   {}\n",
            rfc3339(report.last_time_ms)
        ));
    }
    let verified = if report.verified_all {
        "all of it"
    } else {
        "what is new"
    };
    text.push_str(&format!("  verified      {verified}\n"));
    write_result(console, arguments.json, &BackedUp::new(&report), &text)?;
    Ok(Exit::Done)
}

/// The report as JSON.
#[derive(Serialize)]
struct BackedUp {
    records: u64,
    published: u64,
    root: Option<String>,
    origin: Option<String>,
    bundles_copied: u64,
    reservations_open: u64,
    last_time_ms: u64,
    verified_all: bool,
}

impl BackedUp {
    fn new(report: &BackupReport) -> BackedUp {
        let checkpoint = report.checkpoint.as_ref();
        BackedUp {
            records: report.records,
            published: checkpoint.map_or(0, |checkpoint| checkpoint.size),
            root: checkpoint.map(|checkpoint| checkpoint.root.to_string()),
            origin: checkpoint.map(|checkpoint| checkpoint.origin.clone()),
            bundles_copied: report.bundles_copied,
            reservations_open: report.reservations_open,
            last_time_ms: report.last_time_ms,
            verified_all: report.verified_all,
        }
    }
}
