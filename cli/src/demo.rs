//! `birthmark demo`: the whole job once, with a throw-away CA, and how fast it was.

mod network_hsm;
mod softhsm;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use birthmark_engine::record::Record;
use birthmark_engine::{Configuration, Engine};
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::{Corpus, Options, Report, measure};
use birthmark_log::{LogReader, RecordIndex};
use serde::Serialize;

use crate::args::DemoSigner;
use crate::ceremony::{self, CaPlan, CreatedCa, KeyPlace};
use crate::command::{CommandError, Exit};
use crate::console::{Console, grouped};
use crate::subject::{Subject, SubjectError};
use crate::{records, text};

pub use network_hsm::NetworkHsmError;
pub use softhsm::SoftHsmError;

/// Certificates in a demonstration unless `--count` says otherwise: some ten seconds of work.
pub const DEMO_COUNT_DEFAULT: u64 = 200_000;

/// The profile of the demonstration, one of the two that the ceremony writes.
const PROFILE: &str = "idevid";

/// The devices' keys derive from this and their number. Every demonstration has the same devices.
const CORPUS_SEED: u64 = 1;

/// Only a directory with this file in it is ever cleared.
const MARKER_FILE: &str = ".birthmark-demo";
const MARKER_TEXT: &str = "Made by 'birthmark demo', which replaces what it made here.\n";
const CA_DIRECTORY: &str = "ca";
const CORPUS_FILE: &str = "requests.corpus";
const CERTIFICATE_FILE: &str = "certificate.pem";
const SOFTHSM_DIRECTORY: &str = "softhsm";
const NETWORK_HSM_DIRECTORY: &str = "network-hsm";

/// What to demonstrate.
#[derive(Clone, Debug)]
pub struct DemoPlan {
    /// Number of certificates.
    pub count: u64,
    /// What signs.
    pub signer: DemoSigner,
    /// Where the files go: new, empty, or an earlier demonstration's.
    pub directory: PathBuf,
    /// The report as JSON.
    pub json: bool,
}

/// Why a demonstration cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The directory holds something else.
    #[error(
        "{} is not empty and not an earlier demonstration; it is left as it is, choose another --dir",
        path.display()
    )]
    NotADemo {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory could not be made or removed.
    #[error("cannot {action} {}; check space and permissions", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The demonstration's own CA name was refused.
    #[error("the demonstration's CA has no valid name; report this")]
    Subject(#[from] SubjectError),
    /// SoftHSM is not there or does not work.
    #[error(transparent)]
    SoftHsm(#[from] SoftHsmError),
    /// The module that plays a network HSM is not there or does not work.
    #[error(transparent)]
    NetworkHsm(#[from] NetworkHsmError),
    /// The CA could not be made.
    #[error(transparent)]
    Ceremony(#[from] ceremony::CeremonyError),
    /// The requests could not be made.
    #[error("cannot make the requests")]
    Corpus(#[from] birthmark_loadgen::CorpusError),
    /// The run could not be made.
    #[error("cannot measure")]
    Measure(#[from] birthmark_loadgen::MeasureError),
    /// The log does not hold what the run issued.
    #[error("the log holds {found} records and {expected} were written; report this")]
    RecordCount {
        /// Records found.
        found: u64,
        /// Certificates issued, and the start.
        expected: u64,
    },
    /// There is no certificate among the first records.
    #[error("the log's first records are no certificates; report this")]
    NoCertificate,
}

/// Runs the demonstration.
///
/// # Errors
///
/// The directory is not one of ours, SoftHSM is missing, a part fails to start, or the log does
/// not verify.
pub fn run(plan: &DemoPlan, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let directory = prepare(&plan.directory)?;
    let signer = key_place(plan.signer, &directory)?;
    let subject: Subject = "O=Acme,CN=Acme Demo Issuing CA"
        .parse()
        .map_err(DemoError::Subject)?;
    let mut ca = CaPlan::new(directory.join(CA_DIRECTORY), subject);
    ca.signer = signer;
    ca.sessions = (plan.signer == DemoSigner::NetworkHsm).then_some(network_hsm::SESSIONS);
    let created = ceremony::create(&ca).map_err(DemoError::Ceremony)?;

    let corpus = make_corpus(&directory.join(CORPUS_FILE), plan.count, console)?;
    let configuration = Configuration::load(&created.configuration)?;
    let station = configuration.station()?;
    // A start with a key on a token is a record too.
    let starts = u64::from(station.activation.is_some());
    let engine = Engine::open(station)?;
    let bar = console.bar("issuing", "certificates", Some(plan.count));
    // Loops that wait for a token as long as the engine's sessions do need as many threads.
    let options = Options {
        limit_threads: ca.sessions,
        ..Options::default()
    };
    let report = measure(&engine, &corpus, PROFILE, &options, &mut |answered| {
        bar.set_position(answered);
    });
    bar.finish_and_clear();
    engine.close()?;
    let report = report.map_err(DemoError::Measure)?;

    let verified = records::check(&created.log, console)?;
    let found = verified.records;
    let expected = report.certificates - report.existing + starts;
    if found < expected || (!report.has_faults() && found != expected) {
        return Err(DemoError::RecordCount { found, expected }.into());
    }
    let certificate = first_certificate(&created.log)?;
    let certificate_file = directory.join(CERTIFICATE_FILE);
    let pem = records::pem(&certificate);
    fs::write(&certificate_file, &pem)
        .map_err(|source| failed("write", &certificate_file, source))?;

    let shown = Shown {
        report: &report,
        created: &created,
        corpus: &corpus,
        certificate_file,
    };
    let text = if plan.json {
        shown.json()
    } else {
        let described = text::describe(&certificate, "  ").unwrap_or_default();
        format!(
            "{}\nOne of the certificates:\n{described}{pem}",
            shown.human(&verified)
        )
    };
    let written = console
        .out
        .write_all(text.as_bytes())
        .and_then(|()| console.out.flush());
    written.map_err(CommandError::output)?;
    Ok(match () {
        () if report.has_faults() || report.doubled > 0 => Exit::Fault,
        () if report.rejected > 0 => Exit::Rejected,
        () => Exit::Done,
    })
}

/// Where the issuing key is to be made.
fn key_place(signer: DemoSigner, directory: &Path) -> Result<KeyPlace, DemoError> {
    Ok(match signer {
        DemoSigner::Software => KeyPlace::Software,
        DemoSigner::Softhsm => {
            // Does not return when SoftHSM's configuration has to be set first: the module reads
            // it from the environment, and this process cannot safely change its own.
            let token = softhsm::token(&directory.join(SOFTHSM_DIRECTORY));
            KeyPlace::Token(Box::new(token.map_err(DemoError::SoftHsm)?))
        }
        DemoSigner::NetworkHsm => {
            let token = network_hsm::token(&directory.join(NETWORK_HSM_DIRECTORY));
            KeyPlace::Token(Box::new(token.map_err(DemoError::NetworkHsm)?))
        }
    })
}

/// Makes the directory, or clears what an earlier demonstration made there. Absolute, because
/// SoftHSM's configuration needs that.
fn prepare(directory: &Path) -> Result<PathBuf, DemoError> {
    fs::create_dir_all(directory).map_err(|source| failed("create", directory, source))?;
    let directory =
        fs::canonicalize(directory).map_err(|source| failed("find", directory, source))?;
    let marker = directory.join(MARKER_FILE);
    if !marker.exists() {
        let mut entries =
            fs::read_dir(&directory).map_err(|source| failed("read", &directory, source))?;
        if entries.next().is_some() {
            return Err(DemoError::NotADemo { path: directory });
        }
        fs::write(&marker, MARKER_TEXT).map_err(|source| failed("write", &marker, source))?;
    }
    // Only what a demonstration makes goes. The token directory stays: in a process that was
    // started again with its configuration it is in use; `softhsm` clears it itself.
    remove(&directory.join(CA_DIRECTORY))?;
    remove(&directory.join(CORPUS_FILE))?;
    remove(&directory.join(CERTIFICATE_FILE))?;
    Ok(directory)
}

/// Removes a file or a directory tree if it is there.
fn remove(path: &Path) -> Result<(), DemoError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|source| failed("remove", path, source))
}

fn make_corpus(path: &Path, count: u64, console: &Console<'_>) -> Result<Corpus, DemoError> {
    let bar = console.bar("making requests", "requests", Some(count));
    let algorithm = KeyAlgorithm::EcP256;
    let made = Corpus::make(path, count, algorithm, CORPUS_SEED, &mut |made| {
        bar.set_position(made)
    });
    bar.finish_and_clear();
    Ok(made?)
}

fn first_certificate(log: &Path) -> Result<Vec<u8>, CommandError> {
    /// The records of one start may stand before it.
    const BEFORE_MAX: u64 = 8;
    let reader = LogReader::open(log)?;
    for index in 0..reader.len().min(BEFORE_MAX) {
        if let Ok(Record::Issued(issued)) = Record::decode(&reader.read(RecordIndex(index))?) {
            return Ok(issued.certificate.to_vec());
        }
    }
    Err(DemoError::NoCertificate.into())
}

/// What the demonstration tells.
struct Shown<'a> {
    report: &'a Report,
    created: &'a CreatedCa,
    corpus: &'a Corpus,
    certificate_file: PathBuf,
}

/// The load generator's keys, and where the files are.
#[derive(Serialize)]
struct ReportJson<'a> {
    #[serde(flatten)]
    report: &'a Report,
    log_verified: bool,
    configuration: &'a Path,
    log: &'a Path,
    root_certificate: &'a Path,
    issuing_certificate: &'a Path,
    corpus: &'a Path,
    certificate: &'a Path,
}

impl Shown<'_> {
    fn json(&self) -> String {
        let json = ReportJson {
            report: self.report,
            // A log that does not verify ends the demonstration before this.
            log_verified: true,
            configuration: &self.created.configuration,
            log: &self.created.log,
            root_certificate: &self.created.root_certificate,
            issuing_certificate: &self.created.issuing_certificate,
            corpus: self.corpus.path(),
            certificate: &self.certificate_file,
        };
        serde_json::to_string_pretty(&json)
            .map(|text| text + "\n")
            .unwrap_or_default()
    }

    fn human(&self, verified: &birthmark_log::VerifyReport) -> String {
        let mut text = self.report.to_string();
        let created = self.created;
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<18}{value}");
        };
        let published = verified.checkpoint.as_ref().map_or(0, |it| it.size);
        let (records, published) = (grouped(verified.records), grouped(published));
        line(
            "log verified",
            &format!("{records} records, {published} in the checkpoint"),
        );
        for (name, path) in [
            ("configuration", created.configuration.as_path()),
            ("log", &created.log),
            ("root CA", &created.root_certificate),
            ("issuing CA", &created.issuing_certificate),
            ("requests", self.corpus.path()),
            ("one certificate", &self.certificate_file),
        ] {
            line(name, &path.display().to_string());
        }
        line(
            "check it with",
            &format!(
                "openssl verify -x509_strict -CAfile {} -untrusted {} {}",
                shell_word(&created.root_certificate),
                shell_word(&created.issuing_certificate),
                shell_word(&self.certificate_file)
            ),
        );
        text
    }
}

/// A path as a shell takes it for one word.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> DemoError {
    DemoError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_directory_is_cleared() {
        let outer = tempfile::tempdir().unwrap();
        let foreign = outer.path().join("foreign");
        fs::create_dir_all(foreign.join(CA_DIRECTORY)).unwrap();
        assert!(matches!(prepare(&foreign), Err(DemoError::NotADemo { .. })));
        assert!(foreign.join(CA_DIRECTORY).exists());

        let own = prepare(&outer.path().join("new/demo")).unwrap();
        fs::create_dir_all(own.join(CA_DIRECTORY).join("log")).unwrap();
        fs::write(own.join(CORPUS_FILE), "x").unwrap();
        fs::write(own.join("notes.txt"), "mine").unwrap();
        assert_eq!(prepare(&own).unwrap(), own);
        assert!(!own.join(CA_DIRECTORY).exists() && !own.join(CORPUS_FILE).exists());
        assert!(own.join("notes.txt").exists(), "what it did not make stays");
    }
}
