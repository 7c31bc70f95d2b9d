//! The engine as callers see it: open, issue, close.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use birthmark_hsm::SigningPool;
use birthmark_log::Log;
use birthmark_log::tlog::CheckpointSigner;

use crate::activation::Activation;
use crate::checkpoint::LogKey;
use crate::claims::Claims;
use crate::device_key::{DeviceKeys, DeviceKeysOpenError, SealedStation};
use crate::fault::Fault;
use crate::index_keys::RecordKeyExtractor;
use crate::issuer::{Issuer, IssuerError};
use crate::lots::{LotBook, Lots};
use crate::metrics::Metrics;
use crate::permit::Officers;
use crate::pipeline::{BoundProfile, Pipeline, Relay, Submitted, Work};
use crate::profile::Profile;
use crate::reply::Pending;
use crate::request::{IssueResult, Request, SubmitError};
use crate::serial_allocator::SerialAllocator;
use crate::tbs::TbsTemplate;
use crate::verification::{EngineObserver, SignatureVerifier, Verification};
use crate::weak_key::KnownBadKeys;

mod checks;

use checks::{activated, check_officers, check_profiles, check_range};

/// Certificates in flight unless the configuration says otherwise. At 20,000/s a certificate spends two
/// group commits of about 4 ms, its signature and its queues in flight: about 400 at a time. Five times that
/// leaves room for a slow disk and costs under 10 MB.
pub const MAX_IN_FLIGHT_DEFAULT: usize = 2048;

/// Most certificates in flight that can be configured: a day of a slow HSM fits.
pub const MAX_IN_FLIGHT_MAX: usize = 65_536;

/// How long [`Engine::close`] waits for requests in flight.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Everything that an engine is made of, loaded and checked.
#[non_exhaustive]
pub struct Station {
    /// The issuing CA's certificate.
    pub issuer: Issuer,
    /// The issuing CA's key.
    pub signer: SigningPool,
    /// How the key was activated. The log records it at each start. Default: not recorded, as a key file is
    /// not activated.
    pub activation: Option<Activation>,
    /// The profiles that requests can ask for. At least one, with different names.
    pub profiles: Vec<Profile>,
    /// The officers whose permits count. Profiles with `reissue = "permit"` need at least one.
    pub officers: Option<Officers>,
    /// Keys that no device may have. Default: none are known.
    pub known_bad_keys: Option<KnownBadKeys>,
    /// The lots that requests may name. Default: none, and a lot's name is recorded as it comes.
    pub lots: Option<Lots>,
    /// The log's directory.
    pub log_directory: PathBuf,
    /// The log's key, which also has its origin.
    pub log_key: LogKey,
    /// How the log is opened.
    pub log_options: birthmark_log::Options,
    /// What keys are made with. Profiles with `key.generated` need it.
    pub device_keys: Option<DeviceKeys>,
    /// Worker threads. Default: the number of cores.
    pub threads: Option<usize>,
    /// Certificates in flight. Default: [`MAX_IN_FLIGHT_DEFAULT`].
    pub max_in_flight: Option<usize>,
    /// How signatures are verified. Default: [`Verification::Auto`].
    pub verification: Verification,
    /// Who hears of the engine's events. Default: nobody.
    pub observer: Option<Arc<dyn EngineObserver>>,
}

impl Station {
    /// A station with defaults for everything else.
    #[must_use]
    pub fn new(
        issuer: Issuer,
        signer: SigningPool,
        profiles: Vec<Profile>,
        log_directory: PathBuf,
        log_key: LogKey,
    ) -> Self {
        Self {
            issuer,
            signer,
            activation: None,
            profiles,
            officers: None,
            known_bad_keys: None,
            lots: None,
            log_directory,
            log_key,
            log_options: birthmark_log::Options::default(),
            device_keys: None,
            threads: None,
            max_in_flight: None,
            verification: Verification::default(),
            observer: None,
        }
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The issuer certificate does not do.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// No profile, or two of one name.
    #[error("the profiles do not do: {0}")]
    Profiles(String),
    /// A profile asks for officers' permits, and there is no officer.
    #[error(
        "profile {profile} has reissue = \"permit\", but nobody can sign one; list the officers' keys in \
         engine.officers (birthmark officer keygen makes one)"
    )]
    NoOfficer {
        /// Name of the profile.
        profile: String,
    },
    /// A lot is for a profile that there is not.
    #[error("the lots do not do: {0}")]
    Lots(String),
    /// The officers' permits are for another log.
    #[error("the officers' permits are for the log {named}, but this one is {origin}")]
    OfficersOfOtherLog {
        /// What the officers were made for.
        named: String,
        /// The origin of this log.
        origin: String,
    },
    /// Keys cannot be made for devices.
    #[error(transparent)]
    DeviceKeys(#[from] DeviceKeysOpenError),
    /// A number is out of range.
    #[error("engine.{key} is out of range: use {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What would be right.
        range: &'static str,
    },
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] birthmark_log::OpenError),
    /// Threads cannot be started.
    #[error("worker threads cannot be started; check the limits of this process")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

/// Why an engine did not close cleanly. What was acknowledged is durable all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Requests are still in flight, most likely inside an HSM that hangs.
    #[error(
        "{0} requests are still in flight after 60 s; the next start closes their reservations"
    )]
    InFlight(usize),
    /// The signer did not close.
    #[error(transparent)]
    Signer(#[from] birthmark_hsm::CloseError),
    /// The log did not close.
    #[error(transparent)]
    Log(#[from] birthmark_log::CloseError),
}

/// The issuing engine: requests in, logged certificates out.
///
/// Shared by reference between threads. [`Engine::issue`] is for one request at a time,
/// [`Engine::issue_batch`] for many at once, [`Engine::submit`] for callers that must not block.
pub struct Engine {
    /// `None` only while it is being closed.
    running: Option<Arc<Pipeline>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the log, recovers what a crash left, and starts the workers.
    ///
    /// # Errors
    /// Names the part that does not do and what to do about it.
    pub fn open(station: Station) -> Result<Self, OpenError> {
        let Station {
            issuer,
            signer,
            activation,
            profiles,
            officers,
            known_bad_keys,
            lots,
            log_directory,
            log_key,
            mut log_options,
            device_keys,
            threads,
            max_in_flight,
            verification,
            observer,
        } = station;
        let max_in_flight = check_range(max_in_flight)?;
        check_profiles(&profiles, &issuer)?;
        check_officers(&profiles, officers.as_ref(), &log_key)?;
        let lots = lots.map(|lots| LotBook::new(lots, &profiles)).transpose();
        let lots = lots.map_err(OpenError::Lots)?;
        issuer.check_signer(&signer)?;
        let now_s = log_options.clock.unix_ms() / 1000;
        issuer.check_valid_at(now_s)?;
        let device_keys = SealedStation::new(device_keys, &profiles, now_s)?;

        if let Some(activation) = activation {
            log_options.opening_record = Some(activated(activation, &issuer, &signer));
        }
        let relay = Arc::new(Relay::default());
        let log_name = log_key.verifier_key().to_string();
        let log = Log::open(
            &log_directory,
            log_options,
            Arc::new(RecordKeyExtractor),
            Arc::new(log_key),
            relay.clone(),
        )?;
        let keys = device_keys.open(&relay, &log, &log_name)?;
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|number| format!("birthmark-work-{number}"))
            .build()
            .map_err(OpenError::Threads)?;
        let profiles = bound(profiles, &issuer);
        let claims = Claims::new();
        let verifier = SignatureVerifier::new(verification, &issuer, observer);
        let pipeline = Pipeline::new(
            issuer,
            verifier,
            profiles,
            officers,
            known_bad_keys,
            lots,
            signer,
            log,
            keys,
            claims,
            max_in_flight,
            workers,
            relay,
        );
        Ok(Self {
            running: Some(pipeline),
        })
    }

    /// Issues one certificate and blocks until it is durable.
    ///
    /// # Errors
    /// The request's rejection, or a fault of the system.
    pub fn issue(&self, request: Request) -> IssueResult {
        match self.submit_wait(request) {
            Ok(pending) => pending.wait(),
            Err(SubmitError::Closed(_, fault)) => Err(fault.into()),
            Err(SubmitError::Full(_)) => Err(Fault::Closing.into()),
        }
    }

    /// Issues many certificates and blocks until all have their answers. One result for each request, in
    /// their order; a bad one spoils only itself. More requests than fit in flight are taken in turn.
    pub fn issue_batch(&self, requests: Vec<Request>) -> Vec<IssueResult> {
        let pending: Vec<_> = requests
            .into_iter()
            .map(|request| self.submit_wait(request))
            .collect();
        pending
            .into_iter()
            .map(|pending| match pending {
                Ok(pending) => pending.wait(),
                Err(SubmitError::Closed(_, fault)) => Err(fault.into()),
                Err(SubmitError::Full(_)) => Err(Fault::Closing.into()),
            })
            .collect()
    }

    /// Takes a request without blocking.
    ///
    /// # Errors
    /// [`SubmitError::Full`] when as many are in flight as fit, [`SubmitError::Closed`] when the engine
    /// takes no more. The request comes back.
    pub fn submit(&self, request: Request) -> Result<Pending, SubmitError> {
        let request = self.admit(request)?;
        let (pending, reply) = Pending::new();
        match self
            .pipeline()
            .slots
            .insert(Work::Submitted(Submitted { request, reply }))
        {
            Ok(ticket) => {
                self.pipeline().log.in_flight().add(1);
                self.pipeline().enqueue(ticket);
                Ok(pending)
            }
            Err(Work::Submitted(Submitted { request, .. })) => Err(SubmitError::Full(request)),
            Err(_) => unreachable!("the table hands back what it was given"),
        }
    }

    /// Takes a request, blocking while the engine is full.
    ///
    /// # Errors
    /// [`SubmitError::Closed`]; never [`SubmitError::Full`].
    pub fn submit_wait(&self, request: Request) -> Result<Pending, SubmitError> {
        let request = self.admit(request)?;
        let (pending, reply) = Pending::new();
        let ticket = self
            .pipeline()
            .slots
            .insert_wait(Work::Submitted(Submitted { request, reply }));
        self.pipeline().log.in_flight().add(1);
        self.pipeline().enqueue(ticket);
        Ok(pending)
    }

    /// Most certificates in flight.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.pipeline().slots.capacity()
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pipeline().slots.in_use()
    }

    /// What was done since the engine was opened.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.pipeline().counters.read();
        self.pipeline().verifier.count_into(&mut metrics);
        metrics
    }

    /// How signatures are verified: as the configuration wants and the processor can.
    #[must_use]
    pub fn verification(&self) -> p256x8::Path {
        self.pipeline().verifier.path()
    }

    /// The signer, as a person reads it.
    #[must_use]
    pub fn describe_signer(&self) -> String {
        self.pipeline().pool.describe()
    }

    /// The log, for reading and its figures.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.pipeline().log
    }

    /// The signer, for its figures and for measuring its limit.
    #[must_use]
    pub fn signing_pool(&self) -> &SigningPool {
        &self.pipeline().pool
    }

    /// Worker threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pipeline().workers.threads()
    }

    /// The issuing CA's certificate, DER.
    #[must_use]
    pub fn issuer_certificate(&self) -> &[u8] {
        self.pipeline().issuer.certificate()
    }

    /// Takes no more requests, waits for those in flight, and closes signer and log. Dropping an engine
    /// does the same and keeps silent about failures.
    ///
    /// # Errors
    /// What did not close cleanly. What was acknowledged is durable all the same.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), CloseError> {
        let Some(mut pipeline) = self.running.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + CLOSE_WAIT_MAX;
        // Workers and callbacks hold the pipeline for moments; requests for as long as they take. It must
        // be taken apart here: the log's thread cannot wait for its own end.
        loop {
            if pipeline.slots.in_use() == 0 {
                pipeline = match Arc::try_unwrap(pipeline) {
                    Ok(Pipeline {
                        pool, log, keys, ..
                    }) => {
                        let signer = pool.close();
                        if let Some(keys) = keys {
                            keys.spool.note_end(&log);
                        }
                        log.close()?;
                        return Ok(signer?);
                    }
                    Err(shared) => shared,
                };
            }
            if Instant::now() >= deadline {
                let in_flight = pipeline.slots.in_use();
                // Whoever hangs inside may still come back: what it uses has to stay.
                std::mem::forget(pipeline);
                return Err(CloseError::InFlight(in_flight));
            }
            sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        self.running
            .as_ref()
            .expect("an engine runs until it is closed, and closing consumes it")
    }

    fn admit(&self, request: Request) -> Result<Request, SubmitError> {
        match self.pipeline().log.status() {
            Ok(()) => Ok(request),
            Err(error) => Err(SubmitError::Closed(request, Fault::Log(error.to_string()))),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.shut_down();
    }
}

/// Profiles with the parts that they share with the issuer.
fn bound(profiles: Vec<Profile>, issuer: &Issuer) -> Vec<BoundProfile> {
    let bind = |profile: Profile| BoundProfile {
        template: TbsTemplate::new(&profile, issuer),
        serials: SerialAllocator::new(&profile),
        profile,
    };
    profiles.into_iter().map(bind).collect()
}
