//! What each step does. A step that an interruption cut short is carried to its end: what it had made already is
//! recognized and checked, and not made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use birthmark_engine::{Configuration, ConfigurationError, Issuer};
use birthmark_hsm::{KeyReport, SignerLocation, SigningPool};
use der::pem::LineEnding;
use der::{Encode, EncodePem};
use serde_json::json;
use x509_cert::Certificate;

use super::ScriptError;
use super::keys::{KeyRing, apart, copy, is_half_erased, read_whole, remove};
use super::plan::{Place, Plan};
use super::recorded::{Recorded, file_sha256, sha256_of};
use super::step::Action;
use super::transcript::Made;
use crate::ceremony::certificate::{self, CaCertificate, Role, public_key_sha256, signed};
use crate::ceremony::files::write_whole;
use crate::ceremony::install::certificate_sha256;
use crate::ceremony::layout::{ROOT_CERTIFICATE_FILE, ROOT_DIRECTORY};
use crate::ceremony::{CONFIGURATION_FILE, CeremonyError, InstallPlan, chain, install};
use crate::hex;
use crate::hsm::TEST_TEXT;
use crate::subject::Subject;

/// Carries out steps of one plan.
pub(super) struct Performer<'a> {
    pub(super) plan: &'a Plan,
    pub(super) keys: KeyRing<'a>,
    /// What the steps before made.
    pub(super) recorded: Recorded,
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
        let copies = copies.iter().map(|(_, copy)| copy);
        let mut made = action.makes().into_iter().chain(copies);
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
            Action::Export { files, to } => self.export(files, to),
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
            self.add_file(&mut made.files, file)?;
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
        let (root, sha256) = read_made(out)?;
        let ours = certificate::is_as_issued(&root, &role, &subject, key, &pool)?;
        let mut made = self.made_certificate((out, sha256), &root, &root, ours)?;
        made.root = Some(hex::encode(&certificate_sha256(&root)?));
        Ok(made)
    }

    fn issue(
        &mut self,
        (issuer, issuer_certificate): (&str, &Path),
        (name, subject): (&str, &Subject),
        out: &Path,
        again: bool,
    ) -> Result<Made, ScriptError> {
        let above = self.recorded.certificate(self.plan, issuer_certificate)?;
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
        let (issued, sha256) = read_made(out)?;
        let ours = certificate::is_as_issued(&issued, &role, &subject, key, &issuer_pool)?;
        self.made_certificate((out, sha256), &issued, &above, ours)
    }

    fn install(&mut self, action: &Action, again: bool) -> Result<Made, ScriptError> {
        let Action::Install {
            key,
            certificate,
            chain,
            directory,
            origin,
            root_sha256,
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
        let wanted = self.recorded.certificate(self.plan, certificate)?;
        let root = match root_sha256 {
            Some(root) => *root,
            None => self.root_made(chain)?,
        };
        if !(again && directory.exists()) {
            let mut plan = InstallPlan::new(directory, signer.clone(), certificate, chain);
            plan.root_sha256 = Some(root);
            plan.rsa_signature = self.plan.keys.get(key).and_then(|key| key.rsa_signature);
            plan.origin.clone_from(origin);
            plan.activation = *activation;
            install(&plan)?;
        }
        // It appeared whole, so it is a CA; is it this one?
        let configuration = directory.join(CONFIGURATION_FILE);
        let loaded = Configuration::load(&configuration).map_err(not_ours(&configuration))?;
        let issuer = loaded.issuer().map_err(not_ours(&configuration))?;
        let root_file = directory.join(ROOT_DIRECTORY).join(ROOT_CERTIFICATE_FILE);
        let (installed_root, root_file_sha256) = read_made(&root_file)?;
        let ours = issuer.certificate() == wanted.to_der()?
            && certificate_sha256(&installed_root)? == root
            && loaded.signers().len() == 1
            && same_key(&loaded.signers()[0], &signer)
            && loaded.activation() == *activation
            && origin
                .as_ref()
                .is_none_or(|origin| origin == loaded.log_origin());
        if !ours {
            return Err(ScriptError::NotOurs {
                path: directory.clone(),
            });
        }
        let mut made = self.made_directory(&loaded, &configuration)?;
        made.files
            .insert(self.plan.record(&root_file), root_file_sha256);
        made.root = Some(hex::encode(&root));
        Ok(made)
    }

    fn made_directory(
        &self,
        loaded: &Configuration,
        configuration: &Path,
    ) -> Result<Made, ScriptError> {
        let mut made = Made::default();
        self.add_file(&mut made.files, configuration)?;
        self.add_file(&mut made.files, loaded.issuer_certificate())?;
        let origin = loaded.log_origin().to_owned();
        made.found.insert("log origin".to_owned(), origin);
        Ok(made)
    }

    /// SHA-256 of the root that this ceremony made and that the chain ends with. The journal says which that is, and
    /// not the file, which somebody may have changed since.
    fn root_made(&self, chain: &Path) -> Result<[u8; 32], ScriptError> {
        for step in &self.plan.steps {
            if let Action::SelfSign { out, .. } = &step.action
                && out.exists()
            {
                self.recorded.read(self.plan, out)?;
            }
        }
        for given in self.recorded.certificates(self.plan, chain)? {
            let sha256 = certificate_sha256(&given)?;
            if self.recorded.made_root(&sha256) {
                return Ok(sha256);
            }
        }
        Err(ScriptError::NoRoot {
            path: chain.to_owned(),
        })
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
        self.add_file(&mut made.files, out)?;
        as_asked(name, &report)?;
        Ok(made)
    }

    fn test_key(&mut self, name: &str, certificate: &Path) -> Result<Made, ScriptError> {
        let certificate = self.recorded.certificate(self.plan, certificate)?;
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
            self.add_file(&mut made.copies, copy)?;
        }
        made.removed.push(self.plan.record(file));
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
            made.removed.push(self.plan.record(file));
        }
        made.found.insert("destroyed".to_owned(), name.to_owned());
        Ok(made)
    }

    /// The certificate says what it should (`ours`), and `issuer` signed it.
    fn made_certificate(
        &self,
        (out, sha256): (&Path, String),
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
        files.files.insert(self.plan.record(out), sha256);
        let serial = made.tbs_certificate().serial_number().as_bytes();
        files.found.insert("serial".to_owned(), hex::encode(serial));
        let digest = hex::encode(&certificate_sha256(made)?);
        files.found.insert("certificate sha256".to_owned(), digest);
        Ok(files)
    }

    fn export(&self, files: &[PathBuf], to: &[PathBuf]) -> Result<Made, ScriptError> {
        let mut made = Made::default();
        for file in files {
            self.recorded.read(self.plan, file)?;
            for copy in copy(file, to)? {
                self.add_file(&mut made.copies, &copy)?;
            }
        }
        Ok(made)
    }

    fn add_file(
        &self,
        files: &mut BTreeMap<String, String>,
        path: &Path,
    ) -> Result<(), ScriptError> {
        files.insert(self.plan.record(path), file_sha256(path)?);
        Ok(())
    }
}

/// Whether both say the same place: a path may be written as it is seen from another directory.
fn same_key(found: &SignerLocation, wanted: &SignerLocation) -> bool {
    match (found, wanted) {
        (SignerLocation::Software(found), SignerLocation::Software(wanted)) => {
            std::path::absolute(wanted).is_ok_and(|wanted| wanted == *found)
        }
        _ => found == wanted,
    }
}

/// The CA certificate has the key.
fn key_fits(certificate: &Certificate, key: &SigningPool) -> Result<(), ScriptError> {
    let mut issuer = Issuer::from_der(&certificate.to_der()?).map_err(CeremonyError::from)?;
    if let Some(signature) = key.rsa_signature() {
        let signing = issuer.with_rsa_signature(signature);
        issuer = signing.map_err(CeremonyError::from)?;
    }
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

fn write_certificate(out: &Path, certificate: &Certificate) -> Result<(), ScriptError> {
    let pem = certificate.to_pem(LineEnding::LF)?;
    Ok(write_whole(out, pem.as_bytes())?)
}

/// A certificate that a step made, and the SHA-256 of its file: of what was read, once.
fn read_made(path: &Path) -> Result<(Certificate, String), ScriptError> {
    let content = read_whole(path)?;
    let certificate = chain::one_in(path, &content).map_err(CeremonyError::from)?;
    Ok((certificate, sha256_of(&content)))
}
