//! `birthmark log`: verifies a log, shows and exports its records, and proves what it holds.
//!
//! Everything here works on a log's directory without its keys, and all but `reindex` beside a running
//! writer.
//!
//! | file | subject |
//! | --- | --- |
//! | `verify.rs` | `log verify` |
//! | `show.rs`, `view.rs`, `json.rs` | `log show`, records for people and programs |
//! | `checkpoint.rs` | `log vkey`, `log checkpoint` |
//! | `proof.rs` | `log proof`, `log verify-proof`: receipts |
//! | `consistency.rs` | `log consistency` |
//! | `export.rs`, `csv.rs` | `log export` |
//! | `reindex.rs` | `log reindex` |
//! | `find.rs` | which record has a serial number |
//! | `file.rs`, `time.rs`, `error.rs` | files and times of arguments; what goes wrong |

mod checkpoint;
mod consistency;
mod csv;
mod error;
mod export;
mod file;
mod find;
mod json;
mod proof;
mod reindex;
mod show;
mod time;
mod verify;
mod view;

use std::path::{Path, PathBuf};

pub use checkpoint::{checkpoint, vkey};
pub use consistency::consistency;
pub use error::RecordsError;
pub use export::{ExportFormat, ExportPlan, export};
pub use proof::{ProofPlan, ProofSubject, prove, verify_proof};
pub use reindex::reindex;
pub use show::{Selection, show};
pub use verify::{VerifyPlan, verify};

pub(crate) use time::{parse as parse_time, rfc3339};
pub(crate) use verify::check;
pub(crate) use view::pem;

/// `DIR` itself, or `DIR/log` when the CA's directory was given.
pub(crate) fn log_directory(dir: &Path) -> PathBuf {
    let is_log = |dir: &Path| dir.join("segments").is_dir() || dir.join("public").is_dir();
    let inner = dir.join("log");
    if !is_log(dir) && is_log(&inner) {
        return inner;
    }
    dir.to_owned()
}
