//! The grammar of the commands that keep a log.

use std::path::PathBuf;

use birthmark_log::tlog::VerifierKey;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum KeepCommand {
    /// Copy everything that the log has acknowledged, also while it grows.
    Backup(BackupArguments),
    /// Make a new log, with a new origin and key, from the backup of a lost one.
    Restore(RestoreArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log backup ca/log /mnt/backup/line-1\n  \
    birthmark log backup ca/log /mnt/backup/line-1 --verify-all --json\n\n\
    Run it as often as you like, on a log in use too: what is there already is not copied again, and\n\
    an interrupted backup is gone on with. It says done when everything is durable and was read back.\n\
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
    birthmark log restore /mnt/backup/line-1 ca/log-2 --config ca/birthmark.toml\n  \
    birthmark log restore /mnt/backup/line-1 ca/log-2 --config ca/birthmark.toml \\\n      \
    --origin example.com/line-1b --vkey 'example.com/line-1+530d903a+Aekye…'\n\n\
    The new log has every record of the backup under its old index, so known devices get their\n\
    certificates again and duplicates are refused. It has a new origin and a new key: going on under the\n\
    old ones would sign a second history. A new configuration is written beside the old one; issue with\n\
    that from now on. What the old log issued after the backup is not known; the command prints since when.")]
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
