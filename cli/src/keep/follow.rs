//! `birthmark log follow`.

use std::path::Path;
use std::thread;

use birthmark_log::Progress;
use birthmark_log::keep::{DirectorySource, MirrorError, MirrorReport, TreeSource, mirror};
use serde_json::json;

use super::args::FollowArguments;
use super::http::{HttpSource, is_url};
use super::{KeepError, write_result};
use crate::command::Exit;
use crate::console::{Console, grouped};
use crate::records::log_directory;

pub(super) fn run(
    arguments: &FollowArguments,
    console: &mut Console<'_>,
) -> Result<Exit, KeepError> {
    let source: Box<dyn TreeSource> = if is_url(&arguments.source) {
        Box::new(HttpSource::new(&arguments.source)?)
    } else {
        let dir = log_directory(Path::new(&arguments.source));
        Box::new(DirectorySource::new(&dir))
    };
    loop {
        match once(&*source, arguments, console) {
            Ok(report) if arguments.once || report.records_new > 0 => {
                say(&report, arguments, console)?;
            }
            Ok(_) => {}
            Err(error) if arguments.once || !passes(&error) => return Err(error.into()),
            Err(error) => console.note(format_args!(
                "warning: {}",
                crate::command::one_line(&error)
            )),
        }
        if arguments.once {
            return Ok(Exit::Done);
        }
        thread::sleep(arguments.interval);
    }
}

/// What may be over the next time: a network or a server that is away.
fn passes(error: &MirrorError) -> bool {
    use birthmark_log::keep::CopyError;
    matches!(
        error,
        MirrorError::Source(_)
            | MirrorError::NothingPublished { .. }
            | MirrorError::Copy(CopyError::Source(_) | CopyError::Missing { .. })
    )
}

fn once(
    source: &dyn TreeSource,
    arguments: &FollowArguments,
    console: &Console<'_>,
) -> Result<MirrorReport, MirrorError> {
    let bar = console.bar("following", "records", Some(0));
    let progress = |progress: Progress| {
        bar.set_length(progress.records_total);
        bar.set_position(progress.records);
    };
    let report = mirror(source, &arguments.dest, &arguments.vkey, &progress);
    bar.finish_and_clear();
    report
}

fn say(
    report: &MirrorReport,
    arguments: &FollowArguments,
    console: &mut Console<'_>,
) -> Result<(), KeepError> {
    let checkpoint = &report.checkpoint;
    let text = format!(
        "{}: {} records of {}, {} new, root {}\n",
        arguments.dest.display(),
        grouped(checkpoint.size),
        checkpoint.origin,
        grouped(report.records_new),
        checkpoint.root
    );
    let value = json!({
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.to_string(),
        "records_new": report.records_new,
    });
    write_result(console, arguments.json, &value, &text)
}
