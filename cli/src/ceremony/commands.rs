//! `birthmark ca csr` and `birthmark ca install`, from arguments to output.

use birthmark_hsm::SignerLocation;
use serde::Serialize;

use super::args::{CaCsrArguments, CaInstallArguments};
use super::{CeremonyError, InstallPlan, KeyPlace, RequestPlan, install, request};
use crate::command::{CommandError, Exit};
use crate::console::Console;
use crate::hsm::{Marks, pin};

/// `birthmark ca csr`.
pub(crate) fn csr(
    arguments: CaCsrArguments,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let signer = location(&arguments.signer)?;
    let mut plan = RequestPlan::new(signer, arguments.subject, arguments.out);
    plan.rsa_signature = arguments.signature;
    let written = request(&plan)?;
    let text = format!(
        "request      {}\nsubject      {}\nkey          {}\npublic key   SHA-256 {}\n",
        written.request.display(),
        written.subject,
        written.algorithm,
        written.public_key_sha256.as_deref().unwrap_or_default(),
    );
    print(console, arguments.json, &written, &text)
}

/// `birthmark ca install`.
pub(crate) fn install_ca(
    arguments: CaInstallArguments,
    console: &mut Console<'_>,
) -> Result<Exit, CommandError> {
    let mut plan = InstallPlan::new(
        arguments.dir,
        location(&arguments.signer)?,
        arguments.certificate,
        arguments.chain,
    );
    plan.root_sha256 = arguments.root_sha256.map(|digest| digest.0);
    plan.rsa_signature = arguments.signature;
    plan.origin = arguments.station.origin;
    plan.sessions = arguments.station.sessions.map(usize::from);
    plan.key_copy = arguments.station.key_copy;
    plan.activation = arguments.station.activation;
    let installed = install(&plan)?;
    let text = format!(
        "issuing CA     {}\n  certificate  {}\nroot CA        {}\n  certificate  {}\n  SHA-256      {}\n\
         chain          {} certificates in {}\nlog            {}\n  origin       {}\nconfiguration  {}\n",
        installed.issuing_subject,
        installed.issuing_certificate.display(),
        installed.root_subject,
        installed.root_certificate.display(),
        installed.root_sha256,
        installed.chain_length,
        installed.chain.display(),
        installed.log.display(),
        installed.log_origin,
        installed.configuration.display(),
    );
    print(console, arguments.json, &installed, &text)
}

/// Where a key will be, with its PIN typed where nothing else has it.
pub(crate) fn with_pin(place: KeyPlace) -> Result<KeyPlace, CeremonyError> {
    Ok(match place {
        KeyPlace::Token(uri) => {
            let uri = pin::with_pin(*uri, Marks::OfUser).map_err(Box::new)?;
            KeyPlace::Token(Box::new(uri))
        }
        KeyPlace::Software => KeyPlace::Software,
    })
}

/// Where a key is, with its PIN typed where nothing else has it. Not left to the grammar, whose errors repeat
/// what was typed: a PIN might stand there.
pub(super) fn location(text: &str) -> Result<SignerLocation, CeremonyError> {
    match text
        .parse()
        .map_err(|source| CeremonyError::Location { source })?
    {
        SignerLocation::Pkcs11(uri) => {
            let uri = pin::with_pin(uri, Marks::OfUser).map_err(Box::new)?;
            Ok(SignerLocation::Pkcs11(uri))
        }
        software => Ok(software),
    }
}

fn print(
    console: &mut Console<'_>,
    json: bool,
    value: &impl Serialize,
    text: &str,
) -> Result<Exit, CommandError> {
    let written = console.result(json, value, text);
    written.map_err(CommandError::output)?;
    Ok(Exit::Done)
}
