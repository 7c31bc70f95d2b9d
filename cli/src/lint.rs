//! `birthmark lint`: what is wrong with certificates, anybody's.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use birthmark_engine::lint::{Finding, IssuerView, IssuerViewError, Options, RULES, Severity};
use birthmark_engine::profile::ReadyMade;
use birthmark_engine::{Profile, ProfileError};
use clap::Args;
use serde::Serialize;

use crate::command::{CommandError, Exit};
use crate::console::Console;
use crate::input::{InputError, InputItem, InputRejection, Inputs};

/// `birthmark lint …`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark lint device.pem\n  \
    birthmark lint --issuer ca/issuing-ca.pem --profile idevid certificates/\n  \
    openssl x509 -in leaf.der -inform der | birthmark lint --json -\n  \
    birthmark lint --rules\n\n\
    One line for each finding on standard output, 'INPUT: SEVERITY RULE: what is wrong (source)'.\n\
    A certificate without a line has no finding. With --issuer the signature is verified too.\n\n\
    Exit codes: 0 no error-level finding, 1 at least one (or an input that holds no certificate), 2 usage.")]
pub struct LintArguments {
    /// The issuing CA's certificate, PEM or DER: names, times, key identifiers and the signature are held
    /// against it.
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer: Option<PathBuf>,
    /// A profile, whose own rules count too: the name of a ready-made one, or a profile's file.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// One JSON object per certificate and line, also for those without findings.
    #[arg(long)]
    pub(crate) json: bool,
    /// List the rules and end.
    #[arg(long)]
    pub(crate) rules: bool,
    /// PEM (many per file) or DER certificates, directories (in name order), or '-'.
    #[arg(value_name = "CERT", required_unless_present = "rules")]
    pub(crate) inputs: Vec<PathBuf>,
}

/// Why certificates cannot be linted as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// The issuer's file cannot be read.
    #[error(transparent)]
    Input(InputError),
    /// The issuer's file does not hold one certificate.
    #[error("{}: {problem}; name the certificate of one issuing CA", path.display())]
    Issuer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The issuer's certificate cannot be read.
    #[error("{}: cannot use the issuer's certificate", path.display())]
    IssuerView {
        /// The file.
        path: PathBuf,
        /// What is missing.
        #[source]
        source: IssuerViewError,
    },
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// A finding in JSON.
#[derive(Serialize)]
struct JsonFinding<'a> {
    severity: &'static str,
    rule: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    source: &'static str,
}

/// A rule in JSON.
#[derive(Serialize)]
struct JsonRule {
    rule: &'static str,
    severity: &'static str,
    source: &'static str,
    text: &'static str,
}

/// One certificate in JSON.
#[derive(Serialize)]
struct JsonItem<'a> {
    input: &'a str,
    findings: Vec<JsonFinding<'a>>,
}

impl<'a> JsonFinding<'a> {
    fn new(finding: &'a Finding) -> Self {
        Self {
            severity: finding.rule.severity.name(),
            rule: finding.rule.id,
            text: finding.rule.text,
            detail: finding.detail.as_deref(),
            source: finding.rule.source,
        }
    }

    fn no_certificate(text: &'a str) -> Self {
        Self {
            severity: Severity::Error.name(),
            rule: NO_CERTIFICATE,
            text,
            detail: None,
            source: NO_CERTIFICATE_SOURCE,
        }
    }
}

/// What findings say of an input that is none, in place of a rule.
const NO_CERTIFICATE: &str = "no-certificate";
const NO_CERTIFICATE_SOURCE: &str = "RFC 7468 §5";

/// Lints what the arguments name.
pub(crate) fn run(
    arguments: &LintArguments,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    if arguments.rules {
        return list_rules(arguments.json, console);
    }
    let issuer = arguments.issuer.as_deref().map(read_issuer).transpose()?;
    let profile = arguments.profile.as_deref().map(read_profile).transpose()?;
    let options = Options {
        issuer: issuer.as_ref(),
        profile: profile.as_ref(),
        ..Options::default()
    };

    let mut errors = false;
    let mut written = Ok(());
    let inputs = Inputs::open_certificates(&arguments.inputs)?;
    let _ = inputs.read(&mut |item| {
        let (text, error) = judge(&item, &options, arguments.json);
        errors |= error;
        written = console.out.write_all(text.as_bytes());
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(if errors { Exit::Rejected } else { Exit::Done })
}

/// The lines for one input, and whether there is an error among them.
fn judge(item: &InputItem, options: &Options<'_>, json: bool) -> (String, bool) {
    // A name is a path, and may hold anything.
    let name = item.name.escape_debug().to_string();
    let (findings, problem) = match &item.request {
        Ok(der) => (birthmark_engine::lint::lint(der, options), None),
        Err(rejection) => (Vec::new(), Some(problem(rejection))),
    };
    let error = problem.is_some()
        || findings
            .iter()
            .any(|finding| finding.rule.severity == Severity::Error);
    let text = if json {
        let of_problem = problem.as_deref().map(JsonFinding::no_certificate);
        let findings = findings.iter().map(JsonFinding::new);
        let item = JsonItem {
            input: &item.name,
            findings: findings.chain(of_problem).collect(),
        };
        serde_json::to_string(&item).unwrap_or_default() + "\n"
    } else {
        let of_problem = problem.map(|problem| {
            let severity = Severity::Error;
            format!("{name}: {severity} {NO_CERTIFICATE}: {problem} ({NO_CERTIFICATE_SOURCE})\n")
        });
        let line = |finding: &Finding| {
            let (severity, id) = (finding.rule.severity, finding.rule.id);
            format!("{name}: {severity} {id}: {finding}\n")
        };
        findings.iter().map(line).chain(of_problem).collect()
    };
    (text, error)
}

fn problem(rejection: &InputRejection) -> String {
    match rejection {
        InputRejection::NotARequest => {
            "the input is neither PEM (no BEGIN CERTIFICATE line) nor DER (first byte not 30)"
                .to_owned()
        }
        other => other.to_string(),
    }
}

fn read_issuer(path: &Path) -> Result<IssuerView, LintError> {
    let mut found = Vec::new();
    let inputs = Inputs::open_certificates(&[path.to_owned()]).map_err(LintError::Input)?;
    let _ = inputs.read(&mut |item| {
        found.push(item.request);
        // Two are one too many.
        if found.len() > 1 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let issuer = |problem: String| LintError::Issuer {
        path: path.to_owned(),
        problem,
    };
    if found.len() > 1 {
        return Err(issuer("it holds more than one certificate".to_owned()));
    }
    let der = match found.pop() {
        Some(Ok(der)) => der,
        Some(Err(rejection)) => return Err(issuer(problem(&rejection))),
        None => return Err(issuer("it holds no certificate".to_owned())),
    };
    IssuerView::from_der(&der).map_err(|source| LintError::IssuerView {
        path: path.to_owned(),
        source,
    })
}

/// A ready-made profile by its name, or a file.
fn read_profile(name: &Path) -> Result<Profile, LintError> {
    let profile = match name.to_str().and_then(ReadyMade::by_name) {
        Some(ready) => Profile::parse(ready.toml, name),
        None => Profile::read(name),
    };
    Ok(profile?)
}

fn list_rules(json: bool, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| JsonRule {
            rule: rule.id,
            severity: rule.severity.name(),
            source: rule.source,
            text: rule.text,
        })
        .collect();
    let width = |column: fn(&JsonRule) -> usize| rules.iter().map(column).max().unwrap_or(0);
    let (rule_width, source_width) = (
        width(|rule| rule.rule.len()),
        width(|rule| rule.source.chars().count()),
    );
    let text: String = rules
        .iter()
        .map(|rule| {
            let (id, severity, source, text) = (rule.rule, rule.severity, rule.source, rule.text);
            format!("{id:rule_width$}  {severity:7}  {source:source_width$}  {text}\n")
        })
        .collect();
    let written = console.result(json, &rules, &text);
    written.map_err(CommandError::output)?;
    Ok(Exit::Done)
}
