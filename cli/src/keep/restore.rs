//! `birthmark log restore`: a new log, a new key and a new configuration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use birthmark_engine::record::Record;
use birthmark_engine::{Configuration, Issuer, LogKey, RecordKeyExtractor, verify_issued};
use birthmark_hsm::KeyAlgorithm;
use birthmark_log::keep::{RestorePlan, RestoreReport, restore};
use birthmark_log::tlog::{CheckpointSigner, VerifierKey};
use birthmark_log::{ExtractError, Options, Progress, RecordIndex};
use serde::Serialize;

use super::args::RestoreArguments;
use super::{KeepError, write_result};
use crate::ceremony::{checked_origin, random_origin, software_key, write_new};
use crate::command::Exit;
use crate::console::{Console, grouped};
use crate::records::{log_directory, rfc3339};

/// The new configuration, unless the caller names it.
const NEW_CONFIG: &str = "birthmark-restored.toml";

/// Locked by whoever has a log open.
const LOG_LOCK: &str = "LOCK";

pub(super) fn run(
    arguments: &RestoreArguments,
    console: &mut Console<'_>,
) -> Result<Exit, KeepError> {
    let configuration = Configuration::load(&arguments.config)?;
    let old_log = old_log(&configuration)?;
    let issuer = configuration.issuer().map_err(KeepError::Issuer)?;
    let old_key = old_key(arguments, &configuration)?;
    let origin = match &arguments.origin {
        Some(origin) => checked_origin(origin)?,
        None => random_origin()?,
    };
    let files = NewFiles::beside(arguments)?;
    let stands = || arguments.dir.join("segments").exists();
    let stood_before = stands();
    let old = Old {
        key: old_key,
        issuer,
    };
    let made = make(arguments, &old, &origin, &files, console);
    // A log that stands needs its key, whatever went wrong after that.
    if made.is_err() && (stood_before || !stands()) {
        files.remove();
    }
    let report = made?;
    let restored = Restored::new(arguments, &files, origin, &report, old_log);
    write_result(console, arguments.json, &restored, &restored.text())?;
    Ok(Exit::Done)
}

/// What the backup is checked with.
struct Old {
    key: VerifierKey,
    issuer: Issuer,
}

impl Old {
    /// Checks a record that no checkpoint covers. That it can be read at all is seen before.
    fn check(&self, record: &[u8]) -> Result<(), ExtractError> {
        match Record::decode(record) {
            Ok(Record::Issued(issued)) => {
                verify_issued(&issued, &self.issuer).map_err(ExtractError::new)
            }
            _ => Ok(()),
        }
    }
}

/// The directory of the old log, if it is still there. It must not be in use.
fn old_log(configuration: &Configuration) -> Result<Option<PathBuf>, KeepError> {
    let dir = configuration.log_directory();
    if !dir.join("segments").exists() {
        return Ok(None);
    }
    let path = dir.join(LOG_LOCK);
    // Opened and not made: nothing is written into the old log.
    if let Ok(file) = fs::File::open(&path)
        && matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    {
        return Err(KeepError::OldLogInUse {
            dir: dir.to_owned(),
        });
    }
    Ok(Some(dir.to_owned()))
}

/// The key that the backup is checked with. Not the one that lies in the backup: whoever can change the
/// backup can change that, too.
fn old_key(
    arguments: &RestoreArguments,
    configuration: &Configuration,
) -> Result<VerifierKey, KeepError> {
    if let Some(vkey) = &arguments.vkey {
        return Ok(vkey.clone());
    }
    let key = LogKey::read(configuration.log_key(), configuration.log_origin());
    let key = key.map_err(|source| KeepError::OldKey { source })?;
    Ok(key.verifier_key().clone())
}

/// Makes key and configuration, then the log: it appears last and whole.
fn make(
    arguments: &RestoreArguments,
    old: &Old,
    origin: &str,
    files: &NewFiles,
    console: &Console<'_>,
) -> Result<RestoreReport, KeepError> {
    software_key(KeyAlgorithm::Ed25519, &files.key, "log")?;
    let text = new_configuration(arguments, origin, files)?;
    write_new(&files.configuration, text.as_bytes())?;
    let folder = files
        .configuration
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| failed(folder, source))?;

    let bar = console.bar("verifying the backup", "records", Some(0));
    let progress = |progress: Progress| {
        bar.set_length(progress.records_total);
        bar.set_position(progress.records);
    };
    let check = |_: RecordIndex, record: &[u8]| old.check(record);
    let plan = RestorePlan {
        old_key: &old.key,
        signer: Arc::new(LogKey::read(&files.key, origin)?),
        keys: Arc::new(RecordKeyExtractor),
        record: Some(&check),
        options: Options {
            accept_clock: arguments.accept_clock,
            ..Options::default()
        },
        progress: Some(&progress),
    };
    let restored = restore(&log_directory(&arguments.backup), &arguments.dir, &plan);
    bar.finish_and_clear();
    Ok(restored?)
}

/// The old configuration with the new log in it.
fn new_configuration(
    arguments: &RestoreArguments,
    origin: &str,
    files: &NewFiles,
) -> Result<String, KeepError> {
    let path = &arguments.config;
    let text = fs::read_to_string(path).map_err(|source| failed(path, source))?;
    let unreadable = |error: String| failed(path, io::Error::other(error));
    let mut table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| unreadable(error.to_string()))?;
    let log = table.get_mut("log").and_then(toml::Value::as_table_mut);
    let log = log.ok_or_else(|| unreadable("[log] is missing".to_owned()))?;
    let dir = std::path::absolute(&arguments.dir).map_err(|source| failed(path, source))?;
    let mut set = |key: &str, value: &Path| -> Result<(), KeepError> {
        let value = value.to_str().ok_or_else(|| {
            let text = "a path in a configuration has to be UTF-8";
            failed(value, io::Error::new(io::ErrorKind::InvalidInput, text))
        })?;
        log.insert(key.to_owned(), toml::Value::String(value.to_owned()));
        Ok(())
    };
    set("directory", &dir)?;
    set("origin", Path::new(origin))?;
    set("key", Path::new(files.key.file_name().unwrap_or_default()))?;
    let body = toml::to_string(&table).map_err(|error| unreadable(error.to_string()))?;
    Ok(format!(
        "# Configuration of one issuing CA, whose log was restored from a backup. Paths are relative to \
         this file.\n\n{body}"
    ))
}

/// The files that a restored log comes with, beside the old configuration.
struct NewFiles {
    configuration: PathBuf,
    key: PathBuf,
}

impl NewFiles {
    fn beside(arguments: &RestoreArguments) -> Result<NewFiles, KeepError> {
        let default = PathBuf::from(NEW_CONFIG);
        let name = arguments.new_config.as_ref().unwrap_or(&default);
        let only_a_name = name.file_name().is_some_and(|file| Path::new(file) == name);
        let folder = arguments.config.parent().unwrap_or(Path::new(""));
        if !only_a_name && name.parent() != Some(folder) {
            return Err(KeepError::NewConfig { path: name.clone() });
        }
        let configuration = folder.join(name.file_name().unwrap_or_default());
        let key = configuration.with_extension("key");
        for path in [&configuration, &key] {
            if path.symlink_metadata().is_ok() {
                return Err(KeepError::FileExists { path: path.clone() });
            }
        }
        Ok(NewFiles { configuration, key })
    }

    /// Takes back what this run has made. Best effort: the next run says what is in its way.
    fn remove(&self) {
        let _ = fs::remove_file(&self.configuration);
        let _ = fs::remove_file(&self.key);
    }
}

/// The report as JSON.
#[derive(Serialize)]
struct Restored {
    log: PathBuf,
    configuration: PathBuf,
    key: PathBuf,
    origin: String,
    vkey: String,
    old_origin: String,
    old_size: u64,
    old_root: String,
    records: u64,
    /// Records after the old log's checkpoint: covered by no signature of it.
    unsigned: u64,
    restored_record: u64,
    lost_written: u64,
    /// From here …
    known_until_ms: u64,
    /// … to here the old log may have issued what this one does not know.
    unknown_until_ms: u64,
    /// The old log's directory, which is still there: nothing may be issued from it any more.
    old_log: Option<PathBuf>,
}

impl Restored {
    fn new(
        arguments: &RestoreArguments,
        files: &NewFiles,
        origin: String,
        report: &RestoreReport,
        old_log: Option<PathBuf>,
    ) -> Restored {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        Restored {
            log: arguments.dir.clone(),
            configuration: files.configuration.clone(),
            key: files.key.clone(),
            origin,
            vkey: report.vkey.clone(),
            old_origin: report.old.origin.clone(),
            old_size: report.old.size,
            old_root: report.old.root.to_string(),
            records: report.records,
            unsigned: report.unsigned,
            restored_record: report.act.0,
            lost_written: report.lost_written,
            known_until_ms: report.known_until_ms,
            unknown_until_ms: now_ms,
            old_log,
        }
    }

    fn text(&self) -> String {
        let known = match self.known_until_ms {
            0 => "the beginning".to_owned(),
            known => rfc3339(known),
        };
        let mut text = format!(
            "{}: restored\n  records        {} from {}\n  lost           {} reservations that were open\n  \
             origin         {}\n  signed by      {}\n  configuration  {}\n  key            {}\n\n\
             NOT KNOWN: what the old log issued from {known} to {}.\n\
             A device of that time that comes again gets a second certificate. Find those certificates \
             elsewhere (lines, databases, witnesses) before you issue.\n",
            self.log.display(),
            grouped(self.records),
            self.old_origin,
            grouped(self.lost_written),
            self.origin,
            self.vkey,
            self.configuration.display(),
            self.key.display(),
            rfc3339(self.unknown_until_ms),
        );
        if self.unsigned > 0 {
            text.push_str(&format!(
                "\n{} records after the checkpoint are covered by no signature of the old log. Their \
                 certificates are the issuer's; whether records are missing there cannot be told.\n",
                grouped(self.unsigned)
            ));
        }
        if let Some(old) = &self.old_log {
            text.push_str(&format!(
                "\nWARNING: the old log is still in {}. Never issue from it again, here or anywhere: two logs \
                 that go on certify the same device twice. Move it away and keep it as evidence.\n",
                old.display()
            ));
        }
        text
    }
}

fn failed(path: &Path, source: io::Error) -> KeepError {
    KeepError::File {
        path: path.to_owned(),
        source,
    }
}
