//! The grammar of `birthmark ca ceremony`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    birthmark ca ceremony check new-ca.toml\n  \
    birthmark ca ceremony approve new-ca.toml --key ada.key\n  \
    birthmark ca ceremony new-ca.toml --key ada.key\n\n\
    Each step is shown and done when 'yes' is typed. Steps that make, use for a CA certificate, move or destroy a\n\
    key need the approvals of as many signers as the plan says: signed notes over the plan as it is now, beside\n\
    it. What was done is recorded before the ceremony goes on; run the same command again after an\n\
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
    /// Approve a plan as it is now, with the key of one of its signers.
    Approve(ApproveArguments),
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
    birthmark ca ceremony approve new-ca.toml --key ada.key\n\n\
    Writes PLAN.NAME.approval beside the plan: a signed note over its SHA-256. When the plan is changed in any\n\
    way, the approval does not count any more. Keys come from 'birthmark officer keygen'.")]
pub(crate) struct ApproveArguments {
    /// The plan.
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The signer's key file.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}
