//! Where a signer is, as written on a command line or in a configuration file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::LocationError;
use crate::pkcs11::Pkcs11Uri;

/// Where a signing key is: `software:PATH` or `pkcs11:…` (RFC 7512).
///
/// `Display` and `Debug` leave out where the PIN comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one per issuer, read once: no box is worth it"
)]
pub enum SignerLocation {
    /// A PKCS#8 PEM file.
    Software(PathBuf),
    /// A key on a PKCS#11 token.
    Pkcs11(Pkcs11Uri),
}

impl FromStr for SignerLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<SignerLocation, LocationError> {
        if let Some(path) = text.strip_prefix("software:") {
            if path.is_empty() {
                return Err(LocationError::NoPath);
            }
            return Ok(SignerLocation::Software(PathBuf::from(path)));
        }
        if text.starts_with("pkcs11:") {
            return Ok(SignerLocation::Pkcs11(text.parse()?));
        }
        Err(LocationError::UnknownForm)
    }
}

impl fmt::Display for SignerLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignerLocation::Software(path) => write!(f, "software:{}", path.display()),
            SignerLocation::Pkcs11(uri) => uri.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_refused() {
        let software: SignerLocation = "software:/etc/a key.pem".parse().unwrap();
        assert_eq!(
            software,
            SignerLocation::Software(PathBuf::from("/etc/a key.pem"))
        );
        assert_eq!(software.to_string(), "software:/etc/a key.pem");

        let token: SignerLocation = "pkcs11:token=t;object=k?pin-source=file:/run/pin"
            .parse()
            .unwrap();
        assert_eq!(token.to_string(), "pkcs11:token=t;object=k?pin-source=…");
        assert!(!format!("{token:?}").contains("/run/pin"));

        assert_eq!(
            "software:".parse::<SignerLocation>(),
            Err(LocationError::NoPath)
        );
        for wrong in ["", "key.pem", "PKCS12:x"] {
            assert_eq!(
                wrong.parse::<SignerLocation>(),
                Err(LocationError::UnknownForm)
            );
        }
        assert!(matches!(
            "pkcs11:token".parse::<SignerLocation>(),
            Err(LocationError::Uri(_))
        ));
    }
}
