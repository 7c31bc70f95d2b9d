//! A CA's directory: what lies in it, and how it appears whole or not at all.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use birthmark_engine::Activation;
use birthmark_engine::profile::{IDEVID_TOML, TLS_CLIENT_TOML};
use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use birthmark_log::Log;

use super::CeremonyError;
use super::files::{failed, make_private_directory, refuse_existing, software_key, write_new};

/// File name of the configuration in a CA's directory.
pub const CONFIGURATION_FILE: &str = "birthmark.toml";
pub(super) const ISSUING_CERTIFICATE_FILE: &str = "issuing-ca.pem";
pub(super) const ISSUING_KEY_FILE: &str = "issuing-ca.key";
pub(super) const ROOT_DIRECTORY: &str = "root";
pub(super) const ROOT_CERTIFICATE_FILE: &str = "root-ca.pem";
pub(super) const ROOT_KEY_FILE: &str = "root-ca.key";
pub(super) const LOG_DIRECTORY: &str = "log";
const LOG_KEY_FILE: &str = "log.key";
const PROFILES: [(&str, &str); 2] = [
    ("profiles/idevid.toml", IDEVID_TOML),
    ("profiles/tls-client.toml", TLS_CLIENT_TOML),
];

const SEVERAL_TOKENS: &str = "\
# signers = [\"pkcs11:…\", \"pkcs11:…\"]   # in place of signer: the same key on up to 16 tokens\n\
# call_limit_s = 10            # an HSM call that lasts longer is given up and made elsewhere\n\
# wait_limit_s = 30            # how long requests wait while every token is down\n\
# probe_interval_max_s = 300   # longest time between two looks at a token that is down\n";

/// What a CA's directory is made from, but for keys and certificates.
pub(super) struct Layout<'a> {
    pub(super) origin: &'a str,
    /// As it stands in the configuration.
    pub(super) signer: &'a str,
    pub(super) rsa_signature: Option<RsaSignature>,
    pub(super) sessions: Option<usize>,
    pub(super) key_copy: bool,
    pub(super) activation: Activation,
}

impl Layout<'_> {
    /// Everything of a CA but its keys and certificates.
    pub(super) fn lay_out(&self, directory: &Path) -> Result<(), CeremonyError> {
        let root_directory = directory.join(ROOT_DIRECTORY);
        make_private_directory(&root_directory)?;
        make_private_directory(&directory.join("profiles"))?;
        for (file, text) in PROFILES {
            write_new(&directory.join(file), text.as_bytes())?;
        }
        write_new(
            &directory.join(CONFIGURATION_FILE),
            self.configuration().as_bytes(),
        )?;
        software_key(KeyAlgorithm::Ed25519, &directory.join(LOG_KEY_FILE), "log")?;
        let log = directory.join(LOG_DIRECTORY);
        Log::create(&log).map_err(|source| CeremonyError::Log { source })
    }

    /// The text of `birthmark.toml`.
    fn configuration(&self) -> String {
        let mut text = String::from(
            "# Configuration of one issuing CA. Paths are relative to this file.\n\n[issuer]\n",
        );
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {value}");
        };
        line("certificate", &toml_string(ISSUING_CERTIFICATE_FILE));
        line("signer", &toml_string(self.signer));
        if let Some(signature) = self.rsa_signature {
            line("signature", &toml_string(signature.name()));
        }
        match self.sessions {
            Some(sessions) => line("sessions", &sessions.to_string()),
            None => line(
                "# sessions",
                "2   # PKCS#11 sessions per token, or \"adaptive\"; default: one per CPU",
            ),
        }
        if self.key_copy {
            line(
                "key_copy",
                "true   # SoftHSM only: sign with a session copy of the key",
            );
        }
        let activation = toml_string(self.activation.name());
        let _ = writeln!(
            text,
            "activation = {activation}   # or \"operator\": types the PIN at start; \"m-of-n\": the token asks"
        );
        text.push_str(SEVERAL_TOKENS);
        text.push_str("\n[log]\n");
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} = {}", toml_string(value));
        };
        line("directory", LOG_DIRECTORY);
        line("origin", self.origin);
        line("key", LOG_KEY_FILE);
        text.push_str("\n[engine]\n# threads = 2\n# max_in_flight = 2048\n");
        text.push_str("# verification = \"scalar\"   # no vector instructions: aws-lc-rs alone\n");
        let profiles = PROFILES.map(|(file, _)| toml_string(file)).join(", ");
        let _ = writeln!(text, "profiles = [{profiles}]");
        text.push_str(
            "# officers = [\"…\"]   # keys of `birthmark officer keygen`, for profiles with \
             reissue = \"permit\"\n",
        );
        text
    }
}

/// Has a CA's directory built in a hidden one beside it, and renames that into place: after an error nothing
/// is left.
pub(super) fn build_in_place(
    directory: &Path,
    build: impl FnOnce(&Path) -> Result<(), CeremonyError>,
) -> Result<(), CeremonyError> {
    refuse_existing(directory)?;
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|source| failed("create", parent, source))?;
    let building = tempfile::Builder::new()
        .prefix(".birthmark-ca-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(|source| failed("create a directory in", parent, source))?;
    build(building.path())?;
    fs::rename(building.path(), directory)
        .and_then(|()| File::open(parent)?.sync_all())
        .map_err(|source| failed("create", directory, source))?;
    // It has moved: there is nothing left to remove under the old name.
    let _ = building.keep();
    Ok(())
}

/// Makes the directory entries of a CA durable.
pub(super) fn sync(directory: &Path) -> Result<(), CeremonyError> {
    let (root, profiles) = (directory.join(ROOT_DIRECTORY), directory.join("profiles"));
    for directory in [&root, &profiles, directory] {
        let synced = File::open(directory).and_then(|opened| opened.sync_all());
        synced.map_err(|source| failed("sync", directory, source))?;
    }
    Ok(())
}

/// A TOML basic string.
fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
