//! The grammar of the commands that keep a log.

use std::path::PathBuf;
use std::time::Duration;

use birthmark_engine::WitnessAddress;
use birthmark_log::tlog::VerifierKey;
use clap::{Args, Subcommand};

use crate::records::parse_time;

#[derive(Debug, Subcommand)]
pub(crate) enum KeepCommand {
    /// Copy everything that the log has acknowledged, also while it grows.
    Backup(BackupArguments),
    /// Move old records to another disk; their hashes stay in the log.
    Archive(ArchiveArguments),
    /// Make a new log, with a new origin and key, from the backup of a lost one.
    Restore(RestoreArguments),
    /// Have the log's checkpoints cosigned by witnesses, who notice when it is rolled back.
    Witness(WitnessArguments),
    /// Keep a verified copy of what a log publishes.
    Follow(FollowArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log backup ca/log /mnt/backup/line-1\n  \
    birthmark log backup ca/log /mnt/backup/line-1 --verify-all --json\n\n\
    Run it as often as you like, on a log in use too: what is there already is not copied again, and\n\
    an interrupted backup is gone on with. It says done when everything is durable and was checked:\n\
    tiles and records read back from the disk, write-ahead segments through the file system.\n\
    Exit code 4: the log has less than the backup, or something else: it was rolled back or forked.\n\
    Restore with 'birthmark log restore'; never issue from a backup.")]
pub(crate) struct BackupArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Where the backup goes: an empty directory, or an earlier backup of this log.
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
    /// Check all of the backup in the end, and not only what is new in it.
    #[arg(long)]
    pub(crate) verify_all: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log archive ca/log /mnt/archive/line-1 --keep 10000000 --dry-run\n  \
    birthmark log archive ca/log /mnt/archive/line-1 --before 2026-01-01\n\n\
    The log may be in use, and the command may be interrupted: run it again. A record leaves the log when it\n\
    is durable in the archive and was read back. The log reads the archive by itself while it is mounted at\n\
    DEST. While it is not: new devices are served, a device whose records are there is told so (archived).\n\
    Back the archive up as well: its records are nowhere else. Whoever serves the log's folder public to\n\
    followers serves the archive's tile/entries, too. Exit code 3: stopped; everything is where it was.")]
pub(crate) struct ArchiveArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Where old records go: an empty directory, or an earlier archive of this log.
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
    #[command(flatten)]
    pub(crate) limit: ArchiveLimitArguments,
    /// Say what would be moved, and move nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also move records that the index on the disk does not cover: for a log that issues no more. It
    /// opens only while the archive is mounted.
    #[arg(long)]
    pub(crate) beyond_index: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ArchiveLimitArguments {
    /// Keep at least the newest N records in the log.
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<u64>,
    /// Move records from before this time: a date (UTC), or a time like 2026-11-22T06:00:00+01:00.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log restore /mnt/backup/line-1 ca/log-2 --config ca/birthmark.toml\n  \
    birthmark log restore /mnt/backup/line-1 ca/log-2 --config ca/birthmark.toml \\\n      \
    --origin example.com/line-1b --vkey 'example.com/line-1+530d903a+Aekye…'\n\n\
    The new log has every record of the backup under its old index, so known devices get their\n\
    certificates again and duplicates are refused. It has a new origin and a new key: going on under the\n\
    old ones would sign a second history. A new configuration is written beside the old one; issue with\n\
    that from now on. What the old log issued after the backup is not known; the command prints since when.\n\
    Records after the backup's last checkpoint are covered by no signature of the old log: each certificate\n\
    in them is checked against the issuer of the configuration, and their number is printed.\n\
    Stop the old station for good first: two logs that go on certify the same device twice.")]
pub(crate) struct RestoreArguments {
    /// The backup, or any other copy of the log's directory.
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: PathBuf,
    /// Directory of the new log; must not exist or be empty.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The configuration of the station whose log was lost.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The new configuration, in the same folder [default: birthmark-restored.toml]
    #[arg(long, value_name = "NAME")]
    pub(crate) new_config: Option<PathBuf>,
    /// Origin of the new log [default: birthmark.invalid/<random>]
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// Verifier key of the old log [default: that of the key file in the configuration]
    #[arg(long, value_name = "VKEY")]
    pub(crate) vkey: Option<VerifierKey>,
    /// An officer accepts the clock although it is far ahead of the last record.
    #[arg(long)]
    pub(crate) accept_clock: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log witness ca/log --config ca/birthmark.toml\n  \
    birthmark log witness ca/log --once --witness 'https://witness.example witness.example+2d7f…+BA…'\n\n\
    The witnesses of the configuration are entries [[log.witness]] with url and vkey (C2SP tlog-witness).\n\
    Cosignatures are kept in the folder witness of the log. Exit code 1: a witness did not answer or\n\
    does not know the log; 3: a fault here; 4: a witness says that it knows more or something else than the\n\
    log has (all others were asked before): compare with another witness. Without --once only 4 ends it.")]
pub(crate) struct WitnessArguments {
    /// The log's directory (or the CA's directory that holds it). It may be in use.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The configuration that names the witnesses.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A witness: its address and its verifier key, with a space between; may be repeated.
    #[arg(long, value_name = "URL VKEY", value_parser = witness)]
    pub(crate) witness: Vec<WitnessAddress>,
    /// Push once and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// Time between two pushes, in seconds or as 10s, 5m, 1h.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Print each round as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log follow https://logs.example/line-1 copy --vkey 'example.com/line-1+530d903a+Aekye…'\n  \
    birthmark log follow ca/log copy --once --vkey \"$(cat ca/log/vkey)\"\n\n\
    Works from any static file server (C2SP tlog-tiles) and from a directory. Every record is hashed and\n\
    must lead to the signed root before the copy's checkpoint changes. Exit code 3: the network or a disk;\n\
    4: the log went back or was forked: the copy stays as it was, and the other checkpoint is kept in a\n\
    file 'conflict-…' of the copy.")]
pub(crate) struct FollowArguments {
    /// Address of the published files, or a log's directory.
    #[arg(value_name = "URL|DIR")]
    pub(crate) source: String,
    /// Where the copy is: an empty directory, or an earlier copy of this log.
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
    /// The log's verifier key, from its keeper and not from where the copy comes from.
    #[arg(long, value_name = "VKEY")]
    pub(crate) vkey: VerifierKey,
    /// Bring the copy up to date once and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// Time between two looks, in seconds or as 10s, 5m, 1h.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Print each change as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Longest interval: a day.
const INTERVAL_S_MAX: u64 = 24 * 3600;

fn interval(text: &str) -> Result<Duration, String> {
    let (digits, unit_s) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let seconds = digits.parse::<u64>().ok();
    let seconds = seconds.and_then(|count| count.checked_mul(unit_s));
    match seconds {
        Some(seconds @ 1..=INTERVAL_S_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err("write 1s to 24h, for example 10s".to_owned()),
    }
}

fn time(text: &str) -> Result<u64, String> {
    parse_time(text).ok_or_else(|| {
        "write a date like 2026-11-22 or a time like 2026-11-22T06:00:00Z".to_owned()
    })
}

fn witness(text: &str) -> Result<WitnessAddress, String> {
    let (url, vkey) = text
        .split_once(' ')
        .ok_or("write the address, a space and the verifier key")?;
    WitnessAddress::new(url, vkey.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(interval("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(interval("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(interval("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(interval("7"), Ok(Duration::from_secs(7)));
        for wrong in [
            "",
            "0",
            "s",
            "25h",
            "-1s",
            "1d",
            "99999999999999999999h",
            "1\u{e9}",
        ] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
