//! The grammar of `birthmark ca ceremony`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    birthmark ca ceremony check new-ca.toml\n  \
    birthmark ca ceremony open new-ca.toml\n  \
    birthmark ca ceremony approve new-ca.toml --key ada.key\n  \
    birthmark ca ceremony new-ca.toml --key ada.key\n  \
    birthmark ca ceremony verify new-ca.toml\n\n\
    Each step is shown and done when 'yes' is typed. Steps that make, use for a CA certificate, move or destroy a\n\
    key need the approvals of as many signers as the plan says: signed notes over the plan as it is now and the\n\
    ceremony's id, beside the plan. What was done is recorded before the ceremony goes on; run the same command again after an\n\
    interruption. The transcript is a signed note (c2sp.org/signed-note), with the SHA-256 of all that was made.\n\
    PINs and passphrases come from files that the plan names, from BIRTHMARK_PIN, or are typed.\n\
    Exit code 1: stopped or not approved; 2: the plan, a PIN or a passphrase is wrong; 3: a fault. Ready plans\n\
    are in cli/plans."
)]
pub(crate) struct CeremonyArguments {
    #[command(subcommand)]
    pub(crate) command: Option<CeremonyCommand>,
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: Option<PathBuf>,
    /// Key of the signer who signs the transcript, where the plan says "officer".
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CeremonyCommand {
    /// Explain a plan and say who has approved it; does nothing.
    Check(CheckArguments),
    /// Begin the ceremony: give it the id that approvals name; no step is done.
    Open(OpenArguments),
    /// Approve a plan as it is now for one ceremony, with the key of one of its signers.
    Approve(ApproveArguments),
    /// Verify a transcript with the plan and the officers' public keys, and say what it proves.
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca ceremony check new-ca.toml\n\n\
    Reads the plan and the approvals beside it, and nothing else: no key, no token, no certificate.")]
pub(crate) struct CheckArguments {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca ceremony open new-ca.toml\n\n\
    Makes the journal and tells the ceremony's id, 16 random bytes. When the ceremony has begun, tells its id again.")]
pub(crate) struct OpenArguments {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca ceremony approve new-ca.toml --key ada.key\n  \
    birthmark ca ceremony approve new-ca.toml --key ada.key --ceremony 2f0c…\n\n\
    Writes PLAN.NAME.approval beside the plan: a signed note over its SHA-256 and the ceremony's id. When the plan is\n\
    changed in any way, and for any other ceremony, the approval does not count. Where the ceremony's journal is not\n\
    at hand, its id is given. Keys come from 'birthmark officer keygen'.")]
pub(crate) struct ApproveArguments {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The signer's key file.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The ceremony's id, as 'birthmark ca ceremony open' told it [default: that of the journal]
    #[arg(long, value_name = "ID")]
    pub(crate) ceremony: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    birthmark ca ceremony verify new-ca.toml --signer ada.example+bb26ee94+AbpL… --signer bob.example+213d…\n  \
    birthmark ca ceremony verify new-ca.toml --transcript /media/archive/new-ca.transcript\n\n\
    Needs neither the CA nor a token. Verifies the transcript's signature, that it is of this plan, every approval,\n\
    the chain of its lines and their order, and that each step tells all that the plan has it make; compares what\n\
    is at hand with its SHA-256. Exit code 1: something does not hold.")]
pub(crate) struct VerifyArguments {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The transcript [default: the plan's transcript.file]
    #[arg(long, value_name = "FILE")]
    pub(crate) transcript: Option<PathBuf>,
    /// An officer's line of 'birthmark officer keygen', from the officer; all of them, or none.
    #[arg(long, value_name = "KEY")]
    pub(crate) signer: Vec<String>,
    /// The key that the ceremony told under 'signed by', where a key of the plan signs the transcript.
    #[arg(long, value_name = "KEY")]
    pub(crate) vkey: Option<String>,
}
