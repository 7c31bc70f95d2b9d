//! One key on one or several tokens, as the crate's pool uses it: open, submit, close.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::keeper;
use super::session::SigningSession;
use super::shared::{self, Shared};
use super::start;
use super::uri::Pkcs11Uri;
use super::watch;
use crate::algorithm::{KeyAlgorithm, RsaSignature};
use crate::error::{CloseError, NotSignedAgain, OpenError};
use crate::event::TokenState;
use crate::metrics::{PoolMetrics, TokenMetrics};
use crate::options::{PoolOptions, TOKENS_MAX};
use crate::pool::describe_signature;
use crate::public_key::PublicKey;
use crate::signing::{SignJob, Signature};

/// Most sessions of one token. The largest HSMs are served best by 30 to 100; each session is a
/// thread here and memory there.
pub const SESSIONS_MAX: usize = 256;

/// Shortest limit of a call: the watch looks every few milliseconds.
const CALL_LIMIT_MIN: Duration = Duration::from_millis(10);

/// Longest of all limits: nobody waits longer for a machine.
const LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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

/// A key with its tokens.
pub(crate) struct TokenPool {
    shared: Arc<Shared>,
    /// `None` once the pool was closed.
    watch: Option<JoinHandle<Result<(), CloseError>>>,
    algorithm: KeyAlgorithm,
    rsa_signature: Option<RsaSignature>,
    public_key: PublicKey,
}

impl TokenPool {
    pub(crate) fn open(uris: &[Pkcs11Uri], options: PoolOptions) -> Result<TokenPool, OpenError> {
        if !(1..=TOKENS_MAX).contains(&uris.len()) {
            return Err(OpenError::Tokens {
                asked: uris.len(),
                max: TOKENS_MAX,
            });
        }
        check(&options)?;
        let sessions = sessions(options.tokens.sessions)?;
        let shared = Arc::new(Shared::new(uris, options, sessions));
        // Two reports of each keeper.
        let (report, reports) = crossbeam_channel::bounded(2 * uris.len());
        let mut keepers = Vec::with_capacity(uris.len());
        let mut failed = None;
        for place in 0..uris.len() {
            let (shared, report) = (Arc::clone(&shared), report.clone());
            let keeper = thread::Builder::new()
                .name(format!("pkcs11-keep-{place}"))
                .spawn(move || keeper::run(shared, place, report));
            match keeper {
                Ok(keeper) => keepers.push(keeper),
                Err(error) => failed = Some(error),
            }
        }
        drop(report);
        let watching = Arc::clone(&shared);
        let watch = thread::Builder::new()
            .name("pkcs11-watch".to_owned())
            .spawn(move || watch::run(&watching, keepers));
        let watch = watch.map_err(|error| {
            // The keepers end by themselves.
            shared.end();
            OpenError::Thread(error)
        })?;
        let mut closing = Closing {
            shared,
            watch: Some(watch),
        };
        if let Some(error) = failed {
            return Err(OpenError::Thread(error));
        }
        start::start(&closing.shared, &reports)?;
        let reference = closing.shared.reference.get();
        let (algorithm, public_key) = reference
            .map(|reference| (reference.algorithm, reference.public_key.clone()))
            .ok_or(OpenError::NoAnswer {
                waited: Duration::ZERO,
            })?;
        let rsa_signature = closing.shared.options.tokens.rsa_signature;
        let rsa_signature = algorithm.is_rsa().then_some(rsa_signature);
        Ok(TokenPool {
            shared: Arc::clone(&closing.shared),
            watch: closing.watch.take(),
            algorithm,
            rsa_signature,
            public_key,
        })
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
        self.shared.submit(job, 0);
    }

    pub(crate) fn accept(&self, signature: &Signature) {
        if let Some(origin) = signature.origin()
            && let Some(member) = self.shared.members.get(origin.place)
        {
            member.signed_rightly(origin.generation);
        }
    }

    pub(crate) fn reject(&self, signature: &Signature, job: SignJob) -> Result<(), NotSignedAgain> {
        let shared = &self.shared;
        let origin = signature.origin().ok_or(NotSignedAgain::NoToken)?;
        let member = shared.members.get(origin.place);
        let member = member.ok_or(NotSignedAgain::NoToken)?;
        // A token is not blamed for what happened to the certificate elsewhere.
        let (rsa, bytes) = (self.rsa_signature, signature.as_bytes());
        if self.public_key.verifies_input(rsa, &job.input, bytes) {
            return Err(NotSignedAgain::Verifies);
        }
        shared.counters.wrong_signature();
        let attempts = origin.attempts;
        let again = attempts < shared.attempts_max;
        // The breaker first, so that this token does not take the job once more.
        member.signed_wrongly(shared, origin.generation, again);
        if !again {
            return Err(NotSignedAgain::AttemptsUsedUp { attempts });
        }
        shared.submit(job, attempts);
        Ok(())
    }

    pub(crate) fn queue_len(&self) -> usize {
        self.shared.queue.len()
    }

    pub(crate) fn describe(&self) -> String {
        let members: Vec<String> = self
            .shared
            .members
            .iter()
            .map(|member| {
                let sessions = match member.state() {
                    TokenState::Up => {
                        let count = member.sessions();
                        let plural = if count == 1 { "" } else { "s" };
                        format!("{count} session{plural}")
                    }
                    state => state.to_string(),
                };
                format!(
                    "'{}' {}{}, {sessions}",
                    member.label(),
                    self.algorithm.title(),
                    describe_signature(self.rsa_signature)
                )
            })
            .collect();
        let plural = if members.len() == 1 { "" } else { "s" };
        let mut text = format!("PKCS#11 token{plural} {}", members.join("; "));
        if self.shared.options.tokens.key_copy {
            text.push_str(", session copy of the key");
        }
        let indirect = |member: &super::member::Member| {
            let key = member.key();
            key.is_some_and(|key| key.token().sign_functions().is_none())
        };
        if self.shared.members.iter().any(indirect) {
            text.push_str(", two C_Sign calls per signature");
        }
        text
    }

    pub(crate) fn metrics(&self) -> PoolMetrics {
        let mut metrics = self.shared.counters.read(self.queue_len());
        for member in &self.shared.members {
            metrics.sessions += member.sessions();
            metrics.tokens_up += usize::from(member.state() == TokenState::Up);
        }
        metrics
    }

    pub(crate) fn tokens(&self) -> Vec<TokenMetrics> {
        let members = self.shared.members.iter();
        members.map(|member| member.metrics()).collect()
    }

    /// Sessions beside the pool's own, to measure with: on each token that is up in turn.
    pub(crate) fn raw_sessions(&self, count: usize) -> Result<Vec<SigningSession>, OpenError> {
        if !(1..=SESSIONS_MAX).contains(&count) {
            return Err(OpenError::Sessions {
                asked: count,
                max: SESSIONS_MAX,
            });
        }
        let members = self.shared.members.iter();
        let keys: Vec<_> = members.filter_map(|member| member.key()).collect();
        if keys.is_empty() {
            return Err(OpenError::NoAnswer {
                waited: Duration::ZERO,
            });
        }
        let in_turn = keys.iter().cycle().take(count);
        in_turn
            .map(|key| {
                SigningSession::open(key).map_err(|call| OpenError::Call {
                    token: key.token().label().to_string(),
                    call,
                })
            })
            .collect()
    }

    /// Signs what is queued, ends the threads, closes the sessions and gives the tokens up. Waits
    /// for no call that hangs.
    pub(crate) fn close(&mut self) -> Result<(), CloseError> {
        close(&self.shared, self.watch.take())
    }
}

impl Drop for TokenPool {
    fn drop(&mut self) {
        // Who wants to know calls `close`; a second time there is nothing left to do.
        let _ = self.close();
    }
}

/// Closes what was begun when opening fails.
struct Closing {
    shared: Arc<Shared>,
    watch: Option<JoinHandle<Result<(), CloseError>>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let _ = close(&self.shared, self.watch.take());
    }
}

fn close(
    shared: &Arc<Shared>,
    watch: Option<JoinHandle<Result<(), CloseError>>>,
) -> Result<(), CloseError> {
    let Some(watch) = watch else {
        return Ok(());
    };
    shared.begin_closing();
    // The last owner may be a completion on one of the pool's threads, which cannot wait for
    // itself. The watch closes everything right after.
    if shared::is_own_thread(shared) {
        return Ok(());
    }
    watch
        .join()
        .unwrap_or(Err(CloseError::Panicked { count: 1 }))
}

fn sessions(asked: Option<usize>) -> Result<usize, OpenError> {
    let sessions = asked.unwrap_or_else(|| {
        thread::available_parallelism()
            .map_or(1, usize::from)
            .min(SESSIONS_MAX)
    });
    if (1..=SESSIONS_MAX).contains(&sessions) {
        Ok(sessions)
    } else {
        Err(OpenError::Sessions {
            asked: sessions,
            max: SESSIONS_MAX,
        })
    }
}

fn check(options: &PoolOptions) -> Result<(), OpenError> {
    let limits = [
        ("call_limit", options.call_limit, "10 ms to 24 h"),
        ("wait_limit", options.wait_limit, "0 s to 24 h"),
        (
            "probe_interval_max",
            options.probe_interval_max,
            "10 ms to 24 h",
        ),
        ("keep_alive", options.keep_alive, "10 ms to 24 h"),
    ];
    for (name, limit, range) in limits {
        let least = match name {
            "wait_limit" => Duration::ZERO,
            _ => CALL_LIMIT_MIN,
        };
        if !(least..=LIMIT_MAX).contains(&limit) {
            return Err(OpenError::Limit { name, range });
        }
    }
    match options.abandoned_max {
        Some(max) if !(1..=SESSIONS_MAX).contains(&max) => Err(OpenError::Limit {
            name: "abandoned_max",
            range: "1 to 256",
        }),
        _ => Ok(()),
    }
}
