//! Faults of the system, as apart from requests at fault.

use birthmark_hsm::SignError;

use crate::rejection::Action;

/// Why a sound request got no certificate. Says nothing against the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The signer failed, which may pass. The certificate's reservation is closed as lost.
    #[error("the signer failed: {0}")]
    Signer(String),
    /// The signer signs no more before a person acts: its PIN was refused, its key is used up or is another
    /// one. The certificate's reservation is closed as lost.
    #[error("the signer needs a person before it signs: {0}")]
    SignerStopped(String),
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
    /// The spool of generated keys takes no more. No key was made that is not kept.
    #[error("{0}")]
    KeySpoolFull(String),
    /// The spool of generated keys failed, or a key in it cannot be read.
    #[error("{0}")]
    KeySpool(String),
    /// No key can be encrypted for the line's certificate now: it has expired, or is not valid yet. No key was
    /// made that is not kept; requests with keys of their own go on.
    #[error("no key can be made for the line: {0}")]
    Recipient(String),
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
            Self::SignerStopped(_) => (909, "signer-stopped", Action::CallOfficer),
            Self::KeySpoolFull(_) => (910, "key-spool-full", Action::Stop),
            Self::KeySpool(_) => (911, "key-spool", Action::Stop),
            Self::Recipient(_) => (912, "recipient", Action::CallOfficer),
        }
    }
}

impl From<SignError> for Fault {
    fn from(error: SignError) -> Self {
        if error.is_lasting() {
            Self::SignerStopped(error.to_string())
        } else {
            Self::Signer(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_person_has_to_mend_is_not_to_be_tried_again() {
        let token = || Arc::from("t");
        let down = |lasting| SignError::TokensDown {
            waited: Duration::ZERO,
            lasting,
            tokens: Arc::from("token 't' is down"),
        };
        let held_back = |lasting| SignError::PinHeldBack {
            token: token(),
            why: Arc::from("it was refused before"),
            lasting,
        };
        let hung = SignError::Hung {
            token: token(),
            limit: Duration::from_secs(1),
        };
        let wrong_key = SignError::WrongKey {
            token: token(),
            key: "k".to_owned(),
        };
        let wrong_signature = SignError::WrongSignature { token: token() };
        for (error, number, action) in [
            (hung, 900, "RETRY"),
            (down(false), 900, "RETRY"),
            (held_back(false), 900, "RETRY"),
            (down(true), 909, "CALL-OFFICER"),
            (held_back(true), 909, "CALL-OFFICER"),
            (wrong_key, 909, "CALL-OFFICER"),
            (wrong_signature, 909, "CALL-OFFICER"),
            (SignError::Stopped, 909, "CALL-OFFICER"),
        ] {
            let fault = Fault::from(error);
            let told = (fault.number(), fault.action().to_string());
            assert_eq!(told, (number, action.to_owned()), "{fault}");
        }
    }
}
