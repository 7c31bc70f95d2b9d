//! What each step does. A step that an interruption cut short is carried to its end: what it had made already is
//! recognized and checked, and not made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use birthmark_engine::{Configuration, ConfigurationError, Issuer};
use birthmark_hsm::{KeyReport, SignerLocation, SigningPool};
use der::pem::LineEnding;
use der::{Encode, EncodePem};
use serde_json::json;
use x509_cert::Certificate;

use super::ScriptError;
use super::keys::{KeyRing, apart, copy, is_half_erased, read_whole, remove};
use super::plan::{Place, Plan};
use super::step::Action;
use super::transcript::Made;
use crate::ceremony::certificate::{self, CaCertificate, Role, public_key_sha256, signed};
use crate::ceremony::files::write_whole;
use crate::ceremony::{CONFIGURATION_FILE, CeremonyError, InstallPlan, chain, install};
use crate::hex;
use crate::hsm::TEST_TEXT;
use crate::subject::Subject;

/// Carries out steps of one plan.
pub(super) struct Performer<'a> {
    pub(super) plan: &'a Plan,
    pub(super) keys: KeyRing<'a>,
}

impl Performer<'_> {
    /// What the step would make and is there already; asked before the step begins.
    pub(super) fn in_the_way(&mut self, action: &Action) -> Result<Option<String>, ScriptError> {
        if let Action::MakeKey { key } = action
            && self.keys.is_there(key)?
        {
            return Ok(Some(format!("the key '{key}'")));
        }
        let copies = action.copied(&self.plan.keys);
        let mut made = action.makes().into_iter().chain(&copies);
        let there = made.find(|path| path.symlink_metadata().is_ok());
        Ok(there.map(|path| path.display().to_string()))
    }

    /// Does the step. `again`: it was begun before and not finished.
    pub(super) fn perform(&mut self, action: &Action, again: bool) -> Result<Made, ScriptError> {
        match action {
            Action::MakeKey { key } => self.make_key(key, again),
            Action::SelfSign { key, subject, out } => self.self_sign(key, subject, out, again),
            Action::Issue {
                issuer,
                issuer_certificate,
                key,
                subject,
                out,
            } => self.issue((issuer, issuer_certificate), (key, subject), out, again),
            Action::Install { .. } => self.install(action, again),
            Action::RecordAttributes { key, out } => self.record_attributes(key, out, again),
            Action::TestKey { key, certificate } => self.test_key(key, certificate),
            Action::Export { files, to } => export(files, to),
            Action::TakeOffline { key, to } => self.take_offline(key, to, again),
            Action::Destroy { key } => self.destroy(key, again),
            // Whoever agreed to it did it.
            Action::Manual { .. } => Ok(Made::default()),
        }
    }

    fn make_key(&mut self, name: &str, again: bool) -> Result<Made, ScriptError> {
        let taken = again && self.keys.is_there(name)?;
        if !taken {
            self.keys.make(name)?;
        }
        let mut made = Made::default();
        let place = self.plan.keys.get(name).map(|key| &key.place);
        if let Some(file) = place.and_then(Place::file) {
            add_file(&mut made.files, file)?;
        }
        if let Some(Place::Token(_)) = place {
            let report = self.keys.report(name)?;
            as_asked(name, &report)?;
            // One that somebody brought there is not the one that this step made before it was cut short.
            if taken && report.is_imported() {
                return Err(ScriptError::NotAsAsked {
                    name: name.to_owned(),
                    wrong: "CKA_LOCAL".to_owned(),
                });
            }
            made.found.insert("token".to_owned(), report.token.clone());
            let local = if report.is_imported() { "no" } else { "yes" };
            made.found
                .insert("made on the token".to_owned(), local.to_owned());
        }
        let pool = self.keys.open(name)?;
        let wanted = self.plan.keys.get(name).and_then(|key| key.algorithm);
        if wanted.is_some_and(|wanted| wanted != pool.key_algorithm()) {
            return Err(ScriptError::OtherAlgorithm {
                name: name.to_owned(),
                found: pool.key_algorithm(),
            });
        }
        signed(&pool, TEST_TEXT.as_bytes())?;
        let digest = public_key_sha256(pool.public_key()).unwrap_or_default();
        self.keys.remember(name, digest.clone());
        made.keys.insert(name.to_owned(), digest);
        Ok(made)
    }

    fn self_sign(
        &mut self,
        name: &str,
        subject: &Subject,
        out: &Path,
        again: bool,
    ) -> Result<Made, ScriptError> {
        let pool = self.keys.open(name)?;
        let (role, subject) = (Role::Root, subject.to_name()?);
        let key = pool.public_key();
        if !(again && out.exists()) {
            let now = SystemTime::now();
            let root = certificate::issue(&role, subject.clone(), key, &pool, now)?;
            write_certificate(out, &root.certificate)?;
        }
        let root = chain::read_one(out).map_err(CeremonyError::from)?;
        let ours = certificate::is_as_issued(&root, &role, &subject, key, &pool)?;
        made_certificate(out, &root, &root, ours)
    }

    fn issue(
        &mut self,
        (issuer, issuer_certificate): (&str, &Path),
        (name, subject): (&str, &Subject),
        out: &Path,
        again: bool,
    ) -> Result<Made, ScriptError> {
        let above = chain::read_one(issuer_certificate).map_err(CeremonyError::from)?;
        let issuer_pool = self.keys.open(issuer)?;
        key_fits(&above, &issuer_pool)?;
        let pool = self.keys.open(name)?;
        // The key that is certified is one that signs.
        signed(&pool, TEST_TEXT.as_bytes())?;
        let root = CaCertificate::from_certificate(above.clone())?;
        let (role, subject) = (Role::Issuing { root: &root }, subject.to_name()?);
        let key = pool.public_key();
        if !(again && out.exists()) {
            let now = SystemTime::now();
            let issuing = certificate::issue(&role, subject.clone(), key, &issuer_pool, now)?;
            write_certificate(out, &issuing.certificate)?;
        }
        let issued = chain::read_one(out).map_err(CeremonyError::from)?;
        let ours = certificate::is_as_issued(&issued, &role, &subject, key, &issuer_pool)?;
        made_certificate(out, &issued, &above, ours)
    }

    fn install(&mut self, action: &Action, again: bool) -> Result<Made, ScriptError> {
        let Action::Install {
            key,
            certificate,
            chain,
            directory,
            origin,
            activation,
        } = action
        else {
            return Ok(Made::default());
        };
        let signer = match self.plan.keys.get(key).map(|key| &key.place) {
            Some(Place::File(file) | Place::Encrypted { file, .. }) => {
                SignerLocation::Software(file.clone())
            }
            _ => SignerLocation::Pkcs11(self.keys.uri(key)?),
        };
        if !(again && directory.exists()) {
            let mut plan = InstallPlan::new(directory, signer, certificate, chain);
            plan.origin.clone_from(origin);
            plan.activation = *activation;
            install(&plan)?;
        }
        // It appeared whole, so it is a CA; is it this one?
        let configuration = directory.join(CONFIGURATION_FILE);
        let loaded = Configuration::load(&configuration).map_err(not_ours(&configuration))?;
        let issuer = loaded.issuer().map_err(not_ours(&configuration))?;
        let wanted = chain::read_one(certificate).map_err(CeremonyError::from)?;
        if issuer.certificate() != wanted.to_der()? {
            return Err(ScriptError::NotOurs {
                path: loaded.issuer_certificate().to_owned(),
            });
        }
        let mut made = Made::default();
        add_file(&mut made.files, &configuration)?;
        add_file(&mut made.files, loaded.issuer_certificate())?;
        let origin = loaded.log_origin().to_owned();
        made.found.insert("log origin".to_owned(), origin);
        Ok(made)
    }

    fn record_attributes(
        &mut self,
        name: &str,
        out: &Path,
        again: bool,
    ) -> Result<Made, ScriptError> {
        let report = self.keys.report(name)?;
        let attributes: BTreeMap<&str, &str> = report
            .attributes
            .iter()
            .map(|one| (one.name, one.value.as_deref().unwrap_or("not told")))
            .collect();
        let record = json!({
            "token": report.token,
            "label": report.label,
            "id": hex::encode(&report.id),
            "public_key_sha256": public_key_sha256(&report.public_key),
            "attributes": attributes,
        });
        let text = format!("{record:#}\n");
        if !(again && out.exists()) {
            write_whole(out, text.as_bytes())?;
        }
        if read_whole(out)?.as_slice() != text.as_bytes() {
            return Err(ScriptError::NotOurs {
                path: out.to_owned(),
            });
        }
        let mut made = Made::default();
        add_file(&mut made.files, out)?;
        as_asked(name, &report)?;
        Ok(made)
    }

    fn test_key(&mut self, name: &str, certificate: &Path) -> Result<Made, ScriptError> {
        let certificate = chain::read_one(certificate).map_err(CeremonyError::from)?;
        let pool = self.keys.open(name)?;
        key_fits(&certificate, &pool)?;
        signed(&pool, TEST_TEXT.as_bytes())?;
        let mut made = Made::default();
        made.found.insert(
            "test signature".to_owned(),
            "verified with the certificate".to_owned(),
        );
        Ok(made)
    }

    fn take_offline(
        &mut self,
        name: &str,
        to: &[PathBuf],
        again: bool,
    ) -> Result<Made, ScriptError> {
        let place = self.plan.keys.get(name).map(|key| &key.place);
        let file = place
            .and_then(Place::file)
            .ok_or_else(|| ScriptError::NoKey {
                name: name.to_owned(),
            })?;
        let mut made = Made::default();
        let gone = again && (!file.exists() || is_half_erased(file)?);
        let copies = if gone {
            // The copies were read back before the original went; that they still hold the key is seen here.
            let file_name = file.file_name().unwrap_or_default();
            let copies: Vec<PathBuf> = to
                .iter()
                .map(|directory| directory.join(file_name))
                .collect();
            for copy in &copies {
                self.keys.check_copy(name, copy)?;
            }
            apart(&copies)?;
            if file.exists() {
                remove(file)?;
            }
            copies
        } else {
            drop(self.keys.open(name)?);
            let copies = copy(file, to)?;
            remove(file)?;
            copies
        };
        for copy in &copies {
            add_file(&mut made.copies, copy)?;
        }
        made.removed.push(file.display().to_string());
        Ok(made)
    }

    fn destroy(&mut self, name: &str, again: bool) -> Result<Made, ScriptError> {
        let destroyed = self.keys.destroy(name, again)?;
        if !destroyed && !again {
            return Err(ScriptError::NoKey {
                name: name.to_owned(),
            });
        }
        let mut made = Made::default();
        let place = self.plan.keys.get(name).map(|key| &key.place);
        if let Some(file) = place.and_then(Place::file) {
            made.removed.push(file.display().to_string());
        }
        made.found.insert("destroyed".to_owned(), name.to_owned());
        Ok(made)
    }
}

/// The certificate says what it should (`ours`), and `issuer` signed it.
fn made_certificate(
    out: &Path,
    made: &Certificate,
    issuer: &Certificate,
    ours: bool,
) -> Result<Made, ScriptError> {
    if !ours || chain::check_signature(made, issuer).is_err() {
        return Err(ScriptError::NotOurs {
            path: out.to_owned(),
        });
    }
    let mut files = Made::default();
    add_file(&mut files.files, out)?;
    let serial = made.tbs_certificate().serial_number().as_bytes();
    files.found.insert("serial".to_owned(), hex::encode(serial));
    Ok(files)
}

/// The CA certificate has the key.
fn key_fits(certificate: &Certificate, key: &SigningPool) -> Result<(), ScriptError> {
    let issuer = Issuer::from_der(&certificate.to_der()?).map_err(CeremonyError::from)?;
    let fits = issuer.check_signer(key);
    Ok(fits.map_err(CeremonyError::from)?)
}

fn as_asked(name: &str, report: &KeyReport) -> Result<(), ScriptError> {
    let wrong: Vec<&str> = report.not_as_asked().iter().map(|one| one.name).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ScriptError::NotAsAsked {
        name: name.to_owned(),
        wrong: wrong.join(", "),
    })
}

fn not_ours(path: &Path) -> impl FnOnce(ConfigurationError) -> ScriptError {
    let path = path.to_owned();
    move |_| ScriptError::NotOurs { path }
}

fn export(files: &[PathBuf], to: &[PathBuf]) -> Result<Made, ScriptError> {
    let mut made = Made::default();
    for file in files {
        for copy in copy(file, to)? {
            add_file(&mut made.copies, &copy)?;
        }
    }
    Ok(made)
}

fn write_certificate(out: &Path, certificate: &Certificate) -> Result<(), ScriptError> {
    let pem = certificate.to_pem(LineEnding::LF)?;
    Ok(write_whole(out, pem.as_bytes())?)
}

fn add_file(files: &mut BTreeMap<String, String>, path: &Path) -> Result<(), ScriptError> {
    files.insert(path.display().to_string(), file_sha256(path)?);
    Ok(())
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn file_sha256(path: &Path) -> Result<String, ScriptError> {
    let content = read_whole(path)?;
    Ok(hex::encode(digest::digest(&SHA256, &content).as_ref()))
}
