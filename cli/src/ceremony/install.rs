//! An issuing CA that an outside root certified: checked, then given its directory.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, SHA256};
use birthmark_engine::{Activation, Issuer};
use birthmark_hsm::{RsaSignature, SignerLocation};
use der::pem::LineEnding;
use der::{Encode, EncodePem};
use serde::Serialize;
use x509_cert::Certificate;

use super::certificate::signed;
use super::chain::{self, Chain};
use super::files::{failed, refuse_existing, write_new};
use super::layout::{
    CONFIGURATION_FILE, ISSUING_CERTIFICATE_FILE, LOG_DIRECTORY, Layout, ROOT_CERTIFICATE_FILE,
    ROOT_DIRECTORY, build_in_place, sync,
};
use super::{CeremonyError, checked_origin, open_issuing_key, random_origin};
use crate::hex;
use crate::hsm::TEST_TEXT;

/// File with the issuing certificate and everything above it, the root last.
const CHAIN_FILE: &str = "chain.pem";

/// What is installed, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstallPlan {
    /// The CA's directory. It must not exist, or be empty.
    pub directory: PathBuf,
    /// The key, which exists already. A software key stays in its own file.
    pub signer: SignerLocation,
    /// The issuing CA's certificate, PEM.
    pub certificate: PathBuf,
    /// Who certified it, up to the root, PEM in any order.
    pub chain: PathBuf,
    /// SHA-256 of the root's certificate in DER, known from elsewhere than the chain. `None` installs nothing: the
    /// error tells what the chain has, for a person to compare.
    pub root_sha256: Option<[u8; 32]>,
    /// How an RSA key signs; `None`: PKCS #1 v1.5, or PSS where the certificate allows nothing else.
    pub rsa_signature: Option<RsaSignature>,
    /// Origin of the log (C2SP tlog-checkpoint); `None`: a random one.
    pub origin: Option<String>,
    /// PKCS#11 sessions to write into the configuration; `None`: one per CPU.
    pub sessions: Option<usize>,
    /// The SoftHSM accommodation `key_copy` to write into the configuration.
    pub key_copy: bool,
    /// Who has to be there when the station starts, to write into the configuration.
    pub activation: Activation,
}

impl InstallPlan {
    /// A plan with a random log origin. Which root is trusted has to be said besides.
    pub fn new(
        directory: impl Into<PathBuf>,
        signer: SignerLocation,
        certificate: impl Into<PathBuf>,
        chain: impl Into<PathBuf>,
    ) -> InstallPlan {
        InstallPlan {
            directory: directory.into(),
            signer,
            certificate: certificate.into(),
            chain: chain.into(),
            root_sha256: None,
            rsa_signature: None,
            origin: None,
            sessions: None,
            key_copy: false,
            activation: Activation::default(),
        }
    }
}

/// What was installed. Paths begin with the plan's directory.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InstalledCa {
    /// The configuration, for `birthmark issue --config`.
    pub configuration: PathBuf,
    /// Subject of the issuing CA.
    pub issuing_subject: String,
    /// The issuing CA's certificate.
    pub issuing_certificate: PathBuf,
    /// Subject of the root.
    pub root_subject: String,
    /// The root's certificate.
    pub root_certificate: PathBuf,
    /// SHA-256 of the root's certificate: compare it with what the root's keeper says.
    pub root_sha256: String,
    /// All certificates, the root last.
    pub chain: PathBuf,
    /// How many there are.
    pub chain_length: usize,
    /// The log.
    pub log: PathBuf,
    /// The log's origin.
    pub log_origin: String,
}

/// Checks certificate, key and chain, and makes the CA's directory.
///
/// # Errors
/// What does not fit. Nothing is left in the directory then.
pub fn install(plan: &InstallPlan) -> Result<InstalledCa, CeremonyError> {
    let directory = &plan.directory;
    let origin = match &plan.origin {
        Some(origin) => checked_origin(origin)?,
        None => random_origin()?,
    };
    plan.activation.check(&plan.signer)?;
    refuse_existing(directory)?;
    let (chain, root_sha256) = checked_chain(plan)?;
    let signer = match &plan.signer {
        SignerLocation::Pkcs11(uri) => uri.as_written().to_owned(),
        // The configuration lies in another folder than this command was called from.
        SignerLocation::Software(path) => {
            let path = std::path::absolute(path).map_err(|source| failed("find", path, source))?;
            format!("software:{}", path.display())
        }
    };
    let layout = Layout {
        origin: &origin,
        signer: &signer,
        rsa_signature: plan.rsa_signature,
        sessions: plan.sessions,
        key_copy: plan.key_copy,
        activation: plan.activation,
    };
    build_in_place(directory, |building| {
        layout.lay_out(building)?;
        let root = building.join(ROOT_DIRECTORY).join(ROOT_CERTIFICATE_FILE);
        write_new(&root, pem(chain.root())?.as_bytes())?;
        let issuing = pem(&chain.issuing)?;
        write_new(&building.join(ISSUING_CERTIFICATE_FILE), issuing.as_bytes())?;
        let mut all = issuing;
        for certificate in &chain.above {
            all.push_str(&pem(certificate)?);
        }
        write_new(&building.join(CHAIN_FILE), all.as_bytes())?;
        sync(building)
    })?;
    Ok(InstalledCa {
        configuration: directory.join(CONFIGURATION_FILE),
        issuing_subject: chain::name(&chain.issuing),
        issuing_certificate: directory.join(ISSUING_CERTIFICATE_FILE),
        root_subject: chain::name(chain.root()),
        root_certificate: directory.join(ROOT_DIRECTORY).join(ROOT_CERTIFICATE_FILE),
        root_sha256,
        chain: directory.join(CHAIN_FILE),
        chain_length: 1 + chain.above.len(),
        log: directory.join(LOG_DIRECTORY),
        log_origin: origin,
    })
}

/// The chain, after everything about it and the key was checked, and its root's SHA-256.
fn checked_chain(plan: &InstallPlan) -> Result<(Chain, String), CeremonyError> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let chain = Chain::verify(
        chain::read_one(&plan.certificate)?,
        chain::read_chain(&plan.chain)?,
        now,
    )?;
    let root = certificate_sha256(chain.root())?;
    let expected = plan
        .root_sha256
        .ok_or_else(|| CeremonyError::RootNotStated {
            subject: chain::name(chain.root()),
            found: hex::encode(&root),
        })?;
    if expected != root {
        return Err(CeremonyError::OtherRoot {
            found: hex::encode(&root),
            expected: hex::encode(&expected),
        });
    }
    // What the engine will ask for at its start, asked now.
    let mut issuer = Issuer::from_der(&chain.issuing.to_der()?)?;
    if let Some(signature) = plan.rsa_signature {
        issuer = issuer.with_rsa_signature(signature)?;
    }
    issuer.check_valid_at(Duration::as_secs(&now))?;
    let pool = open_issuing_key(&plan.signer, issuer.rsa_signature())?;
    issuer.check_signer(&pool)?;
    signed(&pool, TEST_TEXT.as_bytes())?;
    Ok((chain, hex::encode(&root)))
}

/// SHA-256 of a certificate in DER: how people name one, and `openssl x509 -fingerprint -sha256`.
pub(super) fn certificate_sha256(certificate: &Certificate) -> Result<[u8; 32], CeremonyError> {
    let digest = digest::digest(&SHA256, &certificate.to_der()?);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Ok(bytes)
}

fn pem(certificate: &Certificate) -> Result<String, CeremonyError> {
    Ok(certificate.to_pem(LineEnding::LF)?)
}
