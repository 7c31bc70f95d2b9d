//! PKCS#11 URIs (RFC 7512): which module, which token, which key, and where its PIN is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::pin::PinCare;

/// Longest URI read, in bytes: two paths of 4,096 bytes (Linux's `PATH_MAX`) and ample names.
const URI_LEN_MAX: usize = 16 * 1024;

/// A PKCS#11 URI (RFC 7512) that names one key on one token.
///
/// Read: the path attributes `token`, `serial`, `manufacturer`, `model`, `object`, `id`, `type`
/// (which must be `private` where present) and the query attributes `module-path`, `module-name`
/// and `pin-source`. A `pin-value` is refused: a PIN does not belong into a configuration file,
/// an argument list or a log. Slot numbers are refused: tokens change their slots. Other path
/// attributes are refused, because leaving one out would widen what the URI fits; other query
/// attributes are ignored (RFC 7512 §2.3 and §2.4).
///
/// `Display` and `Debug` leave out where the PIN comes from; [`Pkcs11Uri::as_written`] has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pkcs11Uri {
    written: String,
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    pub(super) module_path: Option<PathBuf>,
    pub(super) module_name: Option<String>,
    pub(super) pin_source: Option<String>,
    pub(super) pin: PinCare,
}

/// A PKCS#11 URI could not be read. The message never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It does not start with `pkcs11:`.
    #[error("a PKCS#11 URI starts with 'pkcs11:' (RFC 7512)")]
    Scheme,
    /// It is too long.
    #[error("the PKCS#11 URI is longer than {URI_LEN_MAX} bytes")]
    TooLong,
    /// A part is not `name=value`.
    #[error("part {position} of the PKCS#11 URI is not 'name=value' (RFC 7512 §2.3)")]
    NotAnAttribute {
        /// Which part, counted from 1.
        position: usize,
    },
    /// A name that is not read.
    #[error(
        "the PKCS#11 URI attribute '{name}' is not supported: use token, serial, manufacturer, model, object, id, type"
    )]
    UnknownAttribute {
        /// The attribute.
        name: String,
    },
    /// A slot number.
    #[error(
        "the PKCS#11 URI names a slot by 'slot-id', which changes at will: name the token by token= or serial="
    )]
    SlotId,
    /// The same attribute twice.
    #[error("the PKCS#11 URI has '{name}' twice (RFC 7512 §2.3)")]
    Repeated {
        /// The attribute.
        name: &'static str,
    },
    /// A value that is not percent-encoded text.
    #[error(
        "the value of '{name}' in the PKCS#11 URI is wrong: write spaces and other special characters as %XX (RFC 7512 §2.3)"
    )]
    Encoding {
        /// The attribute.
        name: &'static str,
    },
    /// Another `type` than `private`.
    #[error("the PKCS#11 URI names an object of another type: use type=private, or leave it out")]
    Type,
    /// A PIN in the URI.
    #[error(
        "the PKCS#11 URI holds a PIN (pin-value), which is not accepted: put the PIN into a file and use pin-source=file:/path, or set BIRTHMARK_PIN"
    )]
    PinValue,
    /// A PIN source of a kind that is not read.
    #[error("pin-source must be a file: pin-source=file:/path")]
    PinSource,
}

impl Pkcs11Uri {
    /// The URI of the key `object` on the token labeled `token`, with the PIN in `pin_file` or,
    /// when that is `None`, in the environment variable `BIRTHMARK_PIN`.
    ///
    /// Paths that are not UTF-8 cannot be written in a URI of ours: their other bytes are replaced.
    pub fn new(module: &Path, token: &str, object: &str, pin_file: Option<&Path>) -> Pkcs11Uri {
        let mut written = format!(
            "pkcs11:token={};object={}?module-path={}",
            encode(token),
            encode(object),
            encode(&module.to_string_lossy()),
        );
        if let Some(file) = pin_file {
            written.push_str("&pin-source=file:");
            written.push_str(&encode(&file.to_string_lossy()));
        }
        Pkcs11Uri {
            written,
            token: Some(token.to_owned()),
            object: Some(object.to_owned()),
            module_path: Some(module.to_owned()),
            pin_source: pin_file.map(|file| file.to_string_lossy().into_owned()),
            serial: None,
            manufacturer: None,
            model: None,
            id: None,
            module_name: None,
            pin: PinCare::default(),
        }
    }

    /// The same URI with this id of the key, which it must not have yet.
    ///
    /// # Errors
    /// [`UriError::Repeated`] when it has one, [`UriError::Encoding`] for an empty one.
    pub fn with_id(&self, id: &[u8]) -> Result<Pkcs11Uri, UriError> {
        if self.id.is_some() {
            return Err(UriError::Repeated { name: "id" });
        }
        if id.is_empty() {
            return Err(UriError::Encoding { name: "id" });
        }
        let encoded: String = id.iter().map(|byte| format!("%{byte:02X}")).collect();
        let (path, query) = match self.written.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.written.as_str(), String::new()),
        };
        let separator = if path.ends_with([':', ';']) { "" } else { ";" };
        let mut uri: Pkcs11Uri = format!("{path}{separator}id={encoded}{query}").parse()?;
        uri.pin = self.pin.clone();
        Ok(uri)
    }

    /// The text that was read, `pin-source` included: for a configuration file, not for a log.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The label of the token (`CKA_LABEL` of `CK_TOKEN_INFO`).
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The label of the key (`CKA_LABEL`).
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The id of the key (`CKA_ID`).
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// The module's file.
    pub fn module_path(&self) -> Option<&Path> {
        self.module_path.as_deref()
    }

    /// The token attributes, for a message.
    pub(super) fn describe_token(&self) -> String {
        let named = [
            ("token", &self.token),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
        ];
        let parts: Vec<String> = named
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}='{}'", value.as_deref()?)))
            .collect();
        if parts.is_empty() {
            "a URI without token=".to_owned()
        } else {
            parts.join(" ")
        }
    }

    /// The object attributes, for a message.
    pub(super) fn describe_key(&self) -> String {
        let object = self
            .object
            .as_ref()
            .map(|object| format!("object='{object}'"));
        let id = self.id.as_ref().map(|id| format!("id={}", hex(id)));
        match (object, id) {
            (Some(object), Some(id)) => format!("{object} {id}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "a URI without object= and id=".to_owned(),
        }
    }

    fn set_path_attribute(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        match name {
            "token" => set(&mut self.token, "token", decode_text("token", value)?),
            "serial" => set(&mut self.serial, "serial", decode_text("serial", value)?),
            "manufacturer" => set(
                &mut self.manufacturer,
                "manufacturer",
                decode_text("manufacturer", value)?,
            ),
            "model" => set(&mut self.model, "model", decode_text("model", value)?),
            "object" => set(&mut self.object, "object", decode_text("object", value)?),
            "id" => {
                let id = decode(value).ok_or(UriError::Encoding { name: "id" })?;
                set(&mut self.id, "id", id)
            }
            "type" if value == "private" => Ok(()),
            "type" => Err(UriError::Type),
            "slot-id" => Err(UriError::SlotId),
            other => Err(UriError::UnknownAttribute {
                name: other.chars().take(40).collect(),
            }),
        }
    }

    fn set_query_attribute(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        match name {
            "module-path" => {
                let path = PathBuf::from(decode_text("module-path", value)?);
                set(&mut self.module_path, "module-path", path)
            }
            "module-name" => {
                let module = decode_text("module-name", value)?;
                // A name and not a path: it must not lead out of the directories searched.
                if module.contains('/') {
                    return Err(UriError::Encoding {
                        name: "module-name",
                    });
                }
                set(&mut self.module_name, "module-name", module)
            }
            "pin-source" => {
                let source = decode_text("pin-source", value)?;
                let path = source.strip_prefix("file:").unwrap_or(&source);
                // RFC 8089: an empty host may stand before the path.
                let path = path
                    .strip_prefix("//")
                    .filter(|p| p.starts_with('/'))
                    .unwrap_or(path);
                if path.is_empty() || path.starts_with('|') || path.contains("://") {
                    return Err(UriError::PinSource);
                }
                set(&mut self.pin_source, "pin-source", path.to_owned())
            }
            "pin-value" => Err(UriError::PinValue),
            _ => Ok(()),
        }
    }
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Pkcs11Uri, UriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        if text.len() > URI_LEN_MAX {
            return Err(UriError::TooLong);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Pkcs11Uri {
            written: text.to_owned(),
            token: None,
            serial: None,
            manufacturer: None,
            model: None,
            object: None,
            id: None,
            module_path: None,
            module_name: None,
            pin_source: None,
            pin: PinCare::default(),
        };
        let path_parts = path.split(';').filter(|part| !part.is_empty());
        let path_count = path_parts.clone().count();
        for (index, part) in path_parts.enumerate() {
            let (name, value) = part.split_once('=').ok_or(UriError::NotAnAttribute {
                position: index + 1,
            })?;
            uri.set_path_attribute(name, value)?;
        }
        for (index, part) in query.split('&').filter(|part| !part.is_empty()).enumerate() {
            let (name, value) = part.split_once('=').ok_or(UriError::NotAnAttribute {
                position: path_count + index + 1,
            })?;
            uri.set_query_attribute(name, value)?;
        }
        Ok(uri)
    }
}

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.written.split_once('?').unwrap_or((&self.written, ""));
        f.write_str(path)?;
        let mut separator = '?';
        for part in query.split('&').filter(|part| !part.is_empty()) {
            // An attribute that is not read may be a secret of another program: its value stays out.
            let shown = match part.split_once('=') {
                Some((name @ ("module-path" | "module-name"), value)) => format!("{name}={value}"),
                Some((name, _)) => format!("{name}=…"),
                None => continue,
            };
            write!(f, "{separator}{shown}")?;
            separator = '&';
        }
        Ok(())
    }
}

impl fmt::Debug for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Uri({self})")
    }
}

fn set<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), UriError> {
    if place.is_some() {
        return Err(UriError::Repeated { name });
    }
    *place = Some(value);
    Ok(())
}

fn decode_text(name: &'static str, value: &str) -> Result<String, UriError> {
    let text = decode(value).and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok(text),
        _ => Err(UriError::Encoding { name }),
    }
}

/// Percent-decoding (RFC 3986 §2.1). White space and control characters must come encoded.
fn decode(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (&[high, low], after) = rest.split_first_chunk::<2>()?;
            let digit = |c: u8| char::from(c).to_digit(16);
            bytes.push((digit(high)? * 16 + digit(low)?) as u8);
            rest = after;
        } else if byte.is_ascii_control() || byte == b' ' {
            return None;
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// Percent-encoding of everything but RFC 3986's unreserved characters, `/` and `:`.
fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Bytes as hexadecimal digits, for a message.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_uri_is_read() {
        let text = "pkcs11:token=My%20Token;serial=00ff;manufacturer=SoftHSM%20project;\
                    model=v2;object=Issuing%3bCA;id=%01%aBz;type=private\
                    ?module-path=/opt/my%20hsm/lib.so&pin-source=file:///run/a%20pin&x-other=1";
        let uri: Pkcs11Uri = text.parse().unwrap();
        assert_eq!(uri.token(), Some("My Token"));
        assert_eq!(uri.serial.as_deref(), Some("00ff"));
        assert_eq!(uri.manufacturer.as_deref(), Some("SoftHSM project"));
        assert_eq!(uri.model.as_deref(), Some("v2"));
        assert_eq!(uri.object(), Some("Issuing;CA"));
        assert_eq!(uri.id(), Some(&[1, 0xab, b'z'][..]));
        assert_eq!(uri.module_path(), Some(Path::new("/opt/my hsm/lib.so")));
        assert_eq!(uri.pin_source.as_deref(), Some("/run/a pin"));
        assert_eq!(uri.as_written(), text);
        for shown in [uri.to_string(), format!("{uri:?}")] {
            assert!(shown.contains("object=Issuing%3bCA"), "{shown}");
            assert!(!shown.contains("/run/a"), "{shown}");
            assert!(!shown.contains("x-other=1"), "{shown}");
        }
    }

    #[test]
    fn each_form_of_pin_source() {
        for (source, path) in [
            ("file:/run/pin", "/run/pin"),
            ("file:///run/pin", "/run/pin"),
            ("/run/pin", "/run/pin"),
            ("file:pin.txt", "pin.txt"),
        ] {
            let uri: Pkcs11Uri = format!("pkcs11:?pin-source={source}").parse().unwrap();
            assert_eq!(uri.pin_source.as_deref(), Some(path));
        }
        for wrong in ["|/bin/ask", "https://host/pin", "file:"] {
            let error = format!("pkcs11:?pin-source={wrong}")
                .parse::<Pkcs11Uri>()
                .unwrap_err();
            assert_eq!(error, UriError::PinSource, "{wrong}");
        }
    }

    #[test]
    fn wrong_uris_are_refused_with_their_reason() {
        let cases = [
            ("token=x", UriError::Scheme),
            ("PKCS11:token=x", UriError::Scheme),
            ("pkcs11:token", UriError::NotAnAttribute { position: 1 }),
            (
                "pkcs11:token=a?module-path",
                UriError::NotAnAttribute { position: 2 },
            ),
            (
                "pkcs11:token=a;token=b",
                UriError::Repeated { name: "token" },
            ),
            ("pkcs11:token=a%2", UriError::Encoding { name: "token" }),
            ("pkcs11:token=a%gg", UriError::Encoding { name: "token" }),
            ("pkcs11:token=a b", UriError::Encoding { name: "token" }),
            ("pkcs11:token=%ff", UriError::Encoding { name: "token" }),
            ("pkcs11:token=", UriError::Encoding { name: "token" }),
            ("pkcs11:token=%00", UriError::Encoding { name: "token" }),
            ("pkcs11:slot-id=3", UriError::SlotId),
            ("pkcs11:type=cert", UriError::Type),
            (
                "pkcs11:tokn=a",
                UriError::UnknownAttribute {
                    name: "tokn".to_owned(),
                },
            ),
            (
                "pkcs11:?module-name=../x",
                UriError::Encoding {
                    name: "module-name",
                },
            ),
            ("pkcs11:token=a?pin-value=1234", UriError::PinValue),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Pkcs11Uri>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("1234"));
        }
        let long = format!("pkcs11:token={}", "a".repeat(URI_LEN_MAX));
        assert_eq!(long.parse::<Pkcs11Uri>(), Err(UriError::TooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: proptest::test_runner::RngSeed::Fixed(7512),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_built_reads_back(
            token in "[^\0]{1,20}", object in "[^\0]{1,20}", path in "/[^\0]{1,20}"
        ) {
            let pin = Path::new("/run/p");
            let built = Pkcs11Uri::new(Path::new(&path), &token, &object, Some(pin));
            prop_assert_eq!(built.as_written().parse::<Pkcs11Uri>(), Ok(built.clone()));
        }

        #[test]
        fn reading_never_panics(text in "pkcs11:[a-z=;?&%/0-9]{0,60}") {
            if let Ok(uri) = text.parse::<Pkcs11Uri>() {
                prop_assert!(uri.to_string().starts_with("pkcs11:"));
            }
        }
    }
}
