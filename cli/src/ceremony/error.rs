//! Why a ceremony fails.

use std::io;
use std::path::PathBuf;

use birthmark_hsm::{GenerateError, KeyAlgorithm, OpenError, SignError, SoftwareKeyError};

use super::ORIGIN_BYTES_MAX;
use super::chain::ChainError;
use crate::hsm::HsmError;
use crate::subject::SubjectError;

/// Why a ceremony failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// The directory is not empty.
    #[error("{} exists and is not empty; a CA is never overwritten, choose another --dir", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// No subject for the root could be derived.
    #[error("cannot derive the root's subject; give one with --root-subject")]
    RootSubject {
        /// Why.
        #[source]
        source: SubjectError,
    },
    /// Root and issuing CA would have the same name, so chains could not be built.
    #[error("root and issuing CA have the same subject; give another --root-subject")]
    SameSubject,
    /// PKCS #1 v1.5 and PSS are for RSA keys.
    #[error("--signature is for RSA keys; a {algorithm} key signs in one way only, leave it out")]
    NotRsa {
        /// The kind of key asked for.
        algorithm: KeyAlgorithm,
    },
    /// The log origin cannot stand in a checkpoint.
    #[error(
        "'{}' cannot be a log origin: use a name such as example.com/log1 without spaces or '+' \
         (C2SP signed-note), at most {ORIGIN_BYTES_MAX} bytes", origin.escape_debug()
    )]
    Origin {
        /// The origin.
        origin: String,
    },
    /// The operating system's random generator failed.
    #[error("the system gives no random numbers; nothing can be made on this machine")]
    Random,
    /// A software key could not be generated or written.
    #[error("cannot make the key file for the {role}")]
    SoftwareKey {
        /// `root CA`, `issuing CA` or `log`.
        role: &'static str,
        /// Why.
        #[source]
        source: SoftwareKeyError,
    },
    /// The token did not generate a key.
    #[error("cannot generate the {role} key on the token")]
    Generate {
        /// `root CA` or `issuing CA`.
        role: &'static str,
        /// Why.
        #[source]
        source: GenerateError,
    },
    /// The token did not let us in to sign.
    #[error("cannot use the {role} key")]
    OpenSigner {
        /// `root CA` or `issuing CA`.
        role: &'static str,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// Signing a CA certificate failed.
    #[error("cannot sign the CA certificate")]
    Sign {
        /// Why.
        #[source]
        source: SignError,
    },
    /// The signer went away without an answer.
    #[error("the signer ended without an answer; run the ceremony again")]
    SignerGone,
    /// A signature does not verify.
    #[error("the token's signature does not verify with its public key; do not use this token")]
    SignatureWrong,
    /// The DER encoder refused something, or a certificate did not read back.
    #[error("cannot encode the CA certificate")]
    Encoding {
        /// Why.
        #[from]
        source: der::Error,
    },
    /// A file or directory could not be written.
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
    /// The log could not be created.
    #[error("cannot create the log")]
    Log {
        /// Why.
        #[source]
        source: birthmark_log::CreateError,
    },
    /// A CA certificate without a subject key identifier.
    #[error(
        "the certificate of '{subject}' has no subject key identifier (RFC 5280 §4.2.1.2); get one that has"
    )]
    NoKeyIdentifier {
        /// Whose.
        subject: String,
    },
    /// The chain does not hold.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The certificate is not one that issues with this key.
    #[error(transparent)]
    Issuer(#[from] birthmark_engine::IssuerError),
    /// Nothing says which root is trusted.
    #[error(
        "nothing says which root is trusted. That of --chain is '{subject}' with the SHA-256 {found}: compare that with \
         what its keeper says, by another way than the file came, then add --root-sha256 {found}"
    )]
    RootNotStated {
        /// The root's subject.
        subject: String,
        /// SHA-256 of the root's certificate.
        found: String,
    },
    /// The root is not the one that was expected.
    #[error(
        "the root of the chain has the SHA-256 {found}, and {expected} was stated (root-sha256); do not install it, and \
         ask where it comes from"
    )]
    OtherRoot {
        /// Of the root's certificate.
        found: String,
        /// What was given.
        expected: String,
    },
    /// The key cannot be activated as is stated.
    #[error("--activation: {0}")]
    Activation(#[from] birthmark_engine::ActivationMisfit),
    /// A key's place is not one.
    #[error(transparent)]
    Location {
        /// Why.
        source: birthmark_hsm::LocationError,
    },
    /// The PIN cannot be had.
    #[error(transparent)]
    Hsm(#[from] Box<HsmError>),
    /// A later step failed after keys were generated on a token.
    #[error(
        "no CA was made, but the token now holds {keys}; delete it there or choose another object name"
    )]
    KeysLeft {
        /// The keys' URIs, without PINs.
        keys: String,
        /// What failed.
        #[source]
        source: Box<CeremonyError>,
    },
}
