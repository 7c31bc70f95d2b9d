//! What the benches of the issuance cycle work on: a throw-away CA, its station, and device requests.

#![forbid(unsafe_code)]

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use birthmark::ceremony::{CaPlan, KeyPlace, create};
use birthmark_engine::stages::{self, Bench, Finished, Validated, Verified};
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

    /// What the single steps of the cycle work on, with the `idevid` profile and one request. The CA's key is in
    /// software.
    ///
    /// # Errors
    /// A part of the CA that does not load.
    pub fn stages(&self) -> Result<(Bench, SoftwareKey), Failure> {
        self.stages_of(birthmark_engine::profile::IDEVID_TOML)
    }

    /// The same with another profile, whose file's text this is.
    ///
    /// # Errors
    /// A part of the CA that does not load, or what is wrong with the profile.
    pub fn stages_of(&self, profile: &str) -> Result<(Bench, SoftwareKey), Failure> {
        let profile = Profile::parse(profile, Path::new("bench"))?;
        let configuration = Configuration::load(&self.configuration)?;
        let [SignerLocation::Software(path)] = configuration.signers() else {
            return Err("the stages are measured with a software key".into());
        };
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

/// The steps of the cycle that are neither signatures nor the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A request's bounds, strict DER, name, key, attributes and requested extensions.
    Parse,
    /// All of validation that follows the proof of possession.
    Validate,
    /// What validation spends on SHA-256: the key's fingerprint and the request identity.
    Digests,
    /// The linter's check before release.
    Check,
    /// `Parse`, `Validate` and `Check`: all of validation and linting but the two verifications.
    All,
    /// The TBS, its serial number and its digest.
    Encode,
}

impl Step {
    /// All steps.
    pub const EACH: [Self; 6] = [
        Self::Parse,
        Self::Validate,
        Self::Digests,
        Self::Check,
        Self::All,
        Self::Encode,
    ];

    /// As a bench is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Validate => "validate",
            Self::Digests => "validate/digests",
            Self::Check => "check/without signature",
            Self::All => "parse, validate, check/without signatures",
            Self::Encode => "encode",
        }
    }
}

/// One P-256 request and its certificate, on which each step can be repeated.
pub struct Steps<'a> {
    bench: &'a Bench,
    csr: Vec<u8>,
    verified: Verified<'a>,
    validated: Validated<'a>,
    finished: Finished,
    now_s: u64,
}

impl<'a> Steps<'a> {
    /// The steps of `bench`, whose issuer's key is `key`.
    ///
    /// # Errors
    /// The CA does not accept the request.
    pub fn new(bench: &'a Bench, key: &SoftwareKey) -> Result<Self, Failure> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let verified = bench.verified().ok_or("the request does not verify")?;
        let validated = bench.validate(&verified);
        let finished = bench.finish(now_s, |input| key.sign(input).ok());
        let steps = Self {
            csr: request(0)?,
            validated: validated.ok_or("the profile refuses the request")?,
            finished: finished.ok_or("no certificate comes of the request")?,
            bench,
            verified,
            now_s,
        };
        match Step::EACH.into_iter().find(|step| !steps.run(*step)) {
            None => Ok(steps),
            Some(step) => Err(format!("step {} fails", step.name()).into()),
        }
    }

    /// The certificate and what it is checked against.
    #[must_use]
    pub fn finished(&self) -> &Finished {
        &self.finished
    }

    /// Takes one step, and says whether it ended as it must.
    #[must_use]
    pub fn run(&self, step: Step) -> bool {
        let bench = self.bench;
        let parse = || stages::parse_csr(black_box(&self.csr));
        let validate = || bench.validate(black_box(&self.verified)).is_some();
        let check = || bench.reread(black_box(&self.finished));
        match step {
            Step::Parse => parse(),
            Step::Validate => validate(),
            Step::Digests => {
                bench.digests(black_box(&self.verified)) == self.validated.request_id()
            }
            Step::Check => check(),
            Step::All => parse() && validate() && check(),
            Step::Encode => bench.encode(black_box(&self.validated), self.now_s) > 0,
        }
    }
}
