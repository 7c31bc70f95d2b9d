//! The sessions of one key, each on a thread of its own, all fed by one channel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender};

use super::key::TokenKey;
use super::session::SigningSession;
use super::token::Token;
use super::uri::Pkcs11Uri;
use crate::algorithm::{KeyAlgorithm, RsaSignature};
use crate::error::{CloseError, OpenError, SignError};
use crate::metrics::{Counters, PoolMetrics};
use crate::pool::describe_signature;
use crate::public_key::PublicKey;
use crate::signing::{SignJob, Signature};

/// Most sessions of one pool. The largest HSMs are served best by 30 to 100; each session is a
/// thread here and memory there.
pub const SESSIONS_MAX: usize = 256;

/// How a key on a token is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pkcs11Options {
    /// How many sessions sign at a time, 1 to [`SESSIONS_MAX`]; `None` for one per processor.
    ///
    /// A network HSM wants rate × (round trip × 2 + its own time) of them, by Little's law.
    pub sessions: Option<usize>,
    /// Sign with a copy of the key that lives in the session (`C_CopyObject` with
    /// `CKA_TOKEN=false`). An accommodation for SoftHSM, which otherwise looks at the token's
    /// files for each signature. Other tokens gain nothing and may refuse it.
    pub key_copy: bool,
    /// How an RSA key signs. Other keys know one way only.
    pub rsa_signature: RsaSignature,
}

/// A token's key with its sessions.
pub(crate) struct TokenPool {
    /// `None` once the pool closes: the threads end when they have emptied the channel.
    jobs: Option<Sender<SignJob>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    sessions: usize,
    /// `None` only while the pool closes.
    key: Option<Arc<TokenKey>>,
    algorithm: KeyAlgorithm,
    rsa_signature: Option<RsaSignature>,
    public_key: PublicKey,
    label: Arc<str>,
    key_copy: bool,
    direct: bool,
}

impl TokenPool {
    pub(crate) fn open(uri: &Pkcs11Uri, options: &Pkcs11Options) -> Result<TokenPool, OpenError> {
        let sessions = options.sessions.unwrap_or_else(|| {
            thread::available_parallelism()
                .map_or(1, usize::from)
                .min(SESSIONS_MAX)
        });
        if !(1..=SESSIONS_MAX).contains(&sessions) {
            return Err(OpenError::Sessions {
                asked: sessions,
                max: SESSIONS_MAX,
            });
        }
        let key = Arc::new(TokenKey::open(Token::open(uri)?, uri, options)?);
        let signers = open_sessions(&key, sessions)?;
        // Unbounded, and bounded all the same: a job is only submitted under one of the caller's
        // permits, so the channel never holds more than those, and no send ever waits.
        let (jobs, queue) = crossbeam_channel::unbounded();
        let mut pool = TokenPool {
            jobs: Some(jobs),
            threads: Vec::with_capacity(sessions),
            counters: Arc::default(),
            sessions,
            algorithm: key.algorithm(),
            rsa_signature: key.rsa_signature(),
            public_key: key.public_key().clone(),
            label: Arc::clone(key.token().label()),
            key_copy: key.copied(),
            direct: key.token().sign_functions().is_some(),
            key: Some(key),
        };
        for (number, signer) in signers.into_iter().enumerate() {
            let (queue, counters) = (queue.clone(), Arc::clone(&pool.counters));
            let thread = thread::Builder::new()
                .name(format!("pkcs11-sign-{number}"))
                .spawn(move || sign_jobs(signer, &queue, &counters))
                .map_err(OpenError::Thread)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    pub(crate) fn rsa_signature(&self) -> Option<RsaSignature> {
        self.rsa_signature
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    pub(crate) fn submit(&self, job: SignJob) {
        let unsent = match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|error| error.0),
            None => Some(job),
        };
        if let Some(job) = unsent {
            deliver(job, Err(SignError::Stopped), &self.counters);
        }
    }

    pub(crate) fn queue_len(&self) -> usize {
        self.jobs.as_ref().map_or(0, Sender::len)
    }

    pub(crate) fn describe(&self) -> String {
        let plural = if self.sessions == 1 { "" } else { "s" };
        let copy = if self.key_copy {
            ", session copy of the key"
        } else {
            ""
        };
        let indirect = if self.direct {
            ""
        } else {
            ", two C_Sign calls per signature"
        };
        format!(
            "PKCS#11 token '{}' {}{}, {} session{plural}{copy}{indirect}",
            self.label,
            self.algorithm.title(),
            describe_signature(self.rsa_signature),
            self.sessions
        )
    }

    pub(crate) fn metrics(&self) -> PoolMetrics {
        self.counters.read(self.sessions, self.queue_len())
    }

    pub(crate) fn raw_sessions(&self, count: usize) -> Result<Vec<SigningSession>, OpenError> {
        match &self.key {
            Some(key) if (1..=SESSIONS_MAX).contains(&count) => open_sessions(key, count),
            _ => Err(OpenError::Sessions {
                asked: count,
                max: SESSIONS_MAX,
            }),
        }
    }

    /// Signs what is queued, ends the threads, closes the sessions and gives the token up.
    pub(crate) fn close(&mut self) -> Result<(), CloseError> {
        self.jobs = None;
        let mut panicked = 0;
        for thread in self.threads.drain(..) {
            // The last owner may be a completion on one of these threads, which cannot wait for
            // itself. It ends right after, and takes its session along.
            if thread.thread().id() == thread::current().id() {
                continue;
            }
            panicked += usize::from(thread.join().is_err());
        }
        // Raw signers may still hold the key and, through it, the token: the last to go closes.
        let token = self
            .key
            .take()
            .and_then(Arc::into_inner)
            .map(TokenKey::into_token);
        let closed = token.and_then(Arc::into_inner).map_or(Ok(()), Token::close);
        if panicked > 0 {
            return Err(CloseError::Panicked { count: panicked });
        }
        closed
    }
}

impl Drop for TokenPool {
    fn drop(&mut self) {
        // Who wants to know calls `close`; a second time there is nothing left to do.
        let _ = self.close();
    }
}

fn open_sessions(key: &Arc<TokenKey>, count: usize) -> Result<Vec<SigningSession>, OpenError> {
    (0..count)
        .map(|_| {
            SigningSession::open(key).map_err(|call| OpenError::Call {
                token: key.token().label().to_string(),
                call,
            })
        })
        .collect()
}

/// The life of a session's thread.
fn sign_jobs(mut session: SigningSession, queue: &Receiver<SignJob>, counters: &Counters) {
    for job in queue {
        let mut signature = Signature::empty();
        let outcome = session
            .sign_with_remedies(&job.input, &mut signature, counters)
            .map(|()| signature);
        deliver(job, outcome, counters);
    }
}

fn deliver(job: SignJob, outcome: Result<Signature, SignError>, counters: &Counters) {
    counters.outcome(&outcome);
    let SignJob {
        ticket, completion, ..
    } = job;
    // A completion that panics must not take the session's thread with it: the jobs behind it
    // would never be answered.
    let call = AssertUnwindSafe(move || completion.signed(ticket, outcome));
    if catch_unwind(call).is_err() {
        counters.completion_panicked();
    }
}
