//! Tokens and keys that a PKCS#11 URI names and that are not there, are there more than once, or do not sign here.

use crate::algorithm::KeyAlgorithm;

/// A token was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No token fits the URI.
    #[error(
        "no token fits {wanted}; the module shows {}",
        list(seen, "no initialized token")
    )]
    Unknown {
        /// The URI's token attributes.
        wanted: String,
        /// The tokens that the module shows, label and serial.
        seen: Vec<String>,
    },
    /// More than one token fits the URI.
    #[error("{} tokens fit {wanted}: {}; add serial= to the URI", fitting.len(), list(fitting, "none"))]
    Ambiguous {
        /// The URI's token attributes.
        wanted: String,
        /// The tokens that fit, label and serial.
        fitting: Vec<String>,
    },
}

/// A key was not found on the token, or cannot sign here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No private key fits the URI.
    #[error(
        "no private key fits {wanted} on token '{token}'; it holds {}",
        list(seen, "none")
    )]
    Unknown {
        /// The URI's object attributes.
        wanted: String,
        /// The token's label.
        token: String,
        /// The labels and ids of the private keys on the token.
        seen: Vec<String>,
    },
    /// More than one private key fits the URI.
    #[error(
        "{} private keys fit {wanted} on token '{token}': {}; name one by object= and id=",
        fitting.len(), list(fitting, "none")
    )]
    Ambiguous {
        /// The URI's object attributes.
        wanted: String,
        /// The token's label.
        token: String,
        /// The labels and ids of the keys that fit.
        fitting: Vec<String>,
    },
    /// The key is of a kind that does not sign here.
    #[error(
        "the key {key} on token '{token}' is {found}: use one of {}",
        KeyAlgorithm::NAMES
    )]
    Unsupported {
        /// The key's label and id.
        key: String,
        /// The token's label.
        token: String,
        /// What the key is.
        found: String,
    },
    /// The public half cannot be read.
    #[error(
        "no public key belongs to {key} on token '{token}': put the public key object with the \
         same id beside it"
    )]
    NoPublicKey {
        /// The key's label and id.
        key: String,
        /// The token's label.
        token: String,
    },
}

/// Most names that a message shows.
const NAMES_MAX: usize = 8;

/// Names one after the other, or what to say when there are none.
fn list(names: &[String], none: &str) -> String {
    if names.is_empty() {
        return none.to_owned();
    }
    let shown = names.len().min(NAMES_MAX);
    let mut text = names[..shown].join(", ");
    if shown < names.len() {
        let more = names.len() - shown;
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn a_message_shows_eight_names_at_most() {
        let names: Vec<String> = (0..11).map(|number| format!("t{number}")).collect();
        assert_eq!(list(&[], "none"), "none");
        assert_eq!(list(&names[..2], "none"), "t0, t1");
        assert!(list(&names[..8], "none").ends_with("t6, t7"));
        assert!(list(&names, "none").ends_with("t6, t7 and 3 more"));
    }
}
