//! `birthmark log archive`.

use birthmark_engine::RecordKeyExtractor;
use birthmark_log::keep::{ArchiveLimit, ArchiveOptions, ArchiveReport, archive};
use birthmark_log::{KeyExtractor, Progress};
use serde::Serialize;

use super::args::ArchiveArguments;
use super::{KeepError, write_result};
use crate::command::Exit;
use crate::console::{Console, grouped};
use crate::records::log_directory;

/// Records in a bundle (c2sp.org/tlog-tiles).
const BUNDLE_RECORDS: u64 = birthmark_log::tlog::TILE_WIDTH;

pub(super) fn run(
    arguments: &ArchiveArguments,
    console: &mut Console<'_>,
) -> Result<Exit, KeepError> {
    let dir = log_directory(&arguments.dir);
    // The grammar gives exactly one of the two.
    let limit = match (arguments.limit.before, arguments.limit.keep) {
        (Some(before), _) => ArchiveLimit::Before(before),
        (None, keep) => ArchiveLimit::Keep(keep.unwrap_or(u64::MAX)),
    };
    let bar = console.bar("archiving", "records", Some(0));
    let progress = |progress: Progress| {
        bar.set_length(progress.records_total);
        bar.set_position(progress.records);
    };
    let options = ArchiveOptions::new(limit, RecordKeyExtractor.version())
        .dry_run(arguments.dry_run)
        .beyond_index(arguments.beyond_index)
        .progress(&progress);
    let report = archive(&dir, &arguments.dest, &options);
    bar.finish_and_clear();
    let report = report?;
    let text = human_report(arguments, &report);
    write_result(
        console,
        arguments.json,
        &Moved::new(arguments, &report),
        &text,
    )?;
    Ok(Exit::Done)
}

fn human_report(arguments: &ArchiveArguments, report: &ArchiveReport) -> String {
    let (done, moved) = match arguments.dry_run {
        true => ("a dry run, nothing was changed", "would move"),
        false => ("archived", "moved"),
    };
    let mut text = format!(
        "{}: {done}\n  {moved:<14}{} records, {} bytes\n",
        arguments.dest.display(),
        grouped(report.bundles * BUNDLE_RECORDS),
        grouped(report.bytes),
    );
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<14}{value}\n"));
    line(
        "in archives",
        format!("{} records", grouped(report.archived)),
    );
    line("in the log", format!("{} records", grouped(report.kept)));
    if report.removed_later > 0 {
        let records = grouped(report.removed_later * BUNDLE_RECORDS);
        line(
            "finished",
            format!("{records} records of an interrupted run left the log now"),
        );
    }
    if report.held_back > 0 {
        let records = grouped(report.held_back);
        line(
            "held back",
            format!(
                "{records} records: the index on the disk does not cover them yet, so the next start reads \
                 them; archive again later"
            ),
        );
    }
    text
}

/// The report as JSON.
#[derive(Serialize)]
struct Moved {
    dry_run: bool,
    records_moved: u64,
    bytes_moved: u64,
    records_archived: u64,
    records_kept: u64,
    records_held_back: u64,
    records_removed_later: u64,
}

impl Moved {
    fn new(arguments: &ArchiveArguments, report: &ArchiveReport) -> Moved {
        Moved {
            dry_run: arguments.dry_run,
            records_moved: report.bundles * BUNDLE_RECORDS,
            bytes_moved: report.bytes,
            records_archived: report.archived,
            records_kept: report.kept,
            records_held_back: report.held_back,
            records_removed_later: report.removed_later * BUNDLE_RECORDS,
        }
    }
}
