//! How an issuer's key is activated when its station starts.

use std::fmt;
use std::str::FromStr;

use birthmark_hsm::SignerLocation;

/// Who has to be there when a station starts (`issuer.activation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// Nobody: the PIN is in `pin-source` or `BIRTHMARK_PIN`, or the token wants none.
    #[default]
    Unattended,
    /// An operator types the PIN at every start.
    Operator,
    /// Several people, as the token itself arranges (cards, keypads): it asks them, not this program.
    MOfN,
}

impl Activation {
    /// Every way, in the order in which they are documented.
    pub const ALL: [Activation; 3] = [
        Activation::Unattended,
        Activation::Operator,
        Activation::MOfN,
    ];

    /// The name in a configuration, as [`FromStr`] reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Activation::Unattended => "unattended",
            Activation::Operator => "operator",
            Activation::MOfN => "m-of-n",
        }
    }
}

impl Activation {
    /// Whether a signer can be activated so. An operator who types the PIN beside a file that has it would be no
    /// protection.
    ///
    /// # Errors
    /// [`ActivationMisfit`].
    pub fn check(self, signer: &SignerLocation) -> Result<(), ActivationMisfit> {
        match (self, signer) {
            (Activation::Unattended, _) => Ok(()),
            (_, SignerLocation::Software(_)) => Err(ActivationMisfit::Software),
            (_, SignerLocation::Pkcs11(uri)) if uri.has_pin_source() => {
                Err(ActivationMisfit::PinSource { activation: self })
            }
            _ => Ok(()),
        }
    }
}

/// A signer that cannot be activated as is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationMisfit {
    /// A key file.
    #[error("a software key is always \"unattended\": nothing asks for a PIN")]
    Software,
    /// The PIN lies in a file.
    #[error("\"{activation}\" with a PIN in a file: take pin-source out of the signer's URI")]
    PinSource {
        /// What was stated.
        activation: Activation,
    },
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = UnknownActivation;

    fn from_str(name: &str) -> Result<Self, UnknownActivation> {
        let mut all = Activation::ALL.into_iter();
        all.find(|activation| activation.name() == name)
            .ok_or(UnknownActivation)
    }
}

/// The name is none of those that [`Activation`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "use \"unattended\", \"operator\" (the PIN is typed at start) or \"m-of-n\" (the token asks)"
)]
pub struct UnknownActivation;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for activation in Activation::ALL {
            assert_eq!(activation.to_string().parse(), Ok(activation));
        }
        assert_eq!("Operator".parse::<Activation>(), Err(UnknownActivation));
    }
}
