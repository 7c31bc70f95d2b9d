//! `birthmark csr check`: all that is wrong with a request, and what it asks for, without issuing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use birthmark_engine::{
    Configuration, CsrExtension, CsrPolicy, CsrReport, Issuer, KnownBadKeys, Profile, Rejection,
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::args::key_value;
use crate::command::{CommandError, Exit, each_once};
use crate::console::Console;
use crate::input::{InputItem, InputRejection, Inputs};

/// `birthmark csr …`
#[derive(Debug, Subcommand)]
pub(crate) enum CsrCommand {
    /// Tell what requests hold and everything that is wrong with them, without issuing.
    Check(CsrCheckArguments),
}

/// `birthmark csr check …`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark csr check device.csr\n  \
    birthmark csr check --config ca/birthmark.toml --profile idevid device.csr\n  \
    birthmark csr check --json requests/ > findings.ndjson\n  \
    openssl req -new … | birthmark csr check -\n\n\
    Without a profile, form, signature and key are checked. With one, also what it demands, the\n\
    issuing CA's key and the list of known bad keys. The log is not asked: whether key or device\n\
    were certified before shows when the request is issued. Neither the issuing key nor the log is\n\
    needed. docs/REJECTIONS.md explains the numbers.\n\n\
    Exit codes: 0 every request is acceptable, 1 there are findings, 2 usage or configuration.")]
pub(crate) struct CsrCheckArguments {
    /// The station's configuration.
    #[arg(long, value_name = "FILE", requires = "profile")]
    config: Option<PathBuf>,
    /// Name of the certificate profile.
    #[arg(long, value_name = "NAME", requires = "config")]
    profile: Option<String>,
    /// A value that the line would add; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, requires = "profile")]
    data: Vec<(String, String)>,
    /// One JSON line per request.
    #[arg(long)]
    json: bool,
    /// PEM (many per file) or DER requests, directories (in name order), corpus files, or '-'.
    #[arg(value_name = "FILE", required = true)]
    inputs: Vec<PathBuf>,
}

pub(crate) fn run(command: CsrCommand, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    match command {
        CsrCommand::Check(arguments) => check(arguments, console),
    }
}

fn check(arguments: CsrCheckArguments, console: &mut Console<'_>) -> Result<Exit, CommandError> {
    let CsrCheckArguments {
        config,
        profile,
        data,
        json,
        inputs,
    } = arguments;
    let data = each_once(data)?;
    let station = match (config, profile) {
        (Some(config), Some(profile)) => {
            Some(Station::load(&Configuration::load(&config)?, &profile)?)
        }
        _ => None,
    };
    let inputs = Inputs::open(&inputs)?;
    let mut acceptable = true;
    let mut written = Ok(());
    let _ = inputs.read(&mut |item| {
        let told = Told::new(&item, station.as_ref(), &data);
        acceptable &= told.findings.is_empty();
        written = told.write(json, console.out);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    written
        .and_then(|()| console.out.flush())
        .map_err(CommandError::output)?;
    Ok(if acceptable {
        Exit::Done
    } else {
        Exit::Rejected
    })
}

/// What requests are held against.
struct Station {
    issuer: Issuer,
    profile: Profile,
    known_bad_keys: Option<KnownBadKeys>,
}

impl Station {
    fn load(configuration: &Configuration, name: &str) -> Result<Station, CommandError> {
        let profiles = configuration.profiles()?;
        let names: Vec<_> = profiles
            .iter()
            .map(|profile| profile.name().to_owned())
            .collect();
        let profile = profiles.into_iter().find(|profile| profile.name() == name);
        Ok(Station {
            issuer: configuration.issuer()?,
            profile: profile.ok_or_else(|| CommandError::UnknownProfile {
                name: name.to_owned(),
                known: names.join(", "),
            })?,
            known_bad_keys: configuration.known_bad_keys()?,
        })
    }
}

/// One request's report as it is written. The order of the fields is the order of the keys.
#[derive(Serialize)]
struct Told<'a> {
    input: &'a str,
    acceptable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Vec<TypeAndValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_algorithm: Option<String>,
    attributes: Vec<String>,
    extensions: Vec<Extension>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct TypeAndValue {
    r#type: String,
    value: String,
}

#[derive(Serialize)]
struct Key {
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<usize>,
    fingerprint: String,
}

#[derive(Serialize)]
struct Extension {
    name: String,
    critical: bool,
    value: String,
    fate: String,
}

#[derive(Serialize)]
struct Finding {
    number: u16,
    reason: &'static str,
    detail: String,
    rule: &'static str,
    action: String,
}

impl<'a> Told<'a> {
    fn new(
        item: &'a InputItem,
        station: Option<&Station>,
        data: &BTreeMap<String, String>,
    ) -> Told<'a> {
        let input = &item.name;
        let csr = match &item.request {
            Ok(csr) => csr,
            Err(rejection) => return Told::unread(input, rejection),
        };
        let policy = station.map(|station| CsrPolicy {
            profile: &station.profile,
            issuer: &station.issuer,
            data,
            known_bad_keys: station.known_bad_keys.as_ref(),
        });
        Told::examined(input, CsrReport::examine(csr, policy.as_ref()))
    }

    fn examined(input: &'a str, report: CsrReport) -> Told<'a> {
        Told {
            input,
            acceptable: report.findings.is_empty(),
            subject: report.subject.map(|attributes| {
                let attributes = attributes.into_iter();
                attributes
                    .map(|attribute| TypeAndValue {
                        r#type: attribute.name,
                        value: attribute.value,
                    })
                    .collect()
            }),
            key: report.key.map(|key| Key {
                algorithm: key.algorithm,
                bits: key.bits,
                fingerprint: key.fingerprint,
            }),
            signature_algorithm: report.signature_algorithm,
            attributes: report.attributes,
            extensions: report.extensions.into_iter().map(Extension::from).collect(),
            findings: report.findings.iter().map(Finding::from).collect(),
        }
    }

    /// An input in which there is no request.
    fn unread(input: &'a str, rejection: &InputRejection) -> Told<'a> {
        Told {
            input,
            acceptable: false,
            subject: None,
            key: None,
            signature_algorithm: None,
            attributes: Vec::new(),
            extensions: Vec::new(),
            findings: vec![Finding {
                number: rejection.number(),
                reason: rejection.reason(),
                detail: rejection.to_string(),
                rule: rejection.rule(),
                action: rejection.action().to_string(),
            }],
        }
    }

    fn write(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)
        } else {
            self.write_text(out)
        }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = match self.findings.len() {
            0 => "acceptable".to_owned(),
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        };
        writeln!(out, "{}: {verdict}", self.input)?;
        if let Some(subject) = &self.subject {
            let parts = subject.iter();
            let parts: Vec<_> = parts
                .map(|part| format!("{}={}", part.r#type, part.value))
                .collect();
            let parts = if parts.is_empty() {
                "(empty)".to_owned()
            } else {
                parts.join(", ")
            };
            writeln!(out, "  subject    {parts}")?;
        }
        if let Some(key) = &self.key {
            let bits = key.bits.map(|bits| format!(" of {bits} bits"));
            let bits = bits.unwrap_or_default();
            writeln!(
                out,
                "  key        {}{bits}, fingerprint {}",
                key.algorithm, key.fingerprint
            )?;
        }
        if let Some(algorithm) = &self.signature_algorithm {
            writeln!(out, "  signature  {algorithm}")?;
        }
        for attribute in &self.attributes {
            writeln!(out, "  attribute  {attribute}")?;
        }
        for Extension {
            name,
            critical,
            value,
            fate,
        } in &self.extensions
        {
            let critical = if *critical { " (critical)" } else { "" };
            writeln!(out, "  asks for   {name}{critical}: {value} ({fate})")?;
        }
        for Finding {
            number,
            reason,
            detail,
            rule,
            action,
        } in &self.findings
        {
            writeln!(out, "  {number} {reason}: {detail}")?;
            writeln!(out, "      {action}; rule: {rule}")?;
        }
        Ok(())
    }
}

impl From<CsrExtension> for Extension {
    fn from(extension: CsrExtension) -> Extension {
        Extension {
            name: extension.name,
            critical: extension.critical,
            value: extension.value,
            fate: extension.fate.to_string(),
        }
    }
}

impl From<&Rejection> for Finding {
    fn from(rejection: &Rejection) -> Finding {
        Finding {
            number: rejection.number(),
            reason: rejection.reason(),
            detail: rejection.detail(),
            rule: rejection.rule(),
            action: rejection.action().to_string(),
        }
    }
}
