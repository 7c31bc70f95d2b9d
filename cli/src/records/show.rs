//! `birthmark log show`: records for people and programs.

use std::path::Path;

use birthmark_log::{LogReader, RecordIndex};

use super::find::with_serial;
use super::log_directory;
use super::view::{Detail, write_record};
use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};
use crate::hex;

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
) -> Result<usize, CommandError> {
    let found = with_serial(reader, serial)?;
    for index in &found {
        let record = reader.read(*index)?;
        write_record(console, index.0, &record, json, Detail::Full)?;
    }
    Ok(found.len())
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
    for entry in reader.iter_from(RecordIndex(first)) {
        let (index, record) = entry?;
        write_record(console, index.0, &record, json, Detail::Line)?;
    }
    Ok(())
}
