//! The key ceremony: a root CA, an issuing CA, their keys, the log and the configuration.
//!
//! Everything is built in a hidden directory beside the wanted one and renamed into place at the
//! end, so a ceremony that fails leaves no half CA behind.
//!
//! ```no_run
//! use birthmark::ceremony::{self, CaPlan};
//!
//! let plan = CaPlan::new("factory-ca", "O=Acme,CN=Acme Issuing CA".parse()?);
//! let created = ceremony::create(&plan)?;
//! assert!(created.configuration.ends_with("birthmark.toml"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod args;
pub(crate) mod certificate;
pub(crate) mod chain;
pub(crate) mod commands;
mod error;
pub(crate) mod files;
mod install;
mod layout;
mod request;
pub(crate) mod scripted;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rand;
use birthmark_engine::Activation;
use birthmark_hsm::{
    KeyAlgorithm, LocationError, Pkcs11Options, Pkcs11Uri, RsaSignature, SignerLocation,
    SigningPool,
};
use serde::Serialize;

use crate::subject::Subject;

use files::write_certificate;
use layout::{
    ISSUING_CERTIFICATE_FILE, ISSUING_KEY_FILE, LOG_DIRECTORY, Layout, ROOT_CERTIFICATE_FILE,
    ROOT_DIRECTORY, ROOT_KEY_FILE, build_in_place, sync,
};

pub(crate) use certificate::{public_key_sha256, verify as verify_signature};
pub(crate) use files::{software_key, write_new};

pub use certificate::{NOT_BEFORE_BACKDATE, SERIAL_BYTES};
pub use chain::{CHAIN_MAX, ChainError};
pub use error::CeremonyError;
pub use install::{InstallPlan, InstalledCa, install};
pub use layout::CONFIGURATION_FILE;
pub use request::{RequestPlan, WrittenRequest, request};
pub use scripted::ScriptError;

const ROOT_NOTE_FILE: &str = "TAKE-THIS-OFFLINE.txt";

/// Host part of a log origin that nobody chose: `.invalid` never resolves (RFC 2606 §2).
const ORIGIN_HOST: &str = "birthmark.invalid";

/// Random octets in such an origin: unique without asking anyone.
const ORIGIN_RANDOM_BYTES: usize = 16;

/// Longest log origin. A checkpoint repeats it in every note; a host and path fit many times.
pub const ORIGIN_BYTES_MAX: usize = 255;

/// Where a CA key is made and kept.
#[derive(Clone, Debug)]
pub enum KeyPlace {
    /// A PKCS#8 PEM file in the CA's directory, mode 0600.
    Software,
    /// A new key pair on a PKCS#11 token, not extractable. The URI's `object` is the name that
    /// the key gets; the URI goes into the configuration as it was written. A refused PIN is remembered by this
    /// process alone unless the URI has a state directory.
    Token(Box<Pkcs11Uri>),
}

impl std::str::FromStr for KeyPlace {
    type Err = KeyPlaceError;

    /// Reads `software` or `pkcs11:…` (RFC 7512).
    fn from_str(text: &str) -> Result<KeyPlace, KeyPlaceError> {
        if text == "software" {
            return Ok(KeyPlace::Software);
        }
        match text.parse()? {
            SignerLocation::Pkcs11(uri) => Ok(KeyPlace::Token(Box::new(uri))),
            // A ceremony makes new keys at places of its own choosing.
            SignerLocation::Software(_) => Err(KeyPlaceError::Path),
        }
    }
}

/// The text names no place for a new key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyPlaceError {
    /// Neither `software` nor a PKCS#11 URI.
    #[error("write 'software' or 'pkcs11:token=…;object=…?module-path=…&pin-source=file:…'")]
    Location(#[from] LocationError),
    /// A path after `software:`.
    #[error("write 'software' without a path; the new key goes into the CA's directory")]
    Path,
}

/// What the ceremony is to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaPlan {
    /// The CA's directory. It must not exist, or be empty.
    pub directory: PathBuf,
    /// Subject of the issuing CA.
    pub subject: Subject,
    /// Subject of the root CA; `None`: derived by [`Subject::to_root`].
    pub root_subject: Option<Subject>,
    /// Kind of both CA keys.
    pub algorithm: KeyAlgorithm,
    /// How RSA keys sign; `None`: PKCS #1 v1.5. Other keys take `None` alone.
    pub rsa_signature: Option<RsaSignature>,
    /// Where the issuing CA's key lives.
    pub signer: KeyPlace,
    /// Where the root CA's key lives.
    pub root_signer: KeyPlace,
    /// Origin of the log (C2SP tlog-checkpoint); `None`: a random one.
    pub origin: Option<String>,
    /// PKCS#11 sessions to write into the configuration; `None`: one per CPU.
    pub sessions: Option<usize>,
    /// The SoftHSM accommodation `key_copy` to write into the configuration.
    pub key_copy: bool,
    /// Who has to be there when the station starts, to write into the configuration.
    pub activation: Activation,
}

impl CaPlan {
    /// A plan with P-256 software keys and a random log origin.
    pub fn new(directory: impl Into<PathBuf>, subject: Subject) -> CaPlan {
        CaPlan {
            directory: directory.into(),
            subject,
            root_subject: None,
            algorithm: KeyAlgorithm::EcP256,
            rsa_signature: None,
            signer: KeyPlace::Software,
            root_signer: KeyPlace::Software,
            origin: None,
            sessions: None,
            key_copy: false,
            activation: Activation::default(),
        }
    }
}

/// What the ceremony made. Paths begin with the plan's directory.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CreatedCa {
    /// The configuration, for `birthmark issue --config`.
    pub configuration: PathBuf,
    /// The root's certificate.
    pub root_certificate: PathBuf,
    /// The root's key file, to be taken offline; `None` when it is on a token.
    pub root_key: Option<PathBuf>,
    /// Subject of the root.
    pub root_subject: String,
    /// The issuing CA's certificate.
    pub issuing_certificate: PathBuf,
    /// The issuing CA's key file; `None` when it is on a token.
    pub issuing_key: Option<PathBuf>,
    /// Subject of the issuing CA.
    pub issuing_subject: String,
    /// Kind of both keys.
    pub algorithm: String,
    /// The log.
    pub log: PathBuf,
    /// The log's origin.
    pub log_origin: String,
}

/// Performs the ceremony.
///
/// # Errors
///
/// The directory holds something already, the plan is unsound, a key cannot be made or does not
/// sign, or a file cannot be written. Nothing is left in the directory then; a key that was
/// already generated on a token stays there, and the error names it.
pub fn create(plan: &CaPlan) -> Result<CreatedCa, CeremonyError> {
    let origin = match &plan.origin {
        Some(origin) => checked_origin(origin)?,
        None => random_origin()?,
    };
    let root_subject = match &plan.root_subject {
        Some(subject) => subject.clone(),
        None => plan
            .subject
            .to_root()
            .map_err(|source| CeremonyError::RootSubject { source })?,
    };
    if root_subject == plan.subject {
        return Err(CeremonyError::SameSubject);
    }
    if plan.rsa_signature.is_some() && !plan.algorithm.is_rsa() {
        return Err(CeremonyError::NotRsa {
            algorithm: plan.algorithm,
        });
    }
    let signer_location = match &plan.signer {
        KeyPlace::Software => SignerLocation::Software(ISSUING_KEY_FILE.into()),
        KeyPlace::Token(uri) => SignerLocation::Pkcs11((**uri).clone()),
    };
    plan.activation.check(&signer_location)?;
    let mut on_token = Vec::new();
    let signer = match &plan.signer {
        KeyPlace::Software => format!("software:{ISSUING_KEY_FILE}"),
        KeyPlace::Token(uri) => uri.as_written().to_owned(),
    };
    let ceremony = Ceremony {
        plan,
        root_subject: &root_subject,
        origin: &origin,
        layout: Layout {
            origin: &origin,
            signer: &signer,
            rsa_signature: plan.rsa_signature,
            sessions: plan.sessions,
            key_copy: plan.key_copy,
            activation: plan.activation,
        },
    };
    let built = build_in_place(&plan.directory, |directory| {
        ceremony.build(directory, &mut on_token)
    });
    if let Err(source) = built {
        if on_token.is_empty() {
            return Err(source);
        }
        let keys = on_token.join(", ");
        return Err(CeremonyError::KeysLeft {
            keys,
            source: Box::new(source),
        });
    }
    Ok(ceremony.report())
}

/// A plan with everything decided.
struct Ceremony<'a> {
    plan: &'a CaPlan,
    root_subject: &'a Subject,
    origin: &'a str,
    layout: Layout<'a>,
}

/// Opens the issuing CA's key for a signature or two.
fn open_issuing_key(location: &SignerLocation) -> Result<SigningPool, CeremonyError> {
    let options = Pkcs11Options {
        sessions: Some(1),
        ..Pkcs11Options::default()
    };
    SigningPool::open(location, options).map_err(|source| CeremonyError::OpenSigner {
        role: "issuing CA",
        source,
    })
}

impl Ceremony<'_> {
    /// Builds the CA in `directory`. Keys made on a token are added to `on_token`.
    fn build(&self, directory: &Path, on_token: &mut Vec<String>) -> Result<(), CeremonyError> {
        // What needs no key comes first: when the disk is full, no token is touched.
        self.layout.lay_out(directory)?;
        let root_directory = directory.join(ROOT_DIRECTORY);
        let plan = self.plan;
        let root_file = root_directory.join(ROOT_KEY_FILE);
        let root_pool = self.key(&plan.root_signer, &root_file, "root CA", on_token)?;
        if matches!(plan.root_signer, KeyPlace::Software) {
            write_new(&root_directory.join(ROOT_NOTE_FILE), ROOT_NOTE.as_bytes())?;
        }
        let issuing_file = directory.join(ISSUING_KEY_FILE);
        let issuing_pool = self.key(&plan.signer, &issuing_file, "issuing CA", on_token)?;

        let now = SystemTime::now();
        let root = certificate::issue(
            &certificate::Role::Root,
            self.root_subject.to_name()?,
            root_pool.public_key(),
            &root_pool,
            now,
        )?;
        let issuing = certificate::issue(
            &certificate::Role::Issuing { root: &root },
            plan.subject.to_name()?,
            issuing_pool.public_key(),
            &root_pool,
            now,
        )?;
        write_certificate(&root_directory.join(ROOT_CERTIFICATE_FILE), &root)?;
        write_certificate(&directory.join(ISSUING_CERTIFICATE_FILE), &issuing)?;
        sync(directory)
    }

    /// Makes a CA key where the plan wants it and opens it for signing.
    fn key(
        &self,
        place: &KeyPlace,
        file: &Path,
        role: &'static str,
        on_token: &mut Vec<String>,
    ) -> Result<SigningPool, CeremonyError> {
        let rsa_signature = self.plan.rsa_signature.unwrap_or_default();
        match place {
            KeyPlace::Software => {
                let key = software_key(self.plan.algorithm, file, role)?;
                Ok(SigningPool::software(key.with_rsa_signature(rsa_signature)))
            }
            KeyPlace::Token(uri) => {
                birthmark_hsm::generate_key_pair(uri, self.plan.algorithm)
                    .map_err(|source| CeremonyError::Generate { role, source })?;
                on_token.push(uri.to_string());
                let options = Pkcs11Options {
                    sessions: Some(1),
                    rsa_signature,
                    ..Pkcs11Options::default()
                };
                SigningPool::pkcs11(uri, options)
                    .map_err(|source| CeremonyError::OpenSigner { role, source })
            }
        }
    }

    fn report(&self) -> CreatedCa {
        let plan = self.plan;
        let directory = &plan.directory;
        let file = |place: &KeyPlace, path: PathBuf| match place {
            KeyPlace::Software => Some(path),
            KeyPlace::Token(_) => None,
        };
        let root = directory.join(ROOT_DIRECTORY);
        CreatedCa {
            configuration: directory.join(CONFIGURATION_FILE),
            root_certificate: root.join(ROOT_CERTIFICATE_FILE),
            root_key: file(&plan.root_signer, root.join(ROOT_KEY_FILE)),
            root_subject: self.root_subject.to_string(),
            issuing_certificate: directory.join(ISSUING_CERTIFICATE_FILE),
            issuing_key: file(&plan.signer, directory.join(ISSUING_KEY_FILE)),
            issuing_subject: plan.subject.to_string(),
            algorithm: plan.algorithm.to_string(),
            log: directory.join(LOG_DIRECTORY),
            log_origin: self.origin.to_owned(),
        }
    }
}

/// What `[issuer]` may say besides, in the configuration's own words.
const ROOT_NOTE: &str = "\
The key in this directory signs issuing CAs. Whoever holds it can make a CA that every\n\
device of this chain trusts.\n\n\
1. Copy root-ca.key to two offline media and test that both can be read.\n\
2. Delete it from this machine.\n\
3. Keep root-ca.pem: it is public and goes wherever certificates are verified.\n";

/// A key name of a signed note: not empty, no Unicode spaces, no plus, one line.
pub(crate) fn checked_origin(origin: &str) -> Result<String, CeremonyError> {
    let wrong =
        |character: char| character.is_whitespace() || character.is_control() || character == '+';
    if origin.is_empty() || origin.len() > ORIGIN_BYTES_MAX || origin.contains(wrong) {
        let origin = origin.chars().take(ORIGIN_BYTES_MAX).collect();
        return Err(CeremonyError::Origin { origin });
    }
    Ok(origin.to_owned())
}

pub(crate) fn random_origin() -> Result<String, CeremonyError> {
    let mut random = [0; ORIGIN_RANDOM_BYTES];
    rand::fill(&mut random).map_err(|_| CeremonyError::Random)?;
    Ok(format!("{ORIGIN_HOST}/{}", crate::hex::encode(&random)))
}
