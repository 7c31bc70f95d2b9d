//! What the benches of the issuance cycle work on: a throw-away CA, its station, and device requests.

#![forbid(unsafe_code)]

use std::error::Error;
use std::path::{Path, PathBuf};

use birthmark::ceremony::{CaPlan, KeyPlace, create};
use birthmark_engine::stages::Bench;
use birthmark_engine::{Configuration, Engine, Issuer, Profile};
use birthmark_hsm::{KeyAlgorithm, Pkcs11Uri, SignerLocation, SigningPool, SoftwareKey};
use birthmark_loadgen::device::Device;

/// Seed of the benches' device keys.
const SEED: u64 = 1;

/// Any error, for benches that have nobody to tell but the console.
pub type Failure = Box<dyn Error>;

/// A CA in a directory that goes away with it.
pub struct Ca {
    directory: tempfile::TempDir,
    configuration: PathBuf,
    certificate: PathBuf,
}

impl Ca {
    /// A CA with its P-256 key in software.
    ///
    /// # Errors
    /// Whatever the ceremony says.
    pub fn software() -> Result<Self, Failure> {
        Self::create(tempfile::tempdir()?, KeyPlace::Software)
    }

    /// A CA with its P-256 key on a new SoftHSM token.
    ///
    /// # Errors
    /// `BIRTHMARK_TEST_MODULE` is not set: run under `softhsm/with-softhsm.sh`. Otherwise whatever the
    /// ceremony says.
    pub fn softhsm() -> Result<Self, Failure> {
        let module = std::env::var_os("BIRTHMARK_TEST_MODULE")
            .ok_or("BIRTHMARK_TEST_MODULE is not set: run `make bench`")?;
        let directory = tempfile::tempdir()?;
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)?;
        let random = u128::from_be_bytes(random);
        let (label, pin) = (
            format!("bench-{:016x}", random as u64),
            format!("{random:032x}"),
        );
        let pin_file = directory.path().join("pin");
        std::fs::write(&pin_file, &pin)?;
        birthmark_hsm::initialize_token(Path::new(&module), &label, &pin, &pin)?;
        let uri = Pkcs11Uri::new(Path::new(&module), &label, "issuing", Some(&pin_file));
        Self::create(directory, KeyPlace::Token(Box::new(uri)))
    }

    fn create(directory: tempfile::TempDir, signer: KeyPlace) -> Result<Self, Failure> {
        let mut plan = CaPlan::new(directory.path().join("ca"), "O=Bench,CN=Bench CA".parse()?);
        plan.signer = signer;
        let created = create(&plan)?;
        Ok(Self {
            directory,
            configuration: created.configuration,
            certificate: created.issuing_certificate,
        })
    }

    /// Where scratch files of this CA may go.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The engine on this CA.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn engine(&self) -> Result<Engine, Failure> {
        Ok(Engine::open(
            Configuration::load(&self.configuration)?.station()?,
        )?)
    }

    /// The CA's signer alone.
    ///
    /// # Errors
    /// Whatever the signer says.
    pub fn pool(&self) -> Result<SigningPool, Failure> {
        Ok(Configuration::load(&self.configuration)?.station()?.signer)
    }

    /// The single steps of the cycle with the `idevid` profile and one request. The CA's key is in
    /// software.
    ///
    /// # Errors
    /// A part of the CA that does not load.
    pub fn stages(&self) -> Result<(Bench, SoftwareKey), Failure> {
        let configuration = Configuration::load(&self.configuration)?;
        let [SignerLocation::Software(path)] = configuration.signers() else {
            return Err("the stages are measured with a software key".into());
        };
        let profile = Profile::parse(birthmark_engine::profile::IDEVID_TOML, Path::new("idevid"))?;
        let pool = SigningPool::software(SoftwareKey::read(path)?);
        let csr = request(0)?;
        Ok((
            Bench::new(Issuer::read(&self.certificate)?, profile, pool, csr),
            SoftwareKey::read(path)?,
        ))
    }
}

/// The request of one of many P-256 devices, DER.
///
/// # Errors
/// A key that cannot be made.
pub fn request(number: u64) -> Result<Vec<u8>, Failure> {
    Ok(Device::make(KeyAlgorithm::EcP256, SEED, number)?.request()?)
}
