//! The command line's grammar.

use std::path::PathBuf;

use birthmark_hsm::KeyAlgorithm;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ceremony::KeyPlace;
use crate::demo::DEMO_COUNT_DEFAULT;
use crate::keep::KeepCommand;
use crate::subject::Subject;

/// `birthmark …`
#[derive(Debug, Parser)]
#[command(
    name = "birthmark",
    version,
    about = "Issues X.509 device certificates at very high rate, each logged before it is released.",
    after_help = "Examples:\n  \
        birthmark demo\n  \
        birthmark ca init --dir ca --subject 'O=Acme,CN=Acme Issuing CA'\n  \
        birthmark issue --config ca/birthmark.toml --profile idevid requests/ > issued.ndjson\n  \
        birthmark log verify ca/log\n\n\
        Exit codes: 0 all done, 1 some requests rejected (or nothing found), 2 usage or \
        configuration,\n3 system fault, 130/143 interrupted.",
    arg_required_else_help = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole job once, with a throw-away CA, and report how fast it was.
    Demo(DemoArguments),
    /// Make a certification authority.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Issue certificates for certificate signing requests.
    Issue(IssueArguments),
    /// Verify and read the log.
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark demo\n  \
    birthmark demo --count 1000000 --signer softhsm --dir demo\n  \
    birthmark demo --json > report.json")]
pub(crate) struct DemoArguments {
    /// Number of certificates.
    #[arg(long, value_name = "N", default_value_t = DEMO_COUNT_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    pub(crate) count: u64,
    /// What signs: an embedded software key, or a SoftHSM token through PKCS#11.
    #[arg(long, value_enum, default_value_t = DemoSigner::Software)]
    pub(crate) signer: DemoSigner,
    /// Where the demonstration's files go. An earlier demonstration there is replaced.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub(crate) dir: PathBuf,
    /// Print the report as JSON on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What signs in the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoSigner {
    /// An embedded key.
    Software,
    /// A SoftHSM token through PKCS#11.
    Softhsm,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a root and an issuing CA, their keys, the log and the configuration.
    Init(CaInitArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca init --dir ca --subject 'O=Acme,CN=Acme Issuing CA'\n  \
    birthmark ca init --dir ca --algorithm p384 --signer \\\n      \
    'pkcs11:token=line1;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/birthmark/pin'\n\n\
    A PIN never stands in a URI: use pin-source=file:… or the environment variable BIRTHMARK_PIN.\n\
    Both certificates begin one hour before the ceremony and have no expiry (99991231235959Z).")]
pub(crate) struct CaInitArguments {
    /// The CA's directory; must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Where the issuing CA's key is made: 'software' or a PKCS#11 URI (RFC 7512).
    #[arg(long, value_name = "PLACE", default_value = "software")]
    pub(crate) signer: KeyPlace,
    /// Where the root CA's key is made: 'software' or a PKCS#11 URI.
    #[arg(long, value_name = "PLACE", default_value = "software")]
    pub(crate) root_signer: KeyPlace,
    /// Kind of both keys: p256, p384, ed25519, rsa2048, rsa3072 or rsa4096.
    #[arg(long, value_name = "ALGORITHM", default_value = "p256")]
    pub(crate) algorithm: KeyAlgorithm,
    /// Subject of the issuing CA, in the order in which it is encoded.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "O=Example,CN=Example Issuing CA"
    )]
    pub(crate) subject: Subject,
    /// Subject of the root CA [default: the issuing CA's with 'Issuing' replaced by 'Root']
    #[arg(long, value_name = "NAME")]
    pub(crate) root_subject: Option<Subject>,
    /// Origin of the log (C2SP tlog-checkpoint) [default: birthmark.invalid/<random>]
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// PKCS#11 worker sessions [default: one per CPU]
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) sessions: Option<u16>,
    /// SoftHSM only: sign with a session copy of the key, which is faster there.
    #[arg(long)]
    pub(crate) key_copy: bool,
    /// Print what was made as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid device.csr\n  \
    birthmark issue --config ca/birthmark.toml --profile tls-client requests/ > issued.ndjson\n  \
    openssl req -new … | birthmark issue --config ca/birthmark.toml --profile idevid -\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid --data station=7 batch.pem\n\n\
    One JSON line per request on standard output, in the order of the inputs, written only when\n\
    the certificate is durable in the log. status is issued, existing (this request was\n\
    answered before; the same certificate again), rejected, or fault (the system failed; try\n\
    again). Inputs are named by their path, by path#N (from 1) in a PEM file with many, and by\n\
    corpus#N (from 0) in a corpus.")]
pub(crate) struct IssueArguments {
    /// The configuration that 'birthmark ca init' wrote.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Name of the certificate profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: String,
    /// A value that the line adds to every request of this run; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) data: Vec<(String, String)>,
    /// No summary and no progress bar on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write the summary on standard error as JSON too (the results always are).
    #[arg(long)]
    pub(crate) json: bool,
    /// PEM (many per file) or DER requests, directories (in name order), corpus files, or '-'.
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check every byte of the log and say what it holds.
    Verify(LogVerifyArguments),
    /// Show records of the log.
    Show(LogShowArguments),
    #[command(flatten)]
    Keep(KeepCommand),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log verify ca/log\n  \
    birthmark log verify ca/log --json\n\n\
    Exit code 0: intact. 3: damaged; the first bad file, offset and record are named.")]
pub(crate) struct LogVerifyArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark log show ca/log\n  \
    birthmark log show ca/log --index 42\n  \
    birthmark log show ca/log --serial 4f3a…\n  \
    birthmark log show ca/log --limit 0 --json > records.ndjson\n\n\
    Exit code 1: there is no such record.")]
pub(crate) struct LogShowArguments {
    /// The log's directory (or the CA's directory that holds it).
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Show this record.
    #[arg(long, value_name = "N", conflicts_with = "serial")]
    pub(crate) index: Option<u64>,
    /// Show the records with this serial number (hex); reads the whole log.
    #[arg(long, value_name = "HEX", value_parser = serial)]
    pub(crate) serial: Option<Serial>,
    /// How many of the newest records to show; 0: all.
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with_all = ["index", "serial"])]
    pub(crate) limit: u64,
    /// One JSON object per record.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A serial number without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serial(pub(crate) Vec<u8>);

fn serial(text: &str) -> Result<Serial, String> {
    let bytes = crate::hex::decode(text);
    let bytes = bytes.ok_or("a serial number is an even number of hexadecimal digits")?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(Serial(bytes[zeros..].to_vec()))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example station=7".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command
                    .get_subcommands()
                    .for_each(|inner| check(inner, &path));
            } else {
                let help = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(help.contains("Examples:"), "{path} has no examples");
            }
        }
        check(&Arguments::command(), "");
    }

    #[test]
    fn values() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(key_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
        assert_eq!(serial("00:0A:ff"), Ok(Serial(vec![0x0a, 0xff])));
        assert!(serial("abc").is_err());
    }
}
