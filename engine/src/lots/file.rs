//! A lot's file: what is written, and what becomes of it.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::value::{Datetime, Offset};

use super::{Devices, LOT_BYTES_MAX, LOT_QUANTITY_MAX, LOTS_MAX, Lot, LotSerials, LotsError};
use crate::profile::locate::{self, Checked, Fault, fault};
use crate::profile::{PatternTables, RawSerial, check_serials};

/// Octets of one lot's file. Real ones have under 1,000.
pub(super) const LOT_FILE_BYTES_MAX: usize = 64 * 1024;

/// What the files of lots end in.
const SUFFIX: &str = "toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLot {
    name: String,
    profile: String,
    quantity: u64,
    line: Option<String>,
    not_before: Option<Datetime>,
    not_after: Option<Datetime>,
    #[serde(default)]
    closed: bool,
    serial: Option<RawLotSerial>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLotSerial {
    from: Option<String>,
    to: Option<String>,
    list: Option<PathBuf>,
    pattern: Option<String>,
}

/// Every lot of a directory, in the order of the files' names.
pub(super) fn read_directory(directory: &Path) -> Result<Vec<Lot>, LotsError> {
    let failed = |path: &Path, source| LotsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
        let path = entry.map_err(|source| failed(directory, source))?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            paths.push(path);
        }
        if paths.len() > LOTS_MAX {
            return Err(LotsError::TooMany {
                path: directory.to_owned(),
            });
        }
    }
    paths.sort_unstable();
    let mut lots: Vec<Lot> = Vec::with_capacity(paths.len());
    let mut names: HashMap<String, PathBuf> = HashMap::with_capacity(paths.len());
    for path in paths {
        // To open a pipe waits for somebody who writes.
        let metadata = fs::metadata(&path).map_err(|source| failed(&path, source))?;
        if !metadata.is_file() {
            return Err(LotsError::NoFile { path });
        }
        let mut text = String::new();
        // It may grow meanwhile.
        fs::File::open(&path)
            .and_then(|file| {
                let bytes = LOT_FILE_BYTES_MAX as u64 + 1;
                file.take(bytes).read_to_string(&mut text)
            })
            .map_err(|source| failed(&path, source))?;
        let lot = parse(&text, &path)?;
        if let Some(other) = names.insert(lot.name.clone(), path.clone()) {
            let problem = format!("is the name of the lot in {} too", other.display());
            return Err(located(&text, &path, at_fault("name", problem)));
        }
        lots.push(lot);
    }
    Ok(lots)
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Lot, LotsError> {
    if text.len() > LOT_FILE_BYTES_MAX {
        return Err(LotsError::TooLong {
            path: path.to_owned(),
        });
    }
    let raw: RawLot = toml::from_str(text).map_err(|error| {
        let (line, problem) = locate::syntax(text, &error);
        LotsError::Syntax {
            path: path.to_owned(),
            line,
            problem,
        }
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let serial_line = locate::line_of(text, "serial");
    check(raw, folder)
        .map(|lot| Lot {
            path: path.to_owned(),
            serial_line,
            ..lot
        })
        .map_err(|fault| located(text, path, fault))
}

fn located(text: &str, path: &Path, fault: Fault) -> LotsError {
    LotsError::Value {
        path: path.to_owned(),
        line: locate::line_of(text, &fault.key),
        key: fault.key,
        problem: fault.problem,
    }
}

fn at_fault(key: &str, problem: impl Into<String>) -> Fault {
    Fault {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

fn check(raw: RawLot, folder: &Path) -> Checked<Lot> {
    check_name("name", &raw.name)?;
    if let Some(line) = &raw.line {
        check_name("line", line)?;
    }
    if raw.profile.is_empty() {
        return fault("profile", "names no profile");
    }
    if !(1..=LOT_QUANTITY_MAX).contains(&raw.quantity) {
        return fault("quantity", "must be 1 to 10000000");
    }
    let time = |key, time: Option<Datetime>| time.map(|time| seconds(key, time)).transpose();
    let not_before_s = time("not_before", raw.not_before)?;
    let not_after_s = time("not_after", raw.not_after)?;
    if let (Some(from), Some(to)) = (not_before_s, not_after_s)
        && to < from
    {
        return fault("not_after", "is before not_before");
    }
    let serial = raw.serial.map(|raw| check_devices(raw, folder));
    Ok(Lot {
        name: raw.name,
        profile: raw.profile,
        line: raw.line,
        quantity: raw.quantity,
        not_before_s,
        not_after_s,
        closed: raw.closed,
        serials: serial.transpose()?.map(LotSerials),
        path: PathBuf::new(),
        serial_line: 1,
    })
}

/// A name stands in records, exports and on terminals.
fn check_name(key: &str, name: &str) -> Checked<()> {
    if name.is_empty() || name.len() > LOT_BYTES_MAX {
        return fault(key, "must have 1 to 128 bytes");
    }
    if name.chars().any(char::is_control) {
        return fault(key, "has a control character");
    }
    if name.trim() != name {
        return fault(key, "begins or ends with a blank");
    }
    Ok(())
}

fn check_devices(raw: RawLotSerial, folder: &Path) -> Checked<Devices> {
    let RawLotSerial {
        from,
        to,
        list,
        pattern,
    } = raw;
    match pattern {
        Some(pattern) if from.is_none() && to.is_none() && list.is_none() => {
            PatternTables::of_lot()
                .pattern("serial.pattern", &pattern)
                .map(Devices::Pattern)
        }
        Some(_) => fault("serial", "needs from and to, or list, or pattern"),
        None => check_serials(&RawSerial { from, to, list }, folder).map(Devices::Serials),
    }
}

/// Seconds since 1970 of a TOML time with date and zone.
fn seconds(key: &str, time: Datetime) -> Checked<u64> {
    let (Some(date), Some(day), Some(offset)) = (time.date, time.time, time.offset) else {
        return fault(
            key,
            "needs date, time and zone, such as 2026-03-01T06:00:00Z or 2026-03-01T07:00:00+01:00",
        );
    };
    let ahead_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let (hour, minute, second) = (day.hour, day.minute, day.second.unwrap_or(0));
    let local = der::DateTime::new(date.year, date.month, date.day, hour, minute, second);
    let utc = local.ok().and_then(|local| {
        let local = i64::try_from(local.unix_duration().as_secs()).ok()?;
        u64::try_from(local - ahead_minutes * 60).ok()
    });
    utc.map_or_else(|| fault(key, "is not a time from 1970 on"), Ok)
}
