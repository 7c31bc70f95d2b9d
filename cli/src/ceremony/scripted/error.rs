//! Why a scripted ceremony does not go on.

use std::io;
use std::path::{Path, PathBuf};

use birthmark_hsm::{
    DestroyError, GenerateError, KeyAlgorithm, OpenError, SignError, SoftwareKeyError,
};
use birthmark_log::tlog::NoteError;

use crate::ceremony::CeremonyError;
use crate::command::Exit;
use crate::hsm::{HsmError, generate_exit, open_exit};

/// Why `birthmark ca ceremony` ends before its plan does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The plan is wrong.
    #[error("{path}: {place}: {problem}", path = path.display())]
    Plan {
        /// The plan.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// No plan was named.
    #[error("name a plan: `birthmark ca ceremony PLAN`, or `birthmark ca ceremony check PLAN`")]
    NoPlan,
    /// A file.
    #[error("cannot {action} {path}; check path, space and permissions", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a key of a signer.
    #[error("{path} is not the key of a signer of this plan; use a key that is in approval.signers", path = path.display())]
    UnknownSigner {
        /// The key file.
        path: PathBuf,
    },
    /// The transcript is to be signed with an officer's key.
    #[error("the transcript is signed by a signer of the plan; give the key with --key")]
    NoOfficer,
    /// The key is of no use.
    #[error("this plan has a key of its own sign the transcript; leave --key out")]
    OfficerNotNeeded,
    /// Too few signers approved.
    #[error(
        "{plan} is approved by {found} of {signers} signers, and needs {needed}; each signs with `birthmark ca ceremony \
         approve PLAN --key FILE`{remarks}", plan = plan.display()
    )]
    NotApproved {
        /// The plan.
        plan: PathBuf,
        /// How many did.
        found: usize,
        /// How many have to.
        needed: usize,
        /// How many there are.
        signers: usize,
        /// Approvals that do not count.
        remarks: String,
    },
    /// The plan was changed after the ceremony began.
    #[error(
        "{plan} is not the plan that this ceremony began with; put that one back, or begin another ceremony with \
         another transcript.file ({journal} tells what was done)", plan = plan.display(), journal = journal.display()
    )]
    OtherPlan {
        /// The plan.
        plan: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// The journal cannot be read.
    #[error("{path} is damaged; keep it, and find out what happened before anything else is done", path = path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The journal cannot take more.
    #[error(
        "{path} is too long for one transcript; do the rest by another plan with another transcript.file", path = path.display()
    )]
    JournalFull {
        /// The journal.
        path: PathBuf,
    },
    /// A file is too long to be copied.
    #[error("{path} has over {max} bytes: that is no key, certificate or record of a ceremony", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Most bytes.
        max: u64,
    },
    /// Another process runs it.
    #[error("this ceremony is running in another process ({path} is locked)", path = path.display())]
    Running {
        /// The journal.
        path: PathBuf,
    },
    /// Not agreed to.
    #[error(
        "stopped before step {step}; nothing of it was done. The same command goes on from here"
    )]
    Stopped {
        /// The step.
        step: usize,
    },
    /// What an earlier step made is not as it was.
    #[error("{path} is not as step {step} made it; find out who changed it before going on", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The step.
        step: usize,
    },
    /// Something is where a step would make something.
    #[error(
        "step {step} would make {what}, which exists; nothing was done: choose another name, or remove it"
    )]
    Exists {
        /// The step.
        step: usize,
        /// What there is.
        what: String,
    },
    /// A step failed.
    #[error("step {step} is not done; mend this and run the same command again")]
    Step {
        /// The step.
        step: usize,
        /// Why.
        #[source]
        source: Box<ScriptError>,
    },
    /// Under the name is another key.
    #[error("the key '{name}' is another one (SHA-256 {found}) than it should be ({expected})")]
    OtherKey {
        /// The name in the plan.
        name: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The key is not in the plan, or not of the kind.
    #[error("the plan has no such key '{name}'")]
    NoKey {
        /// The name.
        name: String,
    },
    /// A copy is not like the original.
    #[error("{path} is not the same as the original; use another medium, or remove what is there", path = path.display())]
    CopyDiffers {
        /// The copy.
        path: PathBuf,
    },
    /// A copy is the original, or another copy, under another name.
    #[error("{path} is the same file as the original or as another copy; give each copy a medium of its own", path = path.display())]
    SameFile {
        /// The copy.
        path: PathBuf,
    },
    /// A file that a step before an interruption made is not what it should be.
    #[error("{path} is not the certificate that this step makes; remove it if nobody needs it", path = path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The key is of another kind.
    #[error(
        "the key '{name}' is a {found} key, which is not what the plan has made; remove it if nobody needs it"
    )]
    OtherAlgorithm {
        /// The name in the plan.
        name: String,
        /// What is there.
        found: KeyAlgorithm,
    },
    /// An attribute is not as it should be.
    #[error("the key '{name}' is not protected as asked: {wrong}; do not use it")]
    NotAsAsked {
        /// The key.
        name: String,
        /// Attributes.
        wrong: String,
    },
    /// The random generator failed.
    #[error(
        "the system gives no random numbers or cannot encrypt; nothing can be made on this machine"
    )]
    Random,
    /// The passphrase is wrong.
    #[error("the passphrase is wrong, or the key file is damaged")]
    Passphrase,
    /// The passphrase is too short.
    #[error("the passphrase of a new key has at least {min} characters")]
    ShortPassphrase {
        /// How many.
        min: usize,
    },
    /// The two passphrases differ.
    #[error("the two passphrases differ; run the same command again")]
    PassphrasesDiffer,
    /// The key file is not encrypted.
    #[error("the key file holds no 'ENCRYPTED PRIVATE KEY'")]
    NotEncrypted,
    /// Encrypted in another way.
    #[error(
        "the key file is encrypted in a way that is not read here; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc \
         -v2prf hmacWithSHA256`"
    )]
    Encryption,
    /// PEM or DER.
    #[error("cannot encode or read a key or certificate")]
    Encoding(#[from] der::Error),
    /// The note cannot be read back.
    #[error("the signed note does not verify; nothing was written")]
    Note {
        /// Why.
        source: NoteError,
    },
    /// The transcript's key is of another kind.
    #[error("the key '{name}' is not an Ed25519 key and cannot sign the transcript")]
    NotEd25519 {
        /// The key.
        name: String,
    },
    /// The transcript's key has no name.
    #[error("the plan's name cannot be that of a key")]
    NoteKey {
        /// Why.
        source: birthmark_log::tlog::KeyError,
    },
    /// A software key.
    #[error(transparent)]
    SoftwareKey(#[from] SoftwareKeyError),
    /// A key does not sign.
    #[error("a key does not sign")]
    Sign(#[from] SignError),
    /// A token or its key.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A token makes no key.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A token does not destroy a key.
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    /// The PIN or passphrase cannot be had.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// A certificate or a CA's directory cannot be made.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// Results cannot be written.
    #[error("cannot write to standard output; check where it goes")]
    Output {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ScriptError {
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> ScriptError {
        ScriptError::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Not agreed to, not approved, not as it was: rejected. A wrong plan or secret is usage; the rest are faults.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            ScriptError::Stopped { .. } | ScriptError::NotApproved { .. } => Exit::Rejected,
            ScriptError::Step { source, .. } => source.exit(),
            ScriptError::Open(error) => open_exit(error),
            ScriptError::Generate(error) => generate_exit(error),
            ScriptError::Destroy(DestroyError::Open(error)) => open_exit(error),
            ScriptError::Hsm(error) => error.exit(),
            ScriptError::Ceremony(error) => crate::command::ceremony_exit(error),
            ScriptError::File { .. }
            | ScriptError::Journal { .. }
            | ScriptError::Changed { .. }
            | ScriptError::Random
            | ScriptError::Encoding(_)
            | ScriptError::Note { .. }
            | ScriptError::Sign(_)
            | ScriptError::Destroy(_)
            | ScriptError::CopyDiffers { .. }
            | ScriptError::Output { .. } => Exit::Fault,
            _ => Exit::Usage,
        }
    }
}
