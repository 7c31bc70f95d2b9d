//! Faults of the system, as apart from requests at fault.

use crate::rejection::Action;

/// Why a sound request got no certificate. Says nothing against the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The signer failed. The certificate's reservation is closed as lost.
    #[error("the signer failed: {0}")]
    Signer(String),
    /// The finished certificate did not pass its own check. It was not released.
    #[error("the finished certificate failed its check and was not released: {0}")]
    Check(String),
    /// The log takes no more records.
    #[error("the log failed: {0}")]
    Log(String),
    /// What the answer depends on lies in an archive of the log that is not there. Nothing was signed.
    /// Requests of devices that are new fare on.
    #[error("what was issued before lies in an archive, nothing was signed: {0}")]
    Archived(String),
    /// The log has no room. Nothing was signed.
    #[error("the log is out of space, nothing was signed: {0}")]
    NoSpace(String),
    /// The clock cannot be right. Nothing was signed.
    #[error("the clock is not plausible, nothing was signed: {0}")]
    Clock(String),
    /// The issuer certificate cannot issue now.
    #[error("{0}")]
    Issuer(String),
    /// The random number generator failed.
    #[error(
        "the random number generator failed; restart, and if it fails again replace the machine"
    )]
    Random,
    /// The engine is closing.
    #[error("the engine is closing and takes no more requests")]
    Closing,
}

impl Fault {
    /// A stable number, 9xx.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.facts().0
    }

    /// The kind in kebab case, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.facts().1
    }

    /// What to do at the line.
    #[must_use]
    pub fn action(&self) -> Action {
        self.facts().2
    }

    fn facts(&self) -> (u16, &'static str, Action) {
        match self {
            Self::Signer(_) => (900, "signer", Action::Retry),
            Self::Check(_) => (901, "check", Action::CallOfficer),
            Self::Log(_) => (902, "log", Action::Stop),
            Self::NoSpace(_) => (903, "no-space", Action::Stop),
            Self::Clock(_) => (904, "clock", Action::CallOfficer),
            Self::Issuer(_) => (905, "issuer", Action::CallOfficer),
            Self::Random => (906, "random", Action::Stop),
            Self::Closing => (907, "closing", Action::Retry),
            Self::Archived(_) => (908, "archived", Action::CallOfficer),
        }
    }
}
