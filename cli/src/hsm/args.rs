//! The grammar of `birthmark hsm`.

use std::path::PathBuf;

use birthmark_hsm::KeyAlgorithm;
use clap::{Args, Subcommand};

/// Longest step of a measurement and longest wait for a module, in seconds: seven steps still take under ten minutes.
const STEP_S_MAX: u16 = 60;

#[derive(Debug, Subcommand)]
pub(crate) enum HsmCommand {
    /// List modules, slots, tokens, session limits and mechanisms; never logs in.
    List(HsmListArguments),
    /// Make a key pair on a token and show what the token says of it.
    Keygen(HsmKeygenArguments),
    /// Log in, sign a test text through every session, and measure how many sessions are best.
    Check(HsmCheckArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark hsm list\n  \
    birthmark hsm list --module /usr/lib/softhsm/libsofthsm2.so\n  \
    birthmark hsm list --uri 'pkcs11:token=line-1?module-path=/usr/lib/softhsm/libsofthsm2.so' --json\n\n\
    Without --module and --uri it looks for modules: those that p11-kit's configuration names\n\
    (/usr/share/p11-kit/modules, /etc/pkcs11/modules), and those that lie where HSM vendors put them. Each is\n\
    asked in a process of its own, so that one that hangs or crashes is told and harms nothing; exit code 2\n\
    when there is none, 3 when none can be used. A module that is named is loaded by this process.\n\n\
    Never logs in. With --uri only the tokens that fit it are listed; exit code 2 when there is none.\n\
    Slot numbers change: name a token by its label or its serial number.")]
pub(crate) struct HsmListArguments {
    /// A PKCS#11 module's file; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) module: Vec<PathBuf>,
    /// A PKCS#11 URI (RFC 7512) that names the module, and the token if only one is wanted.
    #[arg(long, value_name = "URI", conflicts_with = "module")]
    pub(crate) uri: Option<String>,
    /// A directory with p11-kit's *.module files, instead of those of the system; may be repeated.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["module", "uri"])]
    pub(crate) search: Vec<PathBuf>,
    /// How long a module that was found may take to answer, in seconds.
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with_all = ["module", "uri"],
          value_parser = clap::value_parser!(u16).range(1..=i64::from(STEP_S_MAX)))]
    pub(crate) seconds: u16,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark hsm keygen --algorithm p256 --uri \\\n      \
    'pkcs11:token=line-1;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin'\n  \
    birthmark hsm keygen --algorithm p384 --id 0a01 --uri 'pkcs11:token=line-1;object=issuing-2?module-path=…'\n\n\
    The private key stays on the token, is sensitive, signs and does nothing else, and cannot be\n\
    extracted; every attribute is read back and shown. Exit code 2: a key of that label or id is there\n\
    already. 3: the token made a key with other attributes; it is left where it is.\n\
    A PIN comes from pin-source, from BIRTHMARK_PIN, or is typed; never from an argument.")]
pub(crate) struct HsmKeygenArguments {
    /// The token and, as object=, the new key's label.
    #[arg(long, value_name = "URI")]
    pub(crate) uri: String,
    /// Kind of key, such as p256, p384, ed25519 or rsa3072.
    #[arg(long, value_name = "ALGORITHM")]
    pub(crate) algorithm: KeyAlgorithm,
    /// The key's id (CKA_ID), hexadecimal [default: 16 random bytes]
    #[arg(long, value_name = "HEX")]
    pub(crate) id: Option<String>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark hsm check --config ca/birthmark.toml\n  \
    birthmark hsm check --seconds 5 --json --uri \\\n      \
    'pkcs11:token=line-1;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin'\n\n\
    Logs in once; a refused PIN is never tried again. Signs a fixed text that cannot be taken for a\n\
    certificate, verifies one signature of every session, and measures with 1, 2, 4, … sessions, up to the\n\
    token's limit or 64. Recommended is the smallest number with at least 95 % of the best rate: it goes\n\
    into issuer.sessions, which counts per token. A token that fails does not keep the others from being\n\
    checked, but for a refused PIN: no other PIN is tried then. Do not run it on an HSM that others\n\
    need: it is kept busy for some seconds.\n\
    Exit code 2: PIN, token, key or certificate do not fit. 3: the token fails, hangs or signs wrongly.")]
pub(crate) struct HsmCheckArguments {
    /// The configuration whose signers are checked, one token after the other, against its issuer certificate.
    #[arg(long, value_name = "FILE", required_unless_present = "uri")]
    pub(crate) config: Option<PathBuf>,
    /// The key that is checked.
    #[arg(long, value_name = "URI", conflicts_with = "config")]
    pub(crate) uri: Option<String>,
    /// The CA certificate (PEM) that the key belongs to, with --uri.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) certificate: Option<PathBuf>,
    /// How long each number of sessions is measured, in seconds.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(STEP_S_MAX)))]
    pub(crate) seconds: u16,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
