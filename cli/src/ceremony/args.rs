//! The grammar of `birthmark ca csr` and `birthmark ca install`, and what the latter shares with `ca init`.

use std::path::PathBuf;

use birthmark_engine::Activation;
use birthmark_hsm::RsaSignature;
use clap::Args;

use crate::subject::Subject;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca csr --subject 'O=Acme,CN=Acme Issuing CA' --out issuing-ca.csr --signer \\\n      \
    'pkcs11:token=line-1;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin'\n  \
    openssl req -in issuing-ca.csr -noout -text -verify\n\n\
    The key exists already ('birthmark hsm keygen'). The request asks for a CA with pathLenConstraint 0 that\n\
    signs certificates and CRLs. Compare the key's SHA-256 with whoever certifies it, then 'birthmark ca install'.")]
pub(crate) struct CaCsrArguments {
    /// The key: a PKCS#11 URI, or software:PATH.
    #[arg(long, value_name = "PLACE")]
    pub(crate) signer: String,
    /// Subject of the issuing CA, in the order in which it is encoded.
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Subject,
    /// How an RSA key signs the request: pkcs1 (PKCS #1 v1.5) or pss (RSASSA-PSS, SHA-256) [default: pkcs1]
    #[arg(long, value_name = "FORM")]
    pub(crate) signature: Option<RsaSignature>,
    /// The new request, PEM; an existing file is not overwritten.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print what was written as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca install --dir ca --certificate issuing-ca.pem --chain root.pem --root-sha256 5F:0E:… --signer \\\n      \
    'pkcs11:token=line-1;object=issuing-1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin'\n  \
    birthmark issue --config ca/birthmark.toml --profile idevid requests/\n\n\
    Checked before anything is written: the certificate has the key and the key signs; basicConstraints\n\
    (cA, pathLenConstraint), keyUsage (keyCertSign) and validity of every CA; names, key identifiers and\n\
    signatures up to the root of --chain. Which root is trusted is said by --root-sha256, as its keeper tells it:\n\
    openssl x509 -in root.pem -noout -fingerprint -sha256. Without it nothing is installed.")]
pub(crate) struct CaInstallArguments {
    /// The CA's directory; must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The key: a PKCS#11 URI, or software:PATH.
    #[arg(long, value_name = "PLACE")]
    pub(crate) signer: String,
    /// The issuing CA's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    /// Who certified it, up to the root: certificates in PEM, in any order.
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: PathBuf,
    /// SHA-256 of the root's certificate, 64 hex digits, from its keeper; nothing is installed without it.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub(crate) root_sha256: Option<Sha256>,
    /// How an RSA key signs: pkcs1 (PKCS #1 v1.5) or pss (RSASSA-PSS, SHA-256) [default: pkcs1]
    #[arg(long, value_name = "FORM")]
    pub(crate) signature: Option<RsaSignature>,
    #[command(flatten)]
    pub(crate) station: StationArguments,
    /// Print what was made as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the new CA's station is configured.
#[derive(Debug, Args)]
pub(crate) struct StationArguments {
    /// Origin of the log (C2SP tlog-checkpoint) [default: birthmark.invalid/<random>]
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
    /// PKCS#11 worker sessions, as 'birthmark hsm check' recommends [default: one per CPU]
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) sessions: Option<u16>,
    /// SoftHSM only: sign with a session copy of the key, which is faster there.
    #[arg(long)]
    pub(crate) key_copy: bool,
    /// Who has to be there at every start: unattended, operator (types the PIN) or m-of-n (the token asks).
    #[arg(long, value_name = "HOW", default_value = "unattended")]
    pub(crate) activation: Activation,
}

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sha256(pub(crate) [u8; 32]);

fn sha256(text: &str) -> Result<Sha256, String> {
    let bytes = crate::hex::decode(text).and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(Sha256)
        .ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
}
