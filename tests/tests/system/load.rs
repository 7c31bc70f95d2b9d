//! A closed loop of requests over an engine, and the account of what became of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use birthmark_engine::{Engine, Fault, IssueError, IssueResult, IssueStatus, Request};
use birthmark_hsm::{SigningPool, TokenState};
use der::{Decode, Encode};
use x509_cert::Certificate;

use crate::requests::device;
use crate::station::{Entry, serial_of};

/// A test that waits this long has failed; nothing is measured by it.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// Clients that ask at the same time.
const CLIENTS: usize = 2;

/// Requests that each of them has in flight.
const WINDOW: usize = 128;

/// Devices that ask for a certificate, each once, as fast as they are answered.
#[derive(Default)]
pub(crate) struct Load {
    next: AtomicU64,
    stopped: AtomicBool,
    answered: AtomicU64,
    account: Mutex<Account>,
}

/// What became of the requests.
#[derive(Default)]
pub(crate) struct Account {
    /// By device.
    certificates: BTreeMap<u64, Vec<u8>>,
    /// Devices that got an error, and its kind.
    pub(crate) errors: BTreeMap<u64, &'static str>,
}

/// Ends the load when the test does, also by a panic: otherwise nobody would.
pub(crate) struct EndOfLoad<'a>(&'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Asks until `work` is done, and waits for every answer.
    pub(crate) fn during<R>(&self, engine: &Engine, work: impl FnOnce() -> R) -> R {
        self.stopped.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            let _end = EndOfLoad(self);
            for _ in 0..CLIENTS {
                scope.spawn(|| self.ask(engine));
            }
            work()
        })
    }

    fn ask(&self, engine: &Engine) {
        let issuer = issuer_key(engine);
        let mut pending = VecDeque::with_capacity(WINDOW);
        loop {
            while pending.len() < WINDOW && !self.stopped.load(Ordering::Relaxed) {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let request = Request::new(device(number), "idevid");
                pending.push_back((number, engine.submit_wait(request).unwrap()));
            }
            let Some((number, answer)) = pending.pop_front() else {
                return;
            };
            self.book(number, answer.wait(), &issuer);
        }
    }

    /// Asks again for every device that got an error. Each gets its certificate now.
    pub(crate) fn ask_again(&self, engine: &Engine) -> usize {
        let numbers: Vec<u64> = std::mem::take(&mut self.account().errors)
            .into_keys()
            .collect();
        let requests = numbers
            .iter()
            .map(|number| Request::new(device(*number), "idevid"));
        let results = engine.issue_batch(requests.collect());
        let issuer = issuer_key(engine);
        for (number, result) in numbers.iter().zip(results) {
            assert!(result.is_ok(), "device {number} again: {result:?}");
            self.book(*number, result, &issuer);
        }
        numbers.len()
    }

    fn book(&self, number: u64, result: IssueResult, issuer: &[u8]) {
        match result {
            Ok(issued) => {
                assert_eq!(issued.status, IssueStatus::Issued, "device {number}");
                let certificate = issued.certificate.into_der();
                assert!(is_signed_with(&certificate, issuer), "device {number}");
                let before = self.account().certificates.insert(number, certificate);
                assert!(before.is_none(), "device {number} was answered twice");
            }
            Err(IssueError::Fault(
                fault @ (Fault::Signer(_) | Fault::SignerStopped(_) | Fault::Check(_)),
            )) => {
                self.account().errors.insert(number, fault.reason());
            }
            Err(other) => panic!("device {number}: {other}"),
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Waits for `count` more answers, and returns how many came in a second.
    pub(crate) fn rate_over(&self, pool: &SigningPool, count: u64) -> f64 {
        let (before, started) = (self.answered.load(Ordering::Relaxed), Instant::now());
        wait_for(pool, "more answers", || {
            self.answered.load(Ordering::Relaxed) >= before + count
        });
        let answered = self.answered.load(Ordering::Relaxed) - before;
        answered as f64 / started.elapsed().as_secs_f64()
    }
}

impl Account {
    pub(crate) fn errors_of(&self, kind: &str) -> usize {
        self.errors
            .values()
            .filter(|reason| **reason == kind)
            .count()
    }

    /// Every device has its certificate, and the log holds exactly these.
    pub(crate) fn assert_logged(&self, asked: u64, entries: &[Entry]) {
        assert!(self.errors.is_empty());
        assert!(self.certificates.keys().copied().eq(0..asked), "none lost");
        let logged: BTreeSet<&[u8]> = entries.iter().filter_map(Entry::certificate).collect();
        let delivered: BTreeSet<&[u8]> = self.certificates.values().map(Vec::as_slice).collect();
        assert_eq!(delivered.len() as u64, asked, "one for each device");
        assert!(delivered == logged, "what was delivered is what was logged");
        let serials: BTreeSet<_> = delivered.iter().map(|der| serial_of(der)).collect();
        assert_eq!(serials.len(), delivered.len());
    }
}

/// The issuing CA's P-256 point.
fn issuer_key(engine: &Engine) -> Vec<u8> {
    let issuer = Certificate::from_der(engine.issuer_certificate()).unwrap();
    let key = issuer.tbs_certificate().subject_public_key_info();
    key.subject_public_key.raw_bytes().to_vec()
}

/// Read and verified apart from the engine, with the issuer certificate's key.
fn is_signed_with(certificate: &[u8], issuer: &[u8]) -> bool {
    let certificate = Certificate::from_der(certificate).unwrap();
    let signed = certificate.tbs_certificate().to_der().unwrap();
    let signature = certificate.signature().raw_bytes();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuer);
    key.verify(&signed, signature).is_ok()
}

/// Waits until something holds.
pub(crate) fn wait_for(pool: &SigningPool, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        let waited = started.elapsed();
        assert!(waited < WATCHDOG, "{what}: {:#?}", pool.tokens());
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn wait_for_state(pool: &SigningPool, token: usize, state: TokenState) {
    wait_for(pool, state.name(), || pool.tokens()[token].state == state);
}
