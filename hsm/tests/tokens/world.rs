//! Two tokens with one key, a pool over them, and a load.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use birthmark_hsm::{
    OpenError, Pkcs11Options, Pkcs11Uri, PoolEvent, PoolObserver, PoolOptions, SignCompletion,
    SignError, SignJob, Signature, SigningPool, TokenMetrics, TokenState,
};
use birthmark_test_token::{Report, TestHsm};

use crate::test_token::{messages, sign_all, verifies};

/// A test that waits this long has failed; nothing is measured by it.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// Several test HSMs that hold one key.
pub(crate) struct World {
    pub(crate) hsms: Vec<TestHsm>,
    pub(crate) events: Arc<Events>,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    /// HSMs of these names, each with its own settings beside the common ones.
    pub(crate) fn new<const N: usize>(hsms: [(&str, &str); N]) -> World {
        let directory = tempfile::tempdir().unwrap();
        let hsms = hsms
            .iter()
            .map(|(name, settings)| {
                let settings = format!("mode = 'software'\nkey_file = 'shared'\n{settings}");
                TestHsm::create(directory.path(), name, &settings).unwrap()
            })
            .collect();
        World {
            hsms,
            events: Arc::default(),
            directory,
        }
    }

    pub(crate) fn two() -> World {
        World::new([("a", ""), ("b", "")])
    }

    pub(crate) fn uris(&self) -> Vec<Pkcs11Uri> {
        let uri = |hsm: &TestHsm| hsm.uri().parse().unwrap();
        self.hsms.iter().map(uri).collect()
    }

    /// Two sessions per token, probes without delay.
    pub(crate) fn options(&self) -> PoolOptions {
        PoolOptions {
            tokens: Pkcs11Options {
                sessions: Some(2),
                key_copy: false,
                ..Pkcs11Options::default()
            },
            probe_interval_max: Duration::from_millis(20),
            wait_limit: WATCHDOG,
            observer: Some(Arc::clone(&self.events) as _),
            ..PoolOptions::default()
        }
    }

    pub(crate) fn try_open(&self, options: PoolOptions) -> Result<SigningPool, OpenError> {
        SigningPool::pkcs11_tokens(&self.uris(), options)
    }

    pub(crate) fn open(&self) -> SigningPool {
        self.try_open(self.options()).unwrap()
    }

    pub(crate) fn command(&self, hsm: usize, line: &str) {
        self.hsms[hsm].command(line).unwrap();
    }

    /// Calls of a function with these numbers from now on return the code.
    pub(crate) fn fail(&self, hsm: usize, function: &str, when: &str, code: &str) {
        let fault = format!("fault = {{ function = '{function}', {when}, code = '{code}' }}");
        self.command(hsm, &fault);
    }

    pub(crate) fn report(&self, hsm: usize) -> Report {
        self.hsms[hsm].report().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// What the observer heard.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<PoolEvent>>);

impl PoolObserver for Events {
    fn event(&self, event: &PoolEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub(crate) fn lines(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events.iter().map(PoolEvent::to_string).collect()
    }
}

/// Waits until something holds.
pub(crate) fn wait_for(pool: &SigningPool, what: &str, holds: impl FnMut() -> bool) {
    wait_within(WATCHDOG, pool, what, holds);
}

/// [`wait_for`] with a watchdog of its own.
pub(crate) fn wait_within(
    watchdog: Duration,
    pool: &SigningPool,
    what: &str,
    mut holds: impl FnMut() -> bool,
) {
    let started = Instant::now();
    while !holds() {
        let waited = started.elapsed();
        assert!(waited < watchdog, "{what}: {:#?}", pool.tokens());
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn wait_for_state(pool: &SigningPool, token: usize, state: TokenState) {
    wait_for(pool, state.name(), || pool.tokens()[token].state == state);
}

/// Signs `count` messages; every one has to be signed with the pool's key.
pub(crate) fn sign_ok(pool: &SigningPool, count: usize) {
    let messages = messages(count);
    for (message, outcome) in messages.iter().zip(sign_all(pool, &messages)) {
        let signature = outcome.unwrap_or_else(|error| panic!("{error}: {:#?}", pool.tokens()));
        assert!(verifies(pool.public_key(), message, &signature));
    }
}

/// The errors of `count` jobs.
pub(crate) fn errors(pool: &SigningPool, count: usize) -> Vec<SignError> {
    let outcomes = sign_all(pool, &messages(count));
    outcomes.into_iter().filter_map(Result::err).collect()
}

/// Every attempt is accounted for: nothing is in flight any more.
pub(crate) fn assert_adds_up(tokens: &[TokenMetrics]) {
    for token in tokens {
        assert_eq!(
            token.attempts,
            token.signatures + token.retries + token.failed + token.abandoned,
            "{token:#?}"
        );
        assert_eq!(token.in_flight, 0, "{token:#?}");
        let made = token.signatures + token.wrong_signatures;
        assert_eq!(token.latency.count(), made);
    }
}

/// The states that a token went through.
pub(crate) fn states(token: &TokenMetrics) -> Vec<TokenState> {
    token.history.iter().map(|change| change.to).collect()
}

/// A load that goes on until it is stopped: so many jobs are in flight at a time.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<usize>,
    signed: Arc<AtomicUsize>,
}

/// Gives a permit back with the outcome.
struct Permit {
    sender: Mutex<std::sync::mpsc::Sender<(u64, Result<Signature, SignError>)>>,
}

impl SignCompletion for Permit {
    fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>) {
        let _ = self.sender.lock().unwrap().send((ticket, outcome));
    }
}

impl Load {
    /// Fails when a job fails, when its signature is not the key's, or when it is answered twice.
    pub(crate) fn start(pool: &Arc<SigningPool>, in_flight: usize) -> Load {
        let (stop, signed) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (pool, stopped) = (Arc::clone(pool), Arc::clone(&stop));
        let counted: Arc<AtomicUsize> = Arc::clone(&signed);
        let thread = thread::spawn(move || {
            let (sender, receiver) = std::sync::mpsc::channel();
            let sender = Mutex::new(sender);
            let completion: Arc<dyn SignCompletion> = Arc::new(Permit { sender });
            let mut open = std::collections::HashSet::new();
            let mut next = 0_u64;
            loop {
                while open.len() < in_flight && !stopped.load(Ordering::Relaxed) {
                    pool.submit(SignJob {
                        ticket: next,
                        input: pool.input_for(&next.to_be_bytes()),
                        completion: Arc::clone(&completion),
                    });
                    open.insert(next);
                    next += 1;
                }
                if open.is_empty() {
                    return next as usize;
                }
                let (ticket, outcome) = receiver.recv_timeout(WATCHDOG).unwrap_or_else(|_| {
                    panic!("{} jobs are not answered: {:#?}", open.len(), pool.tokens())
                });
                assert!(open.remove(&ticket), "ticket {ticket} was answered twice");
                let signature = outcome.unwrap_or_else(|error| panic!("{error}"));
                assert!(verifies(
                    pool.public_key(),
                    &ticket.to_be_bytes(),
                    &signature
                ));
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Load {
            stop,
            thread,
            signed,
        }
    }

    /// Waits until so many more are signed.
    pub(crate) fn go_on(&self, pool: &SigningPool, count: usize) {
        let before = self.signed.load(Ordering::Relaxed);
        wait_for(pool, "more signatures", || {
            self.thread.is_finished() || self.signed.load(Ordering::Relaxed) >= before + count
        });
    }

    /// Ends the load and returns how many jobs it had.
    pub(crate) fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
