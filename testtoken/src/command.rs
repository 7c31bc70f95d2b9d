//! Commands while the token runs: a line each, a word or a setting of the configuration.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::configuration::{KeyChoice, parse_toml};
use crate::lock;
use crate::pace::LatencySetting;
use crate::schedule::{FaultSetting, Rule};

/// Longest command in bytes, line break excluded.
pub(crate) const COMMAND_LEN_MAX: usize = 4096;

/// How often the control file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Most bytes of commands read at a time.
const READ_MAX: u64 = 64 * 1024;

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    Remove,
    Return,
    ReleaseHangs,
    LoseSessions,
    LoseLogin,
    LoseHandles,
    ClearFaults,
    UnlockPin,
    WriteReport,
    Set(Settings),
}

/// What a command sets.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) fault: Option<Rule>,
    pub(crate) latency: Option<LatencySetting>,
    pub(crate) rate_cap: Option<f64>,
    pub(crate) key: Option<KeyChoice>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    fault: Option<FaultSetting>,
    latency: Option<LatencySetting>,
    rate_cap: Option<f64>,
    key: Option<KeyChoice>,
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(crate) fn parse(line: &str) -> Result<Command, String> {
        Ok(match line.trim() {
            "remove" => Command::Remove,
            "return" => Command::Return,
            "release-hangs" => Command::ReleaseHangs,
            "lose-sessions" => Command::LoseSessions,
            "lose-login" => Command::LoseLogin,
            "lose-handles" => Command::LoseHandles,
            "clear-faults" => Command::ClearFaults,
            "unlock-pin" => Command::UnlockPin,
            "write-report" => Command::WriteReport,
            setting if setting.contains('=') && setting.len() <= COMMAND_LEN_MAX => {
                let raw: RawSettings = parse_toml(setting).map_err(|error| error.to_string())?;
                Command::Set(Settings {
                    fault: raw.fault.map(FaultSetting::rule).transpose()?,
                    latency: raw.latency,
                    rate_cap: raw.rate_cap,
                    key: raw.key,
                })
            }
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(format!("'{shown}' is no command"));
            }
        })
    }
}

/// A file whose lines are commands, for tests that run another process. It is looked at when a
/// function is called and while one hangs; there is no thread for it.
#[derive(Debug, Default)]
pub(crate) struct ControlFile {
    state: Mutex<FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    looked: Option<Instant>,
    read_to: u64,
}

impl ControlFile {
    /// The whole lines that were added since the last look. Nothing when another thread looks.
    pub(crate) fn new_lines(&self, path: &Path, now: Instant) -> Vec<String> {
        let Ok(mut state) = self.state.try_lock() else {
            return Vec::new();
        };
        let early = |looked: Instant| now.saturating_duration_since(looked) < LOOK_EVERY;
        if state.looked.is_some_and(early) {
            return Vec::new();
        }
        state.looked = Some(now);
        // No file is no command; it may come later.
        let Ok(bytes) = read_from(path, state.read_to) else {
            return Vec::new();
        };
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        state.read_to += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        text.lines().map(str::to_owned).collect()
    }

    /// Reads the file from its beginning again.
    pub(crate) fn rewind(&self) {
        *lock(&self.state) = FileState::default();
    }
}

fn read_from(path: &Path, start: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn words_and_settings_are_read() {
        assert!(matches!(Command::parse(" remove\n"), Ok(Command::Remove)));
        let parsed = Command::parse("fault = { function = 'C_Sign', code = 'CKR_DEVICE_ERROR' }");
        assert!(matches!(
            parsed,
            Ok(Command::Set(Settings { fault: Some(_), .. }))
        ));
        let parsed = Command::parse("key = 'wrong'");
        assert!(matches!(
            parsed,
            Ok(Command::Set(Settings {
                key: Some(KeyChoice::Wrong),
                ..
            }))
        ));
        for (wrong, reason) in [
            ("", "no command"),
            ("vanish", "'vanish' is no command"),
            ("fault = { code = 'CKR_DEVICE_ERROR' }", "needs a function"),
            ("pin = '1234'", "unknown field"),
        ] {
            let error = Command::parse(wrong).unwrap_err();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_control_file_is_read_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let control = ControlFile::default();
        let start = Instant::now();
        let look = |ms| control.new_lines(&path, start + Duration::from_millis(ms));
        assert!(look(0).is_empty(), "there is none yet");
        fs::write(&path, "remove\nret").unwrap();
        assert!(look(5).is_empty(), "too early");
        assert_eq!(look(10), ["remove"]);
        fs::write(&path, "remove\nreturn\n").unwrap();
        assert_eq!(look(20), ["return"]);
        assert!(look(30).is_empty());
        fs::write(&path, b"remove\nreturn\n\xff\nremove\n").unwrap();
        assert_eq!(look(40), ["\u{fffd}", "remove"]);
        control.rewind();
        assert_eq!(look(60).len(), 4);
    }
}
