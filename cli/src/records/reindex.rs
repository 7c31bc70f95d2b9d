//! `birthmark log reindex`: makes the index anew.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use birthmark_engine::RecordKeyExtractor;
use birthmark_log::LogReader;

use super::log_directory;
use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};

/// `birthmark log reindex`.
///
/// # Errors
///
/// There is no log, it is in use, or it is damaged.
pub fn reindex(dir: &Path, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let dir = log_directory(dir);
    let total = LogReader::open(&dir)?.len();
    let bar = console.bar("indexing", "records", Some(total));
    let start = Instant::now();
    let indexed = birthmark_log::reindex(&dir, Arc::new(RecordKeyExtractor), &mut |records| {
        bar.set_position(records);
    });
    bar.finish_and_clear();
    let records = indexed?;
    writeln!(
        console.out,
        "{}: {} records indexed in {:.1} s",
        dir.display(),
        grouped(records),
        start.elapsed().as_secs_f64()
    )
    .and_then(|()| console.out.flush())
    .map_err(CommandError::output)?;
    Ok(Exit::Done)
}
