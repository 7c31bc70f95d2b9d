//! The command line's grammar.

mod log;

use std::path::PathBuf;
use std::time::Duration;

use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ceremony::KeyPlace;
use crate::ceremony::args::{CaCsrArguments, CaInstallArguments, StationArguments};
use crate::ceremony::scripted::CeremonyArguments;
use crate::csr::CsrCommand;
use crate::demo::DEMO_COUNT_DEFAULT;
use crate::hsm::HsmCommand;
use crate::key::KeyCommand;
use crate::lint::LintArguments;
use crate::lot::LotCommand;
use crate::officer::{VALID_DEFAULT, VALID_MAX};
use crate::profile::ProfileCommand;
use crate::subject::Subject;

pub(crate) use log::{LogCommand, LogExportArguments, LogProofArguments, LogVerifyArguments};

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
        birthmark log verify ca/log\n  \
        birthmark log proof ca/log --cert device.pem\n\n\
        Exit codes: 0 all done, 1 some requests rejected (or nothing found, or not proven), 2 usage \
        or\nconfiguration, 3 system fault, 4 the log was rolled back or forked, 5 a token\nrefused the PIN, 130/143 interrupted.",
    arg_required_else_help = true
)]
pub struct Arguments {
    /// With --version: also what this processor gives.
    #[arg(long, requires = "version")]
    verbose: bool,
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
    /// List HSMs, make a key on one, check and measure it.
    #[command(subcommand)]
    Hsm(HsmCommand),
    /// Issue certificates for certificate signing requests.
    Issue(IssueArguments),
    /// Look at certificate signing requests without issuing.
    #[command(subcommand)]
    Csr(CsrCommand),
    /// Say what is wrong with certificates, anybody's.
    Lint(LintArguments),
    /// List, check and explain certificate profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// List the station's lots, and how much of each is used.
    #[command(subcommand)]
    Lot(LotCommand),
    /// Verify, read and export the log, and prove what it holds.
    #[command(subcommand)]
    Log(LogCommand),
    /// Allow a device another certificate, as an officer.
    #[command(subcommand)]
    Permit(PermitCommand),
    /// Acknowledge and list keys that were made for devices.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make an officer's key.
    #[command(subcommand)]
    Officer(OfficerCommand),
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
    /// What signs: an embedded software key, a SoftHSM token, or a simulated network HSM.
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
    /// A simulated HSM, 1 ms away, through PKCS#11; needs the test token's module of a checkout.
    NetworkHsm,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a root and an issuing CA, their keys, the log and the configuration.
    Init(CaInitArguments),
    /// Write the request of an issuing CA that an outside root certifies.
    Csr(CaCsrArguments),
    /// Check an issuing CA's certificate and chain, and make its directory.
    Install(CaInstallArguments),
    /// Carry out an approved plan, step by step, with a signed transcript.
    Ceremony(CeremonyArguments),
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
    #[arg(long, help = format!("Kind of both keys: {}", KeyAlgorithm::NAMES),
          value_name = "ALGORITHM", default_value = "p256")]
    pub(crate) algorithm: KeyAlgorithm,
    /// How RSA keys sign: pkcs1 (PKCS #1 v1.5) or pss (RSASSA-PSS, SHA-256) [default: pkcs1]
    #[arg(long, value_name = "FORM")]
    pub(crate) signature: Option<RsaSignature>,
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
    #[command(flatten)]
    pub(crate) station: StationArguments,
    /// Print what was made as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid device.csr\n  \
    birthmark issue --config ca/birthmark.toml --profile tls-client requests/ > issued.ndjson\n  \
    openssl req -new … | birthmark issue --config ca/birthmark.toml --profile idevid -\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid --data station=7 batch.pem\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid --lot WO-4711 --line line-3 requests/\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid --permit permits/ rework.csr\n  \
    birthmark issue --config ca/birthmark.toml --profile made --generate --data serial=SN-0001\n  \
    birthmark issue --config ca/birthmark.toml --profile made --generate devices.csv > issued.ndjson\n\n\
    One JSON line per request on standard output, in the order of the inputs, written only when\n\
    the certificate is durable in the log. status is issued, existing (this request was\n\
    answered before; the same certificate again), rejected, or fault (the system failed; try\n\
    again). Inputs are named by their path, by path#N (from 1) in a PEM file with many, and by\n\
    corpus#N (from 0) in a corpus.\n\n\
    With --generate the station makes the keys, for profiles that have key.generated. An INPUT is\n\
    then a list of devices: CSV with a head line, or one JSON object a line; its columns are the\n\
    profile's data. 'key' in the result is the private key, encrypted for the line (PEM): the same\n\
    at every retry, until 'birthmark key ack'; then 'key_state' is acknowledged. 'key' is PEM by what\n\
    key.generated says: CMS (cms), ENCRYPTED PRIVATE KEY (pkcs8), or PKCS12 (pkcs12: without its\n\
    first and last line the base64 of a .p12 file with key and certificates).")]
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
    /// The production order that authorizes the requests of this run. Where the configuration has lots, it
    /// must be one of them.
    #[arg(long, value_name = "NAME")]
    pub(crate) lot: Option<String>,
    /// Who asks: the line's name. It is recorded, and a lot may be one line's alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) line: Option<String>,
    /// An officer's permit, or a directory of permits, for devices that need one to be issued again; may
    /// be repeated.
    #[arg(long, value_name = "PATH")]
    pub(crate) permit: Vec<PathBuf>,
    /// No summary and no progress bar on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write the summary on standard error as JSON too (the results always are).
    #[arg(long)]
    pub(crate) json: bool,
    /// Make the devices' keys: inputs are lists of devices (CSV or JSON lines), or none for one device
    /// with the values of --data. A list's own value goes before that of --data.
    #[arg(long)]
    pub(crate) generate: bool,
    /// PEM (many per file) or DER requests, directories (in name order), corpus files, or '-'.
    #[arg(value_name = "INPUT", required_unless_present = "generate")]
    pub(crate) inputs: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PermitCommand {
    /// Sign a permit that replaces one entry of the log, for one device, once.
    New(PermitNewArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark permit new --config ca/birthmark.toml --profile idevid --identity SN-0001 \\\n      \
    --replaces 42 --key-fingerprint 91ab… --reason 'board swapped' --officer-key ada.key \\\n      \
    --out SN-0001.permit\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid --permit SN-0001.permit new.csr\n\n\
    The identity, the entry and the key's fingerprint stand in the rejection 'permit-needed'.\n\
    Neither the issuing key nor the log is needed: a copy of the configuration, the issuer\n\
    certificate and the profiles is enough.")]
pub(crate) struct PermitNewArguments {
    /// The station's configuration: its log, issuer, profile and officers.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Name of the certificate profile; it has reissue = "permit".
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: String,
    /// The device's identity.
    #[arg(long, value_name = "ID")]
    pub(crate) identity: String,
    /// Index of the log's entry that is replaced: the device's newest.
    #[arg(long, value_name = "N")]
    pub(crate) replaces: u64,
    /// Fingerprint of the new key, 64 hex digits.
    #[arg(long, value_name = "HEX", value_parser = fingerprint, required_unless_present = "any_key")]
    pub(crate) key_fingerprint: Option<Fingerprint>,
    /// Allow any new key: whoever brings the permit and the device's identity first gets the certificate.
    #[arg(long, conflicts_with = "key_fingerprint")]
    pub(crate) any_key: bool,
    /// How long the permit counts: days, hours or minutes, as in 7d, 12h, 30m.
    #[arg(long, value_name = "TIME", default_value = VALID_DEFAULT, value_parser = valid)]
    pub(crate) valid: Duration,
    /// Why, for people; at most 200 characters.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The officer's key file.
    #[arg(long, value_name = "FILE")]
    pub(crate) officer_key: PathBuf,
    /// The new permit; an existing file is not overwritten.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OfficerCommand {
    /// Make an Ed25519 key and print its line for engine.officers.
    Keygen(OfficerKeygenArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark officer keygen --name ada.acme.example --out ada.key\n\n\
    Put the printed line into birthmark.toml:\n\n  \
    [engine]\n  \
    officers = [\"ada.acme.example+…+…\"]")]
pub(crate) struct OfficerKeygenArguments {
    /// The officer's name in permits, without spaces or '+'.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The new key file (PKCS #8 PEM, mode 0600); an existing file is not overwritten.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// A key's fingerprint as records have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    crate::hex::decode(text)
        .and_then(|bytes| bytes.try_into().ok())
        .map(Fingerprint)
        .ok_or_else(|| "a fingerprint has 64 hexadecimal digits".to_owned())
}

/// A time such as `7d`, from one minute to [`VALID_MAX`].
fn valid(text: &str) -> Result<Duration, String> {
    let unit_s = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3_600,
        Some('m') => 60,
        _ => 0,
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let count = digits.bytes().all(|digit| digit.is_ascii_digit());
    let count: Option<u64> = count.then(|| digits.parse().ok()).flatten();
    count
        .and_then(|count| count.checked_mul(unit_s))
        .map(Duration::from_secs)
        .filter(|time| !time.is_zero() && *time <= VALID_MAX)
        .ok_or_else(|| {
            "write days, hours or minutes such as 7d, 12h or 30m; at most 366d".to_owned()
        })
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
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
        let hours = |count: u64| Ok(Duration::from_secs(count * 3_600));
        assert_eq!(
            ["7d", "12h", "120m", "366d"].map(valid),
            [hours(168), hours(12), hours(2), hours(8_784)]
        );
        for wrong in [
            "",
            "7",
            "d",
            "0d",
            "367d",
            "+7d",
            "7 d",
            "7w",
            "99999999999999999999d",
            "7\u{e9}",
        ] {
            assert!(valid(wrong).is_err(), "{wrong}");
        }
        assert_eq!(fingerprint(&"0a".repeat(32)), Ok(Fingerprint([10; 32])));
        assert!(fingerprint(&"0a".repeat(31)).is_err());
    }
}
